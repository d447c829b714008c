"""The models of one person: those that were trained here, which one is in use, and which ones were before it.

A folder, for its owner only: `0001.json` is a model, `0001.mails.gz` what it was trained on (features, never text), `in-use` the
numbers of the models that were in use, the present one last. Every file is written whole under another name, and renamed.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from filters.errors import InputError, NotFoundError, WriteError
from filters.labelled import Labelled
from filters.model import load

#: The name of the model that comes with unpitch.
SHIPPED = "shipped"
_IN_USE = "in-use"
_NUMBER = re.compile(r"\d{4,9}")
_HISTORY = 1_000


@dataclass(frozen=True, slots=True)
class Learnt:
    """One mail that a model was trained on: as it was read, and what a model that had not seen it said of it (-1: nobody asked)."""

    mail: Labelled
    score: float


@dataclass(frozen=True, slots=True)
class Registry:
    """The models in `folder`, beside the shipped one."""

    folder: Path
    shipped: Path

    def path(self, number: str) -> Path:
        """The file of a model. Raises NotFoundError when there is no such model."""
        if number == SHIPPED:
            return self.shipped
        path = self.folder / f"{number}.json"
        if not _NUMBER.fullmatch(number) or not path.is_file():
            raise NotFoundError(f"There is no model {number}. `unpitch models` lists them.")
        return path

    def numbers(self) -> list[str]:
        """The models that were trained here, oldest first."""
        found = [path.stem for path in self.folder.glob("*.json")]
        return sorted((name for name in found if _NUMBER.fullmatch(name)), key=int)

    def in_use(self) -> str:
        """The number of the model in use; `SHIPPED` unless another one was chosen."""
        return self._history()[-1]

    def active(self) -> Path:
        """The file of the model in use. Raises InputError when that was taken away."""
        number = self.in_use()
        try:
            return self.path(number)
        except NotFoundError:
            raise InputError(
                f"The model in use, {number}, is not in {self.folder} any more. Choose another: unpitch models --use {SHIPPED}"
            ) from None

    def add(self, text: str, lessons: Iterable[Learnt]) -> str:
        """Keep a model and what it was trained on, and give its number. It is not in use yet. Raises WriteError."""
        number = f"{max(map(int, self.numbers()), default=0) + 1:04}"
        write_file(self.folder / f"{number}.mails.gz", partial(_pack, lessons))
        write_file(self.folder / f"{number}.json", lambda file: file.write(text.encode()))
        return number

    def use(self, number: str) -> None:
        """Let a model judge from now on. Raises NotFoundError, InputError when it is broken, WriteError."""
        load(self.path(number))
        history = self._history()
        if history[-1] != number:
            self._remember([*history, number])

    def back(self) -> str:
        """Use the model again that was in use before, and give its number. Raises NotFoundError when there was none."""
        history = self._history()
        if len(history) < 2:
            raise NotFoundError("The shipped model is in use, and no other was before it.")
        load(self.path(history[-2]))
        self._remember(history[:-1])
        return history[-2]

    def lessons(self, number: str) -> Iterator[Learnt]:
        """What a model was trained on, apart from the shipped corpus. Raises InputError when that is damaged."""
        path = self.folder / f"{number}.mails.gz"
        if number == SHIPPED or not path.is_file():
            return
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    yield Learnt(Labelled.from_json(row), float(row["score"]))
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}, which a model was trained on, is damaged. Train again with `unpitch train`."
            ) from error

    def _history(self) -> list[str]:
        try:
            text = (self.folder / _IN_USE).read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            text = ""
        except OSError as error:
            raise NotFoundError(f"{self.folder / _IN_USE} cannot be read: {error.strerror}.") from error
        return [SHIPPED, *(line for line in text.split() if line == SHIPPED or _NUMBER.fullmatch(line))]

    def _remember(self, history: Sequence[str]) -> None:
        lines = "".join(f"{number}\n" for number in history[1:][-_HISTORY:])
        write_file(self.folder / _IN_USE, lambda file: file.write(lines.encode()))


def _pack(lessons: Iterable[Learnt], file: IO[bytes]) -> None:
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
        for one in lessons:
            row = one.mail.as_json() | {"score": one.score}
            packed.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")


def write_file(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file whole (0600), or leave what was there. Raises WriteError."""
    temporary = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written: {(error.strerror or 'unknown error').lower()}. The model in use is as it was."
        ) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)
