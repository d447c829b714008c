"""One run that moves, as `clean`, its nights and `watch` have it in common: sweep, ask where somebody can be asked, move, say it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from filters import corrections, moving
from filters.cli.ending import ENDING
from filters.cli.mailbox import candidates, gather, gather_by_journal, hold_back, unverified
from filters.cli.options import Access, Terms, journal_to_change
from filters.errors import FiltersError, LimitError, LoginError, RefusedError
from filters.journal import OPEN, Journal, numbers
from filters.journal import Move as MoveRow
from filters.lessons import PROMOTIONAL
from filters.limits import DAYS, Limits
from filters.monitoring import Done
from filters.report import Audit, headline, promotional_list, say
from filters.sources import Source, place_name
from filters.sweep import Finding, Setup

#: Of the other folders of an account whose login was refused.
SHUT_OUT = "It was not tried, because the login to the account was refused."
_AGAIN = "Run it again to be asked, or add --yes."
_LIFT = "Look at it with --dry-run; lift the brake with --no-brake."
#: So many messages of a folder may wait to be looked at again; where there are more, the next run looks through all of it.
_AGAIN_MOST = 1_000
_MEGABYTE = 1_000_000


def clean_location(
    out: Console,
    way_in: Access,
    location: str,
    journal_file: Path,
    refused: set[str],
    *,
    dry_run: bool,
    full: bool,
    ask: Callable[[str], bool] | None,
) -> Done:
    """One source from opening to closing; what goes wrong is in the answer. A login that was `refused` is not tried again for another folder
    of the same account: accounts get locked."""
    account, start = way_in.account(location), time.monotonic()
    done = Done(account.name, account.folder_of(location)) if account else Done(location)
    if done.account in refused:
        done.error, done.exit_code = SHUT_OUT, LoginError.exit_code
        return done
    try:
        with closing(way_in.open(location, changes=not dry_run)) as source:
            terms = way_in.terms(location, source)
            terms = terms if account and not full else replace(terms, judged_by="")
            if dry_run:
                dry_run_one(out, source, terms, journal_file)
            else:
                clean_one(out, way_in, source, terms, journal_file, ask, done)
    except FiltersError as error:
        done.error, done.exit_code = str(error), error.exit_code
        if isinstance(error, LoginError):
            refused.add(done.account)
    done.seconds = time.monotonic() - start
    return done


def dry_run_one(out: Console, source: Source, terms: Terms, journal_file: Path) -> None:
    """Sweep one source that was opened without leave to change anything, and show what would be moved."""
    found = gather_by_journal(source, terms.setup, terms.policy, Audit(), one_folder(terms.to), journal_file)
    show(out, found, terms.setup)
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
    done.folder = done.folder or source.folder
    with journal_to_change(journal_file) as journal, journal.run(source.account, "clean", now) as run:
        done.run = run
        done.unsettled = _settled(out, moving.reconcile(source, journal))
        done.unsettled += _settled(out, moving.reconcile_all(way_in.open_at(source.account), journal, source.account))
        with _counted(source, journal, terms, now, done):
            found = gather(source, terms.setup, terms.policy, journal.barred(source.account), Audit())
            _notice(out, source, journal, run, terms.setup, found, one_folder(terms.to))
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
    show(out, found, terms.setup)
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
    extent.spared, extent.budget = frozenset(moving.BUSY), terms.bytes_per_run
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
    """Note how far the folder was looked through. Once more is looked at what could not be read, is too young, is flagged or
    the like, or was to be moved and was not, whoever stopped it: nothing that nobody judged, and nothing that waits, is ever passed over."""
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


def one_folder(to: str) -> str:
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
    folders = ", ".join(sorted({row.folder for row in outcome.moved})) or to
    say(out, f"{len(outcome.moved)} moved to {folders}.{back}", "bold green")
    for one in outcome.left:
        say(out, f"  left alone: {one.message_id or one.place.key}: {one.reason}")


def show(out: Console, found: Audit, how: Setup) -> None:
    """What was found, and what of it is to be moved."""
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
