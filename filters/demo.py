"""The sample mailbox of `unpitch demo`: invented mails served by an embedded IMAP server on loopback, or laid into a Maildir."""

from __future__ import annotations

import imaplib
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path

from filters.errors import ServerError
from filters.model import corpus_folder

#: The receiver that stamped the sample mails, as a mail provider stamps real ones.
AUTHSERV_ID = "mx.example.net"
USER = "ann"
_START_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """A running sample mailbox: where it is, how it lies there, and how many mails it holds."""

    location: str
    about: str
    mails: int
    password: Callable[[str], str]


def sample_mails() -> list[bytes]:
    """The mails of corpus/demo.txt, from the installed package or beside it in a checkout."""
    corpus = corpus_folder()
    names = (corpus / "demo.txt").read_text(encoding="utf-8").splitlines()
    return [(corpus / name).read_bytes() for name in names if name and not name.startswith("#")]


@contextmanager
def sample_mailbox() -> Iterator[Sample]:
    """Serve the sample by IMAP where pymap is installed (extra "demo"), else as a temporary Maildir. Gone at the end."""
    mails = sample_mails()
    if find_spec("pymap") is None:
        with tempfile.TemporaryDirectory(prefix="unpitch-demo-") as folder:
            yield Sample(
                _lay_out(Path(folder) / "Maildir", mails), "lies in a Maildir in a temporary folder", len(mails), str
            )
        return
    password = secrets.token_urlsafe(12)
    with _server(password) as port:
        _append(port, password, mails)
        location = f"imap://{USER}@127.0.0.1:{port}/INBOX"
        yield Sample(
            location,
            "is served by an IMAP server on this machine (pymap, in memory)",
            len(mails),
            lambda _account: password,
        )


def _lay_out(maildir: Path, mails: list[bytes]) -> str:
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    for number, raw in enumerate(mails):
        (maildir / "cur" / f"{1_700_000_000 + number}.M{number}.demo:2,S").write_bytes(raw)
    return str(maildir)


@contextmanager
def _server(password: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--host", "127.0.0.1", "--port", str(port), "--no-tls", "dict", "--demo-user", USER]
    code = (
        "import sys; from pymap.main import main;"
        " sys.argv.append(f'--demo-password={sys.stdin.readline().strip()}'); sys.exit(main())"  # it may begin with "-"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,  # brings the password, which has no place among the arguments
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us; we end the server ourselves
    )
    try:
        assert server.stdin is not None  # noqa: S101  (it is a pipe)
        server.stdin.write(f"{password}\n")
        server.stdin.close()
        _await(port, server)
        yield port
    finally:
        server.terminate()
        server.wait(_START_SECONDS)


def _await(port: int, server: subprocess.Popen[str]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise ServerError("The demo's IMAP server (pymap) did not start. Without pymap installed the demo uses a Maildir.")


def _append(port: int, password: str, mails: list[bytes]) -> None:
    with imaplib.IMAP4("127.0.0.1", port) as connection:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.login(USER, password)
        for raw in mails:
            date = imaplib.Time2Internaldate(parsedate_to_datetime(message_from_bytes(raw)["Date"]).astimezone())
            connection.append("INBOX", "(\\Seen)", date, raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
