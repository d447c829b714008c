"""What scripts/retrain runs; see there."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import sklearn

from filters import senders
from filters.measures import wilson
from filters.senders import Sender
from filters.train import Judged, Recipe, as_json, cross_validate, digest, fit, read_corpus

ROOT = Path(__file__).parent.parent
TARGET = "partner_inmail"


def main() -> int:
    sender = senders.load()
    corpus = ROOT / "corpus" / sender.name
    recipe = Recipe()
    examples = read_corpus(corpus, sender)
    judged = cross_validate(examples, recipe)
    figures = measure(judged, recipe, sender)
    about = {
        "trained_on": f"corpus/{sender.name}",
        "corpus_sha256": digest(corpus),
        "mails": dict(sorted(Counter(example.category for example in examples).items())),
        "recipe": {name: getattr(recipe, name) for name in recipe.__slots__},
        "scikit_learn": sklearn.__version__,
        "cross_validation": figures,
    }
    model, _ = fit(examples, recipe, about)
    files = {
        ROOT / "models" / f"{sender.name}.json": as_json(model),
        ROOT / "models" / "REPORT.md": report(judged, figures, recipe, sender, model.weights, model.categories),
    }
    if "--check" in sys.argv:
        stale = [path.name for path, text in files.items() if not path.exists() or path.read_text() != text]
        print("current" if not stale else f"not current: {', '.join(stale)}; run scripts/retrain")
        return bool(stale)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    print(files[ROOT / "models" / "REPORT.md"])
    return 0


def measure(judged: list[Judged], recipe: Recipe, sender: Sender) -> dict[str, object]:
    """Recall of the target and false positives among the mail that is not promotional, with 95 % Wilson intervals."""
    target = [one for one in judged if one.example.category == TARGET]
    wanted = [one for one in judged if not sender.categories[one.example.category].promotional]
    hits = sum(one.promotional(sender) >= recipe.threshold for one in target)
    exact = sum(one.category == TARGET and one.promotional(sender) >= recipe.threshold for one in target)
    wrong = sum(one.promotional(sender) >= recipe.threshold for one in wanted)
    unsure = sum(recipe.unsure <= one.promotional(sender) < recipe.threshold for one in judged)
    right = sum(one.category == one.example.category for one in judged)
    return {
        "folds": "leave one author out",
        "partner_inmail_recall": _share(hits, len(target)),
        "partner_inmail_recall_by_category": _share(exact, len(target)),
        "false_positives": _share(wrong, len(wanted)),
        "unsure": _share(unsure, len(judged)),
        "category_right": _share(right, len(judged)),
    }


def _share(hits: int, of: int) -> dict[str, object]:
    low, high = wilson(hits, of)
    return {"hits": hits, "of": of, "interval_95": [round(low, 4), round(high, 4)]}


def report(
    judged: list[Judged],
    figures: dict[str, object],
    recipe: Recipe,
    sender: Sender,
    weights: dict[str, tuple[float, ...]],
    categories: tuple[str, ...],
) -> str:
    lines = ["# Cross-validation and weights", "", "Made by `scripts/retrain`; do not edit.", ""]
    lines += [f"* {name}: {_spelled(value)}" for name, value in figures.items()]
    lines += [
        "",
        "## Per category",
        "",
        "| category | mails | right | judged promotional | commonest mistake |",
        "|---|---|---|---|---|",
    ]
    for name in sorted({one.example.category for one in judged}):
        here = [one for one in judged if one.example.category == name]
        wrong = Counter(one.category for one in here if one.category != name).most_common(1)
        promotional = sum(one.promotional(sender) >= recipe.threshold for one in here)
        right = sum(one.category == name for one in here)
        lines.append(f"| {name} | {len(here)} | {right} | {promotional} | {wrong[0] if wrong else ''} |")
    lines += ["", f"## Missed or unsure {TARGET}", ""]
    for one in sorted(judged, key=lambda one: one.promotional(sender)):
        if one.example.category == TARGET and one.promotional(sender) < recipe.threshold:
            lines.append(f"* {one.example.path}: {one.promotional(sender):.3f}, looks like {one.category}")
    lines += ["", "## Other mail above the threshold or in the unsure band", ""]
    for one in sorted(judged, key=lambda one: -one.promotional(sender)):
        if not sender.categories[one.example.category].promotional and one.promotional(sender) >= recipe.unsure:
            lines.append(f"* {one.example.path}: {one.promotional(sender):.3f}, looks like {one.category}")
    lines += ["", f"## The 50 strongest weights of {TARGET}, against the mean of the other categories", ""]
    lines += ["| feature | weight |", "|---|---|"]
    lines += [f"| {name.replace('|', '/')} | {weight:+.2f} |" for name, weight in strongest(weights, categories)[:50]]
    return "\n".join(lines) + "\n"


def strongest(weights: dict[str, tuple[float, ...]], categories: tuple[str, ...]) -> list[tuple[str, float]]:
    here = categories.index(TARGET)
    rest = len(categories) - 1
    gaps = {name: row[here] - (sum(row) - row[here]) / rest for name, row in weights.items()}
    return sorted(gaps.items(), key=lambda pair: (-abs(pair[1]), pair[0]))


def _spelled(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    low, high = value["interval_95"]
    share = value["hits"] / value["of"] if value["of"] else 0.0
    return f"{value['hits']} of {value['of']} = {share:.4f} (95 % interval {low:.4f} to {high:.4f})"


if __name__ == "__main__":
    sys.exit(main())
