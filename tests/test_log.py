"""--log-format json: each line of stderr is an object of a documented kind, one run id goes through all of them, and nobody is named."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import log_rules
import mails
import pytest
from dovecot import PASSWORD, Dovecot
from test_cli import TRUST, unpitch
from test_fleet import box, write
from test_watch import configured, moved, watching

from filters import monitoring
from filters.cli.options import begin
from filters.errors import UsageError
from filters.journal import open_journal
from filters.log import EVENTS, Log, of, without_addresses
from filters.monitoring import Done
from filters.serve import records

ROOT = Path(__file__).parent.parent
JSON = ["--log-format", "json"]


def test_the_readme_has_every_event_with_its_fields_and_every_metric() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", readme, re.MULTILINE)
    assert {name: (level, tuple(re.findall(r"`(\w+)`", fields)), about) for name, level, fields, about in rows} == {
        name: (event.level, event.fields, event.about) for name, event in EVENTS.items()
    }
    of_runs = [f"unpitch_{name}" for name in ("run_info", *(row[0] for row in monitoring.METRICS))]
    of_lmtp = [
        f"unpitch_lmtp_{name}{f'{{{label}}}' if label else ''}"
        for name, label in (("run_info", "run"), *((row[0], row[3]) for row in records.METRICS))
    ]
    printed = set(re.findall(r"`(unpitch_[a-z_]+(?:\{\w+\})?)`", readme))
    assert printed == {*of_runs, *of_lmtp} - {"unpitch_run_info"} | {"unpitch_run_info{run}"}


def test_clean_of_all_accounts(tmp_path: Path) -> None:
    """Two accounts and one that is not there; log, statistics and metrics are of one run."""
    state = configured(tmp_path / "state", one=str(box(tmp_path / "one", 2)), gone=str(tmp_path / "gone"))
    metrics = tmp_path / "m.prom"
    words = ["--all", "--yes", "--quiet", "--stats", "--metrics", str(metrics), *JSON]
    done = unpitch("clean", *words, state=state)
    found = log_rules.lines(done.stderr)
    assert [(one["event"], one.get("account"), one["level"]) for one in found] == [
        ("begun", None, "info"),
        ("account", "one", "info"),
        ("account", "gone", "error"),
        ("ended", None, "info"),
    ]
    assert (found[1]["moved"], found[1]["messages"], found[1]["exit_code"]) == (2, 3, 0)
    with open_journal(state / "journal.sqlite3") as journal:
        assert [found[1]["journal_run"]] == [run.id for run in journal.runs()]
    assert (found[2]["exit_code"], found[3]["exit_code"], done.returncode) == (66, 66, 66)
    stats = json.loads(done.stdout.splitlines()[-1])
    assert stats["run"] == found[0]["run"] and f'unpitch_run_info{{run="{stats["run"]}"}} 1' in metrics.read_text()
    log_rules.names_nobody(done.stderr + metrics.read_text() + json.dumps(stats), log_rules.all_mail(tmp_path / "one"))


def test_an_account_without_a_name_is_a_number_unless_addresses_are_asked_for(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    sent = [mails.mail(number=1), mails.job_alert(2), mails.friend(3)]
    for raw in sent:
        dovecot.deliver(user, raw)
    where = dovecot.url(user, plain=True)
    metrics = tmp_path / "m.prom"
    words = [where, "--yes", "--stats", "--metrics", str(metrics), *TRUST, *JSON]
    done = unpitch("clean", *words, state=tmp_path, UNPITCH_PASSWORD=PASSWORD)
    found = log_rules.lines(done.stderr)
    assert [one["event"] for one in found] == ["begun", "warning", "account", "ended"]
    assert (found[2]["account"], found[2]["moved"]) == (1, 1)
    text = done.stderr + metrics.read_text() + done.stdout.splitlines()[-1]
    log_rules.names_nobody(text, sent)
    one = Done(where, error=f"{where}: no", number=1)
    assert one.named(Log(addresses=True)) == where and where in one.fields(Log(addresses=True))["error"]
    assert (one.named(Log()), one.fields(Log())["error"]) == (1, "[address] no")


def test_workers_of_a_fleet_write_lines_of_the_same_run(tmp_path: Path) -> None:
    places = {f"a{number}": str(box(tmp_path / f"a{number}")) for number in range(2)}
    path = write(tmp_path / "accounts.toml", places)
    done = unpitch("clean", "--accounts", str(path), "--yes", "--jobs", "2", *JSON, state=tmp_path / "state")
    found = log_rules.lines(done.stderr)
    for name in ("task_begun", "task_done", "account"):
        assert sorted(one["account"] for one in found if one["event"] == name) == ["a0", "a1"]
    assert len({one["pid"] for one in found if "pid" in one} - {os.getpid()}) == 2
    log_rules.names_nobody(done.stderr, log_rules.all_mail(tmp_path))


def test_workers_of_an_audit_write_lines_of_the_same_run(tmp_path: Path) -> None:
    places = [str(box(tmp_path / "one")), str(tmp_path / "gone")]
    done = unpitch("audit", *places, "--jobs", "2", *JSON, state=tmp_path)
    found = log_rules.lines(done.stderr)
    for name in ("account", "task_done"):
        ends = sorted((one["account"], one["exit_code"]) for one in found if one["event"] == name)
        assert ends == [(1, 0), (2, 66)]
    log_rules.names_nobody(done.stderr, log_rules.all_mail(tmp_path))


def test_watch_writes_lines_statistics_and_metrics(dovecot: Dovecot, tmp_path: Path) -> None:
    """Of two accounts: one run id in all processes, a file of metrics for each, and the totals of all runs since it began."""
    users = {name: dovecot.new_user() for name in ("home", "work")}
    state = configured(tmp_path / "state", **{name: dovecot.url(user, plain=True) for name, user in users.items()})
    metrics = tmp_path / "m.prom"
    sent = [mails.mail(number=number) for number in range(3)]
    dovecot.deliver(users["home"], sent[0])
    words = ["--all", "--yes", "--quiet", "--stats", "--metrics", str(metrics), *JSON]
    with watching(state, *words) as watch:
        watch.says('"event": "watching"', 2)
        for raw in sent[1:]:
            dovecot.deliver(users["home"], raw)
        watch.until(lambda: moved(dovecot, users["home"]) == 3)
        watch.until(lambda: 'unpitch_moved{account="home",folder="INBOX"} 3' in (tmp_path / "m-home.prom").read_text())
        assert watch.end() == 0
    said = watch.said.splitlines()
    stats = [json.loads(line) for line in said if line.startswith('{"schema"')]
    found = log_rules.lines("\n".join(line for line in said if not line.startswith('{"schema"')))
    assert {one["run"] for one in stats} == {found[0]["run"]}
    assert f'run="{found[0]["run"]}"' in (tmp_path / "m-work.prom").read_text()
    last = {one["accounts"][0]["account"]: one for one in stats}
    assert (last["home"]["moved"], last["work"]["moved"], last["home"]["exit_code"]) == (3, 0, 0)
    assert sum(one.get("moved", 0) for one in found) == 3
    log_rules.names_nobody(watch.said + (tmp_path / "m-home.prom").read_text(), sent)


def test_only_text_and_json_are_formats() -> None:
    with pytest.raises(UsageError, match=r"--log-format is text or json, not xml\."):
        begin("clean", "xml", False)


def test_words_with_an_address_are_left_out() -> None:
    text = "login of imaps://ann%40x@host refused (<ann@example.org>, a@b\nc) again"
    assert without_addresses(text) == "login of [address] refused [address] [address] again"


def test_a_thread_of_a_worker_writes_lines_of_the_run_that_it_works_for(capfd: pytest.CaptureFixture[str]) -> None:
    mine = Log("mine", as_json=True)
    with of({"run": "theirs", "as_json": True, "addresses": False}, "a1") as theirs:
        theirs.event("warning", why="x")
        mine.event("warning", why="y")
    first, second = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert (first["run"], first["account"], second["run"], "account" in second) == ("theirs", "a1", "mine", False)
