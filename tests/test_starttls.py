"""S1, IC19, D4: STARTTLS when the account asks for it, and nothing believed that was said before TLS.

The cases follow the classes of "Why TLS is better without STARTTLS" (USENIX Security 2021) and its fake-mail-server:
negotiation, tampering, buffering, stripping.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import mails
import pytest
import trustme
from dovecot import PASSWORD, Dovecot
from imapclient import IMAPClient
from mailboxes import AT_ONCE
from scripted_imap import CUT, Answer, ScriptedServer, mailbox
from test_cli import TRUST, unpitch
from test_guarded import PASSWORD as SECRET

from filters.errors import FiltersError, LoginError, ServerError
from filters.sources import Mail, Wanted
from filters.sources.guarded import GuardedClient
from filters.sources.imap import open_imap
from filters.sources.location import parse_url
from filters.sources.opening import location_of, open_source
from filters.sources.starttls import _Plain

MAIL = b"From: ann@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n"
ALL = Wanted(("From",), lambda _: True)


class _Pki:
    """A server's TLS, and the file that makes a client believe in it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.context)
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> _Pki:
    return _Pki(tmp_path_factory.mktemp("pki"))


def connect(server: ScriptedServer, pki: _Pki) -> GuardedClient:
    return GuardedClient("127.0.0.1", server.port, tls=True, starttls=True, changes=False, ca_file=pki.ca_file)


def _refused(
    pki: _Pki, answers: dict[str, Answer], greeting: bytes = b"* OK hello\r\n"
) -> tuple[FiltersError, list[bytes]]:
    """The error that a connection ends in, and all that was sent."""
    with ScriptedServer(answers, greeting=greeting, starttls=pki.context) as server:
        with pytest.raises(FiltersError) as caught:
            connect(server, pki).login("ann", SECRET)
        return caught.value, server.lines


NO_GREETING: dict[str, bytes] = {
    "PREAUTH": b"* PREAUTH welcome\r\n",
    "preauth in small letters": b"* preauth welcome\r\n",
    "PREAUTH without words": b"* PREAUTH\r\n",
    "PREAUTH with capabilities": b"* PREAUTH [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n",
    "BYE": b"* BYE too many connections\r\n",
    "BYE with a referral": b"* BYE [REFERRAL imap://evil.example/] go there\r\n",
    "BAD": b"* BAD what\r\n",
    "NO": b"* NO [ALERT] enter your password at http://evil.example/\r\n",
    "an answer instead": b"* SEARCH 1 2 3\r\n",
    "a folder instead": b'* LIST () "/" "INJECTED"\r\n',
    "a tagged OK": b"A1 OK hello\r\n",
    "a continuation": b"+ AGFubg==\r\n",
    "another protocol": b"220 mail.example.org ESMTP\r\n",
    "POP3": b"+OK ready\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "TLS from the first byte": b"\x15\x03\x01\x00\x02\x02\x0a",
    "an empty line": b"\r\n",
    "a line that ends in LF only": b"* OK hello\n",
    "a NUL": b"* OK hel\0lo\r\n",
    "a CR within": b"* OK hello\r* PREAUTH\r\n",
    "a line without end": b"* OK " + 20_000 * b"x",
    "a literal": b"* OK {9999999999}\r\n",
    "no greeting": CUT,
    "half a greeting": b"* OK hel" + CUT,
}


@pytest.mark.parametrize("greeting", NO_GREETING.values(), ids=NO_GREETING)
def test_s1_negotiation_a_greeting_that_is_none_ends_it(greeting: bytes, pki: _Pki) -> None:
    error, sent = _refused(pki, {"STARTTLS": CUT}, greeting)
    assert b"".join(sent) in (b"", b"A1 STARTTLS\r\n")
    assert isinstance(error, ServerError)
    assert "\r" not in str(error)
    if sent:  # only a greeting that was one gets so far
        assert greeting.startswith(b"* OK {")


REFUSALS: dict[str, tuple[bytes, int]] = {
    "NO": (b"TAG NO not here\r\n", 69),
    "NO without words": (b"TAG NO\r\n", 69),
    "BAD": (b"TAG BAD unknown command\r\n", 69),
    "BAD in small letters": (b"TAG bad unknown command\r\n", 69),
    "NO and the real thing after it": (b"TAG NO not here\r\nTAG OK begin\r\n", 69),
    "BYE": (b"* BYE shutting down\r\n", 76),
    "BYE and OK": (b"* BYE shutting down\r\nTAG OK begin\r\n", 76),
    "silence": (CUT, 76),
    "half an answer": (b"TAG O" + CUT, 76),
}


@pytest.mark.parametrize(("answer", "code"), REFUSALS.values(), ids=REFUSALS)
def test_s1_stripping_without_tls_there_is_no_login(answer: bytes, code: int, pki: _Pki) -> None:
    """It never goes on in the clear, whatever the server claims to offer."""
    greeting = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] no TLS needed here\r\n"
    error, sent = _refused(pki, {"STARTTLS": answer}, greeting)
    assert sent == [b"A1 STARTTLS\r\n"]
    assert error.exit_code == code
    assert "No password was sent" in str(error)


BEFORE: dict[str, bytes] = {
    "SEARCH": b"* SEARCH 1 2 3\r\n",
    "LIST": b'* LIST () "/" "INJECTED"\r\n',
    "STATUS": b'* STATUS "LinkedIn" (UIDVALIDITY 1 UIDNEXT 1)\r\n',
    "FETCH": b"* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n",
    "FETCH with a literal": b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n",
    "EXISTS": b"* 5 EXISTS\r\n",
    "EXPUNGE": b"* 1 EXPUNGE\r\n",
    "PREAUTH": b"* PREAUTH welcome\r\n",
    "OK": b"* OK still here\r\n",
    "OK with capabilities": b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] x\r\n",
    "COPYUID": b"* OK [COPYUID 9 1:2 10:11] moved\r\n",
    "ALERT": b"* OK [ALERT] call 555-0100 and tell us your password\r\n",
    "NO": b"* NO x\r\n",
    "BAD": b"* BAD x\r\n",
    "NAMESPACE": b'* NAMESPACE (("EVIL." ".")) NIL NIL\r\n',
    "ID": b'* ID ("name" "evil")\r\n',
    "ENABLED": b"* ENABLED UTF8=ACCEPT\r\n",
    "a continuation": b"+ \r\n",
    "a continuation with a challenge": b"+ AGFubg==\r\n",
    "another tag": b"A2 OK logged in\r\n",
    "the tag in small letters": b"a1 OK begin\r\n",
    "no answer of the kind": b"TAG OKAY begin\r\n",
    "an empty line": b"\r\n",
    "a NUL": b"TAG OK be\0gin\r\n",
    "a line that ends in LF only": b"TAG OK begin\n",
    "a line without end": 20_000 * b"x",
    "capabilities without end": 50 * b"* CAPABILITY IMAP4rev1\r\n",
    "capabilities with a NUL": b"* CAPABILITY IMAP4rev1\0\r\n",
}


@pytest.mark.parametrize("injected", BEFORE.values(), ids=BEFORE)
def test_s1_tampering_any_answer_before_tls_ends_it(injected: bytes, pki: _Pki) -> None:
    error, sent = _refused(pki, {"STARTTLS": injected + b"TAG OK begin\r\n" + CUT})
    assert sent == [b"A1 STARTTLS\r\n"]
    assert "somebody sits in between" in str(error)
    assert "No password was sent" in str(error)
    assert "evil" not in str(error).lower()


AFTER: dict[str, bytes] = {
    "a greeting": b"* OK hello\r\n",
    "PREAUTH": b"* PREAUTH welcome\r\n",
    "capabilities": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n",
    "the answer to the next command": b"* CAPABILITY IMAP4rev1\r\nA2 OK x\r\n",
    "SEARCH": b"* SEARCH 1 2 3\r\n",
    "LIST": b'* LIST () "/" "INJECTED"\r\n',
    "BYE": b"* BYE go away\r\n",
    "half a line": b"* SEA",
    "one byte": b"x",
    "a line end": b"\r\n",
    "a TLS alert": b"\x15\x03\x03\x00\x02\x01\x00",
    "many bytes": 7_000 * b"x",
}


@pytest.mark.parametrize("injected", AFTER.values(), ids=AFTER)
def test_s1_buffering_a_byte_after_ok_ends_it(injected: bytes, pki: _Pki) -> None:
    error, sent = _refused(pki, {"STARTTLS": b"TAG OK begin\r\n" + injected + CUT})
    assert sent == [b"A1 STARTTLS\r\n"]
    assert "somebody sits in between" in str(error)


@pytest.mark.parametrize("injected", AFTER.values(), ids=AFTER)
def test_s1_buffering_a_byte_in_a_packet_of_its_own_breaks_the_handshake(injected: bytes, pki: _Pki) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        received: list[bytes] = []

        def serve() -> None:
            plain, _ = listener.accept()
            with plain:
                plain.sendall(b"* OK hello\r\n")
                received.append(plain.recv(100))
                plain.sendall(b"A1 OK begin\r\n")
                hello = plain.recv(5, socket.MSG_PEEK)  # the client is past its check: TLS has begun
                assert hello[:1] == b"\x16"
                with suppress(OSError):  # the client may have left already
                    plain.sendall(injected)
                    plain.shutdown(socket.SHUT_WR)
                    while data := plain.recv(65_536):
                        received.append(data)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(FiltersError):
            GuardedClient("127.0.0.1", port, tls=True, starttls=True, changes=False, ca_file=pki.ca_file)
        thread.join(20)
        assert received[0] == b"A1 STARTTLS\r\n"
        assert b"LOGIN" not in b"".join(received)


HONEST: dict[str, tuple[bytes, bytes]] = {
    "plain": (b"* OK hello\r\n", b"TAG OK begin TLS\r\n"),
    "without words": (b"* OK\r\n", b"TAG OK\r\n"),
    "capabilities in the greeting": (
        b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hello\r\n",
        b"TAG OK [X] begin\r\n",
    ),
    "capabilities after the greeting": (
        b"* OK hello\r\n* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n",
        b"TAG OK begin\r\n",
    ),
    "capabilities with the answer": (
        b"* OK hello\r\n",
        b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK begin\r\n",
    ),
    "small letters": (b"* ok hello\r\n", b"TAG ok begin\r\n"),
}


@pytest.mark.parametrize(("greeting", "answer"), HONEST.values(), ids=HONEST)
def test_s1_after_starttls_everything_is_asked_anew_over_tls(greeting: bytes, answer: bytes, pki: _Pki) -> None:
    answers = mailbox({4: MAIL}) | {"STARTTLS": answer}
    with ScriptedServer(answers, greeting=greeting, starttls=pki.context) as server:
        client = connect(server, pki)
        client.login("ann", SECRET)
        client.open("INBOX")
        assert client.search(1, 9) == [4]
        assert client.capabilities == {"IMAP4REV1", "AUTH=PLAIN", "MOVE", "UIDPLUS", "NAMESPACE"}
        client.logout()
        assert server.plain_lines == [b"A1 STARTTLS\r\n"]
        assert sum(b"CAPABILITY" in line for line in server.lines) == 2


def test_s1_a_conversation_byte_by_byte_is_the_same(pki: _Pki) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with plain:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in b"* OK hello\r\n":
                    plain.sendall(bytes([byte]))
                assert plain.recv(100) == b"A1 STARTTLS\r\n"
                for byte in b"* CAPABILITY IMAP4rev1\r\nA1 OK begin\r\n":
                    plain.sendall(bytes([byte]))
                with pki.context.wrap_socket(plain, server_side=True) as secured:
                    tag = secured.recv(100).split()[0]
                    secured.sendall(b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK x\r\n")
                    secured.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        client = GuardedClient("127.0.0.1", port, tls=True, starttls=True, changes=False, ca_file=pki.ca_file)
        client.logout()
        thread.join(20)
        assert not thread.is_alive()


def test_s4_the_plain_part_has_a_deadline_of_its_own() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        plain = _Plain(ours, "there")
        theirs.sendall(b"* OK hel")
        plain._deadline = time.monotonic() + 0.05
        with pytest.raises(TimeoutError):
            plain.line()


def test_s3_the_plain_part_has_a_line_limit_of_its_own() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(9_000 * b"x")
        with pytest.raises(ServerError, match="somebody sits in between"):
            _Plain(ours, "there").line()


def test_ic19_library_what_was_said_before_tls_is_believed_after_it(pki: _Pki) -> None:
    """SELECT flushes it, which imap.md did not see: a SEARCH is lost in between, a LIST is not."""
    capability = b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\nTAG OK x\r\n"
    before = b'* SEARCH 1 2 3\r\n* LIST () "/" "INJECTED"\r\nTAG OK begin\r\n'
    answers = {"CAPABILITY": capability, "STARTTLS": before, "UID SEARCH": b"TAG OK x\r\n", "LIST": b"TAG OK x\r\n"}
    with ScriptedServer(answers, starttls=pki.context, ours=False) as server:
        unguarded = IMAPClient("127.0.0.1", server.port, ssl=False)
        unguarded.starttls(ssl.create_default_context(cafile=str(pki.ca_file)))
        unguarded.login("ann", "pw")
        assert unguarded._imap.untagged_responses["SEARCH"] == [b"1 2 3"]
        assert [name for _, _, name in unguarded.list_folders()] == ["INJECTED"]
        unguarded.select_folder("INBOX", readonly=True)
        assert unguarded.search("ALL") == []
        unguarded.shutdown()


def test_ic19_library_bytes_after_ok_are_dropped_and_preauth_raises(pki: _Pki) -> None:
    capability = b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\nTAG OK x\r\n"
    context = ssl.create_default_context(cafile=str(pki.ca_file))
    answers: dict[str, Answer] = {"CAPABILITY": capability, "STARTTLS": b"TAG OK begin\r\n* SEARCH 1 2 3\r\n"}
    with ScriptedServer(answers, starttls=pki.context, ours=False) as server:
        unguarded = IMAPClient("127.0.0.1", server.port, ssl=False)
        unguarded.starttls(context)
        assert "SEARCH" not in unguarded._imap.untagged_responses
        unguarded.shutdown()
    with ScriptedServer(answers, starttls=pki.context, ours=False, greeting=b"* PREAUTH hi\r\n") as server:
        unguarded = IMAPClient("127.0.0.1", server.port, ssl=False)
        with pytest.raises(unguarded.Error, match="illegal in state AUTH"):
            unguarded.starttls(context)
        unguarded.shutdown()


def test_ic19_what_was_said_before_tls_is_not_even_kept(pki: _Pki) -> None:
    answers: dict[str, Answer] = {
        "STARTTLS": b"* CAPABILITY IMAP4rev1 EVIL\r\nTAG OK [COPYUID 9 1 1] x\r\n",
        "UID SEARCH": b"TAG OK x\r\n",
        "LIST": b"TAG OK x\r\n",
    }
    with ScriptedServer(answers, greeting=b"* OK [ALERT] evil words\r\n", starttls=pki.context) as server:
        client = connect(server, pki)
        assert "evil" not in repr(client._wire.__dict__).lower()
        client.login("ann", SECRET)
        client.open("INBOX")
        assert client.search(1, 9) == []
        assert client.folders("*") == []
        assert "evil" not in repr([client.__dict__, client._wire.__dict__]).lower()
        client.logout()


# Locations


def test_starttls_is_asked_for_in_the_location_and_nowhere_else() -> None:
    found = parse_url("IMAP+STARTTLS://ann@imap.example.org/Lists")
    assert (found.scheme, found.port, found.folder) == ("imap+starttls", 143, "Lists")
    assert found.account == "imap+starttls://ann@imap.example.org:143"
    assert parse_url(location_of(found.account, "R&D ä")).folder == "R&D ä"
    assert parse_url("imap+starttls://ann@127.0.0.1:1143").port == 1143


def test_s1_without_starttls_in_the_location_a_plain_server_gets_nothing(pki: _Pki) -> None:
    """ "If offered" is not asked: imaps:// begins with TLS, and imap:// to this machine stays as it is."""
    with ScriptedServer(starttls=pki.context) as server:
        with pytest.raises(ServerError, match="does not speak TLS"):
            open_imap(
                f"imaps://ann@127.0.0.1:{server.port}/",
                lambda _: "pw",
                changes=False,
                ca_file=pki.ca_file,
                patience=AT_ONCE,
            )
        assert not any(b"STARTTLS" in line or b"LOGIN" in line for line in server.lines)


# A real server


def _url(dovecot: Dovecot, user: str) -> str:
    return f"imap+starttls://{user}@localhost:{dovecot.plain_port}/INBOX"


def test_a_real_server_is_read_over_starttls(dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, MAIL)
    accounts: list[str] = []

    def password(account: str) -> str:
        accounts.append(account)
        return PASSWORD

    source = open_source(_url(dovecot, user), password, changes=True, ca_file=dovecot.ca_file, stdin=io.BytesIO())
    with closing(source):
        assert source.account == f"imap+starttls://{user}@localhost:{dovecot.plain_port}"
        (found,) = [one for one in source.scan(ALL) if isinstance(one, Mail)]
        assert found.raw == MAIL
        (moved,) = source.move([found.place], source.prepare("LinkedIn")).values()
        assert moved
        assert moved.account == source.account
    assert accounts == [source.account]
    with closing(
        open_imap(
            location_of(source.account, "LinkedIn"),
            lambda _: PASSWORD,
            changes=True,
            ca_file=dovecot.ca_file,
            patience=AT_ONCE,
        )
    ) as back:
        assert [one.place for one in back.scan(ALL) if isinstance(one, Mail)] == [moved]


def test_clean_and_undo_over_starttls(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """The journal keeps the account with its scheme, so that undo comes back the same way."""
    dovecot.deliver(user, mails.mail(number=1), flags="S")
    dovecot.deliver(user, mails.friend(2), flags="S")
    words = ["--ca-file", str(dovecot.ca_file), "--password-command", f"printf %s {PASSWORD}"]
    done = unpitch("clean", _url(dovecot, user), *TRUST, "--yes", *words, state=tmp_path / "state")
    assert "1 moved to LinkedIn" in done.stdout, done.stderr
    back = unpitch("undo", "--last", *words, state=tmp_path / "state")
    assert "1 of 1 put back" in back.stdout, back.stderr


@pytest.mark.parametrize("ca_file", [False, True], ids=["unknown authority", "wrong host"])
def test_s2_a_real_server_that_nobody_vouches_for_gets_no_password(ca_file: bool, dovecot: Dovecot, user: str) -> None:
    never: Callable[[str], str] = lambda _: pytest.fail("asked for a password")  # noqa: E731
    url = _url(dovecot, user)
    url = url.replace("localhost", "127.0.0.2") if ca_file else url
    with pytest.raises((LoginError, ServerError)):
        open_imap(url, never, changes=False, ca_file=dovecot.ca_file if ca_file else None, patience=AT_ONCE)
