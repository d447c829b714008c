"""Finds the notice on a paid message, whatever its words: several kinds of statement that such notices make, close together,
one of them that somebody pays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from filters.normal_form import fold, normal, words
from filters.senders.entries import Statement

#: The kind of statement without which nothing is a notice.
PAID = "paid"
#: Words of the text within which the statements of one notice stand: about four sentences.
WINDOW = 60
#: Words that may stand between two words of a pattern.
_GAP = 2
#: Letters of the shortest beginning ("paga*"); shorter words are looked up as they are.
_SHORTEST = 3

Pattern = tuple[tuple[str, bool], ...]
#: The vocabulary: first word (or its beginning) to the patterns that begin with it, and the kind of each.
Vocabulary = dict[str, tuple[tuple[Pattern, str], ...]]


@dataclass(frozen=True, slots=True)
class Notice:
    """The words from `first` to `last` (both included) make statements of these kinds."""

    first: int
    last: int
    kinds: frozenset[str]


def vocabulary(statements: Iterable[Statement]) -> Vocabulary:
    """Arrange the patterns for one look at each word."""
    found: dict[str, list[tuple[Pattern, str]]] = defaultdict(list)
    for statement in statements:
        for text in statement.words:
            pattern = tuple(
                (word, part.endswith("*")) for part in text.split() for word in _last_whole(part.removesuffix("*"))
            )
            found[pattern[0][0]].append((pattern, statement.kind))
    return {first: tuple(patterns) for first, patterns in found.items()}


def _last_whole(part: str) -> list[str]:
    return words(fold(normal(part)))


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


def _hits(cut: Sequence[str], known: Vocabulary, masked: Sequence[bool]) -> Iterable[tuple[int, int, str]]:
    beginnings: dict[str, list[tuple[Pattern, str]]] = {}
    for at, word in enumerate(cut):
        if word not in beginnings:
            beginnings[word] = _beginning(word, known)
        for pattern, kind in beginnings[word]:
            last = _match(cut, at, pattern)
            if last >= 0 and not masked[at]:
                yield at, last, kind


def _beginning(word: str, known: Vocabulary) -> list[tuple[Pattern, str]]:
    shorter = (word[:length] for length in range(_SHORTEST, len(word)))
    return [
        *known.get(word, ()),
        *((pattern, kind) for first in shorter for pattern, kind in known.get(first, ()) if pattern[0][1]),
    ]


def _match(cut: Sequence[str], at: int, pattern: Pattern) -> int:
    """The place of the pattern's last word, or -1; the first word is known to fit."""
    for wanted, open_ended in pattern[1:]:
        near = range(at + 1, min(at + 2 + _GAP, len(cut)))
        at = next((i for i in near if cut[i] == wanted or (open_ended and cut[i].startswith(wanted))), -1)
        if at < 0:
            return -1
    return at
