"""The installed command and its limits: what stops a run, what it says then, and how a person lifts it. And the journal that
is damaged or of another version."""

from __future__ import annotations

import os
import pty
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mails
import pytest
import template
from test_cli import TRUST, snapshot, unpitch

from filters.database import VERSION


def deliver(box: Path, first: int, count: int, friends: int = 0) -> Path:
    """Adverts from number `first` on, and mails of a friend."""
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (box / "cur" / f"{number:05}.a:2,S").write_bytes(mails.mail(number=number))
    for number in range(friends):
        (box / "cur" / f"9{number:04}.f:2,S").write_bytes(mails.friend(90_000 + number))
    return box


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return deliver(tmp_path / "box", 0, 3)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def moved(box: Path) -> int:
    return len(list((box / ".LinkedIn").glob("cur/*"))) + len(list((box / ".LinkedIn").glob("new/*")))


def on_terminal(*words: str, state: Path, answers: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command with a terminal to ask on, where a person types `answers`."""
    keyboard, terminal = pty.openpty()
    here = {"UNPITCH_STATE": str(state), "UNPITCH_CONFIG": str(state / "config.toml"), "COLUMNS": "80"}
    env = {**os.environ, **here}
    os.write(keyboard, answers.encode())
    try:
        return template.run(words, env, terminal=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)


def clean(box: Path, state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return unpitch("clean", str(box), *TRUST, "--yes", *words, state=state)


def test_the_first_run_for_an_account_only_shows(box: Path, state: Path) -> None:
    before = snapshot(box)
    first = on_terminal("clean", str(box), *TRUST, state=state, answers="y\n")
    assert (first.returncode, first.stderr) == (0, "")
    assert "To move" in first.stdout
    assert "first run for this account, so nothing was moved. Run it again to be asked, or add --yes" in first.stdout
    assert "Move 3" not in first.stdout, "nobody was asked"
    assert snapshot(box) == before
    assert "clean" in unpitch("runs", state=state).stdout
    no = on_terminal("clean", str(box), *TRUST, state=state, answers="n\n")
    assert "Move 3 to LinkedIn?" in no.stdout
    assert "Nothing was moved." in no.stdout
    assert snapshot(box) == before
    yes = on_terminal("clean", str(box), *TRUST, state=state, answers="y\n")
    assert "3 moved to LinkedIn" in yes.stdout
    assert moved(box) == 3


def test_the_first_run_moves_when_it_is_told_to(box: Path, state: Path) -> None:
    assert clean(box, state).returncode == 0
    assert moved(box) == 3


def test_a_run_that_broke_off_was_not_the_first(box: Path, state: Path) -> None:
    clean(deliver(box.with_name("other"), 0, 1), state)  # another account says nothing about this one
    on_terminal("clean", str(box), *TRUST, state=state)
    with closing(sqlite3.connect(state / "journal.sqlite3", isolation_level=None)) as journal:
        journal.execute("UPDATE run SET fault = 'the server is gone' WHERE account = ?", (str(box),))
    again = on_terminal("clean", str(box), *TRUST, state=state, answers="y\n")
    assert "first run for this account" in again.stdout
    assert moved(box) == 0


def test_a_dry_run_is_no_run(box: Path, state: Path) -> None:
    assert unpitch("clean", str(box), *TRUST, "--dry-run", state=state).returncode == 0
    assert not state.exists()


def test_a_run_moves_no_more_than_it_may_and_says_what_it_left(box: Path, state: Path) -> None:
    done = clean(box, state, "--max-moves", "2")
    assert done.returncode == 78
    assert "2 moved to LinkedIn" in done.stdout
    assert done.stderr == (
        f"unpitch: {box}: 1 more was left: at most 2 are moved in one run. Run it again for the rest, or lift it with"
        " --max-moves N.\n"
    )
    assert moved(box) == 2
    assert sorted(path.name for path in (box / "cur").iterdir()) == ["00002.a:2,S"], "the first ones moved"
    assert clean(box, state, "--max-moves", "2").returncode == 0
    assert moved(box) == 3


def test_who_is_asked_is_told_how_many_of_how_many(box: Path, state: Path) -> None:
    on_terminal("clean", str(box), *TRUST, state=state)
    done = on_terminal("clean", str(box), *TRUST, "--max-moves", "2", state=state, answers="y\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Move 2 of 3 to LinkedIn?" in done.stdout
    assert "1 more was left" in done.stdout
    assert moved(box) == 2


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_limit_that_is_none_is_refused(box: Path, state: Path, number: str) -> None:
    assert clean(box, state, "--max-moves", number).returncode == 2
    assert moved(box) == 0


def test_a_run_that_would_move_a_fifth_of_the_folder_is_braked(tmp_path: Path, state: Path) -> None:
    box = deliver(tmp_path / "box", 0, 21, friends=83)
    before = snapshot(box)
    done = clean(box, state)
    assert done.returncode == 78
    assert done.stderr == (
        f"unpitch: {box}: 21 to move of 104 messages looked at is more than 20 %. Nothing was moved. Look at it with --dry-run;"
        " lift the brake with --no-brake.\n"
    )
    assert "Nothing was moved." in done.stdout
    assert snapshot(box) == before
    no = on_terminal("clean", str(box), *TRUST, state=state, answers="n\n")
    assert "is more than 20 %" in no.stdout
    assert "Move them to LinkedIn all the same?" in no.stdout
    assert snapshot(box) == before
    some = on_terminal("clean", str(box), *TRUST, "--max-moves", "20", state=state, answers="y\n")
    assert "Move 20 of 21 to LinkedIn?" in some.stdout, "what this run may move is not too much"
    deliver(box, 30, 20)
    assert clean(box, state, "--no-brake").returncode == 0
    assert moved(box) == 41


def test_one_more_message_in_the_folder_and_it_is_no_fifth_too_many(tmp_path: Path, state: Path) -> None:
    box = deliver(tmp_path / "box", 0, 21, friends=84)
    assert clean(box, state).returncode == 0
    assert moved(box) == 21


def test_a_run_that_would_move_far_more_than_usual_is_braked(tmp_path: Path, state: Path) -> None:
    box, number = deliver(tmp_path / "box", 0, 0, friends=120), 0
    for count in (2, 7, 8, 0):
        deliver(box, number, count)
        number += count
        assert clean(box, state).returncode == 0
    deliver(box, number, 22)
    done = clean(box, state)
    assert done.returncode == 78
    assert "22 to move is more than 3 times the usual" in done.stderr
    assert "half of the 3 runs of the last 30 days that moved something moved 7 or fewer" in done.stderr
    assert moved(box) == 17
    yes = on_terminal("clean", str(box), *TRUST, state=state, answers="y\n")
    assert "Move them to LinkedIn all the same?" in yes.stdout
    assert moved(box) == 39


def test_what_was_taken_back_or_is_long_ago_is_not_usual(tmp_path: Path, state: Path) -> None:
    box, number = deliver(tmp_path / "box", 0, 0, friends=200), 0
    for _ in range(3):
        deliver(box, number, 2)
        number += 2
        clean(box, state)
    deliver(box, number, 21)
    assert clean(box, state).returncode == 78
    unpitch("undo", state=state)  # now only two runs moved something that stayed
    assert clean(box, state).returncode == 0
    assert moved(box) == 4 + 21
    with closing(sqlite3.connect(state / "journal.sqlite3", isolation_level=None)) as journal:
        journal.execute("UPDATE run SET started = '2020-01-01T00:00:00.000+00:00' WHERE rowid = 1")
        journal.execute("UPDATE move SET state = 'done' WHERE undoes IS NULL")
    deliver(box, 100, 24)
    assert clean(box, state).returncode == 78, "2, 2 and 21"
    with closing(sqlite3.connect(state / "journal.sqlite3", isolation_level=None)) as journal:
        journal.execute("UPDATE run SET started = '2020-01-01T00:00:00.000+00:00' WHERE rowid = 2")
    assert clean(box, state).returncode == 0


def test_a_folder_that_is_braked_does_not_keep_the_next_from_being_cleaned(
    tmp_path: Path, box: Path, state: Path
) -> None:
    many = deliver(tmp_path / "many", 0, 21)
    done = unpitch("clean", str(many), str(box), *TRUST, "--yes", state=state)
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert str(many) in done.stderr
    assert (moved(many), moved(box)) == (0, 3)


def test_a_run_that_a_limit_stopped_came_to_its_end(box: Path, state: Path) -> None:
    clean(box, state, "--max-moves", "1")
    assert "broken off" not in unpitch("runs", state=state).stdout


# --- the journal


def broken(state: Path) -> bytes:
    """Damage the journal, and give what is in it then."""
    path = state / "journal.sqlite3"
    path.write_bytes(b"x" * 100 + path.read_bytes()[100:])
    return path.read_bytes()


@pytest.fixture
def cleaned(box: Path, state: Path) -> Iterator[Path]:
    """A mailbox of which one mail was moved by an earlier run."""
    clean(box, state, "--max-moves", "1")
    yield box


@pytest.mark.parametrize("words", [["clean", "--yes"], ["undo"], ["undo", "--sender", "north"]])
def test_a_damaged_journal_is_kept_aside_and_nothing_is_moved(words: list[str], cleaned: Path, state: Path) -> None:
    content, before = broken(state), snapshot(cleaned)
    more = [str(cleaned), *TRUST] if words[0] == "clean" else []
    done = unpitch(*words, *more, state=state)
    assert (done.returncode, done.stderr.count("\n")) == (65, 1)
    path = state / "journal.sqlite3"
    (aside,) = state.glob("journal.sqlite3.damaged-*")
    assert re.fullmatch(r"journal\.sqlite3\.damaged-\d{8}T\d{6}Z", aside.name)
    for said in (
        f"The journal {path} is damaged",
        f"kept aside as {aside}",
        "Nothing was moved",
        "The next run begins a new journal",
        "cannot be undone",
    ):
        assert said in done.stderr
    assert aside.read_bytes() == content
    assert not path.exists()
    assert snapshot(cleaned) == before
    assert unpitch("undo", state=state).returncode == 66, "there is nothing to undo by"
    first = on_terminal("clean", str(cleaned), *TRUST, state=state, answers="y\n")
    assert "first run for this account" in first.stdout, "a new journal knows no account"
    assert aside.read_bytes() == content


@pytest.mark.parametrize("words", [["audit"], ["clean", "--dry-run"], ["runs"], ["undo", "--dry-run"]])
def test_who_only_looks_renames_no_damaged_journal(words: list[str], cleaned: Path, state: Path) -> None:
    broken(state)
    before = snapshot(state)
    more = [str(cleaned), *TRUST] if words[0] in ("audit", "clean") else []
    done = unpitch(*words, *more, state=state)
    assert (done.returncode, done.stderr.count("\n")) == (65, 1)
    assert "is damaged" in done.stderr
    assert snapshot(state) == before


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"PRAGMA user_version = {VERSION + 1}", f"newer unpitch (version {VERSION + 1})"),
        ("DROP TABLE kept", "no journal"),
    ],
)
def test_a_newer_or_foreign_journal_is_left_as_it_is(cleaned: Path, state: Path, statement: str, said: str) -> None:
    with closing(sqlite3.connect(state / "journal.sqlite3")) as journal:
        journal.execute(statement)
        journal.commit()
    before, mail = (state / "journal.sqlite3").read_bytes(), snapshot(cleaned)
    for words in (["clean", str(cleaned), *TRUST, "--yes"], ["undo"], ["runs"], ["audit", str(cleaned)]):
        done = unpitch(*words, state=state)
        assert (done.returncode, done.stderr.count("\n")) == (65, 1)
        assert said in done.stderr
    assert (state / "journal.sqlite3").read_bytes() == before
    assert list(state.glob("*damaged*")) == []
    assert snapshot(cleaned) == mail


def test_a_backup_put_back_knows_everything_again(cleaned: Path, state: Path) -> None:
    path = state / "journal.sqlite3"
    backup = path.read_bytes()
    broken(state)
    unpitch("undo", state=state)
    path.write_bytes(backup)
    assert "1 of 1 put back" in unpitch("undo", state=state).stdout
    assert moved(cleaned) == 0
