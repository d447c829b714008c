"""Waiting for new mail on one source: IDLE and what servers do in it, polling, and Maildirs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mails
import pytest
from dovecot import PASSWORD, Dovecot
from scripted_imap import CUT, Answer, ScriptedServer

from filters.errors import ServerError
from filters.sources import Source, Wanted
from filters.sources.imap import ImapSource, open_imap
from filters.sources.maildir import open_maildir
from filters.sources.patience import Patience, Vigil

ALL = Wanted(("FROM",), lambda _: True)
#: Short turns; those that a test ends by news are long enough for a busy machine.
SHORT, LONG = Vigil(turn=0.05, poll=0.05, step=0.02), Vigil(turn=60, poll=60, step=0.05)
IDLES = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN IDLE MOVE UIDPLUS NAMESPACE\r\nTAG OK done\r\n"
NONE, ONE = b"* SEARCH\r\nTAG OK x\r\n", b"* SEARCH 100\r\nTAG OK x\r\n"


def opened(server: ScriptedServer, attempts: int = 2) -> ImapSource:
    patience = Patience(attempts=attempts, first=0.0, quiet=0.0)
    return open_imap(server.url(), lambda _: "pw", changes=True, patience=patience)


def waited(idle: Answer, search: Answer = NONE, vigil: Vigil = SHORT, **more: Answer) -> tuple[bool, list[str]]:
    """What waiting comes to on a server with one answer to IDLE, and what that was asked meanwhile."""
    answers = {"CAPABILITY": IDLES, "IDLE": idle, "UID SEARCH": search, **more}
    with ScriptedServer(answers) as server, closing(opened(server)) as source:
        before = len(server.commands)
        return source.wait(vigil), server.commands[before:]


def test_news_end_the_wait_and_silence_its_turn() -> None:
    assert waited(b"+ \r\n")[0] is False
    told, asked = waited(b"+ go\r\n* 4 EXISTS\r\n", [NONE, ONE], LONG)
    assert told
    assert asked == ["UID SEARCH UID 100:4294967295", "IDLE", "NOOP", "UID SEARCH UID 100:4294967295"]


def test_news_that_the_server_loses_are_found_all_the_same() -> None:
    assert waited(b"+ \r\n", [NONE, ONE])[0] is True


def test_mail_that_came_before_the_wait_is_not_waited_for() -> None:
    assert waited(b"+ \r\n", ONE, LONG) == (True, ["UID SEARCH UID 100:4294967295"])


@pytest.mark.parametrize(
    "idle",
    [
        b"* 4 EXISTS\r\n+ go\r\n",  # before the "+"
        b"+ go\r\n* 4 EXISTS\r\n* 1 FETCH (FLAGS ())\r\n* OK Still here\r\n",
        b"+ go\r\n* OK Still here\r\n* 4 EXI",  # the rest comes never: silence in the middle of a line
        b"+ go\r\nTAG OK timed out\r\n",  # the server ends it by itself
        b"+ go\r\n* BYE too long\r\n" + CUT,
        b"+ go\r\n" + CUT,
        b"* BYE\r\n" + CUT,
        b"what?\r\n",
    ],
)
def test_whatever_a_server_does_in_idle_new_mail_is_found(idle: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filters.sources.guarded._IDLE_SILENCE", 0.2)
    assert waited([idle, b"+ \r\n"], [NONE, ONE])[0] is True


@pytest.mark.parametrize("answer", [b"TAG BAD what?\r\n", b"TAG NO [CANNOT] not here\r\n"])
def test_idle_that_is_offered_and_refused_is_not_asked_for_again(answer: bytes) -> None:
    with ScriptedServer({"CAPABILITY": IDLES, "IDLE": answer, "UID SEARCH": NONE}) as server:
        with closing(opened(server)) as source:
            assert not source.wait(SHORT)
            assert not source.wait(SHORT)
        assert server.commands.count("IDLE") == 1
        assert server.commands.count("NOOP") == 2


def test_a_server_that_hangs_up_in_every_idle_is_an_error_and_not_a_loop() -> None:
    with ScriptedServer({"CAPABILITY": IDLES, "IDLE": b"+ go\r\n" + CUT, "UID SEARCH": NONE}) as server:
        with closing(opened(server)) as source, pytest.raises(ServerError):
            source.wait(LONG)
        assert server.connections < 5


def test_a_connection_that_leads_nowhere_is_noticed_at_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filters.sources.guarded._IDLE_SILENCE", 0.2)
    told, asked = waited([b"+ go\r\n", b"+ \r\n"], [NONE, ONE], DONE=[b"", b"TAG OK done\r\n"])
    assert told
    assert asked.count("IDLE") == 2, "on a new connection"


def test_tcp_is_told_to_notice_as_well() -> None:
    with ScriptedServer() as server, closing(opened(server)) as source:
        sock = source.session.client._wire.sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_machine_that_slept_looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    start, steps = time.monotonic(), Vigil(step=0.01).steps(60)
    next(steps)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3_600)
    assert list(steps) == []
    assert time.monotonic() - start < 60


# --- real mailboxes


def imap_box(dovecot: Dovecot, user: str) -> tuple[Source, Callable[[bytes], None]]:
    url = dovecot.url(user, plain=True)
    return open_imap(url, lambda _: PASSWORD, changes=True), lambda raw: dovecot.deliver(user, raw)


def maildir_box(root: Path) -> tuple[Source, Callable[[bytes], None]]:
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)

    def deliver(raw: bytes) -> None:
        number = sum(1 for _ in root.glob("*/*"))
        (root / "tmp" / f"{number}.x").write_bytes(raw)
        (root / "tmp" / f"{number}.x").rename(root / "new" / f"{number}.x")

    return open_maildir(root, changes=True), deliver


@pytest.mark.parametrize("kind", ["imap", "maildir"])
def test_a_source_tells_of_new_mail_and_only_of_that(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if kind == "imap":
        source, deliver = imap_box(request.getfixturevalue("dovecot"), request.getfixturevalue("user"))
    else:
        source, deliver = maildir_box(tmp_path / "box")
    with closing(source):
        deliver(mails.friend(1))
        assert len(list(source.scan(ALL))) == 1
        assert not source.wait(SHORT)
        deliver(mails.friend(2))
        assert source.wait(LONG)
        assert source.wait(LONG), "until somebody looks at it"
        assert len(list(source.scan(ALL))) == 2
        assert not source.wait(SHORT)


def test_marking_mail_in_a_maildir_is_no_news(tmp_path: Path) -> None:
    source, deliver = maildir_box(tmp_path / "box")
    deliver(mails.friend(1))
    list(source.scan(ALL))
    (tmp_path / "box" / "new" / "0.x").rename(tmp_path / "box" / "cur" / "0.x:2,S")
    assert not source.wait(SHORT)


def test_what_a_long_watch_remembers_of_messages_does_not_grow(dovecot: Dovecot, user: str) -> None:
    source, deliver = imap_box(dovecot, user)
    assert isinstance(source, ImapSource)
    with closing(source):
        for number in range(3):
            deliver(mails.friend(number))
            list(source.scan(ALL))
            source.extent.begin = source.extent.end
        assert len(source._seen) == 1
