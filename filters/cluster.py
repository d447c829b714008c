"""A Dask cluster, for whoever has work that is cut into pure functions already."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from filters.errors import FiltersError, ServerError, UsageError

#: Seconds in which a scheduler must answer, and have a worker.
_PATIENCE = 10


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address such as "tcp://10.0.0.5:8786", which has a worker at least. What was not completed when
    it is left is cancelled.

    Raises UsageError for what is no address and without the extra "cluster"; ServerError when no scheduler or no worker answers.
    """
    if not re.fullmatch(r"(tcp|tls)://\S+:\d+", address):
        raise UsageError(f"--scheduler wants an address like tcp://10.0.0.5:8786, not {address}.")
    try:
        distributed: Any = import_module("distributed")  # an extra, heavy, and without types
    except ImportError:
        raise UsageError("--scheduler needs Dask. Install it with: pip install 'unpitch[cluster]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters comes as an exception
    try:
        at = urlsplit(address)
        socket.create_connection((at.hostname or "", at.port or 0), _PATIENCE).close()  # Dask itself tries for long
        client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ServerError(f"No Dask scheduler answers at {address}. Start one with `dask scheduler`.", 69) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError:
            start = f"Start some with `dask worker {address}`."
            raise ServerError(f"The scheduler at {address} has no worker. {start}", 69) from None
        yield client


def completed(client: Any, futures: Iterable[Any]) -> Iterator[tuple[Any, BaseException | None, Any]]:
    """Each future when it is completed, with its error, or its result. The workers of a function that has an error died, all of them.

    Raises the FiltersError of a function.
    """
    waiting = set(futures)
    try:
        for future in import_module("distributed").as_completed(list(waiting), loop=client.loop):
            waiting.discard(future)
            error = future.exception()
            if isinstance(error, FiltersError):
                raise error
            yield future, error, None if error else future.result()
            future.release()
    finally:
        client.cancel(list(waiting))
