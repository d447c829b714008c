"""What tests of delivery need: folders that every user can reach, and programs of ours that mail servers can start."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
DELIVER = Path(sys.executable).parent / "unpitch-deliver"
UNPITCH = Path(sys.executable).parent / "unpitch"
LMTP = """
protocols = imap lmtp
service lmtp {
  %s
  unix_listener lmtp {
    mode = 0666
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
service auth {
  unix_listener auth-userdb {
    mode = 0666
  }
}
""" % ("" if os.getuid() == 0 else f"user = {pwd.getpwuid(os.getuid()).pw_name}")


def mail_user() -> str:
    """Who owns the mail that tests have delivered."""
    return "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


def install(folder: Path) -> str:
    """Put unpitch-deliver into a folder, for the owner of the mail to start; why that cannot be, or "".

    The Python of these tests may lie where that user may not look, as root's own; the system's will do.
    """
    program = folder / "unpitch-deliver"
    here = os.pathsep.join([str(ROOT), sysconfig.get_path("platlib")])
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        start = f'exec {python} -P -c "from filters.serve.deliver import main; main()" "$@"'
        program.write_text(f"#!/bin/sh\nPYTHONPATH={here} {start}\n")
        program.chmod(0o755)
        owner = pwd.getpwnam(mail_user())
        try:
            done = subprocess.run(
                [program, "--version"], user=owner.pw_uid, group=owner.pw_gid, capture_output=True, check=False, cwd="/"
            )
        except PermissionError:
            continue
        if done.returncode == 0:
            return ""
    return f"{mail_user()} can start no Python that has what unpitch needs"


@contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """A folder that all users can read, and the mail's owner can write."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        path.chmod(0o755)
        shutil.chown(path, mail_user())
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
