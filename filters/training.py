"""Labelled mail to a model: folds, cross-validation, calibration, a threshold by cost, and the gate before it is used."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from typing import Any

import sklearn

from filters.errors import InputError
from filters.grouping import folds, groups
from filters.labelled import KEEP, PROMOTIONAL, Labelled
from filters.measures import Confusion, Measures, Scored, Threshold, calibration, choose_threshold, confusion, measure
from filters.model import Model, corpus_folder, load
from filters.registry import Learnt, Registry
from filters.senders import Sender
from filters.train import Example, Recipe, as_json, digest, fit, general, read_corpus

#: Mails of each label that can be measured at all, and folds.
FEWEST = 20
FOLDS = 5
#: A wanted mail that is moved costs as much as so many advertisements that stay.
FALSE_POSITIVE_COST = 10
#: A label is suspect when held-out mail is called the opposite with this probability (Northcutt et al. 2021 call this confident
#: learning), or the model in use is sure of the opposite; so many suspects, and this share of all labels, close the gate.
SUSPECT, SURE = 0.9, 0.98
FEWEST_SUSPECTS, SUSPECT_SHARE = 2, 0.02
#: A score that is further from the truth than this is a mistake, and so many clues are told of it.
MISTAKE, CLUES = 0.5, 5
#: How the identities of the shipped corpus begin.
_CORPUS = "corpus:"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train: whose share of false positives is to be met, and what is not to be learnt from or given away."""

    target: float = 0.001
    from_scratch: bool = False
    """Without the shipped corpus."""
    private: int = 0
    """Words of fewer senders than this are left out."""
    given: Mapping[str, int] | None = field(default=None, repr=False)
    """Folds by any of a message's names, instead of our own."""


@dataclass(frozen=True, slots=True)
class Row:
    """One mail as it is counted. Mail of fold 0 is always learnt from, and never asked about."""

    id: str
    identity: str
    label: str
    positive: bool
    example: Example
    fold: int


@dataclass(frozen=True, slots=True)
class Before:
    """The model in use, on the same rows, and its threshold."""

    scored: tuple[Scored, ...]
    threshold: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A new model, how it does on mail that it had not seen, how the one in use does on the same, and what speaks against it."""

    model: Model
    scored: tuple[Scored, ...] = field(repr=False)
    measures: Measures
    threshold: Threshold
    before: Measures | None
    """Of the model in use; None where it does not know these labels."""
    lost: tuple[Scored, ...]
    """What the model in use judged right, and the new one does not."""
    suspects: tuple[Scored, ...]
    """Labels that contradict everything else."""
    objections: tuple[str, ...]
    """Why it should not be used; empty when nothing speaks against it."""


def check(own: Sequence[Labelled], labels: Collection[str]) -> None:
    """Raise InputError when there is too little mail to learn from and to measure with."""
    counts = Counter(one.label for one in own)
    if empty := sorted(set(labels) - set(counts)):
        raise InputError(f"There is no mail under the label {', '.join(empty)}. Nothing was trained.")
    if len(counts) < 2:
        raise InputError(
            f"There is one label only ({', '.join(counts) or 'none'}); a model needs two to tell apart. Nothing was trained."
        )
    few = [f"{label} has {count}" for label, count in sorted(counts.items()) if count < FEWEST]
    if few:
        raise InputError(
            f"Too little mail to measure anything: {', '.join(few)}; {FEWEST} of each label are needed. Nothing was trained."
        )


def course(
    own: Sequence[Labelled],
    sender: Sender,
    registry: Registry,
    plan: Plan,
    recipe: Recipe | None = None,
    *,
    positive: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """A model of a person's own mail. Nothing is written.

    With `positive` the labels are none of the sender's, and this one is what is sought. Where there is too little mail to measure
    with, the shipped corpus is asked about as well. Raises InputError where nothing can be held out, or learnt.
    """
    recipe = recipe or Recipe()
    if positive or plan.from_scratch:  # real mail alone: the shipped corpus is invented, its headers too
        recipe = general(recipe)
    recipe = replace(recipe, fewest_authors=max(recipe.fewest_authors, plan.private))
    if positive:
        rows = rows_of(own, plan, lambda one: one.label, {positive})
        return train(rows, recipe, plan, {positive}, None, card(rows, recipe, plan, ""), progress)
    promotional = sender.promotional
    reference = load(registry.shipped)
    counts = Counter(one.label for one in own)
    few = len(counts) < 2 or min(counts.values()) < FEWEST
    rows = rows_of(own, plan, lambda one: refined(one, reference, sender), promotional, few=few)
    root = corpus_folder() / sender.name
    corpus = [] if plan.from_scratch else corpus_rows(read_corpus(root, sender), promotional, asked=few)
    progress("asking the model in use")
    known = {one.mail.identity: one.score for one in registry.lessons(registry.in_use()) if one.score >= 0}
    if few:
        known |= {one.identity: one.score for one in held_out(corpus, recipe, promotional, progress)}
    before = judged_by(load(registry.active()), rows + corpus, promotional, known)
    about = card(rows, recipe, plan, "" if plan.from_scratch else digest(root))
    return train(rows + corpus, recipe, plan, promotional, before, about, progress)


def retrained(
    lessons: Sequence[Labelled], sender: Sender, registry: Registry, progress: Callable[[str], None] = lambda _: None
) -> tuple[Trained, list[Labelled]]:
    """What the model in use was trained on, and these as well; the newer label counts. Gives all that was learnt from, too."""
    known = {one.mail.identity: one.mail for one in registry.lessons(registry.in_use())}
    own = list((known | {one.identity: one for one in lessons}).values())
    return course(own, sender, registry, Plan(), progress=progress), own


def adopt(registry: Registry, trained: Trained, own: Sequence[Labelled], *, force: bool) -> str:
    """Keep a model, and use it unless something speaks against it; with `force` all the same. Gives its number. Raises WriteError."""
    scores = {one.identity: one.score for one in trained.scored}
    number = registry.add(as_json(trained.model), (Learnt(mail, scores.get(mail.identity, -1.0)) for mail in own))
    if force or not trained.objections:
        registry.use(number)
    return number


def rows_of(
    own: Sequence[Labelled],
    plan: Plan,
    category: Callable[[Labelled], str],
    positive: Collection[str],
    *,
    few: bool = False,
) -> list[Row]:
    """The person's own mail, in folds. Raises InputError where it cannot be parted, unless there are but a `few` of them."""
    labels = [one.label for one in own]
    members = groups([one.kin for one in own])
    if plan.given is not None:
        chosen = _given(own, plan.given)
    else:
        chosen = folds(labels, members, FOLDS if few else _fold_count(labels, members))
    return [
        Row(
            one.place,
            one.identity,
            one.label,
            category(one) in positive,
            Example(one.place, category(one), one.author, (one.features,), one.barred),
            fold,
        )
        for one, fold in zip(own, chosen, strict=True)
    ]


def _fold_count(labels: Sequence[str], members: Sequence[int]) -> int:
    parts = {
        label: len({group for one, group in zip(labels, members, strict=True) if one == label}) for label in set(labels)
    }
    label, fewest = min(sorted(parts.items()), key=lambda pair: pair[1])
    if fewest < 2:
        raise InputError(
            f"All mail under the label {label} is one campaign or thread, so that nothing can be held out. Nothing was trained."
        )
    return min(FOLDS, fewest)


def _given(own: Sequence[Labelled], table: Mapping[str, int]) -> list[int]:
    found = [next((table[name] for name in one.names if name in table), None) for one in own]
    if None in found:
        raise InputError(f"The list of folds does not name {own[found.index(None)].place}. Nothing was trained.")
    numbers = sorted({fold for fold in found if fold is not None})
    if len(numbers) < 2:
        raise InputError("The list of folds names one fold only. Nothing was trained.")
    return [numbers.index(fold) + 1 for fold in found if fold is not None]


def refined(one: Labelled, reference: Model, sender: Sender) -> str:
    """The category of a mail whose label says only whether it is promotional: the one that the shipped model finds most likely."""
    if one.label not in (PROMOTIONAL, KEEP):
        return one.label
    chances = reference.probabilities(reference.values(one.features))
    fitting = [
        name
        for name in chances
        if sender.categories[name].promotional == (one.label == PROMOTIONAL)
        and sender.categories[name].action != "never"
    ]
    return max(fitting, key=lambda name: (chances[name], name))


def corpus_rows(examples: Sequence[Example], positive: Collection[str], *, asked: bool) -> list[Row]:
    """The shipped corpus as rows; when `asked` about, no author straddles a fold."""
    authors = sorted({example.author for example in examples})
    members = [authors.index(example.author) for example in examples]
    chosen = folds([example.category for example in examples], members, FOLDS) if asked else [0] * len(examples)
    return [
        Row(f"corpus/{one.path}", f"{_CORPUS}{one.path}", one.category, one.category in positive, one, fold)
        for one, fold in zip(examples, chosen, strict=True)
    ]


def train(
    rows: Sequence[Row],
    recipe: Recipe,
    plan: Plan,
    positive: Collection[str],
    before: Before | None,
    about: dict[str, Any],
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Cross-validate, calibrate, choose a threshold, train on everything, and compare with the model in use."""
    raw = held_out(rows, recipe, positive, progress)
    slope, offset = calibration(raw)
    scored = [replace(one, score=_corrected(one.score, slope, offset)) for one in raw]
    threshold = choose_threshold(scored, plan.target, recipe.threshold)
    measures = measure(scored, threshold.value)
    suspects = _suspects(scored, before)
    lost, objections = _compared(scored, threshold.value, before)
    if len(suspects) >= max(FEWEST_SUSPECTS, SUSPECT_SHARE * len(scored)):
        objections.insert(
            0, f"{len(suspects)} of {len(scored):,} labels contradict everything else, or the model in use"
        )
    progress("training on all of it")
    model, _ = fit([row.example for row in rows], recipe, about | {"cross_validation": figures(measures, threshold)})
    model = replace(model, threshold=threshold.value, unsure=threshold.unsure, slope=slope, offset=offset)
    return Trained(
        model=model,
        scored=tuple(scored),
        measures=measures,
        threshold=threshold,
        before=measure(before.scored, before.threshold) if before else None,
        lost=lost,
        suspects=suspects,
        objections=tuple(objections),
    )


def _corrected(score: float, slope: float, offset: float) -> float:
    """What `Model.calibrated` makes of it."""
    if not 0.0 < score < 1.0:
        return score
    return float(1.0 / (1.0 + math.exp(-offset) * ((1.0 - score) / score) ** slope))


def _suspects(scored: Sequence[Scored], before: Before | None) -> tuple[Scored, ...]:
    """Labels of which everything else says the opposite, or the model in use is sure of it."""
    sure = {one.identity for one in before.scored if _against(one) >= SURE} if before else set()
    wrong = [one for one in scored if _against(one) >= SUSPECT or one.identity in sure]
    return tuple(sorted(wrong, key=lambda one: (-_against(one), one.id)))


def _against(one: Scored) -> float:
    """The probability of the opposite of its label."""
    return 1 - one.score if one.positive else one.score


def _compared(
    scored: Sequence[Scored], threshold: float, before: Before | None
) -> tuple[tuple[Scored, ...], list[str]]:
    """What the model in use judged right and the new one does not, and whether that makes the new one worse."""
    if before is None:
        return (), []
    right = {one.id for one in before.scored if (one.score >= before.threshold) == one.positive}
    lost = tuple(one for one in scored if one.id in right and (one.score >= threshold) != one.positive)
    old, new = confusion(before.scored, before.threshold), confusion(scored, threshold)
    objections = []
    if cost(new) > cost(old):
        objections.append(
            f"it is worse than the model in use: {new.fp} wanted mails moved and {new.fn} advertisements missed, instead of"
            f" {old.fp} and {old.fn}"
        )
    return lost, objections


def cost(counts: Confusion) -> int:
    """What mistakes cost, in advertisements missed."""
    return FALSE_POSITIVE_COST * counts.fp + counts.fn


def figures(measures: Measures, threshold: Threshold) -> dict[str, Any]:
    """What a model says of itself: counts and rates on mail that it had not seen."""
    counts = measures.confusion
    return {
        "true_positives": counts.tp,
        "false_positives": counts.fp,
        "false_negatives": counts.fn,
        "true_negatives": counts.tn,
        "roc_auc": _rounded(measures.auc),
        "brier": _rounded(measures.brier),
        "fn_at_fp": {f"{rate:g}": _rounded(share) for rate, share in measures.fn_at_fp.items()},
        "threshold": threshold.why,
    }


def _rounded(number: float) -> float | None:
    return None if math.isnan(number) else round(number, 6)


def card(rows: Sequence[Row], recipe: Recipe, plan: Plan, corpus_sha256: str) -> dict[str, Any]:
    """What a model says of how it came to be. No name, no path, no word of the mail; the same input gives the same card."""
    own = [row for row in rows if not row.identity.startswith(_CORPUS)]
    named = "".join(sorted(f"{row.identity}\0{row.label}\n" for row in own))
    return {
        "trained_on": "own mail" if plan.from_scratch else "own mail and the shipped corpus",
        "own_mails": dict(sorted(Counter(row.label for row in own).items())),
        "own_sha256": hashlib.sha256(named.encode()).hexdigest(),
        "corpus_sha256": "" if plan.from_scratch else corpus_sha256,
        "recipe": {name: getattr(recipe, name) for name in recipe.__slots__},
        "target_false_positives": plan.target,
        "private": plan.private,
        "folds": max((row.fold for row in rows), default=0),
        "scikit_learn": sklearn.__version__,
    }


def held_out(
    rows: Sequence[Row], recipe: Recipe, positive: Collection[str], progress: Callable[[str], None]
) -> list[Scored]:
    """The rows of each fold as judged by a model that was trained on all others; in the order of the rows."""
    numbers = sorted({row.fold for row in rows} - {0})
    found: dict[str, Scored] = {}
    for done, number in enumerate(numbers, 1):
        progress(f"cross-validation, fold {done} of {len(numbers)}")
        model, _ = fit([row.example for row in rows if row.fold != number], recipe, {})
        found |= {row.identity: scored_by(model, row, positive) for row in rows if row.fold == number}
    return [found[row.identity] for row in rows if row.fold]


def judged_by(model: Model, rows: Sequence[Row], positive: Collection[str], known: Mapping[str, float]) -> Before:
    """How a model does on these rows. What it was trained on itself, it is not asked about: `known` has the scores of the time, by
    identity, from when that was held out."""
    asked = [row for row in rows if row.fold]
    scored = [scored_by(model, row, positive) for row in asked]
    return Before(
        tuple(replace(one, score=known.get(row.identity, one.score)) for row, one in zip(asked, scored, strict=True)),
        model.threshold,
    )


def scored_by(model: Model, row: Row, positive: Collection[str]) -> Scored:
    """P(positive) by a model, calibrated; 0 for mail that is barred. Mistakes come with their clues."""
    values = model.values(row.example.variants[0])
    plain = model.probabilities(values)
    chances = model.calibrated(plain, positive)
    share = min(1.0, sum(chance for name, chance in chances.items() if name in positive))
    score = 0.0 if row.example.barred else share
    clues: tuple[str, ...] = ()
    if abs(score - row.positive) > MISTAKE:
        chosen = [name for name in model.categories if (name in positive) != row.positive]
        strongest = nsmallest(CLUES, model.contributions(values, chosen, plain), lambda clue: (-clue[1], clue[0]))
        clues = tuple(f"{name} {weight:+.1f}" for name, weight in strongest if weight > 0)
    return Scored(row.id, row.identity, row.label, row.positive, score, row.fold, clues)


def evaluated(
    own: Sequence[Labelled],
    model: Model,
    reference: Model,
    sender: Sender,
    known: Mapping[str, float],
    positive: str = "",
) -> list[Scored]:
    """How a model judges labelled mail. `known` has scores of the time when a mail was held out, by identity."""
    wanted = {positive} if positive else set(sender.promotional)
    if not wanted & set(model.categories):
        raise InputError(
            f"This model knows nothing of {', '.join(sorted(wanted))}; it tells apart {', '.join(model.categories)}."
        )
    rows = [
        Row(one.place, one.identity, one.label, _is_positive(one, reference, sender, positive), _example(one), fold=1)
        for one in own
    ]
    return list(judged_by(model, rows, wanted, known).scored)


def _is_positive(one: Labelled, reference: Model, sender: Sender, positive: str) -> bool:
    return one.label == positive if positive else refined(one, reference, sender) in sender.promotional


def _example(one: Labelled) -> Example:
    return Example(one.place, one.label, one.author, (one.features,), one.barred)
