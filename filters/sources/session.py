"""One IMAP connection that is made again when it breaks while reading, and the folder that is open on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from filters.errors import ServerError
from filters.sources.guarded import GuardedClient, Opened
from filters.sources.wire import BrokenOffError

#: So many failures in a row, and a source gives up. One message that breaks a batch of 500 makes 20.
_PATIENCE = 60

Answer = TypeVar("Answer")


class Session:
    """A connection that is made again when it breaks while reading. Folders are named as the server spells them."""

    def __init__(self, connect: Callable[[], GuardedClient]) -> None:
        self._connect = connect
        self._patience = _PATIENCE
        self._current: Opened | None = None
        self.client = connect()
        self.home, self.validity = "", 0

    def alive(self) -> GuardedClient:
        """The connection, or a new one where it is lost."""
        if self.client.dead:
            self.client, self._current = self._connect(), None
        return self.client

    def at(self, raw: str) -> Opened:
        """Have `raw` open on a living connection."""
        client = self.alive()
        if self._current is None or self._current.raw != raw:
            self._current = None  # a refused SELECT leaves no folder open
            opened = client.open(raw, writing=raw == self.home)
            if raw == self.home and self.validity not in (0, opened.uidvalidity):
                raise ServerError("The server has renumbered the folder (UIDVALIDITY) in between. Start again.")
            self._current = opened
        return self._current

    def ask(self, raw: str, question: Callable[[GuardedClient], Answer]) -> Answer:
        """Read something in folder `raw`, or in none (""); once more on a new connection when this one turns out to be lost."""
        try:
            return self._answer(raw, question)
        except BrokenOffError as error:
            self.lose_patience(error)
            if not self.client.dead:
                raise
        try:
            return self._answer(raw, question)
        except BrokenOffError as error:
            self.lose_patience(error)
            raise

    def _answer(self, raw: str, question: Callable[[GuardedClient], Answer]) -> Answer:
        if raw:
            self.at(raw)
        answer = question(self.alive())
        self._patience = _PATIENCE
        return answer

    def enter(self, raw: str) -> Opened:
        """Open a folder anew, so that its numbers are of now."""
        self._current = None
        return self.ask(raw, lambda _: self.at(raw))

    def lose_patience(self, error: ServerError) -> None:
        """Count a failure; raise ServerError, of the kind that nobody repeats, when there were too many in a row."""
        self._patience -= 1
        if self._patience < 0:
            raise ServerError(f"{error} This happened again and again.")
