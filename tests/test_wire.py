"""Never EXPUNGE, never CLOSE, nothing but the list: the rules that every test server checks at its end, and that they can fail."""

from __future__ import annotations

import imaplib
import socket
from collections.abc import Callable

import pytest
from dovecot import PASSWORD, Dovecot, missing
from scripted_imap import ScriptedServer
from wire_rules import violations

SELECTED = 'A1 SELECT "INBOX"'


def _violations(*lines: str) -> list[str]:
    return violations(f"{line}\r\n".encode() for line in lines)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("A1 NOOP", 'A2 LIST "" "*"', 'A3 STATUS "a \\"b\\"" (UIDVALIDITY UIDNEXT)', "A4 LOGOUT"),
        ('A1 EXAMINE "INBOX"', "A2 UID SEARCH UID 1:5", "A3 UID FETCH 1,3:4 (UID FLAGS BODY.PEEK[]<0.1048576>)"),
        ('A1 EXAMINE "INBOX"', "A2 UID FETCH 1 (UID BODY.PEEK[HEADER.FIELDS (FROM SENDER)]<0.4096> EMAILID)"),
        (SELECTED, 'A2 UID MOVE 1:2,5 "LinkedIn"'),
        (SELECTED, 'A2 UID COPY 1:3 "L"', "A3 UID STORE 1:3 +FLAGS.SILENT (\\Deleted)", "A4 UID EXPUNGE 1,3"),
        (SELECTED, "A2 UID STORE 7 -FLAGS.SILENT (\\Deleted)", "A3 UID STORE 7 +FLAGS.SILENT (\\Seen $Ads)"),
        ("A0 CAPABILITY", "A1 AUTHENTICATE PLAIN", "AGEAYg==", "A2 CAPABILITY", SELECTED),
        ("A1 IDLE", "DONE"),
    ],
)
def test_what_we_send_is_within_the_rules(lines: tuple[str, ...]) -> None:
    assert _violations(*lines) == []


@pytest.mark.parametrize(
    "lines",
    [
        ("A2 EXPUNGE",),
        ("A2 CLOSE",),
        ("A2 expunge",),
        ("A2 EXPUNGE ",),
        ("A2 UID EXPUNGE 5",),
        ("A2 UID STORE 1:4 +FLAGS.SILENT (\\Deleted)", "A3 UID EXPUNGE 1:5"),
        (
            "A2 UID STORE 4 +FLAGS.SILENT (\\Deleted)",
            "A3 UID STORE 4 -FLAGS.SILENT (\\Deleted)",
            "A4 UID EXPUNGE 4",
        ),
        ("A2 UID STORE 4 +FLAGS.SILENT (\\Deleted)", 'A3 SELECT "Other"', "A4 UID EXPUNGE 4"),
        ("A2 STORE 1 +FLAGS (\\Deleted)",),
        ("A2 STORE 1 +FLAGS.SILENT (\\Deleted)",),
        ("A2 UID STORE 1:* +FLAGS.SILENT (\\Deleted)",),
        ("A2 UID STORE 1 FLAGS.SILENT (\\Deleted)",),
        ("A2 UID STORE 1 +FLAGS.SILENT (\\Seen \\Deleted)",),
        ('A2 MOVE 1 "L"',),
        ('A2 UID MOVE 1:* "L"',),
        ('A2 EXAMINE "INBOX"', 'A3 UID MOVE 1 "L"'),
        ("A2 FETCH 1 (FLAGS)",),
        ("A2 UID FETCH 1 (BODY[])",),
        ("A2 UID FETCH 1:* (FLAGS)",),
        ('A2 DELETE "L"',),
        ('A2 RENAME "L" "M"',),
        ("A2 CREATE {1}", "L"),
        ('A2 LIST "" "*" RETURN (STATUS (MESSAGES))',),
        ("A2 UID SEARCH TEXT x",),
        ('A2 SUBSCRIBE "a"b"',),
        ("no tag",),
    ],
)
def test_what_we_never_send_is_seen(lines: tuple[str, ...]) -> None:
    assert _violations(SELECTED, *lines) != []


def test_an_unopened_folder_is_not_changed() -> None:
    assert _violations('A2 UID MOVE 1 "L"') != []


def test_a_command_that_was_cut_off_is_none() -> None:
    assert violations([b"A1 NOOP\r\n", b"A2 EXPUNGE"]) == []
    assert violations([b"A1 NOOP\r\n", b"A2 EXPUNGE\r\n"]) != []


def test_only_who_says_so_right_after_login_is_a_neighbour() -> None:
    who = 'A2 ID ("name" "neighbour")'
    assert _violations("A1 AUTHENTICATE PLAIN", "AGEAYg==", who, "A3 EXPUNGE") == []
    assert _violations(who, "A3 EXPUNGE") == []
    assert _violations("A1 NOOP", who, "A3 EXPUNGE") != []
    assert _violations("A1 EXPUNGE", who) != []


#: What a mail program that is not ours might do to a folder, and a run of ours must not.
BAD: list[Callable[[imaplib.IMAP4], object]] = [
    lambda client: client.expunge(),
    lambda client: client.close(),
    lambda client: client.store("1", "+FLAGS", "(\\Deleted)"),
    lambda client: client.uid("EXPUNGE", "1"),
    lambda client: client.append("INBOX", "", "", b"Subject: x\r\n\r\n"),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_real_server_whose_client_did_that_fails_its_test(bad: Callable[[imaplib.IMAP4], object]) -> None:
    if reason := missing():
        pytest.skip(reason)
    with pytest.raises(AssertionError, match="something was on the wire"), Dovecot() as server:
        user = server.new_user()
        server.deliver(user, b"Subject: x\r\n\r\nx\r\n")
        client = imaplib.IMAP4("127.0.0.1", server.plain_port)
        client.login(user, PASSWORD)
        client._simple_command("SELECT", '"INBOX"')
        client.state = "SELECTED"
        bad(client)
        client.logout()
    assert not server.home.exists()


def test_a_real_server_lets_a_neighbour_do_what_it_likes() -> None:
    if reason := missing():
        pytest.skip(reason)
    with Dovecot() as server:
        user = server.new_user()
        server.deliver(user, b"Subject: x\r\n\r\nx\r\n")
        with server.neighbour(user) as client:
            client.select()
            for bad in BAD:
                bad(client)
                client.select()
        assert [b"".join(lines).count(b"EXPUNGE") for _, lines in server.sessions()] == [2]


def test_a_scripted_server_that_is_sent_that_fails_its_test() -> None:
    for line, ours in ((b"A2 EXPUNGE\r\n", True), (b"A2 NOOP\r\n", True), (b"A2 EXPUNGE\r\n", False)):
        bad = ours and b"EXPUNGE" in line
        caught: list[str] = []
        try:
            with ScriptedServer(ours=ours) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(b'A1 SELECT "INBOX"\r\n' + line + b"A3 LOGOUT\r\n")
                while client.recv(1000):
                    pass
        except AssertionError as error:
            caught.append(str(error))
        assert [("session 1: not on the list: A2 EXPUNGE" in one) for one in caught] == [True] * bad
