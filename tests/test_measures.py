"""Measures: the numbers are the textbook's, and thresholds keep to what was asked or say that they cannot."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.measures import (
    LEAST_THRESHOLD,
    Scored,
    calibration,
    choose_threshold,
    confusion,
    log_odds,
    measure,
    roc,
    wilson,
)


def scored(positive: list[float], negative: list[float]) -> list[Scored]:
    rows = [(True, score) for score in positive] + [(False, score) for score in negative]
    return [Scored(str(number), "", "", truth, score) for number, (truth, score) in enumerate(rows)]


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)]
)
def test_wilson_intervals(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_counts_and_rates() -> None:
    found = measure(scored([0.9, 0.8, 0.3], [0.1, 0.2, 0.6, 0.05]), 0.5)
    counts = found.confusion
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (2, 1, 1, 3)
    assert (counts.precision, counts.recall) == (2 / 3, 2 / 3)
    assert found.auc == pytest.approx(11 / 12)
    assert found.fn_at_fp == {0.001: pytest.approx(1 / 3), 0.005: pytest.approx(1 / 3)}
    assert found.brier == pytest.approx((0.01 + 0.04 + 0.49 + 0.01 + 0.04 + 0.36 + 0.0025) / 7)
    assert sum(row.count for row in found.reliability) == 7
    assert [row.share_positive for row in found.reliability if row.count] == [0, 0, 0, 1, 0, 1, 1]


def test_equal_scores_cannot_be_parted_by_a_threshold() -> None:
    """All of one score are called positive, or none: no partial credit for luck in the order."""
    assert measure(scored([0.7, 0.7], [0.7, 0.1]), 0.5).fn_at_fp[0.001] == 1.0


def test_one_kind_alone_has_no_ranking() -> None:
    found = measure(scored([0.9], []), 0.5)
    assert math.isnan(found.auc)
    assert found.fn_at_fp == {}


def test_the_curve_begins_and_ends_in_the_corners() -> None:
    fpr, tpr = roc(scored([0.9, 0.4], [0.5, 0.1]))
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert fpr == sorted(fpr)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.sampled_from([0.001, 0.05, 0.2]),
)
def test_a_threshold_keeps_to_its_target_or_says_that_none_does(
    positive: list[float], negative: list[float], target: float
) -> None:
    rows = scored(positive, negative)
    chosen = choose_threshold(rows, target)
    wrong = confusion(rows, chosen.value).fp
    assert wrong <= target * len(negative) or "keeps to that" in chosen.why
    assert 0 < chosen.unsure <= chosen.value <= 1
    assert chosen.value >= LEAST_THRESHOLD
    assert chosen.why.startswith(f"{wrong} of {len(negative)} wanted")


def test_few_mails_cannot_show_a_small_rate() -> None:
    chosen = choose_threshold(scored([0.9] * 9, [0.1] * 40), 0.001, least_of_few=0.65)
    assert chosen.value == 0.65
    assert "only one below 8.76% (95 %)" in chosen.why


def test_calibration_undoes_exaggeration() -> None:
    """Of mail scored 0.99, nine in ten are positive: the calibrated score says 0.9."""
    rows = scored([0.99] * 900 + [0.01] * 100, [0.99] * 100 + [0.01] * 900)
    slope, offset = calibration(rows)
    assert 1 / (1 + math.exp(-(slope * log_odds(0.99) + offset))) == pytest.approx(0.9, abs=0.01)
    assert calibration(rows[:40]) == (1.0, 0.0)


def test_calibration_never_turns_scores_round() -> None:
    assert calibration(scored([0.1] * 60, [0.9] * 60)) == (1.0, 0.0)
