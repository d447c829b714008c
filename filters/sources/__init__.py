"""Where mail comes from: the words, the one protocol, and the one function that opens a location.

Words used throughout:

* a **source** is one folder of one account: an IMAP folder, a Maildir, an mbox file, a folder of .eml, one .eml, stdin;
* a **place** names one message in it for as long as the source does not renumber;
* an **identity** names the message itself, wherever it is moved.

A source knows nothing of LinkedIn: the caller says by `Wanted` which header blocks make a message interesting, so that
bodies are read of candidates only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

#: Bytes of one message that are ever read (D3): real job alerts reach 255 KB.
MESSAGE_CAP = 1_048_576
#: Bytes of a header block that are ever read (T9); a longer one makes the message unreadable, and it is kept.
HEADER_CAP = 65_536
_BLANK_LINE = re.compile(rb"\n\r?\n")


@dataclass(frozen=True, slots=True)
class Place:
    """One message's place. `key` is opaque: IMAP "uidvalidity:uid"; Maildir the unique part of the file name (before
    ":2,"); a folder of .eml the relative path; mbox the ordinal number from 1; one .eml its name; stdin "-"."""

    account: str
    folder: str
    key: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A message as found. `raw` is at most `MESSAGE_CAP` bytes of its `size` bytes."""

    place: Place
    raw: bytes = field(repr=False)
    size: int
    flags: frozenset[str]
    """IMAP system flags, e.g. {"\\\\Seen", "\\\\Flagged"}; Maildir's letters are translated."""
    identity: str
    """"emailid:…", "x-gm-msgid:…" or "sha256:<of the header block>"; empty when the message has no Message-ID."""

    @property
    def truncated(self) -> bool:
        """Whether `raw` is only the beginning. Servers may count line ends otherwise, so a small difference says nothing."""
        return self.size > len(self.raw) >= MESSAGE_CAP


@dataclass(frozen=True, slots=True)
class Passed:
    """So many messages were looked at and are not wanted."""

    count: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that could not be read. It is counted, named, and left where it is."""

    place: Place
    reason: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages are candidates: `test` gets a header block (or just the lines of `fields`) as bytes."""

    fields: tuple[str, ...]
    test: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Target:
    """A folder that messages are moved to, as it was before the first move (D10). The numbers are 0 where the source has
    none (Maildir)."""

    folder: str
    uidvalidity: int
    uidnext: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a second look at a place shows right before a move (D9)."""

    identity: str
    size: int
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a folder was looked through: all below `uidnext` but `again`, which a later scan is to look at once more."""

    uidvalidity: int
    uidnext: int
    again: tuple[int, ...] = ()


@dataclass(slots=True)
class Extent:
    """What a scan may pass over and what it may cost, as the caller says it before; and how far it came."""

    begin: Mark | None = None
    """Look at what is new since then, if the folder's numbers still hold; None: at everything."""
    since: date | None = None
    """Look only at what came on that day or later, by the server's date; unless `begin` says from where on."""
    spared: frozenset[str] = frozenset()
    """Flags of mail that is not moved: what is looked at again and still bears one of them is passed over, and waits on in `end`."""
    budget: int = 0
    """Bytes received on this connection after which no more mail is fetched; 0: no limit."""
    end: Mark | None = None
    """How far the last scan came, once it is over; None where messages have no numbers that last."""
    stopped: bool = False
    """Whether the budget ended it; `end` then says where the next one begins."""
    count: int = 0
    """Messages in the folder; 0 where nobody counts them."""
    received: Callable[[], int] = lambda: 0
    """Bytes that came from the server so far."""


class Source(Protocol):
    """One folder of one account. Reading never marks mail as read nor changes a byte."""

    account: str
    """Canonical and printable, without folder and secret: "imaps://ann@imap.example.org:993", or an absolute path."""
    folder: str
    """The folder that `scan` reads: "INBOX", a Maildir's "", an mbox file's ""."""
    host: str
    """The IMAP host, to find its Authentication-Results habits by; empty for local sources."""
    uidvalidity: int
    """How the folder is numbered now; 0 where messages have no numbers."""
    can_move: bool
    why_not: str
    """When `can_move` is False: one sentence that says why and what to do."""
    method: str
    """"move": one step, by `move`. "copy": the server cannot, so that `copier` copies, and removes what was copied. "label": as "move",
    where folders are labels (Gmail): a message lies in any number of them, in each at most once, with the same identity."""
    extent: Extent
    """From where `scan` begins, and how far it came. Where messages have no numbers it always looks at everything."""
    copier: Copier | None
    """To finish what left a message in two places; None where that cannot be done, or never happens."""

    def total(self) -> int:
        """About how many messages `scan` goes through; 0 when nobody knows before."""
        ...

    def scan(self, wanted: Wanted) -> Iterator[Mail | Passed | Unreadable]:
        """All messages of the folder, in its order."""
        ...

    def prepare(self, folder: str) -> Target:
        """Make sure that the target folder exists. Raises TargetError."""
        ...

    def look(self, places: Sequence[Place]) -> Mapping[Place, Look]:
        """What is at these places now; a place where no message is any more is left out."""
        ...

    def move(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        """Move, and say where each message went. A value of None: moved, new place unknown. A place that is left out was
        not moved. Raises TransientError when the outcome is unknown, and ServerError, TargetGoneError, when the server refused."""
        ...

    def find(self, folder: str, sought: Mapping[str, str], since: Target | None = None) -> Mapping[str, list[Place]]:
        """Places in `folder` of messages, by identity; `sought` gives the Message-ID of each. With `since` only of what came after
        it, unless the folder was numbered anew since then. What is not found is left out."""
        ...

    def read(self, places: Sequence[Place]) -> Iterator[Mail | Unreadable]:
        """The messages at these places, whatever they are; a place where none is any more is left out."""
        ...

    def numbered(self, folder: str) -> Target | None:
        """How a folder is numbered now, with its name as places have it; None when there is none. Nothing is made."""
        ...

    def folders(self) -> list[str]:
        """Names of the account's folders, without the special ones such as Trash and Sent."""
        ...

    def settle(self, folder: str) -> None:
        """After a command that broke off: wait until the server adds nothing to `folder` any more."""
        ...

    def close(self) -> None:
        """Let go of connections and files. Never expunges."""
        ...


class Copier(Protocol):
    """The four steps that make a move where the server has none. Raise like `Source.move`."""

    def copy(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        """Copy, and say where each copy is. None, or left out: not told."""
        ...

    def remove(self, places: Collection[Place]) -> Collection[Place]:
        """Remove these from the source's folder, and nothing else. Gives those that are still there."""
        ...

    def restore(self, places: Sequence[Place]) -> None:
        """Take the mark as deleted off again."""
        ...

    def mark(self, place: Place, flags: Iterable[str]) -> None:
        """Give the copy at `place` these flags as well."""
        ...


def header_block(raw: bytes) -> bytes:
    """The header block with CRLF line ends, up to and without the blank line; a leading BOM is dropped.

    Line ends are made equal so that a message has one identity in a Maildir (often LF) and over IMAP (CRLF).
    """
    head = raw[: HEADER_CAP + 4].removeprefix(b"\xef\xbb\xbf")
    blank = _BLANK_LINE.search(head)
    head = head[: blank.start() + 1] if blank else head
    return head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def place_name(source: Source) -> str:
    """Account and folder as one printable name."""
    return f"{source.account}/{source.folder}" if source.folder else source.account


def identity_of(raw: bytes, message_id: str) -> str:
    """Identity from the bytes alone, for servers without EMAILID (P25). Without a Message-ID there is none, and the
    message is never moved.

    INTERNALDATE and size are left out on purpose: a Maildir has no INTERNALDATE, and RFC822.SIZE counts line ends
    differently; both are compared on their own before a move (D9).
    """
    return f"sha256:{hashlib.sha256(header_block(raw)).hexdigest()}" if message_id else ""
