"""Labelled mail: what counts, under which label, and what is passed over and why."""

from __future__ import annotations

import io
import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import senders
from filters.errors import InputError, NotFoundError, UsageError
from filters.labelled import Label, Labelled, Read, Shelf, gmail_labels, is_ours, parse_label, read_labelled, read_list
from filters.sources.local import open_local

ROOT = Path(__file__).parent.parent / "corpus"
SENDER = senders.load()
OPEN = partial(open_local, changes=False, stdin=io.BytesIO())
ALERTS = len(list((ROOT / "linkedin" / "job_alert").glob("*.eml")))


def read_all(labels: list[Label], *, ours: bool = True) -> tuple[list[Labelled], Read]:
    read = Read()
    found = read_labelled(labels, OPEN, SENDER, ours=ours, general=False, read=read)
    return [one.opened() for one in found], read


def folder(tmp_path: Path, name: str, *parts: str) -> str:
    for part in parts:
        for path in sorted((ROOT / part).glob("*.eml")):
            (tmp_path / name).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / name / f"{Path(part).name}-{path.name}")
    return str(tmp_path / name)


def takeout(tmp_path: Path) -> str:
    """An mbox as Google's export makes it."""
    path = tmp_path / "takeout.mbox"
    kinds = {
        "partner_inmail": '=?UTF-8?Q?"Werbung=2C_sch=C3=B6n"=2CUngelesen?=',
        "job_alert": 'Posteingang,"Jobs, neue"',
    }
    with path.open("wb") as file:
        for kind, labels in kinds.items():
            for mail in sorted((ROOT / "linkedin" / kind).glob("*.eml"))[:3]:
                head = f"From 1@xxx Mon Nov 23 00:00:00 +0000 2026\nX-Gmail-Labels: {labels}\n".encode()
                file.write(head + mail.read_bytes().replace(b"\r\n", b"\n") + b"\n")
    return str(path)


def test_the_senders_mail_counts_and_the_rest_is_told(tmp_path: Path) -> None:
    """Mail that is none of LinkedIn's, forged, or decided by rules is passed over, each under its own reason."""
    mixed = folder(tmp_path, "mixed", "linkedin/newsletter", "linkedin/security", "forged", "elsewhere")
    found, read = read_all([Label("keep", mixed)])
    counts = {part: len(list((ROOT / part).glob("*.eml"))) for part in ("linkedin/newsletter", "linkedin/security")}
    assert len(found) == counts["linkedin/newsletter"]
    assert read.passed["ruled"] == counts["linkedin/security"]
    assert read.passed["forged"] > 0
    assert read.messages == len(found) + read.passed.total()
    assert {one.label for one in found} == {"keep"}


def test_any_mail_counts_under_labels_of_ones_own(tmp_path: Path) -> None:
    mixed = folder(tmp_path, "mixed", "elsewhere", "forged")
    found, read = read_all([Label("ham", mixed)], ours=False)
    assert len(found) == read.messages > 30


def test_takeout_by_its_gmail_labels(tmp_path: Path) -> None:
    path = takeout(tmp_path)
    found, _ = read_all([parse_label(f"promotional={path}#werbung, schön"), parse_label(f"keep={path}#Jobs, neue")])
    assert [one.label for one in found] == ["promotional"] * 3 + ["keep"] * 3


def test_gmail_labels_are_no_feature(tmp_path: Path) -> None:
    found, _ = read_all([Label("keep", takeout(tmp_path))])
    shown = " ".join(
        [*(word for one in found for word in one.features.words), *(n for one in found for n in one.features.named)]
    )
    assert "posteingang" not in shown
    assert "ungelesen" not in shown


@pytest.mark.parametrize(
    ("header", "labels"),
    [
        ('Inbox,"a, b"', {"inbox", "a, b"}),
        ("=?utf-8?b?w5xiZXI=?=,x", {"über", "x"}),
        ("", set()),
        ('"open', {"open"}),
    ],
)
def test_gmail_labels_as_google_writes_them(header: str, labels: set[str]) -> None:
    assert gmail_labels(f"From: a@b\r\nX-Gmail-Labels: {header}\r\n".encode()) == labels


@given(st.binary(max_size=200))
def test_no_gmail_label_can_break_the_reading(raw: bytes) -> None:
    gmail_labels(b"X-Gmail-Labels: " + raw + b"\r\n")


def test_a_message_under_two_labels_is_named(tmp_path: Path) -> None:
    one, other = folder(tmp_path, "one", "linkedin/job_alert"), folder(tmp_path, "other", "linkedin/job_alert")
    with pytest.raises(InputError, match=r"two labels: .*one/job_alert-.*\.eml is keep, .*other/.* is promotional"):
        read_all([Label("keep", one), Label("promotional", other)])


def test_the_same_message_twice_under_one_label_counts_once(tmp_path: Path) -> None:
    one, other = folder(tmp_path, "one", "linkedin/job_alert"), folder(tmp_path, "other", "linkedin/job_alert")
    found, read = read_all([Label("keep", one), Label("keep", other)])
    assert len(found) == read.passed["repeated"] == ALERTS


@pytest.mark.parametrize("text", ["promotional", "=x", "promotional=", " =x"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=SOURCE"):
        parse_label(text)


def test_a_label_knows_locations_and_gmail_labels(tmp_path: Path) -> None:
    (tmp_path / "a#b").mkdir()
    assert parse_label(f"keep={tmp_path}/a#b") == Label("keep", f"{tmp_path}/a#b")
    assert parse_label(f"keep={tmp_path}/m.mbox#Jobs") == Label("keep", f"{tmp_path}/m.mbox", "Jobs")
    assert parse_label("keep=imaps://a@b/x#y") == Label("keep", "imaps://a@b/x#y")
    assert parse_label("keep=~/Mail").location == str(Path.home() / "Mail")


def test_labels_of_two_worlds_do_not_mix() -> None:
    assert is_ours(["promotional", "keep", "job_alert"], SENDER)
    assert not is_ours(["spam", "ham"], SENDER)
    with pytest.raises(UsageError, match="spam do not go with keep"):
        is_ours(["spam", "keep"], SENDER)


def test_a_list_labels_messages_by_any_of_their_names(tmp_path: Path) -> None:
    mails = folder(tmp_path, "mails", "linkedin/job_alert")
    found, _ = read_all([Label("keep", mails)])
    rows = [
        {"path": found[0].names[0], "label": "keep"},
        {"identity": found[1].identity, "label": "promotional"},
        {"message_id": f"<{found[2].names[-1]}>", "label": "keep"},
    ]
    lines = tmp_path / "labels.jsonl"
    lines.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    table = tmp_path / "labels.csv"
    table.write_text(
        "path,identity,message_id,label\n"
        + "".join(
            ",".join(row.get(name, "") for name in ("path", "identity", "message_id", "label")) + "\n" for row in rows
        )
    )
    for path in (lines, table):
        again, read = read_all([Label("", mails, by=read_list(path, "label"))])
        assert [one.label for one in again] == ["keep", "promotional", "keep"]
        assert read.passed["unlabelled"] == ALERTS - 3


@pytest.mark.parametrize(
    "text", ["", "path,fold\n", "path\na\n", "{nonsense}", '{"path": "a"}', "\x00", '{"label": "x"}']
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list"
    path.write_text(text)
    with pytest.raises(InputError):
        read_list(path, "label")


@pytest.mark.parametrize("text", ["path,label\nx,keep\ny", '{"path": "x", "label": "keep"}\n{"path": "y", "lab'])
def test_a_list_that_was_cut_off_says_where(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list"
    path.write_text(text)
    with pytest.raises(InputError, match="entry 2 is none, or is cut off"):
        read_list(path, "label")


def test_a_list_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="larger than 256 MB"):
        read_list(Path("/dev/zero"), "label")


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="cannot be read"):
        read_list(tmp_path / "none", "label")


def test_mail_that_cannot_be_read_is_counted_and_named(tmp_path: Path) -> None:
    mails = folder(tmp_path, "mails", "linkedin/job_alert")
    deep = b"From: LinkedIn <jobalerts-noreply@linkedin.com>\nMessage-ID: <a@b>\n" + b"X: y\n" * 20_000 + b"\nx\n"
    (tmp_path / "mails" / "deep.eml").write_bytes(deep)
    found, read = read_all([Label("keep", mails)])
    assert len(found) == ALERTS
    assert [one.place.key for one in read.unreadable] == ["deep.eml"]


def test_a_shelf_gives_back_what_was_put_on_it_as_often_as_it_is_asked(tmp_path: Path) -> None:
    labels = [Label("keep", folder(tmp_path, "box", "linkedin/newsletter"))]
    found = list(read_labelled(labels, OPEN, SENDER, ours=True, general=False, read=Read()))
    with Shelf() as shelf:
        for one in found:
            shelf.add(one)
        assert list(shelf) == list(shelf) == [one.opened() for one in found]
        assert shelf.counts == {"keep": len(found)}
        assert os.fstat(shelf._file.fileno()).st_nlink == 0
