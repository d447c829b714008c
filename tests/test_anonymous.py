"""An audit to be shown around: nothing that a mail, a person or a mailbox said is in it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from findings import finding

from filters import __version__, senders
from filters.authenticity import Authserv
from filters.report import LINES, Audit, Figures, audit_json, without_names
from filters.report.page import Page, write_page
from filters.sources import Place, Unreadable
from filters.sweep import SPARED, Tally
from filters.wording import Wording

SENDER = senders.load()
P = "Hollowmere"
CLUES = tuple(
    {"feature": feature, "quote": f"{P} 1", "weight": 1.0}
    for feature in (f"word:{P}", "stream:unknown", "disclosure_strong:partner_inmail", "notice_paid", "template:unknown",
                    "class:unknown", "never:security", "opt_out_link_strong:partner_inmail", "anything:else")
)  # fmt: skip


@pytest.mark.parametrize(
    "reason", [f"{SPARED} of {P}", f"looks forged: {P}", f"not verified: {P}", "promotional with 99%"]
)
@pytest.mark.parametrize("authenticity", ["verified", "forged", "unverified"])
def test_nothing_of_anybody_is_left(reason: str, authenticity: str) -> None:
    private = finding(
        source=f"/home/{P}", folder=P, key=P, message_id=P, from_=f"{P} <{P.lower()}@linkedin.com>", subject=P, reason=reason,
        authenticity=authenticity, authenticity_why=P, evidence=CLUES, wording=Wording("T5", f"{P} said", (60,)),
        explanation={"text": P}, action="keep",
    )  # fmt: skip
    tally = Tally(3, [Unreadable(Place(P, P, P), P)], Counter({Authserv(P, "above"): 1}))
    audit = without_names(Audit([f"imaps://{P}@x"], [private, private], tally), SENDER)
    figures = Figures(audit, SENDER, datetime(2026, 1, 1, tzinfo=UTC))
    texts = [audit_json(figures, ""), *("".join(form(figures.audit.findings)) for form in LINES.values())]
    texts.append(b"".join(write_page(Page(figures, "", __version__))).decode())
    for text in texts:
        assert P.lower() not in text.lower()
    assert len(audit.findings) == 2
    assert audit.findings[0].from_ == audit.findings[1].from_


def test_addresses_and_sentences_of_the_data_stay() -> None:
    sentence = "You will only receive a maximum of one promotional message every 60 days."
    clues = (
        {"feature": "stream:linkedin_marketing", "quote": "linkedin@e.linkedin.com", "weight": 1.0},
        {"feature": "disclosure_decisive:partner_inmail", "quote": sentence, "weight": 1.0},
    )
    (one,) = without_names(
        Audit(["x"], [finding(evidence=clues, wording=Wording("T5", sentence, (60,)))]), SENDER
    ).findings
    assert one.from_ == "Sender 1 <inmail-hit-reply@linkedin.com>"
    assert [clue["quote"] for clue in one.evidence] == ["linkedin@e.linkedin.com", sentence]
    assert one.wording == Wording("T5", sentence, (60,))
