"""One mail explained: where its clues stand, what would have changed the verdict, and what of it may be sent in."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mails
import pytest
from browser import Browser, browser, missing
from test_formats import unpitch

from filters import model, senders
from filters.authenticity import Authserv
from filters.explanation import TEXT_CAP, explain
from filters.judge import judge
from filters.message import parse

ROOT = Path(__file__).parent.parent
SENDER = senders.load()
MODEL = model.load(model.shipped(SENDER.name))
TRUSTED = [Authserv(mails.TRUSTED, "above")]


def explained(raw: bytes) -> dict[str, Any]:
    return explain(parse(raw), SENDER, MODEL, TRUSTED)


def test_marks_stand_where_the_words_are() -> None:
    raw = mails.mail()
    found, verdict = explained(raw), judge(parse(raw), SENDER, MODEL, TRUSTED)
    marked = {number: found["text"][start:end] for start, end, number in found["marks"]}
    assert marked
    for number, words in marked.items():
        clue = verdict.evidence[number]
        assert words.lower().startswith((clue.quote or clue.feature.removeprefix("word:")).lower()[:20])
    assert any("promotional message from a marketing or hiring partner" in words for words in marked.values())


@pytest.mark.parametrize(
    "path", sorted((ROOT / "corpus" / "linkedin").rglob("*-2016-*.eml")), ids=lambda path: path.stem
)
def test_without_those_clues_the_verdict_is_the_other_one(path: Path) -> None:
    message = parse(path.read_bytes())
    verdict = judge(message, SENDER, MODEL, TRUSTED)
    flip = explain(message, SENDER, MODEL, TRUSTED)["flip"]
    if flip["without"]:
        assert (flip["probability"] >= MODEL.threshold) != verdict.promotional
    elif verdict.promotional:
        pytest.fail("a few clues always decide for advertising")


def test_above_the_model_stand_rules() -> None:
    assert "never moved" in explained(mails.security())["flip"]["rule"]


def test_a_long_mail_is_cut() -> None:
    found = explained(mails.mail("\n".join(f"line {number} of many" for number in range(20_000)) + mails.DISCLOSURE))
    assert len(found["text"]) <= TEXT_CAP
    assert all(end <= TEXT_CAP for _, end, _ in found["marks"])


PRIVATE = (
    "Dear Xanthippe Featherstonehaugh,\n\nYour card 4929 1234 5678 9012 and xan@private.example are ready: https://a.example/?t=AQxSECRETx99\n\n"
    f"{mails.DISCLOSURE}\n\nThis email was intended for Xanthippe Featherstonehaugh (Chief Otter Keeper at Hollowmere)\n"
    "You are receiving InMail notification emails.\n"
)


def test_a_redacted_mail_keeps_the_wording_and_nobody() -> None:
    raw = mails.mail(
        PRIVATE, sender="Bartholomew Quince <inmail-hit-reply@linkedin.com>", subject="Otters for Xanthippe"
    )
    text = "\n".join(explained(raw)["redacted"])
    for word in ("Xanthippe", "Featherstonehaugh", "4929", "9012", "xan", "private", "SECRET", "https", "Otter", "Keeper",
                 "Hollowmere", "Bartholomew", "Quince", "ann@", "lva1", ":10"):  # fmt: skip
        assert word.lower() not in text.lower(), word
    assert (
        "promotional message from a marketing or hiring partner and was sent to you based on your browsing activity"
        in text
    )
    assert "every # days" in text
    assert "From: inmail-hit-reply@linkedin.com" in text
    assert "Template: email_hire_inmail_initial_single_01" in text


def test_the_command_redacts(tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_bytes(mails.mail(PRIVATE))
    done = unpitch("explain", tmp_path / "one.eml", "--redact", state=tmp_path / "s")
    assert done.returncode == 0
    assert "every # days" in done.stdout
    assert "Read it before you send it" in done.stderr
    assert "Xanthippe" not in done.stdout + done.stderr


def test_the_command_says_where_and_what_would_have_changed_it(tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_bytes(mails.mail())
    done = unpitch("explain", tmp_path / "one.eml", state=tmp_path / "s")
    assert re.search(
        r"What would have changed it: without .* it would not be called promotional \(P = 0\.\d\d\)\.", done.stdout
    )
    assert "From 0." in done.stdout
    assert re.search(r"every 60 days.*\[\d\]", done.stdout)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if reason := missing():
        pytest.skip(reason)
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


def page_of(tmp_path: Path, raw: bytes) -> Path:
    (tmp_path / "one.eml").write_bytes(raw)
    done: subprocess.CompletedProcess[str] = unpitch(
        "explain",
        tmp_path / "one.eml",
        "--html",
        tmp_path / "one.html",
        "--trust-authserv",
        mails.TRUSTED,
        state=tmp_path / "s",
    )
    assert done.returncode == 0, done.stderr
    return tmp_path / "one.html"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_marks_the_words_and_axe_finds_nothing(window: Browser, tmp_path: Path, width: int) -> None:
    page = page_of(tmp_path, mails.mail())
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    window.show(page, width)
    assert window.run("return document.title") == "Why this mail was called promotional"
    assert any("maximum of one promotional message" in one for one in window.run(
        "return [...document.querySelectorAll('mark')].map((one) => one.textContent)"))  # fmt: skip
    assert window.requests() == window.complaints() == window.axe() == []
    assert window.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_t4_a_hostile_mail_stays_text_in_its_page(window: Browser, tmp_path: Path) -> None:
    text = f"<script>document.title='owned'</script> <img src=x onerror=alert(1)>\n{mails.DISCLOSURE}"
    window.show(page_of(tmp_path, mails.mail(text, subject="</title><b>x</b>")))
    assert window.run("return document.title") == "Why this mail was called promotional"
    assert "<script>document.title='owned'</script>" in window.run(
        "return document.querySelector('.letter').textContent"
    )
    assert window.count("script") == 1
    assert window.count("img") == 0
    assert window.requests() == window.complaints() == []
