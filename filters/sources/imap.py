"""An IMAP folder as a source: reading never marks anything; what is changed, and how, stands in `changing`."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, repeat
from pathlib import Path

from filters.errors import LoginError, NotFoundError, RefusedError, ServerError, TransientError
from filters.safe_text import safe_text
from filters.sources import (
    HEADER_CAP,
    MESSAGE_CAP,
    Copier,
    Extent,
    Look,
    Mail,
    Mark,
    Passed,
    Place,
    Target,
    Unreadable,
    Wanted,
    identity_of,
)
from filters.sources.answers import Fetched
from filters.sources.changing import Changer, batches, uids_of
from filters.sources.files import message_id_of
from filters.sources.folders import Folders
from filters.sources.gmail import has_labels
from filters.sources.guarded import SEARCHABLE, Folder, GuardedClient, Opened, RejectedError
from filters.sources.location import ImapLocation, parse_url
from filters.sources.patience import Patience, Vigil
from filters.sources.session import OAuth, Secret, Session
from filters.sources.wire import BrokenOffError

#: UIDs per SEARCH: a longer answer than 1,000,000 bytes would be refused (N30), and 80,000 UIDs fit into that.
_WINDOW = 80_000
#: So many UIDs below the next one are looked through for the newest messages, or for what a server does not find.
_NEAR = 10_000
#: Messages per FETCH of headers and per MOVE (imap.md 7.1).
_BATCH = 500
#: Whole messages per FETCH: 8 MiB at most. So many FETCHes are under way at once, so that a distant server is never idle.
_BODIES, _AHEAD = 8, 8
_UID_END = 2**32
#: So many messages are rather looked at one by one than searched for.
_FEW = 2_000
_BLANK_LINE = re.compile(rb"\n\r?\n")
_LAST_UID = 4_294_967_295
_PENDING = "pending: the server sent no usable text for it"


def open_imap(
    url: str,
    password: Callable[[str], str],
    *,
    changes: bool,
    ca_file: Path | None = None,
    patience: Patience = Patience(),  # noqa: B008 (frozen)
    oauth: OAuth = False,
) -> ImapSource:
    """Connect, log in, and open the folder of an IMAP URL. `password` gets the printable account, and is called when the server is
    reached and its certificate is good; once more if the server refuses in mid-run what it took before. With `oauth` it gives an access token (see `Secret`).

    Raises UsageError, ServerError, LoginError or NotFoundError.
    """
    location = parse_url(url)
    secret = Secret(lambda: password(location.account), oauth=oauth)

    def connect() -> GuardedClient:
        tls, starttls = location.scheme != "imap", location.scheme == "imap+starttls"
        client = GuardedClient(
            location.host, location.port, tls=tls, starttls=starttls, changes=changes, ca_file=ca_file
        )
        try:
            secret.log_in(client, location.user)
        except LoginError:
            client.logout()
            if not secret.renew():
                raise
            return connect()
        except BaseException:
            client.logout()
            raise
        return client

    return ImapSource(location, Session(connect, patience), changes=changes)


@dataclass(frozen=True, slots=True)
class _Portion:
    """What one FETCH is to bring of which messages; `passed` messages between the first of them and the next portion are not wanted."""

    uids: list[int]
    items: str
    passed: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a message was when it was read."""

    message_id: str
    size: int
    identity: str

    def is_of(self, found: Fetched) -> bool:
        """Whether an answer about the same UID is of the same message."""
        same = found.server_id in ("", self.identity) and found.size == self.size
        return same and message_id_of(found.body or b"") == self.message_id


class ImapSource:
    """One folder of an IMAP account; a `Source`. `can_move` is False when opened without `changes`."""

    def __init__(self, location: ImapLocation, session: Session, *, changes: bool) -> None:
        self.account, self.host = location.account, location.host
        self.session = session
        self._seen: dict[int, _Seen] = {}
        self._idles = True
        self._waiting: frozenset[int] = frozenset()
        self.extent = Extent(received=lambda: session.received)
        try:
            self._open(location.folder, changes)
        except BaseException:
            self.close()
            raise

    def _open(self, folder: str, changes: bool) -> None:
        session, capabilities = self.session, self.session.client.capabilities
        self.folder_list = Folders(session, self.account)
        found = self.folder_list.find(folder)
        if not found:
            raise NotFoundError(self.folder_list.missing(folder))
        session.home, self.folder = found.raw, self.folder_list.remember(found)
        try:
            opened = session.enter(found.raw)
        except TransientError:
            raise
        except RejectedError as error:
            raise ServerError(f"The folder {safe_text(self.folder)} cannot be opened: {error}", 66) from None
        session.validity = self.uidvalidity = opened.uidvalidity
        self._found, self._opened = found, opened
        self._first: Opened | None = opened
        session.fickle = not opened.told
        self._batch = min(
            [_BATCH, *(int(one[13:]) for one in capabilities if re.fullmatch(r"MESSAGELIMIT=[1-9]\d{0,8}", one))]
        )
        self._ids = " EMAILID" if "OBJECTID" in capabilities else " X-GM-MSGID" if has_labels(capabilities) else ""
        self.why_not = self._hindrance(found, opened, changes)
        self.can_move = not self.why_not
        self._changer = Changer(session, self.folder_list, self.account, self._batch)
        self.method = "label" if has_labels(capabilities) else "move" if "MOVE" in capabilities else "copy"
        self.copier: Copier | None = self._changer if self.can_move and "UIDPLUS" in capabilities else None

    def _hindrance(self, found: Folder, opened: Opened, changes: bool) -> str:
        """Why nothing can be moved out of the folder, seen before the first command that changes anything."""
        folder = safe_text(self.folder)
        if unable := self._unable(found, opened):
            return unable
        if not changes:
            return f"{folder} was opened for reading only."
        if not opened.writable or not opened.removable or self.folder_list.lacks_out(found):
            return f"{folder} is read-only for this login. Ask for the rights, or choose another folder."
        return ""

    def _unable(self, found: Folder, opened: Opened) -> str:
        """Why nobody could move anything out of the folder safely."""
        folder, capabilities = safe_text(self.folder), self.session.client.capabilities
        if has_labels(capabilities) and "MOVE" not in capabilities:
            return (
                f"Folders of {self.host} are labels, and it has no MOVE (RFC 6851). What else takes a label off may delete the mail "
                "there. Nothing was moved; you can still audit."
            )
        if not {"MOVE", "UIDPLUS"} & capabilities:
            return (
                f"{self.host} has neither MOVE (RFC 6851) nor UIDPLUS (RFC 4315). Without one of them a move can remove mail that "
                "somebody else marked as deleted, or leave mail twice. Nothing was moved; you can still audit."
            )
        if special := self.folder_list.special(found):
            return f"{folder} is a special folder ({special}); mail is not moved out of it."
        if not opened.uidvalidity or not opened.sticky:
            return f"{self.host} does not keep the numbers of messages in {folder}, so a move could not be proven or undone."
        return ""

    @property
    def strategy(self) -> str:
        """How mail would be moved out of this folder with leave to do so: "move", "copy", or why it would not be."""
        capabilities = self.session.client.capabilities
        lacking = self.folder_list.lacks_out(self._found)
        rights = f"this login lacks the rights {lacking} in {safe_text(self.folder)}" if lacking else ""
        return self._unable(self._found, self._opened) or rights or ("move" if "MOVE" in capabilities else "copy")

    # Reading

    def newest(self, count: int) -> tuple[bytes, ...]:
        """Header blocks of the newest messages (by their numbers), oldest first."""
        opened = self.session.enter(self.session.home)
        last = opened.uidnext - 1
        uids = self._search(self.session.home, max(1, last - _NEAR), last) if opened.exists and last > 0 else []
        heads = self._heads(self.session.home, uids[-count:]).values() if count else ()
        return tuple(head.body or b"" for head in heads if isinstance(head, Fetched))

    def total(self) -> int:
        """Those that were there when the folder was opened; of what is new since `extent.begin` at most so many."""
        begin, opened = self._known(self._opened), self._opened
        return min(opened.exists, opened.uidnext - begin.uidnext + len(begin.again)) if begin else opened.exists

    def scan(self, wanted: Wanted) -> Iterator[Mail | Passed | Unreadable]:
        """Headers of all messages, or of those that `extent` names, bodies of candidates; in the order of their UIDs. New mail meanwhile
        is for the next scan. `extent` says afterwards how far it came."""
        fields = " ".join(name.upper() for name in wanted.fields)
        items = f"UID BODY.PEEK[HEADER.FIELDS ({fields})]<0.4096>"
        extent = self.extent
        extent.end, extent.stopped = None, False
        self._seen.clear()
        opened, begin = self._begin()
        extent.count = opened.exists
        for uids in self._windows(opened, begin):
            yield from self._through(uids, items, wanted.test, begin)
            if extent.stopped:
                return
        extent.end = self._reached(self.session.bound(self.session.home, opened.uidnext), None)

    def _through(
        self, uids: list[int], items: str, test: Callable[[bytes], bool], begin: Mark | None
    ) -> Iterator[Mail | Passed | Unreadable]:
        """Headers of these, and whole those that pass the test. The budget may end it in between."""
        heads = (_Portion(batch, items) for batch in batches(uids, self._batch))
        bodies: deque[_Portion] = deque()
        under_way: deque[_Portion] = deque()
        while portion := self._next(under_way, bodies, heads):
            if portion.items == items:
                found, passed = self._candidates(portion.uids, items, test)
                yield from (self._unreadable(uid, why) for uid, why in found.items() if why)
                chosen = list(batches((uid for uid, why in found.items() if not why), _BODIES))
                ends = [*(chunk[0] for chunk in chosen), _UID_END]
                counts = [sum(low < uid < high for uid in passed) for low, high in pairwise([0, *ends])]
                bodies.extend(_Portion(*one) for one in zip(chosen, repeat(self._whole), counts[1:], strict=False))
                yield from _passed(counts[0])
            elif self.extent.budget and self.session.received >= self.extent.budget:
                self.extent.end, self.extent.stopped = self._reached(portion.uids[0], begin), True
                return
            else:
                yield from self._mails(portion.uids)
                yield from _passed(portion.passed)

    def _next(self, under_way: deque[_Portion], bodies: deque[_Portion], heads: Iterator[_Portion]) -> _Portion | None:
        """What is to be read next. What comes after it is asked for before that, unless the budget may end in between."""
        budget = self.extent.budget
        most = 1 if budget and budget - self.session.received < _AHEAD * _BODIES * MESSAGE_CAP else _AHEAD
        while len(under_way) < most:
            portion = bodies.popleft() if bodies else next(heads, None)
            if portion is None:
                break
            under_way.append(portion)
            if most > 1:
                self.session.begin_fetch(self.session.home, portion.uids, portion.items)
        return under_way.popleft() if under_way else None

    def _begin(self) -> tuple[Opened, Mark | None]:
        """The folder as it is now, and from where to look on. To pass over what is known, the state of the opening will do: what has
        come since then is for the next scan."""
        begin, first, self._first = self.extent.begin, self._first, None
        if not (begin and first and self.session.is_open(first)):
            first = self.session.enter(self.session.home)
        if first.exists and not first.uidnext:
            raise ServerError(f"{self.host} does not tell its next UID, so the folder cannot be read whole.")
        begin = self._known(first)
        self._waiting = self._spared(begin) if begin else frozenset()
        return first, _but(begin, self._waiting) if begin else self._since(first)

    def _spared(self, begin: Mark) -> frozenset[int]:
        """Of what is to be looked at again, that which still bears a flag that spares it: there is no need to fetch it."""
        if not (begin.again and self.extent.spared and self._opened.exists):
            return frozenset()
        ask = partial(GuardedClient.fetch, uids=begin.again, items="UID FLAGS")
        return frozenset(
            uid for uid, one in self.session.ask(self.session.home, ask).items() if one.flags & self.extent.spared
        )

    def _known(self, opened: Opened) -> Mark | None:
        """Where `extent` says to begin, if the folder's numbers still hold."""
        begin = self.extent.begin
        holds = begin and begin.uidvalidity == opened.uidvalidity and begin.uidnext <= opened.uidnext and opened.sticky
        return begin if holds else None

    def _since(self, opened: Opened) -> Mark | None:
        """From where on mail is of the day that `extent` names, or later."""
        day, last = self.extent.since, opened.uidnext - 1
        if not day or not opened.uidvalidity:
            return None
        for first in range(1, last + 1, _WINDOW):
            window = partial(GuardedClient.since, first=first, last=min(first + _WINDOW - 1, last), day=day)
            if found := self.session.ask(self.session.home, window):
                return Mark(opened.uidvalidity, found[0])
        return Mark(opened.uidvalidity, opened.uidnext)

    def _reached(self, uidnext: int, begin: Mark | None) -> Mark | None:
        """The mark of a scan that looked at all below `uidnext`; with `begin` also what that one still had to look at again."""
        opened = self._opened
        if not opened.uidvalidity or not opened.sticky or uidnext < 1:
            return None
        again = {*self._waiting, *(uid for uid in begin.again if uid >= uidnext)} if begin else self._waiting
        return Mark(opened.uidvalidity, max(uidnext, begin.uidnext) if begin else uidnext, tuple(sorted(again)))

    def _windows(self, opened: Opened, begin: Mark | None) -> Iterator[list[int]]:
        """The UIDs there are, window by window (D12); all at once where they are few: UIDs may go up to 4,294,967,295. What is to be
        looked at since `begin` is not searched for when it is little: UIDs that are not in use cost nothing."""
        first, last = begin.uidnext if begin else 1, opened.uidnext - 1
        if begin:
            few = last - first < self._batch
            uids = sorted({*begin.again, *(range(first, last + 1) if few else ())})
            if uids and opened.exists:
                yield uids
            first = last + 1 if few else first
        width = last if opened.exists <= _WINDOW else _WINDOW
        while opened.exists and first <= last:
            window = partial(GuardedClient.search, first=first, last=min(first + width - 1, last))
            uids = self.session.ask(self.session.home, window)
            yield uids
            first += width

    def _candidates(
        self, uids: list[int], items: str, test: Callable[[bytes], bool]
    ) -> tuple[dict[int, str], list[int]]:
        """UIDs of wanted messages, each with why it cannot be read, or ""; and of those that are not wanted."""
        found: dict[int, str] = {}
        passed: list[int] = []
        for uid, head in self._read(self.session.home, uids, items).items():
            if isinstance(head, str):
                found[uid] = head
            elif test(head.body or b""):
                found[uid] = ""
            else:
                passed.append(uid)
        return found, passed

    def _mails(self, uids: list[int]) -> Iterator[Mail | Unreadable]:
        """Whole messages; one that somebody took away meanwhile is left out (N16)."""
        for uid, found in self._read(self.session.home, uids, self._whole).items():
            if isinstance(found, str):
                yield self._unreadable(uid, found)
                continue
            mail = _mail(self._place(self.folder, self.session.validity, uid), found)
            if isinstance(mail, Mail):
                self._seen[uid] = _Seen(message_id_of(mail.raw), mail.size, mail.identity)
            yield mail

    def _unreadable(self, uid: int, why: str) -> Unreadable:
        return Unreadable(self._place(self.folder, self.session.validity, uid), why)

    @property
    def _whole(self) -> str:
        """What is asked for of a message that is read whole."""
        return f"UID INTERNALDATE FLAGS RFC822.SIZE BODY.PEEK[]<0.{MESSAGE_CAP}>{self._ids}"

    def _read(self, raw: str, uids: Sequence[int], items: str, *, sure: bool = False) -> dict[int, Fetched | str]:
        """FETCH, by halves where it fails, so that one bad message costs only itself (IC5, IC10, N19).

        A string says why that message cannot be read; a message that is gone is left out. With `sure`, a connection that breaks at one
        message is an error: it need not be the message's fault.
        """
        if not uids:
            return {}
        try:
            answers = self.session.ask(raw, partial(GuardedClient.fetch, uids=uids, items=items), less=True)
            found: dict[int, Fetched | str] = {uid: one for uid, one in answers.items() if one.body is not None}
            missing = [uid for uid in uids if uid not in found]
            if missing:  # gone, or held back by the server? (IC13)
                found |= dict.fromkeys(self.session.ask(raw, partial(GuardedClient.existing, uids=missing)), _PENDING)
        except (BrokenOffError, RejectedError) as error:
            if isinstance(error, RejectedError):
                if error.bad:
                    raise
                self.session.failed(error)
            if len(uids) == 1:
                if sure and isinstance(error, BrokenOffError):
                    raise
                return {uids[0]: str(error)}
            half = len(uids) // 2
            found = self._read(raw, uids[:half], items, sure=sure) | self._read(raw, uids[half:], items, sure=sure)
        return {uid: found[uid] for uid in uids if uid in found}

    def look(self, places: Sequence[Place]) -> Mapping[Place, Look]:
        """D9. A message that is there but cannot be read shows no identity, so that it differs from the one judged."""
        looks: dict[Place, Look] = {}
        for folder in dict.fromkeys(place.folder for place in places):
            opened = self._entered(folder, Session.refresh)
            if not opened:
                continue
            uids = uids_of(places, folder, opened.uidvalidity)
            for batch in batches(sorted(uids), self._batch):
                same = self._same(batch) if opened.raw == self.session.home else {}
                others = self._heads(opened.raw, [uid for uid in batch if uid not in same])
                found = same | {uid: _look(head) for uid, head in others.items()}
                looks |= {uids[uid]: found[uid] for uid in batch if uid in found}
        return looks

    def _same(self, uids: Sequence[int]) -> dict[int, Look]:
        """Of messages that this source has read: those that still have the same Message-ID and size (D9), which servers need not open
        the message for."""
        items = f"UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]{self._ids}"
        answers = self._read(self.session.home, [uid for uid in uids if uid in self._seen], items)
        return {
            uid: Look(self._seen[uid].identity, found.size, found.flags)
            for uid, found in answers.items()
            if isinstance(found, Fetched) and self._seen[uid].is_of(found)
        }

    def find(self, folder: str, sought: Mapping[str, str], since: Target | None = None) -> Mapping[str, list[Place]]:
        """Looks at all messages where they are few; else asks the server for each Message-ID. What cannot be read because the connection
        breaks could be what is sought: that is an error, and not taken for "not there"."""
        opened = self._entered(folder)
        first = since.uidnext if since and opened and since.uidvalidity == opened.uidvalidity else 1
        last = opened.uidnext - 1 if opened else 0
        if not opened or not sought or first > last:
            return {}
        uids = self._search(opened.raw, first, last) if min(opened.exists, last - first) < _FEW else None
        if uids is None:
            hits = (self._search(opened.raw, first, last, one) for one in sought.values() if SEARCHABLE.fullmatch(one))
            uids = sorted({uid for some in hits for uid in some})
            if not uids and since and last - first < _NEAR:  # some servers answer nothing to such a question (P17)
                uids = self._search(opened.raw, first, last)
        found: dict[str, list[Place]] = {}
        for batch in batches(uids, self._batch):
            for uid, head in self._heads(opened.raw, batch, sure=True).items():
                if isinstance(head, Fetched) and (identity := _identity(head)) and identity in sought:
                    found.setdefault(identity, []).append(self._place(folder, opened.uidvalidity, uid))
        return found

    def read(self, places: Sequence[Place]) -> Iterator[Mail | Unreadable]:
        """Folder by folder, without marking anything as read."""
        for folder in dict.fromkeys(place.folder for place in places):
            if opened := self._entered(folder):
                uids = uids_of(places, folder, opened.uidvalidity)
                for batch in batches(sorted(uids), _BODIES):
                    for uid, found in self._read(opened.raw, batch, self._whole).items():
                        yield Unreadable(uids[uid], found) if isinstance(found, str) else _mail(uids[uid], found)

    def numbered(self, folder: str) -> Target | None:
        """STATUS."""
        return self.folder_list.numbered(folder)

    def folders(self) -> list[str]:
        """As people type them."""
        return self.folder_list.usual()

    def wait(self, vigil: Vigil) -> bool:
        """By IDLE, or by looking again after `vigil.poll` seconds where there is none. Either way the server is asked: news get lost."""
        if self._has_new():
            return True
        if not (self._idles and "IDLE" in self.session.client.capabilities):
            vigil.pause(vigil.poll)
        else:
            steps = vigil.steps(vigil.turn)
            try:
                self.session.ask(self.session.home, lambda client: client.idle(steps))
            except RejectedError:  # said to be there, and is not
                self._idles = False
        self.session.ask(self.session.home, GuardedClient.noop)
        return self._has_new()

    def _has_new(self) -> bool:
        """Whether there are UIDs that the last scan could not see. Not by STATUS, which is not meant for the folder that is open."""
        first = self.extent.end.uidnext if self.extent.end else self._opened.uidnext
        return bool(self._search(self.session.home, first, _LAST_UID))

    def settle(self, folder: str) -> None:
        """Until its next UID stands still."""
        if raw := self.folder_list.raw_of(folder):
            self.session.settle(raw)

    def _search(self, raw: str, first: int, last: int, message_id: str = "") -> list[int]:
        return self.session.ask(raw, partial(GuardedClient.search, first=first, last=last, message_id=message_id))

    def _heads(self, raw: str, uids: Sequence[int], *, sure: bool = False) -> dict[int, Fetched | str]:
        """Flags, size and what the identity is made of."""
        items = f"UID FLAGS RFC822.SIZE BODY.PEEK[HEADER]<0.{HEADER_CAP + 4}>{self._ids}"
        return self._read(raw, uids, items, sure=sure)

    def _entered(self, folder: str, how: Callable[[Session, str], Opened] = Session.enter) -> Opened | None:
        """Open a folder anew; None when there is none of that name (any more)."""
        raw = self.folder_list.raw_of(folder)
        try:
            return how(self.session, raw) if raw else None
        except RejectedError:
            self.folder_list.forget(folder)
            if self.folder_list.raw_of(folder):
                raise
            return None

    # Moving

    def prepare(self, folder: str) -> Target:
        """CREATE and SUBSCRIBE if there is no such folder; in any case its STATUS must be OK (D10)."""
        if not self.can_move:
            raise RefusedError(self.why_not)
        return self.folder_list.target(folder, self.session.home)

    def move(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        """UID MOVE."""
        if not self.can_move:
            raise RefusedError(self.why_not)
        return self._changer.move(places, target)

    def close(self) -> None:
        """LOGOUT."""
        self.session.client.logout()

    def _place(self, folder: str, validity: int, uid: int) -> Place:
        return Place(self.account, folder, f"{validity}:{uid}")


def _but(mark: Mark, uids: Collection[int]) -> Mark:
    return replace(mark, again=tuple(uid for uid in mark.again if uid not in uids))


def _passed(count: int) -> list[Passed]:
    return [Passed(count)] if count else []


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
