"""A throwaway Postfix on loopback, with folders of its own. It needs root, as Postfix does."""

from __future__ import annotations

import os
import pwd
import shutil
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
_MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log
maillog_file_prefixes = {home}
myhostname = mx.example.net
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_recipient_restrictions = permit_mynetworks, reject
alias_maps =
alias_database =
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:all
virtual_transport = {transport}
default_transport = error:nothing leaves this machine
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
transport_retry_time = 1s
in_flow_delay = 0
{settings}
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
{more}
"""


class Postfix:
    """One server that hands all mail for example.org to `transport`; `more` are lines of master.cf, `settings` of main.cf."""

    def __init__(self, *, transport: str, more: str = "", settings: str = "") -> None:
        self._transport, self._more, self._settings = transport, more, settings
        self.log = ""

    def __enter__(self) -> Postfix:
        self.home = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.home.chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for name in ("queue", "data", "conf"):
            (self.home / name).mkdir()
        shutil.chown(self.home / "data", "postfix")
        settings = _MAIN.format(home=self.home, transport=self._transport, settings=self._settings)
        (self.home / "conf" / "main.cf").write_text(settings)
        (self.home / "conf" / "master.cf").write_text(_MASTER.format(port=self.port, more=self._more))
        self._postfix("start")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"Postfix did not start: {self._read_log()}")

    def _postfix(self, *words: str) -> None:
        with (self.home / "said").open("a") as said:
            command = [str(shutil.which("postfix", path=_PATH)), "-c", str(self.home / "conf"), *words]
            subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=60)

    def __exit__(self, *_: object) -> None:
        self.log = self._read_log()
        self._postfix("stop")
        shutil.rmtree(self.home, ignore_errors=True)

    def _read_log(self) -> str:
        return "\n".join(path.read_text() for path in (self.home / "said", self.home / "log") if path.exists())

    def send(self, sender: str, recipients: Sequence[str], raw: bytes) -> None:
        """Hand it a message."""
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            client.sendmail(sender, recipients, raw)

    def queued(self) -> int:
        """Messages that it still has."""
        folders = ("incoming", "active", "deferred", "maildrop")
        return sum(path.is_file() for name in folders for path in (self.home / "queue" / name).rglob("*"))

    def flush(self) -> None:
        """Try everything again now."""
        self._postfix("flush")

    def wait_until_empty(self, seconds: float = 30) -> None:
        """Until all mail is delivered."""
        end = time.monotonic() + seconds
        looks = 0
        while (
            looks < 3 and time.monotonic() < end
        ):  # a message on its way from folder to folder is not seen at each look
            looks = 0 if self.queued() else looks + 1
            time.sleep(0.05)


def missing() -> str:
    """Why no Postfix can be started here; "" when one can."""
    if os.getuid():
        return "not root: Postfix needs it"
    if not shutil.which("postfix", path=_PATH):
        return "no postfix binary: install postfix to run these tests"
    try:
        pwd.getpwnam("postfix")
    except KeyError:
        return "no user postfix: install postfix to run these tests"
    return ""
