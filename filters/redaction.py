"""A mail without anybody's words, to send in a wording that is new.

Nothing private is looked for and taken out. What stays is what is known to be nobody's: words that the data or several authors of the
corpus use, in lines that speak of advertising or stand at the end.
"""

from __future__ import annotations

import re

from filters.features import is_word
from filters.message import Message
from filters.model import Model
from filters.normal_form import fold, normal, words
from filters.safe_text import unlinked
from filters.senders import Sender

#: Lines at the end of a mail that are shown: its footer. Lines in all.
_LAST, _LINES = 8, 40
#: Share of a line's words that must be known: in a line of few there is nothing to learn from.
_ENOUGH = 0.7
_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{2,79}")
_GAP = "…"
#: What stands in brackets tells of the reader: the headline of his profile, in every footer.
_BRACKETS = re.compile(r"\([^()]*\)")


def redacted(message: Message, sender: Sender, model: Model, templates: tuple[str, ...]) -> list[str]:
    """Lines that can be shown to anybody: where the mail comes from, how it is made, and what it says of itself."""
    lines = [f"From: {_address(message.from_address, sender)}"]
    if message.date:
        lines.append(f"Date: {message.date:%Y-%m}")
    lines += [
        f"{name}: {value}"
        for name in (sender.class_header,)
        if _NAME.fullmatch(value := message.first(name.lower()).strip())
    ]
    lines += [f"Template: {name}" for name in templates[:2] if _NAME.fullmatch(name)]
    return [*lines, "", *_said(message, sender, model)]


def _address(address: str, sender: Sender) -> str:
    local, _, domain = address.rpartition("@")
    if sender.stream(address):
        return address
    return f"{_GAP}@{domain}" if local and sender.owns(domain) else _GAP


def _said(message: Message, sender: Sender, model: Model) -> list[str]:
    """The telling lines, with the known words in them."""
    lines = [line for line in dict.fromkeys(unlinked(message.text).split("\n")) if line.strip()]
    names = frozenset(words(fold(normal(f"{message.from_name} {message.first('to')}")))) - set(sender.aliases)
    known = (_vocabulary(model, sender) - names) | set(sender.aliases)
    telling = [
        line
        for number, line in enumerate(lines)
        if number >= len(lines) - _LAST or sender.states_payment(words(fold(line))) or sender.find(line)
    ]
    return list(filter(None, (_known(line, known) for line in telling[-_LINES:])))


def _vocabulary(model: Model, sender: Sender) -> frozenset[str]:
    """Words of the model, which several authors use, and of the sender's own sentences."""
    sentences = [one.text for one in sender.disclosures] + [one.text for one in sender.footers]
    used = {word for word in model.weights if is_word(word) and " " not in word}
    return frozenset(used.union(*(words(fold(normal(text))) for text in sentences)))


def _known(line: str, known: frozenset[str]) -> str:
    """A line with a gap for each run of unknown words; "" when too little of it is known."""
    shown: list[str] = []
    for token in _TOKEN.findall(_BRACKETS.sub(f"({_GAP})", line.replace("[link…]", _GAP))):
        if token.isdecimal():
            shown.append("#")
        elif not token[0].isalpha() or token.lower() in known:
            shown.append(token)
        elif shown[-1:] != [_GAP]:
            shown.append(_GAP)
    count = sum(one[0].isalpha() for one in shown)
    missing = sum(one == _GAP for one in shown)
    if count < 2 or count < _ENOUGH * (count + missing):
        return ""
    return re.sub(r" (?=[.,;:!?)\]])|(?<=[(\[]) | ?(['’-]) ?", r"\1", " ".join(shown))
