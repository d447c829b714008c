"""How a password is got, and every way not to get one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from filters.credentials import password_for, words_of
from filters.errors import LoginError, NotFoundError


def password(command: str, seconds: float = 60) -> str:
    return password_for("imaps://ann@imap.example.org:993", print, command=words_of(command), seconds=seconds)


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


# --- files


def secret_file(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_file_s_first_line(tmp_path: Path) -> None:
    assert password_for("ann", print, file=secret_file(tmp_path, b"pa ss\r\nnotes\n")) == "pa ss"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(LoginError, match="chmod 600"):
        password_for("ann", print, file=secret_file(tmp_path, b"x\n", mode))


def test_a_file_that_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        password_for("ann", print, file=tmp_path / "none")
    with pytest.raises(LoginError, match="no first line"):
        password_for("ann", print, file=secret_file(tmp_path, b"\n"))


def test_a_systemd_credential_by_the_account_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unpitch.home").write_bytes(b"from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("UNPITCH_PASSWORD", "from the environment")
    assert password_for("ann", print, name="home") == "from systemd"
    said: list[str] = []
    assert password_for("ann", said.append, name="work") == "from the environment"
    assert "safer" in said[0]


# --- the keyring, in a process of its own: the library chooses its backend once


def python(code: str, tmp_path: Path, **environment: str) -> str:
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": str(here), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    words = [sys.executable, "-c", f"from filters import credentials\n{code}"]
    done = subprocess.run(words, env=env | environment, cwd=here.parent, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr.strip().rpartition("\n")[2]


def test_what_is_put_into_the_keyring_is_found_there(tmp_path: Path) -> None:
    pytest.importorskip("keyring", reason="the extra keyring is not installed")
    environment = {"PYTHON_KEYRING_BACKEND": "plain_keyring.Plain", "PLAIN_KEYRING": str(tmp_path / "ring.json")}
    python("credentials.to_keyring('imaps://ann@x:993', 'pä ss')", tmp_path, **environment)
    found = python("print(credentials.password_for('imaps://ann@x:993', print, keyring=True))", tmp_path, **environment)
    assert found == "pä ss\n"
    absent = python("credentials.from_keyring('imaps://bo@x:993')", tmp_path, **environment)
    assert "unpitch password imaps://bo@x:993" in absent


@pytest.mark.parametrize(
    ("backend", "says"), [("keyring.backends.fail.Keyring", "has no keyring"), ("plain_keyring.Plain", "is locked")]
)
def test_a_keyring_that_is_absent_or_locked(tmp_path: Path, backend: str, says: str) -> None:
    pytest.importorskip("keyring", reason="the extra keyring is not installed")
    said = python("credentials.from_keyring('x')", tmp_path, PYTHON_KEYRING_BACKEND=backend, PLAIN_KEYRING="")
    assert says in said
    assert "hunter2" not in said


def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path) -> None:
    said = python("import sys; sys.modules['keyring'] = None; credentials.from_keyring('x')", tmp_path)
    assert "pip install 'unpitch[keyring]'" in said
