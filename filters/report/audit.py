"""What one or more sweeps found, and the figures in it; every format takes them from here, so that all formats agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cached_property

from filters.senders import Sender
from filters.sweep import UNVERIFIED, Finding, Tally

#: A mail may be dated a little ahead of us; what is further ahead lies.
_AHEAD = timedelta(days=2)


@dataclass
class Audit:
    """What one or more sweeps found."""

    sources: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    stopped: bool = False
    """Somebody stopped it before it had looked at everything."""
    anonymous: bool = False
    """Made by `without_names`."""

    @property
    def promotional(self) -> list[Finding]:
        """Findings that are promotional at the threshold, and not forged."""
        return [finding for finding in self.findings if finding.promotional and finding.authenticity != "forged"]

    @property
    def forged(self) -> list[Finding]:
        """Findings that only claim to be the sender's."""
        return [finding for finding in self.findings if finding.authenticity == "forged"]

    @property
    def unsure(self) -> list[Finding]:
        """Findings in the band of doubt, and not forged."""
        return [finding for finding in self.findings if finding.unsure and finding.authenticity != "forged"]

    @property
    def unverified(self) -> list[Finding]:
        """Findings that are kept because nobody whom the user trusts says that they are genuine."""
        return [finding for finding in self.findings if finding.reason.startswith(UNVERIFIED)]

    @property
    def unexplained(self) -> list[Finding]:
        """Findings that are surely the sender's, and show no template and no wording that the data know."""
        return [one for one in self.findings if one.authenticity == "verified" and not one.explained]

    @property
    def to_move(self) -> list[Finding]:
        """Findings that `clean` would move."""
        return [finding for finding in self.findings if finding.action == "move"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How much mail of one category there is; forged mail is no kind's."""

    name: str
    title: str
    advertising: bool
    mails: int
    promotional: int
    to_move: int

    @property
    def row(self) -> tuple[str, int, int, int]:
        """As a line of a table."""
        return self.title, self.mails, self.promotional, self.to_move


@dataclass(frozen=True)
class Figures:
    """The figures of an audit. `now` tells which dates lie ahead; `zone` is where days of the week and hours are
    counted, None for this computer's."""

    audit: Audit
    sender: Sender
    now: datetime
    zone: tzinfo | None = UTC
    opted_out: date | None = None
    """When the user opted out, if that is to be looked at."""

    @cached_property
    def genuine(self) -> list[Finding]:
        """All but the forged ones: what the sender sent, as far as anybody knows."""
        return [finding for finding in self.audit.findings if finding.authenticity != "forged"]

    @property
    def share(self) -> float:
        """Promotional mail among the sender's, 0 to 1."""
        return len(self.audit.promotional) / len(self.genuine) if self.genuine else 0.0

    @cached_property
    def kinds(self) -> list[Kind]:
        """The kinds found, advertising first, then by number."""
        mails = Counter(finding.category for finding in self.genuine)
        promotional = Counter(finding.category for finding in self.audit.promotional)
        to_move = Counter(finding.category for finding in self.audit.to_move)
        kinds = [
            Kind(
                name,
                self.sender.categories[name].title,
                self.sender.categories[name].promotional,
                count,
                promotional[name],
                to_move[name],
            )
            for name, count in mails.items()
        ]
        return sorted(kinds, key=lambda kind: (-kind.promotional, -kind.mails, kind.name))

    @cached_property
    def dated(self) -> list[tuple[datetime, Finding]]:
        """The sender's mail that states a date that can be true, oldest first."""
        dates = [(datetime.fromisoformat(one.date), one) for one in self.genuine if one.date]
        return sorted((pair for pair in dates if pair[0] <= self.now + _AHEAD), key=lambda pair: pair[0])

    @property
    def span(self) -> tuple[str, str] | None:
        """First and last date."""
        return (f"{self.dated[0][0]:%Y-%m-%d}", f"{self.dated[-1][0]:%Y-%m-%d}") if self.dated else None

    @property
    def undated(self) -> int:
        """How many state no date, or one that lies ahead; they are in no timeline."""
        return len(self.genuine) - len(self.dated)

    @cached_property
    def months(self) -> dict[str, Counter[str]]:
        """Month in UTC ("2016-04") to category to mails; months without mail are left out."""
        found: dict[str, Counter[str]] = {}
        for when, finding in self.dated:
            found.setdefault(f"{when:%Y-%m}", Counter())[finding.category] += 1
        return found

    def timeline(self, most: int) -> list[tuple[str, Counter[str]]]:
        """The months from the first to the last, those without mail too; years when there are more than `most` months."""
        if not self.months:
            return []
        first, last = (12 * int(one[:4]) + int(one[5:]) - 1 for one in (min(self.months), max(self.months)))
        if last - first < most:
            names = [f"{month // 12:04}-{month % 12 + 1:02}" for month in range(first, last + 1)]
            return [(name, self.months.get(name, Counter())) for name in names]
        years: dict[str, Counter[str]] = {f"{year:04}": Counter() for year in range(first // 12, last // 12 + 1)}
        for name, counts in self.months.items():
            years[name[:4]].update(counts)
        return list(years.items())

    @cached_property
    def weekdays(self) -> list[Counter[bool]]:
        """Monday to Sunday, in `zone`: mails, by whether they are promotional."""
        return _by(7, ((when.astimezone(self.zone).weekday(), one.promotional) for when, one in self.dated))

    @cached_property
    def hours(self) -> list[Counter[bool]]:
        """0 to 23, in `zone`: mails, by whether they are promotional."""
        return _by(24, ((when.astimezone(self.zone).hour, one.promotional) for when, one in self.dated))

    @cached_property
    def senders(self) -> Counter[str]:
        """Names in From to promotional mails: the advertisers, and whoever writes for the sender itself."""
        return Counter(name_of(finding) for finding in self.audit.promotional)

    @cached_property
    def addresses(self) -> Counter[str]:
        """Addresses in From to mails."""
        return Counter(address_of(finding) for finding in self.genuine)


def _by(size: int, pairs: Iterable[tuple[int, bool]]) -> list[Counter[bool]]:
    found: list[Counter[bool]] = [Counter() for _ in range(size)]
    for place, promotional in pairs:
        found[place][promotional] += 1
    return found


def name_of(finding: Finding) -> str:
    """The display name in From, or all of it."""
    return finding.from_.partition(" <")[0] or finding.from_


def address_of(finding: Finding) -> str:
    """The address in From, or all of it."""
    return finding.from_.rpartition("<")[2].removesuffix(">")
