"""Which server has the mail of an address: by what is known of providers, by DNS for who asks for it, or by asking the person."""

from __future__ import annotations

import os
from dataclasses import dataclass

import typer
from rich.console import Console

from filters import setup
from filters.errors import FiltersError, UsageError
from filters.lookup import imap_servers
from filters.presets import Preset, preset_at, preset_for
from filters.report import say
from filters.safe_text import safe_text
from filters.sources.location import SCHEMES, parse_url


@dataclass(frozen=True, slots=True)
class Search:
    """What the person said about where to look. `ask`: whether questions are allowed."""

    ask: bool
    host: str = ""
    user: str = ""
    lookup: bool = False
    nameserver: str = ""


def where(out: Console, address: str, search: Search) -> tuple[str, Preset | None]:
    """The location of the mailbox, and what is known of its provider. Raises UsageError."""
    if address.lower().startswith(SCHEMES):
        return setup.local_location(address), preset_at(parse_url(address).host)
    if os.path.isdir(os.path.expanduser(address)):
        return setup.local_location(address), None
    if "@" not in address:
        raise UsageError(f"{safe_text(address)} is no mail address, no IMAP location, and no Maildir.")
    preset = None if search.host else preset_for(address)
    if preset:
        say(out, f"{preset.name}: {preset.host}", "bold")
        return preset.location(search.user or address), preset
    host = search.host or _host(out, address.rpartition("@")[2], search)
    location = f"imaps://{search.user or address}@{host}"
    return location, preset_at(parse_url(location).host)


def missing(what: str) -> str:
    """Raise UsageError for an answer that nobody can be asked for."""
    raise UsageError(f"{what}: there is no terminal to ask on, or --yes forbids it.")


def _host(out: Console, domain: str, search: Search) -> str:
    """The server of a provider that is not known, perhaps with a port."""
    shown = safe_text(domain, 80)
    if search.ask:
        say(out, f"The provider of {shown} is not known here.")
    wanted = search.lookup or (
        search.ask and typer.confirm(f"Ask DNS for the mail server of {shown}? Your resolver then sees that name.")
    )
    found = _by_dns(out, domain, search) if wanted else ""
    if found:
        return found
    if not search.ask:
        missing(
            "Name the server by --host" if search.lookup else "Name the server by --host, or have DNS asked by --lookup"
        )
    return str(typer.prompt(f"The IMAP server of {shown}", default=f"imap.{domain}"))


def _by_dns(out: Console, domain: str, search: Search) -> str:
    """What DNS says, as far as it can be believed: of another domain only what the person confirms."""
    shown = safe_text(domain, 80)
    try:
        servers = imap_servers(domain, search.nameserver)
    except FiltersError as error:
        if not search.ask:
            raise
        say(out, str(error), "yellow")
        return ""
    if not servers:
        say(out, f"DNS names no IMAP server of {shown}.", "yellow")
        return ""
    best, host = servers[0], safe_text(servers[0].host, 80)
    place = best.host if best.port == 993 else f"{best.host}:{best.port}"
    if best.belongs_to(domain):
        say(out, f"DNS says that {host} has the mail of {shown}.")
        return place
    odd = f"DNS says that {host} has the mail of {shown}. That is another domain, and DNS can be forged"
    if not search.ask:
        raise UsageError(f"{odd}. If it is your provider's, say so: --host {place}")
    return place if typer.confirm(f"{odd}. Is it your provider's?") else ""
