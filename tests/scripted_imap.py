"""A small IMAP server that answers from a table, for what real servers do not do on request; it records every line it gets.

An answer is bytes; "TAG" in it stands for the tag of the command, and what follows CUT is not sent: the connection is closed.
A list holds the answers of the first, second ... time, the last one for good. A function gets the command without its tag.
Where the answers are a function, each connection has its own.
With `starttls` the connection is plain until STARTTLS is answered with OK; what follows is said over TLS.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping

import wire_rules

CUT = b"<cut>"
Answer = bytes | list[bytes] | Callable[[str], bytes]

_OPENED = (
    b"* 3 EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 100] x\r\n"
    b"TAG OK [READ-%s] opened\r\n"
)
_GO_ON = b"+ \r\n"
USUAL: dict[str, Answer] = {
    "CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN MOVE UIDPLUS NAMESPACE\r\nTAG OK done\r\n",
    "AUTHENTICATE": _GO_ON,
    "LOGIN": b"TAG OK in\r\n",
    "NAMESPACE": b'* NAMESPACE (("" "/")) NIL NIL\r\nTAG OK done\r\n',
    "LIST": lambda command: b'* LIST (\\HasNoChildren) "/" %s\r\nTAG OK done\r\n' % command.split(" ", 2)[2].encode(),
    "EXAMINE": _OPENED % b"ONLY",
    "SELECT": _OPENED % b"WRITE",
    "STATUS": lambda command: (
        b"* STATUS %s (UIDVALIDITY 9 UIDNEXT 10)\r\nTAG OK done\r\n"
        % command.split(" ", 1)[1].rpartition(" (")[0].encode()
    ),
    "LOGOUT": b"* BYE bye\r\nTAG OK out\r\n",
    "": b"TAG OK done\r\n",
}


class ScriptedServer:
    """`with ScriptedServer({"UID SEARCH": b"* SEARCH 1\\r\\nTAG OK x\\r\\n"}) as server: ...`; the longest beginning counts.

    At its end it fails when it was sent what we never send (wire_rules.py), unless its clients are not `ours`.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer] | Callable[[], Mapping[str, Answer]] | None = None,
        *,
        greeting: bytes = b"* OK hello\r\n",
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        ours: bool = True,
    ) -> None:
        self._each = answers if callable(answers) else None
        self._answers = {**USUAL, **({} if callable(answers) else answers or {})}
        self._starttls = starttls
        self._times: dict[str, int] = {}
        self._greeting, self._tls = greeting, tls
        self.lines: list[bytes] = []
        """Every line received, with its line end, SASL answers among them."""
        self.plain_lines: list[bytes] = []
        """Those of them that came without TLS."""
        self.connections = 0
        self._ours, self._sessions = ours, list[list[bytes]]()
        self._open: list[socket.socket] = []

    def __enter__(self) -> ScriptedServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(0.1)
        for connection in self._open:  # of a client that stays; what it has sent can still be read
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        if self._ours:
            wire_rules.check((f"session {number}", lines) for number, lines in enumerate(self._sessions, 1))

    @property
    def commands(self) -> list[str]:
        """What was received, without tags and without what belongs to the login."""
        texts = [line.decode("latin-1").rstrip("\r\n").partition(" ")[2] for line in self.lines]
        return [text for text in texts if text and not text.startswith(("CAPABILITY", "AUTHENTICATE", "LOGIN"))]

    def url(self, folder: str = "INBOX", user: str = "ann") -> str:
        """The location of a folder."""
        scheme = "imaps" if self._tls else "imap+starttls" if self._starttls else "imap"
        return f"{scheme}://{user}@127.0.0.1:{self.port}/{folder}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(plain)
            plain.settimeout(20)
            connection = stack.enter_context(self._tls.wrap_socket(plain, server_side=True)) if self._tls else plain
            stream = stack.enter_context(connection.makefile("rb"))
            connection.sendall(self._greeting.partition(CUT)[0])
            if CUT in self._greeting:
                return
            session: list[bytes] = []
            self._sessions.append(session)
            idling = ""
            answers = {**self._answers, **self._each()} if self._each else self._answers
            while line := stream.readline():
                self.lines.append(line)
                session.append(line)
                if not isinstance(connection, ssl.SSLSocket):
                    self.plain_lines.append(line)
                tag, _, command = line.decode("latin-1").rstrip("\r\n").partition(" ")
                idling = tag if command == "IDLE" else idling
                tag, command = (idling, tag) if tag == "DONE" else (tag, command)
                answer = self._answer(command, answers)
                if answer == _GO_ON:
                    connection.sendall(answer)
                    session.append(stream.readline())
                    self.lines.append(session[-1])
                    answer = self._answer("SASL", answers)
                connection.sendall(answer.partition(CUT)[0].replace(b"TAG", tag.encode()))
                if CUT in answer or command == "LOGOUT":
                    return
                if command == "STARTTLS" and self._starttls and b"TAG OK" in answer.upper():
                    connection = stack.enter_context(self._starttls.wrap_socket(plain, server_side=True))
                    stream = stack.enter_context(connection.makefile("rb"))

    def _answer(self, command: str, answers: Mapping[str, Answer]) -> bytes:
        key = max((key for key in answers if command.startswith(key)), key=len)
        answer = answers[key]
        if isinstance(answer, list):
            time = self._times.get(key, 0)
            self._times[key] = time + 1
            answer = answer[min(time, len(answer) - 1)]
        elif not isinstance(answer, bytes):
            answer = answer(command)
        return answer


def asked(command: str, uids: Iterable[int]) -> list[int]:
    """Which of these UIDs a "UID FETCH", "UID SEARCH" or "UID MOVE" command names, sorted."""
    match = re.match(r"UID (?:FETCH|MOVE|SEARCH UID) ([\d:,]+)", command)
    ranges = [part.partition(":") for part in match[1].split(",")] if match else []
    return sorted(uid for uid in uids if any(int(low) <= uid <= int(high or low) for low, _, high in ranges))


def mailbox(mails: Mapping[int, bytes], odd: Mapping[int, bytes] | None = None) -> dict[str, Answer]:
    """Answers to SEARCH and FETCH about these mails by UID. `odd` has whole FETCH answers that are given instead."""

    def search(command: str) -> bytes:
        uids = asked(command, mails)
        return b"* SEARCH %s\r\nTAG OK found\r\n" % " ".join(map(str, uids)).encode()

    def fetch(command: str) -> bytes:
        there = asked(command, mails)
        return (
            b"".join((odd or {}).get(uid) or answer_about(uid, mails[uid], command) for uid in there) + b"TAG OK x\r\n"
        )

    return {"UID SEARCH": search, "UID FETCH": fetch}


def answer_about(uid: int, raw: bytes, command: str) -> bytes:
    """A correct FETCH answer; message `uid` has the sequence number `uid`."""
    match = re.search(r"BODY\.PEEK(\[.*\])<0\.(\d+)>", command)
    if not match:
        return b"* %d FETCH (UID %d)\r\n" % (uid, uid)
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    body = (header if "HEADER" in match[1] else raw)[: int(match[2])]
    flags = b" FLAGS (\\Seen)" if "FLAGS" in command else b""
    return b"* %d FETCH (UID %d%s RFC822.SIZE %d BODY%s<0> {%d}\r\n%s)\r\n" % (
        uid,
        uid,
        flags,
        len(raw),
        match[1].encode(),
        len(body),
        body,
    )


class Tap:
    """A listening wire between a client and a server on loopback: passes everything on, records what the client sends."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._sent: list[bytes] = []

    def __enter__(self) -> Tap:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    @property
    def lines(self) -> list[str]:
        """What was sent, line by line, without line ends."""
        text = b"".join(self._sent).decode("latin-1")
        assert text.endswith("\r\n")
        return text.split("\r\n")[:-1]

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                break
            server = socket.create_connection(("127.0.0.1", self._server_port))
            threads += [
                threading.Thread(target=self._pump, args=pair, daemon=True)
                for pair in ((client, server), (server, client))
            ]
            for thread in threads[-2:]:
                thread.start()
            threads.append(threading.Thread(target=self._closing, args=(threads[-2:], client, server), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join(5)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if sink.getpeername()[1] == self._server_port:
                    self._sent.append(data)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _closing(self, pumps: list[threading.Thread], *ends: socket.socket) -> None:
        for pump in pumps:
            pump.join()
        for end in ends:
            end.close()
