"""An audit without whatever tells whose it is, so that it can be shown around.

Nothing is taken out: a new audit is made of what is known to be harmless, so that a field somebody adds later is missing in it
rather than shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from filters.journal import Candidate
from filters.report.audit import Audit, address_of, name_of
from filters.senders import Disclosure, Sender
from filters.sources import Place, Unreadable
from filters.sweep import SPARED, Finding, Tally
from filters.wording import Wording

_NOWHERE = Place("", "", "")
_ITS_OWN_WORDS = "(a notice in words of its own)"


def without_names(audit: Audit, sender: Sender) -> Audit:
    """The same figures; people, addresses, subjects and places are replaced. Addresses and wordings that the
    data list are public, and stay."""
    names, subjects, places = _numbered("Sender"), _numbered("Subject"), _numbered("Mailbox")
    return Audit(
        sources=[places(name) for name in audit.sources],
        findings=[_anonymous(one, sender, names, subjects, places) for one in audit.findings],
        tally=Tally(
            messages=audit.tally.messages,
            unreadable=[Unreadable(_NOWHERE, "its reason is left out") for _ in audit.tally.unreadable],
        ),
        stopped=audit.stopped,
        anonymous=True,
    )


def _numbered(noun: str) -> Callable[[str], str]:
    """Gives each name one of its own: "Sender 1", "Sender 2"."""
    known: dict[str, str] = {}
    return lambda name: known.setdefault(name, f"{noun} {len(known) + 1}")


def _anonymous(
    finding: Finding,
    sender: Sender,
    names: Callable[[str], str],
    subjects: Callable[[str], str],
    places: Callable[[str], str],
) -> Finding:
    address = address_of(finding)
    name = names(name_of(finding))
    return Finding(
        source=places(finding.source),
        folder="",
        key="",
        message_id="",
        date=finding.date,
        from_=f"{name} <{address}>" if sender.stream(address) and finding.authenticity != "forged" else name,
        subject=subjects(finding.subject),
        category=finding.category,
        promotional=finding.promotional,
        probability=finding.probability,
        unsure=finding.unsure,
        authenticity=finding.authenticity,
        authenticity_why="",
        action=finding.action,
        reason=_reason(finding),
        evidence=tuple(_harmless(clue, sender) for clue in finding.evidence if not clue["feature"].startswith("word:")),
        explained=finding.explained,
        wording=finding.wording and _known(finding.wording, sender),
        candidate=Candidate(_NOWHERE, "", "", 0, finding.category, "", ""),
    )


def _reason(finding: Finding) -> str:
    """Why it is kept or moved, without what names somebody."""
    if finding.reason.startswith(SPARED):
        return SPARED
    return finding.reason if finding.unsure else finding.reason.partition(":")[0]


def _harmless(clue: dict[str, Any], sender: Sender) -> dict[str, Any]:
    """A clue without its quotation, unless that is a sentence or an address of the data."""
    return clue | {"quote": _public(clue["feature"], clue["quote"], sender)}


def _public(feature: str, quote: str, sender: Sender) -> str:
    if feature.startswith("stream:"):
        return quote if sender.stream(quote) else ""
    if feature.startswith("disclosure"):
        return _sentence(quote, sender)
    return _ITS_OWN_WORDS if feature.startswith("notice") else ""


def _sentence(quote: str, sender: Sender) -> str:
    """The sentence of the data that was found in the mail."""
    return next((found.entry.text for found in sender.find(quote) if isinstance(found.entry, Disclosure)), "")


def _known(wording: Wording, sender: Sender) -> Wording:
    """The longest sentence of the data that was found in it."""
    said = [found.entry for found in sender.find(wording.quote) if isinstance(found.entry, Disclosure)]
    texts = [one.text for one in said if one.text_id == wording.text_id]
    return Wording(wording.text_id, max(texts, key=len, default=""), wording.promises)
