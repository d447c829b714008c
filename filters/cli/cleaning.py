"""The command that moves: clean. For a person who is asked, and for nights on which nobody is."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from filters import monitoring, senders
from filters.cli import fleet
from filters.cli.nightly import SHUT_OUT, clean_location
from filters.cli.options import (
    Access,
    CaFile,
    Keyring,
    LogAddresses,
    LogFormat,
    Move,
    Never,
    OAuthTokens,
    OlderThan,
    PasswordCommand,
    PasswordFile,
    Region,
    SourcesOrAll,
    To,
    TokenCommand,
    Trust,
    Unverified,
    access,
    begin,
    console,
    journal_path,
    warn,
)
from filters.errors import LimitError, UsageError
from filters.limits import MAX_MOVES
from filters.log import log
from filters.monitoring import Done
from filters.preferences import Preferences
from filters.report import opt_out_text, say


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
    oauth_tokens: OAuthTokens = "",
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
    accounts: Annotated[
        Path | None,
        typer.Option(
            "--accounts", metavar="FILE", help="Accounts of a file like the configuration, many at a time (with --yes)."
        ),
    ] = None,
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Of --accounts only the I-th of N parts, for N computers.")
    ] = "",
    scheduler: Annotated[
        str, typer.Option("--scheduler", metavar="ADDRESS", help="Have --accounts done by this Dask cluster.")
    ] = "",
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", min=0, help="Accounts at a time; 0: four for each processor.")
    ] = 0,
    per_host: Annotated[
        int, typer.Option("--per-host", metavar="N", min=1, help="Accounts at a time on one mail server.")
    ] = fleet.PER_HOST,
    stats: Annotated[bool, typer.Option("--stats", help="Print one line of JSON at the end, for programs.")] = False,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", metavar="FILE", help="Write a text file for Prometheus' node exporter.")
    ] = None,
    log_format: LogFormat = "text",
    log_addresses: LogAddresses = False,
) -> None:
    """Move the promotional mail to a folder, after showing it and asking. `undo` takes it back.

    The first run for an account only shows, unless you add --yes. Of an account in the configuration, later runs look only at what is
    new. One that fails does not keep the others from their turn.
    """
    mine = begin("clean", log_format, log_addresses)
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
        oauth_tokens=oauth_tokens,
        password_file=password_file,
        keyring=keyring,
        megabytes_per_run=megabytes_per_run,
        megabytes_per_day=megabytes_per_day,
    )
    started, out = datetime.now(UTC), console()
    if accounts:
        if sources or all_accounts or not (yes or dry_run):
            raise UsageError("--accounts FILE wants --yes or --dry-run, and no sources beside it.")
        if replace(way_in.asked, brake=None) != Preferences():
            raise UsageError(
                "What is wanted of the accounts stands in their file, under [defaults] or for each of them."
            )
        engine = fleet.on_cluster(scheduler) if scheduler else fleet.here(jobs, per_host)
        all_done, stopped = _fleet(
            out,
            fleet.load_tasks(accounts, shard, full=full, dry_run=dry_run),
            engine,
            brake=not no_brake,
            verbose=verbose,
        )
        code = LimitError.exit_code if stopped else _code(all_done)
    else:
        locations = _locations(way_in, sources or [], all_accounts)
        all_done, refused = [], set[str]()
        for number, location in enumerate(locations, 1):
            account = way_in.account(location)
            mine.account = account.name if account else number
            shown = Console(file=io.StringIO(), highlight=False, emoji=False, markup=False) if quiet else out
            ask = None if yes else typer.confirm
            done = clean_location(shown, way_in, location, journal_path(), refused, dry_run=dry_run, full=full, ask=ask)
            done.number = 0 if account else number
            all_done.append(done)
            text = shown.file.getvalue() if isinstance(shown.file, io.StringIO) else ""
            _tell(out, [done], text, verbose=verbose)
        mine.account, code = None, _code(all_done)
        if not quiet and code in (0, LimitError.exit_code):
            sender = senders.load()
            out.print()
            opt_out_text(out, sender, sorted(sender.promotional), way_in.region(locations), brief=True)
    if stats:
        print(monitoring.as_json(all_done, started, code, mine))
    if metrics:
        monitoring.write_metrics(metrics, monitoring.as_metrics(all_done, datetime.now(UTC), mine))
    raise typer.Exit(code)


def _code(all_done: Sequence[Done]) -> int:
    """That of the first failure; else whether a limit stopped something."""
    codes = [done.exit_code for done in all_done]
    return next((code for code in codes if code not in (0, LimitError.exit_code)), max(codes, default=0))


def _tell(out: Console, all_done: Sequence[Done], text: str, *, verbose: bool) -> None:
    """What was kept quiet about an account, if something happened there."""
    if any(done.moved or done.left or done.unsettled or done.error for done in all_done):
        print(text, end="")
    for done in all_done:
        monitoring.tell(log(), done)
        if done.error and done.error != SHUT_OUT and not log().as_json:
            warn(done.error if done.account in done.error else f"{done.account}: {done.error}")
        if verbose:
            say(out, _cost(done), "dim")


def _fleet(
    out: Console, todo: Sequence[fleet.Task], engine: fleet.Engine, *, brake: bool, verbose: bool
) -> tuple[list[Done], str]:
    """Clean all accounts of a fleet, and sum it up. What was done, and why it was stopped ("" when it was not)."""
    tell = lambda answer: _tell(out, answer.done, answer.text, verbose=verbose)  # noqa: E731
    all_done, stopped = fleet.clean_all(todo, engine, brake, tell)
    failed = sum(done.exit_code not in (0, LimitError.exit_code) for done in all_done)
    limited = sum(done.exit_code == LimitError.exit_code for done in all_done)
    moved, touched = sum(done.moved for done in all_done), sum(bool(done.moved) for done in all_done)
    text = f"{len(todo):,} accounts: {moved:,} moved in {touched:,} folders; {failed:,} failed, {limited:,} were stopped by a limit."
    say(out, text, "bold")
    if stopped:
        warn(f"{stopped} Look at what was moved with --verbose; go on with --no-brake.")
    return all_done, stopped


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


def _cost(done: Done) -> str:
    return (
        f"{done.account}: {done.messages:,} messages looked at, {done.received / 1000:,.1f} KB received,"
        f" {done.seconds:.1f} s."
    )
