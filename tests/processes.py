"""Waits for what a process does, instead of a time."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path


def await_children(process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Until it has begun its worker processes, or has ended."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end and path.exists() and not path.read_text():
        time.sleep(0.02)


def running(module: str, of: int = 0) -> list[int]:
    """The processes that run a module of ours for the process `of`; 0: for this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent, command = (path / "stat").read_text().rpartition(")")[2].split()[1], (path / "cmdline").read_bytes()
        except OSError:
            continue
        if int(parent) == (of or os.getpid()) and module.encode() in command:
            found.append(int(path.name))
    return found
