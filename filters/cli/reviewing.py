"""The command that walks through doubtful mail."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from filters.cli.options import (
    CaFile,
    Keyring,
    OAuthTokens,
    PasswordCommand,
    PasswordFile,
    Sources,
    Terms,
    TokenCommand,
    Trust,
    access,
    console,
)
from filters.config import state_folder
from filters.errors import UsageError
from filters.report import say
from filters.review import Labels, open_labels
from filters.sources import Source
from filters.sweep import Finding, Tally, sweep


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(review)


def review(
    sources: Sources,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="FILE", help="Where the labels go. Default: labels.jsonl in the state folder."
        ),
    ] = None,
    promotional: Annotated[
        bool, typer.Option("--promotional", help="Also what is called promotional, not only what is unsure.")
    ] = False,
    trust: Trust = None,
    password_command: PasswordCommand = "",
    oauth_token_command: TokenCommand = "",
    oauth_tokens: OAuthTokens = "",
    password_file: PasswordFile = None,
    keyring: Keyring = False,
    ca_file: CaFile = None,
) -> None:
    """Walk through unsure mail by keyboard, and label it for `train`. Changes nothing in the mailbox; goes on where it was left."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("`review` needs a terminal to show mail on.")
    if not find_spec("textual"):
        raise UsageError('`review` needs Textual: pip install "unpitch[review]".')
    known = open_labels(labels or state_folder() / "labels.jsonl")
    way_in = access(
        password_command,
        ca_file,
        trust=trust,
        oauth_token_command=oauth_token_command,
        oauth_tokens=oauth_tokens,
        password_file=password_file,
        keyring=keyring,
    )
    with ExitStack() as opened:
        found: list[tuple[Source, Terms]] = []
        for location in way_in.locations(sources):
            source = opened.enter_context(closing(way_in.open(location, changes=False)))
            found.append((source, way_in.terms(location, source)))
        _show(_Reading(found, promotional, Tally()), known, sources)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is read of the sources, which are open: whoever is asked for a password is asked before the screen is taken."""

    sources: list[tuple[Source, Terms]]
    promotional: bool
    tally: Tally

    def findings(self, went_on: Callable[[], object]) -> Iterator[Finding]:
        """The mail to review. Forged mail is nobody's to teach from."""
        for source, terms in self.sources:
            how = replace(terms.setup, task="filters.explanation:doubtful_worker")
            for finding in sweep(source, how, terms.policy, {}, self.tally, went_on):
                doubtful = finding.unsure or (self.promotional and finding.promotional)
                if doubtful and finding.authenticity != "forged":
                    yield finding


def _show(reading: _Reading, known: Labels, sources: list[str]) -> None:
    from filters.review.screen import Mailbox, Review  # noqa: PLC0415  (an extra, and 0.25 s)

    screen = Review(Mailbox(reading.findings, lambda: reading.tally.messages), known)
    screen.run()
    if screen.fault:
        raise screen.fault
    say(console(), f"{screen.labelled:,} labelled; the labels are in {known.path}.", "bold")
    if screen.labelled:
        say(
            console(),
            f"To learn from them: unpitch train {' '.join(map(shlex.quote, sources))} --labels {shlex.quote(str(known.path))}",
        )
