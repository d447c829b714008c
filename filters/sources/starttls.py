"""STARTTLS with nothing believed before TLS (S1, D4): our own few lines in the clear, which no library and no parser sees.

imaplib and imapclient keep what was said before TLS, and hand it to the program as an answer given after it (IC19). Here the
plain connection carries a greeting, STARTTLS and its answer, and is then forgotten; anything more ends it. CAPABILITY is not
asked for in the clear, so there is nothing to strip from its answer: a server that cannot do STARTTLS says so.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from typing import NoReturn

from filters.errors import ServerError, TransientError
from filters.safe_text import safe_text
from filters.sources.refusals import no_greeting, says

#: What the plain part may take: seconds for all of it, bytes of a line (RFC 7162 names 8,192), and lines.
_SECONDS = 20.0
_LINE_CAP = 8_192
_LINES = 10

_GREETING = re.compile(rb"\* OK(?: [^\r\n\0]*)?\r\n", re.IGNORECASE)
_CAPABILITY = re.compile(rb"\* CAPABILITY [^\r\n\0]*\r\n", re.IGNORECASE)
_CAPABILITIES = re.compile(rb"(?:\* CAPABILITY [^\r\n\0]*\r\n)*", re.IGNORECASE)
_ANSWER = re.compile(rb"A1 ((?i:OK|NO|BAD))(?: ([^\r\n\0]*))?\r\n")
_BYE = re.compile(rb"\* BYE(?: ([^\r\n\0]*))?\r\n", re.IGNORECASE)
_NOTHING_SENT = "No password was sent."


class _Plain:
    """The connection before TLS: whole lines out of a bounded buffer, until a deadline."""

    def __init__(self, sock: socket.socket, where: str) -> None:
        self._sock, self._where = sock, where
        self._in = b""
        self._lines, self._deadline = 0, time.monotonic() + _SECONDS

    def line(self) -> bytes:
        """The next line. Raises ServerError, TimeoutError or OSError."""
        self._lines += 1
        while (end := self._in.find(b"\n") + 1) == 0:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
            data = self._sock.recv(_LINE_CAP)
            if not data:
                raise TransientError(
                    f"{self._where} broke off the connection before TLS. {_NOTHING_SENT} Try again later."
                )
            self._in += data
            if len(self._in) > _LINE_CAP:
                self.refuse()
        line, self._in = self._in[:end], self._in[end:]
        if bye := _BYE.fullmatch(line):
            raise TransientError(f"{self._where} lets nobody in now{says(bye[1])}. {_NOTHING_SENT} Try again later.")
        if self._lines > _LINES:
            self.refuse()
        return line

    def refuse(self) -> NoReturn:
        """End it because of what came in the clear."""
        raise ServerError(
            f"{self._where} sent more in the clear than STARTTLS allows: the server is odd, or somebody sits in between. "
            f"{_NOTHING_SENT} Use imaps:// if the server has it."
        )

    def expect_no_answer(self) -> None:
        """Raise ServerError when an answer is there before its question."""
        if not _CAPABILITIES.fullmatch(self._in):
            self.refuse()

    def expect_nothing_more(self) -> None:
        """Raise ServerError when there is a byte that would be read as if it had come after TLS."""
        if self._in:
            self.refuse()


def start_tls(sock: socket.socket, host: str, port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Greeting, STARTTLS, handshake. Of what the server said in the clear nothing is left behind.

    Raises ServerError (76; 69 when the server refuses STARTTLS; TransientError when it breaks off), ssl.SSLError and OSError; never goes on without TLS.
    """
    where = f"{safe_text(host)}:{port}"
    plain = _Plain(sock, where)
    greeting = plain.line()
    if re.match(rb"\* PREAUTH\b", greeting, re.IGNORECASE):
        raise ServerError(
            f"{where} lets people in without asking who they are, and before TLS: nobody can tell whose mail that is. "
            f"{_NOTHING_SENT}"
        )
    if not _GREETING.fullmatch(greeting):
        raise ServerError(f"{no_greeting(where, greeting)} {_NOTHING_SENT}")
    plain.expect_no_answer()
    sock.sendall(b"A1 STARTTLS\r\n")
    line = plain.line()
    while _CAPABILITY.fullmatch(line):
        line = plain.line()
    answer = _ANSWER.fullmatch(line)
    if not answer:
        plain.refuse()
    if answer[1].upper() != b"OK":
        raise ServerError(
            f"{where} does not start TLS{says(answer[2])}. {_NOTHING_SENT} Use imaps:// if the server has it.", 69
        )
    plain.expect_nothing_more()
    sock.settimeout(_SECONDS)
    return context.wrap_socket(sock, server_hostname=host)
