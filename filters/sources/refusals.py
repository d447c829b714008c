"""Why a server cannot be reached, is not trusted, or refuses, with what to do next; what words of servers mean is in refusals.toml."""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from filters.errors import CertificateError, FiltersError, LoginError, ServerError, TransientError
from filters.presets import preset_at
from filters.safe_text import safe_text

UNSAID = " (what the server says holds your password, and is not shown)"
_LOG_IN_ANEW = (
    "The access token is not valid, or not for IMAP of this mailbox: log in anew by `unpitch login`, or see what oauth_token_command"
    " prints, and which scope it asks for."
)
_USUAL = "Check user name and password; many providers want an app password and IMAP to be switched on."
_LATER = re.compile(r"\[(?:UNAVAILABLE|INUSE|LIMIT|SERVERBUG)\]")
#: How imaplib words what is no line of IMAP.
_ODD_LINE = re.compile(r"(?s)unexpected response: b['\"](.*)['\"]")
_PORTAL = "in a network that wants a login first, as hotels have, open a web page and log in there"


#: Exchange names a wait in a NO or BAD, without a code (N4).
_BACKOFF = re.compile(r"(?i)throttled.{0,80}?backoff time: (\d{1,9}) milliseconds")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Words of a refusal; the fields are explained in refusals.toml. `advice` is a sentence."""

    text: str
    means: str
    advice: str
    seen: str
    late: bool = False


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("refusals.toml").read_text("utf-8"))


def sentence(name: str) -> str:
    """One of the sentences of refusals.toml that are told in several places."""
    return str(_data()["sentences"][name])


@cache
def refusals() -> tuple[Refusal, ...]:
    """What refusals.toml says."""
    named = _data()["sentences"]
    return tuple(Refusal(**one | {"advice": named.get(one["advice"], one["advice"])}) for one in _data()["refusal"])


def meaning(said: str) -> Refusal | None:
    """The known refusal that a server's words hold; None for any others."""
    words = said.lower()
    return next((one for one in refusals() if one.text in words), None)


def wait_named(said: str) -> float:
    """Seconds that a server asks to be left alone; 0 when it names none."""
    found = _BACKOFF.search(said)
    return int(found[1]) / 1000 if found else 0.0


def says(text: Any) -> str:
    """A server's own words, to be put behind ours."""
    shown = safe_text(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text or ""), 200)
    return f" (server says: {shown.rstrip('. ')})" if shown.strip() else ""


def login_refused(
    host: str, error: imaplib.IMAP4.error, tells: Callable[[str], bool], *, oauth: bool = False
) -> FiltersError:
    """A NO or BAD to a login, as a LoginError; as a TransientError where it says: not now. `tells`: whether a text holds the secret."""
    said = error.args[0] if error.args else ""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    shown = UNSAID if tells(text) else says(text)
    wait, known = wait_named(text), meaning(text)
    if known and known.means == "traffic":
        return ServerError(f"{host} lets nobody in now{shown}. {known.advice}", 75)
    if wait or _LATER.search(text) or (known and known.means == "busy"):
        then = known.advice if known else "Try again later."
        return TransientError(f"{host} cannot let anybody in now{shown}. {then}", 75 if wait else 69, wait=wait)
    usual = _LOG_IN_ANEW if oauth else _by_preset(host) or _microsofts(text) or _USUAL
    advice = known.advice if known else usual
    return LoginError(f"{host} refused the login{shown}. {advice}")


def _by_preset(host: str) -> str:
    """What the provider of a host is known to want."""
    preset = preset_at(host)
    if not preset:
        return ""
    if preset.auth == "oauth":
        return sentence("oauth")
    wants = (
        f"{preset.name} wants an app password here, not the usual one."
        if preset.auth == "app password"
        else "Check the password."
    )
    return f"{wants} {preset.advice}".strip()


def _microsofts(text: str) -> str:
    """Microsoft's way to refuse a password, also behind a name of one's own."""
    return (
        f"If this is a Microsoft account: {sentence('oauth')}"
        if re.fullmatch(r"(?:LOGIN|AUTHENTICATE) failed\.?", text)
        else ""
    )


def no_greeting(where: str, greeting: bytes) -> ServerError:
    """What came instead of a greeting."""
    page = re.match(rb"(?i)\s*(?:HTTP/|<(?:!doctype|html|\?xml))", greeting)
    then = f" That is a web page, not a mail server: check host and port; {_PORTAL}." if page else ""
    return TransientError(f"{where} did not greet as an IMAP server does{says(greeting)}.{then}")


@contextmanager
def connecting(host: str, port: int, odd: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn everything that can go wrong before login into our errors; `odd` is what the library raises for odd greetings."""
    where = f"{safe_text(host)}:{port}"
    try:
        yield
    except FiltersError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(
            f"The certificate of {where} is not trusted: {safe_text(error.verify_message, 200)}. No password was sent. "
            f"{_about_certificate(error.verify_code)}"
        ) from None
    except (socket.gaierror, UnicodeError):
        raise TransientError(
            f"The host {safe_text(host)} is unknown. Check its name, and whether you are online.", 68
        ) from None
    except ssl.SSLError:
        raise ServerError(
            f"{where} does not speak TLS 1.2 or newer. Check the port: 993 is the usual one, or "
            f"143 with imap+starttls://; {_PORTAL}."
        ) from None
    except OSError as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else safe_text(error.strerror or "no connection")
        raise TransientError(
            f"{where} cannot be reached: {why}. Check host and port, and whether you are online.", 69
        ) from None
    except odd as error:
        said = error.args[0] if error.args else b""
        odd_line = _ODD_LINE.match(said) if isinstance(said, str) else None
        raise no_greeting(
            where, odd_line[1].encode() if odd_line else said if isinstance(said, bytes) else b""
        ) from None


def _about_certificate(code: int) -> str:
    """What to do, by OpenSSL's verify codes."""
    now = f"The clock of this machine says {datetime.now():%Y-%m-%d}: if that is wrong, set it;"
    match code:
        case 9:  # not yet valid
            return f"{now} if it is right, the server's certificate was installed too early."
        case 10:  # expired
            return f"{now} if it is right, whoever runs the server must renew the certificate."
        case 62 | 64:  # another name, another address
            portal = f"{_PORTAL[0].upper()}{_PORTAL[1:]}"
            return f"Check the host name. {portal}; for a server of your own give its certificate authority with --ca-file."
    return "Check the host name; for a server of your own give its certificate authority with --ca-file."
