"""The first audit of 100,000 messages, 3 % of them LinkedIn's, on a private Dovecot: unpitch, a bare client that fetches the same bytes
and does nothing with them, and imapfilter with the equivalent rule (whose From names linkedin.com, and which phrases their bodies hold;
nothing is moved). In turn, on loopback, and behind a proxy with 50 ms of delay each way.

Whole processes are timed, from start to end. Warm: Dovecot has read the headers before that each of them asks for; first contact: only
From, as SEARCH needs it.

Usage: scripts/bench_imap audit, which makes the mailbox and starts Dovecot by ../shared/bench.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nights_bench import Proxy

from filters import senders

ROOT = Path(__file__).parent.parent
BENCH = ROOT.parent / "shared" / "bench"
FIELDS = " ".join(senders.load().header_fields)
PASSWORD = "secret"
HEADERS = f"UID BODY.PEEK[HEADER.FIELDS ({FIELDS})]<0.4096>"
WHOLE = "UID INTERNALDATE FLAGS RFC822.SIZE BODY.PEEK[]<0.1048576>"
NO_MOVE = """dofile(os.getenv("PERF_RULES") .. "/common.lua")
li = acc.INBOX:contain_from('linkedin.com')
if #li > 0 then r = li:match_body('(?i)' .. P1 .. '|' .. P2); print(#r) end
"""


@dataclass(frozen=True)
class Run:
    """Seconds on the clock, seconds of processor time with all children, and what was printed."""

    clock: float
    processor: float
    said: str


def run(command: list[str], environment: dict[str, str], said: str = "") -> Run:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, env=os.environ | environment, input=said, capture_output=True, text=True, check=False
    )
    clock, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Run(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=12143)
    options.add_argument("--user", default="b100k")
    options.add_argument("--delay", type=float, default=0.05)
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    user = chosen.user
    with tempfile.TemporaryDirectory(prefix="unpitch-bench-") as work:
        proxy = Proxy(chosen.port, chosen.delay)
        rule = Path(work, "rule.lua")
        rule.write_text(NO_MOVE)
        uids = ""

        def unpitch(port: int, *before: str) -> Run:
            words = [f"{ROOT}/.venv/bin/unpitch", "audit", f"imap://{user}@127.0.0.1:{port}/INBOX", "--format", "json"]
            trust = ["--trust-authserv", "mx.example.org:below"]
            return run([*before, *words, *trust], {"UNPITCH_PASSWORD": PASSWORD, "UNPITCH_STATE": work})

        def bare(port: int) -> Run:
            login = f"LOGIN {user} {PASSWORD}\nEXAMINE INBOX\n"
            fetch = f"UID FETCH 1:* ({HEADERS})\nUID FETCH {uids} ({WHOLE})\n"
            client = [sys.executable, "-I", "-S", f"{ROOT}/scripts/bare_client.py", str(port)]
            return run(client, {}, f"{login}{fetch}LOGOUT\n")

        def imapfilter(port: int) -> Run:
            settings = {"HOST": "127.0.0.1", "PORT": str(port), "USER": user, "PASS": PASSWORD, "FOLDER": "x"}
            told = {f"PERF_{name}": value for name, value in settings.items()} | {"PERF_RULES": str(BENCH / "rules")}
            return run(["imapfilter", "-c", str(rule)], told | {"HOME": work})

        first = unpitch(chosen.port)
        found = [int(key) for key in re.findall(r'"key": "\d+:(\d+)"', first.said)]
        uids = ",".join(map(str, sorted(found)))
        print(f"first contact: unpitch {first.clock:.2f} s; {len(found):,} candidates", flush=True)
        imapfilter(chosen.port)
        unpitch(chosen.port, sys.executable, f"{ROOT}/scripts/pss.py", f"{work}/pss")
        print(f"memory: {json.loads(Path(work, 'pss').read_text())['pss_mb']} MB (PSS of all processes)", flush=True)
        near: dict[str, Callable[[int], Run]] = {"bare client": bare, "imapfilter": imapfilter, "unpitch": unpitch}
        compare("loopback", chosen.port, near, chosen.repeats)
        del near["imapfilter"]
        compare(f"{1000 * chosen.delay:.0f} ms each way", proxy.port, near, chosen.repeats)


def compare(where: str, port: int, clients: dict[str, Callable[[int], Run]], repeats: int) -> None:
    """Everybody in turn, so that the noise of the machine meets all alike."""
    took: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(repeats):
        for name, client in clients.items():
            done = client(port)
            took[name].append(done.clock)
            load = f"load {os.getloadavg()[0]:.1f}"
            print(
                f"{where:18} {name:12} {done.clock:6.2f} s, {done.processor:6.2f} s of processor time; {load}",
                flush=True,
            )
    middle = {name: statistics.median(all_of_it) for name, all_of_it in took.items()}
    for name, other in middle.items():
        if name != "unpitch":
            print(f"{where}: unpitch takes {middle['unpitch'] / other:.2f} times as long as the {name}", flush=True)


if __name__ == "__main__":
    main()
