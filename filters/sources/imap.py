"""An IMAP folder as a source: reading never marks anything, and moving is UID MOVE and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path

from filters.errors import NotFoundError, RefusedError, ServerError, TargetError
from filters.safe_text import safe_text
from filters.sources import (
    HEADER_CAP,
    MESSAGE_CAP,
    Look,
    Mail,
    Passed,
    Place,
    Target,
    Unreadable,
    Wanted,
    identity_of,
)
from filters.sources.answers import Fetched
from filters.sources.files import message_id_of
from filters.sources.guarded import SEARCHABLE, Folder, GuardedClient, Opened, RejectedError
from filters.sources.location import ImapLocation, decoded, encoded, parse_url
from filters.sources.session import Session
from filters.sources.wire import BrokenOffError

#: UIDs per SEARCH: a longer answer than 1,000,000 bytes would be refused (N30), and 80,000 UIDs fit into that.
_WINDOW, _WINDOW_MAX = 10_000, 80_000
#: Messages per FETCH of headers and per MOVE (imap.md 7.1).
_BATCH = 500
#: Messages and bytes per FETCH of whole messages.
_BODIES, _BODY_BYTES = 20, 8 * 1_048_576
_SPECIAL = frozenset({"\\all", "\\drafts", "\\junk", "\\sent", "\\trash"})
_ABSENT = frozenset({"\\noselect", "\\nonexistent"})
_BLANK_LINE = re.compile(rb"\n\r?\n")
_PENDING = "pending: the server sent no usable text for it"


def open_imap(url: str, password: Callable[[str], str], *, changes: bool, ca_file: Path | None = None) -> ImapSource:
    """Connect, log in, and open the folder of an IMAP URL. `password` gets the printable account, and is called once, when the
    server is reached and its certificate is good.

    Raises UsageError, ServerError, LoginError or NotFoundError.
    """
    location = parse_url(url)
    ask = cache(password)

    def connect() -> GuardedClient:
        tls, starttls = location.scheme != "imap", location.scheme == "imap+starttls"
        client = GuardedClient(
            location.host, location.port, tls=tls, starttls=starttls, changes=changes, ca_file=ca_file
        )
        try:
            client.login(location.user, ask(location.account))
        except BaseException:
            client.logout()
            raise
        return client

    return ImapSource(location, connect, changes=changes)


class ImapSource:
    """One folder of an IMAP account; a `Source`. `can_move` is False when opened without `changes`."""

    def __init__(self, location: ImapLocation, connect: Callable[[], GuardedClient], *, changes: bool) -> None:
        self.account, self.host = location.account, location.host
        self._session = Session(connect)
        try:
            self._open(location.folder, changes)
        except BaseException:
            self.close()
            raise

    def _open(self, folder: str, changes: bool) -> None:
        session, capabilities = self._session, self._session.client.capabilities
        self._prefix, self._delimiter = session.client.namespace()
        found = self._existing(folder)
        if not found:
            raise NotFoundError(self._not_found(folder))
        session.home, self.folder = found.raw, decoded(found.raw)
        self._raws = {self.folder: found.raw}
        try:
            opened = session.enter(found.raw)
        except RejectedError as error:
            raise NotFoundError(f"The folder {safe_text(self.folder)} cannot be opened: {error}") from None
        session.validity = opened.uidvalidity
        self._batch = min(
            [_BATCH, *(int(one[13:]) for one in capabilities if re.fullmatch(r"MESSAGELIMIT=[1-9]\d{0,8}", one))]
        )
        self._ids = " EMAILID" if "OBJECTID" in capabilities else " X-GM-MSGID" if "X-GM-EXT-1" in capabilities else ""
        self.why_not = self._hindrance(found, opened, changes)
        self.can_move = not self.why_not

    def _hindrance(self, found: Folder, opened: Opened, changes: bool) -> str:
        folder = safe_text(self.folder)
        if "MOVE" not in self._session.client.capabilities:
            return (
                f"{self.host} lacks MOVE (RFC 6851), and unpitch moves in no other way yet; a later version will copy with a "
                "journal. Nothing was moved; you can still audit."
            )
        if found.flags & _SPECIAL:
            return f"{folder} is a special folder ({', '.join(sorted(found.flags & _SPECIAL))}); mail is not moved out of it."
        if not opened.uidvalidity or not opened.sticky:
            return f"{self.host} does not keep the numbers of messages in {folder}, so a move could not be proven or undone."
        if changes and not opened.writable:
            return f"{folder} is read-only for this login. Ask for the rights, or choose another folder."
        return "" if changes else f"{folder} was opened for reading only."

    # Folders: as the user types them, and as the server spells them (D8)

    def _spellings(self, folder: str) -> list[str]:
        if folder.upper() == "INBOX":
            return ["INBOX"]
        levels = folder.replace("/", self._delimiter) if self._delimiter else folder
        names = [encoded(levels), *([levels] if levels.isascii() and "&" in levels else [])]
        return names + [self._prefix + name for name in names if self._prefix and not name.startswith(self._prefix)]

    def _existing(self, folder: str) -> Folder | None:
        for raw in self._spellings(folder):
            if raw == "INBOX":
                return Folder(raw, frozenset(), self._delimiter)
            for found in self._session.ask("", partial(GuardedClient.folders, pattern=raw)):
                if found.raw == raw and not found.flags & _ABSENT:
                    return found
        return None

    def _not_found(self, folder: str) -> str:
        folders = self._session.ask("", partial(GuardedClient.folders, pattern="*"))
        names = [safe_text(decoded(one.raw), 40) for one in folders if not one.flags & _ABSENT]
        some = f" There are: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}." if names else ""
        return f"There is no folder {safe_text(folder)} at {self.account}.{some}"

    def _raw_of(self, folder: str) -> str:
        """How the server spells a folder; "" when there is none."""
        if folder not in self._raws:
            found = self._existing(folder)
            if not found:
                return ""
            self._raws[folder] = found.raw
        return self._raws[folder]

    # Reading

    def scan(self, wanted: Wanted) -> Iterator[Mail | Passed | Unreadable]:
        """Headers of all messages, bodies of candidates; in the order of their UIDs. New mail meanwhile is for the next scan."""
        fields = " ".join(name.upper() for name in wanted.fields)
        items = f"UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS ({fields})]<0.4096>"
        for uids in self._windows():
            for batch in _batches(uids, self._batch):
                candidates, passed = self._candidates(batch, items, wanted.test)
                if passed:
                    yield Passed(passed)
                for chunk in _chunks(candidates):
                    yield from self._mails(chunk)

    def _windows(self) -> Iterator[list[int]]:
        """The UIDs there are, window by window (D12). Wider ones where few are used: UIDs may go up to 4,294,967,295."""
        opened = self._session.enter(self._session.home)
        if opened.exists and not opened.uidnext:
            raise ServerError(f"{self.host} does not tell its next UID, so the folder cannot be read whole.")
        first, last = 1, opened.uidnext - 1
        width = last if opened.exists <= _WINDOW else _WINDOW
        while opened.exists and first <= last:
            window = partial(GuardedClient.search, first=first, last=min(first + width - 1, last))
            uids = self._session.ask(self._session.home, window)
            yield uids
            first += width
            if len(uids) < width // 10:
                width = min(2 * width, _WINDOW_MAX)

    def _candidates(
        self, uids: list[int], items: str, test: Callable[[bytes], bool]
    ) -> tuple[list[tuple[int, int | str]], int]:
        """(UID, size) of each wanted message, or why it cannot be read instead of the size; and how many are not wanted."""
        heads = self._read(self._session.home, uids, items)
        found: list[tuple[int, int | str]] = []
        for uid, head in heads.items():
            if isinstance(head, str):
                found.append((uid, head))
            elif test(head.body or b""):
                found.append((uid, head.size if head.size >= 0 else "the server tells no size of it"))
        return found, len(heads) - len(found)

    def _mails(self, chunk: list[tuple[int, int | str]]) -> Iterator[Mail | Unreadable]:
        items = f"UID INTERNALDATE FLAGS RFC822.SIZE BODY.PEEK[]<0.{MESSAGE_CAP}>{self._ids}"
        mails = self._read(self._session.home, [uid for uid, size in chunk if isinstance(size, int)], items)
        for uid, size in chunk:
            found = size if isinstance(size, str) else mails.get(uid)
            place = self._place(self.folder, self._session.validity, uid)
            if isinstance(found, str):
                yield Unreadable(place, found)
            elif found:  # else somebody took it away meanwhile (N16)
                yield _mail(place, found)

    def _read(self, raw: str, uids: Sequence[int], items: str) -> dict[int, Fetched | str]:
        """FETCH, by halves where it fails, so that one bad message costs only itself (IC5, IC10, N19).

        A string says why that message cannot be read; a message that is gone is left out.
        """
        if not uids:
            return {}
        try:
            answers = self._session.ask(raw, partial(GuardedClient.fetch, uids=uids, items=items))
            found: dict[int, Fetched | str] = {uid: one for uid, one in answers.items() if one.body is not None}
            missing = [uid for uid in uids if uid not in found]
            if missing:  # gone, or held back by the server? (IC13)
                found |= dict.fromkeys(self._session.ask(raw, partial(GuardedClient.existing, uids=missing)), _PENDING)
        except (BrokenOffError, RejectedError) as error:
            if isinstance(error, RejectedError):
                if error.bad:
                    raise
                self._session.lose_patience(error)
            if len(uids) == 1:
                return {uids[0]: str(error)}
            half = len(uids) // 2
            found = self._read(raw, uids[:half], items) | self._read(raw, uids[half:], items)
        return {uid: found[uid] for uid in uids if uid in found}

    def look(self, places: Sequence[Place]) -> Mapping[Place, Look]:
        """D9. A message that is there but cannot be read shows no identity, so that it differs from the one judged."""
        looks: dict[Place, Look] = {}
        for folder in dict.fromkeys(place.folder for place in places):
            opened = self._entered(folder)
            if not opened:
                continue
            uids = _uids_of(places, folder, opened.uidvalidity)
            for batch in _batches(sorted(uids), self._batch):
                looks |= {uids[uid]: _look(found) for uid, found in self._heads(opened.raw, batch).items()}
        return looks

    def find(self, folder: str, identity: str, message_id: str, uidnext: int = 0) -> list[Place]:
        """Asks the server for the Message-ID. Where that finds nothing among new mail, looks at all of the new mail, because
        some servers answer nothing to such a question (P17)."""
        opened = self._entered(folder)
        first, last = max(uidnext, 1), opened.uidnext - 1 if opened else 0
        if not opened or not identity or first > last:
            return []
        uids: list[int] = []
        if SEARCHABLE.fullmatch(message_id):
            uids = self._search(opened.raw, first, last, message_id)
        if not uids and uidnext and last - first < _WINDOW:
            uids = self._search(opened.raw, first, last)
        return [
            self._place(folder, opened.uidvalidity, uid)
            for batch in _batches(uids, self._batch)
            for uid, found in self._heads(opened.raw, batch).items()
            if isinstance(found, Fetched) and identity == _identity(found)
        ]

    def _search(self, raw: str, first: int, last: int, message_id: str = "") -> list[int]:
        return self._session.ask(raw, partial(GuardedClient.search, first=first, last=last, message_id=message_id))

    def _heads(self, raw: str, uids: Sequence[int]) -> dict[int, Fetched | str]:
        """Flags, size and what the identity is made of."""
        return self._read(raw, uids, f"UID FLAGS RFC822.SIZE BODY.PEEK[HEADER]<0.{HEADER_CAP + 4}>{self._ids}")

    def _entered(self, folder: str) -> Opened | None:
        """Open a folder anew; None when there is none of that name (any more)."""
        raw = self._raw_of(folder)
        try:
            return self._session.enter(raw) if raw else None
        except RejectedError:
            del self._raws[folder]
            if self._raw_of(folder):
                raise
            return None

    # Moving

    def prepare(self, folder: str) -> Target:
        """CREATE and SUBSCRIBE if there is no such folder; in any case its STATUS must be OK (D10)."""
        if not self.can_move:
            raise RefusedError(self.why_not)
        folder, shown = folder.strip("/"), safe_text(folder)
        if not folder:
            raise TargetError("The folder to move to has no name. Give one, such as News/Ads.")
        try:
            found = self._existing(folder) or self._created(folder)
            if found.raw == self._session.home:
                raise TargetError(f"Mail cannot be moved from {shown} to {shown}. Choose another folder.")
            if found.flags & _SPECIAL:
                raise TargetError(
                    f"{shown} is a special folder, which servers treat in ways of their own. Choose another folder."
                )
            validity, uidnext = self._session.ask("", partial(GuardedClient.status, raw=found.raw))
        except RejectedError as error:
            raise TargetError(f"The folder {shown} cannot be used: {error} Choose another one.") from None
        if not validity or not uidnext:
            raise TargetError(f"{self.host} keeps no numbers of messages in {shown}. Choose another folder.")
        self._raws[decoded(found.raw)] = found.raw
        return Target(decoded(found.raw), validity, uidnext)

    def _created(self, folder: str) -> Folder:
        name = encoded(folder.replace("/", self._delimiter) if self._delimiter else folder)
        names = [name if name.startswith(self._prefix) else self._prefix + name]
        if not self._prefix and self._delimiter:
            names.append(f"INBOX{self._delimiter}{name}")  # where nobody tells the prefix (N20)
        session = self._session
        for raw in names:
            try:
                session.alive().create(raw)
            except RejectedError as error:
                refusal = error
                with suppress(RejectedError):  # NO may mean that it is there (P12)
                    session.client.status(raw)
                    return Folder(raw, frozenset(), self._delimiter)
            else:
                with suppress(RejectedError):
                    session.client.subscribe(raw)
                return Folder(raw, frozenset(), self._delimiter)
        raise refusal

    def move(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        """UID MOVE. Any error means that the outcome is unknown: look and find tell (D13)."""
        if not self.can_move:
            raise RefusedError(self.why_not)
        raw = self._raw_of(target.folder)
        if not raw or raw == self._session.home:
            raise TargetError(f"The folder {safe_text(target.folder)} is gone. Nothing was moved.")
        uids = _uids_of(places, self.folder, self._session.validity)
        self._session.at(self._session.home)
        moved: dict[Place, Place | None] = {}
        for batch in _batches(sorted(uids), self._batch):
            moved |= {uids[uid]: place for uid, place in sorted(self._moved(batch, raw, target).items())}
        return moved

    def _moved(self, uids: Sequence[int], raw: str, target: Target, *, again: bool = True) -> dict[int, Place | None]:
        try:
            validity, copies = self._session.client.move(uids, raw)
        except RejectedError as error:
            return self._moved_otherwise(error, uids, raw, target, again)
        if validity != target.uidvalidity:
            copies = {}
        # OK without COPYUID may mean that nothing was moved (P6): what is still there was not
        unknown = [uid for uid in uids if uid not in copies]
        existing = partial(GuardedClient.existing, uids=unknown)
        there = self._session.ask(self._session.home, existing) if unknown else set()
        moved: dict[int, Place | None] = {uid: self._place(target.folder, validity, new) for uid, new in copies.items()}
        return moved | {uid: None for uid in unknown if uid not in there}

    def _moved_otherwise(
        self, error: RejectedError, uids: Sequence[int], raw: str, target: Target, again: bool
    ) -> dict[int, Place | None]:
        """After a refusal that moved nothing and can be helped. Raises the others."""
        if error.code in ("LIMIT", "MESSAGELIMIT") and len(uids) > 1:
            half = len(uids) // 2
            return self._moved(uids[:half], raw, target) | self._moved(uids[half:], raw, target)
        if error.code == "EXPUNGEISSUED" and again:  # one of them is gone, and so none was moved (P7)
            self._session.enter(self._session.home)
            there = self._session.ask(self._session.home, partial(GuardedClient.existing, uids=uids))
            return self._moved(sorted(there), raw, target, again=False) if there else {}
        if error.code == "TRYCREATE":
            self._raws.pop(target.folder, None)
            raise TargetError(f"The folder {safe_text(target.folder)} is gone. Nothing was moved; try again.") from None
        raise error

    def close(self) -> None:
        """LOGOUT."""
        self._session.client.logout()

    def _place(self, folder: str, validity: int, uid: int) -> Place:
        return Place(self.account, folder, f"{validity}:{uid}")


def _uids_of(places: Iterable[Place], folder: str, validity: int) -> dict[int, Place]:
    """The UIDs of those places that are in this folder as it is numbered now."""
    found: dict[int, Place] = {}
    for place in places:
        match = re.fullmatch(r"(\d{1,10}):(\d{1,10})", place.key, re.ASCII)
        if match and place.folder == folder and int(match[1]) == validity and int(match[2]):
            found[int(match[2])] = place
    return found


def _mail(place: Place, found: Fetched) -> Mail | Unreadable:
    raw = (found.body or b"")[:MESSAGE_CAP]
    if not raw or found.size < 0:
        return Unreadable(place, _PENDING)
    if len(raw) > HEADER_CAP + 4 and not _BLANK_LINE.search(raw, 0, HEADER_CAP + 4):
        return Unreadable(place, f"header block over {HEADER_CAP // 1024} KiB")
    return Mail(place, raw, found.size, found.flags, _identity(found))


def _look(found: Fetched | str) -> Look:
    return Look("", -1, frozenset()) if isinstance(found, str) else Look(_identity(found), found.size, found.flags)


def _identity(found: Fetched) -> str:
    """The best identity there is (P25), but none without a Message-ID."""
    message_id = message_id_of(found.body or b"")
    return found.server_id or identity_of(found.body or b"", message_id) if message_id else ""


def _batches(uids: Iterable[int], most: int) -> Iterator[list[int]]:
    rest = iter(uids)
    while batch := list(islice(rest, most)):
        yield batch


def _chunks(candidates: Iterable[tuple[int, int | str]]) -> Iterator[list[tuple[int, int | str]]]:
    """Candidates in portions that one FETCH may bring whole."""
    chunk: list[tuple[int, int | str]] = []
    size = 0
    for uid, known in candidates:
        more = min(known, MESSAGE_CAP) if isinstance(known, int) else 0
        if chunk and (len(chunk) == _BODIES or size + more > _BODY_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((uid, known))
        size += more
    if chunk:
        yield chunk
