"""Labelled mail to a model: folds, cross-validation, calibration, a threshold by cost, and the gate before it is used."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from typing import Any

import numpy as np
import sklearn

from filters.errors import InputError
from filters.examples import corpus_digest, known_scores, shipped_examples
from filters.features import Features
from filters.labelled import Labelled
from filters.material import CORPUS, FEWEST, Material, Plan, Row, are_few, corpus_rows, refined, rows_of
from filters.measures import Confusion, Measures, Scored, Threshold, calibration, choose_threshold, confusion, measure
from filters.model import Model, load
from filters.registry import Learnt, Registry
from filters.senders import Sender
from filters.spool import Spool
from filters.train import Recipe, as_json, fit_part, general

#: A wanted mail that is moved costs as much as so many advertisements that stay.
FALSE_POSITIVE_COST = 10
#: A label is suspect when held-out mail is called the opposite with this probability (Northcutt et al. 2021 call this confident
#: learning), or the model in use is sure of the opposite; so many suspects, and this share of all labels, close the gate.
SUSPECT, SURE = 0.9, 0.98
FEWEST_SUSPECTS, SUSPECT_SHARE = 2, 0.02
#: A score that is further from the truth than this is a mistake, and so many clues are told of it.
MISTAKE, CLUES = 0.5, 5


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


def check(counts: Mapping[str, int], labels: Collection[str]) -> None:
    """Raise InputError when there is too little mail (`counts`, by label) to learn from and to measure with."""
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
    own: Iterable[Labelled],
    sender: Sender,
    registry: Registry,
    plan: Plan,
    recipe: Recipe | None = None,
    *,
    positive: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """A model of a person's own mail, which is gone through several times. Nothing is written.

    With `positive` the labels are none of the sender's, and this one is what is sought. Where there is too little mail to measure
    with, the shipped corpus is asked about as well. Raises InputError where nothing can be held out, or learnt.
    """
    recipe = recipe or Recipe()
    if positive or plan.from_scratch:  # real mail alone: the shipped corpus is invented, its headers too
        recipe = general(recipe)
    recipe = replace(recipe, fewest_authors=max(recipe.fewest_authors, plan.private))
    progress("sorting the mail into folds")
    if positive:
        rows = rows_of(own, plan, lambda one: one.label, {positive})
        return train(Material(rows, own), recipe, plan, {positive}, None, card(rows, recipe, plan, ""), progress)
    promotional = sender.promotional
    reference = load(registry.shipped)
    rows = rows_of(own, plan, lambda one: refined(one, reference, sender), promotional)
    few = are_few(row.label for row in rows)
    corpus = [] if plan.from_scratch else shipped_examples(sender)
    rows_of_corpus = corpus_rows(corpus, promotional, asked=few)
    material = Material(rows + rows_of_corpus, own, corpus)
    progress("asking the model in use")
    known = {one.mail.identity: one.score for one in registry.lessons(registry.in_use()) if one.score >= 0}
    if few:
        alone = Material(rows_of_corpus, (), corpus)
        known |= known_scores(sender, f"{recipe}", lambda: _held_out_alone(alone, recipe, promotional, progress))
    before = judged_by(load(registry.active()), material, promotional, known)
    about = card(rows, recipe, plan, "" if plan.from_scratch else corpus_digest(sender))
    return train(material, recipe, plan, promotional, before, about, progress)


def _held_out_alone(
    material: Material, recipe: Recipe, positive: Collection[str], progress: Callable[[str], None]
) -> dict[str, float]:
    with Spool(tokens=recipe.general) as spool:
        material.fill(spool)
        return {one.identity: one.score for one in held_out(material, spool, recipe, positive, progress)}


def retrained(
    lessons: Sequence[Labelled], sender: Sender, registry: Registry, progress: Callable[[str], None] = lambda _: None
) -> tuple[Trained, Iterable[Labelled]]:
    """What the model in use was trained on, and these as well; the newer label counts. Gives all that was learnt from, too."""
    own = _Lessons(registry, registry.in_use(), {one.identity: one for one in lessons})
    return course(own, sender, registry, Plan(), progress=progress), own


@dataclass(frozen=True, slots=True)
class _Lessons:
    """What a model was trained on, with newer mail in the place of the same or at the end."""

    registry: Registry
    number: str
    newer: Mapping[str, Labelled]

    def __iter__(self) -> Iterator[Labelled]:
        left = dict(self.newer)
        for one in self.registry.lessons(self.number):
            yield left.pop(one.mail.identity, one.mail)
        yield from left.values()


def adopt(registry: Registry, trained: Trained, own: Iterable[Labelled], *, force: bool) -> str:
    """Keep a model, and use it unless something speaks against it; with `force` all the same. Gives its number. Raises WriteError."""
    scores = {one.identity: one.score for one in trained.scored}
    number = registry.add(as_json(trained.model), (Learnt(mail, scores.get(mail.identity, -1.0)) for mail in own))
    if force or not trained.objections:
        registry.use(number)
    return number


def train(
    material: Material,
    recipe: Recipe,
    plan: Plan,
    positive: Collection[str],
    before: Before | None,
    about: dict[str, Any],
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Cross-validate, calibrate, choose a threshold, train on everything, and compare with the model in use."""
    with Spool(tokens=recipe.general) as spool:
        progress("counting features")
        material.fill(spool)
        raw = held_out(material, spool, recipe, positive, progress)
        slope, offset = calibration(raw)
        scored = [replace(one, score=_corrected(one.score, slope, offset)) for one in raw]
        threshold = choose_threshold(scored, plan.target, recipe.threshold)
        measures = measure(scored, threshold.value)
        progress("training on all of it")
        categories = [row.category for row in material.rows]
        about |= {"cross_validation": figures(measures, threshold)}
        model, _ = fit_part(spool.part(), categories, recipe, about)
    model = replace(model, threshold=threshold.value, unsure=threshold.unsure, slope=slope, offset=offset)
    suspects = _suspects(scored, before)
    lost, objections = _compared(scored, threshold.value, before)
    if len(suspects) >= max(FEWEST_SUSPECTS, SUSPECT_SHARE * len(scored)):
        objections.insert(
            0, f"{len(suspects)} of {len(scored):,} labels contradict everything else, or the model in use"
        )
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
    own = [row for row in rows if not row.identity.startswith(CORPUS)]
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
    material: Material, spool: Spool, recipe: Recipe, positive: Collection[str], progress: Callable[[str], None]
) -> list[Scored]:
    """The rows of each fold as judged by a model that was trained on all others; in the order of the rows. `spool` is filled."""
    of_row = np.array([row.fold for row in material.rows])
    numbers = sorted(set(of_row.tolist()) - {0})
    models = {}
    for done, number in enumerate(numbers, 1):
        progress(f"cross-validation, fold {done} of {len(numbers)}")
        categories = [row.category for row in material.rows if row.fold != number]
        models[number], _ = fit_part(spool.part(of_row != number), categories, recipe, {})
    return [scored_by(models[row.fold], row, features, positive) for row, features in material.asked()]


def judged_by(model: Model, material: Material, positive: Collection[str], known: Mapping[str, float]) -> Before:
    """How a model does on the rows that are asked about. What it was trained on itself, it is not asked about: `known` has the scores
    of the time, by identity, from when that was held out."""
    scored = (scored_by(model, row, features, positive) for row, features in material.asked())
    return Before(tuple(replace(one, score=known.get(one.identity, one.score)) for one in scored), model.threshold)


def scored_by(model: Model, row: Row, features: Features, positive: Collection[str]) -> Scored:
    """P(positive) by a model, calibrated; 0 for mail that is barred. Mistakes come with their clues."""
    values = model.values(features)
    plain = model.probabilities(values)
    chances = model.calibrated(plain, positive)
    share = min(1.0, sum(chance for name, chance in chances.items() if name in positive))
    score = 0.0 if row.barred else share
    clues: tuple[str, ...] = ()
    if abs(score - row.positive) > MISTAKE:
        chosen = [name for name in model.categories if (name in positive) != row.positive]
        strongest = nsmallest(CLUES, model.contributions(values, chosen, plain), lambda clue: (-clue[1], clue[0]))
        clues = tuple(f"{name} {weight:+.1f}" for name, weight in strongest if weight > 0)
    return Scored(row.id, row.identity, row.label, row.positive, score, row.fold, clues)


def evaluated(
    own: Iterable[Labelled],
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
    rows = []
    for one in own:
        category = one.label if positive else refined(one, reference, sender)
        rows.append(Row(one.place, one.identity, one.label, category in wanted, category, one.barred, fold=1))
    return list(judged_by(model, Material(rows, own), wanted, known).scored)
