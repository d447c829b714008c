"""Leave by OAuth2: the command login, and what init shares with it."""

from __future__ import annotations

import os
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer
from rich.console import Console

from filters import oauth
from filters.cli.accounts import AccountName, named
from filters.cli.options import CaFile, OAuthTokens, access, console
from filters.credentials import from_file
from filters.errors import FiltersError, UsageError
from filters.oauth import Asked, Client, Provider
from filters.report import say
from filters.safe_text import safe_text
from filters.sources.location import parse_url

ProviderName = Annotated[
    str,
    typer.Option(
        "--provider",
        metavar="google|microsoft",
        help="Whose OAuth2 it is. Default: the one that the mail server belongs to.",
    ),
]
ClientId = Annotated[
    str,
    typer.Option(
        "--client-id",
        metavar="ID",
        envvar="UNPITCH_CLIENT_ID",
        help="The client id that you got from the provider, for a login by OAuth2.",
    ),
]
ClientSecretFile = Annotated[
    Path | None,
    typer.Option(
        "--client-secret-file",
        metavar="FILE",
        help="File with the secret of that client, where it has one (Google); yours alone (0600). Or UNPITCH_CLIENT_SECRET.",
    ),
]
Server = Annotated[
    str,
    typer.Option(
        "--server",
        metavar="URL",
        help="The provider's issuer or authority, where it is not the usual one (a tenant, say).",
    ),
]
Browser = Annotated[
    bool, typer.Option("--browser/--no-browser", help="Open the provider's page by itself, where there is a desktop.")
]


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(login)


def login(
    account: AccountName,
    provider: ProviderName = "",
    client_id: ClientId = "",
    client_secret_file: ClientSecretFile = None,
    server: Server = "",
    oauth_tokens: OAuthTokens = "",
    browser: Browser = True,
    ca_file: CaFile = None,
) -> None:
    """Give leave to read a mailbox by OAuth2, on the provider's page, and keep the tokens in the keyring or a file. Tests the login.

    Asks for the client id that you registered, unless it is known from before; says how to get one.
    """
    id = named(account)
    way_in = access("", ca_file, oauth_tokens=oauth_tokens)
    location = found.location if (found := way_in.config.named(account)) else account
    where = way_in.wants(location).oauth_tokens or oauth.KEYRING
    out, host = console(), parse_url(id).host
    oauth.check_place(id, where)
    before = earlier(id, where)
    which = oauth.provider_named(provider) if provider else before_or_host(before, host)
    client = client_of(out, which, client_id, client_secret_file, server, before, ask=sys.stdin.isatty())
    give(out, client, id, where, browser)
    tested = access("", ca_file, oauth_tokens=where).describe(location, 0)
    say(out, f"{host} lets {parse_url(id).user} in: {tested.folder} has {tested.messages:,} messages.", "bold green")
    if not (found and found.preferences.oauth_tokens):
        say(
            out,
            f'Put into the configuration of the account, instead of another way to a password: oauth_tokens = "{where}"',
        )


def earlier(id: str, where: str) -> Client | None:
    """The client of the last login, if its tokens are still kept."""
    with suppress(FiltersError):
        return oauth.kept(id, where, id).client
    return None


def before_or_host(before: Client | None, host: str) -> Provider:
    """The provider of the last login, or the one that a server belongs to. Raises UsageError."""
    found = oauth.provider_named(before.provider) if before else oauth.provider_at(host)
    if not found:
        names = " or ".join(one.name for one in oauth.providers())
        raise UsageError(
            f"No provider of OAuth2 is known for {safe_text(host)}. Name it by --provider {names}, and its address by --server."
        )
    return found


def client_of(
    out: Console,
    provider: Provider,
    id: str,
    secret_file: Path | None,
    server: str,
    before: Client | None,
    *,
    ask: bool,
) -> Client:
    """The person's own client at a provider: by option or environment, as at the last login, or by asking. Raises UsageError."""
    same = before if before and before.provider == provider.name and id in ("", before.id) else None
    id = id or (same.id if same else "")
    if not id:
        how_to_register(out, provider)
        if not ask:
            raise UsageError("Give the client id by --client-id or UNPITCH_CLIENT_ID: there is no terminal to ask on.")
        id = typer.prompt("Client id").strip()
    secret = (
        from_file(secret_file, "The file of the client secret")
        if secret_file
        else os.environ.get("UNPITCH_CLIENT_SECRET", "")
    )
    if not secret and same:
        secret = same.secret
    if not secret and provider.secret and ask:
        secret = typer.prompt("Client secret (empty for none)", default="", hide_input=True, show_default=False).strip()
    server = oauth.checked_server(server) if server else same.server if same else ""
    return Client(provider.name, id, secret, server)


def how_to_register(out: Console, provider: Provider) -> None:
    """The steps to a client id, as far as they are known."""
    say(out, f"{provider.title} lets programs in by OAuth2, each person with a client id of their own:", "bold")
    for number, step in enumerate(provider.steps, 1):
        say(out, f"  {number}. {step}")
    say(out, provider.note, "yellow")


def give(out: Console, client: Client, id: str, where: str, browser: bool) -> None:
    """Have leave given, and keep it."""
    place = parse_url(id)
    grant = oauth.give_leave(client, place.user, Asked(typer.echo, _browse if browser else lambda _: None))
    oauth.keep(id, where, grant)
    say(out, f"The tokens are in {'the keyring' if where == oauth.KEYRING else where} now.")


def _browse(page: str) -> None:
    """Open a page where there is a desktop, without waiting for the browser, which waits for us; never one that takes over the terminal."""
    if (
        os.environ.get("BROWSER")
        or os.environ.get("DISPLAY")
        or os.environ.get("WAYLAND_DISPLAY")
        or sys.platform == "darwin"
    ):
        Thread(target=webbrowser.open, args=(page,), daemon=True).start()
