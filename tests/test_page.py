"""The page, in a real browser: what it shows is what was found, and nothing in it is anybody else's."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import mails
import pytest
import template
import years
from browser import Browser, browser, missing

TRUST = ("--trust-authserv", mails.TRUSTED)


def unpitch(*words: str | Path, state: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "UNPITCH_STATE": str(state), "COLUMNS": "80", "TZ": "UTC"}
    return template.run(words, env, seconds=300)


def page_of(box: Path, *words: str) -> Path:
    """The page of a mailbox that lies in `box`/mail."""
    page = box / "report.html"
    done = unpitch("audit", box / "mail", *TRUST, "--html", page, "--force", *words, state=box / "state")
    assert done.returncode == 0, done.stderr
    return page


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if reason := missing():
        pytest.skip(reason)
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def years_long(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, years.Truth]:
    """Two years of mail, their page, and the truth."""
    box = tmp_path_factory.mktemp("years")
    truth = years.lay_out(box / "mail")
    return page_of(box), truth


def test_it_opens_from_a_file_asks_nobody_and_says_nothing_in_the_console(
    window: Browser, years_long: tuple[Path, years.Truth]
) -> None:
    window.show(years_long[0])
    assert window.run("return document.title") == "What LinkedIn sent"
    assert window.requests() == []
    assert window.complaints() == []


def test_the_figures_are_the_truth(window: Browser, years_long: tuple[Path, years.Truth]) -> None:
    page, truth = years_long
    window.show(page)
    genuine = sum(truth.kinds.values())
    shown = window.run("return document.querySelector('.verdict').textContent.replace(/\\s+/g, ' ')")
    share = round(100 * truth.promotional / genuine)
    assert shown == f"{truth.promotional} of {genuine} mails ({share} %) that LinkedIn sent here were advertising."
    tiles = window.run("return [...document.querySelectorAll('.tiles b')].map((one) => one.textContent)")
    assert tiles == [str(truth.promotional), str(genuine), str(truth.promotional), "0", str(truth.forged)]
    assert window.count("#messages tbody tr") == truth.promotional


def test_each_chart_has_a_mark_for_each_number_and_a_table_of_them(
    window: Browser, years_long: tuple[Path, years.Truth]
) -> None:
    page, truth = years_long
    window.show(page)
    marks = window.run(
        "return [...document.querySelectorAll('figure')].map((one) =>"
        " [one.querySelector('figcaption').textContent, one.querySelectorAll('rect.mark').length])"
    )
    found = dict(marks)
    assert found["Mails by kind"] == len({kind for _, kind in truth.kinds})
    assert found["Mails by month"] == found["Each kind by itself, all to one scale"] == len(truth.kinds)
    assert found["Names on the promotional messages"] == len(truth.advertisers)
    assert (
        window.run(
            "return [...document.querySelectorAll('figure')].filter((one) => !one.querySelector('table')).length"
        )
        == 1
    )
    rows = window.run(
        "return [...document.querySelectorAll('figure')[1].querySelectorAll('tbody tr')].map((row) =>"
        " [...row.cells].map((cell) => cell.textContent))"
    )
    months = sorted({month for month, _ in truth.kinds}, reverse=True)
    assert rows == [
        [month, *(str(truth.kinds[month, kind]) for kind in ("partner_inmail", "job_alert"))] for month in months
    ]


def _visible(window: Browser) -> list[str]:
    return list(
        window.run(
            "return [...document.querySelectorAll('#messages tbody tr:not([hidden])')].map((row) => row.cells[2].textContent)"
        )
    )


def _type(window: Browser, name: str, value: str) -> None:
    window.run(
        "const one = document.querySelector('#sieve').elements[arguments[0]]; one.value = arguments[1];"
        " one.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def test_it_filters_and_sorts(window: Browser, years_long: tuple[Path, years.Truth]) -> None:
    page, truth = years_long
    window.show(page)
    everything = _visible(window)
    assert len(everything) == truth.promotional
    _type(window, "words", "northfield OFFER")
    assert len(_visible(window)) == truth.advertisers["Northfield School"]
    assert window.run("return document.querySelector('#shown').textContent") == (
        f"{truth.advertisers['Northfield School']} of {truth.promotional} shown"
    )
    _type(window, "year", "2016")
    assert len(_visible(window)) < truth.advertisers["Northfield School"]
    _type(window, "words", "nobody writes this")
    assert _visible(window) == []
    window.run("document.querySelector('#sieve button').click()")
    window.run("return new Promise((done) => setTimeout(done))")
    assert _visible(window) == everything
    _type(window, "era", "-")
    assert _visible(window) == []
    _type(window, "era", "T5")
    assert _visible(window) == everything
    by_subject = "document.querySelectorAll('#messages th button')[2].click()"
    window.run(by_subject)
    up = _visible(window)
    window.run(by_subject)
    assert _visible(window) == up[::-1] != up
    assert window.run("return document.querySelectorAll('#messages th')[2].getAttribute('aria-sort')") == "descending"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(window: Browser, years_long: tuple[Path, years.Truth], width: int, dark: bool) -> None:
    window.show(years_long[0], width, dark=dark)
    window.run("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert window.axe() == []
    assert window.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_axe_can_find_something(window: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<title>x</title><img src='data:,'><p style='color:#eee;background:#fff'>pale</p>"
    )
    window.show(tmp_path / "bad.html")
    assert any("image-alt" in one for one in window.axe())


HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "</style><style>*{display:none}</style>",
    "</script><script>alert(1)</script>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "<!--",
    "&lt;b&gt;",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a mailbox whose subjects and names are markup."""
    box = tmp_path_factory.mktemp("hostile")
    (box / "mail").mkdir()
    for number, text in enumerate(HOSTILE):
        name = re.sub(r'[<>@"(),:;\\]', "", text) or "x"
        raw = mails.mail(number=number, sender=f"{name} <inmail-hit-reply@linkedin.com>", subject="SUBJECT")
        header = base64.b64encode(text.encode()).decode()
        (box / "mail" / f"{number}.eml").write_bytes(raw.replace(b"SUBJECT", f"=?utf-8?b?{header}?=".encode()))
    forged = mails.mail(number=50, sender="LinkedIn <a@evil.example>", subject="<b>x</b>", results=mails.FAIL)
    (box / "mail" / "f.eml").write_bytes(forged)
    return page_of(box)


def test_t4_what_a_mail_says_stays_text(window: Browser, hostile: Path) -> None:
    window.show(hostile)
    assert sorted(_visible(window)) == sorted(HOSTILE)
    assert window.run("return document.title") == "What LinkedIn sent"
    assert window.requests() == []
    assert window.complaints() == []
    assert window.count("script") == window.count("style") == 1
    assert window.count("img, iframe, object, embed, link, base") == 0
    assert window.run("return getComputedStyle(document.body).display") == "block"
    assert window.axe() == []


def test_t4_the_policy_refuses_a_script_that_would_get_in(window: Browser, hostile: Path, tmp_path: Path) -> None:
    text = hostile.read_text().replace("</main>", "<script>document.title = 'owned'</script></main>")
    (tmp_path / "broken.html").write_text(text)
    window.show(tmp_path / "broken.html")
    assert window.run("return document.title") == "What LinkedIn sent"
    assert any("Content Security Policy" in one for one in window.complaints())


def test_without_script_every_message_is_there(years_long: tuple[Path, years.Truth]) -> None:
    page, truth = years_long
    text = page.read_text()
    assert text.count('<tr data-k="') == truth.promotional
    assert '<form id="sieve" class="sieve" hidden>' in text


def test_its_policy_names_what_stands_in_it(years_long: tuple[Path, years.Truth]) -> None:
    text = years_long[0].read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src &#39;none&#39;;")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(content.encode()).digest()).decode().replace(
            "+", "&#43;"
        ) in policy.replace("+", "&#43;")
    assert not re.search(r"\son\w+=|\sstyle=", text), "what the policy would refuse"


def test_it_is_for_its_owner_alone(years_long: tuple[Path, years.Truth]) -> None:
    assert stat.S_IMODE(years_long[0].stat().st_mode) == 0o600


def test_each_disclosure_is_stored_once(years_long: tuple[Path, years.Truth]) -> None:
    assert years_long[0].read_text().count("was sent to you based on your browsing activity") == 1


def test_links_lead_to_pages_of_our_own_data_only(years_long: tuple[Path, years.Truth]) -> None:
    from filters import senders

    sender = senders.load()
    known = {one.url for one in sender.all_opt_outs} | {one.shortcut for one in sender.all_opt_outs}
    known |= {one.url for one in sender.advice}
    links = re.findall(r'href="(https?://[^"]+)"', years_long[0].read_text())
    assert links
    assert set(links) <= known
    for link in links:
        assert not any(part.lower() in link.lower() for part in sender.not_live)


def test_it_says_whether_the_promise_of_its_time_was_kept(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    for number, day in enumerate(
        (datetime(2016, 3, 1, tzinfo=UTC), datetime(2016, 4, 2, tzinfo=UTC), datetime(2016, 6, 30, tzinfo=UTC))
    ):
        raw = mails.mail(number=number, subject=f"Offer {number}")
        (tmp_path / "mail" / f"{number}.eml").write_bytes(years.dated(raw, day))
    text = " ".join(page_of(tmp_path).read_text().split())
    assert "3 messages here carry this sentence." in text
    assert "1 of 2 intervals is shorter than 60 days</strong>; the shortest is 32.0 days." in text
    assert "2016-03-01 <bdi>Offer 0</bdi></td><td>2016-04-02 <bdi>Offer 1</bdi>" in text
    assert "your browsing activity or non-personal information such as job title" in text


# --- what bad input gets


def empty_maildir(root: Path) -> None:
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)


def test_a_page_that_is_there_is_kept(tmp_path: Path) -> None:
    empty_maildir(tmp_path / "mail")
    (tmp_path / "report.html").write_text("mine")
    words = ("audit", tmp_path / "mail", "--html", tmp_path / "report.html")
    done = unpitch(*words, state=tmp_path / "s")
    assert done.returncode == 74
    assert "--force" in done.stderr
    assert (tmp_path / "report.html").read_text() == "mine"
    assert unpitch(*words, "--force", state=tmp_path / "s").returncode == 0
    assert "No mail of LinkedIn is here" in (tmp_path / "report.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mail", "report.html"]


@pytest.mark.parametrize("place", ["nowhere/report.html", "mail"])
def test_a_page_that_cannot_be_written_is_one_clear_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "mail").mkdir()
    done = unpitch("audit", tmp_path / "mail", "--html", tmp_path / place, "--force", state=tmp_path / "s")
    assert done.returncode == 74
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_page_that_does_not_fit_on_the_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    years.lay_out(tmp_path / "mail", 2)
    env = {**os.environ, "UNPITCH_STATE": str(tmp_path / "s")}
    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); from filters.cli import main; main()"
    words = [sys.executable, "-c", script, "audit", str(tmp_path / "mail"), "--html", str(tmp_path / "report.html")]
    done = subprocess.run(
        words, capture_output=True, env=env, timeout=300, check=False, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.returncode == 74, done.stderr
    assert "report.html cannot be written: file too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mail"]


@pytest.mark.parametrize("what", ["nothing", "no LinkedIn mail", "no advertising"])
def test_a_mailbox_without_advertising_gets_a_kind_page(window: Browser, tmp_path: Path, what: str) -> None:
    empty_maildir(tmp_path / "mail")
    if what != "nothing":
        raw = mails.friend(1) if what == "no LinkedIn mail" else mails.job_alert(1)
        (tmp_path / "mail" / "cur" / "1.M1.host:2,S").write_bytes(raw)
    window.show(page_of(tmp_path))
    verdict = window.run("return document.querySelector('.verdict').textContent")
    assert ("no advertising among them" if what == "no advertising" else "No mail of LinkedIn is here") in verdict
    assert window.complaints() == []
    assert window.axe() == []


def test_dates_that_lie_are_in_no_chart_and_ten_thousand_on_a_day_are_one_mark(window: Browser, tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    whens = [
        datetime(2099, 1, 1, tzinfo=UTC),
        datetime(1991, 1, 1, tzinfo=UTC),
        *[datetime(2016, 5, 3, tzinfo=UTC)] * 30,
    ]
    for number, when in enumerate(whens):
        (tmp_path / "mail" / f"{number}.eml").write_bytes(years.dated(mails.job_alert(number), when))
    undated = re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: soon", mails.job_alert(40))
    (tmp_path / "mail" / "u.eml").write_bytes(undated)
    window.show(page_of(tmp_path))
    assert "2 mails with no date, or one that lies ahead" in window.run("return document.body.innerText")
    titles = window.run(
        "return [...document.querySelectorAll('figure')[1].querySelectorAll('rect.mark title')].map((one) => one.textContent)"
    )
    assert titles == ["1991: Other mail 1", "2016: Other mail 30"]


# --- to be shown around


def test_an_anonymous_page_names_nobody_and_has_the_same_figures(window: Browser, tmp_path: Path) -> None:
    truth = years.lay_out(tmp_path / "mail", 12)
    private = mails.mail(
        "Dear Ann Reader,\nyour secret plan 4711.\n" + mails.DISCLOSURE, number=700, subject="For Ann Reader"
    )
    (tmp_path / "mail" / "p.eml").write_bytes(private)
    (tmp_path / "mail" / "q.eml").write_bytes(mails.forged(701))
    page = page_of(tmp_path, "--anonymous")
    text = page.read_text()
    for word in (
        *years.ADVERTISERS,
        "Ann Reader",
        "ann@",
        "4711",
        "Offer",
        "executive",
        mails.TRUSTED,
        str(tmp_path),
        "lva1",
    ):
        assert word not in text, word
    assert re.search(r">Sender \d+<", text)
    assert re.search(r">Subject \d+<", text)
    assert "was sent to you based on your browsing activity" in text
    window.show(page)
    assert window.count("#messages tbody tr") == truth.promotional + 1
    assert window.axe() == []
