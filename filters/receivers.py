"""Whose Authentication-Results count, and where in a header block they must stand.

A receiver has to remove only results that claim *its own* id (RFC 8601, 5), so foreign ones reach the mailbox, and some
receivers remove nothing. A result therefore counts only when its id is pinned, and only in the place where that receiver
writes: everything below belongs to the sender.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

from filters.authentication_results import Results, parse, plain
from filters.errors import UsageError
from filters.message import Message
from filters.safe_text import safe_text
from filters.senders.parsing import parsed

PLACEMENTS = ("above", "below", "bottom")
_HEADER = "authentication-results"
#: Headers that the author's side writes: below one of these, nothing comes from the receiver.
_LETTER = frozenset(["from", "to", "cc", "subject", "date", "message-id", "mime-version", "reply-to", "dkim-signature"])
_BY = re.compile(r"(?:^|\s)by\s+([^\s;\[\]]+)", re.IGNORECASE)
_ID = re.compile(r"(?:\*\.(?=[^.]+\.))?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
#: Names under which machines of one house call each other (RFC 6762; "internal" is reserved for that since 2024).
_INDOORS = frozenset(["internal", "lan", "local", "localdomain"])
#: Ids of one mail that are proposed.
_SEEN_CAP = 10


@dataclass(frozen=True, slots=True)
class Authserv:
    """A receiver to believe: its authserv-id, or a pattern "*.example.org", and where it writes."""

    id: str
    placement: str
    """"above" the topmost Received line, right "below" its own ones, or at the "bottom" of the header block."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A receiver that we know; the fields are explained in providers.toml."""

    name: str
    hosts: tuple[str, ...]
    ids: tuple[str, ...]
    placement: str
    hops: tuple[str, ...]
    note: str
    seen: str


@dataclass(frozen=True, slots=True)
class Run:
    """Results that one receiver wrote in its place, the outermost first.

    `exposed`: the sender's own headers adjoin, so all but the outermost might be the sender's.
    """

    results: tuple[Results, ...]
    exposed: bool


@cache
def providers() -> tuple[Provider, ...]:
    """What providers.toml says."""
    tables = parsed(Path(__file__).parent)["providers.toml"]["provider"]
    lists = ("hosts", "ids", "hops")
    return tuple(Provider(**table | {key: tuple(table[key]) for key in lists}) for table in tables)


def pinned_for(host: str) -> tuple[Authserv, ...]:
    """The receivers to believe for mail of this IMAP host; none for a host that is not known."""
    known = (one for one in providers() if any(_matches(pattern, host) for pattern in one.hosts))
    return tuple(Authserv(name, one.placement) for one in known for name in one.ids)


def parse_trust(text: str) -> Authserv:
    """Read "ID" or "ID:PLACE". Without a place: the one of a known receiver, else "above". Raises UsageError."""
    name, _, placement = text.strip().partition(":")
    if not _ID.fullmatch(name) or len(name) > 253:
        raise UsageError(
            f"{safe_text(text, 60)!r} names no receiver. Give the first word of its Authentication-Results header, such as "
            f"mx.example.org, or *.example.org where the host's number changes; the audit shows what your mail has."
        )
    name = name.lower()
    placement = placement or next((one.placement for one in providers() if _names(one, name)), "above")
    if placement not in PLACEMENTS:
        raise UsageError(f"After the colon stands above, below or bottom, not {safe_text(placement, 30)!r}.")
    return Authserv(name, placement)


def runs(message: Message, trusted: Sequence[Authserv]) -> tuple[Run, ...]:
    """The results that count, one run for each placement in which there are any."""
    parsed = {number: parse(value) for number, (name, value) in enumerate(message.headers) if name == _HEADER}
    found = ((place, _run(message, parsed, [one for one in trusted if one.placement == place])) for place in PLACEMENTS)
    return tuple(Run(tuple(parsed[number] for number in run), place != "above") for place, run in found if run)


def seen_ids(message: Message) -> tuple[Authserv, ...]:
    """The ids that this mail shows where a receiver could have written them, to propose to a person. They prove nothing."""
    parsed = {number: parse(value) for number, (name, value) in enumerate(message.headers) if name == _HEADER}
    names = dict.fromkeys(one.authserv_id for one in parsed.values() if _ID.fullmatch(one.authserv_id))
    possible = (Authserv(name, place) for name in list(names)[:_SEEN_CAP] for place in PLACEMENTS)
    return tuple(one for one in possible if _run(message, parsed, [one]))


def _run(message: Message, parsed: dict[int, Results], trusted: Sequence[Authserv]) -> list[int]:
    """Numbers of the headers that count for receivers of one placement, the outermost first."""
    pinned = [number for number in parsed if any(_matches(one.id, parsed[number].authserv_id) for one in trusted)]
    if not pinned:
        return []
    if trusted[0].placement == "above":
        top = next((number for number, (name, _) in enumerate(message.headers) if name == "received"), 0)
        return [number for number in pinned if number < top]
    if trusted[0].placement == "below":
        place = set(_below_own(message, trusted, set(pinned)))
        return [number for number in pinned if number in place]
    bottom = set(takewhile(parsed.__contains__, reversed(range(len(message.headers)))))
    # what claims this id elsewhere may be the receiver's own, and this run the sender's
    return pinned[::-1] if bottom.issuperset(pinned) else []


def _below_own(message: Message, trusted: Sequence[Authserv], pinned: set[int]) -> Iterator[int]:
    """Numbers of headers right below the receiver's own Received lines: up to the first Received line of somebody else,
    to the first header of a letter, or to the first Received line below a result."""
    hosts = _own_hosts(trusted)
    inside = answered = False
    for number, (name, value) in enumerate(message.headers):
        if name in _LETTER:
            return
        if name == "received":
            host = _received_by(value)
            own = any(_matches(pattern, host) for pattern in hosts)
            if answered or not (own or _is_indoors(host)):
                return
            inside = inside or own
        elif inside:
            answered = answered or number in pinned
            yield number


def _own_hosts(trusted: Iterable[Authserv]) -> set[str]:
    """Patterns of the names by which these receivers' machines call themselves in Received lines."""
    ids = {one.id for one in trusted if one.id}
    hops = {hop for one in trusted for provider in providers() if _names(provider, one.id) for hop in provider.hops}
    return ids | {f"*.{name}" for name in ids if not name.startswith("*.")} | hops


def _names(provider: Provider, name: str) -> bool:
    """Whether this id, or pattern of ids, is one of the provider's."""
    return any(name == pattern or _matches(pattern, name) for pattern in provider.ids)


def _matches(pattern: str, name: str) -> bool:
    """Equal, or below the pattern's "*." on a label boundary."""
    name = name.lower().rstrip(".")
    return name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]))


def _received_by(value: str) -> str:
    """The host that wrote a Received line, lower case; "" when it does not say."""
    found = _BY.search(plain(value)[0])
    return found[1].lower() if found else ""


def _is_indoors(host: str) -> bool:
    """Whether it is an address or a name without meaning outside of a house, such as "localhost" or "mx4.internal"."""
    label = host.rpartition(".")[2]
    return label == host or label.isdigit() or label in _INDOORS
