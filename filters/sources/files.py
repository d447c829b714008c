"""One message in one file: open it without leaving a trace, and read no more of it than needed."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from filters.sources import (
    HEADER_CAP,
    MESSAGE_CAP,
    Look,
    Mail,
    Passed,
    Place,
    Unreadable,
    Wanted,
    header_block,
    identity_of,
)

#: Opens a message: its bytes, and how many they are. Raises OSError.
Opener = Callable[[], tuple[BinaryIO, int]]

_NO_FLAGS: frozenset[str] = frozenset()
# O_NONBLOCK: a named pipe must not hold us up
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LEAVE_ATIME = getattr(os, "O_NOATIME", 0)  # mutt tells new mail by it
_BLANK_LINE = re.compile(rb"\n\r?\n")
_MESSAGE_ID = re.compile(rb"(?im)^message-id[ \t]*:(.*(?:\n[ \t].*)*)")


def open_file(path: Path) -> tuple[BinaryIO, int]:
    """An opened regular file and its size. A symbolic link is not followed: it may lead out of the folder. Raises OSError."""
    try:
        descriptor = os.open(path, _FLAGS | _LEAVE_ATIME)
    except PermissionError:  # only the owner may ask for O_NOATIME
        descriptor = os.open(path, _FLAGS)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb"), status.st_size


def screened(
    place: Place, opener: Opener, wanted: Wanted, flags: frozenset[str] = _NO_FLAGS
) -> Mail | Passed | Unreadable:
    """Read the header block, and the rest only if it is wanted."""
    try:
        file, size = opener()
        with file:
            raw = file.read(HEADER_CAP + 4)
            if size > len(raw) and not _BLANK_LINE.search(raw):
                return Unreadable(place, f"header block over {HEADER_CAP // 1024} KiB")
            if not wanted.test(header_block(raw)):
                return Passed(1)
            raw += file.read(MESSAGE_CAP - len(raw))
    except OSError as error:
        return Unreadable(place, reason(error))
    return Mail(place, raw, max(size, len(raw)), flags, identity_of(raw, message_id_of(raw)))


def look_at(path: Path, flags: frozenset[str]) -> Look:
    """What a file is now. Raises OSError."""
    file, size = open_file(path)
    with file:
        raw = file.read(HEADER_CAP + 4)
    return Look(identity_of(raw, message_id_of(raw)), size, flags)


def reason(error: OSError) -> str:
    """Why a file cannot be read, as a clause."""
    if error.errno == errno.ENOENT:
        return "it vanished meanwhile"
    if error.errno == errno.ELOOP:
        return "a symbolic link, which is not followed"
    return (error.strerror or "unknown error").lower()


def printable(name: str) -> str:
    """A file name that can be written anywhere: bytes of it that are not UTF-8 are shown as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def message_id_of(raw: bytes) -> str:
    """The one Message-ID, with its angle brackets; "" when absent, double, or malformed."""
    found = _MESSAGE_ID.findall(header_block(raw).replace(b"\r\n", b"\n"))
    value = found[0].replace(b"\n", b"").strip() if len(found) == 1 else b""
    return value.decode("ascii") if re.fullmatch(rb"<[!-;=?-~]{1,248}>", value) else ""
