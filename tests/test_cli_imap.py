"""The installed command on a real IMAP server: audit, clean, undo, and every way to be refused."""

from __future__ import annotations

import json
from pathlib import Path

import dovecot as throwaway
import mails
import pytest
from dovecot import Dovecot
from test_cli import TRUST, unpitch


@pytest.fixture
def box(dovecot: Dovecot, user: str) -> str:
    """A user's mailbox with two adverts, a job alert, a security code, a forgery and a friend's mail."""
    for raw in (mails.mail(number=1), mails.job_alert(2), mails.security(3), mails.forged(5), mails.friend(6)):
        dovecot.deliver(user, raw, flags="S")
    dovecot.deliver(user, mails.mail(number=7))
    return user


def words(dovecot: Dovecot, *rest: str) -> list[str]:
    return [*rest, "--ca-file", str(dovecot.ca_file), "--password-command", f"printf %s {throwaway.PASSWORD}"]


def messages(maildir: Path) -> list[bytes]:
    return sorted(path.read_bytes() for name in ("cur", "new") for path in (maildir / name).iterdir())


def test_audit_clean_and_undo_over_imap(dovecot: Dovecot, box: str, tmp_path: Path) -> None:
    state, url = tmp_path / "state", dovecot.url(box)
    before = dovecot.snapshot(box)
    looked = unpitch("audit", url, *TRUST, "--format", "json", *words(dovecot), state=state)
    assert looked.returncode == 0, looked.stderr
    data = json.loads(looked.stdout)
    assert (data["summary"]["messages"], data["summary"]["claimed"], data["summary"]["to_move"]) == (6, 5, 2)
    dry = unpitch("clean", url, *TRUST, "--dry-run", *words(dovecot), state=state)
    assert "2 would be moved" in dry.stdout, dry.stderr
    assert dovecot.snapshot(box) == before

    done = unpitch("clean", url, *TRUST, "--yes", *words(dovecot), state=state)
    assert done.returncode == 0, done.stderr
    assert "2 moved to LinkedIn" in done.stdout
    assert len(messages(dovecot.maildir(box, ".LinkedIn"))) == 2

    back = unpitch("undo", "--last", *words(dovecot), state=state)
    assert back.returncode == 0, back.stderr
    assert "2 of 2 put back" in back.stdout
    again = unpitch("clean", url, *TRUST, "--yes", *words(dovecot), state=state)
    assert "Nothing to move" in again.stdout


def test_an_empty_mailbox_is_no_error(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    done = unpitch("clean", dovecot.url(user), "--yes", *words(dovecot), state=tmp_path / "s")
    assert done.returncode == 0, done.stderr
    assert "0 messages looked at" in done.stdout


def test_a_wrong_password_is_said_so_and_not_repeated(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    dovecot.set_password(user, "right")
    done = unpitch(
        "audit",
        dovecot.url(user),
        "--ca-file",
        str(dovecot.ca_file),
        state=tmp_path / "s",
        UNPITCH_PASSWORD="wr0ng-secret",
    )
    assert done.returncode == 77
    assert "wr0ng-secret" not in done.stderr
    assert "UNPITCH_PASSWORD" in done.stderr, "reading a password from the environment is warned about"


def test_a_certificate_that_nobody_vouches_for_is_refused(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    done = unpitch("audit", dovecot.url(user), state=tmp_path / "s", UNPITCH_PASSWORD=throwaway.PASSWORD)
    assert done.returncode == 77
    assert "--ca-file" in done.stderr


def test_a_missing_folder_is_named(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    done = unpitch("audit", dovecot.url(user, "Nowhere"), *words(dovecot), state=tmp_path / "s")
    assert done.returncode == 66
    assert "Nowhere" in done.stderr


def test_no_password_and_no_terminal(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    done = unpitch("audit", dovecot.url(user), "--ca-file", str(dovecot.ca_file), state=tmp_path / "s")
    assert done.returncode == 77
    assert "--password-command" in done.stderr


def test_a_password_command_that_fails(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    rest = ["--ca-file", str(dovecot.ca_file), "--password-command", "false"]
    done = unpitch("audit", dovecot.url(user), *rest, state=tmp_path / "s")
    assert done.returncode == 77
    assert "false" in done.stderr


def test_without_move_and_uidplus_a_run_is_refused_before_anything_happens(tmp_path: Path) -> None:
    if reason := throwaway.missing():
        pytest.skip(reason)
    with Dovecot(capability="IMAP4rev1 NAMESPACE") as server:
        user = server.new_user()
        server.deliver(user, mails.mail(), flags="S")
        before = messages(server.maildir(user))
        done = unpitch("clean", server.url(user), *TRUST, "--yes", *words(server), state=tmp_path / "s")
        assert done.returncode == 69
        assert "neither MOVE" in done.stderr
        assert messages(server.maildir(user)) == before
        assert not server.maildir(user, ".LinkedIn").exists()
        assert unpitch("audit", server.url(user), *TRUST, *words(server), state=tmp_path / "s").returncode == 0


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    done = unpitch("audit", "imap://ann@127.0.0.1:1/INBOX", state=tmp_path / "s", UNPITCH_PASSWORD="x")
    assert done.returncode == 69
    assert "127.0.0.1" in done.stderr
