"""How to get a password without showing it: a command, a file, a systemd credential, the keyring, the environment, or a prompt."""

from __future__ import annotations

import getpass
import os
import select
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filters.errors import LoginError, NotFoundError, UsageError

#: Under which name secrets stand in the keyring.
SERVICE = "unpitch"
_COMMAND_SECONDS = 60
#: Bytes of a command's output, or of a file: a password, and notes below it.
_SECRET_BYTES = 65_536
_NO_KEYRING = (
    "On a machine without a desktop there is often none: use password_command, password_file or a systemd credential"
    " instead."
)


def words_of(command: str) -> tuple[str, ...]:
    """The words of a command as a person types it. Raises UsageError."""
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"--password-command cannot be split into words: {error}.") from error
    if not words:
        raise UsageError("--password-command is empty.")
    return words


def password_for(
    account: str,
    warn: Callable[[str], None],
    *,
    name: str = "",
    command: Sequence[str] = (),
    file: Path | None = None,
    keyring: bool = False,
    seconds: float = _COMMAND_SECONDS,
) -> str:
    """The password for an account: from the way that is named; else from the systemd credential "unpitch.NAME", the environment,
    or a prompt. A command has `seconds`; of its output and of a file the first line counts.

    Raises LoginError when there is no way to get one. No shell is involved, and the secret is in no message.
    """
    if command:
        return _first_line(*_output(command, seconds), f"The password command {command[0]}")
    if file:
        return from_file(file)
    if keyring:
        return from_keyring(account)
    if found := _credential(name):
        return from_file(found, strict=False)
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


# --- files


def _credential(name: str) -> Path | None:
    """The file of a systemd credential (LoadCredential=unpitch.NAME:/path), if the service has one."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder, f"unpitch.{name}") if folder and name else None
    return path if path and path.is_file() else None


def from_file(path: Path, what: str = "The password file", *, strict: bool = True) -> str:
    """The first line of a file. With `strict` it must be the user's own, and nobody else may read it. Raises LoginError, NotFoundError."""
    try:
        with path.open("rb") as file:
            status, content = os.fstat(file.fileno()), file.read(_SECRET_BYTES)
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise NotFoundError(f"{what} {path} cannot be read: {why}.") from None
    if strict and (status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid not in (os.getuid(), 0)):
        raise LoginError(f"{what} {path} can be read by others, or is not yours. Run: chmod 600 {path}")
    return _first_line(content, "", f"{what} {path}")


def _first_line(output: bytes, fault: str, origin: str) -> str:
    try:
        secret = output.partition(b"\n")[0].rstrip(b"\r").decode()
    except UnicodeDecodeError:
        fault = fault or "printed what is no text (UTF-8)"
    command = "command" in origin
    if fault:
        raise LoginError(f"{origin} {fault}; run it by itself to see why." if command else f"{origin} {fault}.")
    if not secret:
        what = "printed nothing; it must print the password on its first line." if command else "has no first line."
        raise LoginError(f"{origin} {what}")
    return secret


# --- commands


def _output(words: Sequence[str], seconds: float) -> tuple[bytes, str]:
    """What a program prints, and what is wrong with it ("" for nothing). It is ended when it prints or takes too much."""
    deadline = time.monotonic() + seconds
    output = b""
    try:
        with subprocess.Popen(words, stdout=subprocess.PIPE, bufsize=0) as process:
            try:
                assert process.stdout  # noqa: S101 (a pipe was asked for)
                pipe = process.stdout.fileno()
                while select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
                    more = os.read(pipe, _SECRET_BYTES)
                    output += more
                    if not more:
                        break
                    if len(output) > _SECRET_BYTES:
                        return b"", f"printed more than {_SECRET_BYTES} bytes"
                code = process.wait(max(deadline - time.monotonic(), 0.1))
            finally:
                process.kill()
    except subprocess.TimeoutExpired:
        return b"", f"took longer than {seconds:.0f} s"
    except (OSError, ValueError):
        return b"", "cannot be run"
    return output, f"ended with exit code {code}" if code else ""


# --- the keyring of the system


def from_keyring(account: str) -> str:
    """The password of an account. Raises LoginError, also where there is no keyring, or it is locked."""
    secret = in_keyring(account)
    if not secret:
        raise LoginError(f"The keyring holds no password for {account}. Put it there with: unpitch password {account}")
    return secret


def in_keyring(account: str, service: str = SERVICE) -> str:
    """What the keyring holds for an account, "" for nothing. Raises LoginError."""
    with _keyring() as keyring:
        return str(keyring.get_password(service, account) or "")


def to_keyring(account: str, secret: str, service: str = SERVICE) -> None:
    """Keep a password, or another secret of an account. Raises LoginError."""
    with _keyring() as keyring:
        keyring.set_password(service, account, secret)


@contextmanager
def _keyring() -> Iterator[Any]:
    """The library, and its troubles in our words; never in its own, which may hold what it was given."""
    try:
        import keyring  # noqa: PLC0415  (an extra, and slow to start)
        from keyring.errors import KeyringError, KeyringLocked, NoKeyringError  # noqa: PLC0415
    except ImportError:
        raise LoginError(
            "The keyring needs a package that is not installed. Install it with: pip install 'unpitch[keyring]'"
        ) from None
    try:
        yield keyring
    except NoKeyringError:
        raise LoginError(f"This machine has no keyring. {_NO_KEYRING}") from None
    except KeyringLocked:
        raise LoginError("The keyring is locked. Unlock it (log in to the desktop), and start again.") from None
    except KeyringError as error:
        raise LoginError(f"The keyring cannot be used ({type(error).__name__}). {_NO_KEYRING}") from None
