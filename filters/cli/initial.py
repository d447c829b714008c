"""The command that makes the first account: init."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from filters import config, oauth, senders, setup
from filters.cli.finding import Search, missing, where
from filters.cli.granting import (
    Browser,
    ClientId,
    ClientSecretFile,
    ProviderName,
    Server,
    before_or_host,
    client_of,
    earlier,
    give,
)
from filters.cli.mailbox import gather_by_journal
from filters.cli.options import (
    Access,
    CaFile,
    Keyring,
    OAuthTokens,
    PasswordCommand,
    PasswordFile,
    To,
    TokenCommand,
    Trust,
    access,
    by_token,
    console,
)
from filters.config import Account, Config
from filters.credentials import password_for, to_keyring
from filters.errors import LoginError, UsageError
from filters.preferences import SECRETS, Preferences, checked_target
from filters.presets import Preset
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
        str,
        typer.Argument(
            metavar="[ADDRESS]",
            envvar="UNPITCH_ADDRESS",
            help="Your mail address, an IMAP location, or the path of a Maildir.",
        ),
    ] = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What to call the account.")] = "",
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="HOST[:PORT]", envvar="UNPITCH_HOST", help="IMAP server, where the provider is not known."
        ),
    ] = "",
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", envvar="UNPITCH_USER", help="Login, where it is not the address.")
    ] = "",
    lookup: Annotated[
        bool, typer.Option("--lookup", help="Ask DNS for the server of a provider that is not known (extra: lookup).")
    ] = False,
    nameserver: Annotated[
        str, typer.Option("--nameserver", metavar="ADDRESS[:PORT]", help="Ask this DNS server instead of the system's.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what is proposed.")] = False,
    audit: Annotated[bool, typer.Option("--audit/--no-audit", help="End with a look at the last 90 days.")] = True,
    folder: Annotated[
        list[str] | None,
        typer.Option("--folder", metavar="FOLDER", help="Look through this folder; may be repeated. Default: INBOX."),
    ] = None,
    to: To = None,
    trust: Trust = None,
    provider: ProviderName = "",
    client_id: ClientId = "",
    client_secret_file: ClientSecretFile = None,
    server: Server = "",
    browser: Browser = True,
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
        to=to,
        trust=trust,
        oauth_token_command=oauth_token_command,
        oauth_tokens=oauth_tokens,
        password_file=password_file,
        keyring=keyring,
    )
    out, ask = console(), sys.stdin.isatty() and not yes
    if not address:
        address = typer.prompt("Your mail address") if ask else missing("Give your mail address")
    location, preset = where(out, address, Search(ask, host, user, lookup, nameserver))
    wanted, password, folders = _absolute(way_in.asked), None, tuple(folder or ())
    if preset and preset.megabytes_per_day:
        wanted = replace(wanted, megabytes_per_day=preset.megabytes_per_day)
    if location.lower().startswith(SCHEMES):
        _advise(out, preset, wanted, bool(client_id))
        leave = _Leave(provider, client_id, client_secret_file, server, browser)
        wanted = _by_oauth(out, location, preset, wanted, leave, ask)
        password = None if wanted.oauth_tokens else _password(wanted)
        found = Access(password, wanted).describe(location, _NEWEST)
        say(out, f"The login works: {found.folder} has {found.messages:,} messages.", "green")
        folders = _folders(out, found, folders, ask)
        wanted = replace(wanted, to=_target(out, found, wanted.to, ask))
        wanted = replace(wanted, trust_authserv=_trusted(out, location, wanted, found, ask))
        if password:
            wanted = replace(wanted, keyring=_kept(out, location, wanted, password, ask))
    taken = [one.name for one in way_in.config.accounts]
    is_url = address.lower().startswith(SCHEMES)
    spoken = parse_url(address).user if is_url else address.rstrip("/").rpartition("/")[2]
    account = Account(name or setup.name_for(spoken, taken), location, folders, wanted)
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


def _advise(out: Console, preset: Preset | None, wanted: Preferences, own_client: bool) -> None:
    """What this provider wants, before somebody types a password that it will refuse."""
    if not preset or own_client or by_token(wanted):
        return
    if preset.auth == "app password":
        say(out, "It wants an app password, made for this one use; your usual password is refused.", "yellow")
    if preset.advice:
        say(out, preset.advice)


@dataclass(frozen=True, slots=True)
class _Leave:
    """What options say about a login by OAuth2."""

    provider: str
    client_id: str
    secret_file: Path | None
    server: str
    browser: bool


def _by_oauth(
    out: Console, location: str, preset: Preset | None, wanted: Preferences, leave: _Leave, ask: bool
) -> Preferences:
    """Have leave given where the provider takes nothing else, or where a client id is there; with the place of the tokens then."""
    id, host = config.account_of(location), parse_url(location).host
    other = set(wanted.given()) & set(SECRETS) - {"oauth_tokens"}
    only = bool(preset and preset.auth == "oauth" and not other)
    given = wanted.oauth_tokens and not leave.client_id and earlier(id, wanted.oauth_tokens)
    if given or not (leave.client_id or wanted.oauth_tokens or only):
        return wanted
    tokens = wanted.oauth_tokens or oauth.KEYRING
    oauth.check_place(id, tokens)
    provider = oauth.provider_named(leave.provider) if leave.provider else before_or_host(None, host)
    client = client_of(out, provider, leave.client_id, leave.secret_file, leave.server, None, ask=ask)
    give(out, client, id, tokens, leave.browser)
    return replace(wanted, oauth_tokens=tokens)


def _password(wanted: Preferences) -> Callable[[str], str]:
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


def _folders(out: Console, found: Description, said: tuple[str, ...], ask: bool) -> tuple[str, ...]:
    """Folders to look through; () for the one that the location names. Raises UsageError for one that is not there."""
    names = {name.casefold(): name for name in (found.folder, *found.folders, "INBOX")}
    others = [name for name in found.folders if name != found.folder]
    while True:
        if not said and ask and others:
            some = ", ".join(safe_text(name, 40) for name in others[:12]) + (", …" if len(others) > 12 else "")
            say(out, f"There are other folders: {some}")
            typed = str(typer.prompt("Folders to look through, separated by commas", default=found.folder))
            said = tuple(part.strip() for part in typed.split(",") if part.strip())
        unknown = [name for name in said if name.casefold() not in names]
        if not unknown:
            return () if said in ((), (found.folder,)) else tuple(names[name.casefold()] for name in said)
        text = f"There is no folder {safe_text(unknown[0])}, or it is a special one."
        if not ask:
            raise UsageError(text)
        say(out, text, "yellow")
        said = ()


def _target(out: Console, found: Description, said: str | None, ask: bool) -> str | None:
    """The folder to move to; None for the usual one. One of that name that is there is taken, wherever it lies."""
    usual = senders.load().title
    proposed = said or setup.target(found.folders, found.prefix, found.delimiter, usual)
    while ask and not said:
        typed = str(typer.prompt("Folder to move advertising to", default=proposed)).strip()
        try:
            said = checked_target(typed)
        except UsageError as error:
            say(out, str(error), "yellow")
            continue
        if any(typed.casefold() == one.rpartition(": ")[2].casefold() for one in (*found.special, found.folder)):
            say(
                out,
                f"{safe_text(typed)} is a special folder, or the one that is looked through. Choose another.",
                "yellow",
            )
            said = None
    chosen = said or proposed
    there = chosen in found.folders or f"{found.prefix}{chosen}" in found.folders
    say(
        out,
        f"Advertising goes to {safe_text(chosen)}, which {'is there' if there else 'the first run that moves makes'}.",
    )
    return None if chosen == usual else chosen


def _trusted(out: Console, location: str, wanted: Preferences, found: Description, ask: bool) -> tuple[str, ...] | None:
    """Whose Authentication-Results to believe: of a known provider nothing needs to be said; else what nearly all mails name."""
    if wanted.trust_authserv or pinned_for(parse_url(location).host):
        return wanted.trust_authserv
    seen = setup.proposed(found.headers)
    if not found.headers:
        say(out, "There is no mail yet that would show whose word on authenticity counts; `unpitch doctor` will tell.")
        return None
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
