"""How good a model is, as text for a person, JSON or CSV for a program, and curves as a picture."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import IO, Any

from rich.console import Console

from filters.errors import UsageError
from filters.labelled import PASSED, Read
from filters.measures import Measures, Scored, Threshold, roc, wilson
from filters.report import say, table_for
from filters.safe_text import csv_cell, safe_text
from filters.training import FALSE_POSITIVE_COST, Trained

#: Names the format of `--format json`; filters/evaluation.schema.json describes it.
SCHEMA = "unpitch-evaluation-1"
#: Mistakes, suspects and losses that the text shows of each.
LINES = 10
_BAR = 30
#: Endings of pictures that can be drawn.
PICTURES = (".svg", ".png")


def read_text(out: Console, read: Read, counts: dict[str, int]) -> None:
    """What was read, and what of it does not count."""
    labels = ", ".join(f"{safe_text(label)} {count:,}" for label, count in sorted(counts.items()))
    say(out, f"{sum(counts.values()):,} of {read.messages:,} messages count: {labels}.", "bold")
    passed = [f"{read.passed[why]:,} {words}" for why, words in PASSED.items() if read.passed[why]]
    if passed:
        say(out, f"Passed over: {', '.join(passed)}.")
    if read.unreadable:
        say(out, f"{len(read.unreadable):,} could not be read:", "yellow")
        for one in read.unreadable[:LINES]:
            say(out, f"  {one.place.folder} {one.place.key}: {one.reason}")
    if read.failed:
        files = "file" if len(read.failed) == 1 else "files"
        say(out, f"{len(read.failed):,} {files} could not be read to the end:", "yellow")
        for why, _ in read.failed[:LINES]:
            say(out, f"  {why}")


def measures_text(out: Console, title: str, measures: Measures, before: Measures | None = None) -> None:
    """The table of figures, beside those of the model in use where there are some."""
    table = table_for(out)
    for name in (title, "", "95 % interval", *(["in use"] if before else [])):
        table.add_column(name)
    others = _rows(before) if before else []
    for at, (name, value, interval) in enumerate(_rows(measures)):
        table.add_row(name, value, interval, *([others[at][1]] if others else []))
    out.print(table)


def _rows(measures: Measures) -> list[tuple[str, str, str]]:
    counts = measures.confusion
    positive, wanted = counts.tp + counts.fn, counts.fp + counts.tn
    missed = [
        (f"missed at FP {rate:.1%}", *_share(round(share * positive), positive))
        for rate, share in measures.fn_at_fp.items()
    ]
    return [
        ("found (recall)", *_share(counts.tp, positive)),
        ("missed (FN)", *_share(counts.fn, positive)),
        ("wanted, called so (FP)", *_share(counts.fp, wanted)),
        ("wanted, kept", *_share(counts.tn, wanted)),
        ("precision", *_share(counts.tp, counts.tp + counts.fp)),
        *missed,
        ("1-ROCA %", _number(100 * (1 - measures.auc), 4), ""),
        ("Brier score", _number(measures.brier, 4), ""),
        ("threshold", f"{measures.threshold:.3f}", ""),
    ]


def _share(hits: int, of: int) -> tuple[str, str]:
    if not of:
        return "none", ""
    low, high = wilson(hits, of)
    return f"{hits:,} of {of:,}, {hits / of:.1%}", f"{low:.1%} to {high:.1%}"


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def reliability_text(out: Console, measures: Measures) -> None:
    """Whether a probability comes true as often as it says: a row for each tenth."""
    table = table_for(out)
    for name in ("said", "mails", "mean", "came true", ""):
        table.add_column(name, justify="right" if name in ("mails", "mean", "came true") else "left")
    for row in measures.reliability:
        if row.count:
            bar = "█" * round(_BAR * row.share_positive) or "·"
            table.add_row(
                f"{row.low:.1f} to {row.high:.1f}",
                f"{row.count:,}",
                f"{row.mean_score:.3f}",
                f"{row.share_positive:.3f}",
                bar,
            )
    out.print(table)


def worst(scored: Sequence[Scored], threshold: float) -> list[Scored]:
    """Mistakes at a threshold, the worst first."""
    wrong = [one for one in scored if (one.score >= threshold) != one.positive]
    return sorted(wrong, key=lambda one: (-abs(one.score - one.positive), one.id))


def list_text(out: Console, title: str, found: Sequence[Scored]) -> None:
    """Messages with what was said of them, and why."""
    if not found:
        return
    say(out, title, "bold")
    for one in found[:LINES]:
        say(out, f"  {one.id}")
        clues = f": {', '.join(one.clues)}" if one.clues else ""
        say(out, f"    labelled {one.label}, promotional with {one.score:.1%}{clues}", "dim")
    if len(found) > LINES:
        say(out, f"  and {len(found) - LINES:,} more; --format csv lists every message")


def trained_text(out: Console, trained: Trained) -> None:
    """All about a new model but what became of it."""
    folds = len({one.fold for one in trained.scored})
    measures_text(out, f"Held out, {folds} folds", trained.measures, trained.before)
    say(
        out,
        f"Threshold {trained.threshold.value:.3f}, unsure from {trained.threshold.unsure:.3f}: {trained.threshold.why}.",
    )
    out.print()
    reliability_text(out, trained.measures)
    list_text(out, "The worst mistakes:", worst(trained.scored, trained.threshold.value))
    list_text(out, "Worse than with the model in use:", trained.lost)
    list_text(out, "Labels that contradict everything else, or the model in use; look at them:", trained.suspects)
    for objection in trained.objections:
        say(out, f"Against it: {objection}.", "bold yellow")
    if trained.before and trained.objections:
        say(out, f"A wanted mail that is moved counts as {FALSE_POSITIVE_COST} advertisements missed.")


def evaluated_text(out: Console, measures: Measures, scored: Sequence[Scored]) -> None:
    """All about a model as it is."""
    measures_text(out, "This model", measures)
    reliability_text(out, measures)
    list_text(out, "The worst mistakes:", worst(scored, measures.threshold))


def evaluation_json(
    measures: Measures, scored: Sequence[Scored], read: Read, threshold: Threshold | None = None
) -> str:
    """Everything as one JSON object; filters/evaluation.schema.json is its description."""
    counts = measures.confusion
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "messages_read": read.messages,
        "passed_over": {why: read.passed[why] for why in PASSED},
        "unreadable": [
            {"folder": one.place.folder, "key": one.place.key, "reason": one.reason} for one in read.unreadable
        ],
        "threshold": measures.threshold,
        "threshold_why": threshold.why if threshold else None,
        "confusion": {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn},
        "precision": _interval(counts.tp, counts.tp + counts.fp),
        "recall": _interval(counts.tp, counts.tp + counts.fn),
        "false_positive_rate": _interval(counts.fp, counts.fp + counts.tn),
        "false_negative_rate": _interval(counts.fn, counts.tp + counts.fn),
        "roc_auc": _finite(measures.auc),
        "fn_at_fp": [{"fp_at_most": rate, "fn": share} for rate, share in measures.fn_at_fp.items()],
        "brier": measures.brier,
        "reliability": [
            {
                "low": row.low,
                "high": row.high,
                "count": row.count,
                "mean_score": _finite(row.mean_score),
                "share_positive": _finite(row.share_positive),
            }
            for row in measures.reliability
        ],
        "messages": [_message(one, measures.threshold) for one in scored],
    }
    return json.dumps(data, indent=1, ensure_ascii=False)


def _interval(hits: int, of: int) -> dict[str, Any]:
    low, high = wilson(hits, of)
    return {"hits": hits, "of": of, "interval_95": [low, high]}


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _message(one: Scored, threshold: float) -> dict[str, Any]:
    return {
        "path": safe_text(one.id),
        "label": safe_text(one.label),
        "positive": one.positive,
        "fold": one.fold,
        "score": round(one.score, 6),
        "called_positive": one.score >= threshold,
        "clues": [safe_text(clue) for clue in one.clues],
    }


def evaluation_csv(scored: Sequence[Scored], threshold: float) -> str:
    """A line for each message: path, label, positive, fold, score, called_positive."""
    text = io.StringIO()
    names = ("path", "label", "positive", "fold", "score", "called_positive")
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for one in scored:
        row = _message(one, threshold)
        writer.writerow(row | {"path": csv_cell(one.id), "label": csv_cell(one.label)})
    return text.getvalue()


def draw(file: IO[bytes], ending: str, scored: Sequence[Scored], measures: Measures) -> None:
    """The ROC curve and the reliability diagram as one picture, of a kind in `PICTURES`. Raises UsageError where matplotlib is not installed, or there is only
    one kind of mail."""
    if math.isnan(measures.auc):
        raise UsageError("There is no curve to draw: all mail is of one kind.")
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (heavy, and an extra)
    except ImportError:
        raise UsageError('--curves needs matplotlib: pip install "unpitch[plot]".') from None
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*roc(scored), color="#0a66c2")
    left.set(
        title=f"ROC, area {measures.auc:.4f}",
        xlabel="wanted mail called promotional",
        ylabel="promotional mail found",
        ylim=(0, 1.01),
    )
    filled = [row for row in measures.reliability if row.count]
    right.plot([0, 1], [0, 1], color="#999999", linestyle=":")
    right.plot([row.mean_score for row in filled], [row.share_positive for row in filled], "o-", color="#0a66c2")
    right.set(
        title=f"Reliability, Brier {measures.brier:.4f}", xlabel="probability said", ylabel="share that came true"
    )
    figure.savefig(file, format=ending.removeprefix("."), metadata={"Date": None} if ending == ".svg" else None)
