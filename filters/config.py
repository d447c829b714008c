"""The configuration: one TOML file with accounts, and what is wanted of each. Every key of an account is an option of `clean` as well.

A mistake is told with its line, and all of them at once; a key that does not exist, with the one that was perhaps meant.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import platformdirs

from filters.errors import NotFoundError, UsageError
from filters.preferences import KEYS, REFUSED, SECRETS, Preferences, texts
from filters.safe_text import safe_text
from filters.sources.location import SCHEMES, parse_url

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
#: Bytes of a file that is read at all.
_CAP = 1_048_576


class ConfigError(UsageError):
    """The configuration has mistakes. `mistakes` are (line, text); line 0 where none can be named."""

    def __init__(self, path: Path, mistakes: list[tuple[int, str]]) -> None:
        self.mistakes = mistakes
        lines = "; ".join(f"line {line}: {text}" if line else text for line, text in mistakes)
        super().__init__(f"{path}: {lines.rstrip('.')}. `unpitch config check` lists the mistakes.")


@dataclass(frozen=True, slots=True)
class Account:
    """One mailbox with a name. `folders` are those to look through."""

    name: str
    location: str
    folders: tuple[str, ...]
    preferences: Preferences
    lines: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)
    """In which line of the file each key was said."""

    @property
    def id(self) -> str:
        """What the journal calls the account: a location without folder, or a path."""
        return account_of(self.location)

    def locations(self) -> list[str]:
        """One for each folder."""
        if not self.location.lower().startswith(SCHEMES):
            return [str(Path(self.location, f".{folder}")) if folder else self.location for folder in self.folders]
        return [f"{self.id}/{quote(folder)}" for folder in self.folders]

    def folder_of(self, location: str) -> str:
        """Which of its folders a location of `locations` is; "" for any other location."""
        return dict(zip(self.locations(), self.folders, strict=True)).get(location, "")


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says; `path` need not exist."""

    path: Path
    accounts: tuple[Account, ...] = ()
    tables: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """As they stand in the file."""

    def named(self, name: str) -> Account | None:
        """The account with this name."""
        return next((one for one in self.accounts if one.name == name), None)

    def of(self, location: str) -> Account | None:
        """The account that a location belongs to."""
        id = account_of(location)
        return next((one for one in self.accounts if id == one.id or id in one.locations()), None)


def account_of(location: str) -> str:
    """What the journal calls the account of a location. Raises UsageError."""
    if location.lower().startswith(SCHEMES):
        return parse_url(location).account
    return location if location == "-" else os.path.realpath(os.path.expanduser(location))


def quoted(text: str) -> str:
    """A text as TOML writes it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def state_folder() -> Path:
    """Where the journal lies: UNPITCH_STATE, else the platform's place for state."""
    return Path(os.environ.get("UNPITCH_STATE") or platformdirs.user_state_dir("unpitch", appauthor=False))


def config_path() -> Path:
    """Where the configuration lies: UNPITCH_CONFIG, else the platform's place for configuration."""
    folder = platformdirs.user_config_path("unpitch", appauthor=False)
    return Path(os.environ.get("UNPITCH_CONFIG") or folder / "config.toml")


def load(path: Path, cap: int = _CAP) -> Config:
    """Read the file, of at most `cap` bytes. No file is a configuration without accounts. Raises ConfigError, NotFoundError."""
    text = _text(path, cap)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        why = str(error)[: at.start()] if at else str(error)
        raise ConfigError(path, [(int(at[1]) if at else 0, _in_plain_words(why))]) from None
    return read(tables, path, text)


def read(tables: dict[str, Any], path: Path = Path(), text: str = "") -> Config:
    """What tables mean that were read from `text`. Raises ConfigError."""
    reading = _Reading(text)
    accounts = reading.accounts(tables)
    if reading.mistakes:
        raise ConfigError(path, sorted(reading.mistakes))
    return Config(path, tuple(accounts), tables)


def _text(path: Path, cap: int) -> str:
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(cap + 1)
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(
                path, [(0, f"others may write to it, and it names programs to run. Run: chmod 600 {path}")]
            )
        if len(content) > cap:
            raise ConfigError(path, [(0, "it is longer than a configuration can be")])
        return content.decode()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeDecodeError:
        raise ConfigError(path, [(0, "it is no text (UTF-8)")]) from None
    except OSError as error:
        raise NotFoundError(f"{path}: {(error.strerror or 'cannot be read').lower()}. Check your rights.") from error


def _in_plain_words(why: str) -> str:
    twice = re.match(r"Cannot declare \('accounts', '(.*)'\) twice", why)
    return f"there are two accounts with the name {twice[1]}; give one of them another" if twice else why


class _Reading:
    """One pass over the tables, which gathers mistakes."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.mistakes: list[tuple[int, str]] = []

    def accounts(self, tables: dict[str, Any]) -> list[Account]:
        usual = self._preferences((), "defaults", tables.get("defaults", {}))[0]
        self._unknown(set(tables) - {"accounts", "defaults"}, ("accounts", "defaults"), ())
        named = tables.get("accounts", {})
        if not isinstance(named, dict) or not all(isinstance(one, dict) for one in named.values()):
            self._mistake((), "accounts", "write each account as a table of its own, such as [accounts.home]")
            return []
        found = [account for name, table in named.items() if (account := self._account(name, table, usual))]
        first: dict[str, str] = {}
        for one in found:
            if (twin := first.setdefault(one.id, one.name)) != one.name:
                self._mistake(("accounts", one.name), "location", f"this is the mailbox of {twin} as well")
        return found

    def _account(self, name: str, table: dict[str, Any], usual: Preferences) -> Account | None:
        at = ("accounts", name)
        if not _NAME.fullmatch(name):
            self._mistake(
                at, "", f"an account's name has letters, digits, - and _ only, not {safe_text(repr(name), 60)}"
            )
        preferences, lines = self._preferences(at, "", table)
        location, folders = table.get("location"), table.get("folders")
        try:
            if not isinstance(location, str) or not location:
                raise UsageError("it says where the mailbox is, such as imaps://you@example.org@imap.example.org")
            is_url = location.lower().startswith(SCHEMES)
            inside = parse_url(location).folder if is_url else ""
            location = location if is_url else os.path.expanduser(location)
        except UsageError as error:
            self._mistake(at, "location", str(error))
            return None
        if folders is not None and not texts(folders):
            self._mistake(at, "folders", 'wants a list of folders, such as ["INBOX"]')
            folders = None
        return Account(name, location, tuple(folders or [inside]), preferences.over(usual), lines)

    def _preferences(self, at: tuple[str, ...], name: str, table: Any) -> tuple[Preferences, dict[str, int]]:
        where = (*at, name) if name else at
        if not isinstance(table, dict):
            self._mistake(at, name, "is to be a table")
            return Preferences(), {}
        more = ("location", "folders") if at else ()
        self._unknown(set(table) - set(KEYS) - set(more), (*KEYS, *more), where)
        values: dict[str, Any] = {}
        for key in [key for key in KEYS if key in table]:
            try:
                values[key] = KEYS[key].read(table[key])
            except (UsageError, ValueError) as error:
                self._mistake(where, key, str(error))
        ways = [key for key in SECRETS if values.get(key)]
        if len(ways) > 1:
            self._mistake(where, ways[1], f"{ways[0]} and {ways[1]} exclude each other; keep one way to the password")
        return Preferences(**values), {key: self._line(where, key) for key in table}

    def _unknown(self, keys: set[str], known: tuple[str, ...], at: tuple[str, ...]) -> None:
        for key in sorted(keys):
            if why := REFUSED.get(key):
                self._mistake(at, key, why)
                continue
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f". There are: {', '.join(sorted(known))}"
            self._mistake(at, key, f"there is no key {safe_text(key, 60)}{hint}")

    def _mistake(self, at: tuple[str, ...], key: str, text: str) -> None:
        whole = not key or text.startswith(("there ", "this "))
        text = text if whole else f"{key}: {text}"
        self.mistakes.append((self._line(at, key), text.rstrip(".")))

    def _line(self, at: tuple[str, ...], key: str) -> int:
        """The line in which a key of a table stands, or the table's own; 0 when it cannot be found."""
        return (self._lines.get((*at, key)) if key else None) or self._lines.get(at, 0)

    @cached_property
    def _lines(self) -> dict[tuple[str, ...], int]:
        """Where each table and each key of one begins; a table also under the names of those around it."""
        found: dict[tuple[str, ...], int] = {}
        path: tuple[str, ...] = ()
        for number, line in self._statements():
            if table := re.fullmatch(r"\s*\[(.+)\]\s*(?:#.*)?", line):
                path = tuple(part.strip().strip("\"'") for part in table[1].split("."))
                for end in range(len(path), 0, -1):
                    found.setdefault(path[:end], number)
            elif key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*[=.]", line):
                found.setdefault((*path, key[1]), number)
        return found

    def _statements(self) -> Iterator[tuple[int, str]]:
        """Lines that begin something: what stands since the last of them is TOML by itself, so they are inside of no list and no text."""
        open_lines: list[str] = []
        for number, line in enumerate(self._text.splitlines(), 1):
            if not open_lines:
                yield number, line
            open_lines.append(line)
            with suppress(tomllib.TOMLDecodeError):
                tomllib.loads("\n".join(open_lines))
                open_lines.clear()
