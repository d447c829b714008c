"""Builds findings for tests of reports."""

from __future__ import annotations

from typing import Any

from filters.journal import Candidate
from filters.sources import Place
from filters.sweep import Finding


def finding(**changes: Any) -> Finding:
    """A promotional, verified partner message of May 2016."""
    plain: dict[str, Any] = {
        "source": "/mail",
        "folder": "",
        "key": "1",
        "message_id": "1@linkedin.example",
        "date": "2016-05-03T10:00:00+00:00",
        "from_": "Northfield School <inmail-hit-reply@linkedin.com>",
        "subject": "Your executive MBA",
        "category": "partner_inmail",
        "promotional": True,
        "probability": 0.99,
        "unsure": False,
        "authenticity": "verified",
        "authenticity_why": "",
        "action": "move",
        "reason": "promotional with 99%",
        "evidence": (),
        "explained": True,
        "wording": None,
        "candidate": Candidate(Place("/mail", "", "1"), "", "", 1, "partner_inmail", ""),
    }
    return Finding(**{**plain, **changes})
