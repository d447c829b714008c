"""The lowest point of the IMAP side: no byte leaves but as part of a listed command, and what comes in has bounds."""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from filters.errors import RefusedError, TransientError
from filters.sources.answers import too_deep
from filters.sources.starttls import start_tls

CONNECT_SECONDS = 20.0
SILENCE_SECONDS = 60.0
#: A command may take so many times the silence allowed, and never longer than this: a server that drips a byte a minute is left (S4).
_DRIPS, _COMMAND_SECONDS = 30, 3_600.0
_LITERAL_CAP = 4 * 1_048_576
_LINE_CAP = 1_000_000
#: Bytes and lines of one answer. Bodies come by FETCH only; the other limit holds 80,000 UIDs or folders. Lines, because each costs
#: far more memory than its bytes.
_FETCH_CAP, _COMMAND_CAP = 64 * 1_048_576, 8 * 1_048_576
_LINES_CAP = 200_000
#: Servers refuse longer command lines (RFC 7162 names 8,192 octets).
_COMMAND_LINE_CAP = 8_000

_TEXT = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_UIDS = r"[1-9]\d{0,9}(?::[1-9]\d{0,9})?(?:,[1-9]\d{0,9}(?::[1-9]\d{0,9})?)*"
_FLAG = r"\\(?:Answered|Draft|Flagged|Seen)"
_PART = r"BODY\.PEEK\[(?:HEADER(?:\.FIELDS \([!-'*-9;-Z^-~]+(?: [!-'*-9;-Z^-~]+)*\))?)?\](?:<\d+\.\d+>)?"
_ITEM = rf"(?:UID|FLAGS|INTERNALDATE|RFC822\.SIZE|X-GM-MSGID|EMAILID|{_PART})"
#: Everything a dry run may send. STARTTLS is missing on purpose: it is said before imaplib gets the connection (D4).
READING = (
    "CAPABILITY|NOOP|NAMESPACE|UNSELECT|IDLE|LOGOUT",
    r"AUTHENTICATE [A-Z0-9-]+(?: [A-Za-z0-9+/=]+)?",
    rf"LOGIN {_TEXT} {_TEXT}",
    rf"ID (?:NIL|\({_TEXT}(?: {_TEXT})*\))",
    rf"LIST {_TEXT} {_TEXT}",
    rf"STATUS {_TEXT} \([A-Z ]+\)",
    rf"(?:EXAMINE|GETQUOTAROOT|MYRIGHTS) {_TEXT}",
    rf"UID SEARCH UID {_UIDS}(?: HEADER Message-ID {_TEXT}| SINCE \d{{1,2}}-[A-Z][a-z]{{2}}-\d{{4}})?",
    rf"UID FETCH {_UIDS} \({_ITEM}(?: {_ITEM})*\)",
)
#: What a run that moves may send besides. UID STORE and UID EXPUNGE are for the way without MOVE only, on exactly the messages that
#: were copied; never EXPUNGE or CLOSE, which take other clients' mail as well (D2).
CHANGING = (
    rf"(?:SELECT|CREATE|SUBSCRIBE) {_TEXT}",
    rf"UID (?:MOVE|COPY) {_UIDS} {_TEXT}",
    rf"UID STORE {_UIDS} [+-]FLAGS\.SILENT \(\\Deleted\)",
    rf"UID STORE {_UIDS} \+FLAGS\.SILENT \({_FLAG}(?: {_FLAG})*\)",
    rf"UID EXPUNGE {_UIDS}",
)
_SASL_LINE = re.compile(rb"[A-Za-z0-9+/=]*\r\n")
_FETCH = re.compile(rb"\* \d+ FETCH ", re.IGNORECASE)
#: What people must be shown (RFC 3501, 7.1), tagged or not; of a NO or BAD everything is shown. How many, and how much of each.
_ALERT = re.compile(rb"(?:\*|[A-Z]+\d+) OK (\[ALERT\].*)", re.IGNORECASE | re.DOTALL)
_ALERTS, _ALERT_CAP = 5, 1_000
#: Gmail says so at the end of the text, where a response code is none.
_SLOWED = re.compile(rb"[A-Z]+\d+ OK [^\[]*\[THROTTLED\]\s*", re.IGNORECASE)


class BrokenOffError(TransientError):
    """The connection is lost, or what came makes no sense; to ask again, perhaps for less, may help."""


class SilentError(TransientError):
    """The server did not answer in time."""


class Wire(imaplib.IMAP4):
    """imaplib with both ends guarded; `send`, `read` and `readline` are its documented places to do so."""

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, allowed: Iterable[str], *, starttls: bool = False
    ) -> None:
        self._tls, self._starttls = tls, starttls
        self._allowed = re.compile(rf"[A-Z]+\d+ (?:{'|'.join(allowed)})\r\n|DONE\r\n".encode())
        self._line, self._in = b"", bytearray()
        self.alerts: list[bytes] = []
        self.slowed = False
        self._answering = 0
        self.silence = SILENCE_SECONDS
        self.total = 0
        """Bytes received so far."""
        self._received, self._lines, self._most = 0, 0, _COMMAND_CAP
        self._deadline = time.monotonic() + SILENCE_SECONDS
        super().__init__(host, port, CONNECT_SECONDS)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        sock = socket.create_connection((self.host, self.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._tls:
            return sock
        try:
            if not self._starttls:
                return self._tls.wrap_socket(sock, server_hostname=self.host)
            secured = start_tls(sock, self.host, self.port, self._tls)
        except BaseException:
            sock.close()
            raise
        self._in += b"* OK TLS started\r\n"  # imaplib waits for a greeting; the one in the clear does not count
        return secured

    def send(self, data: Any) -> None:
        """Hold bytes back until a line is whole, and let it go if it is on the list. Raises RefusedError."""
        self._line += data
        if not self._line.endswith(b"\r\n"):
            return
        line, self._line = self._line, b""
        self._check(line)
        self._expect(_FETCH_CAP if b" UID FETCH " in line[:30] else _COMMAND_CAP)
        super().send(line)

    def _expect(self, most: int) -> None:
        """An answer begins now, and may have so many bytes."""
        self.sock.settimeout(self.silence)
        self._received, self._lines, self._most = 0, 0, most
        self._deadline = time.monotonic() + min(_DRIPS * self.silence, _COMMAND_SECONDS)

    def begin(self, command: str, *words: str) -> bytes:
        """Send a command without waiting for the answer; gives the tag."""
        tag: bytes = self._command(command, *words)
        return tag

    def ended(self, command: str, tag: bytes, told: str = "FETCH") -> tuple[str, list[Any]]:
        """Wait for the end of a command that was begun. Gives its result, and the lines of one kind that came until then, as imaplib's
        own methods do."""
        self._expect(_FETCH_CAP)
        answer: tuple[str, list[Any]] = self._untagged_response(*self._command_complete(command, tag), told)
        return answer

    def authenticate_at_once(self, mechanism: str, words: bytes) -> tuple[str, list[Any]]:
        """AUTHENTICATE with its first answer on the same line (RFC 4959), which saves a round trip."""
        kind, data = self._simple_command("AUTHENTICATE", mechanism, b64encode(words).decode("ascii"))
        if kind != "OK":
            raise self.error(data[-1])
        self.state = "AUTH"
        return kind, data

    def _check(self, line: bytes) -> None:
        answering, self._answering = self._answering, 0
        if len(line) <= _COMMAND_LINE_CAP:
            if answering and (_SASL_LINE.fullmatch(line) if answering == 1 else line == b"\r\n"):
                self._answering = (
                    2  # to a token that is refused, servers add why, and want an empty line (RFC 7628, 3.2.3)
                )
                return
            if self._allowed.fullmatch(line):
                words = line.split()
                self._answering = int(
                    words[1] == b"AUTHENTICATE" and len(words) == len(("tag", "command", "mechanism"))
                )
                return
        command = " ".join(re.findall(r"[A-Z]+", line[:60].decode("ascii", "replace").partition(" ")[2])[:1])
        raise RefusedError(f"A command that is not on the list of this run was not sent: {command or 'no command'}.")

    def readline(self) -> bytes:
        """A line of at most `_LINE_CAP` bytes, or what is left at the end. Raises BrokenOffError also for one that is nested too
        deeply, unless it is a FETCH: of those each is looked at by itself."""
        seen = 0
        while not (end := self._in.find(b"\n", seen) + 1):
            seen = len(self._in)
            if seen > _LINE_CAP:
                raise BrokenOffError(f"{self.host} sent a line of more than {_LINE_CAP} bytes.")
            if not self._receive():
                end = seen
                break
        self._lines += 1
        if self._lines > _LINES_CAP:
            raise BrokenOffError(f"{self.host} sent more than {_LINES_CAP} lines as one answer.")
        line = self._take(end)
        if (alert := _ALERT.match(line)) and len(self.alerts) < _ALERTS:
            self.alerts.append(alert[1][:_ALERT_CAP])
        self.slowed = self.slowed or _SLOWED.fullmatch(line) is not None
        if too_deep(line) and not _FETCH.match(line):
            raise BrokenOffError(f"{self.host} sent lists within lists without end.")
        return line

    def read(self, size: int) -> bytes:
        """A literal. A size that nobody asked for is refused before memory is taken (S3)."""
        if size > _LITERAL_CAP:
            raise BrokenOffError(f"{self.host} announced {size} bytes at once.")
        while len(self._in) < size and self._receive():
            pass
        return self._take(size)

    def _receive(self) -> bool:
        if time.monotonic() > self._deadline:
            raise TimeoutError
        data = self.sock.recv(65_536)
        self._in += data
        self._received += len(data)
        self.total += len(data)
        if self._received > self._most:
            raise BrokenOffError(f"{self.host} sent more than {self._most} bytes as one answer.")
        return bool(data)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._in[:count])
        del self._in[:count]
        return taken

    def _log(self, line: str) -> None:
        """Nothing: imaplib keeps its last ten lines for a debugger, the one with the password among them (M3)."""
