"""`clean --accounts`: many accounts at once. One account is one task, which a worker process does, here or on a Dask cluster.

An account has a journal of its own, on the disk of the computer that cleans it, and the journal's lock is the lease: no two workers ever
have one account. On a cluster an account therefore stays with the computer that had it first.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from typing import Any
from uuid import uuid4

from rich.console import Console

from filters import __version__, cluster, config
from filters.cli import nightly
from filters.cli.ending import ENDING
from filters.cli.options import Access
from filters.errors import BusyError, FiltersError, InputError, NotFoundError, RefusedError, UsageError
from filters.journal import look_into
from filters.limits import DAYS, RUNS, why_stopped
from filters.log import divert, log, task
from filters.monitoring import Done
from filters.preferences import Preferences
from filters.registry import write_file
from filters.sources.location import SCHEMES, parse_url

#: How often an account is tried whose worker died.
ATTEMPTS = 3
#: Accounts of one host that are in hand at the same time, unless somebody says otherwise.
PER_HOST = 10
#: Bytes of a file of accounts.
_CAP = 100_000_000


@dataclass(frozen=True, slots=True)
class Task:
    """One account to be cleaned: `job` is what a worker gets; `host` is where its mail is, "" for a path."""

    name: str
    host: str
    job: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one account. `usual` is what its runs moved lately, on average; None where that cannot be said yet."""

    done: tuple[Done, ...]
    text: str = ""
    usual: float | None = None


#: Does tasks, and gives the number of each with its answer, in any order.
Engine = Callable[[Sequence[Task]], Generator[tuple[int, Answer], None, None]]


def load_tasks(path: Path, share: str, *, full: bool, dry_run: bool) -> list[Task]:
    """The accounts of a file that is written like the configuration, hosts in turn, so that none is asked for everything at once. With
    `share`, "i/n", the i-th of n parts, which the names of the accounts decide.

    Raises ConfigError, NotFoundError, UsageError.
    """
    part = re.fullmatch(r"(\d+)/(\d+)", share)
    if share and not (part and 1 <= int(part[1]) <= int(part[2])):
        raise UsageError(f"--shard wants I/N, such as 2/5 for the second of five parts; not {share}.")
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file. It has accounts, written as in the configuration.")
    found = config.load(path, _CAP)
    accounts = [one for one in found.accounts if not part or _number(one.name) % int(part[2]) == int(part[1]) - 1]
    todo, turns = [], Counter[str]()
    for one in accounts:
        host = parse_url(one.location).host if one.location.lower().startswith(SCHEMES) else ""
        tables = {
            "defaults": found.tables.get("defaults", {}),
            "accounts": {one.name: found.tables["accounts"][one.name]},
        }
        how = {"full": full, "dry_run": dry_run, "log": log().for_tasks()}
        job = json.dumps({"version": __version__, "tables": tables} | how)
        todo.append((turns[host], Task(one.name, host, job)))
        turns[host] += 1
    return [task for _, task in sorted(todo, key=lambda pair: pair[0])]


def _number(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:16], 16)


def clean_all(
    todo: Sequence[Task], engine: Engine, brake: bool, tell: Callable[[Answer], object]
) -> tuple[list[Done], str]:
    """Clean them. What was done, and why it was stopped ("" when it was not): by the brake, once all that is moved leaves what is usual."""
    all_done: list[Done] = []
    begun: set[int] = set()
    moved, usual, counted = 0, 0.0, 0
    why = ""
    answers = engine(todo)
    try:
        for number, answer in answers:
            begun.add(number)
            all_done += answer.done
            tell(answer)
            if answer.usual is not None:
                moved, usual, counted = moved + sum(one.moved for one in answer.done), usual + answer.usual, counted + 1
                why = why_stopped(moved, usual, counted) if brake else ""
            if why:
                break
    finally:
        answers.close()
    return all_done, f"{why} {len(todo) - len(begun):,} accounts were not begun." if why else ""


# --- the worker


def answer(job: str) -> str:
    """Clean one account, and say what was done, as JSON. Raises RefusedError when this is not the unpitch that asks."""
    asked = json.loads(job)
    if asked["version"] != __version__:
        raise RefusedError(
            f"A worker runs unpitch {__version__}, and this is {asked['version']}. Install the same on all."
        )
    said = config.read(asked["tables"])
    account, out = said.accounts[0], io.StringIO()
    journal = journal_of(account.name)
    usual = _usual(journal)
    way_in, shown = (
        Access(None, Preferences(), said),
        Console(file=out, highlight=False, emoji=False, markup=False, width=120),
    )
    done, refused = list[Done](), set[str]()
    with task(asked["log"], account.name) as told:
        for location in account.locations():
            how = {"dry_run": asked["dry_run"], "full": asked["full"]}
            done.append(nightly.clean_location(shown, way_in, location, journal, refused, **how, ask=None))
        told["exit_code"] = next((one.exit_code for one in done if one.exit_code), 0)
    return json.dumps({"done": [asdict(one) for one in done], "text": out.getvalue(), "usual": usual})


def journal_of(name: str) -> Path:
    """The journal of an account of a fleet. UNPITCH_STATE set to its folder, `runs` and `undo` are about that account."""
    return config.state_folder() / "accounts" / name / "journal.sqlite3"


def _usual(path: Path) -> float | None:
    journal = look_into(path)
    if not journal:
        return None
    since = datetime.now(UTC) - timedelta(days=DAYS)
    with journal:
        runs = [run.id for run in journal.runs() if run.command == "clean" and run.ended and run.started > since]
        tallies = journal.tallies()
    return sum(tallies[run]["done"] for run in runs if run in tallies) / len(runs) if len(runs) >= RUNS else None


def _read(text: str) -> Answer:
    record = json.loads(text)
    if "refused" in record:
        raise RefusedError(record["refused"])
    return Answer(tuple(Done(**one) for one in record["done"]), record["text"], record["usual"])


def _died(task: Task) -> Answer:
    error = f"The process that cleaned it died {ATTEMPTS} times. What it left open is settled by the next run."
    return Answer((Done(task.name, exit_code=FiltersError.exit_code, error=f"{task.name}: {error}"),))


def main() -> None:
    """A worker of this computer: a task on each line of stdin, its answer on each line of stdout. SIGTERM lets a batch finish."""
    ENDING.obey()
    divert()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing that prints can write among the answers
    for job in sys.stdin:
        try:
            text = answer(job)
        except RefusedError as error:
            text = json.dumps({"refused": str(error)})
        print(text, file=answers, flush=True)


# --- processes of this computer


class _Pending:
    """What is still to be done, for threads that take it as hosts have room."""

    def __init__(self, todo: Sequence[Task], per_host: int) -> None:
        self._todo, self._per_host = list(enumerate(todo)), per_host
        self._busy: Counter[str] = Counter()
        self._changed = threading.Condition()
        self.ended = False

    def take(self) -> tuple[int, Task] | None:
        """The next whose host has room; waits for one. None: there is nothing more."""
        with self._changed:
            while self._todo and not self.ended:
                for at, (number, task) in enumerate(self._todo):
                    if not task.host or self._busy[task.host] < self._per_host:
                        del self._todo[at]
                        self._busy[task.host] += 1
                        return number, task
                self._changed.wait()
            return None

    def give_back(self, task: Task) -> None:
        with self._changed:
            self._busy[task.host] -= 1
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()


def here(processes: int = 0, per_host: int = PER_HOST) -> Engine:
    """So many workers of this computer (0: four for each processor, because servers are waited for), which last; at most `per_host` of them
    on one host."""
    at_once = processes or 4 * len(os.sched_getaffinity(0))

    def run(todo: Sequence[Task]) -> Generator[tuple[int, Answer], None, None]:
        pending, running = _Pending(todo, per_host), set[subprocess.Popen[str]]()
        given: Queue[tuple[int, Answer] | BaseException | None] = Queue()
        threads = [
            threading.Thread(target=_serve, args=(pending, running, given)) for _ in range(min(at_once, len(todo)))
        ]
        try:
            for thread in threads:
                thread.start()
            left = len(threads)
            while left:
                match given.get():
                    case None:
                        left -= 1
                    case BaseException() as error:
                        raise error
                    case (number, found):
                        yield number, found
        finally:
            pending.end()
            for process in list(running):
                with suppress(OSError):
                    process.terminate()  # it finishes its batch
            for thread in threads:
                thread.join()

    return run


def _serve(pending: _Pending, running: set[subprocess.Popen[str]], given: Queue[Any]) -> None:
    """Take tasks, and have a process of our own do them, until there is nothing more."""
    process: subprocess.Popen[str] | None = None
    try:
        while taken := pending.take():
            number, task = taken
            found = None
            for attempt in range(1, ATTEMPTS + 1):
                if process is None or process.poll() is not None:
                    process = _start()
                    running.add(process)
                if (found := _ask(process, task)) or pending.ended:
                    break
                log().event("task_died", account=task.name, attempt=attempt)
                _end(process, running)
            pending.give_back(task)
            if found or not pending.ended:
                given.put((number, found or _died(task)))
    except BaseException as error:  # it is the other thread's to tell
        given.put(error)
    finally:
        if process:
            _end(process, running)
        given.put(None)


def _end(process: subprocess.Popen[str], running: set[subprocess.Popen[str]]) -> None:
    """Nothing more to do ends it."""
    with suppress(OSError):
        process.communicate()
    running.discard(process)


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-m", "filters.cli.fleet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if log().as_json else subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        start_new_session=True,  # Ctrl-C is for the process that asks; it ends this one
        text=True,
        encoding="utf-8",
    )


def _ask(process: subprocess.Popen[str], task: Task) -> Answer | None:
    """The answer to one task; None when the process died over it."""
    assert process.stdin and process.stdout  # noqa: S101 (pipes were asked for)
    try:
        process.stdin.write(task.job + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        return None
    return _read(line) if line.endswith("\n") else None


# --- a Dask cluster


def on_cluster(address: str) -> Engine:
    """The workers of a Dask cluster. An account goes to the computer that had it before, as a file beside the journals says; a new one to that
    with the fewest. Where workers declare a resource with the name of a mail server (`--resources "imap.example.org=2"`), an account
    there takes one of it.

    Raises like `cluster.connect`.
    """

    def run(todo: Sequence[Task]) -> Generator[tuple[int, Answer], None, None]:
        with cluster.connect(address) as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            homes = _Homes({one["host"] for one in workers.values()})
            declared = {name for one in workers.values() for name in one["resources"]}
            futures, absent = {}, []
            for number, task in enumerate(todo):
                host = homes.of(task.name)
                at = [name for name, one in workers.items() if one["host"] == host]
                if at:
                    resources = {task.host: 1} if task.host in declared else None
                    future = client.submit(
                        answer,
                        task.job,
                        key=f"unpitch-{uuid4()}",
                        retries=ATTEMPTS - 1,
                        workers=at,
                        resources=resources,
                    )
                    futures[future] = number
                else:
                    absent.append((number, _elsewhere(task, host)))
            homes.write()
            yield from absent
            for future, error, result in cluster.completed(client, futures):
                number = futures.pop(future)
                yield number, _died(todo[number]) if error else _read(result)

    return run


class _Homes:
    """On which computer the journal of each account lies."""

    def __init__(self, hosts: set[str]) -> None:
        self._path = config.state_folder() / "accounts.json"
        try:
            self._homes: dict[str, str] = json.loads(self._path.read_text())
        except FileNotFoundError:
            self._homes = {}
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self._path} cannot be read: it says on which computer the journal of each account lies. Restore it from a backup."
            ) from error
        self._counts = Counter(dict.fromkeys(sorted(hosts), 0))
        self._counts.update(home for home in self._homes.values() if home in hosts)

    def of(self, name: str) -> str:
        """Where an account is at home, from now on if it is new."""
        if name not in self._homes:
            self._homes[name] = min(self._counts, key=lambda host: self._counts[host])
            self._counts[self._homes[name]] += 1
        return self._homes[name]

    def write(self) -> None:
        """Keep it. Raises WriteError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(self._homes, indent=0).encode()
        write_file(self._path, lambda file: file.write(text))


def _elsewhere(task: Task, host: str) -> Answer:
    error = f"{task.name}: its journal lies on {host}, where no worker is. Start one there."
    return Answer((Done(task.name, exit_code=BusyError.exit_code, error=error),))


if __name__ == "__main__":
    main()
