"""What takes long to work out is kept beside Python's byte code, and for the same reason. Whoever may write the one may write the other."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

_Value = TypeVar("_Value")


def kept(
    folder: Path,
    name: str,
    key: str,
    make: Callable[[], _Value],
    pack: Callable[[_Value], Any],
    unpack: Callable[[Any], _Value],
) -> _Value:
    """What `make` makes, or made before when `key` was the same; what is kept and is damaged, or cannot be kept, is made again.

    `name`.json of `folder`/__pycache__ has it as JSON: as `pack` makes it, and `unpack` takes it.
    """
    path = folder / "__pycache__" / f"{name}.json"
    with suppress(
        OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError
    ):  # none there, or none of ours
        known = json.loads(path.read_bytes())
        if known["key"] == key:
            return unpack(known["value"])
    value = make()
    if not sys.dont_write_bytecode:
        with suppress(OSError, TypeError):  # no right to write there, as for byte code; or a date, which JSON has not
            _keep(path, json.dumps({"key": key, "value": pack(value)}))
    return value


def _keep(path: Path, text: str) -> None:
    """Put in place at once."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
