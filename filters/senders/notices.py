"""Finds the notice on a paid message, whatever its words: several kinds of statement that such notices make, close together,
one of them that somebody pays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
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
#: Patterns, the kind of statement that each makes, and whether it must begin a line.
Patterns = tuple[tuple[Pattern, str, bool], ...]
#: First and last word of a statement, and its kind.
Hit = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The patterns, by the word that they begin with."""

    begun_by: Callable[[str], Patterns]
    paid: frozenset[str]
    """Words that begin a statement that somebody pays ..."""
    paid_beginnings: tuple[str, ...]
    """... and beginnings of such words."""


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
    """Arrange the patterns."""
    known: dict[str, list[tuple[Pattern, str, bool]]] = defaultdict(list)
    for statement in statements:
        for text in statement.words:
            parts = text.removeprefix("^").split()
            pattern = tuple((word, part.endswith("*")) for part in parts for word in _words_of(part))
            known[pattern[0][0]].append((pattern, statement.kind, text.startswith("^")))
    lengths = sorted({len(first) for first, patterns in known.items() if any(one[0][0][1] for one in patterns)})

    @lru_cache(maxsize=50_000)
    def begun_by(word: str) -> Patterns:
        shorter = [word[:length] for length in lengths if length < len(word)]
        longer = (one for first in shorter for one in known.get(first, ()) if one[0][0][1])
        return (*known.get(word, ()), *longer)

    paid = [pattern[0] for patterns in known.values() for pattern, kind, _ in patterns if kind == PAID]
    return Vocabulary(begun_by, frozenset(word for word, _ in paid), tuple({word for word, goes_on in paid if goes_on}))


@cache
def _words_of(part: str) -> tuple[str, ...]:
    """As a mail's words are cut. Most of ours are in normal form already, and the same ones come again and again."""
    plain = part.removesuffix("*")
    if plain.isascii() and plain.isalpha() and plain.islower():
        return (plain,)
    return tuple(words(fold(normal(part))))


def states_payment(cut: Sequence[str], known: Vocabulary) -> bool:
    """Whether these words may state anywhere that somebody pays: a quick look, for most mails end here."""
    present = set(cut)
    begins = [word for word in present if word in known.paid or word.startswith(known.paid_beginnings)]
    patterns = (one for word in begins for one in known.begun_by(word))
    return any(kind == PAID and _possible(pattern, present) for pattern, kind, _ in patterns)


def find_notice(
    cut: Sequence[str], known: Vocabulary, masked: Sequence[bool], begins_line: Callable[[int], bool]
) -> Notice | None:
    """The passage with most telling kinds of statement, one of its kinds being `PAID`; None when it is nowhere stated that
    somebody pays. `masked` words (a footer's, a quotation's) state nothing; `begins_line` tells it of the word at a place."""
    passages = list(_passages(sorted(hit for hit in _hits(cut, known, begins_line) if not masked[hit[0]])))
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


def _hits(cut: Sequence[str], known: Vocabulary, begins_line: Callable[[int], bool]) -> Iterator[Hit]:
    present = set(cut)
    begun = {
        word: patterns
        for word in present
        if (patterns := [one for one in known.begun_by(word) if _possible(one[0], present)])
    }
    for at in [at for at, word in enumerate(cut) if word in begun]:
        for pattern, kind, first in begun[cut[at]]:
            last = _match(cut, at, pattern)
            if last >= 0 and (not first or begins_line(at)):
                yield at, last, kind


def _possible(pattern: Pattern, present: Set[str]) -> bool:
    return all(open_ended or word in present for word, open_ended in pattern[1:])


def _match(cut: Sequence[str], at: int, pattern: Pattern) -> int:
    """The place of the pattern's last word, or -1; the first word is known to fit."""
    for wanted, open_ended in pattern[1:]:
        near = range(at + 1, min(at + 2 + _GAP, len(cut)))
        at = next((i for i in near if cut[i] == wanted or (open_ended and cut[i].startswith(wanted))), -1)
        if at < 0:
            return -1
    return at
