"""How much a run may move: the numbers at which it stops."""

from __future__ import annotations

import pytest

from filters.limits import Limits


@pytest.mark.parametrize(
    ("found", "looked_at", "usual", "said"),
    [
        (20, 20, [], ""),  # the floor
        (21, 21, [], "20 %"),
        (21, 105, [], ""),
        (22, 109, [], "20 %"),
        (30, 10_000, [10, 10, 10], ""),
        (31, 10_000, [10, 10, 10], "3 times"),
        (31, 10_000, [10, 10], ""),  # two runs say nothing
        (400, 10_000, [1, 2, 1000], "3 times"),  # one flood makes no habit
        (400, 10_000, [1, 1000, 1000], ""),
        (31, 10_000, [1, 10, 11, 1000], "moved 10 or fewer"),  # of an even number the more careful one
        (600, 100_000, [], ""),
        (416, 100_000, [], ""),
        (1000, 2000, [], "20 %"),  # though only 500 of them would be moved
    ],
)
def test_the_brake(found: int, looked_at: int, usual: list[int], said: str) -> None:
    why = Limits().why_braked(found, looked_at, usual)
    assert said in why
    assert bool(said) == bool(why)
    assert Limits(brake=False).why_braked(found, looked_at, usual) == ""


def test_a_run_that_may_move_few_is_not_braked_for_what_it_leaves() -> None:
    assert Limits(max_moves=20).why_braked(1000, 1000, []) == ""
    assert Limits(max_moves=21).why_braked(1000, 1000, []) != ""


def test_a_run_moves_at_most_what_it_may() -> None:
    assert (Limits().first(500), Limits().first(501), Limits(max_moves=1).first(7)) == (500, 500, 1)
