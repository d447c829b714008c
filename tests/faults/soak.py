"""Runs of clean and undo, cut at random, while a neighbour works on the same account; the checker after each (F16, F24, F25, F30)."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from faults import checker
from faults.checker import Message, Violation
from faults.neighbour import Neighbour
from faults.proxy import IN, OUT, Cut, Proxy
from faults.trial import TARGET, Mailbox, Tally, ours, start, wanted
from filters.errors import FiltersError
from filters.moving import Outcome

#: Rounds in one mailbox, before a new one is taken.
_ROUNDS = 25
_RERUNS = 8
#: What the neighbour does to mail that is to be moved.
FLAG, EXPUNGE, TAKE = "flag", "expunge", "take"


@dataclass
class Life:
    """One mailbox and all that ever came into it."""

    box: Mailbox
    strategy: str
    rng: random.Random
    rate: float
    delivered: dict[str, bytes] = field(default_factory=dict)
    """By Message-ID."""
    meddled: dict[str, str] = field(default_factory=dict)
    """What the neighbour did, or may have done, to a message."""
    sizes: dict[str, int] = field(default_factory=lambda: {OUT: 700, IN: 5000})
    notes: Counter[str] = field(default_factory=Counter)
    told: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    flagged: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    """What the neighbour moved elsewhere at any time, also what it dealt with otherwise later on."""
    failed: bool = False

    def deliver(self) -> None:
        for _ in range(self.rng.randint(1, 4)):
            number = 1000 + len(self.delivered)
            raw = wanted(number)
            self.box.server.deliver(self.box.user, raw, flags=self.rng.choice(["S", ""]))
            self.delivered[f"<{number}@example.org>"] = raw

    def cuts(self) -> list[Cut]:
        """None, one or two; near as likely within what changes something as within what only reads."""
        found = []
        for _ in range(self.rng.choice([0, 1, 1, 1, 2, 2])):
            direction = self.rng.choice([OUT, IN])
            after = self.rng.randint(1, max(2, self.sizes[direction]))
            found.append(Cut(direction, after, self.rng.random() < 0.3))
        return found

    @contextmanager
    def meddling(self, neighbour: Neighbour) -> Iterator[None]:
        """Meanwhile somebody flags, expunges or moves a message that is to be moved."""
        now = [one for one in self._look() if ours(one)]
        chosen = self.rng.sample(now, min(len(now), self.rng.choice([0, 0, 1, 2])))
        acts = [(one, self.rng.choice([FLAG, EXPUNGE, TAKE]), self.rng.random() * 0.08) for one in chosen]
        for one, act, _ in acts:
            self.taken |= {one.message_id} if act == TAKE else set()
            self.meddled.setdefault(one.message_id, act)
            if act != FLAG:
                self.meddled[one.message_id] = act

        def work() -> None:
            for one, act, pause in acts:
                time.sleep(pause)
                elsewhere = f"{self.box.server.prefix}Elsewhere"
                if act == FLAG:
                    flagged = neighbour.flag(one.folder, one.uid)
                    self.flagged |= {one.message_id} if flagged else set()
                elif act == EXPUNGE:
                    neighbour.expunge(one.folder, one.uid)
                else:
                    neighbour.take(one.folder, one.uid, elsewhere)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join(60)

    def round(self, neighbour: Neighbour, other: Neighbour) -> tuple[Tally, list[Violation]]:
        """One run with its faults and reruns, and what the checker says."""
        self.deliver()
        kind = "undo" if self.box.journal.exists() and self.rng.random() < 0.3 else "clean"
        cuts = self.cuts()
        self.box.proxy.plan(cuts)
        found: list[Violation] = []
        with neighbour.busy(self.rate), self.meddling(other):
            found += self._attempt(kind)
            reruns = self._at_rest(kind, found)
        now = self.box.look()
        found += self._checked(now) + neighbour.check(now)
        found += checker.forbidden(self.box.proxy.sessions())
        for direction in (OUT, IN):
            self.sizes[direction] = max(700, self.box.proxy.passed[direction] // (reruns + 2))
        fired = self.box.proxy.fired
        tally = Tally(trials=1, cuts=fired, reruns=Counter([reruns]) if fired else Counter())
        lines = "".join(f"\n    sent: {session.decode('latin-1')!r}" for session in self.box.proxy.sessions())
        lines += "".join(f"\n    nameless: {raw[:300]!r}" for raw in self.box.nameless)
        self.box.nameless.clear()
        tally.note(f"kind={kind} cuts={cuts} meddled={self.meddled}\n    neighbour: {neighbour.log[-6:]}{lines}", found)
        return tally, found

    def _at_rest(self, kind: str, found: list[Violation]) -> int:
        """Run again until nothing changes any more; how many of the reruns changed something."""
        proxy = self.box.proxy
        for count in range(_RERUNS):
            proxy.lift()
            told, fired = len(proxy.changing()), proxy.fired
            found += self._attempt(kind)
            if not self.failed and proxy.changing()[told:] == [] and fired == proxy.fired:
                return count
        found.append(Violation("restless", f"not at rest after {_RERUNS} reruns: {proxy.changing()[-6:]}"))
        return _RERUNS

    def _attempt(self, kind: str) -> list[Violation]:
        self.failed = False
        try:
            outcome = self.box.clean() if kind == "clean" else self.box.undo()
        except FiltersError as error:
            self.failed = True
            self.notes[f"{type(error).__name__}: {str(error)[:80]}"] += 1
            return []
        except Exception as error:
            self.failed = True
            return [Violation("crashed", repr(error))]
        return self._truth(outcome)

    def _truth(self, outcome: Outcome) -> list[Violation]:
        """I7, for mail that nobody else touches."""
        untouched = Outcome(
            tuple(one for one in outcome.moved if one.message_id not in self.meddled),
            tuple(one for one in outcome.left if one.message_id not in (*self.meddled, "")),  # "": Courier's stand-in
        )
        if not untouched.moved:
            return []
        return checker.truth(untouched, [one for one in self._look() if ours(one)], self.box.spelt)

    def _look(self) -> list[Message]:
        """At the two folders that nobody deletes."""
        self.box.proxy.settle()
        return checker.look(self.box.server, self.box.user, ["INBOX", self.box.spelt(TARGET)])

    def _checked(self, now: list[Message]) -> list[Violation]:
        found = []
        there = Counter(one.message_id for one in now if ours(one))
        for name, raw in self.delivered.items():
            act, count = self.meddled.get(name, ""), there[name]
            places = [f"{one.folder} {one.key}" for one in now if one.message_id == name]
            if count < 1 and act != EXPUNGE:
                found.append(Violation("lost", f"{name} ({act})"))
            if count > 1 and name in self.taken:
                self.told["there twice, because somebody moved it elsewhere while we moved it"].add(name)
            elif count > 1:
                found.append(Violation("duplicated", f"{name} ({act}): {places}"))
            if any(one.raw != raw for one in now if one.message_id == name):
                found.append(Violation("altered", f"{name}: other bytes"))
            if (
                act == FLAG
                and name in self.flagged
                and not any("\\Flagged" in one.flags for one in now if one.message_id == name)
            ):
                # also with MOVE: Dovecot says OK to the flag, and moves the message as it was a moment before
                self.told["flagged by somebody while it was on its way, and the flag is gone"].add(name)
        usual = [one for one in now if ours(one) and one.message_id not in self.meddled]
        marked = [one for one in usual if "\\Deleted" in one.flags]
        found += [Violation("deleted", f"{one.message_id} in {one.folder}") for one in marked]
        target = self.box.spelt(TARGET)
        found += [
            Violation("altered", f"{one.message_id} is in {one.folder}")
            for one in usual
            if one.folder not in ("INBOX", target)
        ]
        rows = checker.journal(self.box.journal, now, self.box.spelt) + checker.one_row_each(
            self.box.journal, now, ours, target
        )
        return found + [one for one in rows if not any(name in one.text for name in self.meddled)]


def soak(strategy: str, seed: int, seconds: float, rate: float = 50.0) -> Tally:
    """Rounds for so long; each example in the tally names the seed that makes it again, as far as timing allows."""
    end, whole, number = time.monotonic() + seconds, Tally(), 0
    with start(strategy) as server, Proxy(server.plain_port) as proxy:  # type: ignore[attr-defined]
        while time.monotonic() < end:
            number += 1
            life = Life(Mailbox(server, proxy), strategy, random.Random(f"{seed}-{number}"), rate)
            life.box.fill()
            life.delivered = {one.message_id: one.raw for one in life.box.look() if ours(one)}
            folders = ["INBOX", life.box.spelt("Neighbours")]
            with (
                Neighbour(server, life.box.user, folders=folders, seed=seed * 1000 + number) as neighbour,
                Neighbour(server, life.box.user, seed=0) as other,
            ):
                neighbour.share(folders[1])
                for turn in range(_ROUNDS):
                    tally, found = life.round(neighbour, other)
                    tally.examples = [
                        f"soak strategy={strategy} seed={seed} life={number} round={turn} {one}"
                        for one in tally.examples
                    ]
                    whole.add(tally)
                    if found or time.monotonic() > end:
                        break  # one violation leads to the next
            whole.notes += life.notes + Counter({text: len(names) for text, names in life.told.items()})
    return whole
