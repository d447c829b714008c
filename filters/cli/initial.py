"""The command that makes the first account: init."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from filters import config, senders, setup
from filters.cli.mailbox import gather_by_journal
from filters.cli.options import (
    Access,
    CaFile,
    Keyring,
    OAuthTokens,
    PasswordCommand,
    PasswordFile,
    TokenCommand,
    Trust,
    access,
    console,
)
from filters.config import Account, Config
from filters.credentials import password_for, to_keyring
from filters.errors import LoginError, UsageError
from filters.preferences import Preferences
from filters.presets import Preset, preset_for
from filters.receivers import pinned_for
from filters.report import Audit, Figures, audit_text, say
from filters.safe_text import safe_text
from filters.sources.describing import Description
from filters.sources.location import SCHEMES, parse_url

#: Mails whose headers are looked at, and days of the first audit.
_NEWEST, _DAYS = 50, 90


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(init)


def init(
    address: Annotated[
        str, typer.Argument(metavar="[ADDRESS]", help="Your mail address, an IMAP location, or the path of a Maildir.")
    ] = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What to call the account.")] = "",
    host: Annotated[
        str, typer.Option("--host", metavar="HOST[:PORT]", help="IMAP server, where the provider is not known.")
    ] = "",
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Login, where it is not the address.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what is proposed.")] = False,
    audit: Annotated[bool, typer.Option("--audit/--no-audit", help="End with a look at the last 90 days.")] = True,
    trust: Trust = None,
    password_command: PasswordCommand = "",
    oauth_token_command: TokenCommand = "",
    oauth_tokens: OAuthTokens = "",
    password_file: PasswordFile = None,
    keyring: Keyring = False,
    ca_file: CaFile = None,
) -> None:
    """Make an account: find the server, test the login, write the configuration, and look at the last 90 days. Moves nothing.

    With a terminal it asks what is missing. For scripts: the address, --yes, and a way to the password.
    """
    way_in = access(
        password_command,
        ca_file,
        trust=trust,
        oauth_token_command=oauth_token_command,
        oauth_tokens=oauth_tokens,
        password_file=password_file,
        keyring=keyring,
    )
    out, ask = console(), sys.stdin.isatty() and not yes
    if not address:
        address = typer.prompt("Your mail address") if ask else _missing("Give your mail address")
    location, preset = _where(out, address, host, user, ask)
    wanted, password = _absolute(way_in.asked), None
    if preset and preset.megabytes_per_day:
        wanted = replace(wanted, megabytes_per_day=preset.megabytes_per_day)
    if location.lower().startswith(SCHEMES):
        _advise(out, preset, wanted)
        password = _password(way_in, location, wanted, ask)
        login = Access(password, wanted)
        found = login.describe(location, _NEWEST)
        wanted = replace(wanted, trust_authserv=_trusted(out, location, wanted, found, ask))
        wanted = replace(wanted, keyring=_kept(out, location, wanted, password, ask))
    taken = [one.name for one in way_in.config.accounts]
    is_url = address.lower().startswith(SCHEMES)
    spoken = parse_url(address).user if is_url else address.rstrip("/").rpartition("/")[2]
    account = Account(name or setup.name_for(spoken, taken), location, (), wanted)
    setup.add(way_in.config.path, account)
    say(out, f"The account {account.name} stands in {way_in.config.path} now.", "bold green")
    made = config.load(way_in.config.path).named(account.name)
    if audit and made:
        _first_look(out, made, password)
    for line in (f"unpitch clean {account.name} --dry-run", f"unpitch clean {account.name}"):
        say(out, f"  {line}")


def _absolute(wanted: Preferences) -> Preferences:
    """With paths that hold wherever a later run is started."""
    paths = {key: getattr(wanted, key) for key in ("password_file", "ca_file")}
    return replace(wanted, **{key: path.expanduser().absolute() for key, path in paths.items() if path})


def _missing(what: str) -> str:
    raise UsageError(f"{what}: there is no terminal to ask on, or --yes forbids it.")


def _where(out: Console, address: str, host: str, user: str, ask: bool) -> tuple[str, Preset | None]:
    """The location of the mailbox, and what is known of its provider. Raises UsageError."""
    if address.lower().startswith(SCHEMES) or os.path.isdir(os.path.expanduser(address)):
        return setup.local_location(address), None
    if "@" not in address:
        raise UsageError(f"{safe_text(address)} is no mail address, no IMAP location, and no Maildir.")
    preset = None if host else preset_for(address)
    if preset:
        say(out, f"{preset.name}: {preset.host}", "bold")
        return preset.location(user or address), preset
    domain = address.rpartition("@")[2]
    if not host:
        question = f"The provider of {domain} is not known. Its IMAP server"
        host = typer.prompt(question, default=f"imap.{domain}") if ask else _missing("Name the server by --host")
    location = f"imaps://{user or address}@{host}"
    parse_url(location)
    return location, None


def _advise(out: Console, preset: Preset | None, wanted: Preferences) -> None:
    """What this provider wants, before somebody types a password that it will refuse."""
    if not preset:
        return
    if preset.auth == "oauth" and not wanted.oauth_token_command:
        raise LoginError(
            f"{preset.name}: {preset.advice} Start again with --oauth-token-command; the README names such programs."
        )
    if preset.auth == "app password" and not wanted.oauth_token_command:
        say(out, "It wants an app password, made for this one use; your usual password is refused.", "yellow")
    if preset.advice:
        say(out, preset.advice)


def _password(way_in: Access, location: str, wanted: Preferences, ask: bool) -> Callable[[str], str]:
    """A way to the password that asks at most once. To put it into the keyring, it must come from somewhere else first."""
    command = wanted.password_command or wanted.oauth_token_command or ()
    known: list[str] = []

    def password(account: str) -> str:
        if not known or wanted.oauth_token_command:
            known.append(password_for(account, _quiet, command=command, file=wanted.password_file))
        return known[-1]

    return password


def _quiet(_: str) -> None:
    """Nobody is to be warned of UNPITCH_PASSWORD here: it is asked for once, and kept in a safer place."""


def _trusted(out: Console, location: str, wanted: Preferences, found: Description, ask: bool) -> tuple[str, ...] | None:
    """Whose Authentication-Results to believe: of a known provider nothing needs to be said; else what nearly all mails name."""
    if wanted.trust_authserv or pinned_for(parse_url(location).host):
        return wanted.trust_authserv
    seen = setup.proposed(found.headers)
    if not seen:
        text = 'Nobody writes into these mails whether they are genuine: nothing is moved, unless you say unverified = "move".'
        say(out, text, "yellow")
        return None
    word = f"{seen.id}:{seen.placement}"
    say(out, f"Nearly all of the newest {len(found.headers)} mails carry results of {seen.id}.")
    if not ask:
        say(out, f'If that is your provider, put into the configuration: trust_authserv = ["{word}"]', "yellow")
        return None
    return (word,) if typer.confirm(f"Is {seen.id} your mail provider or server?") else None


def _kept(out: Console, location: str, wanted: Preferences, password: Callable[[str], str], ask: bool) -> bool | None:
    """Keep the password in the keyring, where that was asked for, or where there is no other way to it."""
    other = wanted.password_command or wanted.password_file or wanted.oauth_token_command
    if not wanted.keyring and (other or not ask or not typer.confirm("Keep the password in the system's keyring?")):
        return None
    id = config.account_of(location)
    try:
        to_keyring(id, password(id))
    except LoginError as error:
        if wanted.keyring:
            raise
        say(out, f"{error} Until then you are asked each time.", "yellow")
        return None
    return True


def _first_look(out: Console, account: Account, password: Callable[[str], str] | None) -> None:
    """An audit of the last days."""
    found = Audit()
    way_in = Access(password, Preferences(), Config(Path(), (account,)))
    for location in account.locations():
        with closing(way_in.open(location, changes=False)) as source:
            source.extent.since = (datetime.now(UTC) - timedelta(days=_DAYS)).date()
            terms = way_in.terms(location, source)
            gather_by_journal(source, terms.setup, terms.policy, found)
    audit_text(out, Figures(found, senders.load(), datetime.now(UTC)), account.preferences.region or "", brief=True)
