"""A hostile neighbour: another mail program on the same account, which marks, expunges, moves, appends, renames and deletes (P4).

It has messages and folders of its own, and knows how each must be after every step. What it does to other people's messages it
does only when told.
"""

from __future__ import annotations

import contextlib
import imaplib
import random
import threading
from collections.abc import Iterator, Sequence

from faults.checker import Message, Server, Violation, another_client

#: Every message of a neighbour has this in its Message-ID.
MARK = "neighbour.invalid"
_FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Mine")
_MOST = 30


def theirs(message: Message) -> bool:
    """Whether it is a neighbour's."""
    return MARK in message.message_id


class Neighbour:
    """One client. `step` does one random thing, and is repeatable by `seed`; `with neighbour.busy(50):` makes 50 steps a second
    from another thread. Not for several threads otherwise."""

    def __init__(self, server: Server, user: str, *, folders: Sequence[str] = ("INBOX",), seed: int = 0) -> None:
        self._server, self._user, self._random = server, user, random.Random(seed)
        self._shared, self._seed = list(folders), seed
        self._rooms: list[str] = []
        self._count, self._lock = 0, threading.Lock()
        self.mine: dict[str, tuple[str, frozenset[str]]] = {}
        """By Message-ID: the folder and the flags that each message of this neighbour must have."""
        self.steps = 0
        self.log: list[str] = []

    def __enter__(self) -> Neighbour:
        self._client = another_client(self._server, self._user)
        self._can_move = "MOVE" in self._client.capabilities
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            self._client.logout()

    @contextlib.contextmanager
    def busy(self, rate: float = 50.0) -> Iterator[Neighbour]:
        """Steps at this rate, as far as the server allows, until the end of the block; then what it did is done."""
        stop, errors = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                while not stop.wait(1 / rate):
                    self.step()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join(30)
        if errors:
            raise errors[0]

    def share(self, folder: str) -> None:
        """Make a folder, and keep it; it is among those this neighbour puts mail into from the start."""
        self._client.create(_quoted(folder))

    def step(self) -> None:
        """One random thing."""
        with self._lock:
            acts = [self._store, self._move, self._expunge, self._append, self._room, self._rename, self._delete]
            weights = [8, 6, 2, 6 if len(self.mine) < _MOST else 0, 1, 1, 1]
            self._random.choices(acts, weights)[0]()
            self.steps += 1

    def check(self, now: Sequence[Message]) -> list[Violation]:
        """What is not as this neighbour left it (I1-I3 for foreign mail)."""
        with self._lock:
            found = []
            mine = [one for one in now if theirs(one) and f".{self._seed}@" in one.message_id]
            for name in sorted(self.mine.keys() | {one.message_id for one in mine}):
                are = [(one.folder, one.flags) for one in mine if one.message_id == name]
                if are != ([self.mine[name]] if name in self.mine else []):
                    found.append(Violation("foreign", f"{name}: must be {self.mine.get(name)}, is {are}"))
            return found

    # What it does to messages of others, when told

    def flag(self, folder: str, uid: int, flag: str = "\\Flagged") -> bool:
        """Mark somebody's message. False when it was gone, or this was refused: to mark nothing is OK for a server."""
        with self._lock:
            if not self._select(folder):
                return False
            answer, lines = self._client.uid("STORE", str(uid), "+FLAGS", f"({flag})")
            return answer == "OK" and any(flag.encode() in line for line in lines if isinstance(line, bytes))

    def expunge(self, folder: str, uid: int) -> bool:
        """Remove somebody's message for good."""
        with self._lock:
            marked = self._select(folder) and self._ok("STORE", str(uid), "+FLAGS.SILENT", "(\\Deleted)")
            return marked and self._ok("EXPUNGE", str(uid))

    def take(self, folder: str, uid: int, target: str) -> bool:
        """Move somebody's message elsewhere; the folder is made when it is not there."""
        with self._lock:
            self._client.create(_quoted(target))
            return self._select(folder) and self._carried(str(uid), target)

    # What it does to its own

    def _append(self) -> None:
        self._count += 1
        name = f"<{self._count}.{self._seed}@{MARK}>"
        flags = frozenset(self._random.sample(_FLAGS, self._random.randint(0, 2)))
        folder = self._random.choice(self._shared + self._rooms)
        raw = f"From: Neighbour <n@{MARK}>\r\nSubject: mine\r\nMessage-ID: {name}\r\n\r\nMine.\r\n".encode()
        answer, _ = self._client.append(_quoted(folder), f"({' '.join(sorted(flags))})", None, raw)
        self._note(f"append {name} {folder} {sorted(flags)} {answer}")
        if answer == "OK":
            self.mine[name] = folder, flags

    def _store(self) -> None:
        name = self._any()
        if not name:
            return
        folder, flags = self.mine[name]
        flag = self._random.choice(_FLAGS)
        uid = self._uid(name, folder)
        sign = "-" if flag in flags else "+"
        if uid and self._ok("STORE", uid, f"{sign}FLAGS.SILENT", f"({flag})"):
            self.mine[name] = folder, flags ^ {flag}
        self._note(f"store {name} {folder} {sign}{flag}")

    def _move(self) -> None:
        name = self._any()
        if not name:
            return
        folder, flags = self.mine[name]
        target = self._random.choice(
            [one for one in [*self._shared, *self._rooms, folder] if one != folder] or [folder]
        )
        uid = self._uid(name, folder)
        moved = target != folder and uid and self._carried(uid, target)
        self._note(f"move {name} {folder} {target} {moved}")
        if moved:
            self.mine[name] = target, flags

    def _expunge(self) -> None:
        name = self._any()
        if not name:
            return
        folder, flags = self.mine[name]
        uid = self._uid(name, folder)
        if not uid or not self._ok("STORE", uid, "+FLAGS.SILENT", "(\\Deleted)"):
            return
        self.mine[name] = folder, flags | {"\\Deleted"}
        if self._ok("EXPUNGE", uid):
            del self.mine[name]
        self._note(f"expunge {name} {folder}")

    def _room(self) -> None:
        if len(self._rooms) < 3:
            self._count += 1
            name = f"{self._server.prefix}Room{self._seed}-{self._count}"
            if self._client.create(_quoted(name))[0] == "OK":
                self._rooms.append(name)
            self._note(f"create {name}")

    def _rename(self) -> None:
        if self._rooms:
            self._count += 1
            old, new = self._random.choice(self._rooms), f"{self._server.prefix}Room{self._seed}-{self._count}"
            self._leave()
            answer, _ = self._client.rename(_quoted(old), _quoted(new))
            self._note(f"rename {old} {new} {answer}")
            if answer == "OK":
                self._rooms[self._rooms.index(old)] = new
                self.mine = {
                    name: (new if folder == old else folder, flags) for name, (folder, flags) in self.mine.items()
                }

    def _delete(self) -> None:
        if self._rooms:
            room = self._random.choice(self._rooms)
            self._leave()
            answer, _ = self._client.delete(_quoted(room))
            self._note(f"delete {room} {answer}")
            if answer == "OK":
                self._rooms.remove(room)
                self.mine = {name: state for name, state in self.mine.items() if state[0] != room}

    def _any(self) -> str:
        return self._random.choice(sorted(self.mine)) if self.mine else ""

    def _leave(self) -> None:
        """Have no folder open that goes away now."""
        self._client.select("INBOX", readonly=True)

    def _select(self, folder: str) -> bool:
        return self._client.select(_quoted(folder))[0] == "OK"

    def _uid(self, name: str, folder: str) -> str:
        """Where one of its messages is; some servers find it by its whole name only."""
        if not self._select(folder):
            return ""
        found = self._client.uid("SEARCH", "HEADER", "Message-ID", _quoted(name))[1][0]
        uids = found.split() if found else []
        return uids[-1].decode() if uids else ""

    def _carried(self, uid: str, target: str) -> bool:
        if self._can_move:
            return self._ok("MOVE", uid, _quoted(target))
        if not self._ok("COPY", uid, _quoted(target)):
            return False
        return self._ok("STORE", uid, "+FLAGS.SILENT", "(\\Deleted)") and self._ok("EXPUNGE", uid)

    def _ok(self, command: str, *words: str) -> bool:
        try:
            answer, _ = self._client.uid(command, *words)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            return False
        return answer == "OK"

    def _note(self, text: str) -> None:
        self.log = [*self.log[-200:], text]


def _quoted(name: str) -> str:
    return f'"{name}"'
