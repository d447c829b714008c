"""What scripts/bench_corpora runs; see there.

Each message is scored by a model that was trained on the other given folds alone. The score that is told apart at 0.5 is P(positive),
calibrated and then shifted so that 0.5 keeps to the target rates (`_line`): both by cross-validation inside the training
folds. Ranking (1-ROCA%, FN at FP) is that of the log-odds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from sys import intern

from filters.features import Features
from filters.labelled import unpacked
from filters.measures import Scored, calibration, confusion, log_odds, measure, wilson
from filters.model import Model
from filters.train import GENERAL, Example, Recipe, as_json, fit
from filters.workers import Failure, Workers

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "corpora" / "spamassassin.tar.xz"


@dataclass(frozen=True, slots=True)
class Mail:
    """One labelled message; no features: it could not be read, and is kept."""

    path: Path
    label: str
    kind: str
    fold: int
    features: Features | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """Shares of wrong mail that 0.5 is to keep to: of the wanted mail, of the sought mail."""

    fp: float
    fn: float


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="unpitch-bench") as room:
        mails = read(options.folder or _unpacked(Path(room)))
        print(f"{len(mails):,} messages, {len({mail.fold for mail in mails})} folds", file=sys.stderr)
        tools = {"unpitch": ours(mails, options.positive, Targets(options.target_fp, options.target_fn))}
        if not options.ours:
            tools["bogofilter"] = bogofilter(mails, options.positive, Path(room))
    hard = {str(mail.path) for mail in mails if mail.kind == "hard_ham"}
    rows = {name: figures(scored, hard) | times for name, (scored, times) in tools.items()}
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        _table(rows)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench_corpora")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ours", action="store_true", help="without bogofilter")
    parser.add_argument("--positive", default="spam", help="the label that is sought")
    parser.add_argument("--target-fp", type=float, default=0.0025, help="share of false positives that 0.5 keeps to")
    parser.add_argument(
        "--target-fn", type=float, default=0.015, help="share of missed mail that it keeps to, where it can do both"
    )
    return parser.parse_args()


def _unpacked(room: Path) -> Path:
    if not SHARED.exists():
        raise SystemExit(f"{SHARED} is not there; name a folder with labels.csv and folds.csv")
    with tarfile.open(SHARED) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2, Debian's, has none
        archive.extractall(room)
    return next(room.glob("*/folds.csv")).parent


def read(folder: Path) -> list[Mail]:
    """The messages that folds.csv names, in its order, with the labels of labels.csv."""
    with (folder / "labels.csv").open(newline="") as file:
        labels = {row["path"]: row for row in csv.DictReader(file)}
    with (folder / "folds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Mail(folder / row["path"], labels[row["path"]]["label"], labels[row["path"]].get("set", ""), int(row["fold"]))
        for row in rows
    ]


# --- unpitch


def ours(mails: Sequence[Mail], positive: str, targets: Targets) -> tuple[list[Scored], dict[str, float]]:
    """The score of each message, and the seconds that reading and training took. Folds are done side by side."""
    start = time.perf_counter()
    mails = list(_with_features(mails))
    reading = time.perf_counter() - start
    numbers = sorted({mail.fold for mail in mails})
    found: list[Scored] = []
    training, size = 0.0, 0
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("fork")) as processes:
        for scored, seconds, count in processes.map(partial(_fold, mails, positive, targets), numbers):
            found += scored
            training += seconds / len(numbers)
            size = max(size, count)
    return found, {"reading_s": round(reading, 1), "training_s": round(training, 1), "model_bytes": size}


def _fold(mails: Sequence[Mail], positive: str, targets: Targets, number: int) -> tuple[list[Scored], float, int]:
    """The scores of one fold, by a model of the others; the seconds that it took to train, and its bytes."""
    known = [mail for mail in mails if mail.fold != number]
    seen = list(_held_out(known, positive))
    slope, offset = calibration(seen)
    offset -= _line(seen, slope, offset, targets)
    start = time.perf_counter()
    model = _trained(known)
    training = time.perf_counter() - start
    size = len(as_json(model).encode())
    model = replace(model, slope=slope, offset=offset)
    prior = sum(mail.label == positive for mail in known) / len(known)
    found = [_scored(model, mail, positive, prior) for mail in mails if mail.fold == number]
    print(f"fold {number} done", file=sys.stderr)
    return found, training, size


def _with_features(mails: Sequence[Mail]) -> Iterator[Mail]:
    with Workers("filters.labelled:worker", {"ours": False, "general": True}) as workers:
        for mail, result in workers.map((mail, mail.path.read_bytes()) for mail in mails):
            if isinstance(result, Failure):
                print(f"{mail.path}: {result.reason}", file=sys.stderr)
                yield mail
            else:
                yield replace(mail, features=_features(result["content"]))


def _features(content: str) -> Features:
    """Names that many mails share are kept once: here all mails are in memory."""
    plain = unpacked(content)
    found = Features.from_json(plain)
    return replace(found, words=frozenset(map(intern, found.words)), tokens=frozenset(map(intern, found.tokens)))


def _trained(mails: Sequence[Mail], recipe: Recipe = GENERAL) -> Model:
    examples = (
        Example(str(mail.path), mail.label, str(number), (mail.features,))
        for number, mail in enumerate(mails)
        if mail.features
    )
    return fit(examples, recipe, {})[0]


def _held_out(mails: Sequence[Mail], positive: str) -> Iterator[Scored]:
    """Each message as judged by a model that had not seen it, inside the training folds. What is held out are quarters of folds, so
    that these models know nearly as much as the one for which they set 0.5: the less they know, the stricter it comes out."""
    for number in sorted({mail.fold for mail in mails}):
        members = [mail for mail in mails if mail.fold == number]
        for quarter in (members[start::4] for start in range(4)):
            out = {mail.path for mail in quarter}
            model = _trained([mail for mail in mails if mail.path not in out])
            yield from (_scored(model, mail, positive, 0.0) for mail in quarter if mail.features)


def _scored(model: Model, mail: Mail, positive: str, prior: float) -> Scored:
    """P(positive); the share of positive mail for what could not be read, since nothing else is known of it (it is kept)."""
    score = min(prior, 0.49)
    if mail.features:
        chances = model.calibrated(model.probabilities(model.values(mail.features)), {positive})
        score = chances[positive]
    return Scored(str(mail.path), str(mail.path), mail.label, mail.label == positive, score, mail.fold)


def _line(scored: Sequence[Scored], slope: float, offset: float, targets: Targets) -> float:
    """The calibrated log-odds that no more than one share of the wanted mail passes, and no more than the other of the sought mail
    misses: the middle, so that chance has room on either side. Where no line does both, the first share is what counts."""
    wanted, sought = (
        sorted(slope * log_odds(one.score) + offset for one in scored if one.positive == positive)
        for positive in (False, True)
    )
    lowest = _beyond(wanted[::-1], targets.fp)
    return (lowest + max(lowest, _beyond(sought, targets.fn))) / 2


def _beyond(values: Sequence[float], share: float) -> float:
    """What no more than so large a share of the values, the extreme ones first, lies beyond."""
    allowed = int(share * len(values))
    return (values[allowed] + values[max(0, allowed - 1)]) / 2


# --- bogofilter


def bogofilter(mails: Sequence[Mail], positive: str, room: Path) -> tuple[list[Scored], dict[str, float]]:
    """Trained on all messages of the other folds; scores as `bogofilter -T` gives them."""
    found: list[Scored] = []
    training = scoring = 0.0
    for number in sorted({mail.fold for mail in mails}):
        base = room / f"bogofilter{number}"
        base.mkdir()
        start = time.perf_counter()
        for flag, wanted in (("-s", True), ("-n", False)):
            paths = [mail.path for mail in mails if mail.fold != number and (mail.label == positive) == wanted]
            _bogofilter(base, [flag, "-b"], paths)
        training += time.perf_counter() - start
        start = time.perf_counter()
        held = [mail for mail in mails if mail.fold == number]
        said = _bogofilter(base, ["-TT", "-b"], [mail.path for mail in held]).splitlines()
        scoring += time.perf_counter() - start
        for mail, line in zip(held, said, strict=True):
            score = float(line.split()[-1])
            found.append(Scored(str(mail.path), str(mail.path), mail.label, mail.label == positive, score, mail.fold))
    return found, {"training_s": round(training / 5, 1), "scoring_s": round(scoring, 1)}


def _bogofilter(base: Path, flags: list[str], paths: Sequence[Path]) -> str:
    listed = "".join(f"{path}\n" for path in paths)
    done = subprocess.run(
        ["bogofilter", "-d", str(base), *flags], input=listed, capture_output=True, text=True, check=False
    )
    if done.returncode > 2:
        raise SystemExit(f"bogofilter: {done.stderr.strip()}")
    return done.stdout


# --- figures


def figures(scored: Sequence[Scored], hard: set[str]) -> dict[str, object]:
    """What the table shows: percentages, and counts with their intervals."""
    found = measure(scored, 0.5)
    counts = confusion(scored, 0.5)
    hams = [one for one in scored if one.id in hard]
    return {
        "1-ROCA%": round(100 * (1 - found.auc), 4),
        "FN at FP <= 0.1 %": _share(found.fn_at_fp[0.001] * (counts.tp + counts.fn), counts.tp + counts.fn),
        "FN at FP <= 0.5 %": _share(found.fn_at_fp[0.005] * (counts.tp + counts.fn), counts.tp + counts.fn),
        "FP at 0.5": _share(counts.fp, counts.fp + counts.tn),
        "FN at 0.5": _share(counts.fn, counts.tp + counts.fn),
        "FP on hard_ham at 0.5": _share(sum(one.score >= 0.5 for one in hams), len(hams)),
    }


def _share(hits: float, of: int) -> dict[str, object]:
    low, high = wilson(round(hits), of)
    return {
        "hits": round(hits),
        "of": of,
        "percent": round(100 * hits / of, 2) if of else None,
        "interval_95": [round(100 * low, 2), round(100 * high, 2)],
    }


def _table(rows: dict[str, dict[str, object]]) -> None:
    names = dict.fromkeys(name for row in rows.values() for name in row)
    print(f"| | {' | '.join(rows)} |\n|---|{'---|' * len(rows)}")
    for name in names:
        print(f"| {name} | {' | '.join(_cell(row.get(name, '')) for row in rows.values())} |")


def _cell(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    low, high = value["interval_95"]
    return f"{value['percent']} % ({value['hits']} of {value['of']}; {low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
