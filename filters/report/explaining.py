"""One mail, explained."""

from __future__ import annotations

from rich.console import Console

from filters.report.audit import Audit
from filters.report.console import say
from filters.report.text import trust_hint
from filters.senders import Sender
from filters.sweep import Finding


def explain_text(console: Console, audit: Audit, sender: Sender) -> None:
    """One mail (or a few): what it is, how sure, whether it is genuine, and every clue with its weight."""
    for one in audit.tally.unreadable:
        say(console, f"It could not be judged, and a run would leave it alone: {one.reason}")
    if not audit.findings and not audit.tally.unreadable:
        say(console, f"This mail is not from {sender.title} and does not claim to be.")
    for finding in audit.findings:
        _explain(console, finding, sender)
        console.print()
    trust_hint(console, audit)


def _explain(console: Console, finding: Finding, sender: Sender) -> None:
    category = sender.categories[finding.category]
    verdict = "promotional" if finding.promotional else "unsure" if finding.unsure else "not promotional"
    say(console, f"{category.title} ({category.name}): {verdict}, P(promotional) = {finding.probability:.4f}", "bold")
    say(console, f"  From: {finding.from_}")
    say(console, f"  Subject: {finding.subject}")
    say(console, f"  Authenticity: {finding.authenticity}. {finding.authenticity_why}")
    say(console, f"  A run would {finding.action} it: {finding.reason}")
    say(console, "  Evidence (what each clue adds to the log-odds of this kind of mail):")
    for clue in finding.evidence:
        quote = f" “{clue['quote']}”" if clue["quote"] else ""
        weight = f"{clue['weight']:+7.2f}" if clue["weight"] else " " * 7
        say(console, f"  {weight}  {clue['feature']}{quote}")
