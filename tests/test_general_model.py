"""Models of any mail: two labels, tokens, one pass over examples that need not fit into memory, the same bytes each time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hostile
import numpy as np
import pytest

from filters import model as models
from filters import senders
from filters.errors import InputError
from filters.features import Features, is_pair, view_of
from filters.judge import judge
from filters.message import parse
from filters.model import SCHEMA, WORDS_SCALE, Model
from filters.safe_text import safe_text
from filters.train import GENERAL, Example, Recipe, as_json, features_of, fit, matrix_of

SENDER = senders.load()
OFFERS = ["free", "winner", "prize", "offer", "money", "buy", "cheap", "pills"]
NEWS = ["meeting", "lunch", "patch", "kernel", "review", "report", "garden", "holiday"]


def mail(number: int) -> tuple[str, bytes]:
    """An odd number is an offer, an even one a letter; some share words."""
    chance = random.Random(number)
    offer = number % 2 == 1
    words = chance.choices(OFFERS if offer else NEWS, k=12) + chance.choices(OFFERS + NEWS, k=3)
    mailer = "X-Mailer: Sendomat 3.1" if offer else "User-Agent: Mutt/1.5"
    raw = hostile.with_header(mailer, f"X-Spam-Status: {'Yes' if offer else 'No'}")
    return "spam" if offer else "ham", raw + " ".join(words).encode()


def examples(count: int = 120) -> Iterator[Example]:
    for number in range(count):
        label, raw = mail(number)
        yield Example(str(number), label, str(number), (features_of(raw, SENDER, general=True),))


@pytest.fixture(scope="module")
def model() -> Model:
    return fit(examples(), GENERAL, {})[0]


def test_unseen_mail_is_told_apart(model: Model) -> None:
    for number in range(1_000, 1_040):
        label, raw = mail(number)
        chances = model.probabilities(model.values(features_of(raw, SENDER, general=True)))
        assert max(chances, key=lambda name: chances[name]) == label


def test_two_labels_are_two_categories_with_opposite_weights(model: Model) -> None:
    assert model.categories == ("ham", "spam")
    assert all(row[0] == -row[1] for row in model.weights.values())
    assert model.weights["head:x-mailer sendomat"][1] > 0 > model.weights["head:user-agent mutt"][1]
    assert not [name for name in model.weights if "spam" in name]


def test_the_same_examples_give_the_same_bytes(model: Model) -> None:
    assert as_json(fit(list(examples()), GENERAL, {})[0]) == as_json(model)


def test_the_file_says_that_the_model_is_general_and_keeps_every_name(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(as_json(model), encoding="utf-8")
    loaded = models.load(path)
    assert loaded.general
    assert loaded.weights == model.weights
    assert all(safe_text(name) == name for name in model.weights)
    data = json.loads(path.read_text(encoding="utf-8"))
    del data["general"]
    data["schema"] = SCHEMA
    path.write_text(json.dumps(data), encoding="utf-8")
    models.load.cache_clear()
    assert not models.load(path).general


def test_the_plain_arithmetic_equals_scikit_learns() -> None:
    model, classifier = fit(examples(), GENERAL, {})
    rows = [example.variants[0] for example in examples(40)]
    theirs = classifier.predict_proba(matrix_of(rows, model, sorted(model.weights)))
    plain = np.array([[model.probabilities(model.values(row))[name] for name in model.categories] for row in rows])
    assert np.abs(plain - theirs).max() < 1e-9


def test_each_view_of_a_mail_has_a_block_of_its_own(model: Model) -> None:
    features = features_of(mail(1_001)[1], SENDER, general=True)
    values = {name: value for name, value in model.values(features).items() if name not in features.named}
    for view in range(3):
        assert sum(values[name] ** 2 for name in values if view_of(name) == view) == pytest.approx(WORDS_SCALE**2)


def test_pairs_with_a_word_between_are_for_general_models_alone() -> None:
    plain, general = (features_of(mail(1)[1], SENDER, general=general) for general in (False, True))
    assert plain.words == general.words
    assert [name for name in general.tokens if is_pair(name)]
    assert not [name for name in plain.crowd if " … " in name]


def test_a_view_that_counts_nothing_has_no_weight() -> None:
    model, _ = fit(examples(), replace(GENERAL, views=(1.0, 0.0, 0.5)), {})
    assert all(row == (0.0, 0.0) for name, row in model.weights.items() if is_pair(name))
    assert any(row[0] for name, row in model.weights.items() if name.startswith("run:"))


def test_mail_that_shares_nothing_is_a_clear_error() -> None:
    nothing = (Example("", label, "", (Features({}, frozenset()),)) for label in ("ham", "spam"))
    with pytest.raises(InputError, match="nothing in common"):
        fit(nothing, GENERAL, {})


def test_a_general_model_has_no_more_features_than_allowed() -> None:
    small, _ = fit(examples(), replace(GENERAL, most_features=20), {})
    assert len(small.weights) == 20


def test_a_verdict_quotes_tokens_as_evidence() -> None:
    def labelled() -> Iterator[Example]:
        for example in examples():
            category = "partner_inmail" if example.category == "spam" else "other"
            yield Example(example.path, category, example.author, example.variants)

    model, _ = fit(labelled(), GENERAL, {})
    verdict = judge(parse(mail(1)[1]), SENDER, model, ())
    assert verdict.promotional
    clues = {clue.feature: clue.quote for clue in verdict.evidence}
    tokens = {name: quote for name, quote in clues.items() if name.startswith(("head:", "has:", "order:"))}
    assert tokens
    assert all(name.endswith(quote) for name, quote in tokens.items())


def test_what_a_model_will_not_read_in_mail_it_does_not_learn() -> None:
    """A model that is not general never sees tokens when it judges; with weights for them it would be another than was measured."""
    words, tokens = (frozenset({"alpha"}), frozenset({"beta"})), (frozenset({"has:x"}), frozenset({"has:y"}))
    found = [
        Example(str(at), "ab"[at % 2], str(at), (Features({}, words[at % 2], tokens[at % 2]),)) for at in range(10)
    ]
    assert set(fit(found, Recipe(), {})[0].weights) == {"alpha", "beta"}
    assert set(fit(found, GENERAL, {})[0].weights) == {"alpha", "beta", "has:x", "has:y"}
