"""The command that learns from what people moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from filters import corrections, senders
from filters.cli.labelling import telling
from filters.cli.mailbox import candidates, gather, unverified
from filters.cli.options import (
    Access,
    CaFile,
    PasswordCommand,
    Trust,
    access,
    console,
    journal_path,
    journal_to_change,
    model_registry,
    policy,
    setup,
    warn,
)
from filters.cli.training import adopt
from filters.errors import BusyError, FiltersError, LimitError, NotFoundError
from filters.journal import Journal, look_into
from filters.labelled import Labelled
from filters.learning import Examined, examine
from filters.lessons import KEEP, Correction
from filters.report import Audit, say
from filters.sources import Source
from filters.sources.opening import location_of

FoldersToLookInto = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SOURCE]...",
        help="Folders to look into, as clean was given them. Default: all that the journal knows.",
        show_default=False,
    ),
]
_TWICE = "it lies on both sides now: in a target folder, and where it came from"
#: Makes a model of lessons and has it used, unless it is worse: then raises LimitError.
Retrain = Callable[[Console, Sequence[Labelled]], None]


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(learn)


def learn(
    sources: FoldersToLookInto = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be learnt from, and change nothing.")
    ] = False,
    trust: Trust = None,
    password_command: PasswordCommand = "",
    ca_file: CaFile = None,
    force: Annotated[bool, typer.Option("--force", help="Use the model even if something speaks against it.")] = False,
) -> None:
    """Learn from mail that you moved by hand: out of the target folder means keep, into it means promotional.

    Shows what it learns from, and what it leaves out and why. The new model is used only if it is no worse.
    """
    journal = look_into(journal_path()) if dry_run else _journal_to_change(journal_path())
    if not journal:
        raise NotFoundError(
            f"There is nothing to learn from yet: clean was never run (no journal at {journal_path()})."
        )
    with journal:
        learn_from(
            console(),
            access(password_command, ca_file),
            journal,
            sources,
            trust,
            None if dry_run else _retrainer(force),
        )


def _journal_to_change(path: Path) -> Journal | None:
    return journal_to_change(path) if path.exists() else None


def _retrainer(force: bool) -> Retrain:
    """Trains what the model in use was trained on, and the lessons; with `force` it is used whatever speaks against it."""

    def retrain(out: Console, lessons: Sequence[Labelled]) -> None:
        from filters import figures, training  # noqa: PLC0415  (scikit-learn)

        registry = model_registry()
        with telling() as tell:
            trained, own = training.retrained(lessons, senders.load(), registry, tell)
        figures.trained_text(out, trained)
        adopt(out, registry, trained, own, force=force)

    return retrain


def learn_from(
    out: Console,
    way_in: Access,
    journal: Journal,
    locations: Sequence[str] | None,
    trust: list[str] | None,
    retrain: Retrain | None,
) -> None:
    """Look for corrections, show them, learn from them, and remember that. With `retrain` None nothing is learnt, nor written."""
    with ExitStack() as stack:
        looks = _Looks(journal, stack if retrain else None)
        failures: list[FiltersError] = []
        refusal: LimitError | None = None
        for location in way_in.locations(locations or [location_of(*place) for place in journal.lessons.places()]):
            try:
                with closing(way_in.open(location, changes=False)) as source:
                    looks.into(source, trust or way_in.wants(location).trust_authserv)
            except FiltersError as error:  # that keeps nobody from learning what the others say
                warn(str(error))
                failures.append(error)
        found = looks.agreed()
        _show(out, found)
        lessons = [one.lesson for one in found.values() if one.lesson]
        if not retrain:
            say(out, f"Dry run: {_count(lessons)} would be learnt from; nothing was changed.", "bold")
        else:
            refusal = _taught(out, retrain, lessons)
            if not refusal:
                looks.remember(found)
                say(out, f"Learnt from {_count(lessons)}." if lessons else "Nothing to learn.", "bold green")
    if refusal:
        raise refusal
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _taught(out: Console, retrain: Retrain, lessons: Sequence[Labelled]) -> LimitError | None:
    """Retrain, and give what speaks against using the model. That ends no run: nothing broke off."""
    try:
        if lessons:
            retrain(out, lessons)
    except LimitError as error:
        return error
    return None


@dataclass(slots=True)
class _Looks:
    """What was found in one source after another. `stack` holds the run of each account; None: nothing is written."""

    journal: Journal
    stack: ExitStack | None
    runs: dict[str, str] = field(default_factory=dict)
    found: dict[tuple[str, str], Examined] = field(default_factory=dict)
    """By account and identity."""

    def into(self, source: Source, trust: Sequence[str] | None) -> None:
        """Notice what somebody moved, and read what is new of it."""
        account, how = source.account, setup(source, trust)
        run = self._run(account)
        audit = gather(source, how, policy(how.sender, None, "keep"), {}, Audit())
        here = candidates(audit, source)
        noticed = corrections.notice(source, self.journal, here)
        if run:
            corrections.remember(self.journal, account, run, noticed.without(unverified(audit)))
        known = self.journal.lessons.of(account) | {one.identity: one for one in noticed.corrections}
        wanted = [one for one in known.values() if one.open and self._is_new(account, one)]
        places, twice = corrections.whereabouts(source, self.journal, wanted, here)
        both = [one for one in wanted if one.identity in twice] + list(noticed.twice)
        self.found |= {(account, one.identity): Examined(one, why_not=_TWICE, final=False) for one in both}
        rest = [one for one in wanted if one.identity not in twice]
        self.found |= {(account, one.correction.identity): one for one in examine(source, how, rest, places)}

    def _run(self, account: str) -> str:
        if account not in self.runs:
            if self.stack:
                run = self.journal.run(account, "learn", datetime.now(UTC))
                self.runs[account] = self.stack.enter_context(run)
            elif self.journal.is_running(account):
                raise BusyError(f"Another run is busy with {account}. Try again later.")
            else:
                self.runs[account] = ""
        return self.runs[account]

    def _is_new(self, account: str, one: Correction) -> bool:
        before = self.found.get((account, one.identity))
        return before is None or before.correction.label != one.label

    def agreed(self) -> dict[tuple[str, str], Examined]:
        """What was found, without lessons from messages that are "keep" in one account and "promotional" in another."""
        labels: dict[str, set[str]] = {}
        for (_, identity), one in self.found.items():
            labels.setdefault(identity, set()).add(one.correction.label)
        return {
            key: replace(one, lesson=None, why_not="you put it to both sides, in two accounts", final=False)
            if len(labels[key[1]]) > 1
            else one
            for key, one in self.found.items()
        }

    def remember(self, found: Mapping[tuple[str, str], Examined]) -> None:
        """What was learnt is not learnt again, and what can never be is not told again."""
        for account, run in self.runs.items():
            mine = {identity: one for (at, identity), one in found.items() if at == account}
            settled = {identity: one.correction.label for identity, one in mine.items() if one.lesson or one.final}
            learnt = {identity for identity, one in mine.items() if one.lesson}
            if run and settled:
                self.journal.lessons.settle(account, run, settled, learnt)


def _show(out: Console, found: dict[tuple[str, str], Examined]) -> None:
    taught = [one for one in found.values() if one.lesson]
    left = [one for one in found.values() if not one.lesson]
    for title, some in (("To learn", taught), ("Left out", left)):
        if some:
            say(out, title, "bold")
        for one in some:
            say(out, f"  {one.correction.label:11}  {one.from_ or f'<{one.correction.message_id}>'}")
            for line in filter(None, (one.subject, _how(one.correction), one.why_not)):
                say(out, f"    {line}", "dim")


def _how(one: Correction) -> str:
    folder, src = one.folder or "the inbox", one.src or "the inbox"
    category = senders.load().categories.get(one.category)
    title = category.title if category else one.category
    moved = f"you put it back into {folder}" if one.label == KEEP else f"you moved it from {src} to {folder}"
    seen = f", seen {one.noticed.astimezone():%Y-%m-%d %H:%M}" if one.noticed else ""
    return f"unpitch took it for: {title}; {moved}{seen}"


def _count(lessons: Sequence[Labelled]) -> str:
    return f"{len(lessons):,} correction{'' if len(lessons) == 1 else 's'}"
