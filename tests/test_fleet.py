"""Many accounts at once: each by one worker at a time, whatever becomes of the workers; and one summary for all."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import dovecot
import log_rules
import mails
import pytest
from cluster import local_cluster
from dovecot import Dovecot
from processes import running
from test_cli import unpitch

from filters import __version__
from filters.cli import fleet
from filters.errors import RefusedError
from filters.limits import why_stopped

#: Accounts in a file of them.
COUNT = 4
DEFAULTS = f'[defaults]\ntrust_authserv = ["{mails.TRUSTED}"]\nto = "Ads"\n'


def box(root: Path, adverts: int = 1) -> Path:
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    for number in range(adverts):
        (root / "cur" / f"{number}.a:2,S").write_bytes(mails.mail(number=number))
    (root / "cur" / "90.b:2,S").write_bytes(mails.job_alert(90))
    return root


def write(path: Path, places: dict[str, str]) -> Path:
    path.write_text(
        DEFAULTS + "".join(f'\n[accounts.{name}]\nlocation = "{place}"\n' for name, place in places.items())
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    """Some Maildirs with an advert each."""
    return write(
        tmp_path / "accounts.toml", {f"a{number}": str(box(tmp_path / f"a{number}")) for number in range(COUNT)}
    )


def moved(tmp_path: Path) -> list[int]:
    """How many adverts lie in the target folder of each, and how many are left."""
    return [len(list((tmp_path / f"a{number}" / ".Ads" / "cur").glob("*"))) for number in range(COUNT)]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNPITCH_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_all_accounts_are_cleaned_and_summed_up(fleet_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    looked = unpitch("clean", "--accounts", str(fleet_file), "--dry-run", "--stats", state=state)
    assert looked.returncode == 0 and moved(tmp_path) == [0] * COUNT
    done = unpitch("clean", "--accounts", str(fleet_file), "--yes", "--stats", state=state)
    assert done.returncode == 0, done.stderr
    assert f"{COUNT} accounts: {COUNT} moved in {COUNT} folders; 0 failed" in done.stdout
    assert moved(tmp_path) == [1] * COUNT
    stats = json.loads(done.stdout.splitlines()[-1])
    assert stats["moved"] == COUNT and sorted(one["account"] for one in stats["accounts"]) == [
        f"a{n}" for n in range(COUNT)
    ]
    again = unpitch("clean", "--accounts", str(fleet_file), "--yes", state=state)
    assert again.returncode == 0 and f"{COUNT} accounts: 0 moved" in again.stdout
    back = unpitch("undo", "--last", state=state / "accounts" / "a3")
    assert back.returncode == 0 and moved(tmp_path) == [1, 1, 1, 0]


def test_one_account_that_fails_does_not_keep_the_others(fleet_file: Path, tmp_path: Path) -> None:
    (tmp_path / "a2" / "cur" / "0.a:2,S").unlink()
    for name in ("cur", "new", "tmp"):
        for path in (tmp_path / "a2" / name).iterdir():
            path.unlink()
        (tmp_path / "a2" / name).rmdir()
    done = unpitch("clean", "--accounts", str(fleet_file), "--yes", state=tmp_path / "state")
    assert done.returncode == 65
    assert "3 moved in 3 folders; 1 failed" in done.stdout
    assert f"{tmp_path / 'a2'}: no mail here" in done.stderr


def test_what_is_wrong_with_the_request_is_said(fleet_file: Path, tmp_path: Path) -> None:
    def said(*words: str) -> tuple[int, str]:
        done = unpitch("clean", *words, state=tmp_path / "state")
        return done.returncode, done.stderr

    broken = tmp_path / "broken.toml"
    broken.write_text(fleet_file.read_text() + '\n[accounts.more]\nlocation = "/x"\nkeyrin = true\n')
    broken.chmod(0o600)
    line = broken.read_text().splitlines().index("keyrin = true") + 1
    assert said("--accounts", str(broken), "--yes") == (
        2,
        f"unpitch: {broken}: line {line}: there is no key keyrin; did you mean keyring?. `unpitch config check` lists the mistakes.\n",
    )
    code, text = said("--accounts", str(tmp_path / "absent"), "--yes")
    assert code == 66 and "no such file" in text
    code, text = said("--accounts", str(fleet_file), "--yes", "--shard", "3/2")
    assert code == 2 and "--shard wants I/N" in text
    code, text = said("--accounts", str(fleet_file), "--yes", "--to", "Else")
    assert code == 2 and "under [defaults]" in text
    assert said("--accounts", str(fleet_file), str(tmp_path / "a1"), "--yes")[0] == 2
    assert moved(tmp_path) == [0] * COUNT


def test_parts_are_disjoint_and_whole(fleet_file: Path) -> None:
    parts = [{one.name for one in fleet.load_tasks(fleet_file, f"{i}/3", full=False, dry_run=False)} for i in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == [f"a{number}" for number in range(COUNT)]


def tasks(path: Path) -> list[fleet.Task]:
    return fleet.load_tasks(path, "", full=False, dry_run=False)


def test_a_killed_worker_costs_its_account_another_try(fleet_file: Path, state: Path, tmp_path: Path) -> None:
    ended, killed = threading.Event(), list[int]()

    def kill() -> None:
        while not ended.is_set() and len(killed) < 2:
            for pid in [one for one in running("filters.cli.fleet") if one not in killed][:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        all_done, stopped = fleet.clean_all(tasks(fleet_file), fleet.here(1), True, lambda _: None)
    finally:
        ended.set()
        killer.join()
    assert len(killed) == 2 and not stopped
    assert [done.error for done in all_done] == [""] * COUNT
    assert moved(tmp_path) == [1] * COUNT and not running("filters.cli.fleet")


def test_an_account_that_was_issued_twice_is_in_one_hand_at_a_time(
    fleet_file: Path, state: Path, tmp_path: Path
) -> None:
    twice = [one for one in tasks(fleet_file) for _ in range(2)]
    all_done, _ = fleet.clean_all(twice, fleet.here(4), True, lambda _: None)
    assert {done.exit_code for done in all_done} <= {0, 75}
    assert sum(done.moved for done in all_done) == COUNT and moved(tmp_path) == [1] * COUNT


def test_the_lease_of_an_account_is_held_by_whoever_cleans_it(fleet_file: Path, state: Path, tmp_path: Path) -> None:
    fleet.clean_all(tasks(fleet_file), fleet.here(1), True, lambda _: None)
    lock = next((state / "accounts" / "a1").glob("*.lock"))
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        all_done, _ = fleet.clean_all(tasks(fleet_file), fleet.here(2), True, lambda _: None)
    assert {done.account: done.exit_code for done in all_done} == {f"a{n}": 75 if n == 1 else 0 for n in range(COUNT)}


def test_one_host_has_no_more_at_a_time_than_allowed() -> None:
    todo = [fleet.Task(str(number), "one" if number % 4 else "two", "") for number in range(12)]
    pending = fleet._Pending(todo, 2)
    taken = [pending.take() for _ in range(4)]
    assert sorted(one[1].host for one in taken if one) == ["one", "one", "two", "two"]
    pending.give_back(fleet.Task("", "one", ""))
    assert (found := pending.take()) and found[1].host == "one"


def test_a_worker_of_another_version_is_refused(fleet_file: Path, state: Path, tmp_path: Path) -> None:
    job = json.loads(tasks(fleet_file)[0].job) | {"version": "0.0.1"}
    refusal = rf"A worker runs unpitch {__version__}, and this is 0\.0\.1"
    with pytest.raises(RefusedError, match=refusal):
        fleet.answer(json.dumps(job))
    todo = [replace(one, job=json.dumps(job)) for one in tasks(fleet_file)]
    with pytest.raises(RefusedError, match=refusal):  # by a process of its own, which ends
        fleet.clean_all(todo, fleet.here(1), True, lambda _: None)
    assert moved(tmp_path) == [0] * COUNT and not running("filters.cli.fleet")


def engine(answers: list[fleet.Answer]) -> fleet.Engine:
    def run(todo: Sequence[fleet.Task]) -> Generator[tuple[int, fleet.Answer], None, None]:
        yield from enumerate(answers[: len(todo)])

    return run


def test_it_stops_when_the_moves_leave_what_is_usual() -> None:
    todo = [fleet.Task(str(number), "", "") for number in range(100)]
    calm = [fleet.Answer((fleet.Done(str(number), moved=2),), "", 1.0) for number in range(100)]
    wild = [fleet.Answer((fleet.Done(str(number), moved=9),), "", 1.0) for number in range(100)]
    fresh = [fleet.Answer((fleet.Done(str(number), moved=9),), "", None) for number in range(100)]
    assert len(fleet.clean_all(todo, engine(calm), True, lambda _: None)[0]) == 100
    all_done, why = fleet.clean_all(todo, engine(wild), True, lambda _: None)
    assert len(all_done) == 20 and "80 accounts were not begun" in why
    assert fleet.clean_all(todo, engine(wild), False, lambda _: None)[1] == ""
    assert fleet.clean_all(todo, engine(fresh), True, lambda _: None)[1] == ""
    assert why_stopped(61, 20, 20) and not why_stopped(60, 20, 20) and not why_stopped(20, 0, 30)


# --- a Dask cluster


@pytest.fixture
def scheduler(tmp_path: Path, state: Path) -> Iterator[str]:
    pytest.importorskip("distributed")
    (tmp_path / "dask").mkdir()
    with local_cluster(tmp_path / "dask", 2) as address:
        yield address


def test_a_cluster_cleans_them_where_their_journals_lie(
    scheduler: str, fleet_file: Path, state: Path, tmp_path: Path
) -> None:
    words = ["clean", "--accounts", str(fleet_file), "--yes", "--scheduler", scheduler]
    done = unpitch(*words, "--log-format", "json", state=state)
    assert done.returncode == 0, done.stderr
    assert moved(tmp_path) == [1] * COUNT
    said = log_rules.lines(done.stderr)
    of_tasks = [
        json.loads(line) for line in (tmp_path / "dask" / "dask.log").read_text().splitlines() if line[:1] == "{"
    ]
    assert [one["event"] for one in said].count("account") == COUNT
    assert [one["event"] for one in of_tasks].count("task_done") == COUNT
    assert {one["run"] for one in of_tasks} == {said[0]["run"]}
    homes = json.loads((state / "accounts.json").read_text())
    assert homes == {f"a{number}": "127.0.0.1" for number in range(COUNT)}
    (state / "accounts.json").write_text(json.dumps(homes | {"a2": "10.9.8.7"}))
    done = unpitch(*words, state=state)
    assert done.returncode == 75
    assert done.stderr == "unpitch: a2: its journal lies on 10.9.8.7, where no worker is. Start one there.\n"


# --- Dovecot's master user


def test_a_master_user_cleans_the_mailbox_of_another(tmp_path: Path) -> None:
    if why := dovecot.missing():
        pytest.skip(why)
    more = """
auth_master_user_separator = *
passdb {
  driver = static
  args = password=secret
  master = yes
}
"""
    with Dovecot(more=more) as server:
        user = server.new_user()
        server.deliver(user, mails.mail(number=1))
        password = tmp_path / "password"
        password.write_text("secret\n")
        password.chmod(0o600)
        url = server.url(user, plain=True).replace(f"//{user}@", f"//{user}*boss@")
        path = write(tmp_path / "accounts.toml", {"delegated": url})
        path.write_text(path.read_text() + f'password_file = "{password}"\n')
        done = unpitch("clean", "--accounts", str(path), "--yes", state=tmp_path / "state")
        assert done.returncode == 0, done.stderr
        assert "1 accounts: 1 moved" in done.stdout
        assert len(list(server.maildir(user, ".Ads").glob("*/*"))) == 1
