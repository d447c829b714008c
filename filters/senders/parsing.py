"""The TOML files of a folder, parsed. What came out of it is kept beside Python's byte code, and for the same reason: to parse them
takes half of the time in which a mail is to be judged at delivery."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from filters.errors import InputError

Tables = dict[str, dict[str, Any]]


def parsed(folder: Path) -> Tables:
    """The content of each .toml file, by file name, sorted. Raises InputError for a file that is no TOML."""
    files = sorted(folder.glob("*.toml"))
    contents = {file.name: file.read_bytes() for file in files}
    digest = hashlib.sha256(b"\0".join(part for name, raw in contents.items() for part in (name.encode(), raw)))
    kept = folder / "__pycache__" / "tables.json"
    with suppress(OSError, ValueError, TypeError, KeyError):  # none there, or none of ours
        known = json.loads(kept.read_bytes())
        if known["sha256"] == digest.hexdigest():
            return dict(known["tables"])
    tables = {name: _toml(name, raw) for name, raw in contents.items()}
    if not sys.dont_write_bytecode:
        with suppress(OSError, TypeError):  # no right to write there, as for byte code; or a date, which JSON has not
            _keep(kept, json.dumps({"sha256": digest.hexdigest(), "tables": tables}))
    return tables


def _keep(path: Path, text: str) -> None:
    """Put in place at once; whoever may write byte code here may write this."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _toml(name: str, raw: bytes) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  (mostly not needed)

    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not valid TOML: {error}.") from error
