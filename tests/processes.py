"""Waits for what a process does, instead of a time."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path


def await_children(process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Until it has begun its worker processes, or has ended."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end and path.exists() and not path.read_text():
        time.sleep(0.02)
