"""What mail of any sender is made of: tokens of headers, structure, sender, links, subject, marks and HTML, for models of real mail.

A token is the name of its family, a colon, and what was seen ("link:example.com", "tag:font color #ff0000"), so that its weight can
be shown to a person. In a token, a run of digits is 9. What a filter, a mail program or an archive has written into the header about the
mail is no token: `leaks.toml`. Ids and dates count by their form alone, and the readers' addresses not at all.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from urllib.parse import urlsplit

from filters.message import Message, decode_words
from filters.normal_form import fold, normal, words

#: Tokens of one family, and characters of one: whatever a mail holds, its tokens have a bound.
FAMILY_CAP = 1_000
TOKEN_CAP = 48
#: Headers of one mail, characters of one value, pieces of it.
_HEADER_CAP, _VALUE_CAP, _PIECE_CAP = 150, 1_000, 60
#: Characters of one run, and of a value that is cut into runs.
_RUN_LENGTH, _RUN_CAP = 5, 500
#: Hops, parts, links, tags and marks of one mail that are looked at, and characters of its text.
_HOP_CAP, _PART_CAP, _LINK_CAP, _TAG_CAP, _MARK_CAP, _TEXT_CAP = 20, 30, 200, 3_000, 5_000, 100_000
#: Characters of the text whose kinds are counted.
_SAMPLE = 5_000

#: Headers whose values are ids and dates, or have a family of their own.
# fmt: off
_NO_VALUES = frozenset([
    "received", "x-received", "date", "resent-date", "delivery-date", "x-original-date", "message-id", "resent-message-id", "references",
    "in-reply-to", "thread-index", "thread-topic", "x-originalarrivaltime", "x-face", "dkim-signature", "domainkey-signature",
    "x-google-dkim-signature", "x-google-smtp-source", "x-gm-message-state", "arc-seal", "arc-message-signature", "arc-authentication-results",
    "authentication-results", "subject", "old-subject", "from", "reply-to", "to", "cc", "delivered-to", "x-original-to", "content-type",
])
#: Headers that relays put on top.
_TRACE = frozenset(["received", "x-received", "return-path", "delivered-to", "delivery-date"])
#: Headers of their own families that the runs of characters come from as well.
_RUN_HEADERS = frozenset(["received", "from", "reply-to", "content-type"])
_SENDERS = ("from", "reply-to", "return-path", "sender")
#: Attributes whose values are told; of others only that they are there.
_VALUED = frozenset([
    "align", "alt", "bgcolor", "border", "cellpadding", "cellspacing", "class", "color", "content", "face", "height", "http-equiv", "method",
    "name", "size", "style", "type", "width",
])
_COUNTED_TAGS = ("img", "form", "input", "table", "a", "font", "script", "iframe", "!--", "br", "p", "style", "center", "b")
# fmt: on

_PIECE = re.compile(r"[a-z0-9$!%*'._-]+")
_HOST = re.compile(r"\b(?:[a-z0-9-]{1,40}\.){1,6}[a-z]{2,10}\b")
_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,100}")
_BOX = re.compile(r"[\w.+=-]{1,64}@")
_IP = re.compile(r"\b(\d{1,3})\.(\d{1,3})\.\d{1,3}\.\d{1,3}\b")
_PROTOCOL = re.compile(r"\bwith ([\w-]{2,12})")
_PASSING = re.compile(r"\b(?:id|for) \S+")
_RELAY = re.compile(r"\(([a-z][\w ./-]{2,24})")
_ZONE = re.compile(r"[+-]\d{4}\b|\b[A-Z]{2,4}\b(?=\)?$)")
_TIME = re.compile(r"\b(\d\d?):\d\d(:\d\d)?")
_BOUNDARY = re.compile(r"boundary\s*=\s*\"?([^\";]{0,100})")
_BEFORE_BOX = re.compile(r"[<\s\"]")
_ID_PIECE = re.compile(r"[.@$<>_-]")
_LINK_PIECE = re.compile(r"[/.?&=_+-]")
_TAG = re.compile(r"<([a-zA-Z!?/][a-zA-Z0-9:-]{0,12})([^<>]{0,400})>?([^<]{0,100})")
_ATTRIBUTE = re.compile(r"([a-zA-Z-]{2,16})\s{0,3}=\s{0,3}[\"']?([^\"'\s>]{0,100})")
_CUT_WORD = re.compile(r"<!--(?:(?!-->).){0,80}-->\w", re.DOTALL)
#: Marks are group 1. What comes first is most of any text, and holds none: passed over in one go, it takes a tenth of the time.
_MARK = re.compile(
    r"(?:[a-z]{1,30}(?!\w)[ ,.\n]*)+|"
    r"([$€£]\s?\d[\d.,]{0,12}|\b\d[\d.,]{0,12}\s?%|[!?*$#_=~-]{2,20}|\b[A-Z][A-Z'-]{2,20}\b|\b\w{0,20}?\d\w{0,20}|[!?]|[:;]-?[)(])"
)
_DIGITS = re.compile(r"\d+")
_BEYOND = re.compile(r"[^\x00-~]")
_LOWER, _UPPER = re.compile(r"[a-z]+"), re.compile(r"[A-Z]+")
_RUN = re.compile(r"(.)\1{2,}")

Tokens = Iterator[str]


@cache
def _leaks() -> re.Pattern[str]:
    data = tomllib.loads((Path(__file__).parent / "leaks.toml").read_text(encoding="utf-8"))
    return re.compile("|".join(pattern for leak in data["leak"] for pattern in leak["headers"]))


def is_leak(header: str) -> bool:
    """Whether a header (lower-case name) says what somebody, or some program, thinks of the mail or did with it."""
    return _leaks().fullmatch(header) is not None


def tokens(message: Message) -> frozenset[str]:
    """All tokens of a message."""
    found: set[str] = set()
    for family, function in FAMILIES.items():
        seen = islice(dict.fromkeys(function(message)), FAMILY_CAP)
        found.update(f"{family}:{token}"[:TOKEN_CAP].rstrip() for token in seen)
    return frozenset(found)


def _headers(message: Message) -> list[tuple[str, str]]:
    kept = [(name, value[:_VALUE_CAP]) for name, value in message.headers if not is_leak(name)]
    return kept[:_HEADER_CAP]


def _shape(text: str) -> str:
    """The text with a, A and 9 for runs of letters and digits."""
    return _DIGITS.sub("9", _UPPER.sub("A", _LOWER.sub("a", text[:100])))


def _bucket(count: int) -> str:
    """A count up to 3, and beyond by powers of two."""
    return str(count) if count < 4 else f"{1 << (count.bit_length() - 1)}+"


def _parents(host: str) -> Tokens:
    """A host, its parent domains, and its top-level domain."""
    labels = host.lower().strip(".").split(".")[-4:]
    for size in range(1, len(labels) + 1):
        yield ".".join(labels[-size:])


def _domain(address: str) -> str:
    return ".".join(address.rpartition("@")[2].split(".")[-2:])


def present(message: Message) -> Tokens:
    """Which headers there are."""
    yield from (name for name, _ in _headers(message))


def order(message: Message) -> Tokens:
    """Which header follows which: mail programs differ in that."""
    names = dict.fromkeys(name for name, _ in _headers(message) if name not in _TRACE)
    yield from (f"{one} {two}" for one, two in pairwise(names))


def values(message: Message) -> Tokens:
    """What stands in the other headers: mailer, priority, list headers ..."""
    for name, value in _headers(message):
        if name not in _NO_VALUES:
            low = _BOX.sub(" ", value.lower())
            yield from (f"{name} {_DIGITS.sub('9', piece)}" for piece in _PIECE.findall(low)[:_PIECE_CAP])
            yield from (f"{name} {parent}" for host in _HOST.findall(low)[:10] for parent in _parents(host))


def hops(message: Message) -> Tokens:
    """The chain of relays: hosts, networks, protocols, programs."""
    lines = [value.lower()[:_VALUE_CAP] for value in message.all("received")[:_HOP_CAP]]
    yield f"n {_bucket(len(lines))}"
    for line in lines:
        origin, _, receiver = line.partition(" by ")
        yield from (parent for host in _HOST.findall(origin)[:4] for parent in _parents(host))
        yield from (f"by {parent}" for host in _HOST.findall(receiver)[:1] for parent in _parents(host))
        for first, second in _IP.findall(origin)[:2]:
            yield from (first, f"{first}.{second}")
        yield from (word for word in ("unknown", "helo", "may be forged") if word in line)
        yield from (f"with {name}" for name in _PROTOCOL.findall(line)[:1])
        yield from (f"relay {_DIGITS.sub('9', name)}" for name in _RELAY.findall(receiver)[:1])
        yield f"shape {_shape(origin[:30])}"
    if lines:
        yield f"first {_shape(lines[-1][:40])}"


def runs(message: Message) -> Tokens:
    """Runs of characters in the headers: what relays and mailers wrote, in a way that no list of words would know. Not to whom,
    nor when, nor ids."""
    for name, value in _headers(message):
        if name in _RUN_HEADERS or name not in _NO_VALUES:
            low = value.lower()
            if name == "received":
                low = _PASSING.sub("", low.partition(";")[0])
            shown = f"^{_DIGITS.sub('9', _BOX.sub('@', low)[:_RUN_CAP])}$"
            yield from (shown[at : at + _RUN_LENGTH] for at in range(len(shown) - _RUN_LENGTH + 1))


def senders(message: Message) -> Tokens:
    """Names, domains and forms of the sender's addresses, and whether they agree."""
    for name in _SENDERS:
        raw = message.first(name)[:_VALUE_CAP]
        if raw:
            yield from (f"{name} {token}" for token in _mailbox(raw))
    own = _domain(message.from_address)
    for name in (*_SENDERS[1:], "message-id", "errors-to") if own else ():
        value = message.first(name).lower()[:_VALUE_CAP]
        if value:
            yield f"{name} {'same' if own in value else 'other'} domain"
    yield "named" if message.from_name else "no name"
    if "@" in message.from_name:
        yield "address in name"
    yield from message.defects


def _mailbox(raw: str) -> Tokens:
    shown = decode_words(raw)
    before, _, after = shown.rpartition("@")
    yield from (parent for host in _HOST.findall(after.lower())[:1] for parent in _parents(host))
    box = _BEFORE_BOX.split(before)[-1]
    yield f"box {_DIGITS.sub('9', box.lower())}"
    yield f"shape {_shape(box)}"
    yield f"form {_shape(_ADDRESS.sub('@', raw))}"
    if "<" in shown:
        yield from words(fold(normal(shown.partition("<")[0])))[:10]


def recipients(message: Message) -> Tokens:
    """How many readers, in what form; whether the reader's name was taken from the address."""
    for name in ("to", "cc"):
        value = message.first(name)[:_VALUE_CAP]
        yield f"{name} n {_bucket(value.count('@'))}"
        yield f"{name} form {_shape(_ADDRESS.sub('@', value))[:20]}"
    found = _ADDRESS.search(message.first("to")[:_VALUE_CAP])
    box = found[0].partition("@")[0].lower() if found else ""
    if len(box) > 2:
        yield from ["box in subject"] * (box in message.subject.lower())
        yield from ["box in text"] * (box in message.text[:_SAMPLE].lower())


def ids(message: Message) -> Tokens:
    """The form of the Message-ID, and where it was made."""
    value = message.first("message-id")[:200]
    local, _, domain = value.rpartition("@")
    yield _shape(local)
    yield f"length {len(value) // 8}"
    yield from _parents(domain.strip(" >"))
    yield f"domain {_shape(domain)}"
    yield from (piece.lower() for piece in _ID_PIECE.split(value)[:6] if piece.isalpha())


def dates(message: Message) -> Tokens:
    """The form, time zone and hour of Date; never the date."""
    date = message.first("date")[:100]
    yield _shape(date)
    yield from (f"zone {zone}" for zone in _ZONE.findall(date)[:2])
    for time in islice(_TIME.finditer(date), 1):
        yield f"hour {int(time[1]) // 3}"
        yield from ["no seconds"] * (not time[2])


def parts(message: Message) -> Tokens:
    """The MIME structure: types, charsets, encodings, boundary."""
    yield f"n {_bucket(len(message.parts))}"
    for part in message.parts[:_PART_CAP]:
        kind, charset, encoding, disposition = part
        yield from (kind, " ".join(part), f"charset {charset}", f"encoding {encoding}", f"disposition {disposition}")
    yield " ".join(kind for kind, *_ in message.parts[:5])
    declared = message.first("content-type")[:_VALUE_CAP]
    yield f"form {_shape(declared)}"
    yield from (f"boundary {_shape(boundary)}" for boundary in _BOUNDARY.findall(declared)[:1])


def measures(message: Message) -> Tokens:
    """Lengths and shares, in steps."""
    text, subject = message.text, message.subject
    sample = text[:_SAMPLE]
    letters = sum(map(str.isalpha, sample)) + 1
    lines = text.count("\n") + 1
    source = sum(map(len, message.pages))
    yield f"html {bool(source)}"
    yield f"length {len(text).bit_length()}"
    yield f"lines {lines.bit_length()}"
    yield f"words in a line {min(20, text.count(' ') // lines)}"
    yield f"text in html {10 * len(text) // source if source else '-'}"
    yield f"hidden {len(message.hidden).bit_length()}"
    yield f"capitals {20 * sum(map(str.isupper, sample)) // letters}"
    yield f"digits {20 * sum(map(str.isdigit, sample)) // letters}"
    yield f"beyond ascii {10 * len(_BEYOND.findall(sample)) // (len(sample) + 1)}"
    yield f"quoted lines {_bucket(text.count(chr(10) + '>'))}"
    yield f"exclamations {_bucket(text.count('!'))}"
    yield f"dollars {_bucket(text.count('$'))}"
    yield f"subject capitals {5 * sum(map(str.isupper, subject)) // (len(subject) + 1)}"
    yield f"subject length {len(subject) // 10}"


def links(message: Message) -> Tokens:
    """Hosts and paths, and what is odd about them."""
    hosts: set[str] = set()
    yield f"n {_bucket(len(message.links))}"
    for link in message.links[:_LINK_CAP]:
        try:
            split = urlsplit(link[:_VALUE_CAP])
            host, port = split.hostname or "", split.port
        except ValueError:
            yield "malformed"
            continue
        yield split.scheme
        if split.scheme == "mailto":
            yield from (f"@{parent}" for parent in _parents(split.path.rpartition("@")[2]))
            continue
        hosts.add(host)
        yield from _IP.sub(r"ip \1.\2", host).split("\n") if _IP.fullmatch(host) else _parents(host)
        odd = {"ip": _IP.fullmatch(host), "port": port, "user": "@" in split.netloc, "percent": "%" in split.path}
        yield from (name for name, there in odd.items() if there)
        yield f"depth {split.path.count('/')}{' query' if split.query else ''}"
        pieces = _LINK_PIECE.split(f"{split.path}/{split.query[:100]}".lower())[:12]
        yield from (f"/{_DIGITS.sub('9', piece)}" for piece in pieces if 1 < len(piece) <= 20)
    yield f"hosts {_bucket(len(hosts))}"
    own = _domain(message.from_address)
    if own and hosts:
        yield "own domain" if any(host.endswith(own) for host in hosts) else "not the own domain"


def tags(message: Message) -> Tokens:
    """HTML elements and attributes, their number, and links that say they lead elsewhere."""
    count: Counter[str] = Counter()
    for page in message.pages:
        for name, inside, after in islice((match.groups() for match in _TAG.finditer(page)), _TAG_CAP):
            tag = name.lower()
            count[tag] += 1
            if not tag.startswith("/"):
                yield tag
                yield from _attributes(tag, inside, after)
        if _CUT_WORD.search(page[:_TEXT_CAP]):
            yield "comment within a word"
    yield from (f"{tag} n {_bucket(count[tag])}" for tag in _COUNTED_TAGS if tag in count)


def _attributes(tag: str, inside: str, after: str) -> Tokens:
    for raw, value in islice(_ATTRIBUTE.findall(inside), 10):
        name = raw.lower()
        yield f"{tag} {name} {value.lower()[:24]}" if name in _VALUED else f"{tag} {name}"
        target = _HOST.search(value.lower()) if name in ("src", "href") else None
        if target and name == "src":
            yield from (f"src {parent}" for parent in _parents(target[0]))
        said = _HOST.search(after.lower()) if target and tag == "a" else None
        if target and said and _domain(said[0]) != _domain(target[0]):
            yield "link text says otherwise"


def hidden(message: Message) -> Tokens:
    """Words that HTML hides."""
    yield from words(fold(message.hidden[:_SAMPLE]))


def subject(message: Message) -> Tokens:
    """Words, word pairs and marks of the subject, and how it was encoded."""
    shown = message.subject
    cut = words(fold(normal(shown)))[:100]
    yield from cut or ["none"]
    yield from (f"{one} {two}" for one, two in pairwise(cut))
    yield from (f"mark {mark}" for mark in _marks_in(shown))
    yield from (f"first {word.lower()}" for word in shown.split()[:1])
    yield from (f"last {char}" for char in shown[-1:] if not char.isalnum())
    raw = message.first("subject")[:_VALUE_CAP]
    if "=?" in raw:
        yield f"charset {raw.partition('=?')[2].partition('?')[0].lower()}"
    if "   " in raw:
        yield "gap"


def marks(message: Message) -> Tokens:
    """Money, percentages, runs of marks, words with digits, and words in capitals."""
    yield from islice(_marks_in(message.text[:_TEXT_CAP]), _MARK_CAP)


def _marks_in(text: str) -> Tokens:
    return (_squeezed(match[1]) for match in _MARK.finditer(text) if match[1])


def _squeezed(mark: str) -> str:
    return _RUN.sub(r"\1\1", _DIGITS.sub("9", mark))[:20]


FAMILIES: dict[str, Callable[[Message], Iterable[str]]] = {
    "has": present,
    "order": order,
    "head": values,
    "hop": hops,
    "sender": senders,
    "to": recipients,
    "id": ids,
    "date": dates,
    "part": parts,
    "form": measures,
    "link": links,
    "tag": tags,
    "hidden": hidden,
    "subject": subject,
    "mark": marks,
    "run": runs,
}
