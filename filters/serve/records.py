"""What a service did: a line for each message, and counts for those who watch over it. No address and no word of a mail, unless asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from filters.log import Log
from filters.monitoring import run_info

_ANSWERS = {2: "stored", 4: "later", 5: "refused"}
#: Name, kind and help of each metric, and of its label, if any, name and values. The README prints them; a test compares the two.
METRICS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("start_time_seconds", "gauge", "When the service began.", "", ()),
    ("connections_total", "counter", "Connections of the mail server.", "", ()),
    ("open_connections", "gauge", "Connections at this moment.", "", ()),
    (
        "messages_total",
        "counter",
        "Messages that were answered, by verdict.",
        "verdict",
        ("promotional", "other", "unsure", "unjudged"),
    ),
    ("recipients_total", "counter", "Answers to recipients.", "answer", tuple(_ANSWERS.values())),
    ("bytes_total", "counter", "Bytes of those messages.", "", ()),
    ("seconds_total", "counter", "Seconds from the end of a message to its last answer.", "", ()),
    ("troubles_total", "counter", "Times that the store could not be spoken to, or something of ours failed.", "", ()),
)


@dataclass(slots=True)
class Delivery:
    """One message under way."""

    sender: str
    """What MAIL and RCPT said."""
    recipients: list[str] = field(default_factory=list)
    """Those that the store accepts."""
    kinds: list[int] = field(default_factory=list)
    """The first digit of the answer that each of them was given."""
    bytes: int = 0
    said: dict[str, str] = field(default_factory=dict)
    """What the header says; empty when there is none."""
    unjudged: str = ""
    """Why the message has no verdict."""
    complete: float = 0.0
    """When it was there, by the clock of this process."""


class Records:
    """`say` gets each line, unless the log takes them, as JSON. MAIL and RCPT are to be seen in them where the log shows addresses."""

    def __init__(self, say: Callable[[str], object], log: Log) -> None:
        self._say, self._log = say, log
        self._counts: Counter[tuple[str, str]] = Counter()
        self._began = datetime.now(UTC)
        self._seconds = 0.0
        self.open_connections = 0

    def connected(self) -> None:
        """One more connection."""
        self._counts["connections_total", ""] += 1
        self.open_connections += 1

    def parted(self) -> None:
        """One less."""
        self.open_connections -= 1

    def delivered(self, delivery: Delivery) -> None:
        """Every recipient of a message was answered."""
        answers = Counter(_ANSWERS.get(kind, "later") for kind in delivery.kinds)
        seconds = monotonic() - delivery.complete
        self._counts["messages_total", delivery.said.get("verdict", "unjudged")] += 1
        self._counts["bytes_total", ""] += delivery.bytes
        self._seconds += seconds
        for answer, count in answers.items():
            self._counts["recipients_total", answer] += count
        said = delivery.said or {"unjudged": delivery.unjudged}
        envelope = {"from": delivery.sender, "to": ", ".join(delivery.recipients)} if self._log.addresses else {}
        self.line("message", bytes=delivery.bytes, seconds=round(seconds, 4), **answers, **said, **envelope)

    def trouble(self, why: str) -> None:
        """Something that a person should look at when it comes again."""
        self._counts["troubles_total", ""] += 1
        self.line("trouble", why=why)

    def line(self, event: str, **fields: Any) -> None:
        """One line, of words and numbers."""
        if self._log.as_json:
            self._log.event(event, **fields)
            return
        said = {key: self._log.shown(value) if isinstance(value, str) else value for key, value in fields.items()}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._say(" ".join([now, self._log.run, event, *(f"{key}={_quoted(value)}" for key, value in said.items())]))

    def as_metrics(self) -> str:
        """The text format of Prometheus (version 0.0.4)."""
        self._counts["start_time_seconds", ""] = int(self._began.timestamp())
        self._counts["open_connections", ""] = self.open_connections
        values: dict[tuple[str, str], float] = {**self._counts, ("seconds_total", ""): self._seconds}
        lines = run_info("unpitch_lmtp_", self._log)
        for name, kind, about, label, among in METRICS:
            lines += [f"# HELP unpitch_lmtp_{name} {about}", f"# TYPE unpitch_lmtp_{name} {kind}"]
            for one in among or ("",):
                which = f'{{{label}="{one}"}}' if label else ""
                lines.append(f"unpitch_lmtp_{name}{which} {values.get((name, one), 0):.10g}")
        return "\n".join(lines) + "\n"


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text or not text else text
