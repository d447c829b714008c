"""How long to wait for a server that is lost or busy, and how to wait for new mail."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How to wait for a server that is lost or busy: `attempts` in a row, after pauses at random that begin with up to `first`
    seconds, double, and end with up to `longest` (so that many clients do not come back all at once). A pause that the server
    names is kept up to `named` seconds; asked for more, we give up. `quiet` is how many seconds a folder must stand still before what
    broke off is sent again: the server may be at it still. `tell` gets a line about each pause."""

    attempts: int = 6
    first: float = 1.0
    longest: float = 60.0
    named: float = 600.0
    quiet: float = 5.0
    tell: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], None] = time.sleep

    def pause(self, attempt: int, longest: float) -> float:
        """Seconds at random before the attempt after the given one, which counts from 1."""
        return random.uniform(0, min(longest, self.first * 2 ** (attempt - 1)))  # noqa: S311  (no secret)


#: Seconds by which the clock on the wall may run ahead of the one that stands still while the machine sleeps.
_JUMP = 30.0


@dataclass(frozen=True, slots=True)
class Vigil:
    """How to wait for new mail. `turn` is how many seconds one wait lasts (IDLE is begun again before 10 minutes are over: routers and
    servers forget quiet connections long before the 29 minutes of RFC 2177), `poll` how many where the server tells nothing by
    itself. In between `alive` is called, every `step` seconds at the latest."""

    turn: float = 540.0
    poll: float = 120.0
    step: float = 15.0
    alive: Callable[[], object] = int
    sleep: Callable[[float], None] = time.sleep

    def steps(self, seconds: float, step: float = 0.0) -> Iterator[float]:
        """A wait in pieces. It is over at once when the machine was asleep meanwhile: then connections are to be looked at."""
        end, ahead = time.monotonic() + seconds, _ahead()
        while (left := end - time.monotonic()) > 0 and abs(_ahead() - ahead) < _JUMP:
            self.alive()
            yield min(left, step or self.step)

    def pause(self, seconds: float) -> None:
        """Sleep so long, or until the machine was asleep."""
        for step in self.steps(seconds):
            self.sleep(step)


def _ahead() -> float:
    return time.time() - time.monotonic()
