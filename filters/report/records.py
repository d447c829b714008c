"""An audit as records for programs: JSON, JSON lines, CSV. Every word passes `safe_text`."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from filters.report.audit import Figures
from filters.report.clues import quote_of
from filters.report.promises import Checked, check
from filters.report.routes import route_json, routes
from filters.report.since import since_opt_out
from filters.safe_text import csv_cell, safe_text
from filters.sweep import Finding

#: Names the format of `audit --format json`; filters/audit.schema.json describes it.
SCHEMA = "unpitch-audit-1"
_COLUMNS = (
    "source", "folder", "key", "message_id", "date", "from", "subject", "category", "promotional", "probability", "unsure",
    "authenticity", "action", "reason", "wording", "quote",
)  # fmt: skip


def audit_json(figures: Figures, region: str) -> str:
    """The audit as one JSON object; filters/audit.schema.json is its description."""
    audit, sender = figures.audit, figures.sender
    found = sorted({finding.category for finding in audit.findings})
    data = {
        "schema": SCHEMA,
        "findings": [finding_json(finding) for finding in audit.findings],
        "summary": _summary(figures),
        "opt_out": [route_json(route) for name in found for route in routes(sender, name, region)],
    }
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _lines(findings: Iterable[Finding]) -> Iterator[str]:
    """One finding on each line, as `findings` of the JSON has them."""
    for finding in findings:
        yield f"{json.dumps(finding_json(finding), ensure_ascii=False)}\n"


def _csv(findings: Iterable[Finding]) -> Iterator[str]:
    """One finding on each line (RFC 4180), below a line of names. No cell is taken for a formula."""
    yield _row(_COLUMNS)
    for finding in findings:
        cells = finding_json(finding) | {"quote": quote_of(finding)}
        cells["wording"] = finding.wording.text_id if finding.wording else ""
        yield _row([_cell(cells[name]) for name in _COLUMNS])


def _row(cells: list[str] | tuple[str, ...]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow(cells)
    return out.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, float | int) else csv_cell(str(value))


#: Formats that tell of one finding after another, and need not know them all: findings to lines.
LINES: Mapping[str, Callable[[Iterable[Finding]], Iterator[str]]] = {"jsonl": _lines, "csv": _csv}


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
        "explained": finding.explained,
        "wording": finding.wording
        and {
            "text_id": finding.wording.text_id,
            "quote": safe_text(finding.wording.quote),
            "promises": list(finding.wording.promises),
        },
    }


def _summary(figures: Figures) -> dict[str, Any]:
    audit = figures.audit
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
    } | _figures(figures)


def _figures(figures: Figures) -> dict[str, Any]:
    audit = figures.audit
    return {
        "genuine": len(figures.genuine),
        "forged": len(audit.forged),
        "unsure": len(audit.unsure),
        "unverified": len(audit.unverified),
        "unexplained": len(audit.unexplained),
        "undated": figures.undated,
        "first_date": figures.span[0] if figures.span else "",
        "last_date": figures.span[1] if figures.span else "",
        "stopped": audit.stopped,
        "kinds": [
            {"category": kind.name, "mails": kind.mails, "promotional": kind.promotional, "to_move": kind.to_move}
            for kind in figures.kinds
        ],
        "months": [
            {"month": month, "categories": dict(sorted(counts.items()))}
            for month, counts in sorted(figures.months.items())
        ],
        "weekdays": [{"promotional": one[True], "other": one[False]} for one in figures.weekdays],
        "hours": [{"promotional": one[True], "other": one[False]} for one in figures.hours],
        "advertisers": [
            {"name": safe_text(name), "promotional": count}
            for name, count in sorted(figures.senders.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        "promises": [_promise(checked) for checked in check(figures)],
    } | _aftermath(figures)


def _promise(checked: Checked) -> dict[str, Any]:
    promise = checked.promise
    return {
        "text_id": promise.text_id,
        "said": promise.said,
        "days": promise.days,
        "at_most": promise.at_most,
        "covers": promise.covers,
        "beyond": promise.beyond,
        "mails": checked.mails,
        "intervals": len(checked.gaps),
        "sooner": [
            {
                "first": {"date": one.first.date, "message_id": safe_text(one.first.message_id)},
                "second": {"date": one.second.date, "message_id": safe_text(one.second.message_id)},
                "days": round(one.days, 2),
            }
            for one in checked.sooner
        ],
    }


def _aftermath(figures: Figures) -> dict[str, Any]:
    if not figures.opted_out:
        return {}
    found = since_opt_out(figures, figures.opted_out)
    rows = [{"kind": row.title, "before": row.before, "waiting": row.waiting, "after": row.after} for row in found.rows]
    return {
        "since_opt_out": {
            "opted_out": str(found.opted_out),
            "waiting_until": str(found.until),
            "days": found.days,
            "kinds": rows,
        }
    }
