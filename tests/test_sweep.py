"""The policy: each reason to keep a mail, one by one, and the one way to move it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from filters.sources import Mail, Place
from filters.sweep import Policy, decide

MAIL = Mail(Place("account", "", "1"), b"", 0, frozenset({"\\Seen"}), "sha256:1")
PROMOTIONAL = Policy(frozenset({"partner_inmail", "linkedin_marketing"}))
VERDICT: dict[str, Any] = {
    "category": "partner_inmail",
    "probability": 0.99,
    "promotional": True,
    "unsure": False,
    "never": False,
    "certain": True,
    "known": True,
    "several": False,
    "authenticity": {"state": "verified", "why": "", "dkim": True, "contradicted": False},
}


def action(
    mail: Mail = MAIL, policy: Policy = PROMOTIONAL, barred: dict[str, str] | None = None, **changes: Any
) -> str:
    verdict = {**VERDICT, **changes}
    return decide(mail, verdict, verdict["category"] in PROMOTIONAL.move, policy, barred or {})[0]


def authenticity(state: str, contradicted: bool = False) -> dict[str, Any]:
    return {"state": state, "why": "", "dkim": False, "contradicted": contradicted}


def test_verified_advertising_is_moved() -> None:
    assert action() == "move"


@pytest.mark.parametrize(
    "changes",
    [
        {"authenticity": authenticity("forged")},
        {"authenticity": authenticity("unverified")},
        {"never": True},
        {"several": True},
        {"unsure": True, "promotional": False},
        {"promotional": False},
        {"known": False},
        {"category": "linkedin_marketing", "policy": Policy(frozenset({"partner_inmail"}))},
        {"mail": replace(MAIL, identity="")},
        {"mail": replace(MAIL, flags=frozenset({"\\Flagged"}))},
        {"mail": replace(MAIL, flags=frozenset({"\\Answered"}))},
        {"mail": replace(MAIL, flags=frozenset({"\\Draft"}))},
        {"mail": replace(MAIL, flags=frozenset({"\\Deleted"}))},
        {"barred": {"sha256:1": "you took it back once"}},
        {"category": "job_alert", "promotional": False},
        {"category": "job_alert", "promotional": False, "certain": False, "policy": Policy(frozenset({"job_alert"}))},
    ],
    ids=str,
)
def test_each_doubt_keeps_a_mail(changes: dict[str, Any]) -> None:
    assert action(**changes) == "keep"


def test_unverified_mail_moves_only_when_told_to_and_when_nobody_contradicts() -> None:
    told = Policy(PROMOTIONAL.move, unverified=True)
    assert action(policy=told, authenticity=authenticity("unverified")) == "move"
    assert action(policy=told, authenticity=authenticity("unverified", contradicted=True)) == "keep"
    assert action(policy=told, authenticity=authenticity("forged")) == "keep"


def test_a_category_that_was_asked_for_is_moved_when_it_is_certain() -> None:
    assert action(category="job_alert", promotional=False, policy=Policy(frozenset({"job_alert"}))) == "move"
