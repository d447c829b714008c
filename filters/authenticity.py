"""Is this mail genuine? What pinned receivers say of it, and what contradicts it (trust.md 6.2): verified, unverified or forged.

A receiver's word decides only for mail whose From is the sender's own domain. Whatever imitates it, or could make a signature
say what it did not sign, is forged, however well some other domain has authenticated it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from filters.authentication_results import Method, Results
from filters.authentication_results import parse as parse_results
from filters.imitation import bears_name, claims_to_be, domains_in, header_prefix, imitates
from filters.message import Message
from filters.receivers import Authserv, Run, parse_trust, pinned_for, runs, seen_ids
from filters.safe_text import safe_text
from filters.senders import Sender

__all__ = ["Authenticity", "Authserv", "check", "claims_to_be", "parse_trust", "pinned_for", "seen_ids"]

_NO_REPLY = re.compile(r"noreply|donotreply")
#: Headers of one mail that are looked at for somebody's "fail".
_RESULTS = 20
_SPEAKING = frozenset(["dkim", "dmarc", "spf"])


@dataclass(frozen=True, slots=True)
class Authenticity:
    """The state of a mail that claims to be from a sender."""

    state: str
    """"verified", "unverified" or "forged"."""
    why: str
    """One plain sentence, without mail content except domains and header names."""
    dkim: bool
    """A pinned receiver saw a valid signature of the sender's: signed headers (class, template) may be believed."""
    contradicted: bool = False
    """Somebody who is not pinned wrote that DMARC failed. Nobody forges that, so the mail is never moved."""


def check(message: Message, sender: Sender, trusted: Sequence[Authserv]) -> Authenticity:
    """The state of a message that claims to be the sender's (`claims_to_be`), by the receivers in `trusted`."""
    if fault := _from_fault(message, sender):
        return Authenticity("forged", fault, False)
    domain = _domain(message.from_address)
    if not sender.owns(domain):
        return Authenticity("unverified", f"It is from {_shown(domain)}, which is not {sender.title}'s.", False)
    if fault := _duplicate(message, sender) or _reply_fault(message, sender):
        return Authenticity("forged", fault, False)
    said = (
        _by_results(runs(message, trusted), sender)
        if trusted
        else Authenticity("unverified", "No receiver is named whose Authentication-Results may be believed.", False)
    )
    return said if said.state != "unverified" else replace(said, contradicted=_anyone_says_fail(message))


def _anyone_says_fail(message: Message) -> bool:
    values = [value for name, value in message.headers if name == "authentication-results"]
    methods = [method for value in values[:_RESULTS] for method in parse_results(value).methods]
    return any(method.name == "dmarc" and method.result == "fail" for method in methods)


# --- what contradicts


def _from_fault(message: Message, sender: Sender) -> str:
    """Why the From line is a forger's; "" when it is not."""
    if not message.from_address:
        return "Its From is missing, doubled or malformed."
    domain = _domain(message.from_address)
    if sender.owns(domain):
        return ""
    if imitates(domain, sender):
        return f"Its domain {_shown(domain)} imitates {sender.domains[0]}."
    if bears_name(message.from_name, sender):
        return f"It bears {sender.title}'s name, and is from {_shown(domain)}."
    return ""


def _duplicate(message: Message, sender: Sender) -> str:
    """Why its headers may be two mails' (T15): a second header, put on top, is not signed, and the signature still verifies."""
    private = Counter(name for name, _ in message.headers if name.startswith(header_prefix(sender)))
    doubled = [defect.partition(":")[2] for defect in message.defects if defect.startswith("duplicate:")]
    doubled += [name for name, times in private.items() if times > 1]
    return f"It has more than one {safe_text(doubled[0].title(), 40)} header." if doubled else ""


def _reply_fault(message: Message, sender: Sender) -> str:
    """Why its Reply-To, which nobody signs, is a forger's: answers to mail that wants none would go to somebody else."""
    replies = message.first("reply-to")
    if not replies or not _NO_REPLY.search(re.sub(r"[^a-z]", "", message.from_address.partition("@")[0])):
        return ""
    domains = domains_in(replies)
    strange = [domain for domain in domains if not sender.owns(domain)]
    if domains and not strange:
        return ""
    return f"Answers to it would go to {_shown(strange[0])}." if strange else "Its Reply-To is malformed."


# --- what receivers say


def _by_results(found: Sequence[Run], sender: Sender) -> Authenticity:
    if not found:
        return Authenticity("unverified", "No named receiver wrote Authentication-Results in its place.", False)
    states = [_state_of_run(run, sender) for run in found]
    if len({state for state, _ in states}) > 1:
        return Authenticity("unverified", "The results of the receivers contradict each other.", False)
    state, why = states[0]
    signed = any(_signs(method, sender) for run in found for method in _methods(run.results))
    return Authenticity(state, why, state == "verified" and signed)


def _state_of_run(run: Run, sender: Sender) -> tuple[str, str]:
    """State and reason by one run, which counts as a whole."""
    state, why = _state(_methods(run.results), sender)
    speaking = [_methods([one]) for one in run.results if any(method.name in _SPEAKING for method in one.methods)]
    if state != "verified":
        return state, why
    if run.exposed and _state(speaking[0], sender)[0] != "verified":
        return "unverified", "The receiver's outermost result does not confirm it."
    alone = {_state(methods, sender)[0] for methods in speaking}
    if "forged" in alone and not any(method.name == "dmarc" for method in _methods(run.results)):
        return "unverified", "The receiver's results contradict each other."
    return state, why


def _state(methods: Sequence[Method], sender: Sender) -> tuple[str, str]:
    """State and reason by methods of one receiver. SPF alone says nothing: it breaks on forwarding, and covers no header.

    DMARC decides where it came to a result. A result about another domain than the sender's neither confirms nor
    contradicts: mailing lists that put the old From back leave such mail behind.
    """
    dmarc = [method for method in methods if method.name == "dmarc"]
    about = [_domain(value) for method in dmarc for value in method.values("header.from")]
    if len({method.result for method in dmarc}) > 1:
        return "unverified", "The receiver's results contradict each other."
    if not all(map(sender.owns, about)):
        return "unverified", "The receiver's result is about another domain."
    if dmarc and dmarc[0].result == "fail":
        return "forged", "The receiver says that DMARC failed."
    if dmarc and dmarc[0].result == "pass" and about:
        return "verified", "The receiver says that DMARC passed."
    dkim = [method for method in methods if method.name == "dkim"]
    if any(_signs(method, sender) for method in dkim):
        return "verified", f"The receiver saw a valid signature of {sender.title}'s."
    own = {method.result for method in dkim if method.result == "none" or _is_of(method, sender) is not False}
    if own and own <= {"fail", "none"} and not dmarc:
        return "forged", "The receiver saw no valid signature."
    return "unverified", "The receiver's results confirm nothing."


def _methods(results: Sequence[Results]) -> list[Method]:
    return [method for one in results for method in one.methods]


def _signs(method: Method, sender: Sender) -> bool:
    """Whether it is a valid signature of the sender's."""
    return method.name == "dkim" and method.result == "pass" and _is_of(method, sender) is True


def _is_of(method: Method, sender: Sender) -> bool | None:
    """Whether a signature is of the sender's domain; None when the receiver does not say of which (Zoho)."""
    domains = [_domain(value) for value in method.values("header.d", "header.i")]
    return all(map(sender.owns, domains)) if domains else None


def _domain(address: str) -> str:
    """The domain of an address, or of a bare domain, as results have either."""
    return address.rpartition("@")[2].lower()


def _shown(domain: str) -> str:
    return safe_text(domain, 80)
