"""How much one run may move before somebody is asked: pure, from counts and from what earlier runs moved.

A limit is for the day on which the judging goes wrong, a mailbox is taken for another one, or a sender floods the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Moves of one run, unless somebody says otherwise.
MAX_MOVES = 500
#: Days of which runs count as usual.
DAYS = 30
#: A run that moves so few is never braked: such a list can be read on one screen, and a small mailbox or a quiet month would
#: otherwise stop each run (a share of 20 % is 2 mails of 10, three times the usual is 3 of 1).
_FLOOR = 20
_TIMES = 3
_PERCENT = 20
#: Runs that it takes to say what is usual.
RUNS = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """What a person allows a run."""

    max_moves: int = MAX_MOVES
    brake: bool = True

    def first(self, found: int) -> int:
        """How many of those found this run may move."""
        return min(found, self.max_moves)

    def why_braked(self, found: int, looked_at: int, usual: Sequence[int]) -> str:
        """Why nobody should move so many unasked, in words; "" for nothing.

        `found`: messages to move, `looked_at`: messages of any sender in the folder, `usual`: what each of the account's runs of
        the last `DAYS` days moved that moved something.
        """
        if not self.brake or self.first(found) <= _FLOOR:
            return ""
        middle = sorted(usual)[(len(usual) - 1) // 2] if len(usual) >= RUNS else 0
        if middle and found > _TIMES * middle:
            return (
                f"{found:,} to move is more than {_TIMES} times the usual: half of the {len(usual)} runs of the last {DAYS} days"
                f" that moved something moved {middle:,} or fewer."
            )
        if found * 100 > looked_at * _PERCENT:
            return f"{found:,} to move of {looked_at:,} messages looked at is more than {_PERCENT} %."
        return ""


def why_stopped(moved: int, usual: float, accounts: int) -> str:
    """Why no more accounts of a fleet should be begun, in words; "" for nothing.

    `moved`: what was moved in those `accounts` that have runs of the last `DAYS` days to go by; `usual`: what a run moves there, on average,
    all of them together.
    """
    if accounts < _FLOOR or moved <= max(_FLOOR, _TIMES * usual):
        return ""
    return f"{moved:,} moved in {accounts:,} accounts is more than {_TIMES} times the usual there ({usual:,.0f})."
