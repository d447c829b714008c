"""The journal: what it promises to remember, whom it lets in, and what it does when the disk does not play along."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from filters.database import VERSION, DamagedError, keep_aside
from filters.errors import BusyError, FiltersError, InputError, NotFoundError, ServerError, WriteError
from filters.journal import Candidate, Change, Journal, look_into, open_journal
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
        first, second, third = journal.plan(run, [candidate(1), candidate(2), candidate(3)], TARGET, "move")
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
        (move,) = journal.plan(run, [candidate(4)], TARGET, "move")
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
        "method": "move", "state": "done", "reason": "", "undoes": None, "sender": "",
    }  # fmt: skip


@pytest.mark.parametrize("key", ["5:7", "1462269600.M1P2.host,S=5", "a:b", "0:5", "05:5", "1:2:3", "-", "é"])
def test_any_key_comes_back_as_it_was(journal: Journal, key: str) -> None:
    one = Candidate(Place("/home/ann/Maildir", "", key), "sha256:1", "", 1, "", "")
    with journal.run("/home/ann/Maildir", "clean", NOW) as run:
        (move,) = journal.plan(run, [one], Target("Ads", 0, 0), "move")
        assert move.place == one.place
        journal.record([Change(move.id, "sent")])
        journal.record([Change(move.id, "done", moved_to=Place("/home/ann/Maildir", "Ads", key))])
        assert journal.reread([move.id])[0].moved_to == Place("/home/ann/Maildir", "Ads", key)


def test_words_of_a_mail_cannot_upset_it(journal: Journal) -> None:
    hostile = "\ud800 '); DROP TABLE move; -- \x00 \u202e"
    one = Candidate(candidate(1).place, "sha256:1", hostile, 1, hostile, hostile)
    with journal.run(ACCOUNT, "clean", NOW) as run:
        (move,) = journal.plan(run, [one], TARGET, "move")
    assert move.message_id == move.verdict == hostile.replace("\ud800", "?")


def test_a_step_that_cannot_be_is_a_defect_and_changes_nothing(journal: Journal) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run:
        one, two = journal.plan(run, [candidate(1), candidate(2)], TARGET, "move")
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
        (move,) = journal.plan(run, [candidate(1)], TARGET, "move")
        journal.record([Change(move.id, "sent")])
        journal.record([Change(move.id, "done", moved_to=arrived(12))])
    with journal.run(ACCOUNT, "undo", NOW) as undo:
        (back,) = journal.plan(undo, [candidate(1, folder="Ads", undoes=move.id)], Target("INBOX", 5, 9), "move")
        journal.record([Change(back.id, "sent")])
        assert journal.moves(run)[0].state == "done"
        journal.record([Change(back.id, "done")])
    assert (journal.moves(run)[0].state, journal.moves(undo)[0].state) == ("undone", "done")


def test_open_moves_are_those_out_of_this_folder_of_this_account(journal: Journal) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run:
        moves = journal.plan(
            run, [candidate(1), candidate(2), candidate(3), candidate(4, folder="Other")], TARGET, "move"
        )
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
    assert journal.kept(ACCOUNT) == {"sha256:1", "sha256:2"}
    looked = look_into(path)
    assert looked
    with looked:
        assert looked.barred(ACCOUNT) == journal.barred(ACCOUNT)
    assert journal.barred(ACCOUNT) == dict.fromkeys(journal.kept(ACCOUNT), "you took it back once")
    assert journal.kept("/home/ann/Maildir") == frozenset()


def test_what_is_in_doubt_is_nobodys_to_move_but_a_persons(journal: Journal) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run:
        (move,) = journal.plan(run, [candidate(1)], TARGET, "move")
        journal.record([Change(move.id, "sent")])
        journal.record([Change(move.id, "doubt", "there are 2 of it")])
    assert journal.barred(ACCOUNT) == {"sha256:1": f"where it is has been in doubt since run {run}"}
    assert journal.barred("/home/ann/Maildir") == {}


def test_who_only_looks_makes_no_journal(path: Path) -> None:
    assert look_into(path) is None
    assert not path.parent.exists()


# --- to find again what was moved


def test_moves_are_found_by_message_sender_and_time(journal: Journal) -> None:
    senders = ["Jörg Müller <jm@in.example>", "Ann's 100% _shop_ <shop@example.org>", "JÖRG <x@in.example>"]
    runs = []
    for number, sender in enumerate(senders):
        with journal.run(ACCOUNT, "clean", NOW + timedelta(days=number)) as run:
            journal.plan(run, [replace(candidate(number), sender=sender)], TARGET, "move")
            runs.append(run)
    with journal.run(ACCOUNT, "undo", NOW) as run:
        journal.plan(run, [replace(candidate(0, undoes=1), sender=senders[0])], Target("INBOX", 5, 9), "move")

    def found(**asked: Any) -> list[int]:
        return [int(move.place.key[2:]) for move in journal.found(**asked)]

    assert found() == [0, 1, 2]
    assert found(message_id="1@example.org") == found(message_id=" <1@example.org>") == [1]
    assert found(message_id="@example.org") == found(message_id="1@EXAMPLE.org") == []
    assert found(sender="jo\u0308rg") == found(sender="IN.example") == [0, 2]
    assert found(sender="100%") == found(sender="_SHOP_") == [1]
    assert found(sender="%") == [1]
    assert found(sender="' OR 1") == []
    assert found(since=NOW + timedelta(days=1)) == [1, 2]
    assert found(until=NOW + timedelta(days=1)) == [0]
    assert found(since=(NOW + timedelta(days=1)).astimezone(timezone(timedelta(hours=-9))), sender="jör") == [2]


def test_two_accounts_can_be_held_at_once(journal: Journal) -> None:
    other = "/home/ann/Maildir"
    with journal.run(ACCOUNT, "learn", NOW), suppress(KeyError), journal.run(other, "learn", NOW):
        journal.keep(other, ["sha256:1"])
        raise KeyError
    with journal.run(ACCOUNT, "learn", NOW):
        with journal.run(other, "learn", NOW):
            pass
        journal.keep(ACCOUNT, ["sha256:2"])
    assert [bool(run.ended) for run in journal.runs()] == [True] * 4
    with pytest.raises(FiltersError, match="only within a run"):
        journal.keep(ACCOUNT, ["sha256:3"])


# --- older versions

_VERSION_1 = """
CREATE TABLE run (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, command TEXT NOT NULL, pid INTEGER NOT NULL,
    started TEXT NOT NULL, ended TEXT, counts TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE move (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES run, account TEXT NOT NULL,
    src TEXT NOT NULL, src_uidvalidity INTEGER NOT NULL, src_uid TEXT NOT NULL,
    identity TEXT NOT NULL CHECK (identity != ''), message_id TEXT NOT NULL, size INTEGER NOT NULL,
    verdict TEXT NOT NULL, evidence TEXT NOT NULL, model_sha TEXT NOT NULL,
    dst TEXT NOT NULL, dst_uidvalidity INTEGER NOT NULL, dst_uidnext_before INTEGER NOT NULL, dst_uid TEXT,
    method TEXT NOT NULL CHECK (method IN ('move', 'copy')),
    state TEXT NOT NULL CHECK (state IN
        ('planned', 'sent', 'copied', 'removing', 'done', 'vanished', 'failed', 'doubt', 'undone')),
    reason TEXT NOT NULL DEFAULT '', undoes INTEGER REFERENCES move, ts TEXT NOT NULL
);
CREATE INDEX move_run ON move (run);
CREATE INDEX move_open ON move (account, src) WHERE state IN ('planned', 'sent', 'copied', 'removing');
CREATE INDEX move_target ON move (account, dst, identity) WHERE state = 'done';
CREATE TABLE kept (account TEXT NOT NULL, identity TEXT NOT NULL, ts TEXT NOT NULL, PRIMARY KEY (account, identity))
    WITHOUT ROWID;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
INSERT INTO run VALUES ('20261101-1', 'imaps://ann@imap.example.org:993', 'clean', 7, '2026-11-01T02:00:00.000+00:00',
    '2026-11-01T02:00:01.000+00:00', '{"done": 1}');
INSERT INTO move VALUES (1, '20261101-1', 'imaps://ann@imap.example.org:993', 'INBOX', 5, '7', 'sha256:7', '7@example.org',
    107, 'advert', '[]', 'abc', 'Ads', 77, 12, '12', 'move', 'done', '', NULL, '2026-11-01T02:00:00.500+00:00');
INSERT INTO kept VALUES ('imaps://ann@imap.example.org:993', 'sha256:9', '2026-11-01T02:00:00.500+00:00');
"""


@pytest.fixture
def old(path: Path) -> Path:
    """A journal of version 1, as it was when it was published."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_VERSION_1)
    return path


def _holds_what_it_held(journal: Journal) -> None:
    (run,) = journal.runs()
    (move,) = journal.moves("20261101-1")
    assert (run.id, run.counts, run.fault) == ("20261101-1", {"done": 1}, "")
    assert (move.place, move.moved_to) == (candidate(7).place, arrived(12))
    assert (move.state, move.message_id, move.sender) == ("done", "7@example.org", "")
    assert journal.kept(ACCOUNT) == {"sha256:9"}


def _schema(path: Path) -> dict[str, set[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql != ''")]
        columns = {name: set(connection.execute(f"SELECT * FROM pragma_table_xinfo('{name}')")) for name in tables}
        return columns | {"version": {connection.execute("PRAGMA user_version").fetchone()}}


def test_a_journal_of_version_1_is_brought_up_with_all_it_holds(old: Path, tmp_path: Path) -> None:
    with open_journal(old) as journal:
        _holds_what_it_held(journal)
        with journal.run(ACCOUNT, "clean", NOW) as run:
            (move,) = journal.plan(run, [replace(candidate(1), sender="Ann")], TARGET, "move")
            assert move.sender == "Ann"
    with open_journal(tmp_path / "new.sqlite3"):
        pass
    assert _schema(old) == _schema(tmp_path / "new.sqlite3")


def test_who_only_looks_leaves_a_journal_of_version_1_as_it_is(old: Path) -> None:
    before = {path.name: path.read_bytes() for path in old.parent.iterdir()}
    journal = look_into(old)
    assert journal
    with journal:
        _holds_what_it_held(journal)
    assert {path.name: path.read_bytes() for path in old.parent.iterdir()} == before


def test_cut_off_while_it_is_brought_up_it_stays_what_it_was(old: Path) -> None:
    with closing(sqlite3.connect(old)) as other:
        other.execute("ALTER TABLE move ADD COLUMN sender TEXT")  # stands in the way of the second step
    before = _schema(old)
    with pytest.raises(WriteError):
        open_journal(old)
    assert _schema(old) == before


def test_two_at_once_bring_it_up_once(old: Path) -> None:
    code = f"from pathlib import Path; from filters.journal import open_journal; open_journal(Path({str(old)!r}))"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [one.wait(30) for one in both] == [0, 0]
    with open_journal(old) as journal:
        _holds_what_it_held(journal)


# --- runs


def test_run_ids_count_the_runs_of_a_day(journal: Journal) -> None:
    ids = []
    for now in (NOW, NOW, NOW + timedelta(days=1), NOW - timedelta(days=400), *[NOW] * 9):
        with journal.run(ACCOUNT, "clean", now) as run:
            ids.append(run)
    assert ids[:4] == ["20261124-1", "20261124-2", "20261125-1", "20251020-1"]
    assert ids[-1] == "20261124-11"
    assert [run.id for run in journal.runs()] == ids


def test_f26_times_are_utc_and_do_not_jump(journal: Journal) -> None:
    with journal.run(ACCOUNT, "clean", NOW.astimezone(timezone(timedelta(hours=5)))):
        pass
    (run,) = journal.runs(ACCOUNT)
    assert run.started == NOW
    assert run.ended
    assert NOW <= run.ended < NOW + timedelta(seconds=10)


def test_a_run_counts_its_moves_also_when_it_breaks_off(journal: Journal) -> None:
    with pytest.raises(KeyboardInterrupt), journal.run(ACCOUNT, "clean", NOW) as run:
        moves = journal.plan(run, [candidate(1), candidate(2)], TARGET, "move")
        journal.record([Change(moves[0].id, "sent")])
        raise KeyboardInterrupt
    (broken,) = journal.runs()
    assert (broken.counts, broken.fault) == ({"planned": 1, "sent": 1}, "it was stopped (KeyboardInterrupt)")
    assert journal.tallies() == journal.tallies(ACCOUNT) == {broken.id: {"planned": 1, "sent": 1}}
    assert journal.tallies("/home/ann/Maildir") == {}


def test_what_broke_a_run_off_is_told(journal: Journal) -> None:
    with pytest.raises(ServerError), journal.run(ACCOUNT, "clean", NOW):
        raise ServerError("The server said \ud800 nonsense.")
    with journal.run(ACCOUNT, "clean", NOW):
        assert journal.is_running(ACCOUNT)
        assert not journal.is_running("/home/ann/Maildir")
    assert not journal.is_running(ACCOUNT)
    assert [run.fault for run in journal.runs()] == ["The server said ? nonsense.", ""]


def test_the_last_run_is_the_last_that_moved_something(journal: Journal) -> None:
    assert journal.last_run() is None
    with journal.run(ACCOUNT, "clean", NOW) as run:
        (move,) = journal.plan(run, [candidate(1)], TARGET, "move")
        journal.record([Change(move.id, "sent")])
        journal.record([Change(move.id, "done", moved_to=arrived(12))])
    with journal.run(ACCOUNT, "clean", NOW) as idle:
        (other,) = journal.plan(idle, [candidate(2)], TARGET, "move")
        journal.record([Change(other.id, "failed", "flagged")])
    with journal.run(ACCOUNT, "undo", NOW) as undo:
        (back,) = journal.plan(undo, [candidate(1, folder="Ads", undoes=move.id)], Target("INBOX", 5, 9), "move")
        journal.record([Change(back.id, "sent")])
        journal.record([Change(back.id, "done")])
    for last in (journal.last_run(), journal.last_run(ACCOUNT)):
        assert last
        assert (last.id, last.account, last.command) == (run, ACCOUNT, "clean")
    assert journal.last_run("/home/ann/Maildir") is None


def test_an_unknown_run_is_told(journal: Journal) -> None:
    with pytest.raises(NotFoundError, match="20200101-1"):
        journal.moves("20200101-1")


def test_f23_one_run_at_a_time_for_an_account(journal: Journal, path: Path) -> None:
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
        journal.plan(run, [candidate(number) for number in range(200)], TARGET, "move")
    content = bytearray(path.read_bytes())
    for page in range(8192, len(content), 4096):
        content[page : page + 64] = bytes(range(64))
    path.write_bytes(content)
    _untouched(path, bytes(content), InputError, "damaged")


_FOREIGN = "CREATE TABLE run (x); CREATE TABLE t (x); PRAGMA user_version = 1"


def test_a_newer_or_foreign_database_is_told_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    for statement, said in (
        (f"PRAGMA user_version = {VERSION + 1}", "newer"),
        ("CREATE TABLE t (x)", "no journal"),
        (_FOREIGN, "no journal"),
    ):
        with sqlite3.connect(path) as connection:
            connection.executescript(statement)
        connection.close()
        _untouched(path, path.read_bytes(), InputError, said)
        path.unlink()


def _cut_off(path: Path, tmp_path: Path) -> dict[str, bytes]:
    """A journal as a run leaves it that was killed. Gives what is in its two files."""
    away = tmp_path / "away" / path.name
    path.parent.mkdir()
    with open_journal(away):
        pass
    with open_journal(away) as journal, journal.run(ACCOUNT, "clean", NOW):
        for one in away.parent.glob("journal*"):
            shutil.copy(one, path.parent)
    return {name: path.with_name(name).read_bytes() for name in (path.name, f"{path.name}-wal")}


def test_a_damaged_journal_is_kept_aside_whole_and_over_nothing(path: Path, tmp_path: Path) -> None:
    contents = _cut_off(path, tmp_path)
    contents[path.name] = b"x" * 100 + contents[path.name][100:]
    path.write_bytes(contents[path.name])
    taken = path.with_name("journal.sqlite3.damaged-20261124T020000Z-wal")
    taken.write_bytes(b"of an earlier one")
    with pytest.raises(DamagedError):
        open_journal(path)
    new = keep_aside(path, NOW)
    assert new.name == "journal.sqlite3.damaged-20261124T020000Za"
    assert taken.read_bytes() == b"of an earlier one"
    assert {name: path.with_name(name.replace(path.name, new.name)).read_bytes() for name in contents} == contents
    assert list(path.parent.glob("journal.sqlite3")) == list(path.parent.glob("journal.sqlite3-*")) == []
    with open_journal(path) as journal:
        assert journal.runs() == []


def test_who_only_looks_at_a_journal_that_was_cut_off_changes_no_byte(path: Path, tmp_path: Path) -> None:
    before = _cut_off(path, tmp_path)
    names = sorted(path.parent.iterdir())
    journal = look_into(path)
    assert journal
    with journal:
        assert [run.ended for run in journal.runs()] == [None]
    assert {name: path.with_name(name).read_bytes() for name in before} == before
    assert sorted(path.parent.iterdir()) == names


def test_a_damaged_journal_is_not_taken_from_under_a_run(path: Path) -> None:
    with open_journal(path) as journal, journal.run(ACCOUNT, "clean", NOW):
        before = sorted(path.parent.iterdir())
        with pytest.raises(BusyError):
            keep_aside(path, NOW)
        assert sorted(path.parent.iterdir()) == before


def test_what_is_wrong_in_a_row_is_a_defect_and_no_damage(journal: Journal) -> None:
    with journal.run(ACCOUNT, "clean", NOW) as run, pytest.raises(InputError, match="defect") as told:
        journal.plan(run, [replace(candidate(1), identity="")], TARGET, "move")
    assert not isinstance(told.value, DamagedError)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match=r"cannot be written: .*Nothing was moved\. .*UNPITCH_STATE"):
        open_journal(tmp_path / "file" / "state" / "journal.sqlite3")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_read_only_folder_is_told(path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    with pytest.raises(WriteError, match="cannot be written"):
        open_journal(path)


def test_a_full_disk_is_told_and_what_was_written_stays(path: Path) -> None:
    with open_journal(path) as journal, journal.run(ACCOUNT, "clean", NOW) as run:
        (move,) = journal.plan(run, [candidate(0)], TARGET, "move")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, limits[1]))
        try:
            with pytest.raises(WriteError, match="cannot be written"):
                journal.plan(run, [candidate(number) for number in range(1, 2000)], TARGET, "move")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [one.id for one in journal.moves(run)] == [move.id]
        journal.record([Change(move.id, "sent")])
    with open_journal(path) as journal:
        assert [one.state for one in journal.moves(run)] == ["sent"]
