"""The installed command in a clumsy world: streams that are closed or full, signals, odd names."""

from __future__ import annotations

import imaplib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import mails
import pytest
from hostile import READ_BOMBS, REFUSED_BOMBS, WORKER_BOMBS
from test_cli import COMMAND, TRUST

from filters import demo

ADVERTS = 3


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A Maildir with adverts only."""
    root = tmp_path / "box"
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    for number in range(ADVERTS):
        (root / "cur" / f"{number}.a:2,S").write_bytes(mails.mail(number=number))
    return root


def shell(tmp_path: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell, in which `unpitch` is the command."""
    env = {**os.environ, "UNPITCH_STATE": str(tmp_path / "state"), **environment}
    script = f'unpitch() {{ "{sys.executable}" -m filters "$@"; }}\nset -o pipefail\n{line}'
    return subprocess.run(
        ["bash", "-c", script], env=env, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )


def in_target(box: Path) -> int:
    return sum(path.is_file() for name in ("cur", "new") for path in (box / ".LinkedIn" / name).glob("*"))


@pytest.mark.parametrize("words", [["audit"], ["audit", "--format", "json"], ["clean", "--yes"]])
def test_a_full_disk_under_the_output_is_one_line(words: list[str], box: Path, tmp_path: Path) -> None:
    done = shell(tmp_path, f"unpitch {' '.join(words)} {box} {' '.join(TRUST)} > /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (74, 1)
    assert "no space left" in done.stderr
    assert in_target(box) == 0


@pytest.mark.parametrize("words", [["audit"], ["audit", "--format", "json"], ["clean", "--yes"], ["opt-out"]])
def test_whoever_closes_the_pipe_is_told_nothing(words: list[str], box: Path, tmp_path: Path) -> None:
    place = [str(box), *TRUST] if words != ["opt-out"] else []
    held = "mkfifo held; exec 3<>held"  # somebody who may still type
    done = shell(tmp_path, f"{held}; unpitch {' '.join([*words, *place])} <&3 | (exec 0<&-)")
    assert (done.returncode, done.stderr) == (74, "")


def test_closed_streams_are_no_obstacle(box: Path, tmp_path: Path) -> None:
    done = shell(tmp_path, f"unpitch clean {box} {' '.join(TRUST)} --yes <&- >&- 2>&-")
    assert done.returncode == 0
    assert in_target(box) == ADVERTS


def test_a_closed_stdin_is_no_mail(tmp_path: Path) -> None:
    done = shell(tmp_path, "unpitch explain - <&-")
    assert done.returncode == 65
    assert "no mail" in done.stderr


def test_letters_that_the_terminal_lacks_are_escaped(box: Path, tmp_path: Path) -> None:
    done = shell(tmp_path, f"unpitch audit {box} --trust-authserv {mails.TRUSTED}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "\\u201c" in done.stdout


def test_a_defect_is_one_line_without_a_word_of_the_mail() -> None:
    script = "from filters import cli\ndef app():\n  raise ValueError('Dear Ann, your code is 123456')\ncli.app = app\ncli.main()"
    done = subprocess.run([COMMAND[0], "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 70
    assert done.stderr.startswith("unpitch: A defect in unpitch: ValueError")
    assert "123456" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("folder", ["", " ", "x ", " x", "x\t"])
def test_a_folder_whose_name_nobody_sees_is_not_made(folder: str, box: Path, tmp_path: Path) -> None:
    before = sorted(box.rglob("*"))
    done = shell(tmp_path, f"unpitch clean {box} {' '.join(TRUST)} --yes --to '{folder}'")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--to" in done.stderr
    assert sorted(box.rglob("*")) == before


def test_a_category_that_does_not_exist_has_no_way_out(tmp_path: Path) -> None:
    done = shell(tmp_path, "unpitch opt-out frob")
    assert done.returncode == 2
    assert "no category frob" in done.stderr


def test_an_empty_name_is_not_this_folder(box: Path, tmp_path: Path) -> None:
    done = shell(tmp_path, f"cd {box} && unpitch audit ''")
    assert done.returncode == 66
    assert "no such path" in done.stderr


def test_the_sample_server_starts_with_any_password() -> None:
    pytest.importorskip("pymap")
    with demo._server("-begins_like_an_option") as port, imaplib.IMAP4("127.0.0.1", port) as connection:
        assert connection.login(demo.USER, "-begins_like_an_option")[0] == "OK"


def test_of_a_run_that_was_stopped_undo_counts_what_had_been_moved(box: Path, tmp_path: Path) -> None:
    assert shell(tmp_path, f"unpitch clean {box} {' '.join(TRUST)} --yes").returncode == 0
    with sqlite3.connect(tmp_path / "state" / "journal.sqlite3") as journal:  # one was not moved when the run ended
        journal.execute("UPDATE move SET state = 'sent', dst_uid = NULL WHERE src_uid = '0.a'")
    (box / ".LinkedIn" / "cur" / "0.a:2,S").rename(box / "cur" / "0.a:2,S")
    done = shell(tmp_path, "unpitch undo")
    assert done.returncode == 0, done.stderr
    assert f"{ADVERTS - 1} of {ADVERTS - 1} put back" in done.stdout


def test_a_look_needs_no_leave_to_write_the_journal(box: Path, tmp_path: Path) -> None:
    shell(tmp_path, f"unpitch clean {box} {' '.join(TRUST)} --yes && unpitch undo")
    state = tmp_path / "state"
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    (state / "journal.sqlite3").chmod(0o400)
    state.chmod(0o500)
    for words in ("audit", "clean --dry-run"):
        done = shell(tmp_path, f"unpitch {words} {box} {' '.join(TRUST)}")
        assert done.returncode == 0, done.stderr
    state.chmod(0o700)
    assert (state / "journal.sqlite3").stat().st_mode & 0o777 == 0o400
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everywhere")
@pytest.mark.parametrize("words", ["audit", "undo"])
def test_a_state_folder_that_is_shut_is_said_so(words: str, box: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0)
    done = shell(tmp_path, f"unpitch {words} {box if words == 'audit' else ''}")
    (tmp_path / "state").chmod(0o700)
    assert done.returncode == 66
    assert "cannot be read" in done.stderr


def test_too_few_files_for_a_worker_is_one_line(box: Path, tmp_path: Path) -> None:
    done = shell(tmp_path, f"ulimit -n 9; unpitch audit {box}")
    assert (done.returncode, done.stderr.count("\n")) == (70, 1)
    assert "worker process cannot be started: too many open files" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
@pytest.mark.parametrize("folder", ["cur", ".LinkedIn/cur"])
def test_a_maildir_that_may_not_be_written_is_said_so_once(folder: str, box: Path, tmp_path: Path) -> None:
    for name in ("cur", "new", "tmp"):
        (box / ".LinkedIn" / name).mkdir(parents=True)
    (box / folder).chmod(0o500)
    done = shell(tmp_path, f"unpitch clean {box} {' '.join(TRUST)} --yes")
    (box / folder).chmod(0o700)
    assert (done.returncode, done.stderr.count("\n")) == (74, 1)
    assert f"{folder} cannot be written" in done.stderr
    assert in_target(box) == 0


def test_where_nothing_could_be_moved_there_is_nothing_to_take_back(box: Path, tmp_path: Path) -> None:
    (box / ".LinkedIn" / "tmp").mkdir(parents=True)
    for name in ("cur", "new"):
        (box / ".LinkedIn" / name).mkdir()
    for path in (box / "cur").iterdir():  # a folder in the way of each
        (box / ".LinkedIn" / "cur" / path.name / "x").mkdir(parents=True)
    done = shell(tmp_path, f"unpitch clean {box} {' '.join(TRUST)} --yes")
    assert "0 moved to LinkedIn.\n" in done.stdout
    assert len(list((box / "cur").iterdir())) == ADVERTS


#: A header by which a mail claims to be the sender's, so that a run must read the whole of it.
CLAIM = b"X-LinkedIn-Class: INMAIL\r\n"
#: A mailbox cuts what is longer than a mebibyte, so that its beginning is judged.
LONG = "a megabyte and a byte"
#: Bombs that are read, or refused by a cap; and one that only the limit on processor time ends.
BOMBS = {**REFUSED_BOMBS, **READ_BOMBS, **WORKER_BOMBS}


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Maildir with every bomb there is, each between two adverts."""
    root = tmp_path_factory.mktemp("mined") / "box"
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    for number, bomb in enumerate(BOMBS.values()):
        (root / "cur" / f"{number:03}.advert:2,S").write_bytes(mails.mail(number=number))
        (root / "cur" / f"{number:03}.bomb:2,S").write_bytes(CLAIM + bomb())
    (root / "cur" / "999.advert:2,S").write_bytes(mails.mail(number=999))
    return root


def test_t8_m7_an_audit_passes_every_bomb_by_and_names_those_it_did_not_read(mined: Path, tmp_path: Path) -> None:
    done = shell(tmp_path, f"unpitch audit {mined} {' '.join(TRUST)} --format json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["summary"]["messages"] == 2 * len(BOMBS) + 1
    adverts = {one["key"] for one in data["findings"] if one["promotional"] and one["action"] == "move"}
    assert adverts == {f"{number:03}.advert" for number in (*range(len(BOMBS)), 999)}
    unread = {one["key"]: one["reason"] for one in data["summary"]["unreadable"]}
    bombs = {name: f"{number:03}.bomb" for number, name in enumerate(BOMBS)}
    refused = [name for name in REFUSED_BOMBS if name != LONG]
    assert set(unread) == {bombs[name] for name in (*refused, *WORKER_BOMBS)}
    for name in refused:
        assert "kept unread" in unread[bombs[name]] or "header block over" in unread[bombs[name]]
    for name in WORKER_BOMBS:  # a limit, and no clock
        assert unread[bombs[name]] == "used more than 2 s of processor time"
    assert {one["key"] for one in data["findings"]} == adverts | {bombs[name] for name in (*READ_BOMBS, LONG)}


def test_t8_m7_a_run_moves_the_adverts_between_the_bombs_and_leaves_every_bomb(mined: Path, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_size for path in (mined / "cur").glob("*.bomb*")}
    done = shell(tmp_path, f"unpitch clean {mined} {' '.join(TRUST)} --yes --no-brake")
    assert done.returncode == 0, done.stderr
    assert in_target(mined) == len(BOMBS) + 1
    assert {path.name: path.stat().st_size for path in (mined / "cur").iterdir()} == before
    for number, name in enumerate(BOMBS):
        if name not in READ_BOMBS and name != LONG:
            assert f"{number:03}.bomb" in done.stdout + done.stderr
