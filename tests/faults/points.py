"""Our own process dies: at numbered steps that it counts itself (P5), or by a signal while a server answers a command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from faults.world import World

#: Library functions that leave a mark outside of our process, beside what the journal's database writes.
_STEPS = {"rename", "link", "unlink", "mkdir", "open", "fsync", "sendall"}


def killed_at(
    step: int,
    action: Callable[[], object],
    *,
    at_commit: Callable[[], object] = lambda: None,
    how: int = signal.SIGKILL,
) -> bool:
    """Run `action` in a child process that is killed right after its n-th step (which is also right before the next); False when
    it ended before. `at_commit` is called, in the child, after each COMMIT of the journal."""
    child = fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    count = 0

    def watch(frame: FrameType, event: str, called: Any) -> None:
        nonlocal count
        if event != "c_return":
            return
        database = frame.f_code.co_name == "transaction"  # of filters.database
        if database and not called.__self__.in_transaction:
            sys.setprofile(None)
            at_commit()
            sys.setprofile(watch)
        if database or called.__name__ in _STEPS:
            count += 1
            if count == step:
                os.kill(os.getpid(), how)

    try:
        sys.setprofile(watch)
        action()
        sys.setprofile(None)
    except BaseException as error:
        sys.setprofile(None)
        os.write(2, repr(error).encode())
        os._exit(1)
    os._exit(0)


def fork() -> int:
    """A child process like this one: a new interpreter for each step would take minutes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the test runner
        return os.fork()


class Saved:
    """The mailbox and the journal of a world as they are now, to be put back."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        copy(world.root, folder / "mail")
        copy(world.state, folder / "state")

    def restore(self) -> None:
        """Put both back."""
        self._world.settle()
        copy(self._folder / "mail", self._world.root)
        copy(self._folder / "state", self._world.state)


def copy(source: Path, target: Path) -> None:
    """With owners and times; of what is not there, nothing."""
    shutil.rmtree(target, ignore_errors=True)
    if source.exists():
        subprocess.run(["/bin/cp", "-a", str(source), str(target)], check=True)
