"""Behind scripts/soak: the parts of the proof that take longer than CI has, in as many processes as there are cores."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from faults.checker import KINDS as FOUND
from faults.proxy import IN, OUT
from faults.soak import soak
from faults.trial import KINDS, STRATEGIES, Stage, Tally, double_cuts, missing, single_cuts

NAMES = {"move": "Dovecot, MOVE", "copy": "Dovecot, COPY", "courier": "Courier, COPY"}
#: The columns, and what is counted under each.
COLUMNS = {
    "lost": ("lost",),
    "duplicated": ("duplicated",),
    "foreign mail touched": ("foreign", "forbidden"),
    "left \\Deleted": ("deleted",),
    "journal wrong": ("journal",),
    "anything else": tuple(kind for kind in FOUND if kind in ("altered", "untrue", "restless", "crashed")),
}
#: A task has about so many trials.
_TRIALS = 200
Task = Callable[[], Tally]


def cuts(strategy: str, kind: str, direction: str, every: int, start: int, end: int) -> Tally:
    """Every cut of one kind whose number is in [start, end)."""
    tally = Tally()
    with Stage(strategy) as stage:
        for one in single_cuts(stage, kind, direction, every=every)[start:end]:
            tally.add(stage.trial(kind, one))
    return tally


def doubles(strategy: str, count: int, seed: int) -> Tally:
    """Random double cuts."""
    tally = Tally()
    with Stage(strategy) as stage:
        for kind, one in double_cuts(stage, count, seed):
            tally.add(stage.trial(kind, one))
    return tally


def cut_tasks(strategies: list[str], every: int, count: int, seed: int) -> Iterator[tuple[str, Task]]:
    for strategy in strategies:
        with Stage(strategy) as stage:
            numbers = {
                (kind, direction): len(single_cuts(stage, kind, direction, every=every))
                for kind in KINDS
                for direction in (OUT, IN)
            }
        for (kind, direction), number in numbers.items():
            for start in range(0, number, _TRIALS):
                end = start + _TRIALS if start + _TRIALS < number else 1 << 30  # lengths differ by a few bytes
                yield f"{NAMES[strategy]}: one cut", partial(cuts, strategy, kind, direction, every, start, end)
        share = count // len(strategies)
        for start in range(0, share, _TRIALS):
            size = min(_TRIALS, share - start)
            yield f"{NAMES[strategy]}: two cuts", partial(doubles, strategy, size, seed * 1_000_000 + start)


def soak_tasks(strategies: list[str], minutes: float, seed: int) -> Iterator[tuple[str, Task]]:
    """Turns of ten minutes at most, so that servers and logs stay small; one strategy after the other on each core."""
    cores = os.cpu_count() or 1
    turns = max(1, round(minutes * cores / 10 / len(strategies)))
    seconds = minutes * 60 * cores / (turns * len(strategies))
    for turn in range(turns):
        for strategy in strategies:
            yield f"{NAMES[strategy]}: beside a neighbour", partial(soak, strategy, seed * 1000 + turn, seconds)


def run(tasks: list[tuple[str, Task]]) -> dict[str, Tally]:
    rows: dict[str, Tally] = {name: Tally() for name, _ in tasks}
    begun = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        futures = {pool.submit(task): (name, task) for name, task in tasks}
        for done, future in enumerate(as_completed(futures), 1):
            name, task = futures[future]
            try:
                rows[name].add(future.result())
            except Exception as error:
                broken = Tally(trials=1)
                broken.found["crashed"] += 1
                broken.examples.append(f"{task}: {error!r}")
                rows[name].add(broken)
            every = sum(row.trials for row in rows.values())
            found = sum(row.found.total() for row in rows.values())
            minutes = (time.monotonic() - begun) / 60
            print(
                f"{minutes:6.1f} min: {done} of {len(tasks)} parts, {every} runs, {found} violations", file=sys.stderr
            )
    return rows


def table(rows: dict[str, Tally]) -> str:
    head = ["", "runs", "cuts", *COLUMNS, "reruns needed: none", "one", "more"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    whole = Tally()
    for row in rows.values():
        whole.add(row)
    for name, row in {**rows, "**all**": whole}.items():
        found = [sum(row.found[kind] for kind in kinds) for kinds in COLUMNS.values()]
        reruns = [row.reruns[0], row.reruns[1], row.reruns.total() - row.reruns[0] - row.reruns[1]]
        lines.append([name, *(f"{number:,}" for number in (row.trials, row.cuts, *found, *reruns))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(examples: int) -> bool:
    """The hypothesis state machine over run, undo, fault and neighbour; whether all went well."""
    path = Path("tests/faults/test_machine.py")
    if not path.exists():
        print(f"there is no {path}", file=sys.stderr)
        return True
    environment = {**os.environ, "UNPITCH_MACHINE_EXAMPLES": str(examples), "UNPITCH_MACHINE_STEPS": "25"}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "-m", "", str(path)]
    begun = time.monotonic()
    code = subprocess.run(command, env=environment, check=False).returncode
    words = "nothing found" if code == 0 else f"FAILED ({code})"
    print(f"State machine, {examples} examples: {words}, {(time.monotonic() - begun) / 60:.0f} min\n")
    return code == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("parts", nargs="*", help="cuts, machine, soak; all of them when none is named")
    parser.add_argument("--minutes", type=float, default=60, help="how long the runs beside a neighbour take")
    parser.add_argument("--every", type=int, default=1, help="cut after every so-manieth byte")
    parser.add_argument("--doubles", type=int, default=2000, help="random double cuts")
    parser.add_argument("--examples", type=int, default=200, help="examples of the state machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strategy", action="append", choices=STRATEGIES)
    words = parser.parse_args()
    parts = words.parts or ["cuts", "machine", "soak"]
    if not set(parts) <= {"cuts", "machine", "soak"}:
        parser.error(f"no such part: {' '.join(parts)}")
    wanted = words.strategy or list(STRATEGIES)
    for strategy in wanted:
        if reason := missing(strategy):
            print(reason, file=sys.stderr)
            return 2
    well = machine(words.examples) if "machine" in parts else True
    tasks: list[tuple[str, Task]] = []
    if "cuts" in parts:
        tasks += cut_tasks(wanted, words.every, words.doubles, words.seed)
    if "soak" in parts:
        tasks += soak_tasks(wanted, words.minutes, words.seed)
    if not tasks:
        return 0 if well else 1
    rows = run(tasks)
    print(f"scripts/soak {' '.join(sys.argv[1:])}\n\n{table(rows)}\n")
    for name, row in rows.items():
        for text, count in row.notes.most_common(12):
            print(f"{name}: {count} times: {text}")
        for example in row.examples:
            print(f"\nVIOLATION in {name}: {example}")
    return 0 if well and not any(row.found for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
