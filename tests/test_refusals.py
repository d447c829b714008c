"""What servers really answer when they let nobody in, replayed; each is recognised, and answered in a sentence or two with the next step."""

from __future__ import annotations

import re
import ssl
import tomllib
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
import trustme
from scripted_imap import Answer, ScriptedServer

from filters.errors import FiltersError, LoginError
from filters.presets import preset_at, presets
from filters.sources.guarded import GuardedClient
from filters.sources.imap import open_imap
from filters.sources.patience import Patience
from filters.sources.refusals import login_refused, refusals

_OAUTH = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2\r\nTAG OK done\r\n"


def refusal(answers: dict[str, Answer], *, oauth: bool = False, greeting: bytes = b"* OK hello\r\n") -> str:
    """What a person is told by a run against a server that answers so."""
    told: list[str] = []
    with (
        ScriptedServer(answers, greeting=greeting) as server,
        pytest.raises(FiltersError) as caught,
        closing(
            open_imap(
                server.url(),
                lambda _: "hunter2",
                changes=False,
                patience=Patience(1, 0, 0, tell=told.append),
                oauth=oauth,
            )
        ),
    ):
        pass
    assert server.connections == 1, "a login that is refused is not tried again: accounts get locked"
    return str(caught.value)


#: As imap.md, section 3, and the threads that refusals.toml names have them.
ANSWERS = {
    "wrong password, Gmail": (
        b"TAG NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
        "Check user name and password",
    ),
    "app password needed, Gmail": (
        b"TAG NO [ALERT] Application-specific password required: https://support.google.com/accounts/answer/185833 (Failure)",
        "two-step verification wants one",
    ),
    "two factors, QQ": (b"TAG NO Please using authorized code to login.", "Make an app password"),
    "web login, Gmail": (
        b"* NO [WEBALERT https://accounts.google.com/signin/continue?sarp=1] Web login required.\r\n"
        b"TAG NO [ALERT] Please log in via your web browser: https://support.google.com/mail/accounts/answer/78754 (Failure)",
        "in a web browser once",
    ),
    "IMAP off, Gmail": (
        b"TAG NO [ALERT] Your account is not enabled for IMAP use. Please visit your Gmail settings page and enable your"
        b" account for IMAP access. (Failure)",
        "IMAP is switched off for this mailbox",
    ),
    "IMAP off, a domain at Gmail": (b"TAG NO [ALERT] IMAP access is disabled for your domain.", "IMAP is switched off"),
    "IMAP off, Zoho": (
        b"TAG NO [ALERT] You are yet to enable IMAP for your account. Please contact your administrator (Failure)",
        "switch it on in the mailbox's settings",
    ),
    "either of them, Yandex": (
        b"TAG NO [AUTHENTICATIONFAILED] LOGIN Invalid credentials or IMAP is disabled sc=ebI8JB0ug4Y1",
        "whether IMAP is switched on",
    ),
    "basic authentication, Microsoft": (b"TAG NO Basic authentication is disabled.", "`unpitch login`"),
    "the same in other words": (b"TAG NO LOGIN failed. BasicAuthBlocked", "`unpitch login`"),
    "the same in fewer words": (b"TAG NO LOGIN failed.", "If this is a Microsoft account: It wants OAuth2"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_login_that_is_refused_says_what_helps(case: str) -> None:
    answer, helps = ANSWERS[case]
    said = refusal({"SASL": answer + b"\r\n"})
    assert helps in said
    assert "hunter2" not in said


@pytest.mark.parametrize("command", ["EXAMINE", "NAMESPACE", "LIST"])
def test_microsoft_lets_in_and_refuses_what_comes_then(command: str) -> None:
    answers: dict[str, Answer] = {
        "CAPABILITY": _OAUTH,
        "SASL": b"TAG OK AUTHENTICATE completed.\r\n",
        "LIST": b"TAG BAD User is authenticated but not connected.\r\n",
        "NAMESPACE": b"TAG BAD User is authenticated but not connected.\r\n",
        "EXAMINE": b"TAG BAD User is authenticated but not connected.\r\n* BYE Connection closed. 14\r\n",
    }
    said = refusal(answers, oauth=True)
    assert "lack the rights" in said
    assert "IMAP is switched off" in said


def test_a_folder_s_name_is_no_advice() -> None:
    said = refusal({"EXAMINE": b"TAG NO There is no folder App password here\r\n"})
    assert "Make an app password" not in said


def test_a_token_that_is_refused() -> None:
    assert "`unpitch login`" in refusal({"CAPABILITY": _OAUTH, "SASL": b"TAG NO AUTHENTICATE failed.\r\n"}, oauth=True)


@pytest.mark.parametrize(
    ("host", "helps"),
    [
        ("imap.gmx.net", "Check the password. Switch IMAP on first"),
        ("imap.mail.me.com", "iCloud wants an app password here, not the usual one. Make an app-specific password"),
        ("imap.mail.yahoo.com", "Yahoo wants an app password"),
        ("outlook.office365.com", "It wants OAuth2"),
        ("posteo.de", "Check the password."),
        ("imap.example.org", "Check user name and password"),
    ],
)
def test_what_a_known_provider_wants_is_said_where_its_answer_says_nothing(host: str, helps: str) -> None:
    import imaplib

    error = imaplib.IMAP4.error(b"[AUTHENTICATIONFAILED] authentication failed")
    assert helps in str(login_refused(host, error, lambda _: False))


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>Welcome to our hotel</html>\r\n",
        b"<!DOCTYPE html>\r\n<html><title>Log in</title></html>\r\n",
    ],
)
@pytest.mark.parametrize("scheme", ["plain", "starttls"])
def test_a_web_page_instead_of_a_greeting_is_a_network_that_wants_a_login(greeting: bytes, scheme: str) -> None:
    with (
        ScriptedServer(greeting=greeting) as server,
        pytest.raises(FiltersError, match=r"web page.*hotels.*log in there"),
    ):
        starttls = scheme == "starttls"
        GuardedClient("127.0.0.1", server.port, tls=starttls, starttls=starttls, changes=False)


def test_a_web_page_where_tls_was_expected() -> None:
    with ScriptedServer(greeting=b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n") as server:
        with pytest.raises(FiltersError, match=r"does not speak TLS.*hotels"):
            GuardedClient("127.0.0.1", server.port, tls=True, changes=False)
        server.lines.clear()  # TLS's first words, which are no IMAP


@pytest.mark.parametrize(
    ("name", "days", "helps"),
    [
        ("127.0.0.1", (-60, -30), "must renew the certificate"),
        ("127.0.0.1", (30, 60), "installed too early"),
        ("captive.example", (-1, 30), "hotels"),
    ],
)
def test_a_certificate_that_is_not_of_now_or_not_of_here(
    name: str, days: tuple[int, int], helps: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    begins, ends = (now + timedelta(days=one) for one in days)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, not_before=begins, not_after=ends).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with ScriptedServer(tls=context) as server, pytest.raises(LoginError, match="No password was sent") as caught:
        GuardedClient("127.0.0.1", server.port, tls=True, changes=False, ca_file=tmp_path / "ca.pem")
    assert helps in str(caught.value)
    assert (f"{datetime.now():%Y-%m-%d}: if that is wrong, set it" in str(caught.value)) == (name == "127.0.0.1")


def test_every_sentence_is_used_and_short() -> None:
    data = tomllib.loads((files("filters.sources") / "refusals.toml").read_text("utf-8"))
    assert set(data["sentences"]) <= {one["advice"] for one in data["refusal"]}
    for one in refusals():
        assert len(re.findall(r"[.;:] ", one.advice + " ")) <= 3, "a sentence or two"
    for preset in presets():
        assert preset_at(preset.host.upper()) is not None
