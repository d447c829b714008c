"""F4: the server's process is killed in the middle of a command about hundreds of messages, again and again."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from dovecot import Dovecot
from mailboxes import message

from faults import WHOLE
from faults.world import World
from filters.errors import TransientError

pytestmark = pytest.mark.faults

COUNT = 3_000 if WHOLE else 1_500


def imap_processes(server: Dovecot) -> list[int]:
    """The processes of this server, and of no other, that speak with clients who are logged in."""
    master = (server.home / "run" / "master.pid").read_text().strip()
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = status.read_text().partition("(")[2].rpartition(")")
            if name == "imap" and rest.split()[1] == master:
                found.append(int(status.parent.name))
    return found


@contextmanager
def killing(server: Dovecot, world: World, seed: int) -> Iterator[list[float]]:
    """Kill them at random moments from the first changing command on; gives the moments."""
    over, kills, dice = threading.Event(), list[float](), random.Random(seed)

    def kill() -> None:
        while not over.is_set() and not (world.root / ".Ads").is_dir():
            time.sleep(0.001)
        # The first one soon: a quiet machine moves all of it in less than the pauses that leave a busy one time to get on.
        while not over.wait(dice.uniform(0.0, 0.8 if kills else 0.05)):
            for pid in imap_processes(server):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills.append(time.monotonic())

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield kills
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ["dovecot", "dovecot_without_move"])
def test_f4_a_server_killed_in_the_middle_of_thousands(
    request: pytest.FixtureRequest, on_server: Callable[[Dovecot], World], kind: str, seed: int
) -> None:
    server: Dovecot = request.getfixturevalue(kind)
    world = on_server(server)
    for number in range(COUNT):
        world.deliver(message(number), "S")
    friend = message(COUNT, wanted=False)
    world.deliver(friend, "ST")  # somebody else marked it as deleted
    with killing(server, world, seed) as kills, suppress(TransientError):
        world.clean()
    assert kills
    world.settle()
    world.clean()
    content = world.content()
    assert sorted(raw for _, raw, *_ in content) == sorted([*(message(number) for number in range(COUNT)), friend])
    assert [(folder, flags) for folder, raw, flags, _ in content if raw == friend] == [("", "ST")]
    assert {(folder, flags) for folder, raw, flags, _ in content if raw != friend} == {(".Ads", "S")}
    assert {row.state for row in world.rows()} <= {"done", "failed"}
    assert sum(row.state == "done" for row in world.rows()) == COUNT
    with world.no_change():
        world.clean()
