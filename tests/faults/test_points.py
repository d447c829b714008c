"""F5 and F6: our own process dies at each of its steps, is told to stop at each command, or loses what was not on the disk."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mails
import pytest
from dovecot import PASSWORD, Dovecot

from faults import WHOLE
from faults.meddler import At, Meddler
from faults.points import Saved, copy, fork, killed_at
from faults.world import World
from filters import cli

pytestmark = pytest.mark.faults


def check_moved(world: World, before: list[tuple[str, bytes, str, int]]) -> None:
    """I1 to I6 after a clean rerun."""
    assert world.content() == world.moved(before)
    world.check_journal()
    world.check_rerun()


def check_back(world: World, before: list[tuple[str, bytes, str, int]]) -> None:
    """I1 to I6 after the rerun of an undo: everything is as it was, and stays."""
    assert world.content() == before
    assert {row.state for row in world.rows() if row.undoes is None and row.state != "failed"} == {"undone"}
    world.check_journal()
    world.check_rerun()


def test_f5_killed_at_every_step_a_run_loses_and_doubles_nothing(world: World, tmp_path: Path) -> None:
    before = world.content()
    saved = Saved(world, tmp_path / "saved")
    step = 1
    while killed_at(step, world.clean):
        world.check_unharmed(before)
        world.clean()
        check_moved(world, before)
        saved.restore()
        step += 1
    assert step > 20


def test_f5_killed_at_every_step_the_way_back_loses_and_doubles_nothing(world: World, tmp_path: Path) -> None:
    before = world.content()
    world.clean()
    saved = Saved(world, tmp_path / "saved")
    step = 1
    while killed_at(step, world.take_back):
        world.check_unharmed(before)
        world.take_back()
        check_back(world, before)
        saved.restore()
        step += 1
    assert step > 20


# F6

#: From one step or command to the next: of two tests that differ in little, each takes every other one.
STRIDE = 1 if WHOLE else 2


@pytest.mark.parametrize("torn", [False, True], ids=["dropped", "torn"])
def test_f6_after_a_power_loss_what_was_on_the_disk_is_enough(world: World, tmp_path: Path, torn: bool) -> None:
    """The journal's files as they were at the last COMMIT, which is on the disk when it returns; later writes are gone, or (torn)
    half of what came later is there."""
    before = world.content()
    saved = Saved(world, tmp_path / "saved")
    disk = tmp_path / "disk"
    step = 1 + torn * (STRIDE - 1)
    while killed_at(step, world.clean, at_commit=lambda: copy(world.state, disk)):
        world.check_unharmed(before)
        _lose_power(world.state, disk, torn)
        world.clean()
        check_moved(world, before)
        saved.restore()
        shutil.rmtree(disk, ignore_errors=True)
        step += STRIDE
    assert step > 20


@pytest.mark.parametrize("torn", [False, True], ids=["dropped", "torn"])
def test_f6_on_the_way_back_too(world: World, tmp_path: Path, torn: bool) -> None:
    before = world.content()
    world.clean()
    saved = Saved(world, tmp_path / "saved")
    disk = tmp_path / "disk"
    step = 1 + torn * (STRIDE - 1)
    copy(world.state, disk)
    while killed_at(step, world.take_back, at_commit=lambda: copy(world.state, disk)):
        world.check_unharmed(before)
        _lose_power(world.state, disk, torn)
        world.take_back()
        check_back(world, before)
        saved.restore()
        copy(world.state, disk)
        step += STRIDE
    assert step > 20


def _lose_power(state: Path, disk: Path, torn: bool) -> None:
    """Put the journal back to what was on the disk. Its shared memory is never on one."""
    if torn and disk.exists():
        for path in disk.glob("*-wal"):
            later = (state / path.name).read_bytes() if (state / path.name).exists() else b""
            half = (path.stat().st_size + len(later)) // 2
            path.write_bytes(path.read_bytes() + later[path.stat().st_size : half])
    copy(disk, state)
    for path in state.glob("*-shm") if state.exists() else ():
        path.unlink()


# F5: told to stop

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
MAILS = [mails.mail(number=1), mails.friend(2), mails.mail(number=3), mails.job_alert(4), mails.mail(number=5)]
MOVED = [raw for raw in MAILS if raw in (mails.mail(number=1), mails.mail(number=3), mails.mail(number=5))]


def words(command: str, world: World) -> list[str]:
    """A command line."""
    login = ["--password-command", f"printf %s {PASSWORD}"]
    if command == "undo":
        return ["undo", "--last", *login]
    location = f"imap://{world.user}@127.0.0.1:{world.port}/INBOX"
    return ["clean", location, "--trust-authserv", mails.TRUSTED, "--yes", "--no-brake", "--max-moves", "9999", *login]


def started(command: str, world: World, said: Path) -> int:
    """The command in a child process with all that it needs loaded; its process id."""
    child = fork()
    if child:
        return child
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ |= {"UNPITCH_STATE": str(world.state), "COLUMNS": "200"}
        sys.argv = ["unpitch", *words(command, world)]
        for number, name in ((1, "stdout"), (2, "stderr")):
            stream = said.with_suffix(f".{name}").open("w")
            os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def started_anew(command: str, world: World, said: Path) -> subprocess.Popen[bytes]:
    """The same as people start it."""
    environment = {**os.environ, "UNPITCH_STATE": str(world.state), "COLUMNS": "200"}
    with said.with_suffix(".stdout").open("w") as out, said.with_suffix(".stderr").open("w") as error:
        return subprocess.Popen(
            [sys.executable, "-m", "filters", *words(command, world)], stdout=out, stderr=error, env=environment
        )


def run(command: str, world: World, said: Path) -> str:
    """Run a command to its end; what it printed."""
    assert os.waitstatus_to_exitcode(os.waitpid(started(command, world, said), 0)[1]) == 0
    return said.with_suffix(".stdout").read_text()


@contextmanager
def behind(server: Dovecot, tmp_path: Path) -> Iterator[tuple[World, Meddler]]:
    user = server.new_user()
    for raw in MAILS:
        server.deliver(user, raw, flags="S")
    with Meddler(server.plain_port) as meddler:
        how = "copy" if server.hides_move else "move"
        yield World(how, server.maildir(user), tmp_path / "state", server, user, meddler.port), meddler


def check_truth(world: World, command: str, said: Path, code: int, stopped: int) -> None:
    """I7: the exit code is one of a run that was stopped or of one that was over; what is said to be moved was moved."""
    out, error = (said.with_suffix(f".{name}").read_text() for name in ("stdout", "stderr"))
    assert code in (stopped, 0), error
    assert "Traceback" not in error
    world.settle()
    there = len([raw for folder, raw, *_ in world.content() if folder == ".LinkedIn"])
    assert sorted({raw for _, raw, *_ in world.content()}) == sorted(MAILS)
    if command == "clean":
        moved, open_ones = (_number(text, out) for text in (r"(\d+) moved to LinkedIn", r"What became of (\d+) more"))
        assert moved <= there <= moved + open_ones
        assert not (open_ones and code in (0, 143))
    if code:
        assert "Stopped" in error


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


@pytest.mark.parametrize("how", ["move", "copy"])
@pytest.mark.parametrize("command", ["clean", "undo"])
@pytest.mark.parametrize("number", CODES)
def test_f5_told_to_stop_at_every_command_it_ends_with_a_true_report(
    request: pytest.FixtureRequest, tmp_path: Path, number: signal.Signals, command: str, how: str
) -> None:
    """The signal comes while the server has a command and has not answered it."""
    server: Dovecot = request.getfixturevalue("dovecot" if how == "move" else "dovecot_without_move")
    with behind(server, tmp_path) as (world, meddler):
        before = world.content()
        after = sorted((".LinkedIn" if raw in MOVED else folder, raw, *rest) for folder, raw, *rest in before)
        if command == "undo":
            run("clean", world, tmp_path / "first")
        saved = Saved(world, tmp_path / "saved")
        said, point, fired, codes = tmp_path / "said", 1 + (number == signal.SIGINT) * (STRIDE - 1), True, set()
        while fired:
            fired = False
            child, count = 0, 0

            def strike() -> None:
                nonlocal count, fired
                count += 1
                if count == point and child:  # noqa: B023
                    fired = True
                    os.kill(child, number)  # noqa: B023

            meddler.commands.clear()
            meddler.plan = {"": At(before=strike)}
            child = started(command, world, said)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            meddler.plan = {}
            check_truth(world, command, said, code, CODES[number])
            codes.add(code)
            if number == signal.SIGTERM:  # the batch is finished
                states = {row.state for row in world.rows()} if world.journal.exists() else set()
                assert not states & {"sent", "copied", "removing"}, (point, meddler.commands[-3:])
            touched = [one for one in meddler.commands if one.startswith(("CREATE", "UID MOVE", "UID COPY"))]
            if code:
                run(command, world, said)
            expected = after if command == "clean" else before
            assert [one[:3] for one in world.content()] == [one[:3] for one in expected], (point, meddler.commands)
            if touched:
                with world.no_change():
                    run("clean", world, said)
            saved.restore()
            point += STRIDE
        assert point > 12
        assert codes == {0, CODES[number]}


@pytest.mark.parametrize("how", ["move", "copy"])
@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("at", ["UID FETCH", "CREATE", "UID MOVE", "UID COPY", "UID STORE", "UID EXPUNGE"])
def test_f5_the_command_as_people_start_it_ends_like_that(
    request: pytest.FixtureRequest, tmp_path: Path, number: signal.Signals, how: str, at: str
) -> None:
    server: Dovecot = request.getfixturevalue("dovecot" if how == "move" else "dovecot_without_move")
    if (at == "UID MOVE" and how == "copy") or (at in ("UID COPY", "UID STORE", "UID EXPUNGE") and how == "move"):
        pytest.skip("no such command is sent")
    with behind(server, tmp_path) as (world, meddler):
        said = tmp_path / "said"
        running: list[subprocess.Popen[bytes]] = []
        meddler.plan = {at: [At(after=lambda: running[0].send_signal(number))]}
        running.append(started_anew("clean", world, said))
        code = running[0].wait(60)
        check_truth(world, "clean", said, code, CODES[number])
        assert code == CODES[number]
        run("clean", world, said)
        assert {world.where(raw)[0] for raw in MOVED} == {".LinkedIn"}
        assert len(world.content()) == len(MAILS)


def test_f5_on_sigterm_the_batch_is_finished_and_the_next_is_not_begun(dovecot: Dovecot, tmp_path: Path) -> None:
    with behind(dovecot, tmp_path) as (world, meddler):
        for number in range(100, 600):
            dovecot.deliver(world.user, mails.mail(number=number), flags="S")
        said = tmp_path / "said"
        running: list[subprocess.Popen[bytes]] = []
        meddler.plan = {"UID MOVE": [At(before=lambda: running[0].send_signal(signal.SIGTERM))]}
        running.append(started_anew("clean", world, said))
        assert running[0].wait(120) == 143, said.with_suffix(".stderr").read_text()
        assert len(meddler.sent("UID MOVE")) == 1
        assert len([folder for folder, *_ in world.content() if folder == ".LinkedIn"]) == 500
        assert "500 moved to LinkedIn" in said.with_suffix(".stdout").read_text()
        assert {row.state for row in world.rows()} == {"done"}
        assert "3 moved to LinkedIn" in run("clean", world, said)
