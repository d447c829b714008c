"""What holds for every line of the log of every run, whatever happens in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.utils import getaddresses
from pathlib import Path
from typing import Any

from filters.log import ALWAYS, EVENTS

_ADDRESSES = ("From", "To", "Reply-To", "Sender", "Return-Path", "Message-ID")


def lines(stderr: str) -> list[dict[str, Any]]:
    """The lines, each of which is an event with documented fields only, all of one run."""
    found = [json.loads(line) for line in stderr.splitlines()]
    for one in found:
        event = EVENTS[one["event"]]
        assert set(one) <= {*ALWAYS, *event.fields}, one
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"])
        assert datetime.fromisoformat(one["time"]).tzinfo == UTC
        assert one["level"] in ("info", "warning", "error")
    assert found and len({one["run"] for one in found}) == 1
    assert (found[0]["event"], found[-1]["event"]) == ("begun", "ended")
    return found


def words_of(*mails: bytes) -> set[str]:
    """Every address and subject in these, none of which may be in any line."""
    told = set()
    for raw in mails:
        mail = message_from_bytes(raw, policy=policy.default)
        texts = [str(text) for name in _ADDRESSES for text in mail.get_all(name, [])]
        told |= {address for _, address in getaddresses(texts) if "@" in address}
        told |= {str(text).strip() for text in mail.get_all("Subject", [])}
    return told - {""}


def names_nobody(text: str, mails: Iterable[bytes]) -> None:
    """No address and no subject of the mail is in the text."""
    words = words_of(*mails)
    assert len(words) > 2
    assert "@" not in text
    assert [word for word in words if word in text] == []


def all_mail(*roots: Path) -> list[bytes]:
    """Each message in some Maildirs."""
    return [path.read_bytes() for root in roots for path in root.rglob("*") if path.parent.name in ("cur", "new")]
