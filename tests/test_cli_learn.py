"""Learning from what people moved by hand, from `clean` noticing it to the lessons that a trainer gets."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dovecot as throwaway
import mails
import pytest
import small_corpus
from dovecot import Dovecot
from rich.console import Console
from test_cli import TRUST, snapshot, unpitch
from test_corrections import Account, _by_imap, _in_files
from test_moving import _maildir, _on_server

from filters.cli.learning import learn_from
from filters.cli.options import Access
from filters.journal import open_journal
from filters.labelled import Labelled
from filters.sources import identity_of

ADVERT, OTHER_ADVERT = mails.mail(number=1), mails.mail(number=7)
#: Advertising that the shipped model does not know for it.
MISSED = mails.mail(
    "Hire faster with Recruiter Lite. Post a job today and get 50 % off your first month. Limited time offer.\n",
    sender="LinkedIn <messages-noreply@linkedin.com>",
    subject="Hire faster",
    number=2,
    template="",
)
#: What the shipped model takes for advertising, and a person may want.
REPORT = mails.mail(
    "Your learning report for May. You watched 42 minutes. Continue the course Python for data. Unlock certificates with Premium.\n",
    sender="LinkedIn <linkedin@em.linkedin.com>",
    subject="Your learning report for May",
    number=8,
    template="",
)
ALERT, SECURITY, FRIEND, FORGED = mails.job_alert(3), mails.security(4), mails.friend(5), mails.forged(6)
UNVERIFIED = mails.mail(
    "Ann commented on your post.\n", subject="Ann commented", number=9, results="", template="email_comment_01"
)
MAILS = (ADVERT, OTHER_ADVERT, MISSED, ALERT, SECURITY, FRIEND, FORGED, UNVERIFIED)


@dataclass
class Person:
    """Somebody with a mailbox, who cleans, drags and has unpitch learn."""

    account: Account
    location: str
    state: Path
    words: tuple[str, ...] = ()
    taught: list[Labelled] = field(default_factory=list)
    others: tuple[bytes, ...] = ()

    def clean(self, *words: str) -> str:
        done = unpitch("clean", self.location, *TRUST, "--yes", *self.words, *words, state=self.state)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def learn(self, retrain: Callable[[Console, Sequence[Labelled]], None] | None = None) -> str:
        out = Console(file=io.StringIO(), width=100)
        self.taught.clear()
        with open_journal(self.state / "journal.sqlite3") as journal:
            learn_from(
                out,
                Access(lambda _: throwaway.PASSWORD),
                journal,
                [self.location],
                [mails.TRUSTED],
                retrain or (lambda _, lessons: self.taught.extend(lessons)),
            )
        assert isinstance(out.file, io.StringIO)
        return out.file.getvalue()

    @property
    def lessons(self) -> dict[bytes, str]:
        known = {identity_of(raw, "yes"): raw for raw in (*MAILS, *self.others)}
        return {known[one.identity]: one.label for one in self.taught}


@pytest.fixture(params=["maildir", "dovecot"])
def person(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    """Somebody with three adverts, one of which is missed, a job alert, a security code, a friend's mail, a forgery, and mail that nobody vouches for."""
    if request.param == "maildir":
        account = _in_files(_maildir(tmp_path / "mail"))
        found = Person(account, str(account.box.root), tmp_path / "state")
    else:
        server: Dovecot = request.getfixturevalue("dovecot")
        account = _by_imap(server, _on_server(server))
        words = ("--password-command", f"printf %s {throwaway.PASSWORD}")
        found = Person(account, server.url(account.box.url, plain=True), tmp_path / "state", words)
    for raw in MAILS:
        account.box.deliver(raw, "S")
    return found


def test_clean_says_what_it_saw_and_learn_teaches_it_once(person: Person) -> None:
    assert "correction" not in person.clean()
    person.account.drag(ADVERT, "LinkedIn", "")
    person.account.drag(MISSED, "", "LinkedIn")
    assert "2 corrections seen; `unpitch learn` learns from them." in person.clean()
    assert "2 corrections seen" in person.clean(), "until they are learnt"
    said = person.learn()
    assert person.lessons == {ADVERT: "keep", MISSED: "promotional"}
    assert "you put it back into" in said
    assert "you moved it from" in said
    assert "Learnt from 2 corrections." in said
    assert "correction" not in person.clean()
    assert "Nothing to learn." in person.learn()
    assert person.account.box.where(ADVERT) == [""]


def test_learn_sees_by_itself_what_no_run_has_seen_yet(person: Person) -> None:
    person.clean()
    person.account.drag(ADVERT, "LinkedIn", "")
    person.account.drag(MISSED, "", "LinkedIn")
    person.learn()
    assert person.lessons == {ADVERT: "keep", MISSED: "promotional"}
    assert "Nothing to move" in person.clean()


def test_nothing_is_learnt_from_what_may_not_teach(person: Person) -> None:
    """Security codes, forgeries, mail that nobody vouches for, and mail of others."""
    person.clean()
    for raw in (ALERT, SECURITY, FRIEND, FORGED, UNVERIFIED):
        person.account.drag(raw, "", "LinkedIn")
    said = person.clean()
    assert "Security mail was put into LinkedIn" in said
    assert "1 correction seen" in said, "the job alert"
    assert "Security mail" not in person.clean(), "it is told once"
    said = person.learn()
    assert person.lessons == {}
    assert "such mail is never moved, whatever a model thinks of it" in said
    assert "mail from that address is no advertising" in said
    assert "correction" not in person.clean()
    assert "Nothing to learn." in said


def test_what_was_moved_unverified_stays_where_it_was_put_back_and_teaches_nothing(person: Person) -> None:
    advert = mails.mail(number=10, results="")
    person.account.box.deliver(advert, "S")
    person.clean("--unverified", "move")
    person.account.drag(advert, "LinkedIn", "")
    said = person.clean("--unverified", "move")
    assert "Nothing to move" in said
    assert "correction" not in said
    assert "not verified" in person.learn()
    assert person.lessons == {}


def test_what_is_not_learnt_now_can_be_learnt_later(person: Person) -> None:
    person.clean()
    person.account.drag(ADVERT, "LinkedIn", "")

    def refuse(_out: Console, _lessons: Sequence[Labelled]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        person.learn(refuse)
    assert "1 correction seen" in person.clean()
    person.learn()
    assert person.lessons == {ADVERT: "keep"}


def test_what_is_gone_when_it_is_to_be_learnt_is_told_once(person: Person) -> None:
    person.clean()
    person.account.drag(ADVERT, "LinkedIn", "")
    assert "1 correction seen" in person.clean()
    person.account.drag(ADVERT, "", "Archive")
    said = person.learn()
    assert "it is not there any more" in said
    assert person.lessons == {}
    assert "correction" not in person.clean()
    assert "it is not there" not in person.learn()


def test_a_dry_run_shows_the_same_and_writes_nothing(person: Person) -> None:
    person.clean()
    person.account.drag(ADVERT, "LinkedIn", "")
    person.account.drag(MISSED, "", "LinkedIn")
    before = snapshot(person.state)
    content = person.account.box.content()
    done = unpitch("learn", "--dry-run", *TRUST, *person.words, state=person.state)
    assert done.returncode == 0, done.stderr
    assert "To learn" in done.stdout
    assert "keep " in done.stdout
    assert "promotional " in done.stdout
    assert "Dry run: 2 corrections would be learnt from; nothing was changed." in done.stdout
    assert snapshot(person.state) == before
    assert person.account.box.content() == content


def test_a_dry_run_of_clean_leaves_what_was_dragged_back_where_it_is(person: Person) -> None:
    person.clean()
    person.account.drag(ADVERT, "LinkedIn", "")
    done = unpitch("clean", person.location, *TRUST, "--dry-run", *person.words, state=person.state)
    assert "0 would be moved" in done.stdout, done.stderr


def test_without_a_run_there_is_nothing_to_learn(tmp_path: Path) -> None:
    done = unpitch("learn", state=tmp_path / "state")
    assert (done.returncode, done.stdout) == (66, "")
    assert "clean was never run" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_folder_that_is_gone_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    people = []
    for name in ("one", "two"):
        account = _in_files(_maildir(tmp_path / name))
        people.append(Person(account, str(account.box.root), tmp_path / "state"))
        account.box.deliver(ADVERT, "S")
        people[-1].clean()
    shutil.rmtree(tmp_path / "one")
    people[1].account.drag(ADVERT, "LinkedIn", "")
    done = unpitch("learn", "--dry-run", *TRUST, state=tmp_path / "state")
    assert done.returncode == 66
    assert "1 correction would be learnt from" in done.stdout
    assert str(tmp_path / "one") in done.stderr


def test_a_message_with_two_labels_in_two_accounts_teaches_nothing(tmp_path: Path) -> None:
    people = []
    for name in ("one", "two"):
        account = _in_files(_maildir(tmp_path / name))
        people.append(Person(account, str(account.box.root), tmp_path / "state"))
        account.box.deliver(ALERT, "S")
        account.box.deliver(ADVERT, "S")
    people[0].clean()
    people[1].clean("--move", "job_alert", "--move", "partner_inmail")
    people[0].account.drag(ALERT, "", "LinkedIn")
    people[1].account.drag(ALERT, "LinkedIn", "")
    done = unpitch("learn", "--dry-run", *TRUST, state=tmp_path / "state")
    assert "in two accounts" in done.stdout, done.stderr
    assert "0 corrections would be learnt from" in done.stdout


# --- the whole way, with the trainer


def explained(raw: bytes, person: Person) -> str:
    done = unpitch("explain", "-", *TRUST, state=person.state, stdin=raw)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\n")[0]


@pytest.mark.parametrize("person", ["dovecot"], indirect=True)  # the trainer sees no mailbox; it takes a minute
def test_what_was_dragged_back_is_kept_by_the_model_that_learnt_it(person: Person) -> None:
    person.account.box.deliver(REPORT, "S")
    assert "3 moved to LinkedIn" in person.clean()
    person.account.drag(REPORT, "LinkedIn", "")
    person.account.drag(MISSED, "", "LinkedIn")
    assert " not promotional" not in explained(REPORT, person)
    assert " not promotional" in explained(MISSED, person)
    done = unpitch("learn", *TRUST, *person.words, state=person.state, seconds=600)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Learnt from 2 corrections." in done.stdout
    assert " not promotional" in explained(REPORT, person)
    assert " not promotional" not in explained(MISSED, person)
    assert "correction" not in person.clean()
    written = b"".join(path.read_bytes() for path in person.state.glob("journal*"))
    assert b"learning report" not in written
    assert {path.stat().st_mode & 0o777 for path in (person.state / "models").iterdir()} == {0o600}
    assert unpitch("models", "--back", state=person.state).returncode == 0
    assert " not promotional" not in explained(REPORT, person)


def test_labels_that_are_flipped_close_the_gate(tmp_path: Path) -> None:
    """Six of the labels that the model would be trained on, which is 5 %, say the opposite of what is true."""
    account = _in_files(_maildir(tmp_path / "mail"))
    person = Person(account, str(account.box.root), tmp_path / "state")
    adverts = [mails.mail(number=number, subject=f"Programme {number}") for number in range(20, 23)]
    wanted = [_comment(number) for number in range(40, 43)]
    for raw in (*adverts, *wanted):
        account.box.deliver(raw, "S")
    person.clean()
    for raw in adverts:
        account.drag(raw, "LinkedIn", "")
    for raw in wanted:
        account.drag(raw, "", "LinkedIn")
    smaller = small_corpus.installed_with(tmp_path / "installed")
    done = unpitch("learn", *TRUST, state=person.state, seconds=600, **smaller)
    assert done.returncode == 78, done.stderr + done.stdout
    assert "is not in use" in done.stderr
    assert "Learnt" not in done.stdout
    assert "partner_inmail" in explained(ADVERT, person)
    assert " not promotional" not in explained(ADVERT, person)
    assert "6 corrections seen" in person.clean(), "they are not learnt"


def _comment(number: int) -> bytes:
    return mails.mail(
        f"Member {number} commented on your post: thank you, that is what I was looking for.\n",
        sender="LinkedIn <notifications-noreply@linkedin.com>",
        subject=f"Member {number} commented on your post",
        number=number,
        template="email_comment_01",
    )
