"""What is known of mail providers, by the domain of an address."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Preset:
    """A provider; the fields are explained in presets.toml."""

    name: str
    domains: tuple[str, ...]
    host: str
    port: int
    user: str
    auth: str
    megabytes_per_day: int
    advice: str
    seen: str
    grade: str

    def location(self, address: str) -> str:
        """Where the mailbox of an address is."""
        user = address if self.user == "address" else address.partition("@")[0]
        return f"imaps://{quote(user, safe='@')}@{self.host}"


@cache
def presets() -> tuple[Preset, ...]:
    """What presets.toml says."""
    tables = tomllib.loads(files(__package__).joinpath("presets.toml").read_text("utf-8"))["provider"]
    return tuple(Preset(**table | {"domains": tuple(table["domains"])}) for table in tables)


def preset_for(address: str) -> Preset | None:
    """The provider of an address; None for one that is not known."""
    domain = address.rpartition("@")[2].lower()
    return next((one for one in presets() if domain in one.domains), None)


def preset_at(host: str) -> Preset | None:
    """The provider that an IMAP server belongs to; None for one that is not known."""
    return next((one for one in presets() if one.host == host.lower()), None)
