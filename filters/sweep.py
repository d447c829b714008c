"""One sweep over one source: read, judge in worker processes, decide. Here, and only here, the two halves meet."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filters import senders
from filters.authenticity import Authserv, claims_to_be
from filters.errors import InputError
from filters.journal import Candidate
from filters.moving import BUSY
from filters.senders import Sender
from filters.sources import Mail, Passed, Source, Unreadable, Wanted
from filters.wording import Wording
from filters.workers import Failure, Workers

#: How the reason begins for mail that nobody vouches for.
UNVERIFIED = "not verified"
#: How it begins for mail of a name that the user spares; the name follows.
SPARED = "you said never to move mail"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a person wants moved: categories, whether mail that nobody can verify may be moved too, and from which age on."""

    move: frozenset[str]
    unverified: bool = False
    older_than: datetime | None = None
    """Only what is older than this is moved; None: whatever its age."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mail from, or claiming to be from, the sender: what it is, and what a run does with it and why."""

    source: str
    folder: str
    key: str
    message_id: str
    date: str
    from_: str
    subject: str
    category: str
    promotional: bool
    probability: float
    unsure: bool
    authenticity: str
    authenticity_why: str
    action: str
    """"move" or "keep"."""
    reason: str
    evidence: tuple[dict[str, Any], ...]
    explained: bool
    """Whether a template or a wording that the data know stands in it."""
    wording: Wording | None
    """The known disclosure that it carries."""
    candidate: Candidate = field(repr=False)
    later: bool = False
    """Kept for now only: it is too young or, say, flagged, and a later run is to look at it again."""
    explanation: dict[str, Any] | None = None
    """What `filters.explanation` tells of it, when that was asked."""


@dataclass(slots=True)
class Tally:
    """What a sweep saw besides its findings."""

    messages: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    authserv_ids: Counter[Authserv] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Setup:
    """What judging needs in a worker process."""

    sender: Sender
    model: str
    trusted: tuple[Authserv, ...]
    workers: int = 0
    """Worker processes; 0: one for each processor."""
    never: tuple[str, ...] = ()
    """Senders and companies whose mail is never moved."""
    task: str = "filters.judge:worker"
    """What a worker process does with each mail."""

    def digest(self) -> str:
        """Of the model and the data: with what else is set here, a verdict depends on nothing besides the mail. Raises InputError for a
        model that cannot be read."""
        try:
            of = hashlib.sha256(Path(self.model).read_bytes())
        except OSError as error:
            raise InputError(
                f"{self.model}: the model cannot be read ({(error.strerror or 'no reason').lower()})."
            ) from error
        for path in sorted((Path(senders.__file__).parent / self.sender.name).glob("*.toml")):
            of.update(path.read_bytes())
        return of.hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The part that crosses to a worker."""
        return {
            "model": self.model,
            "trusted": [[one.id, one.placement] for one in self.trusted],
            "never": list(self.never),
        }


def sweep(
    source: Source,
    setup: Setup,
    policy: Policy,
    barred: Mapping[str, str],
    tally: Tally,
    went_on: Callable[[], object] = int,
) -> Iterator[Finding]:
    """Findings of a source in its order; everything else is counted in `tally`. Nothing is moved here.

    `barred` holds the identities of mail that no run moves, and why. `went_on` is called whenever something has been looked at.
    """
    sender = setup.sender
    wanted = Wanted(sender.header_fields, lambda header_block: claims_to_be(header_block, sender))
    count = setup.workers or os.cpu_count() or 1
    with Workers(setup.task, setup.as_json(), count) as workers:
        if source.extent.begin and source.total():
            workers.begin()  # while the server is asked for what is new
        for mail, result in workers.map(_mails(source, wanted, tally, went_on)):
            if isinstance(result, Failure):
                tally.unreadable.append(Unreadable(mail.place, result.reason))
            elif result["claims"]:
                tally.authserv_ids.update(Authserv(one["id"], one["placement"]) for one in result["seen_ids"])
                yield _finding(source, mail, result, setup, policy, barred)


def _mails(source: Source, wanted: Wanted, tally: Tally, went_on: Callable[[], object]) -> Iterator[tuple[Mail, bytes]]:
    for seen in source.scan(wanted):
        tally.messages += seen.count if isinstance(seen, Passed) else 1
        went_on()
        if isinstance(seen, Unreadable):
            tally.unreadable.append(seen)
        elif isinstance(seen, Mail):
            yield seen, seen.raw


def _finding(
    source: Source, mail: Mail, result: dict[str, Any], setup: Setup, policy: Policy, barred: Mapping[str, str]
) -> Finding:
    verdict = result["verdict"]
    category = setup.sender.categories[verdict["category"]]
    spared = result.get("spared", "")
    action, reason = decide(mail, verdict, category.promotional, policy, barred, spared)
    young = action == "move" and too_young(result["date"], policy.older_than)
    if young:
        action, reason = "keep", "it is too young to be moved"
    return Finding(
        source=source.account,
        folder=mail.place.folder,
        key=mail.place.key,
        message_id=result["message_id"],
        date=result["date"],
        from_=result["from"],
        subject=result["subject"],
        category=category.name,
        promotional=verdict["promotional"],
        probability=verdict["probability"],
        unsure=verdict["unsure"],
        authenticity=verdict["authenticity"]["state"],
        authenticity_why=verdict["authenticity"]["why"],
        action=action,
        reason=reason,
        evidence=tuple(verdict["evidence"]),
        explained=verdict["explained"],
        wording=_wording(result["wording"]),
        candidate=Candidate(
            mail.place,
            mail.identity,
            result["message_id"],
            mail.size,
            category.name,
            json.dumps(verdict["evidence"], ensure_ascii=False),
            result["model_sha256"],
            sender=result["from"],
        ),
        later=young or (action == "keep" and reason == _busy(mail)),
        explanation=result.get("explanation"),
    )


def _busy(mail: Mail) -> str:
    """Why a message is somebody's business, by its flags; "" when it is not."""
    words = sorted(word for flag, word in BUSY.items() if flag in mail.flags)
    return f"it is {' and '.join(words)}" if words else ""


def too_young(date: str, older_than: datetime | None) -> bool:
    """Whether a mail with this date (ISO 8601; "": none can be read) is not yet old enough. Without a date it never is."""
    if older_than is None:
        return False
    written = datetime.fromisoformat(date) if date else None
    return written is None or (written if written.tzinfo else written.replace(tzinfo=UTC)) > older_than


def _wording(found: dict[str, Any] | None) -> Wording | None:
    return Wording(found["text_id"], found["quote"], tuple(found["promises"])) if found else None


def decide(
    mail: Mail, verdict: dict[str, Any], advertising: bool, policy: Policy, barred: Mapping[str, str], spared: str = ""
) -> tuple[str, str]:
    """The policy, to be read aloud: (action, reason). Whatever is not plainly to be moved is kept.

    `advertising`: whether the verdict's category is one of the promotional ones. `spared`: the name in it whose mail is never moved.
    """
    authenticity, chance = verdict["authenticity"], f"promotional with {verdict['probability']:.0%}"
    if authenticity["state"] == "forged":
        return "keep", f"looks forged: {authenticity['why']}"
    if verdict["never"]:
        return "keep", "such mail is never moved"
    if spared:
        return "keep", f"{SPARED} of {spared}"
    if verdict["several"]:
        return "keep", "it holds several messages, and some may be wanted"
    if verdict["unsure"]:
        return "keep", f"unsure: {chance}"
    if advertising and not verdict["promotional"]:
        return "keep", f"not sure enough: {chance}"
    if verdict["category"] not in policy.move:
        return "keep", "you did not ask to move such mail" if advertising else "not promotional"
    if not advertising and not verdict["certain"]:
        return "keep", "not sure enough that it is of that kind"
    if not verdict["known"]:
        return "keep", "such mail is not known to come from this address"
    if authenticity["contradicted"]:
        return "keep", "a receiver, though not one that you named, says that DMARC failed"
    if authenticity["state"] != "verified" and not policy.unverified:
        return "keep", f"{UNVERIFIED}: {authenticity['why']}"
    if not mail.identity:
        return "keep", "it has no Message-ID, so a move could not be undone"
    if busy := _busy(mail):
        return "keep", busy
    if why := barred.get(mail.identity):
        return "keep", why
    return "move", chance if advertising else "you asked to move such mail"
