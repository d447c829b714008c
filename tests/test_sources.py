"""The one contract that every source keeps, run against every kind of source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dovecot import Dovecot
from mailboxes import (
    WANTED,
    Mailbox,
    eml_folder,
    maildir,
    mails_of,
    mbox,
    message,
    on_server,
    one_eml,
    places_of,
    scan,
    stdin,
    stdin_mbox,
)

from filters.errors import RefusedError, TargetError
from filters.sources import (
    MESSAGE_CAP,
    Look,
    Mail,
    Passed,
    Place,
    Target,
    Unreadable,
    Wanted,
    header_block,
    identity_of,
)

PLAIN = message(1)
TRICKY = message(2, body=b"Hi,\r\n\r\nFrom here on\r\n>From there\r\n\r\n>>From\r\n\r\nFrom: me\r\n\xff\x01\r\n")
OTHER = message(3, wanted=False)
NAMELESS = message(4).replace(b"Message-ID: <4@example.org>\r\n", b"")
LARGE = message(5, body=b"x" * 70 + b"\r\n" + b"0123456789abcde\r\n" * (MESSAGE_CAP // 16))
TWICE_NAMED = message(6, extra=b"Message-ID: <other@example.org>\r\n")
ILL_NAMED = message(7).replace(b"<7@example.org>", b'<7@example.org> "\x80"')
FOLDED = message(8).replace(b"Message-ID: <8@", b"Message-ID:\r\n <8@")
ALL = [PLAIN, OTHER, TRICKY, NAMELESS, LARGE, TWICE_NAMED, ILL_NAMED, FOLDED]


LOCAL = [maildir, mbox, eml_folder, one_eml, stdin, stdin_mbox]
SINGLE = ["one_eml", "stdin"]
MOVING = ["maildir", "imap"]
KINDS = [*(kind.__name__ for kind in LOCAL), "imap"]
those_that_move = pytest.mark.parametrize("kind", MOVING)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Lay = Callable[[list[bytes]], Mailbox]


@pytest.fixture
def lay(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Lay:
    """Lays messages out for this kind of source."""
    if kind == "imap":
        server: Dovecot = request.getfixturevalue("dovecot")
        return lambda messages: on_server(server, messages)
    build = next(one for one in LOCAL if one.__name__ == kind)
    return lambda messages: build(tmp_path / "mail", messages)


def expected_identity(raw: bytes) -> str:
    named = raw not in (NAMELESS, TWICE_NAMED, ILL_NAMED)
    return identity_of(raw, "yes" if named else "")


@pytest.mark.parametrize("raw", ALL, ids=range(len(ALL)))
def test_a_message_comes_with_its_bytes_size_and_identity(lay: Lay, raw: bytes) -> None:
    found = [one for one in scan(lay([raw]).open(False)) if not isinstance(one, Passed)]
    if raw == OTHER:
        assert found == []
        return
    (mail,) = found
    assert isinstance(mail, Mail)
    assert mail.raw == raw[:MESSAGE_CAP]
    assert mail.size == len(raw)
    assert mail.truncated == (raw == LARGE)
    assert mail.identity == expected_identity(raw)


def test_all_messages_are_seen_once_and_in_order(lay: Lay, kind: str) -> None:
    messages = [PLAIN] if kind in SINGLE else ALL
    mailbox = lay(messages)
    seen = scan(mailbox.open(False))
    assert [one.raw for one in seen if isinstance(one, Mail)] == [raw[:MESSAGE_CAP] for raw in messages if raw != OTHER]
    assert sum(one.count if isinstance(one, Passed) else 1 for one in seen) == len(messages)
    places = [one.place for one in seen if isinstance(one, Mail)]
    assert len(set(places)) == len(places)


def test_how_many_there_are_is_known_before_unless_they_come_through_a_pipe(lay: Lay, kind: str) -> None:
    messages = [PLAIN] if kind in SINGLE else ALL
    source = lay(messages).open(False)
    assert source.total() == (0 if kind.startswith("stdin") else len(messages))
    source.close()


def test_a_place_bears_the_account_and_folder_of_its_source(lay: Lay) -> None:
    source = lay([PLAIN]).open(False)
    (mail,) = scan(source)
    assert isinstance(mail, Mail)
    assert (mail.place.account, mail.place.folder) == (source.account, source.folder)


@pytest.mark.parametrize("changes", [False, True])
def test_reading_changes_nothing(lay: Lay, kind: str, changes: bool) -> None:
    mailbox = lay([PLAIN] if kind in SINGLE else ALL)
    if changes:
        mailbox.open(True).close()  # SELECT clears \\Recent, as any mail program does
    before = mailbox.snapshot()
    scan(mailbox.open(changes))
    if kind in MOVING:
        source = mailbox.open(changes)
        mails = mails_of(source)
        source.look([mail.place for mail in mails.values()])
        places_of(source, source.folder, mails[PLAIN].identity, "1@example.org")
        places_of(source, "Nowhere", mails[PLAIN].identity, "1@example.org")
        source.close()
    assert mailbox.snapshot() == before


def test_the_test_gets_header_lines_and_nothing_of_the_body(lay: Lay) -> None:
    blocks: list[bytes] = []

    def test(block: bytes) -> bool:
        blocks.append(block)
        return False

    scan(lay([TRICKY]).open(False), Wanted(WANTED.fields, test))
    (block,) = blocks
    assert b"X-Wanted: yes\r\n" in block
    assert b"there" not in block


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "imap"])  # there the server reads header blocks
def test_a_leading_bom_does_not_hide_a_message(lay: Lay) -> None:
    raw = b"\xef\xbb\xbf" + PLAIN
    (mail,) = scan(lay([raw]).open(False))
    assert isinstance(mail, Mail)
    assert mail.raw == raw
    assert mail.identity == expected_identity(PLAIN)


@pytest.mark.parametrize("kind", ["maildir", "mbox", "eml_folder", "stdin_mbox", "imap"])
def test_one_that_cannot_be_read_is_named_and_stops_nothing(lay: Lay) -> None:
    spoilt = message(9, extra=b"X-Long: " + b"a" * 70_000 + b"\r\n")
    seen = scan(lay([PLAIN, spoilt, TRICKY]).open(False))
    assert [type(one) for one in seen] == [Mail, Unreadable, Mail]
    assert isinstance(seen[1], Unreadable)
    assert seen[1].reason == "header block over 64 KiB"


def test_a_source_that_is_only_read_refuses_and_says_what_to_do(lay: Lay, kind: str) -> None:
    source = lay([PLAIN]).open(kind not in MOVING)
    try:
        assert not source.can_move
        assert source.why_not.endswith(".")
        with pytest.raises(RefusedError, match=r"\."):
            source.prepare("Ads")
        with pytest.raises(RefusedError):
            source.move([Place(source.account, source.folder, "1")], Target("Ads", 0, 0))
    finally:
        source.close()


@those_that_move
def test_a_look_shows_what_the_scan_saw(lay: Lay) -> None:
    source = lay([PLAIN, TRICKY, LARGE, NAMELESS]).open(True)
    mails = mails_of(source).values()
    gone = Place(source.account, source.folder, "1:4000000")
    looks = source.look([*(mail.place for mail in mails), gone])
    assert looks == {mail.place: Look(mail.identity, mail.size, mail.flags) for mail in mails}
    assert {frozenset[str](), frozenset({"\\Flagged", "\\Seen"})} == {mail.flags for mail in mails}
    source.close()


@those_that_move
def test_moved_there_and_back_a_message_is_the_same(lay: Lay) -> None:
    mailbox = lay([PLAIN, TRICKY, OTHER, FOLDED])
    assert mailbox.open_at
    source = mailbox.open(True)
    assert source.can_move
    before = mails_of(source)
    target = source.prepare("Ads")
    assert source.prepare("Ads") == target
    chosen = [before[PLAIN], before[TRICKY]]
    moved = source.move([mail.place for mail in chosen], target)
    assert set(moved) == {mail.place for mail in chosen}
    assert set(mails_of(source)) == {FOLDED}
    assert places_of(source, "Ads", chosen[0].identity, "1@example.org", target) == [moved[chosen[0].place]]
    assert places_of(source, source.folder, chosen[0].identity, "1@example.org") == []
    assert places_of(source, "Ads", "sha256:other", "1@example.org") == []
    source.close()

    there = mailbox.open_at("Ads")
    assert there.folder == target.folder
    assert there.account == source.account
    after = mails_of(there)
    assert {raw: (mail.flags, mail.size, mail.identity) for raw, mail in after.items()} == {
        mail.raw: (mail.flags, mail.size, mail.identity) for mail in chosen
    }
    assert {mail.place for mail in after.values()} == set(moved.values())
    there.move([mail.place for mail in after.values()], there.prepare(source.folder))
    there.close()

    again = mailbox.open(True)
    assert {raw: (mail.flags, mail.size, mail.identity) for raw, mail in mails_of(again).items()} == {
        raw: (mail.flags, mail.size, mail.identity) for raw, mail in before.items()
    }
    again.close()


@those_that_move
def test_messages_are_looked_at_and_read_in_any_folder(lay: Lay) -> None:
    source = lay([PLAIN, LARGE, OTHER, FOLDED]).open(True)
    mails = mails_of(source)
    moved = source.move([mails[PLAIN].place], source.prepare("Ads"))
    there = moved[mails[PLAIN].place]
    assert there
    gone = [mails[PLAIN].place, Place(source.account, "Ads", "1:4000000"), Place(source.account, "Nowhere", there.key)]
    read = list(source.read([there, mails[LARGE[:MESSAGE_CAP]].place, mails[FOLDED].place, *gone]))
    found = {one.raw: one for one in read if isinstance(one, Mail)}
    assert len(read) == len(found) == 3
    assert found[PLAIN] == replace(mails[PLAIN], place=there)
    assert found[FOLDED] == mails[FOLDED]
    assert found[LARGE[:MESSAGE_CAP]].truncated
    assert set(source.look([there, *gone])) == {there}
    source.close()


@those_that_move
def test_a_folder_tells_its_numbers_and_is_not_made(lay: Lay) -> None:
    mailbox = lay([PLAIN])
    source = mailbox.open(True)
    assert source.numbered("Ads") is None
    assert source.numbered("Ads") is None
    target = source.prepare("Ads")
    assert source.numbered("Ads") == target
    home = source.numbered("INBOX")
    assert home
    assert (home.folder, home.uidvalidity) == (source.folder, source.uidvalidity)
    source.close()


@those_that_move
def test_what_is_not_there_is_not_moved_and_the_rest_is(lay: Lay) -> None:
    source = lay([PLAIN, TRICKY]).open(True)
    place = mails_of(source)[PLAIN].place
    target = source.prepare("Ads")
    gone = Place(source.account, source.folder, place.key.replace("1", "9"))
    foreign = Place(source.account, "Elsewhere", place.key)
    assert list(source.move([gone, foreign], target)) == []
    assert list(source.move([gone, place, foreign], target)) == [place]
    assert source.look([place, gone, foreign]) == {}
    source.close()


@those_that_move
def test_mail_is_not_moved_to_where_it_is(lay: Lay) -> None:
    source = lay([PLAIN]).open(True)
    with pytest.raises(TargetError):
        source.prepare(source.folder)
    source.close()


@those_that_move
def test_two_messages_alike_are_two(lay: Lay) -> None:
    source = lay([PLAIN, OTHER, PLAIN]).open(True)
    places = [one.place for one in source.scan(WANTED) if isinstance(one, Mail)]
    assert len(set(places)) == 2
    identity = source.look(places)[places[0]].identity
    assert places_of(source, source.folder, identity, "1@example.org") == places
    source.move(places[:1], source.prepare("Ads"))
    assert places_of(source, source.folder, identity, "1@example.org") == places[1:]
    source.close()


def test_the_header_block_is_the_same_for_both_kinds_of_line_ends() -> None:
    assert header_block(TRICKY.replace(b"\r\n", b"\n")) == header_block(TRICKY)
