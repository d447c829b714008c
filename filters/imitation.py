"""Does a mail pretend to be the sender's: by its domain, by one that looks alike, by its name, by its private headers?

Claiming is no proof, and missing a claim costs nothing: such mail is left alone. So the tests are broad for domains, where
an imitation is plain, and narrow for names, which ordinary newsletters mention too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from filters.message import decode_words, header_value
from filters.normal_form import normal
from filters.senders import Sender

#: Letters of other scripts, and digits, that are taken for a Latin letter (T12). Accents fall off by decomposition.
_TAKEN_FOR = {
    "a": "аαɑ", "c": "сϲ", "d": "ԁđɗɖᴅ", "e": "еεєᴇ3", "g": "ɡ", "h": "һ", "i": "іιıɩɪӏ", "j": "ј", "k": "кκƙĸᴋ",
    "l": "łɫʟǀ׀|1", "m": "м", "n": "пνηиոɴŋɲ", "o": "оοøօ0", "p": "рρ", "s": "ѕ5", "t": "тτ", "u": "υս", "w": "ԝ",
    "x": "х", "y": "у",
}  # fmt: skip
_LATIN = str.maketrans({char: letter for letter, chars in _TAKEN_FOR.items() for char in chars})
_DOMAIN = re.compile(r"@([^\s<>()\[\],;:\"@]+)")
_ANGLES = re.compile(r"<[^<>]*>")
_WORD = re.compile(r"[^\W_]+")
#: What stands between a person and the house it writes from, in the languages of which such names were seen.
_FROM = frozenset(["at", "bei", "by", "chez", "de", "di", "do", "from", "van", "via", "von"])
#: Words of a name that begins with the sender's own: "Name Job Alerts".
_NAME_WORDS = 3
#: Letters by which an imitation differs: of a domain or a whole name, and of one word among others.
_EDITS, _WORD_EDITS = 2, 1
_VALUE_CAP, _LABEL_CAP, _DOMAIN_CAP = 1_000, 63, 253


def claims_to_be(block: bytes | Sequence[tuple[str, str]], sender: Sender) -> bool:
    """Whether a message with this header block, as bytes or as `Message.headers`, may be the sender's, or wants to be taken for it.

    True for the sender's domain or a look-alike in From (wherever in it) or Sender, for the sender's name as the display
    name, and for a header that only the sender writes. Other mentions of the name don't count. Never raises.
    """
    private = header_prefix(sender)
    if isinstance(block, bytes):
        lower = b"\n" + block.lower()
        own = b"\n" + private.encode() in lower
        from_, others = (tuple(_values(block, lower, name)) for name in (b"from", b"sender"))
    else:
        own = any(name.startswith(private) for name, _ in block)
        from_, others = (tuple(value for key, value in block if key == name) for name in ("from", "sender"))
    known = (sender.domains, sender.neighbours, sender.aliases)
    return (
        own
        or any(_pretends(value[:_VALUE_CAP], *known) for value in from_)
        or any(
            _imitates(domain, sender.domains, sender.neighbours, sender.aliases)
            for value in others
            for domain in domains_in(value)
        )
    )


def header_prefix(sender: Sender) -> str:
    """The beginning of the names of headers that only the sender writes, lower case."""
    return sender.class_header.rpartition("-")[0] + "-"


def domains_in(text: str) -> tuple[str, ...]:
    """What follows each "@", lower case."""
    return tuple(found.lower() for found in _DOMAIN.findall(text[:_VALUE_CAP]))


def imitates(domain: str, sender: Sender) -> bool:
    """Whether a domain that is not the sender's looks like one of the sender's."""
    return not sender.owns(domain) and _imitates(domain, sender.domains, sender.neighbours, sender.aliases)


def bears_name(name: str, sender: Sender) -> bool:
    """Whether a decoded display name is the sender's, nearly the sender's, or holds an address of the sender's domain."""
    return _pretends(name[:_VALUE_CAP], sender.domains, sender.neighbours, sender.aliases)


def _values(block: bytes, lower: bytes, name: bytes) -> Iterator[str]:
    """Unfolded values of a header of a block; `lower` is the block in lower case behind a line feed."""
    start = lower.find(b"\n" + name)
    while start >= 0:
        end = lower.find(b"\n", start + 1)
        while end >= 0 and lower[end + 1 : end + 2] in (b" ", b"\t"):
            end = lower.find(b"\n", end + 1)
        # without the line feed, an offset in `lower` is one more than in `block`
        rest = block[start + len(name) : end - 1 if end >= 0 else None].lstrip(b" \t")
        if rest.startswith(b":"):
            yield header_value(rest[1:])
        start = lower.find(b"\n" + name, end) if end >= 0 else -1


@lru_cache(maxsize=4096)
def _pretends(value: str, own: tuple[str, ...], neighbours: tuple[str, ...], aliases: tuple[str, ...]) -> bool:
    """Whether a From value shows the sender's domain, a look-alike, or the sender's name."""
    shown = value if value.isascii() and "=?" not in value else normal(decode_words(value))
    domains = {*domains_in(value), *domains_in(shown)}
    if any(_imitates(domain, own, neighbours, aliases) for domain in domains):
        return True
    name = " ".join(word for word in _ANGLES.sub(" ", shown).split() if "@" not in word)
    return _is_name(_WORD.findall(_latin(name)), aliases)


@lru_cache(maxsize=4096)
def _imitates(domain: str, own: tuple[str, ...], neighbours: tuple[str, ...], aliases: tuple[str, ...]) -> bool:
    """Whether a domain is one of `own`, below one, or looks like one."""
    plain = _latin(".".join(_decoded(label) for label in domain[-_DOMAIN_CAP:].lower().rstrip(".").split(".")))
    if any(plain == name or plain.endswith("." + name) for name in neighbours):
        return False
    labels = plain.split(".")
    name = _registered(labels)
    parts = [name.replace("-", ""), *name.split("-")]
    return any(
        address in plain or _near(".".join(labels[-1 - address.count(".") :]), address, _EDITS)
        for address in map(_latin, own)
    ) or any(_near(part, alias, _WORD_EDITS) for alias in aliases for part in parts)


def _registered(labels: list[str]) -> str:
    """The label that somebody chose: "name" of name.org and of name.co.uk, as far as a rule of thumb can tell."""
    public = 2 if len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3 else 1
    return labels[-1 - public] if len(labels) > public else ""


def _is_name(words: list[str], aliases: Iterable[str]) -> bool:
    """Whether the words of a display name make it the sender's."""
    for alias in aliases:
        whole = "".join(words)
        if abs(len(whole) - len(alias)) < _EDITS and _near(whole, alias, _EDITS):
            return True
        cut = [alias, *words[2:]] if "".join(words[:2]) == alias else words
        if any(_near(word, alias, _WORD_EDITS) and _stands_for_all(cut, place) for place, word in enumerate(cut)):
            return True
    return False


def _stands_for_all(words: list[str], place: int) -> bool:
    """Whether the name at this place names the mail's sender: "Name", "Name Job Alerts", "Name via List", "Team Name",
    "Jane Doe via Name"; not "The Name Ads Expert"."""
    if place == 0:
        return len(words) <= _NAME_WORDS or words[1] == "via"
    before = words[place - 1]
    return before == "via" or (place == len(words) - 1 and (place == 1 or before in _FROM))


def _near(text: str, goal: str, limit: int) -> bool:
    """Whether `text` becomes `goal` by at most `limit` letters inserted, left out or replaced (Levenshtein)."""
    if abs(len(text) - len(goal)) > limit or len(set(goal) - set(text)) > limit:
        return False
    above = list(range(len(goal) + 1))
    for row, char in enumerate(text, 1):
        current = [row]
        for column, other in enumerate(goal, 1):
            current.append(min(above[column] + 1, current[-1] + 1, above[column - 1] + (char != other)))
        above = current
    return above[-1] <= limit


def _latin(text: str) -> str:
    """Lower case, without accents, every letter as the Latin one that it is taken for."""
    if text.isascii():
        return text.lower().translate(_LATIN)
    letters = unicodedata.normalize("NFKD", normal(text).lower())
    return "".join(char for char in letters if not unicodedata.combining(char)).translate(_LATIN)


def _decoded(label: str) -> str:
    """A label as it is shown: "xn--" labels (RFC 5891) in their own letters."""
    if not label.startswith("xn--") or len(label) > _LABEL_CAP:
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return label
