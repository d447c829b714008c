"""Leave by OAuth2, given on a local identity provider's page, and used on a Dovecot that asks that provider about each token."""

from __future__ import annotations

import json
import os
import ssl
import stat
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from threading import Thread

import mails
import pytest
from dovecot import Dovecot, missing
from identity_provider import CLIENT, SECRET, IdentityProvider
from mailboxes import AT_ONCE, WANTED
from scripted_imap import Answer, ScriptedServer
from test_cli import unpitch

from filters import oauth
from filters.config import account_of
from filters.errors import LoginError, TransientError, UsageError, WriteError
from filters.oauth import Client, Grant
from filters.sources import Mail
from filters.sources.guarded import GuardedClient
from filters.sources.imap import open_imap
from filters.sources.session import Secret

for extra in ("authlib", "keyring", "msal"):
    pytest.importorskip(extra, reason="the extra oauth is not installed")

_MORE = """
auth_mechanisms = plain xoauth2 oauthbearer
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {path}
}}
"""
#: What a browser does with the page that it is given: it goes where it is sent.
_BROWSER = """#!{python}
import ssl, sys, urllib.request
urllib.request.urlopen(sys.argv[1], context=ssl.create_default_context(cafile={ca!r})).read()
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    with IdentityProvider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(autouse=True)
def good(provider: IdentityProvider) -> None:
    provider.refuse, provider.pending, provider.lasts = None, 1, 3600


@pytest.fixture(scope="module")
def server(provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("oauth")
    for one in (folder, folder.parent, folder.parent.parent):
        one.chmod(0o755)
    path = folder / "oauth2.conf"
    path.write_text(
        f"tokeninfo_url = {provider.tokeninfo}\nusername_attribute = username\nactive_attribute = active\nactive_value = true\n"
    )
    path.chmod(0o644)
    with Dovecot(more=_MORE.format(path=path)) as running:
        yield running


@pytest.fixture
def environment(provider: IdentityProvider, tmp_path: Path) -> dict[str, str]:
    """A keyring, a browser, and the provider's certificate authority."""
    browser = tmp_path / "browser"
    browser.write_text(_BROWSER.format(python=sys.executable, ca=str(provider.ca_file)))
    browser.chmod(0o755)
    return {
        "PYTHON_KEYRING_BACKEND": "plain_keyring.Plain",
        "PLAIN_KEYRING": str(tmp_path / "ring.json"),
        "PYTHONPATH": str(Path(__file__).parent),
        "BROWSER": str(browser),
        "REQUESTS_CA_BUNDLE": str(provider.ca_file),
        "UNPITCH_CLIENT_ID": CLIENT,
        "UNPITCH_CLIENT_SECRET": SECRET,
    }


def leave(provider: IdentityProvider, server: Dovecot, user: str, flow: str) -> list[str]:
    """The words of `login`."""
    provider.user = user
    where = {"google": provider.issuer, "microsoft": provider.authority}[flow]
    return [server.url(user), "--provider", flow, "--server", where, "--ca-file", str(server.ca_file)]


@pytest.mark.parametrize("flow", ["google", "microsoft"])
def test_leave_is_given_once_and_every_run_asks_for_one_token(
    flow: str, provider: IdentityProvider, server: Dovecot, environment: dict[str, str], tmp_path: Path
) -> None:
    user = server.new_user()
    server.deliver(user, mails.mail(number=1), flags="S")
    state = tmp_path / "state"
    given = unpitch("login", *leave(provider, server, user, flow), state=state, **environment)
    assert given.returncode == 0, given.stderr
    assert f"lets {user} in: INBOX has 1 messages" in given.stdout
    assert ("type in the code WDJB-MJHT" in given.stdout) == (flow == "microsoft")
    configured(state, server, user)
    before = len(provider.asked)
    done = unpitch("clean", "work", "--yes", "--trust-authserv", mails.TRUSTED, state=state, **environment)
    assert "1 moved" in done.stdout, done.stderr
    assert [one["grant_type"] for one in provider.asked[before:]] == ["refresh_token"]
    said = given.stdout + given.stderr + done.stdout + done.stderr
    written = "".join(path.read_bytes().decode("latin-1") for path in state.rglob("*") if path.is_file())
    assert (state / "journal.sqlite3").exists()
    for secret in (*provider.given, SECRET):
        assert secret not in said + written


def test_init_has_leave_given_and_needs_no_question_for_it(
    provider: IdentityProvider, server: Dovecot, environment: dict[str, str], tmp_path: Path
) -> None:
    user, tokens = server.new_user(), tmp_path / "tokens"
    words = [*leave(provider, server, user, "google"), "--oauth-tokens", str(tokens), "--yes", "--name", "work"]
    done = unpitch("init", *words, state=tmp_path / "state", **environment)
    assert done.returncode == 0, done.stderr
    assert "0 messages looked at" in done.stdout
    made = (tmp_path / "state" / "config.toml").read_text()
    assert f'oauth_tokens = "{tokens}"' in made
    assert not any(secret in made + done.stdout + done.stderr for secret in (*provider.given, SECRET))


def configured(state: Path, server: Dovecot, user: str) -> None:
    """An account "work" with its tokens in the keyring."""
    state.mkdir(exist_ok=True)
    (state / "config.toml").write_text(
        f'[accounts.work]\nlocation = "{server.url(user)}"\noauth_tokens = "keyring"\nca_file = "{server.ca_file}"\n'
    )
    (state / "config.toml").chmod(0o600)


def test_leave_that_has_ended_is_said_once_and_given_anew(
    provider: IdentityProvider, server: Dovecot, environment: dict[str, str], tmp_path: Path
) -> None:
    user = server.new_user()
    unpitch("login", *leave(provider, server, user, "microsoft"), state=tmp_path, **environment)
    configured(tmp_path, server, user)
    environment |= {"UNPITCH_CLIENT_ID": "", "UNPITCH_CLIENT_SECRET": ""}
    provider.revoke()
    before = len(provider.asked)
    ended = unpitch("audit", "work", state=tmp_path, **environment)
    assert (ended.returncode, ended.stderr.count("\n")) == (77, 1)
    assert "has ended" in ended.stderr
    assert "unpitch login work" in ended.stderr
    assert len(provider.asked) == before + 1, "asked once, not again and again"
    assert not any(secret in ended.stderr for secret in provider.given)
    again = unpitch("login", "work", state=tmp_path, **environment)  # the client is known from before
    assert again.returncode == 0, again.stderr


def examined(state: Path, environment: dict[str, str]) -> list[dict[str, str]]:
    """What `doctor` says of the account."""
    found: list[dict[str, str]] = json.loads(unpitch("doctor", "work", "--json", state=state, **environment).stdout)[
        "accounts"
    ][1]["lines"]
    return found


def test_doctor_says_whether_leave_is_there_and_holds(
    provider: IdentityProvider, server: Dovecot, environment: dict[str, str], tmp_path: Path
) -> None:
    user = server.new_user()
    configured(tmp_path, server, user)
    (line,) = examined(tmp_path, environment)
    assert (line["about"], line["state"], line["next_step"]) == ("OAuth2", "failure", "Log in with: unpitch login work")
    grant = Grant(Client("microsoft", CLIENT, server=provider.authority), provider._new("refresh"))
    provider.user, provider._refresh[grant.refresh_token] = user, CLIENT
    kept = {f"unpitch oauth {account_of(server.url(user))}": json.dumps(asdict(grant))}
    Path(environment["PLAIN_KEYRING"]).write_text(json.dumps(kept))
    before = len(provider.asked)
    first, *rest = examined(tmp_path, environment)
    assert (first["state"], first["text"]) == (
        "ok",
        "leave from Microsoft is kept in the keyring; it gave an access token just now, good for 60 minutes",
    )
    assert "login" in [one["about"] for one in rest] and len(provider.asked) == before + 1


@pytest.mark.parametrize(("lasts", "asked"), [(3600, 1), (30, 2)])
def test_a_token_that_is_about_to_end_is_replaced_before_it_is_refused(
    lasts: int, asked: int, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    provider.lasts = lasts
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(provider.ca_file))
    where, token = str(tmp_path / "tokens"), provider._new("refresh")
    provider._refresh[token] = CLIENT
    oauth.keep("imap://ann@x", where, Grant(Client("microsoft", CLIENT, server=provider.authority), token))
    source, before = oauth.TokenSource("imap://ann@x", "x", where, tmp_path), len(provider.asked)
    answers: dict[str, Answer] = {
        "CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 MOVE UIDPLUS NAMESPACE\r\nTAG OK x\r\n",
        "SASL": b"TAG OK in\r\n",
        "UID SEARCH": [b"* BYE back soon\r\n<cut>", b"* SEARCH\r\nTAG OK x\r\n"],
    }
    with (
        ScriptedServer(answers) as scripted,
        closing(open_imap(scripted.url(), source, changes=False, patience=AT_ONCE, oauth=source.left)) as mailbox,
    ):
        assert [one for one in mailbox.scan(WANTED) if isinstance(one, Mail)] == []
    assert len(provider.asked) - before == asked


def test_a_replacement_that_is_not_given_is_asked_for_once() -> None:
    """Nor is a new token replaced at once, however short it lasts."""
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        if len(asked) == 3:
            raise LoginError("ended")
        return f"token{len(asked)}"

    secret = Secret(token, oauth=lambda: 10.0)
    with ScriptedServer({"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\nTAG OK x\r\n"}) as scripted:

        def log_in() -> None:
            client = GuardedClient("127.0.0.1", scripted.port, tls=False, changes=False)
            try:
                secret.log_in(client, "ann")
            finally:
                client.logout()

        log_in()
        assert secret.renew()
        log_in()
        assert len(asked) == 2
        with pytest.raises(LoginError, match="ended"):
            log_in()
        assert not secret.renew() and len(asked) == 3


def test_tokens_in_a_file_where_there_is_no_keyring(
    provider: IdentityProvider, server: Dovecot, environment: dict[str, str], tmp_path: Path
) -> None:
    user, tokens = server.new_user(), tmp_path / "tokens"
    words = leave(provider, server, user, "microsoft")
    environment["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    refused = unpitch("login", *words, state=tmp_path, **environment)
    assert refused.returncode == 77
    assert "--oauth-tokens FILE" in refused.stderr
    assert "WDJB" not in refused.stdout, "nobody was sent to a page in vain"
    given = unpitch("login", *words, "--oauth-tokens", str(tokens), state=tmp_path, **environment)
    assert given.returncode == 0, given.stderr
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    words = ["audit", server.url(user), "--oauth-tokens", str(tokens), "--ca-file", str(server.ca_file)]
    first = tokens.read_text()
    assert unpitch(*words, state=tmp_path, **environment).returncode == 0
    assert tokens.read_text() != first, "the provider gave another refresh token"


def test_a_file_of_tokens_that_is_not_as_it_should_be(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    with pytest.raises(LoginError, match=r"no such file.* Log in with: unpitch login work"):
        oauth.kept("imaps://ann@x", str(tokens), "work")
    oauth.keep("imaps://ann@x", str(tokens), Grant(Client("google", "id"), "token"))
    assert oauth.kept("imaps://ann@x", str(tokens), "work").refresh_token == "token"
    tokens.chmod(0o644)
    with pytest.raises(LoginError, match="can be read by others"):
        oauth.kept("imaps://ann@x", str(tokens), "work")
    tokens.chmod(0o600)
    for text in ("{}", "[1]", '{"client": {"evil": 1}, "refresh_token": "x"}', "no JSON"):
        tokens.write_text(text)
        with pytest.raises(LoginError, match=r"cannot be read\. Log in with: unpitch login work"):
            oauth.kept("imaps://ann@x", str(tokens), "work")
    with pytest.raises(WriteError, match="folder is missing"):
        oauth.check_place("imaps://ann@x", str(tmp_path / "none" / "tokens"))


def test_a_token_that_the_server_refuses_in_mid_run_is_renewed_once(
    provider: IdentityProvider, environment: dict[str, str], tmp_path: Path
) -> None:
    offered = b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 MOVE UIDPLUS NAMESPACE\r\nTAG OK x\r\n"
    no = b"TAG NO [AUTHENTICATIONFAILED] expired\r\n"
    answers = {
        "CAPABILITY": offered,
        "SASL": [b"TAG OK in\r\n", no, b"TAG OK in\r\n", no],
        "UID SEARCH": [b"* BYE token expired\r\n<cut>", b"* BYE again\r\n<cut>"],
    }
    tokens = tmp_path / "tokens"
    with ScriptedServer(answers) as scripted:
        words = [
            scripted.url(),
            "--provider",
            "microsoft",
            "--server",
            provider.authority,
            "--oauth-tokens",
            str(tokens),
        ]
        unpitch("login", *words, state=tmp_path, **environment)
        scripted._times.clear()
        before = len(provider.asked)
        done = unpitch("audit", scripted.url(), "--oauth-tokens", str(tokens), state=tmp_path, **environment)
    assert done.returncode == 77, done.stderr
    assert [one["grant_type"] for one in provider.asked[before:]] == ["refresh_token"] * 2


def given(provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch, flow: str = "microsoft") -> Grant:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(provider.ca_file))
    server = provider.authority if flow == "microsoft" else provider.issuer
    return Grant(Client(flow, CLIENT, server=server), "refresh-x")


@pytest.mark.parametrize("flow", ["google", "microsoft"])
@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (
            {"error": "invalid_client", "error_description": "AADSTS7000218: The request body must contain …"},
            "public client flows",
        ),
        ({"error": "invalid_client"}, "Check the client id and the client secret"),
        ({"error": "invalid_scope"}, "permission for IMAP"),
        ({"error": "access_denied"}, "administrator"),
        ({"error": "interaction_required", "error_description": "AADSTS50076: more is wanted"}, "has ended"),
        ({"error": "new_trouble", "error_description": "a\x1b[31mb"}, "new_trouble"),
        ({"odd": 1}, "Check"),
    ],
)
def test_what_a_provider_refuses_is_said_with_the_next_step(
    flow: str, refusal: dict[str, object], says: str, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.refuse = refusal
    with pytest.raises(LoginError) as caught:
        oauth.access_token(given(provider, monkeypatch, flow))
    assert says in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert "refresh-x" not in str(caught.value)


@pytest.mark.parametrize("flow", ["google", "microsoft"])
def test_a_provider_that_cannot_be_reached_or_trusted(
    flow: str, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = given(provider, monkeypatch, flow)
    nobody = Grant(Client(flow, CLIENT, server="https://127.0.0.1:9/tenant"), "refresh-x")
    with pytest.raises(TransientError, match="cannot be reached"):
        oauth.access_token(nobody)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(LoginError, match="not trusted"):
        oauth.access_token(grant)


@pytest.mark.parametrize(
    ("flow", "refusal", "says"),
    [
        ("microsoft", {"error": "unauthorized_client"}, "Check the client id"),
        ("google", {"error": "access_denied", "error_description": "no"}, "was not given"),
    ],
)
def test_leave_that_is_not_given(
    flow: str, refusal: dict[str, object], says: str, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = given(provider, monkeypatch, flow).client
    provider.refuse = refusal

    def browse(page: str) -> None:
        context = ssl.create_default_context(cafile=str(provider.ca_file))
        Thread(target=lambda: urllib.request.urlopen(page, context=context).read(), daemon=True).start()

    with pytest.raises(LoginError, match=says):
        oauth.give_leave(client, "ann", oauth.Asked(lambda _: None, browse))


def test_the_last_address_may_be_pasted() -> None:
    from filters.loopback import Listener

    keyboard, terminal = os.openpty()
    told: list[str] = []
    with Listener("ours") as listener, os.fdopen(terminal) as typed, os.fdopen(keyboard, "w") as typing:
        typing.write("http://127.0.0.1:1/?state=other&code=x\nhttp://127.0.0.1:1/?state=ours&code=y\n")
        typing.flush()
        assert listener.wait(5, told.append, typed).endswith("?state=ours&code=y")
    assert len(told) == 1


def test_a_stranger_s_answer_does_not_end_the_login() -> None:
    from filters.loopback import Listener

    with Listener("our-state") as listener:
        for odd in (
            "?code=evil&state=other",
            "?code=evil",
            "?state=our-state",
            "favicon.ico",
            "?state=our-state&code=" + "x" * 9_000,
        ):
            assert not listener.take(f"/{odd}")
        with pytest.raises(LoginError, match="Nobody came back"):
            listener.wait(0, print)
        assert listener.take("http://127.0.0.1:1/?code=good&state=our-state")
        assert listener.wait(1, print) == f"{listener.address}?code=good&state=our-state"
        assert not listener.take("/?code=second&state=our-state")


def test_nothing_shows_a_secret_of_its_own_accord(provider: IdentityProvider) -> None:
    client = Client("google", CLIENT, "hush-1")
    assert "hush" not in repr(Grant(client, "hush-2"))


def test_what_is_known_of_providers_is_sorted_and_whole() -> None:
    names = [one.name for one in oauth.providers()]
    assert names == sorted(names)
    for one in oauth.providers():
        assert oauth.checked_server(one.server) == one.server
        assert one.flow in ("device", "loopback")
        assert all((one.scopes, one.steps, one.seen, one.hosts))
        assert oauth.provider_at(one.hosts[0]) is one
    for answer in oauth._data()["answer"]:
        assert sorted(answer) == ["advice", "seen", "sign"]
    for bad in ("http://idp.example", "https://idp.example/?x=1", "idp"):
        with pytest.raises(UsageError):
            oauth.checked_server(bad)


def test_what_login_wants_to_know_is_said(tmp_path: Path, environment: dict[str, str]) -> None:
    environment["UNPITCH_CLIENT_ID"] = ""
    done = unpitch("login", "imaps://ann@example.org@outlook.office365.com", state=tmp_path, **environment)
    assert done.returncode == 2
    assert "--client-id" in done.stderr
    assert "allow public client flows" in done.stdout
    other = unpitch("login", "imaps://ann@imap.example.org", state=tmp_path, **environment)
    assert "--provider google or microsoft" in other.stderr


def test_two_runs_at_once_never_use_one_refresh_token_twice(
    provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(provider.ca_file))
    where, token = str(tmp_path / "tokens"), provider._new("refresh")
    provider._refresh[token] = CLIENT
    oauth.keep("imaps://ann@x", where, Grant(Client("microsoft", CLIENT, server=provider.authority), token))
    sources = [oauth.TokenSource("imaps://ann@x", "x", where, tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda one: one(""), sources))) == 4
    assert json.loads(Path(where).read_text())["refresh_token"] in provider._refresh
    assert oct(os.stat(tmp_path / "oauth.lock").st_mode)[-3:] == "600"
