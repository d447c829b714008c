"""How good a classifier is, on mail that it had not seen: counts, rates with intervals, ranking, calibration, and thresholds by cost.

Scores are P(positive), labels are known. "Positive" is what would be moved: a false positive is wanted mail that was called
promotional, a false negative is promotional mail that was missed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

#: Rates of false positives at which the share of missed mail is told.
FP_RATES = (0.001, 0.005)
#: Bins of the reliability table.
BINS = 10
#: Mails of each kind from which on a calibration is worth more than none: its two numbers need some to stand on.
CALIBRATION_FLOOR = 50
#: No threshold is lower or higher than this.
LEAST_THRESHOLD, GREATEST_THRESHOLD = 0.5, 0.995
#: The band of doubt begins where false positives would be so many times as many as wanted, and at one in a hundred at least.
_UNSURE_TIMES, _UNSURE_LEAST = 10, 0.01
_LEAST_UNSURE = 0.1
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Scored:
    """One labelled message, and what a model that had not seen it says of it."""

    id: str
    """Its place, for a person."""
    identity: str
    label: str
    positive: bool
    score: float
    fold: int = 0
    clues: tuple[str, ...] = ()
    """Of a mistake: the features that led to it, the strongest first."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of one threshold: right and wrong, positive and negative."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def precision(self) -> float:
        """Of what was called positive, the share that is; 1 when nothing was."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 1.0

    @property
    def recall(self) -> float:
        """Of what is positive, the share that was found; 1 when nothing is."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 1.0


@dataclass(frozen=True, slots=True)
class Bin:
    """One row of a reliability table: scores in [low, high), and what came true."""

    low: float
    high: float
    count: int
    mean_score: float
    share_positive: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where positive begins, where doubt begins, and how that was chosen, in one sentence."""

    value: float
    unsure: float
    why: str


@dataclass(frozen=True, slots=True)
class Measures:
    """Everything that is told of one set of scores at one threshold."""

    threshold: float
    confusion: Confusion
    auc: float
    """Area under the ROC curve; NaN where one of the two kinds is missing."""
    fn_at_fp: dict[float, float]
    """Of positive mail, the least share that must be missed so that at most this share of the rest is called positive."""
    brier: float
    reliability: tuple[Bin, ...] = field(repr=False)


def wilson(hits: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    share, spread = hits / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def measure(scored: Sequence[Scored], threshold: float) -> Measures:
    """All measures of these scores. Raises ValueError when there are none."""
    truth = np.array([one.positive for one in scored])
    scores = np.array([one.score for one in scored])
    both = bool(truth.any() and not truth.all())
    return Measures(
        threshold=threshold,
        confusion=confusion(scored, threshold),
        auc=float(roc_auc_score(truth, scores)) if both else math.nan,
        fn_at_fp={rate: _fn_at_fp(truth, scores, rate) for rate in FP_RATES} if both else {},
        brier=float(brier_score_loss(truth, scores, pos_label=True)),
        reliability=tuple(_reliability(truth, scores)),
    )


def confusion(scored: Sequence[Scored], threshold: float) -> Confusion:
    """Counts at a threshold; a score that equals it is positive."""
    tp = sum(one.positive and one.score >= threshold for one in scored)
    fp = sum(not one.positive and one.score >= threshold for one in scored)
    positive = sum(one.positive for one in scored)
    return Confusion(tp=tp, fp=fp, fn=positive - tp, tn=len(scored) - positive - fp)


def roc(scored: Sequence[Scored]) -> tuple[list[float], list[float]]:
    """The ROC curve: false-positive rates, and the true-positive rate at each."""
    rates = roc_curve([one.positive for one in scored], [one.score for one in scored], drop_intermediate=False)
    return rates[0].tolist(), rates[1].tolist()


def _fn_at_fp(truth: np.ndarray, scores: np.ndarray, rate: float) -> float:
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(1 - tpr[fpr <= rate].max())


def _reliability(truth: np.ndarray, scores: np.ndarray) -> list[Bin]:
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    found = []
    for number in range(BINS):
        inside = places == number
        count = int(inside.sum())
        mean, share = (float(scores[inside].mean()), float(truth[inside].mean())) if count else (math.nan, math.nan)
        found.append(Bin(number / BINS, (number + 1) / BINS, count, mean, share))
    return found


def calibration(scored: Sequence[Scored]) -> tuple[float, float]:
    """Slope and offset by which the log-odds of a score become those of a probability that comes true as often as it says.

    Platt (1999), with his smoothed targets; (1, 0), which changes nothing, while there is too little mail of either kind.
    """
    positive = sum(one.positive for one in scored)
    negative = len(scored) - positive
    if min(positive, negative) < CALIBRATION_FLOOR:
        return 1.0, 0.0
    odds = np.array([[log_odds(one.score)] for one in scored])
    truth = np.array([one.positive for one in scored])
    targets = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2))
    fitted = LogisticRegression(C=1e3, tol=1e-8, max_iter=1000).fit(
        np.vstack([odds, odds]),
        np.repeat([1, 0], len(scored)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return (round(slope, 4), round(offset, 4)) if slope > 0 else (1.0, 0.0)


def log_odds(score: float) -> float:
    """The log-odds of a probability, kept away from infinity."""
    bounded = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(bounded / (1 - bounded))


def choose_threshold(scored: Sequence[Scored], target: float, least_of_few: float = LEAST_THRESHOLD) -> Threshold:
    """The lowest threshold at which at most the share `target` of wanted mail would be called promotional.

    Where there is too little wanted mail to show such a rate, not one of it may be, and the threshold is `least_of_few` at least;
    the sentence says what can be shown.
    """
    wanted = sorted((one.score for one in scored if not one.positive), reverse=True)
    allowed = math.floor(target * len(wanted))
    value = _above(wanted, allowed, LEAST_THRESHOLD if allowed else least_of_few)
    wrong = sum(score >= value for score in wanted)
    doubtful = max(target * _UNSURE_TIMES, _UNSURE_LEAST)
    unsure = min(_above(wanted, math.floor(doubtful * len(wanted)), _LEAST_UNSURE), value)
    why = f"{wrong} of {len(wanted):,} wanted mails, held out, would be called promotional ({target:.2%} are allowed)"
    if wrong > allowed:
        why += f"; no threshold up to {GREATEST_THRESHOLD} keeps to that"
    elif not allowed:
        why += f"; so few mails cannot show such a rate, only one below {wilson(0, len(wanted))[1]:.2%} (95 %)"
    return Threshold(value, unsure, why)


def _above(scores: Sequence[float], allowed: int, least: float) -> float:
    """The lowest round threshold that at most `allowed` of the scores (highest first) reach, within bounds."""
    if allowed >= len(scores):
        return least
    return min(max(math.floor(scores[allowed] * 1000 + 1) / 1000, least), GREATEST_THRESHOLD)
