"""What runs tell programs: one line of JSON, a text file for Prometheus, and nothing else when nothing happened."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import mails
import pytest
from scripted_imap import Answer, ScriptedServer
from test_cli import unpitch

from filters.cli.cleaning import clean
from filters.errors import UsageError, WriteError
from filters.log import Log
from filters.monitoring import Done, as_json, as_metrics, write_metrics

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
DONE = [
    Done("home", "INBOX", "20261124-1", 200, 8, 7, 1, seconds=1.25),
    Done('a"b\\', error="no\x1b[31m", exit_code=77),
]


def test_one_line_of_json() -> None:
    line = as_json(DONE, NOW, 77, Log())
    assert "\n" not in line
    data = json.loads(line)
    assert (data["schema"], data["exit_code"], data["moved"]) == (1, 77, 7)
    assert data["accounts"][1]["error"] == "no\\x1b[31m"


def test_a_text_file_for_prometheus() -> None:
    text = as_metrics(DONE, NOW, Log())
    assert 'unpitch_moved{account="home",folder="INBOX"} 7\n' in text
    assert 'unpitch_exit_code{account="a\\"b\\\\",folder=""} 77\n' in text
    assert 'unpitch_last_run_timestamp_seconds{account="home",folder="INBOX"} 1795485600\n' in text
    sample = re.compile(r'unpitch_\w+\{account="(?:[^"\\]|\\.)*",folder="[^"]*"\} [\d.]+')
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ", "unpitch_run_info{run=")) or sample.fullmatch(line), line


def test_the_file_is_put_in_place_at_once(tmp_path: Path) -> None:
    path = tmp_path / "unpitch.prom"
    write_metrics(path, "a 1\n")
    write_metrics(path, "a 2\n")
    assert path.read_text() == "a 2\n"
    assert [one.name for one in tmp_path.iterdir()] == ["unpitch.prom"]
    with pytest.raises(WriteError, match="cannot be written"):
        write_metrics(tmp_path / "none" / "x", "")


def test_all_accounts_in_turn_one_that_fails_stops_nobody_and_quiet_is_quiet(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for sub in ("cur", "new", "tmp"):
            (tmp_path / name / sub).mkdir(parents=True)
    (tmp_path / "two" / "cur" / "1.a:2,S").write_bytes(mails.mail(number=1))
    config = tmp_path / "config.toml"
    config.write_text(
        f'[defaults]\ntrust_authserv = ["{mails.TRUSTED}"]\n[accounts.gone]\nlocation = "{tmp_path}/gone"\n'
        f'[accounts.one]\nlocation = "{tmp_path}/one"\n[accounts.two]\nlocation = "{tmp_path}/two"\n'
    )
    config.chmod(0o600)
    metrics = tmp_path / "unpitch.prom"
    rest = ["--all", "--yes", "--quiet", "--stats", "--metrics", str(metrics)]
    first = unpitch("clean", *rest, state=tmp_path)
    assert first.returncode == 66
    assert first.stderr.count("unpitch: ") == 1
    assert "1 moved to LinkedIn" in first.stdout
    assert "/one" not in first.stdout.rpartition("\n{")[0], "nothing happened there"
    accounts = json.loads(first.stdout.splitlines()[-1])["accounts"]
    assert [(one["account"], one["moved"], one["exit_code"]) for one in accounts] == [
        ("gone", 0, 66),
        ("one", 0, 0),
        ("two", 1, 0),
    ]
    assert 'unpitch_moved{account="two",folder=""} 1' in metrics.read_text()
    assert unpitch("clean", "one", "two", "--yes", "--quiet", state=tmp_path).stdout == ""


@pytest.mark.parametrize(("sources", "all_accounts"), [(["one"], True), ([], True), ([], False)])
def test_where_to_go_must_be_said(
    sources: list[str], all_accounts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNPITCH_CONFIG", str(tmp_path / "config.toml"))
    with pytest.raises(UsageError):
        clean(sources, all_accounts=all_accounts, yes=True)


def test_a_refused_login_is_tried_once_and_each_folder_has_its_own_line(tmp_path: Path) -> None:
    """Prometheus refuses a file in which two lines have the same labels; providers lock accounts that get wrong passwords."""
    answers: dict[str, Answer] = {"SASL": b"TAG NO [AUTHENTICATIONFAILED] no\r\n"}
    with ScriptedServer(answers) as server:
        (tmp_path / "config.toml").write_text(
            f'[accounts.mine]\nlocation = "imap://ann@127.0.0.1:{server.port}"\nfolders = ["INBOX", "Work"]\n'
            'password_command = ["printf", "x"]\n'
        )
        metrics = tmp_path / "m.prom"
        done = unpitch("clean", "--all", "--yes", "--quiet", "--metrics", str(metrics), state=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (77, 1)
        assert "unpitch: mine: 127.0.0.1 refused the login" in done.stderr
        assert sum(b" AUTHENTICATE " in line for line in server.lines) == 1
        examined = unpitch("doctor", "mine", state=tmp_path)
        assert examined.stdout.count("FAILURE") == 1
        assert sum(b" AUTHENTICATE " in line for line in server.lines) == 2
    names = [line.rpartition(" ")[0] for line in metrics.read_text().splitlines() if not line.startswith("#")]
    assert len(names) == len(set(names))
    assert 'unpitch_exit_code{account="mine",folder="Work"} 77' in metrics.read_text()
