"""The move that cannot lose mail: journal first, then look again, then move, then proof. And the way back.

Whatever stops a run, and wherever, the journal says afterwards what is proven and what is not ("sent"); `reconcile`, at the
start of the next run, looks at both folders and proves the rest. Nothing is ever moved twice on a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby

from filters.errors import NotFoundError
from filters.journal import Candidate, Change, Journal, Move, numbers
from filters.sources import Look, Place, Source, Target

__all__ = ["BUSY", "Candidate", "Left", "Outcome", "move", "reconcile", "undo"]

#: Messages per command and per transaction.
BATCH = 500
#: Flags of a message that is somebody's business; it stays where it is.
BUSY = {"\\Deleted": "marked as deleted", "\\Draft": "a draft", "\\Flagged": "flagged", "\\Answered": "answered"}
#: What hinders a move back: the rest is for whoever asked for it to decide.
_DELETED = {"\\Deleted": BUSY["\\Deleted"]}
#: What a look shows of a message that is there but cannot be read just now.
_UNREADABLE = ""
_NOTHING = Look("nothing", 0, frozenset())


@dataclass(frozen=True, slots=True)
class Left:
    """A message that was left alone, and why."""

    place: Place
    message_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a move or undo did. Where a message is now stands in `Move.moved_to`; None there means that it is unknown."""

    moved: tuple[Move, ...] = ()
    left: tuple[Left, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.moved + other.moved, self.left + other.left)


def move(source: Source, journal: Journal, run: str, candidates: Sequence[Candidate], folder: str) -> Outcome:
    """Move candidates from the source's folder to `folder`, which is made if it is not there.

    Left alone is what has no identity or was taken back once, and what is gone, changed, flagged, answered, a draft or marked as
    deleted by now. Raises TargetError, RefusedError or WriteError before anything is moved; ServerError when the connection
    breaks: what was under way then is settled by `reconcile` in the next run.
    """
    kept = journal.kept(source.account)
    unique = {one.place: one for one in candidates}.values()
    left = tuple(Left(one.place, one.message_id, why) for one in unique if (why := _refusal(one, kept)))
    ready = [one for one in unique if not _refusal(one, kept)]
    if not ready:
        return Outcome(left=left)
    return Outcome(left=left) + _carried(source, journal, run, ready, source.prepare(folder), BUSY)


def _refusal(candidate: Candidate, kept: Collection[str]) -> str:
    if not candidate.identity:
        return "it has no Message-ID, so a move could not be undone"
    return "you took it back once" if candidate.identity in kept else ""


def _carried(
    source: Source, journal: Journal, run: str, candidates: Sequence[Candidate], target: Target, busy: Mapping[str, str]
) -> Outcome:
    outcome = Outcome()
    for start in range(0, len(candidates), BATCH):
        planned = journal.plan(run, candidates[start : start + BATCH], target)
        _send(source, journal, _checked(source, journal, planned, busy), target)
        outcome += _told(journal.reread(row.id for row in planned))
    return outcome


def _checked(source: Source, journal: Journal, planned: Sequence[Move], busy: Mapping[str, str]) -> list[Move]:
    """Those that are still what was judged (D9); the others are written off."""
    looks = source.look([row.place for row in planned])
    reasons = {row.id: _difference(row, looks.get(row.place), busy) for row in planned}
    journal.record([Change(id, "failed", reason) for id, reason in reasons.items() if reason])
    return [row for row in planned if not reasons[row.id]]


def _difference(row: Move, look: Look | None, busy: Mapping[str, str]) -> str:
    if not look:
        return "it is not there any more"
    if look.identity != row.identity or look.size != row.size:
        return "it is not the message that was judged" if look.identity else "it cannot be read any more"
    states = [word for flag, word in busy.items() if flag in look.flags]
    return f"it is {' and '.join(states)}" if states else ""


def _send(source: Source, journal: Journal, rows: Sequence[Move], target: Target) -> None:
    """From the first record on until the last one the outcome is unknown, and the journal says so."""
    if rows:
        journal.record([Change(row.id, "sent") for row in rows])
        results = source.move([row.place for row in rows], target)
        journal.record([_result(row, results) for row in rows])


def _result(row: Move, results: Mapping[Place, Place | None]) -> Change:
    if row.place in results:
        return Change(row.id, "done", moved_to=results[row.place])
    return Change(row.id, "failed", "it could not be moved, or was gone by then")


def _told(rows: Iterable[Move]) -> Outcome:
    rows = list(rows)
    return Outcome(
        tuple(row for row in rows if row.state == "done"),
        tuple(Left(row.place, row.message_id, row.reason) for row in rows if row.state != "done"),
    )


# --- after a broken-off run


def reconcile(source: Source, journal: Journal) -> list[Move]:
    """Settle what earlier runs left open of moves out of this folder, by looking at both folders; moves nothing.

    Gives the rows as they are now. "doubt" is for a person to decide; a message that is still here can be moved by this run.
    """
    rows = journal.open_moves(source.account, source.folder)
    sent = [row for row in rows if row.state == "sent"]
    looks = source.look([row.place for row in sent]) if sent else {}
    changes = [
        Change(row.id, "failed", "the run broke off before it was moved") for row in rows if row.state == "planned"
    ]
    for (folder, identity), group in _grouped(sent):
        here = [row for row in group if looks.get(row.place, _NOTHING).identity == identity]
        gone = [row for row in group if row not in here and looks.get(row.place, _NOTHING).identity != _UNREADABLE]
        found = _unclaimed(source, journal, folder, group)
        changes += _stayed(here, len(found) > len(gone)) + _went(source, gone, found)
    journal.record(changes)
    return journal.reread(row.id for row in rows)


def _grouped(rows: Iterable[Move]) -> Iterator[tuple[tuple[str, str], list[Move]]]:
    """By target and identity: the same message may lie in a folder twice (N25), and only numbers can tell then."""

    def key(row: Move) -> tuple[str, str]:
        return row.folder, row.identity

    for found, group in groupby(sorted(rows, key=key), key):
        yield found, list(group)


def _unclaimed(source: Source, journal: Journal, folder: str, group: Sequence[Move]) -> list[Place]:
    """Where in the target the messages of a group may be: neither there before the move, nor known as another one's place."""
    first = min(group, key=lambda row: row.uidnext_before)
    found = source.find(folder, first.identity, first.message_id, first.uidnext_before) or source.find(
        folder, first.identity, first.message_id
    )
    arrived = journal.arrived(source.account, folder, first.identity)
    return [place for place in found if place not in arrived and not _was_there(place, first)]


def _was_there(place: Place, row: Move) -> bool:
    uidvalidity, uid = numbers(place.key)
    return uidvalidity != 0 and uidvalidity == row.uidvalidity and int(uid) < row.uidnext_before


def _stayed(rows: Sequence[Move], twice: bool) -> list[Change]:
    if twice:
        return [Change(row.id, "doubt", f"it is here, and in {row.folder} as well") for row in rows]
    return [Change(row.id, "failed", "it was not moved") for row in rows]


def _went(source: Source, rows: Sequence[Move], found: Sequence[Place]) -> list[Change]:
    """Of messages that are not where they were, with `found` in the target."""
    if not rows:
        return []
    first = rows[0]
    here = source.find(source.folder, first.identity, first.message_id)
    if here and not found:
        return [Change(row.id, "failed", "it was not moved") for row in rows]
    renumbered = [place for place in here if numbers(place.key)[0] != numbers(first.place.key)[0]]
    if len(found) == len(rows) and not renumbered:
        return [Change(row.id, "done", moved_to=place) for row, place in zip(rows, found, strict=True)]
    if found:
        return [Change(row.id, "doubt", f"there are {len(found) + len(renumbered)} of it") for row in rows]
    return [Change(row.id, "vanished", "it is in neither folder: somebody else took it") for row in rows]


# --- the way back


def undo(open_at: Callable[[str], Source], journal: Journal, run: str, rows: Sequence[Move]) -> Outcome:
    """Move messages back to where `rows` (of one account) took them from, and remember never to move them again.

    `open_at` opens a folder of that account, with leave to change it; it is closed here. `Outcome.moved` holds the moves back.
    What is not in the target any more, or cannot be told apart there, is left alone and reported. Raises like `move`.
    """
    ids = [row.id for row in rows]
    for folder in {row.place.folder for row in rows if row.state in ("planned", "sent")}:
        with closing(open_at(folder)) as source:
            reconcile(source, journal)
    outcome = Outcome()
    moved = [row for row in journal.reread(ids) if row.state != "failed"]
    for folder in dict.fromkeys(row.folder for row in moved):
        group = [row.id for row in moved if row.folder == folder]
        try:
            source = open_at(folder)
        except NotFoundError:
            outcome += _left(journal.reread(group), dict.fromkeys(group, f"there is no folder {folder} any more"))
            continue
        with closing(source):
            reconcile(source, journal)
            outcome += _back(source, journal, run, journal.reread(group))
    return outcome


def _back(source: Source, journal: Journal, run: str, rows: Sequence[Move]) -> Outcome:
    """Take back what lies in the source's folder."""
    done = [row for row in rows if row.state == "done"]
    if done:
        journal.keep(source.account, {row.identity for row in done})  # first: a crash must not make it movable again
    places, reasons = _places(source, journal, done)
    reasons |= {row.id: row.reason or "it was taken back before" for row in rows if row.state != "done"}
    outcome = _left([row for row in rows if row.id in reasons], reasons)
    for folder in dict.fromkeys(row.place.folder for row in done if row.id in places):
        ready = [_returning(row, places[row.id]) for row in done if row.id in places and row.place.folder == folder]
        outcome += _carried(source, journal, run, ready, source.prepare(folder), _DELETED)
    return outcome


def _left(rows: Iterable[Move], reasons: Mapping[int, str]) -> Outcome:
    return Outcome(left=tuple(Left(row.moved_to or row.place, row.message_id, reasons[row.id]) for row in rows))


def _returning(row: Move, place: Place) -> Candidate:
    return Candidate(
        place, row.identity, row.message_id, row.size, row.verdict, row.evidence, undoes=row.id, sender=row.sender
    )


def _places(source: Source, journal: Journal, rows: Sequence[Move]) -> tuple[dict[int, Place], dict[int, str]]:
    """Where moved messages are now, and of the others why that cannot be said. By number if the number still holds, else by
    identity."""
    looks = source.look([row.moved_to for row in rows if row.moved_to])
    known = ((row, row.moved_to, looks.get(row.moved_to)) for row in rows if row.moved_to)
    places = {row.id: place for row, place, look in known if look and look.identity == row.identity}
    reasons: dict[int, str] = {}
    for (folder, _), group in _grouped(row for row in rows if row.id not in places):
        found = _unclaimed(source, journal, folder, group)
        if len(found) == len(group):
            places |= {row.id: place for row, place in zip(group, found, strict=True)}
        else:
            keys = f"there are {len(found)} of it in {folder}: {', '.join(place.key for place in found)}"
            reasons |= {row.id: keys if found else f"it is not in {folder} any more" for row in group}
    return places, reasons
