"""The commands about accounts: look at whether all is well, keep a password."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from filters import credentials
from filters import doctor as examine
from filters.authenticity import parse_trust, pinned_for
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
)
from filters.config import account_of
from filters.credentials import to_keyring
from filters.errors import FiltersError, RefusedError, UsageError
from filters.oauth import KEYRING, TokenSource, kept, provider_named
from filters.report import say
from filters.safe_text import safe_text
from filters.sources.location import SCHEMES, parse_url

AccountName = Annotated[
    str, typer.Argument(metavar="ACCOUNT", help="A name from the configuration, or a location.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(doctor)
    app.command()(password)


def doctor(
    account: Annotated[
        str, typer.Argument(metavar="[ACCOUNT]", help="A name from the configuration, or a location. Default: all.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
    password_command: PasswordCommand = "",
    oauth_token_command: TokenCommand = "",
    oauth_tokens: OAuthTokens = "",
    password_file: PasswordFile = None,
    keyring: Keyring = False,
    ca_file: CaFile = None,
) -> None:
    """Look at everything that a run depends on, and say for each thing that is not well what to do. Changes nothing."""
    way_in = access(
        password_command,
        ca_file,
        password_file=password_file,
        keyring=keyring,
        oauth_token_command=oauth_token_command,
        oauth_tokens=oauth_tokens,
    )
    now = datetime.now(UTC)
    found = [("", examine.machine(journal_path(), now))]
    for name, location in _asked(way_in, account):
        if found[-1][0] != name or not any(
            line.about in ("login", "OAuth2") and line.state == "failure" for line in found[-1][1]
        ):
            found.append(
                (name, _examined(way_in, location, now))
            )  # a refused password is tried once: accounts get locked
    if as_json:
        print(examine.as_json(found))
    else:
        for name, lines in found:
            _show(name, lines)
    if any(examine.worst(lines) == "failure" for _, lines in found):
        raise typer.Exit(RefusedError.exit_code)


def _asked(way_in: Access, account: str) -> list[tuple[str, str]]:
    """Names and locations, one for each folder."""
    if account and not way_in.config.named(account):
        return [(account, account)]
    chosen = [one for one in way_in.config.accounts if account in ("", one.name)]
    return [(one.name, location) for one in chosen for location in one.locations()]


def _examined(way_in: Access, location: str, now: datetime) -> list[examine.Line]:
    try:
        if not location.lower().startswith(SCHEMES):
            with closing(way_in.open(location, changes=True)) as source:
                refused = not source.can_move
                moves = source.why_not if refused else "by renaming"
            return [
                examine.Line("mailbox", "ok", source.account),
                examine.Line("moves", "failure" if refused else "ok", moves),
            ]
        trust = way_in.wants(location).trust_authserv or ()
        trusted = tuple(map(parse_trust, trust)) or pinned_for(parse_url(location).host)
    except FiltersError as error:
        return [examine.Line("mailbox", "failure", str(error))]
    secret, command = way_in.secret(location), way_in.wants(location).oauth_token_command

    def lines() -> list[examine.Line]:
        return examine.account(location, lambda: way_in.describe(location, examine.NEWEST, secret), trusted, now)

    if isinstance(secret, TokenSource):
        return _by_leave(secret, lines)
    return [examine.token_program(command[0]), *lines()] if command else lines()


def _by_leave(source: TokenSource, lines: Callable[[], list[examine.Line]]) -> list[examine.Line]:
    """Of an account that is let in by OAuth2. Without leave no server is asked for anything."""
    try:
        title = provider_named(kept(source.id, source.where, source.name).client.provider).title
    except FiltersError as error:
        return [examine.no_leave(error)]
    found = lines()
    place = "the keyring" if source.where == KEYRING else source.where
    return [
        examine.leave(f"leave from {title} is kept in {place}", source.asked, source.ends and source.left()),
        *found,
    ]


def _show(name: str, lines: list[examine.Line]) -> None:
    out = console()
    say(out, name or "This machine", "bold")
    for line in lines:
        mark, style = {"ok": ("ok", "green"), "warning": ("warning", "yellow")}.get(line.state, ("FAILURE", "bold red"))
        say(out, f"  {mark:8} {line.about}: {line.text}", style if mark != "ok" else "")
        if line.next_step:
            say(out, f"           {line.next_step}")


def password(account: AccountName) -> None:
    """Keep the password of an account in the keyring of the system. Asks for it, or reads one line of stdin."""
    id = named(account)
    secret = typer.prompt(f"Password for {safe_text(id)}", hide_input=True) if sys.stdin.isatty() else _one_line()
    to_keyring(id, secret)
    say(console(), f"The keyring has the password for {id} now, under the service {credentials.SERVICE}.")


def named(account: str) -> str:
    """What the journal and the keyring call an account, from its name or location. Raises UsageError."""
    way_in = access()
    found = way_in.config.named(account)
    if not found and not account.lower().startswith(SCHEMES):
        names = ", ".join(one.name for one in way_in.config.accounts) or "none"
        raise UsageError(
            f"There is no account {safe_text(account)}. There are: {names}. Or give a location such as imaps://you@host."
        )
    return found.id if found else account_of(account)


def _one_line() -> str:
    secret = sys.stdin.readline().rstrip("\r\n")
    if not secret:
        raise UsageError("There is no password on stdin.")
    return secret
