"""One IMAP connection that is made again when it breaks, after a wait, and the folder that is open on it.

Reading is repeated here. What changes something never is: nobody knows what the server did before it fell silent (D13), so that
the error goes to `moving`, which looks first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from filters.errors import ServerError, TransientError
from filters.sources.guarded import BusyServerError, GuardedClient, Opened
from filters.sources.patience import Patience
from filters.sources.wire import SilentError

#: So many failures in a row, and a source gives up. One message that breaks a batch of 500 makes 20.
_FAILURES = 60
#: Attempts to read what may break the connection by itself, so that the caller should ask for less; or that stays unanswered.
_READS = 2
#: New mail that may come between a SELECT and the STATUS after it.
_RECENT = 1_000
#: Seconds between two passwords or tokens that replace one which the server had taken before.
_RENEWALS_APART = 600.0
#: Seconds before its end from which on a token is not used any more: a login takes some.
_SOON = 60.0
#: Looks at a folder that does not come to rest.
_LOOKS = 60

Answer = TypeVar("Answer")
#: Whether the login is by an access token; as a function, it says for how many seconds the last one is good.
OAuth = bool | Callable[[], float]


class Session:
    """A connection that is made again when it breaks. Folders are named as the server spells them."""

    def __init__(self, connect: Callable[[], GuardedClient], patience: Patience) -> None:
        self._connect = connect
        self._patience = patience
        self._failures, self._owed = 0, 0.0
        self._given_up: ServerError | None = None
        self._current: Opened | None = None
        self._writing = False
        self._told: set[str] = set()
        self.client = connect()
        self._before = 0
        self.home, self.validity = "", 0
        #: No connection broke so far: a server that is at odds with commands sent ahead is not sent any more of them.
        self._steady = True
        #: Courier: EXAMINE numbers new mail without keeping the numbers, and STATUS counts new mail that has none yet (see `bound`).
        self.fickle = False

    def alive(self) -> GuardedClient:
        """The connection, or a new one where it is lost. Waits first for as long as the last failure asked for."""
        owed, self._owed = self._owed, 0.0
        if owed:
            self._patience.sleep(owed)
        if self._given_up:
            raise self._given_up
        if self.client.dead:
            self._current = None
            before = self._before + self.client.received
            self.client, self._before = self._connected(), before
        return self.client

    @property
    def received(self) -> int:
        """Bytes that came from the server so far, on all connections."""
        return self._before + self.client.received

    def _connected(self) -> GuardedClient:
        patience = self._patience

        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            patience.tell(f"{_happened(error)} Attempt {state.attempt_number} of {patience.attempts} to connect again.")

        spread = wait_random_exponential(patience.first, patience.longest)

        def pause(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(spread(state), error.wait if isinstance(error, TransientError) else 0.0)

        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, TransientError) and error.wait <= patience.named),
            stop=stop_after_attempt(patience.attempts),
            wait=pause,
            sleep=patience.sleep,
            before_sleep=tell,
            reraise=True,
        )
        try:
            return retrying(self._connect)
        except TransientError as error:  # enough of it: nobody is to begin again
            why = f"Gave up after {patience.attempts} attempts" if error.wait <= patience.named else "That is too long"
            words = f"{_happened(error)} {why}; start it again later."
            self._given_up = ServerError(words, error.exit_code)
            raise self._given_up from None

    def at(self, raw: str, *, writing: bool = False) -> Opened:
        """Have `raw` open on a living connection; the folder that we move out of, and what `writing` names, so that it can be
        changed."""
        client, writing = self.alive(), writing or raw == self.home or self.fickle
        if self._current is None or self._current.raw != raw or writing > self._writing:
            self._current = None  # a refused SELECT leaves no folder open
            opened = client.open(raw, writing=writing)
            if raw == self.home and self.validity not in (0, opened.uidvalidity):
                raise ServerError("The server has renumbered the folder (UIDVALIDITY) in between. Start again.")
            self._current, self._writing = opened, writing
        return self._current

    def ask(self, raw: str, question: Callable[[GuardedClient], Answer], *, less: bool = False) -> Answer:
        """Read something in folder `raw`, or in none (""); again, on a new connection where that is needed, when it fails. `less`:
        the caller can ask for less, so that we soon leave it to him."""

        def answer() -> Answer:
            if raw:
                self.at(raw)
            return question(self.alive())

        retrying = Retrying(retry=retry_if_exception(self._helps), stop=partial(self._enough, less), reraise=True)
        try:
            return cast(Answer, retrying(self._counted, answer))
        except SilentError as error:  # nobody is to ask a silent server for less
            raise ServerError(str(error)) from None

    def begin_fetch(self, raw: str, uids: Sequence[int], items: str) -> None:
        """Have the server begin with a FETCH that is asked for soon, while all goes well: not after anything went wrong."""
        if self._steady and self._current and self._current.raw == raw and not self.client.dead:
            with suppress(TransientError):  # seen, and counted, by who asks
                self.client.begin_fetch(uids, items)

    def change(self, raw: str, command: Callable[[GuardedClient], Answer]) -> Answer:
        """Change something in folder `raw`, or in none (""). Never repeated: after a TransientError the outcome is unknown."""
        if raw:
            self.ask("", lambda _: self.at(raw, writing=True))
        return self._counted(lambda: command(self.alive()))

    def _helps(self, error: BaseException) -> bool:
        """What breaks nothing and is answered in a way that makes no sense is answered so again."""
        return isinstance(error, TransientError) and (self.client.dead or isinstance(error, BusyServerError))

    def _enough(self, less: bool, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        busy = isinstance(error, BusyServerError) and error.code != "SERVERBUG"
        few = isinstance(error, SilentError) or (less and not busy)
        return state.attempt_number >= (_READS if few else self._patience.attempts)

    def _counted(self, action: Callable[[], Answer]) -> Answer:
        try:
            answer = action()
        except TransientError as error:
            self._steady = False
            self._owed = self._pause(error)
            self.failed(error)
            raise
        self._failures = 0
        for warning in self.client.heard():
            if warning not in self._told:
                self._told.add(warning)
                self._patience.tell(warning)
        return answer

    def _pause(self, error: TransientError) -> float:
        """Seconds to wait before going on. After a lost connection, none at first and never many: where no new one can be had,
        `_connected` waits."""
        patience, busy = self._patience, isinstance(error, BusyServerError)
        if error.wait > patience.named:
            minutes = f"{error.wait / 60:.0f} minutes are longer than unpitch waits"
            raise ServerError(f"{error} {minutes}; start it again later.", 75) from None
        if not busy and not self._failures:
            patience.tell(f"{_happened(error)} Connecting again.")
            return 0.0
        longest = patience.longest if busy else 4 * patience.first
        seconds = error.wait or patience.pause(self._failures + 1, longest)
        patience.tell(f"{_happened(error)} Going on in {seconds:.0f} s.")
        return seconds

    def failed(self, error: ServerError) -> None:
        """Count a failure; raise ServerError, of the kind that nobody repeats, when there were too many in a row."""
        self._failures += 1
        if self._failures > _FAILURES:
            raise ServerError(f"{error} This happened again and again.") from None

    def enter(self, raw: str) -> Opened:
        """Open a folder anew, so that its numbers are of now."""
        self._current = None
        return self.ask(raw, lambda _: self.at(raw))

    def is_open(self, opened: Opened) -> bool:
        """Whether a folder is still open as it was opened then."""
        return self._current is opened and not self.client.dead

    def refresh(self, raw: str) -> Opened:
        """Have a folder open as it is now. Costs the server less than opening it anew; UIDNEXT and the count are those of the opening."""
        if self._current is None or self._current.raw != raw or self.client.dead:
            return self.enter(raw)
        self.ask(raw, GuardedClient.noop)
        return self.ask(raw, lambda _: self.at(raw))

    def bound(self, raw: str, uidnext: int) -> int:
        """A UID that no message in folder `raw` has yet, and none that comes will be below. That is its UIDNEXT; where a server gives a
        copy a number before new mail that it counted there, it is the one after the highest that is in use."""
        if not self.fickle:
            return uidnext
        self.enter(raw)
        first = max(1, uidnext - _RECENT)
        used = self.ask(raw, lambda client: client.search(first, uidnext))
        return max(used, default=first - 1) + 1

    def settle(self, raw: str) -> None:
        """Wait until a server that may still be busy with a broken-off command adds nothing to folder `raw` any more."""
        before = None
        for _ in range(_LOOKS):
            now = self.ask("", lambda client: client.status(raw))
            if now == before:
                return
            before = now
            self._patience.sleep(self._patience.quiet)


def _happened(error: BaseException | None) -> str:
    """An error's words without the advice, which we follow ourselves."""
    return str(error).removesuffix(" Try again later.")


class Secret:
    """What to log in with: asked for once, when it is needed, and once more when the server refuses in mid-run what it took before (a
    token that expired). Not again within ten minutes, because accounts get locked; later, because tokens last an hour. Where `oauth` is
    a function that says for how many seconds the last token is good, another one is asked for before that is over, once for a login."""

    def __init__(
        self, password: Callable[[], str], *, oauth: OAuth = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._password, self._oauth, self._clock = password, bool(oauth), clock
        self._left = oauth if callable(oauth) else lambda: math.inf
        self._known: str | None = None
        self._is_new = False
        self._accepted, self._renewed = False, -_RENEWALS_APART

    def log_in(self, client: GuardedClient, user: str) -> None:
        """Raises LoginError, like `GuardedClient.login`."""
        if self._known is None:
            self._known = self._password()
        elif not self._is_new and self._left() < _SOON:
            self._renewed = self._clock()  # so that it is not asked for once more if this fails
            self._known = self._password()
        self._is_new = False
        client.login(user, self._known, oauth=self._oauth)
        self._accepted = True

    def renew(self) -> bool:
        """Ask again; whether that may help."""
        if not self._accepted or self._clock() - self._renewed < _RENEWALS_APART:
            return False
        self._renewed = self._clock()
        before, self._known = self._known, self._password()
        self._is_new = True
        return before != self._known
