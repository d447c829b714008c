"""What in a mail speaks for which category: named evidence that can be quoted, and the words of the visible text.

Nothing here comes from ids, dates, or the names of people: the words of the From and To names are left out, and the trainer
keeps only words that several authors use.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from filters.message import Message
from filters.normal_form import fold, normal, spans, words
from filters.senders import Disclosure, Footer, Hit, Sender, quotations

#: Words of the visible text that are looked at; the longest real job alert has about 9,000.
WORD_CAP = 20_000
#: The feature of any notice on a paid message; others, with the same beginning, say how much it tells.
NOTICE = "notice_paid"
_LONGEST_WORD = 30
#: Between two words or tokens of a text of them. Next to none has it, and no model keeps one that has.
_BETWEEN = "\0"
#: A footer's lines of a few words ("Unsubscribe", "Help"), and how many of them stand beside a line that is known.
_FOOTER_WORDS, _FOOTER_REACH = 4, 3
_LINE_END = re.compile("\n")
#: r"(?i)\bhttps?://\S+", written so that it begins with a letter: only that is looked for, at three times the speed.
_URL = re.compile(r"[hH](?<!\w.)(?i:ttps?://)\S+")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One clue: the feature, the words of the mail that show it, and what it adds to the log-odds of the verdict."""

    feature: str
    quote: str
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Features:
    """`named`: feature to the quote that shows it. `words`: words and word pairs of subject and visible text. `tokens`: what mail
    of any sender is made of (`filters.tokens`), and pairs of words with one between them, for models that look at it."""

    named: dict[str, str]
    words: frozenset[str]
    tokens: frozenset[str] = frozenset()

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Features:
        """What `as_json` wrote."""
        words, tokens = (frozenset(plain[name].split(_BETWEEN)) - {""} for name in ("words", "tokens"))
        return cls(plain["named"], words, tokens)

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them. Words and tokens are one text each: thousands of texts take ten times as long to write and read."""
        words, tokens = (
            _BETWEEN.join(sorted(name for name in names if _BETWEEN not in name)) for names in (self.words, self.tokens)
        )
        return {"named": self.named, "words": words, "tokens": tokens}

    @property
    def crowd(self) -> frozenset[str]:
        """Words and tokens: many, and each of little weight."""
        return self.words | self.tokens if self.tokens else self.words


@dataclass(frozen=True, slots=True)
class Reading:
    """A message as the feature functions see it: `cut` are the words of `text`, `hits` the known phrases among them."""

    message: Message
    sender: Sender
    text: str
    cut: list[str]
    places: Callable[[], list[tuple[int, int]]]
    """Where the words stand; worked out only when somebody asks."""
    hits: list[Hit]
    templates: tuple[str, ...]
    signed: bool


Named = Iterator[tuple[str, str]]


def read(
    message: Message, sender: Sender, templates: tuple[str, ...], *, signed: bool = True, general: bool = False
) -> Features:
    """All features of a message that shows these `templates` (see `templates_of`); the tokens of any mail when `general`.

    Not `signed`: the receiver says that the mail is genuine, but not by a signature (SPF alone). Then class and template prove
    nothing, and do not count.
    """
    text = visible(message)
    folded = fold(text)
    cut = words(folded)[:WORD_CAP]
    places = cache(lambda: spans(folded)[:WORD_CAP])
    shown = templates if signed else ()
    reading = Reading(message, sender, text, cut, places, sender.hits(cut), shown, signed)
    named: dict[str, str] = {}
    for function in NAMED:
        for feature, quote in function(reading):
            named.setdefault(feature, quote)
    kept = _kept(message, cut, sender.ignored)
    found = _any_sender(message, kept) if general else frozenset[str]()
    return Features(named, word_features(kept), found)


def _any_sender(message: Message, kept: list[str]) -> frozenset[str]:
    from filters.tokens import tokens  # noqa: PLC0415  (0.01 s that only a general model should pay)

    return tokens(message) | pairs_apart(kept)


def visible(message: Message) -> str:
    """Subject and text without links, each line once: text and HTML mostly say the same."""
    lines = _URL.sub(" ", f"{normal(message.subject)}\n{message.text}").split("\n")
    return "\n".join(dict.fromkeys(lines))


def templates_of(message: Message, sender: Sender) -> tuple[str, ...]:
    """Template names that the mail shows: the header's, then those of its links, the most frequent first."""
    linked = [name for name, _ in sender.templates_in(message.links).most_common()]
    return tuple(name for name in (message.first(sender.template_header.lower()).strip(), *linked) if name)


def disclosures(reading: Reading) -> Named:
    """What the sender's own sentences say: decisive, strong, weak, guessed by us, or merely quoted by the writer.

    Several sentences that do not overlap are stronger than each: one alone may stand in other mail too.
    """
    hits = [hit for hit in reading.hits if isinstance(hit[-1], Disclosure)]
    ends: dict[str, list[int]] = {}
    for found in reading.sender.found(reading.text, hits, reading.places() if hits else ()):
        entry = found.entry
        if not isinstance(entry, Disclosure):
            continue
        quote = reading.text[found.start : found.end]
        if found.quoted:
            yield f"disclosure_quoted:{entry.category}", quote
        elif entry.guess:
            yield f"disclosure_guess_{entry.strength}:{entry.category}", quote
        else:
            yield f"disclosure_{entry.strength}:{entry.category}", quote
            if entry.strength != "weak" and found.start >= max(ends.setdefault(entry.category, []), default=0):
                ends[entry.category].append(found.end)
            if len(ends.get(entry.category, ())) > 1:
                yield f"disclosure_several:{entry.category}", quote


def notices(reading: Reading) -> Named:
    """A notice on a paid message in words that nobody has listed: how many telling kinds of statement it makes."""
    text = reading.text

    def begins_line(at: int) -> bool:
        start = reading.places()[at][0]
        return not text[text.rfind("\n", 0, start) + 1 : start].strip(" .·*|")

    in_footer, in_quotation = cache(lambda: _in_footer(reading)), cache(lambda: _in_quotation(reading))
    notice = reading.sender.notice(reading.cut, lambda at: in_footer()(at) or in_quotation()(at), begins_line)
    if notice is None:
        return
    places = reading.places()
    quote = text[places[notice.first][0] : places[notice.last][1]]
    yield NOTICE, quote
    for number in range(1, notice.telling + 1):
        yield f"notice_telling_{number}", quote
    if notice.telling and notice.kinds & {"stop", "terms"}:
        yield "notice_way_out", quote


def _in_quotation(reading: Reading) -> Callable[[int], bool]:
    """Of a word, whether the writer quotes or forwards it."""
    quoted = quotations(reading.text)
    if not quoted:
        return lambda _: False
    starts = [start for start, _ in reading.places()]
    masked = [False] * len(starts)
    for start, end in quoted:
        first, last = bisect_left(starts, start), bisect_left(starts, end)
        masked[first:last] = [True] * (last - first)
    return masked.__getitem__


def _in_footer(reading: Reading) -> Callable[[int], bool]:
    """Of a word, whether it stands in a footer line, or in a line of a few words beside one: those tell of unsubscribing and of
    reasons in all mail."""
    starts = [start for start, _ in reading.places()]
    ends = [match.start() for match in _LINE_END.finditer(reading.text)]
    footer = {bisect_left(ends, starts[first]) for first, _, _, entry in reading.hits if isinstance(entry, Footer)}
    bounds = [0, *ends, len(reading.text)]
    for _ in range(_FOOTER_REACH):
        beside = {line + step for line in footer for step in (-1, 1) if 0 <= line + step <= len(ends)} - footer
        lengths = {line: bisect_left(starts, bounds[line + 1]) - bisect_left(starts, bounds[line]) for line in beside}
        footer |= {line for line in beside if lengths[line] <= _FOOTER_WORDS}
    return lambda at: bisect_left(ends, starts[at]) in footer


def footers(reading: Reading) -> Named:
    """The footer names the kind of mail."""
    for *_, entry in reading.hits:
        if isinstance(entry, Footer) and entry.category:
            yield f"footer:{entry.category}", entry.text


def stream(reading: Reading) -> Named:
    """The address that the mail comes from."""
    address = reading.message.from_address
    known = reading.sender.stream(address)
    if known:
        yield f"stream:{known.category}", address
    else:
        yield "stream:unknown", address


def header_class(reading: Reading) -> Named:
    """The sender's own class of the mail. It does not tell a recruiter from an advertiser."""
    value = reading.message.first(reading.sender.class_header.lower()).strip().upper() if reading.signed else ""
    known = value in reading.sender.classes
    yield f"class:{value if known else 'unknown' if value else 'none'}", value


def templates(reading: Reading) -> Named:
    """The template, by header and by links; the same in every language."""
    for name in reading.templates[:2]:  # the header's, and the one that most links agree on
        template = reading.sender.template(name)
        yield (f"template:{template.stem}" if template else "template:unknown"), name
        if template:
            yield f"template_kind:{template.category}", name
    if not reading.templates:
        yield "template:none", ""


def opt_out_links(reading: Reading) -> Named:
    """A link to a switch for one kind of mail."""
    for clue, _link in reading.sender.clues_in(reading.message.links):
        yield f"opt_out_link_{clue.strength}:{clue.category}", clue.part


def list_headers(reading: Reading) -> Named:
    """The shape of List-Unsubscribe (RFC 2369, RFC 8058); its values are secret and never looked at."""
    value = reading.message.first("list-unsubscribe").lower()
    if not value:
        yield "list_unsubscribe:none", ""
        return
    yield f"list_unsubscribe:{'mailto' if '<mailto:' in value else 'https'}", ""
    if reading.message.first("list-unsubscribe-post"):
        yield "list_unsubscribe:one-click", ""


NAMED: tuple[Callable[[Reading], Named], ...] = (
    disclosures,
    notices,
    footers,
    stream,
    header_class,
    templates,
    opt_out_links,
    list_headers,
)


def word_features(kept: list[str]) -> frozenset[str]:
    """Words and pairs of neighbouring words."""
    pairs = [f"{one} {two}" for one, two in pairwise(kept) if one and two]
    return frozenset(kept).union(pairs) - {"", "#"}


def pairs_apart(kept: list[str]) -> frozenset[str]:
    """Pairs of words with one between them ("click … here")."""
    return frozenset([f"{one} … {two}" for one, two in zip(kept, kept[2:], strict=False) if one and two])


def _kept(message: Message, cut: list[str], ignored: frozenset[str]) -> list[str]:
    """The words, "" in place of those that do not count: names in From and To, and those to be ignored."""
    names = ignored.union(words(fold(normal(f"{message.from_name} {message.first('to')}"))))
    return [word if word == "#" or (2 <= len(word) <= _LONGEST_WORD and word not in names) else "" for word in cut]


def is_word(feature: str) -> bool:
    """Whether a feature is a word or a pair of words: the names of all others have a colon or an underscore in them."""
    return ":" not in feature and "_" not in feature


def is_pair(feature: str) -> bool:
    """Whether a feature is a pair of words."""
    return " " in feature and is_word(feature)


def view_of(feature: str) -> int:
    """By which view of a mail a general model sees a feature: 1 pairs of words, 2 runs of characters in the header, 0 all else."""
    return 1 if is_pair(feature) else 2 if feature.startswith("run:") else 0
