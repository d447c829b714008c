"""How long to wait for a server that is lost or busy."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
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
