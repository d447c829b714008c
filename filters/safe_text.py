"""The one way for anything that came from a mail, a server or a file name to a terminal, a log, a report or a CSV cell."""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote

#: What stands in place of a secret.
REDACTED = "…"
_LINK = re.compile(r"(?i)\b(?:https?://|mailto:)[^\s<>\"']+")
_QUERY_VALUE = re.compile(r"(?<=[=])[^&;]+")
#: A path segment or bare parameter that is no word: long, with digits in it, or longer than any word.
_TOKEN = re.compile(r"[\w%~.+=:,\-]{16,}")
_LONGEST_WORD = 47
_LETTERS = re.compile(r"[^A-Za-z0-9]+")
_SECRET_LETTERS = 4
_DIGIT = re.compile(r"\d")
_BARE = re.compile(r"\b(\w{1,40})=(?=[\w%~.+\-]{10})[\w%~.+:\-]+=*")


def safe_text(text: str, width: int = 0) -> str:
    """`text` in NFC on one line: control, format, bidirectional, private and unassigned characters, lone surrogates and
    line separators appear as escapes such as \\x1b or \\u202e; cut to `width` terminal cells when given.

    The output never holds anything a terminal could obey (T3 of the threat model), and never a secret of a link (6.4).
    """
    shown = escaped(redact(text))
    if not width or (len(shown) <= width and shown.isascii()):
        return shown
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415  (for what is long or wide only: it has tables to load)

    return set_cell_size(shown, width - 1).rstrip() + "…" if cell_len(shown) > width else shown


def escaped(text: str) -> str:
    """The first half of `safe_text`, without `redact`: enough for our own data, whose links hold no secrets."""
    if text.isprintable() and (text.isascii() or unicodedata.is_normalized("NFC", text)):
        return text
    return "".join(_visible(char) for char in unicodedata.normalize("NFC", text))


def _visible(char: str) -> str:
    if char in "\n\t\r":
        return " "
    if unicodedata.category(char)[0] == "C" or char in "\u2028\u2029":
        code = ord(char)
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    return char


def redact(text: str) -> str:
    """`text` without the secrets that links carry: every value of a query, every token in a path, every bare `name=token`.

    Some of them log a reader in. Which names are tokens is known only until the sender adds another; a value that is never
    shown cannot leak, so all of them go.
    """
    text = _LINK.sub(lambda link: _without_tokens(link.group()), text) if ":" in text else text
    return _BARE.sub(rf"\1={REDACTED}", text) if "=" in text else text


#: What a terminal or a reader's program makes a link of.
_ANY_LINK = re.compile(r"(?i)(?:\b[a-z][a-z0-9+.-]{0,20}://|\bmailto:|\bwww\.)\S+")


def unlinked(text: str) -> str:
    """`text` without the links in it: what leads anywhere comes from our own table, never from a mail (T14)."""
    return _ANY_LINK.sub(f"[link{REDACTED}]", text)


def _without_tokens(link: str) -> str:
    if link[:7].lower() == "mailto:":
        return f"mailto:{REDACTED}"
    address, mark, query = link.partition("?")
    scheme, _, path = address.partition("://")
    host, slash, path = path.partition("/")
    segments = "/".join(map(_segment_without_tokens, path.split("/")))
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{segments}{mark}{_QUERY_VALUE.sub(REDACTED, query)}"


def _segment_without_tokens(segment: str) -> str:
    long = 1 if _DIGIT.search(segment) else _LONGEST_WORD + 1
    return _TOKEN.sub(lambda run: REDACTED if len(run.group()) >= long else run.group(), segment)


def telling(secret: str) -> Callable[[str], bool]:
    """A test whether a text gives a secret away, in any form that servers and programs write it in: as it is, quoted, escaped, in
    hexadecimal, or in base64 among other things (such as PLAIN and XOAUTH2). Letters and digits decide; a secret with fewer than
    four of them is looked for as it is. (A function, so that no repr shows the secret.)"""
    data = secret.encode("utf-8", "surrogateescape")
    forms = [secret, repr(data)[2:-1], quote(data), quote(data, safe=""), data.hex(), data.hex().upper()]
    for skip in range(3):  # what of its base64 does not depend on the bytes around it
        forms.append(b64encode(bytes(skip) + data).decode()[-(-8 * skip // 6) : 8 * (skip + len(data)) // 6])
    looks = {look for form in forms if len(look := _LETTERS.sub("", form)) >= _SECRET_LETTERS}

    def tells(text: str) -> bool:
        shown = _LETTERS.sub("", text)
        return (bool(secret) and secret in text) or any(look in shown for look in looks)

    return tells


def csv_cell(text: str) -> str:
    """`safe_text` for a spreadsheet: a cell that would be taken for a formula is prefixed by an apostrophe (CWE-1236)."""
    shown = safe_text(text)
    formula = shown.lstrip()[:1] in ("=", "+", "-", "@") or text[:1] in ("\t", "\r")
    return f"'{shown}" if formula and shown else shown
