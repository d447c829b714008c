"""Telling systemd how a service is: sd_notify(3), as datagrams of our own. Elsewhere nothing happens."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(*words: str) -> None:
    """Send words such as "READY=1", "STATUS=…" or "STOPPING=1"."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    text = "\n".join(" ".join(word.split()) for word in words)
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        sock.sendall(text.encode())


def alive() -> None:
    """Say that we still do our work, if somebody wants to know (WatchdogSec)."""
    if os.environ.get("WATCHDOG_USEC") and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
        notify("WATCHDOG=1")
