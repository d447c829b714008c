"""What a run is told by options and environment: where things lie, and how to get a password without showing it."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import platformdirs

from filters.errors import LoginError, UsageError

_COMMAND_SECONDS = 60


def state_folder() -> Path:
    """Where the journal lies: UNPITCH_STATE, else the platform's place for state."""
    return Path(os.environ.get("UNPITCH_STATE") or platformdirs.user_state_dir("unpitch", appauthor=False))


def password_for(account: str, command: str, warn: Callable[[str], None]) -> str:
    """The password for an account: from a command (its first line of output), the environment, or a prompt.

    Raises LoginError when there is no way to get one. No shell is involved, and the secret is in no message.
    """
    if command:
        return _first_line(command)
    if secret := os.environ.get("UNPITCH_PASSWORD"):
        warn(
            "The password comes from UNPITCH_PASSWORD, which other programs of yours can read. --password-command is safer."
        )
        return secret
    if not sys.stdin.isatty():
        raise LoginError(
            f"There is no password for {account} and no terminal to ask for it. Use --password-command or UNPITCH_PASSWORD."
        )
    return getpass.getpass(f"Password for {account}: ")


def _first_line(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--password-command cannot be split into words: {error}.") from error
    if not words:
        raise UsageError("--password-command is empty.")
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        what = (
            f"ended with exit code {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else "failed"
        )
        raise LoginError(f"The password command {words[0]} {what}; run it by itself to see why.") from None
    secret = done.stdout.decode("utf-8", "replace").split("\n", 1)[0].rstrip("\r")
    if not secret:
        raise LoginError(
            f"The password command {words[0]} printed nothing; it must print the password on its first line."
        )
    return secret
