"""What the sender promised about how often advertising comes, held against the mail that carries the promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from filters.report.audit import Figures
from filters.senders import Promise
from filters.sweep import Finding


@dataclass(frozen=True, slots=True)
class Interval:
    """Two messages, and how many days (with fractions) lie between them, where one promise allows no second so soon."""

    first: Finding
    second: Finding
    days: float


@dataclass(frozen=True, slots=True)
class Checked:
    """A promise, how many dated messages carry it, the days between neighbours, and what came sooner than promised."""

    promise: Promise
    mails: int
    gaps: tuple[float, ...]
    sooner: tuple[Interval, ...]


def check(figures: Figures) -> list[Checked]:
    """Each promise that some message of the audit carries. One message that lies in several folders counts once."""
    return [found for promise in figures.sender.promises if (found := _check(promise, figures)).mails]


def _check(promise: Promise, figures: Figures) -> Checked:
    mails = _once([pair for pair in figures.dated if _carries(pair[1], promise)])
    dates = [date for date, _ in mails]
    pairs = zip(mails, mails[promise.at_most :], strict=False)
    sooner = [
        Interval(first, second, _days(later - earlier))
        for (earlier, first), (later, second) in pairs
        if later - earlier < timedelta(days=promise.days)
    ]
    return Checked(
        promise, len(mails), tuple(_days(later - earlier) for earlier, later in pairwise(dates)), tuple(sooner)
    )


def _carries(finding: Finding, promise: Promise) -> bool:
    wording = finding.wording
    return (
        finding.promotional
        and finding.category == promise.category
        and wording is not None
        and wording.text_id == promise.text_id
        and promise.days in wording.promises
    )


def _once(mails: Sequence[tuple[datetime, Finding]]) -> list[tuple[datetime, Finding]]:
    seen = {one.message_id or (date, one.from_, one.subject): (date, one) for date, one in reversed(mails)}
    return sorted(seen.values(), key=lambda pair: pair[0])


def _days(time: timedelta) -> float:
    return time / timedelta(days=1)
