"""S2 to S8: what a hostile server, or somebody in between, can do to us (trust.md 5.2). S1 is in test_starttls.py."""

from __future__ import annotations

import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hostile import cpu_limit
from mailboxes import AT_ONCE
from scripted_imap import CUT, Answer, ScriptedServer, mailbox
from test_guarded import HEAD, ONLY_LOGIN, PASSWORD, connected

from filters.errors import FiltersError, LoginError, NotFoundError, RefusedError, ServerError
from filters.sources import Mail, Unreadable, Wanted
from filters.sources.answers import copied
from filters.sources.guarded import GuardedClient, RejectedError
from filters.sources.imap import open_imap
from filters.sources.patience import Patience
from filters.sources.wire import BrokenOffError

MAIL = b"From: ann@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n"
ALL = Wanted(("From",), lambda _: True)
SPEECH = pytest.mark.parametrize("starttls", [False, True], ids=["TLS", "STARTTLS"])


# S2: certificates and versions of TLS


def _self_signed(folder: Path, name: str = "127.0.0.1") -> Path:
    """Key and certificate that vouches for itself, as Proton Bridge makes one, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(secret + certificate.public_bytes(pem))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    return folder / "server.pem"


Bad = Callable[[trustme.CA, ssl.SSLContext, Path], None]


def _issued(*names: str, **how: datetime) -> Bad:
    return lambda authority, context, _: authority.issue_cert(*names, **how).configure_cert(context)


def _under_a_server(authority: trustme.CA, context: ssl.SSLContext, folder: Path) -> None:
    """Signed by a certificate that is none of an authority: the owner of any server could make it."""
    other = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(other.private_key_pem.bytes(), None)
    parent = x509.load_pem_x509_certificate(other.cert_chain_pems[0].bytes())
    mine = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "evil")])
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = (
        x509.CertificateBuilder(parent.subject, subject, mine.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = mine.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "chain.pem").write_bytes(secret + certificate.public_bytes(pem) + parent.public_bytes(pem))
    context.load_cert_chain(folder / "chain.pem")


BAD_CERTIFICATES: dict[str, Bad] = {
    "unknown authority": lambda _, context, __: trustme.CA().issue_cert("127.0.0.1").configure_cert(context),
    "self-signed": lambda _, context, folder: context.load_cert_chain(_self_signed(folder)),
    "expired": _issued("127.0.0.1", not_before=datetime(2020, 1, 1), not_after=datetime(2021, 1, 1)),
    "not yet valid": _issued("127.0.0.1", not_before=datetime(2090, 1, 1), not_after=datetime(2091, 1, 1)),
    "another host": _issued("imap.example.org"),
    "another address": _issued("127.0.0.2"),
    "a name that looks like it": _issued("127.0.0.1.example.org"),
    "signed by another server": _under_a_server,
}


@SPEECH
@pytest.mark.parametrize("bad", BAD_CERTIFICATES.values(), ids=BAD_CERTIFICATES)
def test_s2_a_bad_certificate_ends_it_before_a_byte_of_credentials(bad: Bad, starttls: bool, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    bad(authority, context, tmp_path)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = {"starttls" if starttls else "tls": context}
    with ScriptedServer(**tls) as server:
        with pytest.raises(LoginError, match=r"certificate of .* is not trusted: .* No password was sent"):
            open_imap(
                server.url(),
                lambda _: pytest.fail("asked"),
                changes=False,
                ca_file=tmp_path / "ca.pem",
                patience=AT_ONCE,
            )
        assert server.lines == ([b"A1 STARTTLS\r\n"] if starttls else [])


@SPEECH
def test_s2_an_old_version_of_tls_is_not_spoken(starttls: bool, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    tls = {"starttls" if starttls else "tls": context}
    with ScriptedServer(**tls) as server:
        with pytest.raises(ServerError, match=r"TLS 1\.2 or newer"):
            open_imap(
                server.url(),
                lambda _: pytest.fail("asked"),
                changes=False,
                ca_file=tmp_path / "ca.pem",
                patience=AT_ONCE,
            )
        assert server.lines == ([b"A1 STARTTLS\r\n"] if starttls else [])


@SPEECH
def test_s2_a_certificate_of_its_own_is_believed_when_it_is_given(starttls: bool, tmp_path: Path) -> None:
    """Proton Bridge: the exported certificate is the authority (--ca-file), and no other one is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))
    tls = {"starttls" if starttls else "tls": context}
    with ScriptedServer(**tls) as server:
        source = open_imap(
            server.url(), lambda _: "pw", changes=False, ca_file=tmp_path / "certificate.pem", patience=AT_ONCE
        )
        with closing(source):
            assert source.folder == "INBOX"


# S3: literals, lines, depth, and all of it together


@contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Fail with MemoryError what takes more than so many bytes of memory besides what there is."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


MEGABYTE = 1_048_576
FLOODS: dict[str, tuple[bytes, str]] = {
    "a literal of ten digits": (b"* 1 FETCH (UID 1 BODY[] {9999999999}\r\n", "announced 9999999999 bytes"),
    "a literal over the limit": (b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % (4 * MEGABYTE + 1), "announced"),
    "a literal in a folder's name": (b'* LIST () "/" {5000000}\r\n', "announced"),
    "a literal in a status": (b"* OK {5000000}\r\n", "announced"),
    "a line without end": (b"* OK " + 2 * MEGABYTE * b"x", "a line of more than"),
    "a tagged line without end": (b"TAG OK " + 2 * MEGABYTE * b"x", "a line of more than"),
    "many literals": (70 * (b"* 1 FETCH (UID 1 X {1048576}\r\n" + MEGABYTE * b"x" + b")\r\n"), "as one answer"),
    "a literal in pieces": (
        b"* 1 FETCH (UID 1" + 70 * (b" X {1048576}\r\n" + MEGABYTE * b"x") + b")\r\n",
        "as one answer",
    ),
    "many lines": (250_000 * b"* 1 EXISTS\r\n", "200000 lines"),
    "many continuations": (250_000 * b"+ \r\n", "200000 lines"),
    "depth": (b"* NAMESPACE " + 129 * b"(" + 129 * b")" + b"\r\n", "lists within lists"),
    "depth without end": (b"* NAMESPACE " + 900_000 * b"(" + b"\r\n", "lists within lists"),
}


@pytest.mark.parametrize(("flood", "says"), FLOODS.values(), ids=FLOODS)
def test_s3_a_flood_is_left_and_takes_no_memory(flood: bytes, says: str) -> None:
    with connected({"UID FETCH": flood}) as (client, _), memory_limit(400 * MEGABYTE):
        with pytest.raises(BrokenOffError, match=says):
            client.fetch([1], HEAD)
        assert client.dead


@pytest.mark.parametrize("command", ["STATUS", "LIST", "UID SEARCH", "EXAMINE", "CREATE", "UID MOVE", "CAPABILITY"])
def test_s3_only_a_fetch_may_bring_much(command: str) -> None:
    asking: dict[str, Callable[[GuardedClient], object]] = {
        "STATUS": lambda client: client.status("News"),
        "LIST": lambda client: client.folders("*"),
        "UID SEARCH": lambda client: client.search(1, 2**32 - 1),
        "EXAMINE": lambda client: client.open("News"),
        "CREATE": lambda client: client.create("News"),
        "UID MOVE": lambda client: client.move([1], "News"),
    }
    flood = 90 * (b"* SEARCH" + 12_500 * b" 4000000" + b"\r\n")
    if command == "CAPABILITY":
        with (
            ScriptedServer({command: flood}) as server,
            pytest.raises(ServerError, match="8388608 bytes as one answer"),
        ):
            GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        return
    with connected({command: flood}) as (client, _):
        with pytest.raises(BrokenOffError, match="8388608 bytes as one answer"):
            asking[command](client)
        assert client.dead


def test_s3_a_budget_is_for_one_command() -> None:
    body = b"* 1 FETCH (UID 1 RFC822.SIZE 3 BODY[]<0> {4000000}\r\n" + 4_000_000 * b"x" + b")\r\nTAG OK x\r\n"
    with connected({"UID FETCH": body}) as (client, _):
        for _ in range(20):
            assert client.fetch([1], "UID BODY.PEEK[]<0.1048576>")


DEEP = {
    "129 levels": 129 * b"(" + 129 * b")",
    "129 levels, and no end": 129 * b"(",
    "100,000 levels": 100_000 * b"(",
    "levels on both sides of a literal": 65 * b"(" + b" {3}\r\nabc " + 65 * b"(" + 130 * b")",
}


@pytest.mark.parametrize("deep", DEEP.values(), ids=DEEP)
def test_s3_a_message_in_lists_within_lists_costs_only_itself(deep: bytes) -> None:
    odd = b"* 2 FETCH (UID 2 RFC822.SIZE 3 X " + deep + b")\r\n"
    with connected(mailbox(dict.fromkeys((1, 2, 3), MAIL), {2: odd})) as (client, _), cpu_limit(1.0):
        assert sorted(client.fetch([1, 2, 3], HEAD)) == [1, 3]
        assert not client.dead


def test_s3_brackets_in_words_are_no_levels() -> None:
    odd = (
        b'* 2 FETCH (UID 2 RFC822.SIZE 3 X "' + 200 * b"(" + b'\\"" Y ' + 200 * b"() " + b"Z " + 100 * b"(" + 100 * b")"
    )
    with connected(mailbox(dict.fromkeys((1, 2), MAIL), {2: odd + b")\r\n"})) as (client, _):
        assert 1 in client.fetch([1, 2], HEAD)
        assert not client.dead


@pytest.mark.parametrize(
    "greeting",
    [
        b"* OK {9999999999}\r\n",
        b"* OK " + 2 * MEGABYTE * b"x",
        b"* OK " + 200 * b"(" + b"\r\n",
        b"* OK x\r\n" * 250_000,
    ],
)
def test_s3_a_flood_before_login_is_left(greeting: bytes) -> None:
    with ScriptedServer(greeting=greeting) as server, memory_limit(400 * MEGABYTE), pytest.raises(ServerError):
        GuardedClient("127.0.0.1", server.port, tls=False, changes=False)


# S4: without end, and slowly


@contextmanager
def dripping(drip: bytes) -> Iterator[int]:
    """A server that greets, tells its capabilities, and then says the same few bytes for ever. Answers its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream, suppress(OSError):
                connection.sendall(b"* OK hello\r\n")
                tag = stream.readline().split()[0]
                connection.sendall(b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK x\r\n")
                while stream:
                    connection.sendall(drip)
                    time.sleep(0.01)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)
        assert not thread.is_alive(), "the connection was closed"


@pytest.mark.parametrize("drip", [b"* OK still looking\r\n", b"x", b"+ \r\n"])
def test_s4_a_server_that_keeps_talking_is_left_at_the_deadline(drip: bytes) -> None:
    """Each of its words comes in time; the answer never does."""
    with dripping(drip) as port:
        client = GuardedClient("127.0.0.1", port, tls=False, changes=False)
        client._wire.silence = 0.05
        with pytest.raises(ServerError, match="did not answer in time"):
            client.login("ann", PASSWORD)
        assert client.dead
        assert client._wire._received < 100_000, "it was the deadline, not the bytes"


def test_s4_a_silent_server_is_left() -> None:
    with connected({"UID SEARCH": b"* SEARCH"}) as (client, _):
        client._wire.silence = 0.05
        with pytest.raises(ServerError, match="did not answer in time"):
            client.search(1, 9)
        assert client.dead


# S5: names of folders


NAMES: dict[str, bytes] = {
    "up": b'"../../../etc/passwd"',
    "absolute": b'"/etc/passwd"',
    "escape": b'"\x1b]52;c;ZXZpbA==\x07"',
    "C1": b'"&AJs-31m"',
    "right to left": b'"&IC4-gpj.exe"',
    "a zero-width name": b'"&IAs-"',
    "bad UTF-7": b'"&bad"',
    "a lone surrogate": b'"&2AA-"',
    "UTF-7 of ASCII": b'"&AEE-"',
    "8 bit": b'"caf\xe9"',
    "UTF-8": b'"caf\xc3\xa9"',
    "10 kB": b'"' + 10_000 * b"x" + b'"',
    "10 kB of UTF-7": b'"&' + 10_000 * b"A" + b'-"',
    "a command": b"{12}\r\nA1 EXPUNGE\r\n",
    "a quote": b'"x\\" (\\\\Deleted) \\""',
    "a percent": b'"%n%s*"',
    "a formula": b'"=1+1"',
    "empty": b'""',
    "NIL": b"NIL",
    "a number": b"007",
    "dots": b'".."',
    "NUL in a literal": b"{3}\r\na\0b",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_s5_a_hostile_folder_name_is_shown_safely_and_never_used(name: bytes) -> None:
    listed = b'* LIST () "/" %s\r\n* LIST () "/" "Good"\r\nTAG OK x\r\n' % name
    with ScriptedServer({"LIST": listed}) as server:
        with pytest.raises(NotFoundError, match=r"There are: .*Good") as caught:
            open_imap(server.url("Nope"), lambda _: "pw", changes=False, patience=AT_ONCE)
        said = str(caught.value)
        assert said.isprintable()
        assert len(said) < 1_000
        for command in server.commands:
            assert command.startswith(("NAMESPACE", 'LIST "" "Nope"', 'LIST "" "*"', "LOGOUT"))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_s5_the_target_is_made_under_the_name_that_was_asked_for(name: bytes) -> None:
    """Whatever LIST answers: only a line of that very name is believed."""
    listed = b'* LIST () "/" %s\r\nTAG OK x\r\n' % name
    with (
        ScriptedServer({"LIST": listed}) as server,
        closing(open_imap(server.url(), lambda _: "pw", changes=True, patience=AT_ONCE)) as source,
    ):
        assert source.prepare("LinkedIn").folder == "LinkedIn"
        made = [line for line in server.commands if line.startswith(("CREATE", "SUBSCRIBE", "STATUS"))]
        assert made[-3:] == [
            'CREATE "LinkedIn"',
            'SUBSCRIBE "LinkedIn"',
            'STATUS "LinkedIn" (UIDVALIDITY UIDNEXT)',
        ]
        assert set(made[:-3]) == {made[-1]}, "asked together with LIST"


# S6: what the server wants people to read


def test_s6_words_of_a_server_are_marked_as_its_words_and_cannot_touch_the_terminal() -> None:
    evil = b"[ALERT] \x1b[2J\x9b31m \xe2\x80\xae Enter your password at https://evil.example/?a=secret-token-1234567890"
    for answers in ({"SASL": b"TAG NO " + evil + b"\r\n"}, {"LOGIN": b"TAG NO " + evil + b"\r\n", **ONLY_LOGIN}):
        with ScriptedServer(answers) as server, pytest.raises(LoginError, match=r"server says: \[ALERT\]") as caught:
            open_imap(server.url(), lambda _: "pw", changes=False, patience=AT_ONCE)
        assert str(caught.value).isprintable()
        assert "secret-token" not in str(caught.value)
    with connected({"STATUS": b"TAG NO " + evil + b"\r\n"}) as (client, _):
        with pytest.raises(RejectedError, match=r"server says: \[ALERT\]") as refused:
            client.status("News")
        assert str(refused.value).isprintable()
    with ScriptedServer(greeting=b"* BYE " + evil + b"\r\n") as server:
        with pytest.raises(ServerError, match="server says: ") as shut:
            open_imap(server.url(), lambda _: pytest.fail("asked"), changes=False, patience=AT_ONCE)
        assert str(shut.value).isprintable()


ALERTS: dict[str, dict[str, Answer]] = {
    "in the greeting": {},
    "with the login": {"SASL": b"* OK %s\r\nTAG OK in\r\n"},
    "as the login's answer": {"SASL": b"TAG OK %s\r\n"},
    "with a folder": {"EXAMINE": b"* OK %s\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 9] x\r\nTAG OK x\r\n"},
    "with a search": {"UID SEARCH": b"* OK %s\r\n* SEARCH\r\nTAG OK x\r\n"},
    "a thousand times": {"UID SEARCH": 1_000 * b"* OK %s\r\n" + b"* SEARCH\r\nTAG OK x\r\n"},
}


@pytest.mark.parametrize("case", ALERTS)
def test_s6_an_alert_is_shown_once_and_as_the_servers_words(case: str) -> None:
    evil = (
        b"[alert] \x1b[2J the mailbox moves on Monday \xe2\x80\xae see https://evil.example/x?token=0123456789abcdef0"
    )
    answers = {
        command: answer.replace(b"%s", evil) for command, answer in ALERTS[case].items() if isinstance(answer, bytes)
    }
    told: list[str] = []
    greeting = b"* OK " + (evil if case == "in the greeting" else b"hello") + b"\r\n"
    with ScriptedServer(answers, greeting=greeting) as server:
        patience = Patience(tell=told.append)
        with closing(open_imap(server.url(), lambda _: "pw", changes=False, patience=patience)) as source:
            list(source.scan(ALL))
            list(source.scan(ALL))
    (said,) = told
    assert said.startswith("127.0.0.1 (server says: [alert] ")
    assert "moves on Monday" in said
    assert said.isprintable()
    assert "0123456789abcdef0" not in said


# S7: referrals


REFERRED: dict[str, dict[str, Answer]] = {
    "login, NO": {"SASL": b"TAG NO [REFERRAL %s] go there\r\n"},
    "login, OK": {"SASL": b"TAG OK [REFERRAL %s] or there\r\n"},
    "login, BYE": {"SASL": b"* BYE [REFERRAL %s] go there\r\n" + CUT},
    "EXAMINE": {"EXAMINE": b"TAG NO [REFERRAL %s] it is there\r\n"},
    "LIST": {"LIST": b'* LIST (\\Noselect \\Remote) "/" "%s"\r\nTAG OK [REFERRAL %s] x\r\n'},
    "SEARCH": {"UID SEARCH": b"TAG NO [REFERRAL %s] it is there\r\n"},
    "an untagged word": {"EXAMINE": b"* OK [REFERRAL %s] x\r\nTAG NO [REFERRAL %s] x\r\n"},
}


@pytest.mark.parametrize("case", REFERRED)
def test_s7_nobody_is_followed_to_another_server(case: str) -> None:
    with ScriptedServer() as other:
        there = f"imap://ann;AUTH=*@127.0.0.1:{other.port}/INBOX".encode()
        answers: dict[str, Answer] = {
            command: answer.replace(b"%s", there)
            for command, answer in REFERRED[case].items()
            if isinstance(answer, bytes)
        }
        with (
            ScriptedServer(answers) as server,
            suppress(FiltersError),
            closing(open_imap(server.url(), lambda _: "pw", changes=False, patience=AT_ONCE)) as source,
        ):
            list(source.scan(ALL))
        assert other.connections == 0


# S8: wrong answers about UIDs


def _answer(uid: object, flags: str = "()") -> bytes:
    return f"* 1 FETCH (UID {uid} FLAGS {flags} RFC822.SIZE 3 BODY[HEADER] {{3}}\r\nabc)\r\n".encode()


@pytest.mark.parametrize("uid", [2, 0, -1, 4294967296, "NIL", "(1)", "1.0", "1:3", "*", "01x", 10**30])
def test_s8_an_answer_about_what_nobody_asked_for_is_dropped(uid: object) -> None:
    with connected({"UID FETCH": _answer(uid) + _answer(7) + b"TAG OK x\r\n"}) as (client, _):
        assert list(client.fetch([1, 7], "UID FLAGS RFC822.SIZE BODY.PEEK[HEADER]<0.9>")) == [7]


@pytest.mark.parametrize("hits", [b"99", b"0", b"-4", b"4294967296", b"1 1 1", b"5 99999999999999999999 2"])
def test_s8_hits_outside_of_the_window_are_dropped(hits: bytes) -> None:
    with connected({"UID SEARCH": b"* SEARCH " + hits + b"\r\nTAG OK x\r\n"}) as (client, _):
        assert set(client.search(1, 9)) <= {1, 2, 5}
        assert client.existing([3, 4]) == set()


@pytest.mark.parametrize("words", [b"x", b"1 two", b"1.5", b"1:3", 5_000 * b"9"])
def test_s8_hits_that_are_no_numbers_break_it_off(words: bytes) -> None:
    with (
        connected({"UID SEARCH": b"* SEARCH " + words + b"\r\nTAG OK x\r\n"}) as (client, _),
        pytest.raises(BrokenOffError),
    ):
        client.search(1, 9)


@pytest.mark.parametrize(
    "code", [b"9 3 10", b"9 1:3 10:12", b"9 1 10,11", b"0 1 10", b"9 1 0", b"9 1 4294967296", b"9 * 10"]
)
def test_s8_a_copyuid_about_other_messages_tells_nothing(code: bytes) -> None:
    assert copied([code], frozenset({1, 2}))[1] in ({}, {1: 10})
    assert copied([code], frozenset({1, 2})) in ((0, {}), (0, {1: 10}))


def test_s8_the_uids_of_a_server_that_lies_about_their_number() -> None:
    """A million hits for a folder that is said to hold three: the scan takes no more than the answer's budget, and ends."""
    flood = b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(1, 90_000)) + b"\r\nTAG OK x\r\n"
    opened = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 4294967295] x\r\nTAG OK [READ-ONLY] x\r\n"
    answers: dict[str, Answer] = {"EXAMINE": opened, "UID SEARCH": flood, "UID FETCH": b"TAG OK x\r\n"}
    with (
        ScriptedServer(answers) as server,
        closing(open_imap(server.url(), lambda _: "pw", changes=False, patience=AT_ONCE)) as source,
    ):
        found = source.scan(ALL)
        first = next(found)
        assert isinstance(first, Mail | Unreadable)


def test_s8_only_uids_are_sent() -> None:
    with connected() as (client, server):
        before = len(server.lines)
        for wrong in ([0], [-1], [2**32], [True], ["1"], ["1:*"], [None], [1.5]):
            with pytest.raises(RefusedError):
                client.move(wrong, "News")
        assert len(server.lines) == before
        assert PASSWORD not in repr(server.commands)
