"""F29: any sequence of runs, undos, faults and a neighbour's doings, and the invariants after each step.

UNPITCH_MACHINE_EXAMPLES and UNPITCH_MACHINE_STEPS say how many sequences, and how long; scripts/soak tries many more than CI.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from dovecot import Dovecot
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from mailboxes import message

from faults.meddler import CUT, At, Meddler
from faults.points import killed_at
from faults.world import TARGET, Content, World, message_id
from filters.errors import FiltersError
from filters.journal import open_journal
from filters.moving import Outcome
from filters.sources import Wanted

pytestmark = pytest.mark.faults

FOLDERS = ("", f".{TARGET}", ".Aside")
#: With these a message in the inbox is left where it is.
BUSY = set("FRDT")


class Account(RuleBasedStateMachine):
    """One account with its journal. The mailbox as the last step left it is what the next one is measured by."""

    server: Dovecot

    @initialize(count=st.integers(1, 4))
    def begin(self, count: int) -> None:
        self.room = tempfile.TemporaryDirectory()
        user = self.server.new_user()
        self.meddler = Meddler(self.server.plain_port).__enter__()
        how = "copy" if self.server.hides_move else "move"
        root = self.server.maildir(user)
        self.world = World(how, root, Path(self.room.name) / "state", self.server, user, self.meddler.port)
        self.number = 0
        for _ in range(count):
            self.deliver(True, "S")
        self.deliver(False, "ST")

    def teardown(self) -> None:
        if hasattr(self, "meddler"):
            self.meddler.__exit__()
            self.room.cleanup()

    # What others do

    @rule(advert=st.booleans(), flags=st.sampled_from(["", "S", "FS", "RS"]))
    def deliver(self, advert: bool, flags: str) -> None:
        self.number += 1
        self.world.deliver(message(self.number, wanted=advert), flags)

    @rule(
        which=st.integers(0, 50),
        what=st.sampled_from(["expunge", "+\\Flagged", "-\\Flagged", "+\\Deleted", "to .Aside", "to inbox", "back"]),
    )
    def neighbour(self, which: int, what: str) -> None:
        """Does something to one message, if we have not marked it."""
        there = [one for one in self.world.content() if "T" not in one[2]]
        if not there:
            return
        folder, raw, *_ = there[which % len(there)]
        if what != "expunge" and len(self.world.where(raw)) > 1:
            return  # one of two is ours to remove
        with self.server.neighbour(self.world.user) as client:
            client.create("Aside")
            client.select(folder.removeprefix(".") or "INBOX")
            found = client.uid("SEARCH", "UNDELETED", "HEADER", "Message-ID", f'"{message_id(raw)}"')[1][0].split()
            uid = found[-1].decode()
            if what == "expunge":
                client.uid("STORE", uid, "+FLAGS", "(\\Deleted)")
                client.uid("EXPUNGE", uid)
            elif what[0] in "+-":
                client.uid("STORE", uid, f"{what[0]}FLAGS", f"({what[1:]})")
            elif (target := {"to .Aside": "Aside", "to inbox": "INBOX"}.get(what, TARGET)) != (folder[1:] or "INBOX"):
                client.uid("MOVE", uid, target)

    @rule()
    def new_numbers(self) -> None:
        """The target is made anew: other numbers for the same messages."""
        with self.server.neighbour(self.world.user) as client:
            if client.select(TARGET)[0] == "OK":
                client.create("Saved")
                client.uid("MOVE", "1:*", "Saved")
                client.select("Saved")
                assert client.delete(TARGET)[0] == client.create(TARGET)[0] == "OK"
                client.uid("MOVE", "1:*", TARGET)
                client.select("INBOX")
                client.delete("Saved")

    # What we do

    @rule()
    def look_only(self) -> None:
        """I8."""
        before = self.server.snapshot(self.world.user)
        with self.world.no_change():
            source = self.world.open_at("INBOX", changes=False)
            try:
                assert not source.can_move
                list(source.scan(_EVERYTHING))
            finally:
                source.close()
        assert self.server.snapshot(self.world.user) == before

    @rule()
    def run(self) -> None:
        before = self.world.content()
        self.world.clean()
        self.check_at_rest(before, self.world.clean)
        movable = [
            one for one in self.world.content() if one[0] == "" and _is_advert(one[1]) and not BUSY & set(one[2])
        ]
        assert {message_id(raw) for _, raw, *_ in movable} <= self.kept()

    @rule()
    def take_back(self) -> None:
        before = self.world.content()
        self.world.take_back()
        self.check_at_rest(before, self.world.take_back)

    @rule(undo=st.booleans(), step=st.integers(1, 60))
    def killed(self, undo: bool, step: int) -> None:
        before = self.world.content()
        killed_at(step, self.world.take_back if undo else self.world.clean)
        self.check_unharmed(before)

    @rule(
        undo=st.booleans(),
        at=st.integers(1, 25),
        when=st.sampled_from(["before", "during", "after"]),
        for_good=st.booleans(),
    )
    def cut(self, undo: bool, at: int, when: str, for_good: bool) -> None:
        """The line goes at a command; for good means that nobody gets in again."""
        before = self.world.content()
        cuts = {
            "before": At(answer=CUT),
            "during": At(change=lambda answer: answer[: len(answer) // 2] + CUT),
            "after": At(change=lambda _: CUT),
        }
        self.meddler.__dict__["_times"].clear()
        self.meddler.plan = {"": [*[At()] * at, cuts[when], *[At(answer=CUT)] * (1000 if for_good else 0)]}
        try:
            (self.world.take_back if undo else self.world.clean)()
        except FiltersError:
            pass
        finally:
            self.meddler.plan = {}
        self.check_unharmed(before)

    # What must hold

    def check_unharmed(self, before: Content) -> None:
        """I1 and I3; and of a message there is one copy more at most, where we copy."""
        self.world.settle()
        now = self.world.content()
        had, has = (Counter(raw for _, raw, *_ in content) for content in (before, now))
        assert set(had) == set(has)
        assert not has - Counter(
            {raw: (2 if self.world.how == "copy" and _is_advert(raw) else had[raw]) for raw in had}
        )
        assert [one for one in now if not _is_advert(one[1])] == [one for one in before if not _is_advert(one[1])]

    def check_at_rest(self, before: Content, again: Callable[[], Outcome]) -> None:
        """After a run that came to its end: nothing is open, nothing twice (unless that is told), nothing left marked by us."""
        self.check_unharmed(before)
        now = self.world.content()
        rows = self.world.rows()
        assert not {row.state for row in rows} & {"planned", "sent", "copied", "removing"}
        doubtful = {row.message_id for row in rows if row.state == "doubt"}
        for raw in {raw for _, raw, *_ in now if message_id(raw) not in doubtful}:
            was, is_now = ([one for one in content if one[1] == raw] for content in (before, now))
            assert len(is_now) == 1
            # flags and date are those it had; marked as deleted only if it was before, where it was copied by us
            assert is_now[0][2] in {flags for _, _, flags, _ in was} | {
                flags.replace("T", "") for _, _, flags, _ in was
            }
            assert is_now[0][3] in {date for *_, date in was}
        with self.world.no_change():
            assert again().moved == ()
        assert self.world.content() == now

    def kept(self) -> set[str]:
        """Message-IDs of what was taken back."""
        with open_journal(self.world.journal) as journal:
            runs = [row for run in journal.runs() for row in journal.moves(run.id)]
            kept = {identity for run in journal.runs() for identity in journal.kept(run.account)}
        return {row.message_id for row in runs if row.identity in kept or row.state == "doubt"}


def _is_advert(raw: bytes) -> bool:
    return b"X-Wanted: yes" in raw


_EVERYTHING = Wanted(("From",), lambda _: True)


@pytest.mark.parametrize("how", ["dovecot", "dovecot_without_move"])
def test_f29_no_sequence_of_runs_undos_faults_and_neighbours_does_harm(
    request: pytest.FixtureRequest, how: str
) -> None:
    server: Dovecot = request.getfixturevalue(how)

    class Here(Account):
        pass

    Here.server = server
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Here,
        settings=settings(
            max_examples=int(os.environ.get("UNPITCH_MACHINE_EXAMPLES", "12")),
            stateful_step_count=int(os.environ.get("UNPITCH_MACHINE_STEPS", "15")),
            deadline=None,
            database=None,
            print_blob=True,
            phases=list(Phase) if os.environ.get("UNPITCH_MACHINE_SHRINK") else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
