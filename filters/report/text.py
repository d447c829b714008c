"""An audit as text for a person."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from filters.report.audit import Audit, Figures, name_of
from filters.report.clues import why
from filters.report.console import counted, say, table_for
from filters.report.promises import Interval, check
from filters.report.routes import opt_out_text
from filters.report.since import since_opt_out
from filters.safe_text import safe_text
from filters.senders import Sender
from filters.sweep import UNVERIFIED, Finding

#: Lines of each list in the text report; JSON has them all.
LINES = 40
#: Cells before a timeline; columns of the shortest one; mails that are named as examples.
_LEAD, _FEWEST, _NEWEST = 14, 3, 3
_BLOCKS, _PLAIN_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


def audit_text(
    console: Console, figures: Figures, region: str, *, brief: bool = False, page: str = "", options: str = ""
) -> None:
    """The audit for a person: how much, of what kind and when, which of it is advertising and why, what is doubtful, how to opt out.

    `page`: where it is written as a page, too. `options`: what `clean` needs to see the same.
    """
    audit, sender = figures.audit, figures.sender
    headline(console, audit, sender)
    if audit.findings:
        _in_short(console, figures)
        console.print()
        console.print(_kinds(console, figures))
        _timeline(console, figures)
        promotional_list(console, audit.promotional)
        _kept_lists(console, audit)
        _promises(console, figures)
        _aftermath(console, figures)
        _drift(console, figures)
        trust_hint(console, audit)
    kinds = sorted({finding.category for finding in audit.promotional}) or sorted(sender.promotional)
    if audit.promotional or not brief:
        opt_out_text(console, sender, kinds, region, brief=True)
    _next(console, audit, page, options)


def _in_short(console: Console, figures: Figures) -> None:
    audit = figures.audit
    when = "From {} to {}: ".format(*figures.span) if figures.span else ""
    if audit.promotional:
        genuine = counted(len(figures.genuine), "mail")
        say(console, f"{when}{len(audit.promotional):,} of {genuine} ({figures.share:.0%}) were advertising.", "bold")
    else:
        say(console, f"{when}no advertising among them, as far as can be told.", "bold")


def _timeline(console: Console, figures: Figures) -> None:
    """Two lines of blocks: advertising, and all mail."""
    columns = figures.timeline(max(20, min(console.width, 80) - _LEAD - 20))
    if len(columns) < _FEWEST:
        return
    length = len(columns[0][0])
    promotional = Counter(f"{when:%Y-%m}"[:length] for when, one in figures.dated if one.promotional)
    advertising = [promotional[name] for name, _ in columns]
    everything = [counts.total() for _, counts in columns]
    blocks = _PLAIN_BLOCKS if console.options.ascii_only else _BLOCKS
    console.print()
    say(
        console,
        f"Mails by {'month' if length > len('2016') else 'year'}, {columns[0][0]} to {columns[-1][0]}",
        "bold",
    )
    for title, numbers, style in (("advertising", advertising, "red"), ("all", everything, "")):
        top = max(numbers)
        line = "".join(blocks[-(-number * (len(blocks) - 1) // max(top, 1))] for number in numbers)
        console.print(Text(f"  {title:{_LEAD}}") + Text(line, style) + Text(f"  most: {top:,}"), soft_wrap=True)
    if figures.undated:
        say(console, f"  Left out: {counted(figures.undated, 'mail')} with no date, or one that lies ahead.", "dim")


def _promises(console: Console, figures: Figures) -> None:
    for checked in check(figures):
        promise = checked.promise
        say(console, f"{figures.sender.title} promised: “{promise.said}”", "bold")
        mails, intervals = counted(checked.mails, "message"), counted(len(checked.gaps), "interval")
        if not checked.gaps:
            say(console, f"  {mails} with this sentence; one alone cannot come too soon.")
            console.print()
            continue
        sooner = f"{len(checked.sooner):,} of {intervals} shorter than {promise.days} days"
        say(console, f"  {mails} with this sentence: {sooner}.", "yellow" if checked.sooner else "")
        for one in checked.sooner[:LINES]:
            _pair(console, one)
        _and_more(console, len(checked.sooner))
        say(console, f"  {promise.covers} {promise.beyond}", "dim")
        console.print()


def _pair(console: Console, one: Interval) -> None:
    subjects = " / ".join(safe_text(mail.subject, 30) for mail in (one.first, one.second))
    say(console, f"  {one.first.date[:10]} and {one.second.date[:10]}, {one.days:.1f} days apart: {subjects}")


def _aftermath(console: Console, figures: Figures) -> None:
    if not figures.opted_out:
        return
    found = since_opt_out(figures, figures.opted_out)
    say(console, f"Since you opted out on {found.opted_out}", "bold")
    waiting = f"the waiting time of {found.business_days} business days"
    if not found.over:
        say(console, f"  {waiting[0].upper()}{waiting[1:]} ends on {found.until}; what comes until then is normal.")
    table = table_for(console)
    for title in ("Kind", f"{found.days:,} days before", "While waiting", f"{found.days:,} days after that"):
        table.add_column(title, justify="left" if title == "Kind" else "right")
    for row in found.rows:
        table.add_row(row.title, *(f"{number:,}" for number in (row.before, row.waiting, row.after)))
    console.print(table)
    if found.over:
        still = f"{len(found.still):,} promotional still came" if found.still else "nothing promotional came"
        say(console, f"  After {waiting}, which ended on {found.until}, {still}.")
    console.print()


def _drift(console: Console, figures: Figures) -> None:
    unexplained = sorted(figures.audit.unexplained, key=lambda one: one.date, reverse=True)
    if not unexplained:
        return
    what = f"{counted(len(unexplained), 'genuine mail')} with no wording and no template that unpitch knows"
    say(console, f"{what}; its data may be out of date. The newest:", "yellow")
    for finding in unexplained[:_NEWEST]:
        _mail_line(console, finding, "")
    say(console, "  To send in such a wording without private data: unpitch explain --redact MAIL.eml", "dim")
    console.print()


def _next(console: Console, audit: Audit, page: str, options: str) -> None:
    """The next step."""
    if page:
        say(console, f"The page is written: {page}", "bold green")
    places = " ".join(shlex.quote(name) for name in audit.sources)
    if audit.to_move and not audit.anonymous:
        say(console, f"Next, to see what would be moved: unpitch clean {places}{options} --dry-run", "bold")
    elif not audit.findings:
        say(console, "Nothing is to be done here. Another folder may hold what you look for: give its name.")


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
