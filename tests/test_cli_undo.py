"""The installed command looks back: runs tells what was done, undo takes back what a person names and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import mails
import pytest
from test_cli import ROOT, TRUST, snapshot, unpitch
from test_journal import _VERSION_1

SCHOOL, SHOP = "Northfield School <inmail-hit-reply@linkedin.com>", "Ärmelkanal Bücher <inmail-hit-reply@linkedin.com>"


def maildir(root: Path, *numbers: int) -> Path:
    """Adverts: those with even numbers from the school, the others from the shop."""
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    for number in numbers:
        sender = SHOP if number % 2 else SCHOOL
        (root / "cur" / f"{number}.a:2,S").write_bytes(mails.mail(number=number, sender=sender))
    return root


def message_id(number: int) -> str:
    return f"{number}.1462269600000@lva1-app1.prod.linkedin.com"


def inbox(root: Path) -> list[int]:
    """Numbers of the mails that lie in the inbox."""
    return sorted(int(path.name.partition(".")[0]) for name in ("cur", "new") for path in (root / name).iterdir())


@pytest.fixture
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    room: Path = request.getfixturevalue("cleaned") if "boxes" in request.fixturenames else tmp_path
    return room / "state"


def clean(box: Path, state: Path) -> None:
    done = unpitch("clean", str(box), *TRUST, "--yes", state=state)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two accounts and their journal, and beside it the same once more, to be put back for each test."""
    room = tmp_path_factory.mktemp("cleaned") / "now"
    one, two, state = maildir(room / "one", 2, 3, 4), maildir(room / "two", 12, 13), room / "state"
    clean(one, state)
    clean(two, state)
    (one / "cur" / "5.a:2,S").write_bytes(mails.mail(number=5, sender=SHOP))
    clean(one, state)
    shutil.copytree(room, room.with_name("before"))
    return room


@pytest.fixture
def boxes(cleaned: Path) -> tuple[Path, Path]:
    """Two accounts, of which the first was cleaned twice: runs 1 and 3."""
    shutil.rmtree(cleaned)
    shutil.copytree(cleaned.with_name("before"), cleaned)
    return cleaned / "one", cleaned / "two"


def change(state: Path, *statements: str) -> None:
    """What a fault would have left in the journal."""
    with closing(sqlite3.connect(state / "journal.sqlite3", isolation_level=None)) as journal:
        for statement in statements:
            journal.execute(statement)


def ids(state: Path) -> list[str]:
    """Ids of all runs, oldest first."""
    with closing(sqlite3.connect(state / "journal.sqlite3")) as journal:
        return [id for (id,) in journal.execute("SELECT id FROM run ORDER BY rowid")]


def runs(state: Path, *words: str) -> list[dict[str, Any]]:
    done = unpitch("runs", *words, "--format", "json", state=state)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    jsonschema.validate(data, json.loads((ROOT / "filters" / "runs.schema.json").read_text()))
    found: list[dict[str, Any]] = data["runs"]
    return found


# --- runs


def test_without_a_journal_there_are_no_runs_and_none_is_made(state: Path) -> None:
    done = unpitch("runs", state=state)
    assert (done.returncode, done.stderr) == (0, "")
    assert "No runs: nothing was moved yet" in done.stdout
    assert runs(state) == []
    assert not state.exists()
    assert unpitch("runs", "20261124-1", state=state).returncode == 66


def test_runs_are_told_newest_first_with_what_became_of_their_mail(boxes: tuple[Path, Path], state: Path) -> None:
    one, two = boxes
    assert unpitch("undo", "--message", message_id(3), state=state).returncode == 0
    found = runs(state)
    assert [run["id"] for run in found] == ids(state)[::-1]
    assert [run["command"] for run in found] == ["undo", "clean", "clean", "clean"]
    assert [run["moved"] for run in found] == [0, 1, 2, 3]
    assert [run["put_back"] for run in found] == [1, 0, 0, 1]
    assert [run["undoable"] for run in found] == [0, 1, 2, 2]
    assert {run["end"] for run in found} == {"done"}
    assert [run["account"] for run in runs(state, "--account", "TWO")] == [str(two)]
    text = unpitch("runs", state=state).stdout
    assert text.index(str(one)) < text.index(str(two))
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_is_told_message_by_message(boxes: tuple[Path, Path], state: Path) -> None:
    first = ids(state)[0]
    unpitch("undo", "--message", message_id(3), state=state)
    change(
        state,
        f"UPDATE move SET state = 'vanished', reason = 'somebody took it' WHERE message_id = '{message_id(4)}'",
    )
    text = unpitch("runs", first, state=state).stdout
    assert "2 moved, 1 put back since, 1 to undo, 1 vanished" in text
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index(f"<{message_id(2)}>") - 2 :][:2] == ["in LinkedIn", SCHOOL]
    assert lines[lines.index(f"<{message_id(3)}>") - 2 :][:2] == ["put back to the inbox", SHOP]
    assert lines[lines.index(f"<{message_id(4)}>") - 2] == "vanished: somebody took it"
    (run,) = runs(state, first)
    assert [(one["state"], one["sender"], one["category"]) for one in run["messages"]] == [
        ("done", SCHOOL, "partner_inmail"),
        ("undone", SHOP, "partner_inmail"),
        ("vanished", SCHOOL, "partner_inmail"),
    ]
    assert "1 vanished; unpitch runs" in unpitch("runs", state=state).stdout


@pytest.mark.parametrize("state_now", ["planned", "sent", "copied", "removing"])
def test_what_is_not_settled_is_called_open(boxes: tuple[Path, Path], state: Path, state_now: str) -> None:
    change(state, f"UPDATE move SET state = '{state_now}' WHERE message_id = '{message_id(2)}'")
    assert "open: " in unpitch("runs", ids(state)[0], state=state).stdout
    assert runs(state)[-1]["open"] == 1


def test_a_run_that_was_killed_is_broken_off_and_one_at_work_is_running(boxes: tuple[Path, Path], state: Path) -> None:
    one, _ = boxes
    change(state, "UPDATE run SET ended = NULL")
    assert [run["end"] for run in runs(state)] == ["broken off"] * 3
    code = (
        "import os, sys, datetime, pathlib; from filters.journal import open_journal\n"
        "with open_journal(pathlib.Path(sys.argv[1])) as j, j.run(sys.argv[2], 'clean', datetime.datetime.now(datetime.UTC)):\n"
        "  print('ready', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(state / "journal.sqlite3"), str(one)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        assert [run["end"] for run in runs(state)] == ["running", *["broken off"] * 3]
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert [run["end"] for run in runs(state)] == ["broken off"] * 4


def test_what_broke_a_run_off_is_told_without_touching_the_terminal(boxes: tuple[Path, Path], state: Path) -> None:
    change(
        state,
        "UPDATE run SET fault = 'The server said \x1b]0;x\x07 nonsense.'",
        "UPDATE move SET sender = 'A \u202e\x1b[2J'",
    )
    text = unpitch("runs", ids(state)[0], state=state).stdout + unpitch("runs", state=state).stdout
    assert "It was broken off: The server said" in text
    assert "broken off\n" in text
    raw = json.dumps(runs(state, ids(state)[0]), ensure_ascii=False)
    assert not {"\x1b", "\x07", "\u202e"} & set(text + raw)


def test_a_look_changes_nothing_on_the_disk(boxes: tuple[Path, Path], state: Path) -> None:
    first = ids(state)[0]
    before = snapshot(state)
    for words in (["runs"], ["runs", first], ["undo", "--dry-run"], ["undo", "--sender", "north", "--dry-run"]):
        assert unpitch(*words, state=state).returncode == 0
    assert snapshot(state) == before


def test_a_journal_of_version_1_is_read_and_taken_back_from(tmp_path: Path, state: Path) -> None:
    box = maildir(tmp_path / "box", 2)
    clean(box, state)
    with closing(sqlite3.connect(state / "journal.sqlite3")) as journal:
        row = journal.execute("SELECT * FROM move").fetchone()[:-1]
    for path in state.glob("journal*"):
        path.unlink()
    with closing(sqlite3.connect(state / "journal.sqlite3", isolation_level=None)) as journal:
        journal.executescript(_VERSION_1)
        journal.execute("DELETE FROM move")
        journal.execute("UPDATE run SET id = ?, account = ?", (row[1], row[2]))
        journal.execute(f"INSERT INTO move VALUES ({', '.join('?' * len(row))})", row)
    before = snapshot(state)
    assert [run["moved"] for run in runs(state)] == [1]
    assert snapshot(state) == before
    unknown = unpitch("undo", "--sender", "north", state=state)
    assert unknown.returncode == 66
    assert "older unpitch" in unknown.stderr
    assert unpitch("undo", "--message", message_id(2), state=state).returncode == 0
    assert inbox(box) == [2]


# --- undo


def test_one_message_is_put_back_and_nothing_else(boxes: tuple[Path, Path], state: Path) -> None:
    one, two = boxes
    done = unpitch("undo", "--message", f"<{message_id(3)}>", state=state)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 1 put back" in done.stdout
    assert (inbox(one), inbox(two)) == ([3], [])
    again = unpitch("undo", "--message", message_id(3), state=state)
    assert again.returncode == 0
    assert "there is nothing to put back" in again.stdout
    assert (inbox(one), inbox(two)) == ([3], [])


def test_by_sender_over_runs_and_accounts(boxes: tuple[Path, Path], state: Path) -> None:
    one, two = boxes
    done = unpitch("undo", "--sender", "ärmelkanal BÜCHER", state=state)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{one}: 2 of 2 put back" in done.stdout
    assert f"{two}: 1 of 1 put back" in done.stdout
    assert (inbox(one), inbox(two)) == ([3, 5], [13])
    assert [run["command"] for run in runs(state)].count("undo") == 2, "one run for each account"
    clean(one, state)
    assert inbox(one) == [3, 5], "what was taken back stays"


def test_by_date(boxes: tuple[Path, Path], state: Path) -> None:
    one, two = boxes
    first, second, third = ids(state)
    for run, day in ((first, "2026-03-01T12"), (second, "2026-03-02T12"), (third, "2026-03-03T12")):
        change(state, f"UPDATE run SET started = '{day}:00:00.000+00:00' WHERE id = '{run}'")
    nothing = unpitch("undo", "--since", "2026-03-04", state=state, TZ="UTC")
    assert (nothing.returncode, inbox(one), inbox(two)) == (66, [], [])
    unpitch("undo", "--since", "2026-03-02", "--until", "2026-03-02", state=state, TZ="UTC")
    assert (inbox(one), inbox(two)) == ([], [12, 13])
    unpitch("undo", "--sender", "north", "--until", "2026-03-01", state=state, TZ="UTC")
    assert (inbox(one), inbox(two)) == ([2, 4], [12, 13])
    # midday in London is past midnight in Kiritimati
    unpitch("undo", "--since", "2026-03-04", state=state, TZ="Pacific/Kiritimati")
    assert inbox(one) == [2, 4, 5]


@pytest.mark.parametrize(
    "words",
    [
        ["--last", "--message", "x"],
        ["--run", "20261124-1", "--sender", "north"],
        ["--message", "x", "--since", "2026-01-01"],
        ["--sender", "no"],
        ["--sender", " n "],
        ["--since", "yesterday"],
        ["--since", "2026-13-01"],
        ["--until", "9999-12-31"],
        ["--since", "2026-03-02", "--until", "2026-03-01"],
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(words: list[str], state: Path) -> None:
    done = unpitch("undo", *words, state=state)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert not state.exists()


@pytest.mark.parametrize("words", [["--message", "who@example.org"], ["--sender", "nobody"], ["--run", "20200101-1"]])
def test_what_is_not_in_the_journal_is_said_so(words: list[str], boxes: tuple[Path, Path], state: Path) -> None:
    done = unpitch("undo", *words, state=state)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (66, "", 1)
    assert words[1] in done.stderr
    assert len(ids(state)) == 3, "no run was begun"


def test_a_dry_run_names_what_it_would_put_back_and_opens_nothing(boxes: tuple[Path, Path], state: Path) -> None:
    one, two = boxes
    before = snapshot(state), snapshot(one), snapshot(two)
    shown = unpitch("undo", "--sender", "bücher", "--dry-run", state=state)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "3 would be put back" in shown.stdout
    for number in (3, 5, 13):
        assert message_id(number) in shown.stdout
    assert message_id(2) not in shown.stdout
    assert (snapshot(state), snapshot(one), snapshot(two)) == before
    last = unpitch("undo", "--dry-run", state=state).stdout
    assert "1 would be put back" in last
    assert message_id(5) in last


def test_an_account_that_fails_does_not_keep_the_others_from_it(boxes: tuple[Path, Path], state: Path) -> None:
    one, two = boxes
    target = one / ".LinkedIn"
    target.rename(one / "elsewhere")
    target.write_text("no mailbox")
    done = unpitch("undo", "--sender", "linkedin", state=state)
    assert done.returncode == 65, "the code of the first that failed"
    assert str(one) in done.stderr
    assert f"{one}: 0 of 4 put back before it was broken off" in done.stdout
    assert f"{two}: 2 of 2 put back" in done.stdout
    assert inbox(two) == [12, 13]
    target.unlink()
    (one / "elsewhere").rename(target)
    assert unpitch("undo", "--sender", "linkedin", state=state).returncode == 0
    assert inbox(one) == [2, 3, 4, 5]


def test_what_cannot_be_found_is_named(boxes: tuple[Path, Path], state: Path) -> None:
    one, _ = boxes
    next((one / ".LinkedIn").glob("*/3.a*")).unlink()
    done = unpitch("undo", "--run", ids(state)[0], state=state)
    assert done.returncode == 0, done.stderr
    assert "2 of 3 put back" in done.stdout
    assert f"left alone: {message_id(3)}: " in done.stdout
    assert inbox(one) == [2, 4]


def test_a_message_of_two_accounts_is_put_back_in_both(tmp_path: Path, state: Path) -> None:
    one, two = maildir(tmp_path / "one", 2), maildir(tmp_path / "two", 2)
    clean(one, state)
    clean(two, state)
    assert unpitch("undo", "--message", message_id(2), state=state).returncode == 0
    assert (inbox(one), inbox(two)) == ([2], [2])


def test_a_run_that_only_put_back_has_nothing_to_undo(boxes: tuple[Path, Path], state: Path) -> None:
    unpitch("undo", state=state)
    done = unpitch("undo", "--run", ids(state)[-1], state=state)
    assert done.returncode == 0
    assert "there is nothing to put back" in done.stdout
    assert inbox(boxes[0]) == [5]


def test_another_run_of_the_account_is_waited_for_by_nobody(boxes: tuple[Path, Path], state: Path) -> None:
    code = (
        "import sys, datetime, pathlib; from filters.journal import open_journal\n"
        "with open_journal(pathlib.Path(sys.argv[1])) as j, j.run(sys.argv[2], 'clean', datetime.datetime.now(datetime.UTC)):\n"
        "  print('ready', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(state / "journal.sqlite3"), str(boxes[0])]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        done = unpitch("undo", "--sender", "linkedin", state=state)
        assert done.returncode == 75
        assert f"process {process.pid}" in done.stderr
        assert (inbox(boxes[0]), inbox(boxes[1])) == ([], [12, 13])
        assert process.stdin
        process.stdin.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everywhere")
def test_a_state_folder_that_is_shut_is_said_so(state: Path) -> None:
    state.mkdir(mode=0)
    done = unpitch("runs", state=state)
    state.chmod(0o700)
    assert done.returncode == 66
    assert "cannot be read" in done.stderr
