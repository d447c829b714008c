"""Reads a sender's TOML files into entries, and refuses what a person who edits them can get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from filters.errors import InputError
from filters.normal_form import fold
from filters.senders import entries
from filters.senders.entries import Entry
from filters.senders.parsing import parsed


class Settings(NamedTuple):
    """The table `[sender]` of sender.toml."""

    name: str
    title: str
    domains: tuple[str, ...]
    aliases: tuple[str, ...]
    neighbours: tuple[str, ...]
    header_fields: tuple[str, ...]
    class_header: str
    template_header: str
    several: tuple[str, ...]
    thread_path: str
    never_parts: tuple[str, ...]
    route_hosts: tuple[str, ...]
    not_live: tuple[str, ...]


Table = tuple[type[Entry], Callable[[Any], tuple[Any, ...]]]
#: Table name to its kind of entry and the key that its entries are sorted by, and unique in, within one file.
TABLES: Mapping[str, Table] = {
    "advice": (entries.Advice, lambda entry: (entry.topic, entry.order)),
    "category": (entries.Category, lambda entry: (entry.name,)),
    "class": (entries.MailClass, lambda entry: (entry.value,)),
    "disclosure": (entries.Disclosure, lambda entry: (entry.text_id, entry.language, fold(entry.text))),
    "era": (entries.Era, lambda entry: (entry.text_id,)),
    "footer": (entries.Footer, lambda entry: (entry.language, fold(entry.text))),
    "host": (entries.Host, lambda entry: (entry.name,)),
    "ignored": (entries.Ignored, lambda entry: (entry.language,)),
    "link_clue": (entries.LinkClue, lambda entry: (entry.part,)),
    "link_place": (entries.LinkPlace, lambda entry: (entry.parameter,)),
    "opt_out": (entries.OptOut, lambda entry: (entry.category, entry.order)),
    "promise": (entries.Promise, lambda entry: (entry.text_id, entry.days)),
    "statement": (entries.Statement, lambda entry: (entry.language, entry.kind)),
    "stream": (entries.Stream, lambda entry: (entry.address,)),
    "template": (entries.Template, lambda entry: (entry.stem,)),
    "token": (entries.Token, lambda entry: (entry.secrecy,)),
}
_CHOICES: Mapping[str, frozenset[str]] = {
    "action": entries.ACTIONS,
    "grade": entries.GRADES,
    "kind": entries.KINDS,
    "region": entries.REGIONS,
    "secrecy": entries.SECRECIES,
    "strength": entries.STRENGTHS,
}
_TYPES: Mapping[str, type] = {"str": str, "bool": bool, "int": int, "tuple[str, ...]": list}
_MAY_BE_EMPTY = frozenset({"category", "prefix", "promise", "shortcut", "since", "stop", "targeting", "until", "url"})


def read(folder: Path) -> tuple[Settings, dict[str, tuple[Entry, ...]]]:
    """The settings, and the entries of each table, of all .toml files of a sender's folder.

    Raises InputError that names file, entry and what is wrong.
    """
    settings: Settings | None = None
    placed: dict[str, list[tuple[str, Entry]]] = {name: [] for name in TABLES}
    for file, data in parsed(folder).items():
        if "sender" in data:
            settings = _build(Settings, _fields(Settings), data.pop("sender"), f"{file}: [sender]")
        language = data.pop("language", "")
        for name, tables in data.items():
            if name not in TABLES or not isinstance(tables, list):
                raise InputError(f"{file}: there is no table [[{name}]]; known are {', '.join(sorted(TABLES))}.")
            placed[name] += _entries(file, name, tables, language)
    if settings is None:
        raise InputError(f"{folder.name}: no file has the table [sender]; it belongs in sender.toml.")
    _check(settings, placed)
    return settings, {name: tuple(entry for _, entry in found) for name, found in placed.items()}


def _entries(file: str, name: str, tables: list[Any], language: str) -> Iterator[tuple[str, Entry]]:
    """Each entry with the words that name it in an error; sorted and unique, or InputError."""
    kind, key_of = TABLES[name]
    known = _fields(kind)
    before: tuple[Any, ...] = ()
    for number, table in enumerate(tables, 1):
        where = f"{file}: [[{name}]] number {number}"
        given = {"language": language, **table} if language and "language" in known else table
        entry = _build(kind, known, given, where)
        key = key_of(entry)
        if key <= before:
            raise InputError(f"{where} {key}: {'is there twice' if key == before else 'is not in alphabetical order'}.")
        before = key
        yield where, entry


def _fields(kind: Any) -> dict[str, tuple[str, bool]]:
    """Field name to the name of its type and whether it must be given."""
    return {
        name: (given.__forward_arg__, name not in kind._field_defaults) for name, given in kind.__annotations__.items()
    }


def _build(
    kind: Callable[..., Any], known: Mapping[str, tuple[str, bool]], table: Mapping[str, Any], where: str
) -> Any:
    for key, value in table.items():
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'; known are {', '.join(known)}.")
        if problem := _problem(key, known[key][0], value):
            raise InputError(f"{where}: '{key}' {problem}.")
    for key, (_, needed) in known.items():
        if needed and key not in table:
            raise InputError(f"{where}: the key '{key}' is missing.")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


def _problem(key: str, type_name: str, value: object) -> str:
    wanted = _TYPES[type_name]
    if type(value) is not wanted:
        return f"must be of type {wanted.__name__}"
    if isinstance(value, list) and not all(isinstance(part, str) and part for part in value):
        return "must hold texts only"
    if key in _CHOICES and value not in _CHOICES[key]:
        return f"is '{value}', but must be one of {', '.join(sorted(_CHOICES[key]))}"
    if value == "" and key not in _MAY_BE_EMPTY:
        return "is empty"
    return ""


def _check(settings: Settings, placed: Mapping[str, Sequence[tuple[str, Entry]]]) -> None:
    """What holds across tables and files."""
    categories = {getattr(entry, "name", "") for _, entry in placed["category"]}
    for name, found in placed.items():
        seen: set[tuple[Any, ...]] = set()
        for where, entry in found:
            key = TABLES[name][1](entry)
            problem = _category_problem(entry, categories) or _address_problem(entry, settings)
            if problem or key in seen:
                raise InputError(f"{where} {key}: {problem or 'is in another file too'}.")
            seen.add(key)


def _category_problem(entry: Entry, categories: set[Any]) -> str:
    named = {getattr(entry, "category", ""), *getattr(entry, "unless", ())} - {""}
    if not named <= categories:
        return f"the category '{', '.join(sorted(named - categories))}' is not in sender.toml"
    if getattr(entry, "category", "-") == "" and not isinstance(entry, entries.MailClass | entries.Footer):
        return "'category' is empty"
    if isinstance(entry, entries.Disclosure | entries.Footer) and not any(map(str.isalnum, entry.text)):
        return "'text' holds no words"
    return ""


def _address_problem(entry: Entry, settings: Settings) -> str:
    live = getattr(entry, "live", True)
    for url in filter(None, (getattr(entry, "url", ""), getattr(entry, "shortcut", ""))):
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.netloc not in settings.route_hosts or (live and parts.query):
            return f"the address {url} is not https, or not on a host of 'route_hosts', or carries a query"
        if live and any(part.lower() in url.lower() for part in settings.not_live):
            return f"the address {url} is known as not live"
    return ""
