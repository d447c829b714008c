"""An audit as records for programs: JSON, JSON lines, CSV. Every word passes `safe_text`."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from filters.report.audit import Audit
from filters.report.routes import routes
from filters.safe_text import safe_text
from filters.senders import OptOut, Sender
from filters.sweep import Finding

#: Names the format of `audit --format json`; filters/audit.schema.json describes it.
SCHEMA = "unpitch-audit-1"


def audit_json(audit: Audit, sender: Sender, region: str) -> str:
    """The audit as one JSON object; filters/audit.schema.json is its description."""
    found = sorted({finding.category for finding in audit.findings})
    data = {
        "schema": SCHEMA,
        "findings": [finding_json(finding) for finding in audit.findings],
        "summary": _summary(audit),
        "opt_out": [route_json(route) for name in found for route in routes(sender, name, region)],
    }
    return json.dumps(data, ensure_ascii=False, indent=1)


def finding_json(finding: Finding) -> dict[str, Any]:
    """One finding with the published names."""
    texts = {
        name: safe_text(getattr(finding, attribute))
        for name, attribute in (
            ("source", "source"),
            ("folder", "folder"),
            ("key", "key"),
            ("message_id", "message_id"),
            ("date", "date"),
            ("from", "from_"),
            ("subject", "subject"),
            ("category", "category"),
        )
    }
    return texts | {
        "promotional": finding.promotional,
        "probability": round(finding.probability, 6),
        "unsure": finding.unsure,
        "authenticity": finding.authenticity,
        "action": finding.action,
        "reason": safe_text(finding.reason),
        "evidence": [clue | {"quote": safe_text(clue["quote"])} for clue in finding.evidence],
    }


def _summary(audit: Audit) -> dict[str, Any]:
    return {
        "sources": [safe_text(name) for name in audit.sources],
        "messages": audit.tally.messages,
        "claimed": len(audit.findings),
        "promotional": len(audit.promotional),
        "to_move": len(audit.to_move),
        "categories": dict(sorted(Counter(finding.category for finding in audit.findings).items())),
        "authenticity": dict(sorted(Counter(finding.authenticity for finding in audit.findings).items())),
        "unreadable": [
            {"folder": safe_text(one.place.folder), "key": safe_text(one.place.key), "reason": safe_text(one.reason)}
            for one in audit.tally.unreadable
        ],
        "authserv_ids": [
            {"id": safe_text(seen.id), "placement": seen.placement, "mails": count}
            for seen, count in audit.tally.authserv_ids.most_common()
        ],
    }


def route_json(route: OptOut) -> dict[str, Any]:
    """One opt-out route with the published names."""
    names = ("category", "region", "title", "url", "live", "since", "until", "checked", "grade", "note")
    return {name: getattr(route, name) for name in names} | {"steps": list(route.steps)}
