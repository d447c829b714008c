"""Several accounts watched at once: each by a process of its own, so that none can disturb another, and signals, journal and memory are
those of one account."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer

from filters.cli.ending import ENDING
from filters.cli.options import warn
from filters.errors import EXIT_CODES, LASTING
from filters.systemd import alive, notify

#: Seconds between looks at the processes; until one that crashed is begun again; that one gets to finish its batch.
_LOOK, _AGAIN, _FINISH = 2.0, 300.0, 60.0


def run(names: Sequence[str], options: Callable[[str], Sequence[str]]) -> None:
    """Watch all of them, each with the `options` for its name, until SIGTERM, or until each has ended for good; then raises typer.Exit with the first code."""
    with _processes() as running:
        due = dict.fromkeys(names, 0.0)
        codes: dict[str, int] = {}
        while due or running:
            for name in [name for name, when in due.items() if when <= time.monotonic()]:
                with ENDING.hold():
                    running[name] = _start(name, options(name))
                    del due[name]
            for name in [name for name, one in running.items() if one.poll() is not None]:
                code = running.pop(name).returncode
                if code in LASTING:
                    codes[name] = code
                    warn(f"{name} is not watched any more ({EXIT_CODES[code]}); the other accounts are.")
                else:
                    due[name] = time.monotonic() + _AGAIN
                    warn(
                        f"The process that watches {name} ended ({code}); it is begun again in {_AGAIN / 60:.0f} minutes."
                    )
            alive()
            notify(f"STATUS={len(running)} of {len(names)} accounts watched")
            ENDING.pause(_LOOK)
    raise typer.Exit(next(iter(codes.values())))


def _start(name: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Ctrl-C reaches us alone, who pass it on; so does systemd's notice."""
    environment = {key: value for key, value in os.environ.items() if key not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    command = [sys.executable, "-m", "filters", "watch", name, f"--parent={os.getpid()}", *options]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)


@contextmanager
def _processes() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """However it ends, all are asked to end, and waited for."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        yield running
    finally:
        for one in running.values():
            one.terminate()
        end = time.monotonic() + _FINISH
        for one in running.values():
            try:
                one.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:  # the journal knows what it was at
                one.kill()
