"""The commands that tell: explain one mail, how to opt out, and the demo."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from filters import __version__, senders
from filters.cli import mailbox, nightly, undoing
from filters.cli.options import Access, Region, Trust, check_region, console, policy, setup, warn
from filters.cli.writing import check_free, write_private
from filters.demo import AUTHSERV_ID, Sample, sample_mailbox
from filters.errors import UsageError
from filters.preferences import Preferences
from filters.report import (
    Audit,
    Figures,
    audit_text,
    explain_text,
    opt_out_json,
    opt_out_markdown,
    opt_out_text,
    pages,
    redacted_text,
    routes,
    say,
)
from filters.safe_text import safe_text
from filters.senders import OptOut, Sender
from filters.sources import Passed, Wanted
from filters.sweep import Finding


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(explain)
    app.command("opt-out")(opt_out)
    app.command()(demo)


def explain(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="One mail: an .eml file, or - for stdin.", show_default=False)
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page, for you alone (0600).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the page when there is one already.")] = False,
    redact: Annotated[
        bool, typer.Option("--redact", help="Only what can be shown to anybody, to send in a wording that is new.")
    ] = False,
    trust: Trust = None,
) -> None:
    """Say of one mail what it is and why: verdict, evidence and where it stands, authenticity, what would have changed it. Changes nothing."""
    if html:
        check_free(html, force)
    sender = senders.load()
    found = Audit()
    with closing(Access(str).open(file, changes=False)) as source:
        how = replace(setup(source, trust, workers=1), task="filters.explanation:worker")
        mailbox.gather(source, how, policy(sender, None, "keep"), {}, found)
    if html and found.findings:
        write_private(html, _page_of(found.findings[0], sender), force)
    elif html:
        warn(f"There is nothing to explain, so no page was written to {html}.")
    if redact and found.findings:
        redacted_text(console(), found)
        warn("Read it before you send it: a gap may be missing. Other words than common ones are left out.")
    else:
        explain_text(console(), found, sender)


def _page_of(finding: Finding, sender: Sender) -> Iterator[bytes]:
    from filters.report.page import OneMail, write_mail  # noqa: PLC0415  (0.06 s that only a page should cost)

    return write_mail(OneMail(finding, sender, __version__))


def opt_out(
    category: Annotated[
        str, typer.Argument(metavar="[CATEGORY]", help="One category; default: the promotional ones.")
    ] = "",
    region: Region = None,
    output: Annotated[
        str,
        typer.Option(
            "--format", metavar="text|markdown|json", help="Text for you, the others to keep or for programs."
        ),
    ] = "text",
    open_pages: Annotated[
        bool, typer.Option("--open", help="Offer to open today's settings pages in the browser, one by one.")
    ] = False,
) -> None:
    """Tell how to opt out: today's route first, then former ones, each with its date and how sure it is."""
    if output not in ("text", "markdown", "json"):
        raise UsageError(f"--format is text, markdown or json; not {safe_text(output)}.")
    if open_pages and not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask on, and no page is opened unasked. Leave out --open.")
    sender, place = senders.load(), check_region(region)
    if category:
        routes(sender, category, place)  # there may be no such category
    chosen = [category] if category else sorted(sender.promotional)
    if output == "text":
        opt_out_text(console(), sender, chosen, place)
    else:
        print({"json": opt_out_json, "markdown": opt_out_markdown}[output](sender, chosen, place))
    if open_pages:
        _open(pages(sender, chosen, place))


def _open(found: list[OptOut]) -> None:
    """Ask of each page, and open it. Its address comes from our own data; nothing is clicked there."""
    if not found:
        warn("There is no page to open for this.")
    for route in found:
        if typer.confirm(f"Open {route.url} ({route.title})?", err=True) and not webbrowser.open(route.url):
            warn(f"No browser could be started. Open it yourself: {route.url}")


def demo() -> None:
    """Show everything on a sample mailbox: audit, clean, undo and opt-out. Needs no account and no network."""
    out = console()
    with sample_mailbox() as sample:
        _show(out, sample)


def _show(out: Console, sample: Sample) -> None:
    sender = senders.load()
    command = f"{sample.location} --trust-authserv {AUTHSERV_ID}"
    way_in = Access(sample.password, Preferences(trust_authserv=(AUTHSERV_ID,)))
    say(out, f"A sample mailbox of {sample.mails} invented mails {sample.about}.")
    _prompt(out, f"unpitch audit {command}")
    found = mailbox.audit_sources(Audit(), [sample.location], way_in)
    audit_text(out, Figures(found, sender, datetime.now(UTC), zone=None), "", brief=True)
    with TemporaryDirectory(prefix="unpitch-demo-") as state:
        journal = Path(state) / "journal.sqlite3"
        _prompt(out, f"unpitch clean {command} --yes")
        with closing(way_in.open(sample.location, changes=True)) as source:
            nightly.clean_one(out, way_in, source, way_in.terms(sample.location, source), journal, ask=None)
        _prompt(out, "unpitch undo --last")
        undoing.take_back(out, undoing.Choice(), way_in, journal)
    with closing(way_in.open(sample.location, changes=False)) as source:
        left = sum(
            seen.count if isinstance(seen, Passed) else 1 for seen in source.scan(Wanted(("FROM",), lambda _: False))
        )
    say(
        out,
        f"All {left} mails are back in the inbox." if left == sample.mails else f"Only {left} mails are in the inbox!",
    )
    _prompt(out, "unpitch opt-out partner_inmail --region eu")
    opt_out_text(out, sender, ["partner_inmail"], "eu")
    say(out, "Now your own mailbox; an audit only looks, and changes nothing:", "bold")
    for command in (
        "audit imaps://you@example.org@imap.example.org",
        "audit ~/Maildir takeout.mbox",
        "explain mail.eml",
    ):
        say(out, f"  unpitch {command}")


def _prompt(out: Console, command: str) -> None:
    say(out, "")
    say(out, f"$ {command}", "bold magenta")
