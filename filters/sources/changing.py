"""What is changed on an IMAP server: UID MOVE; or, where it has none, UID COPY, and later UID STORE and UID EXPUNGE of exactly what
was copied. Nothing here is repeated on a guess: any TransientError means that the outcome is unknown, and look and find tell (D13).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from filters.errors import ServerError, TargetGoneError
from filters.safe_text import safe_text
from filters.sources import Place, Target
from filters.sources.folders import Folders
from filters.sources.gmail import has_labels
from filters.sources.guarded import BusyServerError, GuardedClient, RejectedError
from filters.sources.location import decoded
from filters.sources.session import Session

_DELETED = ("\\Deleted",)
#: Flags that a copy may lack because they were set while it was made.
_LASTING = frozenset({"\\Answered", "\\Draft", "\\Flagged", "\\Seen"})
_Transfer = Callable[[GuardedClient, Sequence[int], str], tuple[int, dict[int, int]]]


def batches(uids: Iterable[int], most: int) -> Iterator[list[int]]:
    """In portions of at most so many."""
    rest = iter(uids)
    while batch := list(islice(rest, most)):
        yield batch


class Changer:
    """Moves and copies out of the folder that a session calls its home, and removes from it what was copied."""

    def __init__(self, session: Session, folders: Folders, account: str, most: int) -> None:
        self._session, self._folders, self._account, self._most = session, folders, account, most
        self._home = decoded(session.home)

    def move(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        """UID MOVE, in the words of `Source.move`."""
        return self._transferred(GuardedClient.move, places, target, stays=False)

    def copy(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        """UID COPY, in the words of `Copier.copy`."""
        return self._transferred(GuardedClient.copy, places, target, stays=True)

    def _transferred(
        self, command: _Transfer, places: Sequence[Place], target: Target, *, stays: bool
    ) -> Mapping[Place, Place | None]:
        raw = self._folders.raw_of(target.folder)
        if not raw or raw == self._session.home:
            raise _gone(target)
        uids = uids_of(places, self._home, self._session.validity)
        found: dict[Place, Place | None] = {}
        for batch in batches(sorted(uids), self._most):
            copies = self._told(command, batch, raw, target)
            unknown = [uid for uid in batch if uid not in copies]
            # OK without COPYUID may mean that nothing was moved (P6): what is still there was not
            if unknown and not stays:
                there = self._session.ask(self._session.home, partial(GuardedClient.existing, uids=unknown))
                unknown = [uid for uid in unknown if uid not in there]
            found |= {uids[uid]: copies.get(uid) for uid in batch if uid in copies or uid in unknown}
        return found

    def _told(self, command: _Transfer, uids: Sequence[int], raw: str, target: Target) -> dict[int, Place]:
        """The new places, as far as the server tells them. Halves what is too much at once."""
        try:
            validity, copies = self._session.change(self._session.home, lambda client: command(client, uids, raw))
        except BusyServerError:
            raise
        except RejectedError as error:
            if error.code in ("LIMIT", "MESSAGELIMIT") and len(uids) > 1:
                half = len(uids) // 2
                halves = (uids[:half], uids[half:])
                first, second = (self._told(command, one, raw, target) for one in halves)
                return first | second
            if error.code == "TRYCREATE":
                self._folders.forget(target.folder)
                raise _gone(target) from None
            way = f"from {safe_text(self._home)} to {safe_text(target.folder)}"
            if error.code in ("CANNOT", "NOPERM"):
                raise ServerError(
                    f"Mail cannot be moved {way}: {error} Ask for the rights, or choose another folder.", 69
                ) from None
            raise ServerError(
                f"Mail cannot be moved {way}: {error} What was under way is settled; try again later, or choose another folder.",
                error.exit_code,
            ) from None
        early = any(new < target.uidnext for new in copies.values())
        if validity != target.uidvalidity or (early and not has_labels(self._session.client.capabilities)):
            return {}  # stale, or a lie: what was there before is no copy of ours
        return {uid: Place(self._account, target.folder, f"{validity}:{new}") for uid, new in copies.items()}

    def remove(self, places: Collection[Place]) -> Collection[Place]:
        """UID STORE and UID EXPUNGE, in the words of `Copier.remove`."""
        uids = uids_of(places, self._home, self._session.validity)
        for batch in batches(sorted(uids), self._most):
            self._session.change(self._session.home, partial(GuardedClient.store, uids=batch, sign="+", flags=_DELETED))
            self._session.change(self._session.home, partial(GuardedClient.uid_expunge, uids=batch))
        there = {
            uid
            for batch in batches(sorted(uids), self._most)
            for uid in self._session.ask(self._session.home, partial(GuardedClient.existing, uids=batch))
        }
        return [uids[uid] for uid in sorted(there)]

    def restore(self, places: Sequence[Place]) -> None:
        """Takes the mark as deleted off again."""
        uids = uids_of(places, self._home, self._session.validity)
        for batch in batches(sorted(uids), self._most):
            self._session.change(self._session.home, partial(GuardedClient.store, uids=batch, sign="-", flags=_DELETED))

    def mark(self, place: Place, flags: Iterable[str]) -> None:
        """Gives a copy flags that its original got in the meantime."""
        raw, lasting = self._folders.raw_of(place.folder), _LASTING.intersection(flags)
        if raw and lasting:
            opened = self._session.ask("", lambda _: self._session.at(raw, writing=True))
            uids = list(uids_of([place], place.folder, opened.uidvalidity))
            if uids:
                self._session.change(raw, partial(GuardedClient.store, uids=uids, sign="+", flags=lasting))


def uids_of(places: Iterable[Place], folder: str, validity: int) -> dict[int, Place]:
    """The UIDs of those places that are in this folder as it is numbered now."""
    found: dict[int, Place] = {}
    for place in places:
        before, _, uid = place.key.partition(":")
        numbers = before.isascii() and before.isdecimal() and uid.isascii() and uid.isdecimal()
        if numbers and place.folder == folder and int(before) == validity and 0 < int(uid) < 2**32:
            found[int(uid)] = place
    return found


def _gone(target: Target) -> TargetGoneError:
    return TargetGoneError(f"The folder {safe_text(target.folder)} is gone. Nothing was moved; try again.")
