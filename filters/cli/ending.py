"""SIGTERM: the batch under way is finished first, so that nothing is left half done; anywhere else, and at the second one, we end at
once, which is safe as well."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGTERM_CODE = 143


class _Ending:
    """There is one process and one SIGTERM, and so one of these."""

    def __init__(self) -> None:
        self._holding = self._asked = False

    def obey(self, asked_by: signal.Signals = signal.SIGTERM) -> None:
        """Let the signal come to us."""
        signal.signal(asked_by, self._terminated)

    def _terminated(self, _signal: int, _frame: FrameType | None) -> None:
        if self._asked or not self._holding:
            raise SystemExit(SIGTERM_CODE)
        self._asked = True

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Around what is better finished; who was asked to end meanwhile ends after it."""
        if self._asked:
            raise SystemExit(SIGTERM_CODE)
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._asked:
            raise SystemExit(SIGTERM_CODE)

    def pause(self, seconds: float) -> None:
        """Sleep; being asked to end, also before, ends it."""
        holding, self._holding = self._holding, False
        try:
            if self._asked:
                raise SystemExit(SIGTERM_CODE)
            time.sleep(seconds)
        finally:
            self._holding = holding


ENDING = _Ending()
