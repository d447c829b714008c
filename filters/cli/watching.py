"""The command that stays: watch. A run as every night's, a wait for new mail, and again."""

from __future__ import annotations

import io
import os
import random
import signal
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from filters.cli import nightly, supervising
from filters.cli.ending import ENDING, SIGTERM_CODE
from filters.cli.options import Access, LogAddresses, LogFormat, access, begin, console, journal_path, warn
from filters.config import Account
from filters.errors import BusyError, CertificateError, FiltersError, LimitError, LoginError, ServerError, UsageError
from filters.journal import look_into
from filters.log import log
from filters.monitoring import Done, Watched
from filters.preferences import SECRETS
from filters.report import say
from filters.sources import Source, place_name
from filters.sources.patience import Patience, Vigil
from filters.systemd import alive, notify

#: Seconds: between runs at least; between a run that a limit stopped and the next; from one run to the next without new mail (some
#: mail was too young before); after a login that was refused.
_APART, _STOPPED, _QUIET, _REFUSED = 1.0, 3_600.0, 21_600.0, 300.0
#: So many times the length of a run passes before the next, where each has to look through everything (Maildir).
_SHARE = 10
#: Logins in a row that may be refused before nobody tries again: accounts get locked.
_LOGINS = 3
#: How to come back after a loss.
_BACK = Patience(longest=300.0)
_LOST = "lost"


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(watch)


def watch(
    accounts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ACCOUNT...", help="Names from the configuration; or --all instead.", show_default=False
        ),
    ] = None,
    all_accounts: Annotated[bool, typer.Option("--all", help="All accounts of the configuration.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Move also where no run was before.")] = False,
    poll_seconds: Annotated[
        int | None,
        typer.Option(
            "--poll-seconds",
            metavar="N",
            min=5,
            help="Between looks for new mail, where the server does not tell of it (IDLE). Default: 120.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what goes wrong.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print of each mail why it was moved.")] = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Print a line of JSON after each run that moved something, and at the end.")
    ] = False,
    metrics: Annotated[
        Path | None,
        typer.Option(
            "--metrics",
            metavar="FILE",
            help="Keep a text file for Prometheus' node exporter. Of several accounts, FILE-NAME for each.",
        ),
    ] = None,
    log_format: LogFormat = "text",
    log_addresses: LogAddresses = False,
    parent: Annotated[int, typer.Option(hidden=True)] = 0,
    run_id: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Move promotional mail as soon as it arrives, until SIGTERM or Ctrl-C.

    Nobody is asked: run `unpitch clean ACCOUNT` before, and see what it does. A connection that is lost is made again. Changes of the
    configuration count from the next start on.
    """
    mine = begin("watch", log_format, log_addresses, run_id, accounts[0] if accounts and parent else None)
    way_in = access(poll_seconds=poll_seconds)
    chosen = _chosen(way_in, accounts or [], all_accounts)
    ENDING.obey(signal.SIGINT)
    notify("READY=1")
    try:
        if len(chosen) > 1:
            more = [f"--poll-seconds={poll_seconds}"] if poll_seconds else []
            more += [f"--log-format={log_format}", f"--run-id={mine.run}"]
            given = {
                "--yes": yes,
                "--quiet": quiet,
                "--verbose": verbose,
                "--stats": stats,
                "--log-addresses": log_addresses,
            }
            more += [word for word, on in given.items() if on]
            supervising.run([one.name for one in chosen], lambda name: [*more, *_own(metrics, name)])
        account, mine.account = chosen[0], chosen[0].name
        _check_known(account, yes)
        rows = {one: Done(account.name, account.folder_of(one)) for one in account.locations()}
        watched = Watched(rows, mine, stats, metrics)
        _Watch(_asking_once(way_in, account), account, console(), watched, quiet, verbose, parent).go()
    except SystemExit as end:
        if end.code != SIGTERM_CODE:
            raise
        raise typer.Exit(0) from None
    finally:
        notify("STOPPING=1")


def _own(metrics: Path | None, name: str) -> list[str]:
    """The option that gives one of several accounts a file of its own."""
    return [f"--metrics={metrics.with_name(f'{metrics.stem}-{name}{metrics.suffix}')}"] if metrics else []


def _chosen(way_in: Access, names: list[str], all_accounts: bool) -> list[Account]:
    """Which accounts. Raises UsageError."""
    if bool(names) == all_accounts:
        raise UsageError("Say which accounts, by their names in the configuration, or --all.")
    if all_accounts and not way_in.config.accounts:
        raise UsageError(f"There are no accounts in {way_in.config.path}. `unpitch init` makes one.")
    found: list[Account] = []
    for name in names or [one.name for one in way_in.config.accounts]:
        account = way_in.config.named(name) or way_in.account(name)
        if not account:
            raise UsageError(f"There is no account {name} in {way_in.config.path}. `unpitch init` makes one.")
        found += [account] if account not in found else []
    return found


def _check_known(account: Account, yes: bool) -> None:
    """As with `clean`, nothing is moved by the first run for an account that nobody agreed to. Raises UsageError."""
    journal = None if yes else look_into(journal_path())
    if journal:
        with journal:
            yes = nightly.is_known(journal, account.id)
    if not yes:
        raise UsageError(
            f"This would be the first run for {account.name}. See with `unpitch clean {account.name}` what it would move, or add"
            " --yes."
        )


def _asking_once(way_in: Access, account: Account) -> Access:
    """A person at the terminal is asked for the password once, and not again when the connection is lost in the middle of the night."""
    said = account.preferences.given()
    asks = way_in.secret(account.locations()[0])
    return way_in if any(said.get(key) for key in SECRETS) else replace(way_in, password=cache(asks))


@dataclass(slots=True)
class Troubles:
    """What goes wrong, and how long to wait then. What ends a watch before its first run is over is likely to be a mistake; later, the
    network, the server or the disk, and those come back."""

    were_up: bool = False
    lost: int = 0
    refused: int = 0

    def over(self) -> None:
        """All is well."""
        self.were_up, self.lost, self.refused = True, 0, 0

    def pause(self, error: FiltersError) -> float:
        """Seconds to wait before the next attempt, with a part at random. Raises `error` when there is to be none."""
        if isinstance(error, LimitError):
            self.over()
            return _STOPPED
        if isinstance(error, LoginError) and not isinstance(error, CertificateError):
            self.refused += 1
            if self.refused >= _LOGINS or not self.were_up:
                raise error
            return _REFUSED + random.uniform(0, _REFUSED)  # noqa: S311  (no secret)
        if not self.were_up and not isinstance(error, ServerError | BusyError):
            raise error
        self.lost += 1
        named = getattr(error, "wait", 0.0)
        return float(named) + 1.0 + _BACK.pause(self.lost, _BACK.longest)


@dataclass(slots=True)
class _Watch:
    """One account for as long as we live. Its first folder is listened to; the others, if any, are looked through at every turn."""

    way_in: Access
    account: Account
    out: Console
    watched: Watched
    quiet: bool = False
    verbose: bool = False
    parent: int = 0
    troubles: Troubles = field(default_factory=Troubles)
    moved: int = 0
    unsettled: int = 0
    told: str = ""
    """What kind of trouble was told, and is not over."""
    unwritten: bool = False
    """It was told that there can be no metrics."""

    def go(self) -> None:
        """Never comes back. Raises FiltersError when to go on makes no sense."""
        self.watched.write()
        try:
            self._go()
        except FiltersError as error:
            self.watched.failed(error)
            raise
        finally:
            self._write()
            self.watched.say()

    def _go(self) -> None:
        vigil = self._vigil(self.account.locations()[0])
        while True:
            try:
                self._stay(vigil)
            except FiltersError as error:
                seconds = self.troubles.pause(error)
                self._tell(error)
                self._write()
            before = time.monotonic()
            vigil.pause(seconds)
            if time.monotonic() - before < seconds:  # the machine was asleep: what is lost may be there again
                self.troubles.lost = 0

    def _vigil(self, location: str) -> Vigil:
        return Vigil(poll=self.way_in.wants(location).poll_seconds or 0, alive=self._alive, sleep=ENDING.pause)

    def _alive(self) -> None:
        if self.parent and os.getppid() != self.parent:
            raise SystemExit(SIGTERM_CODE)
        alive()

    def _stay(self, vigil: Vigil) -> None:
        """Clean whenever there is new mail. Ends by an error only."""
        first, *others = self.account.locations()
        with closing(self.way_in.open(first, changes=True)) as source:
            while True:
                start = time.monotonic()
                self._clean(source, first, others)
                self._is_well(source)
                length = time.monotonic() - start
                self._write()
                vigil.pause(_APART if source.extent.end else max(_APART, _SHARE * length))
                while not (source.wait(vigil) or others or time.monotonic() - start > _QUIET):
                    self._write()

    def _clean(self, source: Source, first: str, others: list[str]) -> None:
        """One run for each folder. Raises LimitError after the last when any was stopped by a limit."""
        stopped = self._run(source, first)
        for location in others:
            with closing(self.way_in.open(location, changes=True)) as other:
                stopped = self._run(other, location) or stopped
        if stopped:
            raise stopped

    def _run(self, source: Source, location: str) -> LimitError | None:
        done, start = Done(self.account.name, self.account.folder_of(location)), time.monotonic()
        stopped, terms = None, self.way_in.terms(location, source)
        with io.StringIO() as text:
            shown = Console(file=text, width=self.out.width, highlight=False, emoji=False, markup=False)
            try:
                nightly.clean_one(shown, self.way_in, source, terms, journal_path(), None, done, nightly.WATCH)
            except LimitError as error:
                stopped, done.error, done.exit_code = error, str(error), error.exit_code
            except BaseException:  # whatever ends a run, it says what it did
                self._report(done, terms.to)
                raise
            if done.moved:
                self._report(done, terms.to)
            if (self.verbose and done.moved) or done.unsettled > self.unsettled:
                print(text.getvalue(), end="", flush=True)
        self.unsettled, self.moved = done.unsettled, self.moved + done.moved
        done.seconds = time.monotonic() - start
        self.watched.add(location, done)
        return stopped

    def _report(self, done: Done, to: str) -> None:
        """What a run moved, by the journal."""
        journal = look_into(journal_path()) if done.run else None
        if not journal or self.quiet:
            return
        with journal:
            senders = [row.sender for row in journal.moves(done.run) if row.state == "done"]
        if senders:
            who = f", from {senders[0]}" if len(senders) == 1 else ""
            self._say(f"{len(senders):,} moved to {to}{who}. Back with: unpitch undo --run {done.run}", "green")

    def _is_well(self, source: Source) -> None:
        first = not self.troubles.were_up
        self.troubles.over()
        if first or self.told == _LOST:
            log().event("watching", folder=source.folder)
        if (first or self.told == _LOST) and not self.quiet:
            self._say(f"Watching {place_name(source)}." + (" Ctrl-C ends it." if self.out.is_terminal else ""))
        self.told = ""
        notify(f"STATUS={self.account.name}: watching {place_name(source)}; {self.moved:,} moved so far")

    def _tell(self, error: FiltersError) -> None:
        """Say what is wrong, once until it is over. That another run is at work is not wrong."""
        notify(f"STATUS={self.account.name}: {error}")
        if not isinstance(error, LimitError | BusyError):
            self.watched.failed(error)
        kind = type(error).__name__ if isinstance(error, LimitError | LoginError) else _LOST
        if kind != self.told and not isinstance(error, BusyError):
            warn(f"{self.account.name}: {error} Watching goes on.")
            self.told = kind

    def _write(self) -> None:
        """The metrics; that they cannot be written is told once until they can, and stops nothing."""
        try:
            self.watched.write()
            self.unwritten = False
        except FiltersError as error:
            if not self.unwritten:
                warn(f"{self.account.name}: {error} Watching goes on.")
            self.unwritten = True

    def _say(self, text: str, style: str = "") -> None:
        say(self.out, f"{datetime.now():%Y-%m-%d %H:%M} {self.account.name}: {text}", style)
