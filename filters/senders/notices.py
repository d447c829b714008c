"""Finds the notice on a paid message, whatever its words: several kinds of statement that such notices make, close together,
one of them that somebody pays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from filters.normal_form import fold, normal, words
from filters.senders.entries import Statement

#: The kind of statement without which nothing is a notice.
PAID = "paid"
#: The kinds that tell how readers were chosen and what the payer gets. How to stop and whose policy applies stand in all mail.
TELLING = frozenset({"kept", "limit", "shown", "why"})
#: The kinds that all mail has.
WAY_OUT = frozenset({"stop", "terms"})
#: Words between two statements of one notice: about a sentence.
APART = 18
#: Words that may stand between two words of a pattern.
_GAP = 1

#: Words, and whether each may go on ("sponsor*").
Pattern = tuple[tuple[str, bool], ...]
#: Patterns, the kind of statement that each makes, whether it must begin a line, and the words without which it is nowhere.
Patterns = tuple[tuple[Pattern, str, bool, frozenset[str]], ...]
#: The patterns that a text may hold, by the words of it that begin them.
Begun = dict[str, list[tuple[Pattern, str, bool, frozenset[str]]]]
#: First and last word of a statement, and its kind.
Hit = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The patterns, by the word that they begin with."""

    begun_by: Callable[[str], Patterns]


@dataclass(frozen=True, slots=True)
class Notice:
    """The words from `first` to `last` (both included) make statements of these kinds."""

    first: int
    last: int
    kinds: frozenset[str]

    @property
    def telling(self) -> int:
        """How many of the kinds are telling."""
        return len(self.kinds & TELLING)


def vocabulary(statements: Iterable[Statement]) -> Vocabulary:
    """Arrange the patterns by their first words. They are made when a mail has such a word: most are of languages that it is not in."""
    written: dict[str, list[tuple[str, str]]] = defaultdict(list)
    lengths: set[int] = set()
    for statement in statements:
        for text in statement.words:
            part = next(part for part in text.removeprefix("^").split() if _words_of(part))  # a sign alone is no word
            first = _words_of(part)[0]
            written[first].append((text, statement.kind))
            if part.endswith("*"):
                lengths.add(len(first))

    @cache
    def made(first: str) -> Patterns:
        return tuple(_pattern(text, kind) for text, kind in written[first])

    @lru_cache(maxsize=50_000)
    def begun_by(word: str) -> Patterns:
        shorter = [first for length in lengths if length < len(word) and (first := word[:length]) in written]
        longer = (one for first in shorter for one in made(first) if one[0][0][1])
        return (*(made(word) if word in written else ()), *longer)

    return Vocabulary(begun_by)


def _pattern(text: str, kind: str) -> tuple[Pattern, str, bool, frozenset[str]]:
    parts = text.removeprefix("^").split()
    pattern = tuple((word, part.endswith("*")) for part in parts for word in _words_of(part))
    whole = frozenset(word for word, goes_on in pattern[1:] if not goes_on)
    return pattern, kind, text.startswith("^"), whole


@cache
def _words_of(part: str) -> tuple[str, ...]:
    """As a mail's words are cut. Most of ours are in normal form already, and the same ones come again and again."""
    plain = part.removesuffix("*")
    if plain.isascii() and plain.isalpha() and plain.islower():
        return (plain,)
    return tuple(words(fold(normal(part))))


def states_payment(cut: Sequence[str], known: Vocabulary) -> bool:
    """Whether these words may state anywhere that somebody pays."""
    return _pays(_begun(cut, known))


def _pays(begun: Begun) -> bool:
    return any(kind == PAID for patterns in begun.values() for _, kind, _, _ in patterns)


def find_notice(
    cut: Sequence[str], known: Vocabulary, masked: Callable[[int], bool], begins_line: Callable[[int], bool]
) -> Notice | None:
    """The passage with most telling kinds of statement, one of its kinds being `PAID`; None when it is nowhere stated that
    somebody pays. `masked` words (a footer's, a quotation's) state nothing; `begins_line` tells it of the word at a place."""
    begun = _begun(cut, known)
    if not _pays(begun):
        return None
    passages = list(_passages(sorted(hit for hit in _hits(cut, begun, begins_line) if not masked(hit[0]))))
    notices = [_notice(passage) for passage in passages]
    paid = [notice for notice in notices if PAID in notice.kinds]
    best = max(paid, key=_strength, default=None)
    if best is None or best.telling:
        return best
    # "Sponsored" alone above the letter, and the reasons below it: the two are one notice
    rest = max((one for one in notices if one.telling > 1 and one.kinds & WAY_OUT), key=_strength, default=None)
    return replace(rest, kinds=rest.kinds | best.kinds) if rest else best


def _notice(passage: Sequence[Hit]) -> Notice:
    return Notice(passage[0][0], max(last for _, last, _ in passage), frozenset(kind for _, _, kind in passage))


def _strength(notice: Notice) -> tuple[int, int]:
    return notice.telling, len(notice.kinds)


def _passages(hits: Sequence[Hit]) -> Iterator[list[Hit]]:
    """Statements that follow each other closely."""
    passage: list[Hit] = []
    for hit in hits:
        if passage and hit[0] - passage[-1][1] > APART:
            yield passage
            passage = []
        passage.append(hit)
    if passage:
        yield passage


def _begun(cut: Sequence[str], known: Vocabulary) -> Begun:
    present = set(cut)
    begun: Begun = {}
    for word in filter(known.begun_by, present):
        if patterns := [one for one in known.begun_by(word) if one[3] <= present]:
            begun[word] = patterns
    return begun


def _hits(cut: Sequence[str], begun: Begun, begins_line: Callable[[int], bool]) -> Iterator[Hit]:
    for at in [at for at, word in enumerate(cut) if word in begun]:
        for pattern, kind, first, _ in begun[cut[at]]:
            last = _match(cut, at, pattern)
            if last >= 0 and (not first or begins_line(at)):
                yield at, last, kind


def _match(cut: Sequence[str], at: int, pattern: Pattern) -> int:
    """The place of the pattern's last word, or -1; the first word is known to fit."""
    for wanted, open_ended in pattern[1:]:
        for near in range(at + 1, min(at + 2 + _GAP, len(cut))):
            if cut[near] == wanted or (open_ended and cut[near].startswith(wanted)):
                at = near
                break
        else:
            return -1
    return at
