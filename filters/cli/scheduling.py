"""The commands that make it run by itself, by night or always: schedule install and schedule remove."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from filters import config
from filters.cli.options import access, console
from filters.errors import RefusedError, UsageError, WriteError
from filters.report import say
from filters.schedule import (
    LABEL,
    NAME,
    WATCH,
    WATCH_LABEL,
    Clock,
    cron_lines,
    launchd_agent,
    systemd_service,
    systemd_timer,
    systemd_watch,
    with_ours,
)

schedule_app = typer.Typer(
    help="Run `clean --all` every night, `watch --all` always, or no longer.", no_args_is_help=True
)
KINDS = ("systemd", "launchd", "cron")
_NIGHT, _ALWAYS = ("clean", "--all", "--yes", "--quiet"), ("watch", "--all", "--yes")

Kind = Annotated[
    str, typer.Option("--with", metavar="systemd|launchd|cron", help="By which means. Default: what this system has.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show it, and change nothing.")]


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    schedule_app.command()(install)
    schedule_app.command()(remove)
    app.add_typer(schedule_app, name="schedule")


def install(
    at: Annotated[str, typer.Option("--at", metavar="HH:MM", help="When, in local time.")] = "03:17",
    watch: Annotated[
        bool, typer.Option("--watch", help="Instead of every night: `unpitch watch --all --yes`, always.")
    ] = False,
    kind: Kind = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Show what would be written to run `unpitch clean --all --yes --quiet` every night, ask, write it, and switch it on."""
    clock, kind, out = _clock(at), _kind(kind), console()
    if watch and kind == "cron":
        raise RefusedError("A crontab cannot keep a program running. --watch needs systemd or launchd (--with).")
    if not access().config.accounts:
        raise UsageError(f"There are no accounts in {config.config_path()} to clean. `unpitch init` makes one.")
    files = _files(kind, None if watch else clock)
    for path, content in files.items():
        say(out, str(path), "bold")
        print(content)
    if dry_run or not _agreed(yes, "Write this, and switch it on?"):
        say(out, "Nothing was changed.")
        return
    if kind == "cron":
        _write_crontab(with_ours(_crontab(), cron_lines(_command(*_NIGHT), clock)))
    else:
        for path, content in files.items():
            _write(path, content)
        _switch(kind, list(files), on=True)
    when = "From now on" if watch else f"Every night at {clock.hour:02}:{clock.minute:02}"
    say(out, f"{when}. Take it away with: unpitch schedule remove", "bold green")


def remove(kind: Kind = "", yes: Yes = False, dry_run: DryRun = False) -> None:
    """Switch it off, and take away what was written."""
    kind, out = _kind(kind), console()
    if kind == "cron":
        before = _crontab()
        there = [Path("crontab")] if with_ours(before, "") != before else []
    else:
        there = [path for path in (*_files(kind, Clock()), *_files(kind, None)) if path.exists()]
    if not there:
        say(out, f"Nothing is scheduled by {kind}.")
        return
    for path in there:
        say(out, f"  {path}")
    if dry_run or not _agreed(yes, "Take this away?"):
        say(out, "Nothing was changed.")
        return
    if kind == "cron":
        _write_crontab(with_ours(before, ""))
    else:
        _switch(kind, there, on=False)
        for path in there:
            path.unlink()
    say(out, "Nothing runs by itself any more.", "bold green")


def _agreed(yes: bool, question: str) -> bool:
    if not yes and not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask on. Add --yes, or --dry-run to see it.")
    return yes or typer.confirm(question)


def _clock(text: str) -> Clock:
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60):
        raise UsageError(f"--at wants a time such as 03:17, not {text}.")
    return Clock(int(hour), int(minute))


def _kind(asked: str) -> str:
    """What to schedule with. Raises UsageError, RefusedError."""
    if asked and asked not in KINDS:
        raise UsageError(f"--with is {', '.join(KINDS)}, not {asked}.")
    found = asked or next((kind for kind in KINDS if _has(kind)), "")
    if not found:
        raise RefusedError(
            "This system has neither systemd for your user, nor launchd, nor a crontab. Run `unpitch clean --all --yes --quiet` by"
            " whatever starts programs here."
        )
    return found


def _has(kind: str) -> bool:
    if kind == "systemd":  # there may be the program without a manager for this user: containers, WSL, su
        return (
            bool(shutil.which("systemctl")) and Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"), "systemd").exists()
        )
    return bool(shutil.which("launchctl" if kind == "launchd" else "crontab"))


def _command(*words: str) -> list[str]:
    found = shutil.which(NAME)
    return [*([found] if found else [sys.executable, "-m", "filters"]), *words]


def _files(kind: str, clock: Clock | None) -> dict[Path, str]:
    """Paths and contents, for every night or (None) for always; of a crontab, our lines."""
    command = _command(*(_NIGHT if clock else _ALWAYS))
    if kind == "systemd":
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "systemd", "user")
        if not clock:
            return {folder / f"{WATCH}.service": systemd_watch(command)}
        return {folder / f"{NAME}.service": systemd_service(command), folder / f"{NAME}.timer": systemd_timer(clock)}
    if kind == "launchd":
        log = platformdirs.user_log_path(NAME, appauthor=False) / f"{NAME}.log"
        agents = Path.home() / "Library" / "LaunchAgents"
        return {agents / f"{LABEL if clock else WATCH_LABEL}.plist": launchd_agent(command, clock, log)}
    return {Path("crontab"): cron_lines(command, clock or Clock())}


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror}.") from error


def _switch(kind: str, files: Sequence[Path], *, on: bool) -> None:
    """Switch on or off what these files say."""
    if kind == "systemd":
        _run(["systemctl", "--user", "daemon-reload"])
        units = [path.name for path in files if path.name != f"{NAME}.service"]
        _run(["systemctl", "--user", "enable" if on else "disable", "--now", *units])
    for path in files if kind == "launchd" else ():
        _run(["launchctl", "bootstrap" if on else "bootout", f"gui/{os.getuid()}", str(path)])


def _crontab() -> str:
    """What stands in it; nothing where there is none yet."""
    done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout if done.returncode == 0 else ""


def _write_crontab(text: str) -> None:
    _run(["crontab", "-"], text)


def _run(words: Sequence[str], text: str = "") -> None:
    """Raises RefusedError with what the program says."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusedError(
            f"{words[0]} cannot be run ({type(error).__name__}). Choose another way by --with."
        ) from None
    if done.returncode:
        why = (done.stderr or done.stdout).strip().partition("\n")[0]
        raise RefusedError(
            f"{' '.join(words)} failed: {why}. The files are written; `unpitch schedule remove` takes them away."
        )
