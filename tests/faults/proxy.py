"""A proxy on loopback that cuts: it lets so many bytes of one direction pass, and then closes both sides (P2 of the fault plan)."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

#: The two directions, as the client sees them.
OUT, IN = "out", "in"
#: Commands that may change a mailbox. SELECT clears \\Recent and is no change that anybody counts.
CHANGING = re.compile(
    rb"(?im)^\S+ ((?:UID )?(?:MOVE|COPY|STORE|EXPUNGE)|EXPUNGE|CLOSE|CREATE|DELETE|RENAME|APPEND)\b[^\r]*"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """After `after` bytes in `direction`, counted over all connections since the last cut. With `refuse` nobody gets in
    afterwards until `Proxy.lift`."""

    direction: str
    after: int
    refuse: bool = False


@dataclass(frozen=True, slots=True)
class Slow:
    """`direction` goes in pieces of `piece` bytes with a pause in seconds after each; from `stall_after` bytes on, nothing."""

    direction: str
    piece: int = 65_536
    pause: float = 0.0
    stall_after: int = 1 << 60


class Proxy:
    """Stands before the server at `port`; a client connects to `proxy.port` instead."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._open: set[_Pair] = set()
        self._busy: set[_Pair] = set()
        self.plan()

    def __enter__(self) -> Proxy:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def plan(self, cuts: Sequence[Cut] = (), slow: Sequence[Slow] = ()) -> None:
        """From now on: these cuts, one after the other, and this slowness. All counters start again."""
        with self._lock:
            self._cuts, self._slow = list(cuts), {one.direction: one for one in slow}
            self._since = {OUT: 0, IN: 0}
            self.passed = {OUT: 0, IN: 0}
            """Bytes that passed since then."""
            self._sent: list[bytearray] = []
            self.fired = 0
            """How many cuts were made."""
            self.refusing = False
            self.connections = 0

    def lift(self) -> None:
        """Let people in again."""
        self.refusing = False

    def calm(self) -> None:
        """No more cuts."""
        with self._lock:
            self._cuts, self.refusing = [], False

    def hang_up(self) -> None:
        """Close all connections that are open now."""
        with self._lock:
            for pair in list(self._open):
                pair.close()

    def sessions(self) -> list[bytes]:
        """What the client sent and what passed, connection by connection."""
        with self._lock:
            return [bytes(one) for one in self._sent]

    def changing(self) -> list[bytes]:
        """The commands so far that may have changed something."""
        return [match[1] for session in self.sessions() for match in CHANGING.finditer(session)]

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until the server has closed every connection that came through here: it may still be busy with a command after
        its client is gone. Raises TimeoutError."""
        with self._idle:
            if not self._idle.wait_for(lambda: not self._busy, seconds):
                raise TimeoutError("the server holds on to a connection")

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.create_connection(("127.0.0.1", self._server_port))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(client, server)
            with self._lock:
                self._sent.append(pair.sent)
                self.connections += 1
                self._open.add(pair)
                self._busy.add(pair)
            for work in (self._out, self._in):
                threading.Thread(target=work, args=(pair,), daemon=True).start()

    def _out(self, pair: _Pair) -> None:
        self._pump(pair, OUT, pair.client, pair.server)
        with self._lock:
            pair.close()
            self._open.discard(pair)

    def _in(self, pair: _Pair) -> None:
        """What the server says after the cut goes nowhere, as in a network; its end is the end of the connection."""
        self._pump(pair, IN, pair.server, pair.client)
        with self._lock:
            pair.close()
            self._open.discard(pair)
        with contextlib.suppress(OSError):
            while pair.server.recv(65_536):
                pass
        pair.server.close()
        with self._idle:
            self._busy.discard(pair)
            self._idle.notify_all()

    def _pump(self, pair: _Pair, direction: str, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                slow = self._slow.get(direction)
                size = slow.piece if slow else len(data)
                for start in range(0, len(data), size):
                    if slow and self.passed[direction] + size > slow.stall_after:
                        self._wait_for_the_end(pair)
                        return
                    if not self._passed(pair, direction, sink, data[start : start + size]):
                        return
                    if slow and slow.pause:
                        time.sleep(slow.pause)

    def _wait_for_the_end(self, pair: _Pair) -> None:
        while pair in self._open:
            time.sleep(0.01)

    def _passed(self, pair: _Pair, direction: str, sink: socket.socket, data: bytes) -> bool:
        """Let bytes pass as far as the next cut allows; False when it was made. One direction at a time: what passes before the
        cut is exactly what was asked for."""
        with self._lock:
            if pair not in self._open:
                return False
            cut = self._cuts[0] if self._cuts and self._cuts[0].direction == direction else None
            if cut and self._since[direction] + len(data) >= cut.after:
                data = data[: max(cut.after - self._since[direction], 0)]
            else:
                cut = None
            self._since[direction] += len(data)
            self.passed[direction] += len(data)
            if direction == OUT:
                pair.sent += data
            with contextlib.suppress(OSError):
                sink.sendall(data)
            if cut:
                self._cuts.pop(0)
                self._since = {OUT: 0, IN: 0}
                self.fired += 1
                self.refusing = cut.refuse
                for one in list(self._open):
                    one.close()
                self._open.clear()
            return not cut


@dataclass(eq=False, slots=True)
class _Pair:
    client: socket.socket
    server: socket.socket
    sent: bytearray = field(default_factory=bytearray)

    def close(self) -> None:
        """The client sees an end at once. The server hears of it, and `_in` waits for what it does then."""
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)
        self.client.close()
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_WR)
