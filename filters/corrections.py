"""What people's own moves say: mail taken out of a target folder is wanted, mail put into one is not.

Only a person's moves count. Mail counts as taken out when a finished move of ours put it into a target folder, it is not there any
more, and it lies in the inbox or in the folder that it came from; trash, junk and archives say nothing. It counts as put in when
an earlier run saw it in its folder and left it there, and it is in a target folder now and there no more; so what a rule of the
server's files there says nothing. Mail that lies in both says nothing (but where folders are labels, whoever put the inbox's label back
has taken the mail back, and it is not moved again), and neither does mail marked as deleted, nor mail of which a
move or an undo is not finished, failed half-way, or was taken back by us.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from filters.journal import Candidate, Journal, Move
from filters.lessons import KEEP, PROMOTIONAL, Correction, Seen
from filters.settling import by_target
from filters.sources import Look, Place, Source, Target

#: Over so many new messages a source asks for each identity by itself; then it is asked for the newest only, of so many messages.
_FEW, _ASKED = 2_000, 100
_INBOX = "INBOX"
_CERTAIN = frozenset({"done", "failed"})


@dataclass(frozen=True, slots=True)
class Noticed:
    """What a look at the folders found out."""

    corrections: tuple[Correction, ...] = ()
    """New ones, and those that say something else now."""
    both: frozenset[str] = frozenset()
    """Identities of mail that lies in a target folder and in its own as well."""
    twice: tuple[Correction, ...] = ()
    """What that would say, one time or the other, of mail that did not lie in both before."""
    put_back: frozenset[str] = frozenset()
    """Identities of mail that we moved and that somebody has taken out of the target again: not to be moved again."""
    marks: tuple[Target, ...] = ()

    def without(self, identities: Collection[str]) -> Noticed:
        """The same, but for what these would teach."""
        return replace(self, corrections=tuple(one for one in self.corrections if one.identity not in identities))

    def __add__(self, other: Noticed) -> Noticed:
        return Noticed(
            self.corrections + other.corrections,
            self.both | other.both,
            self.twice + other.twice,
            self.put_back | other.put_back,
            self.marks + other.marks,
        )


def notice(source: Source, journal: Journal, here: Sequence[Candidate], to: str = "", *, whole: bool = True) -> Noticed:
    """Look for moves of a person's. `here`: all mail of the sender's that lies in the source's folder, or where that is not known as
    a `whole`, what is new there; then the folder is asked about the rest. Where nobody but us put anything into a target folder since
    the last look, its next number says so, and nothing else is asked for. `to`: the target folder of this run, besides those of earlier
    ones. Changes nothing, in the mailbox nor in the journal. Raises like `Source.find`."""
    look = _Look.at(source, journal, here, whole=whole)
    return look.taken_out() + look.put_in(to)


def remember(journal: Journal, account: str, run: str, noticed: Noticed, left: Iterable[Candidate] = ()) -> None:
    """Write down what was noticed, and which mail this run leaves where it is. Called within the run."""
    if noticed.put_back:
        journal.keep(account, noticed.put_back)
    seen = [
        Seen(one.identity, one.message_id, one.place.folder, one.verdict, one.identity in noticed.both)
        for one in left
        if one.identity
    ]
    journal.lessons.remember(account, run, noticed.corrections, seen, noticed.marks)


def whereabouts(
    source: Source, journal: Journal, corrections: Sequence[Correction], here: Sequence[Candidate]
) -> tuple[dict[str, Place], set[str]]:
    """Where corrected mail lies, by identity, and what lies on both sides now. Of what is not in the folder any more in which it was
    found, neither tells."""
    look = _Look.at(source, journal, here)
    found: dict[str, Place] = {}
    for folder in dict.fromkeys(one.folder for one in corrections):
        group = [one for one in corrections if one.folder == folder]
        found |= look.in_folder(folder, {one.identity: one.message_id for one in group})
    kept = {one.identity for one in corrections if one.label == KEEP and one.identity in found}
    twice = look.in_a_target(kept) | look.in_own_folder(found.keys() - kept)
    return {identity: place for identity, place in found.items() if identity not in twice}, twice


def teachable(corrections: Iterable[Correction], never: Collection[str]) -> list[Correction]:
    """Those that there is something to learn from, as far as the journal can say. `never`: categories that are never moved."""
    return [one for one in corrections if one.open and one.category not in never]


@dataclass(slots=True)
class _Look:
    """One look at the folders of an account, out of one of them."""

    source: Source
    journal: Journal
    here: Mapping[str, Candidate]
    states: Mapping[str, frozenset[str]]
    seen: Mapping[str, Seen]
    known: Mapping[str, Correction]
    marks: Mapping[str, Target]
    whole: bool
    """Whether `here` is all that lies in the source's folder."""
    _usual: list[str] | None = field(default=None)

    @classmethod
    def at(cls, source: Source, journal: Journal, here: Sequence[Candidate], *, whole: bool = True) -> _Look:
        lessons, account = journal.lessons, source.account
        return cls(
            source,
            journal,
            {one.identity: one for one in here if one.identity},
            lessons.outcomes(account),
            lessons.seen(account),
            lessons.of(account),
            lessons.marks(account),
            whole,
        )

    # Out of a target folder

    def taken_out(self) -> Noticed:
        """Mail that is back in the source's folder, or in the inbox."""
        sought = {identity for identity in self._moved() if not self._is(identity, KEEP)}
        sought |= {identity for identity, one in self.known.items() if one.label == PROMOTIONAL}
        places = {identity: self.here[identity].place for identity in sought & self.here.keys()}
        for identity in self._filed_here(places):
            del places[identity]
        inbox = None if _is_inbox(self.source.folder) or not self.states else self.source.numbered(_INBOX)
        if inbox:
            places |= self._arrived(inbox, self._message_ids(sought - self.here.keys()))
        places = self._alive(places)
        there = self.in_a_target(places)
        out = {identity: place for identity, place in places.items() if identity not in there}
        back = (self._back(identity, place.folder) for identity, place in out.items() if self._is_usual(place.folder))
        twice = (self._back(identity, places[identity].folder) for identity in there)
        return Noticed(
            corrections=tuple(filter(None, back)),
            both=frozenset(there),
            twice=tuple(filter(None, twice)),
            put_back=frozenset(places if self.source.method == "label" else out),
            marks=(inbox,) if inbox else (),
        )

    def _filed_here(self, identities: Collection[str]) -> set[str]:
        """Those that we or a person moved into the source's folder, which was a target folder then."""
        ours = {move.identity for move in self._moves(identities) if move.folder == self.source.folder}
        known = {one for one in identities if self._is(one, PROMOTIONAL)}
        return ours | {one for one in known if self.known[one].folder == self.source.folder}

    def _moved(self) -> set[str]:
        """Mail that we moved, and of which nothing is in doubt, under way or taken back."""
        return {identity for identity, states in self.states.items() if "done" in states and states <= _CERTAIN}

    def _back(self, identity: str, folder: str) -> Correction | None:
        moves = self._moves([identity])
        before = self.known.get(identity) or (_moved(moves[-1]) if moves else None)
        own = {move.place.folder for move in moves} | ({before.src} if before else set())
        if not before or not (folder in own or _is_inbox(folder)):
            return None
        return replace(before, label=KEEP, folder=folder)

    def in_a_target(self, identities: Collection[str]) -> set[str]:
        """Those of which one lies in a target folder: where we moved it to, or where it was found."""
        moves = self._moves(identities)
        looks = self.source.look([move.moved_to for move in moves if move.moved_to])
        there = {move.identity for move in moves if move.moved_to and _is_alive(looks.get(move.moved_to))}
        for target, group in by_target(move for move in moves if move.identity not in there):
            there |= self._found(target.folder, {move.identity: move.message_id for move in group}, target).keys()
        for one in (self.known[identity] for identity in identities if self._is(identity, PROMOTIONAL)):
            there |= self._found(one.folder, {one.identity: one.message_id}).keys()
        return there

    # Into a target folder

    def put_in(self, to: str) -> Noticed:
        """Mail that was left where it was, or taken out of a target folder, and is in one now."""
        looks = {name: self.source.numbered(name) for name in self._targets(to) if not _is_inbox(name)}
        absent = tuple(Target(name, 0, 0) for name, now in looks.items() if not now)
        noticed = Noticed(marks=absent)
        for now in dict.fromkeys(filter(None, looks.values())):
            if now.folder != self.source.folder:
                noticed += self._put_into(now)
        return noticed

    def _targets(self, to: str) -> list[str]:
        """Folders that may have been filled; where not everything is looked at, those that are known to be there."""
        ours = self.journal.lessons.targets(self.source.account)
        if self.whole:
            return list(dict.fromkeys([*ours, *([to] if to else [])]))
        return [name for name, mark in self.marks.items() if name in ours or (name == to and mark.uidvalidity)]

    def _put_into(self, target: Target) -> Noticed:
        left = {identity: one.message_id for identity, one in self.seen.items() if self._is_left(identity)}
        left |= {identity: one.message_id for identity, one in self.known.items() if one.label == KEEP}
        here = {identity: one.message_id for identity, one in self.here.items() if identity not in self.states}
        places = self._arrived(target, left | here)
        both = self.in_own_folder(places)
        twice = tuple(self._put(identity, target.folder) for identity in both if identity in left)
        noticed = Noticed(both=frozenset(both), twice=twice, marks=(target,))
        arrived = {one: place for one, place in places.items() if one in left and one not in both}
        if not arrived or target.folder not in self.marks or not self._is_usual(target.folder):
            return noticed
        return replace(noticed, corrections=tuple(self._put(identity, target.folder) for identity in arrived))

    def _is_left(self, identity: str) -> bool:
        """Whether it was left where it was, and nowhere else, and no move of it was begun."""
        return (
            not self.seen[identity].elsewhere
            and self.states.get(identity, frozenset()) <= {"failed"}
            and not self._is(identity, PROMOTIONAL)
        )

    def _put(self, identity: str, folder: str) -> Correction:
        before = self.known.get(identity)
        if not before:
            one = self.seen[identity]
            before = Correction(identity, one.message_id, one.category, KEEP, KEEP, one.folder, one.folder)
        return replace(before, label=PROMOTIONAL, folder=folder)

    def in_own_folder(self, identities: Collection[str]) -> set[str]:
        """Those of which one lies in the folder that they came from or were found in."""
        present = self._alive({one: self.here[one].place for one in identities if one in self.here}).keys()
        elsewhere: dict[str, dict[str, str]] = {}
        for identity in identities:
            if identity not in self.here:
                for folder in self._own(identity):
                    elsewhere.setdefault(folder, {})[identity] = self._message_ids([identity])[identity]
        return set(present).union(*(self._found(folder, sought) for folder, sought in elsewhere.items()))

    def _own(self, identity: str) -> set[str]:
        """Folders that a message may lie in by right, and of which it is not known yet whether it does."""
        before, seen = self.known.get(identity), self.seen.get(identity)
        folders = {before.src, *([before.folder] if before.label == KEEP else [])} if before else set()
        return (folders | ({seen.folder} if seen else set())) - ({self.source.folder} if self.whole else set())

    # Folders

    def in_folder(self, folder: str, sought: Mapping[str, str]) -> dict[str, Place]:
        """Where messages lie in a folder now, without those that are marked as deleted."""
        if folder == self.source.folder:
            return self._alive({one: self.here[one].place for one in sought if one in self.here})
        return self._found(folder, sought)

    def _arrived(self, now: Target, sought: Mapping[str, str]) -> dict[str, Place]:
        """Where messages are in a folder, numbered as it is now, that came there since the last look."""
        mark = self.marks.get(now.folder)
        before = Target(now.folder, now.uidvalidity, 1) if mark and not mark.uidvalidity else mark  # there was none
        since = self.journal.lessons.beyond_ours(self.source.account, before) if before and _same(before, now) else None
        count = now.uidnext - (since.uidnext if since else 1)
        if not sought or (since and count <= 0) or (not mark and count > _FEW):
            return {}
        if count > _FEW:
            sought = dict(islice(reversed(list(sought.items())), _ASKED))
        return self._found(now.folder, sought, since)

    def _found(self, folder: str, sought: Mapping[str, str], since: Target | None = None) -> dict[str, Place]:
        """`Source.find` without what is marked as deleted: some mail programs copy what a person drags, and mark what is left."""
        places = {
            place: identity for identity, some in self.source.find(folder, sought, since).items() for place in some
        }
        looks = self.source.look(list(places)) if places else {}
        return {identity: place for place, identity in places.items() if _is_alive(looks.get(place))}

    def _alive(self, places: Mapping[str, Place]) -> dict[str, Place]:
        """Those that are still there, and not marked as deleted."""
        looks = self.source.look(list(places.values())) if places else {}
        return {
            identity: place
            for identity, place in places.items()
            if _is_alive(looks.get(place)) and looks[place].identity == identity
        }

    def _is_usual(self, folder: str) -> bool:
        """Whether a folder is none of those that have a meaning of their own, such as trash and junk."""
        if self._usual is None:
            self._usual = self.source.folders()
        return folder in self._usual or _is_inbox(folder)

    def _is(self, identity: str, label: str) -> bool:
        return identity in self.known and self.known[identity].label == label

    def _moves(self, identities: Iterable[str]) -> list[Move]:
        return self.journal.moves_of(self.source.account, identities)

    def _message_ids(self, identities: Iterable[str]) -> dict[str, str]:
        moves = {move.identity: move.message_id for move in self._moves(identities)}
        found: dict[str, str] = {}
        for identity in identities:
            one = self.known.get(identity) or self.seen.get(identity)
            found[identity] = one.message_id if one else moves.get(identity, "")
        return found


def _moved(move: Move) -> Correction:
    """A correction that corrects nothing yet."""
    return Correction(
        move.identity, move.message_id, move.verdict, PROMOTIONAL, PROMOTIONAL, move.place.folder, move.folder
    )


def _same(mark: Target, now: Target) -> bool:
    return mark.uidvalidity == now.uidvalidity and now.uidvalidity != 0


def _is_alive(look: Look | None) -> bool:
    """Whether something is there, and not marked as deleted."""
    return look is not None and "\\Deleted" not in look.flags


def _is_inbox(folder: str) -> bool:
    """IMAP's inbox, or the root of a Maildir."""
    return folder.upper() in ("", _INBOX)
