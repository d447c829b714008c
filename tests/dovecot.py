"""A throwaway Dovecot on loopback: TLS, any number of users, Maildirs that tests write into. Works as root and as an ordinary user.

At its end it reads what every session was sent, and fails when one of ours was sent what we never send (wire_rules.py).
"""

from __future__ import annotations

import base64
import contextlib
import grp
import hashlib
import imaplib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Container, Iterator
from pathlib import Path
from urllib.parse import quote

import trustme
import wire_rules

PASSWORD = "pw"
_BINARY = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
WITHOUT_MOVE = "IMAP4rev1 LITERAL+ ENABLE IDLE NAMESPACE UIDPLUS SPECIAL-USE UNSELECT"

_CONFIG = """
protocols = imap
listen = 127.0.0.1
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
instance_name = {name}
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
mail_uid = {owner}
mail_gid = {group}
first_valid_uid = 1
ssl = yes
ssl_cert = <{home}/server.pem
ssl_key = <{home}/server.pem
disable_plaintext_auth = no
auth_mechanisms = plain
auth_username_chars =
auth_username_format = %u
auth_failure_delay = 0
mail_location = maildir:{home}/mail/%u
mail_max_userip_connections = 200
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {home}/users/%Mu
  result_failure = continue
  result_internalfail = continue
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={owner} gid={group} home={home}/mail/%u
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  inet_listener imaps {{
    port = {port}
  }}
  inet_listener imap {{
    port = {plain_port}
  }}
}}
service imap {{
  process_limit = 200
}}
protocol imap {{
  rawlog_dir = {home}/rawlog
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
  mailbox Junk {{
    special_use = \\Junk
    auto = create
  }}
}}
{more}
"""


class Dovecot:
    """One server. Every user name works, with the password "pw" or the one given to `set_password`. `more` is configuration."""

    def __init__(self, *, capability: str = "", separator: str = "/", prefix: str = "", more: str = "") -> None:
        self._capability, self.separator, self.prefix, self._more = capability, separator, prefix, more
        self.hides_move = bool(capability) and "MOVE" not in capability.split()
        self._users = itertools.count(1)

    def __enter__(self) -> Dovecot:
        # not pytest's tmp_path: its parents are closed to the user that owns the mail when tests run as root
        self.home = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.home.chmod(0o755)
        self.port, self.plain_port = _free_ports(2)
        self._owner, self._group = _mail_owner()
        self.ca_file = self.home / "ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self.home / "server.pem"))
        (self.home / "users").mkdir()
        for name in ("mail", "rawlog"):
            (self.home / name).mkdir()
            os.chown(self.home / name, self._owner, self._group)
        (self.home / "dovecot.conf").write_text(self._config())
        self._start()
        return self

    def _config(self) -> str:
        if os.getuid() == 0:
            names = {"internal": "dovecot", "internal_group": "dovecot", "login": "dovenull"}
        else:
            user = pwd.getpwuid(os.getuid()).pw_name
            names = {"internal": user, "internal_group": grp.getgrgid(os.getgid()).gr_name, "login": user}
        return _CONFIG.format(
            home=self.home,
            name=self.home.name,
            owner=self._owner,
            group=self._group,
            port=self.port,
            plain_port=self.plain_port,
            password=PASSWORD,
            separator=self.separator,
            prefix=self.prefix,
            more=self._more + (f"\nimap_capability = {self._capability}" if self._capability else ""),
            **names,
        )

    def _start(self) -> None:
        command = [str(_BINARY), "-c", str(self.home / "dovecot.conf")]
        with (self.home / "start.log").open("w") as said:  # no pipe: the daemon would keep it open
            subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=20)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.01)
        raise RuntimeError(f"Dovecot did not start: {(self.home / 'start.log').read_text()}{self.log()}")

    def log(self) -> str:
        """What the server logged."""
        path = self.home / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def sessions(self, known: Container[str] = ()) -> Iterator[tuple[str, list[bytes]]]:
        """What every session so far was sent after its login: a name, and the lines. Without those `known` by name."""
        names = sorted(path.name for path in (self.home / "rawlog").glob("*.in"))
        for path in (self.home / "rawlog" / name for name in names if name not in known):
            # a time stands before each line
            yield path.name, [line.partition(b" ")[2] for line in path.read_bytes().splitlines(keepends=True)]

    def __exit__(self, *_: object) -> None:
        try:
            self._stop()
            wire_rules.check(self.sessions())
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    def _stop(self) -> None:
        pid_file = self.home / "run" / "master.pid"
        if pid_file.exists():
            pid = int(pid_file.read_text())
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 10
            while pid_file.exists() and time.monotonic() < deadline:
                time.sleep(0.01)

    def new_user(self) -> str:
        """A user with an empty mailbox."""
        return f"user{next(self._users)}"

    def set_password(self, user: str, password: str) -> None:
        """Give a user a password of their own."""
        secret = base64.b64encode(password.encode()).decode()
        name = hashlib.md5(user.encode()).hexdigest()  # a file for each: Dovecot looks at changes once a second
        (self.home / "users" / name).write_text(f"{user}:{{PLAIN.B64}}{secret}\n")

    def url(self, user: str, folder: str = "INBOX", *, plain: bool = False) -> str:
        """The location of a folder."""
        scheme, port = ("imap", self.plain_port) if plain else ("imaps", self.port)
        return f"{scheme}://{quote(user, safe='@')}@localhost:{port}/{quote(folder)}"

    def deliver(self, user: str, raw: bytes, *, folder: str = "", flags: str = "") -> None:
        """Put a message into a folder ("" is the inbox, others as Maildir++ spells them, such as ".Lists")."""
        maildir = self.maildir(user, folder)
        for path in (maildir.parent if folder else maildir, maildir, *(maildir / sub for sub in ("cur", "new", "tmp"))):
            if not path.exists():
                path.mkdir()
                os.chown(path, self._owner, self._group)
        number = next(_DELIVERIES)
        path = maildir / "cur" / f"{1_700_000_000 + number}.M{number}.test:2,{flags}"
        path.write_bytes(raw)
        os.chown(path, self._owner, self._group)

    def maildir(self, user: str, folder: str = "") -> Path:
        """Where a folder's mail lies."""
        return self.home / "mail" / user / folder

    @contextlib.contextmanager
    def neighbour(self, user: str) -> Iterator[imaplib.IMAP4]:
        """Another mail program of the same user."""
        client = imaplib.IMAP4("127.0.0.1", self.plain_port)
        client.login(f'"{user}"', PASSWORD)
        client.xatom(*wire_rules.NEIGHBOUR.split(" ", 1))
        try:
            yield client
        finally:
            client.logout()

    def snapshot(self, user: str) -> dict[str, object]:
        """Everything a dry run must leave as it is: numbers, flags, dates and bytes of every folder."""
        found: dict[str, object] = {}
        with self.neighbour(user) as client:
            for line in client.list()[1]:
                name = line.decode().rpartition(f' "{self.separator}" ')[2]
                items = "(MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)"
                status = client.status(name, items)[1]
                client.select(name, readonly=True)
                found[name] = status, client.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")[1]
        return found


_DELIVERIES = itertools.count(1)


def missing() -> str:
    """Why no Dovecot can be started here; "" when one can."""
    return "" if _BINARY else "no dovecot binary: install dovecot-imapd to run these tests"


def _mail_owner() -> tuple[int, int]:
    if os.getuid():
        return os.getuid(), os.getgid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]
