"""What runs did, for programs that watch over them: one line of JSON, and a text file for Prometheus' node exporter."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from filters.errors import FiltersError, WriteError
from filters.log import Log
from filters.safe_text import safe_text

SCHEMA = 1
RUN_INFO = "Always 1; the label run is the run id that the lines of the log have."


@dataclass(slots=True)
class Done:
    """What one run did with one folder."""

    account: str
    folder: str = ""
    run: str = ""
    messages: int = 0
    """Looked at, of any sender."""
    found: int = 0
    """From the sender, or claiming to be."""
    moved: int = 0
    left: int = 0
    """To be moved, and not moved: a limit, or somebody, stopped it."""
    unreadable: int = 0
    unsettled: int = 0
    """Of an earlier run that broke off, and for a person to look at."""
    received: int = 0
    """Bytes that came from the server."""
    seconds: float = 0.0
    exit_code: int = 0
    error: str = ""
    number: int = 0
    """Said instead of `account` to programs, where that is a location and no name of the configuration."""

    def named(self, log: Log) -> str | int:
        """What programs call the account."""
        return self.number if self.number and not log.addresses else self.account

    def fields(self, log: Log) -> dict[str, Any]:
        """All but the account; no address, unless it is asked for."""
        row = asdict(self) | {"seconds": round(self.seconds, 3), "error": log.shown(self.error)}
        return {key: value for key, value in row.items() if key not in ("account", "number")}


@dataclass(slots=True)
class Watched:
    """What the runs of one `watch` did together, for the programs that `clean` tells as well: a row for each folder of an account."""

    rows: dict[str, Done]
    """By location."""
    log: Log
    stats: bool
    metrics: Path | None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.monotonic)

    def add(self, location: str, done: Done) -> None:
        """One more run."""
        total = self.rows[location]
        if not (done.moved or done.left or done.unsettled or done.error):
            done.run = ""  # the journal does not remember it
        total.run = done.run or total.run
        for name in ("messages", "found", "moved", "unreadable", "received"):
            setattr(total, name, getattr(total, name) + getattr(done, name))
        for name in ("left", "unsettled", "exit_code", "error"):
            setattr(total, name, getattr(done, name))
        tell(self.log, done)
        if done.moved or done.left:
            self.say()

    def failed(self, error: FiltersError) -> None:
        """All of it stands still."""
        for one in self.rows.values():
            one.exit_code, one.error = error.exit_code, str(error)

    def say(self) -> None:
        """The line of statistics, if it is wanted."""
        self._count_time()
        if self.stats:
            code = max(one.exit_code for one in self.rows.values())
            print(as_json(list(self.rows.values()), self.started, code, self.log), flush=True)

    def write(self) -> None:
        """The file of metrics, if it is wanted. Raises WriteError."""
        self._count_time()
        if self.metrics:
            write_metrics(self.metrics, as_metrics(list(self.rows.values()), datetime.now(UTC), self.log))

    def _count_time(self) -> None:
        for one in self.rows.values():
            one.seconds = time.monotonic() - self.began


def tell(log: Log, done: Done) -> None:
    """The line of EVENTS about it."""
    fields = done.fields(log)
    run, level = fields.pop("run"), "error" if done.error else "info"
    log.event("account", level=level, account=done.named(log), journal_run=run, **fields)


def as_json(all_done: Sequence[Done], started: datetime, exit_code: int, log: Log) -> str:
    """One line."""
    rows = [{"account": one.named(log)} | one.fields(log) for one in all_done]
    data = {
        "schema": SCHEMA,
        "run": log.run,
        "started": started.isoformat(timespec="seconds"),
        "exit_code": exit_code,
        "moved": sum(one.moved for one in all_done),
        "accounts": rows,
    }
    return json.dumps(data, ensure_ascii=False)


#: Name, help, and the field of each metric. The README prints them; a test compares the two.
METRICS = (
    ("messages", "Messages looked at by the last run (of watch: since it began).", "messages"),
    ("found", "Messages from the sender, or claiming to be, in the last run (of watch: since it began).", "found"),
    ("moved", "Messages moved by the last run (of watch: since it began).", "moved"),
    ("left", "Messages that the last run was to move and did not.", "left"),
    ("unreadable", "Messages that the last run could not read.", "unreadable"),
    ("unsettled", "Messages of an earlier run that broke off, for a person to look at.", "unsettled"),
    ("received_bytes", "Bytes that came from the server in the last run (of watch: since it began).", "received"),
    ("duration_seconds", "How long the last run took (of watch: since it began).", "seconds"),
    ("exit_code", "Exit code of the last run; 0 is success (of watch: what is wrong at the moment).", "exit_code"),
    ("last_run_timestamp_seconds", "When the last run ended (of watch: when it last looked, or tried to).", ""),
)


def as_metrics(all_done: Sequence[Done], ended: datetime, log: Log) -> str:
    """The text format of Prometheus (version 0.0.4)."""
    lines = run_info("unpitch_", log)
    for name, about, attribute in METRICS:
        lines += [f"# HELP unpitch_{name} {about}", f"# TYPE unpitch_{name} gauge"]
        for one in all_done:
            value = getattr(one, attribute) if attribute else int(ended.timestamp())
            labels = f'account="{_label(str(one.named(log)))}",folder="{_label(one.folder)}"'
            lines.append(
                f"unpitch_{name}{{{labels}}} {value:.3f}"
                if isinstance(value, float)
                else f"unpitch_{name}{{{labels}}} {value}"
            )
    return "\n".join(lines) + "\n"


def run_info(prefix: str, log: Log) -> list[str]:
    """Which run wrote the file: the id that its lines have."""
    name = f"{prefix}run_info"
    return [f"# HELP {name} {RUN_INFO}", f"# TYPE {name} gauge", f'{name}{{run="{log.run}"}} 1']


def _label(text: str) -> str:
    return safe_text(text).replace("\\", "\\\\").replace('"', '\\"')


def write_metrics(path: Path, text: str) -> None:
    """Put the text in place at once, so that nobody reads half of it. Raises WriteError."""
    try:
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise WriteError(f"The file of metrics {path} cannot be written: {error.strerror}.") from error
