"""The move that cannot lose mail: journal first, then look again, then move, then proof. And the way back.

Where the server has MOVE, a row of the journal goes planned -> sent -> done. Where it has none, the message is copied, the copy is
looked at, and then the original is removed: planned -> sent -> copied -> removing -> done. Whatever stops a run, and wherever, the
journal says afterwards what is proven and what is not; settling looks at both folders and proves the rest, after each lost
connection and at the start of the next run. Nothing is ever moved twice on a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass

from filters.errors import NotFoundError, ServerError, TargetGoneError, TransientError
from filters.journal import OPEN, Candidate, Change, Journal, Move
from filters.settling import ATTEMPTS, by_identity, by_target, reconcile, reconcile_all, settle, unclaimed, was_there
from filters.sources import Look, Place, Source, Target

__all__ = ["BUSY", "Candidate", "Hold", "Left", "Outcome", "move", "reconcile", "reconcile_all", "undo"]

#: Messages per command and per transaction.
BATCH = 500
#: Flags of a message that is somebody's business; it stays where it is.
BUSY = {"\\Deleted": "marked as deleted", "\\Draft": "a draft", "\\Flagged": "flagged", "\\Answered": "answered"}
#: What hinders a move back: the rest is for whoever asked for it to decide.
_DELETED = {"\\Deleted": BUSY["\\Deleted"]}
_OPEN = "what became of it is not proven yet; the next run looks again"

#: Entered around each batch, so that who is asked to end can finish it first.
Hold = Callable[[], AbstractContextManager[object]]


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


def move(
    source: Source, journal: Journal, run: str, candidates: Sequence[Candidate], folder: str, hold: Hold = nullcontext
) -> Outcome:
    """Move candidates from the source's folder to `folder`, which is made if it is not there.

    Left alone is what has no identity, was taken back once or is in doubt, and what is gone, changed, flagged, answered, a draft or marked as
    deleted by now. A batch that breaks off is settled and begun again. Raises TargetError, RefusedError or WriteError before anything
    is moved; ServerError when the server refuses, or is lost for good: what was under way then is settled by the next run.
    """
    barred = journal.barred(source.account)
    unique = {one.place: one for one in candidates}.values()
    left = tuple(Left(one.place, one.message_id, why) for one in unique if (why := _refusal(one, barred)))
    ready = [one for one in unique if not _refusal(one, barred)]
    if not ready:
        return Outcome(left=left)
    delivery = _Delivery(source, journal, run, source.prepare(folder), BUSY, hold)
    return Outcome(left=left) + delivery.carried(ready)


def _refusal(candidate: Candidate, barred: Mapping[str, str]) -> str:
    if not candidate.identity:
        return "it has no Message-ID, so a move could not be undone"
    return barred.get(candidate.identity, "")


@dataclass(slots=True)
class _Delivery:
    """Messages on their way to one target."""

    source: Source
    journal: Journal
    run: str
    target: Target
    busy: Mapping[str, str]
    hold: Hold
    stays: bool = False
    """Whether the messages stay where they are besides, which can be where folders are labels."""

    def carried(self, candidates: Sequence[Candidate]) -> Outcome:
        outcome = Outcome()
        for start in range(0, len(candidates), BATCH):
            with self.hold():
                batch = candidates[start : start + BATCH]
                method = "copy" if self.source.method == "copy" else "move"
                planned = self.journal.plan(self.run, batch, self.target, method)
                outcome += self._delivered([row.id for row in planned])
        return outcome

    def _delivered(self, ids: Sequence[int]) -> Outcome:
        """Attempts until all rows are settled. After one that broke off, what it did is looked at first (D13)."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if attempt > 1:
                    self.source.settle(self.target.folder)
                    settle(self.source, self.journal, self.journal.reread(ids))
                self._send(_checked(self.source, self.journal, self._in("planned", ids), self.busy))
                break
            except TargetGoneError:
                if attempt > 1:
                    raise
                self.target = self.source.prepare(self.target.folder)
            except TransientError:
                if attempt == ATTEMPTS:
                    raise
            except ServerError as refusal:
                self._refused(ids, refusal)
                raise
        return _told(self.journal.reread(ids))

    def _refused(self, ids: Sequence[int], refusal: ServerError) -> None:
        """The server will not do it. What it did all the same is looked at now, while it is there to answer."""
        with suppress(ServerError):
            settle(self.source, self.journal, self.journal.reread(ids))
            self._give_up(ids, str(refusal))

    def _give_up(self, ids: Sequence[int], reason: str) -> None:
        self.journal.record([Change(row.id, "failed", reason) for row in self._in("planned", ids)])

    def _in(self, state: str, ids: Sequence[int]) -> list[Move]:
        return [row for row in self.journal.reread(ids) if row.state == state]

    def _send(self, rows: Sequence[Move]) -> None:
        """From the first record on until the last one the outcome is unknown, and the journal says so."""
        if not rows:
            return
        self.journal.record([Change(row.id, "sent") for row in rows])
        ids, places = [row.id for row in rows], [row.place for row in rows]
        copies: Mapping[Place, Place | None] = {}
        copier = self.source.copier
        if self.source.method == "copy" and copier:
            copies = copier.copy(places, self.target)
        else:
            way = copier.copy if self.stays and copier else self.source.move
            moved = way(places, self.target)
            self.journal.record(
                [Change(row.id, "done", moved_to=moved[row.place]) for row in rows if row.place in moved]
            )
        settle(self.source, self.journal, self._in("sent", ids), copies)
        self._give_up(ids, "it could not be moved")


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


def _told(rows: Iterable[Move]) -> Outcome:
    rows = list(rows)
    return Outcome(
        tuple(row for row in rows if row.state == "done"),
        tuple(Left(row.place, row.message_id, row.reason or _OPEN) for row in rows if row.state != "done"),
    )


# --- the way back


def undo(
    open_at: Callable[[str], Source], journal: Journal, run: str, rows: Sequence[Move], hold: Hold = nullcontext
) -> Outcome:
    """Move messages back to where `rows` (of one account) took them from, and remember never to move them again.

    `open_at` opens a folder of that account, with leave to change it; it is closed here. `Outcome.moved` holds the moves back.
    What is not in the target any more, or cannot be told apart there, is left alone and reported, with the folder where it is now.
    Raises like `move`.
    """
    ids = [row.id for row in rows]
    under_way = [row.place for row in rows if row.state in OPEN]
    if under_way:
        reconcile_all(open_at, journal, under_way[0].account, {place.folder for place in under_way})
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
            outcome += _back(source, journal, run, journal.reread(group), hold)
    return outcome


def _back(source: Source, journal: Journal, run: str, rows: Sequence[Move], hold: Hold) -> Outcome:
    """Take back what lies in the source's folder."""
    done = [row for row in rows if row.state == "done"]
    if done:
        journal.keep(source.account, {row.identity for row in done})  # first: a crash must not make it movable again
    places, reasons = _places(source, journal, done)
    reasons |= {row.id: row.reason or "it was taken back before" for row in rows if row.state != "done"}
    outcome = _left([row for row in rows if row.id in reasons], reasons)
    found = [(row, places[row.id]) for row in done if row.id in places]
    for folder, stays in dict.fromkeys((row.place.folder, _had_label(source, row)) for row, _ in found):
        ready = [
            _returning(row, place)
            for row, place in found
            if (row.place.folder, _had_label(source, row)) == (folder, stays)
        ]
        outcome += _Delivery(source, journal, run, source.prepare(folder), _DELETED, hold, stays).carried(ready)
    return outcome


def _had_label(source: Source, row: Move) -> bool:
    """Whether the target was a label that the message had before it was moved, which is to stay on it."""
    return source.method == "label" and row.moved_to is not None and was_there(row.moved_to, row)


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
    lost: list[Move] = []
    reasons: dict[int, str] = {}
    for target, group in by_target(row for row in rows if row.id not in places):
        since = None if source.method == "label" else target
        found = source.find(target.folder, {row.identity: row.message_id for row in group}, since)
        for identity, alike in by_identity(group):
            arrived = unclaimed(source, journal, alike, found.get(identity, []))
            if len(arrived) == len(alike):
                places |= {row.id: place for row, place in zip(alike, arrived, strict=True)}
            elif arrived:
                keys = ", ".join(place.key for place in arrived)
                reasons |= {row.id: f"there are {len(arrived)} of it in {row.folder}: {keys}" for row in alike}
            else:
                lost += alike
    return places, reasons | _elsewhere(source, lost)


def _elsewhere(source: Source, rows: Sequence[Move]) -> dict[int, str]:
    """In which folders messages are that are not where they were moved to. They are not fetched back: somebody put them there."""
    sought = {row.identity: row.message_id for row in rows}
    seen: dict[str, list[str]] = {}
    for folder in source.folders() if sought else ():
        if folder != source.folder:
            with suppress(ServerError):  # somebody may have deleted it since it was listed
                for identity in source.find(folder, sought):
                    seen.setdefault(identity, []).append(folder or "the inbox")
    return {row.id: _now_in(row, seen.get(row.identity, [])) for row in rows}


def _now_in(row: Move, folders: Sequence[str]) -> str:
    now = f"; it is in {' and '.join(folders)} now" if folders else ""
    return f"it is not in {row.folder} any more{now}"
