"""What is asked for before the last answer is read: no answer is lost, taken for another's, or believed after a refusal."""

from __future__ import annotations

from base64 import b64encode
from contextlib import closing

import pytest
from scripted_imap import CUT, Answer, ScriptedServer, answer_about, mailbox
from test_guarded import HEAD, MAIL, PASSWORD, connected

from filters.errors import LoginError
from filters.sources import Mail, Mark, Wanted
from filters.sources.guarded import GuardedClient, RejectedError
from filters.sources.imap import open_imap
from filters.sources.patience import Patience

COMMAND = f"({HEAD})"
ONE, TWO = (answer_about(uid, MAIL, COMMAND) for uid in (1, 2))
AT_ONCE = Patience(attempts=3, quiet=0, sleep=lambda _: None)


def fetches(server: ScriptedServer) -> list[str]:
    return [line.split()[2] for line in server.commands if line.startswith("UID FETCH")]


@pytest.mark.parametrize(
    "answer", [[ONE + b"TAG OK x\r\n", TWO + b"TAG OK x\r\n"], [ONE + TWO + b"TAG OK x\r\n", b"TAG OK x\r\n"]]
)
def test_answers_belong_to_their_messages_whenever_they_come(answer: Answer) -> None:
    """Dovecot sends what several commands ask for before it says of any that it is done."""
    with connected({"UID FETCH": answer}) as (client, server):
        for uid in (1, 2):
            client.begin_fetch([uid], HEAD)
        assert [list(client.fetch([uid], HEAD)) for uid in (1, 2)] == [[1], [2]]
        assert fetches(server) == ["1", "2"]


def test_an_answer_about_what_nobody_asked_for_is_nobody_s() -> None:
    with connected({"UID FETCH": [ONE + TWO + b"TAG OK x\r\n", b"TAG OK x\r\n"]}) as (client, _):
        client.begin_fetch([1], HEAD)
        assert list(client.fetch([1], HEAD)) == [1]
        assert client.fetch([2], HEAD) == {}


def test_any_other_command_lets_go_of_what_was_begun() -> None:
    with connected(mailbox({1: MAIL, 2: MAIL})) as (client, server):
        client.begin_fetch([1], HEAD)
        client.begin_fetch([2], HEAD)
        assert client.search(1, 9) == [1, 2]
        assert list(client.fetch([2], HEAD)) == [2]
        assert fetches(server) == ["1", "2", "2"]


@pytest.mark.parametrize("refusal", [b"TAG NO [SERVERBUG] no\r\n", b"TAG BAD no\r\n"])
def test_after_a_refusal_everything_is_asked_anew(refusal: bytes) -> None:
    """What came with it may be an answer to the next one, which would then look empty."""
    with connected({"UID FETCH": [TWO + refusal, b"TAG OK x\r\n", TWO + b"TAG OK x\r\n"]}) as (client, server):
        client.begin_fetch([1], HEAD)
        client.begin_fetch([2], HEAD)
        with pytest.raises(RejectedError):
            client.fetch([1], HEAD)
        assert list(client.fetch([2], HEAD)) == [2]
        assert not client.dead
        assert fetches(server) == ["1", "2", "2"]


def test_a_scan_that_broke_off_goes_on_one_command_at_a_time() -> None:
    mails = {uid: MAIL.replace(b"<1@", b"<%d@" % uid) for uid in range(1, 41)}
    usual = mailbox(mails)["UID FETCH"]
    broken = False

    def fetch(command: str) -> bytes:
        nonlocal broken
        if "BODY.PEEK[]" in command and not broken:
            broken = True
            return ONE[:20] + CUT
        return usual(command)  # type: ignore[operator,no-any-return]

    with (
        ScriptedServer(mailbox(mails) | {"UID FETCH": fetch}) as server,
        closing(open_imap(server.url(), lambda _: "pw", changes=False, patience=AT_ONCE)) as source,
    ):
        found = list(source.scan(Wanted(("From",), lambda _: True)))
        assert [one.place.key for one in found if isinstance(one, Mail)] == [f"5:{uid}" for uid in mails]
        source.extent.begin = Mark(5, 31, (3,))
        assert source.total() <= len(mails)


def test_a_password_goes_out_with_the_command_where_the_server_takes_it() -> None:
    """RFC 4959: a round trip less."""
    offered: dict[str, Answer] = {"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nTAG OK x\r\n"}
    words = b64encode(f"\0ann\0{PASSWORD}".encode()).decode()
    with connected(offered | {"AUTHENTICATE": b"TAG OK x\r\n"}) as (_, server):
        assert f"AUTHENTICATE PLAIN {words}" in server.lines[1].decode()
    refused = offered | {"AUTHENTICATE": b"TAG NO [AUTHENTICATIONFAILED] not " + words.encode() + b"\r\n"}
    with ScriptedServer(refused) as server:
        client = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        with pytest.raises(LoginError) as caught:
            client.login("ann", PASSWORD)
        client.logout()
    assert words not in str(caught.value)
    assert PASSWORD not in str(caught.value)
