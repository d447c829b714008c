"""The file of the journal: what is in it, how it is opened to write and to look, and what happens to a damaged one.

A journal of an older version is brought up to this one in one transaction, when it is opened to be written.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filters.errors import BusyError, InputError, NotFoundError, WriteError

VERSION = 4
#: What version 3 added: mail that was judged and left where it was, what a person's own moves say of mail, and how folders were
#: numbered when they were last looked through for such moves.
_LESSONS = """
CREATE TABLE seen (
    account TEXT NOT NULL, identity TEXT NOT NULL, message_id TEXT NOT NULL, folder TEXT NOT NULL, category TEXT NOT NULL,
    elsewhere INTEGER NOT NULL, ts TEXT NOT NULL, PRIMARY KEY (account, identity)
);
CREATE TABLE lesson (
    account TEXT NOT NULL, identity TEXT NOT NULL, message_id TEXT NOT NULL, category TEXT NOT NULL,
    label TEXT NOT NULL CHECK (label IN ('keep', 'promotional')), known TEXT NOT NULL CHECK (known IN ('keep', 'promotional')),
    src TEXT NOT NULL, folder TEXT NOT NULL, run TEXT NOT NULL REFERENCES run, ts TEXT NOT NULL, learnt TEXT REFERENCES run,
    PRIMARY KEY (account, identity)
);
CREATE TABLE mark (
    account TEXT NOT NULL, folder TEXT NOT NULL, uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL,
    PRIMARY KEY (account, folder)
) WITHOUT ROWID;
"""
#: What version 4 added: how far folders were looked through, and what was received.
_SCANS = """
CREATE TABLE scan (
    account TEXT NOT NULL, folder TEXT NOT NULL, uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL,
    again TEXT NOT NULL, judged_by TEXT NOT NULL, ts TEXT NOT NULL, PRIMARY KEY (account, folder)
) WITHOUT ROWID;
CREATE TABLE traffic (account TEXT NOT NULL, ts TEXT NOT NULL, bytes INTEGER NOT NULL);
"""
_SCHEMA = """
CREATE TABLE run (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, command TEXT NOT NULL, pid INTEGER NOT NULL,
    started TEXT NOT NULL, ended TEXT, counts TEXT NOT NULL DEFAULT '{}', fault TEXT NOT NULL DEFAULT ''
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
    reason TEXT NOT NULL DEFAULT '', undoes INTEGER REFERENCES move, ts TEXT NOT NULL, sender TEXT NOT NULL DEFAULT ''
);
CREATE INDEX move_run ON move (run);
CREATE INDEX move_open ON move (account, src) WHERE state IN ('planned', 'sent', 'copied', 'removing');
CREATE INDEX move_target ON move (account, dst, identity) WHERE state = 'done';
CREATE TABLE kept (account TEXT NOT NULL, identity TEXT NOT NULL, ts TEXT NOT NULL, PRIMARY KEY (account, identity))
    WITHOUT ROWID;
"""


def _statements(script: str) -> tuple[str, ...]:
    return tuple(script.split(";\n")[:-1])


#: Those that a journal of any version has.
_TABLES = {"run", "move", "kept"}
#: What makes of each version the next one.
_STEPS = {
    1: (
        "ALTER TABLE run ADD COLUMN fault TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE move ADD COLUMN sender TEXT NOT NULL DEFAULT ''",
    ),
    2: _statements(_LESSONS),
    3: _statements(_SCANS),
}
_BUSY_SECONDS = 5
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DamagedError(InputError):
    """The file is no database any more, or its pages contradict each other. `keep_aside` is for it."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the journal to write, or make it; its folder is for the owner only (0700), and so is the file (0600).

    Raises WriteError when it cannot be written, DamagedError, InputError for a newer version or what is no journal, BusyError.
    It is never overwritten.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise WriteError(
            f"The journal {path} cannot be written: {error.strerror}. Nothing was moved. Check the disk and your rights, or name"
            " another folder for it in UNPITCH_STATE."
        ) from error
    with errors_of(path):
        _examine(path)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if _version(connection, path) == 0:
                connection.execute("PRAGMA journal_mode = WAL")
            _bring_up(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _examine(path: Path) -> None:
    """Raise DamagedError if it is damaged; before it is opened to write, for that would fold its WAL into it, or drop that."""
    with closing(_opened(path, "mode=ro")) as connection:
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise _damaged(path, "its pages contradict each other")


def _opened(path: Path, how: str) -> sqlite3.Connection:
    name = f"{path.absolute().as_uri()}?{how}"
    return sqlite3.connect(name, timeout=_BUSY_SECONDS, uri=True, isolation_level=None)


def connect_to_look(path: Path) -> sqlite3.Connection | None:
    """Open the journal for those who only look: nothing is made or written on the disk, nor can be. None when there is none.

    Raises InputError (DamagedError), NotFoundError or WriteError.
    """
    if not is_there(path):
        return None
    # in any other mode, files for the WAL are made beside it; while there is one, somebody writes or was cut off
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    with errors_of(path), ExitStack() as stack:
        connection = _opened(path, how)
        stack.callback(connection.close)
        version = _version(connection, path)
        if version == VERSION:
            stack.pop_all()
            return connection
        if version == 0:
            return None
        copy = sqlite3.connect(":memory:", isolation_level=None)
        connection.backup(copy)
        _bring_up(copy, path)
        return copy


def is_there(path: Path) -> bool:
    """Whether there is a journal. Raises NotFoundError when nobody can tell."""
    try:
        return path.is_file()
    except OSError as error:
        raise NotFoundError(f"The journal {path} cannot be read: {error.strerror}. Check your rights.") from error


def keep_aside(path: Path, now: datetime) -> Path:
    """Rename a damaged journal and its WAL, and give the new name, which was nobody's.

    Raises BusyError when a run is using it, WriteError when it cannot be renamed.
    """
    with _no_run_in(path.parent):
        new = path.with_name(f"{path.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
        while any(_beside(new, end).exists() for end in ("", "-wal", "-shm")):
            new = new.with_name(f"{new.name}a")
        there = [end for end in ("", "-wal", "-shm") if _beside(path, end).exists()]
        try:
            # first all new names, then none of the old: cut off in between, nothing is torn apart
            for end in there:
                os.link(_beside(path, end), _beside(new, end))
            for end in there:
                _beside(path, end).unlink()
        except OSError as error:
            raise WriteError(
                f"The journal {path} is damaged, and cannot be kept aside as {new.name}: {error.strerror}. Move it away."
            ) from error
    return new


def _beside(path: Path, end: str) -> Path:
    return path.with_name(f"{path.name}{end}")


@contextmanager
def _no_run_in(folder: Path) -> Iterator[None]:
    """Hold the locks of all accounts, so that nobody is writing to what is renamed."""
    with ExitStack() as stack:
        for name in sorted(folder.glob("*.lock")):
            lock = stack.enter_context(name.open("rb"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BusyError("The journal is damaged, and another run is using it. Try again later.") from error
        yield


def _bring_up(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring them up to this version."""
    if _version(connection, path) == VERSION:
        return
    with transaction(connection):
        version = _version(connection, path)  # somebody else may have been faster
        steps = (
            _statements(_SCHEMA + _LESSONS + _SCANS)
            if version == 0
            else [one for at in range(version, VERSION) for one in _STEPS[at]]
        )
        for statement in steps:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if version > VERSION:
        raise InputError(f"The journal {path} was written by a newer unpitch (version {version}). Use that one.")
    if not (tables >= _TABLES if version else not tables):
        raise InputError(f"{path} is a database, but no journal. Move it away, and start again.")
    return version


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and nobody else meanwhile."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Errors of the database in words that say what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise BusyError(f"Another run is writing to the journal {path}. Try again later.") from error
        raise WriteError(f"The journal {path} cannot be written: {error}. Check the disk and your rights.") from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            raise _damaged(path, str(error)) from error
        raise InputError(
            f"The journal {path} holds what it must not ({error}). This is a defect in unpitch."
        ) from error


def _damaged(path: Path, why: str) -> DamagedError:
    return DamagedError(
        f"The journal {path} is damaged ({why}). Restore it from a backup, or move it away: without it, moves made so far"
        " cannot be undone by unpitch."
    )


def text(word: str) -> str:
    """Text that the database takes: lone surrogates become question marks."""
    return word.encode("utf-8", "replace").decode()


def written(time: datetime) -> str:
    """A time as the database has it: UTC, so that texts sort as times do."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")
