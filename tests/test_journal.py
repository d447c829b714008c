"""The journal: what it promises to remember, whom it lets in, and what it does when the disk does not play along."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from filters.errors import BusyError, FiltersError, InputError, NotFoundError, WriteError
from filters.journal import Candidate, Change, Journal, kept_in, open_journal
from filters.sources import Place, Target

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
ACCOUNT = "imaps://ann@imap.example.org:993"
TARGET = Target("Ads", 77, 12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with open_journal(path) as journal:
        yield journal


def candidate(number: int, *, folder: str = "INBOX", undoes: int | None = None) -> Candidate:
    place = Place(ACCOUNT, folder, f"5:{number}")
    return Candidate(place, f"sha256:{number}", f"{number}@example.org", 100 + number, "advert", "[]", "abc", undoes)


def arrived(number: int) -> Place:
    return Place(ACCOUNT, "Ads", f"77:{number}")


def test_it_remembers_every_step_of_a_move(journal: Journal, path: Path) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run:
        first, second, third = journal.plan(run, [candidate(1), candidate(2), candidate(3)], TARGET)
        assert [move.state for move in (first, second, third)] == ["planned"] * 3
        journal.record([Change(first.id, "sent"), Change(second.id, "sent")])
        journal.record([Change(first.id, "done", moved_to=arrived(12)), Change(second.id, "done")])
        journal.record([Change(third.id, "failed", "it is gone")])
    with open_journal(path) as again:
        one, two, three = again.moves(run)
    assert (one.place, one.moved_to, one.state) == (candidate(1).place, arrived(12), "done")
    assert (one.identity, one.message_id, one.size) == ("sha256:1", "1@example.org", 101)
    assert (one.folder, one.uidvalidity, one.uidnext_before) == ("Ads", 77, 12)
    assert (two.state, two.moved_to) == ("done", None)
    assert (three.state, three.reason) == ("failed", "it is gone")


def test_all_columns_are_kept_for_later_versions(journal: Journal, path: Path) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run:
        (move,) = journal.plan(run, [candidate(4)], TARGET)
        journal.record([Change(move.id, "sent")])
        journal.record([Change(move.id, "done", moved_to=Place(ACCOUNT, "Ads", "78:3"))])
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute("SELECT * FROM move").fetchone())
    connection.close()
    assert row.pop("ts").startswith("2026-11-24T02:00:0")
    assert row == {
        "id": 1, "run": "20261124-1", "account": ACCOUNT, "src": "INBOX", "src_uidvalidity": 5, "src_uid": "4",
        "identity": "sha256:4", "message_id": "4@example.org", "size": 104, "verdict": "advert", "evidence": "[]",
        "model_sha": "abc", "dst": "Ads", "dst_uidvalidity": 78, "dst_uidnext_before": 12, "dst_uid": "3",
        "method": "move", "state": "done", "reason": "", "undoes": None,
    }  # fmt: skip


@pytest.mark.parametrize("key", ["5:7", "1462269600.M1P2.host,S=5", "a:b", "0:5", "05:5", "1:2:3", "-", "é"])
def test_any_key_comes_back_as_it_was(journal: Journal, key: str) -> None:
    one = Candidate(Place("/home/ann/Maildir", "", key), "sha256:1", "", 1, "", "")
    with journal.run("/home/ann/Maildir", "clean", NOW) as run:
        (move,) = journal.plan(run, [one], Target("Ads", 0, 0))
        assert move.place == one.place
        journal.record([Change(move.id, "sent")])
        journal.record([Change(move.id, "done", moved_to=Place("/home/ann/Maildir", "Ads", key))])
        assert journal.reread([move.id])[0].moved_to == Place("/home/ann/Maildir", "Ads", key)


def test_words_of_a_mail_cannot_upset_it(journal: Journal) -> None:
    hostile = "\ud800 '); DROP TABLE move; -- \x00 \u202e"
    one = Candidate(candidate(1).place, "sha256:1", hostile, 1, hostile, hostile)
    with journal.run(ACCOUNT, "clean", NOW) as run:
        (move,) = journal.plan(run, [one], TARGET)
    assert move.message_id == move.verdict == hostile.replace("\ud800", "?")


def test_a_step_that_cannot_be_is_a_defect_and_changes_nothing(journal: Journal) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run:
        one, two = journal.plan(run, [candidate(1), candidate(2)], TARGET)
        with pytest.raises(FiltersError, match="defect"):
            journal.record([Change(one.id, "sent"), Change(two.id, "done")])
        assert [move.state for move in journal.moves(run)] == ["planned", "planned"]
        journal.record([Change(one.id, "sent")])
        journal.record([Change(one.id, "vanished")])
        for state in ("sent", "done", "failed", "doubt"):
            with pytest.raises(FiltersError, match="defect"):
                journal.record([Change(one.id, state)])


def test_taking_back_marks_both_moves_at_once(journal: Journal) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run:
        (move,) = journal.plan(run, [candidate(1)], TARGET)
        journal.record([Change(move.id, "sent")])
        journal.record([Change(move.id, "done", moved_to=arrived(12))])
    with journal.run(ACCOUNT, "undo", NOW) as undo:
        (back,) = journal.plan(undo, [candidate(1, folder="Ads", undoes=move.id)], Target("INBOX", 5, 9))
        journal.record([Change(back.id, "sent")])
        assert journal.moves(run)[0].state == "done"
        journal.record([Change(back.id, "done")])
    assert (journal.moves(run)[0].state, journal.moves(undo)[0].state) == ("undone", "done")


def test_open_moves_are_those_out_of_this_folder_of_this_account(journal: Journal) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run:
        moves = journal.plan(run, [candidate(1), candidate(2), candidate(3), candidate(4, folder="Other")], TARGET)
        journal.record([Change(move.id, "sent") for move in moves[:2]])
        journal.record([Change(moves[0].id, "done", moved_to=arrived(12))])
    assert [move.place.key for move in journal.open_moves(ACCOUNT, "INBOX")] == ["5:2", "5:3"]
    assert journal.open_moves("/home/ann/Maildir", "INBOX") == []
    assert journal.arrived(ACCOUNT, "Ads", "sha256:1") == {arrived(12)}
    assert journal.arrived(ACCOUNT, "Ads", "sha256:2") == journal.arrived(ACCOUNT, "INBOX", "sha256:1") == frozenset()


def test_what_was_taken_back_is_kept_for_its_account(journal: Journal, path: Path) -> None:
    with journal.run(ACCOUNT, "undo", NOW):
        journal.keep(ACCOUNT, ["sha256:1", "sha256:2"])
        journal.keep(ACCOUNT, ["sha256:2"])
    assert journal.kept(ACCOUNT) == kept_in(path, ACCOUNT) == {"sha256:1", "sha256:2"}
    assert journal.kept("/home/ann/Maildir") == frozenset()


def test_who_only_looks_makes_no_journal(path: Path) -> None:
    assert kept_in(path, ACCOUNT) == frozenset()
    assert not path.parent.exists()


# --- runs


def test_run_ids_count_the_runs_of_a_day(journal: Journal) -> None:
    ids = []
    for now in (NOW, NOW, NOW + timedelta(days=1), NOW - timedelta(days=400), *[NOW] * 9):
        with journal.run(ACCOUNT, "clean", now) as run:
            ids.append(run)
    assert ids[:4] == ["20261124-1", "20261124-2", "20261125-1", "20251020-1"]
    assert ids[-1] == "20261124-11"
    assert [run.id for run in journal.runs()] == ids


def test_times_are_utc_and_do_not_jump(journal: Journal) -> None:
    with journal.run(ACCOUNT, "clean", NOW.astimezone(timezone(timedelta(hours=5)))):
        pass
    (run,) = journal.runs(ACCOUNT)
    assert run.started == NOW
    assert run.ended
    assert NOW <= run.ended < NOW + timedelta(seconds=10)


def test_a_run_counts_its_moves_also_when_it_breaks_off(journal: Journal) -> None:
    with pytest.raises(KeyboardInterrupt), journal.run(ACCOUNT, "clean", NOW) as run:
        moves = journal.plan(run, [candidate(1), candidate(2)], TARGET)
        journal.record([Change(moves[0].id, "sent")])
        raise KeyboardInterrupt
    assert journal.runs()[0].counts == {"planned": 1, "sent": 1}


def test_the_last_run_is_the_last_that_moved_something(journal: Journal) -> None:
    assert journal.last_run() is None
    with journal.run(ACCOUNT, "clean", NOW) as run:
        (move,) = journal.plan(run, [candidate(1)], TARGET)
        journal.record([Change(move.id, "sent")])
        journal.record([Change(move.id, "done", moved_to=arrived(12))])
    with journal.run(ACCOUNT, "clean", NOW) as idle:
        (other,) = journal.plan(idle, [candidate(2)], TARGET)
        journal.record([Change(other.id, "failed", "flagged")])
    with journal.run(ACCOUNT, "undo", NOW) as undo:
        (back,) = journal.plan(undo, [candidate(1, folder="Ads", undoes=move.id)], Target("INBOX", 5, 9))
        journal.record([Change(back.id, "sent")])
        journal.record([Change(back.id, "done")])
    for last in (journal.last_run(), journal.last_run(ACCOUNT)):
        assert last
        assert (last.id, last.account, last.command) == (run, ACCOUNT, "clean")
    assert journal.last_run("/home/ann/Maildir") is None


def test_an_unknown_run_is_told(journal: Journal) -> None:
    with pytest.raises(NotFoundError, match="20200101-1"):
        journal.moves("20200101-1")


def test_one_run_at_a_time_for_an_account(journal: Journal, path: Path) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run, open_journal(path) as second:
        with pytest.raises(BusyError, match=f"{run}.*{os.getpid()}"), second.run(ACCOUNT, "clean", NOW):
            pass
        with second.run("/home/ann/Maildir", "clean", NOW):
            pass
    with open_journal(path) as third, third.run(ACCOUNT, "clean", NOW):
        pass


def test_a_killed_run_holds_nobody_up(path: Path) -> None:
    code = f"""
import os, signal
from datetime import datetime, UTC
from pathlib import Path
from filters.journal import open_journal
with open_journal(Path({str(path)!r})) as journal, journal.run({ACCOUNT!r}, "clean", datetime.now(UTC)):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with open_journal(path) as journal, journal.run(ACCOUNT, "clean", NOW):
        killed, running = journal.runs()
    assert (killed.ended, running.ended) == (None, None)
    assert killed.id != running.id


def test_nothing_is_written_outside_a_run(journal: Journal) -> None:
    with pytest.raises(FiltersError, match="defect"):
        journal.keep(ACCOUNT, ["sha256:1"])
    assert journal.kept(ACCOUNT) == frozenset()


# --- files


def test_it_is_for_its_owner_only(journal: Journal, path: Path) -> None:
    with journal.run(ACCOUNT, "clean", NOW):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_it_is_on_the_disk_when_a_step_returns(journal: Journal, path: Path) -> None:
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    assert tuple(journal._connection.execute("PRAGMA synchronous").fetchone()) == (2,)


def _untouched(path: Path, content: bytes, error: type[FiltersError], said: str) -> None:
    with pytest.raises(error, match=said) as told:
        open_journal(path)
    assert str(path) in str(told.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + bytes(100), os.urandom(8192)])
def test_a_damaged_journal_is_told_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    _untouched(path, content, InputError, "damaged|no journal")


def test_a_journal_with_a_broken_page_is_told_and_left_as_it_is(path: Path) -> None:
    with open_journal(path) as journal, journal.run(ACCOUNT, "clean", NOW) as run:
        journal.plan(run, [candidate(number) for number in range(200)], TARGET)
    content = bytearray(path.read_bytes())
    for page in range(8192, len(content), 4096):
        content[page : page + 64] = bytes(range(64))
    path.write_bytes(content)
    _untouched(path, bytes(content), InputError, "damaged")


def test_a_newer_or_foreign_database_is_told_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    for statement, said in (("PRAGMA user_version = 2", "newer"), ("CREATE TABLE t (x)", "no journal")):
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()
        _untouched(path, path.read_bytes(), InputError, said)
        path.unlink()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="cannot be written"):
        open_journal(tmp_path / "file" / "state" / "journal.sqlite3")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_read_only_folder_is_told(path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    with pytest.raises(WriteError, match="cannot be written"):
        open_journal(path)


def test_a_full_disk_is_told_and_what_was_written_stays(path: Path) -> None:
    with open_journal(path) as journal, journal.run(ACCOUNT, "clean", NOW) as run:
        (move,) = journal.plan(run, [candidate(0)], TARGET)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, limits[1]))
        try:
            with pytest.raises(WriteError, match="cannot be written"):
                journal.plan(run, [candidate(number) for number in range(1, 2000)], TARGET)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [one.id for one in journal.moves(run)] == [move.id]
        journal.record([Change(move.id, "sent")])
    with open_journal(path) as journal:
        assert [one.state for one in journal.moves(run)] == ["sent"]
