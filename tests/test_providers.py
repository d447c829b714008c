"""The installed command on servers that answer as Gmail and Exchange Online are documented to: audit, clean, nights, undo; and their
refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import mails
import pytest
from mailboxes import AT_ONCE, WANTED, message
from providers import Exchange, Gmail, Provider, throttled
from scripted_imap import CUT, ScriptedServer
from test_cli import unpitch

from filters.errors import FiltersError, LoginError, RefusedError, ServerError, TargetError, TransientError
from filters.journal import Candidate, open_journal
from filters.moving import move, undo
from filters.sources import Mail
from filters.sources.imap import ImapSource, open_imap
from filters.sources.patience import Patience
from filters.sources.refusals import refusals

_NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
ALL = "[Gmail]/Alle Nachrichten"
PASSWORD = "pw"


@pytest.fixture
def person(tmp_path: Path) -> Callable[..., str]:
    """Types commands, with one account in the configuration, and gives what they print."""

    def types(server: ScriptedServer, *words: str, code: int = 0) -> str:
        (tmp_path / "config.toml").write_text(
            f'[accounts.me]\nlocation = "{server.url().removesuffix("/INBOX")}"\nfolders = ["INBOX"]\n'
            f'trust_authserv = ["{mails.TRUSTED}"]\npassword_command = ["printf", "pw"]\n'
        )
        done = unpitch(*words, state=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return types


def serve(provider: Provider) -> ScriptedServer:
    return ScriptedServer(provider.answers, greeting=provider.greeting)


def verbs(commands: Sequence[str]) -> set[str]:
    return {" ".join(one.split()[: 2 if one.startswith("UID") else 1]) for one in commands}


READING = {"NAMESPACE", "LIST", "STATUS", "EXAMINE", "UID SEARCH", "UID FETCH", "NOOP", "LOGOUT", "UNSELECT"}
MOVING = READING | {"SELECT", "CREATE", "SUBSCRIBE", "UID MOVE"}


def test_gmail_from_the_first_look_to_undo(person: Callable[..., str], tmp_path: Path) -> None:
    gmail = Gmail()
    advert, labelled = gmail.deliver(mails.mail(number=1)), gmail.deliver(mails.mail(number=2))
    unread = gmail.deliver(mails.mail(number=3), flags="")
    wanted = [gmail.deliver(raw) for raw in (mails.job_alert(4), mails.security(5), mails.friend(6))]
    gmail.label(labelled, "LinkedIn")  # a filter of the account did that
    with serve(gmail) as server:
        looked = json.loads(person(server, "audit", "me", server.url(ALL), "--format", "json"))
        assert (looked["summary"]["messages"], looked["summary"]["claimed"], looked["summary"]["to_move"]) == (12, 5, 3)
        assert verbs(server.commands) <= READING, "so far nobody could have changed anything"

        assert "3 moved to LinkedIn" in person(server, "clean", "me", "--yes")
        assert all(gmail.where(one) == {"LinkedIn", ALL} for one in (advert, unread, labelled))
        assert all(gmail.where(one) == {"INBOX", ALL} for one in wanted)

        gmail.label(unread, "INBOX")  # somebody wants it back, and leaves the other label on it
        new = gmail.deliver(mails.mail(number=7))
        person(server, "clean", "--all", "--yes", "--quiet")
        assert gmail.where(new) == {"LinkedIn", ALL}
        assert gmail.where(unread) == {"INBOX", "LinkedIn", ALL}
        assert verbs(server.commands) <= MOVING

        with open_journal(tmp_path / "journal.sqlite3") as journal:
            first = journal.runs()[0].id
        assert "3 of 3 put back" in person(server, "undo", "--run", first)
        assert gmail.where(advert) == {"INBOX", ALL}
        assert gmail.where(labelled) == {"INBOX", "LinkedIn", ALL}, "the label that it had before"
        assert (gmail.where(new), unread.flags) == ({"LinkedIn", ALL}, set())
        assert "Nothing to move" in person(server, "clean", "me", "--yes", "--full")
        assert verbs(server.commands) - MOVING == {"UID COPY"}
    assert not gmail.refused
    assert len(gmail.boxes[ALL].letters) == 7


def test_exchange_from_the_first_look_to_undo(person: Callable[..., str]) -> None:
    exchange = Exchange()
    exchange.bare = True
    adverts = [exchange.deliver(mails.mail(number=one)) for one in (1, 2)]
    wanted = [exchange.deliver(raw) for raw in (mails.job_alert(4), mails.security(5), mails.friend(6))]
    with serve(exchange) as server:
        exchange.once["UID FETCH"] = [throttled(20)]
        looked = person(server, "audit", "me")
        assert "5 messages looked at" in looked
        assert "throttled" in looked, "somebody should know why it takes long"
        assert verbs(server.commands) <= READING
        assert "2 moved to LinkedIn" in person(server, "clean", "me", "--yes")
        assert [exchange.where(one) for one in adverts] == [{"LinkedIn"}] * 2
        adverts.append(exchange.deliver(mails.mail(number=7)))
        exchange.once["UID MOVE"] = [throttled(20)]
        person(server, "clean", "--all", "--yes", "--quiet")
        assert [exchange.where(one) for one in adverts] == [{"LinkedIn"}] * 3
        assert "3 of 3 put back" in person(server, "undo", "--since", "2020-01-01")
        assert [exchange.where(one) for one in adverts + wanted] == [{"INBOX"}] * 6
        assert verbs(server.commands) <= MOVING
        assert not any("X-GM" in one or " FROM " in one.partition("SEARCH")[2] for one in server.commands)
    assert not exchange.refused
    assert sum(len(box.letters) for box in exchange.boxes.values()) == 6


def test_exchange_keeps_names_for_itself() -> None:
    exchange = Exchange()
    with serve(exchange) as server:
        source = opened(server)
        for name in ("Files", "Deleted Items", "sent items"):
            with pytest.raises(TargetError, match="Choose another"):
                source.prepare(name)
        assert source.prepare("Ads") == source.prepare("Ads")
        source.close()
        source = opened(server, "Deleted Items")
        assert "special folder (called Deleted Items)" in source.why_not
        source.close()


# --- labels, one by one


def opened(server: ScriptedServer, folder: str = "INBOX", patience: Patience = AT_ONCE) -> ImapSource:
    return open_imap(server.url(folder), lambda _: PASSWORD, changes=True, patience=patience)


def found(source: ImapSource) -> list[Candidate]:
    mails_there = [one for one in source.scan(WANTED) if isinstance(one, Mail)]
    return [
        Candidate(one.place, one.identity, f"{number}@example.org", one.size, "x", "[]")
        for number, one in enumerate(mails_there, 1)
    ]


def test_a_move_that_broke_off_is_settled_by_what_labels_there_are(tmp_path: Path) -> None:
    """The answer is lost before or after the server moved; one message had the label before, at a number below the target's next one."""
    for already, after in ((False, False), (False, True), (True, False), (True, True)):
        gmail = Gmail()
        letters = [gmail.deliver(message(one)) for one in (1, 2)]
        gmail.label(gmail.deliver(message(3, wanted=False)), "Ads")
        if already:
            gmail.label(letters[0], "Ads")
        moved = gmail.moved

        def lost(
            *parts: object, gmail: Gmail = gmail, moved: Callable[..., bytes] = moved, after: bool = after, **how: bool
        ) -> bytes:
            gmail.moved = moved  # type: ignore[method-assign]
            if after:
                moved(*parts, **how)
            return CUT

        gmail.moved = lost  # type: ignore[method-assign]
        with serve(gmail) as server, open_journal(tmp_path / f"{already}{after}") as journal:
            source = opened(server)
            with journal.run(source.account, "clean", _NOW) as run:
                outcome = move(source, journal, run, found(source), "Ads")
            assert [one.state for one in outcome.moved] == ["done", "done"]
            assert all(one.moved_to for one in outcome.moved)
            assert [gmail.where(one) for one in letters] == [{"Ads", ALL}] * 2
            source.close()
            with journal.run(source.account, "undo", _NOW) as run:
                back = undo(lambda folder, server=server: opened(server, folder), journal, run, outcome.moved)
            assert len(back.moved) == 2
            assert gmail.where(letters[0]) == {"INBOX", ALL} | ({"Ads"} if already else set())
            assert gmail.where(letters[1]) == {"INBOX", ALL}
        assert not gmail.refused


def test_gmails_own_folders_are_neither_emptied_nor_filled() -> None:
    gmail = Gmail()
    with serve(gmail) as server:
        for name in ("Alle Nachrichten", "Chats", "Markiert", "Papierkorb", "Spam", "Wichtig"):
            source = opened(server, f"[Gmail]/{name}")
            assert "special folder" in source.why_not
            source.close()
        source = opened(server)
        for name in (
            "[Gmail]/Markiert",
            "[Gmail]/Wichtig",
            "[Gmail]/Chats",
            "[Gmail]/Neu",
            "Ads  two",
            "Ads/ two",
            "Ads^",
        ):
            with pytest.raises(TargetError):
                source.prepare(name)
        source.close()
        assert "CREATE" not in verbs(server.commands)


def test_labels_without_move_are_left_alone() -> None:
    gmail = Gmail()
    gmail.after_login = gmail.after_login.replace(" MOVE", "")
    with serve(gmail) as server:
        source = opened(server)
        assert "labels" in source.why_not
        with pytest.raises(RefusedError):
            source.prepare("Ads")
        source.close()


# --- what they say when they refuse


def refused(provider: Provider, patience: Patience = AT_ONCE) -> Exception:
    with serve(provider) as server, pytest.raises(FiltersError) as caught:
        source = opened(server, patience=patience)
        try:
            list(source.scan(WANTED))
        finally:
            source.close()
    return caught.value


LIMIT = b"TAG NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)\r\n"
NOT_CONNECTED = b"TAG BAD User is authenticated but not connected.\r\n"


@pytest.mark.parametrize(
    ("command", "said", "kind", "code", "advice"),
    [
        ("UID FETCH", LIMIT, ServerError, 75, "Go on tomorrow"),
        ("UID FETCH", b"* BYE Account exceeded command or bandwidth limits.\r\n" + CUT, ServerError, 75, "tomorrow"),
        ("LOGIN", LIMIT, ServerError, 75, "Go on tomorrow"),
        (
            "LOGIN",
            b"TAG NO [ALERT] Too many simultaneous connections. (Failure)\r\n",
            TransientError,
            69,
            "Close other",
        ),
        (
            "LOGIN",
            b"TAG NO [ALERT] Please log in via your web browser: x (Failure)\r\n",
            LoginError,
            77,
            "in a web browser",
        ),
        ("LOGIN", b"TAG NO [WEBALERT x] Web login required.\r\n", LoginError, 77, "in a web browser"),
        ("LOGIN", throttled(299_961), TransientError, 75, "cannot let anybody in now"),
        ("SELECT", NOT_CONNECTED, LoginError, 77, "rights to that shared mailbox"),
        ("UID FETCH", throttled(3_000_000), ServerError, 75, "longer than unpitch waits"),
    ],
)
def test_a_refusal_is_told_with_what_helps(command: str, said: bytes, kind: type, code: int, advice: str) -> None:
    provider = Gmail() if b"(Failure)" in said else Exchange()
    provider.deliver(message(1))
    provider.once[command] = [said] * 2
    error = refused(provider)
    assert isinstance(error, kind)
    assert (error.exit_code, advice in str(error)) == (code, True), error


def test_a_mailbox_that_exchange_lets_go_of_in_mid_run_is_connected_again() -> None:
    exchange = Exchange()
    exchange.deliver(message(1))
    exchange.once["UID FETCH"] = [NOT_CONNECTED]
    with serve(exchange) as server:
        source = opened(server)
        assert [one.size for one in source.scan(WANTED) if isinstance(one, Mail)] == [len(message(1))]
        source.close()
        assert server.connections == 2


def test_a_server_that_is_busy_when_a_run_connects_again_gets_the_pause_it_names() -> None:
    exchange, slept = Exchange(), list[float]()
    exchange.deliver(message(1))
    with serve(exchange) as server:
        source = opened(server, patience=Patience(first=0, quiet=0, sleep=slept.append))
        exchange.once = {"UID FETCH": [CUT], "LOGIN": [throttled(40_000)]}
        assert len([one for one in source.scan(WANTED) if isinstance(one, Mail)]) == 1
        source.close()
    assert 40.0 in slept


def test_gmail_says_at_the_end_of_its_words_that_it_slows_us_down() -> None:
    gmail, told = Gmail(), list[str]()
    gmail.deliver(message(1))
    gmail.once["UID FETCH"] = [b"TAG OK Success [THROTTLED]\r\n"]
    with serve(gmail) as server:
        source = opened(server, patience=Patience(first=0, quiet=0, tell=told.append))
        list(source.scan(WANTED))
        source.close()
    assert [one for one in told if "slows us down" in one] == told[:1]


def test_refusals_are_data_in_order() -> None:
    texts = [one.text for one in refusals()]
    assert texts == sorted(set(texts))
    assert all(one.text == one.text.lower() and one.means in ("busy", "login", "traffic") for one in refusals())
    assert all(one.advice.endswith(".") and len(one.seen) > 10 for one in refusals())
