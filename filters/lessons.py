"""The part of the journal that learning needs: mail that was judged and left where it was, what a person's own moves say of mail, and up
to where folders were looked through for such moves. Identities and folders; never a word of a mail.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filters.database import errors_of, text, transaction, written
from filters.sources import Target

KEEP, PROMOTIONAL = "keep", "promotional"
#: Mail that was left where it was is remembered for so long after it was last seen there, and so much of it for each account.
SEEN_DAYS = 180
SEEN_MOST = 20_000

_SAW = """
INSERT INTO seen (account, identity, message_id, folder, category, elsewhere, ts) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET folder = excluded.folder, category = excluded.category, elsewhere = max(elsewhere, excluded.elsewhere),
    ts = excluded.ts
"""
_FORGET = """
DELETE FROM seen WHERE account = ? AND (ts < ? OR rowid IN
    (SELECT rowid FROM seen WHERE account = ? ORDER BY ts DESC, rowid DESC LIMIT -1 OFFSET ?))
"""
_NOTE = """
INSERT INTO lesson (account, identity, message_id, category, label, known, src, folder, run, ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET label = excluded.label, folder = excluded.folder, run = excluded.run, ts = excluded.ts
"""
_MARK = "INSERT OR REPLACE INTO mark (account, folder, uidvalidity, uidnext) VALUES (?, ?, ?, ?)"
_LEARN = "UPDATE lesson SET known = ?, learnt = ? WHERE account = ? AND identity = ? AND label = ?"


@dataclass(frozen=True, slots=True)
class Seen:
    """Mail of the sender's that a run judged and left in `folder`. `category` is the caller's word."""

    identity: str
    message_id: str
    folder: str
    category: str
    elsewhere: bool = False
    """It was in a target folder as well, so that its being there says nothing."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Where a person put a mail, against what unpitch made of it."""

    identity: str
    message_id: str
    category: str
    """What unpitch took it for."""
    label: str
    """What its place says of it now: "keep" or "promotional"."""
    known: str
    """What unpitch made of it, or has learnt since. When `label` is the same, there is nothing to learn."""
    src: str
    """The folder that it was in before a person, or unpitch, moved it."""
    folder: str
    """The folder that it was found in."""
    noticed: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether there is something to learn."""
        return self.label != self.known


class Lessons:
    """An open journal's lessons. Like the journal, they are written only within a run; `now` gives the time of that."""

    def __init__(self, path: Path, connection: sqlite3.Connection, now: Callable[[], datetime]) -> None:
        self._path, self._connection, self._now = path, connection, now

    def seen(self, account: str) -> dict[str, Seen]:
        """By identity; what was seen last comes last."""
        rows = self._rows("SELECT * FROM seen WHERE account = ? ORDER BY ts, rowid", account)
        return {row["identity"]: _seen(row) for row in rows}

    def of(self, account: str) -> dict[str, Correction]:
        """All corrections of an account by identity, learnt or not; oldest first."""
        found = self._rows("SELECT * FROM lesson WHERE account = ? ORDER BY ts, rowid", account)
        return {row["identity"]: _correction(row) for row in found}

    def remember(
        self, account: str, run: str, corrections: Iterable[Correction], left: Iterable[Seen], marks: Iterable[Target]
    ) -> None:
        """Write down where people put mail, what a run left where it was, and up to where folders were looked through; forget what
        nobody has seen for long."""
        now, old = written(self._now()), written(self._now() - timedelta(days=SEEN_DAYS))
        notes = [
            (
                account,
                one.identity,
                text(one.message_id),
                one.category,
                one.label,
                one.known,
                one.src,
                one.folder,
                run,
                now,
            )
            for one in corrections
        ]
        seen = [
            (account, one.identity, text(one.message_id), one.folder, one.category, one.elsewhere, now)
            for one in list(left)[-SEEN_MOST:]
        ]
        with errors_of(self._path), transaction(self._connection):
            self._connection.executemany(_NOTE, notes)
            self._connection.executemany(_SAW, seen)
            self._connection.execute(_FORGET, (account, old, account, SEEN_MOST))
            self._connection.executemany(_MARK, [(account, one.folder, one.uidvalidity, one.uidnext) for one in marks])

    def settle(self, account: str, run: str, labels: Mapping[str, str], learnt: Collection[str]) -> None:
        """Remember what was learnt, and of which of these labels, by identity, there is nothing to learn for good. A label that has
        changed meanwhile stays open."""
        rows = [
            (label, run if identity in learnt else None, account, identity, label) for identity, label in labels.items()
        ]
        with errors_of(self._path), transaction(self._connection):
            self._connection.executemany(_LEARN, rows)

    def marks(self, account: str) -> dict[str, Target]:
        """How folders were numbered when they were last looked through, by name."""
        query = "SELECT folder, uidvalidity, uidnext FROM mark WHERE account = ?"
        return {row[0]: Target(*row) for row in self._rows(query, account)}

    # What the journal's moves say

    def outcomes(self, account: str) -> dict[str, frozenset[str]]:
        """Of each message that was moved, or was to be, the states of all its moves, those back among them."""
        found: dict[str, set[str]] = {}
        for identity, state in self._rows("SELECT DISTINCT identity, state FROM move WHERE account = ?", account):
            found.setdefault(identity, set()).add(state)
        return {identity: frozenset(states) for identity, states in found.items()}

    def targets(self, account: str) -> list[str]:
        """Folders that mail was moved to, other than back."""
        query = "SELECT DISTINCT dst FROM move WHERE account = ? AND undoes IS NULL AND state IN ('done', 'undone')"
        return [folder for (folder,) in self._rows(query, account)]

    def beyond_ours(self, account: str, mark: Target) -> Target:
        """The same mark, past the messages of our own that came right after it."""
        query = "SELECT dst_uid FROM move WHERE account = ? AND dst = ? AND dst_uidvalidity = ? AND CAST(dst_uid AS INTEGER) >= ?"
        numbers = (mark.uidvalidity, mark.uidnext)
        ours = {int(uid) for (uid,) in self._rows(query, account, mark.folder, *numbers) if mark.uidvalidity}
        uidnext = mark.uidnext
        while uidnext in ours:
            uidnext += 1
        return Target(mark.folder, mark.uidvalidity, uidnext)

    def places(self) -> list[tuple[str, str]]:
        """(account, folder) of all folders that runs looked through or moved mail out of."""
        query = (
            "SELECT account, folder FROM seen UNION SELECT account, src FROM move WHERE undoes IS NULL AND state = 'done'"
            " ORDER BY 1, 2"
        )
        return [tuple(row) for row in self._rows(query)]

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with errors_of(self._path):
            return self._connection.execute(query, values).fetchall()


def _seen(row: sqlite3.Row) -> Seen:
    return Seen(row["identity"], row["message_id"], row["folder"], row["category"], bool(row["elsewhere"]))


def _correction(row: sqlite3.Row) -> Correction:
    return Correction(
        identity=row["identity"],
        message_id=row["message_id"],
        category=row["category"],
        label=row["label"],
        known=row["known"],
        src=row["src"],
        folder=row["folder"],
        noticed=datetime.fromisoformat(row["ts"]),
    )
