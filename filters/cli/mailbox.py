"""The commands that go through a mailbox: audit looks, clean moves."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from filters import __version__, corrections, moving, senders
from filters.cli.ending import ENDING
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
    check_day,
    check_region,
    console,
    journal_path,
    journal_to_change,
    policy,
    progress,
    setup,
    warn,
)
from filters.cli.writing import check_free, write_private
from filters.corrections import Noticed
from filters.errors import FiltersError, LimitError, RefusedError, UsageError
from filters.journal import OPEN, TAKEN_BACK, Candidate, Journal, look_into
from filters.journal import Move as MoveRow
from filters.lessons import PROMOTIONAL
from filters.limits import DAYS, MAX_MOVES, Limits
from filters.report import (
    FORMATS,
    Audit,
    Figures,
    audit_text,
    headline,
    opt_out_text,
    promotional_list,
    say,
    without_names,
)
from filters.safe_text import safe_text
from filters.sources import Source
from filters.sweep import Policy, Setup, sweep

DEFAULT_TARGET = "LinkedIn"
_AGAIN = "Run it again to be asked, or add --yes."
_TELL_SECONDS = 0.1
_LIFT = "Look at it with --dry-run; lift the brake with --no-brake."


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(audit)
    app.command()(clean)


def audit(
    sources: Sources,
    output: Annotated[
        str, typer.Option("--format", metavar="text|json|jsonl|csv", help="Text for you, the others for programs.")
    ] = "text",
    move: Move = None,
    trust: Trust = None,
    unverified: Unverified = "keep",
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
    region: Region = "",
    password_command: PasswordCommand = "",
    ca_file: CaFile = None,
) -> None:
    """Look only: what LinkedIn sends, which of it is promotional and why, and how to opt out. Changes nothing."""
    if output not in ("text", *FORMATS):
        raise UsageError(f"--format is text, {', '.join(FORMATS)}; not {safe_text(output)}.")
    sender = senders.load()
    wanted, place, opted_out = policy(sender, move, unverified), check_region(region), check_day(since_opt_out)
    if html:
        check_free(html, force)
    found = audit_sources(sources, access(password_command, ca_file), trust, wanted)
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


def audit_sources(locations: list[str], way_in: Access, trust: list[str] | None, wanted: Policy) -> Audit:
    """What the sources hold. Opens them without leave to change anything. Ctrl-C ends the looking, and leaves what was seen."""
    found = Audit()
    try:
        for location in locations:
            with closing(way_in.open(location, changes=False)) as source:
                gather_by_journal(source, setup(source, trust), wanted, found)
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


def clean(
    sources: Sources,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be moved, and move nothing.")] = False,
    to: Annotated[
        str, typer.Option("--to", metavar="FOLDER", help="Folder to move to; made when missing.")
    ] = DEFAULT_TARGET,
    yes: Annotated[bool, typer.Option("--yes", help="Move without asking.")] = False,
    max_moves: Annotated[
        int,
        typer.Option(
            "--max-moves", metavar="N", min=1, help="Move at most so many in one run; the rest is for the next."
        ),
    ] = MAX_MOVES,
    no_brake: Annotated[
        bool, typer.Option("--no-brake", help="Move also when it is far more than usual, or a fifth of the folder.")
    ] = False,
    move: Move = None,
    trust: Trust = None,
    unverified: Unverified = "keep",
    region: Region = "",
    password_command: PasswordCommand = "",
    ca_file: CaFile = None,
) -> None:
    """Move the promotional mail to a folder, after showing it and asking. `undo` takes it back.

    The first run for an account only shows, unless you add --yes.
    """
    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError("There is no terminal to ask on. Add --yes to move, or --dry-run to see what would be moved.")
    if not to or to != to.strip():
        raise UsageError("--to wants the name of a folder, without blanks before or after it.")
    sender = senders.load()
    wanted, place = policy(sender, move, unverified), check_region(region)
    out = console()
    way_in, limits, limited = access(password_command, ca_file), Limits(max_moves, not no_brake), 0
    for location in sources:
        with closing(way_in.open(location, changes=not dry_run)) as source:
            how = setup(source, trust)
            try:
                if dry_run:
                    dry_run_one(out, source, how, wanted, to)
                else:
                    ask = None if yes else typer.confirm
                    clean_one(out, way_in, source, how, wanted, to, journal_path(), limits, ask)
            except LimitError as error:
                warn(str(error))
                limited = error.exit_code
    out.print()
    opt_out_text(out, sender, sorted(sender.promotional), place, brief=True)
    raise typer.Exit(limited)


def dry_run_one(out: Console, source: Source, how: Setup, wanted: Policy, to: str) -> None:
    """Sweep one source that was opened without leave to change anything, and show what would be moved."""
    found = gather_by_journal(source, how, wanted, Audit(), to)
    _show(out, found, how)
    say(out, f"Dry run: {len(found.to_move)} would be moved to {to}; nothing was changed.", "bold")


def clean_one(
    out: Console,
    way_in: Access,
    source: Source,
    how: Setup,
    wanted: Policy,
    to: str,
    journal_file: Path,
    limits: Limits,
    ask: Callable[[str], bool] | None,
) -> None:
    """Sweep one source, show what is to be moved, ask, move, and say what was done.

    With `ask` None nobody can be asked: then LimitError tells of moves that a limit stopped.
    """
    if not source.can_move:
        raise RefusedError(source.why_not)
    now = datetime.now(UTC)
    with journal_to_change(journal_file) as journal, journal.run(source.account, "clean", now) as run:
        _settled(out, moving.reconcile(source, journal))
        _settled(out, moving.reconcile_all(way_in.open_at(source.account), journal, source.account))
        found = gather(source, how, wanted, journal.barred(source.account), Audit())
        _notice(out, source, journal, run, how, found, to)
        _show(out, found, how)
        chosen = found.to_move[: limits.first(len(found.to_move))]
        left = len(found.to_move) - len(chosen)
        braked = limits.why_braked(len(found.to_move), found.tally.messages, _usual(journal, source.account, now))
        if not chosen:
            say(out, "Nothing to move.", "bold")
        elif ask and not _is_known(journal, source.account):
            say(out, f"This was the first run for this account, so nothing was moved. {_AGAIN}", "bold")
        elif (braked and not ask) or (ask and not _agreed(out, ask, len(chosen), left, to, braked)):
            say(out, "Nothing was moved.", "bold")
        else:
            with _told_when_broken_off(out, journal, run, to):
                outcome = moving.move(source, journal, run, [one.candidate for one in chosen], to, ENDING.hold)
            _moved(out, outcome, to, run)
            braked = ""
            if left and ask:
                say(out, _more(left, limits), "yellow")
    if not ask and (braked or left):
        why = f"{braked} Nothing was moved. {_LIFT}" if braked else _more(left, limits)
        raise LimitError(f"{place_name(source)}: {why}")


def _notice(out: Console, source: Source, journal: Journal, run: str, how: Setup, found: Audit, to: str) -> None:
    """See which mail somebody moved since the last run, remember it, and say so in a line."""
    noticed = corrections.notice(source, journal, candidates(found, source), to)
    hold_back(found, noticed)
    doubtful = unverified(found)
    noticed = noticed.without(doubtful)
    left = [one for one in found.findings if one.action == "keep" and not one.promotional]
    taught = [one.candidate for one in left if one.candidate.identity not in doubtful]
    corrections.remember(journal, source.account, run, noticed, taught)
    never = {name for name, one in how.sender.categories.items() if one.action == "never"}
    if count := len(corrections.teachable(journal.lessons.of(source.account).values(), never)):
        some = "1 correction" if count == 1 else f"{count:,} corrections"
        say(out, f"{some} seen; `unpitch learn` learns from {'it' if count == 1 else 'them'}.", "bold")
    for one in noticed.corrections:
        if one.label == PROMOTIONAL and one.category in never:
            title = how.sender.categories[one.category].title
            say(
                out,
                f"{title} mail was put into {one.folder}: <{one.message_id}>. Nothing is learnt from that.",
                "yellow",
            )


@contextmanager
def _told_when_broken_off(out: Console, journal: Journal, run: str, to: str) -> Iterator[None]:
    """Whatever ends a run, it says what it did, by the journal."""
    try:
        yield
    except BaseException:
        with suppress(FiltersError):
            states = Counter(move.state for move in journal.moves(run))
            say(out, f"{states['done']:,} moved to {to} before it was broken off.", "bold yellow")
            if under_way := sum(states[state] for state in OPEN):
                say(out, f"What became of {under_way:,} more is not proven yet; the next run settles it.", "yellow")
        raise


def _is_known(journal: Journal, account: str) -> bool:
    """Whether a run for this account came to its end before."""
    return any(run.command == "clean" and run.ended and not run.fault for run in journal.runs(account))


def _usual(journal: Journal, account: str, now: datetime) -> list[int]:
    """What each of the last runs moved that moved something, without what was taken back."""
    tallies = journal.tallies(account)
    recent = [
        run for run in journal.runs(account) if run.command == "clean" and run.started > now - timedelta(days=DAYS)
    ]
    return [moved for run in recent if (moved := tallies.get(run.id, Counter())["done"])]


def _agreed(out: Console, ask: Callable[[str], bool], count: int, left: int, to: str, braked: str) -> bool:
    some = f"{count:,} of {count + left:,}" if left else f"{count:,}"
    if braked:
        say(out, braked, "yellow")
        return ask(f"Move {f'{count:,} of them' if left else 'them'} to {to} all the same?")
    return ask(f"Move {some} to {to}?")


def _more(left: int, limits: Limits) -> str:
    return (
        f"{left:,} more {'was' if left == 1 else 'were'} left: at most {limits.max_moves:,} are moved in one run. Run it again for the rest, or lift it with"
        " --max-moves N."
    )


def _moved(out: Console, outcome: moving.Outcome, to: str, run: str) -> None:
    back = f" Take them back with: unpitch undo --run {run}" if outcome.moved else ""
    say(out, f"{len(outcome.moved)} moved to {to}.{back}", "bold green")
    for one in outcome.left:
        say(out, f"  left alone: {one.message_id or one.place.key}: {one.reason}")


def _show(out: Console, found: Audit, how: Setup) -> None:
    headline(out, found, how.sender)
    promotional_list(out, found.to_move, title="To move")
    kept = len(found.promotional) - sum(finding.promotional for finding in found.to_move)
    if kept:
        say(out, f"{kept} more look promotional and are kept; `unpitch audit` says why.")


def _settled(out: Console, rows: list[MoveRow]) -> None:
    """Tell what an earlier run, which broke off, had left open, as far as somebody must know."""
    for row in rows:
        if row.state in ("doubt", "vanished", *OPEN):
            what = row.reason or f"not settled yet, because {row.place.folder or 'its folder'} cannot be looked at now"
            say(out, f"Of run {row.run}, which broke off: {row.message_id or row.place.key}: {what}", "yellow")
