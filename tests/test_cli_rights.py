"""The installed command on servers that keep access rights and quotas: one clear line, and nothing half done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dovecot as throwaway
import mails
import pytest
from dovecot import Dovecot
from test_cli import TRUST, unpitch
from test_cli_imap import words
from test_cli_refused import all_mail

_CONFIG = """
mail_plugins = $mail_plugins acl quota
plugin {
  acl = vfile
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:messages=4
  quota_grace = 0
}
protocol imap {
  mail_plugins = $mail_plugins acl quota imap_quota %s
}
"""
CAPABILITIES = {"with MOVE": "", "without MOVE": f"{throwaway.WITHOUT_MOVE} ACL"}


@pytest.fixture(scope="module", params=CAPABILITIES)
def strict(request: pytest.FixtureRequest) -> Iterator[Dovecot]:
    """A server with access rights, on which nobody may have more than four messages."""
    if reason := throwaway.missing():
        pytest.skip(reason)
    with Dovecot(more=_CONFIG % "imap_acl", capability=CAPABILITIES[request.param]) as server:
        yield server


def give_rights(server: Dovecot, user: str, rights: str, folder: str = "") -> None:
    path = server.maildir(user, folder) / "dovecot-acl"
    path.write_text(f"owner {rights}\n")
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


@pytest.mark.parametrize("rights", ["lr", "lrs", "lrswi", "lrswit", "lrswie"])
def test_a_folder_that_may_not_be_changed_is_named(rights: str, strict: Dovecot, tmp_path: Path) -> None:
    """r: read, s: mark as read, w: other flags, i: add, t: mark as deleted, e: expunge (RFC 4314)."""
    user = strict.new_user()
    strict.deliver(user, mails.mail(), flags="S")
    give_rights(strict, user, rights)
    before = all_mail(strict, user)
    done = unpitch("clean", strict.url(user), *TRUST, "--yes", *words(strict), state=tmp_path / "s")
    assert (done.returncode, done.stderr.count("\n")) == (69, 1), done.stderr
    assert "INBOX is read-only for this login" in done.stderr
    assert all_mail(strict, user) == before
    dry = unpitch("clean", strict.url(user), *TRUST, "--dry-run", *words(strict), state=tmp_path / "s")
    assert dry.returncode == 0, dry.stderr


@pytest.mark.parametrize("rights", ["lr", "lrswte"])
def test_a_target_that_may_not_be_added_to_is_named(rights: str, strict: Dovecot, tmp_path: Path) -> None:
    user = strict.new_user()
    strict.deliver(user, mails.mail(), flags="S")
    strict.deliver(user, mails.friend(), folder=".LinkedIn")
    give_rights(strict, user, rights, ".LinkedIn")
    before = all_mail(strict, user)
    done = unpitch("clean", strict.url(user), *TRUST, "--yes", *words(strict), state=tmp_path / "s")
    assert done.returncode not in (0, 70), done.stderr
    assert done.stderr.count("\n") == 1
    assert all_mail(strict, user) == before
    give_rights(strict, user, "lrswipkxtea", ".LinkedIn")
    again = unpitch("clean", strict.url(user), *TRUST, "--yes", *words(strict), state=tmp_path / "s")
    assert "1 moved to LinkedIn" in again.stdout, again.stderr


def test_a_mailbox_that_is_full_is_said_so_and_nothing_is_deleted(
    strict: Dovecot, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Only a copy needs room."""
    user = strict.new_user()
    for number in range(3):
        strict.deliver(user, mails.mail(number=number), flags="S")
    before = all_mail(strict, user)
    done = unpitch("clean", strict.url(user), *TRUST, "--yes", *words(strict), state=tmp_path / "s")
    if request.node.callspec.params["strict"] == "with MOVE":
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert (done.returncode, done.stderr.count("\n")) == (73, 1), done.stderr
    assert "quota" in done.stderr
    after = all_mail(strict, user)
    assert {folder: mail for folder, mail in after.items() if mail} == {
        folder: mail for folder, mail in before.items() if mail
    }
    dropped = min(strict.maildir(user).joinpath("cur").iterdir())
    dropped.unlink()
    again = unpitch("clean", strict.url(user), *TRUST, "--yes", *words(strict), state=tmp_path / "s")
    assert "2 moved to LinkedIn" in again.stdout, again.stderr


def test_where_nothing_can_be_removed_and_the_server_does_not_say_so(tmp_path: Path) -> None:
    """Without the right to expunge, and without ACL to ask for it, UID EXPUNGE is answered with OK and does nothing."""
    if reason := throwaway.missing():
        pytest.skip(reason)
    with Dovecot(more=_CONFIG % "", capability=throwaway.WITHOUT_MOVE) as server:
        user = server.new_user()
        server.deliver(user, mails.mail(), flags="S")
        give_rights(server, user, "lrswit")
        command = ("clean", server.url(user), *TRUST, "--yes", *words(server))
        done = unpitch(*command, state=tmp_path / "s")
        assert "it is here, and in LinkedIn as well" in done.stdout, done.stderr
        (original,) = (server.maildir(user) / "cur").iterdir()
        assert original.name.endswith(":2,S"), "the mark as deleted is taken off again"
        assert len(list((server.maildir(user, ".LinkedIn") / "cur").iterdir())) == 1
        before = all_mail(server, user)
        unpitch(*command, state=tmp_path / "s")
        assert all_mail(server, user) == before
        assert "1 in doubt" in unpitch("runs", state=tmp_path / "s").stdout
