"""Why a mail is taken for advertising, in one line."""

from __future__ import annotations

from typing import Any

from filters.safe_text import safe_text
from filters.sweep import Finding

_QUOTE_WIDTH = 300
#: Kinds of features that are sentences of the mail about itself, the surest first.
_STATEMENTS = ("disclosure_decisive", "disclosure_guess_decisive", "notice", "disclosure")


def why(finding: Finding) -> str:
    """Its strongest clue, quoted."""
    speaking = _speaking(finding)
    if stream := _stream(finding):
        return f"it comes from {stream}"
    if said := finding.wording.quote if finding.wording else _said(finding):
        return f"it says: “{safe_text(said, _QUOTE_WIDTH)}”"
    words = list(dict.fromkeys(clue["quote"] for clue in speaking)) or [clue["feature"] for clue in finding.evidence]
    return "its clues: " + ", ".join(f"“{safe_text(word, 60)}”" for word in words[:4])


def quote_of(finding: Finding) -> str:
    """The words by which it says that it is advertising, made safe; "" when its address says so, or nothing does."""
    if finding.wording:
        return safe_text(finding.wording.quote)
    return "" if _stream(finding) else safe_text(_said(finding))


def _stream(finding: Finding) -> str:
    return next((clue["quote"] for clue in _speaking(finding) if clue["feature"] == f"stream:{finding.category}"), "")


def _said(finding: Finding) -> str:
    for kind in _STATEMENTS:
        for clue in _speaking(finding):
            if clue["feature"].startswith(kind):
                return str(clue["quote"])
    return ""


def _speaking(finding: Finding) -> list[dict[str, Any]]:
    return [clue for clue in finding.evidence if clue["weight"] > 0 and clue["quote"]]
