"""Nights on a mailbox of 100,000 messages, on a throwaway Dovecot behind a proxy that delays each direction by 50 ms and counts: one
without new mail, and one with 200 new messages of which 8 are to be moved, beside a bare client that sends the same few commands; and
500 moves. Timed from connecting to the end of LOGOUT, within one process for both; starting Python is in neither.

Usage: scripts/bench_imap nights, or: PYTHONPATH=.:tests python scripts/nights_bench.py [--messages 100000] [--delay 0.05] [--repeats 5]
"""

from __future__ import annotations

import argparse
import imaplib
import os
import queue
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import mails
from dovecot import PASSWORD, Dovecot
from rich.console import Console

from filters import moving
from filters.cli import nightly
from filters.cli.options import Access, journal_path
from filters.config import Account, Config
from filters.journal import Candidate, open_journal
from filters.preferences import Preferences
from filters.sources import Mail, Wanted
from filters.sources.imap import open_imap

BODY = f"{mails.ADVERT} {'x' * 100}\r\n" * 350 + f"\r\n{mails.DISCLOSURE}\r\n"  # about 75 kB, as the mails of 2026


class Proxy:
    """Passes bytes on after `delay` seconds, and counts them; a round trip is what a client says after it was answered."""

    def __init__(self, port: int, delay: float) -> None:
        self._server, self._delay = port, delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.up = self.down = self.turns = 0
        self._answered = True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._server))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, up), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._deliver, args=(waiting, sink), daemon=True).start()
        while data := source.recv(1 << 18):
            if up:
                self.up += len(data)
                self.turns += self._answered
            else:
                self.down += len(data)
            self._answered = not up
            waiting.put((time.monotonic() + self._delay, data))
        waiting.put((time.monotonic() + self._delay, b""))

    def _deliver(self, waiting: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
        while True:
            due, data = waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)

    def measured(self, what: str, run: Callable[[], object]) -> float:
        """Seconds; and prints a line."""
        self.up = self.down = self.turns = 0
        start = time.monotonic()
        result = run()
        took = time.monotonic() - start
        print(
            f"{what:34} {self.turns:3} round trips  {self.up:7,} B up  {self.down:9,} B down  {took:6.2f} s  {result}",
            flush=True,
        )
        return took


def bare(port: int, user: str, first: int, moved: list[int]) -> str:
    """The same commands without a thought: log in, select, headers, bodies, move, log out."""
    client = imaplib.IMAP4("127.0.0.1", port)
    client.login(f'"{user}"', PASSWORD)
    client.xatom("ID", '("name" "neighbour")')
    client.select("INBOX")
    fields = "FROM SENDER X-LINKEDIN-CLASS X-LINKEDIN-TEMPLATE"
    client.uid("FETCH", f"{first}:*", f"(UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS ({fields})]<0.4096>)")
    if moved:
        uids = ",".join(map(str, moved))
        client.uid("FETCH", uids, "(UID INTERNALDATE FLAGS RFC822.SIZE BODY.PEEK[]<0.1048576>)")
        client.uid("MOVE", uids, "LinkedIn")
    client.logout()
    return ""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--messages", type=int, default=100_000)
    options.add_argument("--delay", type=float, default=0.05)
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="unpitch-bench-") as state, Dovecot() as server:
        os.environ["UNPITCH_STATE"] = state
        user = server.new_user()
        for number in range(chosen.messages):
            server.deliver(user, mails.friend(number), flags="S")
        server.deliver(user, mails.mail(number=1), flags="S")
        proxy = Proxy(server.plain_port, chosen.delay)

        def night() -> str:
            location = f"imap://{user}@127.0.0.1:{proxy.port}"
            account = Account("home", location, ("INBOX",), Preferences(trust_authserv=(mails.TRUSTED,)))
            way_in = Access(lambda _: PASSWORD, Preferences(), Config(Path(), (account,)))
            (place,) = way_in.locations(["home"])
            out = Console(quiet=True)
            done = nightly.clean_location(
                out, way_in, place, journal_path(), set(), dry_run=False, full=False, ask=None
            )
            return f"{done.messages:,} looked at, {done.moved} moved {done.error}"

        proxy.measured("unpitch, first run", night)
        proxy.measured("unpitch, nothing new", night)
        first = chosen.messages + 2
        took: dict[str, list[float]] = {"unpitch": [], "bare": []}
        for turn in list(took) * chosen.repeats:
            for number in range(192):
                server.deliver(user, mails.friend(first + number), flags="S")
            for number in range(8):
                server.deliver(user, mails.mail(BODY, number=first + 192 + number), flags="S")
            last = first + 199
            if turn == "unpitch":
                took[turn].append(proxy.measured("unpitch, 200 new, 8 to move", night))
            else:
                moved = list(range(last - 7, last + 1))
                took[turn].append(
                    proxy.measured("bare client, the same", partial(bare, proxy.port, user, first, moved))
                )
                night()  # so that the next one finds nothing of these
            first = last + 1
        ratio = statistics.median(took["unpitch"]) / statistics.median(took["bare"])
        print(f"unpitch takes {ratio:.2f} times as long as the bare client (medians of {chosen.repeats}, in turn)")
        five_hundred(server, proxy, Path(state))


def five_hundred(server: Dovecot, proxy: Proxy, state: Path) -> None:
    """The move alone, from the first question about the target to the last word in the journal; the target is there."""
    user = server.new_user()
    for number in range(501):
        server.deliver(user, mails.mail(number=number), flags="S")
    location = f"imap://{user}@127.0.0.1:{proxy.port}"
    wanted = Wanted(("From",), lambda _: True)
    with (
        closing(open_imap(location, lambda _: PASSWORD, changes=True)) as source,
        open_journal(state / "moves") as journal,
    ):
        found = [one for one in source.scan(wanted) if isinstance(one, Mail)]
        chosen = [Candidate(one.place, one.identity, one.place.key, one.size, "advert", "[]") for one in found]
        with journal.run(source.account, "clean", datetime.now(UTC)) as run:
            moving.move(source, journal, run, chosen[:1], "LinkedIn")
            proxy.measured(
                "unpitch, 500 moves", lambda: len(moving.move(source, journal, run, chosen[1:], "LinkedIn").moved)
            )


if __name__ == "__main__":
    main()
