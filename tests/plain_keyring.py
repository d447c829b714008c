"""A keyring for tests: the library's own interface over one JSON file. PYTHON_KEYRING_BACKEND=plain_keyring.Plain chooses it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked


class Plain(KeyringBackend):
    """Keeps what it is given in the file PLAIN_KEYRING; locked when that is empty."""

    priority = 1  # type: ignore[assignment]

    def _file(self) -> Path:
        if not os.environ.get("PLAIN_KEYRING"):
            raise KeyringLocked("the secret hunter2 is locked")
        return Path(os.environ["PLAIN_KEYRING"])

    def _all(self) -> dict[str, str]:
        return json.loads(self._file().read_text()) if self._file().exists() else {}

    def get_password(self, service: str, username: str) -> str | None:
        return self._all().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._file().write_text(json.dumps(self._all() | {f"{service} {username}": password}))
