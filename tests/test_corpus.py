"""The corpus: complete, distinct, judged as its folders say; and the shipped model is what the corpus gives."""

from __future__ import annotations

import csv
import re
from collections import Counter
from email import message_from_bytes
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from filters import model as models
from filters import senders
from filters.judge import worker
from filters.message import parse
from filters.normal_form import fold, normal, words

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "corpus"
SENDER = senders.load()
TRAINING = sorted((CORPUS / SENDER.name).glob("*/*.eml"))
FORGED = sorted((CORPUS / "forged").glob("*.eml"))
ELSEWHERE = sorted((CORPUS / "elsewhere").glob("*.eml"))
SETUP = {"model": str(models.shipped(SENDER.name)), "trusted": [["mx.example.net", "above"]]}


def name(path: Path) -> str:
    return str(path.relative_to(CORPUS))


@cache
def judge_bytes(path: Path) -> dict[str, Any]:
    return worker(SETUP)(path.read_bytes())


@cache
def index() -> dict[str, dict[str, str]]:
    rows = {}
    for file in sorted((CORPUS / "index").glob("*.tsv")):
        with file.open(encoding="utf-8", newline="") as lines:
            rows |= {row["path"]: row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)}
    return rows


def test_there_are_enough_mails_of_every_kind() -> None:
    counts = Counter(path.parent.name for path in TRAINING)
    assert set(counts) == set(SENDER.categories)
    assert counts["partner_inmail"] >= 150
    assert min(counts.values()) >= 10
    assert sum(counts.values()) >= 400


def test_partner_inmail_comes_in_ten_languages_and_all_years() -> None:
    languages = Counter(path.stem[:2] for path in TRAINING if path.parent.name == "partner_inmail")
    assert len(languages) >= 10
    assert min(languages.values()) >= 10
    years = {int(path.stem.split("-")[1]) for path in TRAINING}
    assert (min(years), max(years)) == (2011, 2026)


def test_a_third_of_partner_inmail_says_it_in_words_that_are_not_in_the_data() -> None:
    partner = [path for path in TRAINING if path.parent.name == "partner_inmail"]
    paraphrased = [path for path in partner if index()[name(path)]["disclosure"] == "paraphrase"]
    assert len(paraphrased) * 3 >= len(partner)
    for path in paraphrased:
        found = [one.entry for one in SENDER.find(parse(path.read_bytes()).text)]
        known = [entry for entry in found if isinstance(entry, senders.Disclosure) and entry.strength != "weak"]
        assert known == [], f"{path.name}: {known}"


def test_every_mail_is_indexed_and_named_by_its_author() -> None:
    listed = set(index())
    assert {name(path) for path in [*TRAINING, *FORGED, *ELSEWHERE]} == listed
    for path in [*TRAINING, *FORGED, *ELSEWHERE]:
        assert re.fullmatch(r"[a-z]{2}(?:_[A-Z]{2})?-20[12]\d-[a-z]-[a-z0-9-]+", path.stem), path.name


@pytest.mark.parametrize("path", TRAINING, ids=name)
def test_a_mail_is_in_real_shape(path: Path) -> None:
    raw = path.read_bytes()
    mime = message_from_bytes(raw)
    for header in ("From", "To", "Subject", "Date", "Message-ID"):
        assert len(mime.get_all(header, [])) == 1, header
    message = parse(raw)
    assert message.date is not None
    assert message.text
    assert not message.defects, message.defects


#: Kinds whose text people write; the rest is mostly the sender's own formulas.
WRITTEN = {"partner_inmail", "linkedin_marketing", "recruiter_inmail", "member_message", "newsletter", "group", "other"}


def test_each_text_is_its_own() -> None:
    """No two mails share a line of a dozen words, but for LinkedIn's own lines and the disclosures (whole or wrapped)."""
    known = " | ".join(" ".join(words(fold(normal(one.text)))) for one in SENDER.disclosures)
    owner: dict[str, str] = {}
    shared = []
    for path in TRAINING:
        if path.parent.name not in WRITTEN:
            continue
        text = parse(path.read_bytes()).text
        lines = {" ".join(words(fold(line))) for line in text.split("\n") if "http" not in line}
        for line in lines:
            own = "linkedin" in line or line in known or SENDER.find(line)
            if line.count(" ") >= 11 and not own and owner.setdefault(line, name(path)) != name(path):
                shared.append((owner[line], name(path), line))
    assert shared == []


@pytest.mark.parametrize("path", TRAINING, ids=name)
def test_a_mail_is_judged_as_its_folder_says(path: Path) -> None:
    verdict = judge_bytes(path)["verdict"]
    expected = SENDER.categories[path.parent.name]
    assert verdict["promotional"] == expected.promotional, verdict["evidence"]
    assert verdict["category"] == expected.name, verdict["evidence"]
    assert verdict["never"] == (expected.action == "never")
    assert verdict["authenticity"]["state"] == "verified"


@pytest.mark.parametrize("path", FORGED, ids=name)
def test_a_forgery_is_called_one(path: Path) -> None:
    result = judge_bytes(path)
    assert result["claims"]
    assert result["verdict"]["authenticity"]["state"] == "forged", result["verdict"]["authenticity"]


@pytest.mark.parametrize("path", ELSEWHERE, ids=name)
def test_other_peoples_mail_is_not_claimed(path: Path) -> None:
    assert judge_bytes(path) == {"claims": False}


def test_every_disclosure_is_shown_by_a_mail() -> None:
    shown = {one.entry for path in TRAINING for one in SENDER.find(parse(path.read_bytes()).text)}
    missing = [one.text for one in SENDER.disclosures if one.strength != "weak" and one not in shown]
    assert missing == []
