"""Lines for programs that watch over runs which nobody looks at: one JSON object each, on stderr, with one run id through all of them."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from filters.safe_text import safe_text

#: What stands in place of an address.
ADDRESS = "[address]"
#: What every line has; `account` only where it is about one.
ALWAYS = ("time", "level", "event", "run", "account")
_TEXT_CAP = 1_000


@dataclass(frozen=True, slots=True)
class Event:
    """What a line of this name is about, and which fields it may have besides those of every line."""

    level: str
    about: str
    fields: tuple[str, ...] = ()


#: The one table of events. The README prints it; a test compares the two.
EVENTS: Mapping[str, Event] = {
    "begun": Event("info", "a command begins", ("command", "version")),
    "ended": Event("info", "it ends; always the last line of a process", ("exit_code", "seconds")),
    "error": Event("error", "why it ended with that code", ("why", "exit_code")),
    "warning": Event("warning", "something to know; the run goes on", ("why",)),
    "account": Event(
        "info",
        "one folder or file was looked through; `journal_run` is its id in `unpitch runs`; level `error` where it failed",
        (
            "folder",
            "journal_run",
            "messages",
            "found",
            "moved",
            "left",
            "unreadable",
            "unsettled",
            "received",
            "seconds",
            "exit_code",
            "error",
        ),
    ),
    "task_begun": Event("info", "a worker process or a Dask worker takes an account or file in hand", ("pid",)),
    "task_done": Event("info", "it is done with it", ("pid", "seconds", "exit_code")),
    "task_died": Event("warning", "a worker process died over it; it is tried again", ("attempt",)),
    "watching": Event("info", "`watch` is connected, and waits for new mail", ("folder",)),
    "listening": Event("info", "`serve lmtp` takes mail", ("address", "store")),
    "message": Event(
        "info",
        "`serve lmtp` answered for a message, to so many recipients in each way; `from` and `to` with `--log-addresses` only",
        (
            "bytes",
            "seconds",
            "stored",
            "later",
            "refused",
            "category",
            "p",
            "auth",
            "v",
            "verdict",
            "unjudged",
            "from",
            "to",
        ),
    ),
    "trouble": Event("warning", "`serve lmtp` could not speak to the store, or something of ours failed", ("why",)),
    "stopped": Event("info", "`serve lmtp` takes no more mail"),
}


@dataclass(slots=True)
class Log:
    """Of one run, which may have several processes. Without `as_json` nothing is written. `account` is whom lines are about unless they
    say so: a name of the configuration, or a number, so that `addresses` are seen only where somebody asked for them."""

    run: str = field(default_factory=lambda: secrets.token_hex(4))
    as_json: bool = False
    addresses: bool = False
    account: str | int | None = None
    began: float = field(default_factory=time.monotonic)

    def event(self, name: str, *, level: str = "", account: str | int | None = None, **fields: Any) -> None:
        """One line of EVENTS. That nobody reads it must not stop a run."""
        if not self.as_json:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        about = self.account if account is None else account
        line: dict[str, Any] = {"time": now, "level": level or EVENTS[name].level, "event": name, "run": self.run}
        line |= {} if about is None else {"account": about}
        line |= {key: self.shown(value) if isinstance(value, str) else value for key, value in fields.items()}
        with suppress(OSError):  # one write, so that lines of several processes do not mix
            os.write(_to, json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    def shown(self, text: str) -> str:
        """A text that may be shown to anybody who reads logs: on one line, and without addresses unless they are asked for."""
        return safe_text(text if self.addresses else without_addresses(text))[:_TEXT_CAP]

    def for_tasks(self) -> dict[str, Any]:
        """What a worker must know to write lines of this run: `of` takes it."""
        return {"run": self.run, "as_json": self.as_json, "addresses": self.addresses}


def without_addresses(text: str) -> str:
    """`text` with ADDRESS for each word that has an @: mail addresses, Message-IDs, locations with a user name."""
    return " ".join(ADDRESS if "@" in word or "%40" in word else word for word in text.split(" "))


_process = Log()
_task: ContextVar[Log] = ContextVar("task")
_to = 2


def log() -> Log:
    """That of the task in hand, else that of this process."""
    return _task.get(_process)


@contextmanager
def of(told: Mapping[str, Any], account: str | int) -> Iterator[Log]:
    """For the time of a task of somebody else's run; a Dask worker has tasks of several runs in its threads."""
    mine = Log(**told, account=account)
    before = _task.set(mine)
    try:
        yield mine
    finally:
        _task.reset(before)


@contextmanager
def task(told: Mapping[str, Any], account: str | int) -> Iterator[dict[str, Any]]:
    """`of`, with lines at its begin and its end, which has what is put into the mapping."""
    start, more = time.monotonic(), dict[str, Any](exit_code=0)
    with of(told, account) as mine:
        mine.event("task_begun", pid=os.getpid())
        yield more
        mine.event("task_done", pid=os.getpid(), seconds=round(time.monotonic() - start, 3), **more)


def divert() -> None:
    """From now on our lines alone come to stderr: whatever else this process, a worker, writes there goes nowhere."""
    global _to  # noqa: PLW0603  (there is one stderr)
    _to = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
