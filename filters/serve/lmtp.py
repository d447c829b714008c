"""An LMTP proxy (RFC 2033) between a mail server and its store, which puts the verdict into a header on the way.

It keeps no mail: whatever it answers is what the store answered, and when the store does not, it is "451, try again". So what may
go wrong here costs time, never mail. A message of which it is not known whether the store has it may come twice (RFC 2033, 5).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from time import monotonic
from typing import IO

from aiosmtpd.lmtp import LMTP

from filters.errors import FiltersError
from filters.message import MESSAGE_CAP
from filters.serve.endpoints import Endpoint
from filters.serve.judging import Judges
from filters.serve.marking import marked, said, value
from filters.serve.records import Delivery, Records
from filters.serve.store import LostError, Reply, Seconds, Store, connect
from filters.workers import Failure

#: What the store can that we can as well; all else it may say of itself stays between the two.
_OFFERED = re.compile(rb"(?:8BITMIME|ENHANCEDSTATUSCODES|PIPELINING|SIZE(?: \d+)?|SMTPUTF8)", re.IGNORECASE)
#: A line of a single dot that does not end as lines end: to some stores it is the end of the message, and what follows would be
#: commands (CVE-2023-51764 and others). No mail server sends such a line.
_FALSE_ENDS = (b"\r.\r", b"\r.\n", b"\n.\r", b"\n.\n")
_END = b".\r\n"
_PIECE = 65_536
_COMMAND_CAP = 2_048
_LATER = "451 4.4.2 the store was lost; try again later"
#: Control characters in a command: some stores end lines where LMTP does not.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Seconds without a word from the mail server; and for the message under way when we are asked to end.
IDLE_SECONDS, GRACE_SECONDS = 300.0, 60.0

# what it logs holds addresses
logging.getLogger("mail.log").propagate = False
logging.getLogger("mail.log").addHandler(logging.NullHandler())


@dataclass(slots=True)
class Proxy:
    """What all conversations share."""

    store: Endpoint
    judges: Judges
    records: Records
    name: str
    """The host name that is said."""
    most: int
    """Conversations at the same time."""
    seconds: Seconds = Seconds()  # noqa: RUF009 (frozen)
    open: set[Conversation] = field(default_factory=set)
    stopping: bool = False

    def conversation(self) -> asyncio.Protocol:
        """For a new connection."""
        return _Refusal() if self.stopping or len(self.open) >= self.most else Conversation(self)

    async def stop(self) -> None:
        """Let every message under way come to its end, and close."""
        self.stopping = True
        for one in list(self.open):
            one.end_if_idle()
        end = monotonic() + GRACE_SECONDS
        while self.open and monotonic() < end:
            await asyncio.sleep(0.02)


@contextmanager
def _spool() -> Iterator[IO[bytes]]:
    """Room for one message: in memory, and on the disk what is too large to be judged."""
    spool = SpooledTemporaryFile(MESSAGE_CAP)  # noqa: SIM115 (it is closed below)
    try:
        yield spool
    finally:
        with suppress(OSError):  # what found no room is tried once more, and not missed
            spool.close()


class _Refusal(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101
        transport.write(b"421 4.3.2 too many connections, or about to end; try again later\r\n")
        transport.close()


class _Handler:
    """What aiosmtpd asks about errors."""

    def __init__(self, give_up: Callable[[Exception], None]) -> None:
        self._give_up = give_up

    async def handle_exception(self, error: Exception) -> str:
        """A defect of ours must not bounce mail; and of how many answers are due only the end of the connection is sure."""
        self._give_up(error)
        return "421 4.3.0 a defect in unpitch; try again later"


class Conversation(LMTP):
    """One connection of the mail server, and behind it one to the store: each command goes there and its answer comes back; only
    the message is held until it is complete and judged. aiosmtpd reads commands and watches the time."""

    line_length_limit = _PIECE

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(
            _Handler(self._give_up),
            data_size_limit=None,
            enable_SMTPUTF8=True,  # so that any bytes of an address go to the store as they came
            hostname=proxy.name,
            ident="unpitch",
            timeout=IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
        )
        self.command_size_limits = defaultdict(lambda: _COMMAND_CAP)
        self._proxy = proxy
        self._store: Store | None = None
        self._delivery: Delivery | None = None
        self._lost = False
        """The store was lost in the midst of a message: until the next one begins, the answer to everything is "later"."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._proxy.open.add(self)
        self._proxy.records.connected()
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Whatever was under way ends without an answer, for nobody hears it: the mail server tries again."""
        self._proxy.open.discard(self)
        self._proxy.records.parted()
        self._leave_store()
        super().connection_lost(error)

    def end_if_idle(self) -> None:
        """Close unless a message is under way."""
        if self._delivery is None and self.transport is not None:
            self.transport.close()

    def _give_up(self, error: Exception) -> None:
        self._proxy.records.trouble(f"a defect in unpitch ({type(error).__name__})")
        if self.transport is not None:
            self.loop.call_soon(self.transport.close)

    # --- commands

    async def smtp_LHLO(self, arg: str | None) -> None:  # noqa: N802
        """Greet the store as well: what it can is what we can."""
        if not arg:
            await self.push("501 5.5.4 Syntax: LHLO hostname")
            return
        self._forget()
        self._leave_store()
        try:
            store = await self._connected()
        except LostError as error:
            await self._say_lost(error)
            return
        assert self.session is not None  # noqa: S101
        self.session.extended_smtp, self.session.host_name = True, arg
        offers = [offer for offer in store.offers if _OFFERED.fullmatch(offer)]
        lines = [self.hostname.encode("ascii", "replace"), *offers]
        for number, line in enumerate(lines, 1):
            await self.push((b"250 " if number == len(lines) else b"250-") + line)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """The sender."""
        if await self.check_helo_needed("LHLO"):
            return
        if self._delivery is not None:
            await self.push("503 5.5.1 nested MAIL command")
            return
        self._lost = False
        reply = await self._ask("MAIL", arg, again=True)
        if reply and reply.kind == 2:
            self._delivery = Delivery(sender=arg or "")

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """One recipient."""
        if self._delivery is None:
            await self.push(_LATER if self._lost else "503 5.5.1 need MAIL command")
            return
        reply = await self._ask("RCPT", arg)
        if reply and reply.kind == 2:
            self._delivery.recipients.append(arg or "")

    async def smtp_RSET(self, arg: str | None) -> None:  # noqa: N802
        """Forget the message."""
        self._forget()
        if self._store and await self._ask("RSET", None) is None:
            return
        if not self._store:
            await self.push("250 2.0.0 OK")

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: N802
        """Part from the store, too."""
        if self._store:
            with suppress(LostError):
                await self._store.command(b"QUIT", 1.0)
        await super().smtp_QUIT(None)

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """The message: one reply for each recipient (RFC 2033, 4.2)."""
        delivery = self._delivery
        if delivery is None or not delivery.recipients:
            await self.push(_LATER if self._lost else "503 5.5.1 no valid recipients")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        with _spool() as spool:
            refused = await self._received(spool, delivery)
            delivery.complete = monotonic()
            self._reset_timeout(IDLE_SECONDS + self._proxy.seconds.stored)
            if refused:
                await self._answer_all(delivery, refused)
            else:
                await self._pass_on(spool, delivery)
        self._proxy.records.delivered(delivery)
        self._forget()
        if self._proxy.stopping and self.transport is not None:
            self.transport.close()

    # --- the message

    async def _received(self, spool: IO[bytes], delivery: Delivery) -> bytes:
        """Read to the end, with the dots that LMTP adds; the reply to all recipients if the message cannot be taken."""
        tail, refused, fresh = b"\r\n", b"", 0.0
        while True:
            try:
                piece = await self._reader.readuntil(_END)
            except asyncio.LimitOverrunError as over:
                piece = await self._reader.read(over.consumed)
            if monotonic() > fresh:  # lines that end with a dot are many
                self._reset_timeout()
                fresh = monotonic() + 1.0
            ended = (tail + piece).endswith(b"\r\n" + _END)
            content = piece[: -len(_END)] if ended else piece
            heard = tail + content
            if any(end in heard for end in _FALSE_ENDS):
                refused = b"550 5.6.0 a line of a single dot does not end with CR and LF"
            try:
                if not refused:
                    spool.write(content)
                if ended and not refused:
                    spool.seek(0)  # what is held back of it must find room, too
            except OSError:  # no room: the rest is heard, and forgotten
                refused = b"452 4.3.1 no room for the message; try again later"
            delivery.bytes += len(content)
            if ended:
                return refused
            tail = (tail + piece)[-4:]

    async def _pass_on(self, spool: IO[bytes], delivery: Delivery) -> None:
        """To the store, and its answers to the mail server."""
        start = spool.read(MESSAGE_CAP + 1)
        start = marked(start, await self._verdict(start, delivery))
        store = self._store
        try:
            if store is None:
                raise LostError("it broke off")
            reply = await store.command(b"DATA")
            if reply.kind != 3:
                await self._answer_all(delivery, *reply.lines)
                return
            while piece := spool.read(_PIECE):
                await store.send(start)
                start = piece
            await store.send(start + _END)
            for _ in delivery.recipients:
                reply = await store.stored()
                delivery.kinds.append(reply.kind)
                await self._push_reply(reply)
        except LostError as error:
            self._leave_store()
            self._proxy.records.trouble(f"the store: {error}")
            await self._answer_all(delivery, f"451 4.4.2 the store: {error}".encode("ascii", "replace"))

    async def _verdict(self, start: bytes, delivery: Delivery) -> str:
        """What the header will say; "" when the message is not judged."""
        if len(start) > MESSAGE_CAP:
            delivery.unjudged = f"larger than {MESSAGE_CAP:,} bytes"
            return ""
        try:
            result = await self._proxy.judges.judge(start.removeprefix(b".").replace(b"\r\n.", b"\r\n"))
        except FiltersError as error:
            result = Failure(str(error))
        except Exception as error:  # whatever it is, the mail goes on
            result = Failure(f"a defect in unpitch ({type(error).__name__})")
        if isinstance(result, Failure):
            delivery.unjudged = result.reason
            return ""
        delivery.said = said(result)
        return value(result)

    async def _answer_all(self, delivery: Delivery, *lines: bytes) -> None:
        """The same to every recipient that has no answer yet."""
        for _ in delivery.recipients[len(delivery.kinds) :]:
            delivery.kinds.append(lines[-1][0] - ord("0"))
            await self._push_reply(Reply(lines))

    # --- the store

    async def _ask(self, command: str, arg: str | None, *, again: bool = False) -> Reply | None:
        """Hand a command on and its answer back; None when there is none. `again`: nothing is under way, so a connection that broke
        may be made anew."""
        line = command if arg is None else f"{command} {arg}"
        if _CONTROL.search(line):
            await self.push("501 5.5.2 a control character in the command")
            return None
        try:
            kept = self._store
            try:
                store = kept or await self._connected()
                reply = await store.command(line.encode("utf-8", "surrogateescape"))
            except LostError:
                if not (again and kept):
                    raise
                self._leave_store()
                reply = await (await self._connected()).command(line.encode("utf-8", "surrogateescape"))
        except LostError as error:
            self._forget()
            self._lost = True
            self._leave_store()
            await self._say_lost(error)
            return None
        await self._push_reply(reply)
        return reply

    async def _connected(self) -> Store:
        self._store = await connect(self._proxy.store, self.hostname, self._proxy.seconds)
        return self._store

    async def _push_reply(self, reply: Reply) -> None:
        await self.push(b"\r\n".join(reply.lines))

    async def _say_lost(self, error: LostError) -> None:
        self._proxy.records.trouble(f"the store: {error}")
        await self.push(f"451 4.4.1 the store: {error}".encode("ascii", "replace"))

    def _leave_store(self) -> None:
        if self._store:
            self._store.close()
        self._store = None

    def _forget(self) -> None:
        self._delivery = None
        self._lost = False
