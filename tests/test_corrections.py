"""Which moves of a person's teach, and which never do: on a Maildir, and on a server that moves or only copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from dovecot import Dovecot
from mailboxes import message
from test_moving import NOW, Box, Gone, Watched, _break, _maildir, _on_server, _renumber, at, candidates, running

from filters.corrections import Noticed, notice, remember, whereabouts
from filters.journal import open_journal
from filters.lessons import SEEN_DAYS, SEEN_MOST, Seen
from filters.moving import move, reconcile, undo
from filters.sources import Source

ADVERT, OTHER_ADVERT, ALERT, OTHER_ALERT = (message(number) for number in (1, 2, 5, 6))
ADVERTS = (ADVERT, OTHER_ADVERT)


@dataclass(frozen=True)
class Account:
    """A mailbox, and the hand of the person whose it is."""

    box: Box
    drag: Callable[[bytes, str, str], None]
    """A message, the folder it is in, the folder it goes to; "" is the inbox."""
    copy: Callable[[bytes, str, str], None]
    delete: Callable[[bytes, str], None]


def _name(raw: bytes) -> str:
    return raw.partition(b"Message-ID: <")[2].partition(b">")[0].decode()


def _in_files(box: Box) -> Account:
    numbers = count(100)

    def folder(name: str) -> Path:
        path = box.root / f".{name.replace('/', '.')}" if name else box.root
        for part in ("cur", "new", "tmp"):
            (path / part).mkdir(parents=True, exist_ok=True)
        return path

    def file(raw: bytes, name: str) -> Path:
        return next(path for path in sorted(folder(name).glob("*/*")) if path.is_file() and path.read_bytes() == raw)

    def drag(raw: bytes, old: str, new: str) -> None:
        path = file(raw, old)
        path.rename(folder(new) / "cur" / f"9{path.name}")

    def copy(raw: bytes, old: str, new: str) -> None:
        path = file(raw, old)
        (folder(new) / "cur" / f"8{path.name}").write_bytes(path.read_bytes())

    def deliver(raw: bytes, flags: str) -> None:
        (box.root / "cur" / f"{next(numbers)}.M1.host:2,{flags}").write_bytes(raw)

    return Account(replace(box, deliver=deliver), drag, copy, lambda raw, name: file(raw, name).unlink())


def _by_imap(server: Dovecot, box: Box) -> Account:
    def done(command: str, raw: bytes, old: str, new: str) -> None:
        with server.neighbour(box.url) as client:
            if new:
                client.create(new)
            assert client.select(old or "INBOX")[0] == "OK"
            found = client.uid("SEARCH", "HEADER", "Message-ID", _name(raw))[1][0].split()
            if command == "STORE":
                client.uid("STORE", found[0].decode(), "+FLAGS", "(\\Deleted)")
                client.expunge()
            else:
                assert client.uid(command, found[0].decode(), new or "INBOX")[0] == "OK"

    return Account(
        box,
        lambda raw, old, new: done("MOVE", raw, old, new),
        lambda raw, old, new: done("COPY", raw, old, new),
        lambda raw, old: done("STORE", raw, old, ""),
    )


@pytest.fixture(params=["maildir", "dovecot", "dovecot_without_move"])
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Account:
    """Two adverts and two job alerts in the inbox."""
    if request.param == "maildir":
        account = _in_files(_maildir(tmp_path / "mail"))
    else:
        server = request.getfixturevalue(request.param)
        account = _by_imap(server, _on_server(server, copies=request.param != "dovecot"))
    for raw in (ADVERT, OTHER_ADVERT, ALERT, OTHER_ALERT):
        account.box.deliver(raw, "S")
    return account


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


def clean(
    account: Account,
    path: Path,
    adverts: Iterable[bytes] = ADVERTS,
    wrap: Callable[[Source], Source] = lambda source: source,
) -> Noticed:
    """What the command does, with `adverts` to be moved."""
    with running(account.box, path) as (plain, journal, run):
        source = wrap(plain)
        reconcile(source, journal)
        here = candidates(source)
        noticed = notice(source, journal, here, "Ads")
        names = {_name(raw) for raw in adverts}
        chosen = [one for one in here if one.message_id in names]
        remember(journal, source.account, run, noticed, [one for one in here if one not in chosen])
        move(source, journal, run, [one for one in chosen if one.identity not in noticed.put_back], "Ads")
        return noticed


def labels(noticed: Noticed) -> dict[str, str]:
    return {one.message_id: one.label for one in noticed.corrections}


def to_learn(account: Account, path: Path) -> dict[str, str]:
    """What the journal holds to be learnt."""
    with open_journal(path) as journal:
        (name,) = {run.account for run in journal.runs()}
        return {one.message_id: one.label for one in journal.lessons.of(name).values() if one.open}


def learnt(account: Account, path: Path) -> None:
    with running(account.box, path, "learn") as (source, journal, run):
        known = journal.lessons.of(source.account)
        journal.lessons.settle(source.account, run, {one.identity: one.label for one in known.values()}, set(known))


# --- lessons


def test_what_was_dragged_back_is_wanted_and_is_not_moved_again(account: Account, path: Path) -> None:
    assert labels(clean(account, path)) == {}
    account.drag(ADVERT, "Ads", "")
    assert labels(clean(account, path)) == {_name(ADVERT): "keep"}
    assert account.box.where(ADVERT) == [""]
    assert labels(clean(account, path)) == {}
    assert account.box.where(ADVERT) == [""]
    assert to_learn(account, path) == {_name(ADVERT): "keep"}


def test_what_was_dragged_into_the_target_is_advertising(account: Account, path: Path) -> None:
    clean(account, path)
    account.drag(ALERT, "", "Ads")
    assert labels(clean(account, path)) == {_name(ALERT): "promotional"}
    assert labels(clean(account, path)) == {}
    assert to_learn(account, path) == {_name(ALERT): "promotional"}


def test_the_target_may_be_a_folder_that_a_person_made(account: Account, path: Path) -> None:
    clean(account, path, adverts=())
    account.drag(ALERT, "", "Ads")
    assert labels(clean(account, path, adverts=())) == {_name(ALERT): "promotional"}


def test_it_counts_by_where_it_is_now(account: Account, path: Path) -> None:
    clean(account, path)
    account.drag(ADVERT, "Ads", "")
    account.drag(ALERT, "", "Ads")
    clean(account, path)
    account.drag(ADVERT, "", "Ads")
    account.drag(ALERT, "Ads", "")
    clean(account, path)
    assert to_learn(account, path) == {}
    account.drag(ADVERT, "Ads", "")
    account.drag(ALERT, "", "Ads")
    clean(account, path)
    assert to_learn(account, path) == {_name(ADVERT): "keep", _name(ALERT): "promotional"}


def test_a_lesson_is_learnt_once_and_unlearnt_when_the_mail_goes_back(account: Account, path: Path) -> None:
    clean(account, path)
    account.drag(ADVERT, "Ads", "")
    account.drag(ALERT, "", "Ads")
    clean(account, path)
    learnt(account, path)
    clean(account, path)
    assert to_learn(account, path) == {}
    account.drag(ADVERT, "", "Ads")
    account.drag(ALERT, "Ads", "")
    clean(account, path)
    assert to_learn(account, path) == {_name(ADVERT): "promotional", _name(ALERT): "keep"}


def test_both_sides_at_once_teach_nothing_and_are_named(account: Account, path: Path) -> None:
    clean(account, path)
    account.copy(ADVERT, "Ads", "")
    account.copy(ALERT, "", "Ads")
    noticed = clean(account, path)
    assert labels(noticed) == {}
    assert {one.message_id for one in noticed.twice} == {_name(ADVERT), _name(ALERT)}
    account.delete(ALERT, "")
    clean(account, path)
    assert to_learn(account, path) == {}


def test_what_lies_on_both_sides_when_it_is_to_be_learnt_is_left_out(account: Account, path: Path) -> None:
    clean(account, path)
    for raw, old, new in ((ADVERT, "Ads", ""), (OTHER_ADVERT, "Ads", ""), (ALERT, "", "Ads"), (OTHER_ALERT, "", "Ads")):
        account.drag(raw, old, new)
    clean(account, path)
    account.copy(ADVERT, "", "Ads")
    account.copy(ALERT, "Ads", "")
    account.drag(OTHER_ADVERT, "", "Archive")
    with running(account.box, path) as (source, journal, _):
        known = journal.lessons.of(source.account)
        places, twice = whereabouts(source, journal, list(known.values()), candidates(source))
    assert {known[one].message_id for one in twice} == {_name(ADVERT), _name(ALERT)}
    assert {known[one].message_id: place.folder for one, place in places.items()} == {_name(OTHER_ALERT): "Ads"}


# --- what teaches nothing


@pytest.mark.parametrize("folder", ["Trash", "Junk", "Archive", "Archive/2026"])
def test_trash_junk_and_archives_teach_nothing(account: Account, path: Path, folder: str) -> None:
    clean(account, path)
    account.drag(ADVERT, "Ads", folder)
    account.drag(ALERT, "", folder)
    account.delete(OTHER_ADVERT, "Ads")
    noticed = clean(account, path)
    assert (labels(noticed), noticed.put_back, to_learn(account, path)) == ({}, frozenset(), {})


def test_a_message_marked_as_deleted_teaches_nothing(dovecot: Dovecot, path: Path) -> None:
    account = _by_imap(dovecot, _on_server(dovecot))
    for raw in (ADVERT, ALERT):
        account.box.deliver(raw, "S")
    clean(account, path)
    account.drag(ADVERT, "Ads", "")
    account.drag(ALERT, "", "Ads")
    with dovecot.neighbour(account.box.url) as client:
        for folder in ("INBOX", "Ads"):
            client.select(folder)
            client.store("1:*", "+FLAGS", "(\\Deleted)")
    clean(account, path)
    assert to_learn(account, path) == {}


def test_our_own_moves_teach_nothing(account: Account, path: Path) -> None:
    """What a run left is moved by the next one; what was moved is taken back, and moved by hand afterwards."""
    clean(account, path, adverts=[ADVERT])
    clean(account, path, adverts=[ADVERT, OTHER_ADVERT, ALERT])
    with open_journal(path) as journal:
        last = journal.last_run()
        assert last
        with journal.run(last.account, "undo", NOW) as run:
            assert len(undo(account.box.open_at, journal, run, journal.moves(last.id)).moved) == 2
    assert account.box.where(ALERT) == [""]
    noticed = clean(account, path, adverts=())
    assert (labels(noticed), noticed.put_back) == ({}, frozenset())
    account.drag(ALERT, "", "Ads")
    clean(account, path, adverts=())
    assert to_learn(account, path) == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["move", "remove", "look"])
def test_a_run_that_broke_off_teaches_nothing(account: Account, path: Path, when: str, call: str) -> None:
    """Mail that the run before had left is under way, or in both folders, when the next run looks."""
    clean(account, path, adverts=[ADVERT])
    with suppress(Gone):
        clean(account, path, [OTHER_ADVERT, ALERT], lambda source: Watched(source, **{when: at(call, _break)}))
    with running(account.box, path, "learn") as (source, journal, _):  # which settles nothing first
        assert labels(notice(source, journal, candidates(source))) == {}
    clean(account, path, [OTHER_ADVERT, ALERT])
    assert to_learn(account, path) == {}


def test_what_a_rule_files_into_the_target_teaches_nothing(account: Account, path: Path) -> None:
    clean(account, path)
    for number in (11, 12, 13):
        account.box.deliver(message(number), "S")
    account.drag(message(11), "", "Ads")  # filed before any run saw it
    account.copy(message(12), "", "Ads")  # filed, and left in the inbox
    clean(account, path)
    assert to_learn(account, path) == {}
    account.delete(message(12), "")
    account.drag(message(13), "", "Ads")
    clean(account, path)
    assert to_learn(account, path) == {"13@example.org": "promotional"}


def test_what_lay_in_the_target_before_the_first_run_teaches_nothing(account: Account, path: Path) -> None:
    account.copy(ALERT, "", "Ads")
    clean(account, path, adverts=())
    account.delete(ALERT, "")
    clean(account, path, adverts=())
    assert to_learn(account, path) == {}


def test_one_more_of_a_moved_message_is_no_correction(account: Account, path: Path) -> None:
    clean(account, path)
    account.box.deliver(ADVERT, "S")
    noticed = clean(account, path)
    assert (labels(noticed), noticed.put_back) == ({}, frozenset())
    assert account.box.where(ADVERT) == [".Ads", ".Ads"]
    account.drag(ADVERT, "Ads", "")
    assert labels(clean(account, path)) == {}


@pytest.mark.parametrize("folder", ["INBOX", "Ads"])
def test_lessons_survive_new_numbers(dovecot: Dovecot, path: Path, folder: str) -> None:
    account = _by_imap(dovecot, _on_server(dovecot))
    for raw in (ADVERT, OTHER_ADVERT, ALERT, OTHER_ALERT):
        account.box.deliver(raw, "S")
    clean(account, path)
    account.drag(ADVERT, "Ads", "")
    account.drag(ALERT, "", "Ads")
    if folder == "INBOX":
        with dovecot.neighbour(account.box.url) as client:  # which cannot be deleted; its numbers can
            client.create("Aside")
        (account.box.root / "dovecot-uidlist").unlink()
    else:
        _renumber(dovecot, account.box.url, folder)
    clean(account, path)
    assert to_learn(account, path) == {_name(ADVERT): "keep", _name(ALERT): "promotional"}
    with running(account.box, path) as (source, journal, _):
        known = journal.lessons.of(source.account)
        places, twice = whereabouts(source, journal, list(known.values()), candidates(source))
    assert (len(places), twice) == (2, set())


def test_out_of_another_folder_back_to_the_inbox_counts_and_elsewhere_does_not(account: Account, path: Path) -> None:
    for raw in (message(11), message(12), message(13)):
        account.box.deliver(raw, "S")
        account.drag(raw, "", "Lists")
    home = "Lists"
    lists = replace(account, box=replace(account.box, home=home))
    clean(lists, path, adverts=[message(11), message(12), message(13)])
    account.drag(message(11), "Ads", "")
    account.drag(message(12), "Ads", home)
    account.drag(message(13), "Ads", "Other")
    assert labels(clean(lists, path)) == {"11@example.org": "keep", "12@example.org": "keep"}
    others = replace(account, box=replace(account.box, home="Other"))
    noticed = clean(others, path, adverts=[message(13)])
    assert labels(noticed) == {}
    assert len(noticed.put_back) == 1, "it stays where the person put it all the same"
    assert account.box.where(message(13)) == [".Other"]


def test_a_folder_may_be_the_target_of_one_run_and_the_source_of_another(account: Account, path: Path) -> None:
    """What we file into the one teaches nothing when the other looks there; what a person files there does, once."""
    clean(account, path)
    account.drag(ALERT, "", "Ads")
    clean(account, path)
    there = replace(account, box=replace(account.box, home="Ads"))
    with running(there.box, path) as (source, journal, run):
        here = candidates(source)
        noticed = notice(source, journal, here, "More")
        assert (noticed.corrections, noticed.twice, noticed.put_back) == ((), (), frozenset())
        remember(journal, source.account, run, noticed, here)
    noticed = clean(account, path)
    assert (noticed.corrections, noticed.twice, noticed.put_back) == ((), (), frozenset())
    assert to_learn(account, path) == {_name(ALERT): "promotional"}


def test_a_program_that_copies_and_marks_what_is_left_drags_too(dovecot: Dovecot, path: Path) -> None:
    account = _by_imap(dovecot, _on_server(dovecot))
    for raw in (ADVERT, ALERT):
        account.box.deliver(raw, "S")
    clean(account, path)
    account.copy(ADVERT, "Ads", "")
    account.copy(ALERT, "", "Ads")
    with dovecot.neighbour(account.box.url) as client:
        for folder, raw in (("INBOX", ALERT), ("Ads", ADVERT)):
            client.select(folder)
            (number,) = client.search(None, "HEADER", "Message-ID", _name(raw))[1]
            client.store(number.decode(), "+FLAGS", "(\\Deleted)")
    clean(account, path)
    assert to_learn(account, path) == {_name(ADVERT): "keep", _name(ALERT): "promotional"}


# --- what is remembered


def test_a_quiet_run_asks_the_server_one_question_more(dovecot: Dovecot, path: Path) -> None:
    account = _by_imap(dovecot, _on_server(dovecot))
    for number in range(40):
        account.box.deliver(message(number), "S")
    clean(account, path, adverts=[message(number) for number in range(20)])
    clean(account, path)
    known = {name for name, _ in dovecot.sessions()}
    clean(account, path)
    (lines,) = [lines for _, lines in dovecot.sessions(known)]
    words = [line.split(b" ", 1)[1].split(b" (")[0].strip() for line in lines if b" " in line]
    looking = [word for word in words if b"Ads" in word]
    assert [word.split(b" ")[0] for word in looking] == [b"STATUS"], words


def test_what_was_seen_is_forgotten_in_the_end(path: Path) -> None:
    account, later = "imaps://ann@imap.example.org:993", NOW + timedelta(days=SEEN_DAYS, seconds=60)
    with open_journal(path) as journal:
        with journal.run(account, "clean", NOW) as run:
            many = [Seen(f"sha256:{one}", "", "INBOX", "x") for one in range(SEEN_MOST + 5)]
            journal.lessons.remember(account, run, [], many, [])
        found = journal.lessons.seen(account)
        assert (len(found), min(int(one[7:]) for one in found)) == (SEEN_MOST, 5)
        with journal.run(account, "clean", later) as run:
            journal.lessons.remember(account, run, [], [Seen("sha256:x", "", "INBOX", "x")], [])
        assert set(journal.lessons.seen(account)) == {"sha256:x"}


def test_the_journal_holds_nothing_of_a_mail_but_its_names(account: Account, path: Path) -> None:
    secret = message(21, body=b"Very private words.\r\n").replace(b"Number 21", b"Private subject")
    account.box.deliver(secret, "S")
    clean(account, path)
    account.drag(secret, "", "Ads")
    clean(account, path)
    assert to_learn(account, path) == {"21@example.org": "promotional"}
    written = b"".join(one.read_bytes() for one in path.parent.iterdir())
    assert b"21@example.org" in written
    assert not any(word in written for word in (b"rivate", b"ann@example.org"))
