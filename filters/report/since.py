"""What still arrives after an opt-out, beside what came before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from filters.report.audit import Figures
from filters.sweep import Finding

_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Row:
    """Promotional mail of one kind: in as many days before the opt-out as have passed since the waiting time, while waiting, after."""

    title: str
    before: int
    waiting: int
    after: int


@dataclass(frozen=True, slots=True)
class Aftermath:
    """`until`: the last day of the waiting time; `days`: how many have passed since, 0 while it runs; `still`: what came after it."""

    opted_out: date
    until: date
    business_days: int
    days: int
    rows: tuple[Row, ...]
    still: tuple[Finding, ...]

    @property
    def over(self) -> bool:
        """Whether the waiting time is over."""
        return self.days > 0


def since_opt_out(figures: Figures, opted_out: date) -> Aftermath:
    """By the dates that the mails state, in UTC. Of the waiting time Saturdays and Sundays don't count; holidays do, for nobody says which."""
    waiting = figures.sender.waiting
    business_days = waiting.business_days if waiting else 0
    until = _after(opted_out, business_days)
    days = max((figures.now.date() - until).days, 0)
    spans = {
        "before": (opted_out - timedelta(days=days), opted_out),
        "waiting": (opted_out, until + timedelta(days=1)),
        "after": (until + timedelta(days=1), date.max),
    }
    dated = [(_day(when), one) for when, one in figures.dated if one.promotional]
    rows = []
    for kind in figures.kinds:
        if kind.promotional:
            counts = {
                name: sum(first <= day < last and one.category == kind.name for day, one in dated)
                for name, (first, last) in spans.items()
            }
            rows.append(Row(kind.title, **counts))
    still = tuple(one for day, one in dated if day > until)
    return Aftermath(opted_out, until, business_days, days, tuple(rows), still)


def _after(day: date, business_days: int) -> date:
    """The day on which so many business days after `day` are over."""
    while business_days:
        day += timedelta(days=1)
        business_days -= day.weekday() < _SATURDAY
    return day


def _day(when: datetime) -> date:
    return when.astimezone(UTC).date()
