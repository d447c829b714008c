"""The audit as one page of HTML that needs nothing else: what it shows is worked out here, how it looks stands in the files beside."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from filters.report.audit import Figures, Kind, name_of
from filters.report.charts import REST, Chart, bars, rows, stacked
from filters.report.clues import quote_of, why
from filters.report.explaining import Segment, lines, thresholds, verdict_of, what_would_change, where
from filters.report.promises import Checked, check
from filters.report.routes import routes
from filters.report.since import Aftermath, since_opt_out
from filters.safe_text import safe_text
from filters.senders import Advice, Era, OptOut, Sender
from filters.sweep import Finding

#: Months that a timeline shows as such; a longer one has a column for each year.
MONTHS = 240
#: Rows of the lists of kept mail, of senders and of unreadable messages; the other formats have them all.
ROWS = 500
_BARS, _NAME_WIDTH = 10, 24
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_OTHER = "Other mail"


@dataclass(frozen=True, slots=True)
class Line:
    """One promotional message as the page shows it. `said`: number of the quotation that gave it away, 0 when none did."""

    date: str
    sender: str
    subject: str
    kind: str
    sure: int
    era: Era | None
    said: int
    why: str
    kept: str


@dataclass(frozen=True)
class Page:
    """All that the page shows, in words and numbers; every word that comes from mail has passed `safe_text`."""

    figures: Figures
    region: str
    version: str

    @property
    def title(self) -> str:
        """Of the page."""
        return f"What {self.figures.sender.title} sent"

    @property
    def sources(self) -> list[str]:
        """What was looked at."""
        return [safe_text(name) for name in self.figures.audit.sources]

    @property
    def kinds(self) -> list[Kind]:
        """The kinds found."""
        return self.figures.kinds

    @property
    def advertising(self) -> list[Kind]:
        """The kinds found of which some mail is promotional."""
        return [kind for kind in self.kinds if kind.promotional]

    # --- charts

    @property
    def years(self) -> list[str]:
        """In which promotional mail came."""
        return sorted({one.date[:4] for one in self.figures.audit.promotional if one.date}, reverse=True)

    @property
    def kinds_chart(self) -> Chart:
        """Mails of each kind."""
        return bars([(kind.title, kind.mails, self._series_of(kind)) for kind in self.kinds])

    @cached_property
    def series(self) -> tuple[str, ...]:
        """What the stacks of the timeline are of: each advertising kind, and the rest."""
        return (*(kind.title for kind in self.kinds if kind.advertising), _OTHER)

    def _series_of(self, kind: Kind) -> int:
        return self.series.index(kind.title) if kind.title in self.series else REST

    @cached_property
    def timeline(self) -> list[tuple[str, Counter[str]]]:
        """Columns of the timeline, by the titles of kinds."""
        titles = {kind.name: kind.title for kind in self.kinds}
        return [
            (label, Counter({titles[name]: count for name, count in counts.items()}))
            for label, counts in self.figures.timeline(MONTHS)
        ]

    @property
    def timeline_chart(self) -> Chart:
        """Mails by month, advertising kinds apart."""
        columns = []
        for label, counts in self.timeline:
            shown = Counter({name: counts[name] for name in self.series if name in counts})
            shown[_OTHER] = counts.total() - shown.total()
            columns.append((label, shown))
        return stacked(columns, self.series)

    @property
    def rows_chart(self) -> Chart:
        """Mails by month of each kind."""
        return rows(self.timeline, [kind.title for kind in self.kinds], len(self.series) - 1)

    @property
    def months(self) -> list[list[Any]]:
        """The table of the timeline: months with mail, newest first, and the number of each kind."""
        found = self.figures.months
        return [[month, *(found[month][kind.name] for kind in self.kinds)] for month in sorted(found, reverse=True)]

    @property
    def weekday_chart(self) -> Chart:
        """Mails by day of the week."""
        return self._by(list(zip(_WEEKDAYS, self.figures.weekdays, strict=True)))

    @property
    def hour_chart(self) -> Chart:
        """Mails by hour."""
        return self._by([(str(hour), counts) for hour, counts in enumerate(self.figures.hours)])

    def _by(self, columns: Sequence[tuple[str, Counter[bool]]]) -> Chart:
        named = [(label, {"Promotional": counts[True], _OTHER: counts[False]}) for label, counts in columns]
        return stacked(named, ("Promotional", _OTHER), 160)

    @property
    def weekday_rows(self) -> list[tuple[str, int, int]]:
        """Day, promotional, other."""
        return [(name, one[True], one[False]) for name, one in zip(_WEEKDAYS, self.figures.weekdays, strict=True)]

    @property
    def hour_rows(self) -> list[tuple[str, int, int]]:
        """Hour, promotional, other."""
        return [(f"{hour:02}:00", one[True], one[False]) for hour, one in enumerate(self.figures.hours)]

    @cached_property
    def advertisers(self) -> list[tuple[str, int]]:
        """Names in From of promotional mail, the commonest first."""
        return [(safe_text(name, 80), count) for name, count in _commonest(self.figures.senders)]

    @property
    def advertisers_chart(self) -> Chart:
        """The commonest of them."""
        return bars([(safe_text(name, _NAME_WIDTH), count, 0) for name, count in self.advertisers[:_BARS]])

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Addresses in From, the commonest first."""
        return [(safe_text(name, 80), count) for name, count in _commonest(self.figures.addresses)]

    # --- messages

    @cached_property
    def quotations(self) -> dict[str, int]:
        """What messages say of themselves, each once, to its number from 1."""
        said = (quote_of(finding) for finding in self.figures.audit.promotional)
        return {quote: number for number, quote in enumerate(dict.fromkeys(filter(None, said)), 1)}

    @cached_property
    def said(self) -> list[tuple[int, str, Era | None, int]]:
        """Number, words, era, and how many messages carry them."""
        times: Counter[str] = Counter()
        eras: dict[str, Era | None] = {}
        for finding in self.figures.audit.promotional:
            if quote := quote_of(finding):
                times[quote] += 1
                eras[quote] = self._era(finding)
        return [(number, quote, eras[quote], times[quote]) for quote, number in self.quotations.items()]

    @property
    def lines(self) -> Iterator[Line]:
        """Every promotional message, newest first."""
        for finding in sorted(self.figures.audit.promotional, key=lambda one: one.date, reverse=True):
            quote = quote_of(finding)
            yield Line(
                date=finding.date[:10],
                sender=safe_text(name_of(finding), 120),
                subject=safe_text(finding.subject, 300),
                kind=self.figures.sender.categories[finding.category].title,
                sure=round(100 * finding.probability),
                era=self._era(finding),
                said=self.quotations[quote] if quote else 0,
                why="" if quote else safe_text(why(finding)),
                kept="" if finding.action == "move" else safe_text(finding.reason, 200),
            )

    def _era(self, finding: Finding) -> Era | None:
        return self.figures.sender.eras.get(finding.wording.text_id) if finding.wording else None

    @cached_property
    def eras(self) -> list[tuple[Era, int]]:
        """The eras whose wording was found, and on how many messages."""
        texts = Counter(one.wording.text_id for one in self.figures.audit.promotional if one.wording)
        return [(era, texts[text_id]) for text_id, era in self.figures.sender.eras.items() if texts[text_id]]

    @property
    def without_era(self) -> int:
        """Promotional messages that carry no known text."""
        return sum(one.wording is None for one in self.figures.audit.promotional)

    @property
    def promises(self) -> list[Checked]:
        """Promises, held against the messages that make them."""
        return check(self.figures)

    @property
    def aftermath(self) -> Aftermath | None:
        """What still arrives after an opt-out."""
        return since_opt_out(self.figures, self.figures.opted_out) if self.figures.opted_out else None

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why promotional, unsure and forged mail is kept, and how much of it."""
        kept = [one for one in self.figures.audit.findings if one.action == "keep"]
        doubtful = (one for one in kept if one.promotional or one.unsure or one.authenticity == "forged")
        return Counter(safe_text(one.reason.partition(":")[0]) for one in doubtful).most_common()

    @property
    def kept(self) -> list[tuple[str, list[tuple[str, str, str, str]], int]]:
        """Lists of mail that is kept because of a doubt: title, (date, sender, subject, reason), and how many more there are."""
        audit = self.figures.audit
        lists = (("Looks forged", audit.forged), ("Unsure", audit.unsure))
        return [
            (title, [_doubt(one) for one in found[:ROWS]], max(0, len(found) - ROWS)) for title, found in lists if found
        ]

    # --- the way out, and what is not known

    def routes(self, kind: str, *, live: bool) -> list[OptOut]:
        """Ways to switch a kind off."""
        return [route for route in routes(self.figures.sender, kind, self.region) if route.live == live]

    def advice(self, *topics: str) -> list[Advice]:
        """Sentences about these topics."""
        return [one for one in self.figures.sender.advice if one.topic in topics]

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Messages that could not be read, and why."""
        return [
            (safe_text(f"{one.place.folder} {one.place.key}".strip()), safe_text(one.reason))
            for one in self.figures.audit.tally.unreadable[:ROWS]
        ]


@dataclass(frozen=True)
class OneMail:
    """What the page of one mail shows."""

    finding: Finding
    sender: Sender
    version: str

    @property
    def title(self) -> str:
        """Of the page."""
        return "Why this mail was called " + verdict_of(self.finding)

    @property
    def category(self) -> str:
        """What kind of mail it is."""
        return self.sender.categories[self.finding.category].title

    @property
    def clues(self) -> list[tuple[int, str, str, str, float]]:
        """Number, feature, part of the mail, words, weight."""
        return [
            (
                number,
                safe_text(clue["feature"]),
                where(clue["feature"], self.sender),
                safe_text(clue["quote"]),
                clue["weight"],
            )
            for number, clue in enumerate(self.finding.evidence, 1)
        ]

    @property
    def lines(self) -> Iterator[list[Segment]]:
        """The text, cut where clues begin and end."""
        return lines(self.finding)

    @property
    def threshold(self) -> str:
        """From where on a mail is called promotional."""
        return thresholds(self.finding.explanation or {})

    @property
    def change(self) -> str:
        """What would have changed the verdict."""
        return what_would_change(self.finding)


def write_page(page: Page) -> Iterator[bytes]:
    """The page of an audit, piece by piece, in UTF-8."""
    return _written("audit.html", page=page, figures=page.figures)


def write_mail(mail: OneMail) -> Iterator[bytes]:
    """The page of one mail."""
    return _written("explain.html", mail=mail)


def _written(name: str, **shown: object) -> Iterator[bytes]:
    here = files(__package__)
    style, script = (here.joinpath(one).read_text(encoding="utf-8") for one in ("page.css", "page.js"))
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    ours = [Markup(text) for text in (style, script)]  # noqa: S704 (files of this package)
    for piece in _environment().get_template(name).generate(policy=policy, style=ours[0], script=ours[1], **shown):
        yield piece.encode("utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("filters.report", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"number": lambda value: f"{value:,}", "safe_text": safe_text}
    return environment


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _commonest(found: Counter[str]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:ROWS]


def _doubt(finding: Finding) -> tuple[str, str, str, str]:
    return (
        finding.date[:10],
        safe_text(finding.from_, 120),
        safe_text(finding.subject, 300),
        safe_text(finding.reason, 300),
    )
