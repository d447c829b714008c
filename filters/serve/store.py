"""One conversation with the store behind the proxy, in LMTP (RFC 2033). It says what it is told to say, and hands on what it hears."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from filters.serve.endpoints import Endpoint

_LINE_CAP = 65_536
_LINES = 100
_REPLY = re.compile(rb"([2-5])\d\d(?:([ -])[^\r\n]*)?\r?\n")

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long the store is waited for: for a connection, for an answer, and for the answers after a message, while it writes to its disks."""

    connect: float = 10.0
    reply: float = 60.0
    stored: float = 300.0


class LostError(Exception):
    """The store is not there, or no longer, or says what is no LMTP. `str(error)` says which."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The lines of one reply, as they came, without their ends."""

    lines: tuple[bytes, ...]

    @property
    def kind(self) -> int:
        """2: done, 3: go on, 4: not now, 5: never."""
        return self.lines[-1][0] - ord("0")


class Store:
    """A connection that is greeted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: Seconds) -> None:
        self._reader, self._writer, self._seconds = reader, writer, seconds
        self.offers: tuple[bytes, ...] = ()
        """What it can, as it answered LHLO."""

    async def command(self, line: bytes, seconds: float = 0.0) -> Reply:
        """Say a line (without its end) and hear the answer, within other `seconds` than usual if need be. Raises LostError."""
        self._writer.write(line + b"\r\n")
        return await _in_time(self._answered(), seconds or self._seconds.reply)

    async def send(self, data: bytes) -> None:
        """Raises LostError."""
        self._writer.write(data)
        await _in_time(self._writer.drain(), self._seconds.reply)

    async def reply(self) -> Reply:
        """The next reply. Raises LostError."""
        return await _in_time(self._read(), self._seconds.reply)

    async def stored(self) -> Reply:
        """The next reply after a message. Raises LostError."""
        return await _in_time(self._read(), self._seconds.stored)

    async def _answered(self) -> Reply:
        await self._writer.drain()
        return await self._read()

    async def _read(self) -> Reply:
        lines: list[bytes] = []
        while len(lines) < _LINES:
            line = await self._reader.readuntil(b"\n")
            found = _REPLY.fullmatch(line)
            if not found:
                raise ValueError("what it said is no LMTP")
            lines.append(line.rstrip(b"\r\n"))
            if found[2] != b"-":
                return Reply(tuple(lines))
        raise ValueError("its answer does not end")

    def close(self) -> None:
        """Break off, and let nothing that was not sent yet be sent later: a message under way is not delivered, for its end was never said."""
        self._writer.transport.abort()


async def connect(endpoint: Endpoint, name: str, seconds: Seconds) -> Store:
    """A connection on which LHLO was said by us, the host `name`. Raises LostError."""
    opening = (
        asyncio.open_unix_connection(endpoint.path, limit=_LINE_CAP)
        if endpoint.path
        else asyncio.open_connection(endpoint.host, endpoint.port, limit=_LINE_CAP)
    )
    store = Store(*await _in_time(opening, seconds.connect), seconds)
    try:
        greeting = await store.reply()
        answer = await store.command(f"LHLO {name}".encode()) if greeting.kind == 2 else greeting
        if answer.kind != 2:
            raise LostError("it does not want to talk: " + answer.lines[-1].decode("ascii", "replace"))
    except BaseException:
        store.close()
        raise
    store.offers = tuple(line[4:] for line in answer.lines[1:])
    return store


async def _in_time(waiting: Awaitable[_Answer], seconds: float) -> _Answer:
    try:
        async with asyncio.timeout(seconds):
            return await waiting
    except TimeoutError:
        raise LostError(f"it did not answer for {seconds:.0f} s") from None
    except asyncio.IncompleteReadError:
        raise LostError("it broke off") from None
    except asyncio.LimitOverrunError:
        raise LostError("what it said is no LMTP") from None
    except OSError as error:
        raise LostError((error.strerror or "it cannot be reached").lower()) from None
    except ValueError as error:
        raise LostError(str(error)) from None
