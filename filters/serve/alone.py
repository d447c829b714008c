"""One mail judged by a child of this process, which starts nothing else: for programs that live for one mail."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Sequence
from typing import Any, NoReturn

#: Seconds on the clock. Delivery agents lose patience after ten (Pigeonhole's `sieve_execute_exec_timeout`).
WALL_SECONDS = 6.0
_PIPE_BYTES = 65_536
_ANSWER_CAP = 1_048_576


class Unjudged:
    """Why there is no verdict, in a clause; `always`: the mail is to blame, and would be again."""

    def __init__(self, why: str, *, always: bool = False) -> None:
        self.why, self.always = why, always


def judge_alone(raw: bytes, model: str, trusted: Sequence[str]) -> dict[str, Any] | Unjudged:
    """What `filters.judge` says of one mail, or why it says nothing. `model`: a path, "" for the shipped one; `trusted`: as for
    `--trust-authserv`. Whatever the mail does, this process lives on: the child that reads it has limits, and is ended in time."""
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        _serve(raw, model, trusted, sending)
    os.close(sending)
    answered = _received(receiving)
    os.close(receiving)
    if answered is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if answered is None:
        return Unjudged(f"it took longer than {WALL_SECONDS:.0f} s")
    try:
        kind, content = json.loads(answered)
    except (ValueError, TypeError):
        return Unjudged(f"it ended the reading process ({_ending(status)})")
    return dict(content) if kind == "answer" else Unjudged(str(content), always=kind == "unread")


def _received(pipe: int) -> bytes | None:
    """All that the child said; None when it was not done in time."""
    end = time.monotonic() + WALL_SECONDS
    said = b""
    while len(said) <= _ANSWER_CAP:
        if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            return None
        data = os.read(pipe, _PIPE_BYTES)
        if not data:
            return said
        said += data
    return None


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _serve(raw: bytes, model: str, trusted: Sequence[str], sending: int) -> NoReturn:
    """The child: nothing that prints can get into the mail, and no exception back into the parent's code."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        os.setsid()
        os.write(sending, _answer(raw, model, trusted))
    finally:
        os._exit(0)


def _answer(raw: bytes, model: str, trusted: Sequence[str]) -> bytes:
    import gc  # noqa: PLC0415  (only the child pays for these)
    from pathlib import Path  # noqa: PLC0415

    from filters.authenticity import parse_trust  # noqa: PLC0415
    from filters.confinement import allow_time, answer, limit, outcome  # noqa: PLC0415
    from filters.errors import FiltersError  # noqa: PLC0415
    from filters.judge import worker  # noqa: PLC0415
    from filters.model import shipped  # noqa: PLC0415
    from filters.senders import load  # noqa: PLC0415

    gc.disable()  # nothing of a life so short is worth collecting, and looking for it costs a tenth of the time
    try:
        receivers = [(one.id, one.placement) for one in map(parse_trust, trusted)]
        path = Path(model) if model else shipped(load().name)
        task = worker({"model": str(path), "trusted": receivers, "explain": False})
    except FiltersError as error:
        return answer("failure", str(error))
    limit()
    allow_time()
    return outcome(task, raw)
