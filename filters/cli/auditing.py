"""The command that only looks: audit. Of many files at once, each is looked through by a process of its own."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from filters import __version__, archive, senders, shards
from filters.cli.mailbox import audit_sources, telling_files
from filters.cli.options import (
    Access,
    CaFile,
    Jobs,
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
    Scheduler,
    Sources,
    TokenCommand,
    Trust,
    Unverified,
    access,
    begin,
    check_day,
    console,
    journal_path,
    warn,
)
from filters.cli.writing import check_free, write_private
from filters.config import account_of
from filters.errors import UsageError
from filters.journal import look_into
from filters.log import log
from filters.report import LINES, Audit, Figures, audit_json, audit_text, without_names
from filters.safe_text import safe_text
from filters.sources.location import are_files
from filters.sweep import Finding


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(audit)


def audit(
    sources: Sources,
    output: Annotated[
        str, typer.Option("--format", metavar="text|json|jsonl|csv", help="Text for you, the others for programs.")
    ] = "text",
    move: Move = None,
    never: Never = None,
    older_than_days: OlderThan = None,
    trust: Trust = None,
    unverified: Unverified = None,
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
    region: Region = None,
    password_command: PasswordCommand = "",
    oauth_token_command: TokenCommand = "",
    oauth_tokens: OAuthTokens = "",
    password_file: PasswordFile = None,
    keyring: Keyring = False,
    ca_file: CaFile = None,
    jobs: Jobs = 0,
    scheduler: Scheduler = "",
    log_format: LogFormat = "text",
    log_addresses: LogAddresses = False,
) -> None:
    """Look only: what LinkedIn sends, which of it is promotional and why, and how to opt out. Changes nothing."""
    begin("audit", log_format, log_addresses)
    if output not in ("text", "json", *LINES):
        raise UsageError(f"--format is text, json, {', '.join(LINES)}; not {safe_text(output)}.")
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
        oauth_tokens=oauth_tokens,
        password_file=password_file,
        keyring=keyring,
    )
    sender, locations, opted_out = senders.load(), way_in.locations(sources), check_day(since_opt_out)
    place = way_in.region(locations)
    if html:
        check_free(html, force)
    lines, found, code = LINES.get(output), Audit(), 0
    if _is_archive(locations, scheduler):
        engine = shards.engine(jobs, scheduler)
        streamed = lines if not (html or anonymous) else None
        code = _look_through(
            found, [_shard(number, one, way_in) for number, one in enumerate(locations, 1)], engine, streamed
        )
        lines = None if streamed else lines
    else:
        audit_sources(found, locations, way_in)
    figures = Figures(without_names(found, sender) if anonymous else found, sender, datetime.now(UTC), None, opted_out)
    if html:
        write_private(html, page_of(figures, place), force)
    if output == "text":
        options = "".join(f" --trust-authserv {shlex.quote(one)}" for one in trust or ())
        audit_text(console(), figures, place, page=str(html or ""), options=options)
    elif output == "json":
        sys.stdout.write(audit_json(figures, place))
    elif lines:
        sys.stdout.writelines(lines(figures.audit.findings))
    if found.stopped:
        warn(
            f"Stopped after {found.tally.messages:,} messages; this is about those. The same command again looks at all."
        )
        raise typer.Exit(130)
    raise typer.Exit(code)


def page_of(figures: Figures, region: str) -> Iterator[bytes]:
    """The page of an audit, piece by piece."""
    from filters.report.page import Page, write_page  # noqa: PLC0415  (0.06 s that only a page should cost)

    return write_page(Page(figures, region, __version__))


# --- many files


def _is_archive(locations: Sequence[str], scheduler: str) -> bool:
    """Whether each location is a shard for a process of its own: mail in files, of which the journal knows nothing."""
    if are_files(locations) and not _known(locations):
        return bool(scheduler) or len(locations) > 1
    if scheduler:
        raise UsageError("--scheduler is for mail in files of which no mail was moved. Leave it out.")
    return False


def _known(locations: Sequence[str]) -> bool:
    journal = look_into(journal_path())
    if not journal:
        return False
    with journal:
        return any(
            journal.runs(name) for one in locations for name in (account_of(one), str(Path(account_of(one)).parent))
        )


def _shard(number: int, location: str, way_in: Access) -> archive.Shard:
    terms, account = way_in.terms(location, None), way_in.account(location)
    return archive.Shard(os.path.abspath(location), terms.setup, terms.policy, account.name if account else number)


def _look_through(
    found: Audit,
    asked: list[archive.Shard],
    engine: shards.Engine,
    lines: Callable[[Iterable[Finding]], Iterator[str]] | None,
) -> int:
    """Look through all shards, into `found`, or into `lines` on stdout as they come, which are not kept. What cannot be looked through
    is named, and the rest goes on; the exit code is that of the first."""
    seen = archive.Seen(found.tally, found.sources)
    try:
        with telling_files(len(asked)) as told, closing(archive.findings(asked, engine, seen, told)) as findings:
            if lines:
                sys.stdout.writelines(lines(findings))
            else:
                found.findings.extend(findings)
    except KeyboardInterrupt:
        if not found.tally.messages:
            raise
        found.stopped = True
    for why, _ in seen.failed if not log().as_json else ():  # else it was told already
        warn(why)
    return seen.failed[0][1] if seen.failed else 0
