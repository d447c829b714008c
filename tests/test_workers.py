"""Worker processes: whatever one mail does, exactly that mail fails, and the run goes on in order."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from filters.errors import FiltersError, InputError, NotFoundError
from filters.message import parse
from filters.workers import CPU_SECONDS, Failure, Workers
from tests.hostile import READ_BOMBS, REFUSED_BOMBS, WORKER_BOMBS, mail

TASK = "tests.test_workers:obedient"


def obedient(setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """A task that does what the mail says."""
    commands: dict[bytes, Callable[[], object]] = {
        b"loop": _loop,
        b"fill": lambda: bytearray(2_000_000_000),
        b"grow": lambda: [bytearray(10_000_000) for _ in range(1_000)],
        b"exit": lambda: os._exit(3),
        b"quit": sys.exit,
        b"kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        b"sleep": lambda: time.sleep(60),
        b"print": lambda: print("x" * 100_000),
        b"close": _live_on,
        b"write": lambda: Path("/tmp/unpitch-must-not-exist").write_text("x"),
        b"input": _refuse,
        b"raise": lambda: [][len("secret words of a mail")],
        b"odd": object,
        b"nap": lambda: time.sleep(1),
    }

    def task(raw: bytes) -> dict[str, Any]:
        result = commands[raw]() if raw in commands else None
        return {"size": len(raw), "setup": setup, **({"odd": result} if raw == b"odd" else {})}

    return task


def sometimes_slow(setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """A task that computes for ever, or sleeps, when it gets a mail for the first time, as on a machine that stood still."""

    def task(raw: bytes) -> dict[str, Any]:
        how, _, mark = raw.partition(b" ")
        with suppress(FileExistsError):
            os.mkdir(mark)
            {b"loop": _loop, b"sleep": lambda: time.sleep(60)}[how]()
        return {"size": len(raw)}

    return task


def _loop() -> None:
    while True:
        pass


def _live_on() -> None:
    os.closerange(0, 20)
    time.sleep(60)


def _refuse() -> None:
    raise InputError("no mail: kept unread")


def environment(setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """Tells what a child can see."""
    return lambda raw: {
        "environment": sorted(os.environ),
        "session": os.getsid(0) == os.getpid(),
        "limits": [
            resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)
        ],
        "numpy": "numpy" in sys.modules,
        "memory": int(Path("/proc/self/statm").read_text().split()[0]) * 4096,
    }


def reader(setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """Parses."""
    return lambda raw: {"text": len(parse(raw).text)}


def broken(setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """Cannot be made."""
    if setup:
        raise NotFoundError("no such model")
    raise KeyError("model")


def results(*mails: bytes, count: int = 2, task: str = TASK, wall_seconds: float = 30) -> list[tuple[int, Any]]:
    with Workers(task, {}, count, wall_seconds) as workers:
        return list(workers.map(enumerate(mails)))


OTHERS = [b"mail %d" % number for number in range(12)]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (b"loop", f"used more than {CPU_SECONDS} s of processor time"),
        (b"fill", "needed more than 512 MB of memory"),
        (b"grow", "needed more than 512 MB of memory"),
        (b"exit", "crashed the reading process (exit code 3)"),
        (b"quit", "crashed the reading process (exit code 0)"),
        (b"kill", "crashed the reading process (SIGKILL)"),
        (b"input", "no mail: kept unread"),
        (b"raise", "a defect in unpitch (IndexError)"),
        (b"odd", "a defect in unpitch (TypeError)"),
        (b"write", "a defect in unpitch (OSError)"),
    ],
)
def test_m7_exactly_the_hostile_mail_fails(command: bytes, reason: str) -> None:
    for at, count in (0, 1), (5, 2):
        mails = [*OTHERS[:at], command, *OTHERS[at:]]
        expected = [Failure(reason) if raw == command else {"size": len(raw), "setup": {}} for raw in mails]
        assert results(*mails, count=count) == list(enumerate(expected))


def test_one_hostile_mail_after_another() -> None:
    found = results(*[b"exit", b"kill", b"mail", b"fill"] * 4)
    assert [isinstance(result, Failure) for _, result in found] == [True, True, False, True] * 4


@pytest.mark.parametrize("command", [b"sleep", b"close"])
def test_what_neither_computes_nor_ends_is_stopped_by_the_clock(command: bytes) -> None:
    found = results(b"one", command, b"two", count=1, wall_seconds=3)  # a busy machine starts a child in 1 s
    assert [type(result) for _, result in found] == [dict, Failure, dict]


@pytest.mark.parametrize("how", [b"loop", b"sleep"])
def test_a_mail_that_took_too_long_is_tried_once_more(tmp_path: Path, how: bytes) -> None:
    mails = [how + b" %b/%d" % (os.fsencode(tmp_path), number) for number in range(2)]
    found = results(*mails, count=1, task="tests.test_workers:sometimes_slow", wall_seconds=4)
    assert found == [(number, {"size": len(raw)}) for number, raw in enumerate(mails)]


def test_a_task_that_prints_disturbs_nothing() -> None:
    assert results(b"print", b"x")[1][1] == {"size": 1, "setup": {}}


def test_m7_bombs_do_not_stop_the_run() -> None:
    bombs = [make() for make in (*REFUSED_BOMBS.values(), *READ_BOMBS.values(), *WORKER_BOMBS.values())]
    mails = [part for bomb in bombs for part in (bomb, mail())]
    found = [result for _, result in results(*mails, task="tests.test_workers:reader")]
    assert found[1::2] == [{"text": 6}] * len(bombs)
    failed = [isinstance(result, Failure) for result in found[::2]]
    assert failed == [True] * len(REFUSED_BOMBS) + [False] * len(READ_BOMBS) + [True] * len(WORKER_BOMBS)


def test_mail_of_all_sizes_comes_back_in_order() -> None:
    sizes = [0, 1, 65_535, 65_536, 1_048_576, 3, 200_000] * 6
    assert [result["size"] for _, result in results(*(b"x" * size for size in sizes))] == sizes


def test_setup_and_labels_pass_through() -> None:
    with Workers(TASK, {"model": "ü", "trusted": [["a", 1]]}, 1) as workers:
        found = list(workers.map([("label", b"abc")]))
    assert found == [("label", {"size": 3, "setup": {"model": "ü", "trusted": [["a", 1]]}})]


def test_a_pool_serves_again_after_a_caller_broke_off() -> None:
    with Workers(TASK, {}, 2) as workers:
        first = workers.map(enumerate(OTHERS * 3))
        assert next(first)[0] == 0
        first.close()
        assert [label for label, _ in workers.map(enumerate(OTHERS))] == list(range(len(OTHERS)))


def test_mail_is_taken_only_as_fast_as_it_is_read() -> None:
    taken = 0

    def mails() -> Iterator[tuple[int, bytes]]:
        nonlocal taken
        for taken in range(1_000):
            yield taken, b"x"

    with Workers(TASK, {}, 2) as workers:
        for number, _ in workers.map(mails()):
            assert taken - number <= 16


def test_memory_stays_flat() -> None:
    with Workers(TASK, {}, 2) as workers:
        tracemalloc.start()
        for _ in workers.map((number, bytes(200_000)) for number in range(200)):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16_000_000


def test_m7_a_child_sees_no_secret_and_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNPITCH_PASSWORD", "secret")
    seen = results(b"x", task="tests.test_workers:environment")[0][1]
    assert set(seen["environment"]) <= {"PYTHONPATH", "LD_LIBRARY_PATH", "LC_CTYPE"}
    assert seen["session"]
    assert seen["limits"] == [512 * 1024 * 1024, 0, 0]


def test_ordinary_work_is_far_from_the_limits() -> None:
    seen = results(b"x", task="tests.test_workers:environment")[0][1]
    assert not seen["numpy"]
    assert seen["memory"] < 128 * 1024 * 1024


@pytest.mark.parametrize(("setup", "text", "code"), [({"x": 1}, "no such model", 66), ({}, "KeyError: 'model'", 70)])
def test_a_task_that_cannot_be_made_is_an_error_of_the_run(setup: dict[str, Any], text: str, code: int) -> None:
    with Workers("tests.test_workers:broken", setup) as workers, pytest.raises(FiltersError, match=text) as caught:
        list(workers.map([(0, b"x")]))
    assert caught.value.exit_code == code


def test_closing_ends_children_that_are_busy() -> None:
    before = _children(os.getpid())
    workers = Workers(TASK, {}, 2)
    mails = workers.map([(0, b"x"), (1, b"sleep")])
    assert next(mails)[0] == 0
    assert _children(os.getpid()) > before
    mails.close()
    workers.close()
    assert _children(os.getpid()) == before


def _children(process: int) -> set[str]:
    return set(Path(f"/proc/{process}/task/{process}/children").read_text().split())


INTERRUPTED = """
import sys
from filters.workers import Workers
with Workers("tests.test_workers:obedient", {}, 2) as workers:
    for label, result in workers.map([(1, b"mail"), (2, b"sleep")]):
        print(label, flush=True)
"""


def test_ctrl_c_ends_parent_and_children_without_noise_from_a_child() -> None:
    root = Path(__file__).parent.parent
    parent = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    )
    assert parent.stdout
    assert parent.stdout.readline() == b"1\n"
    os.killpg(parent.pid, signal.SIGINT)
    _, noise = parent.communicate(timeout=60)
    assert noise.count(b"Traceback") == 1
    assert noise.rstrip().endswith(b"KeyboardInterrupt")


def test_children_end_when_the_parent_is_killed() -> None:
    root = Path(__file__).parent.parent
    parent = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.replace("sleep", "loop")], cwd=root, stdout=subprocess.PIPE
    )
    assert parent.stdout
    assert parent.stdout.readline() == b"1\n"
    children = _children(parent.pid)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + CPU_SECONDS + 60
    while any(_runs(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert children


def _runs(child: str) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{child}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_second_child_is_started_only_where_mail_piles_up() -> None:
    with Workers(TASK, {}, 2) as workers:
        workers.begin()
        workers.begin()
        assert len(list(workers.map([(number, b"x") for number in range(3)]))) == 3
        assert len(workers._children) == 1
        assert len(list(workers.map([(number, b"x" if number else b"nap") for number in range(50)]))) == 50
        assert len(workers._children) == 2
