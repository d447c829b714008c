"""init: an account from a mail address, by questions and without any; and what is known of providers."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mails
import pytest
from dovecot import PASSWORD, Dovecot
from test_cli import unpitch
from test_cli_imap import words
from test_cli_limits import on_terminal

from filters import setup
from filters.config import Account, load
from filters.errors import UsageError
from filters.preferences import Preferences
from filters.presets import preset_for, presets
from filters.sources.location import parse_url


def test_what_is_known_of_providers_is_sorted_and_whole() -> None:
    names = [one.name.casefold() for one in presets()]
    assert names == sorted(names)
    domains = [domain for one in presets() for domain in one.domains]
    assert len(domains) == len(set(domains))
    for one in presets():
        assert list(one.domains) == sorted(one.domains)
        assert (one.user in ("address", "local"), one.auth in ("password", "app password", "oauth")) == (True, True)
        assert one.grade in ("A", "B", "C")
        assert one.seen
        assert one.advice or one.auth == "password"
        assert parse_url(one.location("ann@x.example")).host == one.host


def test_a_preset_by_the_domain() -> None:
    gmail, icloud = preset_for("Ann.O'Neil@GoogleMail.com"), preset_for("ann@me.com")
    assert gmail and icloud
    assert gmail.location("Ann.O'Neil@GoogleMail.com") == "imaps://Ann.O%27Neil@GoogleMail.com@imap.gmail.com"
    assert icloud.location("ann@me.com") == "imaps://ann@imap.mail.me.com"
    assert preset_for("ann@notgmail.com") is None


def test_an_account_s_table_reads_as_what_it_was(tmp_path: Path) -> None:
    wanted = Preferences(
        to='Ads "x"\\',
        move=("newsletter",),
        never=("Žofie & Söhne",),
        max_moves=3,
        brake=False,
        password_command=("pass", "a b"),
        ca_file=Path("/x/ca.pem"),
    )
    account = Account("home", "imaps://ann@example.org@imap.example.org:993", ("INBOX", "Lists/X"), wanted)
    path = tmp_path / "new" / "config.toml"
    setup.add(path, account)
    assert load(path).accounts == (account,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    setup.add(path, Account("box", str(tmp_path), (), Preferences()))
    assert path.read_text().startswith(before), "what stood there stays"
    for twin in (Account("home", "/elsewhere", (), Preferences()), Account("other", account.location, (), wanted)):
        with pytest.raises(UsageError, match="already"):
            setup.add(path, twin)
    assert len(load(path).accounts) == 2
    assert sorted(one.name for one in path.parent.iterdir()) == ["config.toml"]


@pytest.mark.parametrize(
    ("address", "taken", "name"),
    [
        ("ann@x.org", [], "ann"),
        ("ann@x.org", ["ann", "ann-2"], "ann-3"),
        ("ann.o'b@x", [], "ann-o-b"),
        ("@", [], "mail"),
    ],
)
def test_names_for_accounts(address: str, taken: list[str], name: str) -> None:
    assert setup.name_for(address, taken) == name


@pytest.fixture
def box(dovecot: Dovecot, user: str) -> str:
    """Ten old adverts and one of today."""
    for number in range(10):
        dovecot.deliver(user, mails.mail(number=number), flags="S")
    old = (datetime.now(UTC) - timedelta(days=400)).timestamp()
    for path in (dovecot.maildir(user) / "cur").iterdir():
        os.utime(path, (old, old))
    dovecot.deliver(user, mails.mail(number=11), flags="S")
    return user


def test_without_questions_and_the_audit_is_of_the_last_days(dovecot: Dovecot, box: str, tmp_path: Path) -> None:
    before = dovecot.snapshot(box)
    rest = ["--name", "home", "--yes", "--trust-authserv", mails.TRUSTED]
    done = unpitch("init", dovecot.url(box), *rest, *words(dovecot), state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 message looked at" in done.stdout, done.stdout[:400]
    assert "unpitch clean home --dry-run" in done.stdout
    assert dovecot.snapshot(box) == before
    config = tmp_path / "config.toml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "11 would be moved" in unpitch("clean", "home", "--dry-run", state=tmp_path).stdout
    again = unpitch("init", dovecot.url(box), *rest, *words(dovecot), state=tmp_path)
    assert again.returncode == 2
    assert "already" in again.stderr


def test_with_questions_it_asks_who_is_to_be_believed(dovecot: Dovecot, box: str, tmp_path: Path) -> None:
    done = on_terminal("init", dovecot.url(box), *words(dovecot), state=tmp_path, answers="\ny\n")
    assert done.returncode == 0, done.stderr
    assert "Advertising goes to LinkedIn, which the first run that moves makes." in done.stdout
    assert f"carry results of {mails.TRUSTED}" in done.stdout
    (account,) = load(tmp_path / "config.toml").accounts
    assert account.preferences.trust_authserv == (f"{mails.TRUSTED}:above",)
    assert account.preferences.password_command == ("printf", "%s", PASSWORD)


def test_a_wrong_password_writes_nothing(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    rest = ["--yes", "--ca-file", str(dovecot.ca_file), "--password-command", "printf wr0ng"]
    done = unpitch("init", dovecot.url(user), *rest, state=tmp_path)
    assert done.returncode == 77
    assert not (tmp_path / "config.toml").exists()
    assert "wr0ng" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["ann@outlook.com", "--yes", "--oauth-tokens", "tokens"], 2, "--client-id"),
        (["imaps://ann@outlook.office365.com", "--yes", "--oauth-tokens", "tokens"], 2, "--client-id"),
        (["ann@nowhere.example", "--yes"], 2, "--host"),
        (["ann@nowhere.example", "--yes"], 2, "--lookup"),
        (["no address"], 2, "no mail address"),
        ([], 2, "mail address"),
    ],
)
def test_what_is_missing_is_said(args: list[str], code: int, says: str, tmp_path: Path) -> None:
    done = unpitch("init", *args, state=tmp_path)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "config.toml").exists()


def test_a_maildir(tmp_path: Path) -> None:
    box = tmp_path / "box"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
    (box / "cur" / "1.a:2,S").write_bytes(mails.mail(number=1))
    done = unpitch("init", str(box), "--yes", state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "unpitch clean box" in done.stdout


def test_a_password_goes_to_the_keyring_when_asked(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    pytest.importorskip("keyring", reason="the extra keyring is not installed")
    environment = {
        "PYTHON_KEYRING_BACKEND": "plain_keyring.Plain",
        "PLAIN_KEYRING": str(tmp_path / "ring.json"),
        "PYTHONPATH": str(Path(__file__).parent),
        "UNPITCH_PASSWORD": PASSWORD,
    }
    rest = ["--yes", "--keyring", "--name", "home", "--no-audit", "--ca-file", str(dovecot.ca_file)]
    done = unpitch("init", dovecot.url(user), *rest, state=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert (load(tmp_path / "config.toml").accounts[0].preferences.keyring, PASSWORD in done.stdout) == (True, False)
    looked = unpitch("audit", "home", state=tmp_path, **environment | {"UNPITCH_PASSWORD": ""})
    assert looked.returncode == 0, looked.stderr


def test_folders_that_are_there_are_proposed_and_taken(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    for folder in (".Lists", ".Archive.linkedin"):
        dovecot.deliver(user, mails.mail(), folder=folder, flags="S")
    asked = ["init", dovecot.url(user), "--no-audit", *words(dovecot, "--trust-authserv", mails.TRUSTED)]
    answers = "INBOX, Nowhere\nINBOX, lists\nJunk\n\n"
    done = on_terminal(*asked, state=tmp_path, answers=answers)
    assert done.returncode == 0, done.stderr
    assert "There are other folders: Archive/linkedin, Lists" in done.stdout
    assert "There is no folder Nowhere" in done.stdout
    assert "Junk is a special folder" in done.stdout
    assert "Advertising goes to Archive/linkedin, which is there." in done.stdout
    (account,) = load(tmp_path / "config.toml").accounts
    assert (account.folders, account.preferences.to) == (("INBOX", "Lists"), "Archive/linkedin")


def test_folders_by_options_and_the_rest_by_environment(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    dovecot.deliver(user, mails.mail(), folder=".Lists", flags="S")
    rest = ["--yes", "--no-audit", "--folder", "Lists", "--to", "Ads/{year}", *words(dovecot)]
    environment = {
        "UNPITCH_ADDRESS": "ann@example.org",
        "UNPITCH_HOST": f"localhost:{dovecot.port}",
        "UNPITCH_USER": user,
    }
    done = unpitch("init", *rest, state=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    (account,) = load(tmp_path / "config.toml").accounts
    assert account.locations() == [f"imaps://{user}@localhost:{dovecot.port}/Lists"]
    assert account.preferences.to == "Ads/{year}"
    wrong = unpitch("init", *rest, "--folder", "Junk", "--name", "x", state=tmp_path, **environment)
    assert (wrong.returncode, "no folder Junk" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("folders", "prefix", "delimiter", "found"),
    [
        (["INBOX"], "", "/", "LinkedIn"),
        (["INBOX.LinkedIn", "INBOX"], "INBOX.", ".", "LinkedIn"),
        (["Old/linkedin", "LINKEDIN"], "", "/", "LINKEDIN"),
        (["Not LinkedIn"], "", "", "LinkedIn"),
    ],
)
def test_a_folder_of_the_usual_name_is_used_again(folders: list[str], prefix: str, delimiter: str, found: str) -> None:
    assert setup.target(folders, prefix, delimiter, "LinkedIn") == found
