"""Watching for a long time: 24 hours of IDLE and a few thousand turns more at an accelerated clock, on a scripted server, with memory and
open files on the way; then a real Dovecot that is stopped and started 20 times under `unpitch watch`, with mail before, in and after each
outage: none may be lost, and none missed. Ends with 1 when anything grew, was lost or was missed.

Usage: scripts/bench_imap watch, or: PYTHONPATH=.:tests python scripts/watch_bench.py [--turns 4000] [--restarts 20]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import mails
from dovecot import Dovecot
from scripted_imap import ScriptedServer, mailbox
from test_watch import configured, moved, watching

from filters.sources import Wanted
from filters.sources.imap import open_imap
from filters.sources.patience import Vigil

#: Turns of nine minutes in 24 hours.
DAY = 24 * 60 // 9
IDLES = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN IDLE MOVE UIDPLUS NAMESPACE\r\nTAG OK done\r\n"


def cost() -> tuple[int, int]:
    """Resident memory in KiB, and open files, of this process."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 1024, len(os.listdir("/proc/self/fd"))


def turns(count: int) -> bool:
    """IDLE, DONE, NOOP, SEARCH, again and again; every tenth turn tells of a message, and the folder is looked through. The server
    forgets what it was told, so that what grows is ours."""
    raw = mails.friend(1)
    answers = mailbox(dict.fromkeys(range(1, 4), raw)) | {"CAPABILITY": IDLES, "IDLE": b"+ \r\n"}
    vigil, costs = Vigil(turn=0.002, step=0.001), []
    with ScriptedServer(answers) as server, closing(open_imap(server.url(), lambda _: "pw", changes=True)) as source:
        for number in range(count + 1):
            source.wait(vigil)
            if number % 10 == 0:
                list(source.scan(Wanted(("FROM",), lambda _: True)))
            server.lines.clear()
            server.plain_lines.clear()
            for session in server._sessions:
                session.clear()
            if number in (DAY, count) or number % 1000 == 0:
                costs.append((number, *cost()))
                print(
                    f"turn {number:6,} ({number / DAY:5.1f} days)  {costs[-1][1]:7,} KiB  {costs[-1][2]} open files",
                    flush=True,
                )
        connections = server.connections
    first, last = next(one for one in costs if one[0] >= DAY), costs[-1]
    print(f"{connections} connection; {last[1] - first[1]:+,} KiB and {last[2] - first[2]:+} files since the first day")
    return last[1] - first[1] < 1024 and last[2] == first[2]


def restarts(count: int) -> bool:
    """Mail before, in and after each outage."""
    delivered = 0
    with tempfile.TemporaryDirectory(prefix="unpitch-watch-") as folder, Dovecot() as server:
        user = server.new_user()
        state = configured(Path(folder) / "state", home=server.url(user, plain=True))
        config = state / "config.toml"
        config.write_text(config.read_text() + "brake = false\n")
        start = time.monotonic()
        with watching(state, "home", "--yes") as watch:
            watch.says("Watching")
            for turn in range(count):
                pid = int((server.home / "run" / "master.pid").read_text())
                server.deliver(user, mails.mail(number=delivered + 1))
                server.deliver(user, mails.friend(10_000 + turn))
                if turn % 2:
                    os.kill(pid, signal.SIGKILL)  # its sessions go on for a moment, and then break off
                    time.sleep(0.2)
                    (server.home / "run" / "master.pid").unlink(missing_ok=True)
                else:
                    server._stop()
                server.deliver(user, mails.mail(number=delivered + 2))
                server._start()
                server.deliver(user, mails.mail(number=delivered + 3))
                delivered += 3
                watch.until(lambda: moved(server, user) >= delivered, f"all of {delivered} moved")  # noqa: B023
                fds = len(os.listdir(f"/proc/{watch.process.pid}/fd"))
                status = Path(f"/proc/{watch.process.pid}/status").read_text()
                memory = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
                print(
                    f"restart {turn + 1:3}: {delivered:3} of {delivered} moved, {int(memory):,} KiB, {fds} open files, {time.monotonic() - start:5.0f} s",
                    flush=True,
                )
            code = watch.end()
        here = sum(1 for name in ("cur", "new") for _ in (server.maildir(user) / name).iterdir())
        there = moved(server, user)
    print(f"delivered {delivered} to move and {count} others; moved {there}, left {here}, exit code {code}")
    return (there, here, code) == (delivered, count, 0)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--turns", type=int, default=4_000)
    options.add_argument("--restarts", type=int, default=20)
    chosen = options.parse_args()
    well = [turns(chosen.turns), restarts(chosen.restarts)]
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
