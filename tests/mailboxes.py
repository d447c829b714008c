"""Lays messages out for every kind of source."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dovecot import PASSWORD, Dovecot

from filters.sources import Mail, Passed, Place, Source, Target, Unreadable, Wanted
from filters.sources.imap import open_imap
from filters.sources.local import open_local
from filters.sources.patience import Patience

#: No pause between attempts.
AT_ONCE = Patience(first=0, quiet=0)
WANTED = Wanted(("X-Wanted", "Message-ID"), lambda block: b"x-wanted: yes" in block.lower())


def message(number: int, *, wanted: bool = True, body: bytes = b"Hello.\r\n", extra: bytes = b"") -> bytes:
    head = f"From: Ann <ann@example.org>\r\nSubject: Number {number}\r\nMessage-ID: <{number}@example.org>\r\n"
    return head.encode() + (b"X-Wanted: yes\r\n" if wanted else b"") + extra + b"\r\n" + body


@dataclass(frozen=True)
class Mailbox:
    """Messages laid out for one kind of source."""

    open: Callable[[bool], Source]
    snapshot: Callable[[], object]
    open_at: Callable[[str], Source] | None = None


def files(root: Path) -> dict[str, object]:
    """Names, bytes, modes and times of all there is, without touching any of it."""
    found: dict[str, object] = {}
    for path in sorted([root, *root.rglob("*")]):
        status = path.lstat()
        times = (status.st_mtime_ns, 0 if path.is_dir() else status.st_atime_ns)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOATIME", 0))
        with os.fdopen(descriptor, "rb") if path.is_file() else io.BytesIO() as file:
            found[str(path.relative_to(root))] = (file.read(), status.st_mode, times)
    return found


def _age(root: Path) -> None:
    """Make reading visible: most systems note it when the last reading is older than the last change."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (1_000_000_000, 1_100_000_000))


def maildir(root: Path, messages: list[bytes]) -> Mailbox:
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    for number, raw in enumerate(messages):
        name = f"cur/{number}.M1.host:2,FS" if number % 2 else f"new/{number}.M1.host"
        (root / name).write_bytes(raw)
    _age(root)

    def opened(changes: bool, folder: str = "") -> Source:
        return open_local(str(root / folder), changes=changes, stdin=io.BytesIO())

    return Mailbox(opened, lambda: files(root), lambda folder: opened(True, f".{folder}"))


def mbox(root: Path, messages: list[bytes]) -> Mailbox:
    root.mkdir()
    _write_mbox(root / "box", messages)
    _age(root)
    return Mailbox(
        lambda changes: open_local(str(root / "box"), changes=changes, stdin=io.BytesIO()), lambda: files(root)
    )


def _write_mbox(path: Path, messages: list[bytes]) -> None:
    with path.open("wb") as file:
        for raw in messages:
            lines = raw.splitlines(keepends=True)
            quoted = [b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in lines]
            file.write(b"From ann@example.org Tue May  3 10:00:00 2016\r\n" + b"".join(quoted) + b"\r\n")


def eml_folder(root: Path, messages: list[bytes]) -> Mailbox:
    (root / "b" / "c").mkdir(parents=True)
    for number, raw in enumerate(messages):
        (root / ("a.EML" if number == 0 else f"b/{number}.eml" if number < 3 else f"b/c/{number}.eml")).write_bytes(raw)
    (root / "b" / "notes.txt").write_text("no mail")
    _age(root)
    return Mailbox(lambda changes: open_local(str(root), changes=changes, stdin=io.BytesIO()), lambda: files(root))


def one_eml(root: Path, messages: list[bytes]) -> Mailbox:
    root.mkdir()
    (root / "one.eml").write_bytes(messages[0])
    _age(root)
    location = str(root / "one.eml")
    return Mailbox(lambda changes: open_local(location, changes=changes, stdin=io.BytesIO()), lambda: files(root))


def stdin(root: Path, messages: list[bytes]) -> Mailbox:
    return Mailbox(lambda changes: open_local("-", changes=changes, stdin=io.BytesIO(messages[0])), lambda: None)


def stdin_mbox(root: Path, messages: list[bytes]) -> Mailbox:
    root.mkdir()
    _write_mbox(root / "box", messages)
    content = (root / "box").read_bytes()
    return Mailbox(lambda changes: open_local("-", changes=changes, stdin=io.BytesIO(content)), lambda: None)


def on_server(server: Dovecot, messages: list[bytes]) -> Mailbox:
    user = server.new_user()
    for number, raw in enumerate(messages):
        server.deliver(user, raw, flags="FS" if number % 2 else "")

    def opened(changes: bool, folder: str = "INBOX") -> Source:
        return open_imap(
            server.url(user, folder), lambda _: PASSWORD, changes=changes, ca_file=server.ca_file, patience=AT_ONCE
        )

    return Mailbox(opened, lambda: server.snapshot(user), lambda folder: opened(True, folder))


def mails_of(source: Source) -> dict[bytes, Mail]:
    return {one.raw: one for one in source.scan(WANTED) if isinstance(one, Mail)}


def scan(source: Source, wanted: Wanted = WANTED) -> list[Mail | Passed | Unreadable]:
    try:
        return list(source.scan(wanted))
    finally:
        source.close()


def places_of(
    source: Source, folder: str, identity: str, message_id: str = "", since: Target | None = None
) -> list[Place]:
    """Where one message is."""
    return list(source.find(folder, {identity: message_id}, since).get(identity, []))
