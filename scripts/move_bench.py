"""Moves 3,000 of 100,000 messages on a throwaway Dovecot, in turn by a bare UID MOVE (imaplib, nothing else) and by unpitch's move
with journal, second look and proof; and by its copy, where the server hides that it can move. Prints seconds, the ratio, and memory.

Usage: scripts/bench_imap move, or: PYTHONPATH=.:tests python scripts/move_bench.py [--messages 100000] [--moved 3000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import imaplib
import os
import resource
import statistics
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from dovecot import PASSWORD, WITHOUT_MOVE, Dovecot

from filters import moving
from filters.journal import Candidate, open_journal
from filters.sources import Mail, Wanted
from filters.sources.imap import ImapSource, open_imap

WANTED = Wanted(("From", "Message-ID"), lambda block: b"ads.example" in block)


def message(number: int, advert: bool) -> bytes:
    """About 4 KB, with a header block as long as those of real mail."""
    sender = "offers@ads.example" if advert else "ann@friends.example"
    trace = "".join(
        f"Received: from relay{hop}.example ([192.0.2.{hop}]) by mx{hop}.example with ESMTPS id {number:x}{hop};\r\n"
        f"\tTue, 24 Nov 2026 0{hop}:00:00 +0000 (UTC)\r\n"
        for hop in range(1, 6)
    )
    head = f"From: <{sender}>\r\nTo: you@example.org\r\nSubject: Number {number}\r\nMessage-ID: <{number}@bulk.example>\r\n"
    return (trace + head + "X-Filler: " + 8 * (120 * "x" + "\r\n ") + "\r\n\r\n" + 30 * (78 * "y" + "\r\n")).encode()


def lay_out(store: Path, count: int, moved: int) -> list[Path]:
    """The messages, once; each user gets hard links."""
    step = count // moved
    store.mkdir()
    files = []
    for number in range(count):
        path = store / f"{1_700_000_000 + number}.M{number}P1.bench"
        path.write_bytes(message(number, number % step == 0))
        files.append(path)
    return files


def new_box(server: Dovecot, files: list[Path]) -> str:
    """A user with all the messages, as a client that looked at them before leaves it: Dovecot's index and cache are warm."""
    user = server.new_user()
    box = server.maildir(user)
    owner = box.parent.stat()
    for folder in (box, *(box / name for name in ("cur", "new", "tmp"))):
        folder.mkdir(exist_ok=True)
        os.chown(folder, owner.st_uid, owner.st_gid)
    for path in files:
        os.link(path, box / "cur" / f"{path.name}:2,S")
    for path in files[:1]:
        os.chown(path, owner.st_uid, owner.st_gid)
    with closing(opened(server, user)) as source:
        list(source.scan(Wanted(WANTED.fields, lambda _: False)))
    return user


def opened(server: Dovecot, user: str) -> ImapSource:
    return open_imap(server.url(user, plain=True), lambda _: PASSWORD, changes=True)


def bare(server: Dovecot, user: str) -> float:
    """UID MOVE in commands of 500, and nothing else."""
    with closing(opened(server, user)) as source:
        uids = [found.place.key.partition(":")[2] for found in source.scan(WANTED) if isinstance(found, Mail)]
    with imaplib.IMAP4("127.0.0.1", server.plain_port) as client:
        client.login(user, PASSWORD)
        client.xatom("ID", '("name" "neighbour")')  # for the wire test of tests/dovecot.py: this is none of ours
        client.create("Ads")
        client.select()
        start = time.monotonic()
        for at in range(0, len(uids), 500):
            assert client.uid("MOVE", ",".join(uids[at : at + 500]), "Ads")[0] == "OK"
        return time.monotonic() - start


def ours(server: Dovecot, user: str, state: Path) -> float:
    """`filters.moving.move`, from the first question about the target to the last word in the journal."""
    with closing(opened(server, user)) as source, open_journal(state / f"{user}.sqlite3") as journal:
        mails = [found for found in source.scan(WANTED) if isinstance(found, Mail)]
        chosen = [Candidate(one.place, one.identity, one.place.key, one.size, "advert", "[]") for one in mails]
        with journal.run(source.account, "clean", datetime.now(UTC)) as run:
            before, start = peak(), time.monotonic()
            outcome = moving.move(source, journal, run, chosen, "Ads")
            seconds = time.monotonic() - start
    assert len(outcome.moved) == len(chosen), outcome.left[:3]
    print(f"peak of our process: {before} MB before {len(chosen)} were moved, {peak()} MB after", flush=True)
    return seconds


def peak() -> int:
    """MB of this process at its highest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--moved", type=int, default=3_000)
    parser.add_argument("--repeats", type=int, default=3)
    words = parser.parse_args()
    with Dovecot() as server, Dovecot(capability=WITHOUT_MOVE) as copying, tempfile.TemporaryDirectory() as state:
        files = lay_out(server.home / "store", words.messages, words.moved)
        other = lay_out(copying.home / "store", words.messages, words.moved)
        times: dict[str, list[float]] = {"bare UID MOVE": [], "unpitch, UID MOVE": [], "unpitch, copy": []}
        for _ in range(words.repeats):
            times["bare UID MOVE"].append(bare(server, new_box(server, files)))
            times["unpitch, UID MOVE"].append(ours(server, new_box(server, files), Path(state)))
            times["unpitch, copy"].append(ours(copying, new_box(copying, other), Path(state)))
        base = statistics.median(times["bare UID MOVE"])
        for name, all_of_it in times.items():
            shown = ", ".join(f"{one:.2f}" for one in sorted(all_of_it))
            print(f"{name:20} {shown} s; median {statistics.median(all_of_it) / base:.2f} of the bare one")


if __name__ == "__main__":
    main()
