"""Finds known phrases in the text of a mail although a number, a word or a cut differs, and tells whether they are quoted.

Text and phrases are cut by `normal_form.words`. A long phrase is found when most of its words stand in runs of four, in
order and close together; a short one only as it is. Every step is linear in the text.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from filters.normal_form import fold, normal, words
from filters.senders.entries import Disclosure, Footer

#: Words in a run that count as found: fewer would find everyday language.
RUN = 4
#: A phrase of fewer words is found only as it is: with one word changed, too little of it would be left.
EXACT_BELOW = 10
#: Share of a phrase's words that must be found. In a decisive one words may be inserted, but none may be missing: it could be
#: the deciding one. The deciding part has an entry of its own, which is found wherever the rest is cut or changed.
ENOUGH, ENOUGH_DECISIVE = 0.75, 1.0
#: How much longer than the phrase the place may be.
STRETCH = 1.6
#: Characters of the longest line that a label may begin.
LABEL_LINE = 40
#: Characters around a passage in which its quotation marks are looked for, and between two sentences of one passage.
_NEAR, _GAP = 200, 80
#: Places of one phrase that are looked at; a mail that repeats it endlessly must not cost time.
_PLACES = 20
#: Scripts without blanks: the first and the last letter of each.
_UNSPACED = (
    ("\u0e00", "\u0eff"),
    ("\u1000", "\u109f"),
    ("\u1780", "\u17ff"),
    ("\u3040", "\u30ff"),
    ("\u3400", "\u9fff"),
    ("\uac00", "\ud7af"),
)
#: A mark that is no apostrophe within a word.
_MARK = re.compile(r"(?<!\w)[\"']|[\"'](?!\w)")
_DOUBLE_MARK = re.compile('"')
_CITED_LINE = re.compile(r"^ ?>.*$", re.MULTILINE)
#: Characters of a quotation that is more than a title, and of the longest that one pair of marks is believed to enclose.
_SHORTEST_QUOTATION, _LONGEST_QUOTATION = 60, 3000
_OPENS_AFTER = frozenset(" \n([{>:-/")
#: "----- Forwarded message -----" in any language. Three dashes are a heading.
_SEPARATOR = re.compile(r"^-{4,80} ?[^\W\d_][^\n]{1,60}? ?-{4,80}$", re.MULTILINE)

Shingle = tuple[str, ...]
#: First and last word, score, entry: a phrase before it is known where in the text those words stand.
Hit = tuple[int, int, float, Disclosure | Footer]


@dataclass(frozen=True, slots=True)
class Found:
    """A phrase at a place: `text[start:end]` is what the mail says; `score` the share of the phrase's words found there."""

    entry: Disclosure | Footer
    start: int
    end: int
    score: float
    quoted: bool = False
    """The writer quotes or forwards these words."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All phrases, arranged for one pass over a text."""

    exact: dict[str, tuple[tuple[Shingle, Disclosure | Footer], ...]]
    """First word to phrases that must occur as they are."""
    long: tuple[tuple[int, Disclosure | Footer], ...]
    """Length in words, and entry, of the phrases that may differ a little."""
    shingles: dict[Shingle, tuple[tuple[int, int], ...]]
    """Four words to (number in `long`, place of the first of the four in that phrase)."""
    begins: frozenset[str]
    """The first words of these."""
    unspaced: tuple[tuple[str, Disclosure | Footer], ...]
    """Folded text of phrases in scripts without blanks, found as parts of the text."""


def catalogue(entries: Iterable[Disclosure | Footer]) -> Catalogue:
    """Arrange the entries' texts."""
    exact: dict[str, list[tuple[Shingle, Disclosure | Footer]]] = defaultdict(list)
    shingles: dict[Shingle, list[tuple[int, int]]] = defaultdict(list)
    long: list[tuple[int, Disclosure | Footer]] = []
    unspaced: list[tuple[str, Disclosure | Footer]] = []
    for entry in entries:
        folded = fold(normal(entry.text))
        spelled = tuple(words(folded))
        if max(folded) >= _UNSPACED[0][0] and any(first <= one <= last for one in folded for first, last in _UNSPACED):
            unspaced.append((folded, entry))
        elif len(spelled) < EXACT_BELOW:
            exact[spelled[0]].append((spelled, entry))
        else:
            for place in range(len(spelled) - RUN + 1):
                shingles[spelled[place : place + RUN]].append((len(long), place))
            long.append((len(spelled), entry))
    return Catalogue(
        {key: tuple(found) for key, found in exact.items()},
        tuple(long),
        {key: tuple(found) for key, found in shingles.items()},
        frozenset(shingle[0] for shingle in shingles),
        tuple(unspaced),
    )


def hits(cut: Sequence[str], phrases: Catalogue) -> list[Hit]:
    """Every place of every phrase among the words of a text, quoted or not."""
    return [*_exact(cut, phrases), *_long(cut, phrases)]


def find(text: str, hits: Sequence[Hit], places: Sequence[tuple[int, int]], phrases: Catalogue) -> tuple[Found, ...]:
    """Each phrase that occurs in `text` (in normal form; `places` is where its words stand), once, in order of place. Of several
    places the one counts that is not quoted, then the most complete, then the first."""
    everywhere = [Found(entry, places[first][0], places[last][1], score) for first, last, score, entry in hits]
    everywhere += _unspaced(text, phrases)
    everywhere = [found for found in everywhere if not found.entry.label or _is_label(text, found)]
    best: dict[Disclosure | Footer, Found] = {}
    for found in _with_quotes(text, _first_places(everywhere)):
        known = best.setdefault(found.entry, found)
        if (not found.quoted, found.score) > (not known.quoted, known.score):
            best[found.entry] = found
    exact = [found for found in best.values() if found.score == 1]
    kept = (found for found in best.values() if found.score == 1 or not any(_within(found, better) for better in exact))
    return tuple(sorted(kept, key=lambda found: found.start))


def _within(found: Found, better: Found) -> bool:
    """Texts of different years share sentences: the one that fits in full explains the place."""
    return better.start <= found.start and found.end <= better.end


def _first_places(everywhere: Iterable[Found]) -> Iterator[Found]:
    """In order of place, at most `_PLACES` of each phrase."""
    times: Counter[Disclosure | Footer] = Counter()
    for found in sorted(everywhere, key=lambda found: found.start):
        times[found.entry] += 1
        if times[found.entry] <= _PLACES:
            yield found


def _exact(cut: Sequence[str], phrases: Catalogue) -> Iterator[Hit]:
    firsts = phrases.exact
    for at in [at for at, word in enumerate(cut) if word in firsts]:
        for wanted, entry in firsts[cut[at]]:
            end = at + len(wanted)
            if tuple(cut[at:end]) == wanted:
                yield at, end - 1, 1.0, entry


def _long(cut: Sequence[str], phrases: Catalogue) -> Iterator[Hit]:
    known = phrases.shingles
    hits: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for at in [at for at, word in enumerate(cut) if word in phrases.begins]:
        for number, place in known.get(tuple(cut[at : at + RUN]), ()):
            hits[number].append((at, place))
    for number, seen in hits.items():
        length, entry = phrases.long[number]
        enough = ENOUGH_DECISIVE if isinstance(entry, Disclosure) and entry.strength == "decisive" else ENOUGH
        for first, last, covered in _chains(seen, length):
            if covered >= enough * length:
                yield first, last + RUN - 1, covered / length, entry


def _chains(hits: Sequence[tuple[int, int]], length: int) -> Iterator[tuple[int, int, int]]:
    """(first, last, words covered) of each series of hits that is in order and close together."""
    first, last, covered = -1, -1, 0
    before = -1
    for at, place in hits:
        if covered and place > before and at + RUN - first <= STRETCH * length:
            covered += min(RUN, place - before)
        else:
            if covered:
                yield first, last, covered
            first, covered = at, RUN
        last, before = at, place
    if covered:
        yield first, last, covered


def _unspaced(text: str, phrases: Catalogue) -> Iterator[Found]:
    folded = fold(text)
    for wanted, entry in phrases.unspaced:
        at = folded.find(wanted)
        while at >= 0:
            yield Found(entry, at, at + len(wanted), 1.0)
            at = folded.find(wanted, at + len(wanted))


def _is_label(text: str, found: Found) -> bool:
    before = text[max(0, found.start - LABEL_LINE - 1) : found.start].rpartition("\n")[2]
    after = text[found.end : found.end + LABEL_LINE + 1].partition("\n")[0]
    return not before.strip() and len(before) + found.end - found.start + len(after) <= LABEL_LINE


def _with_quotes(text: str, everywhere: Iterable[Found]) -> Iterator[Found]:
    """The same, passage by passage: sentences that follow each other are quoted together or not at all."""
    separator = _SEPARATOR.search(text)
    forwarded = separator.end() if separator else len(text)
    passage: list[Found] = []
    end = 0
    for found in everywhere:
        if passage and (found.start > end + _GAP or _MARK.search(text, end, max(end, found.start))):
            yield from _passage(text, passage, end, forwarded)
            passage, end = [], 0
        passage.append(found)
        end = max(end, found.end)
    yield from _passage(text, passage, end, forwarded)


def _passage(text: str, passage: Sequence[Found], end: int, forwarded: int) -> Iterator[Found]:
    if not passage:
        return
    start = passage[0].start
    quoted = start >= forwarded or _is_cited(text, start, end)
    for found in passage:
        yield Found(found.entry, found.start, found.end, found.score, quoted)


def quotations(text: str) -> list[tuple[int, int]]:
    """(start, end) of what the writer quotes or forwards: between quotation marks, in lines that begin with ">", and all that
    follows a line such as "----- Forwarded message -----". Short quotations, such as titles, are left out."""
    separator = _SEPARATOR.search(text)
    found = [(separator.end(), len(text))] if separator else []
    found += [match.span() for match in _CITED_LINE.finditer(text)]
    opened = -1
    for mark in _DOUBLE_MARK.finditer(text):
        at = mark.start()
        if opened >= 0 and at - opened <= _LONGEST_QUOTATION and not text[at + 1 : at + 2].isalnum():
            if at - opened >= _SHORTEST_QUOTATION:
                found.append((opened, at))
            opened = -1
        elif at == 0 or text[at - 1] in _OPENS_AFTER:
            opened = at
    return found


def _is_cited(text: str, start: int, end: int) -> bool:
    line = text.rfind("\n", 0, start) + 1
    cited = text[line : line + 2].lstrip().startswith(">")
    return cited or any(_enclosed(text, start, end, mark) for mark in "\"'")


def _enclosed(text: str, start: int, end: int, mark: str) -> bool:
    """Whether the nearest such mark before can open a quotation, and the nearest one after can close it."""
    before = [match.start() for match in _MARK.finditer(text, max(0, start - _NEAR), start) if match.group() == mark]
    if not before or (before[-1] and text[before[-1] - 1] not in _OPENS_AFTER):
        return False
    after = (match for match in _MARK.finditer(text, end, end + _NEAR) if match.group() == mark)
    closing = next(after, None)
    return closing is not None and not text[closing.end() : closing.end() + 1].isalnum()
