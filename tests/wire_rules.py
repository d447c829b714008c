"""What may be on the wire, written down a second time and read on the server's side: for every session of every test run.

The throwaway Dovecot logs what each of its sessions was sent, the scripted server records it; both ask `violations` when they
end, and a test run in which we sent anything else fails. A client that is not ours says so right after login: NEIGHBOUR.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import dropwhile

#: What another mail program in a test sends first of all after its login; its session is left out.
NEIGHBOUR = 'ID ("name" "neighbour")'

#: TLS, spoken to a server that has none.
_HANDSHAKE = b"\x16\x03"
_TEXT = r'"(?:[^"\\]|\\["\\])*"'
_UIDS = r"[\d:,]+"
_ITEMS = r"\((?:(?:UID|FLAGS|INTERNALDATE|RFC822\.SIZE|X-GM-MSGID|EMAILID|BODY\.PEEK\[[^\]]*\](?:<[\d.]+>)?) ?)+\)"
_LOGIN = re.compile(r"(?:CAPABILITY|STARTTLS|LOGIN .*|AUTHENTICATE \S+(?: \S+)?)")
_READING = re.compile(
    r"CAPABILITY|NOOP|NAMESPACE|UNSELECT|IDLE|LOGOUT|ID .*"
    rf"|LIST {_TEXT} {_TEXT}|STATUS {_TEXT} \([A-Z ]+\)|(?:EXAMINE|GETQUOTAROOT|MYRIGHTS) {_TEXT}"
    rf"|UID SEARCH UID {_UIDS}(?: HEADER Message-ID {_TEXT}| SINCE \d\d?-\w{{3}}-\d{{4}})?|UID FETCH {_UIDS} {_ITEMS}"
)
_MAKING = re.compile(rf"(?:SELECT|CREATE|SUBSCRIBE) {_TEXT}")
_CHANGING = re.compile(
    rf"UID (?:MOVE|COPY) {_UIDS} {_TEXT}"
    rf"|UID STORE (?P<marked>{_UIDS}) \+FLAGS\.SILENT \(\\Deleted\)|UID STORE (?P<restored>{_UIDS}) -FLAGS\.SILENT \(\\Deleted\)"
    rf"|UID STORE {_UIDS} \+FLAGS\.SILENT \((?:(?!\\Deleted|\\Draft)[^ ()]+ ?)+\)"
    rf"|UID EXPUNGE (?P<expunged>{_UIDS})"
)


def violations(lines: Iterable[bytes]) -> list[str]:
    """What one session was sent against the rules, each with the reason. `lines` come with their line ends; one that was cut
    off before its end was no command, and does not count."""
    lines = [line for line in lines if line.endswith(b"\n")]
    if lines[:1] and lines[0].startswith(_HANDSHAKE):
        return []
    commands = _without_login([line.decode("latin-1").rstrip("\r\n") for line in lines])
    if commands[:1] and commands[0].partition(" ")[2] == NEIGHBOUR:
        return []
    found = []
    opened, marked = "", set[int]()
    for line in commands:
        command = line.partition(" ")[2]
        if command.startswith(("SELECT ", "EXAMINE ")):
            opened, marked = command.partition(" ")[0], set()
        change = _CHANGING.fullmatch(command)
        if change:
            marked = (marked | _uids(change["marked"])) - _uids(change["restored"])
            if opened != "SELECT":
                found.append(f"changes a folder that was not opened by SELECT: {line}")
            if not _uids(change["expunged"]) <= marked:
                found.append(f"expunges what this session did not mark: {line}")
        elif not (line == "DONE" or _READING.fullmatch(command) or _MAKING.fullmatch(command)):
            found.append(f"not on the list: {line}")
    return found


def check(sessions: Iterable[tuple[str, Sequence[bytes]]]) -> None:
    """Fail when any session (its name, its lines) broke a rule."""
    found = [f"{name}: {one}" for name, lines in sessions for one in violations(lines)]
    assert not found, (
        f"{len(found)} times something was on the wire that we never send (a client that is not ours says {NEIGHBOUR} right"
        " after its login):\n" + "\n".join(found[:20])
    )


def _without_login(lines: list[str]) -> list[str]:
    """Without what comes before and belongs to the login; Dovecot logs none of it. To a token that is refused an empty line is said."""
    pairs = zip(["", *lines], lines, strict=False)
    rest = [
        line
        for before, line in pairs
        if " " in line or (" AUTHENTICATE " not in before and (line or not before or " " in before))
    ]
    return [*dropwhile(lambda line: _LOGIN.fullmatch(line.partition(" ")[2]), rest)]


def _uids(text: str | None) -> set[int]:
    ranges = [part.partition(":") for part in (text or "").split(",") if part]
    return {uid for low, _, high in ranges for uid in range(int(low), int(high or low) + 1)}
