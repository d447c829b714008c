"""A small mailbox with something of everything in it, what the commands do to it, and what must hold afterwards (I1 to I6)."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from dovecot import PASSWORD, Dovecot
from mailboxes import WANTED, message

from filters.journal import Candidate, Journal, Move, open_journal
from filters.moving import Outcome, move, reconcile, reconcile_all, undo
from filters.sources import Mail, Source
from filters.sources.opening import open_source
from filters.sources.patience import Patience

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
ONE, TWO, THREE, TWICE = (message(number) for number in (1, 2, 3, 4))
#: What a run moves; one of them lies in the folder twice.
ADVERTS = (ONE, TWO, THREE, TWICE)
FRIEND, BINNED, FLAGGED, OLD = (
    message(8, wanted=False),
    message(7, wanted=False),
    message(9),
    message(10, wanted=False),
)
TARGET = "Ads"
#: Commands that change what is in a mailbox.
_CHANGING = re.compile(r"(?:UID (?:MOVE|COPY|STORE|EXPUNGE)|CREATE|SUBSCRIBE)\b.*")
Content = list[tuple[str, bytes, str, int]]


@dataclass(frozen=True)
class World:
    """An account and its journal. `server` is None for a Maildir."""

    how: str
    """"move", "copy" or "maildir"."""
    root: Path
    state: Path
    server: Dovecot | None = None
    user: str = ""
    port: int = 0
    """Where to connect to, when not to the server itself."""
    patience: Patience = field(default_factory=lambda: Patience(first=0, quiet=0))

    folder: str = ""
    """The folder to move from, if not the inbox."""
    password: Callable[[str], str] = lambda _: PASSWORD

    @property
    def journal(self) -> Path:
        return self.state / "journal.sqlite3"

    @property
    def home(self) -> str:
        return self.folder or ("INBOX" if self.server else "")

    # What is there

    def deliver(self, raw: bytes, flags: str = "", *, folder: str = "") -> None:
        if self.server:
            self.server.deliver(self.user, raw, folder=folder, flags=flags)
        else:
            for name in ("cur", "new", "tmp"):
                (self.root / folder / name).mkdir(parents=True, exist_ok=True)
            number = len(list(self.root.rglob("*host*")))
            (self.root / folder / "cur" / f"{number}.M1.host:2,{flags}").write_bytes(raw)

    def fill(self, *, target: bool = True) -> World:
        """Adverts, one of them twice; a flagged one; a friend's mail; and mail that somebody else marked as deleted, in both folders."""
        if target:
            self.deliver(OLD, "ST", folder=f".{TARGET}")
        for raw, flags in (
            (ONE, "S"),
            (FRIEND, "FS"),
            (TWO, ""),
            (TWICE, "S"),
            (BINNED, "ST"),
            (TWICE, "S"),
            (FLAGGED, "F"),
            (THREE, "S"),
        ):
            self.deliver(raw, flags)
        for number, path in enumerate(sorted(self.root.rglob("*:2,*"))):
            os.utime(path, (1_400_000_000, 1_400_000_000 + number))
        return self

    def content(self) -> Content:
        """(folder, bytes, flags, date) of every message, as it lies on the disk."""
        found = []
        for path in self.root.rglob("*"):
            if path.parent.name in ("cur", "new") and path.is_file():
                folder = path.parent.parent.name if path.parent.parent != self.root else ""
                flags = "".join(sorted(path.name.partition(":2,")[2]))
                found.append((folder, path.read_bytes(), flags, int(path.stat().st_mtime)))
        return sorted(found)

    def where(self, raw: bytes) -> list[str]:
        """The folders in which a message lies."""
        return [folder for folder, content, *_ in self.content() if content == raw]

    def file(self, raw: bytes, folder: str = "") -> Path:
        """The file of a message."""
        files = [path for name in ("cur", "new") for path in sorted((self.root / folder / name).iterdir())]
        return next(path for path in files if path.read_bytes() == raw)

    # What is done

    def open_at(self, folder: str, *, changes: bool = True) -> Source:
        if self.server:
            location = f"imap://{self.user}@127.0.0.1:{self.port or self.server.plain_port}/{folder}"
        else:
            location = str(self.root / f".{folder}" if folder else self.root)
        return open_source(
            location,
            self.password,
            changes=changes,
            ca_file=None,
            stdin=BytesIO(),
            patience=self.patience,
        )

    @contextmanager
    def running(self, command: str = "clean") -> Iterator[tuple[Source, Journal, str]]:
        opened = closing(self.open_at(self.home))
        with opened as source, open_journal(self.journal) as journal, journal.run(source.account, command, NOW) as run:
            yield source, journal, run

    def clean(self) -> Outcome:
        """What the command does."""
        with self.running() as (source, journal, run):
            reconcile(source, journal)
            reconcile_all(self.open_at, journal, source.account)
            return move(source, journal, run, candidates(source), TARGET)

    def take_back(self) -> Outcome:
        """What `undo --last` does; nothing when nothing was moved."""
        with open_journal(self.journal) as journal:
            last = journal.last_run()
            if last is None:
                return Outcome()
            with journal.run(last.account, "undo", NOW) as run:
                return undo(self.open_at, journal, run, journal.moves(last.id))

    def rows(self) -> list[Move]:
        """All that the journal knows."""
        with open_journal(self.journal) as journal:
            return [one for run in journal.runs() for one in journal.moves(run.id)]

    def states(self, raw: bytes) -> list[str]:
        """The states of the moves of one message, the oldest first."""
        return [row.state for row in self.rows() if row.message_id == message_id(raw)]

    # What must hold

    def moved(self, before: Content) -> Content:
        """What there must be when everything has been moved."""
        return sorted(
            (f".{TARGET}" if raw in ADVERTS and not folder else folder, raw, flags, date)
            for folder, raw, flags, date in before
        )

    def check_unharmed(self, before: Content) -> None:
        """What holds at any time, also between a fault and the next run: nothing is lost, nobody else's mail is touched, and of
        each message there is at most one copy more, made by us."""
        self.settle()
        had, has = (Counter(raw for _, raw, *_ in content) for content in (before, self.content()))
        assert not had - has
        assert not has - (had + had)
        self.check_bystanders(before, marked=True)

    def check_complete(self, before: Content) -> None:
        """I1 and I2: everything is there, and once."""
        assert sorted(raw for _, raw, *_ in self.content()) == sorted(raw for _, raw, *_ in before)

    def check_bystanders(self, before: Content, *, marked: bool = False) -> None:
        """I3 and I4: what is not ours is as it was, and nothing of ours is left marked as deleted."""
        ours = {*ADVERTS}
        assert [one for one in self.content() if one[1] not in ours] == [one for one in before if one[1] not in ours]
        assert marked or not [one for one in self.content() if one[1] in ours and "T" in one[2]]

    def check_journal(self, *, renumbered: bool = False) -> None:
        """I5: nothing is open; what the journal calls moved is in the target, and where it says, as far as it says where.
        `renumbered`: the places are those of a folder that was made anew since."""
        rows = self.rows()
        assert {row.state for row in rows} <= {"done", "undone", "failed"}, [(row.state, row.reason) for row in rows]
        done = [row for row in rows if row.state == "done" and row.undoes is None]
        there = [raw for folder, raw, *_ in self.content() if folder == f".{TARGET}" and raw in ADVERTS]
        assert sorted(row.message_id for row in done) == sorted(message_id(raw) for raw in there)
        if not done:
            return
        with closing(self.open_at(TARGET, changes=False)) as source:
            looks = source.look([row.moved_to for row in done if row.moved_to])
        found = {row.id: looks.get(row.moved_to) for row in done if row.moved_to}
        for row in done:
            look = found.get(row.id)
            assert (look.identity == row.identity) if look else (renumbered or not row.moved_to)

    def check_rerun(self) -> None:
        """I6: one more run does nothing."""
        content, done = self.content(), [row for row in self.rows() if row.state in ("done", "undone")]
        with self.no_change():
            assert self.clean().moved == ()
        assert (self.content(), [row for row in self.rows() if row.state in ("done", "undone")]) == (content, done)

    @contextmanager
    def no_change(self) -> Iterator[None]:
        """The server gets no changing command within this."""
        known = {name for name, _ in self.server.sessions()} if self.server else set[str]()
        yield
        assert self.changing(known) == []

    def changing(self, known: set[str]) -> list[str]:
        """Changing commands in sessions (of ours) that are not among those `known`."""
        found = []
        for name, lines in self.server.sessions(known) if self.server else ():
            commands = [line.decode("latin-1").strip().partition(" ")[2] for line in lines]
            if not (commands and commands[0].startswith("ID ")):
                found += [f"{name}: {command}" for command in commands if _CHANGING.fullmatch(command)]
        return found

    def settle(self) -> None:
        """Wait until the server has let go of every connection: it may be busy with a command whose client is gone."""
        if self.server:
            settle(self.server.plain_port)


def candidates(source: Source) -> list[Candidate]:
    return [
        Candidate(mail.place, mail.identity, message_id(mail.raw), mail.size, "advert", "words")
        for mail in source.scan(WANTED)
        if isinstance(mail, Mail)
    ]


def message_id(raw: bytes) -> str:
    found = re.search(rb"Message-ID: <(.+)>", raw)
    return found[1].decode() if found else ""


def settle(port: int, seconds: float = 20.0) -> None:
    """Wait until no connection to a server is open on the server's side (states 06 and 0A: TIME_WAIT and LISTEN)."""
    held = re.compile(rf" 0100007F:{port:04X} 0100007F:[0-9A-F]{{4}} (?!06|0A)")
    wait_for(lambda: not held.search(Path("/proc/net/tcp").read_text(encoding="ascii")), seconds)


def wait_for(done: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is so. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.002)
