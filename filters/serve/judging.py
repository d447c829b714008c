"""Mail of many connections judged by a few worker processes, one mail at a time each."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from filters.workers import Result, Workers

#: Seconds on the clock for one mail, while its sender waits.
WALL_SECONDS = 10.0
_PROBE = b"From: probe@example.org\r\n\r\n"


class Judges:
    """`count` worker processes. A mail that harms one of them is answered by a `Failure`, and the next one finds a new process."""

    def __init__(self, setup: dict[str, Any], count: int) -> None:
        self._threads = ThreadPoolExecutor(count)
        self._all = [Workers("filters.judge:worker", setup, 1, WALL_SECONDS) for _ in range(count)]
        self._idle: asyncio.Queue[Workers] = asyncio.Queue()
        for workers in self._all:
            self._idle.put_nowait(workers)

    async def start(self) -> None:
        """Start all processes. Raises FiltersError when one cannot."""
        await asyncio.gather(*(self.judge(_PROBE) for _ in self._all))

    async def judge(self, raw: bytes) -> Result:
        """What one mail is. Raises FiltersError when no process can be started."""
        workers = await self._idle.get()
        judged = asyncio.get_running_loop().run_in_executor(self._threads, _judge, workers, raw)
        judged.add_done_callback(lambda _: self._idle.put_nowait(workers))
        return await asyncio.shield(judged)  # who waits may go away; the process is busy for as long as it is

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(cancel_futures=True)
        for workers in self._all:
            workers.close()


def _judge(workers: Workers, raw: bytes) -> Result:
    [(_, result)] = workers.map([(None, raw)])
    return result
