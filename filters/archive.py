"""Mail archives in many files: what `audit` finds in each, in the order of the files, whoever looks through them (`filters.shards`)."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from filters import senders, shards
from filters.authenticity import Authserv
from filters.errors import FiltersError, RefusedError
from filters.journal import Candidate
from filters.log import log
from filters.shards import Engine, Told, line
from filters.sources import Place, Unreadable, place_name
from filters.sources.local import open_local
from filters.sweep import Finding, Policy, Setup, Tally, sweep
from filters.wording import Wording


@dataclass(frozen=True, slots=True)
class Shard:
    """One local source, and how what it holds is judged."""

    location: str
    setup: Setup
    policy: Policy
    account: str | int = 0
    """What the log calls it."""

    def as_json(self) -> dict[str, Any]:
        """What a process needs to look through it; the model and the data by their digest, for it to check."""
        return {
            "location": self.location,
            "account": self.account,
            "model": self.setup.model,
            "digest": self.setup.digest(),
            "trusted": [[one.id, one.placement] for one in self.setup.trusted],
            "never": list(self.setup.never),
            "move": sorted(self.policy.move),
            "unverified": self.policy.unverified,
            "older_than": self.policy.older_than.isoformat() if self.policy.older_than else "",
        }


def look_through(shard: dict[str, Any]) -> Iterator[bytes]:
    """The lines of one shard (`shards.Task`): ["finding", ...] and, in ["end", ...], the tally.

    Raises RefusedError when this has not the model of the one that asks.
    """
    sender = senders.load()
    trusted = tuple(Authserv(*pair) for pair in shard["trusted"])
    how = Setup(sender, shard["model"], trusted, 1, tuple(shard["never"]))
    if shard["digest"] != how.digest():
        raise RefusedError(
            f"A worker has another model or other data than this unpitch ({how.model}). Use the same on all."
        )
    older = datetime.fromisoformat(shard["older_than"]) if shard["older_than"] else None
    wanted = Policy(frozenset(shard["move"]), shard["unverified"], older)
    tally, said = Tally(), 0
    try:
        with closing(open_local(shard["location"], changes=False, stdin=io.BytesIO())) as source:
            name = place_name(source)
            for finding in sweep(source, how, wanted, {}, tally):
                yield line("finding", dataclasses.asdict(finding))
                if tally.messages - said >= shards.SAY_AFTER:
                    said = tally.messages
                    yield line("passed", said)
    except FiltersError as error:
        yield line("failed", str(error), error.exit_code)
        return
    yield line(
        "end",
        tally.messages,
        name,
        [dataclasses.asdict(one) for one in tally.unreadable],
        [[one.id, one.placement, count] for one, count in tally.authserv_ids.items()],
    )


# --- the asking side


@dataclass(slots=True)
class Seen:
    """What was seen besides findings; `failed` says of each shard that could not be looked through to the end why, and an exit code."""

    tally: Tally = field(default_factory=Tally)
    sources: list[str] = field(default_factory=list)
    failed: list[tuple[str, int]] = field(default_factory=list)

    def fail(self, shard: Shard, why: str, exit_code: int) -> None:
        """Note a shard that could not be looked through to the end."""
        self.failed.append((why, exit_code))
        log().event("account", level="error", account=shard.account, exit_code=exit_code, error=why)


def findings(
    wanted: Sequence[Shard], run: Engine, seen: Seen, told: Told = lambda _messages, _shards: None
) -> Generator[Finding, None, None]:
    """Findings of all shards, in their order, as one process would have them.

    Raises RefusedError for a worker that is another unpitch; WriteError; whatever the engine raises.
    """
    asked = [one.as_json() for one in wanted]
    with closing(shards.in_order("filters.archive:look_through", asked, run, told)) as lines:
        found = Counter[int]()
        for number, kind, *content in lines:
            if kind == "finding":
                found[number] += 1
                yield _finding(content[0])
            elif kind == "failed":
                seen.fail(wanted[number], content[0], content[1])
            else:
                counts = {"messages": content[0], "found": found[number], "unreadable": len(content[2])}
                log().event("account", account=wanted[number].account, **counts, exit_code=0)
                seen.sources.append(content[1])
                _add(seen.tally, content[0], *content[2:])


def _finding(record: dict[str, Any]) -> Finding:
    candidate, wording = record["candidate"], record["wording"]
    return Finding(
        **record
        | {
            "candidate": Candidate(**candidate | {"place": Place(**candidate["place"])}),
            "evidence": tuple(record["evidence"]),
            "wording": wording and Wording(wording["text_id"], wording["quote"], tuple(wording["promises"])),
        }
    )


def _add(tally: Tally, messages: int, unreadable: list[dict[str, Any]], ids: list[list[Any]]) -> None:
    tally.messages += messages
    tally.unreadable += [Unreadable(Place(**one["place"]), one["reason"]) for one in unreadable]
    tally.authserv_ids += Counter({Authserv(id, placement): count for id, placement, count in ids})
