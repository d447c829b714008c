"""What scripts/bench_archive runs; see there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cluster import local_cluster

DIFFERENT = 8
TRUST = "mx.example.org:below"


def make(folder: Path, messages: int, shards: int) -> list[str]:
    """The shards, of which `DIFFERENT` have content of their own."""
    each = messages // shards
    paths = []
    for number in range(shards):
        path = folder / f"{number:03}.mbox"
        if number < DIFFERENT:
            words = [path, "--count", str(each), "--format", "mbox", "--seed", str(number + 1)]
            subprocess.run(
                [sys.executable, "../shared/bench/genmail.py", *map(str, words)], check=True, stdout=subprocess.DEVNULL
            )
        else:
            os.link(folder / f"{number % DIFFERENT:03}.mbox", path)
        paths.append(str(path))
    return paths


def measure(name: str, room: Path, shards: list[str], messages: int, *words: str, cores: str = "") -> dict[str, Any]:
    """Run one audit, and print what it took."""
    result, found = room / "pss.jsonl", room / f"{name.replace(' ', '-')}.jsonl"
    command = [sys.executable, "scripts/pss.py", str(result), ".venv/bin/unpitch", "audit", *shards]
    command += ["--format", "jsonl", "--trust-authserv", TRUST, *words]
    if cores:
        command = ["taskset", "-c", cores, *command]
    environment = os.environ | {"UNPITCH_STATE": str(room / "state"), "UNPITCH_CONFIG": str(room / "none")}
    with found.open("wb") as out:
        subprocess.run(command, check=True, stdout=out, env=environment)
    took = json.loads(result.read_text().splitlines()[-1])
    digest = hashlib.sha256(found.read_bytes().replace(str(room).encode(), b"")).hexdigest()
    rate = messages / took["wall"]
    print(f"{name:34} {took['wall']:8.1f} s {rate:8,.0f} messages/s {took['pss_mb']:7.0f} MB  {digest[:12]}")
    return took | {"digest": digest, "rate": rate}


def main(messages: int, count: int) -> int:
    with tempfile.TemporaryDirectory(prefix="unpitch-archive-") as name:
        room = Path(name)
        begin = time.monotonic()
        shards = make(room, messages, count)
        print(f"{messages:,} messages in {count} shards, made in {time.monotonic() - begin:.0f} s")
        part = max(1, count // 5)
        few, some = shards[:part], messages * part // count
        one = measure("one process, one core, a fifth", room, few, some, "--jobs", "1", cores="0")
        measure("one process, a fifth", room, few, some, "--jobs", "1")
        small = measure("two processes, a fifth", room, few, some, "--jobs", "2")
        two = measure("two processes", room, shards, messages, "--jobs", "2")
        with local_cluster(room, 2) as scheduler:
            dask = measure("Dask, two workers", room, shards, messages, "--scheduler", scheduler)
        slope = (two["wall"] - small["wall"]) / (messages - some)
        print(
            f"two processes on two cores are {one['wall'] / small['wall']:.2f} times as fast as one process on one core"
        )
        print(f"Dask takes {dask['wall'] / two['wall']:.2f} times as long as processes")
        print(f"memory: {small['pss_mb']:.0f} MB for {some:,} messages, {two['pss_mb']:.0f} MB for {messages:,}")
        print(f"10,000,000 messages: {slope * 1e7 / 3600:.1f} hours by the slope, on these two cores")
        same = two["digest"] == dask["digest"] and one["digest"] == small["digest"]
        print("the findings are the same, byte for byte" if same else "THE FINDINGS DIFFER")
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
