"""Runs Sieve scripts on many mails at once, by Pigeonhole's own tools and without any server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from delivering import mail_user, open_folder

_CONFIG = """
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
log_path = /dev/stderr
ssl = no
mail_location = maildir:{home}/mail
"""


def missing() -> str:
    """Why no script can be run here, or ""."""
    found = shutil.which("sievec") and shutil.which("sieve-filter")
    return "" if found else "no Pigeonhole: install dovecot-sieve to run these tests"


def filed(script: str, mails: Mapping[str, bytes], folder: str = "LinkedIn") -> set[str]:
    """The names of those mails that the script files in this folder; the rest must be where it was, and all as they were.

    Raises AssertionError when the script does not compile, or does anything else.
    """
    by_content = {_as_kept(raw): name for name, raw in mails.items()}
    assert len(by_content) == len(mails), "two mails are the same"
    with open_folder("sieve-") as home:
        owner = pwd.getpwnam(mail_user())
        (home / "dovecot.conf").write_text(_CONFIG.format(uid=owner.pw_uid, gid=owner.pw_gid, home=home))
        (home / "rules.sieve").write_text(script, encoding="utf-8", newline="")
        for name in ("cur", "new", "tmp"):
            (home / "mail" / name).mkdir(parents=True)
        for number, raw in enumerate(mails.values()):
            (home / "mail" / "cur" / f"{number}.test:2,").write_bytes(raw)
        for path in (home / "mail", *(home / "mail").rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        for words in (["sievec"], ["sieve-filter", "-e", "-W"]):
            done = subprocess.run(
                [
                    words[0],
                    "-c",
                    home / "dovecot.conf",
                    *words[1:],
                    home / "rules.sieve",
                    *(["INBOX"] * len(words[1:2])),
                ],
                env={"PATH": os.environ["PATH"], "USER": owner.pw_name, "HOME": str(home)},
                cwd=home,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert "error" not in done.stderr.lower(), done.stderr
        left, moved = _lying(home / "mail"), _lying(home / "mail" / f".{folder}")
    assert sorted([*left, *moved]) == sorted(by_content), "a mail is lost, doubled or changed"
    return {by_content[raw] for raw in moved}


def _lying(maildir: Path) -> list[bytes]:
    return [_as_kept(path.read_bytes()) for name in ("cur", "new") for path in (maildir / name).glob("*")]


def _as_kept(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n")
