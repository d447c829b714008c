"""Corrections to lessons: the mail itself is read again and judged again, and what may not teach is left out by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filters import judge, labelled
from filters import model as models
from filters.labelled import Labelled, Read
from filters.lessons import PROMOTIONAL, Correction
from filters.sources import Mail, Place, Source, Unreadable
from filters.sweep import Setup
from filters.workers import Failure, Workers

_GONE = "it is not there any more"


@dataclass(frozen=True, slots=True)
class Examined:
    """A correction, what its mail says of itself, and the lesson; or None, and why there is none."""

    correction: Correction
    lesson: Labelled | None = None
    why_not: str = ""
    from_: str = ""
    subject: str = ""
    final: bool = True
    """Whether that stays so."""


def examine(
    source: Source, setup: Setup, corrections: Sequence[Correction], places: Mapping[str, Place]
) -> Iterator[Examined]:
    """Read the mail of corrections at its places, and say what may be learnt from. Raises like `Source.read`."""
    at = {places[one.identity]: one for one in corrections if one.identity in places}
    gone = {one.identity: one for one in corrections}
    mails: list[tuple[Mail, bytes]] = []
    for found in source.read(list(at)):
        if isinstance(found, Unreadable):
            yield _unread(gone.pop(at[found.place].identity), found.reason)
        elif found.identity in gone:
            gone.pop(found.identity)
            mails.append((found, found.raw))
    with Workers("filters.learning:worker", setup.as_json(), setup.workers) as workers:
        for mail, result in workers.map(mails):
            yield _examined(at[mail.place], mail, result, setup)
    yield from (Examined(one, why_not=_GONE) for one in gone.values())


def _examined(correction: Correction, mail: Mail, result: dict[str, Any] | Failure, setup: Setup) -> Examined:
    if isinstance(result, Failure):
        return _unread(correction, result.reason)
    title = setup.sender.title
    if not result["claims"]:
        return Examined(correction, why_not=f"it is not {title}'s")
    why_not = refusal(result["verdict"])
    lesson = None if why_not else _lesson(result["read"], mail, correction.label)
    if lesson and lesson.barred and lesson.label == PROMOTIONAL:
        lesson, why_not = (
            None,
            f"mail from that address is no advertising, whatever a model says, by what is known of {title}",
        )
    final = result["verdict"]["authenticity"]["state"] != "unverified"
    return Examined(correction, lesson, why_not, result["from"], result["subject"], final)


def _lesson(result: dict[str, Any], mail: Mail, label: str) -> Labelled | None:
    found = labelled.counted(result, mail, Read())
    return replace(found, label=label).opened() if found else None


def _unread(correction: Correction, reason: str) -> Examined:
    return Examined(correction, why_not=f"it cannot be read: {reason}", final=False)


def refusal(verdict: dict[str, Any]) -> str:
    """Why nothing is learnt from a mail with this verdict, as a clause; "" when something may be. The model's opinion of the mail is
    none: that is what is to be corrected."""
    authenticity = verdict["authenticity"]
    if authenticity["state"] == "forged":
        return f"it looks forged: {authenticity['why']}"
    if verdict["never"]:
        return "such mail is never moved, whatever a model thinks of it"
    if authenticity["state"] != "verified":
        return f"not verified: {authenticity['why']}"
    if not verdict["known"]:
        return "such mail is not known to come from this address"
    if verdict["several"]:
        return "it holds several messages, and some may be wanted"
    return ""


def worker(setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """For a worker process: what `judge.worker` answers, and under "read" what `labelled.worker` does."""
    general = models.load(Path(setup["model"])).general
    judged, read = judge.worker(setup), labelled.worker({"ours": True, "general": general})

    def examine_bytes(raw: bytes) -> dict[str, Any]:
        found = judged(raw)
        return found | {"read": read(raw)} if found["claims"] else found

    return examine_bytes
