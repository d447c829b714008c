"""The installed command on real mailboxes: what a person types, sees, and finds afterwards."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import mails
import pytest
import template
from processes import await_children
from template import COMMAND

ROOT = Path(__file__).parent.parent
TRUST = ["--trust-authserv", mails.TRUSTED]


def unpitch(
    *words: str, state: Path, stdin: bytes = b"", seconds: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    here = {"UNPITCH_STATE": str(state), "UNPITCH_CONFIG": str(state / "config.toml"), "COLUMNS": "80"}
    env = {**os.environ, **here, **environment}
    return template.run(words, env, stdin=stdin, seconds=seconds)


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """Two adverts (one flagged), a job alert, a security code, a friend's mail, a forgery, and one that is no mail."""
    root = tmp_path / "Maildir"
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    content = {
        "1.a:2,S": mails.mail(number=1),
        "2.b:2,FS": mails.mail(number=2),
        "3.c:2,S": mails.job_alert(3),
        "4.d:2,S": mails.security(4),
        "5.e:2,RS": mails.friend(5),
        "6.f:2,": mails.forged(6),
        "8.h:2,S": b"X-LinkedIn-Class: INMAIL\r\nX-Junk: " + b"a" * 70_000 + b"\r\n\r\nhello",
    }
    for name, raw in content.items():
        (root / "cur" / name).write_bytes(raw)
    (root / "new" / "7.g").write_bytes(mails.mail(number=7))
    return root


def snapshot(root: Path) -> dict[str, tuple[bytes, float]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def audit(source: Path | str, state: Path, *words: str, stdin: bytes = b"") -> dict[str, Any]:
    done = unpitch("audit", str(source), *TRUST, "--format", "json", *words, state=state, stdin=stdin)
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(data, json.loads((ROOT / "filters" / "audit.schema.json").read_text()))
    return data


def test_audit_tells_what_is_promotional_and_changes_nothing(maildir: Path, tmp_path: Path) -> None:
    before = snapshot(maildir)
    data = audit(maildir, tmp_path / "state")
    assert snapshot(maildir) == before
    assert not (tmp_path / "state").exists()
    verdicts = {finding["key"].split(".")[0]: (finding["category"], finding["action"]) for finding in data["findings"]}
    assert verdicts["1"] == ("partner_inmail", "move")
    assert verdicts["2"] == ("partner_inmail", "keep")
    assert verdicts["3"] == ("job_alert", "keep")
    assert verdicts["4"] == ("security", "keep")
    assert verdicts["6"][1] == "keep"
    assert verdicts["7"] == ("partner_inmail", "move")
    assert "5" not in verdicts
    assert data["summary"]["messages"] == 8
    assert [one["key"] for one in data["summary"]["unreadable"]] == ["8.h"]
    assert {route["category"] for route in data["opt_out"]} >= {"partner_inmail"}


def test_clean_moves_undo_puts_back_and_the_next_clean_leaves_it(maildir: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    before = snapshot(maildir)
    done = unpitch("clean", str(maildir), *TRUST, "--yes", state=state)
    assert done.returncode == 0, done.stderr
    moved = sorted(
        path.name for path in (maildir / ".LinkedIn").rglob("*") if path.is_file() and path.name != "maildirfolder"
    )
    assert len(moved) == 2
    assert "2 moved to LinkedIn" in done.stdout
    again = unpitch("clean", str(maildir), *TRUST, "--yes", state=state)
    assert "Nothing to move" in again.stdout
    back = unpitch("undo", "--last", state=state)
    assert back.returncode == 0, back.stderr
    after = {name: content for name, content in snapshot(maildir).items() if "maildirfolder" not in name}
    assert after == before
    kept = unpitch("clean", str(maildir), *TRUST, "--yes", state=state)
    assert "Nothing to move" in kept.stdout
    assert "you took it back once" in json.dumps(audit(maildir, state))


def test_a_dry_run_changes_nothing_and_says_what_it_would_do(maildir: Path, tmp_path: Path) -> None:
    before = snapshot(maildir)
    done = unpitch("clean", str(maildir), *TRUST, "--dry-run", state=tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert "2 would be moved" in done.stdout
    assert snapshot(maildir) == before
    assert not (tmp_path / "state").exists()


def test_without_a_terminal_clean_wants_to_be_told(maildir: Path, tmp_path: Path) -> None:
    before = snapshot(maildir)
    done = unpitch("clean", str(maildir), *TRUST, state=tmp_path / "state")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert snapshot(maildir) == before


def test_nothing_is_moved_without_somebodys_word_that_it_is_genuine(maildir: Path, tmp_path: Path) -> None:
    data = json.loads(unpitch("audit", str(maildir), "--format", "json", state=tmp_path / "s").stdout)
    assert data["summary"]["to_move"] == 0
    assert data["summary"]["authserv_ids"][0]["id"] == mails.TRUSTED
    text = unpitch("audit", str(maildir), state=tmp_path / "s").stdout
    assert f"--trust-authserv {mails.TRUSTED}:above" in text
    accepted = unpitch("clean", str(maildir), "--unverified", "move", "--dry-run", state=tmp_path / "s").stdout
    assert "3 would be moved" in accepted or "2 would be moved" in accepted


def test_a_category_can_be_chosen(maildir: Path, tmp_path: Path) -> None:
    data = audit(maildir, tmp_path / "s", "--move", "job_alert")
    assert [one["category"] for one in data["findings"] if one["action"] == "move"] == ["job_alert"]


def test_one_mail_from_stdin_is_explained(tmp_path: Path) -> None:
    done = unpitch("explain", "-", *TRUST, state=tmp_path / "s", stdin=mails.mail())
    assert done.returncode == 0, done.stderr
    assert "partner_inmail" in done.stdout
    assert "promotional message from a marketing" in done.stdout
    assert "verified" in done.stdout


def test_a_folder_of_eml_names_mails_by_their_path(tmp_path: Path) -> None:
    folder = tmp_path / "mail" / "old"
    folder.mkdir(parents=True)
    (folder / "one.eml").write_bytes(mails.mail())
    assert audit(tmp_path / "mail", tmp_path / "s")["findings"][0]["key"] == "old/one.eml"


def test_t3_m5_what_a_mail_says_cannot_touch_the_terminal(tmp_path: Path) -> None:
    hostile = mails.mail(subject="x", extra=()).replace(
        b"Subject: x", b"Subject: =?utf-8?q?=1B]0;owned=07_=E2=80=AE?= https://a.example/?otpToken=AQxSECRETx99"
    )
    (tmp_path / "one.eml").write_bytes(hostile)
    for words in (["explain"], ["audit"], ["audit", "--format", "json"]):
        out = unpitch(words[0], str(tmp_path / "one.eml"), *words[1:], state=tmp_path / "s").stdout
        assert "\x1b" not in out.replace("\x1b[", "")
        assert "\u202e" not in out
        assert "SECRET" not in out


BAD = {
    "a path that is not there": (["audit", "/nonexistent/mail"], 66, "/nonexistent/mail"),
    "an unknown category": (["audit", ".", "--move", "spam"], 2, "spam"),
    "a category that is never moved": (["audit", ".", "--move", "security"], 2, "never"),
    "an unknown format": (["audit", ".", "--format", "xml"], 2, "xml"),
    "a password in the URL": (["audit", "imaps://ann:hunter2@imap.example.org/INBOX"], 2, "password"),
    "plain IMAP to elsewhere": (["audit", "imap://ann@imap.example.org/INBOX"], 2, "imaps"),
    "an unknown host": (["audit", "imaps://ann@imap.example.invalid/INBOX"], 68, "imap.example.invalid"),
    "an unknown run": (["undo", "--run", "20200101-1"], 66, "20200101-1"),
    "an unknown region": (["opt-out", "--region", "mars"], 2, "mars"),
    "an unknown command": (["frobnicate"], 2, "frobnicate"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_clear_line_and_the_documented_exit_code(case: str, tmp_path: Path) -> None:
    words, code, mentioned = BAD[case]
    done = unpitch(*words, state=tmp_path / "s", UNPITCH_PASSWORD="hunter2")
    assert done.returncode == code, done.stderr
    assert mentioned in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_mail(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    done = unpitch("audit", str(tmp_path / "picture.png"), state=tmp_path / "s")
    assert done.returncode == 65
    assert "picture.png" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_f7_no_mail_moves_when_the_journal_cannot_be_written(maildir: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(stat.S_IRUSR | stat.S_IXUSR)
    _nothing_moves(maildir, state)


def test_f7_no_mail_moves_when_the_state_folder_cannot_be_made(maildir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    _nothing_moves(maildir, tmp_path / "file" / "state")


def _nothing_moves(maildir: Path, state: Path) -> None:
    before = snapshot(maildir)
    done = unpitch("clean", str(maildir), *TRUST, "--yes", state=state)
    assert done.returncode == 74, done.stderr
    assert snapshot(maildir) == before


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number}.eml").write_bytes(mails.mail(number=number))
    env = {**os.environ, "UNPITCH_STATE": str(tmp_path / "s")}
    process = subprocess.Popen(
        [*COMMAND, "audit", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        start_new_session=True,
    )
    await_children(process)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"--last" not in err, "it moved nothing, so that this would take back the run before"
    assert b"Nothing was changed" in err
    assert b"Traceback" not in err


def test_ctrl_c_before_the_command_is_read_ends_it_without_a_word() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "filters", "audit", "nowhere"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    while b"click" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert b"Traceback" not in err


def test_t14_opt_out_prints_only_addresses_of_our_data(tmp_path: Path) -> None:
    from filters import senders

    done = unpitch("opt-out", state=tmp_path / "s", COLUMNS="200")
    assert done.returncode == 0
    assert "https://www.linkedin.com/mypreferences/d/categories/" in done.stdout
    known = {route.url for route in senders.load().all_opt_outs} | {one.url for one in senders.load().advice}
    known |= {route.shortcut for route in senders.load().all_opt_outs}
    for word in done.stdout.split():
        if word.startswith("https://"):
            assert word in known


def test_the_output_is_plain_when_piped(maildir: Path, tmp_path: Path) -> None:
    assert "\x1b" not in unpitch("audit", str(maildir), *TRUST, state=tmp_path / "s").stdout


def test_the_demo_does_everything_and_leaves_nothing(tmp_path: Path) -> None:
    done = unpitch("demo", state=tmp_path / "s")
    assert done.returncode == 0, done.stderr
    assert "back in the inbox" in done.stdout
    assert not (tmp_path / "s").exists()


def test_a_shell_is_told_the_commands(tmp_path: Path) -> None:
    environment = {"_UNPITCH_COMPLETE": "complete_bash", "COMP_WORDS": "unpitch cl", "COMP_CWORD": "1"}
    done = subprocess.run(
        [Path(sys.executable).with_name("unpitch")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stdout.split()) == (0, ["clean"])
