"""The configuration: what it may say, how mistakes are told, and that what it says holds."""

from __future__ import annotations

import os
import re
from pathlib import Path

import mails
import pytest
from test_cli import unpitch

from filters.config import Config, ConfigError, load
from filters.errors import UsageError
from filters.preferences import KEYS, USUAL, Preferences

ROOT = Path(__file__).parent.parent
WHOLE = """
[defaults]
unverified = "move"
max_moves = 7

[accounts.home]
location = "imaps://ann@example.org@imap.example.org"
folders = ["INBOX", "Lists/Work"]
to = "Ads/{category}/{year}"
move = ["partner_inmail", "newsletter"]
never = ["Northfield School", "ann@friends.example"]
older_than_days = 3
trust_authserv = ["mx.example.net:below"]
region = "eu"
brake = false
password_command = ["pass", "show", "mail"]

[accounts.work]
location = "~/Maildir"
max_moves = 9
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def mistakes(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    return caught.value.mistakes


def test_accounts_with_what_is_wanted_of_them(tmp_path: Path) -> None:
    found = load(written(tmp_path, WHOLE))
    home, work = found.accounts
    assert home.locations() == [
        "imaps://ann@example.org@imap.example.org:993/INBOX",
        "imaps://ann@example.org@imap.example.org:993/Lists/Work",
    ]
    assert (home.preferences.max_moves, home.preferences.unverified, home.preferences.brake) == (7, "move", False)
    assert home.preferences.never == ("Northfield School", "ann@friends.example")
    assert (work.preferences.max_moves, work.locations()) == (9, [str(Path("~/Maildir").expanduser())])
    assert found.of("imaps://ann@example.org@IMAP.example.org/Elsewhere") == home
    assert found.of(os.path.expanduser("~/Maildir")) == work
    assert found.named("work") == work
    assert found.of("imaps://bo@imap.example.org") is None


def test_no_file_is_a_configuration_without_accounts(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml") == Config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[accounts.a]\nlocation = 'x'\nolder_then_days = 3\n", 3, "did you mean older_than_days"),
        ("[acounts.a]\nlocation = 'x'\n", 1, "did you mean accounts"),
        ("[accounts.a]\nlocation = 'x'\nbrake = 'no'\n", 3, "brake: is true or false"),
        ("[accounts.a]\nlocation = 'x'\nmax_moves = 0\n", 3, "from 1 on"),
        ("[accounts.a]\nlocation = 'x'\nmax_moves = true\n", 3, "from 1 on"),
        ("[accounts.a]\nlocation = 'x'\nmove = [\n  'newsletter',\n  'partner_inmial',\n]\n", 3, "partner_inmail"),
        ("[accounts.a]\nlocation = 'x'\nmove = ['security']\n", 3, "never moved"),
        ("[accounts.a]\nlocation = 'x'\nnever = ['ab']\n", 3, "too short"),
        ("[accounts.a]\nlocation = 'x'\nto = 'Ads/{month}'\n", 3, "category or year"),
        ("[accounts.a]\nlocation = 'x'\ntrust_authserv = ['mx.example.net:top']\n", 3, "above, below or bottom"),
        ("[accounts.a]\nlocation = 'x'\npassword_command = 'pass show mail'\n", 3, "as a list"),
        ("[accounts.a]\nlocation = 'x'\npassword = 'secret'\n", 3, "does not stand in this file"),
        ("[accounts.a]\nlocation = 'x'\nmark_read = true\n", 3, "never marks mail as read"),
        ("[accounts.a]\nlocation = 'x'\nkeyring = true\npassword_file = '/x'\n", 3, "exclude each other"),
        ("[accounts.a]\nto = 'Ads'\n", 1, "where the mailbox is"),
        ("[accounts.a]\nlocation = 'imaps://ann:pw@host'\n", 2, "password does not belong"),
        ("[accounts.'a b']\nlocation = 'x'\n", 1, "letters, digits"),
        ("[accounts.a]\nlocation = 'x'\n[accounts.b]\nlocation = './x'\n", 4, "mailbox of a as well"),
        ("[accounts.a]\nlocation = 'x'\n[accounts.a]\nlocation = 'y'\n", 3, "two accounts with the name a"),
        ("[accounts]\na = 'x'\n", 1, "a table of its own"),
        ("[accounts.a]\nlocation = x\n", 2, "Invalid value"),
        ("defaults = 3\n", 1, "is to be a table"),
        ("[accounts.a]\nlocation = 'x'\nto = '''\nbrake = 3\n'''\nbrake = 3\n", 6, "true or false"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    found = mistakes(tmp_path, text)
    assert [one for one in found if one[0] == line and says in one[1]], found


def test_all_mistakes_are_told_at_once_and_no_secret_with_them(tmp_path: Path) -> None:
    text = "[accounts.a]\nlocation = 'imaps://ann:pw123@host'\nbrak = 1\nmove = 3\n[defaults]\nto = ''\n"
    found = mistakes(tmp_path, text)
    assert [line for line, _ in found] == [2, 3, 4, 6]
    assert "pw123" not in str(found)


def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    path.chmod(0o622)
    with pytest.raises(ConfigError, match="chmod 600"):
        load(path)


def test_what_is_no_text_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="no text"):
        load(path)


def test_a_way_to_the_password_takes_the_place_of_another() -> None:
    account = Preferences(password_command=("pass",), to="Ads")
    asked = Preferences(keyring=True)
    assert asked.over(account) == Preferences(keyring=True, to="Ads")
    assert Preferences(to="X").over(account).password_command == ("pass",)


def test_every_key_has_an_option_and_stands_in_the_readme() -> None:
    from typer.main import get_command

    from filters.cli import app

    commands = [get_command(app).commands[name] for name in ("clean", "watch")]  # type: ignore[attr-defined]
    options = {option for command in commands for parameter in command.params for option in parameter.opts}
    readme = (ROOT / "README.md").read_text()
    for key, about in KEYS.items():
        assert about.option in options, key
        assert re.search(rf"^\| `{key}` \|.*`{about.option}`", readme, re.MULTILINE), key
    assert set(USUAL.given()) <= set(KEYS) == set(Preferences.__dataclass_fields__)


def test_usage_errors_of_options_name_the_option(tmp_path: Path) -> None:
    done = unpitch("clean", "x", "--dry-run", "--to", "Ads/{month}", state=tmp_path)
    assert done.returncode == UsageError.exit_code
    assert "--to" in done.stderr


# --- at work


@pytest.fixture
def box(tmp_path: Path) -> Path:
    box = tmp_path / "box"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
    for number in (1, 2, 3):
        (box / "cur" / f"{number}.a:2,S").write_bytes(mails.mail(number=number))
    (box / "cur" / "4.b:2,S").write_bytes(mails.mail(number=4, sender="Southfield <inmail-hit-reply@linkedin.com>"))
    return box


def test_an_account_s_name_stands_for_its_mailbox_and_its_wishes_hold(box: Path, tmp_path: Path) -> None:
    written(
        tmp_path,
        f'[accounts.home]\nlocation = "{box}"\nto = "Ads.{{year}}"\nnever = ["southfield"]\n'
        f'trust_authserv = ["{mails.TRUSTED}"]\n',
    )
    dry = unpitch("clean", "home", "--dry-run", state=tmp_path)
    assert "3 would be moved to Ads.{year}" in dry.stdout, dry.stderr
    done = unpitch("clean", "home", "--yes", state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((box / ".Ads.2016").rglob("*.a:2,S"))) == 3
    again = unpitch("audit", str(box), "--format", "json", state=tmp_path)
    assert "you said never to move mail of southfield" in again.stdout, "also by its path"


def test_options_take_precedence(box: Path, tmp_path: Path) -> None:
    written(
        tmp_path, f'[accounts.home]\nlocation = "{box}"\ntrust_authserv = ["{mails.TRUSTED}"]\nolder_than_days = 9000\n'
    )
    young = unpitch("clean", "home", "--dry-run", state=tmp_path)
    assert "0 would be moved" in young.stdout, young.stderr
    assert "4 would be moved" in unpitch("clean", "home", "--dry-run", "--older-than-days", "0", state=tmp_path).stdout


def test_config_path_show_and_check(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert unpitch("config", "path", state=tmp_path).stdout.strip() == str(path)
    assert "unpitch init" in unpitch("config", "check", state=tmp_path).stdout
    assert "No accounts" in unpitch("config", "show", state=tmp_path).stdout
    written(tmp_path, WHOLE)
    assert "is right. Accounts: home, work." in unpitch("config", "check", state=tmp_path).stdout
    shown = unpitch("config", "show", state=tmp_path).stdout
    assert "  older_than_days = 3  (line 12)" in shown
    assert "  max_moves = 7  (from [defaults])" in shown
    assert "  keyring" not in shown
    written(tmp_path, "[accounts.a]\nlocation = 'x'\nbrak = true\n")
    wrong = unpitch("config", "check", state=tmp_path)
    assert wrong.returncode == 2
    assert f"{path}:3: there is no key brak; did you mean brake?" in wrong.stdout
    assert "line 3" in unpitch("clean", "a", "--yes", state=tmp_path).stderr
