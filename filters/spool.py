"""Training data on disk: the features of each mail as numbers in a temporary file, counted in bounded memory, then a matrix there.

The files have no name (they are gone with the process, whatever ends it) and only their owner can read them. Memory does not grow with
the mails: when there are more features than can be counted, the rarest are forgotten (lossy counting, Manku and Motwani
2002), the same ones for the same mails.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from itertools import chain
from types import TracebackType
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from filters.features import Features

#: Features that are counted at the same time; about 200 bytes each.
MOST_COUNTED = 800_000
#: Numbers that are worked on at once.
_CHUNK = 1_000_000

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]


class _Numbers(dict[str, int]):
    """Of each feature the number that it got when it was asked for first: in any order, on which nothing depends that comes out."""

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        return number


class Spool:
    """Rows of feature numbers on disk, one for each variant of a mail. All mails are added first; then parts of them are looked at."""

    def __init__(self, most: int = MOST_COUNTED, *, tokens: bool = True) -> None:
        """`most`: features that are counted at the same time. `tokens`: whether those of any mail are among the features."""
        self._file: BinaryIO = _file()
        self._most, self._tokens = most, tokens
        self._numbers = _Numbers()
        self._mails = np.zeros(1024, np.int32)
        self._named = np.zeros(1024, np.bool_)
        self._author_numbers: dict[str, int] = {}
        self._authors, self._variants, self._lengths = array("i"), array("i"), array("i")
        self._tables: BinaryIO = _file()
        self._forgotten: list[tuple[int, int]] = []
        """Before which row something was forgotten, and the size of the table from old numbers to new ones, which is on disk."""

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._tables.close()

    def add(self, variants: tuple[Features, ...], author: str) -> None:
        """One mail, in one or several variants."""
        rows = [self._row(features) for features in variants]
        for row in rows:
            self._file.write(row.tobytes())
            self._lengths.append(len(row))
        self._variants.append(len(rows))
        self._authors.append(self._author_numbers.setdefault(author, len(self._author_numbers)))
        self._mails[np.concatenate(rows)] += 1  # once, however many of the rows have it
        if len(self._numbers) > self._most:
            self._forget()

    def _row(self, features: Features) -> Ints:
        crowds = (features.words, features.tokens) if self._tokens else (features.words,)
        numbers = [*map(self._numbers.__getitem__, chain(features.named, *crowds))]
        while len(self._numbers) > len(self._mails):
            self._mails = np.concatenate([self._mails, np.zeros_like(self._mails)])
            self._named = np.concatenate([self._named, np.zeros_like(self._named)])
        row = np.array(numbers, np.int32)
        self._named[row[: len(features.named)]] = True
        return row

    def _forget(self) -> None:
        """Forget the rarest half, and give the others the numbers that became free."""
        size = len(self._numbers)
        counts = np.where(self._named[:size], np.iinfo(np.int32).max, self._mails[:size])
        kept = counts > np.partition(counts, size // 2)[size // 2]
        became = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        new = became.tolist()
        self._numbers = _Numbers({name: new[at] for name, at in self._numbers.items() if new[at] >= 0})
        for array_, empty in ((self._mails, 0), (self._named, False)):
            array_[: len(self._numbers)] = array_[:size][kept]
            array_[len(self._numbers) :] = empty
        self._tables.write(became.tobytes())
        self._forgotten.append((len(self._lengths), size))

    def part(self, mails: NDArray[np.bool_] | None = None) -> Part:
        """Some of the mails, in the order in which they came; None: all. Nothing is added after that."""
        if self._forgotten:
            self._renumber()
        self._file.flush()
        chosen = np.ones(len(self._variants), np.bool_) if mails is None else mails
        variants = np.frombuffer(self._variants, np.int32)
        lengths = np.frombuffer(self._lengths, np.int32)
        rows = np.flatnonzero(np.repeat(chosen, variants))
        return Part(
            numbers=self._numbers,
            is_named=self._named,
            content=cast(Ints, _mapped(self._file, np.int32)),
            starts=(np.cumsum(lengths, dtype=np.int64) - lengths)[rows],
            lengths=lengths[rows],
            variants=variants[chosen],
            authors=np.frombuffer(self._authors, np.int32)[chosen],
        )

    def _renumber(self) -> None:
        """Write everything again, by the numbers that features have now and without what was forgotten."""
        lengths, file = array("i"), _file()
        first = 0
        self._file.seek(0)
        with self._composed() as tables:
            for until, size in [*self._forgotten, (len(self._lengths), 0)]:
                became = np.frombuffer(tables.read(4 * size), np.int32)
                for length in self._lengths[first:until]:
                    numbers = np.frombuffer(self._file.read(4 * length), np.int32)
                    row = became[numbers] if size else numbers
                    row = row[row >= 0]
                    file.write(row.tobytes())
                    lengths.append(len(row))
                first = until
        self._file.close()
        self._file, self._lengths, self._forgotten = file, lengths, []

    def _composed(self) -> BinaryIO:
        """For each time that something was forgotten, the table from the numbers before it to those of now."""
        composed, now = _file(), np.zeros(0, np.int32)
        end = sum(size for _, size in self._forgotten)
        for _, size in reversed(self._forgotten):
            end -= size
            self._tables.seek(4 * end)
            became = np.frombuffer(self._tables.read(4 * size), np.int32)
            now = np.where(became >= 0, now[became], -1).astype(np.int32) if len(now) else became
            composed.seek(4 * end)
            composed.write(now.tobytes())
        composed.seek(0)
        return composed


class Part:
    """Some mails of a spool: their rows, and what can be counted and made of them."""

    def __init__(
        self,
        numbers: dict[str, int],
        is_named: NDArray[np.bool_],
        content: Ints,
        starts: NDArray[np.int64],
        lengths: Ints,
        variants: Ints,
        authors: Ints,
    ) -> None:
        """`starts`, `lengths`: of each row, its place in `content`. `variants`: of each mail, how many rows it has."""
        self._numbers, self._is_named, self._content = numbers, is_named, content
        self._starts, self._lengths = starts, lengths
        self.variants, self._authors = variants, authors

    def names(self, fewest_mails: int, fewest_authors: int) -> list[str]:
        """Named features, and words and tokens of so many mails of so many authors; sorted."""
        mails = self._owners(np.arange(len(self.variants)))
        enough = mails >= fewest_mails
        if fewest_authors > 1:
            enough &= self._owners(self._authors) >= fewest_authors
        enough |= self._is_named[: len(mails)] & (mails > 0)
        return sorted(name for name, number in self._numbers.items() if enough[number])

    def _owners(self, owners: NDArray[np.integer]) -> Ints:
        """Of each feature, in how many owners' mails it occurs; `owners` has the number of each mail's."""
        width = len(self._numbers)
        if len(np.unique(owners)) == len(self._lengths):  # each has one row, in which no feature is twice
            rows_of_each = np.zeros(width, np.int32)
            for rows in self._portions(np.arange(len(owners))):
                rows_of_each += np.bincount(self._at(rows), minlength=width).astype(np.int32)
            return rows_of_each
        of_row = np.repeat(owners, self.variants)
        order = np.argsort(of_row, kind="stable")
        counts, last = np.zeros(width, np.int32), np.full(width, -1, np.int64)
        for rows in self._portions(order):
            pairs = np.unique(np.repeat(of_row[rows].astype(np.int64), self._lengths[rows]) * width + self._at(rows))
            owner, number = np.divmod(pairs, width)
            new = last[number] != owner  # an owner's mails may go on from the portion before
            counts += np.bincount(number[new], minlength=width).astype(np.int32)
            last[number] = owner
        return counts

    def named(self, names: list[str]) -> NDArray[np.bool_]:
        """Of each feature, whether it is a named one."""
        return self._is_named[[self._numbers[name] for name in names]]

    def frequencies(self, names: list[str], groups: Ints, shares: Floats) -> Floats:
        """How often each feature occurs in each group of rows (names x groups); a row counts as its share."""
        width = int(groups.max()) + 1
        found = np.zeros(len(names) * width)
        for column, row, rows in self._entries(names):
            found += np.bincount(column * width + groups[rows][row], shares[rows][row], len(found))
        return found.reshape(len(names), width)

    def matrix(self, names: list[str], blocks: Ints, lengths: Floats, stretch: Floats) -> csr_matrix:
        """Feature vectors (rows x names), on disk. Features of block 0 are 1; those of another block share a vector of its length;
        then each column is multiplied by its `stretch`. Within a row, columns are in order, so that sums come out the same to the last bit."""
        ends = [np.zeros(1, np.int64)]
        with _file() as columns, _file() as values:
            for unordered, row, rows in self._entries(names):
                column = unordered[np.argsort(row * np.int64(len(names)) + unordered)]
                place = row * len(lengths) + blocks[column]
                members = np.bincount(place, minlength=len(rows) * len(lengths))
                each = np.tile(lengths, len(rows)) / np.sqrt(np.maximum(members, 1))
                values.write((np.where(blocks[column] > 0, each[place], 1.0) * stretch[column]).tobytes())
                columns.write(column.tobytes())
                ends.append(ends[-1][-1] + np.cumsum(np.bincount(row, minlength=len(rows))))
            pointers = np.concatenate(ends)
            data, indices = _mapped(values, np.float64), _mapped(columns, np.int32)
        return csr_matrix((data, indices, pointers), shape=(len(pointers) - 1, len(names)))

    def _entries(self, names: list[str]) -> Iterator[tuple[Ints, Ints, NDArray[np.integer]]]:
        """Of some rows at a time: column and row (within these) of each entry, and which rows these are."""
        column_of = np.full(len(self._numbers), -1, np.int32)
        column_of[[self._numbers[name] for name in names]] = np.arange(len(names))
        for rows in self._portions(np.arange(len(self._lengths))):
            columns = column_of[self._at(rows)]
            within = np.repeat(np.arange(len(rows), dtype=np.int32), self._lengths[rows])
            yield columns[columns >= 0], within[columns >= 0], rows

    def _portions(self, order: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
        """Rows in this order, so many at a time that they hold no more than `_CHUNK` numbers, but one at least."""
        ends = np.cumsum(self._lengths[order], dtype=np.int64)
        first = 0
        while first < len(order):
            before = ends[first - 1] if first else 0
            until = max(first + 1, int(np.searchsorted(ends, before + _CHUNK, "right")))
            yield order[first:until]
            first = until

    def _at(self, rows: NDArray[np.integer]) -> Ints:
        """The numbers of these rows, one row after the other."""
        lengths = self._lengths[rows]
        ends = np.cumsum(lengths, dtype=np.int64)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        found: Ints = self._content[np.repeat(self._starts[rows], lengths) + within]
        return found


def _file() -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile())


def _mapped(file: BinaryIO, kind: type[np.generic]) -> NDArray[np.generic]:
    """The content of a file, which may be closed now and need not be in memory."""
    file.flush()
    return np.memmap(file, kind, "r") if file.seek(0, 2) else np.zeros(0, kind)
