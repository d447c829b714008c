"""A store that speaks LMTP from a script, on a unix socket: it keeps what it is given, and can refuse, hang or break off."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast


@dataclass
class Store:
    """`answers`: of a command ("MAIL", "RCPT", "DATA", "." for the end of the message), replies for its first occurrences; "hang" and
    "gone" are what they say; "stuck", of DATA, takes the command and reads no more. The greeting is "220". All else is accepted."""

    path: Path
    answers: dict[str, list[str]] = field(default_factory=dict)
    messages: list[bytes] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    offers: tuple[str, ...] = ("8BITMIME", "SMTPUTF8", "PIPELINING", "SIZE 1000", "XCLIENT")


class _GoneError(Exception):
    pass


class _Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        store = cast("_Server", self.server).store
        recipients = 0
        try:
            self._answer("220", "220 store")
            while line := self.rfile.readline():
                store.commands.append(line.rstrip(b"\r\n"))
                verb = line[:4].decode("latin-1").upper().strip()
                if verb == "LHLO":
                    for number, offer in enumerate(("store", *store.offers), 0):
                        self._reply(f"250{' ' if number == len(store.offers) else '-'}{offer}")
                elif verb == "DATA":
                    if self._answer("DATA", "354 go on").startswith("354"):
                        self._message(store, recipients)
                elif verb == "QUIT":
                    self._reply("221 bye")
                    return
                else:
                    accepted = self._answer(verb, "250 2.0.0 yes").startswith("250")
                    recipients = recipients + accepted if verb == "RCPT" else 0
        except (_GoneError, ConnectionError):
            return

    def _message(self, store: Store, recipients: int) -> None:
        held = bytearray(b"\r\n")
        while not held.endswith(b"\r\n.\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            held += line
        store.messages.append(bytes(held[2:-3]))
        for number in range(recipients):
            self._answer(".", f"250 2.0.0 <{number}> saved")

    def _answer(self, verb: str, usual: str) -> str:
        store = cast("_Server", self.server).store
        script = store.answers.get(verb, [])
        answer = script.pop(0) if script else usual
        if answer == "gone":
            self.connection.shutdown(socket.SHUT_RDWR)
            raise _GoneError
        if answer == "stuck":
            self._reply("354 go on")
            store.ended.wait(60)
            raise _GoneError
        if answer == "hang":
            self.rfile.readline()
            raise _GoneError
        self._reply(answer)
        return answer

    def _reply(self, text: str) -> None:
        self.wfile.write(text.replace("\n", "\r\n").encode() + b"\r\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    store: Store


@contextmanager
def scripted_store(path: Path) -> Iterator[Store]:
    """Listens until the end of the block."""
    with _Server(str(path), _Talk) as server:
        server.store = Store(path)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.store
        finally:
            server.store.ended.set()
            server.shutdown()
