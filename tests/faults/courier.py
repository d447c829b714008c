"""A throwaway Courier on loopback: the server without MOVE. Its Debian packages conflict with Dovecot's, so they are unpacked beside.

Courier's imapd speaks on stdin and stdout and believes that somebody else has asked for the password. So a small front answers
CAPABILITY and LOGIN, starts imapd, swallows what it says up to PREAUTH, and joins the two streams.
"""

from __future__ import annotations

import contextlib
import imaplib
import itertools
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from dovecot import PASSWORD

#: Where scripts/test unpacks the packages.
UNPACKED = Path(os.environ.get("UNPITCH_COURIER") or Path.home() / ".cache" / "unpitch-tests" / "courier")
#: Debian's default.
CAPABILITY = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE"
_LOGIN = re.compile(rb'(\S+) LOGIN "?([^" ]+)"? "?([^" \r]+)"?\r\n', re.IGNORECASE)
_DELIVERIES = itertools.count(1)


def missing() -> str:
    """Why no Courier can be started here; "" when one can."""
    return "" if (UNPACKED / "usr/bin/imapd").exists() else f"no Courier under {UNPACKED}: scripts/test unpacks one"


class Courier:
    """One server, with the words of `Dovecot` as far as both have them. Every user name works, with the password "pw"."""

    separator, prefix = ".", "INBOX."

    def __init__(self) -> None:
        self._users = itertools.count(1)

    def __enter__(self) -> Courier:
        self.home = Path(tempfile.mkdtemp(prefix="courier-"))
        libraries = [str(found.parent) for found in UNPACKED.rglob("*.so.*") if found.parent.name != "courier-authlib"]
        _without_gamin(next(UNPACKED.rglob("libfam.so.0")), self.home / "libfam.so.0")
        self._environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LD_LIBRARY_PATH": ":".join(dict.fromkeys([str(self.home), *libraries])),
            "IMAP_CAPABILITY": CAPABILITY,
            "IMAP_USELOCKS": "1",
            "IMAP_KEYWORDS": "1",
        }
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.plain_port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def new_user(self) -> str:
        """A user with an empty mailbox."""
        user = f"user{next(self._users)}"
        self._make(self.home / user)
        return user

    def _make(self, maildir: Path, *words: str) -> None:
        command = [str(UNPACKED / "usr/bin/maildirmake.courier"), *words, str(maildir)]
        subprocess.run(command, env=self._environment, check=True, capture_output=True)

    def url(self, user: str, folder: str = "INBOX", *, plain: bool = True) -> str:
        """The location of a folder; there is no TLS."""
        if not plain:
            raise ValueError("Courier runs without TLS here")
        return f"imap://{quote(user)}@127.0.0.1:{self.plain_port}/{quote(folder)}"

    def deliver(self, user: str, raw: bytes, *, folder: str = "", flags: str = "") -> None:
        """Put a message into a folder ("" is the inbox, others as Maildir++ spells them, such as ".Lists")."""
        maildir = self.maildir(user, folder)
        if not maildir.exists():
            self._make(maildir.parent, "-f", folder.removeprefix("."))
        number = next(_DELIVERIES)
        path = maildir / "cur" / f"{1_700_000_000 + number}.M{number}.test:2,{flags}"
        path.write_bytes(raw.replace(b"\r\n", b"\n"))  # Courier doubles a CR

    def maildir(self, user: str, folder: str = "") -> Path:
        """Where a folder's mail lies."""
        return self.home / user / folder

    @contextlib.contextmanager
    def neighbour(self, user: str) -> Iterator[imaplib.IMAP4]:
        """Another mail program of the same user."""
        client = imaplib.IMAP4("127.0.0.1", self.plain_port)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.login(user, PASSWORD)
        try:
            yield client
        finally:
            client.logout()

    # The front

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """The socket is closed last of all: who sees it closed knows that imapd has ended."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(OSError):
            login = self._logged_in(connection)
            if login:
                tag, user = login
                with self._imapd(user) as imapd:
                    assert imapd.stdout
                    while b"PREAUTH" not in imapd.stdout.readline():
                        pass
                    with contextlib.suppress(OSError):
                        connection.sendall(tag + b" OK LOGIN Ok.\r\n")
                        _join(connection, imapd)

    def _logged_in(self, connection: socket.socket) -> tuple[bytes, str] | None:
        connection.sendall(b"* OK Courier-IMAP ready.\r\n")
        with connection.makefile("rb", buffering=0) as stream:  # not a byte more than the login
            while line := stream.readline(10_000):
                match = _LOGIN.fullmatch(line)
                tag, _, command = line.strip().partition(b" ")
                if match and match[3] == PASSWORD.encode() and (self.home / match[2].decode()).is_dir():
                    return match[1], match[2].decode()
                if command.upper() == b"CAPABILITY":
                    connection.sendall(b"* CAPABILITY %s\r\n%s OK done\r\n" % (CAPABILITY.encode(), tag))
                elif command.upper() == b"LOGOUT":
                    connection.sendall(b"* BYE bye\r\n%s OK done\r\n" % tag)
                    return None
                elif line.endswith(b"\n"):
                    connection.sendall(tag + b" NO Login failed.\r\n")
        return None

    @contextlib.contextmanager
    def _imapd(self, user: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [str(UNPACKED / "usr/bin/imapd"), "Maildir"]
        link = self.home / user / "Maildir"
        if not link.exists():
            link.symlink_to(".")
        with subprocess.Popen(
            command,
            cwd=self.home / user,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        ) as running:
            yield running


def _join(connection: socket.socket, imapd: subprocess.Popen[bytes]) -> None:
    assert imapd.stdin
    assert imapd.stdout
    back = threading.Thread(target=_answers, args=(imapd.stdout, connection), daemon=True)
    back.start()
    with contextlib.suppress(OSError):
        while data := connection.recv(65_536):
            imapd.stdin.write(data)
    with contextlib.suppress(OSError):
        imapd.stdin.close()
    back.join()


def _answers(stdout: object, connection: socket.socket) -> None:
    """Until imapd ends, whether or not anybody listens."""
    with contextlib.suppress(OSError):
        while data := os.read(stdout.fileno(), 65_536):  # type: ignore[attr-defined]
            with contextlib.suppress(OSError):
                connection.sendall(data)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes up whoever waits for the client


def _without_gamin(source: Path, target: Path) -> None:
    """A copy of gamin's library whose FAMOpen says "no" at once.

    For every lock Courier asks gamin to watch the folder. Without gamin's server the library tries for 1.2 s to reach it, each time.
    """
    refuse = {0x3E: "b8ffffffffc3", 0xB7: "00008012c0035fd6"}  # return -1, for x86-64 and arm64
    binary = bytearray(source.read_bytes())
    (machine,) = struct.unpack_from("<H", binary, 18)
    code = bytes.fromhex(refuse[machine])
    start = _symbol(binary, b"FAMOpen")
    binary[start : start + len(code)] = code
    target.write_bytes(binary)


def _symbol(binary: bytes, name: bytes) -> int:
    """Where a function begins in a 64-bit ELF library whose code lies in the file as it lies in memory."""
    (sections,) = struct.unpack_from("<Q", binary, 40)
    size, count = struct.unpack_from("<HH", binary, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", binary, sections + size * number) for number in range(count)]
    symbols = next(one for one in headers if one[1] == 11)  # SHT_DYNSYM
    names = headers[symbols[6]][4]
    for position in range(symbols[4], symbols[4] + symbols[5], 24):
        text, _, _, _, value = struct.unpack_from("<IBBHQ", binary, position)
        if binary[names + text : names + text + len(name) + 1] == name + b"\0":
            return int(value)
    raise ValueError(name)
