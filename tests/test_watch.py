"""The command that stays, on real mailboxes: what it moves, says and survives, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mails
import pytest
from dovecot import PASSWORD, Dovecot
from test_cli import COMMAND, unpitch

from filters.cli.watching import Troubles
from filters.errors import (
    BusyError,
    CertificateError,
    FiltersError,
    LimitError,
    LoginError,
    NotFoundError,
    ServerError,
    TransientError,
    WriteError,
)

#: A machine may be busy; what is waited for takes a second or two on a quiet one.
PATIENCE = 60.0


class Watching:
    """An `unpitch watch` that runs, with what it prints in files."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process, self._said = process, said

    @property
    def said(self) -> str:
        return self._said.read_text()

    def until(self, happened: Callable[[], object], what: str = "") -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.poll() is None, f"it ended ({self.process.returncode}): {self.said}"
            assert time.monotonic() < deadline, f"{what or 'it'} did not happen: {self.said}"
            time.sleep(0.05)

    def says(self, words: str, times: int = 1) -> None:
        self.until(lambda: self.said.count(words) >= times, words)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)


@contextmanager
def watching(state: Path, *words: str, **environment: str) -> Iterator[Watching]:
    here = {"UNPITCH_STATE": str(state), "UNPITCH_CONFIG": str(state / "config.toml"), "COLUMNS": "80"}
    said = state / "said"
    with (
        said.open("wb") as file,
        subprocess.Popen(
            [*COMMAND, "watch", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **here, **environment},
        ) as process,
    ):
        try:
            yield Watching(process, said)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()


def configured(state: Path, **accounts: str) -> Path:
    """A configuration of accounts: location, and more keys below it."""
    state.mkdir(exist_ok=True)
    command = f'["printf", "%s", "{PASSWORD}"]'
    tables = [
        f'[accounts.{name}]\nlocation = "{location}"\ntrust_authserv = ["{mails.TRUSTED}"]\n'
        + (f"password_command = {command}\n" if location.startswith("imap") else "")
        for name, location in accounts.items()
    ]
    (state / "config.toml").write_text("\n".join(tables))
    (state / "config.toml").chmod(0o600)
    return state


def moved(dovecot: Dovecot, user: str) -> int:
    folder = dovecot.maildir(user, ".LinkedIn")
    return sum(1 for name in ("cur", "new") if folder.exists() for _ in (folder / name).iterdir())


def test_mail_is_moved_as_it_arrives_until_somebody_ends_it(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    state = configured(tmp_path / "state", home=dovecot.url(user, plain=True))
    dovecot.deliver(user, mails.mail(number=1))
    with watching(state, "home", "--yes") as watch:
        watch.until(lambda: moved(dovecot, user) == 1)
        watch.says("Watching imap://")
        dovecot.deliver(user, mails.friend(2))
        dovecot.deliver(user, mails.mail(number=3))
        watch.until(lambda: moved(dovecot, user) == 2)
        watch.says("1 moved to LinkedIn, from Northfield School", 2)
        assert watch.end() == 0
        assert "unpitch:" not in watch.said
    runs = unpitch("runs", "--format", "json", state=state)
    assert runs.stdout.count('"command": "watch"') == 2, "runs that did nothing are not remembered"


def test_ctrl_c_is_no_failure(tmp_path: Path) -> None:
    box = tmp_path / "box"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
    with watching(configured(tmp_path / "state", home=str(box)), "--all", "--yes") as watch:
        watch.says("Watching")
        (box / "tmp" / "1.a").write_bytes(mails.mail())
        (box / "tmp" / "1.a").rename(box / "new" / "1.a")
        watch.until((box / ".LinkedIn" / "new" / "1.a").exists)
        assert watch.end(signal.SIGINT) == 0


def test_a_server_that_goes_and_comes_loses_and_misses_nothing(tmp_path: Path) -> None:
    with Dovecot() as server:
        user = server.new_user()
        state, metrics = configured(tmp_path / "state", home=server.url(user, plain=True)), tmp_path / "m.prom"
        well = 'unpitch_exit_code{account="home",folder="INBOX"} 0\n'
        with watching(state, "home", "--yes", "--metrics", str(metrics)) as watch:
            watch.says("Watching")
            watch.until(lambda: well in metrics.read_text())
            server._stop()
            server.deliver(user, mails.mail(number=1))
            watch.until(lambda: well not in metrics.read_text())
            server._start()
            watch.until(lambda: moved(server, user) == 1)
            watch.until(lambda: well in metrics.read_text())
            assert watch.end() == 0


def test_what_a_limit_stops_is_kept_and_told_once(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    state = configured(tmp_path / "state", home=dovecot.url(user, plain=True))
    for number in range(25):
        dovecot.deliver(user, mails.mail(number=number))
    with watching(state, "home", "--yes") as watch:
        watch.says("Nothing was moved. `unpitch clean` shows it and asks. Watching goes on.")
        assert watch.end() == 0
        assert moved(dovecot, user) == 0
        assert watch.said.count("unpitch: home:") == 1


def test_several_accounts_each_for_itself(dovecot: Dovecot, tmp_path: Path) -> None:
    good, bad, fine = (dovecot.new_user() for _ in range(3))
    places = {name: dovecot.url(user, plain=True) for name, user in (("good", good), ("fine", fine))}
    places["bad"] = dovecot.url(bad, "Nowhere", plain=True)
    with watching(configured(tmp_path / "state", **places), "--all", "--yes") as watch:
        watch.says("bad is not watched any more (a file or folder")
        for user in (good, fine):
            dovecot.deliver(user, mails.mail(number=1))
        watch.until(lambda: moved(dovecot, good) == moved(dovecot, fine) == 1)
        assert watch.end() == 0


def test_systemd_hears_how_it_is(tmp_path: Path) -> None:
    box, heard = tmp_path / "box", b""
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(PATIENCE)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        with watching(configured(tmp_path / "state", home=str(box)), "home", "--yes", **environment) as watch:
            while b"STATUS=home: watching" not in heard or b"WATCHDOG=1" not in heard:
                heard += ear.recv(4096) + b"\n"
            assert heard.startswith(b"READY=1\n")
            assert watch.end() == 0
            while b"STOPPING=1" not in heard:
                heard += ear.recv(4096) + b"\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["home", "--all"], 2, "or --all"),
        (["nowhere"], 2, "There is no account nowhere"),
        (["home"], 2, "would be the first run for home"),
        (["home", "--yes"], 66, "no such path"),
    ],
)
def test_what_cannot_be_watched_is_said(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    state = configured(tmp_path / "state", home=str(tmp_path / "nothing"))
    done = unpitch("watch", *words, state=state)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


# --- troubles


@pytest.mark.parametrize("error", [NotFoundError("x"), WriteError("x"), LoginError("x"), CertificateError("x")])
def test_what_is_wrong_at_the_start_is_a_mistake(error: FiltersError) -> None:
    with pytest.raises(type(error)):
        Troubles().pause(error)
    if type(error) is not LoginError:
        assert Troubles(were_up=True).pause(error) > 0, "and later it may pass"


def test_a_network_that_is_not_there_yet_is_waited_for_longer_and_longer() -> None:
    troubles = Troubles()
    pauses = [troubles.pause(TransientError("x")) for _ in range(50)]
    assert max(pauses[:2]) < 4
    assert max(pauses) < 302
    assert max(pauses) > 30
    assert len(set(pauses)) > 40, "not all clients at once"
    assert Troubles().pause(TransientError("x", wait=120.0)) >= 120
    assert Troubles().pause(BusyError("x")) < 3


def test_a_login_that_is_refused_again_and_again_is_given_up() -> None:
    troubles = Troubles(were_up=True)
    assert [troubles.pause(LoginError("x")) >= 300 for _ in range(2)] == [True, True]
    with pytest.raises(LoginError):
        troubles.pause(LoginError("x"))


def test_between_two_refusals_all_was_well() -> None:
    troubles = Troubles(were_up=True)
    for _ in range(5):
        assert troubles.pause(LoginError("x"))
        troubles.over()
    assert troubles.pause(LimitError("x")) == 3_600
    assert troubles.pause(ServerError("x")) < 3
