"""The model file and its arithmetic."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from filters.errors import InputError
from filters.features import Features
from filters.model import WORDS_SCALE, Model, load, load_for
from filters.train import as_json

GOOD: dict[str, Any] = {
    "schema": 3,
    "about": {},
    "threshold": 0.8,
    "unsure": 0.3,
    "categories": ["ad", "note"],
    "bias": [0.0, 0.0],
    "features": ["sign", "buy", "hello"],
    "weights": {"ad": [2.0, 1.0, -1.0], "note": [0.0, -1.0, 1.0]},
}


def write(path: Path, data: object) -> Path:
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_probabilities_are_a_softmax_of_the_weighted_features(tmp_path: Path) -> None:
    model = load(write(tmp_path / "m.json", GOOD))
    chances = model.probabilities(model.values(Features({"sign": "", "unknown": ""}, frozenset({"buy", "never"}))))
    assert chances["ad"] == pytest.approx(1 / (1 + 2.718281828459045 ** -(2 + 2 * WORDS_SCALE)))
    assert sum(chances.values()) == pytest.approx(1)


def test_contributions_add_up_to_the_log_odds_of_two_categories(tmp_path: Path) -> None:
    model = load(write(tmp_path / "m.json", GOOD))
    features = Features({"sign": "here"}, frozenset({"buy", "hello"}))
    values = model.values(features)
    clues = model.contributions(values, ["ad"], model.probabilities(values))
    assert sum(weight for _, weight in clues) == pytest.approx(2.0, abs=1e-3)
    assert {name for name, _ in clues} == {"sign", "buy", "hello"}


def test_of_two_categories_the_file_needs_the_weights_of_the_second_alone(tmp_path: Path) -> None:
    short = load(write(tmp_path / "m.json", GOOD | {"weights": {"note": [0.0, -1.0, 1.5]}}))
    assert short.weights == {"sign": (0.0, 0.0), "buy": (1.0, -1.0), "hello": (-1.5, 1.5)}
    again = tmp_path / "again.json"
    again.write_text(as_json(short), encoding="utf-8")
    assert '"note"' in again.read_text() and '"ad": [' not in again.read_text()
    assert load(again).weights == short.weights


@pytest.mark.parametrize("category", ["ad", "other"])
def test_the_weights_of_another_category_alone_are_none(tmp_path: Path, category: str) -> None:
    with pytest.raises(InputError, match="categories or its weights are none"):
        load(write(tmp_path / "m.json", GOOD | {"weights": {category: [0.0, -1.0, 1.5]}}))


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": NaN}',
        "[" * 100_000,
        b"\x80\x04\x95".decode("latin-1"),
        GOOD | {"schema": 2},
        GOOD | {"general": True},
        GOOD | {"features": ["sign", "buy"]},
        GOOD | {"features": ["sign", "buy", "buy"]},
        GOOD | {"features": ["sign", "buy", 7]},
        GOOD | {"features": ["sign", "buy", ["hello"]]},
        GOOD | {"features": "sbh"},
        GOOD | {"features": {"sign": 0, "buy": 0, "hello": 0}},
        GOOD | {"weights": {"ad": ["1", "2", "3"], "note": [0, 0, 0]}},
        GOOD | {"weights": {"ad": "123", "note": [0, 0, 0]}},
        GOOD | {"weights": {"ad": [True, 1, 1], "note": [0, 0, 0]}},
        GOOD | {"weights": {"note": [True, 1, 1]}},
        GOOD | {"weights": {"note": ["1", 1, 1]}},
        GOOD | {"weights": {"ad": [None, 1, 1], "note": [0, 0, 0]}},
        GOOD | {"weights": {"ad": [[1], [1], [1]], "note": [0, 0, 0]}},
        GOOD | {"weights": {"ad": [10**400, 0, 0], "note": [0, 0, 0]}},
        GOOD | {"features": [*map(str, range(200_001))], "weights": {"ad": [0] * 200_001, "note": [0] * 200_001}},
        GOOD | {"about": {"a": [[[[[[1]]]]]]}},
        GOOD | {"categories": ["ad", "ad"]},
        GOOD | {"categories": ["ad", ["note"]]},
        GOOD | {"categories": ["note", "ad"]},
        GOOD | {"categories": [], "bias": [], "features": [], "weights": {}},
        GOOD | {"bias": [0.0]},
        GOOD | {"weights": {"ad": [0, 0, 0], "note": [0, 0]}},
        GOOD | {"weights": {"ad": [0, 0, 0]}},
        GOOD | {"weights": {"ad": [1e999, 0, 0], "note": [0, 0, 0]}},
        GOOD | {"weights": []},
        GOOD | {"threshold": 0.2},
        pickle.dumps(GOOD, protocol=0).decode("ascii"),
        "cos\nsystem\n(S'exit 1'\ntR.",
        json.dumps(GOOD)[:-40],
        json.dumps(GOOD | {"weights": {"ad": [math.inf, 0, 0], "note": [0, 0, 0]}}),
        GOOD | {"threshold": float("nan")},
        json.dumps(GOOD | {"bias": [0.0] * 4_000_000}),
        " " * 17_000_000,
        {key: value for key, value in GOOD.items() if key != "about"},
    ],
    ids=lambda data: repr(data)[:30],
)
def test_m1_a_damaged_model_is_a_clear_error(tmp_path: Path, data: object) -> None:
    path = tmp_path / "m.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match="is no model file"):
        load(path)


def test_a_general_model_of_before_its_views_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    for schema in (2, 3):
        with pytest.raises(
            InputError, match=r"looks at mail otherwise\. Train .* again\. .*unpitch models --use shipped"
        ):
            load(write(tmp_path / f"{schema}.json", GOOD | {"general": True, "schema": schema}))
    assert load(write(tmp_path / "new.json", GOOD | {"general": True, "schema": 4})).general


def test_a_model_of_other_mail_judges_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "m.json", GOOD)
    assert load_for(path, {"ad", "note", "more"}) == load(path)
    with pytest.raises(InputError, match="tells apart other mail: it knows of note"):
        load_for(path, {"ad"})


def test_m1_a_model_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.json", GOOD)
    path.chmod(0o666)
    with pytest.raises(InputError, match="can be written by anybody"):
        load(path)
    path.chmod(0o664)
    assert load(path).threshold == 0.8


def test_a_missing_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no model file"):
        load(tmp_path / "none.json")


def test_calibration_corrects_the_promotional_share_and_nothing_else() -> None:
    model = Model(("a", "b", "c"), (0.0, 0.0, 0.0), {}, 0.65, 0.3, "", {}, slope=0.5, offset=1.0)
    chances = model.calibrated({"a": 0.6, "b": 0.3, "c": 0.1}, {"a", "b"})
    share = chances["a"] + chances["b"]
    assert math.log(share / (1 - share)) == pytest.approx(0.5 * math.log(0.9 / 0.1) + 1.0)
    assert chances["a"] == pytest.approx(2 * chances["b"])
    assert sum(chances.values()) == pytest.approx(1)


def test_without_calibration_nothing_changes() -> None:
    chances = {"a": 0.0, "b": 1.0}
    assert Model(("a", "b"), (0.0, 0.0), {}, 0.65, 0.3, "", {}, slope=2.0).calibrated(chances, {"a"}) == chances
    assert Model(("a", "b"), (0.0, 0.0), {}, 0.65, 0.3, "", {}).calibrated(chances, {"a"}) is chances


@pytest.mark.parametrize("pair", [[0, 0], [-1, 0], [1, 1000], ["a", 0], [1], "x"])
def test_a_calibration_that_is_none_is_refused(tmp_path: Path, pair: object) -> None:
    with pytest.raises(InputError):
        load(write(tmp_path / "model.json", GOOD | {"calibration": pair}))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"schema": 3', '"schema": 2', "another version"),
        ('"threshold": ', '"threshold": 7', "threshold"),
        ('"threshold": ', '"threshold": NaN, "x": ', "holds NaN, which is no number"),
        ('"ad": [2.0', '"ad": [2.0, 1', "not as many as its features"),
        ('"weights": {', '"weights": {"a": [1],', "categories or its weights are none"),
        ('"buy"', '"sign"', "a feature is in it twice"),
        ('"weights": {', "", "cut off, or no JSON"),
        ('"about"', '"nothing"', "missing, or of the wrong kind"),
    ],
)
def test_what_is_wrong_with_a_model_file_is_said(tmp_path: Path, before: str, after: str, words: str) -> None:
    path = write(tmp_path / "m.json", json.dumps(GOOD).replace(before, after, 1))
    with pytest.raises(InputError, match=words):
        load(path)
