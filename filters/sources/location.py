"""Names as a person types them: the URL of an IMAP folder, and folder names in modified UTF-7."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from filters.errors import UsageError
from filters.safe_text import safe_text

_SHAPE = "An IMAP location looks like imaps://user@host/Folder, or imaps://user@host:993/Folder"
#: How an IMAP location begins. STARTTLS is spoken where it is asked for, and nowhere else (D4).
SCHEMES = ("imaps://", "imap+starttls://", "imap://")


#: What special folders are commonly called, for where nobody tells (no SPECIAL-USE, RFC 6154: Courier, Exchange, Maildirs).
USUAL_SPECIAL = frozenset(
    {
        "trash",
        "deleted items",
        "deleted messages",
        "sent",
        "sent items",
        "sent messages",
        "sent mail",
        "drafts",
        "draft",
    }
    | {"junk", "junk e-mail", "spam"}
)


def are_files(locations: Iterable[str]) -> bool:
    """Whether all of these are mail in files, which any process that sees them can open."""
    return all(one != "-" and not one.lower().startswith(SCHEMES) for one in locations)


@dataclass(frozen=True, slots=True)
class ImapLocation:
    """Where a folder is. `scheme` is "imaps", "imap+starttls", or "imap" (loopback only)."""

    scheme: str
    user: str
    host: str
    port: int
    folder: str

    @property
    def account(self) -> str:
        """Printable, and itself a location: "imaps://ann@example.org@imap.example.org:993"."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{quote(self.user, safe='@!$&()*+,;=~')}@{host}:{self.port}"


def parse_url(url: str) -> ImapLocation:
    """Read "imaps://user@host[:port][/Folder]" and the like; user and folder may have percent-escapes, the user an "@".

    Raises UsageError, which never repeats the URL: there could be a password in it.
    """
    match = re.fullmatch(r"(?i)(imaps|imap\+starttls|imap)://([^/]*)(?:/(.*))?", url, re.DOTALL)
    if not match:
        raise UsageError(f"{_SHAPE}.")
    scheme, (userinfo, _, server) = match[1].lower(), match[2].rpartition("@")
    if ":" in userinfo:
        raise UsageError(
            f"A password does not belong into a location, where others can see it. {_SHAPE}; you are asked for it."
        )
    user, folder = _unescaped(userinfo), _unescaped(match[3] or "").strip("/") or "INBOX"
    if not user:
        raise UsageError(f"The user name is missing. {_SHAPE}.")
    host, port = _host_and_port(server, 993 if scheme == "imaps" else 143)
    if scheme == "imap" and not _is_loopback(host):
        raise UsageError(
            "imap:// would send the password in the clear. Use imaps://, or imap+starttls:// for a server that has only "
            f"STARTTLS. {_SHAPE}."
        )
    return ImapLocation(scheme, user, host, port, folder)


def _unescaped(text: str) -> str:
    try:
        plain = unquote(text, errors="strict")
        plain.encode()
    except UnicodeError:
        raise UsageError(f"The location has characters that are not UTF-8. {_SHAPE}.") from None
    if re.search(r"[\x00-\x1f\x7f]", plain):
        raise UsageError(f"The location holds control characters. {_SHAPE}.")
    return plain


def _host_and_port(server: str, usual: int) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::(\d{1,5}))?", server)
    port = int(match[3] or usual) if match else 0
    if not match or not 0 < port < 65_536:
        raise UsageError(f"The host or port is missing or malformed. {_SHAPE}.")
    return (match[1] or match[2]).lower(), port


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def encoded(name: str) -> str:
    """A folder name in modified UTF-7 (RFC 3501, 5.1.3). Raises UsageError for lone surrogates."""
    from imapclient import imap_utf7  # noqa: PLC0415  (brings the whole library, which local mail does not need)

    try:
        return bytes(imap_utf7.encode(name)).decode("ascii")
    except UnicodeError:
        raise UsageError(f"The folder name {safe_text(name, 60)} holds characters that are none.") from None


def decoded(raw: str) -> str:
    """A folder name to show and to type; `raw` itself where it is not proper modified UTF-7, such as "R&D" (IC6)."""
    from imapclient import imap_utf7  # noqa: PLC0415

    try:
        name = str(imap_utf7.decode(raw.encode("ascii")))
        return name if encoded(name) == raw else raw
    except (UnicodeError, ValueError, UsageError):
        return raw
