"""Files that are written for the user alone, and never over something that is there already unless that was asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filters.errors import WriteError
from filters.safe_text import safe_text


def check_free(path: Path, force: bool) -> None:
    """Raise WriteError, before any work is done, when a file cannot be written at `path`."""
    shown = safe_text(str(path))
    if path.is_dir():
        raise WriteError(f"{shown} is a folder; name a file in it.")
    if not force and os.path.lexists(path):
        raise WriteError(f"{shown} exists already and was kept. Name another file, or add --force to replace it.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise WriteError(
            f"{shown} cannot be written: its folder {'may not be changed' if path.parent.is_dir() else 'does not exist'}."
        )


def write_private(path: Path, pieces: Iterable[bytes], force: bool) -> None:
    """Write a file that only its owner may read (0600): all of it, or nothing. Raises WriteError."""
    check_free(path, force)
    room = ""
    try:
        descriptor, room = tempfile.mkstemp(prefix=".unpitch-", dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
        if force:
            os.replace(room, path)
        else:
            os.link(room, path)  # fails when somebody was quicker
    except OSError as error:
        why = (error.strerror or "unknown error").lower()
        raise WriteError(f"{safe_text(str(path))} cannot be written: {why}.") from None
    finally:
        with suppress(OSError):
            os.unlink(room)
