"""Mail archives in many pieces: each shard is looked through by a process of its own, here or on a Dask cluster.

The work unit is `look_through`, a pure function from a shard and how to judge to lines of JSON: findings, then what was seen
besides. Lines of a shard wait in a file until it is their turn, so that findings come in the order of the shards, and memory
does not grow with their number. A process that dies costs its shard another try, and nothing else.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from filters import __version__, cluster, senders
from filters.authenticity import Authserv
from filters.errors import FiltersError, RefusedError, WriteError
from filters.journal import Candidate
from filters.log import divert, log, task
from filters.sources import Place, Unreadable, place_name
from filters.sources.local import open_local
from filters.sweep import Finding, Policy, Setup, Tally, sweep
from filters.wording import Wording

#: How often a shard is tried whose process died.
ATTEMPTS = 3
#: Messages after which a process says how far it is.
_SAY_AFTER = 1_000
#: Bytes of single files that one process takes in hand together: starting it costs as much as reading those.
_TOGETHER = 16_777_216

#: Is told of so many more messages and shards that were looked through; by any thread.
Told = Callable[[int, int], object]
#: Runs units of work, each a JSON list of shards: (what is to be run, a folder for the lines, whom to tell). Gives the number of each
#: unit when its lines are whole, in any order, in the file `_lines_of` that folder and unit.
Engine = Callable[[Sequence[str], Path, Told], Generator[int, None, None]]


@dataclass(frozen=True, slots=True)
class Shard:
    """One local source, and how what it holds is judged."""

    location: str
    setup: Setup
    policy: Policy
    account: str | int = 0
    """What the log calls it."""

    def as_json(self) -> dict[str, Any]:
        """What a process needs to look through it; the model and the data by their digest, for it to check."""
        return {
            "version": __version__,
            "location": self.location,
            "model": self.setup.model,
            "digest": self.setup.digest(),
            "trusted": [[one.id, one.placement] for one in self.setup.trusted],
            "never": list(self.setup.never),
            "move": sorted(self.policy.move),
            "unverified": self.policy.unverified,
            "older_than": self.policy.older_than.isoformat() if self.policy.older_than else "",
            "account": self.account,
            "log": log().for_tasks(),
        }


def lines_of(unit: str) -> Iterator[bytes]:
    """The lines of each shard of a unit, in turn."""
    for shard in json.loads(unit):
        with task(shard["log"], shard["account"]) as told:
            for line in look_through(shard):
                if line.startswith(b'["failed"'):
                    told["exit_code"] = json.loads(line)[2]
                yield line


def look_through(shard: dict[str, Any]) -> Iterator[bytes]:
    """The lines of one shard: ["passed", messages so far], ["finding", ...]; ["end", ...] with the tally, or ["failed", text, exit
    code], is always the last.

    Raises RefusedError when this is not the unpitch that asks, or has not its model.
    """
    asked, sender = shard, senders.load()
    if asked["version"] != __version__:
        raise RefusedError(
            f"A worker runs unpitch {__version__}, and this is {asked['version']}. Install the same on all."
        )
    trusted = tuple(Authserv(*pair) for pair in asked["trusted"])
    how = Setup(sender, asked["model"], trusted, 1, tuple(asked["never"]))
    if asked["digest"] != how.digest():
        raise RefusedError(
            f"A worker has another model or other data than this unpitch ({how.model}). Use the same on all."
        )
    older = datetime.fromisoformat(asked["older_than"]) if asked["older_than"] else None
    wanted = Policy(frozenset(asked["move"]), asked["unverified"], older)
    tally, said = Tally(), 0
    try:
        with closing(open_local(asked["location"], changes=False, stdin=io.BytesIO())) as source:
            name = place_name(source)
            for finding in sweep(source, how, wanted, {}, tally):
                yield _line("finding", dataclasses.asdict(finding))
                if tally.messages - said >= _SAY_AFTER:
                    said = tally.messages
                    yield _line("passed", said)
    except FiltersError as error:
        yield _line("failed", str(error), error.exit_code)
        return
    yield _line(
        "end",
        tally.messages,
        name,
        [dataclasses.asdict(one) for one in tally.unreadable],
        [[one.id, one.placement, count] for one, count in tally.authserv_ids.items()],
    )


def _line(*content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


# --- the asking side: findings in the order of the shards


@dataclass(slots=True)
class Seen:
    """What was seen besides findings; `failed` says of each shard that could not be looked through to the end why, and an exit code."""

    tally: Tally = field(default_factory=Tally)
    sources: list[str] = field(default_factory=list)
    failed: list[tuple[str, int]] = field(default_factory=list)

    def fail(self, shard: Shard, why: str, exit_code: int) -> None:
        """Note a shard that could not be looked through to the end."""
        self.failed.append((why, exit_code))
        log().event("account", level="error", account=shard.account, exit_code=exit_code, error=why)


def findings(
    shards: Sequence[Shard], run: Engine, seen: Seen, told: Told = lambda _messages, _shards: None
) -> Generator[Finding, None, None]:
    """Findings of all shards, in their order, as one process would have them. The lines of what was done early wait on the disk (TMPDIR).

    Raises RefusedError for a worker that is another unpitch; WriteError; whatever the engine raises.
    """
    units = _units(shards)
    with tempfile.TemporaryDirectory(prefix="unpitch-") as name:
        folder, done, turn = Path(name), set[int](), 0
        asked = [json.dumps([one.as_json() for one in unit]) for unit in units]
        with closing(run(asked, folder, told)) as finished:
            for unit in finished:
                done.add(unit)
                while turn in done:
                    path = _lines_of(folder, turn)
                    yield from _read(path, units[turn], seen)
                    path.unlink()
                    turn += 1


def _units(shards: Sequence[Shard]) -> list[list[Shard]]:
    """Neighbours that are small files go together."""
    units: list[list[Shard]] = []
    room = 0
    for shard in shards:
        size = os.path.getsize(shard.location) if os.path.isfile(shard.location) else _TOGETHER
        if size > room:
            units.append([])
            room = _TOGETHER
        units[-1].append(shard)
        room -= size
    return units


def _read(path: Path, unit: list[Shard], seen: Seen) -> Iterator[Finding]:
    waiting, found = list(unit), 0
    with path.open("rb") as file:
        for line in file:
            kind, *content = json.loads(line)
            if kind == "finding":
                found += 1
                yield _finding(content[0])
            elif kind == "failed":
                seen.fail(waiting.pop(0), content[0], content[1])
                found = 0
            elif kind == "end":
                counts = {"messages": content[0], "found": found, "unreadable": len(content[2])}
                log().event("account", account=waiting.pop(0).account, **counts, exit_code=0)
                seen.sources.append(content[1])
                _add(seen.tally, content[0], *content[2:])
                found = 0
    died = f"the process that looked through it died {ATTEMPTS} times. Look at it alone with `unpitch audit`."
    for one in waiting:
        seen.fail(one, f"{one.location}: {died}", FiltersError.exit_code)


def _finding(record: dict[str, Any]) -> Finding:
    candidate, wording = record["candidate"], record["wording"]
    return Finding(
        **record
        | {
            "candidate": Candidate(**candidate | {"place": Place(**candidate["place"])}),
            "evidence": tuple(record["evidence"]),
            "wording": wording and Wording(wording["text_id"], wording["quote"], tuple(wording["promises"])),
        }
    )


def _add(tally: Tally, messages: int, unreadable: list[dict[str, Any]], ids: list[list[Any]]) -> None:
    tally.messages += messages
    tally.unreadable += [Unreadable(Place(**one["place"]), one["reason"]) for one in unreadable]
    tally.authserv_ids += Counter({Authserv(id, placement): count for id, placement, count in ids})


def _lines_of(folder: Path, unit: int) -> Path:
    return folder / f"{unit}.jsonl"


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
        log().event("task_died", account=json.loads(unit)[0]["account"], attempt=attempt)


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
    for line in lines:
        if not line.startswith(b'["finding"'):
            kind, *content = json.loads(line)
            if kind == "refused":
                raise RefusedError(content[0])
            if kind == "passed":
                told(content[0] - before, 0)
                before = content[0]
                continue
            told(content[0] - before if kind == "end" else 0, 1)
            before = 0
        file.write(line)


@contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = (error.strerror or "unknown error").lower()
        raise WriteError(
            f"Findings cannot be kept in {tempfile.gettempdir()}: {why}. Make room, or set TMPDIR."
        ) from error


def main() -> None:
    """One unit: its shards come on stdin, its lines go to stdout."""
    divert()
    with suppress(BrokenPipeError):
        try:
            for line in lines_of(sys.stdin.read()):
                sys.stdout.buffer.write(line)
        except RefusedError as error:
            sys.stdout.buffer.write(_line("refused", str(error)))
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
    return zlib.compress(b"".join(line for line in lines_of(unit) if not line.startswith(b'["passed"')))


if __name__ == "__main__":
    main()
