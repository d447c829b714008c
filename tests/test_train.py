"""Training: reproducible, equal to scikit-learn, and good enough on authors that the model has not seen."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

from filters import model as models
from filters import senders
from filters.features import is_word
from filters.train import Example, Recipe, as_json, cross_validate, digest, fit, matrix_of, read_corpus

ROOT = Path(__file__).parent.parent
SENDER = senders.load()
CORPUS = ROOT / "corpus" / SENDER.name
SHIPPED = models.load(models.shipped(SENDER.name))
#: Mistakes of the cross-validation that leaves one author out, as scripts/retrain writes them into the model: partner InMail missed,
#: and wanted mail called promotional. These numbers may only go down. A new author whose mails raise them shows a gap in the
#: vocabulary: close it in general terms, or say in models/README.md why it stays open.
ACCEPTABLE_ERRORS = {"missed": 1, "false_positives": 0}
#: The share that the first corpus had: 93 of 96. It may only rise.
LEAST_RECALL = 0.9688


@cache
def examples() -> list[Example]:
    return read_corpus(CORPUS, SENDER)


def test_retraining_gives_the_shipped_file() -> None:
    model, _ = fit(examples(), Recipe(), SHIPPED.about)
    assert as_json(model) == models.shipped(SENDER.name).read_text(encoding="utf-8")
    assert SHIPPED.about["corpus_sha256"] == digest(CORPUS)


def test_the_plain_arithmetic_equals_scikit_learns(tmp_path: Path) -> None:
    model, classifier = fit(examples(), Recipe(), {})
    path = tmp_path / "model.json"
    path.write_text(as_json(model), encoding="utf-8")
    ours = models.load(path)
    rows = [variant for example in examples()[::3] for variant in example.variants]
    theirs = classifier.predict_proba(matrix_of(rows, model, sorted(model.weights)))
    plain = np.array([[ours.probabilities(ours.values(row))[name] for name in ours.categories] for row in rows])
    assert np.abs(plain - theirs).max() < 1e-9


def test_the_recorded_mistakes_only_become_fewer() -> None:
    figures = SHIPPED.about["cross_validation"]
    partner, wanted = figures["partner_inmail_recall"], figures["false_positives"]
    assert partner["of"] - partner["hits"] <= ACCEPTABLE_ERRORS["missed"]
    assert wanted["hits"] <= ACCEPTABLE_ERRORS["false_positives"]
    assert partner["hits"] / partner["of"] >= LEAST_RECALL


def test_the_recorded_mistakes_are_those_of_authors_unseen() -> None:
    """Leave one author out, once more: what the model says of itself is true."""
    recipe = Recipe()
    judged = cross_validate(examples(), recipe)
    above = [one.example for one in judged if one.promotional(SENDER) >= recipe.threshold]
    wrong = [one.path for one in above if not SENDER.categories[one.category].promotional]
    figures = SHIPPED.about["cross_validation"]
    assert len(wrong) == figures["false_positives"]["hits"], wrong
    assert sum(one.category == "partner_inmail" for one in above) == figures["partner_inmail_recall"]["hits"]


def test_the_model_file_is_small_and_rounded() -> None:
    text = models.shipped(SENDER.name).read_text(encoding="utf-8")
    assert len(text) < 2_000_000
    weights = json.loads(text)["weights"]
    assert all(round(weight, 4) == weight for row in weights.values() for weight in row)


def test_no_weight_belongs_to_a_name_or_a_number() -> None:
    """A word is a feature only when several authors use it, so invented names and firms drop out."""
    assert not [name for name in SHIPPED.weights if is_word(name) and any(c.isdigit() for c in name)]
