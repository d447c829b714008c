"""The command as a process of its own, without the second that an interpreter takes to read all modules once more.

A template process has read what `python -m filters` reads before it looks at its words, and forks for each run. The run has its own
process id, working folder, environment, three pipes and exit code, as if it had been started anew. What is about starting (a locale,
`PYTHON...`, seeds of hashing), signals, closed streams, or what others see of a process starts `python -m filters` itself.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "filters"]
#: What an interpreter looks at when it starts.
_AT_START = ("PYTHON", "LC_", "LANG", "LD_")


def run(
    words: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    stdin: bytes = b"",
    terminal: int | None = None,
    seconds: float = 120,
    also: str = "",
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([*COMMAND, *words], ...)`, with `stdin` or a `terminal` to read from. Raises TimeoutExpired. `also` names a
    module that the template is to have read as well."""
    template, typed = _template(also), [str(word) for word in words]
    if _at_start(environment) == template.at_start and template.free.acquire(blocking=False):
        try:
            code, out, err = template.run(typed, environment, stdin, terminal, seconds)
        finally:
            template.free.release()
    else:
        given: dict[str, Any] = {"input": stdin} if terminal is None else {"stdin": terminal}
        command = [*COMMAND, *typed]
        done = subprocess.run(command, capture_output=True, env=environment, timeout=seconds, check=False, **given)
        code, out, err = done.returncode, done.stdout, done.stderr
    return subprocess.CompletedProcess([*COMMAND, *typed], code, out.decode(), err.decode())


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}


class _Template:
    def __init__(self, also: str) -> None:
        self.at_start = _at_start(os.environ)
        self.free = threading.Lock()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen([sys.executable, __file__, str(number), also], pass_fds=[number])
        atexit.register(self.close)

    def close(self) -> None:
        self._ours.close()  # which ends it
        self._process.wait()

    def run(
        self, words: list[str], environment: Mapping[str, str], stdin: bytes, terminal: int | None, seconds: float
    ) -> tuple[int, bytes, bytes]:
        (reading, writing), *said = (os.pipe() for _ in range(3))
        theirs = [reading if terminal is None else terminal, *(end for _, end in said)]
        request = json.dumps([words, dict(environment), os.getcwd()]).encode()
        socket.send_fds(self._ours, [request], theirs)
        for number in (reading, *theirs[1:]):
            os.close(number)
        pid = int(self._ours.recv(32))
        with ThreadPoolExecutor(3) as threads:
            threads.submit(_feed, writing, stdin)
            out, err = (threads.submit(_drain, number) for number, _ in said)
            try:
                self._ours.settimeout(seconds)
                code = os.waitstatus_to_exitcode(int(self._ours.recv(32)))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._ours.settimeout(None)
                self._ours.recv(32)
                raise subprocess.TimeoutExpired([*COMMAND, *words], seconds) from None
            self._ours.settimeout(None)
        return code, out.result(), err.result()


@cache
def _template(also: str) -> _Template:
    return _Template(also)


def _feed(number: int, content: bytes) -> None:
    try:
        with open(number, "wb") as pipe:
            pipe.write(content)
    except BrokenPipeError:  # nobody reads it
        pass


def _drain(number: int) -> bytes:
    with open(number, "rb") as pipe:
        return pipe.read()


# --- the template


def _serve(asked: socket.socket, also: str) -> None:
    from filters import cli, senders

    senders.load()
    import_module(also or "filters")
    gc.freeze()
    while True:
        request, theirs, *_ = socket.recv_fds(asked, 1 << 20, 3)
        if not request:
            return
        child = os.fork()
        if not child:
            asked.close()
            _become(request, theirs)
            cli.main()
        for number in theirs:
            os.close(number)
        asked.send(str(child).encode())
        asked.send(str(os.waitpid(child, 0)[1]).encode())


def _become(request: bytes, theirs: Sequence[int]) -> None:
    words, environment, folder = json.loads(request)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    for number, pipe in enumerate(theirs):
        os.dup2(pipe, number)
        os.close(pipe)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (these three live as long as the process)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    sys.path[0] = folder
    sys.argv = [str(ROOT / "filters" / "__main__.py"), *words]
    sys.modules["__main__"].__package__ = "filters"  # by which the command knows its name


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(fileno=int(sys.argv[1])) as served:
        _serve(served, sys.argv[2])
