"""A mailbox of many years whose truth is known: how many mails of which kind, month by month."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import mails

ADVERTISERS = ("Northfield School", "Camden & Leith Bank", "Halden Cloud", "Society for Tax", "Solenne Barthélemy-Roux")


@dataclass
class Truth:
    """What was laid out: genuine LinkedIn mail by (month, category), promotional mail, forged mail, all messages."""

    messages: int = 0
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    promotional: int = 0
    forged: int = 0
    carrying: list[datetime] = field(default_factory=list)
    """When mail came that promises one message in 60 days."""
    advertisers: Counter[str] = field(default_factory=Counter)


def dated(raw: bytes, when: datetime) -> bytes:
    """The same mail with another Date."""
    return re.sub(rb"\r\nDate: [^\r]*", f"\r\nDate: {format_datetime(when)}".encode(), raw, count=1)


def lay_out(folder: Path, months: int = 24, *, start: datetime = datetime(2015, 1, 5, 9, 30, tzinfo=UTC)) -> Truth:
    """A folder of .eml: each month two job alerts, a friend's mail, and every other month an advert of somebody else; three forgeries."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = Truth()

    def put(raw: bytes, when: datetime, category: str = "") -> None:
        (folder / f"{truth.messages:06}.eml").write_bytes(dated(raw, when))
        truth.messages += 1
        if category:
            truth.kinds[f"{when:%Y-%m}", category] += 1

    for month in range(months):
        at = start + timedelta(days=30.5 * month, hours=month % 11)
        for half in (0, 9):
            put(mails.job_alert(10 * month + half), at + timedelta(days=half), "job_alert")
        put(mails.friend(10 * month + 1), at)
        if month % 2 == 0:
            name = ADVERTISERS[month // 2 % len(ADVERTISERS)]
            advert = mails.mail(
                number=10 * month + 2,
                sender=f"{name} <inmail-hit-reply@linkedin.com>",
                subject=f"Offer {month} of {name}",
            )
            put(advert, at + timedelta(days=3), "partner_inmail")
            truth.promotional += 1
            truth.advertisers[name] += 1
            truth.carrying.append(at + timedelta(days=3))
        if month % 12 == 5:
            put(dated(mails.forged(10 * month + 3), at), at)
            truth.forged += 1
    return truth
