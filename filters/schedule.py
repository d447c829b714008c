"""The files that make a system run `unpitch clean` every night or `unpitch watch` always: systemd user units, a launchd agent, or a line in
the crontab."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filters.errors import LASTING

NAME = "unpitch"
WATCH = f"{NAME}-watch"
LABEL = "org.unpitch.clean"
WATCH_LABEL = "org.unpitch.watch"
_BEGIN, _END = "# unpitch: begin", "# unpitch: end"


@dataclass(frozen=True, slots=True)
class Clock:
    """When to run, in local time."""

    hour: int = 3
    minute: int = 17


#: What a unit may not do, as far as a user's own units can be narrowed (systemd.exec(5)); what needs privileges is left out, because then
#: the unit would not start. The home stays open: mail, keyring and password commands lie there.
_HARDENING = """\
Nice=10
IOSchedulingClass=idle
KillMode=mixed
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
MemoryMax=1G
"""


def systemd_service(command: Sequence[str]) -> str:
    """The unit that runs once. The batch under way is finished when it is stopped."""
    return f"""[Unit]
Description=Move promotional mail aside

[Service]
Type=oneshot
ExecStart={" ".join(map(_systemd_word, command))}
# 75: another run is busy with the account
SuccessExitStatus=75
{_HARDENING}"""


def systemd_watch(command: Sequence[str]) -> str:
    """The unit that stays. What a person has to do something about is not begun again by itself."""
    return f"""[Unit]
Description=Move promotional mail aside, as it arrives

[Service]
Type=notify
ExecStart={" ".join(map(_systemd_word, command))}
Restart=on-failure
RestartSec=5min
RestartPreventExitStatus={" ".join(map(str, LASTING))}
WatchdogSec=10min
{_HARDENING}
[Install]
WantedBy=default.target
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


def launchd_agent(command: Sequence[str], clock: Clock | None, log: Path) -> str:
    """The property list of an agent: by the clock, or one that stays (None)."""
    always: dict[str, object] = {"RunAtLoad": True, "KeepAlive": {"Crashed": True}, "ThrottleInterval": 300}
    at = {"StartCalendarInterval": {"Hour": clock.hour, "Minute": clock.minute}} if clock else always
    agent = {
        "Label": LABEL if clock else WATCH_LABEL,
        "ProgramArguments": list(command),
        **at,
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
