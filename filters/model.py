"""The model: weights as JSON, probabilities and contributions by plain arithmetic; scikit-learn is for training only."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from operator import mul
from pathlib import Path
from typing import Any

from filters.errors import InputError
from filters.features import Features, view_of

#: The version of a model file. That of general models rises when what they see in a mail changes, too: weights that were found for
#: something else would judge at random. 2: three views of a mail. 3 and 4: weights by category, which load in half the time.
SCHEMA, GENERAL_SCHEMA = 3, 4
#: A model file of ours has 2 MB and 45,000 features, with weights below 100; anything much larger is not one.
_FILE_CAP = 16 * 1024 * 1024
_FEATURES_CAP = 200_000
_WEIGHT_CAP = 1e6
_CARD_DEPTH = 6
#: A calibration beyond these is none.
_SLOPE_CAP = 100.0
#: Length of a block of words or tokens against one named feature of length 1.
WORDS_SCALE = 3.0


@dataclass(frozen=True, slots=True)
class Model:
    """Multinomial logistic regression: `weights[feature][i]` and `bias[i]` belong to `categories[i]`.

    `threshold`: P(promotional) from which a mail counts as promotional. `unsure`: where the band of doubt below it begins.
    """

    categories: tuple[str, ...]
    bias: tuple[float, ...]
    weights: dict[str, tuple[float, ...]]
    threshold: float
    unsure: float
    sha256: str
    about: dict[str, Any]
    slope: float = 1.0
    """These two make P(promotional) come true as often as it says (`calibrated`)."""
    offset: float = 0.0
    general: bool = False
    """Whether it knows the tokens of any mail (`filters.tokens`), so that judging has to read them."""

    def values(self, features: Features) -> dict[str, float]:
        """Feature vector: 1 for each named feature; the known words and tokens share a block of length `WORDS_SCALE`. In a general
        model, each view of the mail (`view_of`) has a block of its own."""
        values = {feature: 1.0 for feature in features.named if feature in self.weights}
        blocks: dict[int, list[str]] = {}
        for name in sorted(features.crowd & self.weights.keys()):
            blocks.setdefault(view_of(name) if self.general else 0, []).append(name)
        for block in blocks.values():
            values |= dict.fromkeys(block, WORDS_SCALE / math.sqrt(len(block)))
        return values

    def probabilities(self, values: dict[str, float]) -> dict[str, float]:
        """P(category), summing to 1, of a feature vector."""
        rows: dict[float, list[tuple[float, ...]]] = {}
        for feature, value in values.items():  # words share one value: adding rows up first is ten times as fast
            rows.setdefault(value, []).append(self.weights[feature])
        scores = list(self.bias)
        for value, group in rows.items():
            scores = [
                score + value * total for score, total in zip(scores, map(sum, zip(*group, strict=True)), strict=True)
            ]
        top = max(scores)
        powers = [math.exp(score - top) for score in scores]
        total = sum(powers)
        return dict(zip(self.categories, (power / total for power in powers), strict=True))

    def calibrated(self, probabilities: dict[str, float], positive: Collection[str]) -> dict[str, float]:
        """The same with the log-odds of `positive` against the rest corrected; within both groups, shares stay as they are."""
        share = sum(probabilities[name] for name in probabilities if name in positive)
        if (self.slope, self.offset) == (1.0, 0.0) or not 0.0 < share < 1.0:
            return probabilities
        true = 1.0 / (1.0 + math.exp(-self.offset) * ((1.0 - share) / share) ** self.slope)
        inside, outside = true / share, (1.0 - true) / (1.0 - share)
        return {name: chance * (inside if name in positive else outside) for name, chance in probabilities.items()}

    def contributions(
        self, values: dict[str, float], chosen: Iterable[str], probabilities: dict[str, float]
    ) -> list[tuple[str, float]]:
        """What each feature adds to the log-odds of `chosen` against the rest.

        Within both groups, categories count by their probability: what separates the verdict from its nearest rivals.
        """
        shares = _shares(self.categories, probabilities, frozenset(chosen))
        return [(name, value * sum(map(mul, shares, self.weights[name]))) for name, value in values.items()]


def _shares(categories: tuple[str, ...], probabilities: dict[str, float], inside: frozenset[str]) -> list[float]:
    totals = {True: 1e-12, False: 1e-12}
    for category in categories:
        totals[category in inside] += probabilities[category] + 1e-12
    return [
        (1 if category in inside else -1) * (probabilities[category] + 1e-12) / totals[category in inside]
        for category in categories
    ]


@cache
def load(path: Path) -> Model:
    """Read a model file. Raises InputError when it is none (wrong schema, wrong lengths, NaN, too large), or when anybody on this
    machine may write it (M1)."""
    try:
        status = path.stat()
        if status.st_mode & stat.S_IWOTH:
            raise InputError(
                f"{path} can be written by anybody, so nobody knows who wrote it; take that right away (chmod o-w)"
            )
        if status.st_size > _FILE_CAP:
            raise _FaultError(f"it is larger than {_FILE_CAP >> 20} MB")
        raw = path.read_bytes()
        with _no_collection():
            return _check(json.loads(raw, parse_constant=_no_constant), hashlib.sha256(raw).hexdigest())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        again = "To go on without it: unpitch models --use shipped"
        raise InputError(f"{path} is no model file: {_why(error)}. Train or install it again. {again}") from error


@contextmanager
def _no_collection() -> Iterator[None]:
    """All that is made within this is kept: to look for garbage in it would take an eighth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def load_for(path: Path, categories: Collection[str]) -> Model:
    """The same for judging the mail of a sender with these categories. Raises InputError also when the model knows others."""
    model = load(path)
    if strange := set(model.categories) - set(categories):
        raise InputError(
            f"{path} tells apart other mail: it knows of {', '.join(sorted(strange))}. Use another: unpitch models --use shipped"
        )
    return model


def _why(error: Exception) -> str:
    """A clause for a person; the texts of other people's errors may hold anything."""
    if isinstance(error, OSError):
        return (error.strerror or "unknown error").lower()
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return "it is cut off, or no JSON"
    return str(error) if type(error) is _FaultError else "something in it is missing, or of the wrong kind"


class _FaultError(ValueError):
    """What is wrong, as a clause."""


def _no_constant(name: str) -> float:
    raise _FaultError(f"it holds {name}, which is no number")


def _check(data: dict[str, Any], sha256: str) -> Model:
    general = data.get("general", False) is True
    if data["schema"] != (GENERAL_SCHEMA if general else SCHEMA):
        raise _FaultError("it was trained by another version of unpitch, which looks at mail otherwise")
    categories, bias, features, columns = tuple(data["categories"]), data["bias"], data["features"], data["weights"]
    # of two categories, what speaks for the second speaks as much against the first, which is left out
    halved = type(columns) is dict and len(categories) == 2 and tuple(columns) == categories[1:]
    if not categories or type(columns) is not dict or not (halved or tuple(columns) == categories):
        raise _FaultError("its categories or its weights are none")
    if type(features) is not list or not set(map(type, features)) <= {str}:
        raise _FaultError("its features are none")
    if len(features) > _FEATURES_CAP:
        raise _FaultError(f"it has more than {_FEATURES_CAP:,} features")
    _check_numbers([bias], len(categories))
    _check_numbers(columns.values(), len(features))
    if halved:
        columns = {categories[0]: [-weight for weight in columns[categories[1]]]} | columns
    weights = dict(zip(features, zip(*columns.values(), strict=True), strict=True))
    if len(weights) != len(features):
        raise _FaultError("a feature is in it twice")
    threshold, unsure = float(data["threshold"]), float(data["unsure"])
    if not 0 < unsure <= threshold <= 1:
        raise _FaultError("its threshold is none")
    slope, offset = (float(number) for number in data.get("calibration", (1.0, 0.0)))
    if not (0 < slope < _SLOPE_CAP and abs(offset) < _SLOPE_CAP):
        raise _FaultError("its calibration is none")
    about = dict(data["about"])
    if not _is_shallow(about, _CARD_DEPTH):
        raise _FaultError("what it says of itself is nested too deep")
    return Model(categories, tuple(bias), weights, threshold, unsure, sha256, about, slope, offset, general)


def _is_shallow(value: object, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inside)


def _check_numbers(columns: Iterable[list[float]], length: int) -> None:
    """Column by column: there are many numbers, and a model is loaded for every message that is judged at delivery."""
    for column in columns:
        if type(column) is not list or len(column) != length or not set(map(type, column)) <= {int, float}:
            raise _FaultError("its weights are not as many as its features and categories, or no numbers")
        if column and not (min(column) > -_WEIGHT_CAP and max(column) < _WEIGHT_CAP):
            raise _FaultError("its weights are beyond reason")


def shipped(name: str) -> Path:
    """The model for one sender that comes with unpitch: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).parent
    inside = here / "models" / f"{name}.json"
    return inside if inside.exists() else here.parent / "models" / f"{name}.json"


def corpus_folder() -> Path:
    """The corpus that comes with unpitch, likewise."""
    here = Path(__file__).parent
    return here / "corpus" if (here / "corpus").is_dir() else here.parent / "corpus"
