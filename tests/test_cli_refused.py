"""Folders, servers and disks that will not have it: one clear line, the documented code, and nothing half done."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mails
import pytest
from dovecot import Dovecot
from test_cli import TRUST, snapshot, unpitch
from test_cli_hostile import shell
from test_cli_imap import words

ADVERTS = 3


@pytest.fixture
def box(tmp_path: Path) -> Path:
    root = tmp_path / "box"
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    for number in range(ADVERTS):
        (root / "cur" / f"{number}.a:2,S").write_bytes(mails.mail(number=number))
    return root


def all_mail(server: Dovecot, user: str) -> dict[str, list[bytes]]:
    """What lies in which folder on the server's disk, marks and all."""
    root = server.maildir(user)
    return {
        str(path.relative_to(root)): sorted(one.name.encode() + one.read_bytes() for one in path.iterdir())
        for path in (root / "cur", root / "new", *root.glob(".*/cur"), *root.glob(".*/new"))
    }


# --- target folders that cannot be made


@pytest.mark.parametrize("to", [".", "..", "x" * 300, "in the way"])
def test_a_target_that_cannot_be_made_in_a_maildir(to: str, box: Path, tmp_path: Path) -> None:
    (box / ".in the way").write_text("no folder")
    before = snapshot(box)
    done = unpitch("clean", str(box), *TRUST, "--yes", "--to", to, state=tmp_path / "s")
    assert (done.returncode, done.stderr.count("\n")) == (73, 1)
    assert to[:30] in done.stderr
    assert snapshot(box) == before
    assert "broken off" in unpitch("runs", state=tmp_path / "s").stdout


@pytest.mark.parametrize("to", ["x.y", "a//b", "x" * 300, "Junk", "INBOX", "x\x07y"])
def test_a_target_that_cannot_be_made_on_a_server(to: str, dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    dovecot.deliver(user, mails.mail(), flags="S")
    dovecot.snapshot(user)  # logs in, so that Junk is there
    before = all_mail(dovecot, user)
    done = unpitch("clean", dovecot.url(user), *TRUST, "--yes", "--to", to, *words(dovecot), state=tmp_path / "s")
    assert (done.returncode, done.stderr.count("\n")) == (73, 1)
    assert to.replace("\x07", "\\x07") in done.stderr
    assert "hoose another" in done.stderr
    assert all_mail(dovecot, user) == before


# --- disks and state folders


def test_a_disk_that_is_full_lets_nothing_move(box: Path, tmp_path: Path) -> None:
    before = snapshot(box)
    done = shell(tmp_path, f"ulimit -f 16; unpitch clean {box} {' '.join(TRUST)} --yes")  # 16 KiB for each file
    assert (done.returncode, done.stderr.count("\n")) == (74, 1)
    assert "cannot be written" in done.stderr
    assert snapshot(box) == before


@contextmanager
def read_only(state: Path) -> Iterator[None]:
    """For root, to whom all is open, a read-only disk; for others a folder without leave to write."""
    if os.geteuid():
        modes = {path: path.stat().st_mode for path in (*state.iterdir(), state)}
        for path, mode in modes.items():
            path.chmod(mode & 0o500)
        yield
        for path, mode in modes.items():
            path.chmod(mode)
        return
    command = ["mount", "--bind", "-o", "ro", str(state), str(state)]
    if not shutil.which("mount") or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("here root cannot mount a read-only folder")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)


@pytest.mark.parametrize("there", ["nothing", "a journal"])
def test_a_state_folder_that_is_read_only_lets_nothing_move(box: Path, tmp_path: Path, there: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    if there == "a journal":
        unpitch("clean", str(box), *TRUST, "--yes", "--max-moves", "1", state=state)
    before = snapshot(box), snapshot(state)
    with read_only(state):
        for command in (["clean", str(box), *TRUST, "--yes"], ["undo"]):
            done = unpitch(*command, state=state)
            expected = 66 if command == ["undo"] and there == "nothing" else 74
            assert (done.returncode, done.stderr.count("\n")) == (expected, 1), done.stderr
        for command in (["runs"], ["audit", str(box), *TRUST], ["clean", str(box), *TRUST, "--dry-run"]):
            done = unpitch(*command, state=state)
            assert (done.returncode, done.stderr) == (0, "")
    assert (snapshot(box), snapshot(state)) == before
