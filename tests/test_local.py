"""Files with mail in them: how they are told apart, what is left alone, and how a Maildir is changed."""

from __future__ import annotations

import io
import os
import stat
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise, repeat
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboxes import places_of

from filters.errors import FiltersError, InputError, NotFoundError, TargetError
from filters.sources import MESSAGE_CAP, Mail, Passed, Place, Source, Unreadable, Wanted, mbox
from filters.sources import maildir as maildir_module
from filters.sources.local import open_local

EVERYTHING = Wanted((), lambda _: True)
MESSAGE = b"From: a@example.org\nMessage-ID: <1@example.org>\n\nhello\n"


def opened(path: Path | str, *, changes: bool = False, stdin: bytes = b"") -> Source:
    return open_local(str(path), changes=changes, stdin=io.BytesIO(stdin))


def mails(source: Source) -> list[Mail]:
    return [one for one in source.scan(EVERYTHING) if isinstance(one, Mail)]


def unreadable(source: Source) -> dict[str, str]:
    return {one.place.key: one.reason for one in source.scan(EVERYTHING) if isinstance(one, Unreadable)}


def make_maildir(root: Path, *names: str) -> Path:
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).write_bytes(MESSAGE)
    return root


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return make_maildir(tmp_path / "Maildir")


def names(folder: Path) -> list[str]:
    return sorted(f"{sub}/{path.name}" for sub in ("cur", "new") for path in (folder / sub).iterdir())


def move_all(root: Path, folder: str = "Ads") -> dict[Place, Place | None]:
    source = opened(root, changes=True)
    return dict(source.move([mail.place for mail in mails(source)], source.prepare(folder)))


# --- what is at a path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x1f\x8b\x08" + bytes(50), "compressed"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "no mail"),
        (b"", "no mail"),
        (b"Dear diary,\n\ntoday: nothing\n", "no mail"),
        (b"\n\nFrom: a@example.org\n\n", "no mail"),
        (bytes(2000), "no mail"),
    ],
)
def test_what_is_no_mail_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    for location in (path, "-"):
        with pytest.raises(InputError, match=said):
            opened(location, stdin=content)


def test_a_path_that_is_not_there_is_told_with_its_name(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path / "a\x00b", tmp_path / ("x" * 300)):
        with pytest.raises(NotFoundError, match="Check the path"):
            opened(path)


def test_a_folder_without_mail_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"cur/ and new/.*\.eml"):
        opened(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="stdin"):
        opened(tmp_path / "pipe")
    os.mkfifo(tmp_path / "one.eml")
    (tmp_path / "two.eml").write_bytes(MESSAGE)
    assert unreadable(opened(tmp_path)) == {"one.eml": "not a regular file"}


def test_links_are_not_followed_out_of_a_folder(tmp_path: Path, box: Path) -> None:
    (tmp_path / "secret").write_bytes(MESSAGE)
    folder = tmp_path / "mail"
    folder.mkdir()
    (folder / "link.eml").symlink_to(tmp_path / "secret")
    (folder / "sub").symlink_to(tmp_path)
    (box / "cur" / "1.x:2,").symlink_to(tmp_path / "secret")
    for source, key in ((opened(folder), "link.eml"), (opened(box, changes=True), "1.x")):
        assert unreadable(source) == {key: "a symbolic link, which is not followed"}
        assert mails(source) == []
    place = Place(str(box), "", "1.x")
    assert opened(box).look([place])[place].identity == ""


def test_the_way_to_a_source_may_be_a_link(tmp_path: Path, box: Path) -> None:
    (tmp_path / "short").symlink_to(box)
    assert opened(tmp_path / "short").account == str(box)


def test_a_message_that_vanishes_does_not_stop_the_scan(tmp_path: Path) -> None:
    for name in ("1.eml", "2.eml", "3.eml"):
        (tmp_path / name).write_bytes(MESSAGE)
    scan = opened(tmp_path).scan(EVERYTHING)
    next(scan)
    (tmp_path / "2.eml").unlink()
    second, third = scan
    assert isinstance(second, Unreadable)
    assert second.reason == "it vanished meanwhile"
    assert isinstance(third, Mail)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.eml").write_bytes(MESSAGE)
    (tmp_path / "1.eml").chmod(0)
    (tmp_path / "2.eml").write_bytes(MESSAGE)
    (tmp_path / "shut").mkdir(mode=0)
    assert unreadable(opened(tmp_path)) == {"1.eml": "permission denied", "shut": "permission denied"}


def test_names_that_are_not_utf8_can_be_written(tmp_path: Path, box: Path) -> None:
    for path in (box / "cur" / "1.\udcff:2,S", tmp_path / "\udcff.eml"):
        path.write_bytes(MESSAGE)
    for source in (opened(box, changes=True), opened(tmp_path)):
        assert all(mail.place.key.encode() for mail in mails(source))
    (moved,) = move_all(box).values()
    assert moved
    assert moved.key.encode()
    (name,) = names(box / ".Ads")
    assert name.endswith(":2,S")
    bad = tmp_path / "\udcfe"
    bad.mkdir()
    with pytest.raises(InputError, match="UTF-8"):
        opened(bad)


def test_one_message_on_stdin_is_counted_beyond_the_cap() -> None:
    (mail,) = mails(opened("-", stdin=MESSAGE + b"x" * MESSAGE_CAP * 3))
    assert (len(mail.raw), mail.size, mail.place.key) == (MESSAGE_CAP, len(MESSAGE) + 3 * MESSAGE_CAP, "-")


# --- mbox


def written(messages: Iterable[bytes], end: bytes) -> bytes:
    """An mboxrd file."""
    file = b""
    for raw in messages:
        lines = [b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in raw.split(b"\n")]
        file += b"From ann Tue May  3 10:00:00 2016" + end + b"\n".join(lines) + end
    return file


def blocks(content: bytes, cuts: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted({cut % (len(content) + 1) for cut in cuts}), len(content)]
    return (content[low:high] for low, high in pairwise(edges) if low < high)


PIECES = st.sampled_from(
    [b"From ", b">From ", b">>From ", b"\n", b"\n\n", b"\r\n", b">", b"F", b"a: b", b"\x00\xff", b"From"]
)
BODY = st.lists(PIECES | st.binary(max_size=5), max_size=12).map(b"".join)


@given(
    st.lists(BODY, min_size=1, max_size=5), st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 500), max_size=8)
)
def test_messages_come_out_of_an_mbox_as_they_went_in(bodies: list[bytes], end: bytes, cuts: list[int]) -> None:
    messages = [b"A: b" + end + body.replace(b"\r", b"").replace(b"\n", end) + end for body in bodies]
    found = list(mbox.messages(blocks(written(messages, end), cuts)))
    assert found == [(raw, len(raw)) for raw in messages]


@given(st.lists(st.binary(max_size=40) | PIECES, max_size=20).map(b"".join), st.lists(st.integers(0, 500), max_size=8))
def test_no_bytes_upset_the_splitting(content: bytes, cuts: list[int]) -> None:
    content = b"From x\n" + content
    found = list(mbox.messages(blocks(content, cuts)))
    assert found
    assert sum(size for _, size in found) <= len(content)


def test_a_from_line_counts_only_after_a_blank_line() -> None:
    content = b"From a\nA: b\n\nhello\nFrom b\nbye\n\nFrom c\nA: d\n"
    assert [raw for raw, _ in mbox.messages([content])] == [b"A: b\n\nhello\nFrom b\nbye\n", b"A: d\n"]


def test_a_line_longer_than_any_block_is_still_one_line() -> None:
    line = b"x" * (1 << 20)
    content = b"From a\nA: b\n\n" + line + b"From here\n>From there" + line + b">From here\n\n>From b\n"
    for size in (1 << 20, (1 << 20) + 14, 100_000):
        ((_, found),) = mbox.messages(content[at : at + size] for at in range(0, len(content), size))
        assert found == len(content) - len(b"From a\n") - len(b">>")


def test_a_huge_mbox_is_not_held_in_memory() -> None:
    tracemalloc.start()
    sizes = [size for _, size in mbox.messages(chain([b"From a\n"], repeat(bytes(1 << 20), 100)))]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sizes == [100 << 20]
    assert peak < 10 << 20


def test_content_length_is_not_believed() -> None:
    content = b"From a\nContent-Length: 99999\n\nhello\n\nFrom b\nA: d\n"
    assert len(list(mbox.messages([content]))) == 2


# --- Maildir: reading


@given(
    st.text("aZ9.,=:;!2S\u00e9", min_size=1, max_size=12),
    st.sampled_from([":2,", ";2,", "!2,"]),
    st.text("DFPRSTabX", max_size=8),
)
def test_a_name_is_its_unique_part_and_flags(unique: str, separator: str, letters: str) -> None:
    name = f"{unique}{separator}{letters}"
    assert maildir_module._key(name) == unique
    assert maildir_module._info(name) == separator + letters
    known = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
    assert maildir_module._flags(name) == {flag for letter, flag in known.items() if letter in letters}


@pytest.mark.parametrize("name", ["1.M2.host", "1.M2.host:1,S", "1.M2.host:2S", "1;M2!host"])
def test_a_name_without_info_is_all_unique_part(name: str) -> None:
    assert (maildir_module._key(name), maildir_module._flags(name)) == (name, frozenset())


def test_hidden_files_and_folders_in_a_maildir_are_no_messages(box: Path) -> None:
    make_maildir(box, "cur/.nfs123", "cur/1.a:2,", "tmp/2.b")
    (box / "cur" / "folder").mkdir()
    assert [mail.place.key for mail in mails(opened(box))] == ["1.a"]


def test_a_message_is_found_though_a_client_marks_it_meanwhile(box: Path) -> None:
    make_maildir(box, "new/1.a", "cur/2.b:2,", "cur/3.c:2,")
    source = opened(box, changes=True)
    scan = source.scan(EVERYTHING)
    first = next(scan)
    (box / "cur" / "2.b:2,").rename(box / "cur" / "2.b:2,S")
    rest = list(scan)
    assert [type(one) for one in (first, *rest)] == [Mail, Mail, Mail]
    (box / "new" / "1.a").rename(box / "cur" / "1.a:2,RS")
    places = [one.place for one in (first, *rest) if isinstance(one, Mail)]
    assert source.look(places)[places[0]].flags == {"\\Seen", "\\Answered"}
    assert len(source.move(places, source.prepare("Ads"))) == 3
    assert names(box / ".Ads") == ["cur/1.a:2,RS", "cur/2.b:2,S", "cur/3.c:2,"]


def test_a_subfolder_belongs_to_its_maildir(box: Path) -> None:
    work = make_maildir(box / ".Work.2024", "cur/1.a:2,")
    source = opened(work, changes=True)
    assert (source.account, source.folder) == (str(box), "Work.2024")
    move_all(work)
    assert names(box / ".Ads") == ["cur/1.a:2,"]
    move_all(box / ".Ads", "Work/2024")
    assert names(work) == ["cur/1.a:2,"]
    move_all(work, "INBOX")
    assert names(box) == ["cur/1.a:2,"]
    assert not (box / "maildirfolder").exists()


def test_a_maildir_with_a_dot_in_front_is_no_subfolder(tmp_path: Path) -> None:
    assert opened(make_maildir(tmp_path / ".mail", "cur/1.a:2,")).account == str(tmp_path / ".mail")


# --- Maildir: moving


def test_a_move_changes_nothing_but_the_folder(box: Path) -> None:
    kept = ["cur/1.a,S=57,W=60:2,FSab", "cur/2.b;2,S", "cur/3.c!2,", "new/4.d"]
    make_maildir(box, *kept)
    for name in kept:
        os.utime(box / name, (1, 1_234_567_890))
    before = {name: os.stat(box / name).st_ino for name in kept}
    move_all(box)
    assert names(box) == []
    assert {name: os.stat(box / ".Ads" / name).st_ino for name in kept} == before
    assert {os.stat(box / ".Ads" / name).st_mtime for name in kept} == {1_234_567_890}
    assert {(box / ".Ads" / name).read_bytes() for name in kept} == {MESSAGE}


def test_a_new_folder_is_private_and_marked(box: Path) -> None:
    opened(box, changes=True).prepare("Ads/2024")
    folder = box / ".Ads.2024"
    assert (folder / "maildirfolder").read_bytes() == b""
    assert {
        stat.S_IMODE(path.stat().st_mode) for path in (folder, *(folder / name for name in ("cur", "new", "tmp")))
    } == {0o700}


def test_a_half_made_folder_is_completed(box: Path) -> None:
    (box / ".Ads" / "tmp").mkdir(parents=True)
    make_maildir(box, "cur/1.a:2,")
    move_all(box)
    assert names(box / ".Ads") == ["cur/1.a:2,"]


def test_nothing_is_ever_overwritten(box: Path) -> None:
    make_maildir(box, "cur/1.a:2,", "new/2.b")
    for name in ("cur/1.a:2,S", "cur/2.b:2,"):
        (make_maildir(box / ".Ads") / name).write_bytes(b"Other: mail\n\n")
    moved = move_all(box)
    found = names(box / ".Ads")
    assert len(found) == 4
    assert {"cur/1.a:2,S", "cur/2.b:2,"} <= set(found)
    assert sorted((box / ".Ads" / name).read_bytes() for name in found) == sorted(
        [MESSAGE, MESSAGE, *[b"Other: mail\n\n"] * 2]
    )
    target = opened(box / ".Ads")
    assert set(moved.values()) == {mail.place for mail in mails(target) if mail.raw == MESSAGE}


def test_the_number_that_mbsync_keeps_in_a_name_stays_behind(box: Path) -> None:
    make_maildir(box, "cur/1.a,S=57,U=12:2,S")
    (moved,) = move_all(box).values()
    assert moved
    assert ",S=57" in moved.key
    assert ",U=" not in moved.key
    assert names(box / ".Ads") == [f"cur/{moved.key}:2,S"]


def test_a_folder_name_beyond_ascii_is_spelled_as_other_programs_do(box: Path) -> None:
    make_maildir(box, "cur/1.a:2,")
    source = opened(box, changes=True)
    target = source.prepare("Werbung & Büro")
    assert (box / ".Werbung &- B&APw-ro" / "cur").is_dir()
    assert source.prepare(target.folder) == target
    assert opened(box / f".{target.folder}").folder == target.folder
    (moved,) = move_all(box, "Werbung & Büro").values()
    assert moved
    assert places_of(source, target.folder, mails(opened(box / ".Werbung &- B&APw-ro"))[0].identity, "") == [moved]


HOSTILE = [
    "..",
    "../x",
    "a/../b",
    ".hidden",
    "a/",
    "/a",
    "a//b",
    "a\x00b",
    "a\nb",
    "a..b",
    "x" * 300,
    "ü" * 200,
    "\ud800",
    ".",
    "/",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_target_that_is_no_folder_name_is_refused(box: Path, name: str) -> None:
    before = sorted(box.parent.rglob("*"))
    with pytest.raises(TargetError):
        opened(box, changes=True).prepare(name)
    assert places_of(opened(box), name, "sha256:x", "") == []
    assert sorted(box.parent.rglob("*")) == before


def test_a_target_that_is_a_link_is_refused(box: Path, tmp_path: Path) -> None:
    (box / ".Ads").symlink_to(make_maildir(tmp_path / "elsewhere"))
    with pytest.raises(TargetError, match="link"):
        opened(box, changes=True).prepare("Ads")


def test_a_target_that_is_a_file_is_refused(box: Path) -> None:
    (box / ".Ads").write_text("x")
    with pytest.raises(TargetError):
        opened(box, changes=True).prepare("Ads")


def test_a_target_that_is_gone_by_then_costs_nothing(box: Path) -> None:
    make_maildir(box, "cur/1.a:2,")
    source = opened(box, changes=True)
    target = source.prepare("Ads")
    for path in sorted((box / ".Ads").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (box / ".Ads").rmdir()
    with pytest.raises(TargetError, match="Nothing was moved"):
        source.move([mail.place for mail in mails(source)], target)
    assert names(box) == ["cur/1.a:2,"]


@contextmanager
def just_before_a_rename(action: Callable[[], object]) -> Iterator[None]:
    """Do something between the last look of our process and what it does then."""

    def watch(_frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ == "rename":
            sys.setprofile(None)
            action()

    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(None)


def test_a_message_that_vanishes_in_the_last_moment_is_not_called_moved(box: Path) -> None:
    make_maildir(box, "cur/1.a:2,", "cur/2.b:2,")
    source = opened(box, changes=True)
    places, target = [mail.place for mail in mails(source)], source.prepare("Ads")
    with just_before_a_rename((box / "cur" / "1.a:2,").unlink):
        assert list(source.move(places, target)) == places[1:]


def test_a_message_that_is_marked_in_the_last_moment_is_moved_with_its_mark(box: Path) -> None:
    make_maildir(box, "new/1.a")
    source = opened(box, changes=True)
    places, target = [mail.place for mail in mails(source)], source.prepare("Ads")
    with just_before_a_rename(lambda: os.replace(box / "new" / "1.a", box / "cur" / "1.a:2,S")):
        assert list(source.move(places, target)) == places
    assert names(box / ".Ads") == ["cur/1.a:2,S"]


# --- hostile bytes


def _as_file(folder: Path, raw: bytes) -> Iterable[Callable[[], Source]]:
    (folder / "file").write_bytes(raw)
    (folder / "x.eml").write_bytes(raw)
    (make_maildir(folder / "Maildir") / "cur" / "1.a:2,").write_bytes(raw)
    return (
        lambda: opened(folder / "file"),
        lambda: opened(folder / "x.eml"),
        lambda: opened(folder / "Maildir"),
        lambda: opened("-", stdin=raw),
    )


PARTS = st.sampled_from(
    [b"From ", b"A: b\n", b"\n", b"\r\n", b"\xef\xbb\xbf", b"Message-ID: <a@b>\n", b"message-id:", b"\x00"]
)


@given(st.lists(PARTS | st.binary(max_size=20), max_size=12).map(b"".join))
def test_no_bytes_stop_a_scan(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    for source in _as_file(tmp_path_factory.mktemp("mail"), raw):
        try:
            seen = list(chain.from_iterable(one.scan(EVERYTHING) for one in [source()]))
        except FiltersError:
            continue
        assert all(isinstance(one, Mail | Passed | Unreadable) for one in seen)
