"""Finds the notice on a paid message, whatever its words: several kinds of statement that such notices make, close together,
one of them that somebody pays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from filters.normal_form import fold, normal, words
from filters.senders.entries import Statement

#: The kind of statement without which nothing is a notice.
PAID = "paid"
#: Words of the text within which the statements of one notice stand: about three sentences.
WINDOW = 45
#: Words that may stand between two words of a pattern.
_GAP = 2

Pattern = tuple[tuple[str, bool], ...]
#: Patterns with the kind of statement that each makes.
Patterns = tuple[tuple[Pattern, str], ...]
#: What a word may begin.
Vocabulary = Callable[[str], Patterns]


@dataclass(frozen=True, slots=True)
class Notice:
    """The words from `first` to `last` (both included) make statements of these kinds."""

    first: int
    last: int
    kinds: frozenset[str]


def vocabulary(statements: Iterable[Statement]) -> Vocabulary:
    """The patterns, ready to be looked up by the word that they begin with."""
    known: dict[str, list[tuple[Pattern, str]]] = defaultdict(list)
    for statement in statements:
        for text in statement.words:
            pattern = tuple((word, part.endswith("*")) for part in text.split() for word in words(fold(normal(part))))
            known[pattern[0][0]].append((pattern, statement.kind))
    lengths = sorted({len(first) for first, patterns in known.items() if any(pattern[0][1] for pattern, _ in patterns)})

    @lru_cache(maxsize=50_000)
    def begun_by(word: str) -> Patterns:
        shorter = [word[:length] for length in lengths if length < len(word)]
        longer = (one for first in shorter for one in known.get(first, ()) if one[0][0][1])
        return (*known.get(word, ()), *longer)

    return begun_by


def find_notice(cut: Sequence[str], known: Vocabulary, masked: Sequence[bool]) -> Notice | None:
    """The window with most kinds of statement, one of them `PAID`; None when somebody's paying is nowhere stated.

    `masked` words (a footer's) state nothing.
    """
    hits = sorted(_hits(cut, known, masked))
    best: Notice | None = None
    begin = 0
    for end, (at, _, _) in enumerate(hits):
        while hits[begin][0] < at - WINDOW:
            begin += 1
        inside = hits[begin : end + 1]
        kinds = frozenset(kind for _, _, kind in inside)
        if PAID in kinds and (best is None or len(kinds) > len(best.kinds)):
            best = Notice(inside[0][0], max(last for _, last, _ in inside), kinds)
    return best


def _hits(cut: Sequence[str], known: Vocabulary, masked: Sequence[bool]) -> Iterator[tuple[int, int, str]]:
    """First and last word of each statement, and its kind."""
    for at, patterns in enumerate(map(known, cut)):
        if patterns and not masked[at]:
            for pattern, kind in patterns:
                last = _match(cut, at, pattern)
                if last >= 0:
                    yield at, last, kind


def _match(cut: Sequence[str], at: int, pattern: Pattern) -> int:
    """The place of the pattern's last word, or -1; the first word is known to fit."""
    for wanted, open_ended in pattern[1:]:
        near = range(at + 1, min(at + 2 + _GAP, len(cut)))
        at = next((i for i in near if cut[i] == wanted or (open_ended and cut[i].startswith(wanted))), -1)
        if at < 0:
            return -1
    return at
