"""Where a service listens, and where it finds another: a unix socket, or a host and a port."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from filters.errors import UsageError
from filters.safe_text import safe_text

_INET = re.compile(r"(?:inet:)?(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[\w.-]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A unix socket's `path`, or `host` and `port`."""

    path: str = ""
    host: str = ""
    port: int = 0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.path}" if self.path else f"{host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """Read "unix:/path" or "host:port" (Postfix's "inet:host:port" too). Raises UsageError."""
    kind, _, path = text.partition(":")
    if kind == "unix" and path.startswith("/") and "\0" not in path:
        return Endpoint(path=path)
    found = _INET.fullmatch(text)
    if not found or int(found["port"]) > 65535:
        raise UsageError(
            f"{safe_text(text, 60)!r} is no address: give unix:/path, or host:port such as 127.0.0.1:2424."
        )
    return Endpoint(host=found["six"] or found["host"], port=int(found["port"]))
