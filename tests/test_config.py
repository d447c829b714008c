"""How a password is got, and every way not to get one."""

from __future__ import annotations

import subprocess

import pytest

from filters.config import password_for
from filters.errors import LoginError


def password(command: str, seconds: float = 60) -> str:
    return password_for("imaps://ann@imap.example.org:993", command, print, seconds)


def test_the_password_is_the_first_line_as_it_is() -> None:
    assert password("printf ' pä ss\\r\\nnotes: none\\n'") == " pä ss"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("yes", "printed more than"),
        ("cat /dev/zero", "printed more than"),
        (r"printf '\377\376\n'", "no text"),
        ("/nonexistent/pass", "cannot be run"),
        ("sh -c 'echo secret; exit 3'", "exit code 3"),
        ("sh -c 'echo secret; kill -9 $$'", "exit code -9"),
        ("printf '\\n'", "printed nothing"),
    ],
)
def test_a_command_that_goes_wrong_is_named_and_its_output_is_not(command: str, says: str) -> None:
    with pytest.raises(LoginError, match=says) as caught:
        password(command)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("command", ["sleep 3601", "sh -c 'exec >&-; exec sleep 3601'"])
def test_a_command_that_hangs_is_ended(command: str) -> None:
    with pytest.raises(LoginError, match="took longer than"):
        password(command, 0.2)
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 3601" not in running.split("\n")
