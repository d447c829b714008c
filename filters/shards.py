"""Mail archives in many pieces: each shard is looked through by a process of its own, here or on a Dask cluster.

The work unit is a task, a pure function from a shard (a JSON object that says where it lies, and what is asked) to lines of JSON.
They wait in a file until it is their turn, so that they come in the order of the shards, and memory does not grow with their
number. A process that dies costs its shard another try, and nothing else.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from filters import __version__, cluster
from filters.errors import FiltersError, RefusedError, WriteError
from filters.log import divert, log, task

#: How often a shard is tried whose process died.
ATTEMPTS = 3
#: Messages after which a task says how far it is.
SAY_AFTER = 1_000
#: Bytes of single files that one process takes in hand together: starting it costs as much as reading those.
_TOGETHER = 16_777_216
#: How lines begin that say how far it is, or that a shard is done with; what is found is between.
_TOLD = (b'["passed"', b'["end"', b'["failed"', b'["refused"')

#: Looks through a shard. ["passed", messages so far] may come at any time; ["end", messages, ...] or ["failed", text, exit code] is
#: always the last line; all others are what was found.
Task = Callable[[dict[str, Any]], Iterator[bytes]]
#: Is told of so many more messages and shards that were looked through; by any thread.
Told = Callable[[int, int], object]
#: Runs units of work, each the JSON of a task and some shards: (what is to be run, a folder for the lines, whom to tell). Gives the
#: number of each unit when its lines are whole, in any order, in the file `_lines_of` that folder and unit.
Engine = Callable[[Sequence[str], Path, Told], Generator[int, None, None]]


def line(*content: Any) -> bytes:
    """One line of a task: what it is, and what belongs to it."""
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def lines_of(unit: str) -> Iterator[bytes]:
    """The lines of each shard of a unit, in turn. Raises RefusedError when this is not the unpitch that asks; and like its task."""
    asked = json.loads(unit)
    if asked["version"] != __version__:
        raise RefusedError(
            f"A worker runs unpitch {__version__}, and this is {asked['version']}. Install the same on all."
        )
    module, _, name = asked["task"].partition(":")
    look: Task = getattr(import_module(module), name)
    for shard in asked["shards"]:
        with task(asked["log"], shard["account"]) as told:
            for one in look(shard):
                if one.startswith(b'["failed"'):
                    told["exit_code"] = json.loads(one)[2]
                yield one


def in_order(
    look: str, shards: Sequence[dict[str, Any]], run: Engine, told: Told
) -> Generator[tuple[Any, ...], None, None]:
    """What a task ("package.module:function") says of shards with a "location" and an "account", which is what the log calls them, in
    their order: the number of the shard, then what a line holds. The last of each shard is "end" or "failed". The lines of what was done early wait on the disk (TMPDIR).

    Raises RefusedError for a worker that is another unpitch; WriteError; whatever the engine raises.
    """
    units = _units(shards)
    with tempfile.TemporaryDirectory(prefix="unpitch-") as name:
        folder, done, turn, first = Path(name), set[int](), 0, 0
        head = {"version": __version__, "task": look, "log": log().for_tasks()}
        asked = [json.dumps(head | {"shards": unit}) for unit in units]
        with closing(run(asked, folder, told)) as finished:
            for unit in finished:
                done.add(unit)
                while turn in done:
                    path = _lines_of(folder, turn)
                    yield from _read(path, units[turn], first)
                    path.unlink()
                    first += len(units[turn])
                    turn += 1


def _units(shards: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Neighbours that are small files go together."""
    units: list[list[dict[str, Any]]] = []
    room = 0
    for shard in shards:
        place = shard["location"]
        size = os.path.getsize(place) if os.path.isfile(place) else _TOGETHER
        if size > room:
            units.append([])
            room = _TOGETHER
        units[-1].append(shard)
        room -= size
    return units


def _read(path: Path, unit: list[dict[str, Any]], first: int) -> Iterator[tuple[Any, ...]]:
    """The lines of a unit whose first shard has this number."""
    ended = 0
    with path.open("rb") as file:
        for one in file:
            kind, *content = json.loads(one)
            yield first + ended, kind, *content
            ended += kind in ("end", "failed")
    died = f"the process that looked through it died {ATTEMPTS} times. Look at it alone with `unpitch audit`."
    for number in range(ended, len(unit)):
        yield first + number, "failed", f"{unit[number]['location']}: {died}", FiltersError.exit_code


def _lines_of(folder: Path, unit: int) -> Path:
    return folder / f"{unit}.jsonl"


def engine(processes: int, scheduler: str) -> Engine:
    """The cluster at the address of a scheduler; with "" processes of this computer."""
    return on_cluster(scheduler) if scheduler else here(processes)


# --- processes of this computer


def here(processes: int = 0) -> Engine:
    """So many processes at a time; 0: one for each processor that we may use."""
    at_once = processes or len(os.sched_getaffinity(0))

    def run(units: Sequence[str], folder: Path, told: Told) -> Generator[int, None, None]:
        running: set[subprocess.Popen[bytes]] = set()
        ended = threading.Event()
        pool = ThreadPoolExecutor(at_once)
        try:
            waiting = {
                pool.submit(_in_a_process, unit, _lines_of(folder, number), running, ended, told): number
                for number, unit in enumerate(units)
            }
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    future.result()
                    yield waiting.pop(future)
        finally:
            ended.set()
            for process in list(running):
                process.kill()
            pool.shutdown(cancel_futures=True)

    return run


def _in_a_process(
    unit: str, path: Path, running: set[subprocess.Popen[bytes]], ended: threading.Event, told: Told
) -> None:
    """Write the lines of a unit to `path`. When the process dies they are begun anew, up to `ATTEMPTS` times."""
    for attempt in range(1, ATTEMPTS + 1):
        if ended.is_set():
            return
        with _spooling(), path.open("wb") as file, _start() as process:
            running.add(process)
            try:
                assert process.stdin and process.stdout  # noqa: S101 (pipes were asked for)
                with suppress(BrokenPipeError):
                    process.stdin.write(unit.encode())
                    process.stdin.close()
                _take(process.stdout, file, told)
            except BaseException:
                process.kill()
                raise
            finally:
                code = process.wait()
                running.discard(process)
        if not code:
            return
        log().event("task_died", account=json.loads(unit)["shards"][0]["account"], attempt=attempt)


def _start() -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH", "TZ") if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "filters.shards"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if log().as_json else subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the process that asks; it ends this one
    )


def _take(lines: IO[bytes], file: IO[bytes], told: Told) -> None:
    """Copy what is to be kept, and tell of the rest. Raises RefusedError when the process refuses."""
    before = 0
    for one in lines:
        if one.startswith(_TOLD):
            kind, *content = json.loads(one)
            if kind == "refused":
                raise RefusedError(content[0])
            if kind == "passed":
                told(content[0] - before, 0)
                before = content[0]
                continue
            told(content[0] - before if kind == "end" else 0, 1)
            before = 0
        file.write(one)


@contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = (error.strerror or "unknown error").lower()
        raise WriteError(
            f"What was found cannot be kept in {tempfile.gettempdir()}: {why}. Make room, or set TMPDIR."
        ) from error


def main() -> None:
    """One unit: its shards come on stdin, its lines go to stdout."""
    divert()
    with suppress(BrokenPipeError):
        try:
            for one in lines_of(sys.stdin.read()):
                sys.stdout.buffer.write(one)
        except RefusedError as error:
            sys.stdout.buffer.write(line("refused", str(error)))
        sys.stdout.flush()
        return
    os._exit(0)  # nobody listens any more


# --- a Dask cluster


def on_cluster(address: str) -> Engine:
    """The workers of a Dask cluster, which must see the same paths. Raises like `cluster.connect`."""

    def run(units: Sequence[str], folder: Path, told: Told) -> Generator[int, None, None]:
        with cluster.connect(address) as client:
            futures = {
                client.submit(answer, unit, key=f"unpitch-{uuid4()}", retries=ATTEMPTS - 1): number
                for number, unit in enumerate(units)
            }
            for future, error, packed in cluster.completed(client, futures):
                number = futures.pop(future)
                lines = b"" if error else zlib.decompress(packed)  # those that are missing are seen where they are read
                with _spooling(), _lines_of(folder, number).open("wb") as file:
                    _take(io.BytesIO(lines), file, told)
                yield number

    return run


def answer(unit: str) -> bytes:
    """The lines of a unit as they travel: packed by zlib."""
    return zlib.compress(b"".join(one for one in lines_of(unit) if not one.startswith(b'["passed"')))


if __name__ == "__main__":
    main()
