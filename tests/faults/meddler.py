"""Stands before a real server and meddles at exact points: answers a command itself, changes an answer, or lets somebody in just
before or after it. So the mailbox is a real one, and what the server says is not (P3 of the fault plan on top of P1)."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

#: Ends the connection; what follows it in an answer is not sent.
CUT = b"<cut>"


@dataclass(frozen=True, slots=True)
class At:
    """What happens at one command. `answer` is given in place of the server's, which then never sees the command; `change` gets the
    server's whole answer and gives another. "TAG" stands for the tag of the command."""

    answer: bytes | None = None
    change: Callable[[bytes], bytes] | None = None
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None


Plan = At | bytes | list[At | bytes]


class Meddler:
    """`with Meddler(server.plain_port, {"UID MOVE": [b"TAG NO [INUSE] x\\r\\n"]}) as meddler: ...` connect to `meddler.port`.

    A list is for the first, second ... time, and then no more; one alone for every time. The longest beginning counts; "" stands
    for every command, and "greeting" for what the server says first.
    """

    def __init__(self, port: int, plan: Mapping[str, Plan] | None = None) -> None:
        self._server_port = port
        self.plan = dict(plan or {})
        self._times: dict[str, int] = {}
        self.commands: list[str] = []
        """What the client sent, without tags and without what belongs to the login; once for all connections."""
        self.connections = 0

    def __enter__(self) -> Meddler:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=20)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def sent(self, pattern: str) -> list[str]:
        """The commands that begin so."""
        return [command for command in self.commands if re.match(pattern, command)]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), contextlib.ExitStack() as stack:
            stack.enter_context(client)
            client.settimeout(60)
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self._server_port)))
            asked, answers = stack.enter_context(client.makefile("rb")), stack.enter_context(server.makefile("rb"))
            greeting = answers.readline()
            if not self._given(client, self._at("greeting"), b"", lambda: greeting):
                return
            while (line := asked.readline()).endswith(b"\n"):
                tag, _, command = line.decode("latin-1").rstrip("\r\n").partition(" ")
                if not command.startswith(("AUTHENTICATE", "LOGIN", "CAPABILITY")):
                    self.commands.append(command)

                def ask(line: bytes = line, tag: str = tag) -> bytes:
                    server.sendall(line)
                    return _answer(answers, tag.encode(), client, asked, server)

                if not self._given(client, self._at(command), tag.encode(), ask):
                    return

    def _at(self, command: str) -> At:
        keys = [key for key in self.plan if command.startswith(key) and (key or command != "greeting")]
        if not keys:
            return At()
        key = max(keys, key=len)
        plan = self.plan[key]
        if isinstance(plan, list):
            time = self._times.get(key, 0)
            self._times[key] = time + 1
            plan = plan[time] if time < len(plan) else At()
        return At(answer=plan) if isinstance(plan, bytes) else plan

    def _given(self, client: socket.socket, at: At, tag: bytes, ask: Callable[[], bytes]) -> bool:
        """Give the answer; False when that was the last of the connection."""
        if at.before:
            at.before()
        answer = ask() if at.answer is None else at.answer
        if at.change:
            answer = at.change(answer)
        if at.after:
            at.after()
        client.sendall(answer.partition(CUT)[0].replace(b"TAG", tag))
        return CUT not in answer


def _answer(answers: BinaryIO, tag: bytes, client: socket.socket, asked: BinaryIO, server: socket.socket) -> bytes:
    """The server's answer up to the line with the tag, literals and all."""
    found = b""
    while True:
        line = answers.readline()
        if not line:
            raise EOFError
        if line.startswith(b"+"):
            client.sendall(line)
            if not (more := asked.readline()):
                raise EOFError  # killed here: the server would wait for the rest, and we for the server
            server.sendall(more)
            continue
        found += line
        whole = True
        while literal := re.search(rb"\{(\d+)\}\r\n\Z", found):
            found += answers.read(int(literal[1])) + answers.readline()
            whole = False
        if whole and line.startswith(tag + b" "):
            return found
