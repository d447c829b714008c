"""A real Dask scheduler with workers, on loopback only."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SECONDS = 120


@contextmanager
def local_cluster(room: Path, workers: int) -> Iterator[str]:
    """The address of a scheduler; its workers, with one thread each, keep what they keep below `room`, and in dask.log what they say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    started = [_start(room, "dask_scheduler", "--host", address, "--no-show")]
    try:
        _await(lambda: _listens(port), "the scheduler does not listen")
        words = ["--host", "127.0.0.1", "--nworkers", str(workers), "--nthreads", "1", "--local-directory", str(room)]
        started.append(_start(room, "dask_worker", address, *words))
        said = room / "dask.log"
        _await(lambda: said.read_bytes().count(b"Registered to:") >= workers, f"workers are missing: see {said}")
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(_SECONDS)


def _start(room: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.{name}", *words, "--no-dashboard"]
    with (room / "dask.log").open("ab") as said:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, cwd=room)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _await(what: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + _SECONDS
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.05)
