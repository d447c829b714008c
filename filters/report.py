"""Findings as text for a person or JSON for a program, and the way to opt out; every word passes `safe_text`."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from filters.errors import UsageError
from filters.safe_text import escaped, safe_text
from filters.senders import OptOut, Sender
from filters.sweep import UNVERIFIED, Finding, Tally

#: Names the format of `audit --format json`; filters/audit.schema.json describes it.
SCHEMA = "unpitch-audit-1"
#: Lines of each list in the text report; JSON has them all.
LINES = 40
_QUOTE_WIDTH = 300


@dataclass(slots=True)
class Audit:
    """What one or more sweeps found."""

    sources: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def promotional(self) -> list[Finding]:
        """Findings that are promotional at the threshold, and not forged."""
        return [finding for finding in self.findings if finding.promotional and finding.authenticity != "forged"]

    @property
    def forged(self) -> list[Finding]:
        """Findings that only claim to be the sender's."""
        return [finding for finding in self.findings if finding.authenticity == "forged"]

    @property
    def to_move(self) -> list[Finding]:
        """Findings that `clean` would move."""
        return [finding for finding in self.findings if finding.action == "move"]


# --- JSON


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


# --- text


def audit_text(console: Console, audit: Audit, sender: Sender, region: str, *, brief: bool = False) -> None:
    """The audit for a person: how much, of what kind, which of it is advertising and why, what is doubtful, how to opt out."""
    headline(console, audit, sender)
    if audit.findings:
        console.print()
        console.print(_category_table(console, audit, sender))
        promotional_list(console, audit.promotional)
        _kept_lists(console, audit)
        trust_hint(console, audit)
    kinds = sorted({finding.category for finding in audit.promotional}) or sorted(sender.promotional)
    opt_out_text(console, sender, kinds, region, brief=brief)


def headline(console: Console, audit: Audit, sender: Sender) -> None:
    """How much was looked at, and how much of it is the sender's."""
    say(console, f"{_count(audit.tally.messages, 'message')} looked at in {', '.join(audit.sources)}.", "bold")
    count, advertising = len(audit.findings), len(audit.promotional)
    if not count:
        say(console, f"None is from {sender.title}, or claims to be.")
    else:
        forged = f"; {len(audit.forged):,} look forged" if audit.forged else ""
        say(console, f"{count:,} from {sender.title} or claiming to be: {advertising:,} promotional{forged}.", "bold")
    for one in audit.tally.unreadable[:LINES]:
        say(
            console,
            f"Could not be read, and was left alone: {one.place.key} in {_folder(one.place.folder)}: {one.reason}",
        )
    _and_more(console, len(audit.tally.unreadable))


def _category_table(console: Console, audit: Audit, sender: Sender) -> Table:
    table = table_for(console)
    for title, justify in (
        ("Kind of mail", "left"),
        ("Mails", "right"),
        ("Promotional", "right"),
        ("To move", "right"),
    ):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    kinds = Counter(finding.category for finding in audit.findings)
    promotional = Counter(finding.category for finding in audit.promotional)
    to_move = Counter(finding.category for finding in audit.to_move)
    for name, count in sorted(kinds.items(), key=lambda kind: (-promotional[kind[0]], -kind[1], kind[0])):
        cells = (sender.categories[name].title, f"{count:,}", f"{promotional[name]:,}", f"{to_move[name]:,}")
        table.add_row(
            *(Text(cell if cell != "0" else "–") for cell in cells), style="bold" if promotional[name] else ""
        )
    return table


def promotional_list(console: Console, findings: Sequence[Finding], title: str = "Promotional") -> None:
    """Each promotional mail with its strongest clue, newest first."""
    if not findings:
        return
    console.print()
    say(console, title, "bold")
    for finding in sorted(findings, key=lambda one: one.date, reverse=True)[:LINES]:
        _mail_line(console, finding, f"{finding.probability:4.0%}")
        say(console, f"    {_why(finding)}", "dim")
        if finding.action != "move":
            unverified = finding.reason.startswith(UNVERIFIED)
            say(console, f"    kept: {UNVERIFIED if unverified else finding.reason}", "yellow")
    _and_more(console, len(findings))
    console.print()


def _why(finding: Finding) -> str:
    speaking = [clue for clue in finding.evidence if clue["weight"] > 0 and clue["quote"]]
    streams = [clue["quote"] for clue in speaking if clue["feature"] == f"stream:{finding.category}"]
    if streams:
        return f"it comes from {streams[0]}"
    for kind in ("disclosure_decisive", "disclosure_guess_decisive", "notice", "disclosure"):
        said = [clue["quote"] for clue in speaking if clue["feature"].startswith(kind)]
        if said:
            return f"it says: “{safe_text(said[0], _QUOTE_WIDTH)}”"
    words = list(dict.fromkeys(clue["quote"] for clue in speaking)) or [clue["feature"] for clue in finding.evidence]
    return "its clues: " + ", ".join(f"“{safe_text(word, 60)}”" for word in words[:4])


def _kept_lists(console: Console, audit: Audit) -> None:
    unsure = [finding for finding in audit.findings if finding.unsure and finding.authenticity != "forged"]
    unverified = sum(finding.reason.startswith(UNVERIFIED) for finding in audit.findings)
    for title, findings in (("Looks forged: never moved, do not trust it", audit.forged), ("Unsure: kept", unsure)):
        if findings:
            say(console, title, "bold")
            for finding in findings[:LINES]:
                _mail_line(console, finding, "")
                say(console, f"    {finding.reason}", "dim")
            _and_more(console, len(findings))
            console.print()
    if unverified:
        say(console, f"Kept because nobody whom you trust says that they are genuine: {unverified:,}.", "yellow")


def _mail_line(console: Console, finding: Finding, lead: str) -> None:
    start = f"  {finding.date[:10] or 'no date':10}  {lead:>4}  "
    name = finding.from_ if finding.authenticity == "forged" else finding.from_.partition(" <")[0] or finding.from_
    if not console.is_terminal:
        say(console, f"{start}{name}  {finding.subject}")
        return
    width = 24 if console.width < 100 else 36
    line = Text(f"{start}{safe_text(name, width)}")
    line.pad_right(max(1, len(start) + width + 2 - line.cell_len))
    line.append(safe_text(finding.subject, max(20, console.width - len(start) - width - 2)))
    console.print(line, soft_wrap=True)


def trust_hint(console: Console, audit: Audit) -> None:
    """When mail is unverified: which receivers it names, and the command that would believe the commonest."""
    unverified = [finding for finding in audit.findings if finding.authenticity == "unverified"]
    if not unverified or not audit.tally.authserv_ids:
        return
    say(console, "Who says in these mails (Authentication-Results) whether they are genuine:")
    for seen, count in audit.tally.authserv_ids.most_common(5):
        where = "at the bottom" if seen.placement == "bottom" else f"{seen.placement} its Received line"
        say(console, f"  {seen.id or 'somebody without a name'}, {where}: {_count(count, 'mail')}")
    named = [seen for seen, _ in audit.tally.authserv_ids.most_common() if seen.id]
    if named:
        say(console, f"If {named[0].id} is your own mail provider or server, believe it by:")
        places = " ".join(shlex.quote(name) for name in audit.sources)
        say(console, f"  unpitch audit {places} --trust-authserv {named[0].id}:{named[0].placement}", "bold")
    console.print()


def say(console: Console, text: str, style: str = "", safe: Callable[[str], str] = safe_text) -> None:
    """Print safe text: wrapped under its own indentation on a terminal, one line when piped."""
    indent = len(text) - len(text.lstrip(" "))
    line = Text(safe(text[indent:]), style=style)
    wrapped = line.wrap(console, max(console.width - indent, 20)) if console.is_terminal else [line]
    for part in wrapped or [line]:
        console.print(Text(" " * indent) + part, soft_wrap=True)


def table_for(console: Console) -> Table:
    """A table that looks well on a terminal and is plain text when piped."""
    return Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, header_style="bold", show_edge=False)


def _and_more(console: Console, count: int) -> None:
    if count > LINES:
        say(console, f"  and {count - LINES:,} more; --format json lists them all")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _folder(folder: str) -> str:
    return folder or "the folder itself"


# --- opt out


def routes(sender: Sender, category: str, region: str) -> list[OptOut]:
    """Routes for a category: today's first (EU and elsewhere), then former ones; `region` "" is both.

    Raises UsageError for a category that does not exist.
    """
    if category not in sender.categories:
        raise UsageError(
            f"There is no category {safe_text(category)}. There are: {', '.join(sorted(sender.categories))}."
        )
    both = [*sender.opt_outs(category, live=True), *sender.opt_outs(category, live=False)]
    return [route for route in both if region in ("", route.region) or route.region == "any"]


def opt_out_text(
    console: Console, sender: Sender, categories: Iterable[str], region: str, *, brief: bool = False
) -> None:
    """How to switch kinds of mail off: today's routes, and unless `brief` the former ones, what the sender said at each time
    that it used, and the wider opt-outs."""
    for category in categories:
        say(console, f"How to switch off: {sender.categories[category].title}", "bold")
        for route in routes(sender, category, region):
            if route.live or not brief:
                _route(console, route)
        if brief:
            say(console, f"  Former routes and what else helps: unpitch opt-out {category}", "dim")
        console.print()
    if not brief and any(sender.categories[category].promotional for category in categories):
        _eras(console, sender)
        _advice(console, sender)


def _advice(console: Console, sender: Sender) -> None:
    say(console, "What else helps, and what to expect", "bold")
    for advice in sender.advice:
        guess = " (a guess at what was meant)" if advice.grade == "D" else ""
        say(console, f"  {advice.text}{guess}{f' {advice.url}' if advice.url else ''}", safe=escaped)


def _route(console: Console, route: OptOut) -> None:
    where = {"eu": " (EU and EEA)", "other": " (outside the EU)", "any": ""}[route.region]
    when = "today" if route.live else f"{route.since or '?'} to {route.until or '?'}"
    say(console, f"  {when}{where}: {route.title}")
    if route.steps:
        say(console, f"    {' > '.join(route.steps)}")
    if route.url:
        say(console, f"    {route.url}", "cyan" if route.live else "dim", safe=escaped)
    if route.shortcut and route.live:
        say(console, f"    perhaps directly (one source only): {route.shortcut}", safe=escaped)
    say(console, f"    {route.note} (newest evidence: {route.checked}, grade {route.grade})", "dim")


def _eras(console: Console, sender: Sender) -> None:
    say(console, f"What {sender.title} said that it uses to choose whom partners may write to", "bold")
    for era in sender.eras.values():
        if era.targeting or era.promise:
            say(
                console,
                f"  {era.since or '?'} to {era.until or '?'} ({era.product}): {era.targeting or 'nothing said'}",
            )
            if era.promise:
                say(console, f"    and promised: {era.promise}")
    console.print()


# --- explain


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
