"""unpitch serve lmtp: whatever the store or a mail does, the mail server hears the truth, and mail is as it was but for a header."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import log_rules
import pytest
from delivering import LMTP, UNPITCH, open_folder
from dovecot import Dovecot
from dovecot import missing as no_dovecot
from mails import TRUSTED, job_alert, mail
from postfix import Postfix
from postfix import missing as no_postfix
from scripted_store import Store, scripted_store

from filters.cli.serving import lmtp
from filters.errors import FiltersError, UsageError
from filters.message import MESSAGE_CAP
from filters.serve.endpoints import parse_endpoint
from filters.serve.store import LostError, Seconds
from filters.serve.store import Store as Conversation

TRUST = f"--trust-authserv={TRUSTED}"
MARK = re.compile(rb"\AX-Unpitch: [^\r\n]*\r\n")


class Running:
    """A proxy, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path, log: Path) -> None:
        self.process, self.path, self._log = process, path, log

    def client(self) -> smtplib.LMTP:
        client = smtplib.LMTP(str(self.path))
        client.ehlo("mx")
        return client

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.said().splitlines()]

    def said(self) -> str:
        return self._log.read_text()


@contextmanager
def proxy(home: Path, to: object, *words: str, room: int = resource.RLIM_INFINITY) -> Iterator[Running]:
    """`room`: bytes of the largest file that it can write."""

    listening, log = home / "proxy.sock", home / "proxy.log"
    command = [
        UNPITCH,
        "serve",
        "lmtp",
        "--listen",
        f"unix:{listening}",
        "--to",
        str(to),
        "--log-format",
        "json",
        TRUST,
    ]
    with log.open("wb") as said, subprocess.Popen([*command, *words], stderr=said) as process:
        try:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, room))
            end = time.monotonic() + 60
            while time.monotonic() < end and process.poll() is None and "listening" not in log.read_text():
                time.sleep(0.02)
            yield Running(process, listening, log)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Store]]:
    """One proxy before one scripted store, for the tests that leave both as they were."""
    home = tmp_path_factory.mktemp("lmtp")
    metrics = home / "metrics.prom"
    with (
        scripted_store(home / "store.sock") as store,
        proxy(home, f"unix:{store.path}", "--workers", "1", "--metrics", str(metrics)) as running,
    ):
        yield running, store


def send(client: smtplib.LMTP, raw: bytes, recipients: int = 1) -> list[tuple[int, bytes]]:
    """The answers to each recipient, by the raw bytes of what stands between DATA and the lone dot."""
    assert client.docmd("MAIL", "FROM:<>")[0] == 250
    answers = [client.docmd("RCPT", f"TO:<r{number}@x>") for number in range(recipients)]
    accepted = sum(code == 250 for code, _ in answers)
    code, text = client.docmd("DATA")
    if code != 354:
        return [(code, text)]
    client.send(raw + b".\r\n")
    return [client.getreply() for _ in range(accepted)]


@pytest.mark.parametrize(
    "raw",
    [
        mail(),
        job_alert(),
        b"A: b\r\n\r\n..dot\r\n...\r\n..\r\n",
        b"A: b\r\n\r\n\xff\xfe\0 8bit " + b"x" * 200_000 + b"\r\n",
        "Subject: ü\r\n\r\nü\r\n".encode(),
        b"A: b\r\n\r\nbare\rcr and bare\nlf\r\n.\xe2 dot\r\n",
        b"A: b\r\n",
        b"no mail\r\n",
        b"",
    ],
    ids=["advert", "wanted", "dots", "8bit-long-line", "utf8", "bare", "headers", "no-mail", "empty"],
)
def test_the_store_gets_the_same_bytes_but_for_the_header(both: tuple[Running, Store], raw: bytes) -> None:
    running, store = both
    with running.client() as client:
        assert send(client, raw) == [(250, b"2.0.0 <0> saved")]
        assert client.docmd("NOOP")[0] == 250
    assert MARK.sub(b"", store.messages[-1]) == raw
    assert MARK.match(store.messages[-1]) or b":" not in raw


def test_the_verdict_is_on_the_mail(both: tuple[Running, Store]) -> None:
    running, store = both
    with running.client() as client:
        send(client, b"X-Unpitch: verdict=other\r\n" + mail())
    found = re.findall(rb"X-Unpitch: ([^\r\n]*)", store.messages[-1])
    assert len(found) == 1 and b"category=partner_inmail" in found[0] and b"verdict=promotional" in found[0]


def test_envelope_and_abilities_are_those_of_the_store(both: tuple[Running, Store]) -> None:
    running, store = both
    with running.client() as client:
        assert {"8bitmime", "smtputf8", "pipelining", "size"} <= client.esmtp_features.keys()
        assert client.esmtp_features["size"] == "1000" and "xclient" not in client.esmtp_features
        client.send('MAIL FROM:<"a b"@x> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<ü@x>\r\nRSET\r\n'.encode())
        assert [client.getreply()[0] for _ in range(3)] == [250, 250, 250]
        assert store.commands[-3:] == [b'MAIL FROM:<"a b"@x> BODY=8BITMIME SMTPUTF8', "RCPT TO:<ü@x>".encode(), b"RSET"]
        assert client.docmd("RCPT", "TO:<a@x>")[0] == 503
        assert client.docmd("MAIL", "FROM:<a\x07@x>")[0] == 501
        assert client.docmd("DATA")[0] == 503


def test_each_recipient_gets_the_answer_of_the_store(both: tuple[Running, Store]) -> None:
    running, store = both
    store.answers = {"RCPT": ["250 yes", "550 5.1.1 nobody", "452 4.2.2 full", "250 yes"]}
    store.answers["."] = ["250 2.0.0 saved", "452-4.2.2 quota\n452 4.2.2 exceeded"]
    with running.client() as client:
        assert send(client, mail(), recipients=4) == [(250, b"2.0.0 saved"), (452, b"4.2.2 quota\n4.2.2 exceeded")]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"DATA": ["451 4.3.0 not now"]}, [451, 451]),
        ({"DATA": ["554 5.0.0 never"]}, [554, 554]),
        ({"DATA": ["gone"]}, [451, 451]),
        ({".": ["gone"]}, [451, 451]),
        ({".": ["250 saved", "gone"]}, [250, 451]),
        ({".": ["250 saved", "nonsense"]}, [250, 451]),
    ],
)
def test_a_store_that_refuses_or_breaks_off_is_told_to_each(
    both: tuple[Running, Store], answers: dict[str, list[str]], expected: list[int]
) -> None:
    running, store = both
    store.answers = answers
    with running.client() as client:
        assert [code for code, _ in send(client, mail(), recipients=2)] == expected
        assert send(client, mail())[0][0] == 250  # and the next message finds a store again


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Store]]:
    """One that waits for a second only, and whose disk has room for two megabytes."""
    home = tmp_path_factory.mktemp("lmtp")
    words = ("--workers", "1", "--store-seconds", "1")
    with scripted_store(home / "store.sock") as store, proxy(home, f"unix:{store.path}", *words, room=2**21) as running:
        yield running, store


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"220": ["hang"]}, None),
        ({"DATA": ["hang"]}, [451, 451]),
        ({"DATA": ["stuck"]}, [451, 451]),
        ({".": ["hang"]}, [451, 451]),
        ({".": ["250 saved", "hang"]}, [250, 451]),
        ({".": ["250-half an answer", "hang"]}, [451, 451]),
    ],
    ids=["greeting", "data", "reading", "stored", "second", "half"],
)
def test_a_store_that_hangs_costs_its_own_message_a_new_attempt_and_others_nothing(
    hasty: tuple[Running, Store], answers: dict[str, list[str]], expected: list[int] | None
) -> None:
    running, store = hasty
    store.answers = {verb: list(script) for verb, script in answers.items()}
    large = mail() + (b"x" * 70 + b"\r\n") * 14_000  # more than what fits into a socket, less than what is judged
    with smtplib.LMTP(str(running.path), timeout=60) as client:
        if expected is None:
            assert client.ehlo("mx")[0] == 451
        else:
            client.ehlo("mx")
            with ThreadPoolExecutor(1) as thread:
                sent = thread.submit(send, client, large, 2)
                with running.client() as other:
                    while store.answers.get(next(iter(answers))):  # until it is the first that hangs
                        time.sleep(0.01)
                    assert send(other, mail(number=2))[0][0] == 250
                assert [code for code, _ in sent.result()] == expected
        assert client.ehlo("mx")[0] == 250
        assert send(client, mail(number=3))[0][0] == 250
    assert store.messages[-1].endswith(mail(number=3))


def test_what_a_store_that_hung_was_not_sent_it_is_never_sent() -> None:
    """It would store what was answered "later", and get it again."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)

    async def hung() -> None:
        store = Conversation(*await asyncio.open_unix_connection(sock=ours), Seconds(reply=0.1, stored=0.1))
        await store.send(b"x" * 50_000)  # some of it waits for the store to read
        await store.send(b"\r\n.\r\n")
        with pytest.raises(LostError, match="did not answer"):
            await store.stored()
        store.close()

    with theirs:
        asyncio.run(hung())
        theirs.settimeout(10)
        heard = b""
        with suppress(ConnectionResetError):
            while data := theirs.recv(65_536):
                heard += data
    assert heard.startswith(b"x") and not heard.endswith(b"\r\n.\r\n")


@pytest.mark.parametrize("size", [2**21 + 100, 2**21 - 100, 2**22])
def test_a_full_disk_makes_the_mail_server_try_again(hasty: tuple[Running, Store], size: int) -> None:
    """Also where the last bytes find no room, which are written when all is read."""
    running, store = hasty
    store.answers = {}
    start = b"A: b\r\n\r\n"
    raw = start + b"x" * (size - len(start) - 2) + b"\r\n"
    with running.client() as client:
        expected = 250 if size < 2**21 else 452
        assert [code for code, _ in send(client, raw, recipients=2)] == [expected] * 2
        assert client.docmd("NOOP")[0] == 250
        assert send(client, mail())[0][0] == 250
    assert (store.messages[-2] == raw) == (expected == 250)


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
def test_a_store_that_is_lost_before_the_message_never_makes_mail_bounce(
    both: tuple[Running, Store], command: str
) -> None:
    running, store = both
    with running.client() as client:
        store.answers = {command: ["gone", "gone"]}
        codes = [client.docmd("MAIL", "FROM:<>")[0], *(client.docmd("RCPT", "TO:<a@x>")[0] for _ in range(2))]
        assert [*codes, client.docmd("DATA")[0]] == (
            [451, 451, 451, 451] if command == "MAIL" else [250, 451, 451, 451]
        )
        store.answers = {}
        assert send(client, mail())[0][0] == 250


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r.\r\n"])
def test_a_false_end_of_a_message_cannot_smuggle_commands(both: tuple[Running, Store], end: bytes) -> None:
    running, store = both
    before = len(store.messages)
    with running.client() as client:
        answers = send(client, b"A: b\r\n\r\nx" + end + b"MAIL FROM:<evil@x>\r\n", recipients=2)
        assert [code for code, _ in answers] == [550, 550]
        assert send(client, mail())[0][0] == 250
    assert len(store.messages) == before + 1


def test_a_message_beyond_the_cap_passes_unjudged(both: tuple[Running, Store]) -> None:
    running, store = both
    raw = b"X-Unpitch: verdict=promotional\r\nA: b\r\n\r\n" + (b"x" * 70 + b"\r\n") * (3 * MESSAGE_CAP // 72)
    with running.client() as client:
        assert send(client, raw)[0][0] == 250
    assert store.messages[-1] == raw.partition(b"\r\n")[2]
    assert "larger" in str(running.lines()[-1]["unjudged"])


def test_a_mail_server_that_goes_away_leaves_nothing_behind(both: tuple[Running, Store]) -> None:
    running, store = both
    before = len(store.messages)
    client = running.client()
    for command in ("MAIL FROM:<>", "RCPT TO:<a@x>", "DATA"):
        client.docmd(command)
    client.send(mail()[:500])
    client.close()
    with running.client() as other:
        assert send(other, mail())[0][0] == 250
    assert len(store.messages) == before + 1


def test_lines_and_counts_name_nobody(both: tuple[Running, Store]) -> None:
    running, _ = both
    with running.client() as client:
        send(client, mail(), recipients=2)
    lines = running.lines()
    assert len({line["run"] for line in lines}) == 1
    last = lines[-1]
    assert (last["event"], last["stored"], last["category"], last["verdict"]) == (
        "message",
        2,
        "partner_inmail",
        "promotional",
    )
    assert "@" not in json.dumps(lines) and "inmail-hit" not in json.dumps(lines)


def test_at_the_end_the_message_under_way_is_finished(tmp_path: Path) -> None:
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(tmp_path / "notify"))
    os.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    metrics = tmp_path / "metrics.prom"
    try:
        with (
            notified,
            scripted_store(tmp_path / "store") as store,
            proxy(
                tmp_path, f"unix:{store.path}", "--metrics", str(metrics), "--workers", "1", "--log-addresses"
            ) as running,
        ):
            assert notified.recv(100) == b"READY=1"
            with running.client() as busy, running.client() as idle:
                for command in ("MAIL FROM:<>", "RCPT TO:<a@x>", "DATA"):
                    busy.docmd(command)
                running.process.send_signal(signal.SIGTERM)
                assert notified.recv(100) == b"STOPPING=1"
                with pytest.raises(smtplib.SMTPServerDisconnected):
                    idle.docmd("NOOP")
                busy.send(mail() + b".\r\n")
                assert busy.getreply() == (250, b"2.0.0 <0> saved")
            assert running.process.wait(30) == 0
            said = log_rules.lines(running.said())
            assert [one["event"] for one in said] == ["begun", "listening", "message", "stopped", "ended"]
            assert "a@x" in said[2]["to"]
    finally:
        del os.environ["NOTIFY_SOCKET"]
    assert 'unpitch_lmtp_messages_total{verdict="promotional"} 1\n' in metrics.read_text()
    assert 'unpitch_lmtp_recipients_total{answer="stored"} 1\n' in metrics.read_text()
    assert not running.path.exists()


def test_a_store_that_is_not_there_and_too_many_connections(tmp_path: Path) -> None:
    with proxy(tmp_path, f"unix:{tmp_path}/nowhere", "--connections", "1", "--workers", "1") as running:
        first = smtplib.LMTP(str(running.path))
        assert first.ehlo("x")[0] == 451
        with pytest.raises(smtplib.SMTPConnectError, match="421"):
            smtplib.LMTP(str(running.path))
        first.close()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"listen": "192.0.2.1:24"}, "--allow-remote"),
        ({"to": "store.example.org:25"}, "--allow-remote"),
        ({"listen": "elsewhere"}, "no address"),
        ({"log_format": "xml"}, "text or json"),
        ({"socket_mode": "rw"}, "octal"),
        ({"model": Path("/nowhere")}, "no model file"),
        ({"listen": "unix:{home}/file"}, "no socket"),
        ({"listen": "unix:{home}/a/b"}, "no such file"),
        ({"listen": "unix:{home}/taken"}, "Another service"),
    ],
)
def test_what_cannot_be_is_one_clear_line(tmp_path: Path, given: dict[str, object], says: str) -> None:
    (tmp_path / "file").write_text("")
    listen = str(given.pop("listen", "unix:{home}/s")).format(home=tmp_path)
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(tmp_path / "taken"))
        taken.listen()
        with pytest.raises(FiltersError, match=says) as told:
            lmtp(**{"listen": listen, "to": "127.0.0.1:9", "workers": 1, **given})  # type: ignore[arg-type]
    assert told.value.exit_code in (2, 65, 69)


def test_addresses() -> None:
    for text in ("unix:/a/b", "127.0.0.1:24", "[::1]:24", "localhost:24"):
        assert parse_endpoint(text).is_local and str(parse_endpoint(text)) == text
    assert str(parse_endpoint("inet:192.0.2.1:24")) == "192.0.2.1:24"
    assert not parse_endpoint("0.0.0.0:24").is_local and not parse_endpoint("localhost.example.org:1").is_local
    for text in ("", "unix:a", "a:b", "a:70000", "/a/b"):
        with pytest.raises(UsageError):
            parse_endpoint(text)


def test_between_a_real_postfix_and_a_real_dovecot() -> None:
    if reason := no_dovecot() or no_postfix():
        pytest.skip(reason)
    if not Path("/usr/lib/dovecot/lmtp").exists():
        pytest.skip("no LMTP: install dovecot-lmtpd to run this test")
    with open_folder("lmtp-") as home, Dovecot(more=f"hostname = {TRUSTED}\n{LMTP}") as server:
        to = f"unix:{server.home / 'run' / 'lmtp'}"
        trust = ("--trust-authserv", f"{TRUSTED}:below", "--socket-mode", "0666", "--workers", "1")
        with proxy(home, to, *trust) as running, Postfix(transport=f"lmtp:unix:{running.path}") as postfix:
            users = [f"{server.new_user()}@example.org" for _ in range(2)]
            for raw in (mail(), job_alert()):
                postfix.send("a@example.org", users, raw)
            postfix.wait_until_empty()
            running.process.kill()  # and while it is away, mail waits
            running.process.wait()
            postfix.send("a@example.org", users[:1], mail(number=3))
            time.sleep(1)
            assert postfix.queued() == 1
            with proxy(home, to, *trust):
                postfix.flush()
                postfix.wait_until_empty()
        for user, count in zip(users, (3, 2), strict=True):
            found = [path.read_bytes() for path in (server.maildir(user) / "new").iterdir()]
            assert len(found) == count
            assert sum(b"verdict=promotional" in raw for raw in found) == count - 1
            bodies = [raw.partition(b"Authentication-Results")[2] for raw in found]
            assert mail().replace(b"\r\n", b"\n").partition(b"Authentication-Results")[2] in bodies


def test_without_aiosmtpd_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "aiosmtpd.py").write_text("raise ImportError")
    command = [
        sys.executable,
        "-m",
        "filters",
        "serve",
        "lmtp",
        "--listen",
        f"unix:{tmp_path}/s",
        "--to",
        "127.0.0.1:9",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 69 and "unpitch[serve]" in done.stderr
