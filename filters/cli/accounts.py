"""The commands about accounts: keep a password."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from filters import credentials
from filters.cli.options import access, console
from filters.config import account_of
from filters.credentials import to_keyring
from filters.errors import UsageError
from filters.report import say
from filters.safe_text import safe_text
from filters.sources.location import SCHEMES

AccountName = Annotated[
    str, typer.Argument(metavar="ACCOUNT", help="A name from the configuration, or a location.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(password)


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
