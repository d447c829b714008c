"""Labelled mail in many files: each is read by a process of its own (`filters.shards`), in the order of the files."""

from __future__ import annotations

import dataclasses
import io
import os
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

from filters import senders, shards
from filters.errors import FiltersError
from filters.labelled import Label, Read, Sealed, called, once_each, read_source
from filters.shards import Engine, Told, line
from filters.sources import Place, Unreadable
from filters.sources.local import open_local
from filters.workers import Workers


def look_through(shard: dict[str, Any]) -> Iterator[bytes]:
    """The lines of one shard (`shards.Task`): ["mail", a `Sealed` without a label] and, in ["end", ...], what was seen besides."""
    sender, read, said = senders.load(), Read(), 0
    setup = {"ours": shard["ours"], "general": shard["general"]}
    try:
        with (
            closing(open_local(shard["location"], changes=False, stdin=io.BytesIO())) as source,
            Workers("filters.labelled:worker", setup, shard["workers"]) as workers,
        ):
            for one in read_source(source, shard["gmail"], sender if shard["ours"] else None, workers, read):
                yield line("mail", one.as_json())
                if read.messages - said >= shards.SAY_AFTER:
                    said = read.messages
                    yield line("passed", said)
    except FiltersError as error:
        yield line("failed", str(error), error.exit_code)
        return
    yield line("end", read.messages, read.passed, [dataclasses.asdict(one) for one in read.unreadable])


def gather(
    labels: Sequence[Label], run: Engine, *, ours: bool, general: bool, read: Read, told: Told
) -> Generator[Sealed, None, None]:
    """What `read_labelled` reads of mail in files, in the same order. A file that cannot be read is named in `read.failed`, and the rest
    goes on.

    Raises InputError for a message under two labels; RefusedError, WriteError, and whatever the engine raises.
    """
    workers = max(1, len(os.sched_getaffinity(0)) // len(labels))  # more than one, where there are few files
    asked = [
        {
            "location": os.path.abspath(one.location),
            "account": number,
            "gmail": one.gmail,
            "ours": ours,
            "general": general,
            "workers": workers,
        }
        for number, one in enumerate(labels, 1)
    ]
    with closing(shards.in_order("filters.gathering:look_through", asked, run, told)) as lines:
        yield from once_each(_named(lines, labels, read), read)


def _named(lines: Iterator[tuple[Any, ...]], labels: Sequence[Label], read: Read) -> Iterator[Sealed]:
    for number, kind, *content in lines:
        if kind == "mail":
            if found := called(Sealed.from_json(content[0]), labels[number], read):
                yield found
        elif kind == "failed":
            read.failed.append((content[0], content[1]))
        else:
            read.messages += content[0]
            read.passed += Counter(content[1])
            read.unreadable += [Unreadable(Place(**one["place"]), one["reason"]) for one in content[2]]
