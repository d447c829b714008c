"""What runs did, for programs that watch over them: one line of JSON, and a text file for Prometheus' node exporter."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from filters.errors import WriteError
from filters.safe_text import safe_text

SCHEMA = 1


@dataclass(slots=True)
class Done:
    """What one run did with one folder."""

    account: str
    folder: str = ""
    run: str = ""
    messages: int = 0
    """Looked at, of any sender."""
    found: int = 0
    """From the sender, or claiming to be."""
    moved: int = 0
    left: int = 0
    """To be moved, and not moved: a limit, or somebody, stopped it."""
    unreadable: int = 0
    received: int = 0
    """Bytes that came from the server."""
    seconds: float = 0.0
    exit_code: int = 0
    error: str = ""


def as_json(all_done: Sequence[Done], started: datetime, exit_code: int) -> str:
    """One line."""
    rows = [asdict(one) | {"seconds": round(one.seconds, 3), "error": safe_text(one.error)} for one in all_done]
    data = {
        "schema": SCHEMA,
        "started": started.isoformat(timespec="seconds"),
        "exit_code": exit_code,
        "moved": sum(one.moved for one in all_done),
        "accounts": rows,
    }
    return json.dumps(data, ensure_ascii=False)


#: Name, help, and the field of each metric.
_METRICS = (
    ("messages", "Messages looked at by the last run.", "messages"),
    ("found", "Messages from the sender, or claiming to be, in the last run.", "found"),
    ("moved", "Messages moved by the last run.", "moved"),
    ("left", "Messages that the last run was to move and did not.", "left"),
    ("unreadable", "Messages that the last run could not read.", "unreadable"),
    ("received_bytes", "Bytes that came from the server in the last run.", "received"),
    ("duration_seconds", "How long the last run took.", "seconds"),
    ("exit_code", "Exit code of the last run; 0 is success.", "exit_code"),
)


def as_metrics(all_done: Sequence[Done], ended: datetime) -> str:
    """The text format of Prometheus (version 0.0.4)."""
    lines = []
    for name, about, attribute in (*_METRICS, ("last_run_timestamp_seconds", "When the last run ended.", "")):
        lines += [f"# HELP unpitch_{name} {about}", f"# TYPE unpitch_{name} gauge"]
        for one in all_done:
            value = getattr(one, attribute) if attribute else int(ended.timestamp())
            labels = f'account="{_label(one.account)}",folder="{_label(one.folder)}"'
            lines.append(
                f"unpitch_{name}{{{labels}}} {value:.3f}"
                if isinstance(value, float)
                else f"unpitch_{name}{{{labels}}} {value}"
            )
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return safe_text(text).replace("\\", "\\\\").replace('"', '\\"')


def write_metrics(path: Path, text: str) -> None:
    """Put the text in place at once, so that nobody reads half of it. Raises WriteError."""
    try:
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise WriteError(f"The file of metrics {path} cannot be written: {error.strerror}.") from error
