"""What became of a move that broke off: both folders are looked at, and the journal is told what is proven.

Begins no move. Of a message that lies in both folders, because a copy is how it was moved, it removes the original when the copy is good.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby

from filters.errors import NotFoundError, ServerError, TransientError
from filters.journal import Change, Journal, Move, numbers
from filters.sources import Copier, Look, Place, Source, Target

#: So often it is begun again after the connection was lost in the middle of it.
ATTEMPTS = 5
#: What a look shows of a message that is there but cannot be read just now.
_UNREADABLE = ""
_NOTHING = Look("nothing", 0, frozenset())
_TWICE = "it is here, and in {} as well"
_VANISHED = "it is in neither folder: somebody else took it"


def reconcile(source: Source, journal: Journal) -> list[Move]:
    """Settle what earlier runs left open of moves out of this folder, by looking at both folders. Begins nothing; of a message that
    lies in both folders it removes the original, when the copy is good.

    Gives the rows as they are now. "doubt" is for a person to decide; a message that is still here can be moved by this run.
    """
    ids = [row.id for row in journal.open_moves(source.account, source.folder)]
    for attempt in range(1, ATTEMPTS + 1):
        try:
            rows = journal.reread(ids)
            for folder in {row.folder for row in rows if row.state == "sent"}:
                source.settle(folder)  # the server may still be busy with what the killed run asked for
            settle(source, journal, rows)
            break
        except TransientError:
            if attempt == ATTEMPTS:
                raise
    planned = [row for row in journal.reread(ids) if row.state == "planned"]
    journal.record([Change(row.id, "failed", "the run broke off before it was moved") for row in planned])
    return journal.reread(ids)


def reconcile_all(
    open_at: Callable[[str], Source], journal: Journal, account: str, folders: Collection[str] | None = None
) -> list[Move]:
    """`reconcile` for every folder of an account, or for some; `open_at` opens one, with leave to change it. What was under way out of
    a folder that is gone is in doubt; out of one that cannot be opened now, it stays open."""
    rows: list[Move] = []
    for folder in journal.open_folders(account) if folders is None else folders:
        try:
            source = open_at(folder)
        except NotFoundError:
            gone = journal.open_moves(account, folder)
            journal.record([Change(row.id, "doubt", f"the folder {folder} is gone") for row in gone])
            rows += journal.reread(row.id for row in gone)
            continue
        except ServerError:  # not now: that keeps nobody from the other folders
            rows += journal.open_moves(account, folder)
            continue
        with closing(source):
            rows += reconcile(source, journal)
    return rows


def settle(
    source: Source, journal: Journal, rows: Sequence[Move], copies: Mapping[Place, Place | None] | None = None
) -> None:
    """Bring every row that is under way to "planned" (nothing happened), "done" or another end, by looking at both folders.

    `copies`: where the server says that copies are; they are looked at there, and searched for only where that is wrong.
    """
    sent = [row for row in rows if row.state == "sent"]
    if source.method == "label":
        journal.record(_labelled(source, sent))
        return
    if sent:
        looks = source.look([row.place for row in sent])
        told = _copied(source, sent, looks, copies or {})
        journal.record(told)
        known = {change.id for change in told}
        rest = [row for row in sent if row.id not in known]
        for folder, group in by_target(rest):
            journal.record(_proven(source, journal, folder, group, looks))
    both = [row for row in journal.reread(row.id for row in rows) if row.state in ("copied", "removing")]
    if both:
        _finish(source, journal, both)


def _copied(
    source: Source, rows: Sequence[Move], looks: Mapping[Place, Look], copies: Mapping[Place, Place | None]
) -> list[Change]:
    """Rows whose copy lies where the server says, while the original is still there."""
    there = source.look([copy for copy in copies.values() if copy])
    pairs = ((row, copies.get(row.place)) for row in rows if _is(row, looks.get(row.place)))
    return [Change(row.id, "copied", moved_to=copy) for row, copy in pairs if copy and _is(row, there.get(copy))]


def _labelled(source: Source, rows: Sequence[Move]) -> list[Change]:
    """The same where folders are labels. A message lies in each at most once, so that numbers tell nothing and a move can be begun
    again: what is still here was not moved, and what is not was, if it is in the target."""
    looks = source.look([row.place for row in rows])
    sure = [row for row in rows if looks.get(row.place, _NOTHING).identity != _UNREADABLE]
    here = {row.id for row in sure if looks.get(row.place, _NOTHING).identity == row.identity}
    lost = {row.identity: row.message_id for row in sure if row.id not in here}
    again = source.find(source.folder, lost) if lost else {}
    changes: list[Change] = []
    for target, group in by_target(sure):
        sought = {row.identity: row.message_id for row in group if row.id not in here and row.identity not in again}
        found = source.find(target.folder, sought) if sought else {}
        for row in group:
            places = found.get(row.identity, [])
            if row.identity not in sought:
                changes.append(Change(row.id, "planned"))
            elif places:
                changes.append(Change(row.id, "done", moved_to=places[0]))
            else:
                changes.append(Change(row.id, "vanished", _VANISHED))
    return changes


def _is(row: Move, look: Look | None) -> bool:
    return look is not None and look.identity == row.identity and look.size == row.size


def by_target(rows: Iterable[Move]) -> Iterator[tuple[Target, list[Move]]]:
    """Rows by target, each with the lowest UIDNEXT of its rows."""

    def key(row: Move) -> tuple[str, int]:
        return row.folder, row.uidvalidity

    for (folder, validity), group in groupby(sorted(rows, key=key), key):
        found = list(group)
        yield Target(folder, validity, min(row.uidnext_before for row in found)), found


def by_identity(rows: Iterable[Move]) -> Iterator[tuple[str, list[Move]]]:
    """The same message may lie in a folder twice (N25), and only numbers can tell then."""

    def key(row: Move) -> str:
        return row.identity

    for identity, group in groupby(sorted(rows, key=key), key):
        yield identity, list(group)


def _proven(
    source: Source, journal: Journal, target: Target, rows: Sequence[Move], looks: Mapping[Place, Look]
) -> list[Change]:
    """What became of rows that were sent to one target."""
    found = source.find(target.folder, {row.identity: row.message_id for row in rows}, target)
    changes: list[Change] = []
    for identity, group in by_identity(rows):
        here = [row for row in group if looks.get(row.place, _NOTHING).identity == identity]
        gone = [row for row in group if row not in here and looks.get(row.place, _NOTHING).identity != _UNREADABLE]
        arrived = unclaimed(source, journal, group, found.get(identity, []))
        changes += _stayed(here, arrived[len(gone) :], source.copier) + _went(source, gone, arrived)
    return changes


def unclaimed(source: Source, journal: Journal, group: Sequence[Move], found: Sequence[Place]) -> list[Place]:
    """Where in the target the messages of a group may be: neither there before the move, nor known as another one's place."""
    if source.method == "label":
        return list(found) * len(group)
    first = min(group, key=lambda row: row.uidnext_before)
    arrived = journal.arrived(source.account, first.folder, first.identity, [row.id for row in group])
    return [place for place in found if place not in arrived and not was_there(place, first)]


def was_there(place: Place, row: Move) -> bool:
    """Whether, by its number, the message at a place in the target lay there before the move."""
    uidvalidity, uid = numbers(place.key)
    return uidvalidity != 0 and uidvalidity == row.uidvalidity and int(uid) < row.uidnext_before


def _stayed(rows: Sequence[Move], copies: Sequence[Place], copier: Copier | None) -> list[Change]:
    """Of messages that are where they were: nothing happened, or they were copied and not removed (P1)."""
    if not copies:
        return [Change(row.id, "planned") for row in rows]
    if len(copies) == len(rows) and copier:
        return [Change(row.id, "copied", moved_to=place) for row, place in zip(rows, copies, strict=True)]
    return [Change(row.id, "doubt", _TWICE.format(row.folder)) for row in rows]


def _went(source: Source, rows: Sequence[Move], found: Sequence[Place]) -> list[Change]:
    """Of messages that are not where they were, with `found` in the target."""
    if not rows:
        return []
    first = rows[0]
    renumbered = numbers(first.place.key)[0] != source.uidvalidity
    here: Sequence[Place] = ()
    if renumbered or len(found) != len(rows):
        here = source.find(source.folder, {first.identity: first.message_id}).get(first.identity, [])
    if here and not found:
        return [Change(row.id, "failed", "it was not moved") for row in rows]
    if len(found) == len(rows) and not (here and renumbered):
        return [Change(row.id, "done", moved_to=place) for row, place in zip(rows, found, strict=True)]
    if found:
        return [Change(row.id, "doubt", f"there are {len(found) + len(here)} of it") for row in rows]
    return [Change(row.id, "vanished", _VANISHED) for row in rows]


def _finish(source: Source, journal: Journal, rows: Sequence[Move]) -> None:
    """Remove the originals of messages that were copied, after a look at both; and never without a good copy. A copy that cannot be
    read just now may be good: that row stays open."""
    rows = _there_now(source, journal, _here_now(source, journal, rows))
    here = source.look([row.place for row in rows])
    there = source.look([row.moved_to for row in rows if row.moved_to])
    unsure = [row for row in rows if row.moved_to and there.get(row.moved_to, _NOTHING).identity == _UNREADABLE]
    rows = [row for row in rows if row not in unsure]
    good = {row.id for row in rows if row.moved_to and _is(row, there.get(row.moved_to))}
    stay = [row for row in rows if _is(row, here.get(row.place))]
    copier = source.copier
    if not copier:
        journal.record([Change(row.id, "doubt", _TWICE.format(row.folder), row.moved_to) for row in stay])
        return
    lost = [row for row in stay if row.id not in good]
    marked = [row.place for row in lost + unsure if row.state == "removing" and row.place in here]
    if marked:
        copier.restore(marked)
    journal.record([_without_copy(row) for row in lost])
    ready = [row for row in stay if row.id in good]
    removed = _removed(journal, copier, ready, here, there) if ready else []
    gone = [row for row in rows if row.place not in here]
    journal.record([Change(row.id, "vanished", _VANISHED) for row in gone if not _arrived(row, good)])
    journal.record(_alone(source, journal, removed + [row for row in gone if _arrived(row, good)]))


def _here_now(source: Source, journal: Journal, rows: Sequence[Move]) -> list[Move]:
    """The same with the places that originals have now, in a folder that was numbered anew. Where more or fewer are alike there than
    were copied, nobody can tell which those are: that is in doubt, and left out."""
    old = [row for row in rows if numbers(row.place.key)[0] != source.uidvalidity]
    found = source.find(source.folder, {row.identity: row.message_id for row in old}) if old else {}
    places: dict[int, Place] = {}
    doubts: list[Change] = []
    for identity, alike in by_identity(old):
        here = found.get(identity, [])
        if len(here) == len(alike):
            places |= {row.id: place for row, place in zip(alike, here, strict=True)}
        elif here:
            reason = f"{source.folder} was numbered anew, and there are {len(here)} of it"
            doubts += [Change(row.id, "doubt", reason, row.moved_to) for row in alike]
    journal.record(doubts)
    unclear = {change.id for change in doubts}
    return [replace(row, place=places.get(row.id, row.place)) for row in rows if row.id not in unclear]


def _there_now(source: Source, journal: Journal, rows: Sequence[Move]) -> list[Move]:
    """The same with the places that copies have now, where they are not where they were."""
    looks = source.look([row.moved_to for row in rows if row.moved_to])
    missing = [row for row in rows if row.moved_to not in looks]
    copies: dict[int, Place | None] = {}
    for target, group in by_target(missing):
        arrived = source.find(target.folder, {row.identity: row.message_id for row in group}, target)
        for identity, alike in by_identity(group):
            places = unclaimed(source, journal, alike, arrived.get(identity, []))
            copies |= {row.id: place for row, place in zip(alike, places, strict=False)}
    return [replace(row, moved_to=copies.get(row.id, row.moved_to)) for row in rows]


def _arrived(row: Move, good: Collection[int]) -> bool:
    """Of a message whose original is gone, by our hand or somebody else's: whether it is in the target. A copy that was good when the
    original was removed may have been taken away since."""
    return row.id in good or row.state == "removing"


def _without_copy(row: Move) -> Change:
    if row.state == "copied":
        return Change(row.id, "planned")
    return Change(row.id, "doubt", f"its copy in {row.folder} is gone, so it was left here")


def _removed(
    journal: Journal, copier: Copier, rows: Sequence[Move], here: Mapping[Place, Look], there: Mapping[Place, Look]
) -> list[Move]:
    """Rows whose original was there, and is not any more."""
    for row in rows:
        if row.moved_to and (newer := here[row.place].flags - there[row.moved_to].flags - {"\\Deleted"}):
            copier.mark(row.moved_to, newer)
    journal.record([Change(row.id, "removing", moved_to=row.moved_to) for row in rows])
    remaining = copier.remove([row.place for row in rows])
    if remaining:  # once more: somebody may have taken our mark off
        remaining = copier.remove(remaining)
    if remaining:  # the server will not have it, though it says that it did it
        copier.restore(list(remaining))
        refused = [row for row in rows if row.place in remaining]
        journal.record([Change(row.id, "doubt", _TWICE.format(row.folder), row.moved_to) for row in refused])
    return [row for row in rows if row.place not in remaining]


def _alone(source: Source, journal: Journal, rows: Sequence[Move]) -> list[Change]:
    """The end of copied messages, unless there is one more of it in the target: nothing keeps another machine of the same person from
    copying it at the same time (F23)."""
    changes: list[Change] = []
    for target, group in by_target(rows):
        found = source.find(target.folder, {row.identity: row.message_id for row in group}, target)
        for identity, alike in by_identity(group):
            count = len(unclaimed(source, journal, alike, found.get(identity, [])))
            state = "doubt" if count > len(alike) else "done"
            reason = f"there are {count} of it in {target.folder}" if state == "doubt" else ""
            changes += [Change(row.id, state, reason, row.moved_to) for row in alike]
    return changes
