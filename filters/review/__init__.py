"""A person's labels for single messages: a file that only grows, one line of JSON for each label.

`train --labels FILE` takes it. A line has `label` ("promotional" or "keep"; "" takes an earlier one back), `identity`, `message_id`, `place`
(account, folder and key, with slashes between) and `when` (UTC). The last line about a message counts. No text of a mail is in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from filters.errors import InputError, WriteError
from filters.safe_text import safe_text
from filters.sweep import Finding

PROMOTIONAL, KEEP, NONE = "promotional", "keep", ""
#: Bytes of a file of labels that are read; a label has about 250.
_FILE_CAP = 64 * 1024 * 1024


@dataclass(slots=True)
class Labels:
    """The labels in a file. `known`: label of each name (identity, Message-ID, place) that the file has."""

    path: Path
    known: dict[str, str] = field(default_factory=dict)

    def of(self, finding: Finding) -> str:
        """The label of a message, "" for none."""
        return next((self.known[name] for name in _names(finding).values() if self.known.get(name)), NONE)

    def add(self, finding: Finding, label: str, when: datetime) -> None:
        """Write a label at once. Raises WriteError."""
        line = {**_names(finding), "label": label, "when": when.isoformat(timespec="seconds")}
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=True) + "\n")
        except OSError as error:
            why = (error.strerror or "unknown error").lower()
            raise WriteError(f"The label cannot be written to {safe_text(str(self.path))}: {why}.") from None
        self.known.update(dict.fromkeys(_names(finding).values(), label))


def open_labels(path: Path) -> Labels:
    """The labels in a file, which need not be there yet. Raises InputError for what is no such file."""
    labels = Labels(path)
    try:
        if not path.exists():
            return labels
        if path.stat().st_size > _FILE_CAP:
            raise ValueError
        for line in _lines(path):
            labels.known.update(
                {str(line[name]): str(line["label"]) for name in ("identity", "message_id", "place") if line.get(name)}
            )
    except OSError as error:
        raise InputError(
            f"{safe_text(str(path))} cannot be read: {(error.strerror or 'unknown error').lower()}."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{safe_text(str(path))} is no file of labels that `review` wrote. Name another with --labels."
        ) from None
    return labels


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # else the machine failed in the middle of it
                yield json.loads(line)


def _names(finding: Finding) -> dict[str, str]:
    place = "/".join(part for part in (finding.source, finding.folder, finding.key) if part)
    names = {"identity": finding.candidate.identity, "message_id": finding.message_id, "place": place}
    return {name: value for name, value in names.items() if value}
