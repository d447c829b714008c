"""The commands that go through a mailbox: audit looks, clean moves, undo takes back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from filters import moving, senders
from filters.cli.options import (
    Access,
    CaFile,
    Move,
    PasswordCommand,
    Region,
    Sources,
    Trust,
    Unverified,
    access,
    check_region,
    console,
    policy,
    progress,
    setup,
)
from filters.config import state_folder
from filters.database import is_there
from filters.errors import NotFoundError, RefusedError, UsageError
from filters.journal import Journal, Run, kept_in, open_journal
from filters.journal import Move as MoveRow
from filters.report import Audit, audit_json, audit_text, headline, opt_out_text, promotional_list, say
from filters.sources import Source
from filters.sources.opening import location_of
from filters.sweep import Policy, Setup, sweep

DEFAULT_TARGET = "LinkedIn"


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(audit)
    app.command()(clean)
    app.command()(undo)


def audit(
    sources: Sources,
    output: Annotated[
        str, typer.Option("--format", metavar="text|json", help="Text for you, JSON for programs.")
    ] = "text",
    move: Move = None,
    trust: Trust = None,
    unverified: Unverified = "keep",
    region: Region = "",
    password_command: PasswordCommand = "",
    ca_file: CaFile = None,
) -> None:
    """Look only: what LinkedIn sends, which of it is promotional and why, and how to opt out. Changes nothing."""
    if output not in ("text", "json"):
        raise UsageError(f"--format is text or json, not {output}.")
    sender = senders.load()
    wanted, place = policy(sender, move, unverified), check_region(region)
    found = audit_sources(sources, access(password_command, ca_file), trust, wanted)
    if output == "json":
        print(audit_json(found, sender, place))
    else:
        audit_text(console(), found, sender, place)


def audit_sources(locations: list[str], way_in: Access, trust: list[str] | None, wanted: Policy) -> Audit:
    """What the sources hold. Opens them without leave to change anything."""
    found = Audit()
    for location in locations:
        with closing(way_in.open(location, changes=False)) as source:
            gather(source, setup(source, trust), wanted, kept_in(journal_path(), source.account), found)
    return found


def gather(source: Source, how: Setup, wanted: Policy, kept: frozenset[str], found: Audit) -> Audit:
    """Sweep one source into `found`, with a line on the terminal that says how far it is."""
    found.sources.append(place_name(source))
    with progress() as line:
        task = line.add_task("")
        for finding in sweep(source, how, wanted, kept, found.tally):
            found.findings.append(finding)
            line.update(task, description=f"{found.tally.messages:,} messages, {len(found.findings):,} candidates")
    return found


def place_name(source: Source) -> str:
    """Account and folder as one printable name."""
    return f"{source.account}/{source.folder}" if source.folder else source.account


def clean(
    sources: Sources,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be moved, and move nothing.")] = False,
    to: Annotated[
        str, typer.Option("--to", metavar="FOLDER", help="Folder to move to; made when missing.")
    ] = DEFAULT_TARGET,
    yes: Annotated[bool, typer.Option("--yes", help="Move without asking.")] = False,
    move: Move = None,
    trust: Trust = None,
    unverified: Unverified = "keep",
    region: Region = "",
    password_command: PasswordCommand = "",
    ca_file: CaFile = None,
) -> None:
    """Move the promotional mail to a folder, after showing it and asking. `undo` takes it back."""
    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError("There is no terminal to ask on. Add --yes to move, or --dry-run to see what would be moved.")
    if not to or to != to.strip():
        raise UsageError("--to wants the name of a folder, without blanks before or after it.")
    sender = senders.load()
    wanted, place = policy(sender, move, unverified), check_region(region)
    out = console()
    way_in = access(password_command, ca_file)
    for location in sources:
        with closing(way_in.open(location, changes=not dry_run)) as source:
            if dry_run:
                dry_run_one(out, source, setup(source, trust), wanted, to)
            else:
                clean_one(out, source, setup(source, trust), wanted, to, journal_path(), agreed=_agreed(yes))
    out.print()
    opt_out_text(out, sender, sorted(sender.promotional), place, brief=True)


def _agreed(yes: bool) -> Callable[[int, str], bool]:
    return lambda count, to: yes or typer.confirm(f"Move {count} to {to}?", default=False)


def dry_run_one(out: Console, source: Source, how: Setup, wanted: Policy, to: str) -> None:
    """Sweep one source that was opened without leave to change anything, and show what would be moved."""
    found = gather(source, how, wanted, kept_in(journal_path(), source.account), Audit())
    _show(out, found, how)
    say(out, f"Dry run: {len(found.to_move)} would be moved to {to}; nothing was changed.", "bold")


def clean_one(
    out: Console,
    source: Source,
    how: Setup,
    wanted: Policy,
    to: str,
    journal_file: Path,
    *,
    agreed: Callable[[int, str], bool],
) -> None:
    """Sweep one source, show what is to be moved, ask, move, and say what was done."""
    if not source.can_move:
        raise RefusedError(source.why_not)
    now = datetime.now(UTC)
    with open_journal(journal_file) as journal, journal.run(source.account, "clean", now) as run:
        _settled(out, moving.reconcile(source, journal))
        found = gather(source, how, wanted, journal.kept(source.account), Audit())
        _show(out, found, how)
        if not found.to_move:
            say(out, "Nothing to move.", "bold")
            return
        if not agreed(len(found.to_move), to):
            say(out, "Nothing was moved.", "bold")
            return
        outcome = moving.move(source, journal, run, [finding.candidate for finding in found.to_move], to)
        back = f" Take them back with: unpitch undo --run {run}" if outcome.moved else ""
        say(out, f"{len(outcome.moved)} moved to {to}.{back}", "bold green")
        _left(out, outcome)


def _show(out: Console, found: Audit, how: Setup) -> None:
    headline(out, found, how.sender)
    promotional_list(out, found.to_move, title="To move")
    kept = len(found.promotional) - sum(finding.promotional for finding in found.to_move)
    if kept:
        say(out, f"{kept} more look promotional and are kept; `unpitch audit` says why.")


def _settled(out: Console, rows: list[MoveRow]) -> None:
    """Tell what an earlier run, which broke off, had left open, as far as somebody must know."""
    for row in rows:
        if row.state in ("doubt", "vanished"):
            say(out, f"Of run {row.run}, which broke off: {row.message_id or row.place.key}: {row.reason}", "yellow")


def _left(out: Console, outcome: moving.Outcome) -> None:
    for one in outcome.left:
        say(out, f"  left alone: {one.message_id or one.place.key}: {one.reason}")


def undo(
    last: Annotated[bool, typer.Option("--last", help="The last run that moved something (the default).")] = False,
    run: Annotated[str, typer.Option("--run", metavar="ID", help="The run with this id.")] = "",
    password_command: PasswordCommand = "",
    ca_file: CaFile = None,
) -> None:
    """Put back what a run moved, with flags and date. What was taken back once is not moved again."""
    if last and run:
        raise UsageError("--last and --run exclude each other.")
    undo_run(console(), run, access(password_command, ca_file), journal_path())


def journal_path() -> Path:
    """Where the journal of all accounts lies."""
    return state_folder() / "journal.sqlite3"


def undo_run(out: Console, run: str, way_in: Access, journal_file: Path) -> None:
    """Take back one run, or with an empty `run` the last that moved something."""
    if not is_there(journal_file):
        what = f"run {run}" if run else "last run"
        raise NotFoundError(f"There is no {what}: nothing was moved yet (there is no journal at {journal_file}).")
    with open_journal(journal_file) as journal:
        chosen = _chosen(journal, run)
        rows = [move for move in journal.moves(chosen.id) if move.undoes is None]

        def open_at(folder: str) -> Source:
            return way_in.open(location_of(chosen.account, folder), changes=True)

        with journal.run(chosen.account, "undo", datetime.now(UTC)) as this:
            outcome = moving.undo(open_at, journal, this, rows)
    arrived = len(outcome.moved) + len(outcome.left)  # of a run that was stopped, some were never moved
    say(out, f"Run {chosen.id}: {len(outcome.moved)} of {arrived} put back.", "bold green")
    _left(out, outcome)


def _chosen(journal: Journal, run: str) -> Run:
    if not run:
        last = journal.last_run()
        if last is None:
            raise NotFoundError("No run has moved anything yet, so there is nothing to undo.")
        return last
    found = [one for one in journal.runs() if one.id == run]
    if not found:
        known = ", ".join(one.id for one in journal.runs()[-5:]) or "none"
        raise NotFoundError(f"There is no run {run} in the journal. The last ones are: {known}.")
    return found[0]
