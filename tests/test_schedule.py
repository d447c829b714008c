"""Schedules: the files as they are written, programs that are asked to switch them on, and their removal."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest
from test_cli import unpitch

from filters.schedule import (
    Clock,
    cron_lines,
    launchd_agent,
    systemd_service,
    systemd_timer,
    systemd_watch,
    with_ours,
)

COMMAND = ["/home/ann/my bin/unpitch", "clean", "--all", "--yes", "--quiet"]
ALWAYS = ["/home/ann/bin/unpitch", "watch", "--all", "--yes"]
GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("unpitch.service", systemd_service(COMMAND)),
        ("unpitch.timer", systemd_timer(Clock(3, 7))),
        ("unpitch-watch.service", systemd_watch(ALWAYS)),
        ("org.unpitch.watch.plist", launchd_agent(ALWAYS, None, Path("/Users/ann/unpitch.log"))),
        ("org.unpitch.clean.plist", launchd_agent(COMMAND, Clock(3, 7), Path("/Users/ann/unpitch.log"))),
        ("crontab", cron_lines([*COMMAND, "100%", "it's"], Clock(3, 7))),
    ],
)
def test_the_files_are_these(name: str, text: str) -> None:
    assert text == (GOLDEN / name).read_text()


def test_the_property_list_is_one() -> None:
    agent = plistlib.loads(launchd_agent(COMMAND, Clock(), Path("/x")).encode())
    assert agent["ProgramArguments"] == COMMAND


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    service, timer, watch = (tmp_path / f"unpitch{rest}" for rest in (".service", ".timer", "-watch.service"))
    watch.write_text(systemd_watch(["/bin/true", "a b"]))
    service.write_text(systemd_service(["/bin/true", "a b", "100%", "$HOME", 'q"\\']))
    timer.write_text(systemd_timer(Clock()))
    words = ["systemd-analyze", "verify", "--recursive-errors=no", str(service), str(timer), str(watch)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    )
    ours = [line for line in done.stderr.splitlines() if "unpitch" in line and "not be a regular file" not in line]
    assert ours == [], done.stderr


def test_a_crontab_keeps_everything_else() -> None:
    mine = "MAILTO=ann\n5 4 * * * backup"
    once = with_ours(mine, cron_lines(COMMAND, Clock()))
    assert once.startswith(f"{mine}\n# unpitch: begin\n")
    twice = with_ours(once, cron_lines(COMMAND, Clock(5, 6)))
    assert twice.count("unpitch: begin") == 1
    assert "6 5 * * *" in twice
    assert with_ours(twice, "") == f"{mine}\n"
    assert with_ours("", "") == ""


# --- with programs that only write down what they are asked


@pytest.fixture
def system(tmp_path: Path) -> dict[str, str]:
    """A home with an account, and stand-ins for systemctl and crontab."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (programs / "crontab").write_text(
        f'#!/bin/sh\nif [ "$1" = -l ]; then cat {tmp_path}/tab 2>/dev/null; else cat > {tmp_path}/tab; fi\n'
    )
    for path in programs.iterdir():
        path.chmod(0o755)
    runtime = tmp_path / "run"
    (runtime / "systemd").mkdir(parents=True)
    config = tmp_path / "config.toml"
    config.write_text(f'[accounts.home]\nlocation = "{tmp_path}"\n')
    config.chmod(0o600)
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "XDG_RUNTIME_DIR": str(runtime),
    }


def test_systemd_is_shown_written_switched_on_and_taken_away(system: dict[str, str], tmp_path: Path) -> None:
    units = tmp_path / "xdg" / "systemd" / "user"
    shown = unpitch("schedule", "install", "--dry-run", state=tmp_path, **system)
    assert "ExecStart=" in shown.stdout
    assert not units.exists()
    done = unpitch("schedule", "install", "--yes", "--at", "4:05", state=tmp_path, **system)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in units.iterdir()) == ["unpitch.service", "unpitch.timer"]
    assert "OnCalendar=*-*-* 04:05:00" in (units / "unpitch.timer").read_text()
    assert (tmp_path / "asked").read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable --now unpitch.timer",
    ]
    assert unpitch("schedule", "remove", "--yes", state=tmp_path, **system).returncode == 0
    assert list(units.iterdir()) == []
    assert "disable --now" in (tmp_path / "asked").read_text()
    assert "Nothing is scheduled" in unpitch("schedule", "remove", "--yes", state=tmp_path, **system).stdout


def test_a_watch_is_switched_on_and_taken_away(system: dict[str, str], tmp_path: Path) -> None:
    units = tmp_path / "xdg" / "systemd" / "user"
    done = unpitch("schedule", "install", "--watch", "--yes", state=tmp_path, **system)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in units.iterdir()] == ["unpitch-watch.service"]
    assert " watch --all --yes\n" in (units / "unpitch-watch.service").read_text()
    assert (tmp_path / "asked").read_text().endswith("--user enable --now unpitch-watch.service\n")
    assert unpitch("schedule", "remove", "--yes", state=tmp_path, **system).returncode == 0
    assert list(units.iterdir()) == []
    refused = unpitch("schedule", "install", "--watch", "--with", "cron", "--yes", state=tmp_path, **system)
    assert (refused.returncode, "systemd or launchd" in refused.stderr) == (69, True)


def test_without_systemd_the_crontab_serves(system: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "tab").write_text("5 4 * * * backup\n")
    here = system | {"XDG_RUNTIME_DIR": str(tmp_path / "nowhere")}
    assert unpitch("schedule", "install", "--yes", state=tmp_path, **here).returncode == 0
    assert "17 3 * * * " in (tmp_path / "tab").read_text()
    assert unpitch("schedule", "remove", "--yes", state=tmp_path, **here).returncode == 0
    assert (tmp_path / "tab").read_text() == "5 4 * * * backup\n"


def test_what_is_wrong_is_said(system: dict[str, str], tmp_path: Path) -> None:
    assert unpitch("schedule", "install", "--yes", "--at", "25:00", state=tmp_path, **system).returncode == 2
    assert "--yes" in unpitch("schedule", "install", state=tmp_path, **system).stderr
    bare = system | {"PATH": "/nowhere"}
    none = unpitch("schedule", "install", "--yes", state=tmp_path, **bare)
    assert (none.returncode, "neither systemd" in none.stderr) == (69, True)
    (tmp_path / "config.toml").unlink()
    assert "unpitch init" in unpitch("schedule", "install", "--yes", state=tmp_path, **system).stderr
