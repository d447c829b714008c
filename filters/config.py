"""What a run is told by options and environment: where things lie, and how to get a password without showing it."""

from __future__ import annotations

import getpass
import os
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs

from filters.errors import LoginError, UsageError

_COMMAND_SECONDS = 60
#: Bytes of its output: a password, and notes below it.
_COMMAND_BYTES = 65_536


def state_folder() -> Path:
    """Where the journal lies: UNPITCH_STATE, else the platform's place for state."""
    return Path(os.environ.get("UNPITCH_STATE") or platformdirs.user_state_dir("unpitch", appauthor=False))


def password_for(account: str, command: str, warn: Callable[[str], None], seconds: float = _COMMAND_SECONDS) -> str:
    """The password for an account: from a command (its first line of output, within `seconds`), the environment, or a prompt.

    Raises LoginError when there is no way to get one. No shell is involved, and the secret is in no message.
    """
    if command:
        return _first_line(_words(command), seconds)
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


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--password-command cannot be split into words: {error}.") from error
    if not words:
        raise UsageError("--password-command is empty.")
    return words


def _first_line(words: list[str], seconds: float) -> str:
    output, fault = _output(words, seconds)
    try:
        secret = output.partition(b"\n")[0].rstrip(b"\r").decode()
    except UnicodeDecodeError:
        fault = fault or "printed what is no text (UTF-8)"
    if fault:
        raise LoginError(f"The password command {words[0]} {fault}; run it by itself to see why.")
    if not secret:
        raise LoginError(
            f"The password command {words[0]} printed nothing; it must print the password on its first line."
        )
    return secret


def _output(words: list[str], seconds: float) -> tuple[bytes, str]:
    """What a program prints, and what is wrong with it ("" for nothing). It is ended when it prints or takes too much."""
    deadline = time.monotonic() + seconds
    output = b""
    try:
        with subprocess.Popen(words, stdout=subprocess.PIPE, bufsize=0) as process:
            try:
                assert process.stdout  # noqa: S101 (a pipe was asked for)
                pipe = process.stdout.fileno()
                while select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
                    more = os.read(pipe, _COMMAND_BYTES)
                    output += more
                    if not more:
                        break
                    if len(output) > _COMMAND_BYTES:
                        return b"", f"printed more than {_COMMAND_BYTES} bytes"
                code = process.wait(max(deadline - time.monotonic(), 0.1))
            finally:
                process.kill()
    except subprocess.TimeoutExpired:
        return b"", f"took longer than {seconds:.0f} s"
    except (OSError, ValueError):
        return b"", "cannot be run"
    return output, f"ended with exit code {code}" if code else ""
