"""Looks at a mailbox and a journal after a fault and a clean rerun, and says what is not as it must be (I1-I7 of the fault plan)."""

from __future__ import annotations

import contextlib
import imaplib
import re
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import wire_rules
from dovecot import PASSWORD

from filters.journal import Move, open_journal
from filters.moving import Outcome

#: What is counted. "altered": a message of ours has other flags or another date, or is not where it belongs. "restless": a rerun
#: changes something again and again. "forbidden": a command that is not on the list.
KINDS = ("lost", "duplicated", "foreign", "deleted", "journal", "altered", "untrue", "restless", "crashed", "forbidden")
_FETCHED = re.compile(rb'UID (\d+)|FLAGS \(([^)]*)\)|INTERNALDATE "([^"]*)"')
_LISTED = re.compile(rb'\(([^)]*)\) (?:"(.)"|NIL) "?([^"]+)"?$')


class Server(Protocol):
    """What a Dovecot and a Courier have in common."""

    separator: str
    prefix: str
    plain_port: int
    home: Path

    def new_user(self) -> str: ...
    def deliver(self, user: str, raw: bytes, *, folder: str = "", flags: str = "") -> None: ...
    def maildir(self, user: str, folder: str = "") -> Path: ...
    def url(self, user: str, folder: str = "INBOX", *, plain: bool = False) -> str: ...


@dataclass(frozen=True, slots=True)
class Message:
    """A message as another client sees it. `folder` is as the server spells it."""

    folder: str
    uidvalidity: int
    uid: int
    flags: frozenset[str]
    date: str
    raw: bytes = field(repr=False)

    @property
    def key(self) -> str:
        """As the journal spells its place."""
        return f"{self.uidvalidity}:{self.uid}"

    @property
    def message_id(self) -> str:
        """With its angle brackets."""
        found = re.search(rb"(?im)^Message-ID: (<.+>)", self.raw)
        return found[1].decode() if found else ""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    kind: str
    text: str


def look(server: Server, user: str, only: Collection[str] = ()) -> list[Message]:
    """Every message of every folder, or of `only` these, by a connection of our own past the proxy. While somebody deletes and
    renames folders, look at your own only."""
    client = another_client(server, user)
    try:
        found = []
        for folder in folders(client):
            if only and folder not in only:
                continue
            answer, _ = client.select(f'"{folder}"')  # by EXAMINE, Courier gives numbers that it does not keep
            assert answer == "OK", folder
            uidvalidity = int(client.response("UIDVALIDITY")[1][0] or 0)
            found += list(_messages(client, folder, uidvalidity))
        return found
    finally:
        client.logout()


def another_client(server: Server, user: str) -> imaplib.IMAP4:
    """A mail program that is not ours, and says so, for those who read on the server what was sent."""
    client = imaplib.IMAP4("127.0.0.1", server.plain_port)
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each APPEND takes 40 ms
    client.login(user, PASSWORD)
    with contextlib.suppress(imaplib.IMAP4.error):  # Courier knows no ID
        client.xatom(*wire_rules.NEIGHBOUR.split(" ", 1))
    return client


def folders(client: imaplib.IMAP4) -> list[str]:
    """Names of the folders that can hold mail."""
    listed = [_LISTED.match(line) for line in client.list()[1] if isinstance(line, bytes)]
    return [one[3].decode() for one in listed if one and b"\\noselect" not in one[1].lower()]


def _messages(client: imaplib.IMAP4, folder: str, uidvalidity: int) -> Iterable[Message]:
    answer, lines = client.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")
    assert answer == "OK", lines
    for number, line in enumerate(lines):
        if isinstance(line, tuple):
            tail = lines[number + 1] if number + 1 < len(lines) else b""
            words = line[0] + b" " + (tail if isinstance(tail, bytes) else b"")
            items = [match.groups() for match in _FETCHED.finditer(words)]
            uid = next(int(one[0]) for one in items if one[0])
            flags = next(one[1] for one in items if one[1] is not None)
            date = next(one[2] for one in items if one[2])
            kept = frozenset(flag.decode() for flag in flags.split() if flag.lower() != b"\\recent")
            yield Message(folder, uidvalidity, uid, kept, date.decode(), line[1])


def content(before: Sequence[Message], after: Sequence[Message]) -> list[Violation]:
    """I1 and I2: every message exists as often as before. By its bytes, so that an altered one is a lost one."""
    had, has = Counter(one.raw for one in before), Counter(one.raw for one in after)
    names = {one.raw: one.message_id for one in (*before, *after)}
    lost = [Violation("lost", f"{names[raw]}: {had[raw]} before, {has[raw]} now") for raw in had if has[raw] < had[raw]]
    return lost + [
        Violation("duplicated", f"{names[raw]}: {had[raw]} before, {has[raw]} now: {_where(after, raw)}")
        for raw in has
        if has[raw] > had[raw]
    ]


def _where(messages: Iterable[Message], raw: bytes) -> str:
    return ", ".join(f"{one.folder} {one.key}" for one in messages if one.raw == raw)


def placing(
    before: Sequence[Message], after: Sequence[Message], ours: Callable[[Message], bool], target: str
) -> list[Violation]:
    """I3 and I4: bystanders are where and as they were; ours lie in `target` ("" is where they were), as they were."""

    def seen(message: Message, folder: str) -> tuple[str, frozenset[str], str, bytes]:
        return folder, message.flags, message.date, message.raw

    here = Counter(seen(one, one.folder) for one in after)
    found = []
    for one in before:
        mine = ours(one)
        if not here[seen(one, target if mine and target else one.folder)]:
            is_now = [f"{two.folder} {sorted(two.flags)} {two.date}" for two in after if two.raw == one.raw]
            was = f"{one.folder} {sorted(one.flags)} {one.date}"
            found.append(Violation("altered" if mine else "foreign", f"{one.message_id}: was {was}; is {is_now}"))
    return found + deleted(before, after, ours)


def deleted(before: Sequence[Message], after: Sequence[Message], ours: Callable[[Message], bool]) -> list[Violation]:
    """I4: nothing of ours is left marked as deleted."""
    marked = {one.raw for one in before if "\\Deleted" in one.flags}
    return [
        Violation("deleted", f"{one.message_id} in {one.folder}")
        for one in after
        if ours(one) and "\\Deleted" in one.flags and one.raw not in marked
    ]


def journal(
    path: Path, after: Sequence[Message], spelt: Callable[[str], str], *, allowed: Collection[str] = ()
) -> list[Violation]:
    """I5: nothing is open, and what the journal calls moved lies where it says. `spelt` gives the server's name of a folder;
    `allowed` are further states that are no violation here, such as "vanished" where a neighbour takes mail away."""
    at = {(one.folder, one.key): one for one in after}
    found = []
    for row in _rows(path):
        said = f"move {row.id} of {row.message_id} ({row.state}, {row.reason})"
        if row.state in ("planned", "sent", "copied", "removing"):
            found.append(Violation("journal", f"{said} is open"))
        elif row.state in ("vanished", "doubt") and row.state not in allowed:
            found.append(Violation("journal", f"{said}, and nobody was there to take it"))
        elif row.state == "done" and row.moved_to:
            there = at.get((spelt(row.folder), row.moved_to.key))
            if (there is None and "vanished" not in allowed) or (there and there.message_id != row.message_id):
                found.append(Violation("journal", f"{said} is not at {row.folder} {row.moved_to.key}"))
    return found


def one_row_each(path: Path, after: Sequence[Message], ours: Callable[[Message], bool], target: str) -> list[Violation]:
    """I5, the other way round: for each message of ours in the target there is one move that is done, and for others none."""
    done = Counter(row.message_id for row in _rows(path) if row.state == "done" and not row.undoes)
    there = Counter(one.message_id for one in after if ours(one) and one.folder == target)
    return [
        Violation("journal", f"{name}: {done[name]} moves are done, and {there[name]} lie in {target}")
        for name in sorted(done.keys() | there.keys())
        if done[name] != there[name]
    ]


def truth(outcome: Outcome, now: Sequence[Message], spelt: Callable[[str], str]) -> list[Violation]:
    """I7: what a run reports as moved lies in the target and nowhere else, and what it reports as left was left. `now` is how
    things are right after the run; only for mail that has a Message-ID of its own."""
    where = {name: {one.folder for one in now if one.message_id == name} for name in {one.message_id for one in now}}
    found = [
        Violation(
            "untrue", f"{row.message_id} is reported as moved to {row.folder}, and is in {where.get(row.message_id)}"
        )
        for row in outcome.moved
        if where.get(row.message_id) != {spelt(row.folder)}
    ]
    return found + [
        Violation(
            "untrue", f"{one.message_id} is reported as left ({one.reason}), and is in {where.get(one.message_id)}"
        )
        for one in outcome.left
        if spelt(one.place.folder) not in where.get(one.message_id, set()) and "taken back before" not in one.reason
    ]


def forbidden(sessions: Sequence[bytes]) -> list[Violation]:
    """D2 and the rest of the list: what no session of ours may send."""
    lines = [session.splitlines(keepends=True) for session in sessions]
    return [Violation("forbidden", text) for one in lines for text in wire_rules.violations(one)]


def _rows(path: Path) -> list[Move]:
    if not path.exists():
        return []
    with open_journal(path) as opened:
        return [one for run in opened.runs() for one in opened.moves(run.id)]
