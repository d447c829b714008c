"""The same figures in every format, and they are the truth."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import mails
import pytest
import template
import years
from findings import finding
from processes import await_children
from template import COMMAND

from filters import senders
from filters.report import Audit, Figures
from filters.report.since import since_opt_out

ROOT = Path(__file__).parent.parent
TRUST = ("--trust-authserv", mails.TRUSTED)


def unpitch(*words: str | Path, state: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "UNPITCH_STATE": str(state), "COLUMNS": "80", "TZ": "UTC", **environment}
    return template.run(words, env, seconds=300)


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, years.Truth]:
    folder = tmp_path_factory.mktemp("box")
    return folder / "mail", years.lay_out(folder / "mail", 14)


def audited(folder: Path, form: str, *words: str) -> str:
    done = unpitch("audit", folder, *TRUST, "--format", form, *words, state=folder.parent / "state")
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_json(folder: Path, *words: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(audited(folder, "json", *words))
    jsonschema.validate(data, json.loads((ROOT / "filters" / "audit.schema.json").read_text()))
    return data


def _table(text: str, title: str, width: int) -> dict[str, list[int]]:
    """Rows of a table of the text below its title."""
    rows = re.findall(r"^(\S.*?)\s{2,}((?:[\d,–]+\s*)+)$", text.partition(title)[2].partition("\n\n")[0], re.MULTILINE)
    return {
        name: [int(one.replace(",", "").replace("–", "0")) for one in numbers.split()][:width] for name, numbers in rows
    }


def test_all_formats_say_the_truth(mailbox: tuple[Path, years.Truth], tmp_path: Path) -> None:
    folder, truth = mailbox
    kinds = Counter[str]()
    for (_, kind), count in truth.kinds.items():
        kinds[kind] += count
    titles = {name: senders.load().categories[name].title for name in kinds}
    expected = {name: (count, truth.promotional if name == "partner_inmail" else 0) for name, count in kinds.items()}

    summary = read_json(folder)["summary"]
    assert summary["messages"] == truth.messages
    assert (summary["promotional"], summary["genuine"], summary["forged"]) == (
        truth.promotional,
        kinds.total(),
        truth.forged,
    )
    assert {one["category"]: (one["mails"], one["promotional"]) for one in summary["kinds"]} == expected
    by_month = {(one["month"], kind): count for one in summary["months"] for kind, count in one["categories"].items()}
    assert by_month == dict(truth.kinds)
    assert {one["name"]: one["promotional"] for one in summary["advertisers"]} == dict(truth.advertisers)
    shares = sum(one["promotional"] for one in summary["hours"]), sum(one["promotional"] for one in summary["weekdays"])
    assert shares == (truth.promotional, truth.promotional)
    gaps = [(two - one).days for one, two in zip(truth.carrying, truth.carrying[1:], strict=False)]
    (promise,) = summary["promises"]
    assert (promise["mails"], promise["intervals"]) == (truth.promotional, len(gaps))
    assert len(promise["sooner"]) == sum(gap < 60 for gap in gaps)

    lines = [json.loads(line) for line in audited(folder, "jsonl").splitlines()]
    rows = list(csv.DictReader(io.StringIO(audited(folder, "csv"))))
    for found in (lines, rows):
        genuine = [one for one in found if one["authenticity"] != "forged"]
        promotional = [one for one in genuine if one["promotional"] in (True, "yes")]
        assert len(found) == kinds.total() + truth.forged
        assert Counter(one["category"] for one in genuine) == kinds
        assert len(promotional) == truth.promotional
        assert Counter((one["date"][:7], one["category"]) for one in genuine) == truth.kinds

    page = tmp_path / "page.html"
    text = audited(folder, "text", "--html", str(page))
    assert f"{truth.messages} messages looked at" in text
    assert f"{truth.promotional} of {kinds.total()} mails" in text
    table = _table(text, "Kind of mail", 2)
    assert {name: tuple(table[titles[name]]) for name in kinds} == expected
    assert table["(looks forged)"][0] == truth.forged
    assert f"{len(promise['sooner'])} of {len(gaps)} intervals shorter than 60 days" in text

    html = page.read_text()
    assert f"{truth.promotional} of {kinds.total()} mails" in html
    for name, (count, advertising) in expected.items():
        assert f'<th scope="row">{titles[name]}</th><td class="n">{count}</td><td class="n">{advertising}</td>' in html
    assert html.count('<tr data-k="') == truth.promotional


def test_anonymous_figures_are_the_same_and_name_nobody(mailbox: tuple[Path, years.Truth]) -> None:
    plain, anonymous = (read_json(mailbox[0], *words) for words in ((), ("--anonymous",)))
    same = ("messages", "promotional", "to_move", "kinds", "months", "hours", "genuine", "forged", "undated")
    assert {name: plain["summary"][name] for name in same} == {name: anonymous["summary"][name] for name in same}
    assert len(plain["summary"]["promises"][0]["sooner"]) == len(anonymous["summary"]["promises"][0]["sooner"])
    text = json.dumps(anonymous, ensure_ascii=False)
    for word in (*years.ADVERTISERS, "Offer", str(mailbox[0]), mails.TRUSTED, "lva1", 'eml"'):
        assert word not in text


def test_t5_no_cell_is_a_formula(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    raw = mails.mail(subject="=HYPERLINK(1)", sender='"+1 Bank" <inmail-hit-reply@linkedin.com>')
    (tmp_path / "mail" / "=1.eml").write_bytes(raw)
    (row,) = csv.DictReader(io.StringIO(audited(tmp_path / "mail", "csv")))
    assert row["subject"] == "'=HYPERLINK(1)"
    assert row["from"].startswith("'+1 Bank")
    assert row["key"] == "'=1.eml"


def test_without_colour_and_unicode_the_text_is_plain(mailbox: tuple[Path, years.Truth], tmp_path: Path) -> None:
    done = unpitch("audit", mailbox[0], *TRUST, state=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C", NO_COLOR="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert re.search(r"^  advertising   [ .:\-=+*#@]+  most: 1$", done.stdout, re.MULTILINE)


def test_ctrl_c_keeps_what_was_seen_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    for number in range(4000):
        (tmp_path / "mail" / f"{number:05}.eml").write_bytes(mails.mail(number=number))
    env = {**os.environ, "UNPITCH_STATE": str(tmp_path / "s"), "COLUMNS": "80"}
    words = ["audit", str(tmp_path / "mail"), "--html", str(tmp_path / "page.html")]
    process = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, start_new_session=True
    )
    await_children(process)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    if b"Stopped after" in err:  # else it had not begun
        assert b"The same command again looks at all" in err
        assert b"messages looked at" in out
        assert "This is a part only." in (tmp_path / "page.html").read_text()


# --- since the opt-out


def test_what_arrives_in_the_waiting_time_is_normal_and_after_it_is_not() -> None:
    days = ("2016-04-20", "2016-05-02", "2016-05-13", "2016-05-16", "2016-05-17", "2016-06-01")
    found = [finding(message_id=day, date=f"{day}T12:00:00+00:00") for day in days]
    figures = Figures(Audit(findings=found), senders.load(), datetime(2016, 6, 15, tzinfo=UTC))
    # Monday 2 May, ten business days: Tuesday 3 May is the first, Monday 16 May the tenth
    aftermath = since_opt_out(figures, date(2016, 5, 2))
    assert aftermath.until == date(2016, 5, 16)
    assert (aftermath.days, aftermath.over) == (30, True)
    (row,) = aftermath.rows
    assert (row.before, row.waiting, row.after) == (1, 3, 2)
    assert [one.message_id for one in aftermath.still] == ["2016-05-17", "2016-06-01"]
    early = since_opt_out(
        Figures(Audit(findings=found), senders.load(), datetime(2016, 5, 10, tzinfo=UTC)), date(2016, 5, 2)
    )
    assert not early.over


def test_the_audit_tells_what_came_since_the_opt_out(mailbox: tuple[Path, years.Truth], tmp_path: Path) -> None:
    folder, truth = mailbox
    after = sum(when.date() > date(2015, 9, 14) for when in truth.carrying)
    data = read_json(folder, "--since-opt-out", "2015-08-31")
    found = data["summary"]["since_opt_out"]
    assert found["waiting_until"] == "2015-09-14"
    assert [one["after"] for one in found["kinds"]] == [after]
    text = audited(folder, "text", "--since-opt-out", "2015-08-31", "--html", str(tmp_path / "p.html"))
    assert f"which ended on 2015-09-14, {after} promotional still came" in text
    assert f"<strong>{after} promotional messages</strong> came after the waiting time of 10 business days" in (
        tmp_path / "p.html"
    ).read_text().replace("\n", " ")


@pytest.mark.parametrize("day", ["yesterday", "2016-13-01", "20.5.2016"])
def test_a_date_that_is_none_is_a_mistake(tmp_path: Path, day: str) -> None:
    done = unpitch("audit", tmp_path, "--since-opt-out", day, state=tmp_path / "s")
    assert done.returncode == 2
    assert "2026-11-03" in done.stderr


# --- drift


def test_genuine_mail_that_the_data_do_not_explain_is_named(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    strange = mails.mail(
        "Something wholly new for you, in words that nobody has seen.\n",
        sender="LinkedIn <brand-new@linkedin.com>",
        subject="Behold",
        template="email_brand_new_thing_01",
    )
    (tmp_path / "mail" / "1.eml").write_bytes(strange)
    (tmp_path / "mail" / "2.eml").write_bytes(mails.mail())
    text = audited(tmp_path / "mail", "text")
    assert "1 genuine mail with no wording and no template that unpitch knows" in text
    assert "explain --redact" in text
    assert read_json(tmp_path / "mail")["summary"]["unexplained"] == 1


# --- opt-out


def test_opt_out_as_json_and_markdown_has_the_same_routes(tmp_path: Path) -> None:
    data = json.loads(unpitch("opt-out", "--format", "json", "--region", "eu", state=tmp_path).stdout)
    jsonschema.validate(data, json.loads((ROOT / "filters" / "opt_out.schema.json").read_text()))
    assert {route["region"] for route in data["routes"]} <= {"eu", "any"}
    assert [route["live"] for route in data["routes"] if route["category"] == "partner_inmail"] == sorted(
        (route["live"] for route in data["routes"] if route["category"] == "partner_inmail"), reverse=True
    )
    notes = unpitch("opt-out", "--format", "markdown", "--region", "eu", state=tmp_path).stdout
    for route in data["routes"]:
        assert route["title"] in notes
        assert not route["url"] or (f"<{route['url']}>" in notes) == route["live"]
    assert unpitch("opt-out", "--format", "yaml", state=tmp_path).returncode == 2


def test_pages_are_opened_only_when_somebody_says_yes(tmp_path: Path) -> None:
    done = unpitch("opt-out", "--open", state=tmp_path)
    assert done.returncode == 2
    assert "no page is opened unasked" in done.stderr
    opened = tmp_path / "opened"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    script.chmod(0o755)
    ours, theirs = pty.openpty()
    env = {**os.environ, "UNPITCH_STATE": str(tmp_path), "BROWSER": f"{script} %s"}
    with subprocess.Popen(
        [*COMMAND, "opt-out", "--open", "--region", "eu"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    ) as process:
        os.close(theirs)
        os.write(ours, b"n\ny\nn\n")
        _, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, err
    assert err.count(b"Open https://") == 3
    assert opened.read_text().split() == ["https://www.linkedin.com/mypreferences/d/categories/privacy"]
