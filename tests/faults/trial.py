"""One trial: a small mailbox, a run through the cutting proxy, clean reruns until nothing changes any more, and the checker."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dovecot import PASSWORD, WITHOUT_MOVE, Dovecot
from dovecot import missing as no_dovecot
from mailboxes import message

from faults import checker, courier
from faults.checker import Message, Server, Violation
from faults.courier import Courier
from faults.proxy import IN, OUT, Cut, Proxy
from filters.errors import FiltersError
from filters.journal import Candidate, open_journal
from filters.moving import Outcome, move, reconcile, undo
from filters.sources import Mail, Source, Wanted
from filters.sources.files import message_id_of
from filters.sources.imap import open_imap
from filters.sources.patience import Patience

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
TARGET = "LinkedIn"
SENDER = b"inmail-hit-reply@linkedin.com"
WANTED = Wanted(("From", "Message-ID"), lambda block: SENDER in block)
STRATEGIES = ("move", "copy", "courier")
KINDS = ("clean", "undo")
#: Dovecot's processes serve one connection after the other, which is twice as fast as a new one for each.
_PROCESSES = "service imap-login {\n service_count = 0\n}\nservice imap {\n service_count = 1000\n}"
#: Reruns after which a mailbox must be at rest.
_RERUNS = 5


def wanted(number: int) -> bytes:
    """A small mail that is to be moved."""
    return message(number, wanted=False).replace(b"ann@example.org", SENDER)


def ours(one: Message) -> bool:
    """Whether a message is to be moved."""
    return SENDER in one.raw.partition(b"\r\n\r\n")[0]


def start(strategy: str) -> Server:
    """A server for a strategy, to be used as a context."""
    if strategy == "courier":
        return Courier()
    return Dovecot(capability=WITHOUT_MOVE if strategy == "copy" else "", more=_PROCESSES)


@dataclass
class Tally:
    """What came of trials, to be added up."""

    trials: int = 0
    cuts: int = 0
    reruns: Counter[int] = field(default_factory=Counter)
    """How many trials needed so many reruns that changed something."""
    found: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    """What is no violation, but worth telling."""

    def add(self, other: Tally) -> None:
        """Put another one's numbers to these."""
        self.trials += other.trials
        self.cuts += other.cuts
        self.reruns += other.reruns
        self.found += other.found
        self.notes += other.notes
        self.examples += other.examples[: max(0, 40 - len(self.examples))]

    def note(self, recipe: str, violations: Sequence[Violation]) -> None:
        """Count what a trial found; a kind counts once for a trial."""
        self.found += Counter({one.kind for one in violations})
        if violations and len(self.examples) < 40:
            self.examples.append(f"{recipe}\n" + "\n".join(f"    {one.kind}: {one.text}" for one in violations))


class Mailbox:
    """One user of one server, behind a proxy, whose mailbox and journal can be saved and put back."""

    def __init__(self, server: Server, proxy: Proxy, *, user: str = "") -> None:
        self.server, self.proxy = server, proxy
        self.user = user or server.new_user()
        self.state = server.home / f"state-{self.user}"
        self.journal = self.state / "journal.sqlite3"
        self._saved = server.home / f"saved-{self.user}"
        self.nameless: list[bytes] = []
        """What a scan brought without a Message-ID; none of it was ever delivered."""

    def spelt(self, folder: str) -> str:
        """As the server spells a folder."""
        prefix = self.server.prefix
        return folder if folder == "INBOX" or folder.startswith(prefix) else prefix + folder

    def fill(self, *, alone: bool = False) -> None:
        """Three to move, or one alone; a friend's; and one that another client has marked as deleted."""
        for raw, flags in (
            (wanted(1), "S"),
            (message(8, wanted=False), "FS"),
            (message(9, wanted=False), "ST"),
            *(() if alone else ((wanted(2), ""), (wanted(3), "S"))),
        ):
            self.server.deliver(self.user, raw, flags=flags)
        checker.look(self.server, self.user)  # gives them their numbers

    def look(self) -> list[Message]:
        """Everything there is, when the server is done with what it was told."""
        self.proxy.settle()
        return checker.look(self.server, self.user)

    def save(self, name: str) -> None:
        """Keep the mailbox and the journal as they are."""
        self.proxy.settle()
        shutil.rmtree(self._saved / name, ignore_errors=True)
        (self._saved / name).mkdir(parents=True)
        self.state.mkdir(exist_ok=True)
        _copy(self.server.maildir(self.user), self._saved / name / "mail")
        _copy(self.state, self._saved / name / "state")

    def restore(self, name: str) -> None:
        """Put them back."""
        self.proxy.settle()
        _copy(self._saved / name / "mail", self.server.maildir(self.user))
        _copy(self._saved / name / "state", self.state)

    def open_at(self, folder: str) -> Source:
        """The real source, through the proxy."""
        url = f"imap://{self.user}@127.0.0.1:{self.proxy.port}/{folder}"
        return open_imap(url, lambda _: PASSWORD, changes=True, patience=Patience(first=0.0, quiet=0.3))

    def clean(self) -> Outcome:
        """What `unpitch clean` does."""
        with (
            closing(self.open_at("INBOX")) as source,
            open_journal(self.journal) as journal,
            journal.run(source.account, "clean", NOW) as run,
        ):
            reconcile(source, journal)
            found = [one for one in source.scan(WANTED) if isinstance(one, Mail)]
            self.nameless += [one.raw for one in found if not one.identity]
            candidates = [
                Candidate(one.place, one.identity, message_id_of(one.raw), one.size, "advert", "words") for one in found
            ]
            return move(source, journal, run, candidates, TARGET)

    def undo(self) -> Outcome:
        """What `unpitch undo` does with all runs that ever moved something."""
        with open_journal(self.journal) as journal:
            runs = [one for one in journal.runs() if one.command == "clean"]
            rows = [row for one in runs for row in journal.moves(one.id)]
            with journal.run(runs[0].account, "undo", NOW) as run:
                return undo(self.open_at, journal, run, rows)


def _copy(source: Path, target: Path) -> None:
    """With owners and times."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["/bin/cp", "-a", str(source), str(target)], check=True)


class Stage:
    """A server of one strategy with one mailbox on it, for any number of trials."""

    def __init__(self, strategy: str, *, alone: bool = False) -> None:
        self.strategy, self._alone = strategy, alone
        self._seen: tuple[int, list[Message]] | None = None

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            server = stack.enter_context(start(self.strategy))  # type: ignore[attr-defined]
            self.proxy = stack.enter_context(Proxy(server.plain_port))
            self.box = Mailbox(server, self.proxy)
            self.box.fill(alone=self._alone)
            self.before = self.box.look()
            self.box.save("clean")
            self.sizes: dict[str, dict[str, int]] = {}
            for kind, run in (("clean", self.box.clean), ("undo", self.box.undo)):
                self.proxy.plan()
                run()
                self.sizes[kind] = dict(self.proxy.passed)
                if kind == "clean":
                    self.box.save("undo")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def trial(self, kind: str, cuts: Sequence[Cut]) -> Tally:
        """One run of a kind with these cuts, and what came of it."""
        self.box.restore(kind)
        self.proxy.plan(cuts)
        self._seen = None
        run = {"clean": self.box.clean, "undo": self.box.undo}[kind]
        found = self._attempt(run)
        reruns = -1
        for count in range(_RERUNS):
            self.proxy.lift()
            told, fired = len(self.proxy.changing()), self.proxy.fired
            more = self._attempt(run)
            found += more
            if len(self.proxy.changing()) == told and not self.failed and fired == self.proxy.fired:
                reruns = count
                break
        else:
            found.append(Violation("restless", f"it is not at rest after {_RERUNS} reruns"))
        if reruns > self.proxy.fired:
            found.append(Violation("restless", f"{reruns} reruns after {self.proxy.fired} cuts"))
        self.proxy.calm()
        if kind == "undo":
            told = len(self.proxy.changing())
            found += self._attempt(self.box.clean)
            if self.failed or self.proxy.changing()[told:]:
                found.append(Violation("restless", f"after an undo, a run sent {self.proxy.changing()[told:]}"))
        found += self._check(kind)
        tally = Tally(trials=1, cuts=self.proxy.fired, reruns=Counter([reruns]) if self.proxy.fired else Counter())
        tally.note(f"strategy={self.strategy} kind={kind} cuts={list(cuts)}", found)
        return tally

    def _attempt(self, run: Callable[[], Outcome]) -> list[Violation]:
        """Run, and compare what it says with what is."""
        self.failed = False
        try:
            outcome = run()
        except FiltersError:
            self.failed = True
            return []
        except Exception as error:
            self.failed = True
            return [Violation("crashed", repr(error))]
        return checker.truth(outcome, self._look(), self.box.spelt) if outcome.moved or outcome.left else []

    def _look(self) -> list[Message]:
        """The mailbox; the last look still holds as long as nobody sent a command that changes anything."""
        self.proxy.settle()
        told = len(self.proxy.changing())
        if not self._seen or self._seen[0] != told:
            self._seen = told, self.box.look()
        return self._seen[1]

    def _check(self, kind: str) -> list[Violation]:
        after = self._look()
        target = self.box.spelt(TARGET)
        return [
            *checker.content(self.before, after),
            *checker.placing(self.before, after, ours, target if kind == "clean" else ""),
            *checker.journal(self.box.journal, after, self.box.spelt),
            *checker.one_row_each(self.box.journal, after, ours, target),
            *checker.forbidden(self.proxy.sessions()),
        ]


def single_cuts(stage: Stage, kind: str, direction: str, *, every: int, first: int = 1) -> list[list[Cut]]:
    """A cut after each `every`th byte, once with leave to reconnect and once without. A little longer than the measured run."""
    last = stage.sizes[kind][direction] + every
    return [[Cut(direction, after, refuse)] for after in range(first, last, every) for refuse in (False, True)]


def double_cuts(stage: Stage, count: int, seed: int) -> list[tuple[str, list[Cut]]]:
    """Random ones: the second falls into what the first one leads to."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        kind = rng.choice(KINDS)
        directions = rng.choice((OUT, IN)), rng.choice((OUT, IN))
        places = [rng.randint(1, stage.sizes[kind][one]) for one in directions]
        cuts = [Cut(one, place, rng.random() < 0.4) for one, place in zip(directions, places, strict=True)]
        found.append((kind, cuts))
    return found


def missing(strategy: str) -> str:
    """Why a strategy cannot be tried here; "" when it can."""
    return courier.missing() if strategy == "courier" else no_dovecot()
