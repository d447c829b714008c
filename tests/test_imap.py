"""IMAP as a source: against a real Dovecot for what servers do, against a scripted one for what they should not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from dovecot import PASSWORD, WITHOUT_MOVE, Dovecot
from mailboxes import AT_ONCE, places_of
from scripted_imap import CUT, Answer, ScriptedServer, Tap, answer_about, asked, mailbox

from filters.errors import LoginError, NotFoundError, RefusedError, ServerError, TargetError, TransientError, UsageError
from filters.sources import MESSAGE_CAP, Mail, Passed, Place, Source, Target, Unreadable, Wanted, identity_of
from filters.sources.imap import ImapSource, open_imap
from filters.sources.location import parse_url
from filters.sources.patience import Patience

WANTED = Wanted(("From", "X-Kind"), lambda header: b"@ads.example" in header)
ALL = Wanted(("From",), lambda header: True)


def mail(number: int, sender: str = "news@ads.example", body: str = "Hello", more: str = "") -> bytes:
    """A message with CRLF line ends and a Message-ID of its own."""
    lines = [
        f"From: {sender}",
        f"Message-ID: <{number}@ads.example>",
        f"Subject: Number {number}",
        *([more] if more else []),
    ]
    return "\r\n".join([*lines, "", body, ""]).encode()


def opened(dovecot: Dovecot, user: str, folder: str = "INBOX", *, changes: bool = True) -> closing[ImapSource]:
    """A source at a real server, over TLS."""
    return closing(
        open_imap(
            dovecot.url(user, folder), lambda _: PASSWORD, changes=changes, ca_file=dovecot.ca_file, patience=AT_ONCE
        )
    )


@contextmanager
def scripted(
    answers: dict[str, Answer] | None = None, *, changes: bool = True, folder: str = "INBOX"
) -> Iterator[tuple[ImapSource, ScriptedServer]]:
    """A source at a scripted server."""
    with (
        ScriptedServer(answers) as server,
        closing(open_imap(server.url(folder), lambda _: "pw", changes=changes, patience=AT_ONCE)) as source,
    ):
        yield source, server


@contextmanager
def tapped(dovecot: Dovecot, user: str, *, changes: bool) -> Iterator[tuple[ImapSource, Tap]]:
    """A source at a real server, in the clear, with a tap on the wire."""
    with (
        Tap(dovecot.plain_port) as tap,
        closing(
            open_imap(f"imap://{user}@127.0.0.1:{tap.port}/", lambda _: PASSWORD, changes=changes, patience=AT_ONCE)
        ) as source,
    ):
        yield source, tap


def mails_of(source: Source, wanted: Wanted = ALL) -> list[Mail]:
    """The candidates of a scan in which everything could be read."""
    found = list(source.scan(wanted))
    assert not [one for one in found if isinstance(one, Unreadable)]
    return [one for one in found if isinstance(one, Mail)]


def uid_of(place: Place | None) -> int:
    assert place
    return int(place.key.partition(":")[2])


# Locations


@pytest.mark.parametrize(
    ("url", "user", "host", "port", "folder"),
    [
        ("imaps://ann@imap.example.org", "ann", "imap.example.org", 993, "INBOX"),
        ("imaps://ann@imap.example.org/", "ann", "imap.example.org", 993, "INBOX"),
        ("IMAPS://ann@IMAP.example.org:1993/Lists", "ann", "imap.example.org", 1993, "Lists"),
        ("imaps://ann@example.org@imap.example.org/Lists/Dev", "ann@example.org", "imap.example.org", 993, "Lists/Dev"),
        ("imaps://ann%40example.org@h/R%26D%20%C3%A4", "ann@example.org", "h", 993, "R&D ä"),
        ("imaps://ann@h/Entwürfe/", "ann", "h", 993, "Entwürfe"),
        ("imaps://a%3Ab@h/x?y#z", "a:b", "h", 993, "x?y#z"),
        ("imaps://ann@[2001:db8::1]:9/x", "ann", "2001:db8::1", 9, "x"),
        ("imaps://ann@bücher.example/a@b", "ann", "bücher.example", 993, "a@b"),
        ("imap://ann@127.0.0.1:143", "ann", "127.0.0.1", 143, "INBOX"),
        ("imap://ann@127.9.9.9/x", "ann", "127.9.9.9", 143, "x"),
        ("imap://ann@[::1]/x", "ann", "::1", 143, "x"),
        ("imap://ann@localhost/x", "ann", "localhost", 143, "x"),
    ],
)
def test_a_location_is_read(url: str, user: str, host: str, port: int, folder: str) -> None:
    found = parse_url(url)
    assert (found.user, found.host, found.port, found.folder) == (user, host, port, folder)
    assert parse_url(f"{found.account}/x").account == found.account


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("imaps://ann:S3cret@h/INBOX", "password does not belong"),
        ("imaps://ann:S3cret/@h/INBOX", "user name is missing|malformed"),
        ("imaps://:S3cret@h", "password does not belong"),
        ("imaps://ann@x:S3cret@h", "password does not belong"),
        ("imaps://ann:S3cret", "user name is missing"),
        ("imaps://h/INBOX", "user name is missing"),
        ("imaps://@h/S3cret", "user name is missing"),
        ("imaps://ann@/INBOX", "host or port"),
        ("imaps://ann@h:0/S3cret", "host or port"),
        ("imaps://ann@h:65536", "host or port"),
        ("imaps://ann@h:S3cret", "host or port"),
        ("imaps://ann@h h/", "host or port"),
        ("imaps://a%0D%0AS3cret@h/", "control characters"),
        ("imaps://ann@h/S3cret%00", "control characters"),
        ("imaps://ann@h/%ff", "not UTF-8"),
        ("imaps://ann@h/\udcff", "not UTF-8"),
        ("imap://ann@imap.example.org/S3cret", "in the clear"),
        ("imap://ann@127.0.0.1.example.org/", "in the clear"),
        ("imap://ann@[::2]/", "in the clear"),
        ("pop://ann@h", "looks like imaps://"),
        ("imaps:ann@h", "looks like imaps://"),
        ("", "looks like imaps://"),
    ],
)
def test_a_location_that_is_none_is_explained_and_never_repeated(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_url(url)
    assert "S3cret" not in str(caught.value)
    with pytest.raises(UsageError):
        open_imap(url, lambda _: pytest.fail("asked for a password"), changes=False, patience=AT_ONCE)


# Opening, against a real server


def test_a_source_says_what_it_is(dovecot: Dovecot, user: str) -> None:
    asked_for: list[str] = []

    def password(account: str) -> str:
        asked_for.append(account)
        return PASSWORD

    with closing(
        open_imap(dovecot.url(user, "inbox"), password, changes=True, ca_file=dovecot.ca_file, patience=AT_ONCE)
    ) as source:
        assert source.account == f"imaps://{user}@localhost:{dovecot.port}"
        assert (source.folder, source.host, source.can_move, source.why_not) == ("INBOX", "localhost", True, "")
    assert asked_for == [source.account]


def test_a_wrong_password_a_strange_certificate_and_an_unknown_host_are_told_apart(dovecot: Dovecot, user: str) -> None:
    with pytest.raises(LoginError, match="refused the login"):
        open_imap(dovecot.url(user), lambda _: "wrong", changes=False, ca_file=dovecot.ca_file, patience=AT_ONCE)

    def never(_: str) -> str:
        pytest.fail("asked for a password")

    with pytest.raises(LoginError, match="is not trusted"):
        open_imap(dovecot.url(user), never, changes=False, patience=AT_ONCE)
    with pytest.raises(ServerError, match="is unknown"):
        open_imap("imaps://ann@mail.example.invalid/", never, changes=False, patience=AT_ONCE)


def test_a_missing_folder_is_named_with_some_that_are_there(dovecot: Dovecot, user: str) -> None:
    for folder in ("Lists", "Entwürfe"):
        dovecot.deliver(user, mail(1), folder=f".{folder.replace('ü', '&APw-')}")
    with pytest.raises(NotFoundError, match=r"no folder Nope at imaps://.* There are: .*") as caught:
        opened(dovecot, user, "Nope")
    for name in ("INBOX", "Lists", "Entwürfe", "Junk"):
        assert name in str(caught.value)


def test_an_empty_folder_has_nothing(dovecot: Dovecot, user: str) -> None:
    with opened(dovecot, user, changes=False) as source:
        assert list(source.scan(ALL)) == []


@pytest.mark.parametrize(
    "folder", ["Two words", "Entwürfe", "R&D", "a/b", "日本/語", 'quo"te', "100%*", "&AGE-", "12", "NIL"]
)
def test_a_target_of_any_name_is_made_once_and_can_be_scanned(dovecot: Dovecot, user: str, folder: str) -> None:
    dovecot.deliver(user, mail(1))
    with opened(dovecot, user) as source:
        target = source.prepare(folder)
        assert target == source.prepare(f"{folder}/")
        assert (target.folder, target.uidnext) == (folder, 1)
        (moved,) = source.move([one.place for one in mails_of(source)], target).values()
        assert moved == Place(source.account, folder, f"{target.uidvalidity}:1")
        assert source.look([moved])[moved].size == len(mail(1))
    with dovecot.neighbour(user) as client:
        assert len(client.lsub()[1]) == 1
    url = dovecot.url(user, "").rstrip("/")
    escaped = "".join(f"%{byte:02x}" for byte in folder.encode())
    with closing(
        open_imap(f"{url}/{escaped}", lambda _: PASSWORD, changes=False, ca_file=dovecot.ca_file, patience=AT_ONCE)
    ) as source:
        assert source.folder == folder
        assert [one.raw for one in mails_of(source)] == [mail(1)]


# Reading, against a real server


def _allowed_by_the_rules(line: str) -> bool:
    """The list of trust.md 3.6, written down a second time."""
    command = line.partition(" ")[2]
    if line == "DONE" or re.fullmatch(r"CAPABILITY|NOOP|NAMESPACE|UNSELECT|IDLE|LOGOUT", command):
        return True
    if fetch := re.fullmatch(r"UID FETCH [\d:,]+ \((.*)\)", command):
        items = re.sub(r"BODY\.PEEK\[[^\]]*\](<[\d.]+>)?", "UID", fetch[1]).split()
        return set(items) <= {"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "X-GM-MSGID", "EMAILID"}
    if command.startswith("LIST"):
        return "RETURN" not in command
    return command.startswith(("ID ", "LOGIN ", "AUTHENTICATE ", "STATUS ", "EXAMINE ", "UID SEARCH ", "GETQUOTAROOT "))


def test_a_dry_run_sends_listed_commands_only_and_changes_nothing(dovecot: Dovecot, user: str) -> None:
    """I8: the wire is read beside the client, the mailbox before and after."""
    for number in range(30):
        dovecot.deliver(user, mail(number), flags="S" if number % 2 else "")
    dovecot.deliver(user, mail(99), folder=".News", flags="FT")
    with dovecot.neighbour(user) as client:
        client.select()
    before = dovecot.snapshot(user)
    with tapped(dovecot, user, changes=False) as (source, tap):
        found = mails_of(source)
        places = [one.place for one in found]
        assert len(source.look(places)) == 30
        assert places_of(source, "News", identity_of(mail(99), "x"), "<99@ads.example>")
        assert not source.can_move
        for change in (lambda: source.prepare("New"), lambda: source.move(places, Target("News", 1, 1))):
            with pytest.raises(RefusedError, match="for reading only"):
                change()
    login = next(number for number, line in enumerate(tap.lines) if "AUTHENTICATE" in line)
    commands = tap.lines[: login + 1] + tap.lines[login + 2 :]
    assert [line for line in commands if not _allowed_by_the_rules(line)] == []
    assert {line.split()[1] for line in commands} >= {"EXAMINE", "UID", "LIST", "LOGOUT"}
    assert dovecot.snapshot(user) == before


def test_a_scan_gives_every_message_once_and_in_order_over_batches_and_gaps(dovecot: Dovecot, user: str) -> None:
    for number in range(1_200):
        dovecot.deliver(user, mail(number, "news@ads.example" if number % 3 == 0 else "ann@example.org"))
    with dovecot.neighbour(user) as client:
        client.select()
        client.uid("STORE", "1:4,500,700:720", "+FLAGS", r"(\Deleted)")
        client.expunge()
    gone = {*range(1, 5), 500, *range(700, 721)}
    with opened(dovecot, user, changes=False) as source:
        found = list(source.scan(WANTED))
    uids = [uid_of(one.place) for one in found if isinstance(one, Mail)]
    assert uids == [uid for uid in range(1, 1_201) if uid not in gone and (uid - 1) % 3 == 0]
    assert sum(one.count for one in found if isinstance(one, Passed)) == 1_200 - len(gone) - len(uids)


def test_a_mail_is_given_as_it_is(dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, mail(7, body="\x00 Grüße"), flags="FS")
    with opened(dovecot, user) as source:
        (found,) = mails_of(source)
    assert found.flags == {"\\Flagged", "\\Seen"}
    assert found.raw.replace(b"\x80", b"\x00") == mail(7, body="\x00 Grüße")
    assert found.size == len(mail(7, body="\x00 Grüße"))
    assert found.identity == identity_of(mail(7), "<7@ads.example>")
    assert not found.truncated


def test_a_message_of_more_than_a_mebibyte_is_cut_and_says_its_size(dovecot: Dovecot, user: str) -> None:
    large = mail(1, body="0123456789abcde\n" * 100_000)
    for number in range(12):
        dovecot.deliver(user, large if number % 2 else mail(number))
    with opened(dovecot, user) as source:
        found = mails_of(source)
    assert [len(one.raw) for one in found if one.truncated] == 6 * [MESSAGE_CAP]
    assert {one.size for one in found if one.truncated} == {len(large.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r"))}
    assert len(found) == 12


@pytest.mark.parametrize(
    "raw",
    [
        mail(1),
        mail(1).replace(b"\r\n", b"\n"),
        b"\xef\xbb\xbf" + mail(1),
        mail(1, more="X-Long: " + "x" * 65_000),
        mail(1, more="\r\n".join(f"X-{n}: {'y' * 900}" for n in range(70))),
        b"From: a@ads.example\r\nMessage-ID: <1@ads.example>\r\n",
    ],
    ids=["plain", "lf", "bom", "long line", "long block", "no body"],
)
def test_a_message_has_one_identity_wherever_it_is_looked_at(dovecot: Dovecot, user: str, raw: bytes) -> None:
    dovecot.deliver(user, raw)
    with opened(dovecot, user) as source:
        (found,) = mails_of(source)
        assert found.identity.startswith("sha256:")
        assert source.look([found.place])[found.place].identity == found.identity
        target = source.prepare("Elsewhere")
        (place,) = source.move([found.place], target).values()
        assert places_of(source, "Elsewhere", found.identity, "<1@ads.example>", target) == [place]
        assert places_of(source, "Elsewhere", found.identity, "<1@ads.example>") == [place]
        assert places_of(source, "Elsewhere", found.identity, "", target) == [place]
        assert places_of(source, "INBOX", found.identity, "<1@ads.example>") == []
        assert places_of(source, "Nowhere", found.identity, "<1@ads.example>") == []
        assert places_of(source, "Elsewhere", found.identity + "0", "<1@ads.example>") == []


def test_t9_a_header_block_without_end_is_not_read(dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, mail(1, more="\r\n".join(f"X-{n}: {'y' * 900}" for n in range(80))))
    dovecot.deliver(user, mail(2))
    with opened(dovecot, user) as source:
        bad, good = source.scan(ALL)
        assert isinstance(bad, Unreadable)
        assert bad.reason == "header block over 64 KiB"
        assert isinstance(good, Mail)
        assert source.look([bad.place])[bad.place].identity


@pytest.mark.parametrize("message_id", ['<"quoted"@ads.example>', "<back\\slash@ads.example>", "<" + 247 * "a" + ">"])
def test_a_message_id_that_cannot_be_searched_for_is_found_among_the_new_ones(
    dovecot: Dovecot, user: str, message_id: str
) -> None:
    dovecot.deliver(user, mail(1).replace(b"<1@ads.example>", message_id.encode()))
    with opened(dovecot, user) as source:
        (found,) = mails_of(source)
        target = source.prepare("Ads")
        (place,) = source.move([found.place], target).values()
        assert places_of(source, "Ads", found.identity, message_id, target) == [place]


def test_without_a_message_id_there_is_no_identity(dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, b"From: a@ads.example\r\n\r\nHello\r\n")
    with opened(dovecot, user) as source:
        (found,) = mails_of(source)
        assert found.identity == ""
        assert source.look([found.place])[found.place].identity == ""
        assert places_of(source, "INBOX", "", "") == []


@pytest.mark.parametrize("moment", ["headers", "bodies"])
def test_a_message_that_vanishes_meanwhile_is_left_out(dovecot: Dovecot, user: str, moment: str) -> None:
    for number in range(6):
        dovecot.deliver(user, mail(number))
    with dovecot.neighbour(user) as client, opened(dovecot, user) as source:
        client.select()

        def expunge(_: bytes = b"") -> bool:
            client.uid("STORE", "2,5", "+FLAGS", r"(\Deleted)")
            client.expunge()
            return True

        if moment == "headers":
            source.session.enter("INBOX")
            expunge()
        found = list(source.scan(ALL if moment == "headers" else Wanted(("From",), expunge)))
        assert [uid_of(one.place) for one in found if isinstance(one, Mail)] == [1, 3, 4, 6]
        assert len(found) == 4
        assert [uid_of(place) for place in source.look([*(one.place for one in found if isinstance(one, Mail))])] == [
            1,
            3,
            4,
            6,
        ]


# Moving, against a real server


def test_a_move_takes_what_it_names_and_touches_nothing_else(dovecot: Dovecot, user: str) -> None:
    for number in range(5):
        dovecot.deliver(user, mail(number), flags="FS" if number == 1 else "T" if number == 4 else "")
    with opened(dovecot, user) as source:
        found = mails_of(source)
        target = source.prepare("News/Ads")
        places = [found[number].place for number in (2, 1)]
        moved = source.move(places, target)
        assert list(moved) == [places[1], places[0]]
        assert source.look(places) == {}
        looks = source.look([place for place in moved.values() if place])
        assert [look.identity for look in looks.values()] == [found[1].identity, found[2].identity]
        assert [look.flags for look in looks.values()] == [{"\\Flagged", "\\Seen"}, set()]
        assert [one.place for one in mails_of(source)] == [found[number].place for number in (0, 3, 4)]
        assert mails_of(source)[-1].flags == {"\\Deleted"}


def test_a_thousand_messages_are_moved_in_batches_and_found_again(dovecot: Dovecot, user: str) -> None:
    for number in range(1_200):
        dovecot.deliver(user, mail(number))
    with tapped(dovecot, user, changes=True) as (source, tap):
        places = [one.place for one in mails_of(source)][::-1][:-100]
        moved = source.move(places, source.prepare("Ads"))
        assert set(moved) == set(places)
        assert {uid_of(place) for place in moved.values()} == set(range(1, 1_101))
        assert len(source.look(places[:3])) == 0
    sent = [line for line in tap.lines if "MOVE" in line]
    assert [line.partition("UID ")[2] for line in sent] == [
        f'MOVE {a}:{b} "Ads"' for a, b in ((101, 600), (601, 1100), (1101, 1200))
    ]


def test_back_and_forth_is_a_move_too(dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, mail(1))
    with opened(dovecot, user) as source:
        (there,) = source.move([one.place for one in mails_of(source)], source.prepare("Ads")).values()
    assert there
    with opened(dovecot, user, "Ads") as source:
        (back,) = source.move([there], source.prepare("INBOX")).values()
        assert back
        assert back.folder == "INBOX"
        assert source.look([back])[back].size == len(mail(1))


def test_places_that_are_not_of_this_folder_as_it_is_now_are_not_moved(dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, mail(1))
    with opened(dovecot, user) as source:
        (place,) = [one.place for one in mails_of(source)]
        validity = place.key.partition(":")[0]
        wrong = [
            Place(place.account, "INBOX", key)
            for key in (f"{int(validity) + 1}:1", "x", "", f"{validity}:0", f"{validity}:-1")
        ]
        wrong.append(Place(place.account, "Other", place.key))
        target = source.prepare("Ads")
        assert source.move(wrong, target) == {}
        assert source.look(wrong) == {}
        assert list(source.look([place])) == [place]


def test_what_was_gone_before_the_move_is_of_unknown_place(dovecot: Dovecot, user: str) -> None:
    """P6: a server says OK to a move of nothing."""
    dovecot.deliver(user, mail(1))
    with opened(dovecot, user) as source:
        (place,) = [one.place for one in mails_of(source)]
        target = source.prepare("Ads")
        source.move([place], target)
        assert source.move([place], target) == {place: None}


def test_p7_another_client_expunged_one_of_them(dovecot: Dovecot, user: str) -> None:
    for number in range(3):
        dovecot.deliver(user, mail(number))
    with opened(dovecot, user) as source, dovecot.neighbour(user) as client:
        places = [one.place for one in mails_of(source)]
        target = source.prepare("Ads")
        client.select()
        client.uid("STORE", "2", "+FLAGS", r"(\Deleted)")
        client.expunge()
        with pytest.raises(TransientError, match="EXPUNGEISSUED"):
            source.move(places, target)
        assert list(source.look(places)) == [places[0], places[2]]


def test_a_folder_that_was_made_anew_is_not_taken_for_the_old_one(dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, mail(1), folder=".Lists")
    with opened(dovecot, user, "Lists") as source:
        (place,) = [one.place for one in mails_of(source)]
        with dovecot.neighbour(user) as client:
            client.delete("Lists")
            client.create("Lists")
        with pytest.raises(ServerError):
            source.look([place])
            source.look([place])


def test_special_folders_are_neither_emptied_nor_filled(dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, mail(1), folder=".Junk")
    with opened(dovecot, user, "Junk") as source:
        assert not source.can_move
        assert "special folder (\\Junk)" in source.why_not
        with pytest.raises(RefusedError, match="special folder"):
            source.move([one.place for one in mails_of(source)], Target("INBOX", 1, 1))
    with opened(dovecot, user) as source:
        with pytest.raises(TargetError, match="special folder"):
            source.prepare("Junk")
        with pytest.raises(TargetError, match="from inbox to inbox"):
            source.prepare("inbox")
        with pytest.raises(TargetError, match="no name"):
            source.prepare("//")


def test_d1_a_server_without_move_is_never_sent_one_and_copies(tmp_path: Path) -> None:
    with Dovecot(capability=WITHOUT_MOVE) as dovecot:
        for number in (1, 2, 3):
            dovecot.deliver(
                "ann", mail(number), flags="T" if number == 3 else "S"
            )  # the third is marked by another client
        with tapped(dovecot, "ann", changes=True) as (source, tap):
            assert source.can_move and source.method == "copy" and source.copier
            one, two, three = (found.place for found in mails_of(source))
            target = source.prepare("Ads")
            copies = source.copier.copy([one, two], target)
            assert copies == {
                one: Place(source.account, "Ads", f"{target.uidvalidity}:1"),
                two: Place(source.account, "Ads", f"{target.uidvalidity}:2"),
            }
            assert set(source.look([one, two, three])) == {one, two, three}
            assert source.copier.remove([one]) == []
            assert set(source.look([one, two, three])) == {two, three}
            source.copier.mark(Place(source.account, "Ads", f"{target.uidvalidity}:2"), {"\\Flagged", "\\Deleted"})
            assert source.look([copies[two] or two])[copies[two] or two].flags == {"\\Seen", "\\Flagged"}
            source.copier.restore([three])
            assert source.look([three])[three].flags == frozenset()
        changed = [line for line in tap.lines if re.search("MOVE|COPY|STORE|EXPUNGE|CLOSE", line)]
        assert [line.partition(" ")[2] for line in changed] == [
            'UID COPY 1:2 "Ads"',
            "UID STORE 1 +FLAGS.SILENT (\\Deleted)",
            "UID EXPUNGE 1",
            "UID STORE 2 +FLAGS.SILENT (\\Flagged)",
            "UID STORE 3 -FLAGS.SILENT (\\Deleted)",
        ]


def test_d1_without_move_and_uidplus_nothing_is_moved() -> None:
    with Dovecot(capability="IMAP4rev1 NAMESPACE") as dovecot:
        dovecot.deliver("ann", mail(1))
        with tapped(dovecot, "ann", changes=True) as (source, tap):
            assert not source.can_move and not source.copier
            assert re.search(r"neither MOVE .* nor UIDPLUS .*Nothing was moved", source.why_not)
            places = [one.place for one in mails_of(source)]
            for change in (lambda: source.prepare("Ads"), lambda: source.move(places, Target("Ads", 1, 1))):
                with pytest.raises(RefusedError, match="neither MOVE"):
                    change()
        assert not [line for line in tap.lines if re.search("MOVE|COPY|STORE|CREATE|EXPUNGE|CLOSE", line)]


def test_a_namespace_with_prefix_and_dots_is_spelled_by_us() -> None:
    with Dovecot(separator=".", prefix="INBOX.") as dovecot:
        dovecot.deliver("ann", mail(1))
        with opened(dovecot, "ann") as source:
            target = source.prepare("News/Ads")
            assert target.folder == "INBOX.News.Ads"
            assert (
                source.prepare("News/Ads")
                == source.prepare("INBOX.News.Ads")
                == source.prepare("INBOX/News/Ads")
                == target
            )
            (place,) = source.move([one.place for one in mails_of(source)], target).values()
            assert place
            assert list(source.look([place])) == [place]
        with opened(dovecot, "ann", "News/Ads") as source:
            assert source.folder == "INBOX.News.Ads"
            assert [one.place for one in mails_of(source)] == [place]


# Servers as they should not be

BATCH = {number: mail(number) for number in range(1, 31)}


@pytest.mark.parametrize(
    "odd",
    [
        b"* 7 FETCH (UID 7 FLAGS)\r\n",
        b'* 7 FETCH (UID 7 ENVELOPE ("x"))\r\n',
        b"* 7 FETCH (UID 7 RFC822.SIZE 3 BODY[HEADER.FIELDS (FROM)]<0> NIL)\r\n",
        b"* 7 FETCH (FLAGS (\\Deleted))\r\n",
        b"* 7 EXPUNGE-ISH\r\n",
    ],
)
def test_ic4_ic5_ic13_one_odd_answer_makes_one_unreadable_message(odd: bytes) -> None:
    with scripted(mailbox(BATCH, {7: odd})) as (source, server):
        found = list(source.scan(ALL))
        assert [uid_of(one.place) for one in found if isinstance(one, Mail)] == [uid for uid in BATCH if uid != 7]
        (bad,) = [one for one in found if isinstance(one, Unreadable)]
        assert (bad.place.key, bad.reason) == ("5:7", "pending: the server sent no usable text for it")
        assert server.connections == 1


@pytest.mark.parametrize(
    "odd",
    [
        b"* 7 FETCH (UID 7 RFC822.SIZE 3 BODY[] {3}\r\nabc\r\n)\r\n",
        b"* 7 FETCH (UID 7 BODY[] {9999999}\r\n",
        b"\x00\xff\r\n",
        b"[COPYUID 1 2 3]\r\n",
        b"* 7 FETCH (UID 7 BODY[] {100}\r\nabc" + CUT,
        b"* BYE I do not like this one\r\n" + CUT,
        b"TAG OK\r\n",
    ],
)
def test_ic9_ic10_ic14_n19_a_message_that_breaks_the_connection_costs_only_itself(odd: bytes) -> None:
    with scripted(mailbox(BATCH, {7: odd})) as (source, server):
        found = list(source.scan(ALL))
        assert [uid_of(one.place) for one in found if isinstance(one, Mail)] == [uid for uid in BATCH if uid != 7]
        (bad,) = [one for one in found if isinstance(one, Unreadable)]
        assert bad.place.key == "5:7"
        assert bad.reason
        assert 5 < server.connections < 30


def _bodies(change: Callable[[int, bytes], bytes]) -> dict[str, Answer]:
    """A mailbox whose answers about whole messages are changed."""
    usual = mailbox(BATCH)

    def fetch(command: str) -> bytes:
        if "BODY.PEEK[]" not in command:
            return usual["UID FETCH"](command)  # type: ignore[operator]
        there = asked(command, BATCH)
        return b"".join(change(uid, answer_about(uid, BATCH[uid], command)) for uid in there) + b"TAG OK x\r\n"

    return usual | {"UID FETCH": fetch}


@pytest.mark.parametrize(
    "answer",
    [
        b"* 9 FETCH (UID 9 FLAGS () RFC822.SIZE 70)\r\n",
        b"* 9 FETCH (UID 9 FLAGS () RFC822.SIZE 70 BODY[]<0> NIL)\r\n",
        b'* 9 FETCH (UID 9 FLAGS () RFC822.SIZE 70 BODY[]<0> "")\r\n',
        b"* 9 FETCH (UID 9 FLAGS () BODY[]<0> {3}\r\nabc)\r\n",
        b"* 9 FETCH (UID 9 FLAGS () RFC822.SIZE NIL BODY[]<0> {3}\r\nabc)\r\n",
        b"* 9 FETCH (UID 9 FLAGS () RFC822.SIZE 3.45e+06 BODY[]<0> {3}\r\nabc)\r\n",
        b"",
    ],
)
def test_ic13_ic16_p21_ok_without_text_or_size_is_pending_and_never_read(answer: bytes) -> None:
    with scripted(_bodies(lambda uid, usual: answer if uid == 9 else usual)) as (source, _):
        found = list(source.scan(ALL))
        assert [uid_of(one.place) for one in found if isinstance(one, Mail)] == [uid for uid in BATCH if uid != 9]
        (bad,) = [one for one in found if isinstance(one, Unreadable)]
        assert (bad.place.key, bad.reason) == ("5:9", "pending: the server sent no usable text for it")


def test_ic16_a_candidate_whose_size_is_no_number_is_unreadable() -> None:
    odd = b"* 7 FETCH (UID 7 RFC822.SIZE 3.4e+06 BODY[HEADER.FIELDS (FROM)]<0> {5}\r\na: b\r)\r\n"
    with scripted(mailbox(BATCH, {7: odd})) as (source, _):
        (bad,) = [one for one in source.scan(ALL) if isinstance(one, Unreadable)]
        assert bad.reason.startswith("pending")
        assert not [one for one in source.scan(WANTED) if isinstance(one, Unreadable)]


def test_more_text_than_asked_for_is_cut() -> None:
    long = b"* 9 FETCH (UID 9 FLAGS () RFC822.SIZE 2000000 BODY[] {2000000}\r\n" + (1_000_000 * b"\r\n") + b")\r\n"
    with scripted(_bodies(lambda uid, usual: long if uid == 9 else usual)) as (source, _):
        (found,) = [one for one in mails_of(source) if uid_of(one.place) == 9]
        assert (len(found.raw), found.size, found.truncated) == (MESSAGE_CAP, 2_000_000, True)


def test_a_message_that_the_server_refuses_is_unreadable_in_its_words() -> None:
    usual = mailbox(BATCH)

    def fetch(command: str) -> bytes:
        if 7 in asked(command, BATCH):
            return b"TAG NO [SERVERBUG] cannot render\r\n"
        return usual["UID FETCH"](command)  # type: ignore[operator]

    with scripted(usual | {"UID FETCH": fetch}) as (source, server):
        found = list(source.scan(ALL))
        (bad,) = [one for one in found if isinstance(one, Unreadable)]
        assert "server says: [SERVERBUG] cannot render" in bad.reason
        assert len(found) == 30
        assert server.connections == 1


@pytest.mark.parametrize("answer", [CUT, b"TAG BAD what\r\n", b"TAG NO [UNAVAILABLE] later\r\n"])
def test_a_server_that_answers_nothing_ends_in_an_error_and_not_in_a_loop(answer: bytes) -> None:
    messages = {number: mail(number) for number in range(1, 501)}
    with scripted(mailbox(messages) | {"UID FETCH": answer}) as (source, server):
        with pytest.raises(ServerError):
            list(source.scan(ALL))
        assert len([line for line in server.commands if line.startswith("UID FETCH")]) < 100


def test_a_lost_connection_is_made_again_for_reading_without_asking_again() -> None:
    passwords: list[str] = []

    def password(account: str) -> str:
        passwords.append(account)
        return "pw"

    usual = mailbox(BATCH)
    answers = usual | {"UID SEARCH": [CUT, b"* SEARCH 1 2\r\nTAG OK x\r\n"]}
    with (
        ScriptedServer(answers) as server,
        closing(open_imap(server.url(), password, changes=False, patience=AT_ONCE)) as source,
    ):
        assert len(mails_of(source)) == 2
        assert server.connections == 2
        assert passwords == [source.account]


def test_a_folder_renumbered_behind_a_lost_connection_stops_the_scan() -> None:
    def opened_as(validity: int) -> bytes:
        return b"* 3 EXISTS\r\n* OK [UIDVALIDITY %d] x\r\n* OK [UIDNEXT 100] x\r\nTAG OK opened\r\n" % validity

    answers: dict[str, Answer] = {"EXAMINE": [opened_as(5), opened_as(5), opened_as(6)], "UID FETCH": CUT}
    with (
        scripted(mailbox(BATCH) | answers, changes=False) as (source, _),
        pytest.raises(ServerError, match="renumbered"),
    ):
        list(source.scan(ALL))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"* 3 EXISTS\r\n* OK [UIDVALIDITY 0] x\r\n* OK [UIDNEXT 9] x\r\nTAG OK x\r\n", "does not keep the numbers"),
        (b"* 3 EXISTS\r\n* OK [UIDNEXT 9] x\r\nTAG OK x\r\n", "does not keep the numbers"),
        (
            b"* 3 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* NO [UIDNOTSTICKY] x\r\n* OK [UIDNEXT 9] x\r\nTAG OK x\r\n",
            "does not keep the numbers",
        ),
        (b"* 3 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 9] x\r\nTAG OK [READ-ONLY] x\r\n", "is read-only"),
    ],
)
def test_f18_ic18_p22_p23_a_folder_that_cannot_be_moved_from_is_still_read(answer: bytes, why: str) -> None:
    with scripted(mailbox({3: mail(3)}) | {"SELECT": answer, "EXAMINE": answer}) as (source, _):
        assert not source.can_move
        assert why in source.why_not
        assert len(mails_of(source)) == 1


def test_p24_uidnext_is_taken_from_status_where_select_has_none() -> None:
    answers: dict[str, Answer] = {
        "EXAMINE": b"* 3 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\nTAG OK x\r\n",
        "STATUS": b'* STATUS "INBOX" (UIDNEXT 4 UIDVALIDITY 5) \r\nTAG OK x\r\n',
    }
    with scripted(mailbox(BATCH) | answers, changes=False) as (source, server):
        assert [uid_of(one.place) for one in mails_of(source)] == [1, 2, 3]
        assert "UID SEARCH UID 1:3" in server.commands
    answers["STATUS"] = b'* STATUS "INBOX" ()\r\nTAG OK x\r\n'
    with (
        scripted(mailbox(BATCH) | answers, changes=False) as (source, _),
        pytest.raises(ServerError, match="does not tell its next UID"),
    ):
        list(source.scan(ALL))


def _numbers(exists: int, uidnext: int) -> dict[str, Answer]:
    text = f"* {exists} EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT {uidnext}] x\r\nTAG OK x\r\n"
    return {"EXAMINE": text.encode()}


def test_f18_few_messages_with_high_uids_are_found_at_once() -> None:
    messages = {3: mail(3), 4_294_967_290: mail(4)}
    with scripted(mailbox(messages) | _numbers(2, 4_294_967_295), changes=False) as (source, server):
        assert [uid_of(one.place) for one in mails_of(source)] == list(messages)
        assert [line for line in server.commands if "SEARCH" in line] == ["UID SEARCH UID 1:4294967294"]


def test_f28_many_messages_are_searched_in_windows() -> None:
    messages = {uid: mail(uid) for uid in (1, 95_000, 260_000)}
    with scripted(mailbox(messages) | _numbers(90_000, 260_001), changes=False) as (source, server):
        assert [uid_of(one.place) for one in mails_of(source)] == list(messages)
        windows = [line.partition("UID SEARCH UID ")[2] for line in server.commands if "SEARCH" in line]
        assert windows == ["1:80000", "80001:160000", "160001:240000", "240001:260000"]


def test_f28_n30_a_quarter_of_a_million_hits_never_come_in_one_answer() -> None:
    """A search line of more than 1,000,000 bytes breaks the library: we ask for windows."""
    count = 250_000

    def search(command: str) -> bytes:
        low, _, high = command.split()[3].partition(":")
        uids = range(int(low), min(int(high or low), count) + 1)
        return b"* SEARCH %s\r\nTAG OK x\r\n" % " ".join(map(str, uids)).encode()

    answers: dict[str, Answer] = {"UID SEARCH": search, "UID FETCH": b"TAG OK x\r\n"}
    with scripted(answers | _numbers(count, count + 1), changes=False) as (source, server):
        assert list(source.scan(ALL))
        windows = [line.partition("UID SEARCH UID ")[2] for line in server.commands if "UID SEARCH" in line]
        firsts = [int(one.partition(":")[0]) for one in windows if re.fullmatch(r"\d+:\d+", one)]
        assert set(range(1, count, 80_000)) <= set(firsts)


def test_ic7_ic17_answers_to_search_in_other_shapes() -> None:
    answers: dict[str, Answer] = {
        "UID SEARCH": b"* SEARCH 1\r\n* ESEARCH UID ALL 1:2\r\n* SEARCH 2 999\r\nTAG OK x\r\n"
    }
    with scripted(mailbox(BATCH) | answers, changes=False) as (source, _):
        assert [uid_of(one.place) for one in mails_of(source)] == [1, 2]


@pytest.mark.parametrize(
    ("capability", "item", "answer", "identity"),
    [
        ("OBJECTID", "EMAILID", b"EMAILID (M1)", "emailid:M1"),
        ("X-GM-EXT-1", "X-GM-MSGID", b"X-GM-MSGID 99", "x-gm-msgid:99"),
        ("OBJECTID", "EMAILID", b"EMAILID NIL", identity_of(mail(1), "x")),
    ],
)
def test_identities_of_the_server_are_taken_where_it_has_them(
    capability: str, item: str, answer: bytes, identity: str
) -> None:
    usual = mailbox({1: mail(1)})

    def fetch(command: str) -> bytes:
        found: bytes = usual["UID FETCH"](command)  # type: ignore[operator,assignment]
        return found.replace(b"RFC822.SIZE", answer + b" RFC822.SIZE") if item in command else found

    answers: dict[str, Answer] = usual | {
        "UID FETCH": fetch,
        "CAPABILITY": f"* CAPABILITY IMAP4rev1 AUTH=PLAIN MOVE {capability}\r\nTAG OK x\r\n".encode(),
    }
    with scripted(answers) as (source, _):
        (found,) = mails_of(source)
        assert found.identity == identity
        assert source.look([found.place])[found.place].identity == identity
        assert places_of(source, "Ads", identity, "<1@ads.example>") == [Place(source.account, "Ads", "5:1")]


def test_a_look_that_fails_shows_no_identity() -> None:
    with scripted(mailbox({1: mail(1), 2: mail(2)})) as (source, server):
        places = [one.place for one in mails_of(source)]
        server._answers |= mailbox({1: mail(1), 2: mail(2)}, {2: b"* 2 FETCH (UID 2 FLAGS)\r\n"})
        looks = source.look(places)
        assert looks[places[0]].identity
        assert (looks[places[1]].identity, looks[places[1]].size) == ("", -1)


def test_find_asks_only_harmless_questions_and_has_another_way() -> None:
    identity = identity_of(mail(7), "x")
    with scripted(mailbox(BATCH) | {"UID SEARCH UID 3:99 HEADER": b"* SEARCH\r\nTAG OK x\r\n"}) as (source, server):
        expected = [Place(source.account, "Ads", "5:7")]
        assert places_of(source, "Ads", identity, '<x"@\r\nA1 EXPUNGE>', Target("Ads", 5, 3)) == expected
        assert "HEADER Message-ID" not in " ".join(server.commands)
        assert places_of(source, "Ads", identity, "<7@ads.example>", Target("Ads", 5, 3)) == expected
        assert places_of(source, "Ads", identity, "<7@ads.example>") == expected
        assert places_of(source, "Ads", identity, "", Target("Ads", 5, 100)) == []
        source.look([Place(source.account, "INBOX", "5:1")])
        assert [line for line in server.commands if line.startswith(("SELECT", "EXAMINE"))][-2:] == [
            'EXAMINE "Ads"',
            'SELECT "INBOX"',
        ]


TARGET = Target("Ads", 9, 10)


def _moving(answer: Answer, there: dict[int, bytes] | None = None) -> dict[str, Answer]:
    """After the move the messages `there` are left in the source."""
    return mailbox({} if there is None else there) | {"UID MOVE": answer}


def _places(source: ImapSource, *uids: int) -> list[Place]:
    return [Place(source.account, "INBOX", f"5:{uid}") for uid in uids]


@pytest.mark.parametrize(
    "answer",
    [
        b"TAG OK moved\r\n",
        b"TAG OK [COPYUID 9 1:3] moved\r\n",
        b"TAG OK [COPYUID 8 1:3 10:12] moved\r\n",
        b"TAG OK [COPYUID 9 1:4 10:13] moved\r\n",
        b"* OK [COPYUID 9 1:3 10:12] x\r\nTAG OK [COPYUID 9 1:3 20:22] moved\r\n",
    ],
)
def test_ic8_p6_p8_without_a_usable_copyuid_what_is_gone_was_moved_somewhere(answer: bytes) -> None:
    with scripted(_moving(answer, {2: mail(2)})) as (source, _):
        one, _two, three = places = _places(source, 1, 2, 3)
        assert source.move(places, TARGET) == {one: None, three: None}


def test_ic8_a_copyuid_about_some_of_them_counts_for_those() -> None:
    with scripted(_moving(b"* OK [COPYUID 9 3 12] x\r\nTAG OK moved\r\n", {2: mail(2)})) as (source, _):
        one, _two, three = places = _places(source, 1, 2, 3)
        assert source.move(places, TARGET) == {one: None, three: Place(source.account, "Ads", "9:12")}


def test_ic15_the_copyuid_of_one_batch_is_not_that_of_the_next() -> None:
    answers: Answer = [b"TAG OK [COPYUID 9 1 10] x\r\n", b"TAG OK No messages found\r\n"]
    with scripted(_moving(answers, {1: mail(1)})) as (source, _):
        (place,) = _places(source, 1)
        assert source.move([place], TARGET) == {place: Place(source.account, "Ads", "9:10")}
        assert source.move([place], TARGET) == {}


@pytest.mark.parametrize(
    "answer",
    [
        CUT,
        b"* BYE shutting down\r\n" + CUT,
        b"[COPYUID 9 1:2 10:11]\r\nTAG OK done\r\n",
        b"TAG OK\r\n",
        b"* OK [COPYUID 9 1:2 10:11] x\r\n* 1 EXPUNGE\r\n" + CUT,
        b"TAG NO [UNAVAILABLE] x\r\n",
        b"TAG NO [OVERQUOTA] full\r\n",
        b"TAG BAD Request is throttled. Suggested Backoff Time: 5 milliseconds\r\n",
    ],
)
def test_d13_ic9_ic14_after_any_error_a_move_is_not_sent_again(answer: bytes) -> None:
    with scripted(_moving(answer, BATCH)) as (source, server):
        places = _places(source, 1, 2)
        with pytest.raises(ServerError):
            source.move(places, TARGET)
        assert [line for line in server.commands if "MOVE" in line] == ['UID MOVE 1:2 "Ads"']
        assert list(source.look(places)) == places  # and reading goes on, on a new connection where needed


def test_p7_when_another_client_took_one_away_none_was_moved_and_looking_again_may_help() -> None:
    refused = b"TAG NO [EXPUNGEISSUED] Some of them are gone\r\n"
    with scripted(_moving([refused], {1: mail(1), 3: mail(3)})) as (source, server):
        with pytest.raises(TransientError, match="are gone"):
            source.move(_places(source, 1, 2, 3), TARGET)
        assert len([line for line in server.commands if "MOVE" in line]) == 1


def test_a_target_that_is_gone_is_a_target_error_and_nothing_moved() -> None:
    with (
        scripted(_moving(b"TAG NO [TRYCREATE] no such folder\r\n", BATCH)) as (source, _),
        pytest.raises(TargetError, match=r"Ads is gone\. Nothing was moved"),
    ):
        source.move(_places(source, 1), TARGET)
    with (
        scripted(_moving(b"TAG OK x\r\n") | {"LIST": b"TAG OK none\r\n"}) as (source, server),
        pytest.raises(TargetError, match="is gone"),
    ):
        source.move(_places(source, 1), TARGET)
    assert not [line for line in server.commands if "MOVE" in line]


def test_a_server_with_a_limit_gets_smaller_batches() -> None:
    def move(command: str) -> bytes:
        uids = asked(command, range(1, 100))
        return (
            b"TAG NO [LIMIT] too many\r\n"
            if len(uids) > 3
            else b"TAG OK [COPYUID 9 %s 50:%d] x\r\n"
            % (
                command.split()[2].encode(),
                49 + len(uids),
            )
        )

    with scripted(_moving(move)) as (source, server):
        assert len(source.move(_places(source, *range(1, 9)), TARGET)) == 8
        assert [line.split()[2] for line in server.commands if "MOVE" in line] == [
            "1:8",
            "1:4",
            "1:2",
            "3:4",
            "5:8",
            "5:6",
            "7:8",
        ]
    capability = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN MOVE MESSAGELIMIT=3\r\nTAG OK x\r\n"
    with scripted(_moving(move) | {"CAPABILITY": capability}) as (source, server):
        assert len(source.move(_places(source, *range(1, 9)), TARGET)) == 8
        assert [line.split()[2] for line in server.commands if "MOVE" in line] == ["1:3", "4:6", "7:8"]


NOT_THERE: dict[str, Answer] = {"LIST": b"TAG OK none\r\n"}


def test_p12_a_refused_create_is_no_error_where_the_folder_is_there() -> None:
    with scripted(NOT_THERE | {"CREATE": b"TAG NO Cannot create this folder.\r\n"}) as (source, server):
        assert source.prepare("Ads/New") == Target("Ads/New", 9, 10)
        assert server.commands[-3:] == ['CREATE "Ads/New"', *2 * ['STATUS "Ads/New" (UIDVALIDITY UIDNEXT)']]


def test_d10_a_target_whose_status_is_not_ok_is_refused() -> None:
    for answers in (
        {"STATUS": b"TAG NO [NOPERM] no\r\n"},
        {"STATUS": b"TAG NO [NOPERM] no\r\n", "CREATE": b"TAG NO no\r\n"} | NOT_THERE,
        {"STATUS": b'* STATUS "Ads" (UIDVALIDITY 0 UIDNEXT 5)\r\nTAG OK x\r\n'},
        {"STATUS": b'* STATUS "Ads" (UIDVALIDITY 5)\r\nTAG OK x\r\n'},
    ):
        with scripted(answers) as (source, _), pytest.raises(TargetError, match="Ads"):
            source.prepare("Ads")


def test_n20_a_server_that_hides_its_prefix_gets_a_second_try() -> None:
    answers: dict[str, Answer] = {
        "CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN MOVE\r\nTAG OK x\r\n",
        'LIST "" ""': b'* LIST (\\Noselect) "." ""\r\nTAG OK x\r\n',
        "CREATE": [b"TAG NO Invalid mailbox name.\r\n", b"TAG OK x\r\n"],
        "STATUS": b"TAG NO Invalid mailbox name.\r\n",
        'STATUS "INBOX.Ads.New"': b'* STATUS "INBOX.Ads.New" (UIDVALIDITY 9 UIDNEXT 1)\r\nTAG OK x\r\n',
    }
    with scripted(NOT_THERE | answers) as (source, server):
        assert source.prepare("Ads/New") == Target("INBOX.Ads.New", 9, 1)
        assert [line for line in server.commands if line.startswith(("CREATE", "SUBSCRIBE"))] == [
            'CREATE "Ads.New"',
            'CREATE "INBOX.Ads.New"',
            'SUBSCRIBE "INBOX.Ads.New"',
        ]


def test_a_name_that_is_only_a_branch_is_made_a_folder() -> None:
    listed = b'* LIST (\\Noselect) "/" "Ads"\r\nTAG OK x\r\n'
    with scripted({"LIST": listed, "SUBSCRIBE": b"TAG NO not here\r\n"}) as (source, server):
        assert source.prepare("Ads") == TARGET
        assert 'CREATE "Ads"' in server.commands


def test_s5_hostile_folder_names_are_shown_safely_and_never_used() -> None:
    listed = (
        b'* LIST () "/" "\x1b[31mred"\r\n* LIST () "/" "../../etc/passwd"\r\n* LIST () "/" {12}\r\nA1 EXPUNGE\r\n\r\n'
        b'* LIST () "/" "&bad"\r\n* LIST () "/" "caf\xe9"\r\nTAG OK x\r\n'
    )
    with ScriptedServer({"LIST": listed}) as server:
        with pytest.raises(NotFoundError, match="There are: ") as caught:
            open_imap(server.url("Nope"), lambda _: "pw", changes=False, patience=AT_ONCE)
        assert "\x1b" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not [line for line in server.commands if "EXPUNGE" in line or "passwd" in line]


def test_a_source_ends_with_logout_and_nothing_else() -> None:
    with scripted(mailbox(BATCH)) as (source, server):
        mails_of(source)
        source.close()
        source.close()
        assert server.commands[-1] == "LOGOUT"
        assert server.commands.count("LOGOUT") == 1
        assert "pw" not in repr(source.__dict__)


def test_a_server_that_stays_away_is_given_up_once_and_for_all() -> None:
    told: list[str] = []
    with ScriptedServer(mailbox({1: mail(1)})) as server:
        source = open_imap(
            server.url(), lambda _: "pw", changes=True, patience=Patience(attempts=3, first=0, tell=told.append)
        )
        (found,) = mails_of(source)
        server._answers["NOOP"] = CUT
    with pytest.raises(ServerError, match="Gave up after 3 attempts") as error:
        source.look([found.place])
    assert not isinstance(error.value, TransientError), "or others would begin again"
    pauses = len(told)
    assert pauses <= 3
    with pytest.raises(ServerError, match="Gave up"):
        source.look([found.place])
    assert len(told) == pauses
    source.close()
