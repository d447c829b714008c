"""Which of the sender's known texts a mail carries: the words themselves, when they were used, and what they promise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from filters.normal_form import fold, normal
from filters.senders import Disclosure, Found, Sender

#: Characters of a quotation; the longest known text has 620.
QUOTE_CAP = 700
#: Characters between two sentences of one text.
_GAP = 200


@dataclass(frozen=True, slots=True)
class Wording:
    """`text_id`: the known text, as in `Era`; `quote`: what the mail says; `promises`: the days of each promise that it makes."""

    text_id: str
    quote: str
    promises: tuple[int, ...]


def wording(text: str, category: str, sender: Sender) -> Wording | None:
    """The known text of a category in `text` (in normal form) of which most is found, or None. Guesses, and what the writer quotes, do
    not count."""
    sentences: dict[str, list[Found]] = defaultdict(list)
    for found in sender.find(text):
        entry = found.entry
        if isinstance(entry, Disclosure) and entry.category == category and not (entry.guess or found.quoted):
            sentences[entry.text_id].append(found)
    known = {text_id: found for text_id, found in sentences.items() if text_id in sender.eras}
    if not known:
        return None
    best = max(known, key=lambda text_id: (sum(_length(one) for one in known[text_id]), text_id))
    said = " ".join(fold(text).split())
    made = (one for one in sender.promises if one.text_id == best and fold(normal(one.text)) in said)
    return Wording(best, _quote(text, known[best]), tuple(one.days for one in made))


def _length(found: Found) -> float:
    return found.score * (found.end - found.start)


def _quote(text: str, sentences: Sequence[Found]) -> str:
    """From the first sentence to the last one that belongs to it."""
    first, *rest = sorted(sentences, key=lambda found: found.start)
    end = first.end
    for found in rest:
        if found.start - end <= _GAP:
            end = max(end, found.end)
    return text[first.start : min(end, first.start + QUOTE_CAP)]
