"""Mail is read in child processes with limits, so that no mail can stop a run, whatever it does to a parser.

Each child runs one function on one mail after another. A child that crashes, or passes a limit (of time: twice), fails the mail it was
working on and no other; a new one takes its place. Children get mail and give JSON through pipes, in frames (four bytes of length,
big-endian, then the content): nothing that a child says is ever executed.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from filters.confinement import CPU_SECONDS, LENGTH, MEMORY_BYTES, OUT_OF_MEMORY, frame
from filters.errors import FiltersError

#: Seconds on the clock: the last resort, for what neither computes nor ends.
WALL_SECONDS = 30.0
#: Mails that a child has in hand, so that it never waits for the next one; and how many make it worth to start another child, which
#: takes as long as to judge some ten.
_IN_HAND, _MANY = 8, 10
#: Bytes of an answer: a verdict and its evidence. A longer one comes from a child that is no longer ours.
_ANSWER_CAP = 1_048_576
_PIPE_BYTES = 65_536
#: What a pipe to a child holds where the system lets us say so (Linux): so it has work while we wait for a server.
_STOCK_BYTES = 1_048_576

_Label = TypeVar("_Label")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one mail could not be read: a clause without a word of the mail."""

    reason: str


#: What a task says of one mail, as a JSON object; or why it could not.
Result = dict[str, Any] | Failure


@dataclass(slots=True)
class _Child:
    """One process, the mails it has not answered (oldest first, numbered), and the bytes on their way to and from it."""

    process: subprocess.Popen[bytes]
    stdin: int
    stdout: int
    mails: deque[tuple[int, bytes]] = field(default_factory=deque)
    outgoing: bytearray = field(default_factory=bytearray)
    incoming: bytearray = field(default_factory=bytearray)
    ready: bool = False
    late: bool = False
    since: float = 0.0
    """When it was last heard of, or given something."""


class Workers:
    """A pool of at most `count` children (0: one for each processor), started when there is work for them.

    Each makes its task once, by calling the factory named by `task` ("package.module:factory") with `setup`, and then calls
    it with the bytes of one mail after another. One `map` at a time.
    """

    def __init__(self, task: str, setup: dict[str, Any], count: int = 0, wall_seconds: float = WALL_SECONDS) -> None:
        self._start = frame(json.dumps([task, setup]).encode())
        self._count = count or os.cpu_count() or 1
        self._wall_seconds = wall_seconds
        self._children: list[_Child] = []
        self._again: set[int] = set()
        """Mails, by their numbers, that took too long once."""

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def map(self, mails: Iterable[tuple[_Label, bytes]]) -> Generator[tuple[_Label, Result], None, None]:
        """The result of each mail, in the order of the mails, which are taken only as fast as they are read. Close it to break off.

        Raises FiltersError when a child cannot even start: a factory's own FiltersError, or any other fault of it.
        """
        self._again.clear()
        waiting: deque[tuple[int, _Label]] = deque()
        results: dict[int, Result] = {}
        try:
            for number, (label, raw) in enumerate(mails):
                waiting.append((number, label))
                self._give(number, raw)
                self._exchange(results, wait=False)
                while waiting and (waiting[0][0] in results or len(waiting) >= self._count * _IN_HAND):
                    yield self._oldest(waiting, results)
            while waiting:
                yield self._oldest(waiting, results)
        finally:
            for child in [child for child in self._children if child.mails]:  # the caller broke off
                self._end(child)

    def close(self) -> None:
        """Kill what is left. Children hold nothing that could be lost."""
        for child in list(self._children):
            self._end(child)

    def _oldest(self, waiting: deque[tuple[int, _Label]], results: dict[int, Result]) -> tuple[_Label, Result]:
        number, label = waiting.popleft()
        while number not in results:
            self._exchange(results, wait=True)
        return label, results.pop(number)

    def _give(self, number: int, raw: bytes) -> None:
        """To the child with the least in hand, or a new one while every child is busy."""
        child = min(self._children, key=lambda one: len(one.mails), default=None)
        if child is None or (len(child.mails) >= _MANY and len(self._children) < self._count):
            child = self._new_child()
        child.mails.append((number, raw))
        child.outgoing += frame(raw)
        _send(child)

    def begin(self) -> None:
        """Start a child now, because there will be mail soon."""
        if not self._children:
            _send(self._new_child())

    def _new_child(self) -> _Child:
        # neither the working folder nor the environment: secrets may be in it, and mail is hostile
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "filters.confinement"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # no Ctrl-C, no terminal
                bufsize=0,
            )
        except OSError as error:
            why = (error.strerror or "unknown error").lower()
            raise FiltersError(
                f"A worker process cannot be started: {why}. End other programs, or raise your limits."
            ) from error
        assert process.stdin and process.stdout  # noqa: S101 (pipes were asked for)
        child = _Child(process, process.stdin.fileno(), process.stdout.fileno(), outgoing=bytearray(self._start))
        os.set_blocking(child.stdin, False)
        with suppress(AttributeError, OSError):  # another system, or the user's share is used up
            fcntl.fcntl(child.stdin, fcntl.F_SETPIPE_SZ, _STOCK_BYTES)
        self._children.append(child)
        return child

    def _exchange(self, results: dict[int, Result], *, wait: bool) -> None:
        """Send and receive what can be, and see to children that ended or are late."""
        busy = [child for child in self._children if child.mails]
        reading, writing = [child.stdout for child in busy], [child.stdin for child in busy if child.outgoing]
        readable, writable, _ = select.select(reading, writing, [], 1.0 if wait else 0.0)
        for child in busy:
            if child.stdin in writable:
                _send(child)
            if child.stdout in readable:
                self._receive(child, results)
            elif time.monotonic() - child.since > self._wall_seconds:
                child.late = True
                child.process.kill()

    def _receive(self, child: _Child, results: dict[int, Result]) -> None:
        data = os.read(child.stdout, _PIPE_BYTES)
        child.incoming += data
        try:
            for answer in _frames(child.incoming):
                self._take(child, json.loads(answer), results)
        except (ValueError, TypeError, IndexError, RecursionError):  # not an answer of ours
            child.process.kill()
            data = b""
        if not data:
            self._replace(child, results)

    def _take(self, child: _Child, answer: Any, results: dict[int, Result]) -> None:
        kind, content = answer
        child.since = time.monotonic()
        if kind == "broken":
            error = FiltersError(str(content[0]))
            error.exit_code = int(content[1])
            raise error
        if kind == "ready":
            child.ready = True
            return
        result: Result = dict(content) if kind == "answer" else Failure(str(content))
        results[child.mails.popleft()[0]] = result

    def _replace(self, child: _Child, results: dict[int, Result]) -> None:
        """The mail that a dead child was working on fails, one that took too long only the second time: a machine that stands still for
        a while tells its processes that they computed. The others it had in hand are given again."""
        reason, slow = _cause(child, self._wall_seconds)
        self._end(child)
        if not child.ready:
            raise FiltersError(f"a worker process cannot start: it {reason}")
        if child.mails:
            number = child.mails[0][0]
            if slow and number not in self._again:
                self._again.add(number)
            else:
                child.mails.popleft()
                results[number] = Failure(reason)
        for number, raw in child.mails:
            self._give(number, raw)

    def _end(self, child: _Child) -> None:
        self._children.remove(child)
        child.process.kill()
        child.process.wait()
        for pipe in (child.process.stdin, child.process.stdout):
            if pipe:
                pipe.close()


def _send(child: _Child) -> None:
    try:
        sent = os.write(child.stdin, child.outgoing[:_STOCK_BYTES])
        del child.outgoing[:sent]
        child.since = time.monotonic()
    except BlockingIOError:
        pass
    except BrokenPipeError:  # it is dead, which is seen where answers are received
        child.outgoing.clear()


def _cause(child: _Child, wall_seconds: float) -> tuple[str, bool]:
    """Why it ended, and whether that was for the time it took."""
    try:
        code = child.process.wait(1)
    except subprocess.TimeoutExpired:  # it closed its pipe, and lives on
        child.process.kill()
        code = child.process.wait()
    if child.late:
        return f"took longer than {wall_seconds:.0f} s", True
    if code == -signal.SIGXCPU:
        return f"used more than {CPU_SECONDS} s of processor time", True
    if code == OUT_OF_MEMORY:
        return f"needed more than {MEMORY_BYTES >> 20} MB of memory", False
    return f"crashed the reading process ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})", False


def _frames(incoming: bytearray) -> Iterator[bytes]:
    """Take whole frames off the front. Raises ValueError for one that is too long."""
    while len(incoming) >= LENGTH.size:
        end = LENGTH.size + LENGTH.unpack_from(incoming)[0]
        if end > _ANSWER_CAP:
            raise ValueError("frame too long")
        if len(incoming) < end:
            return
        content = bytes(incoming[LENGTH.size : end])
        del incoming[:end]
        yield content
