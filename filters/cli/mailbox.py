"""The command that looks through mailboxes: audit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Annotated

import typer

from filters import senders
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
    Sources,
    TokenCommand,
    Trust,
    Unverified,
    access,
    console,
    journal_path,
    progress,
)
from filters.errors import UsageError
from filters.journal import barred_in
from filters.report import Audit, audit_json, audit_text
from filters.sources import Source
from filters.sweep import Policy, Setup, sweep


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(audit)


def audit(
    sources: Sources,
    output: Annotated[
        str, typer.Option("--format", metavar="text|json", help="Text for you, JSON for programs.")
    ] = "text",
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
) -> None:
    """Look only: what LinkedIn sends, which of it is promotional and why, and how to opt out. Changes nothing."""
    if output not in ("text", "json"):
        raise UsageError(f"--format is text or json, not {output}.")
    way_in = access(
        password_command,
        ca_file,
        move=move,
        never=never,
        older_than_days=older_than_days,
        trust=trust,
        unverified=unverified,
        region=region,
        oauth_token_command=oauth_token_command,
        password_file=password_file,
        keyring=keyring,
    )
    sender, locations = senders.load(), way_in.locations(sources)
    place = way_in.region(locations)
    found = audit_sources(locations, way_in)
    if output == "json":
        print(audit_json(found, sender, place))
    else:
        audit_text(console(), found, sender, place)


def audit_sources(locations: list[str], way_in: Access) -> Audit:
    """What the sources hold. Opens them without leave to change anything."""
    found = Audit()
    for location in locations:
        with closing(way_in.open(location, changes=False)) as source:
            terms = way_in.terms(location, source)
            gather(source, terms.setup, terms.policy, barred_in(journal_path(), source.account), found)
    return found


def gather(source: Source, how: Setup, wanted: Policy, barred: Mapping[str, str], found: Audit) -> Audit:
    """Sweep one source into `found`, with a line on the terminal that says how far it is."""
    found.sources.append(place_name(source))
    with progress() as line:
        task = line.add_task("")
        for finding in sweep(source, how, wanted, barred, found.tally):
            found.findings.append(finding)
            line.update(task, description=f"{found.tally.messages:,} messages, {len(found.findings):,} candidates")
    return found


def place_name(source: Source) -> str:
    """Account and folder as one printable name."""
    return f"{source.account}/{source.folder}" if source.folder else source.account
