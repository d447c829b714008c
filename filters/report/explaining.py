"""One mail, explained: as text, and made ready for the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from filters.report.audit import Audit
from filters.report.console import say
from filters.report.text import trust_hint
from filters.safe_text import safe_text
from filters.senders import Sender
from filters.sweep import Finding

_QUOTE_WIDTH = 80


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the mail's text; `clue`: number from 1 of the clue that it shows, 0 for none."""

    text: str
    clue: int
    weight: float


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
    title = f"{category.title} ({category.name}): {verdict_of(finding)}, P(promotional) = {finding.probability:.4f}"
    say(console, title, "bold")
    say(console, f"  From: {finding.from_}")
    say(console, f"  Subject: {finding.subject}")
    say(console, f"  Authenticity: {finding.authenticity}. {finding.authenticity_why}")
    say(console, f"  A run would {finding.action} it: {finding.reason}")
    if finding.explanation:
        say(console, f"  {thresholds(finding.explanation)}")
    say(console, "  Evidence (what each clue adds to the log-odds of this kind of mail):")
    for number, clue in enumerate(finding.evidence, 1):
        quote = f" “{clue['quote']}”" if clue["quote"] else ""
        weight = f"{clue['weight']:+7.2f}" if clue["weight"] else " " * 7
        say(console, f"  {number:2} {weight}  {clue['feature']}{quote} ({where(clue['feature'], sender)})")
    if finding.explanation:
        say(console, f"  What would have changed it: {what_would_change(finding)}")
        _in_place(console, finding)


def _in_place(console: Console, finding: Finding) -> None:
    """The lines of the mail that hold a clue, with its number."""
    say(console, "  Where it stands:")
    for line in lines(finding):
        if any(segment.clue for segment in line):
            shown = Text("    ")
            for segment in line:
                shown.append(safe_text(segment.text), "bold" if segment.clue else "dim")
                if segment.clue:
                    shown.append(f"[{segment.clue}]", "bold")
            console.print(shown, soft_wrap=not console.is_terminal)


def where(feature: str, sender: Sender) -> str:
    """The part of a mail that shows a feature."""
    parts = {
        "class": sender.class_header,
        "list_unsubscribe": "list-unsubscribe",
        "never": "from, or the template",
        "opt_out_link": "a link",
        "stream": "from",
        "template": f"{sender.template_header}, or the links",
    }
    return next((part for name, part in parts.items() if feature.startswith(name)), "the text")


def verdict_of(finding: Finding) -> str:
    """In a word or two."""
    return "promotional" if finding.promotional else "unsure" if finding.unsure else "not promotional"


def thresholds(explanation: dict[str, Any]) -> str:
    """From where on a mail is called promotional."""
    return f"From {explanation['threshold']:.2f} on a mail is called promotional; between {explanation['unsure']:.2f} and that it is unsure, and kept."


def what_would_change(finding: Finding) -> str:
    """The clues without which the verdict would be the other one."""
    flip = (finding.explanation or {})["flip"]
    if flip["rule"]:
        return f"nothing: {flip['rule']}."
    if not flip["without"]:
        return "nothing that stands in it; no few clues decide."
    clues = [
        one["feature"] + (f" “{safe_text(one['quote'], _QUOTE_WIDTH)}”" if one["quote"] else "")
        for one in flip["without"]
    ]
    other = "would not be called promotional" if finding.promotional else "would be called promotional"
    return f"without {' and '.join(clues)} it {other} (P = {flip['probability']:.2f})."


def lines(finding: Finding) -> Iterator[list[Segment]]:
    """The text of the mail, line by line, cut where clues begin and end. Of clues that overlap the strongest is shown."""
    explanation = finding.explanation or {"text": "", "marks": []}
    text, owner = explanation["text"], _owners(explanation["text"], explanation["marks"])
    start = 0
    for line in text.split("\n"):
        yield list(_segments(line, owner[start : start + len(line)], finding.evidence))
        start += len(line) + 1


def _owners(text: str, marks: Sequence[tuple[int, int, int]]) -> list[int]:
    """Of each character the number of its clue from 1, or 0."""
    owner = [0] * len(text)
    for start, end, number in sorted(marks, key=lambda mark: -mark[2]):
        owner[start:end] = [number + 1] * (end - start)
    return owner


def _segments(line: str, owner: Sequence[int], evidence: Sequence[dict[str, Any]]) -> Iterator[Segment]:
    start = 0
    for end in range(1, len(line) + 1):
        if end == len(line) or owner[end] != owner[start]:
            clue = owner[start]
            yield Segment(line[start:end], clue, evidence[clue - 1]["weight"] if clue else 0.0)
            start = end


def redacted_text(console: Console, audit: Audit) -> None:
    """What can be sent in of a mail."""
    for finding in audit.findings:
        for line in (finding.explanation or {"redacted": []})["redacted"]:
            print_line(console, line)


def print_line(console: Console, line: str) -> None:
    """One line as it is, to be copied."""
    console.print(Text(safe_text(line)), soft_wrap=True)
