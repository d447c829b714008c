"""Who sends mail: all that is known of one sender, read from the TOML files in its folder, and the questions it answers.

Nothing here knows a sender by name. A mail is hostile until its authenticity is known: an address, a header and a link are
what somebody wrote, and the answers say only what they would mean if they were genuine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from filters.errors import InputError
from filters.normal_form import fold, normal, spans, words
from filters.senders.entries import (
    Advice,
    Category,
    Disclosure,
    Era,
    Footer,
    Host,
    LinkClue,
    LinkPlace,
    MailClass,
    OptOut,
    Promise,
    Statement,
    Stream,
    Template,
    Token,
)
from filters.senders.notices import Notice, Vocabulary, find_notice, states_payment, vocabulary
from filters.senders.phrases import Catalogue, Found, Hit, catalogue, find, hits, quotations
from filters.senders.reading import read

__all__ = [
    "Advice",
    "Category",
    "Disclosure",
    "Era",
    "Footer",
    "Found",
    "Hit",
    "Host",
    "LinkClue",
    "LinkPlace",
    "MailClass",
    "Notice",
    "OptOut",
    "Promise",
    "Sender",
    "Statement",
    "Stream",
    "Template",
    "Token",
    "load",
    "load_from",
    "quotations",
]

#: Links that are asked for the template's name. In genuine mail all agree, but one that names mail never to be moved is enough.
_LINKS = 500
_AUTHORITY_END = re.compile(r"[/?#\\]")
#: The category of mail that tells of messages, one or several.
DIGEST = "message_digest"
_LONGEST_NAME = 80
_NAME = re.compile(rf"\w{{3,{_LONGEST_NAME}}}", re.ASCII)
#: A template's version at the end of its name: "_01", "_59", "_v2".
_VERSION = re.compile(r"(?:_v?\d{1,3})+\Z")
#: Link pages prefix each template name by this, so that names that begin with it have it twice.
_PREFIX = "email_"


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender's data. Dicts are keyed by what a mail shows: address, template stem, class value, category name."""

    name: str
    title: str
    domains: tuple[str, ...]
    """Mail of these domains and their subdomains is the sender's, when it is authentic."""
    aliases: tuple[str, ...]
    """Names, lower case, that imitators put into domains and display names."""
    neighbours: tuple[str, ...]
    """Domains that look like the sender's and are honest."""
    header_fields: tuple[str, ...]
    """Names of the headers that show whether a mail may be the sender's."""
    class_header: str
    template_header: str
    several: tuple[str, ...]
    """Subjects, whatever the number in them, of mail that holds several messages."""
    thread_path: str
    """In a link, what stands before the id of a conversation."""
    never_parts: tuple[str, ...]
    """"part:category": parts of unlisted template names by which mail is taken for a kind that is never moved."""
    route_hosts: tuple[str, ...]
    """The only hosts that an opt-out address may be on."""
    not_live: tuple[str, ...]
    """Parts of addresses that nobody may be sent to."""
    categories: dict[str, Category]
    streams: dict[str, Stream]
    templates: dict[str, Template]
    classes: dict[str, MailClass]
    link_places: dict[str, LinkPlace]
    link_clues: tuple[LinkClue, ...]
    tokens: tuple[Token, ...]
    hosts: tuple[Host, ...]
    disclosures: tuple[Disclosure, ...]
    footers: tuple[Footer, ...]
    eras: dict[str, Era]
    """Keyed by text id, as in `Disclosure.text_id`."""
    all_opt_outs: tuple[OptOut, ...]
    advice: tuple[Advice, ...]
    promises: tuple[Promise, ...]
    ignored: frozenset[str]
    """Words that are no evidence: months and days."""
    phrases: Catalogue = field(repr=False, compare=False)
    notices: Vocabulary = field(repr=False, compare=False)

    @property
    def promotional(self) -> tuple[str, ...]:
        """The names of the categories that are advertising."""
        return tuple(category.name for category in self.categories.values() if category.promotional)

    def stream(self, address: str) -> Stream | None:
        """The stream of exactly this address ("local@domain")."""
        return self.streams.get(address.lower())

    def owns(self, domain: str) -> bool:
        """Whether it is one of the sender's domains or a subdomain of one."""
        return f".{domain.lower().removesuffix('.')}".endswith(_below(self.domains))

    def template(self, name: str) -> Template | None:
        """The template of this name, whatever its version; the doubled prefix that link pages have is allowed."""
        if len(name) > _LONGEST_NAME:
            return None
        stem = name.strip().lower()
        stem = _VERSION.sub("", stem) if stem[-1:].isdigit() else stem
        return self.templates.get(stem) or self.templates.get(stem.removeprefix(_PREFIX))

    def templates_in(self, links: Iterable[str]) -> Counter[str]:
        """How many links name which template, known or not, by its stem; `most_common(1)` is the one to believe."""
        found: list[str] = []
        named, stem = _parameters(tuple(self.link_places)), cache(self._stem)
        for link in islice(links, _LINKS):
            names = {name for pair in named.findall(link) if (name := self._template_name(*pair))}
            if names and self.owns(_host(link)):
                found += set(map(stem, names))
        return Counter(found)

    def _stem(self, name: str) -> str:
        template = self.template(name)
        return template.stem if template else _VERSION.sub("", name) if name[-1:].isdigit() else name

    def _template_name(self, key: str, value: str) -> str:
        place = self.link_places[key]
        text = (unquote_plus(value) if "%" in value or "+" in value else value).strip().lower()
        if not text.startswith(place.prefix):
            return ""
        name = text[len(place.prefix) :]
        name = name.partition(place.stop)[0] if place.stop else name
        return name if _NAME.fullmatch(name) else ""

    def never(self, address: str, template_names: Iterable[str]) -> Category | None:
        """The never-moved category that this mail is of, by sender or by any template, or None.

        A never-moved template wins on every stream. On a mixed stream mail stays unless all its templates are known to be
        harmless to move: no template, or an unknown one, is no leave.
        """
        names = [name for name in template_names if name]
        templates = [self.template(name) for name in names]
        for name, template in zip(names, templates, strict=True):
            category = template.category if template else self._by_part(name.lower())
            if category and self.categories[category].action == "never":
                return self.categories[category]
        stream = self.stream(address)
        if stream is None or self.categories[stream.category].action != "never":
            return None
        exempt = bool(templates) and all(template and template.category in stream.unless for template in templates)
        return None if exempt else self.categories[stream.category]

    def holds_several(self, address: str, subject: str, links: Iterable[str]) -> bool:
        """Whether a mail holds several messages, so that no verdict can be right for all of them: by its subject; or when a
        notice of messages links to several conversations, or counts something other than one."""
        spelled = words(fold(normal(subject)))
        if any(spelled == words(fold(normal(known))) for known in self.several):
            return True
        stream = self.stream(address)
        if stream is None or stream.category != DIGEST:
            return False
        found = (link.partition(self.thread_path)[2] for link in links if self.owns(_host(link)))
        threads = {re.split(r"[/?#]", rest, maxsplit=1)[0] for rest in found} - {""}
        return len(threads) > 1 or bool(set(re.findall(r"\d+", subject)) - {"1"})

    def find(self, text: str) -> tuple[Found, ...]:
        """Disclosures and footer lines in `text`, which is in normal form."""
        folded = fold(text)
        return self.found(text, self.hits(words(folded)), spans(folded))

    def hits(self, cut: Sequence[str]) -> list[Hit]:
        """Every place of every phrase among the words of a text."""
        return hits(cut, self.phrases)

    def _by_part(self, name: str) -> str:
        categories = _parts(self.never_parts)
        return next((categories[part] for part in categories if part in name), "")

    def found(self, text: str, hits: Sequence[Hit], places: Sequence[tuple[int, int]]) -> tuple[Found, ...]:
        """Each phrase once, at its best place; `places` is where the words of `text` stand."""
        return find(text, hits, places, self.phrases)

    def states_payment(self, cut: Sequence[str]) -> bool:
        """Whether these words state anywhere that somebody pays; without it there is no notice."""
        return states_payment(cut, self.notices)

    def notice(
        self, cut: Sequence[str], masked: Callable[[int], bool], begins_line: Callable[[int], bool]
    ) -> Notice | None:
        """The notice on a paid message among the words `cut`, whatever its wording; `masked` words do not count."""
        return find_notice(cut, self.notices, masked, begins_line)

    def clues_in(self, links: Iterable[str]) -> tuple[tuple[LinkClue, str], ...]:
        """Links on the sender's own hosts that lead to the switch of a category."""
        parts = [(clue, clue.part.lower()) for clue in self.link_clues]
        lower = ((link, link.lower()) for link in links)
        found = ((clue, link) for link, low in lower for clue, part in parts if part in low)
        return tuple((clue, link) for clue, link in found if self.owns(_host(link)))

    @property
    def waiting(self) -> Advice | None:
        """The sentence that says how long after an opt-out mail may still come."""
        return next((advice for advice in self.advice if advice.business_days), None)

    def opt_outs(self, category: str, live: bool = True) -> tuple[OptOut, ...]:
        """Today's (`live`) or former routes of a category, in the order of printing."""
        return tuple(route for route in self.all_opt_outs if route.category == category and route.live == live)


@cache
def _parts(pairs: tuple[str, ...]) -> dict[str, str]:
    return {part: category for part, _, category in (pair.partition(":") for pair in pairs)}


@cache
def _below(domains: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f".{domain}" for domain in domains)


@cache
def _parameters(keys: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"[?&]({'|'.join(map(re.escape, keys))})=([^&#]{{3,400}})")


def _host(link: str) -> str:
    authority = link.partition("://")[2].partition("/")[0]
    if not authority.replace(".", "").isalnum():  # ports, user names, tricks
        authority = _AUTHORITY_END.split(authority, maxsplit=1)[0]
    return authority.rpartition("@")[2].partition(":")[0].lower()


@cache
def load() -> Sender:
    """The sender whose folder lies beside this module. Raises InputError when its data is damaged."""
    folders = [file.parent for file in Path(__file__).parent.glob("*/sender.toml")]
    if len(folders) != 1:
        raise InputError(f"There must be one folder with a sender.toml below senders, not {len(folders)}; reinstall.")
    return load_from(folders[0])


def load_from(folder: Path) -> Sender:
    """The sender of a folder. Raises InputError naming file, entry and what is wrong."""
    settings, tables = read(folder)
    known: dict[str, Any] = tables  # each table's entries are of the kind that reading.TABLES says
    return Sender(
        **settings._asdict(),
        categories={entry.name: entry for entry in known["category"]},
        streams={entry.address: entry for entry in known["stream"]},
        templates={entry.stem: entry for entry in known["template"]},
        classes={entry.value: entry for entry in known["class"]},
        link_places={entry.parameter: entry for entry in known["link_place"]},
        link_clues=known["link_clue"],
        tokens=known["token"],
        hosts=known["host"],
        disclosures=known["disclosure"],
        footers=known["footer"],
        eras={entry.text_id: entry for entry in known["era"]},
        all_opt_outs=known["opt_out"],
        advice=known["advice"],
        promises=known["promise"],
        ignored=frozenset(word for entry in known["ignored"] for word in entry.words),
        phrases=catalogue([*known["disclosure"], *known["footer"]]),
        notices=vocabulary(known["statement"]),
    )
