"""What is wanted of an account: each key of the configuration, how its value is read, and what holds where nobody says anything."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from filters import senders
from filters.errors import UsageError
from filters.limits import MAX_MOVES
from filters.receivers import parse_trust
from filters.safe_text import safe_text

#: What may stand in the name of a target folder, and is filled in for each mail.
PLACEHOLDERS = ("category", "year")
#: Letters that a name of "never" must have, so that it does not mean everybody.
_NAME_PART = 3


@dataclass(frozen=True, slots=True)
class Preferences:
    """What is wanted of an account. None: not said."""

    to: str | None = None
    move: tuple[str, ...] | None = None
    never: tuple[str, ...] | None = None
    older_than_days: int | None = None
    unverified: str | None = None
    trust_authserv: tuple[str, ...] | None = None
    region: str | None = None
    max_moves: int | None = None
    brake: bool | None = None
    megabytes_per_run: int | None = None
    megabytes_per_day: int | None = None
    poll_seconds: int | None = None
    password_command: tuple[str, ...] | None = field(default=None, repr=False)
    oauth_token_command: tuple[str, ...] | None = field(default=None, repr=False)
    oauth_tokens: str | None = None
    password_file: Path | None = None
    keyring: bool | None = None
    ca_file: Path | None = None

    def over(self, other: Preferences) -> Preferences:
        """These, and where nothing is said here, the other's. A way to the password takes the place of every other way."""
        said = {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}
        if set(said) & set(SECRETS):
            other = replace(other, **dict.fromkeys(SECRETS))
        return replace(other, **said)

    def given(self) -> dict[str, Any]:
        """What is said, by key."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}


#: Ways to a password, of which an account may have one.
SECRETS = ("password_command", "oauth_token_command", "oauth_tokens", "password_file", "keyring")
#: What holds where nobody says otherwise. `move` is then what the sender's data call promotional, and `to` the sender's name.
USUAL = Preferences(
    never=(),
    older_than_days=0,
    unverified="keep",
    trust_authserv=(),
    region="",
    max_moves=MAX_MOVES,
    brake=True,
    megabytes_per_run=0,
    megabytes_per_day=0,
    poll_seconds=120,
)


def texts(value: Any) -> bool:
    """Whether it is a list of texts, with at least one."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one.strip() for one in value)


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the file: `read` checks a value, and raises UsageError or ValueError; `option` is its counterpart."""

    read: Callable[[Any], Any]
    option: str
    about: str


def _number(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or value < least:
            raise ValueError(f"wants a whole number from {least} on, not {safe_text(repr(value), 40)}")
        return value

    return read


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is true or false, not {safe_text(repr(value), 40)}")
    return value


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"is {' or '.join(words)}, not {safe_text(repr(value), 40)}")
        return str(value)

    return read


def _list(value: Any) -> list[str]:
    if value != [] and not texts(value):
        raise ValueError('wants a list of texts in quotes, such as ["…"]')
    return list(value)


def _categories(value: Any) -> tuple[str, ...]:
    return checked_categories(_list(value))


def checked_categories(names: list[str]) -> tuple[str, ...]:
    """Categories that may be moved. Raises UsageError for one that does not exist, or is never moved."""
    categories = senders.load().categories
    movable = sorted(one.name for one in categories.values() if one.action != "never")
    for name in names:
        if name not in categories:
            near = difflib.get_close_matches(name, movable, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"There is no category {safe_text(name, 60)}.{hint} Those that can be moved: {', '.join(movable)}."
            )
        if categories[name].action == "never":
            raise UsageError(f"{categories[name].title} is never moved; leave out --move {name}.")
    return tuple(names)


def _never(value: Any) -> tuple[str, ...]:
    return checked_never(_list(value))


def checked_never(names: list[str]) -> tuple[str, ...]:
    """Names whose mail is never moved. Raises UsageError for one that would mean nearly everybody."""
    for name in names:
        if sum(char.isalnum() for char in name) < _NAME_PART:
            raise UsageError(
                f"{safe_text(repr(name), 40)} is too short for a name; give at least {_NAME_PART} letters."
            )
    return tuple(names)


def _trusted(value: Any) -> tuple[str, ...]:
    names = _list(value)
    for name in names:
        parse_trust(name)
    return tuple(names)


def checked_target(value: Any) -> str:
    """The name of a target folder, perhaps with placeholders. Raises UsageError."""
    if not isinstance(value, str) or not value or value != value.strip():
        raise UsageError("wants the name of a folder, without blanks before or after it")
    rest = re.sub(rf"\{{(?:{'|'.join(PLACEHOLDERS)})\}}", "", value)
    if "{" in rest or "}" in rest:
        raise UsageError(f"{safe_text(value, 60)}: in curly brackets stands category or year, as in Ads/{{year}}")
    return value


def _words(value: Any) -> tuple[str, ...]:
    if not texts(value):
        raise ValueError('wants the words of a command as a list, such as ["pass", "show", "mail"]; no shell reads it')
    return tuple(value)


def _path(value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("wants a path in quotes")
    return Path(value).expanduser()


def checked_tokens(value: Any) -> str:
    """Where OAuth2 tokens are: "keyring", or the absolute path of a file. Raises ValueError."""
    if not isinstance(value, str) or not value or value == "true":
        raise ValueError('is "keyring", or the path of a file')
    return value if value == "keyring" else str(Path(value).expanduser().absolute())


#: Every key of an account and of [defaults], in the order in which they are shown.
KEYS: dict[str, Key] = {
    "to": Key(checked_target, "--to", "folder to move to; {category} and {year} are filled in"),
    "move": Key(_categories, "--move", "categories to move; default: the promotional ones"),
    "never": Key(_never, "--never", "senders and companies whose mail is never moved"),
    "older_than_days": Key(_number(0), "--older-than-days", "move only what is older"),
    "unverified": Key(_one_of("keep", "move"), "--unverified", "what to do with mail that nobody vouches for"),
    "trust_authserv": Key(_trusted, "--trust-authserv", "receivers whose Authentication-Results count"),
    "region": Key(_one_of("", "eu", "other"), "--region", "where you live, for the routes to opt out"),
    "max_moves": Key(_number(1), "--max-moves", "moves of one run"),
    "brake": Key(_switch, "--no-brake", "stop when far more than usual would be moved"),
    "megabytes_per_run": Key(_number(0), "--megabytes-per-run", "mail fetched by one run; 0: no limit"),
    "megabytes_per_day": Key(_number(0), "--megabytes-per-day", "mail fetched within 24 hours; 0: no limit"),
    "poll_seconds": Key(_number(5), "--poll-seconds", "between looks for new mail, where watch is not told of it"),
    "password_command": Key(_words, "--password-command", "program that prints the password, and its arguments"),
    "oauth_token_command": Key(_words, "--oauth-token-command", "program that prints an OAuth2 access token"),
    "oauth_tokens": Key(
        checked_tokens, "--oauth-tokens", 'where `unpitch login` keeps its tokens: "keyring", or a file'
    ),
    "password_file": Key(_path, "--password-file", "file with the password, which nobody else may read"),
    "keyring": Key(_switch, "--keyring", "the password is in the keyring of the system"),
    "ca_file": Key(_path, "--ca-file", "certificate authority of a private server (PEM)"),
}
#: Keys that people look for, and why there are none.
REFUSED = {
    "mark_read": "there is no key mark_read: unpitch never marks mail as read, so that a move can be taken back as it was",
    "password": "there is no key password: a secret does not stand in this file. Use keyring = true, password_command or"
    " password_file",
}
