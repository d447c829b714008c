"""Training data on disk: the features of each mail as numbers in a temporary file, counted in bounded memory, then a matrix there.

The files have no name (they are gone with the process, whatever ends it) and only their owner can read them. Memory does not grow with
the mails: when there are more features than can be counted, the rarest are forgotten (lossy counting, Manku and Motwani
2002), the same ones for the same mails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
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


class Spool:
    """Rows of feature numbers on disk, one for each variant of a mail; and of each feature, in how many mails of how many authors
    it occurs."""

    def __init__(self, authors: int = 2, most: int = MOST_COUNTED) -> None:
        """`authors`: how many are told apart for one feature. `most`: features that are counted at the same time."""
        self._file: BinaryIO = _file()
        self._most = most
        self._numbers: dict[str, int] = {}
        self._mails = np.zeros(1024, np.int32)
        self._named = np.zeros(1024, np.bool_)
        self._authors = np.full((1024, authors), -1, np.int32)
        self._author_numbers: dict[str, int] = {}
        self._lengths: list[int] = []
        self._forgotten: list[tuple[int, Ints]] = []
        self.variants: list[int] = []
        """Of each mail, how many rows it has."""

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, variants: tuple[Features, ...], author: str) -> None:
        """One mail, in one or several variants."""
        rows = [self._row(features) for features in variants]
        for row in rows:
            self._file.write(row.tobytes())
            self._lengths.append(len(row))
        self.variants.append(len(rows))
        number = self._author_numbers.setdefault(author, len(self._author_numbers))
        self._count(np.unique(np.concatenate(rows)), number)
        if len(self._numbers) > self._most:
            self._forget()

    def _row(self, features: Features) -> Ints:
        crowd = sorted(features.words | features.tokens)
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in (*features.named, *crowd)]
        while len(self._numbers) > len(self._mails):
            self._mails = np.concatenate([self._mails, np.zeros_like(self._mails)])
            self._named = np.concatenate([self._named, np.zeros_like(self._named)])
            self._authors = np.concatenate([self._authors, np.full_like(self._authors, -1)])
        row = np.array(numbers, np.int32)
        self._named[row[: len(features.named)]] = True
        return row

    def _count(self, numbers: Ints, author: int) -> None:
        self._mails[numbers] += 1
        seen = self._authors[numbers]
        new = ~(seen == author).any(axis=1) & (seen[:, -1] < 0)
        self._authors[numbers[new], (seen[new] >= 0).sum(axis=1)] = author

    def _forget(self) -> None:
        """Forget the rarest half, and give the others the numbers that became free."""
        size = len(self._numbers)
        counts = np.where(self._named[:size], np.iinfo(np.int32).max, self._mails[:size])
        kept = counts > np.partition(counts, size // 2)[size // 2]
        became = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        self._numbers = {name: int(became[number]) for name, number in self._numbers.items() if kept[number]}
        for array, empty in ((self._mails, 0), (self._named, False), (self._authors, -1)):
            array[: len(self._numbers)] = array[:size][kept]
            array[len(self._numbers) :] = empty
        self._forgotten.append((len(self._lengths), became))

    def names(self, fewest_mails: int, fewest_authors: int) -> list[str]:
        """Named features, and words and tokens of so many mails of so many authors; sorted."""
        enough = (self._mails >= fewest_mails) & ((self._authors >= 0).sum(axis=1) >= fewest_authors)
        return sorted(name for name, number in self._numbers.items() if self._named[number] or enough[number])

    def named(self, names: list[str]) -> NDArray[np.bool_]:
        """Of each feature, whether it is a named one."""
        return self._named[[self._numbers[name] for name in names]]

    def frequencies(self, names: list[str], groups: Ints, shares: Floats) -> Floats:
        """How often each feature occurs in each group of rows (names x groups); a row counts as its share."""
        width = int(groups.max()) + 1
        found = np.zeros(len(names) * width)
        first = 0
        for column, row, lengths in self._entries(names):
            here = slice(first, first + len(lengths))
            found += np.bincount(column * width + groups[here][row], shares[here][row], len(found))
            first += len(lengths)
        return found.reshape(len(names), width)

    def matrix(self, names: list[str], blocks: Ints, lengths: Floats, stretch: Floats) -> csr_matrix:
        """Feature vectors (rows x names), on disk. Features of block 0 are 1; those of another block share a vector of its length;
        then each column is multiplied by its `stretch`."""
        ends = [np.zeros(1, np.int64)]
        with _file() as columns, _file() as values:
            for column, row, sizes in self._entries(names):
                place = row * len(lengths) + blocks[column]
                members = np.bincount(place, minlength=len(sizes) * len(lengths))
                each = np.tile(lengths, len(sizes)) / np.sqrt(np.maximum(members, 1))
                values.write((np.where(blocks[column] > 0, each[place], 1.0) * stretch[column]).tobytes())
                columns.write(column.tobytes())
                ends.append(ends[-1][-1] + np.cumsum(np.bincount(row, minlength=len(sizes))))
            pointers = np.concatenate(ends)
            data, indices = _mapped(values, np.float64), _mapped(columns, np.int32)
        return csr_matrix((data, indices, pointers), shape=(len(pointers) - 1, len(names)))

    def _entries(self, names: list[str]) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Of some rows at a time: column and row of each entry, and how many features each row has."""
        column_of = np.full(len(self._numbers) + 1, -1, np.int32)  # the last is for what was forgotten
        column_of[[self._numbers[name] for name in names]] = np.arange(len(names))
        for numbers, lengths in self._chunks():
            columns = column_of[numbers]
            rows = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
            yield columns[columns >= 0], rows[columns >= 0], lengths

    def _chunks(self) -> Iterator[tuple[Ints, Ints]]:
        """Numbers as they are now (-1: forgotten), and lengths, of some rows at a time."""
        self._file.seek(0)
        lengths = np.array(self._lengths, np.int32)
        row = 0
        for until, became in self._eras():
            while row < until:
                taken = max(1, int(np.searchsorted(np.cumsum(lengths[row:until]), _CHUNK, "right")))
                some = lengths[row : min(row + taken, until)]
                numbers = np.frombuffer(self._file.read(4 * int(some.sum())), np.int32)
                yield (numbers if became is None else became[numbers]), some
                row += len(some)

    def _eras(self) -> list[tuple[int, Ints | None]]:
        """Up to which row numbers became what they are now by which table; None: they still are."""
        eras: list[tuple[int, Ints | None]] = [(len(self._lengths), None)]
        later: Ints | None = None
        for until, became in reversed(self._forgotten):
            later = became if later is None else np.where(became >= 0, later[became], -1).astype(np.int32)
            eras.insert(0, (until, later))
        return eras


def _file() -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile())


def _mapped(file: BinaryIO, kind: type[np.generic]) -> NDArray[np.generic]:
    """The content of a file, which may be closed now and need not be in memory."""
    file.flush()
    return np.memmap(file, kind, "r") if file.seek(0, 2) else np.zeros(0, kind)
