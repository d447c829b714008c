"""Nothing leaves the machine: every process of ours is watched for names that it looks up and for hosts that it speaks to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mails
import pytest
from dovecot import PASSWORD, Dovecot

#: Runs at the start of every Python process below, also of the workers. Sockets within the machine's own files are none.
_WATCH = """
import sys
def watch(event, words):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.bind", "socket.gethostname"):
        named = words[-1] if event in ("socket.connect", "socket.sendto", "socket.sendmsg") else words[:2]
        if not isinstance(named, (str, bytes)):
            with open({seen!r}, "a") as file:
                file.write(f"{event} {named}\\n")
sys.addaudithook(watch)
"""


def watched(tmp_path: Path, *words: str) -> list[str]:
    """What a command asked the network for, and that it worked."""
    seen = tmp_path / "seen"
    (tmp_path / "sitecustomize.py").write_text(_WATCH.replace("{seen!r}", repr(str(seen))))
    seen.write_text("")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "UNPITCH_STATE": str(tmp_path / "state")}
    environment["UNPITCH_PASSWORD"] = PASSWORD
    done = subprocess.run(
        [sys.executable, "-m", "filters", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return sorted(set(seen.read_text().splitlines()))


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    box = tmp_path / "mail"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
    (box / "cur" / "1.M1.host:2,S").write_bytes(mails.mail())
    return box


def test_mail_on_the_disk_is_judged_moved_and_taken_back_without_the_network(maildir: Path, tmp_path: Path) -> None:
    mail = next((maildir / "cur").iterdir())
    assert watched(tmp_path, "audit", str(maildir), "--html", str(tmp_path / "page.html")) == []
    assert watched(tmp_path, "clean", str(maildir), "--yes", "--unverified", "move") == []
    assert watched(tmp_path, "undo") == []
    assert watched(tmp_path, "explain", str(next((maildir / "cur").iterdir(), mail))) == []
    assert watched(tmp_path, "opt-out") == []
    assert watched(tmp_path, "runs") == []


def test_of_the_network_only_the_mail_server_is_asked(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    dovecot.deliver(user, mails.mail(), flags="S")
    words = ("--yes", "--trust-authserv", "mx.example.net:above", "--ca-file", str(dovecot.ca_file))
    seen = watched(tmp_path, "clean", dovecot.url(user), *words)
    assert seen
    assert {line.split(" ", 1)[0] for line in seen} == {"socket.getaddrinfo", "socket.connect"}
    assert all(f"'localhost', {dovecot.port}" in line or f", {dovecot.port}" in line for line in seen), seen
