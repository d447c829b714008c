"""Which server has the mail of a domain, by asking DNS (RFC 6186). Only for who asks for it: the question names the domain to a resolver."""

from __future__ import annotations

from dataclasses import dataclass

from filters.errors import TransientError, UsageError
from filters.safe_text import safe_text

_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """An IMAP server that speaks TLS from the first byte."""

    host: str
    port: int

    def belongs_to(self, domain: str) -> bool:
        """Whether the host is of the domain. DNS can be forged, so that any other name is for a person to confirm (RFC 6186, 6)."""
        return f".{self.host}".endswith(f".{domain.lower()}")


def imap_servers(domain: str, nameserver: str = "") -> list[Server]:
    """What `_imaps._tcp` of a domain says, best first; none where it says nothing, or that there is no such server.

    `nameserver` is ADDRESS or ADDRESS:PORT, "" for the system's. Raises UsageError, also where dnspython is not installed, and TransientError.
    """
    try:
        import dns.exception  # noqa: PLC0415  (an extra)
        import dns.resolver  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "Asking DNS needs a package that is not installed. Install it with: pip install 'unpitch[lookup]', or name the server by --host."
        ) from None
    try:
        resolver = dns.resolver.Resolver(configure=not nameserver)
        if nameserver:
            address, colon, port = nameserver.rpartition(":") if nameserver.count(":") == 1 else (nameserver, "", "")
            resolver.nameservers, resolver.port = [address], int(port) if colon else 53
        answer = resolver.resolve(f"_imaps._tcp.{domain}", "SRV", lifetime=_SECONDS, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise TransientError(
            f"DNS says nothing about {safe_text(domain)} ({type(error).__name__}). Name the server by --host, or try again later.",
            69,
        ) from None
    found = sorted(answer, key=lambda one: (one.priority, -one.weight))
    names = [(one.target.to_text(omit_final_dot=True).lower(), one.port) for one in found]
    return [Server(host, port) for host, port in names if host not in ("", ".") and 0 < port < 65_536]
