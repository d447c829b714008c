"""`unpitch serve lmtp` measured: how much mail one core takes and what it adds to the way, beside spamd and rspamd on the same mail;
and what becomes of 10,000 messages while the store and the proxy are killed, 20 times each.

The store and the mail server here are as small as can be, so that what is measured is the proxy: the store writes the Message-ID to a
file before it says 250; the mail server tries again what has no 250.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from judge_bench import generate

CORE, OTHER = "0", "1"
#: What share of the mail is LinkedIn's: of a mailbox that has much of it, and the worst case.
SHARES = (0.03, 1.0)
#: Messages a second at which the time of each is taken, 60 % of the 120 that one core is to do; and how many, since the bursts of a
#: few hundred that come by chance say nothing of the last hundredth.
RATE, ARRIVALS = 72.0, 4_000
BIN = Path(sys.executable).parent
_ID = re.compile(rb"(?im)^message-id:[ \t]*([^\r\n]+)")


# --- a store


async def store(path: str, kept: str) -> None:
    """Accepts everything, and keeps the Message-IDs."""
    with open(kept, "ab", buffering=0) as file:

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 store\r\n")
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while line := await reader.readline():
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        writer.write(b"354 go on\r\n")
                        raw = await reader.readuntil(b"\r\n.\r\n")
                        found = _ID.search(raw)
                        file.write((found[1] if found else b"?") + b"\n")
                        writer.write(b"250 2.0.0 saved\r\n")
                    elif verb == b"QUIT":
                        break
                    else:
                        writer.write(b"250 2.0.0 yes\r\n")
            writer.close()

        with suppress(FileNotFoundError):
            os.unlink(path)
        server = await asyncio.start_unix_server(talk, path, limit=1 << 24)
        await server.serve_forever()


# --- a mail server


class Client:
    """One connection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, raw: bytes) -> bool:
        """Whether the message got its 250."""
        try:
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_unix_connection(self._path)
                if not await self._hear(b"2"):
                    raise ConnectionError
                self._writer.write(b"LHLO mx\r\n")
                if not await self._hear(b"2"):
                    raise ConnectionError
            for line, good in ((b"MAIL FROM:<>", b"2"), (b"RCPT TO:<a@x>", b"2"), (b"DATA", b"3")):
                self._writer.write(line + b"\r\n")
                if not await self._hear(good):
                    raise ConnectionError
            self._writer.write(raw + b".\r\n")
            return await self._hear(b"2")
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return False

    async def _hear(self, good: bytes) -> bool:
        while True:
            line = await self._reader.readuntil(b"\n")
            if line[3:4] != b"-":
                return line[:1] == good

    def close(self) -> None:
        if self._writer:
            self._writer.close()
        self._writer = None


async def closed_loop(send: list[Callable[[bytes], Awaitable[object]]], mails: list[bytes]) -> float:
    """Messages a second when each sender begins the next as soon as one is done."""
    todo = iter(mails)

    async def work(one: Callable[[bytes], Awaitable[object]]) -> None:
        for raw in todo:
            await one(raw)

    begin = time.perf_counter()
    await asyncio.gather(*map(work, send))
    return len(mails) / (time.perf_counter() - begin)


async def through_lmtp(path: str, mails: list[bytes], count: int = 8) -> float:
    """The same over so many connections."""
    clients = [Client(path) for _ in range(count)]
    rate = await closed_loop([client.send for client in clients], mails)
    for client in clients:
        client.close()
    return rate


async def open_loop(path: str, mails: list[bytes], rate: float) -> list[float]:
    """Seconds of each message when they come at this rate, however long each takes (Poisson)."""
    idle = [Client(path) for _ in range(64)]
    took: list[float] = []
    chance = random.Random(7)

    async def one(raw: bytes) -> None:
        client = idle.pop() if idle else Client(path)
        begin = time.perf_counter()
        if await client.send(raw):
            took.append(time.perf_counter() - begin)
        idle.append(client)

    tasks = []
    due = time.perf_counter()
    for raw in mails:
        due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(raw)))
    await asyncio.gather(*tasks)
    for client in idle:
        client.close()
    return sorted(took)


# --- processes


def start(core: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["taskset", "-c", core, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def await_socket(address: str | int, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as trying, suppress(OSError):
            trying.connect(address if isinstance(address, str) else ("127.0.0.1", address))
            return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on {address}")


def start_store(room: Path) -> subprocess.Popen[bytes]:
    process = start(OTHER, sys.executable, __file__, "--store", str(room / "store"), "--kept", str(room / "kept"))
    await_socket(str(room / "store"))
    return process


def start_proxy(room: Path, core: str = CORE, workers: int = 1) -> subprocess.Popen[bytes]:
    words = ["--listen", f"unix:{room}/proxy", "--to", f"unix:{room}/store", "--workers", str(workers)]
    process = start(core, str(BIN / "unpitch"), "serve", "lmtp", *words, "--trust-authserv", "mx.example.org:below")
    await_socket(str(room / "proxy"))
    return process


def processor_seconds(root: int) -> float:
    """Of a process and its descendants that live, all their threads: as the scheduler counts, in nanoseconds. (The ticks of `stat` miss
    most of what runs for less than one.)"""
    pids, total = [root], 0
    for pid in pids:
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def percentile(values: list[float], share: float) -> float:
    return 1000 * values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


# --- the peers


def start_spamd(room: Path, port: int) -> subprocess.Popen[bytes]:
    words = [
        "spamd",
        "-L",
        "-x",
        "-i",
        "127.0.0.1",
        "--min-children=1",
        "--max-children=1",
        "--min-spare=1",
        "--max-spare=1",
        "-u",
        "nobody",
    ]
    process = start(CORE, *words, "-p", str(port), "-s", str(room / "spamd.log"), "-r", str(room / "spamd.pid"))
    await_socket(port)
    return process


def start_rspamd(room: Path, port: int) -> subprocess.Popen[bytes]:
    home = room / "rspamd"
    (home / "local.d").mkdir(parents=True)
    (home / "db").mkdir()
    # fmt: off
    off = ["rbl", "surbl", "spf", "dkim", "arc", "dmarc", "asn", "url_redirector", "fuzzy_check", "mx_check", "phishing", "greylist", "ratelimit", "replies", "history_redis", "neural", "reputation", "bimi", "dkim_signing", "rspamd_update", "milter_headers", "redis", "hfilter"]
    # fmt: on
    texts = {f"{name}.conf": "enabled = false;\n" for name in off} | {
        "worker-normal.inc": f'bind_socket = "127.0.0.1:{port}"; count = 1; enabled = true;\n',
        "worker-controller.inc": f'bind_socket = "127.0.0.1:{port + 1}"; password = "x";\n',
        "worker-proxy.inc": "enabled = false;\n",
        "worker-fuzzy.inc": "enabled = false;\n",
        "logging.inc": f'type = "file"; filename = "{home}/log"; level = "warning";\n',
        "options.inc": 'dns { nameserver = ["127.0.0.1:1"]; timeout = 0.05s; retransmits = 1; }\n'
        f'control_socket = "{home}/sock mode=0600"; pidfile = "{home}/pid"; hs_cache_dir = "{home}/db/";\n',
    }
    for name, text in texts.items():
        (home / "local.d" / name).write_text(text)
    room.chmod(0o755)
    subprocess.run(["chown", "-R", "_rspamd:_rspamd", str(home)], check=True)
    words = f"rspamd -c /etc/rspamd/rspamd.conf -f -u _rspamd -g _rspamd --var=LOCAL_CONFDIR={home}"
    process = start(CORE, *words.split(), f"--var=DBDIR={home}/db", f"--var=RUNDIR={home}")
    await_socket(port)
    time.sleep(6)  # it compiles its patterns
    return process


async def ask(port: int, head: str, raw: bytes) -> None:
    """One question over a connection of its own, as both programs' own clients ask."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.format(len(raw)).encode() + raw)
    if head.startswith("SYMBOLS"):  # spamd waits for it, as its own client does
        writer.write_eof()
    if not await reader.read():
        raise SystemExit("a peer gave no answer")
    writer.close()


# --- the measurements


def throughput(room: Path, mails: list[bytes]) -> None:
    running = [start_store(room), start_proxy(room)]
    try:
        asyncio.run(through_lmtp(str(room / "proxy"), mails[:50]))
        before = processor_seconds(running[1].pid)
        rate = asyncio.run(through_lmtp(str(room / "proxy"), mails))
        used = processor_seconds(running[1].pid) - before
        print(f"unpitch serve lmtp, one core: {rate:.0f} messages/s; {1000 * used / len(mails):.2f} ms of processor time each,"
              f" so {len(mails) / used:.0f}/s of a core that is free")  # fmt: skip
        for load in sorted({RATE, 0.6 * min(rate, len(mails) / used)}):
            some = list(islice(cycle(mails), ARRIVALS))
            direct = asyncio.run(open_loop(str(room / "store"), some, load))
            through = asyncio.run(open_loop(str(room / "proxy"), some, load))
            for name, took in (("straight to the store", direct), ("through the proxy", through)):
                print(
                    f"  at {load:.0f}/s {name}: {len(took)} of {len(some)}, p50 {percentile(took, 0.5):.1f} ms, p99 {percentile(took, 0.99):.1f} ms"
                )
            print(f"  added at p99: {percentile(through, 0.99) - percentile(direct, 0.99):.1f} ms")
        status = Path(f"/proc/{running[1].pid}/status").read_text()  # taskset has become the program
        print("  memory of the proxy: " + re.search(r"VmHWM:\s+(\d+)", status)[1] + " kB")  # type: ignore[index]
    finally:
        stop(running)


def peers(room: Path, mails: list[bytes]) -> None:
    heads = {
        "spamd": "SYMBOLS SPAMC/1.5\r\nContent-length: {}\r\n\r\n",
        "rspamd": "POST /checkv2 HTTP/1.0\r\nContent-Length: {}\r\n\r\n",
    }
    for port, (name, begin) in ((17783, ("spamd", start_spamd)), (17333, ("rspamd", start_rspamd))):
        if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin"):
            print(f"{name} is not installed")
            continue
        process = begin(room, port)
        try:
            some = mails[: 60 if name == "spamd" else len(mails)]
            one = partial(ask, port, heads[name])
            asyncio.run(closed_loop([one], some[:20]))
            before = processor_seconds(process.pid)
            rate = asyncio.run(closed_loop([one] * 8, some))
            used = processor_seconds(process.pid) - before
            print(
                f"{name}, local rules only, one core: {rate:.0f} messages/s; {1000 * used / len(some):.2f} ms of processor time each"
            )
        finally:
            stop([process])


def killed(room: Path, count: int, kills: int) -> None:
    """What becomes of the mail while the store and the proxy are killed in turn."""
    kept = room / "kept"
    kept.write_bytes(b"")
    body = b"Subject: x\r\nFrom: LinkedIn <messages-noreply@linkedin.com>\r\n\r\n" + b"a line of text\r\n" * 60
    names = [f"<{number}@bench>".encode() for number in range(count)]
    waiting = [b"Message-ID: " + name + b"\r\n" + body for name in names]
    answered: set[bytes] = set()
    running = {"store": start_store(room), "proxy": start_proxy(room, f"{CORE},{OTHER}", 2)}
    begin_of = {"store": lambda: start_store(room), "proxy": lambda: start_proxy(room, f"{CORE},{OTHER}", 2)}

    async def deliver(client: Client) -> None:
        while waiting:
            raw = waiting.pop()
            if await client.send(raw):
                answered.add(_ID.search(raw)[1])  # type: ignore[index]
            else:
                waiting.insert(0, raw)
                client.close()
                await asyncio.sleep(0.05)

    async def murder() -> None:
        for number in range(2 * kills):
            goal = count * (number + 1) // (2 * kills + 1)
            while len(answered) < goal:
                await asyncio.sleep(0.005)
            name = ("store", "proxy")[number % 2]
            running[name].send_signal(signal.SIGKILL)
            running[name].wait()
            await asyncio.sleep(0.1)
            running[name] = await asyncio.to_thread(begin_of[name])

    async def both() -> None:
        clients = [Client(str(room / "proxy")) for _ in range(8)]
        murders = asyncio.create_task(murder())
        while len(answered) < count:
            await asyncio.gather(*map(deliver, clients))
        await murders

    begin = time.perf_counter()
    try:
        asyncio.run(both())
    finally:
        stop(list(running.values()))
    stored = Counter(kept.read_bytes().split(b"\n")[:-1])
    lost = [name for name in names if name in answered and not stored[name]]
    print(f"{count:,} messages, store killed {kills} times, proxy killed {kills} times, {time.perf_counter() - begin:.0f} s:"
          f" {len(answered):,} answered with 250, {len(lost)} lost, {sum(times - 1 for times in stored.values())} stored twice")  # fmt: skip


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def of_about_35_kb(folder: Path, share: float, count: int) -> list[bytes]:
    folder.mkdir()
    drawn = count * (2 if share == 1 else 6)
    found = [raw for raw, _, _ in generate(folder, drawn, "--linkedin", str(share))]
    mails = [raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for raw in found]
    return [raw for raw in mails if 25_000 < len(raw) < 45_000][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--killed", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    parser.add_argument("--kept", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.store:
        asyncio.run(store(given.store, given.kept))
        return
    with tempfile.TemporaryDirectory(prefix="lmtp-bench-") as name:
        room = Path(name)
        for share in SHARES if given.messages else ():
            mails = of_about_35_kb(room / str(share), share, given.messages)
            size = sum(map(len, mails)) / len(mails) / 1000
            print(f"{len(mails)} mails of {size:.0f} KB, {share:.0%} of them LinkedIn's; load {os.getloadavg()[0]:.1f}")
            throughput(room, mails)
            peers(room / str(share), mails)
        if given.killed:
            killed(room, given.killed, given.kills)


if __name__ == "__main__":
    main()
