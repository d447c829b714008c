"""The commands that look back: runs lists what was done, undo takes it back."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from filters import moving
from filters.cli.ending import ENDING
from filters.cli.options import (
    Access,
    CaFile,
    Keyring,
    OAuthTokens,
    PasswordCommand,
    PasswordFile,
    TokenCommand,
    access,
    console,
    journal_path,
    journal_to_change,
    warn,
)
from filters.database import is_there
from filters.errors import FiltersError, NotFoundError, UsageError
from filters.journal import OPEN, SENDER_PART, Journal, Move, look_into
from filters.report import say
from filters.runs import in_words, run_text, runs_json, runs_text, summaries

#: Moves that may be put back, and those that cannot for a reason which a person should know.
_WORTH_TRYING = ("done", *OPEN)
_WORTH_TELLING = ("vanished", "doubt")
_NOTHING_YET = "nothing was moved yet (there is no journal at {})"


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(runs)
    app.command()(undo)


def runs(
    run: Annotated[str, typer.Argument(metavar="[ID]", help="One run, with each of its messages.")] = "",
    account: Annotated[
        str, typer.Option("--account", metavar="TEXT", help="Only accounts whose name holds this text.")
    ] = "",
    output: Annotated[
        str, typer.Option("--format", metavar="text|json", help="Text for you, JSON for programs.")
    ] = "text",
) -> None:
    """List what was done: runs, newest first, what they moved, and what can be put back. Changes nothing."""
    if output not in ("text", "json"):
        raise UsageError(f"--format is text or json, not {output}.")
    if run and account:
        raise UsageError("A run is of one account; leave out --account.")
    journal = look_into(journal_path())
    if not journal:
        if run:
            raise NotFoundError(f"There is no run {run}: {_NOTHING_YET.format(journal_path())}.")
        if output == "json":
            print(runs_json([]))
        else:
            say(console(), f"No runs: {_NOTHING_YET.format(journal_path())}.")
        return
    with journal:
        _show_runs(journal, run, account, output)


def _show_runs(journal: Journal, run: str, account: str, output: str) -> None:
    found = summaries(journal)
    if run:
        moves = journal.moves(_known(journal, run))
        (one,) = (summary for summary in found if summary.run.id == run)
        if output == "json":
            print(runs_json([one], moves))
        else:
            run_text(console(), one, moves)
        return
    found = [one for one in found if account.casefold() in one.run.account.casefold()]
    if output == "json":
        print(runs_json(found))
    elif found:
        runs_text(console(), found)
    else:
        say(console(), f"No runs{f' of an account like {account}' if account else ' yet'}.")


def _known(journal: Journal, run: str) -> str:
    known = [one.id for one in journal.runs()]
    if run not in known:
        last = ", ".join(known[-5:]) or "none"
        raise NotFoundError(f"There is no run {run} in the journal. The last ones are: {last}.")
    return run


@dataclass(frozen=True, slots=True)
class Choice:
    """What to take back: a run, a message, or moves by sender and time; with nothing given the last run that moved something."""

    run: str = ""
    message: str = ""
    sender: str = ""
    since: datetime | None = None
    until: datetime | None = None


def undo(
    last: Annotated[bool, typer.Option("--last", help="The last run that moved something (the default).")] = False,
    run: Annotated[
        str, typer.Option("--run", metavar="ID", help="The run with this id (unpitch runs lists them).")
    ] = "",
    message: Annotated[
        str, typer.Option("--message", metavar="MESSAGE-ID", help="The mail with this Message-ID.")
    ] = "",
    sender: Annotated[
        str, typer.Option("--sender", metavar="TEXT", help="Mail whose sender's name or address holds this text.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="DATE", help="What runs moved from this date on, such as 2026-11-24.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="DATE", help="What runs moved up to this date, and on that day.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be put back, and change nothing.")
    ] = False,
    password_command: PasswordCommand = "",
    oauth_token_command: TokenCommand = "",
    oauth_tokens: OAuthTokens = "",
    password_file: PasswordFile = None,
    keyring: Keyring = False,
    ca_file: CaFile = None,
) -> None:
    """Put back what was moved, with flags and date. What was taken back once is not moved again.

    --sender, --since and --until narrow each other; otherwise choose one way to say what.
    """
    choice = Choice(run, message, sender, _moment(since, "--since"), _moment(until, "--until", whole_day=True))
    _check(choice, last)
    if dry_run:
        preview(console(), choice, journal_path())
    else:
        way_in = access(
            password_command,
            ca_file,
            password_file=password_file,
            keyring=keyring,
            oauth_token_command=oauth_token_command,
            oauth_tokens=oauth_tokens,
        )
        take_back(console(), choice, way_in, journal_path())


def _check(choice: Choice, last: bool) -> None:
    ways = {
        "--last": last,
        "--run": choice.run,
        "--message": choice.message,
        "--sender": choice.sender,
        "--since": choice.since,
        "--until": choice.until,
    }
    given = [name for name, value in ways.items() if value]
    if len(given) > 1 and {"--last", "--run", "--message"} & set(given):
        raise UsageError(f"{' and '.join(given[:2])} exclude each other.")
    if choice.sender and len(choice.sender.strip()) < SENDER_PART:
        raise UsageError(f"--sender wants at least {SENDER_PART} letters of a name or address.")
    if choice.since and choice.until and choice.since >= choice.until:
        raise UsageError("--until is before --since.")


def _moment(text: str, option: str, *, whole_day: bool = False) -> datetime | None:
    """A date or a time as people type them, in local time unless it says otherwise; with `whole_day` the end of that day."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        if whole_day and re.fullmatch(r"[\d-]+|\d+-?W[\d-]+", text):
            found += timedelta(days=1)
        return found.astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{option} wants a date such as 2026-11-24, or 2026-11-24T18:30; not {text}.") from None


def preview(out: Console, choice: Choice, journal_file: Path) -> None:
    """Say what `take_back` would do, by the journal alone."""
    journal = look_into(journal_file)
    if not journal:
        raise _nothing_moved(choice, journal_file)
    with journal:
        what, moves = _chosen(journal, choice)
    if not moves:
        say(out, f"{what}: there is nothing to put back.", "bold")
        return
    for account in dict.fromkeys(move.place.account for move in moves):
        say(out, account, "bold")
        for move in moves:
            if move.place.account == account:
                goal = f"would be put back to {move.place.folder or 'the inbox'}"
                say(out, f"  {goal if move.state == 'done' else in_words(move)}")
                for line in (move.sender, f"<{move.message_id}>"):
                    say(out, f"    {line}", "dim")
    count = sum(move.state == "done" for move in moves)
    say(out, f"Dry run: {what}: {count:,} would be put back, if they still are where they were moved to.", "bold")
    say(out, "Nothing was changed; the journal was read, and no mailbox opened.")


def take_back(out: Console, choice: Choice, way_in: Access, journal_file: Path) -> None:
    """Put back what was chosen, account by account; one that fails does not keep the others from it."""
    if not is_there(journal_file):
        raise _nothing_moved(choice, journal_file)
    failures: list[FiltersError] = []
    with journal_to_change(journal_file) as journal:
        what, moves = _chosen(journal, choice)
        if not moves:
            say(out, f"{what}: there is nothing to put back.", "bold")
        accounts = list(dict.fromkeys(move.place.account for move in moves))
        for account in accounts:
            name = f"{what}, {account}" if len(accounts) > 1 else what
            try:
                _put_back(out, name, way_in, journal, [move for move in moves if move.place.account == account])
            except FiltersError as error:
                warn(str(error))
                failures.append(error)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _put_back(out: Console, what: str, way_in: Access, journal: Journal, moves: list[Move]) -> None:
    """Put back moves of one account."""
    account, ids = moves[0].place.account, [move.id for move in moves]

    try:
        with journal.run(account, "undo", datetime.now(UTC)) as this:
            outcome = moving.undo(way_in.open_at(account), journal, this, moves, ENDING.hold)
    except BaseException:
        with suppress(FiltersError):  # the first error is the one to tell
            before = sum(move.state == "undone" for move in moves)
            done = sum(move.state == "undone" for move in journal.reread(ids)) - before
            say(out, f"{what}: {done:,} of {len(moves):,} put back before it was broken off.", "bold yellow")
        raise
    arrived = len(outcome.moved) + len(outcome.left)  # of a run that was stopped, some were never moved
    say(out, f"{what}: {len(outcome.moved):,} of {arrived:,} put back.", "bold green")
    for one in outcome.left:
        say(out, f"  left alone: {one.message_id or one.place.key}: {one.reason}")


def _nothing_moved(choice: Choice, journal_file: Path) -> NotFoundError:
    what = f"run {choice.run}" if choice.run else "such move" if choice != Choice() else "last run"
    return NotFoundError(f"There is no {what}: {_NOTHING_YET.format(journal_file)}.")


def _chosen(journal: Journal, choice: Choice) -> tuple[str, list[Move]]:
    """What was chosen as a person would name it, and its moves. Raises NotFoundError when there is no such thing."""
    if choice == Choice():
        last = journal.last_run()
        if last is None:
            raise NotFoundError("No run has moved anything yet, so there is nothing to undo.")
        choice = Choice(run=last.id)
    if choice.run:
        moves = [move for move in journal.moves(_known(journal, choice.run)) if move.undoes is None]
        return f"Run {choice.run}", moves
    found = journal.found(message_id=choice.message, sender=choice.sender, since=choice.since, until=choice.until)
    found = [move for move in found if move.state not in ("planned", "failed")]
    what = _named(choice)
    if not found:
        raise NotFoundError(
            f"{what}: no such move is in the journal.{_hint(journal, choice)} `unpitch runs` lists the runs."
        )
    return what, [move for move in found if move.state in (*_WORTH_TRYING, *_WORTH_TELLING)]


def _named(choice: Choice) -> str:
    words = [f"message <{choice.message.strip().strip('<>')}>"] if choice.message else []
    words += [f"sender “{choice.sender}”"] if choice.sender else []
    words += [f"since {choice.since:%Y-%m-%d %H:%M}"] if choice.since else []
    words += [f"before {choice.until:%Y-%m-%d %H:%M}"] if choice.until else []
    text = ", ".join(words)
    return f"{text[:1].upper()}{text[1:]}"


def _hint(journal: Journal, choice: Choice) -> str:
    if choice.sender and any(not move.sender for move in journal.found()):
        return " Of moves by an older unpitch the senders are not known; --message, --run and --since find those."
    return ""
