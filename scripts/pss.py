"""Runs a command and appends one JSON line to a file: wall seconds, peak PSS of the command and all its children, exit code.

pss.py FILE COMMAND...      PSS (proportional set size) counts memory shared by several processes once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path


def tree(root: int) -> list[int]:
    """A process and its descendants."""
    found = [root]
    for pid in found:
        try:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):  # of each thread
                found += map(int, children.read_text().split())
        except OSError:
            continue
    return found


def pss(pid: int) -> int:
    """PSS of one process in KiB; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def main() -> int:
    begin = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:])
    peak, over = 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not over.wait(0.03):
            peak = max(peak, sum(map(pss, tree(process.pid))))

    sampler = threading.Thread(target=sample)
    sampler.start()
    code = process.wait()
    wall = time.perf_counter() - begin
    over.set()
    sampler.join()
    with Path(sys.argv[1]).open("a") as file:
        file.write(json.dumps({"wall": round(wall, 3), "pss_mb": round(peak / 1024, 1), "rc": code}) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
