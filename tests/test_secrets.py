"""M2, M3: the password is on the wire and nowhere else: no argument, no log, no message, no file, in no form that gives it away."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.parse
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mails
import pytest
from scripted_imap import CUT, Answer, ScriptedServer, mailbox
from test_cli import TRUST

from filters.errors import FiltersError, LoginError
from filters.safe_text import telling
from filters.sources import Wanted
from filters.sources.guarded import GuardedClient
from filters.sources.imap import open_imap
from filters.sources.patience import Patience
from filters.sources.session import Secret

USER = "ann@example.org"
SECRET = 'Vq7+"se\\cret/äx=1'
ASCII_SECRET = 'Wq7+"se\\cret/ax=1'
ALL = Wanted(("From",), lambda _: True)
ROOT = Path(__file__).parent.parent


def forms(secret: str, user: str = USER) -> list[str]:
    """A secret in every form that mail programs and servers write it in."""
    utf8 = secret.encode()
    whole = [
        utf8,
        f"\0{user}\0{secret}".encode(),
        f"{user}\0{user}\0{secret}".encode(),
        f"{user}:{secret}".encode(),
        f"user={user}\1auth=Bearer {secret}\1\1".encode(),
        f"n,a={user},\1auth=Bearer {secret}\1\1".encode(),
    ]
    inside = [b64encode(b"x" * skip + utf8 + b"yyy").decode() for skip in (0, 1, 2)]
    quoted = secret.replace("\\", "\\\\").replace('"', '\\"')
    return [
        secret,
        quoted,
        repr(secret)[1:-1],
        repr(quoted)[1:-1],
        repr(utf8)[2:-1],
        repr(quoted.encode())[2:-1],
        secret.encode("ascii", "ignore").decode(),
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        utf8.hex(),
        *(b64encode(one).decode() for one in whole),
        *(b64encode(one).decode().rstrip("=") for one in whole),
        *inside,
    ]


def assert_hidden(text: str, where: str) -> None:
    for form in forms(SECRET) + forms(ASCII_SECRET):
        assert form not in text, f"{where} holds {form}"
    assert "se\\cret" not in text
    assert "cret/" not in text, where


def test_the_search_of_these_tests_finds_a_secret() -> None:
    for form in forms(SECRET):
        with pytest.raises(AssertionError):
            assert_hidden(f"before {form} after", "this")


def _echo(prefix: bytes, suffix: bytes = b"\r\n") -> list[bytes]:
    """The answer of a server that says what it knows, in each form: which one it is, a test replaces."""
    return [prefix + b"FORM" + suffix]


ECHOES: dict[str, dict[str, Answer]] = {
    "NO": {"SASL": _echo(b"TAG NO wrong: ")},
    "NO with a code": {"SASL": _echo(b"TAG NO [ALERT] wrong: ")},
    "BAD": {"SASL": _echo(b"TAG BAD wrong: ")},
    "BYE": {"SASL": _echo(b"* BYE wrong: ", b"\r\n" + CUT)},
    "for now": {"SASL": _echo(b"TAG NO [UNAVAILABLE] wrong: ")},
    "nonsense": {"SASL": _echo(b"wrong: ")},
    "a continuation": {"SASL": _echo(b"+ ", b"\r\n" + CUT)},
    "after the login": {"EXAMINE": _echo(b"TAG NO that was ")},
    "after the login, BAD": {"EXAMINE": _echo(b"TAG BAD that was ")},
    "after the login, BYE": {"EXAMINE": _echo(b"* BYE that was ", b"\r\n" + CUT)},
    "after the login, in a search": {"UID SEARCH": _echo(b"TAG NO that was ")},
    "an ALERT": {"SASL": _echo(b"* OK [ALERT] that was ", b"\r\nTAG OK in\r\n")},
    "a later ALERT": {
        "EXAMINE": _echo(b"* OK [ALERT] that was ", b"\r\n* 0 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\nTAG OK x\r\n")
    },
    "LOGIN, NO": {"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\nTAG OK x\r\n", "LOGIN": _echo(b"TAG NO wrong: ")},
    "LOGIN, BAD": {"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\nTAG OK x\r\n", "LOGIN": _echo(b"TAG BAD wrong: ")},
}


@pytest.mark.parametrize("form", forms(SECRET) + forms(ASCII_SECRET) + forms("Ann1")[:-3] + forms("12 ab")[:-3])
def test_m2_a_secret_is_recognised_in_every_form(form: str) -> None:
    tests = [telling(one) for one in (SECRET, ASCII_SECRET, "Ann1", "12 ab")]
    assert any(tells(f"before {form} after") for tells in tests)
    assert not any(
        tells("[AUTHENTICATIONFAILED] Invalid credentials (Failure) 0123456789 abcdefghijk") for tells in tests
    )
    assert "Vq7" not in repr(tests)
    assert telling("")("") is False


def run(words: list[str], state: Path, *, debug: bool, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; with `debug` every logger and imaplib talk as much as they can."""
    loud = "import imaplib, logging; imaplib.Debug = 5; logging.basicConfig(level=1); logging.raiseExceptions = True; "
    code = f"import sys; {loud if debug else ''}from filters.cli import main; sys.argv[0] = 'unpitch'; main()"
    env = {**os.environ, "UNPITCH_STATE": str(state), "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", code, *words],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
        check=False,
    )


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text(SECRET + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("case", ECHOES)
def test_m2_what_a_server_knows_of_the_password_is_not_repeated(case: str) -> None:
    secret = ASCII_SECRET if "LOGIN" in case else SECRET
    said: list[str] = []
    for form in forms(secret):
        words = {b"FORM": b"it was " + form.encode(), b"FORM AT THE CUT": 180 * b"x" + form.encode()}
        for word in words.values():
            answers = {
                key: [one.replace(b"FORM", word) for one in value] if isinstance(value, list) else value
                for key, value in ECHOES[case].items()
            }
            with ScriptedServer(mailbox({}) | answers) as server:
                url = server.url(user=urllib.parse.quote(USER))
                patience = Patience(attempts=2, first=0, tell=said.append)
                try:
                    with closing(open_imap(url, lambda _: secret, changes=False, patience=patience)) as source:
                        list(source.scan(ALL))
                except FiltersError as error:
                    said.append(str(error))
    assert said
    assert_hidden("\n".join(said), "what is said")
    assert "xxxxxxxxV" not in "".join(said), "not even its beginning"


def command_lines() -> Iterator[str]:
    """Of every process there is now."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue


@pytest.mark.parametrize("way", ["command", "environment"])
def test_m2_m3_a_run_in_which_everything_talks_shows_no_secret(way: str, tmp_path: Path, secret_file: Path) -> None:
    seen: list[str] = []
    usual = mailbox({1: mails.mail(number=1), 2: mails.friend(2)})

    def search(command: str) -> bytes:
        seen.extend(command_lines())
        return usual["UID SEARCH"](command)  # type: ignore[operator,no-any-return]

    moved = b"* OK [COPYUID 9 1 10] x\r\n* 1 EXPUNGE\r\nTAG OK x\r\n"
    with ScriptedServer({**usual, "UID SEARCH": search, "UID MOVE": moved}) as server:
        words = ["clean", server.url(user=urllib.parse.quote(USER)), *TRUST, "--yes"]
        if way == "command":
            done = run([*words, "--password-command", f"cat {secret_file}"], tmp_path / "state", debug=True)
        else:
            done = run(words, tmp_path / "state", debug=True, UNPITCH_PASSWORD=SECRET)
        assert done.returncode == 0, done.stderr
        assert "1 moved to LinkedIn" in done.stdout
        assert any(b64encode(f"\0{USER}\0{SECRET}".encode()) in line for line in server.lines)
    assert any("filters.cli" in line for line in seen), "the run was among the processes looked at"
    assert_hidden("\n".join(seen), "a command line")
    assert_hidden(done.stdout + done.stderr, "the output")
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            assert_hidden(path.read_bytes().decode("utf-8", "replace"), path.name)


def test_m2_no_object_shows_the_secret() -> None:
    with ScriptedServer({"SASL": [b"TAG NO wrong\r\n", b"TAG OK in\r\n"]}) as server:
        client = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        with pytest.raises(LoginError) as caught:
            client.login(USER, SECRET)
        secret = Secret(lambda: SECRET)
        secret.log_in(client, USER)
        kept = [
            secret,
            client,
            client.__dict__,
            client._wire,
            client._wire.__dict__,
            client._library.__dict__,
            caught.value.__dict__,
        ]
        error: BaseException | None = caught.value
        while error:
            kept += [error, error.args]
            error = error.__context__
        assert_hidden(repr(kept), "an object")
        client.logout()
