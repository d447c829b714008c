"""Options that several commands share, and what they become."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from filters import model, senders
from filters.authenticity import Authserv, parse_trust, pinned_for
from filters.cli.ending import ENDING
from filters.config import password_for, state_folder
from filters.database import DamagedError, keep_aside
from filters.errors import InputError, UsageError
from filters.journal import Journal, open_journal
from filters.registry import Registry
from filters.safe_text import safe_text
from filters.senders import Sender
from filters.sources import Source
from filters.sources.opening import location_of, open_source
from filters.sources.patience import Patience
from filters.sweep import Policy, Setup

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="A Maildir, an mbox file, a folder of .eml files, one .eml file, - for stdin, or imaps://user@host/Folder "
        "(imap+starttls:// for a server without TLS from the first byte).",
        show_default=False,
    ),
]
Move = Annotated[
    list[str] | None,
    typer.Option(
        "--move", metavar="CATEGORY", help="Move mail of this category; may be repeated. Default: the promotional ones."
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-authserv",
        metavar="ID[:PLACE]",
        help="Believe Authentication-Results of this receiver, written above (default), below its Received line, or at the bottom.",
    ),
]
Unverified = Annotated[
    str, typer.Option("--unverified", metavar="keep|move", help="What to do with mail whose origin nobody confirms.")
]
PasswordCommand = Annotated[
    str,
    typer.Option(
        "--password-command", metavar="COMMAND", help="Program that prints the IMAP password; run without a shell."
    ),
]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Certificate authority of a private server (PEM).")
]
Region = Annotated[
    str, typer.Option("--region", metavar="eu|other", help="Where you live, for the routes to opt out. Default: both.")
]


def journal_path() -> Path:
    """Where the journal of all accounts lies."""
    return state_folder() / "journal.sqlite3"


def journal_to_change(path: Path) -> Journal:
    """Open the journal, or make it. A damaged one is kept aside, and InputError says so; else raises like `database.connect`."""
    try:
        return open_journal(path)
    except DamagedError as error:
        aside = keep_aside(path, datetime.now(UTC))
        raise InputError(
            f"The journal {path} is damaged, and was kept aside as {aside}. Nothing was moved. The next run begins a new journal;"
            f" unless you put a backup at {path} before, moves made so far cannot be undone by unpitch any more, and mail that"
            " you took back may be moved again."
        ) from error


def console() -> Console:
    """Colour and tables on a terminal, plain text when piped; NO_COLOR and COLUMNS are obeyed."""
    return Console(highlight=False, emoji=False, markup=False)


def warn(text: str) -> None:
    """A line on stderr."""
    print(f"unpitch: {safe_text(text)}", file=sys.stderr)


_PATIENCE = Patience(tell=warn, sleep=ENDING.pause)


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in: `password` gets the printable account and is called only when a server asks."""

    password: Callable[[str], str]
    ca_file: Path | None = None

    def open(self, location: str, *, changes: bool) -> Source:
        """The source at a location."""
        return open_source(
            location, self.password, changes=changes, ca_file=self.ca_file, stdin=sys.stdin.buffer, patience=_PATIENCE
        )

    def open_at(self, account: str) -> Callable[[str], Source]:
        """Opens a folder of an account, with leave to change it."""
        return lambda folder: self.open(location_of(account, folder), changes=True)


def access(password_command: str, ca_file: Path | None) -> Access:
    """Access by the options."""
    return Access(partial(password_for, command=password_command, warn=warn), ca_file)


def policy(sender: Sender, move: list[str] | None, unverified: str) -> Policy:
    """What to move. Raises UsageError for unknown categories and for those that are never moved."""
    if unverified not in ("keep", "move"):
        raise UsageError(f"--unverified is keep or move, not {safe_text(unverified)}.")
    chosen = frozenset(move or sender.promotional)
    for name in sorted(chosen):
        category = sender.categories.get(name) or _unknown(sender, name)
        if category.action == "never":
            raise UsageError(f"{category.title} is never moved; leave out --move {name}.")
    return Policy(chosen, unverified == "move")


def _unknown(sender: Sender, name: str) -> NoReturn:
    movable = sorted(one.name for one in sender.categories.values() if one.action != "never")
    raise UsageError(f"There is no category {safe_text(name)}. Those that can be moved: {', '.join(movable)}.")


def setup(source: Source, trust: list[str] | None, workers: int = 0) -> Setup:
    """How to judge what comes from a source: whose word on authenticity counts there."""
    sender = senders.load()
    named: tuple[Authserv, ...] = tuple(parse_trust(one) for one in trust or ())
    trusted = named or (pinned_for(source.host) if source.host else ())
    return Setup(sender, str(model_registry().active()), trusted, workers)


def model_registry() -> Registry:
    """The models of this person, beside the one that comes with unpitch."""
    return Registry(state_folder() / "models", model.shipped(senders.load().name))


def check_region(region: str) -> str:
    """The region, or UsageError."""
    if region not in ("", "eu", "other"):
        raise UsageError(f"--region is eu or other, not {safe_text(region)}.")
    return region


def check_day(text: str) -> date | None:
    """A day as people write it to programs (2026-11-03), or UsageError; None for none."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{safe_text(text)} is no date; write it like 2026-11-03.") from None


def progress() -> Progress:
    """A line on stderr that says how far a sweep is, how fast, and how long it still takes; silent when stderr is no terminal."""
    quiet = not sys.stderr.isatty()
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(20),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
        disable=quiet,
    )
