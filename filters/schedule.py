"""The files that make a system run `unpitch clean` every night: a systemd user timer, a launchd agent, or a line in the crontab."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NAME = "unpitch"
LABEL = "org.unpitch.clean"
_BEGIN, _END = "# unpitch: begin", "# unpitch: end"


@dataclass(frozen=True, slots=True)
class Clock:
    """When to run, in local time."""

    hour: int = 3
    minute: int = 17


def systemd_service(command: Sequence[str]) -> str:
    """The unit that runs once. What it may do is narrowed as far as user units can be."""
    return f"""[Unit]
Description=Move promotional mail aside

[Service]
Type=oneshot
ExecStart={" ".join(map(_systemd_word, command))}
# 75: another run is busy with the account
SuccessExitStatus=75
Nice=10
IOSchedulingClass=idle
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
MemoryMax=1G
"""


def systemd_timer(clock: Clock) -> str:
    """The unit that says when. A night that the machine slept through is made up for."""
    return f"""[Unit]
Description=Move promotional mail aside, every night

[Timer]
OnCalendar=*-*-* {clock.hour:02}:{clock.minute:02}:00
RandomizedDelaySec=20min
Persistent=true

[Install]
WantedBy=timers.target
"""


def _systemd_word(word: str) -> str:
    if re.fullmatch(r"[\w@:=,.+/-]+", word, re.ASCII):
        return word
    inside = word.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + inside.replace("%", "%%").replace("$", "$$") + '"'


def launchd_agent(command: Sequence[str], clock: Clock, log: Path) -> str:
    """The property list of an agent."""
    agent = {
        "Label": LABEL,
        "ProgramArguments": list(command),
        "StartCalendarInterval": {"Hour": clock.hour, "Minute": clock.minute},
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "Umask": 0o077,
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
    }
    return plistlib.dumps(agent, sort_keys=False).decode()


def cron_lines(command: Sequence[str], clock: Clock) -> str:
    """Our part of a crontab, between two marks. In a crontab a % ends the command."""
    words = " ".join(_shell_word(word) for word in command).replace("%", r"\%")
    return f"{_BEGIN}\n{clock.minute} {clock.hour} * * * {words}\n{_END}\n"


def _shell_word(word: str) -> str:
    plain = re.fullmatch(r"[\w@%+=:,./-]+", word, re.ASCII)
    return word if plain else "'" + word.replace("'", "'\"'\"'") + "'"


def with_ours(crontab: str, ours: str) -> str:
    """A crontab with our part in place of an older one; "" for ours takes it away. Everything else stays as it is."""
    rest = re.sub(rf"(?ms)^{re.escape(_BEGIN)}$.*?^{re.escape(_END)}$\n?", "", crontab)
    if not ours:
        return rest
    return (rest if not rest or rest.endswith("\n") else f"{rest}\n") + ours
