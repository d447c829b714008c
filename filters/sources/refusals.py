"""What servers mean when they refuse: words that tell more than their response codes, from refusals.toml."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

APP_PASSWORD = "Make an app password in the security settings of your mail account, and use that one."  # noqa: S105
NO_PASSWORDS = "It wants OAuth2: name a program that prints an access token by oauth_token_command (or --oauth-token-command); see the README."
#: Exchange names a wait in a NO or BAD, without a code (N4).
_BACKOFF = re.compile(r"(?i)throttled.{0,80}?backoff time: (\d{1,9}) milliseconds")
_SENTENCES = {"app_password": APP_PASSWORD, "oauth": NO_PASSWORDS}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Words of a refusal; the fields are explained in refusals.toml. `advice` is a sentence."""

    text: str
    means: str
    advice: str
    seen: str


@cache
def refusals() -> tuple[Refusal, ...]:
    """What refusals.toml says."""
    tables = tomllib.loads(files(__package__).joinpath("refusals.toml").read_text("utf-8"))["refusal"]
    return tuple(Refusal(**table | {"advice": _SENTENCES.get(table["advice"], table["advice"])}) for table in tables)


def meaning(said: str) -> Refusal | None:
    """The known refusal that a server's words hold; None for any others."""
    words = said.lower()
    return next((one for one in refusals() if one.text in words), None)


def wait_named(said: str) -> float:
    """Seconds that a server asks to be left alone; 0 when it names none."""
    found = _BACKOFF.search(said)
    return int(found[1]) / 1000 if found else 0.0
