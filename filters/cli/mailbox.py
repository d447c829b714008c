"""The command that looks through mailboxes: audit."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from filters import __version__, corrections, senders
from filters.cli.options import (
    Access,
    CaFile,
    Keyring,
    Move,
    Never,
    OAuthTokens,
    OlderThan,
    PasswordCommand,
    PasswordFile,
    Region,
    Sources,
    TokenCommand,
    Trust,
    Unverified,
    access,
    check_day,
    console,
    journal_path,
    progress,
    warn,
)
from filters.cli.writing import check_free, write_private
from filters.corrections import Noticed
from filters.errors import FiltersError, UsageError
from filters.journal import TAKEN_BACK, Candidate, look_into
from filters.report import FORMATS, Audit, Figures, audit_text, without_names
from filters.safe_text import safe_text
from filters.sources import Source
from filters.sweep import Policy, Setup, sweep

_TELL_SECONDS = 0.1


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(audit)


def audit(
    sources: Sources,
    output: Annotated[
        str, typer.Option("--format", metavar="text|json|jsonl|csv", help="Text for you, the others for programs.")
    ] = "text",
    move: Move = None,
    never: Never = None,
    older_than_days: OlderThan = None,
    trust: Trust = None,
    unverified: Unverified = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page to look at, for you alone (0600).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the page when there is one already.")] = False,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Without addresses, names and subjects, so that it can be shown around.")
    ] = False,
    since_opt_out: Annotated[
        str, typer.Option("--since-opt-out", metavar="DATE", help="Also say what still arrives since you opted out.")
    ] = "",
    region: Region = None,
    password_command: PasswordCommand = "",
    oauth_token_command: TokenCommand = "",
    oauth_tokens: OAuthTokens = "",
    password_file: PasswordFile = None,
    keyring: Keyring = False,
    ca_file: CaFile = None,
) -> None:
    """Look only: what LinkedIn sends, which of it is promotional and why, and how to opt out. Changes nothing."""
    if output not in ("text", *FORMATS):
        raise UsageError(f"--format is text, {', '.join(FORMATS)}; not {safe_text(output)}.")
    way_in = access(
        password_command,
        ca_file,
        move=move,
        never=never,
        older_than_days=older_than_days,
        trust=trust,
        unverified=unverified,
        region=region,
        oauth_token_command=oauth_token_command,
        oauth_tokens=oauth_tokens,
        password_file=password_file,
        keyring=keyring,
    )
    sender, locations, opted_out = senders.load(), way_in.locations(sources), check_day(since_opt_out)
    place = way_in.region(locations)
    if html:
        check_free(html, force)
    found = audit_sources(locations, way_in)
    now = datetime.now(UTC)
    figures = Figures(without_names(found, sender) if anonymous else found, sender, now, None, opted_out)
    if html:
        write_private(html, page_of(figures, place), force)
    if output == "text":
        options = "".join(f" --trust-authserv {shlex.quote(one)}" for one in trust or ())
        audit_text(console(), figures, place, page=str(html or ""), options=options)
    else:
        for piece in FORMATS[output](figures, place):
            sys.stdout.write(piece)
    if found.stopped:
        warn(
            f"Stopped after {found.tally.messages:,} messages; this is about those. The same command again looks at all."
        )
        raise typer.Exit(130)


def page_of(figures: Figures, region: str) -> Iterator[bytes]:
    """The page of an audit, piece by piece."""
    from filters.report.page import Page, write_page  # noqa: PLC0415  (0.06 s that only a page should cost)

    return write_page(Page(figures, region, __version__))


def audit_sources(locations: list[str], way_in: Access) -> Audit:
    """What the sources hold. Opens them without leave to change anything. Ctrl-C ends the looking, and leaves what was seen."""
    found = Audit()
    try:
        for location in locations:
            with closing(way_in.open(location, changes=False)) as source:
                terms = way_in.terms(location, source)
                gather_by_journal(source, terms.setup, terms.policy, found)
    except KeyboardInterrupt:
        if not found.tally.messages:
            raise
        found.stopped = True
    return found


def gather_by_journal(source: Source, how: Setup, wanted: Policy, found: Audit, to: str = "") -> Audit:
    """`gather`, with what the journal knows of the mail there; which is only looked into."""
    journal = look_into(journal_path())
    if not journal:
        return gather(source, how, wanted, {}, found)
    with journal:
        gather(source, how, wanted, journal.barred(source.account), found)
        if journal.lessons.targets(source.account):
            hold_back(found, corrections.notice(source, journal, candidates(found, source), to))
    return found


def candidates(found: Audit, source: Source) -> list[Candidate]:
    """The mail of the sender's that was found in a source."""
    return [one.candidate for one in found.findings if (one.source, one.folder) == (source.account, source.folder)]


def unverified(found: Audit) -> set[str]:
    """Identities of mail that cannot teach, because nobody vouches for it."""
    return {one.candidate.identity for one in found.findings if one.authenticity != "verified"}


def hold_back(found: Audit, noticed: Noticed) -> None:
    """Leave alone what somebody took out of the target folder again."""
    found.findings[:] = [
        replace(one, action="keep", reason=TAKEN_BACK)
        if one.action == "move" and one.candidate.identity in noticed.put_back
        else one
        for one in found.findings
    ]


def gather(source: Source, how: Setup, wanted: Policy, barred: Mapping[str, str], found: Audit) -> Audit:
    """Sweep one source into `found`, with a line on the terminal that says how far it is."""
    found.sources.append(place_name(source))
    with progress() as line:
        for finding in sweep(source, how, wanted, barred, found.tally, _teller(line, source, found)):
            found.findings.append(finding)
    return found


def _teller(line: Progress, source: Source, found: Audit) -> Callable[[], object]:
    """Brings the line on the terminal up to date, ten times a second at most."""
    if line.disable:
        return int
    total, before, last = 0, found.tally.messages, 0.0
    with suppress(FiltersError, OSError):
        total = source.total()
    task = line.add_task("", total=total or None, rate="")

    def tell() -> None:
        nonlocal last
        if time.monotonic() - last > _TELL_SECONDS:
            last = time.monotonic()
            speed = line.tasks[0].speed
            done = f"{found.tally.messages:,} messages, {len(found.findings):,} candidates"
            rate = f"{speed:,.0f} a second" if speed else ""
            line.update(task, completed=found.tally.messages - before, description=done, rate=rate)

    return tell


def place_name(source: Source) -> str:
    """Account and folder as one printable name."""
    return f"{source.account}/{source.folder}" if source.folder else source.account
