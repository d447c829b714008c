"""What a process that reads mail may use, and how it answers whatever the mail does to it. As a program, it is a child of `workers`."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from math import ceil
from typing import Any, BinaryIO

from filters.errors import FiltersError, InputError

#: Seconds of processor time for one mail, and bytes of address space for a child. Real mail takes 0.01 s and 70 MB.
CPU_SECONDS = 2
MEMORY_BYTES = 512 * 1024 * 1024
#: The exit code of a process that asked for more.
OUT_OF_MEMORY = 12
_OPEN_FILES = 32
#: What stands before each mail and each answer in a pipe: how many bytes it has.
LENGTH = struct.Struct(">I")


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


def frame(content: bytes) -> bytes:
    """A mail or an answer as it goes through a pipe."""
    return LENGTH.pack(len(content)) + content


# --- the child


def main() -> None:
    """Serve until the parent closes the pipe."""
    for interruption in (signal.SIGINT, signal.SIGTERM):  # the parent decides when
        signal.signal(interruption, signal.SIG_IGN)
    mails, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing that prints can write among the answers
    try:
        task = _task(*json.loads(_next(mails) or b"[]"))
        limit()
        _say(answers, answer("ready", None))
        while (raw := _next(mails)) is not None:
            allow_time()
            _say(answers, outcome(task, raw))
    except BrokenPipeError:
        os._exit(0)
    except FiltersError as error:
        _say(answers, answer("broken", [str(error), error.exit_code]))
    except Exception as error:  # a defect of ours; no mail was read yet
        _say(answers, answer("broken", [f"{type(error).__name__}: {error}", FiltersError.exit_code]))


def _task(name: str, setup: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    module, _, factory = name.partition(":")
    task: Callable[[bytes], dict[str, Any]] = getattr(import_module(module), factory)(setup)
    return task


def _next(mails: BinaryIO) -> bytes | None:
    """The content of the next frame; None at the end."""
    length = mails.read(LENGTH.size)
    return mails.read(LENGTH.unpack(length)[0]) if len(length) == LENGTH.size else None


def _say(answers: BinaryIO, answer: bytes) -> None:
    answers.write(frame(answer))
    answers.flush()


if __name__ == "__main__":
    main()
