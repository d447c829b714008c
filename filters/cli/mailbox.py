"""Looking through a mailbox for a command: what is found there, with a line on the terminal that says how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from operator import sub
from pathlib import Path

from rich.progress import Progress

from filters import corrections
from filters.cli.options import Access, journal_path, progress
from filters.corrections import Noticed
from filters.errors import FiltersError
from filters.journal import TAKEN_BACK, Candidate, look_into
from filters.log import log
from filters.report import Audit
from filters.shards import Told
from filters.sources import Source, place_name
from filters.sweep import Policy, Setup, sweep
from filters.systemd import alive

#: A line on the terminal is brought up to date no sooner than that.
TELL_SECONDS = 0.1


def audit_sources(found: Audit, locations: list[str], way_in: Access) -> Audit:
    """What the sources hold. Opens them without leave to change anything. Ctrl-C ends the looking, and leaves what was seen."""
    try:
        for number, location in enumerate(locations, 1):
            account, start = way_in.account(location), time.monotonic()
            log().account = account.name if account else number
            before = found.tally.messages, len(found.findings), len(found.tally.unreadable)
            with closing(way_in.open(location, changes=False)) as source:
                terms = way_in.terms(location, source)
                gather_by_journal(source, terms.setup, terms.policy, found)
            after = found.tally.messages, len(found.findings), len(found.tally.unreadable)
            counts = dict(zip(("messages", "found", "unreadable"), map(sub, after, before), strict=True))
            log().event("account", **counts, seconds=round(time.monotonic() - start, 3), exit_code=0)
        log().account = None
    except KeyboardInterrupt:
        if not found.tally.messages:
            raise
        found.stopped = True
    return found


def gather_by_journal(
    source: Source, how: Setup, wanted: Policy, found: Audit, to: str = "", path: Path | None = None
) -> Audit:
    """`gather`, with what the journal (at `path`, else the one of all accounts) knows of the mail there; which is only looked into."""
    journal = look_into(path or journal_path())
    if not journal:
        return gather(source, how, wanted, {}, found)
    with journal:
        gather(source, how, wanted, journal.barred(source.account), found)
        if journal.lessons.targets(source.account):
            hold_back(found, corrections.notice(source, journal, candidates(found, source), to))
    return found


def candidates(found: Audit, source: Source) -> list[Candidate]:
    """The mail of the sender's that was found in a source."""
    return [one.candidate for one in found.findings if (one.source, one.folder) == (source.account, source.folder)]


def unverified(found: Audit) -> set[str]:
    """Identities of mail that cannot teach, because nobody vouches for it."""
    return {one.candidate.identity for one in found.findings if one.authenticity != "verified"}


def hold_back(found: Audit, noticed: Noticed) -> None:
    """Leave alone what somebody took out of the target folder again."""
    found.findings[:] = [
        replace(one, action="keep", reason=TAKEN_BACK)
        if one.action == "move" and one.candidate.identity in noticed.put_back
        else one
        for one in found.findings
    ]


def gather(source: Source, how: Setup, wanted: Policy, barred: Mapping[str, str], found: Audit) -> Audit:
    """Sweep one source into `found`, with a line on the terminal that says how far it is. A message that was found in another folder of
    the account is not counted again, where the server says which is the same."""
    before = {(one.source, one.candidate.identity) for one in found.findings if one.candidate.is_known_to_server}
    found.sources.append(place_name(source))
    with progress() as line:
        for finding in sweep(source, how, wanted, barred, found.tally, _teller(line, source, found)):
            if (finding.source, finding.candidate.identity) not in before:
                found.findings.append(finding)
    return found


def _teller(line: Progress, source: Source, found: Audit) -> Callable[[], object]:
    """Brings the line on the terminal up to date, and tells systemd of us, ten times a second at most."""
    total, before, last = 0, found.tally.messages, 0.0
    with suppress(FiltersError, OSError):
        total = 0 if line.disable else source.total()
    task = line.add_task("", total=total or None, rate="")

    def tell() -> None:
        nonlocal last
        if time.monotonic() - last > TELL_SECONDS:
            last = time.monotonic()
            alive()
            if line.disable:
                return
            speed = line.tasks[0].speed
            done = f"{found.tally.messages:,} messages, {len(found.findings):,} candidates"
            rate = f"{speed:,.0f} a second" if speed else ""
            line.update(task, completed=found.tally.messages - before, description=done, rate=rate)

    return tell


@contextmanager
def telling_files(total: int) -> Iterator[Told]:
    """A line on the terminal that says how many files and messages were looked through; brought up to date by any thread."""
    messages = done = 0
    last = 0.0
    with progress() as line:
        task = line.add_task("", total=total, rate="")

        def told(more_messages: int, more_shards: int) -> None:
            nonlocal messages, done, last
            messages, done = messages + more_messages, done + more_shards
            if time.monotonic() - last > TELL_SECONDS:
                last = time.monotonic()
                line.update(task, completed=done, description=f"{done:,} of {total:,} files, {messages:,} messages")

        yield told
