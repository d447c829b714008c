"""The guarded client: what can leave it, what can come in, and the measured defects of the libraries below (imap.md 6.1)."""

from __future__ import annotations

import imaplib
import logging
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from dovecot import Dovecot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imapclient import IMAPClient
from imapclient.response_parser import parse_fetch_response, parse_message_list
from scripted_imap import CUT, Answer, ScriptedServer, mailbox

from filters.errors import FiltersError, LoginError, NotFoundError, RefusedError, ServerError
from filters.sources.answers import copied, uid_set
from filters.sources.guarded import GuardedClient, RejectedError
from filters.sources.location import decoded, encoded
from filters.sources.wire import BrokenOffError

PASSWORD = 'Vq7 "se\\cret" x='
MAIL = b"From: ann@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n"
HEAD = "UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM)]<0.4096>"
ONLY_LOGIN = {"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\nTAG OK done\r\n"}


@contextmanager
def connected(
    answers: dict[str, Answer] | None = None, *, changes: bool = True
) -> Iterator[tuple[GuardedClient, ScriptedServer]]:
    """A client logged in at a scripted server, with INBOX open."""
    with ScriptedServer(answers) as server:
        client = GuardedClient("127.0.0.1", server.port, tls=False, changes=changes)
        try:
            client.login("ann", PASSWORD)
            client.open("INBOX", writing=changes)
            yield client, server
        finally:
            client.logout()


@contextmanager
def library(answers: dict[str, Answer] | None = None) -> Iterator[tuple[IMAPClient, ScriptedServer]]:
    """imapclient itself, to show what it does unguarded."""
    with ScriptedServer(answers, ours=False) as server:
        client = IMAPClient("127.0.0.1", server.port, ssl=False)
        client.login("ann", "pw")
        client.select_folder("INBOX")
        try:
            yield client, server
        finally:
            client.shutdown()


# What can leave


def test_a_dry_run_cannot_send_a_changing_command() -> None:
    with connected(changes=False) as (client, server):
        before = len(server.lines)
        changes: list[tuple[str, Callable[[], object]]] = [
            ("CREATE", lambda: client.create("News")),
            ("SUBSCRIBE", lambda: client.subscribe("News")),
            ("UID", lambda: client.move([1], "News")),
            ("UID", lambda: client.copy([1], "News")),
            ("UID", lambda: client.store([1], "+", ["\\Deleted"])),
            ("UID", lambda: client.uid_expunge([1])),
            ("UID", lambda: client._library.expunge([1])),
            ("SELECT", lambda: client._library.select_folder("INBOX")),
        ]
        for command, change in changes:
            with pytest.raises(RefusedError, match=f"not on the list of this run was not sent: {command}\\."):
                change()
        assert client.search(1, 5) == []
        assert len(server.lines) == before + 1


UNLISTED: list[Callable[[IMAPClient], object]] = [
    lambda client: client.expunge(),
    lambda client: client.close_folder(),
    lambda client: client.delete_messages([1]),
    lambda client: client.add_flags([1], [b"\\Seen"]),
    lambda client: client.remove_flags([1], [b"\\Seen"]),
    lambda client: client.set_flags([1], [b"\\Deleted"]),
    lambda client: client.add_flags([1], [b"\\Deleted"]),
    lambda client: client.append("INBOX", MAIL),
    lambda client: client.delete_folder("News"),
    lambda client: client.rename_folder("News", "Old"),
    lambda client: client.unsubscribe_folder("News"),
    lambda client: client.fetch([1], ["RFC822"]),
    lambda client: client.fetch([1], ["BODY[]"]),
    lambda client: client.fetch([1], ["ENVELOPE"]),
    lambda client: client.fetch("1:*", ["FLAGS"]),
    lambda client: client.search(["SUBJECT", "x"]),
    lambda client: client.search(["HEADER", "Message-ID", "ä"], charset="UTF-8"),
    lambda client: client._imap.send(b"A1 STARTTLS\r\n"),
    lambda client: client._imap.send(b"A1 ENABLE UTF8=ACCEPT\r\n"),
    lambda client: client._imap.send(b"A1 NOOP\r\nA2 EXPUNGE\r\n"),
    lambda client: client._imap.send(b"A1 FETCH 1 (FLAGS)\r\n"),
    lambda client: client._imap.send(b"A1 EXPUNGE \r\n"),
    lambda client: client._imap.send(b"A1 uid expunge 1\r\n"),
    lambda client: client._imap.send(b"A1 UID EXPUNGE\r\n"),
    lambda client: client._imap.send(b"A1 UID EXPUNGE 1:*\r\n"),
    lambda client: client._imap.send(b"A1 UID STORE 1:* +FLAGS.SILENT (\\Deleted)\r\n"),
    lambda client: client._imap.send(b"A1 UID STORE 1 +FLAGS (\\Deleted)\r\n"),
    lambda client: client._imap.send(b"A1 UID STORE 1 FLAGS.SILENT (\\Deleted)\r\n"),
    lambda client: client._imap.send(b"A1 UID STORE 1 -FLAGS.SILENT (\\Seen)\r\n"),
    lambda client: client._imap.send(b"A1 UID STORE 1 +FLAGS.SILENT (\\Seen \\Deleted)\r\n"),
    lambda client: client._imap.send(b"A1 UID STORE 1 +FLAGS.SILENT ()\r\n"),
    lambda client: client._imap.send(b'A1 UID COPY 1:* "News"\r\n'),
    lambda client: client._imap.send(b"A1 UID COPY 1 News\r\n"),
    lambda client: client._imap.send(b"A1 STORE 1 +FLAGS.SILENT (\\Deleted)\r\n"),
    lambda client: client._imap.send(b"YWJj\r\n"),
    lambda client: client._imap.send(b'A1 LIST "" "' + 8_000 * b"x" + b'"\r\n'),
]


@pytest.mark.parametrize("command", UNLISTED, ids=range(len(UNLISTED)))
@pytest.mark.parametrize("changes", [False, True])
def test_what_is_not_listed_never_leaves_even_from_inside_the_library(
    command: Callable[[IMAPClient], object], changes: bool
) -> None:
    answers: dict[str, Answer] = {"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN UIDPLUS\r\nTAG OK done\r\n"}
    with connected(answers, changes=changes) as (client, server):
        before = list(server.lines)
        with pytest.raises(RefusedError):
            command(client._library)
        client._wire.tagged_commands.clear()
        assert client.folders("x")
        assert [line.split(b" ", 1)[1] for line in server.lines[len(before) :]] == [b'LIST "" "x"\r\n']


def test_a_line_leaves_whole_or_not_at_all() -> None:
    with connected() as (client, server):
        before = len(server.lines)
        client._wire.send(b"A1 NO")
        client._wire.send(b"OP\nA2 EXPUNGE")
        with pytest.raises(RefusedError):
            client._wire.send(b"\r\n")
        assert client.search(1, 2) == []
        assert len(server.lines) == before + 1


def test_a_server_cannot_ask_for_the_password_twice() -> None:
    answers: dict[str, Answer] = {"SASL": b"+ \r\n"}
    with ScriptedServer(answers) as server:
        client = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        with pytest.raises(RefusedError):
            client.login("ann", PASSWORD)
        client.logout()
        assert sum(line.startswith(b"AGFubg") for line in server.lines) == 1


def _one_line_or_none(client: GuardedClient, server: ScriptedServer, command: Callable[[], object]) -> None:
    """Whatever `command` holds, it makes one well-formed line on the wire, or an error of ours and no line."""
    before = len(server.lines)
    with suppress(FiltersError):
        command()
    sent = server.lines[before:]
    assert len(sent) <= 1
    for line in sent:
        assert client._wire._allowed.fullmatch(line)
        assert line.count(b"\r") == line.count(b"\n") == 1


ANYTHING = (
    st.text() | st.text(alphabet='ab"\\\r\n\0{}()*% &+1:ä') | st.sampled_from(['x"\r\nA1 EXPUNGE', "{5}", '"', ""])
)


def test_t1_ic1_no_text_of_any_kind_makes_two_commands_of_one() -> None:
    """T1, IC1: searched values, folder names as typed and as servers spell them."""
    with connected() as (client, server):

        @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
        @given(ANYTHING)
        def check(text: str) -> None:
            _one_line_or_none(client, server, lambda: client.search(1, 9, text))
            _one_line_or_none(client, server, lambda: client.create(encoded(text)))
            _one_line_or_none(client, server, lambda: client.status(text))
            _one_line_or_none(client, server, lambda: client.folders(text))
            _one_line_or_none(client, server, lambda: client.fetch([1], text))
            assert not client.dead

        check()
        assert len(server.lines) > 400


def test_t1_no_user_name_or_password_makes_two_commands_of_one() -> None:
    with ScriptedServer(ONLY_LOGIN) as server:

        @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
        @given(ANYTHING, ANYTHING)
        def check(user: str, password: str) -> None:
            client = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
            before = len(server.lines)
            try:
                client.login(user, password)
            except FiltersError as error:
                assert len(password) < 4 or password not in str(error)
                assert len(server.lines) == before
            else:
                quoted = b" LOGIN " + b" ".join(_imap_string(text) for text in (user, password)) + b"\r\n"
                assert server.lines[before].endswith(quoted)
                assert len(server.lines) == before + 2
            client.logout()

        check()


def _imap_string(text: str) -> bytes:
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


# Defects of the libraries, by number


def test_ic1_a_hostile_message_id_cannot_leave_its_quotes() -> None:
    hostile = 'x"\r\nA1 DELETE "Keep"'
    with library({"UID SEARCH": b""}) as (unguarded, server):
        with pytest.raises(imaplib.IMAP4.abort):
            unguarded.search(["HEADER", "Message-ID", hostile])
        assert server.lines[-1].startswith(b'A1 DELETE \\"Keep\\"')
    with connected() as (client, server):
        before = len(server.lines)
        with pytest.raises(RefusedError, match="not searched for"):
            client.search(1, 9, hostile)
        assert len(server.lines) == before


def test_ic2_ic11_there_is_no_expunge_and_an_empty_set_is_never_sent() -> None:
    with library() as (unguarded, server):
        unguarded.expunge([])
        assert server.commands[-1] == "EXPUNGE"
    with connected() as (client, server):
        before = len(server.lines)
        empty: list[Callable[[], object]] = [
            lambda: client.move([], "News"),
            lambda: client.copy([], "News"),
            lambda: client.store([], "+", ["\\Deleted"]),
            lambda: client.uid_expunge([]),
            lambda: client.fetch([], HEAD),
            lambda: client.existing([]),
        ]
        for command in empty:
            with pytest.raises(RefusedError, match="no message at all"):
                command()
        assert len(server.lines) == before
        for name in ("expunge", "close", "close_folder", "add_flags", "append", "delete_messages", "delete_folder"):
            assert not hasattr(client, name)


def test_ic3_uids_are_integers_and_nothing_else() -> None:
    with library(mailbox({1: MAIL})) as (unguarded, _), pytest.raises(ValueError, match="invalid literal"):
        unguarded.fetch("1:3", ["UID"])
    with connected(mailbox({1: MAIL})) as (client, _):
        for wrong in (["1:*"], ["5"], [0], [-1], [2**32], [True], [1.0], [None]):
            with pytest.raises(RefusedError, match="no UID"):
                client.fetch(wrong, HEAD)
        assert list(client.fetch([3, 1], HEAD)) == [1]


def test_ic4_an_unsolicited_fetch_without_uid_is_nobodys() -> None:
    """imapclient takes sequence number 28 for UID 28 and gives it the flag of another message."""
    answer = (
        b"* 7 FETCH (UID 28 FLAGS (\\Seen) RFC822.SIZE 3)\r\n* 28 FETCH (FLAGS (\\Deleted))\r\n"
        b"* 9 FETCH (UID 99 FLAGS (\\Draft) RFC822.SIZE 3)\r\nTAG OK done\r\n"
    )
    with library({"UID FETCH": answer}) as (unguarded, _):
        assert unguarded.fetch([28], ["FLAGS"])[28][b"FLAGS"] == (b"\\Deleted",)
    with connected({"UID FETCH": answer}) as (client, _):
        found = client.fetch([28], "UID FLAGS RFC822.SIZE")
        assert {uid: one.flags for uid, one in found.items()} == {28: frozenset({"\\Seen"})}


ODD = {
    "short envelope": b'* 2 FETCH (UID 2 ENVELOPE ("x"))\r\n',
    "BODYSTRUCTURE NIL": b"* 2 FETCH (UID 2 BODYSTRUCTURE NIL)\r\n",
    "BODYSTRUCTURE ()": b"* 2 FETCH (UID 2 BODYSTRUCTURE ())\r\n",
    "uneven list": b"* 2 FETCH (UID 2 FLAGS)\r\n",
    "unescaped quote": b'* 2 FETCH (UID 2 X "a"b"")\r\n',
    "no list": b"* 2 FETCH UID\r\n",
    "flags NIL inside": b"* 2 FETCH (UID 2 FLAGS (NIL (x)))\r\n",
    "flags a number": b"* 2 FETCH (UID 2 FLAGS 5 RFC822.SIZE 3)\r\n",
    "uid no number": b"* 2 FETCH (UID two)\r\n",
    "deep nesting": b"* 2 FETCH (UID 2 X " + 5_000 * b"(" + 5_000 * b")" + b")\r\n",
    "wrong literal": b"* 2 FETCH (UID 2 X {3}\r\nabc {9})\r\n",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_ic5_one_odd_answer_costs_no_other_message(odd: bytes) -> None:
    with connected(mailbox(dict.fromkeys((1, 2, 3), MAIL), {2: odd})) as (client, _):
        found = client.fetch([1, 2, 3], HEAD)
        assert {1, 3} <= set(found) <= {1, 2, 3}
        assert [found[uid].body for uid in (1, 3)] == 2 * [
            b"From: ann@example.org\r\nMessage-ID: <1@example.org>\r\n\r\n"
        ]
        assert 2 not in found or found[2].body is None
        assert not client.dead


def test_ic5_the_library_loses_the_batch() -> None:
    for odd, error in ((ODD["short envelope"], IndexError), (ODD["BODYSTRUCTURE NIL"], TypeError)):
        with pytest.raises(error):
            parse_fetch_response([b"1 (UID 1 RFC822.SIZE 3)", odd[2:].replace(b"2 FETCH ", b"2 ").rstrip()])


NAMES = [
    ("Lists", "Lists"),
    ("R&D", "R&-D"),
    ("Entwürfe", "Entw&APw-rfe"),
    ("日本", "&ZeVnLA-"),
    ("a/b", "a/b"),
    ("tab\there", "tab&AAk-here"),
    ("😀", "&2D3eAA-"),
]


@pytest.mark.parametrize(("name", "raw"), NAMES)
def test_folder_names_go_both_ways_in_modified_utf7(name: str, raw: str) -> None:
    assert encoded(name) == raw
    assert decoded(raw) == name


@pytest.mark.parametrize("raw", ["R&D", "&", "a&b-", "&AGE-", "&ZeVnL-", "Entw&APw", "&2D0-"])
def test_ic6_a_name_that_is_no_proper_utf7_is_shown_as_it_is(raw: str) -> None:
    assert decoded(raw) == raw


def test_ic6_one_raw_name_does_not_hide_the_other_folders() -> None:
    answer = (
        b'* LIST () "/" "R&D"\r\n* LIST (\\Junk) "/" "Caf\xc3\xa9"\r\n* LIST (\\HasNoChildren) "/" 2024\r\n'
        b'* LIST () "/" {4}\r\na"\\b\r\n* LIST () "/" "x\\"y"\r\nTAG OK done\r\n'
    )
    with library({"LIST": answer}) as (unguarded, _), pytest.raises(UnicodeDecodeError):
        unguarded.list_folders()
    with connected({"LIST": answer}) as (client, _):
        assert [folder.raw for folder in client.folders("*")] == ["R&D", "2024", 'a"\\b', 'x"y']


def test_a_malformed_list_line_gives_no_other_folder_its_flags() -> None:
    answer = (
        b'* LIST (\\Trash) "/" "Bin" more\r\n* LIST NIL "/" "None"\r\n* LIST () "Half\r\n* LIST (\\Sent) NIL {3}\r\nOut (x)\r\n'
        b'* LIST (\\Junk) "." "007"\r\n* LIST () "/" News\r\nTAG OK done\r\n'
    )
    shifted = (
        b'* LIST (\\Trash) "/"\r\n* LIST () "/" "a"\r\n* LIST (\\Sent) "/" "b"\r\n* LIST () "/" "c" x\r\nTAG OK x\r\n'
    )
    with library({"LIST": shifted}) as (unguarded, _):
        assert unguarded.list_folders()[0] == ((b"\\Trash",), b"/", ())  # nothing is where it belongs
    with connected({"LIST": answer}) as (client, _):
        assert [(folder.raw, *folder.flags) for folder in client.folders("*")] == [
            ("Bin", "\\trash"),
            ("Out", "\\sent"),
            ("007", "\\junk"),
            ("News",),
        ]


def test_ic7_two_search_lines_are_one_answer() -> None:
    with pytest.raises(ValueError, match="unexpected message list"):
        parse_message_list([b"1 2", b"5"])
    answer = b"* SEARCH 2 1\r\n* SEARCH\r\n* SEARCH 5 77 (MODSEQ 9)\r\nTAG OK done\r\n"
    with connected({"UID SEARCH": answer}) as (client, _):
        assert client.search(1, 9) == [1, 2, 5]


UNTAGGED = b"* OK [COPYUID 9 1:2 10:11] moved\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\nTAG OK done\r\n"
TAGGED = b"* 1 EXPUNGE\r\n* 1 EXPUNGE\r\nTAG OK [COPYUID 9 1:2 10:11] moved\r\n"
BOTH = b"* OK [COPYUID 9 1:2 10:11] moved\r\nTAG OK [COPYUID 9 1:2 10:11] moved\r\n"
PIECES = b"* OK [COPYUID 9 1 10] x\r\n* OK [COPYUID 9 2 11] x\r\nTAG OK done\r\n"


@pytest.mark.parametrize("answer", [UNTAGGED, TAGGED, BOTH, PIECES])
def test_ic8_the_new_uids_are_found_wherever_the_server_tells_them(answer: bytes) -> None:
    with connected({"UID MOVE": answer}) as (client, server):
        assert client.move([2, 1], "News") == (9, {1: 10, 2: 11})
        assert server.commands[-1] == 'UID MOVE 1:2 "News"'


def test_ic9_a_bare_copyuid_line_means_that_the_outcome_is_unknown() -> None:
    answer = b"[COPYUID 9 1:2 10:11]\r\nTAG OK done\r\n"
    with library({"UID MOVE": answer}) as (unguarded, _), pytest.raises(imaplib.IMAP4.abort):
        unguarded.move([1, 2], "News")
    with connected({"UID MOVE": answer}) as (client, server):
        with pytest.raises(ServerError):
            client.move([1, 2], "News")
        assert client.dead
        before = len(server.lines)
        with pytest.raises(BrokenOffError, match="is lost"):
            client.search(1, 9)
        assert len(server.lines) == before


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"9 1:2",
        b"9 1:2 10",
        b"9 1:2 10:12",
        b"9 1:3 10:12",
        b"9 7:8 10:11",
        b"9 1:2 x",
        b"9 1,1 10:11",
        b"9 1:2 10,10",
        b"9 0:1 10:11",
        b"9 1:4294967295 1:4294967295",
        b"9 1:99999999999 10:11",
        b"-9 1:2 10:11",
        b"9 1:2 10:11 12",
    ],
)
def test_ic8_a_code_that_does_not_fit_tells_nothing(code: bytes) -> None:
    assert copied([code], frozenset({1, 2})) == (0, {})


def test_ic8_codes_at_odds_with_each_other_tell_nothing() -> None:
    asked = frozenset({1, 2})
    assert copied([b"9 1 10", b"9 1 11"], asked) == (0, {})
    assert copied([b"9 1 10", b"8 2 11"], asked) == (0, {})
    assert copied([b"9 1 10", b"9 2 10"], asked) == (0, {})
    assert copied([], asked) == (0, {})
    assert copied([b"9 2:1 11:10"], asked) == (9, {1: 10, 2: 11})


def test_ic10_a_stray_line_end_breaks_the_connection_and_is_no_answer() -> None:
    answer = b"* 1 FETCH (UID 1 RFC822.SIZE 3 BODY[] {3}\r\nabc\r\n)\r\nTAG OK done\r\n"
    with connected({"UID FETCH": answer}) as (client, _):
        with pytest.raises(BrokenOffError):
            client.fetch([1], "UID RFC822.SIZE BODY.PEEK[]<0.1048576>")
        assert client.dead


@pytest.mark.parametrize(
    "item",
    [b"BODY[] NIL", b"BODY[]<0> NIL", b"FLAGS ()", b"BODY[] 5"],
)
def test_ic13_ok_without_text_is_no_text(item: bytes) -> None:
    answer = b"* 1 FETCH (UID 1 RFC822.SIZE 3 %s)\r\nTAG OK done\r\n" % item
    with connected({"UID FETCH": answer}) as (client, _):
        assert client.fetch([1, 2], "UID RFC822.SIZE BODY.PEEK[]<0.1048576>")[1].body is None


def test_ic14_a_tagged_answer_without_words_breaks_the_connection() -> None:
    with connected({"UID SEARCH": b"* SEARCH 1\r\nTAG OK\r\n"}) as (client, _):
        with pytest.raises(BrokenOffError):
            client.search(1, 9)
        assert client.dead
    with connected({"UID SEARCH": b"* OK [HIGHESTMODSEQ 5]\r\n* OK\r\n* SEARCH 1\r\nTAG OK x\r\n"}) as (client, _):
        assert client.search(1, 9) == [1]


def test_ic15_an_old_copyuid_is_never_taken_for_a_new_one() -> None:
    answers: list[bytes] = [TAGGED, b"TAG OK No messages found\r\n"]
    with library({"CAPABILITY": b"* CAPABILITY IMAP4rev1 MOVE\r\nTAG OK x\r\n", "UID MOVE": list(answers)}) as (old, _):
        old.move([1, 2], "News")
        old.move([1, 2], "News")
        assert old._imap.untagged_responses["COPYUID"]
    with connected({"UID MOVE": answers}) as (client, _):
        assert client.move([1, 2], "News") == (9, {1: 10, 2: 11})
        assert client.move([1, 2], "News") == (0, {})


@pytest.mark.parametrize("size", [b"NIL", b"3.45e+06", b'"12"', b"-5", b"(1)"])
def test_ic16_a_size_is_a_number_or_none(size: bytes) -> None:
    answer = b"* 1 FETCH (UID 1 RFC822.SIZE %s BODY[HEADER] {3}\r\nabc)\r\nTAG OK done\r\n" % size
    with connected({"UID FETCH": answer}) as (client, _):
        assert client.fetch([1], "UID RFC822.SIZE BODY.PEEK[HEADER]<0.4096>")[1].size == -1


def test_ic18_a_folder_that_opens_read_only_is_not_writable() -> None:
    read_only = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 9] x\r\nTAG OK [READ-ONLY] opened\r\n"
    with library() as (unguarded, _), pytest.raises(imaplib.IMAP4.readonly):
        unguarded._imap.untagged_responses["READ-ONLY"] = [b""]
        unguarded._imap.noop()
    with connected({"SELECT": read_only, "UID SEARCH": b"* SEARCH 1\r\nTAG OK x\r\n"}) as (client, server):
        assert not client.open("INBOX", writing=True).writable
        assert client.search(1, 9) == [1]
        assert server.commands[-2:] == ['EXAMINE "INBOX"', "UID SEARCH UID 1:9"]


def test_ic22_a_header_is_found_however_the_server_spells_what_was_asked() -> None:
    answer = b'* 1 FETCH (BODY[HEADER.FIELDS ("FROM")]<0> {5}\r\na: b\r RFC822.SIZE 7 UID 1)\r\nTAG OK done\r\n'
    with connected({"UID FETCH": answer}) as (client, _):
        found = client.fetch([1], HEAD)[1]
        assert (found.body, found.size) == (b"a: b\r", 7)


def test_flags_are_spelled_one_way_and_recent_is_none_of_them() -> None:
    answer = b"* 1 FETCH (UID 1 FLAGS (\\FLAGGED \\recent $Junk 12))\r\nTAG OK done\r\n"
    with connected({"UID FETCH": answer}) as (client, _):
        assert client.fetch([1], "UID FLAGS")[1].flags == {"\\Flagged", "$Junk", "12"}


@pytest.mark.parametrize(
    ("items", "identity"),
    [
        (b"EMAILID (M6d99ac3275bb4e)", "emailid:M6d99ac3275bb4e"),
        (b"EMAILID NIL", ""),
        (b'EMAILID ("a b")', ""),
        (b"EMAILID ()", ""),
        (b"X-GM-MSGID 1278455344230334865", "x-gm-msgid:1278455344230334865"),
        (b"X-GM-MSGID x", ""),
    ],
)
def test_identities_that_servers_give_are_read(items: bytes, identity: str) -> None:
    with connected({"UID FETCH": b"* 1 FETCH (UID 1 %s)\r\nTAG OK done\r\n" % items}) as (client, _):
        assert client.fetch([1], "UID EMAILID X-GM-MSGID")[1].server_id == identity


@pytest.mark.parametrize(
    ("uids", "text"), [([1], "1"), ([3, 1, 2], "1:3"), ([9, 1, 2, 2, 4_294_967_295], "1:2,9,4294967295")]
)
def test_uids_are_written_as_sorted_ranges(uids: list[int], text: str) -> None:
    assert uid_set(uids) == text


# What can come in


BOMBS = {
    "literal": b"* 1 FETCH (UID 1 BODY[] {9999999999}\r\n",
    "digits": b"* 1 FETCH (UID 1 BODY[] {" + 5_000 * b"9" + b"}\r\n",
    "line": b"* 1 FETCH (UID 1 X " + 1_100_000 * b"x",
    "endless": 70 * (b"* 1 FETCH (UID 1 X {1048576}\r\n" + 1_048_576 * b"x" + b")\r\n"),
    "cut": b"* 1 FETCH (UID 1 BODY[] {100}\r\nabc" + CUT,
    "bye": b"* BYE Session expired \x1b[31m\r\n" + CUT,
    "nonsense": b"\x00\xff\r\n",
    "foreign tag": b"ZZZZ9 OK done\r\n",
    "continuation": b"+ go on\r\n" + CUT,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_what_comes_in_has_bounds_and_ends_in_our_error(bomb: bytes) -> None:
    with connected({"UID FETCH": bomb}) as (client, _):
        with pytest.raises(BrokenOffError) as caught:
            client.fetch([1], HEAD)
        assert client.dead
        assert len(str(caught.value)) < 300
        assert "\x1b" not in str(caught.value)


def test_a_bomb_in_the_greeting_is_refused_before_login() -> None:
    with (
        ScriptedServer(greeting=b"* OK {9999999999}\r\n") as server,
        pytest.raises(ServerError, match="announced 9999999999 bytes"),
    ):
        GuardedClient("127.0.0.1", server.port, tls=False, changes=False)


@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        (b"* BYE too many connections\r\n", r"server says: \* BYE too many connections"),
        (b"HTTP/1.1 400 Bad Request\r\n", "did not greet"),
        (b"* PREAUTH welcome\r\n", "without asking who"),
        (b"" + CUT, "did not greet"),
    ],
)
def test_a_greeting_that_is_none_is_an_error_in_words(greeting: bytes, says: str) -> None:
    with ScriptedServer(greeting=greeting.replace(CUT, b"")) as server:
        if CUT in greeting:
            server._greeting = b"\r\n"
        with pytest.raises(ServerError, match=says) as caught:
            GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        assert caught.value.exit_code == 76


def test_f12_silence_and_dripping_have_an_end() -> None:
    with connected({"UID SEARCH": b"* SEARCH"}) as (client, _):
        client._wire.silence = 0.2
        with pytest.raises(ServerError, match="did not answer in time"):
            client.search(1, 9)
        assert client.dead
    with connected({"UID SEARCH": b"* SEARCH 1\r\nTAG OK x\r\n"}) as (client, _):
        client._wire.send(b"A1 NOOP\r\n")
        client._wire._deadline = time.monotonic() - 1
        with pytest.raises(TimeoutError):
            client._wire.readline()


def test_a_refusal_carries_code_and_safe_words() -> None:
    answer = b"TAG NO [TRYCREATE] no \x1b[31msuch folder\r\n"
    with connected({"STATUS": answer, "CREATE": b"TAG BAD [CANNOT] it's wrong\r\n"}) as (client, _):
        with pytest.raises(RejectedError, match=r"server says: \[TRYCREATE\] no \\x1b\[31msuch folder") as caught:
            client.status("News")
        assert (caught.value.code, caught.value.bad) == ("TRYCREATE", False)
        with pytest.raises(RejectedError, match=r"server says: \[CANNOT\] it's wrong") as caught:
            client.create("News")
        assert (caught.value.code, caught.value.bad) == ("CANNOT", True)
        assert client.search(1, 1) == []


# Connecting and logging in


def test_a_closed_port_is_unreachable() -> None:
    with ScriptedServer() as server:
        port = server.port
    with pytest.raises(ServerError, match=f"127.0.0.1:{port} cannot be reached") as caught:
        GuardedClient("127.0.0.1", port, tls=True, changes=False)
    assert caught.value.exit_code == 69


@pytest.mark.parametrize("host", ["mail.example.invalid", "a..example.invalid", 70 * "a" + ".invalid"])
def test_an_unknown_host_is_called_unknown(host: str) -> None:
    with pytest.raises(ServerError, match="is unknown") as caught:
        GuardedClient(host, 993, tls=True, changes=False)
    assert caught.value.exit_code == 68


def test_a_server_without_tls_gets_nothing() -> None:
    with ScriptedServer() as server:
        with pytest.raises(ServerError, match="does not speak TLS"):
            GuardedClient("127.0.0.1", server.port, tls=True, changes=False)
        assert not any(line.rstrip().endswith(b"CAPABILITY") for line in server.lines)


def _server_context(*names: str) -> tuple[ssl.SSLContext, trustme.CA]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context, authority


@pytest.mark.parametrize("case", ["unknown authority", "wrong host"])
def test_a_certificate_that_is_not_trusted_ends_it_before_the_password(case: str, tmp_path: Path) -> None:
    context, authority = _server_context("imap.example.org" if case == "wrong host" else "127.0.0.1")
    if case == "wrong host":
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with ScriptedServer(tls=context) as server:
        with pytest.raises(LoginError, match=r"certificate of .* is not trusted: .* No password was sent"):
            ca_file = tmp_path / "ca.pem" if case == "wrong host" else None
            GuardedClient("127.0.0.1", server.port, tls=True, changes=False, ca_file=ca_file)
        assert server.lines == []


@pytest.mark.parametrize(
    ("name", "ends", "advice"),
    [
        ("127.0.0.1", datetime(2020, 2, 1, tzinfo=UTC), "must renew the certificate"),
        ("imap.example.org", None, "wants a login first"),
    ],
)
def test_what_is_wrong_with_a_certificate_says_what_helps(
    name: str, ends: datetime | None, advice: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    begins = ends - timedelta(days=30) if ends else None
    authority.issue_cert(name, not_before=begins, not_after=ends).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with ScriptedServer(tls=context) as server, pytest.raises(LoginError, match=advice):
        GuardedClient("127.0.0.1", server.port, tls=True, changes=False, ca_file=tmp_path / "ca.pem")


def test_an_old_tls_is_not_spoken(tmp_path: Path) -> None:
    context, authority = _server_context("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with ScriptedServer(tls=context) as server, pytest.raises(ServerError, match=r"TLS 1\.2 or newer"):
        GuardedClient("127.0.0.1", server.port, tls=True, changes=False, ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_read_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "my-ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(NotFoundError, match=r"my-ca\.pem"):
        GuardedClient("127.0.0.1", 1, tls=True, changes=False, ca_file=path)


def _login(answers: dict[str, Answer], user: str = "ann", password: str = PASSWORD) -> str:
    with ScriptedServer(answers) as server:
        client = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        try:
            with pytest.raises(LoginError) as caught:
                client.login(user, password)
        finally:
            client.logout()
        assert PASSWORD.encode() not in b"".join(server.lines)
        return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (b"TAG NO [AUTHENTICATIONFAILED] Authentication failed.", "Check user name and password"),
        (b"TAG NO LOGIN failed.", "Microsoft account: It wants OAuth"),
        (b"TAG NO AUTHENTICATE failed.", "Microsoft account: It wants OAuth"),
        (b"TAG NO Basic authentication is disabled.", "It wants OAuth"),
        (b"TAG BAD User is authenticated but not connected.", "lack the rights"),
        (b"TAG NO [ALERT] Application-specific password required: https://example.org/x?y=z", "Make an app password"),
    ],
)
def test_a_refused_login_says_what_helps(answer: bytes, advice: str) -> None:
    assert advice in _login({"SASL": answer + b"\r\n"})
    assert advice in _login({"LOGIN": answer + b"\r\n", **ONLY_LOGIN}, password="pw")


def test_logindisabled_and_letters_beyond_ascii_are_explained_without_sending() -> None:
    disabled: dict[str, Answer] = {"CAPABILITY": b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK done\r\n"}
    assert "takes no passwords (LOGINDISABLED)" in _login(disabled)
    assert "only printable ASCII" in _login(ONLY_LOGIN, password="pässword")
    assert "line break" in _login({}, user="ann\r\nA1 X")
    assert "line break" in _login({}, password="a\0b")


def test_a_busy_server_is_no_wrong_password() -> None:
    with ScriptedServer({"SASL": b"TAG NO [UNAVAILABLE] Temporary authentication failure.\r\n"}) as server:
        client = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        with pytest.raises(ServerError, match="Try again later") as caught:
            client.login("ann", PASSWORD)
        client.logout()
        assert caught.value.exit_code == 69


@pytest.mark.parametrize("answers", [{}, ONLY_LOGIN])
def test_a_server_that_breaks_off_during_login_is_no_wrong_password(answers: dict[str, Answer]) -> None:
    with ScriptedServer({"SASL": CUT, "LOGIN": CUT, **answers}) as server:
        client = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        with pytest.raises(BrokenOffError):
            client.login("ann", "pw")
        client.logout()


def test_capabilities_are_those_after_login() -> None:
    answers: list[bytes] = [
        b"* CAPABILITY IMAP4rev1 AUTH=PLAIN MOVE\r\nTAG OK x\r\n",
        b"* CAPABILITY IMAP4rev1 UIDPLUS\r\nTAG OK x\r\n",
    ]
    signed_in = b"TAG OK [CAPABILITY IMAP4rev1 MOVE] in\r\n"
    with connected({"CAPABILITY": answers, "SASL": signed_in}) as (client, _):
        assert client.capabilities == {"IMAP4REV1", "UIDPLUS"}


def test_m2_m3_the_password_is_nowhere_but_on_the_wire(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = b64encode(f"\0ann\0{PASSWORD}".encode()).decode()
    echo = b"TAG NO wrong: " + PASSWORD.encode() + b" " + secret.encode() + b"\r\n"
    with ScriptedServer({"SASL": [b"TAG OK in\r\n", echo]}) as server:
        client = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        client.login("ann", PASSWORD)
        assert f"{secret}\r\n".encode() in server.lines
        other = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        with pytest.raises(LoginError) as caught:
            other.login("ann", PASSWORD)
        kept = [client.__dict__, client._wire.__dict__, client._library.__dict__]
        shown = [str(caught.value), repr(caught.value), repr(client), repr(kept), caplog.text, *capfd.readouterr()]
        for one in (client, other):
            one.logout()
    for text in shown:
        assert PASSWORD not in text
        assert secret not in text
        assert "se\\\\cret" not in text


@pytest.mark.parametrize("password", ['a "b" c', "back\\slash", " blank ", "ä€😀", "%s{5}*", "a" * 200])
@pytest.mark.parametrize("user_name", ["ann@example.org", "a n", "ünal"])
def test_every_password_and_user_name_reaches_the_server_as_it_is(
    dovecot: Dovecot, user_name: str, password: str
) -> None:
    user = f"{dovecot.new_user()}{user_name}"
    dovecot.set_password(user, password)
    client = GuardedClient("localhost", dovecot.port, tls=True, changes=False, ca_file=dovecot.ca_file)
    client.login(user, password)
    assert "MOVE" in client.capabilities
    client.logout()


def test_a_wrong_password_is_refused_by_a_real_server(dovecot: Dovecot, user: str) -> None:
    client = GuardedClient("localhost", dovecot.port, tls=True, changes=False, ca_file=dovecot.ca_file)
    with pytest.raises(LoginError, match=r"localhost refused the login .*Check user name and password") as caught:
        client.login(user, "wrong")
    assert caught.value.exit_code == 77
    client.logout()


def test_logout_never_closes_a_folder() -> None:
    with connected() as (client, server):
        client.logout()
        client.logout()
        assert server.commands[-1] == "LOGOUT"
        assert not re.search(r"CLOSE|EXPUNGE", " ".join(server.commands))
