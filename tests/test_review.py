"""Reviewing by keyboard: what is pressed is on the disk, it goes on where it was left, and 80 by 24 cells are enough."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import signal
import stat
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mails
import pytest
from findings import finding

from filters.errors import InputError, WriteError
from filters.journal import Candidate
from filters.labelled import read_list
from filters.review import KEEP, NONE, PROMOTIONAL, open_labels
from filters.review.screen import Mailbox, Review
from filters.sources import Place
from filters.sweep import Finding

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)


def doubtful(number: int, **changes: Any) -> Finding:
    place = Place("/mail", "Work", str(number))
    text = f"Subject {number}\nBuy the course.\n" + "\n".join(f"line {line}" for line in range(40))
    return finding(
        folder="Work",
        key=str(number),
        message_id=f"{number}@linkedin.example",
        subject=f"Subject {number}",
        promotional=False,
        unsure=True,
        probability=0.5,
        action="keep",
        candidate=Candidate(place, f"sha256:{number}", "", 1, "partner_inmail", ""),
        explanation={"text": text, "marks": [(14, 21, 0)]},
        evidence=({"feature": "word:the course", "quote": "the course", "weight": 1.0},),
        **changes,
    )


# --- the file


def test_labels_are_there_again_and_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "state" / "labels.jsonl"
    labels = open_labels(path)
    labels.add(doubtful(1), PROMOTIONAL, NOW)
    labels.add(doubtful(2), KEEP, NOW)
    labels.add(doubtful(1), NONE, NOW)
    again = open_labels(path)
    assert [again.of(doubtful(number)) for number in (1, 2, 3)] == [NONE, KEEP, NONE]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text().splitlines()[1]) == {
        "identity": "sha256:2",
        "message_id": "2@linkedin.example",
        "place": "/mail/Work/2",
        "label": "keep",
        "when": "2026-11-03T12:00:00+00:00",
    }


def test_train_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    labels = open_labels(path)
    labels.add(doubtful(1), PROMOTIONAL, NOW)
    labels.add(doubtful(2), KEEP, NOW)
    labels.add(doubtful(2), NONE, NOW)
    said = read_list(path, "label")
    assert (said["sha256:1"], said["/mail/Work/1"], said["sha256:2"]) == ("promotional", "promotional", "")


def test_a_line_that_was_never_finished_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    open_labels(path).add(doubtful(1), PROMOTIONAL, NOW)
    with path.open("a") as file:
        file.write('{"identity": "sha2')
    assert open_labels(path).of(doubtful(1)) == PROMOTIONAL


def test_what_is_no_file_of_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello\n")
    with pytest.raises(InputError, match="--labels"):
        open_labels(tmp_path / "x")
    with pytest.raises(WriteError):
        open_labels(tmp_path / "x" / "y").add(doubtful(1), KEEP, NOW)


# --- the screen


Press = Callable[..., Any]


def screen(
    tmp_path: Path, findings: list[Finding], walk: Callable[[Review, Any], Any], hold: threading.Event | None = None
) -> Review:
    """Walk through findings on a screen of 80 by 24 cells."""

    def read(went_on: Callable[[], object]) -> Iterator[Finding]:
        for one in findings:
            went_on()
            yield one
        while hold and not hold.is_set():
            went_on()
            time.sleep(0.01)

    app = Review(Mailbox(read, lambda: len(findings)), open_labels(tmp_path / "labels.jsonl"))

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await walk(app, pilot)

    asyncio.run(run())
    return app


def shown(app: Review) -> str:
    return "\n".join(str(app.query_one(name).render()) for name in ("#about", "#words", "#state"))  # type: ignore[attr-defined]


async def until(app: Review, pilot: Any, words: str) -> None:
    for _ in range(500):
        if words in shown(app):
            return
        await pilot.pause(0.02)
    raise AssertionError(f"{words!r} is not in {shown(app)!r}")


def test_keys_label_skip_and_take_back(tmp_path: Path) -> None:
    async def walk(app: Review, pilot: Any) -> None:
        await until(app, pilot, "of 4")
        await until(app, pilot, "Subject 1")
        await pilot.press("p")
        await until(app, pilot, "Subject 2")
        await pilot.press("k")
        await until(app, pilot, "Subject 3")
        await pilot.press("s")
        await until(app, pilot, "Subject 4")
        await pilot.press("k", "u", "u", "u")
        await until(app, pilot, "Subject 2")
        await pilot.press("p", "q")

    app = screen(tmp_path, [doubtful(number) for number in range(1, 5)], walk)
    assert app.labelled == 2
    labels = open_labels(tmp_path / "labels.jsonl")
    assert [labels.of(doubtful(number)) for number in range(1, 5)] == [PROMOTIONAL, PROMOTIONAL, NONE, NONE]


def test_it_goes_on_where_it_was_left(tmp_path: Path) -> None:
    open_labels(tmp_path / "labels.jsonl").add(doubtful(1), KEEP, NOW)

    async def walk(app: Review, pilot: Any) -> None:
        await until(app, pilot, "Subject 2")
        assert "message 1 of 1" in shown(app)

    screen(tmp_path, [doubtful(1), doubtful(2)], walk)


def test_a_message_opens_and_closes(tmp_path: Path) -> None:
    async def walk(app: Review, pilot: Any) -> None:
        await until(app, pilot, "o shows all of it")
        assert "line 39" not in shown(app)
        await pilot.press("o")
        await until(app, pilot, "line 39")
        await pilot.press("o")
        await until(app, pilot, "o shows all of it")

    screen(tmp_path, [doubtful(1)], walk)


def test_the_first_message_can_be_labelled_while_the_rest_is_read_and_going_ends_the_reading(tmp_path: Path) -> None:
    never = threading.Event()

    async def walk(app: Review, pilot: Any) -> None:
        await until(app, pilot, "reading")
        await until(app, pilot, "Subject 1")
        await pilot.press("k")
        await until(app, pilot, "Looking for mail")
        await pilot.press("q")

    assert screen(tmp_path, [doubtful(1)], walk, never).labelled == 1


@pytest.mark.parametrize("count", [0, 1])
def test_the_end_is_said(tmp_path: Path, count: int) -> None:
    async def walk(app: Review, pilot: Any) -> None:
        if count:
            await until(app, pilot, "Subject 1")
            await pilot.press("k", "k", "p", "s", "o")
        await until(app, pilot, "That was all" if count else "There is nothing to review")

    assert screen(tmp_path, [doubtful(1)][:count], walk).labelled == count


def test_t3_what_a_mail_says_cannot_touch_the_screen(tmp_path: Path) -> None:
    hostile = doubtful(1, from_="x\x1b]0;owned\x07 [bold]y[/bold] <a@linkedin.com>")

    async def walk(app: Review, pilot: Any) -> None:
        await until(app, pilot, "Subject 1")
        assert "\x1b" not in shown(app)
        assert "[bold]y[/bold]" in shown(app)

    screen(tmp_path, [hostile], walk)


def test_a_label_that_cannot_be_written_ends_it_with_the_reason(tmp_path: Path) -> None:
    async def walk(app: Review, pilot: Any) -> None:
        await until(app, pilot, "Subject 1")
        (tmp_path / "labels.jsonl").mkdir()
        await pilot.press("k")
        await pilot.pause()

    app = screen(tmp_path, [doubtful(1)], walk)
    assert isinstance(app.fault, WriteError)
    assert app.labelled == 0


# --- the command, on a terminal


def test_the_command_in_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    for number in (1, 2):
        (tmp_path / "mail" / f"{number}.eml").write_bytes(mails.mail(number=number, subject=f"Offer {number}"))
    env = {**os.environ, "UNPITCH_STATE": str(tmp_path / "s"), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-m", "filters", "review", str(tmp_path / "mail"), "--promotional"]
    child, terminal = pty.fork()
    if not child:
        os.execve(command[0], command, env)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        _await(terminal, "Offer 1")
        os.write(terminal, b"p")
        _await(terminal, "Offer 2")
        os.write(terminal, b"k")
        _await(terminal, "That was all")
        os.write(terminal, b"q")
        last = _await(terminal, "unpitch train")
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert "2 labelled" in last
    lines = [json.loads(line) for line in (tmp_path / "s" / "labels.jsonl").read_text().splitlines()]
    assert [line["label"] for line in lines] == ["promotional", "keep"]


def _await(terminal: int, words: str, seconds: float = 120) -> str:
    """Read until these words were written; cells may be written in pieces, so blanks and escapes don't count."""
    seen, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536).decode("utf-8", "replace")
            except OSError:
                break
        if words in seen:
            return seen
    assert words in seen
    return seen


def test_without_a_terminal_it_says_so(tmp_path: Path) -> None:
    from test_formats import unpitch

    done = unpitch("review", tmp_path, state=tmp_path / "s")
    assert done.returncode == 2
    assert "terminal" in done.stderr
