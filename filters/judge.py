"""Message, sender and model to a verdict, and nothing else: no input, no output, no clock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filters import model as models
from filters import senders
from filters.authenticity import Authenticity, Authserv, check, claims_to_be, seen_ids
from filters.features import NOTICE, Evidence, Features, is_word, read, templates_of
from filters.message import MESSAGE_CAP, Message, parse, read_headers
from filters.model import Model
from filters.normal_form import fold, normal, words
from filters.safe_text import safe_text, unlinked
from filters.senders import Sender
from filters.wording import wording

#: Clues that a verdict shows.
CLUES = 8
_QUOTE_WIDTH = 240
#: Weights that differ by more are in the same order when they are rounded.
_ROUNDING = 0.0002
#: Features that show that the data know how such mail is made. Marketing mail has no template; its address stands for one.
_EXPLAINS = ("template_kind:", "footer:", "disclosure_", "notice_")
_WITHOUT_TEMPLATE = frozenset({"marketing", "support"})
_NOTICES = NOTICE.partition("_")[0] + "_"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a mail is, how sure that is, and why.

    `probability` is P(promotional), the sum over the promotional categories; `category` is the most probable one.
    `never`: the sender's data say that such mail is never moved, whatever a model thinks of it.
    `several`: the mail holds several messages, so that it cannot be advertising as a whole.
    `certain`: the category itself is as probable as the threshold demands.
    `known`: the address is one that the sender is known to send from; employees' addresses are not.
    `explained`: a template or a wording that the data know stands in it; where not, the data may be out of date.
    """

    category: str
    probability: float
    promotional: bool
    unsure: bool
    never: bool
    certain: bool
    known: bool
    several: bool
    authenticity: Authenticity
    evidence: tuple[Evidence, ...]
    explained: bool = True

    @property
    def unverified(self) -> bool:
        """Nobody vouches for the mail, and nothing contradicts it."""
        return self.authenticity.state == "unverified"

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        clues = [{"feature": clue.feature, "quote": clue.quote, "weight": clue.weight} for clue in self.evidence]
        return plain | {"authenticity": asdict(self.authenticity), "evidence": clues}


def judge(
    message: Message, sender: Sender, model: Model, trusted: Sequence[Authserv], *, explain: bool = True
) -> Verdict:
    """The verdict on a message that claims to be from `sender`; without evidence unless it is to `explain` itself."""
    authenticity = check(message, sender, trusted)
    stream = sender.stream(message.from_address)
    names = templates_of(message, sender)
    never = sender.never(message.from_address, names)
    if never is not None:
        shown = safe_text(unlinked(" ".join((message.from_address, *names[:2]))), _QUOTE_WIDTH)
        return Verdict(
            category=never.name,
            probability=0.0,
            promotional=False,
            unsure=False,
            never=True,
            certain=True,
            known=stream is not None,
            several=False,
            authenticity=authenticity,
            evidence=(Evidence(f"never:{never.name}", shown),) if explain else (),
        )
    signed = authenticity.dkim or authenticity.state != "verified"
    features = read(message, sender, names, signed=signed, general=model.general)
    values = model.values(features)
    chances = model.calibrated(model.probabilities(values), sender.promotional)
    several = sender.holds_several(message.from_address, message.subject, message.links)
    if several or (stream and stream.wanted):
        chances = without(chances, sender.promotional)
    promotional = [name for name in chances if sender.categories[name].promotional]
    category = max(chances, key=lambda name: (chances[name], name))
    probability = sum(chances[name] for name in promotional)
    chosen = promotional if category in promotional else [category]
    clues = model.contributions(values, chosen, chances) if explain else []
    return Verdict(
        category=category,
        probability=probability,
        promotional=category in promotional and probability >= model.threshold,
        unsure=model.unsure <= probability < model.threshold,
        never=False,
        certain=chances[category] >= model.threshold,
        known=stream is not None,
        several=several,
        authenticity=authenticity,
        evidence=tuple(_evidence(name, weight, features) for name, weight in _strongest(clues)),
        explained=any(name.startswith(_EXPLAINS) for name in features.named)
        or (stream is not None and stream.kind in _WITHOUT_TEMPLATE),
    )


def without(chances: dict[str, float], categories: Collection[str]) -> dict[str, float]:
    """The probabilities given that it is none of these categories."""
    rest = sum(chance for name, chance in chances.items() if name not in categories) or 1.0
    return {name: 0.0 if name in categories else chance / rest for name, chance in chances.items()}


def _strongest(clues: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The clues that weigh most; a notice, however many things it states, is one clue."""
    notice = [weight for name, weight in clues if name.startswith(_NOTICES)]
    rest = [clue for clue in clues if not clue[0].startswith(_NOTICES)]
    found = [*rest, (NOTICE, sum(notice))] if notice else rest
    sizes = sorted((abs(weight) for _, weight in found), reverse=True)
    least = min(sizes[:CLUES], default=0.0) - _ROUNDING  # what is below cannot come first after rounding either
    rounded = ((name, round(weight, 4)) for name, weight in found if abs(weight) >= least)
    ranked = sorted((-abs(weight), name, weight) for name, weight in rounded)
    return [(name, weight) for _, name, weight in ranked[:CLUES]]


def _evidence(feature: str, weight: float, features: Features) -> Evidence:
    if is_word(feature):
        return Evidence(safe_text(f"word:{feature}"), safe_text(feature, _QUOTE_WIDTH), weight)
    quote = features.named.get(feature, feature.partition(":")[2])  # a token says itself what it is
    return Evidence(safe_text(unlinked(feature)), safe_text(unlinked(quote), _QUOTE_WIDTH), weight)


def worker(setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """For a worker process: `setup` has "model" (a path), "trusted" (pairs of id and placement), "never" (see `spared`), and
    "explain": false where nobody is going to read about the mail.

    The returned function answers {"claims": False} for a mail that is none of the sender's, which its headers tell; else the verdict,
    and, where it explains, who it is from and which receivers it names.
    """
    sender = senders.load()
    model = models.load_for(Path(setup["model"]), sender.categories)
    trusted = [Authserv(name, placement) for name, placement in setup["trusted"]]
    never, explain = setup.get("never", ()), setup.get("explain", True)

    def judge_bytes(raw: bytes) -> dict[str, Any]:
        block = read_headers(raw)
        if not claims_to_be(block[0], sender):
            return {"claims": False}
        message = parse(raw, len(raw) >= MESSAGE_CAP, block)
        verdict = judge(message, sender, model, trusted, explain=explain)
        if not explain:
            return {"claims": True, "verdict": verdict.as_json()}
        return {
            "claims": True,
            "message_id": message.message_id,
            "date": message.date.isoformat() if message.date else "",
            "from": unlinked(
                f"{message.from_name} <{message.from_address}>" if message.from_address else message.first("from")
            ),
            "subject": unlinked(message.subject),
            "seen_ids": [asdict(seen) for seen in seen_ids(message)] if verdict.unverified else [],
            "verdict": verdict.as_json(),
            "wording": _wording(message, verdict, sender),
            "model_sha256": model.sha256,
            "spared": spared(message, never),
        }

    return judge_bytes


def spared(message: Message, never: Sequence[str]) -> str:
    """The first of these names that a message bears: as whole words in its sender, subject or visible text, for of a company that
    paid for a message the name often stands there alone. "" for none. To keep a mail too many does no harm."""
    if not never:
        return ""
    parts = (message.from_name, message.from_address, message.subject, message.text)
    there = " ".join(f" {' '.join(words(fold(normal(part))))} " for part in parts)
    return next((name for name in never if f" {' '.join(words(fold(normal(name))))} " in there), "")


def _wording(message: Message, verdict: Verdict, sender: Sender) -> dict[str, Any] | None:
    """The disclosure in an advertisement; nobody asks for it elsewhere."""
    if not verdict.promotional:
        return None
    found = wording(message.text, verdict.category, sender)
    return asdict(found) | {"quote": unlinked(found.quote), "promises": list(found.promises)} if found else None
