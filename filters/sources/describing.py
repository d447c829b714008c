"""What a server says of itself and of an account on it: for a person who wants to know whether all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filters.errors import ServerError
from filters.safe_text import safe_text
from filters.sources.guarded import GuardedClient, RejectedError
from filters.sources.imap import open_imap
from filters.sources.location import decoded
from filters.sources.patience import Patience
from filters.sources.session import OAuth

#: Capabilities that make a difference to a run.
TELLING = (
    "MOVE",
    "UIDPLUS",
    "NAMESPACE",
    "SPECIAL-USE",
    "OBJECTID",
    "X-GM-EXT-1",
    "IDLE",
    "QUOTA",
    "ACL",
    "CONDSTORE",
)


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit: such as 12 of 100 KiB of "STORAGE"."""

    resource: str
    used: int
    most: int


@dataclass(frozen=True, slots=True)
class Description:
    """A server and an account on it, as they are now."""

    tls: str
    """Such as "TLSv1.3"; "" where there is none, which is so on loopback only."""
    expires: float
    """When the certificate ends, in seconds since 1970; 0 without TLS."""
    capabilities: frozenset[str]
    folder: str
    messages: int
    strategy: str
    """"move", "copy", or why nothing can be moved."""
    prefix: str
    delimiter: str
    special: tuple[str, ...]
    """Special folders, such as "\\\\Junk: Spam"."""
    quotas: tuple[Quota, ...]
    headers: tuple[bytes, ...]
    """Header blocks of the newest messages, oldest first."""
    folders: tuple[str, ...] = ()
    """Names of the folders that can be opened and are not special."""


def describe(
    location: str,
    password: Callable[[str], str],
    *,
    ca_file: Path | None,
    patience: Patience,
    newest: int,
    oauth: OAuth = False,
) -> Description:
    """Log in, look around, and log out; with the `newest` messages' headers. Nothing can be changed. Raises like `open_imap`."""
    source = open_imap(location, password, changes=False, ca_file=ca_file, patience=patience, oauth=oauth)
    try:
        session, client = source.session, source.session.client
        opened = session.enter(session.home)
        prefix, delimiter = client.namespace()
        tls, expires = client.secured()
        found = session.ask("", partial(GuardedClient.folders, pattern="*"))
        special = [
            f"{marks}: {safe_text(decoded(one.raw))}" for one in found if (marks := source.folder_list.special(one))
        ]
        return Description(
            tls,
            expires,
            client.capabilities,
            source.folder,
            opened.exists,
            source.strategy,
            prefix,
            delimiter,
            tuple(sorted(special)),
            _quotas(client, session.home),
            source.newest(newest),
            tuple(sorted(source.folder_list.usual())),
        )
    finally:
        source.close()


def _quotas(client: GuardedClient, raw: str) -> tuple[Quota, ...]:
    if "QUOTA" not in client.capabilities:
        return ()
    try:
        return tuple(Quota(*one) for one in client.quotas(raw))
    except RejectedError:
        return ()
    except ServerError:
        if client.dead:
            raise
        return ()
