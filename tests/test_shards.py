"""Archives in many files: the same findings as one process has, whatever becomes of the processes that look through them."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mails
import pytest
from cluster import local_cluster
from processes import running
from test_cli import COMMAND, TRUST, unpitch
from test_cli_training import WANTED as KINDS
from test_cli_training import maildir

from filters import __version__, senders, shards
from filters import model as models
from filters.archive import Seen, Shard, findings
from filters.authenticity import parse_trust
from filters.errors import FiltersError, RefusedError
from filters.gathering import gather
from filters.labelled import Label, Read, Sealed, read_labelled
from filters.model import shipped
from filters.sources.local import open_local
from filters.sweep import Policy, Setup

SENDER = senders.load()
HOW = Setup(SENDER, str(shipped(SENDER.name)), (parse_trust(mails.TRUSTED),))
WANTED = Policy(frozenset(SENDER.promotional))


def mbox(path: Path, *raws: bytes) -> Path:
    path.write_bytes(
        b"".join(b"From x@example.org Mon Jan  1 00:00:00 2024\n" + raw.replace(b"\r\n", b"\n") + b"\n" for raw in raws)
    )
    return path


@pytest.fixture
def archive(tmp_path: Path) -> list[str]:
    """Two mbox files, a Maildir, a folder of .eml, one .eml; with adverts, other mail, and mail that cannot be read."""
    box = tmp_path / "box"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
    for number in range(20, 26):
        (box / "cur" / f"{number}.h:2,S").write_bytes(mails.mail(number=number) if number % 2 else mails.friend(number))
    (box / "cur" / "26.h:2,S").write_bytes(b"X-LinkedIn-Class: INMAIL\r\nX-Junk: " + b"a" * 70_000 + b"\r\n\r\nhello")
    folder = tmp_path / "eml"
    folder.mkdir()
    (folder / "a.eml").write_bytes(mails.job_alert(30))
    (folder / "b.eml").write_bytes(mails.mail(number=31))
    (tmp_path / "one.eml").write_bytes(mails.security(40))
    return [
        str(mbox(tmp_path / "1.mbox", *(mails.mail(number=number) for number in range(1, 9)), mails.forged(9))),
        str(box),
        str(mbox(tmp_path / "2.mbox", *(mails.job_alert(number) for number in range(10, 16)))),
        str(folder),
        str(tmp_path / "one.eml"),
    ]


def alone(archive: list[str], tmp_path: Path, *words: str) -> str:
    """What one process after another says."""
    texts = [unpitch("audit", one, *TRUST, *words, state=tmp_path / "state").stdout for one in archive]
    return "".join(texts)


def test_the_findings_are_those_of_one_process_byte_for_byte(archive: list[str], tmp_path: Path) -> None:
    done = unpitch("audit", *archive, *TRUST, "--format", "jsonl", "--jobs", "2", state=tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert done.stdout == alone(archive, tmp_path, "--format", "jsonl")
    assert len(done.stdout.splitlines()) == 8 + 1 + 3 + 6 + 2 + 1


def test_a_report_of_many_files_has_everything_in_it(archive: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = unpitch("audit", *archive, *TRUST, "--format", "json", "--html", str(page), state=tmp_path / "state")
    data = json.loads(done.stdout)
    assert data["summary"]["sources"] == [os.path.realpath(one) for one in archive]
    assert data["summary"]["messages"] == 9 + 7 + 6 + 2 + 1
    assert data["summary"]["authenticity"]["forged"] == 1
    assert [one["key"] for one in data["summary"]["unreadable"]] == ["26.h"]
    assert "<html" in page.read_text()


def test_a_shard_that_cannot_be_read_is_named_and_the_rest_goes_on(archive: list[str], tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"\x1f\x8b\x08\x00 no mail")
    done = unpitch(
        "audit",
        archive[0],
        str(junk),
        str(tmp_path / "absent"),
        archive[2],
        *TRUST,
        "--format",
        "jsonl",
        state=tmp_path / "state",
    )
    assert done.returncode == 65
    assert "junk is no mail" in done.stderr and "absent: no such path" in done.stderr
    assert done.stdout == alone([archive[0], archive[2]], tmp_path, "--format", "jsonl")


def listed(archive: list[str]) -> list[Shard]:
    return [Shard(one, HOW, WANTED) for one in archive]


def killing(times: int) -> shards.Engine:
    """`here`, but whatever process looks through a shard is killed, so many times."""
    import threading

    def run(units: object, folder: Path, told: shards.Told) -> Iterator[int]:
        done = threading.Event()
        killed: set[int] = set()

        def kill() -> None:
            while not done.is_set() and len(killed) < times:
                for child in set(running("filters.shards")) - killed:
                    os.kill(child, signal.SIGKILL)
                    killed.add(child)
                    break
                time.sleep(0.05)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            yield from shards.here(1)(units, folder, told)  # type: ignore[arg-type]
        finally:
            done.set()
            killer.join()
        assert len(killed) == times

    return run  # type: ignore[return-value]


def test_a_killed_process_costs_its_shard_another_try(archive: list[str]) -> None:
    plain, struck = Seen(), Seen()
    expected = list(findings(listed(archive), shards.here(2), plain))
    assert list(findings(listed(archive), killing(2), struck)) == expected
    assert not struck.failed and struck.tally.messages == plain.tally.messages == 25


def test_a_shard_that_kills_every_process_is_named(archive: list[str]) -> None:
    seen = Seen()
    found = list(findings(listed(archive[:1]), killing(shards.ATTEMPTS), seen))
    assert not found
    assert [code for _, code in seen.failed] == [FiltersError.exit_code]
    assert archive[0] in seen.failed[0][0] and "died 3 times" in seen.failed[0][0]


def test_breaking_off_ends_the_processes(archive: list[str]) -> None:
    found = findings(listed(archive), shards.here(2), Seen())
    next(found)
    found.close()
    assert not running("filters.shards")


def test_a_worker_of_another_version_or_with_another_model_is_refused(archive: list[str]) -> None:
    unit = {
        "version": __version__,
        "task": "filters.archive:look_through",
        "log": {},
        "shards": [listed(archive)[0].as_json()],
    }
    with pytest.raises(RefusedError, match=r"A worker runs unpitch .*, and this is 0\.0\.1"):
        shards.answer(json.dumps(unit | {"version": "0.0.1"}))
    with pytest.raises(RefusedError, match="another model"):
        shards.answer(json.dumps(unit | {"shards": [unit["shards"][0] | {"digest": "0" * 64}]}))


def test_mail_that_unpitch_moves_is_looked_through_with_the_journal(archive: list[str], tmp_path: Path) -> None:
    """What was taken back stays, also when other files are looked through beside it."""
    state, box = tmp_path / "state", archive[1]
    for words in (["clean", box, "--yes"], ["undo", "--last"]):
        assert unpitch(*words, *(TRUST if words[0] == "clean" else []), state=state).returncode == 0
    done = unpitch("audit", box, archive[0], *TRUST, "--format", "jsonl", state=state)
    kept = [
        json.loads(line)["reason"]
        for line in done.stdout.splitlines()
        if json.loads(line)["source"] == os.path.realpath(box)
    ]
    assert "you took it back once" in kept
    refused = unpitch("audit", box, "--scheduler", "tcp://127.0.0.1:9", state=state)
    assert refused.returncode == 2 and "--scheduler is for mail in files" in refused.stderr


# --- labelled mail

OPEN = partial(open_local, changes=False, stdin=io.BytesIO())


def labels(archive: list[str]) -> list[Label]:
    """Two labels by folder, and a list that names two mails of one."""
    table = {"a.eml": "keep", "2@linkedin.com": "promotional"}
    names = ["promotional", "keep", "keep", ""]
    return [Label(name, one, by=None if name else table) for name, one in zip(names, archive, strict=False)]


def gathered(archive: list[str], run: shards.Engine, read: Read) -> list[Sealed]:
    found = gather(labels(archive), run, ours=True, general=True, read=read, told=lambda _messages, _shards: None)
    return list(found)


def in_turn(archive: list[str], read: Read) -> list[Sealed]:
    return list(read_labelled(labels(archive), OPEN, SENDER, ours=True, general=True, read=read))


def test_labelled_mail_is_the_same_whoever_reads_it(archive: list[str], scheduler: str) -> None:
    """By one process in turn, by two, by the workers of a cluster, and when the process that reads a file is killed: so is the model."""
    expected = Read()
    in_turn_ = in_turn(archive, expected)
    assert len(in_turn_) == 8 + 3 + 6 + 1 and expected.passed["unlabelled"] == 1
    for run in (shards.here(2), shards.on_cluster(scheduler), killing(1)):
        read = Read()
        assert gathered(archive, run, read) == in_turn_
        assert read == expected


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_learnt_from(tmp_path: Path) -> None:
    ads, inbox = maildir(tmp_path / "ads", ("partner_inmail",), 22), maildir(tmp_path / "inbox", KINDS, 6)
    said = [f"promotional={ads}", f"keep={inbox}", f"keep={tmp_path / 'absent'}"]
    words = ["train", *(word for one in said for word in ("--label", one)), "--from-scratch", "--output"]
    done = unpitch(*words, str(tmp_path / "model.json"), state=tmp_path / "state")
    assert done.returncode == 66, done.stderr
    assert "1 file could not be read to the end:" in done.stdout
    assert done.stderr.count("\n") == 1 and "absent: no such path" in done.stderr
    assert models.load(tmp_path / "model.json").about["own_mails"] == {"keep": 24, "promotional": 22}


def test_a_training_that_is_stopped_leaves_no_file_and_says_so(archive: list[str], tmp_path: Path) -> None:
    big = mbox(tmp_path / "big.mbox", *(mails.mail(number=number) for number in range(400)))
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "UNPITCH_STATE": str(tmp_path / "state"), "TMPDIR": str(tmp_path / "tmp")}
    words = ["train", "--label", f"promotional={big}", "--label", f"keep={archive[2]}"]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, env=environment)
    while not running("filters.shards", process.pid) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert b"A model that was not finished is not kept" in said and b"journal" not in said
    assert not list((tmp_path / "tmp").iterdir()) and not (tmp_path / "state").exists()
    assert not running("filters.shards", process.pid)


# --- a Dask cluster


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("distributed")
    with local_cluster(tmp_path_factory.mktemp("dask"), 2) as address:
        yield address


def test_a_cluster_finds_the_same(scheduler: str, archive: list[str], tmp_path: Path) -> None:
    words = ["audit", *archive, *TRUST, "--format", "jsonl"]
    done = unpitch(*words, "--scheduler", scheduler, state=tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert done.stdout == unpitch(*words, state=tmp_path / "state").stdout


def test_no_scheduler_is_one_line_and_a_code(archive: list[str], tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = unpitch("audit", archive[0], "--scheduler", address, state=tmp_path / "state")
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1 and f"No Dask scheduler answers at {address}" in done.stderr
    assert not done.stdout
    nonsense = unpitch("audit", archive[0], "--scheduler", "not an address", state=tmp_path / "state")
    assert nonsense.returncode == 2 and "wants an address like" in nonsense.stderr


def test_ctrl_c_ends_all_and_says_so(archive: list[str], tmp_path: Path) -> None:
    big = mbox(tmp_path / "big.mbox", *(mails.mail(number=number) for number in range(400)))
    environment = {**os.environ, "UNPITCH_STATE": str(tmp_path / "state"), "UNPITCH_CONFIG": str(tmp_path / "none")}
    process = subprocess.Popen([*COMMAND, "audit", str(big), str(big), *TRUST], stderr=subprocess.PIPE, env=environment)
    while not running("filters.shards", process.pid) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Stopped" in said
    assert not running("filters.shards", process.pid)
