"""The journal: one SQLite database that knows of every move before it happens, and for as long as it can be undone.

It holds nothing of a mail but its identity, Message-ID and size, and what the caller says of it. Every change is one
transaction, on the disk before the call returns (WAL, synchronous=FULL): so it must lie on a local disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filters.errors import BusyError, FiltersError, InputError, NotFoundError, WriteError
from filters.sources import Place, Target

VERSION = 1
_SCHEMA = """
CREATE TABLE run (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, command TEXT NOT NULL, pid INTEGER NOT NULL,
    started TEXT NOT NULL, ended TEXT, counts TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE move (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES run, account TEXT NOT NULL,
    src TEXT NOT NULL, src_uidvalidity INTEGER NOT NULL, src_uid TEXT NOT NULL,
    identity TEXT NOT NULL CHECK (identity != ''), message_id TEXT NOT NULL, size INTEGER NOT NULL,
    verdict TEXT NOT NULL, evidence TEXT NOT NULL, model_sha TEXT NOT NULL,
    dst TEXT NOT NULL, dst_uidvalidity INTEGER NOT NULL, dst_uidnext_before INTEGER NOT NULL, dst_uid TEXT,
    method TEXT NOT NULL CHECK (method IN ('move', 'copy')),
    state TEXT NOT NULL CHECK (state IN
        ('planned', 'sent', 'copied', 'removing', 'done', 'vanished', 'failed', 'doubt', 'undone')),
    reason TEXT NOT NULL DEFAULT '', undoes INTEGER REFERENCES move, ts TEXT NOT NULL
);
CREATE INDEX move_run ON move (run);
CREATE INDEX move_open ON move (account, src) WHERE state IN ('planned', 'sent', 'copied', 'removing');
CREATE INDEX move_target ON move (account, dst, identity) WHERE state = 'done';
CREATE TABLE kept (account TEXT NOT NULL, identity TEXT NOT NULL, ts TEXT NOT NULL, PRIMARY KEY (account, identity))
    WITHOUT ROWID;
"""
_PLAN = """
INSERT INTO move (run, account, src, src_uidvalidity, src_uid, identity, size, message_id, verdict, evidence, model_sha,
    dst, dst_uidvalidity, dst_uidnext_before, undoes, ts, method, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'move', 'planned')
"""
_RECORD = """
UPDATE move SET state = ?, reason = ?, ts = ?, dst_uidvalidity = coalesce(?, dst_uidvalidity), dst_uid = ?
WHERE id = ? AND state IN (?, ?)
"""
_UNDONE = (
    "UPDATE move SET state = 'undone', ts = ? WHERE id = (SELECT undoes FROM move WHERE id = ?) AND state = 'done'"
)
_KEPT = "SELECT identity FROM kept WHERE account = ?"
#: Which state may follow which.
_BEFORE = {
    "sent": ("planned",),
    "done": ("sent",),
    "vanished": ("sent",),
    "doubt": ("sent",),
    "failed": ("planned", "sent"),
}
_BUSY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message that is to be moved, as it was when it was judged. `verdict` and `evidence` are the caller's own words."""

    place: Place
    identity: str
    message_id: str
    size: int
    verdict: str
    evidence: str
    model_sha: str = ""
    undoes: int | None = None
    """The id of the move that this one takes back."""


@dataclass(frozen=True, slots=True)
class Move:
    """One row: a message on its way, or moved. `moved_to` is None as long as the new place is unknown."""

    id: int
    run: str
    state: str
    reason: str
    place: Place
    identity: str
    message_id: str
    size: int
    verdict: str
    evidence: str
    folder: str
    """The target folder; the two numbers are its UIDVALIDITY and UIDNEXT before the move."""
    uidvalidity: int
    uidnext_before: int
    moved_to: Place | None
    undoes: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command on an account. `ended` is None while it runs, and for ever when it was killed."""

    id: str
    account: str
    command: str
    started: datetime
    ended: datetime | None
    counts: dict[str, int]
    """How many of its moves ended in which state."""


@dataclass(frozen=True, slots=True)
class Change:
    """A new state for a move."""

    id: int
    state: str
    reason: str = ""
    moved_to: Place | None = None


def open_journal(path: Path) -> Journal:
    """Open the journal, or make it; its folder is for the owner only (0700), and so is the file (0600).

    Raises WriteError when it cannot be written, InputError when it is damaged, no journal, or of a newer version. It is never
    overwritten.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise WriteError(f"The journal {path} cannot be written: {error.strerror}. Nothing was moved.") from error
    with _errors_of(path):
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
    connection.row_factory = sqlite3.Row
    return Journal(path, connection)


def is_there(path: Path) -> bool:
    """Whether there is a journal. Raises NotFoundError when nobody can tell."""
    try:
        return path.is_file()
    except OSError as error:
        raise NotFoundError(f"The journal {path} cannot be read: {error.strerror}. Check your rights.") from error


def kept_in(path: Path, account: str) -> frozenset[str]:
    """`Journal.kept` for those who only look: nothing is made or written. Raises InputError, NotFoundError or WriteError."""
    if not is_there(path):
        return frozenset()
    # in any other mode, files for the WAL are made beside it; while there is one, somebody writes or was cut off
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    with _errors_of(path), closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
        return (
            frozenset(row[0] for row in connection.execute(_KEPT, (account,)))
            if _version(connection, path)
            else frozenset()
        )


class Journal:
    """An open journal. It is written only within `run`, by one process for each account; reading is free."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._now: Callable[[], datetime] = _no_run

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    # Runs

    @contextmanager
    def run(self, account: str, command: str, now: datetime) -> Iterator[str]:
        """Hold the account for one run, and give the run's id, such as "20261124-1". `now` must be aware; time goes on from
        there by a clock that never jumps.

        Raises BusyError when another run holds the account, WriteError.
        """
        start = time.monotonic()
        with self._lock(account):
            self._now = lambda: now + timedelta(seconds=time.monotonic() - start)
            run = self._begin(account, command)
            try:
                yield run
            except BaseException:
                with suppress(FiltersError):  # the first error is the one to tell
                    self._end(run)
                raise
            self._end(run)

    @contextmanager
    def _lock(self, account: str) -> Iterator[None]:
        """An OS lock, which ends with the process however that ends. Nobody removes the file: it could be somebody's lock."""
        name = hashlib.sha256(account.encode("utf-8", "replace")).hexdigest()[:16]
        try:
            descriptor = os.open(self.path.with_name(f"{name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WriteError(f"The folder of the journal {self.path} cannot be written: {error.strerror}.") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BusyError(
                    f"Another run is busy with {account}{self._holder(account)}. Try again later."
                ) from error
            yield
        finally:
            self._now = _no_run
            os.close(descriptor)

    def _holder(self, account: str) -> str:
        query = "SELECT id, pid FROM run WHERE account = ? AND ended IS NULL ORDER BY rowid DESC LIMIT 1"
        found = self._rows(query, account)
        return f" (run {found[0][0]}, process {found[0][1]})" if found else ""

    def _begin(self, account: str, command: str) -> str:
        now = self._now()
        with self._writing() as write:
            used = self._rows("SELECT id FROM run WHERE id LIKE ?", f"{now:%Y%m%d}-%")
            run = f"{now:%Y%m%d}-{max((int(id.partition('-')[2]) for (id,) in used), default=0) + 1}"
            write(
                "INSERT INTO run (id, account, command, pid, started) VALUES (?, ?, ?, ?, ?)",
                (run, account, command, os.getpid(), _written(now)),
            )
        return run

    def _end(self, run: str) -> None:
        counts = dict(self._rows("SELECT state, count(*) FROM move WHERE run = ? GROUP BY state", run))
        with self._writing() as write:
            write("UPDATE run SET ended = ?, counts = ? WHERE id = ?", (_written(self._now()), json.dumps(counts), run))

    def runs(self, account: str | None = None) -> list[Run]:
        """All runs, or those of an account; oldest first."""
        query = "SELECT * FROM run WHERE ? IN (account, '') ORDER BY rowid"
        return [_run(row) for row in self._rows(query, account or "")]

    def last_run(self, account: str | None = None) -> Run | None:
        """The last run that moved something, or may have, other than to take it back; whether or not it was taken back."""
        query = "SELECT DISTINCT run FROM move WHERE undoes IS NULL AND state IN ('sent', 'done', 'undone')"
        moving = {run for (run,) in self._rows(query)}
        return next((run for run in reversed(self.runs(account)) if run.id in moving), None)

    # Moves

    def plan(self, run: str, candidates: Iterable[Candidate], target: Target) -> list[Move]:
        """Write a planned move for each, and give the rows."""
        with self._writing() as write:
            return self.reread([write(_PLAN, self._row(run, one, target)).lastrowid or 0 for one in candidates])

    def _row(self, run: str, one: Candidate, target: Target) -> tuple[Any, ...]:
        """In the order of `_PLAN`."""
        place = (one.place.account, one.place.folder, *numbers(one.place.key))
        words = (one.message_id, one.verdict, one.evidence, one.model_sha)
        texts = [word.encode("utf-8", "replace").decode() for word in words]
        goal = (target.folder, target.uidvalidity, target.uidnext)
        return (run, *place, one.identity, one.size, *texts, *goal, one.undoes, _written(self._now()))

    def record(self, changes: Sequence[Change]) -> None:
        """New states, all of them or none; on the disk when this returns. A move that takes another back and is done makes that
        one "undone" at the same moment."""
        now = _written(self._now())
        with self._writing() as write:
            for change in changes:
                before = _BEFORE[change.state]
                uidvalidity, uid = numbers(change.moved_to.key) if change.moved_to else (None, None)
                values = (change.state, change.reason, now, uidvalidity, uid, change.id, before[0], before[-1])
                if write(_RECORD, values).rowcount != 1:
                    raise FiltersError(f"Move {change.id} cannot become {change.state}. This is a defect in unpitch.")
                if change.state == "done":
                    write(_UNDONE, (now, change.id))

    def moves(self, run: str) -> list[Move]:
        """All moves of a run. Raises NotFoundError when there is no such run."""
        if not self._rows("SELECT 1 FROM run WHERE id = ?", run):
            raise NotFoundError(f"There is no run {run} in the journal {self.path}.")
        return self._moves("run = ?", run)

    def reread(self, ids: Iterable[int]) -> list[Move]:
        """Moves as they are now."""
        return self._moves("id IN (SELECT value FROM json_each(?))", json.dumps(list(ids)))

    def open_moves(self, account: str, folder: str) -> list[Move]:
        """Moves out of a folder whose outcome is not proven."""
        return self._moves(
            "account = ? AND src = ? AND state IN ('planned', 'sent', 'copied', 'removing')", account, folder
        )

    def arrived(self, account: str, folder: str, identity: str) -> frozenset[Place]:
        """Places in a folder that are known to be those of moved messages with this identity."""
        done = self._moves("account = ? AND dst = ? AND identity = ? AND state = 'done'", account, folder, identity)
        return frozenset(move.moved_to for move in done if move.moved_to)

    def _moves(self, condition: str, *values: Any) -> list[Move]:
        return [_move(row) for row in self._rows(f"SELECT * FROM move WHERE {condition} ORDER BY id", *values)]  # noqa: S608

    # What was taken back

    def keep(self, account: str, identities: Iterable[str]) -> None:
        """Remember messages that no later run may move."""
        with self._writing() as write:
            for identity in identities:
                write("INSERT OR IGNORE INTO kept VALUES (?, ?, ?)", (account, identity, _written(self._now())))

    def kept(self, account: str) -> frozenset[str]:
        """Identities of messages that somebody took back."""
        return frozenset(identity for (identity,) in self._rows(_KEPT, account))

    # The database

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with _errors_of(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[Callable[[str, tuple[Any, ...]], sqlite3.Cursor]]:
        with _errors_of(self.path), _transaction(self._connection):
            yield self._connection.execute


def _move(row: sqlite3.Row) -> Move:
    account, uid = row["account"], row["dst_uid"]
    return Move(
        id=row["id"],
        run=row["run"],
        state=row["state"],
        reason=row["reason"],
        place=Place(account, row["src"], _key(row["src_uidvalidity"], row["src_uid"])),
        identity=row["identity"],
        message_id=row["message_id"],
        size=row["size"],
        verdict=row["verdict"],
        evidence=row["evidence"],
        folder=row["dst"],
        uidvalidity=row["dst_uidvalidity"],
        uidnext_before=row["dst_uidnext_before"],
        moved_to=None if uid is None else Place(account, row["dst"], _key(row["dst_uidvalidity"], uid)),
        undoes=row["undoes"],
    )


def _run(row: sqlite3.Row) -> Run:
    return Run(
        id=row["id"],
        account=row["account"],
        command=row["command"],
        started=datetime.fromisoformat(row["started"]),
        ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
        counts=json.loads(row["counts"]),
    )


def numbers(key: str) -> tuple[int, str]:
    """(UIDVALIDITY, UID) of an IMAP key; (0, the key) of any other."""
    match = re.fullmatch(r"([1-9]\d{0,9}):(\d{1,10})", key, re.ASCII)
    return (int(match[1]), match[2]) if match else (0, key)


def _key(uidvalidity: int, uid: str) -> str:
    return f"{uidvalidity}:{uid}" if uidvalidity else uid


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


def _no_run() -> datetime:
    raise FiltersError("The journal is written only within a run. This is a defect in unpitch.")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("malformed")
    if _version(connection, path) == 0:
        connection.execute("PRAGMA journal_mode = WAL")
        with _transaction(connection):
            if _version(connection, path) == 0:  # nobody else was faster
                for statement in _SCHEMA.split(";\n")[:-1]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version > VERSION:
        raise InputError(f"The journal {path} was written by a newer unpitch (version {version}). Use that one.")
    if (version == 0) != (tables == 0):
        raise InputError(f"{path} is a database, but no journal. Move it away, and start again.")
    return version


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Errors of the database in words that say what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise BusyError(f"Another run is writing to the journal {path}. Try again later.") from error
        raise WriteError(f"The journal {path} cannot be written: {error}. Check the disk and your rights.") from error
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"The journal {path} is damaged ({error}). Restore it from a backup, or move it away: without it, moves made so far"
            " cannot be undone by unpitch."
        ) from error
