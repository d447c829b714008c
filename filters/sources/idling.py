"""IDLE (RFC 2177): a server tells of new mail by itself.

Not by imapclient: it takes an untagged line before the "+" for a refusal, and does not notice in `idle_check` that the connection
has ended (imapclient#565), so that it would ask again and again without a pause.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from filters.sources.wire import Wire


def idle(wire: Wire, steps: Iterable[float]) -> bool:
    """Wait until the server tells of a new message, or `steps` (seconds, one after another) are over; whether it told. That it did not
    means little: servers lose such news. Raises what imaplib raises."""
    tag = wire._command("IDLE")
    waiting = wire.tagged_commands
    try:
        while wire._get_response() is not None and not waiting[tag]:
            pass
        for step in () if waiting[tag] else steps:
            if wire.hears(step):
                wire._get_response()
            if waiting[tag] or "EXISTS" in wire.untagged_responses:
                break
    finally:  # also when we are asked to end
        if not waiting[tag]:
            wire.send(b"DONE\r\n")
    while not waiting[tag]:
        wire._get_response()
    answer, words = cast(tuple[str, list[bytes]], waiting.pop(tag))
    if answer != "OK":
        raise wire.error(f"IDLE failed: {words[-1].decode('ascii', 'replace')}")
    return "EXISTS" in wire.untagged_responses
