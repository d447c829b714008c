"""The command that moves: clean. For a person who is asked, and for nights on which nobody is."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from filters import monitoring, senders
from filters.cli.mailbox import gather_by_journal
from filters.cli.nightly import clean_one, one_folder, show
from filters.cli.options import (
    Access,
    CaFile,
    Keyring,
    Move,
    Never,
    OlderThan,
    PasswordCommand,
    PasswordFile,
    Region,
    SourcesOrAll,
    Terms,
    To,
    TokenCommand,
    Trust,
    Unverified,
    access,
    console,
    journal_path,
    warn,
)
from filters.errors import FiltersError, LimitError, UsageError
from filters.limits import MAX_MOVES
from filters.monitoring import Done
from filters.report import Audit, opt_out_text, say
from filters.sources import Source


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(clean)


def clean(
    sources: SourcesOrAll = None,
    all_accounts: Annotated[bool, typer.Option("--all", help="All accounts of the configuration.")] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Look through whole folders, not only at what is new since the last run."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be moved, and move nothing.")] = False,
    to: To = None,
    yes: Annotated[bool, typer.Option("--yes", help="Move without asking.")] = False,
    max_moves: Annotated[
        int | None,
        typer.Option(
            "--max-moves",
            metavar="N",
            min=1,
            help=f"Move at most so many in one run; the rest is for the next. Default: {MAX_MOVES}.",
        ),
    ] = None,
    no_brake: Annotated[
        bool, typer.Option("--no-brake", help="Move also when it is far more than usual, or a fifth of the folder.")
    ] = False,
    move: Move = None,
    never: Never = None,
    older_than_days: OlderThan = None,
    trust: Trust = None,
    unverified: Unverified = None,
    region: Region = None,
    password_command: PasswordCommand = "",
    oauth_token_command: TokenCommand = "",
    password_file: PasswordFile = None,
    keyring: Keyring = False,
    ca_file: CaFile = None,
    megabytes_per_run: Annotated[
        int | None,
        typer.Option(
            "--megabytes-per-run",
            metavar="N",
            min=0,
            help="Fetch no more mail after so much; the rest is for the next run.",
        ),
    ] = None,
    megabytes_per_day: Annotated[
        int | None, typer.Option("--megabytes-per-day", metavar="N", min=0, help="The same within 24 hours.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something happened.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print also what it cost.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print one line of JSON at the end, for programs.")] = False,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", metavar="FILE", help="Write a text file for Prometheus' node exporter.")
    ] = None,
) -> None:
    """Move the promotional mail to a folder, after showing it and asking. `undo` takes it back.

    The first run for an account only shows, unless you add --yes. Of an account in the configuration, later runs look only at what is
    new. One that fails does not keep the others from their turn.
    """
    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError("There is no terminal to ask on. Add --yes to move, or --dry-run to see what would be moved.")
    if quiet and not (yes or dry_run):
        raise UsageError("--quiet hides what you would be asked about. Add --yes, or leave it out.")
    way_in = access(
        password_command,
        ca_file,
        to=to,
        move=move,
        never=never,
        older_than_days=older_than_days,
        trust=trust,
        unverified=unverified,
        region=region,
        max_moves=max_moves,
        no_brake=no_brake,
        oauth_token_command=oauth_token_command,
        password_file=password_file,
        keyring=keyring,
        megabytes_per_run=megabytes_per_run,
        megabytes_per_day=megabytes_per_day,
    )
    started, out = datetime.now(UTC), console()
    locations = _locations(way_in, sources or [], all_accounts)
    all_done: list[Done] = []
    for location in locations:
        shown = Console(file=io.StringIO(), highlight=False, emoji=False, markup=False) if quiet else out
        done = _one(shown, way_in, location, dry_run=dry_run, full=full, ask=None if yes else typer.confirm)
        all_done.append(done)
        if quiet and isinstance(shown.file, io.StringIO) and (done.moved or done.left or done.unsettled or done.error):
            print(shown.file.getvalue(), end="")
        if done.error:
            warn(done.error)
        if verbose:
            say(out, _cost(done), "dim")
    failed = [done.exit_code for done in all_done if done.exit_code not in (0, LimitError.exit_code)]
    code = next(iter(failed), max((done.exit_code for done in all_done), default=0))
    if not (quiet or failed):
        sender = senders.load()
        out.print()
        opt_out_text(out, sender, sorted(sender.promotional), way_in.region(locations), brief=True)
    if stats:
        print(monitoring.as_json(all_done, started, code))
    if metrics:
        monitoring.write_metrics(metrics, monitoring.as_metrics(all_done, datetime.now(UTC)))
    raise typer.Exit(code)


def _locations(way_in: Access, sources: list[str], all_accounts: bool) -> list[str]:
    """Where to go. Raises UsageError."""
    if all_accounts:
        if sources:
            raise UsageError("--all means every account; leave out the sources.")
        found = way_in.locations(account.name for account in way_in.config.accounts)
        if not found:
            raise UsageError(f"There are no accounts in {way_in.config.path}. `unpitch init` makes one.")
        return found
    if not sources:
        raise UsageError("Say which mailbox: a name from the configuration, a location, or --all.")
    return way_in.locations(sources)


def _one(
    out: Console, way_in: Access, location: str, *, dry_run: bool, full: bool, ask: Callable[[str], bool] | None
) -> Done:
    """One source from opening to closing; what goes wrong is in the answer."""
    account, start = way_in.account(location), time.monotonic()
    done = Done(account.name if account else location)
    try:
        with closing(way_in.open(location, changes=not dry_run)) as source:
            terms = way_in.terms(location, source)
            terms = terms if account and not full else replace(terms, judged_by="")
            if dry_run:
                dry_run_one(out, source, terms)
            else:
                clean_one(out, way_in, source, terms, journal_path(), ask, done)
    except FiltersError as error:
        done.error, done.exit_code = str(error), error.exit_code
    done.seconds = time.monotonic() - start
    return done


def _cost(done: Done) -> str:
    return (
        f"{done.account}: {done.messages:,} messages looked at, {done.received / 1000:,.1f} KB received,"
        f" {done.seconds:.1f} s."
    )


def dry_run_one(out: Console, source: Source, terms: Terms) -> None:
    """Sweep one source that was opened without leave to change anything, and show what would be moved."""
    found = gather_by_journal(source, terms.setup, terms.policy, Audit(), one_folder(terms.to))
    show(out, found, terms.setup)
    say(out, f"Dry run: {len(found.to_move)} would be moved to {terms.to}; nothing was changed.", "bold")
