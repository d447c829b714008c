"""What a process that reads mail may use, and how it answers whatever the mail does to it."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from typing import Any

from filters.errors import InputError

#: Seconds of processor time for one mail, and bytes of address space for a child. Real mail takes 0.01 s and 70 MB.
CPU_SECONDS = 2
MEMORY_BYTES = 512 * 1024 * 1024
#: The exit code of a process that asked for more.
OUT_OF_MEMORY = 12
_OPEN_FILES = 32


def limit() -> None:
    """After the imports, which may write byte code; from here on, neither files nor processes are made."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        with suppress(ValueError, OSError):  # macOS knows no limit of address space
            resource.setrlimit(kind, (_within(kind, most), _within(kind, most)))


def _within(kind: int, most: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def allow_time() -> None:
    """Let the kernel end this process `CPU_SECONDS` (at most one more) from now, in processor time."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = ceil(usage.ru_utime + usage.ru_stime + CPU_SECONDS)
    resource.setrlimit(
        resource.RLIMIT_CPU, (_within(resource.RLIMIT_CPU, soft), resource.getrlimit(resource.RLIMIT_CPU)[1])
    )


def outcome(task: Callable[[bytes], dict[str, Any]], raw: bytes) -> bytes:
    """The answer of a task, or why there is none: JSON of a pair, the content behind "answer", "unread" (it is no mail, or passes a
    cap, and always will) or "failure". Ends this process with `OUT_OF_MEMORY` when there is no more."""
    try:
        return answer("answer", task(raw))
    except InputError as error:
        return answer("unread", str(error))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:  # its text may hold mail
        return answer("failure", f"a defect in unpitch ({type(error).__name__})")


def answer(kind: str, content: Any) -> bytes:
    """One answer as it goes to the parent."""
    return json.dumps([kind, content]).encode()
