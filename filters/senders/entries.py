"""The kinds of entries in a sender's data: one type per table of the TOML files, each field documented there.

Dates are text, "2016" or "2024-08", so that they compare with any ISO date; "" is "not known" or "to this day". `grade` says
how sure an entry is: A the sender's own page or the source of a real mail, B several independent sources, C one source,
D inference or guess. `seen` says where and when, in a few words.

Named tuples, because each process that judges mail makes these types, and dataclasses take six times as long to make.
"""

from __future__ import annotations

from typing import NamedTuple

ACTIONS = frozenset({"move", "keep", "never"})
GRADES = frozenset("ABCD")
KINDS = frozenset({"product", "marketing", "support", "paid", "why", "kept", "limit", "shown", "stop", "terms"})
REGIONS = frozenset({"any", "eu", "other"})
SECRECIES = frozenset({"login", "personal", "harmless"})
STRENGTHS = frozenset({"decisive", "strong", "weak"})


class Category(NamedTuple):
    """One kind of mail. It is our division, not a fact, so it has no grade."""

    name: str
    title: str
    about: str
    promotional: bool
    action: str
    """"move" (by default), "keep" (moved only when the user names it) or "never" (under no setting and no verdict)."""


class Stream(NamedTuple):
    """An address that the sender mails from."""

    address: str
    category: str
    """What this address usually carries."""
    kind: str
    grade: str
    seen: str
    since: str = ""
    until: str = ""
    wanted: bool = False
    """Never advertising as a whole, whatever it quotes."""
    unless: tuple[str, ...] = ()
    """For a mixed stream whose category is never moved: a mail all of whose templates are known and of these categories
    is exempt from that."""


class Template(NamedTuple):
    """The name of a mail template without its version."""

    stem: str
    category: str
    grade: str
    seen: str


class MailClass(NamedTuple):
    """A value of the sender's class header."""

    value: str
    category: str
    """"" where the value says nothing about the kind."""
    grade: str
    seen: str


class LinkPlace(NamedTuple):
    """A query parameter that holds the template name: after `prefix`, up to `stop` (or the end)."""

    parameter: str
    grade: str
    seen: str
    prefix: str = ""
    stop: str = ""


class LinkClue(NamedTuple):
    """A part of a link that leads to a switch for one category."""

    part: str
    category: str
    strength: str
    grade: str
    seen: str


class Token(NamedTuple):
    """Names of link parameters that are equally secret: "login" (logs a reader in), "personal" or "harmless"."""

    secrecy: str
    names: tuple[str, ...]
    grade: str
    seen: str


class Host(NamedTuple):
    """A host that links and pictures of genuine mail point to."""

    name: str
    grade: str
    seen: str


class Disclosure(NamedTuple):
    """A sentence, or the deciding part of one, by which the sender says what a message is."""

    category: str
    language: str
    text_id: str
    """Which known text it is part of (see `Era`): "T5"; "name" for a product's name, "feed" for a label of the feed."""
    text: str
    strength: str
    grade: str
    seen: str
    since: str = ""
    until: str = ""
    guess: bool = False
    """Nobody has seen it in this sender's messages: a translation, or a word known from elsewhere."""
    label: bool = False
    """Counts only at the beginning of a short line."""


class Statement(NamedTuple):
    """Vocabulary of one kind of statement that notices on paid messages make."""

    language: str
    kind: str
    words: tuple[str, ...]


class Ignored(NamedTuple):
    """Words of a language that are no evidence."""

    language: str
    words: tuple[str, ...]


class Footer(NamedTuple):
    """A line of the footer."""

    language: str
    text: str
    category: str
    """"" where the line stands under mail of many kinds."""
    grade: str
    seen: str
    label: bool = False


class Era(NamedTuple):
    """What the sender said of its partner messages at one time."""

    text_id: str
    since: str
    until: str
    product: str
    place: str
    targeting: str
    """What it said the choice of recipients rests on; "" when it said nothing."""
    promise: str
    """What it promised, in its own words; "" when nothing."""
    grade: str
    seen: str


class OptOut(NamedTuple):
    """A way to switch one category off, today's (`live`) or a former one."""

    category: str
    order: int
    """From 1, in the order of printing; former routes come last."""
    title: str
    region: str
    steps: tuple[str, ...]
    """English menu names, from the profile menu on; empty when there is no switch."""
    url: str
    live: bool
    checked: str
    """Period of the newest evidence."""
    note: str
    grade: str
    seen: str
    since: str = ""
    until: str = ""
    shortcut: str = ""
    """A deeper link known from one source only; `url` is the page that surely exists."""


class Advice(NamedTuple):
    """A sentence that may safely be told."""

    topic: str
    order: int
    text: str
    url: str
    grade: str
    seen: str
    business_days: int = 0
    """How long the sender may take to do as it is told; 0 where the sentence says nothing of that."""


class Promise(NamedTuple):
    """How often at most, by the sender's own words, mail of a category comes."""

    text_id: str
    category: str
    text: str
    """The deciding words; only mail that carries them is held to the promise."""
    days: int
    at_most: int
    said: str
    """The whole sentence."""
    covers: str
    beyond: str
    """What the promise does not cover, and what a mailbox cannot show."""
    grade: str
    seen: str


Entry = (
    Category
    | Stream
    | Template
    | MailClass
    | LinkPlace
    | LinkClue
    | Token
    | Host
    | Disclosure
    | Statement
    | Ignored
    | Footer
    | Era
    | OptOut
    | Advice
    | Promise
)
