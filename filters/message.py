"""Bytes to a `Message`: headers, visible text and links, decoded once, in one normal form, at bounded cost.

Headers are read here, from the bytes: MIME libraries hide duplicates, accept two mailboxes as one, and slow down on long
ones. mail-parser builds the MIME tree, and is handed the body and its Content fields alone.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import email
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import InvalidBase64LengthDefect
from email.message import Message as Part
from email.utils import parsedate_to_datetime
from itertools import groupby, islice
from typing import cast

from filters.errors import InputError
from filters.html import read_page
from filters.normal_form import normal

#: Bytes of a message, and of its header block (T9), that are read.
MESSAGE_CAP = 1_048_576
HEADER_CAP = 65_536
#: MIME parts, multiparts and forwarded messages among them, bytes of one Content field, and encoded words in all of those (T8, T10).
PART_CAP = 100
_TYPE_CAP = 60
CONTAINER_CAP = 20
FIELD_CAP = 2_048
ENCODED_CAP = 500
#: Encoded words of one header that are decoded, and characters that come out.
WORD_CAP = 100
DECODED_CAP = 2_000
#: Characters of one part that are looked at, links of a message, characters of one link. The longest real text has 20,000.
TEXT_CAP = 400_000
LINK_CAP = 500
LINK_LENGTH_CAP = 8_192

#: Bytes of a text that is not worth the trouble of taking it out (`_hollow`).
_SHORT = 100

#: Headers that RFC 5322 (3.6), MIME and RFC 8058 allow once.
# fmt: off
ONCE = frozenset([
    "date", "from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "subject",
    "mime-version", "content-type", "content-transfer-encoding", "content-disposition", "list-unsubscribe", "list-unsubscribe-post",
])
#: Headers that every relay may add, signed or not.
_TRACE = frozenset([
    "received", "return-path", "dkim-signature", "authentication-results", "arc-seal", "arc-message-signature",
    "arc-authentication-results", "x-received", "delivered-to",
])
# fmt: on
#: Codecs by Python's names. Never UTF-7, escapes, or those that are no charset (T11).
_CHARSETS = re.compile(
    r"utf-8|utf-16(-[lb]e)?|ascii|iso8859-\d+|cp(125\d|874|932|949|950)|koi8-[ru]|tis-620|mac-roman|gb2312|gbk|gb18030|big5|"
    r"shift_jis|euc_(jp|kr)|iso2022_jp"
)
#: Those of them that have characters of several bytes.
_WIDE = re.compile(r"utf|cp9|gb|big5|shift|euc|iso2022")
_FIRST_YEAR, _LAST_YEAR = 1990, 2100

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_CONTENT_FIELD = re.compile(rb"\ncontent-[a-z-]+[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*")
_EMPTY_PARAMETERS = re.compile(r";[;\s]+")
_CONTAINER = re.compile(rb"\ncontent-type[ \t]*:\s*(?:multipart|message)/")
_SIGNED = re.compile(r"(?:^|;)\s*h\s*=([^;]*)")
_ENCODED_WORD = re.compile(r"=\?([\w.:-]{1,40})(?:\*[\w-]*)?\?([bq])\?([^?]*)\?=", re.IGNORECASE)
_ADDRESS = r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_MAILBOX = re.compile(
    rf"""(?:(?P<name>(?:"(?:[^"\\<>@]|\\[^<>@])*"|[^"\\<>@,;:])*)<\s*(?P<angle>{_ADDRESS})\s*>|(?P<bare>{_ADDRESS}))"""
    r"\s*(?:\((?P<comment>[^()<>@]*)\)\s*)?",
    re.IGNORECASE | re.ASCII,
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MESSAGE_ID = re.compile(r"<([!-;=?-~]{1,250})>")
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]{1,30})")
_FIRST_WORD = re.compile(r"\s*([\w-]{1,20})")
#: r"(?i)\b(?:https?://|mailto:)...", written so that it begins with a letter: only that is looked for, at twice the speed.
_BARE_URL = re.compile(r"[hHmM](?<!\w.)(?:(?<=[hH])(?i:ttps?://)|(?<=[mM])(?i:ailto:))[^\s<>\"']+")
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_TAKEN = re.compile("\0(\\d+)\0")
_HIGH = re.compile(rb"[\x80-\xff]+")
#: What the MIME library raises for a parameter in an unknown or impossible charset, or cut in pieces that do not fit together.
_ODD_PARAMETERS = (LookupError, ValueError, TypeError, AttributeError)
_SCHEMES = ("http://", "https://", "mailto:")

#: Lower-case names and unfolded values, as in `Message.headers`.
Headers = list[tuple[str, str]]

# what it logs holds mail content
logging.getLogger("mailparser").propagate = False
logging.getLogger("mailparser").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Message:
    """One mail, as far as anything may be concluded from it. Nothing in it is to be believed before `authenticity` says so."""

    message_id: str
    """Without the angle brackets; empty when absent or malformed."""
    from_name: str
    """The decoded display name."""
    from_address: str
    """"local@domain", lower case, ASCII; empty when absent, malformed, or when there are several."""
    subject: str
    date: datetime | None
    """In UTC; None when absent or nonsense."""
    headers: tuple[tuple[str, str], ...]
    """(lower-case name, unfolded value, still encoded), top first. Control characters are blanks."""
    text: str
    """What text/plain and text/html parts show, in normal form; attachments and forwarded messages are left out."""
    hidden: str
    """What HTML hides, in normal form."""
    links: tuple[str, ...]
    """http, https and mailto, each once, in order: href of HTML, bare URLs of plain text."""
    defects: tuple[str, ...]
    """Short codes: "truncated", "bom", "no-from", "malformed:from", "duplicate:<header>", "charset"."""
    parts: tuple[tuple[str, str, str, str], ...] = ()
    """Of each MIME part, from the outside in: type, charset, encoding, disposition; lower case, "-" for what is not said."""
    pages: tuple[str, ...] = ()
    """The source of the HTML parts that are shown."""

    def all(self, name: str) -> tuple[str, ...]:
        """All values of a header (lower-case name), top first."""
        return tuple(value for key, value in self.headers if key == name)

    def first(self, name: str) -> str:
        """The top value of a header, or ""."""
        return next((value for key, value in self.headers if key == name), "")


def parse(raw: bytes, truncated: bool = False, block: tuple[Headers, bytes] | None = None) -> Message:
    """Read a message; `truncated` says that `raw` is only its beginning, `block` what `read_headers` says of it, where that is known.

    Raises InputError, and nothing else, for bytes that are no mail or pass a cap: such mail is kept where it is.
    """
    headers, body = block or read_headers(raw)
    marks = ["truncated"] * truncated + ["bom"] * raw.startswith(codecs.BOM_UTF8)
    tree = _tree(headers, body)
    text, hidden, links, pages, faults = _contents(tree)
    name, address, fault = _mailbox([value for key, value in headers if key == "from"])
    top = dict(reversed(headers))
    return Message(
        message_id=found[1] if (found := _MESSAGE_ID.fullmatch(top.get("message-id", ""))) else "",
        from_name=name,
        from_address=address,
        subject=decode_words(top.get("subject", "")),
        date=_date(top.get("date", "")),
        headers=tuple(headers),
        text=text,
        hidden=hidden,
        links=links,
        defects=tuple(dict.fromkeys([*marks, *_duplicates(headers), *fault, *faults])),
        parts=tuple(_described(part) for part in tree.walk()),
        pages=pages,
    )


# --- the header block


def read_headers(raw: bytes) -> tuple[Headers, bytes]:
    """Headers, and the body with LF line ends. A line that is no header ends the block, as it does for mail servers."""
    if len(raw) > MESSAGE_CAP:
        raise InputError(f"larger than {MESSAGE_CAP:,} bytes: kept unread")
    block, _, body = raw.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").partition(b"\n\n")
    if len(block) > HEADER_CAP:
        raise InputError(f"a header block of more than {HEADER_CAP:,} bytes: kept unread")
    headers: Headers = []
    lines = re.split(rb"\n(?![ \t])", block)
    for number, line in enumerate(lines):
        if field := _FIELD.fullmatch(line):
            headers.append((field[1].decode("ascii").lower(), header_value(field[2])))
        elif number or not line.startswith((b"From ", b">From ")):
            body = b"\n".join(lines[number:]) + b"\n\n" + body
            break
    if not headers:
        raise InputError("no header: this is no mail")
    return headers, body.replace(b"\r", b"\n")


def header_value(raw: bytes) -> str:
    """What stands behind the colon, unfolded, with a blank for each run of control characters."""
    return _CONTROLS.sub(" ", _western(raw)).strip()


def _duplicates(headers: Headers) -> list[str]:
    """Headers that must be single and are not. What a signature covers must be single as well: a second one, put on top, is
    not covered, and the signature still verifies (T15)."""
    once = set(ONCE)
    for name, value in headers:
        if name == "dkim-signature" and (signed := _SIGNED.search(value)):
            once.update(field.strip().lower() for field in signed[1].split(":"))
    count = Counter(name for name, _ in headers)
    return [f"duplicate:{name}" for name, times in count.items() if times > 1 and name in once - _TRACE]


def decode_words(value: str) -> str:
    """A header value with its encoded words (RFC 2047) decoded, on one line, in at most `DECODED_CAP` characters.

    Neighbours of one charset are joined before they are decoded: some mailers cut in the middle of a character.
    """
    pieces: list[tuple[str, bytes]] = []
    end = 0
    for word in islice(_ENCODED_WORD.finditer(value), WORD_CAP):
        between = value[end : word.start()]
        if between.strip() or not pieces:
            pieces.append(("utf-8", between.encode()))
        data = word[3].encode()
        pieces.append((word[1].lower(), _base64(data) if word[2] in "bB" else binascii.a2b_qp(data, header=True)))
        end = word.end()
    pieces.append(("utf-8", value[end:].encode()))
    text = "".join(
        decode(b"".join(data for _, data in run), charset)[0]
        for charset, run in groupby(pieces, key=lambda piece: piece[0])
    )
    return " ".join(_CONTROLS.sub(" ", text).split())[:DECODED_CAP]


def _mailbox(values: list[str]) -> tuple[str, str, list[str]]:
    """(name, address, defects) of From, which must be there once and hold exactly one mailbox.

    It is matched raw and only then decoded: Python's own functions return the address inside the *name* for several forged
    forms (T13). A second "@" or "<" anywhere, even in a quoted name or a comment, makes it malformed.
    """
    if len(values) != 1:
        return "", "", [] if values else ["no-from"]
    found = _MAILBOX.fullmatch(values[0].strip())
    if not found or ".." in (address := (found["angle"] or found["bare"]).lower()):
        return "", "", ["malformed:from"]
    name = _QUOTED.sub(lambda quoted: re.sub(r"\\(.)", r"\1", quoted[1]), found["name"] or found["comment"] or "")
    return decode_words(name), address, []


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value[:100])
        date = date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if _FIRST_YEAR <= date.year <= _LAST_YEAR else None


# --- the body


def _tree(headers: Headers, body: bytes) -> Part:
    """The MIME tree, by mail-parser; by the library below it where mail-parser fails (it raises AttributeError for a cut nested
    multipart, TypeError for a broken one in a forwarded message)."""
    fields = "".join(f"{name}: {_told(value)}\n" for name, value in headers if name.startswith(("content-", "mime-")))
    raw = fields.encode() + b"\n" + body
    lower = b"\n" + raw.lower()
    _check_structure(b"\n" + raw, lower)
    hollow, taken = _hollow(raw, lower)
    try:
        import mailparser  # noqa: PLC0415  (0.02 s that only a process that parses should pay)

        tree: Part = mailparser.parse_from_bytes(hollow).message
        if taken:
            _fill(tree, taken)
    except Exception:  # whatever it is, mail must not stop the run
        try:
            return email.message_from_bytes(raw)
        except _ODD_PARAMETERS:
            raise InputError("a MIME structure that cannot be read: kept unread") from None
    return tree


def _told(value: str) -> str:
    """A MIME field without runs of empty parameters, where it is too long to be read with them: spam has 14 kB of `; ; ;`."""
    return _EMPTY_PARAMETERS.sub("; ", value) if len(value) > FIELD_CAP else value


def _hollow(raw: bytes, lower: bytes) -> tuple[bytes, list[bytes]]:
    """The message with a number in place of each long text, and the texts: the parser goes through text line by line, in vain.

    Text is what follows a blank line, up to a line that begins like a boundary. Only in a message within the message headers can
    stand there; such a one is left whole, and one with more than ASCII in the rest, which the parser does not give back as it is.
    """
    if b"\0" in raw or b"message/" in lower or b"multipart/digest" in lower:
        return raw, []
    pieces, taken = raw.split(b"\n--"), list[bytes]()
    for number, piece in enumerate(pieces):
        head, blank, text = piece.partition(b"\n\n")
        if len(text) > _SHORT:
            end = b"\n" * text.endswith(b"\n")  # the parser takes the last one off
            pieces[number] = b"%b%b\0%d\0%b" % (head, blank, len(taken), end)
            taken.append(text.removesuffix(end))
    hollow = b"\n--".join(pieces)
    return (hollow, taken) if hollow.isascii() else (raw, [])


def _fill(tree: Part, taken: list[bytes]) -> None:
    """Put the texts back that `_hollow` took out."""
    for part in tree.walk():
        content = part.get_payload()
        if isinstance(content, str) and "\0" in content:
            part.set_payload(_TAKEN.sub(lambda mark: taken[int(mark[1])].decode("ascii", "surrogateescape"), content))
            part.defects.clear()  # what decoding found out about a number


def _check_structure(raw: bytes, lower: bytes) -> None:
    """Raise InputError for a tree too big to be built, in linear time and without building it (T8, T10)."""
    boundaries: set[bytes] = set()
    containers = encoded = 0
    for field in _CONTENT_FIELD.finditer(lower):
        encoded += field[0].count(b"=?")
        if field.end() - field.start() > FIELD_CAP or encoded > ENCODED_CAP:
            raise InputError(f"a MIME field of more than {FIELD_CAP:,} bytes: kept unread")
        if _CONTAINER.match(field[0]):
            containers += 1
            boundaries.add(_boundary(raw[field.start() : field.end()]))
    if containers > CONTAINER_CAP:
        raise InputError(f"more than {CONTAINER_CAP} multiparts: kept unread")
    # a report of delivery is cut at each blank line
    blocks = lower.count(b"\n\n") // 10 if b"message/delivery-status" in lower else 0
    if blocks + sum(raw.count(b"\n--" + boundary) for boundary in boundaries - {b""}) > PART_CAP + containers:
        raise InputError(f"more than {PART_CAP} parts: kept unread")


def _boundary(field: bytes) -> bytes:
    """The boundary as the parser will see it: it has a grammar of its own (RFC 2231), so its own function is asked.

    Raises InputError where that one fails, because the parser would fail as well.
    """
    probe = Part()
    probe["Content-Type"] = field.partition(b":")[2].decode("latin-1").strip()
    try:
        return (probe.get_boundary() or "").encode("latin-1", "replace")
    except _ODD_PARAMETERS:
        raise InputError("a boundary that cannot be read: kept unread") from None


def _described(part: Part) -> tuple[str, str, str, str]:
    """What a part says of itself."""
    charset = _CHARSET.search(str(part.get("content-type", "")).lower())
    encoding = _FIRST_WORD.match(str(part.get("content-transfer-encoding", "")).lower())
    disposition = _FIRST_WORD.match(str(part.get("content-disposition", "")).lower())
    kind = part.get_content_type()[:_TYPE_CAP]
    said = [found[1] if found else "-" for found in (charset, encoding, disposition)]
    return kind, said[0], said[1], said[2]


def _contents(tree: Part) -> tuple[str, str, tuple[str, ...], tuple[str, ...], list[str]]:
    """Visible text, hidden text, links, HTML sources and defects of all parts that are shown."""
    texts: list[str] = []
    hidden: list[str] = []
    links: list[str] = []
    pages: list[str] = []
    faults: list[str] = []
    for part in _bodies(tree):
        text, fits = _text_of(part)
        faults += [] if fits else ["charset"]
        if part.get_content_type() == "text/html":
            page = read_page(text)
            pages.append(text)
            text = page.text
            hidden.append(page.hidden)
            links += page.links
        else:
            links += (url.rstrip(".,;:!?)]}") for url in _BARE_URL.findall(text))
        texts.append(_capped(text))
    return "\n".join(filter(None, texts)), _capped("\n".join(hidden)), _links(links), tuple(pages), faults


def _capped(text: str) -> str:
    return normal(text[:TEXT_CAP])[:TEXT_CAP]  # one character may become 18


def _bodies(part: Part) -> Iterator[Part]:
    """The parts that are shown: no attachment, and nothing of a forwarded message, whose words are not the sender's (MP1)."""
    kind = part.get_content_type()
    if kind.startswith("message/") or _is_attachment(part):
        return
    if part.is_multipart():
        for child in part.get_payload():
            yield from _bodies(cast(Part, child))
    elif kind in ("text/plain", "text/html") or kind.startswith("multipart/"):  # the last: without its boundary (MP5)
        yield part


def _is_attachment(part: Part) -> bool:
    try:
        return part.get_content_disposition() == "attachment" or part.get_filename() is not None
    except _ODD_PARAMETERS:
        return True


def _text_of(part: Part) -> tuple[str, bool]:
    """The decoded text, and whether its bytes fit the charset it claims."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return "", True
    if any(isinstance(defect, InvalidBase64LengthDefect) for defect in part.defects):
        data = _base64(data)  # cut in the middle: the library returns it undecoded (MP10)
    try:
        charset, form, delsp = part.get_content_charset("utf-8"), part.get_param("format"), part.get_param("delsp")
    except _ODD_PARAMETERS:
        charset = form = delsp = ""
    text, fits = decode(data, charset)
    if str(form).lower() == "flowed":
        text = _unflowed(text, str(delsp).lower() == "yes")
    return text, fits


def _unflowed(text: str, delsp: bool) -> str:
    """RFC 3676: a line that ends in a blank goes on in the next one of the same quote depth; `delsp` drops that blank."""
    lines: list[str] = []
    open_depth = -1
    for line in text.splitlines():
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")
        flows = content.endswith(" ") and content != "-- "
        shown = content[:-1] if flows and delsp else content
        if depth == open_depth and content != "-- ":
            lines.append(shown)
        else:
            lines += ["\n", shown]
        open_depth = depth if flows else -1
    return "".join(lines)


def _base64(data: bytes) -> bytes:
    """As much as can be decoded of whatever is there."""
    letters = _NO_BASE64.sub(b"", data)
    return base64.b64decode(letters[: len(letters) - (len(letters) % 4 == 1)] + b"==")


def decode(data: bytes, charset: str) -> tuple[str, bool]:
    """Text, and whether the bytes fit the charset. Charsets outside the list (UTF-7, escapes, unknown ones: T11) are not used.

    Bytes that don't fit are read as UTF-8 where they are UTF-8, and as windows-1252 elsewhere.
    """
    try:
        codec = codecs.lookup(charset).name
    except (LookupError, ValueError):
        codec = ""
    if codec in ("iso8859-1", "cp1252"):
        return _western(data), True
    if _CHARSETS.fullmatch(codec):
        try:
            return data.decode(codec), True
        except UnicodeDecodeError as error:
            if error.start >= len(data) - 4 and _WIDE.match(codec):  # cut within a character
                return data[: error.start].decode(codec, "replace"), True
    return _western(data), False


def _western(data: bytes) -> str:
    return data.decode("utf-8", "unpitch-western")


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    """Decodes the whole run of bytes above 127: one call for each would be slow."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    run = _HIGH.match(error.object, error.start)
    end = run.end() if run else error.end
    return error.object[error.start : end].decode("cp1252", "replace"), end


codecs.register_error("unpitch-western", _as_windows_1252)


def _links(urls: list[str]) -> tuple[str, ...]:
    """Each link once, in order."""
    clean = (_cleaned(url) for url in urls if len(url) <= LINK_LENGTH_CAP)
    return tuple(islice(dict.fromkeys(url for url in clean if url[:8].lower().startswith(_SCHEMES)), LINK_CAP))


def _cleaned(url: str) -> str:
    """Without blanks and control characters, which hardly any has."""
    return url if url.isprintable() and " " not in url else "".join(_CONTROLS.sub("", url).split())
