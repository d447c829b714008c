"""A Maildir, or one of its Maildir++ subfolders, as a source: messages move by being renamed, and in no other way."""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from filters.errors import NotFoundError, RefusedError, ServerError, TargetError, UsageError, WriteError
from filters.safe_text import safe_text
from filters.sources import Copier, Extent, Look, Mail, Passed, Place, Target, Unreadable, Wanted
from filters.sources.files import look_at, open_file, printable, reason, screened
from filters.sources.location import USUAL_SPECIAL, decoded, encoded
from filters.sources.patience import Vigil

#: Where messages lie. In this order nothing is missed when a client takes a message out of new/ while we list.
_SUBFOLDERS = ("new", "cur")
_MARKER = "maildirfolder"
_FLAGS = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
#: Unique part, and the rest: ":2,FS". Some systems cannot have ":" in names and use ";" or "!".
_NAME = re.compile(r"(?s)(.+)([:;!]2,.*)")
#: Fields of a unique part that tell of the message, and stay; and the one that tells of the folder (mbsync's UID).
_SIZES = re.compile(r",[SW]=\d+")
_UID = re.compile(r",U=\d+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Bytes of a folder's name.
_LONGEST = 250
_ATTEMPTS = 3
#: Between looks for new mail.
_LOOK_SECONDS = 2.0
_ALL = Wanted((), lambda _: True)


def is_maildir(path: Path) -> bool:
    """Whether a folder looks like a Maildir."""
    return all((path / name).is_dir() for name in _SUBFOLDERS)


def open_maildir(path: Path, *, changes: bool) -> Maildir:
    """The Maildir at an absolute path. Of a subfolder such as ".Work" the account is the Maildir that it belongs to."""
    below = path.name.startswith(".") and ((path / _MARKER).exists() or is_maildir(path.parent))
    root, folder = (path.parent, path.name[1:]) if below else (path, "")
    why_not = "" if changes else "The Maildir was opened for reading only."
    return Maildir(str(root), folder, changes, why_not)


@dataclass(slots=True)
class Maildir:
    """A `Source`. Folder names are those of Maildir++ without the leading dot: "" (the root), "Work", "Work.2024"."""

    account: str
    folder: str
    can_move: bool
    why_not: str
    host: str = ""
    uidvalidity: int = 0
    method: str = "move"
    copier: Copier | None = None
    extent: Extent = field(default_factory=Extent)
    _identities: dict[Place, str] = field(default_factory=dict)
    _known: frozenset[str] = frozenset()
    """Keys of what the last scan went through."""

    # Reading

    def total(self) -> int:
        """Those that are there now."""
        return len(self._listed(self.folder))

    def scan(self, wanted: Wanted) -> Iterator[Mail | Passed | Unreadable]:
        """Messages in the order of their names, which begin with the time of delivery."""
        listed = self._listed(self.folder)
        self._known = frozenset(listed)
        self._identities.clear()
        for key, path in listed.items():
            yield screened(self._place(self.folder, key), partial(self._open, key, path), wanted, _flags(path.name))

    def _open(self, key: str, path: Path) -> tuple[BinaryIO, int]:
        """Open a message, also when a client has just marked it, and so renamed it."""
        try:
            return open_file(path)
        except FileNotFoundError:
            return open_file(self._listed(self.folder).get(key, path))

    def look(self, places: Sequence[Place]) -> Mapping[Place, Look]:
        """D9. A message that is there but cannot be read shows no identity, so that it differs from the one judged."""
        looks: dict[Place, Look] = {}
        for place, path in self._files(places):
            try:
                looks[place] = look_at(path, _flags(path.name))
            except FileNotFoundError:
                continue
            except OSError:
                looks[place] = Look("", -1, frozenset())
        return looks

    def _files(self, places: Sequence[Place]) -> Iterator[tuple[Place, Path]]:
        """Each place with its file, folder by folder, as far as there is one."""
        for folder in dict.fromkeys(place.folder for place in places):
            files = self._listed(folder) if folder == self.folder or self.numbered(folder) else {}
            for place in places:
                if place.key in files and place == self._place(folder, place.key):
                    yield place, files[place.key]

    def find(self, folder: str, sought: Mapping[str, str], since: Target | None = None) -> Mapping[str, list[Place]]:
        """Looks at every message of the folder, once per source: what lies under a unique name never changes."""
        try:
            name = self._name(self._directory(folder))
            files = self._listed(name) if sought else {}
        except (TargetError, NotFoundError):
            return {}
        found: dict[str, list[Place]] = {}
        for key, path in files.items():
            place = self._place(name, key)
            if (identity := self._identity(place, path)) in sought:
                found.setdefault(identity, []).append(place)
        return found

    def read(self, places: Sequence[Place]) -> Iterator[Mail | Unreadable]:
        """Folder by folder."""
        for place, path in self._files(places):
            found = screened(place, partial(open_file, path), _ALL, _flags(path.name))
            if not isinstance(found, Passed):
                yield found

    def numbered(self, folder: str) -> Target | None:
        """Without numbers: there are none."""
        try:
            directory = self._directory(folder)
        except TargetError:
            return None
        return Target(self._name(directory), 0, 0) if is_maildir(directory) else None

    def folders(self) -> list[str]:
        """The root, and the subfolders of Maildir++ but those that are special by name."""
        names = (path.name[1:] for path in sorted(Path(self.account).glob(".*")) if is_maildir(path))
        return ["", *(decoded(name) for name in names if name.lower() not in USUAL_SPECIAL)]

    def wait(self, vigil: Vigil) -> bool:
        """Looks every few seconds whether names have changed, and only then at them."""
        directory, before = self._directory(self.folder), tuple[int, ...]()
        for step in vigil.steps(vigil.turn, min(_LOOK_SECONDS, vigil.step)):
            now = _changed(directory)
            if now != before and self._has_new():
                return True
            before = now
            vigil.sleep(step)
        return self._has_new()

    def _has_new(self) -> bool:
        return not self._known.issuperset(self._listed(self.folder))

    def settle(self, folder: str) -> None:
        """A rename is over when it is over."""

    def _identity(self, place: Place, path: Path) -> str:
        if place not in self._identities:
            with suppress(OSError):
                self._identities[place] = look_at(path, frozenset()).identity
        return self._identities.get(place, "")

    def _listed(self, folder: str) -> dict[str, Path]:
        """Key and path of each message, in the order of keys. Raises NotFoundError."""
        directory = self._directory(folder)
        found: dict[str, Path] = {}
        try:
            for name in _SUBFOLDERS:
                with os.scandir(directory / name) as entries:
                    found |= {_key(entry.name): Path(entry.path) for entry in entries if _is_message(entry)}
        except OSError as error:
            raise NotFoundError(
                f"{directory} cannot be read: {reason(error)}. Check the path and your rights."
            ) from error
        return dict(sorted(found.items()))

    def _place(self, folder: str, key: str) -> Place:
        return Place(self.account, folder, key)

    # Moving

    def prepare(self, folder: str) -> Target:
        """Make a Maildir++ subfolder beside this one; "" and "INBOX" are the root. Raises TargetError or WriteError."""
        self._check_leave()
        root, home, directory = Path(self.account), self._directory(self.folder), self._directory(folder)
        shown = safe_text(folder or "INBOX")
        if directory == home:
            raise TargetError(f"Mail cannot be moved from {shown} to {shown}. Choose another folder.")
        try:
            if directory.is_symlink():
                raise TargetError(f"The folder {shown} is a symbolic link. Choose another one.")
            if not is_maildir(directory):
                _make(directory, root)
            if directory.stat().st_dev != home.stat().st_dev:
                raise TargetError(f"The folder {shown} is on another file system, where nothing can be renamed to.")
        except OSError as error:
            raise TargetError(f"The folder {shown} cannot be made: {reason(error)}. Choose another one.") from error
        for path in (place / name for place in (home, directory) for name in _SUBFOLDERS):
            if not os.access(path, os.W_OK | os.X_OK):
                raise WriteError(f"{path} cannot be written, so nothing was moved. Check your rights to that folder.")
        return Target(self._name(directory), 0, 0)

    def move(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        """Rename each message in one step, so that a crash leaves it in one place. Bytes, dates and flags stay; what is in new/
        stays new. A message keeps its name if that is free in the target and holds no number of the folder it leaves."""
        self._check_leave()
        directory = self._directory(target.folder)
        try:
            files, taken = self._listed(self.folder), set(self._listed(target.folder))
        except NotFoundError as error:
            raise TargetError(f"{error} Nothing was moved.") from error
        moved: dict[Place, Place | None] = {}
        for place in places:
            if place.key in files and place == self._place(self.folder, place.key):
                key = _free(place.key, files[place.key].name, taken)
                if self._renamed(place.key, files[place.key], directory, key):
                    taken.add(key)
                    moved[place] = self._place(target.folder, key)
        if moved:
            _sync(directory, self._directory(self.folder))
        return moved

    def _renamed(self, key: str, path: Path, directory: Path, new_key: str) -> bool:
        """Whether it worked. A client that marks a message renames it too: then it is looked for again.

        The new name was free a moment ago. That nobody else gives it to another message just now is what names in a Maildir
        are made for.
        """
        for _ in range(_ATTEMPTS):
            new_path = directory / path.parent.name / (new_key + _info(path.name))
            try:
                path.rename(new_path)
            except FileNotFoundError:
                found = self._listed(self.folder).get(key)
                if not found:
                    return new_path.exists()  # NFS: done, but the answer was lost
                path = found
            except OSError:
                return False
            else:
                return True
        return False

    def _check_leave(self) -> None:
        if not self.can_move:
            raise RefusedError(self.why_not)

    # Folders

    def _directory(self, folder: str) -> Path:
        """Where a folder lies or would lie. A name that is there just as it is typed comes first; else it is spelled in modified
        UTF-7, as Maildir++ has it. Raises TargetError for what cannot be a name."""
        root = Path(self.account)
        if folder == "" or folder.upper() == "INBOX":
            return root
        levels = folder.replace("/", ".")
        try:
            spelled = encoded(levels)
        except UsageError as error:
            raise TargetError(str(error)) from None
        if (
            not all(levels.split("."))
            or _CONTROL.search(levels)
            or len(levels.encode()) > _LONGEST
            or len(spelled) > _LONGEST
        ):
            raise TargetError(f"{safe_text(folder, 60)} cannot be a folder's name in a Maildir. Choose another one.")
        typed = root / f".{levels}"
        return typed if typed.is_dir() else root / f".{spelled}"

    def _name(self, directory: Path) -> str:
        return "" if directory == Path(self.account) else directory.name[1:]

    def close(self) -> None:
        """Nothing is held."""


def _changed(directory: Path) -> tuple[int, ...]:
    """When names were last added or taken away. Raises NotFoundError."""
    try:
        return tuple((directory / name).stat().st_mtime_ns for name in _SUBFOLDERS)
    except OSError as error:
        raise NotFoundError(f"{directory} cannot be read: {reason(error)}. Check the path and your rights.") from error


def _key(name: str) -> str:
    """The unique part of a file name, in which bytes that are not UTF-8 are shown as escapes."""
    match = _NAME.fullmatch(name)
    return printable(match[1] if match else name)


def _info(name: str) -> str:
    """What follows the unique part, as it is: flags, also those of other programs."""
    match = _NAME.fullmatch(name)
    return match[2] if match else ""


def _flags(name: str) -> frozenset[str]:
    return frozenset(_FLAGS[letter] for letter in _info(name)[3:] if letter in _FLAGS)


def _is_message(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False)


def _free(key: str, name: str, taken: Set[str]) -> str:
    """A unique part for the target: the one it has, or a fresh one in the manner of maildir(5)."""
    if key not in taken and not _UID.search(key) and name.startswith(key):
        return key
    host = socket.gethostname().replace("/", "\\057").replace(":", "\\072")
    return f"{time.time():.0f}.R{secrets.token_hex(8)}.{host}{''.join(_SIZES.findall(key))}"


def _make(directory: Path, root: Path) -> None:
    """A Maildir++ folder that belongs to the owner of its root, also when somebody else (root) makes it. Raises OSError."""
    owner = root.stat()
    for path in (directory, *(directory / name for name in ("tmp", *_SUBFOLDERS))):
        path.mkdir(mode=0o700, exist_ok=True)
        _give(path, owner)
        if path == directory != root:
            (directory / _MARKER).touch(mode=0o600)
            _give(directory / _MARKER, owner)
    _sync(directory)
    _sync_one(root)


def _give(path: Path, owner: os.stat_result) -> None:
    if os.geteuid() == 0 and path.stat().st_uid == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def _sync(*directories: Path) -> None:
    """Wait until names are on the disk. Raises ServerError: nobody knows which are."""
    for directory in directories:
        for name in _SUBFOLDERS:
            try:
                _sync_one(directory / name)
            except OSError as error:
                raise ServerError(
                    f"{directory} cannot be written to the disk: {reason(error)}. Check the disk.", 74
                ) from error


def _sync_one(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do it
            raise
    finally:
        os.close(descriptor)
