"""One string to a source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from filters.sources import Source
from filters.sources.local import open_local
from filters.sources.location import SCHEMES
from filters.sources.patience import Patience

if TYPE_CHECKING:
    from filters.sources.session import OAuth


def open_source(
    location: str,
    password: Callable[[str], str],
    *,
    changes: bool,
    ca_file: Path | None,
    stdin: BinaryIO,
    patience: Patience = Patience(),  # noqa: B008 (frozen)
    oauth: OAuth = False,
) -> Source:
    """Open a location: an IMAP URL, a path, or "-" for `stdin`. Without `changes` nothing at all can be changed.

    `password` gets the printable account and is called only for IMAP, where `patience` says how to wait for a server. With `oauth` it gives
    an access token.
    """
    if location.lower().startswith(SCHEMES):
        from filters.sources.imap import open_imap  # noqa: PLC0415  (heavy, and not needed for files)

        return open_imap(location, password, changes=changes, ca_file=ca_file, patience=patience, oauth=oauth)
    return open_local(location, changes=changes, stdin=stdin)


def location_of(account: str, folder: str) -> str:
    """The location of a folder of an account, both as a source names them: for coming back to it."""
    if account.startswith(SCHEMES):
        return f"{account}/{quote(folder)}"
    return f"{account}/.{folder}" if folder else account
