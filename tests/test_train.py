"""Training: reproducible, equal to scikit-learn, and good enough on authors that the model has not seen."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

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


@cache
def fitted() -> tuple[models.Model, LogisticRegression]:
    return fit(examples(), Recipe(), SHIPPED.about)


def test_retraining_gives_the_shipped_file() -> None:
    model, _ = fitted()
    assert as_json(model) == models.shipped(SENDER.name).read_text(encoding="utf-8")
    assert SHIPPED.about["corpus_sha256"] == digest(CORPUS)


def test_the_plain_arithmetic_equals_scikit_learns(tmp_path: Path) -> None:
    model, classifier = fitted()
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
    """Leave one author out, once more, for each with a mail in the report's lists: they hold these mails of theirs and no others, with
    the same chances. `scripts/retrain --check`, a step of a release, leaves out all thirteen."""
    recipe = Recipe()
    report = (ROOT / "models" / "REPORT.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\* (\w+/(\S+)\.eml): ([\d.]+), looks like (\w+)$", report, re.MULTILINE)
    judged = cross_validate(examples(), recipe, {name.split("-")[2] for _, name, *_ in listed})
    found = {
        (one.example.path, f"{chance:.3f}", one.category)
        for one in judged
        for chance in [one.promotional(SENDER)]
        if (chance < recipe.threshold if one.example.category == "partner_inmail" else chance >= recipe.unsure)
        and one.example.category != "linkedin_marketing"
    }
    assert found == {(path, chance, category) for path, _, chance, category in listed}
    figures = SHIPPED.about["cross_validation"]
    missed = [path for path, *_ in listed if path.startswith("partner_inmail/")]
    assert len(missed) == figures["partner_inmail_recall"]["of"] - figures["partner_inmail_recall"]["hits"]
    assert judged


def test_the_model_file_is_small_and_rounded() -> None:
    text = models.shipped(SENDER.name).read_text(encoding="utf-8")
    assert len(text) < 2_000_000
    weights = json.loads(text)["weights"]
    assert all(round(weight, 4) == weight for column in weights.values() for weight in column)


def test_no_weight_belongs_to_a_name_or_a_number() -> None:
    """A word is a feature only when several authors use it, so invented names and firms drop out."""
    assert not [name for name in SHIPPED.weights if is_word(name) and any(c.isdigit() for c in name)]
