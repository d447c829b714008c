"""Mail in files: a Maildir, an mbox file, a folder of .eml files, one .eml file, stdin. All but the Maildir are only read."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NoReturn

from filters.errors import InputError, NotFoundError, RefusedError
from filters.sources import (
    MESSAGE_CAP,
    Copier,
    Extent,
    Look,
    Mail,
    Passed,
    Place,
    Source,
    Target,
    Unreadable,
    Wanted,
    mbox,
)
from filters.sources.files import Opener, open_file, printable, reason, screened
from filters.sources.maildir import is_maildir, open_maildir
from filters.sources.patience import Vigil

_BLOCK = 1_048_576
#: Bytes of an mbox by which its messages are guessed.
_SAMPLE = 8 * _BLOCK
#: Bytes that show what a file is: no name of a header field is longer.
_PEEK = 1024
_BOM = b"\xef\xbb\xbf"
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
_INSTEAD = "To move mail, give a Maildir or an IMAP folder."


def open_local(location: str, *, changes: bool, stdin: BinaryIO) -> Source:
    """The source at a path, by what is there; "-" is `stdin`. Without `changes` nothing can be changed.

    Raises NotFoundError for what is not there or cannot be read, InputError for what is no mail.
    """
    try:
        if location == "-":
            return _stdin(stdin)
        os.stat(location)  # "" is no name of this folder
        path = Path(os.path.realpath(location, strict=True))
        str(path).encode()
        return _folder(path, changes) if path.is_dir() else _file(path)
    except UnicodeEncodeError:
        raise InputError(f"{location}: the path is not UTF-8. Rename it.") from None
    except (OSError, ValueError) as error:
        why = (
            reason(error) if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) else "no such path"
        )
        raise NotFoundError(f"{location}: {why}. Check the path, and that you may read it.") from error


@dataclass(slots=True)
class ReadOnly:
    """A `Source` that is only read. `entries` gives the key of each message and a way to open it."""

    account: str
    why_not: str
    entries: Callable[[], Iterable[tuple[str, Opener]]]
    folder: str = ""
    host: str = ""
    can_move: bool = False
    uidvalidity: int = 0
    method: str = "move"
    copier: Copier | None = None
    extent: Extent = field(default_factory=Extent)
    count: Callable[[], int] = int

    def total(self) -> int:
        """As many as there are files; of an mbox a guess by its beginning."""
        return self.count()

    def scan(self, wanted: Wanted) -> Iterator[Mail | Passed | Unreadable]:
        """All messages, in the order of the file or of the paths."""
        for key, opener in self.entries():
            yield screened(Place(self.account, self.folder, key), opener, wanted)

    def prepare(self, folder: str) -> Target:
        """Refuses."""
        self._refuse()

    def look(self, places: Sequence[Place]) -> Mapping[Place, Look]:
        """Refuses: there is nothing to look at before a move that cannot be."""
        self._refuse()

    def move(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        """Refuses."""
        self._refuse()

    def find(self, folder: str, sought: Mapping[str, str], since: Target | None = None) -> Mapping[str, list[Place]]:
        """Refuses."""
        self._refuse()

    def read(self, places: Sequence[Place]) -> Iterator[Mail | Unreadable]:
        """Refuses."""
        self._refuse()

    def numbered(self, folder: str) -> Target | None:
        """Refuses."""
        self._refuse()

    def folders(self) -> list[str]:
        """Refuses."""
        self._refuse()

    def wait(self, vigil: Vigil) -> bool:
        """Refuses."""
        self._refuse()

    def settle(self, folder: str) -> None:
        """Refuses."""
        self._refuse()

    def close(self) -> None:
        """Nothing is held."""

    def _refuse(self) -> NoReturn:
        raise RefusedError(self.why_not)


def _folder(path: Path, changes: bool) -> Source:
    if is_maildir(path):
        return open_maildir(path, changes=changes)
    entries = _eml_files(path)
    if not entries:
        raise InputError(
            f"{path}: no mail here. Expected a Maildir (with cur/ and new/) or .eml files; an mbox file or one .eml will do too."
        )
    return ReadOnly(
        str(path), f"Mail in .eml files is only read. {_INSTEAD}", lambda: entries, count=lambda: len(entries)
    )


def _eml_files(root: Path) -> list[tuple[str, Opener]]:
    """Key (path below the folder) and opener of each .eml file; a folder that cannot be read is an entry that says so."""
    shut: list[OSError] = []
    found: list[tuple[str, Opener]] = []
    for folder, _, names in os.walk(root, onerror=shut.append):
        paths = [Path(folder, name) for name in names if name.lower().endswith(".eml")]
        found += [(printable(path.relative_to(root).as_posix()), partial(open_file, path)) for path in paths]
    if shut and not found:
        raise shut[0]
    found += [(printable(os.path.relpath(error.filename, root)), partial(_fail, error)) for error in shut]
    return sorted(found, key=lambda entry: entry[0])


def _fail(error: OSError) -> NoReturn:
    raise error


def _file(path: Path) -> Source:
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(
            f"{path}: neither a file nor a folder. To read from a pipe, give - and send the mail to stdin."
        )
    file, _ = open_file(path)
    with file:
        start = file.read(_PEEK)
    if _is_mbox(str(path), start):
        return ReadOnly(
            str(path), f"An mbox file is only read. {_INSTEAD}", partial(_mbox_file, path), count=partial(_guess, path)
        )
    return ReadOnly(
        str(path),
        f"An .eml file is only read. {_INSTEAD}",
        lambda: [(path.name, partial(open_file, path))],
        count=lambda: 1,
    )


def _stdin(stdin: BinaryIO) -> Source:
    start = stdin.read(_PEEK)
    blocks = chain([start], _blocks(stdin))
    several = _is_mbox("stdin", start)
    entries = partial(_numbered, blocks) if several else partial(_single, blocks)
    return ReadOnly("-", f"Mail from stdin is only read. {_INSTEAD}", entries)


def _is_mbox(name: str, start: bytes) -> bool:
    """Whether it is an mbox rather than one message. Raises InputError when it is neither."""
    if start.startswith(mbox.START):
        return True
    if not _FIELD.match(start.removeprefix(_BOM)):
        packed = " It is compressed: unpack it first." if start.startswith(_PACKED) else ""
        raise InputError(f"{name} is no mail: it does not begin with a header line.{packed}")
    return False


def _mbox_file(path: Path) -> Iterator[tuple[str, Opener]]:
    try:
        file, _ = open_file(path)
        with file:
            yield from _numbered(_blocks(file))
    except OSError as error:
        raise NotFoundError(f"{path}: {reason(error)}. Check the path, and that you may read it.") from error


def _guess(path: Path) -> int:
    """How many messages an mbox holds, if the rest of it is like its beginning."""
    file, size = open_file(path)
    with file:
        start = file.read(_SAMPLE)
    return start.count(b"\n" + mbox.START) * size // max(len(start), 1) + 1


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, _BLOCK), b"")


def _numbered(blocks: Iterable[bytes]) -> Iterator[tuple[str, Opener]]:
    for number, (head, size) in enumerate(mbox.messages(blocks), 1):
        yield str(number), partial(_read_already, head, size)


def _single(blocks: Iterable[bytes]) -> Iterator[tuple[str, Opener]]:
    """One message, of which what is over the cap is only counted."""
    head, size = b"", 0
    for block in blocks:
        head += block[: MESSAGE_CAP - len(head)]
        size += len(block)
    yield "-", partial(_read_already, head, size)


def _read_already(head: bytes, size: int) -> tuple[BinaryIO, int]:
    return io.BytesIO(head), size
