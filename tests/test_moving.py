"""Mail is moved once or not at all, whatever happens on the way, and comes back as it was."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from dovecot import PASSWORD, Dovecot
from mailboxes import AT_ONCE, WANTED, message

from filters.errors import BusyError, RefusedError, TargetError, WriteError
from filters.journal import Candidate, Journal, Move, open_journal
from filters.moving import Outcome, move, reconcile, undo
from filters.sources import Copier, Look, Mail, Passed, Place, Source, Target, Unreadable, Wanted
from filters.sources.imap import open_imap
from filters.sources.local import open_local

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
ONE, TWO, THREE = (message(number) for number in (1, 2, 3))
FRIEND, FLAGGED = message(8, wanted=False), message(9)
FLAGS = {"F": "\\Flagged", "S": "\\Seen", "T": "\\Deleted", "R": "\\Answered", "D": "\\Draft"}


@dataclass(frozen=True)
class Box:
    """A mailbox on the disk that can be opened as a source."""

    root: Path
    home: str
    open_at: Callable[[str], Source]
    deliver: Callable[[bytes, str], None]
    url: str = ""
    copies: bool = False

    def content(self) -> list[tuple[str, bytes, str, int]]:
        """(folder, bytes, flags, date) of every message, as it lies on the disk."""
        found = []
        for path in self.root.rglob("*"):
            if path.parent.name in ("cur", "new") and path.is_file():
                flags = path.name.partition(":2,")[2]
                found.append(
                    (
                        path.parent.parent.name if path.parent.parent != self.root else "",
                        path.read_bytes(),
                        flags,
                        int(path.stat().st_mtime),
                    )
                )
        return sorted(found)

    def where(self, raw: bytes) -> list[str]:
        """The folders in which a message lies."""
        return [folder for folder, content, *_ in self.content() if content == raw]


def _maildir(root: Path) -> Box:
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)

    def deliver(raw: bytes, flags: str) -> None:
        number = len(list(root.glob("cur/*")))
        (root / "cur" / f"{number}.M1.host:2,{flags}").write_bytes(raw)

    def open_at(folder: str) -> Source:
        return open_local(str(root / f".{folder}" if folder else root), changes=True, stdin=BytesIO())

    return Box(root, "", open_at, deliver)


def _on_server(server: Dovecot, *, copies: bool = False) -> Box:
    user = server.new_user()

    def open_at(folder: str) -> Source:
        url = server.url(user, folder, plain=True)
        return open_imap(url, lambda _: PASSWORD, changes=True, patience=AT_ONCE)

    return Box(
        server.maildir(user), "INBOX", open_at, lambda raw, flags: server.deliver(user, raw, flags=flags), user, copies
    )


@pytest.fixture(params=["maildir", "dovecot", "dovecot_without_move"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Box:
    if request.param == "maildir":
        return _maildir(tmp_path / "mail")
    return _on_server(request.getfixturevalue(request.param), copies=request.param != "dovecot")


@pytest.fixture
def box(empty: Box) -> Box:
    """Three to move, one of them twice; one flagged; one from a friend."""
    for raw, flags in ((ONE, "S"), (FRIEND, "FS"), (TWO, ""), (ONE, "S"), (FLAGGED, "F"), (THREE, "S")):
        empty.deliver(raw, flags)
    for number, path in enumerate(sorted(empty.root.glob("cur/*"))):
        os.utime(path, (1_400_000_000, 1_400_000_000 + number))
    return empty


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


@contextmanager
def running(box: Box, path: Path, command: str = "clean") -> Iterator[tuple[Source, Journal, str]]:
    opened = closing(box.open_at(box.home))
    with opened as source, open_journal(path) as journal, journal.run(source.account, command, NOW) as run:
        yield source, journal, run


def candidates(source: Source) -> list[Candidate]:
    return [
        Candidate(mail.place, mail.identity, _message_id(mail.raw), mail.size, "advert", "words")
        for mail in source.scan(WANTED)
        if isinstance(mail, Mail)
    ]


def _message_id(raw: bytes) -> str:
    found = re.search(rb"Message-ID: <(.+)>", raw)
    return found[1].decode() if found else ""


def clean(box: Box, path: Path, wrap: Callable[[Source], Source] = lambda source: source) -> Outcome:
    """What the command does."""
    with running(box, path) as (plain, journal, run):
        source = wrap(plain)
        reconcile(source, journal)
        return move(source, journal, run, candidates(source), "Ads")


def take_back(box: Box, path: Path, wrap: Callable[[Source], Source] = lambda source: source) -> Outcome:
    with open_journal(path) as journal:
        last = journal.last_run()
        assert last
        with journal.run(last.account, "undo", NOW) as run:
            return undo(lambda folder: wrap(box.open_at(folder)), journal, run, journal.moves(last.id))


def rows(path: Path) -> list[Move]:
    with open_journal(path) as journal:
        return [one for run in journal.runs() for one in journal.moves(run.id)]


def states(path: Path) -> list[str]:
    return [row.state for row in rows(path)]


def reasons(outcome: Outcome) -> dict[str, str]:
    return {left.message_id: left.reason for left in outcome.left}


def check_moved(box: Box, path: Path, before: list[tuple[str, bytes, str, int]]) -> None:
    """Everything is where it belongs, once, and the journal knows it."""
    wanted = (ONE, TWO, THREE)
    expected = [((".Ads" if raw in wanted else ""), raw, flags, date) for _, raw, flags, date in before]
    assert box.content() == sorted(expected)
    done = [row for row in rows(path) if row.state == "done"]
    assert sorted(row.message_id for row in done) == [
        _message_id(raw).replace(">", "") for raw in (ONE, ONE, TWO, THREE)
    ]
    assert not {"planned", "sent", "doubt", "vanished"} & set(states(path))
    with closing(box.open_at("Ads")) as there:
        looks = there.look([row.moved_to for row in done if row.moved_to])
        assert len(looks) == 4
        assert {looks[row.moved_to].identity for row in done if row.moved_to} == {row.identity for row in done}


# --- a plain run


def test_a_run_moves_what_it_is_told_and_a_second_does_nothing(box: Box, path: Path) -> None:
    before = box.content()
    outcome = clean(box, path)
    assert len(outcome.moved) == 4
    assert reasons(outcome) == {"9@example.org": "it is flagged"}
    check_moved(box, path, before)
    count = len([row for row in rows(path) if row.state == "done"])
    assert clean(box, path).moved == ()
    assert len([row for row in rows(path) if row.state == "done"]) == count
    check_moved(box, path, before)


def test_taken_back_everything_is_as_it_was_and_stays(box: Box, path: Path) -> None:
    before = box.content()
    moved = clean(box, path).moved
    back = take_back(box, path)
    assert sorted(one.undoes or 0 for one in back.moved) == [one.id for one in moved]
    assert back.left == ()
    assert box.content() == before
    again = clean(box, path)
    assert again.moved == ()
    assert reasons(again)["1@example.org"] == "you took it back once"
    assert box.content() == before
    once_more = take_back(box, path)
    assert once_more.moved == ()
    assert set(reasons(once_more).values()) == {"it was taken back before"}
    assert box.content() == before


def test_one_message_of_a_run_can_be_taken_back(box: Box, path: Path) -> None:
    moved = clean(box, path).moved
    (chosen,) = [one for one in moved if one.message_id == "2@example.org"]
    with open_journal(path) as journal, journal.run(chosen.place.account, "undo", NOW) as run:
        undo(box.open_at, journal, run, [chosen])
    assert box.where(TWO) == [""]
    assert box.where(THREE) == [".Ads"]


def test_mail_without_an_identity_is_never_moved(empty: Box, path: Path) -> None:
    empty.deliver(ONE.replace(b"Message-ID: <1@example.org>\r\n", b""), "S")
    outcome = clean(empty, path)
    assert outcome.moved == ()
    assert "no Message-ID" in outcome.left[0].reason
    assert not (empty.root / ".Ads").exists()


def test_more_than_one_batch(tmp_path: Path, path: Path) -> None:
    box = _maildir(tmp_path / "mail")
    for number in range(1101):
        (box.root / "cur" / f"{number}.host:2,S").write_bytes(message(number))
    assert len(clean(box, path).moved) == 1101
    assert len(take_back(box, path).moved) == 1101
    assert {folder for folder, *_ in box.content()} == {""}


# --- somebody else is at it too


@dataclass
class Watched:
    """A source that calls back before and after each call that goes to it."""

    source: Source
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None
    account: str = field(init=False)
    folder: str = field(init=False)
    host: str = field(init=False)
    can_move: bool = field(init=False)
    why_not: str = field(init=False)
    uidvalidity: int = field(init=False)
    method: str = field(init=False)
    copier: Copier | None = field(init=False)

    def __post_init__(self) -> None:
        self.account, self.folder, self.host = self.source.account, self.source.folder, self.source.host
        self.can_move, self.why_not = self.source.can_move, self.source.why_not
        self.uidvalidity, self.method, self.copier = self.source.uidvalidity, self.source.method, None
        if self.source.copier:
            self.copier = self

    def _call(self, name: str, *words: Any) -> Any:
        self.before(name)
        result = getattr(self.source, name)(*words)
        self.after(name)
        return result

    def scan(self, wanted: Wanted) -> Iterator[Mail | Passed | Unreadable]:
        return self.source.scan(wanted)

    def prepare(self, folder: str) -> Target:
        target: Target = self._call("prepare", folder)
        return target

    def look(self, places: Sequence[Place]) -> Mapping[Place, Look]:
        looks: Mapping[Place, Look] = self._call("look", places)
        return looks

    def move(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        moved: Mapping[Place, Place | None] = self._call("move", places, target)
        return moved

    def find(self, folder: str, sought: Mapping[str, str], since: Target | None = None) -> Mapping[str, list[Place]]:
        found: Mapping[str, list[Place]] = self._call("find", folder, sought, since)
        return found

    def copy(self, places: Sequence[Place], target: Target) -> Mapping[Place, Place | None]:
        """Where there is no move, this one counts as it."""
        self.before("move")
        assert self.source.copier
        copies = self.source.copier.copy(places, target)
        self.after("move")
        return copies

    def remove(self, places: Sequence[Place]) -> Collection[Place]:
        self.before("remove")
        assert self.source.copier
        remaining = self.source.copier.remove(places)
        self.after("remove")
        return remaining

    def restore(self, places: Sequence[Place]) -> None:
        assert self.source.copier
        self.source.copier.restore(places)

    def mark(self, place: Place, flags: Iterable[str]) -> None:
        assert self.source.copier
        self.source.copier.mark(place, flags)

    def read(self, places: Sequence[Place]) -> Iterator[Mail | Unreadable]:
        return self.source.read(places)

    def numbered(self, folder: str) -> Target | None:
        return self.source.numbered(folder)

    def folders(self) -> list[str]:
        return self.source.folders()

    def settle(self, folder: str) -> None:
        self.source.settle(folder)

    def close(self) -> None:
        self.source.close()


def at(call: str, action: Callable[[], object]) -> Callable[[str], None]:
    """The first time that this call is made."""
    calls = iter([call])

    def act(name: str) -> None:
        if name == call and next(calls, ""):
            action()

    return act


def _file(box: Box, raw: bytes, folder: str = "") -> Path:
    files = [path for name in ("cur", "new") for path in sorted((box.root / folder / name).iterdir())]
    return next(path for path in files if path.read_bytes() == raw)


def _remark(box: Box, raw: bytes, flags: str, folder: str = "") -> None:
    path = _file(box, raw, folder)
    path.rename(path.parent.parent / "cur" / (path.name.partition(":2,")[0] + f":2,{flags}"))


@pytest.mark.parametrize(
    ("meddle", "reason"),
    [
        (lambda box: _file(box, TWO).unlink(), "it is not there any more"),
        (lambda box: _remark(box, TWO, "R"), "it is answered"),
        (lambda box: _remark(box, TWO, "DT"), "it is marked as deleted and a draft"),
    ],
)
@pytest.mark.parametrize("call", ["prepare", "look"])
def test_f24_what_changed_since_it_was_judged_is_left_alone(
    box: Box, path: Path, meddle: Callable[[Box], None], reason: str, call: str
) -> None:
    outcome = clean(box, path, lambda source: Watched(source, before=at(call, lambda: meddle(box))))
    assert len(outcome.moved) == 3
    assert reasons(outcome)["2@example.org"] == reason
    assert ".Ads" not in box.where(TWO)


def test_f24_another_message_under_the_same_name_is_left_alone(tmp_path: Path, path: Path) -> None:
    box = _maildir(tmp_path / "mail")
    box.deliver(TWO, "S")
    for other in (THREE, TWO + b"more\r\n"):
        swap = at("look", lambda: _file(box, TWO).write_bytes(other))  # noqa: B023
        outcome = clean(box, path, lambda source: Watched(source, before=swap))  # noqa: B023
        assert reasons(outcome) == {"2@example.org": "it is not the message that was judged"}
        assert box.where(other) == [""]
        _file(box, other).write_bytes(TWO)


def test_a_message_taken_in_the_last_moment_does_no_harm(box: Box, path: Path) -> None:
    def take() -> None:
        if box.where(TWO) == [""]:
            _file(box, TWO).unlink()

    clean(box, path, lambda source: Watched(source, before=at("move", take)))
    assert [box.where(raw) for raw in (ONE, TWO, THREE)] == [[".Ads"] * 2, [], [".Ads"]]
    assert {row.state for row in rows(path) if row.message_id == "2@example.org"} <= {"failed", "vanished"}


def test_a_message_marked_in_the_last_moment_goes_with_its_mark(box: Box, path: Path) -> None:
    clean(box, path, lambda source: Watched(source, before=at("move", lambda: _remark(box, TWO, "S"))))
    assert [(folder, flags) for folder, raw, flags, _ in box.content() if raw == TWO] == [(".Ads", "S")]


def test_f23_a_second_run_at_the_same_time_is_refused(box: Box, path: Path) -> None:
    def again() -> None:
        with pytest.raises(BusyError, match="Another run"):
            clean(box, path)

    before = box.content()
    clean(box, path, lambda source: Watched(source, before=at("move", again), after=at("move", again)))
    check_moved(box, path, before)


# --- the connection breaks


class Gone(BaseException):
    """We are not there any more to do anything about it."""


def _break() -> None:
    raise Gone


def _stop() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", [_break, _stop])
@pytest.mark.parametrize(
    ("when", "call", "state"),
    [
        ("before", "prepare", None),
        ("before", "look", "planned"),
        ("after", "look", "planned"),
        ("before", "move", "sent"),
        ("after", "move", "sent"),
    ],
)
def test_a_break_leaves_a_truthful_journal_and_the_next_run_settles_it(
    box: Box, path: Path, how: Callable[[], None], when: str, call: str, state: str | None
) -> None:
    before = box.content()
    watched: dict[str, Any] = {when: at(call, how)}
    with pytest.raises((Gone, KeyboardInterrupt)):
        clean(box, path, lambda source: Watched(source, **watched))
    assert {row.state for row in rows(path) if row.message_id != "9@example.org"} == ({state} if state else set())
    outcome = clean(box, path)
    assert len(outcome.moved) == (0 if (when, call) == ("after", "move") else 4)
    check_moved(box, path, before)


@pytest.mark.parametrize(("when", "call"), [("before", "look"), ("before", "move"), ("after", "move")])
def test_a_break_on_the_way_back_leaves_a_truthful_journal_too(box: Box, path: Path, when: str, call: str) -> None:
    before = box.content()
    clean(box, path)
    watched: dict[str, Any] = {when: at(call, _break)}
    with pytest.raises(Gone):
        take_back(box, path, lambda source: Watched(source, **watched))
    assert clean(box, path).moved == ()
    take_back(box, path)
    assert box.content() == before
    assert {row.state for row in rows(path) if row.undoes is None} == {"undone", "failed"}


def test_a_broken_off_run_can_be_taken_back_at_once(box: Box, path: Path) -> None:
    before = box.content()
    with pytest.raises(Gone):
        clean(box, path, lambda source: Watched(source, after=at("move", _break)))
    assert len(take_back(box, path).moved) == 4
    assert box.content() == before


# --- what reconcile makes of what it finds


@pytest.mark.parametrize(
    ("here", "there", "state"),
    [
        (1, 0, "failed"),
        (0, 1, "done"),
        (0, 0, "vanished"),
        (1, 1, "doubt"),
        (0, 2, "doubt"),
        (1, 2, "doubt"),
    ],
)
def test_an_open_move_is_settled_by_what_is_in_both_folders(
    tmp_path: Path, path: Path, here: int, there: int, state: str
) -> None:
    box = _maildir(tmp_path / "mail")
    box.deliver(ONE, "S")
    with pytest.raises(Gone):
        clean(box, path, lambda source: Watched(source, before=at("move", _break)))
    original = _file(box, ONE)
    for number in range(there):
        (box.root / ".Ads" / "cur" / f"7{number}.other:2,S").write_bytes(ONE)
    if not here:
        original.unlink()
    before = box.content()
    with running(box, path) as (source, journal, _):
        (row,) = reconcile(source, journal)
        assert reconcile(source, journal) == []
    assert (row.state, bool(row.reason)) == (state, state != "done")
    assert (row.moved_to is not None) == (state == "done")
    assert box.content() == before


def test_of_two_alike_each_finds_its_own_place(tmp_path: Path, path: Path) -> None:
    box = _maildir(tmp_path / "mail")
    box.deliver(ONE, "S")
    box.deliver(ONE, "S")

    def half() -> None:
        _file(box, ONE).rename(box.root / ".Ads" / "cur" / "99.new:2,S")
        _break()

    with pytest.raises(Gone):
        clean(box, path, lambda source: Watched(source, before=at("move", half)))
    with running(box, path) as (source, journal, _):
        assert sorted(row.state for row in reconcile(source, journal)) == ["done", "failed"]
    assert len(clean(box, path).moved) == 1
    assert len(take_back(box, path).moved) == 1
    assert sorted(folder for folder, *_ in box.content()) == ["", ".Ads"]


def test_a_copy_that_was_in_the_target_before_is_not_taken_for_ours(dovecot: Dovecot, path: Path) -> None:
    box = _on_server(dovecot)
    box.deliver(ONE, "S")
    dovecot.deliver(box.url, ONE, folder=".Ads")
    with pytest.raises(Gone):
        clean(box, path, lambda source: Watched(source, before=at("move", _break)))
    _file(box, ONE).unlink()
    with running(box, path) as (source, journal, _):
        assert [row.state for row in reconcile(source, journal)] == ["vanished"]


def test_one_alike_that_an_earlier_run_moved_is_not_taken_for_ours(box: Box, path: Path) -> None:
    clean(box, path)
    box.deliver(TWO, "S")
    with pytest.raises(Gone):
        clean(box, path, lambda source: Watched(source, before=at("move", _break)))
    assert len(clean(box, path).moved) == 1
    assert box.where(TWO) == [".Ads", ".Ads"]
    assert "doubt" not in states(path)


def test_a_message_that_cannot_be_read_just_now_stays_open(tmp_path: Path, path: Path) -> None:
    box = _maildir(tmp_path / "mail")
    box.deliver(ONE, "S")
    with pytest.raises(Gone):
        clean(box, path, lambda source: Watched(source, before=at("move", _break)))
    file = _file(box, ONE)
    file.rename(tmp_path / "aside")
    file.symlink_to(tmp_path / "aside")
    clean(box, path)
    assert states(path) == ["sent"]
    (tmp_path / "aside").rename(file)
    clean(box, path)
    assert states(path) == ["failed", "done"]


# --- the way back, when things have changed


def _renumber(server: Dovecot, user: str, folder: str) -> None:
    """Give a folder a new UIDVALIDITY, and its messages new numbers."""
    with server.neighbour(user) as client:
        for command in (("create", "Aside"), ("select", folder), ("uid", "MOVE", "1:*", "Aside"), ("select", "Aside")):
            assert getattr(client, command[0])(*command[1:])[0] == "OK"
        assert client.delete(folder)[0] == client.create(folder)[0] == "OK"
        assert client.uid("MOVE", "1:*", folder)[0] == "OK"


def test_f17_f25_taken_back_after_the_target_was_numbered_anew(dovecot: Dovecot, path: Path) -> None:
    box = _on_server(dovecot)
    for raw in (ONE, FRIEND, ONE, TWO):
        box.deliver(raw, "S")
    before = box.content()
    for _ in range(5):
        dovecot.deliver(box.url, FRIEND, folder=".Ads")
    old = {move.moved_to for move in clean(box, path).moved}
    for _ in range(5):
        _file(box, FRIEND, ".Ads").unlink()
    _renumber(dovecot, box.url, "Ads")  # from 1 on: lower numbers than before the move
    with closing(box.open_at("Ads")) as there:
        assert there.look([place for place in old if place]) == {}
    assert len(take_back(box, path).moved) == 3
    assert [(folder, raw, flags) for folder, raw, flags, _ in box.content()] == [
        (folder, raw, flags) for folder, raw, flags, _ in before
    ]
    assert clean(box, path).moved == ()


def test_f17_a_broken_off_run_is_settled_after_the_source_was_numbered_anew(dovecot: Dovecot, path: Path) -> None:
    box = _on_server(dovecot)
    dovecot.deliver(box.url, ONE, folder=".Lists")
    box = replace(box, home="Lists")
    with pytest.raises(Gone):
        clean(box, path, lambda source: Watched(source, before=at("move", _break)))
    _renumber(dovecot, box.url, "Lists")
    with running(box, path) as (source, journal, _):
        assert [row.state for row in reconcile(source, journal)] == ["failed"]
    assert len(clean(box, path).moved) == 1


def test_a_half_done_move_is_seen_also_after_the_source_was_numbered_anew(dovecot: Dovecot, path: Path) -> None:
    box = _on_server(dovecot)
    dovecot.deliver(box.url, ONE, folder=".Lists")
    box = replace(box, home="Lists")

    def half() -> None:
        with dovecot.neighbour(box.url) as client:
            client.select("Lists")
            assert client.uid("COPY", "1", "Ads")[0] == "OK"
        _break()

    with pytest.raises(Gone):
        clean(box, path, lambda source: Watched(source, before=at("move", half)))
    _renumber(dovecot, box.url, "Lists")
    with running(box, path) as (source, journal, _):
        assert [row.state for row in reconcile(source, journal)] == ["doubt"]


def _to(box: Box, raw: bytes, folder: str) -> None:
    for name in ("cur", "new", "tmp"):
        (box.root / folder / name).mkdir(parents=True, exist_ok=True)
    owner = box.root.stat()
    for path in (box.root / folder, *(box.root / folder).iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    path = _file(box, raw, ".Ads")
    path.rename(box.root / folder / "cur" / path.name)


@pytest.mark.parametrize(
    ("meddle", "reason"),
    [
        (lambda box: _file(box, TWO, ".Ads").unlink(), "it is not in Ads any more"),
        (lambda box: _to(box, TWO, ".Read later"), "it is not in Ads any more; it is in Read later now"),
        (lambda box: _remark(box, TWO, "ST", ".Ads"), "it is marked as deleted"),
    ],
)
def test_f25_what_somebody_else_has_dealt_with_is_reported_and_left(
    box: Box, path: Path, meddle: Callable[[Box], None], reason: str
) -> None:
    clean(box, path)
    meddle(box)
    where = box.where(TWO)
    outcome = take_back(box, path)
    assert len(outcome.moved) == 3
    assert reasons(outcome) == {"2@example.org": reason}
    assert box.where(TWO) == where
    assert clean(box, path).moved == ()


def test_what_was_flagged_meanwhile_comes_back_with_its_flag(box: Box, path: Path) -> None:
    clean(box, path)
    _remark(box, TWO, "FRS", ".Ads")
    assert len(take_back(box, path).moved) == 4
    assert [(folder, flags) for folder, raw, flags, _ in box.content() if raw == TWO] == [("", "FRS")]


def test_several_that_could_be_meant_are_listed_and_left(tmp_path: Path, path: Path) -> None:
    box = _maildir(tmp_path / "mail")
    box.deliver(ONE, "S")
    clean(box, path)
    _file(box, ONE, ".Ads").rename(box.root / ".Ads" / "cur" / "77.new:2,S")
    (box.root / ".Ads" / "cur" / "78.new:2,S").write_bytes(ONE)
    (left,) = take_back(box, path).left
    assert left.reason == "there are 2 of it in Ads: 77.new, 78.new"
    assert box.where(ONE) == [".Ads", ".Ads"]


def test_a_target_that_is_gone_is_reported(box: Box, path: Path) -> None:
    clean(box, path)
    shutil.rmtree(box.root / ".Ads")
    outcome = take_back(box, path)
    assert outcome.moved == ()
    assert set(reasons(outcome).values()) == {"there is no folder Ads any more"}


# --- nowhere to write, nowhere to move to


def test_nothing_moves_to_a_folder_that_cannot_be(tmp_path: Path, path: Path) -> None:
    box = _maildir(tmp_path / "mail")
    box.deliver(ONE, "S")
    before = box.content()
    with running(box, path) as (source, journal, run), pytest.raises(TargetError):
        move(source, journal, run, candidates(source), "../elsewhere")
    assert (box.content(), rows(path)) == (before, [])


def test_a_folder_opened_for_reading_is_not_changed(tmp_path: Path, path: Path) -> None:
    box = _maildir(tmp_path / "mail")
    box.deliver(ONE, "S")
    before = box.content()
    source = open_local(str(box.root), changes=False, stdin=BytesIO())
    with open_journal(path) as journal, journal.run(source.account, "clean", NOW) as run, pytest.raises(RefusedError):
        move(source, journal, run, candidates(source), "Ads")
    assert (box.content(), rows(path)) == (before, [])


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if (
        os.geteuid()
        or not shutil.which("mount")
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("only root can mount a small disk; test_journal.py tests the same by a limit on file sizes")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_f7_no_mail_moves_when_the_disk_of_the_journal_is_full(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "disk" / "journal.sqlite3"
    before = box.content()

    def fill() -> None:
        with suppress(OSError), (path.parent / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(1024)):
                pass

    with _small_disk(path.parent):
        fill()
        with pytest.raises(WriteError, match="cannot be written"):
            clean(box, path)
        assert box.content() == before
        (path.parent / "filler").unlink()
        for call in ("prepare", "look"):
            with pytest.raises(WriteError, match="cannot be written"):
                clean(box, path, lambda source: Watched(source, after=at(call, fill)))  # noqa: B023
            assert box.content() == before
            (path.parent / "filler").unlink()
        clean(box, path)
        check_moved(box, path, before)


def test_f7_a_disk_that_is_full_after_the_move_costs_nothing_either(box: Box, path: Path) -> None:
    before = box.content()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(WriteError):
            full = at("move", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1])))
            clean(box, path, lambda source: Watched(source, after=full))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "sent" in states(path)
    clean(box, path)
    check_moved(box, path, before)
