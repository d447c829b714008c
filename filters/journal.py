"""The journal: one SQLite database (see `database`) that knows of every move before it happens, and for as long as it can be undone.

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
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filters.database import connect, connect_to_look, errors_of, text, transaction, written
from filters.errors import BusyError, FiltersError, NotFoundError, WriteError
from filters.lessons import Lessons
from filters.sources import Mark, Place, Target

_PLAN = """
INSERT INTO move (run, account, src, src_uidvalidity, src_uid, identity, size, message_id, verdict, evidence, model_sha, sender,
    dst, dst_uidvalidity, dst_uidnext_before, undoes, ts, method, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'planned')
"""
_RECORD = """
UPDATE move SET state = ?, reason = ?, ts = ?, dst_uidvalidity = coalesce(?, dst_uidvalidity), dst_uid = ?
WHERE id = ? AND state IN (SELECT value FROM json_each(?))
"""
_UNDONE = (
    "UPDATE move SET state = 'undone', ts = ? WHERE id = (SELECT undoes FROM move WHERE id = ?) AND state = 'done'"
)
_KEPT = "SELECT identity FROM kept WHERE account = ?"
#: Which state may follow which.
_BEFORE = {
    "planned": ("sent", "copied"),
    "sent": ("planned",),
    "copied": ("sent",),
    "removing": ("copied", "removing"),
    "done": ("sent", "copied", "removing"),
    "vanished": ("sent", "copied"),
    "doubt": ("planned", "sent", "copied", "removing"),
    "failed": ("planned", "sent"),
}
#: States of a move whose outcome is not proven.
OPEN = ("planned", "sent", "copied", "removing")
#: Letters of a sender that are kept.
_SENDER_CAP = 500
#: Letters that a part of a sender must have, so that it does not mean everybody.
SENDER_PART = 3
#: Why no run moves a message that somebody took out of the target folder, by `undo` or by hand.
TAKEN_BACK = "you took it back once"


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
    sender: str = ""
    """Who the mail says that it is from: for a person to find it again."""

    @property
    def is_known_to_server(self) -> bool:
        """Whether its identity is the server's own, so that two of it are the same message in two folders."""
        return self.identity.startswith(("emailid:", "x-gm-msgid:"))


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
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command on an account. `ended` is None while it runs, and for ever when it was killed."""

    id: str
    account: str
    command: str
    started: datetime
    ended: datetime | None
    counts: dict[str, int]
    """How many of its moves were in which state when it ended."""
    fault: str = ""
    """What broke it off, in words; "" when it came to its end, or was killed."""


@dataclass(frozen=True, slots=True)
class Change:
    """A new state for a move."""

    id: int
    state: str
    reason: str = ""
    moved_to: Place | None = None


def open_journal(path: Path) -> Journal:
    """Open the journal, or make it. Raises like `database.connect`."""
    return Journal(path, connect(path))


def look_into(path: Path) -> Journal | None:
    """The journal for those who only look: nothing is made or written. None when there is none. Raises like
    `database.connect_to_look`."""
    connection = connect_to_look(path)
    return Journal(path, connection) if connection else None


class Journal:
    """An open journal. It is written only within `run`, by one process for each account; reading is free."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        connection.row_factory = sqlite3.Row
        self._connection = connection
        self._now: Callable[[], datetime] = _no_run
        self.lessons = Lessons(path, connection, self._clock)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _clock(self) -> datetime:
        return self._now()

    # Runs

    @contextmanager
    def run(self, account: str, command: str, now: datetime) -> Iterator[str]:
        """Hold the account for one run, and give the run's id, such as "20261124-1". `now` must be aware; time goes on from
        there by a clock that never jumps.

        Raises BusyError when another run holds the account, WriteError.
        """
        start, outer = time.monotonic(), self._now
        with self._lock(account):
            self._now = lambda: now + timedelta(seconds=time.monotonic() - start)
            run = self._begin(account, command)
            try:
                yield run
            except BaseException as error:
                with suppress(FiltersError):  # the first error is the one to tell
                    self._end(run, str(error) if isinstance(error, FiltersError) else _stopped_by(error))
                raise
            else:
                self._end(run)
            finally:
                self._now = outer

    @contextmanager
    def _lock(self, account: str) -> Iterator[None]:
        """An OS lock, which ends with the process however that ends. Nobody removes the file: it could be somebody's lock."""
        try:
            descriptor = os.open(self._lock_file(account), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WriteError(
                f"The folder of the journal {self.path} cannot be written: {error.strerror}. Nothing was moved. Check the disk"
                " and your rights, or name another folder in UNPITCH_STATE."
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BusyError(
                    f"Another run is busy with {account}{self._holder(account)}. Try again later."
                ) from error
            yield
        finally:
            os.close(descriptor)

    def _lock_file(self, account: str) -> Path:
        return self.path.with_name(f"{hashlib.sha256(account.encode('utf-8', 'replace')).hexdigest()[:16]}.lock")

    def is_running(self, account: str) -> bool:
        """Whether a run holds the account just now."""
        try:
            with self._lock_file(account).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # there is none, or it cannot be read
            return False
        return False

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
                (run, account, command, os.getpid(), written(now)),
            )
        return run

    def _end(self, run: str, fault: str = "") -> None:
        counts = dict(self._rows("SELECT state, count(*) FROM move WHERE run = ? GROUP BY state", run))
        values = (written(self._now()), json.dumps(counts), text(fault)[:_SENDER_CAP], run)
        with self._writing() as write:
            write("UPDATE run SET ended = ?, counts = ?, fault = ? WHERE id = ?", values)

    def runs(self, account: str | None = None) -> list[Run]:
        """All runs, or those of an account; oldest first."""
        query = "SELECT * FROM run WHERE ? IN (account, '') ORDER BY rowid"
        return [_run(row) for row in self._rows(query, account or "")]

    def last_run(self, account: str | None = None) -> Run | None:
        """The last run that moved something, or may have, other than to take it back; whether or not it was taken back."""
        query = "SELECT DISTINCT run FROM move WHERE undoes IS NULL AND state IN ('sent', 'copied', 'removing', 'done', 'undone')"
        moving = {run for (run,) in self._rows(query)}
        return next((run for run in reversed(self.runs(account)) if run.id in moving), None)

    # Moves

    def plan(self, run: str, candidates: Iterable[Candidate], target: Target, method: str) -> list[Move]:
        """Write a planned move for each, by "move" or "copy", and give the rows."""
        with self._writing() as write:
            rows = (self._row(run, one, target, method) for one in candidates)
            return self.reread([write(_PLAN, row).lastrowid or 0 for row in rows])

    def _row(self, run: str, one: Candidate, target: Target, method: str) -> tuple[Any, ...]:
        """In the order of `_PLAN`."""
        place = (one.place.account, one.place.folder, *numbers(one.place.key))
        words = (one.message_id, one.verdict, one.evidence, one.model_sha, one.sender[:_SENDER_CAP])
        texts = [text(word) for word in words]
        goal = (target.folder, target.uidvalidity, target.uidnext)
        return (run, *place, one.identity, one.size, *texts, *goal, one.undoes, written(self._now()), method)

    def record(self, changes: Sequence[Change]) -> None:
        """New states, all of them or none; on the disk when this returns. A move that takes another back and is done makes that
        one "undone" at the same moment."""
        now = written(self._now())
        with self._writing() as write:
            for change in changes:
                before = json.dumps(_BEFORE[change.state])
                uidvalidity, uid = numbers(change.moved_to.key) if change.moved_to else (None, None)
                values = (change.state, change.reason, now, uidvalidity, uid, change.id, before)
                if write(_RECORD, values).rowcount != 1:
                    raise FiltersError(f"Move {change.id} cannot become {change.state}. This is a defect in unpitch.")
                if change.state == "done":
                    write(_UNDONE, (now, change.id))

    def moves(self, run: str) -> list[Move]:
        """All moves of a run. Raises NotFoundError when there is no such run."""
        if not self._rows("SELECT 1 FROM run WHERE id = ?", run):
            raise NotFoundError(f"There is no run {run} in the journal {self.path}.")
        return self._moves("run = ?", run)

    def tallies(self, account: str | None = None) -> dict[str, Counter[str]]:
        """Of each run, how many of its moves are in which state now."""
        query = "SELECT run, state, count(*) FROM move WHERE ? IN (account, '') GROUP BY run, state"
        found: dict[str, Counter[str]] = {}
        for run, state, count in self._rows(query, account or ""):
            found.setdefault(run, Counter())[state] = count
        return found

    def found(
        self, *, message_id: str = "", sender: str = "", since: datetime | None = None, until: datetime | None = None
    ) -> list[Move]:
        """Moves, other than back, that fit all that is given; oldest first.

        `message_id`: the whole of it, angle brackets or not. `sender`: a part of the name or address, in letters of any case.
        `since` and `until`: its run began at this moment or later, and before that one; both aware.
        """
        values: tuple[Any, ...] = ()
        condition = "undoes IS NULL"
        if message_id:
            condition += " AND message_id = ?"
            values += (text(message_id).strip().removeprefix("<").removesuffix(">"),)
        if sender:
            condition += " AND sender IN (SELECT value FROM json_each(?))"
            values += (json.dumps(self._senders(sender)),)
        if since or until:
            condition += " AND run IN (SELECT id FROM run WHERE started >= ? AND started < ?)"
            values += (written(since) if since else "", written(until) if until else "~")
        return self._moves(condition, *values)

    def _senders(self, part: str) -> list[str]:
        wanted = _folded(part)
        senders = self._rows("SELECT DISTINCT sender FROM move WHERE undoes IS NULL")
        return [sender for (sender,) in senders if wanted in _folded(sender)]

    def reread(self, ids: Iterable[int]) -> list[Move]:
        """Moves as they are now."""
        return self._moves("id IN (SELECT value FROM json_each(?))", json.dumps(list(ids)))

    def moves_of(self, account: str, identities: Iterable[str]) -> list[Move]:
        """Moves, other than back, of messages that are where they were moved to, as far as the journal knows."""
        return self._moves(
            "account = ? AND undoes IS NULL AND state = 'done' AND identity IN (SELECT value FROM json_each(?))",
            account,
            json.dumps(list(identities)),
        )

    def open_moves(self, account: str, folder: str) -> list[Move]:
        """Moves out of a folder whose outcome is not proven."""
        return self._moves(
            "account = ? AND src = ? AND state IN (SELECT value FROM json_each(?))", account, folder, json.dumps(OPEN)
        )

    def open_folders(self, account: str) -> list[str]:
        """Folders out of which there are moves whose outcome is not proven."""
        query = "SELECT DISTINCT src FROM move WHERE account = ? AND state IN (SELECT value FROM json_each(?))"
        return [folder for (folder,) in self._rows(query, account, json.dumps(OPEN))]

    def arrived(self, account: str, folder: str, identity: str, but: Iterable[int] = ()) -> frozenset[Place]:
        """Places in a folder that are known to be those of moved or copied messages with this identity, other than moves `but`."""
        known = self._moves(
            "account = ? AND dst = ? AND identity = ? AND state IN ('copied', 'removing', 'done')"
            " AND id NOT IN (SELECT value FROM json_each(?))",
            account,
            folder,
            identity,
            json.dumps(list(but)),
        )
        return frozenset(move.moved_to for move in known if move.moved_to)

    def _moves(self, condition: str, *values: Any) -> list[Move]:
        return [_move(row) for row in self._rows(f"SELECT * FROM move WHERE {condition} ORDER BY id", *values)]  # noqa: S608

    # What was taken back

    def keep(self, account: str, identities: Iterable[str]) -> None:
        """Remember messages that no later run may move."""
        with self._writing() as write:
            for identity in identities:
                write("INSERT OR IGNORE INTO kept VALUES (?, ?, ?)", (account, identity, written(self._now())))

    def barred(self, account: str) -> dict[str, str]:
        """Identities of messages that no run may move, and why: somebody took them back, or must decide first. To move what is in
        doubt could put one more of it into the target with each run."""
        doubts = self._rows("SELECT identity, run FROM move WHERE account = ? AND state = 'doubt'", account)
        barred = {identity: f"where it is has been in doubt since run {run}" for identity, run in doubts}
        return barred | dict.fromkeys(self.kept(account), TAKEN_BACK)

    def kept(self, account: str) -> frozenset[str]:
        """Identities of messages that somebody took back."""
        return frozenset(identity for (identity,) in self._rows(_KEPT, account))

    # How far folders were looked through

    def mark(self, account: str, folder: str, judged_by: str) -> Mark | None:
        """Up to where a folder was looked through by the same judge (`judged_by`: what judging depended on); None for not at all."""
        query = "SELECT uidvalidity, uidnext, again FROM scan WHERE account = ? AND folder = ? AND judged_by = ?"
        found = self._rows(query, account, folder, judged_by)
        return Mark(found[0][0], found[0][1], tuple(json.loads(found[0][2]))) if found else None

    def set_mark(self, account: str, folder: str, judged_by: str, mark: Mark) -> None:
        """Remember it. Only for what was judged, in a run that comes to its end."""
        values = (account, folder, mark.uidvalidity, mark.uidnext, json.dumps(mark.again), judged_by)
        with self._writing() as write:
            write("REPLACE INTO scan VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, written(self._now())))

    def add_traffic(self, account: str, received: int) -> None:
        """Count bytes that came from the server; what is older than two days is forgotten."""
        now = self._now()
        with self._writing() as write:
            write("DELETE FROM traffic WHERE ts < ?", (written(now - timedelta(days=2)),))
            write("INSERT INTO traffic VALUES (?, ?, ?)", (account, written(now), received))

    def traffic(self, account: str, since: datetime) -> int:
        """Bytes that came from the server since then."""
        query = "SELECT coalesce(sum(bytes), 0) FROM traffic WHERE account = ? AND ts >= ?"
        return int(self._rows(query, account, written(since))[0][0])

    # The database

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with errors_of(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[Callable[[str, tuple[Any, ...]], sqlite3.Cursor]]:
        with errors_of(self.path), transaction(self._connection):
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
        sender=row["sender"],
    )


def _run(row: sqlite3.Row) -> Run:
    return Run(
        id=row["id"],
        account=row["account"],
        command=row["command"],
        started=datetime.fromisoformat(row["started"]),
        ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
        counts=json.loads(row["counts"]),
        fault=row["fault"],
    )


def _stopped_by(error: BaseException) -> str:
    return f"it was stopped ({type(error).__name__})"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def numbers(key: str) -> tuple[int, str]:
    """(UIDVALIDITY, UID) of an IMAP key; (0, the key) of any other."""
    match = re.fullmatch(r"([1-9]\d{0,9}):(\d{1,10})", key, re.ASCII)
    return (int(match[1]), match[2]) if match else (0, key)


def _key(uidvalidity: int, uid: str) -> str:
    return f"{uidvalidity}:{uid}" if uidvalidity else uid


def _no_run() -> datetime:
    raise FiltersError("The journal is written only within a run. This is a defect in unpitch.")
