"""The TOML files of a folder, parsed. What came out of it is kept beside Python's byte code, and for the same reason: to parse them
takes half of the time in which a mail is to be judged at delivery."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from filters.errors import InputError
from filters.kept import kept

Tables = dict[str, dict[str, Any]]


def parsed(folder: Path) -> Tables:
    """The content of each .toml file, by file name, sorted. Raises InputError for a file that is no TOML."""
    files = sorted(folder.glob("*.toml"))
    contents = {file.name: file.read_bytes() for file in files}
    digest = hashlib.sha256(b"\0".join(part for name, raw in contents.items() for part in (name.encode(), raw)))

    def make() -> Tables:
        return {name: _toml(name, raw) for name, raw in contents.items()}

    return kept(folder, "tables", digest.hexdigest(), make, dict, dict)


def _toml(name: str, raw: bytes) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  (mostly not needed)

    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not valid TOML: {error}.") from error
