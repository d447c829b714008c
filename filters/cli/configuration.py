"""The commands about the configuration: where it lies, what it says, and whether it is right."""

from __future__ import annotations

from typing import Any

import typer

from filters import config, senders, setup
from filters.cli.options import console
from filters.config import Account, ConfigError
from filters.preferences import KEYS, USUAL
from filters.report import say

config_app = typer.Typer(
    help="Show, find or check the configuration: one TOML file with your accounts.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    config_app.command()(path)
    config_app.command()(show)
    config_app.command()(check)
    app.add_typer(config_app, name="config")


def path() -> None:
    """Print where the configuration lies, whether or not it is there. UNPITCH_CONFIG names another place."""
    print(config.config_path())


def show() -> None:
    """Show each account with all that holds for it, and from where each value comes."""
    found, out = config.load(config.config_path()), console()
    if not found.accounts:
        say(out, f"No accounts. `unpitch init` makes the file {found.path}.")
    for account in found.accounts:
        say(out, f"{account.name}: {account.location}", "bold")
        say(out, f"  folders = {setup.toml(account.folders)}{_where(account, 'folders')}")
        for key, value in _holds(account).items():
            say(out, f"  {key} = {setup.toml(value)}{_where(account, key)}")


def check() -> None:
    """Read the configuration, and name each mistake with its line. Opens no mailbox."""
    out, place = console(), config.config_path()
    try:
        found = config.load(place)
    except ConfigError as error:
        for line, text in error.mistakes:
            say(out, f"{place}:{line}: {text}" if line else f"{place}: {text}")
        raise typer.Exit(error.exit_code) from None
    if not place.exists():
        say(out, f"There is no {place} yet. `unpitch init` makes it; without it, name mailboxes by their location.")
        return
    names = ", ".join(account.name for account in found.accounts) or "none"
    say(out, f"{place} is right. Accounts: {names}.")


def _holds(account: Account) -> dict[str, Any]:
    sender = senders.load()
    usual = USUAL.given() | {"to": sender.title, "move": sorted(sender.promotional)}
    said = account.preferences.given()
    return {key: said.get(key, usual.get(key)) for key in KEYS if key in said or key in usual}


def _where(account: Account, key: str) -> str:
    if key in account.lines:
        return f"  (line {account.lines[key]})"
    return "  (from [defaults])" if key in account.preferences.given() else "  (default)"
