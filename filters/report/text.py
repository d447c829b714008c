"""An audit as text for a person."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from filters.report.audit import Audit, Figures, name_of
from filters.report.clues import why
from filters.report.console import counted, say, table_for
from filters.report.routes import opt_out_text
from filters.safe_text import safe_text
from filters.senders import Sender
from filters.sweep import UNVERIFIED, Finding

#: Lines of each list in the text report; JSON has them all.
LINES = 40


def audit_text(console: Console, figures: Figures, region: str, *, brief: bool = False) -> None:
    """The audit for a person: how much, of what kind, which of it is advertising and why, what is doubtful, how to opt out."""
    audit, sender = figures.audit, figures.sender
    headline(console, audit, sender)
    if audit.findings:
        console.print()
        console.print(_kinds(console, figures))
        promotional_list(console, audit.promotional)
        _kept_lists(console, audit)
        trust_hint(console, audit)
    kinds = sorted({finding.category for finding in audit.promotional}) or sorted(sender.promotional)
    opt_out_text(console, sender, kinds, region, brief=brief)


def headline(console: Console, audit: Audit, sender: Sender) -> None:
    """How much was looked at, and how much of it is the sender's."""
    say(console, f"{counted(audit.tally.messages, 'message')} looked at in {', '.join(audit.sources)}.", "bold")
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


def _kinds(console: Console, figures: Figures) -> Table:
    table = table_for(console)
    for title, justify in (
        ("Kind of mail", "left"),
        ("Mails", "right"),
        ("Promotional", "right"),
        ("To move", "right"),
    ):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for kind in figures.kinds:
        cells = (kind.title, *(f"{number:,}" if number else "–" for number in kind.row[1:]))
        table.add_row(*map(Text, cells), style="bold" if kind.promotional else "")
    if figures.audit.forged:
        table.add_row("(looks forged)", f"{len(figures.audit.forged):,}", "–", "–")
    return table


def promotional_list(console: Console, findings: Sequence[Finding], title: str = "Promotional") -> None:
    """Each promotional mail with its strongest clue, newest first."""
    if not findings:
        return
    console.print()
    say(console, title, "bold")
    for finding in sorted(findings, key=lambda one: one.date, reverse=True)[:LINES]:
        _mail_line(console, finding, f"{finding.probability:4.0%}")
        say(console, f"    {why(finding)}", "dim")
        if finding.action != "move":
            unverified = finding.reason.startswith(UNVERIFIED)
            say(console, f"    kept: {UNVERIFIED if unverified else finding.reason}", "yellow")
    _and_more(console, len(findings))
    console.print()


def _kept_lists(console: Console, audit: Audit) -> None:
    for title, findings in (
        ("Looks forged: never moved, do not trust it", audit.forged),
        ("Unsure: kept", audit.unsure),
    ):
        if findings:
            say(console, title, "bold")
            for finding in findings[:LINES]:
                _mail_line(console, finding, "")
                say(console, f"    {finding.reason}", "dim")
            _and_more(console, len(findings))
            console.print()
    if audit.unverified:
        count = f"{len(audit.unverified):,}"
        say(console, f"Kept because nobody whom you trust says that they are genuine: {count}.", "yellow")


def _mail_line(console: Console, finding: Finding, lead: str) -> None:
    start = f"  {finding.date[:10] or 'no date':10}  {lead:>4}  "
    name = finding.from_ if finding.authenticity == "forged" else name_of(finding)
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
        say(console, f"  {seen.id or 'somebody without a name'}, {where}: {counted(count, 'mail')}")
    named = [seen for seen, _ in audit.tally.authserv_ids.most_common() if seen.id]
    if named:
        say(console, f"If {named[0].id} is your own mail provider or server, believe it by:")
        places = " ".join(shlex.quote(name) for name in audit.sources)
        say(console, f"  unpitch audit {places} --trust-authserv {named[0].id}:{named[0].placement}", "bold")
    console.print()


def _and_more(console: Console, count: int) -> None:
    if count > LINES:
        say(console, f"  and {count - LINES:,} more; --format json lists them all")


def _folder(folder: str) -> str:
    return folder or "the folder itself"
