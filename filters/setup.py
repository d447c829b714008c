"""Making an account: what a server shows becomes proposals, and an answer becomes a table in the configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from filters import config
from filters.authenticity import Authserv, seen_ids
from filters.config import Account, quoted
from filters.errors import UsageError, WriteError
from filters.message import parse
from filters.preferences import KEYS
from filters.sources.location import SCHEMES, parse_url

_BEGIN = "# unpitch: your accounts. `unpitch config check` finds mistakes; README.md explains each key.\n"
#: Of so many of the newest mails an id must be in nine of ten to be proposed.
_OFTEN, _ENOUGH = 0.9, 5


def name_for(address: str, taken: Sequence[str]) -> str:
    """A short name for an account, that nobody has: of the address what stands before the @."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", address.partition("@")[0]).strip("-_")[:30] or "mail"
    names = [plain, *(f"{plain}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def proposed(headers: Sequence[bytes]) -> Authserv | None:
    """The receiver that the newest mails (header blocks) name where receivers write, if it is nearly always the same one."""
    mails = [parse(header + b"\r\n") for header in headers]
    counts: dict[Authserv, int] = {}
    for mail in mails:
        for seen in seen_ids(mail):
            counts[seen] = counts.get(seen, 0) + 1
    often = [one for one, count in counts.items() if one.id and count >= max(_OFTEN * len(mails), _ENOUGH)]
    return min(often, key=lambda one: (-counts[one], one.placement)) if often else None


def target(folders: Sequence[str], prefix: str, delimiter: str, usual: str) -> str:
    """A folder to move to: one of the usual name, in whatever letters and wherever it lies, if there is one; else the usual name."""
    last = [(one.rpartition(delimiter)[2] if delimiter else one, one) for one in folders]
    there = [one for name, one in last if name.casefold() == usual.casefold()]
    return min(there, key=lambda one: (len(one), one)).removeprefix(prefix) if there else usual


def table(account: Account) -> str:
    """The account as TOML."""
    lines = [f"[accounts.{account.name}]", f"location = {toml(account.location)}"]
    if account.folders and account.folders != ("",):
        lines.append(f"folders = {toml(account.folders)}")
    said = account.preferences.given()
    lines += [f"{key} = {toml(said[key])}" for key in KEYS if key in said]
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return str(value) if isinstance(value, int) else quoted(str(value))


def add(path: Path, account: Account) -> None:
    """Add an account to the file, which is made for the owner only if it is not there; what stands in it stays as it is.

    Raises ConfigError when the whole would be wrong, UsageError for a name or mailbox that it has, WriteError.
    """
    there = config.load(path)
    if there.named(account.name):
        raise UsageError(f"There is an account {account.name} in {path} already. Choose another name by --name.")
    if twin := there.of(account.location):
        raise UsageError(f"That mailbox is the account {twin.name} in {path} already.")
    try:
        text = path.read_text("utf-8") if path.exists() else _BEGIN
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".config-", delete=False) as file:
            file.write(f"{text.rstrip()}\n\n{table(account)}")  # 0600 from the beginning
        try:
            config.load(Path(file.name))
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
    except OSError as error:
        raise WriteError(f"The configuration {path} cannot be written: {error.strerror}.") from error


def local_location(text: str) -> str:
    """An absolute path for the configuration, or an IMAP location as it is. Raises UsageError."""
    if text.lower().startswith(SCHEMES):
        parse_url(text)
        return text
    return config.account_of(text)
