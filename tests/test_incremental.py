"""Runs that begin where the last one ended: what they cost, and that nothing that nobody judged is ever passed over."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import mails
import pytest
from dovecot import PASSWORD, Dovecot
from mailboxes import AT_ONCE, WANTED, message
from rich.console import Console
from scripted_imap import ScriptedServer, mailbox

from filters.cli import cleaning
from filters.cli.options import Access
from filters.config import Account, Config
from filters.journal import look_into
from filters.lessons import Correction
from filters.monitoring import Done
from filters.preferences import Preferences
from filters.sources import Mail, Mark, Passed
from filters.sources.imap import ImapSource, open_imap

TRUST = (mails.TRUSTED,)


@dataclass
class Nights:
    """One account in a configuration, and runs of it, one after another."""

    server: Dovecot
    user: str
    preferences: Preferences = field(default_factory=lambda: Preferences(trust_authserv=TRUST))
    seen: set[str] = field(default_factory=set)

    def deliver(self, *raws: bytes, flags: str = "S") -> None:
        for raw in raws:
            self.server.deliver(self.user, raw, flags=flags)

    def night(self, **asked: object) -> Done:
        """A run that nobody is asked in."""
        self.seen = {name for name, _ in self.server.sessions()}
        account = Account("home", self.server.url(self.user, plain=True), ("INBOX",), self.preferences)
        full = bool(asked.pop("full", False))
        way_in = Access(lambda _: PASSWORD, Preferences(**asked), Config(Path(), (account,)))  # type: ignore[arg-type]
        (location,) = way_in.locations(["home"])
        return cleaning._one(Console(quiet=True), way_in, location, dry_run=False, full=full, ask=None)

    def said(self) -> list[str]:
        """The commands of the last run, in the order in which the server got them."""
        deadline = time.monotonic() + 20
        while True:
            lines = [
                line.decode().strip().partition(" ")[2] for _, some in self.server.sessions(self.seen) for line in some
            ]
            if "LOGOUT" in lines or time.monotonic() > deadline:
                return lines
            time.sleep(0.01)

    def left(self) -> int:
        return len([path for sub in ("cur", "new") for path in (self.server.maildir(self.user) / sub).iterdir()])


def corrections_of(tmp_path: Path) -> list[Correction]:
    journal = look_into(tmp_path / "state" / "journal.sqlite3")
    assert journal
    with journal:
        (account,) = {run.account for run in journal.runs()}
        return list(journal.lessons.of(account).values())


@pytest.fixture
def nights(dovecot: Dovecot, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    monkeypatch.setenv("UNPITCH_STATE", str(tmp_path / "state"))
    return Nights(dovecot, user)


def test_a_flag_that_is_taken_off_is_noticed_and_until_then_costs_a_look_at_the_flags(nights: Nights) -> None:
    nights.deliver(*map(mails.friend, range(3)))
    nights.deliver(mails.mail(number=40), flags="FS")
    assert nights.night().moved == 0
    second = nights.night()
    assert (second.moved, second.received < 2_000) == (0, True)
    assert [one for one in nights.said() if "UID FETCH" in one] == [
        one for one in nights.said() if "UID FETCH 4 (UID FLAGS)" in one
    ]
    (path,) = (nights.server.maildir(nights.user) / "cur").glob("*:2,FS")
    path.rename(path.with_name(path.name.replace(":2,FS", ":2,S")))
    third = nights.night()
    assert (third.moved, third.messages) == (1, 1)
    assert nights.night().messages == 0


def test_a_night_without_new_mail_costs_a_handful_of_round_trips(nights: Nights) -> None:
    nights.deliver(*map(mails.friend, range(30)), mails.mail(number=40))
    first = nights.night()
    assert (first.messages, first.moved) == (31, 1)
    second = nights.night()
    assert (second.messages, second.exit_code, second.error) == (0, 0, "")
    assert nights.said() == ['SELECT "INBOX"', 'STATUS "LinkedIn" (UIDVALIDITY UIDNEXT)', "LOGOUT"]
    assert second.received < 3_000


def test_a_night_with_new_mail_looks_at_that_alone(nights: Nights) -> None:
    nights.deliver(*map(mails.friend, range(30)), mails.mail(number=40))
    nights.night()
    nights.deliver(*map(mails.friend, range(50, 60)), mails.mail(number=70), mails.mail(number=71))
    third = nights.night()
    assert (third.messages, third.moved) == (12, 2)
    words = [re.sub(r"(UID FETCH|UID MOVE) [\d:,]+", r"\1", line)[:30].strip() for line in nights.said()]
    assert len(words) == 9, "\n".join(words)
    assert sum(line.startswith("UID FETCH") for line in words) == 3


def test_what_a_limit_left_is_moved_by_later_nights(nights: Nights) -> None:
    nights.deliver(*(mails.mail(number=number) for number in range(5)))
    counts = [nights.night(max_moves=2) for _ in range(4)]
    assert [one.moved for one in counts] == [2, 2, 1, 0]
    assert [one.exit_code for one in counts] == [78, 78, 0, 0]
    assert [one.messages for one in counts] == [5, 3, 1, 0]


def test_what_a_brake_stopped_is_looked_at_again(nights: Nights) -> None:
    nights.deliver(*(mails.mail(number=number) for number in range(25)))
    braked = nights.night()
    assert (braked.moved, braked.left, braked.exit_code) == (0, 25, 78)
    assert nights.night(brake=False).moved == 25


def test_what_was_too_young_is_moved_when_it_is_old_enough(nights: Nights) -> None:
    nights.deliver(mails.mail(number=1), mails.friend(2))
    assert nights.night(older_than_days=20_000).moved == 0
    again = nights.night(older_than_days=20_000)
    assert (again.messages, again.moved) == (1, 0)
    assert nights.night(older_than_days=30).moved == 1


def test_what_could_not_be_read_is_looked_at_again(nights: Nights) -> None:
    nights.deliver(b"X-LinkedIn-Class: INMAIL\r\nX-Junk: " + b"a" * 70_000 + b"\r\n\r\nhello", mails.friend(2))
    assert nights.night().unreadable == 1
    again = nights.night()
    assert (again.messages, again.unreadable) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"move": ("job_alert",)},
        {"unverified": "move"},
        {"never": ("Nobody Whatsoever",)},
        {"trust_authserv": ("mx.example.org",)},
        {"full": True},
    ],
)
def test_changed_wishes_look_at_everything_again(nights: Nights, change: dict[str, object]) -> None:
    nights.deliver(*map(mails.friend, range(5)), mails.job_alert(7))
    assert [nights.night().messages for _ in range(2)] == [6, 0]
    assert nights.night(**change).messages == 6


def test_another_numbering_looks_at_everything_again(nights: Nights, tmp_path: Path) -> None:
    nights.deliver(*map(mails.friend, range(5)))
    assert [nights.night().messages for _ in range(2)] == [5, 0]
    with closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite3")) as connection, connection:
        connection.execute("UPDATE scan SET uidvalidity = uidvalidity + 1")
    assert nights.night().messages == 5


def test_a_run_that_fails_leaves_the_mark_where_it_was(nights: Nights) -> None:
    nights.deliver(mails.friend(1))
    nights.night()
    nights.deliver(*(mails.mail(number=number) for number in (2, 3)))
    failed = nights.night(to="INBOX")  # from where it comes
    assert failed.exit_code != 0
    done = nights.night()
    assert (done.messages, done.moved) == (2, 2)


def test_what_a_person_puts_back_has_a_new_number_and_is_not_moved_again(nights: Nights) -> None:
    nights.deliver(mails.mail(number=1), mails.friend(2))
    assert nights.night().moved == 1
    with nights.server.neighbour(nights.user) as client:
        client.select("LinkedIn")
        client.uid("MOVE", "1:*", "INBOX")
    again = nights.night()
    assert (again.messages, again.moved) == (1, 0)
    assert nights.night(full=True).moved == 0


def test_mail_that_a_person_puts_into_the_target_is_noticed_by_a_night_without_new_mail(
    nights: Nights, tmp_path: Path
) -> None:
    nights.deliver(mails.job_alert(1), mails.job_alert(2), mails.mail(number=3), mails.friend(4))
    assert nights.night().moved == 1
    assert nights.night().messages == 0
    assert nights.said() == ['SELECT "INBOX"', 'STATUS "LinkedIn" (UIDVALIDITY UIDNEXT)', "LOGOUT"]
    with nights.server.neighbour(nights.user) as client:
        client.select("INBOX")
        client.uid("MOVE", "1", "LinkedIn")
    third = nights.night()
    assert (third.messages, third.moved) == (0, 0)
    assert [(one.label, one.folder) for one in corrections_of(tmp_path)] == [("promotional", "LinkedIn")]
    nights.night()
    assert len(nights.said()) == 3, "it was looked at once"


def test_a_copy_that_a_person_makes_teaches_nothing_though_the_night_sees_new_mail_only(
    nights: Nights, tmp_path: Path
) -> None:
    nights.deliver(mails.job_alert(1), mails.mail(number=2))
    assert nights.night().moved == 1
    nights.night()
    with nights.server.neighbour(nights.user) as client:
        client.select("INBOX")
        client.uid("COPY", "1", "LinkedIn")
    nights.deliver(mails.friend(3))
    nights.night()
    assert corrections_of(tmp_path) == []


def test_a_budget_stops_the_fetching_and_the_next_runs_go_on_from_there(nights: Nights) -> None:
    body = f"{mails.ADVERT} {'x' * 120} \r\n" * 1_500
    nights.deliver(*(mails.mail(f"{body}\n{mails.DISCLOSURE}\n", number=number) for number in range(120)))
    moved, exits = [], []
    while len(moved) < 20 and sum(moved) < 120:
        done = nights.night(megabytes_per_run=9, brake=False)
        moved.append(done.moved)
        exits.append(done.exit_code)
    assert sum(moved) == 120
    assert len(moved) > 2, "the budget stopped some"
    assert set(exits[:-1]) == {78}
    assert nights.left() == 0


def test_the_budget_of_a_day_is_counted_over_runs(nights: Nights, tmp_path: Path) -> None:
    body = f"{mails.ADVERT} {'x' * 120} \r\n" * 1_500
    nights.deliver(*(mails.mail(f"{body}\n{mails.DISCLOSURE}\n", number=number) for number in range(30)))
    first = nights.night(megabytes_per_day=5, brake=False)
    second = nights.night(megabytes_per_day=5, brake=False)
    assert (second.exit_code, second.moved) == (78, 0)
    assert "used up" in second.error
    assert "LOGOUT" in nights.said()
    assert first.moved + nights.night(brake=False).moved == 30


def test_a_server_s_numbers_that_do_not_last_are_no_mark(tmp_path: Path) -> None:
    opened = b"* 2 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 3] x\r\n* NO [UIDNOTSTICKY] x\r\nTAG OK [READ-ONLY] x\r\n"
    answers = mailbox({1: message(1), 2: message(2)})
    with ScriptedServer({**answers, "EXAMINE": opened}) as server, closing(_open(server)) as source:
        source.extent.begin = Mark(5, 2)
        assert len(list(source.scan(WANTED))) == 2
        assert source.extent.end is None


def _open(server: ScriptedServer) -> ImapSource:
    return open_imap(server.url(), lambda _: PASSWORD, changes=False, patience=AT_ONCE)


def test_numbers_without_mail_between_new_ones_are_no_loss(tmp_path: Path) -> None:
    there = {uid: message(uid) for uid in (3, 90, 95)}
    with ScriptedServer(mailbox(there)) as server, closing(_open(server)) as source:
        source.extent.begin = Mark(5, 80, (3, 7))
        found = list(source.scan(WANTED))
        assert [one.place.key for one in found if isinstance(one, Mail)] == ["5:3", "5:90", "5:95"]
        assert source.extent.end == Mark(5, 100)


def test_a_mark_beyond_the_server_s_numbers_is_not_believed(tmp_path: Path) -> None:
    with ScriptedServer(mailbox({3: message(3)})) as server, closing(_open(server)) as source:
        source.extent.begin = Mark(5, 1_000)
        assert [one for one in source.scan(WANTED) if not isinstance(one, Passed)]


def test_a_scan_that_is_not_over_has_no_end(tmp_path: Path) -> None:
    with ScriptedServer(mailbox({uid: message(uid) for uid in (1, 2, 3)})) as server, closing(_open(server)) as source:
        scan = source.scan(WANTED)
        next(scan)
        assert source.extent.end is None
        assert isinstance(scan, Iterator)


def test_the_journal_keeps_a_mark_by_folder_and_judge(nights: Nights, tmp_path: Path) -> None:
    nights.deliver(mails.friend(1))
    nights.night()
    journal = look_into(tmp_path / "state" / "journal.sqlite3")
    assert journal
    with journal:
        (account,) = {run.account for run in journal.runs()}
        assert journal.mark(account, "INBOX", "somebody else") is None
        (row,) = journal._rows("SELECT folder, uidnext, again, judged_by FROM scan")
        assert (row[0], row[1], json.loads(row[2])) == ("INBOX", 2, [])
        assert journal.mark(account, "INBOX", row[3])
