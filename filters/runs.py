"""The journal for people and for programs: runs, what became of their messages, and what can still be taken back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from filters.journal import OPEN, Journal, Move, Run
from filters.report import say, table_for
from filters.safe_text import safe_text

#: Names the format of `runs --format json`; filters/runs.schema.json describes it.
SCHEMA = "unpitch-runs-1"
_SETTLES = "open: where it is finds out the next run for this account, or undo"


@dataclass(frozen=True, slots=True)
class Summary:
    """A run, how it ended ("done", "broken off" or "running"), and how many of its moves are in which state now."""

    run: Run
    end: str
    states: Counter[str]

    @property
    def moved(self) -> int:
        """Messages that it moved, whether or not they were put back."""
        return 0 if self.put_back_others else self.states["done"] + self.states["undone"]

    @property
    def put_back(self) -> int:
        """Messages that it put back, if that is what it was for; else those of its own that were put back."""
        return self.states["done" if self.put_back_others else "undone"]

    @property
    def undoable(self) -> int:
        """Messages that `undo` can put back, as far as the journal knows."""
        return 0 if self.put_back_others else self.states["done"]

    @property
    def open(self) -> int:
        """Messages of which is not known yet whether they were moved."""
        return sum(self.states[state] for state in OPEN)

    @property
    def put_back_others(self) -> bool:
        """Whether it was a run of `undo`."""
        return self.run.command == "undo"


def summaries(journal: Journal, account: str | None = None) -> list[Summary]:
    """All runs, or those of an account; newest first."""
    tallies = journal.tallies(account)
    runs = journal.runs(account)
    newest = {run.account: run.id for run in runs}
    return [
        Summary(run, _end(journal, run, newest[run.account] == run.id), tallies.get(run.id, Counter()))
        for run in reversed(runs)
    ]


def _end(journal: Journal, run: Run, newest: bool) -> str:
    if run.ended:
        return "broken off" if run.fault else "done"
    return "running" if newest and journal.is_running(run.account) else "broken off"


# --- text


def runs_text(console: Console, found: Sequence[Summary]) -> None:
    """A table for each account, that of the newest run first."""
    for number, account in enumerate(dict.fromkeys(one.run.account for one in found)):
        if number:
            console.print()
        say(console, account, "bold")
        table = table_for(console)
        table.collapse_padding = True
        for title in ("Run", "Begun", "What", "Moved", "Put back", "To undo", "End"):
            table.add_column(
                title, justify="right" if title in ("Moved", "Put back", "To undo") else "left", no_wrap=True
            )
        mine = [one for one in found if one.run.account == account]
        for one in mine:
            counts = [f"{count:,}" if count else "–" for count in (one.moved, one.put_back, one.undoable)]
            cells = [one.run.id, _minute(one.run.started), one.run.command, *counts, one.end]
            table.add_row(*(Text(safe_text(cell)) for cell in cells), style="yellow" if one.end == "broken off" else "")
        console.print(table)
        for one in mine:
            if words := _to_look_at(one):
                say(console, f"{one.run.id}: {words}; unpitch runs {one.run.id} tells more.", "yellow")


def _minute(when: datetime) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M}"


def _to_look_at(one: Summary) -> str:
    counts = {"open": one.open, "in doubt": one.states["doubt"], "vanished": one.states["vanished"]}
    return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)


def run_text(console: Console, one: Summary, moves: Sequence[Move]) -> None:
    """One run and each of its messages: what became of it, who sent it, and its Message-ID."""
    run = one.run
    ended = f", until {_minute(run.ended)}" if run.ended and _minute(run.ended) != _minute(run.started) else ""
    say(console, f"Run {run.id}: {run.command}, begun {_minute(run.started)}{ended}; {one.end}.", "bold")
    say(console, run.account)
    if run.fault:
        say(console, f"It was broken off: {run.fault}", "yellow")
    say(console, _counts(one))
    if moves:
        console.print()
    for move in moves:
        said = in_words(move)
        say(console, f"  {said}", "yellow" if move.state in ("vanished", "doubt", *OPEN) else "")
        for line in (move.sender, f"<{move.message_id}>" if move.message_id else move.place.key):
            if line:
                say(console, f"    {line}", "dim")


def _counts(one: Summary) -> str:
    if one.put_back_others:
        return f"{one.put_back:,} put back."
    more = _to_look_at(one)
    return (
        f"{one.moved:,} moved, {one.put_back:,} put back since, {one.undoable:,} to undo{f', {more}' if more else ''}."
    )


def in_words(move: Move) -> str:
    """What became of a message."""
    if move.state == "done":
        return f"{'in' if move.undoes is None else 'put back to'} {move.folder or 'the inbox'}"
    if move.state == "undone":
        return f"put back to {move.place.folder or 'the inbox'}"
    if move.state in OPEN:
        return _SETTLES
    return f"{'left alone' if move.state == 'failed' else move.state}: {move.reason or 'nobody knows why'}"


# --- JSON


def runs_json(found: Sequence[Summary], moves: Sequence[Move] | None = None) -> str:
    """Runs as one JSON object, with `moves` those of the only one; filters/runs.schema.json is its description."""
    runs = [_run_json(one) for one in found]
    for run in runs if moves is not None else []:
        run["messages"] = [_move_json(move) for move in moves or ()]
    return json.dumps({"schema": SCHEMA, "runs": runs}, ensure_ascii=False, indent=1)


def _run_json(one: Summary) -> dict[str, Any]:
    run = one.run
    return {
        "id": run.id,
        "account": safe_text(run.account),
        "command": run.command,
        "started": run.started.isoformat(),
        "ended": run.ended.isoformat() if run.ended else None,
        "end": one.end,
        "fault": safe_text(run.fault),
        "moved": one.moved,
        "put_back": one.put_back,
        "undoable": one.undoable,
        "open": one.open,
        "doubt": one.states["doubt"],
        "vanished": one.states["vanished"],
    }


def _move_json(move: Move) -> dict[str, Any]:
    texts = {
        "message_id": move.message_id,
        "sender": move.sender,
        "from_folder": move.place.folder,
        "to_folder": move.folder,
        "category": move.verdict,
        "reason": move.reason,
    }
    return {name: safe_text(text) for name, text in texts.items()} | {"state": move.state, "size": move.size}
