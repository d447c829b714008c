"""Login by OAuth2: a real Dovecot that asks a local identity provider about each token, and servers that answer as others do."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import mails
import pytest
from dovecot import Dovecot, missing
from mailboxes import AT_ONCE, WANTED
from scripted_imap import ScriptedServer
from test_cli import unpitch

from filters.errors import LoginError
from filters.sources import Mail
from filters.sources.guarded import GuardedClient
from filters.sources.imap import open_imap
from filters.sources.session import Secret

GOOD = "eyJhbGciOi.good-token_" + "x" * 2_300
_MORE = """
auth_mechanisms = plain xoauth2 oauthbearer
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {path}
}}
"""


class Provider(BaseHTTPRequestHandler):
    """Says whose token it is, if it is the good one."""

    def do_GET(self) -> None:
        token = parse_qs(urlsplit(self.path).query).get("access_token", [""])[0]
        user, _, rest = token.partition("|")
        body = json.dumps({"username": user, "active": True} if rest == GOOD else {"error": "invalid_token"}).encode()
        self.send_response(200 if rest == GOOD else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    if reason := missing():
        pytest.skip(reason)
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    folder = tmp_path_factory.mktemp("oauth")
    folder.chmod(0o755)
    for parent in (folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    path = folder / "oauth2.conf"
    path.write_text(
        f"tokeninfo_url = http://127.0.0.1:{provider.server_address[1]}/?access_token=\n"
        "username_attribute = username\nactive_attribute = active\nactive_value = true\n"
    )
    path.chmod(0o644)
    with Dovecot(more=_MORE.format(path=path)) as running:
        yield running
    provider.shutdown()
    provider.server_close()


def words(server: Dovecot, token: str) -> list[str]:
    return ["--ca-file", str(server.ca_file), "--oauth-token-command", f"printf %s {token!r}"]


def test_a_token_opens_a_mailbox_and_a_bad_one_does_not(server: Dovecot, tmp_path: Path) -> None:
    user = server.new_user()
    server.deliver(user, mails.mail(number=1))
    done = unpitch(
        "clean",
        server.url(user),
        "--yes",
        "--trust-authserv",
        mails.TRUSTED,
        *words(server, f"{user}|{GOOD}"),
        state=tmp_path,
    )
    assert "1 moved" in done.stdout, done.stderr
    refused = unpitch("audit", server.url(user), *words(server, f"{user}|stale-secret"), state=tmp_path)
    assert refused.returncode == 77
    assert "access token is not valid" in refused.stderr
    assert "stale-secret" not in refused.stderr + refused.stdout


def test_a_configuration_names_the_program(server: Dovecot, tmp_path: Path) -> None:
    user = server.new_user()
    path = tmp_path / "config.toml"
    command = json.dumps(["printf", "%s", f"{user}|{GOOD}"])
    path.write_text(
        f'[accounts.work]\nlocation = "{server.url(user)}"\noauth_token_command = {command}\nca_file = "{server.ca_file}"\n'
    )
    path.chmod(0o600)
    done = unpitch("audit", "work", state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert GOOD not in unpitch("clean", "work", "--dry-run", state=tmp_path).stdout


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_both_mechanisms_and_what_they_say(mechanism: str) -> None:
    offered = f"* CAPABILITY IMAP4rev1 AUTH={mechanism} LOGINDISABLED\r\nTAG OK x\r\n".encode()
    with ScriptedServer({"CAPABILITY": offered, "SASL": b"TAG OK in\r\n"}) as scripted:
        client = GuardedClient("127.0.0.1", scripted.port, tls=False, changes=False)
        client.login("ann@example.org", "tok", oauth=True)
        client.logout()
    said = b64decode(next(line for line in scripted.lines if b" " not in line))
    start = b"user=ann@example.org\1" if mechanism == "XOAUTH2" else b"n,a=ann@example.org,\1host=127.0.0.1\1port="
    assert said.startswith(start)
    assert said.endswith(b"auth=Bearer tok\1\1")


def test_why_a_token_is_refused_is_waited_for_with_an_empty_line() -> None:
    offered = b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\nTAG OK x\r\n"
    refusal = b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\nTAG NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)\r\n"
    with ScriptedServer({"CAPABILITY": offered, "SASL": refusal}) as scripted:
        client = GuardedClient("127.0.0.1", scripted.port, tls=False, changes=False)
        with pytest.raises(LoginError, match="access token is not valid"):
            client.login("ann", "tok", oauth=True)
        client.logout()
    assert b"\r\n" in scripted.lines


def test_f27_a_token_that_runs_out_is_renewed_once_and_only_once() -> None:
    tokens = iter(["first", "second", "third"])
    asked: list[str] = []

    def token(_: str) -> str:
        asked.append(next(tokens))
        return asked[-1]

    offered = b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 MOVE UIDPLUS NAMESPACE\r\nTAG OK x\r\n"
    no = b"TAG NO [AUTHENTICATIONFAILED] expired\r\n"
    answers = {
        "CAPABILITY": offered,
        "SASL": [b"TAG OK in\r\n", no, b"TAG OK in\r\n", no],
        "UID SEARCH": [b"* BYE token expired\r\n<cut>", b"* SEARCH\r\nTAG OK x\r\n"],
    }
    with (
        ScriptedServer(answers) as scripted,
        closing(open_imap(scripted.url(), token, changes=False, patience=AT_ONCE, oauth=True)) as source,
    ):
        assert [one for one in source.scan(WANTED) if isinstance(one, Mail)] == []
    assert asked == ["first", "second"]


def test_f27_what_runs_for_hours_may_renew_again_later_but_not_at_once() -> None:
    now, tokens = [0.0], iter("abcdef")
    secret = Secret(lambda: next(tokens), oauth=True, clock=lambda: now[0])
    assert not secret.renew(), "a first token that is refused is not replaced"
    with ScriptedServer({"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\nTAG OK x\r\n"}) as scripted:
        client = GuardedClient("127.0.0.1", scripted.port, tls=False, changes=False)
        secret.log_in(client, "ann")
        client.logout()
    hours = []
    for now[0] in (0, 1, 599, 3_600, 3_700, 7_200):
        hours.append(secret.renew())
    assert hours == [True, False, False, True, False, True]


def test_a_server_without_oauth_says_so() -> None:
    with ScriptedServer() as scripted:
        client = GuardedClient("127.0.0.1", scripted.port, tls=False, changes=False)
        with pytest.raises(LoginError, match="no login by OAuth2"):
            client.login("ann", "tok", oauth=True)
        client.logout()
