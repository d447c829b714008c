"""The command that moves: clean. For a person who is asked, and for nights on which nobody is."""

from __future__ import annotations

import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from filters import corrections, monitoring, moving, senders
from filters.cli.ending import ENDING
from filters.cli.mailbox import candidates, gather, gather_by_journal, hold_back, place_name, unverified
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
    SourcesOrAll,
    Terms,
    To,
    TokenCommand,
    Trust,
    Unverified,
    access,
    console,
    journal_path,
    journal_to_change,
    warn,
)
from filters.errors import FiltersError, LimitError, RefusedError, UsageError
from filters.journal import OPEN, Journal, numbers
from filters.journal import Move as MoveRow
from filters.lessons import PROMOTIONAL
from filters.limits import DAYS, MAX_MOVES, Limits
from filters.monitoring import Done
from filters.report import Audit, headline, opt_out_text, promotional_list, say
from filters.sources import Source
from filters.sweep import Finding, Setup

_AGAIN = "Run it again to be asked, or add --yes."
_LIFT = "Look at it with --dry-run; lift the brake with --no-brake."
#: So many messages of a folder may wait to be looked at again; where there are more, the next run looks through all of it.
_AGAIN_MOST = 1_000
_MEGABYTE = 1_000_000


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
        oauth_tokens=oauth_tokens,
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
    found = gather_by_journal(source, terms.setup, terms.policy, Audit(), _plain(terms.to))
    _show(out, found, terms.setup)
    say(out, f"Dry run: {len(found.to_move)} would be moved to {terms.to}; nothing was changed.", "bold")


def clean_one(
    out: Console,
    way_in: Access,
    source: Source,
    terms: Terms,
    journal_file: Path,
    ask: Callable[[str], bool] | None,
    done: Done | None = None,
) -> None:
    """Sweep one source, show what is to be moved, ask, move, and say what was done; `done` is told as well.

    With `ask` None nobody can be asked: then LimitError tells of moves that a limit stopped.
    """
    if not source.can_move:
        raise RefusedError(source.why_not)
    done, now = done or Done(source.account), datetime.now(UTC)
    done.folder = source.folder
    with journal_to_change(journal_file) as journal, journal.run(source.account, "clean", now) as run:
        done.run = run
        done.unsettled = _settled(out, moving.reconcile(source, journal))
        done.unsettled += _settled(out, moving.reconcile_all(way_in.open_at(source.account), journal, source.account))
        with _counted(source, journal, terms, now, done):
            found = gather(source, terms.setup, terms.policy, journal.barred(source.account), Audit())
            _notice(out, source, journal, run, terms.setup, found, _plain(terms.to))
            why = _cleaned(out, source, terms, journal, run, found, ask, done)
        if source.extent.stopped and not ask:
            why = why or f"{_used_up(terms)} The rest is for the next run."
    if why:
        raise LimitError(f"{place_name(source)}: {why}")


def _cleaned(
    out: Console,
    source: Source,
    terms: Terms,
    journal: Journal,
    run: str,
    found: Audit,
    ask: Callable[[str], bool] | None,
    done: Done,
) -> str:
    """Move what was found, as far as limits and the person let us. What a limit stopped is said in words where nobody can be asked."""
    _show(out, found, terms.setup)
    limits, to = terms.limits, terms.to
    chosen = found.to_move[: limits.first(len(found.to_move))]
    left = len(found.to_move) - len(chosen)
    looked_at = max(found.tally.messages, source.extent.count)
    usual = _usual(journal, source.account, datetime.now(UTC))
    braked = limits.why_braked(len(found.to_move), looked_at, usual)
    outcome = moving.Outcome()
    if not chosen:
        say(out, "Nothing to move.", "bold")
    elif ask and not _is_known(journal, source.account):
        say(out, f"This was the first run for this account, so nothing was moved. {_AGAIN}", "bold")
    elif (braked and not ask) or (ask and not _agreed(out, ask, len(chosen), left, to, braked)):
        say(out, "Nothing was moved.", "bold")
    else:
        with _told_when_broken_off(out, journal, run, to):
            outcome = _moving(source, journal, run, chosen, to)
        _moved(out, outcome, to, run)
        braked = ""
        if left and ask:
            say(out, _more(left, limits), "yellow")
    done.messages, done.found, done.unreadable = found.tally.messages, len(found.findings), len(found.tally.unreadable)
    done.moved, done.left = len(outcome.moved), len(found.to_move) - len(outcome.moved)
    _remember(source, terms, journal, found, outcome)
    if ask or not (braked or left):
        return ""
    return f"{braked} Nothing was moved. {_LIFT}" if braked else _more(left, limits)


# --- how far a folder was looked through, and what it cost


@contextmanager
def _counted(source: Source, journal: Journal, terms: Terms, now: datetime, done: Done) -> Iterator[None]:
    """Begin where the last run ended, within the budget; count what came, however the run ends."""
    extent = source.extent
    if terms.judged_by:
        extent.begin = journal.mark(source.account, source.folder, terms.judged_by)
    extent.budget = terms.bytes_per_run
    if terms.bytes_per_day:
        today = terms.bytes_per_day - journal.traffic(source.account, now - timedelta(days=1))
        if today <= 0:
            raise LimitError(f"{place_name(source)}: {_used_up(terms)} Go on tomorrow.")
        extent.budget = min(extent.budget or today, today)
    try:
        yield
    finally:
        done.received = extent.received()
        if done.received:
            with suppress(FiltersError):  # the first error is the one to tell
                journal.add_traffic(source.account, done.received)


def _used_up(terms: Terms) -> str:
    return (
        f"The budget is used up (megabytes_per_run {terms.bytes_per_run // _MEGABYTE or 'without limit'}, megabytes_per_day"
        f" {terms.bytes_per_day // _MEGABYTE or 'without limit'})."
    )


def _remember(source: Source, terms: Terms, journal: Journal, found: Audit, outcome: moving.Outcome) -> None:
    """Note how far the folder was looked through. Once more is looked at what could not be read, is too young, or was to be moved and
    was not, whoever stopped it: nothing that nobody judged, and nothing that waits, is ever passed over."""
    end = source.extent.end
    if not (terms.judged_by and end):
        return
    moved = {row.place.key for row in outcome.moved}
    waiting = {one.key for one in found.findings if (one.action == "move" or one.later) and one.key not in moved}
    waiting |= {one.place.key for one in found.tally.unreadable if one.place.folder == source.folder}
    again = {*end.again, *(int(uid) for validity, uid in map(numbers, waiting) if validity == end.uidvalidity)}
    if len(again) <= _AGAIN_MOST:
        mark = replace(end, again=tuple(sorted(again)))
        journal.set_mark(source.account, source.folder, terms.judged_by, mark)


def _plain(to: str) -> str:
    """The name of the target folder, where it is one; "" for many."""
    return "" if "{" in to else to


def _moving(source: Source, journal: Journal, run: str, chosen: list[Finding], to: str) -> moving.Outcome:
    """Move each to its own folder, where the name of that holds placeholders."""
    outcome = moving.Outcome()
    folders: dict[str, list[moving.Candidate]] = {}
    for one in chosen:
        year = one.date[:4] if one.date[:4].isdecimal() else "undated"
        name = to.replace("{category}", one.category).replace("{year}", year)
        folders.setdefault(name, []).append(one.candidate)
    for name, group in folders.items():
        outcome += moving.move(source, journal, run, group, name, ENDING.hold)
    return outcome


def _notice(out: Console, source: Source, journal: Journal, run: str, how: Setup, found: Audit, to: str) -> None:
    """See which mail somebody moved since the last run, remember it, and say so in a line. What lies in the folder is known only of a
    run that looked through all of it."""
    whole = source.extent.begin is None and not source.extent.stopped
    noticed = corrections.notice(source, journal, candidates(found, source), to, whole=whole)
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


def _settled(out: Console, rows: list[MoveRow]) -> int:
    """Tell what an earlier run, which broke off, had left open, as far as somebody must know; and of how many messages that is so."""
    worth_telling = [row for row in rows if row.state in ("doubt", "vanished", *OPEN)]
    for row in worth_telling:
        what = row.reason or f"not settled yet, because {row.place.folder or 'its folder'} cannot be looked at now"
        say(out, f"Of run {row.run}, which broke off: {row.message_id or row.place.key}: {what}", "yellow")
    return len(worth_telling)
