"""What systemd is told of a service (sd_notify(3)): one datagram to the socket that it names, and nothing where it names none."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Say "READY=1", "STOPPING=1", "WATCHDOG=1" or "STATUS=…". Never fails: that nobody listens changes nothing for us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking:
        speaking.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
