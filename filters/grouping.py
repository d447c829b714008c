"""Which messages belong together, so that no fold of a cross-validation is asked about what another fold was told.

Together are near-duplicates, the mails of one campaign of one sender, and the mails of one thread; and what belongs together
with the same third message.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any

from filters.message import Message
from filters.normal_form import fold, words

#: MinHash (Broder 1997): bands of rows of hashes. Two messages that share 0.8 of their words meet in some band with probability
#: 0.9998, two that share 0.3 with 0.12 (and are then compared in full).
_BANDS, _ROWS = 16, 4
#: From this Jaccard similarity of their hashes two messages are near-duplicates.
ALIKE = 0.75
#: Heads of one bucket that are compared; a bucket with more holds boilerplate.
_BUCKET_CAP = 50
#: Words that a message must have for its likeness to mean something.
_FEWEST_WORDS = 8
_NUMBER = re.compile(r"\d+")
_REPLIED = re.compile(r"^(?:(?:re|fw|fwd|aw|wg|sv|vs|antw|odp|ynt|tr|rv|r|i)\s*(?:\[\d+\])?:\s*)+", re.IGNORECASE)
_ID = re.compile(r"<([^<>\s]{3,250})>")


@dataclass(frozen=True, slots=True)
class Kinship:
    """What is needed of one message to find its kin: a few hundred bytes."""

    signs: frozenset[str]
    """Message-IDs of its thread, and its campaign: whoever shares one belongs together."""
    hashes: tuple[int, ...]
    """MinHash of its words; empty when it has too few."""


def kinship(message: Message, vocabulary: Collection[str]) -> Kinship:
    """Of a message and its words."""
    ids = {found for name in ("message-id", "in-reply-to", "references") for found in _ids(message, name)}
    return Kinship(frozenset(f"id:{one}" for one in ids) | _campaign(message), minhash(vocabulary))


def _ids(message: Message, name: str) -> list[str]:
    return _ID.findall(message.first(name))[-50:]


def _campaign(message: Message) -> frozenset[str]:
    """Who says so, and under which subject, numbers aside. One without a subject, or a bare reply, names no campaign."""
    subject = _NUMBER.sub("#", _REPLIED.sub("", fold(message.subject).strip()))
    if len(words(subject)) < 2:  # "hello" is everybody's
        return frozenset()
    return frozenset({f"campaign:{message.from_address}\0{fold(message.from_name)}\0{subject}"})


def minhash(vocabulary: Collection[str]) -> tuple[int, ...]:
    """The signature of a set of words: equal places of two signatures are as frequent as words that the sets share."""
    if len(vocabulary) < _FEWEST_WORDS:
        return ()
    import numpy as np  # noqa: PLC0415  (heavy, and of no use to judging)

    values = np.frombuffer(b"".join(map(_digest, vocabulary)), np.dtype("<u8"))
    factors, shifts = _multiply_shift()
    mixed = values[:, None] * factors[None, :] + shifts[None, :]  # modulo 2**64
    return tuple((mixed >> np.uint64(32)).min(axis=0).tolist())


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


@cache
def _multiply_shift() -> tuple[Any, Any]:
    """Odd factors and shifts of the hash functions (Dietzfelbinger 1997); the same in every process."""
    import numpy as np  # noqa: PLC0415

    dice = np.random.default_rng(20261127)
    factors = dice.integers(0, 2**63, _BANDS * _ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return factors, dice.integers(0, 2**63, _BANDS * _ROWS, dtype=np.uint64)


def groups(kin: Iterable[Kinship]) -> list[int]:
    """For each message the number of its group: the place of the group's first message. A few hundred bytes of each are kept
    meanwhile."""
    import numpy as np  # noqa: PLC0415

    parents: list[int] = []
    first: dict[bytes, int] = {}
    hashed, hashes = array("l"), array("I")
    for at, one in enumerate(kin):
        parents.append(at)
        for sign in sorted(one.signs):
            _join(parents, first.setdefault(_digest(sign), at), at)
        if one.hashes:
            hashed.append(at)
            hashes.extend(one.hashes)
    for same, other in _alike(np.frombuffer(hashes, np.uint32).reshape(len(hashed), -1)) if hashed else ():
        _join(parents, hashed[same], hashed[other])
    return [_root(parents, at) for at in range(len(parents))]


def _alike(hashes: Any) -> Iterator[tuple[int, int]]:
    """Pairs of rows that meet in a band and are alike in full. Each is compared with the first of its bucket that it is like."""
    for band in range(_BANDS):
        for bucket in _buckets(hashes[:, band * _ROWS : (band + 1) * _ROWS]):
            heads = [bucket[0]]
            for row in bucket[1:]:
                like = (hashes[heads] == hashes[row]).mean(axis=1) >= ALIKE
                if like.any():
                    yield heads[int(like.argmax())], row
                elif len(heads) < _BUCKET_CAP:
                    heads.append(row)


def _buckets(rows: Any) -> Iterator[list[int]]:
    """The places of rows that are equal, where there are several."""
    import numpy as np  # noqa: PLC0415

    order = np.lexsort(rows.T)
    begins = np.flatnonzero(np.append(True, (rows[order][1:] != rows[order][:-1]).any(axis=1)))
    sizes = np.diff(np.append(begins, len(order)))
    for begin, size in zip(begins[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        yield order[begin : begin + size].tolist()


def _root(parents: list[int], at: int) -> int:
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at


def _join(parents: list[int], one: int, other: int) -> None:
    first, second = sorted((_root(parents, one), _root(parents, other)))
    parents[second] = first


def folds(labels: Sequence[str], members: Sequence[int], count: int) -> list[int]:
    """A fold, from 1, for each message: no group straddles two, and each label is spread as evenly as groups allow.

    The largest group goes first, to the fold that has the least of its labels; the same input gives the same folds.
    """
    content: dict[int, dict[str, int]] = {}
    for label, group in zip(labels, members, strict=True):
        tally = content.setdefault(group, {})
        tally[label] = tally.get(label, 0) + 1
    filled: list[dict[str, int]] = [{} for _ in range(count)]
    chosen: dict[int, int] = {}
    for group in sorted(content, key=lambda one: (-sum(content[one].values()), one)):
        tally = content[group]
        at = min(range(count), key=lambda fold: (_load(filled[fold], tally), sum(filled[fold].values()), fold))
        chosen[group] = at + 1
        for label, number in tally.items():
            filled[at][label] = filled[at].get(label, 0) + number
    return [chosen[group] for group in members]


def _load(filled: dict[str, int], tally: dict[str, int]) -> int:
    return max(filled.get(label, 0) for label in tally)
