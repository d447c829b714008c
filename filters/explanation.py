"""What in one mail led to its verdict and where it stands, what would have changed it, and the mail without anybody's words.

Pure, like `judge`; it runs in a worker process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filters import judge as judging
from filters import model as models
from filters import senders
from filters.authenticity import Authserv
from filters.features import NOTICE, Features, is_word, read, templates_of, visible
from filters.judge import Verdict, judge, without
from filters.message import MESSAGE_CAP, Message, parse
from filters.model import Model
from filters.normal_form import fold, spans, words
from filters.redaction import redacted
from filters.safe_text import unlinked
from filters.senders import Sender

#: Characters of a mail that are shown, and places of one clue that are marked.
TEXT_CAP = 20_000
_PLACES = 10
#: Clues that are taken away at most to see whether the verdict falls.
_MOST = 12
_NOTICES = NOTICE.partition("_")[0] + "_"


@dataclass(frozen=True, slots=True)
class Flip:
    """Without these features the verdict would be the other one, with P(promotional) = `probability`. None: nothing that the mail
    says could change it; `rule` says why, where a rule stands above the model."""

    without: tuple[str, ...]
    probability: float
    rule: str = ""


def explain(message: Message, sender: Sender, model: Model, trusted: Sequence[Authserv]) -> dict[str, Any]:
    """The explanation as JSON has it: thresholds, the text with its marks, and what would have changed the verdict."""
    verdict = judge(message, sender, model, trusted)
    names = templates_of(message, sender)
    signed = verdict.authenticity.dkim or verdict.authenticity.state != "verified"
    features = read(message, sender, names, signed=signed)
    text = unlinked(visible(message))[:TEXT_CAP]
    flip = flipped(features, verdict, sender, model)
    return {
        "threshold": model.threshold,
        "unsure": model.unsure,
        "text": text,
        "marks": sorted(_marks(text, verdict, features)),
        "flip": {
            "without": [{"feature": name, "quote": _shown(name, features)} for name in flip.without],
            "probability": flip.probability,
            "rule": flip.rule,
        },
        "redacted": redacted(message, sender, model, names),
    }


def _shown(feature: str, features: Features) -> str:
    return feature if is_word(feature) else unlinked(features.named.get(feature, ""))


# --- where it stands


def _marks(text: str, verdict: Verdict, features: Features) -> Iterator[tuple[int, int, int]]:
    """(start, end, number of the clue in the verdict's evidence), not sorted."""
    folded = fold(text)
    places, cut = spans(folded), words(folded)
    for number, clue in enumerate(verdict.evidence):
        name = clue.feature.removeprefix("word:")
        sought = words(fold(name if is_word(name) else features.named.get(name, "")))
        if sought and (is_word(name) or len(sought) > 1):
            yield from ((start, end, number) for start, end in _runs(sought, cut, places))


def _runs(sought: list[str], cut: list[str], places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    length = len(sought)
    starts = (at for at, word in enumerate(cut) if word == sought[0] and cut[at : at + length] == sought)
    return [(places[at][0], places[at + length - 1][1]) for at, _ in zip(starts, range(_PLACES), strict=False)]


# --- what would have changed it


def flipped(features: Features, verdict: Verdict, sender: Sender, model: Model) -> Flip:
    """A small set of clues without which the verdict would be the other one: the strongest are taken away until it is, and those that
    were not needed are given back."""
    if verdict.never:
        return Flip((), 0.0, "such mail is never moved, whatever it says")
    if verdict.several:
        return Flip((), 0.0, "it holds several messages, and so is never advertising as a whole")
    left, gone = features, list[str]()
    while len(gone) < _MOST and _promotional(left, sender, model)[0] == verdict.promotional:
        clue = _strongest(left, sender, model, against=verdict.promotional)
        if not clue:
            return Flip((), verdict.probability)
        left, gone = _less(left, [clue]), [*gone, clue]
    if _promotional(left, sender, model)[0] == verdict.promotional:
        return Flip((), verdict.probability)
    for clue in gone[:-1]:
        fewer = [one for one in gone if one != clue]
        if _promotional(_less(features, fewer), sender, model)[0] != verdict.promotional:
            gone = fewer
    return Flip(tuple(gone), _promotional(_less(features, gone), sender, model)[1])


def _promotional(features: Features, sender: Sender, model: Model) -> tuple[bool, float]:
    chances = _chances(features, sender, model)
    probability = sum(chances[name] for name in sender.promotional if name in chances)
    category = max(chances, key=lambda name: (chances[name], name))
    return category in sender.promotional and probability >= model.threshold, probability


def _chances(features: Features, sender: Sender, model: Model) -> dict[str, float]:
    chances = model.calibrated(model.probabilities(model.values(features)), sender.promotional)
    stream = sender.stream(features.named.get(next((n for n in features.named if n.startswith("stream:")), ""), ""))
    return without(chances, sender.promotional) if stream and stream.wanted else chances


def _strongest(features: Features, sender: Sender, model: Model, *, against: bool) -> str:
    """The clue that speaks most for a promotional verdict, or (not `against`) most against one; "" when none does."""
    values = model.values(features)
    chances = _chances(features, sender, model)
    promotional = [name for name in sender.promotional if name in chances]
    totals: dict[str, float] = {}
    for name, weight in model.contributions(values, promotional, chances):
        clue = NOTICE if name.startswith(_NOTICES) else name
        totals[clue] = totals.get(clue, 0.0) + (weight if against else -weight)
    best = max(totals, key=lambda name: (totals[name], name), default="")
    return best if best and totals[best] > 0 else ""


def _less(features: Features, clues: Sequence[str]) -> Features:
    """The same without these; of a notice all that it states."""
    gone = set(clues)
    named = {
        name: quote
        for name, quote in features.named.items()
        if name not in gone and not (NOTICE in gone and name.startswith(_NOTICES))
    }
    return replace(features, named=named, words=features.words - gone)


def worker(setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """For a worker process: as `judge.worker`, with the explanation."""
    judge_bytes = judging.worker(setup)
    sender = senders.load()
    model = models.load_for(Path(setup["model"]), sender.categories)
    trusted = [Authserv(name, placement) for name, placement in setup["trusted"]]

    def explain_bytes(raw: bytes) -> dict[str, Any]:
        result = judge_bytes(raw)
        if result["claims"]:
            message = parse(raw, truncated=len(raw) >= MESSAGE_CAP)
            result["explanation"] = explain(message, sender, model, trusted)
        return result

    return explain_bytes


def doubtful_worker(setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """As `worker`, but only mail that is promotional or unsure is explained: whoever reviews a mailbox looks at no other."""
    judge_bytes, explain_bytes = judging.worker(setup), worker(setup)

    def explain_doubtful(raw: bytes) -> dict[str, Any]:
        result = judge_bytes(raw)
        doubtful = result["claims"] and (result["verdict"]["promotional"] or result["verdict"]["unsure"])
        return explain_bytes(raw) if doubtful else result

    return explain_doubtful
