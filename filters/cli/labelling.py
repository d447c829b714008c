"""Which mail is what, and the reading of it: the words that `train` and `evaluate` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from filters import senders, shards
from filters.cli.mailbox import telling_files
from filters.cli.options import Access, progress
from filters.errors import FiltersError, UsageError
from filters.gathering import gather
from filters.labelled import Label, Read, Shelf, parse_label, read_labelled, read_list
from filters.sources.location import are_files

Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="NAME=SOURCE",
        help="What the mail of a source is: promotional, keep, or a category; TAKEOUT.mbox#LABEL takes what has that Gmail"
        " label. May be repeated.",
    ),
]
LabelList = Annotated[
    Path | None,
    typer.Option(
        "--labels", metavar="FILE", help="A list that labels the messages of SOURCE, such as `review` writes."
    ),
]
LabelSources = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SOURCE]...", help="Sources whose messages --labels names.", show_default=False),
]


def said_of(way_in: Access, sources: list[str] | None, label: list[str] | None, labels: Path | None) -> list[Label]:
    """What was said of which mail; an account's name stands for its folders. Raises UsageError when nothing was."""
    said = [parse_label(one) for one in label or ()]
    if bool(sources) != bool(labels):
        raise UsageError("--labels FILE and the SOURCEs whose messages it names go together; one of them is missing.")
    if labels:
        table = read_list(labels, "label")
        said += [Label("", source, by=table) for source in sources or ()]
    if not said:
        raise UsageError(
            "Which mail is what? Say it with --label promotional=SOURCE --label keep=SOURCE, or with --labels FILE."
        )
    return [replace(one, location=place) for one in said for place in way_in.locations([one.location])]


def names_of(said: Sequence[Label]) -> Iterator[str]:
    """The labels that are given to mail, as often as they are."""
    yield from (one.name for one in said if one.name)
    yield from (name for one in said for name in (one.by or {}).values() if name)  # "" takes an earlier label back


@dataclass(frozen=True, slots=True)
class Reading:
    """How labelled mail is read: whose it is to be, what is looked at, and by which processes where it lies in files."""

    way_in: Access
    jobs: int
    scheduler: str
    ours: bool
    general: bool

    @contextmanager
    def all(self, said: Sequence[Label]) -> Iterator[tuple[Shelf, Read]]:
        """The labelled mail, on disk, and what was seen besides it. A file that cannot be read is named in `read.failed`, and the rest goes
        on; raises FiltersError when nothing could be read."""
        read = Read()
        with Shelf() as own:
            if self._is_archive([one.location for one in said]):
                self._by_files(said, own, read)
            else:
                self._in_turn(said, own, read)
            yield own, read

    def _is_archive(self, locations: Sequence[str]) -> bool:
        files = are_files(locations)
        if self.scheduler and not files:
            raise UsageError("--scheduler is for mail in files. Leave it out.")
        return files and (bool(self.scheduler) or len(locations) > 1)

    def _by_files(self, said: Sequence[Label], own: Shelf, read: Read) -> None:
        engine = shards.engine(self.jobs, self.scheduler)
        with telling_files(len(said)) as told:
            found = gather(said, engine, ours=self.ours, general=self.general, read=read, told=told)
            with closing(found):
                for one in found:
                    own.add(one)
        if read.failed and not own.counts:
            raise _failure(*read.failed[0])

    def _in_turn(self, said: Sequence[Label], own: Shelf, read: Read) -> None:
        opened = partial(self.way_in.open, changes=False)
        found = read_labelled(said, opened, senders.load(), ours=self.ours, general=self.general, read=read)
        with telling() as tell:
            for count, one in enumerate(found, 1):
                own.add(one)
                tell(f"{read.messages:,} messages read, {count:,} count")


def _failure(why: str, code: int) -> FiltersError:
    error = FiltersError(why)
    error.exit_code = code
    return error


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done; silent when stderr is no terminal."""
    with progress() as line:
        task = line.add_task("", rate="")
        yield lambda text: line.update(task, description=text)
