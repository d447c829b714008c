"""What imapclient 4.1, imaplib and mail-parser 4.8 do today with what imap.md 6 lists: IC1 to IC24, MP1 to MP11.

A test with "library" in its name that fails after an update says that the library has changed. The others of the same number,
here and in test_guarded.py, test_imap.py and test_starttls.py, say that we are safe either way; our code may shrink then.
"""

from __future__ import annotations

import base64
import imaplib
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mailparser
import pytest
from hostile import cpu_limit, mail, multipart, text_mail, with_header
from imapclient import IMAPClient
from imapclient.exceptions import ProtocolError
from mailparser.exceptions import MailParserRecursionError
from scripted_imap import Answer, ScriptedServer, mailbox
from test_guarded import MAIL, TAGGED, connected, library
from test_imap import ALL, scripted

from filters.errors import InputError, RefusedError
from filters.message import parse
from filters.sources import Mail
from filters.sources.guarded import GuardedClient

READ_ONLY = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 9] x\r\nTAG OK [READ-ONLY] opened\r\n"
MOVE = {"CAPABILITY": b"* CAPABILITY IMAP4rev1 MOVE UIDPLUS\r\nTAG OK x\r\n"}


def fetching(*lines: bytes) -> dict[str, Answer]:
    """These lines as the answer to any FETCH."""
    return {"UID FETCH": b"".join(line + b"\r\n" for line in lines) + b"TAG OK done\r\n"}


# imapclient and imaplib


EVIL = 'x"\r\nA1 DELETE "Keep"'
INJECTIONS: dict[str, Callable[[IMAPClient], object]] = {
    "search": lambda client: client.search(["HEADER", "Message-ID", EVIL]),
    "message set": lambda client: client.fetch(EVIL, ["FLAGS"]),
    "flag": lambda client: client.add_flags([1], [EVIL]),
    "id": lambda client: client.id_({"name": EVIL}),
    "raw folder name": lambda client: client.list_folders("", EVIL),
}


def _arrives(server: ScriptedServer, beginning: bytes) -> bool:
    """Whether the server gets such a line, now or soon: the client may have its answer to the line before already."""
    for _ in range(500):
        if any(line.startswith(beginning) for line in server.lines):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("inject", INJECTIONS.values(), ids=INJECTIONS)
def test_ic1_library_a_line_end_in_an_argument_begins_a_command(inject: Callable[[IMAPClient], object]) -> None:
    answers: dict[str, Answer] = {"CAPABILITY": b"* CAPABILITY IMAP4rev1 ID\r\nTAG OK x\r\n"}
    with library(answers) as (client, server):
        client.folder_encode = False  # with UTF-7 folder names are safe
        with suppress(imaplib.IMAP4.error, ValueError):
            inject(client)
        assert _arrives(server, b"A1 DELETE")


def test_ic1_library_a_line_end_in_a_user_name_begins_a_command() -> None:
    with ScriptedServer(ours=False) as server:
        client = IMAPClient("127.0.0.1", server.port, ssl=False)
        with suppress(imaplib.IMAP4.error):
            client.login(EVIL, "pw")
        assert _arrives(server, b"A1 DELETE")
        client.shutdown()


def test_ic2_library_expunging_nothing_expunges_all() -> None:
    for nothing in ([], set()):
        with library() as (client, server):
            client.expunge(nothing)
            assert server.commands[-1] == "EXPUNGE"


@pytest.mark.parametrize("uids", ["1:*", "1:3", ["1:3"], "1,3"])
def test_ic3_library_ranges_are_sent_and_then_no_numbers(uids: object) -> None:
    with library(mailbox({1: MAIL})) as (client, server):
        with pytest.raises(ValueError, match="invalid literal"):
            client.fetch(uids, ["UID"])
        assert server.commands[-1].startswith("UID FETCH 1")


def test_ic3_library_a_generator_is_used_up_by_asking() -> None:
    with library(mailbox({1: MAIL})) as (client, _):
        assert client.fetch((uid for uid in [1]), ["UID"]) == {}


def test_ic4_library_an_answer_without_uid_goes_to_whoever_has_the_number() -> None:
    answer = fetching(b"* 7 FETCH (UID 28 FLAGS (\\Seen))", b"* 28 FETCH (FLAGS (\\Deleted))")
    with library(answer) as (client, _):
        assert client.fetch([28], ["FLAGS"]) == {28: {b"SEQ": 28, b"FLAGS": (b"\\Deleted",)}}


@pytest.mark.parametrize(
    ("odd", "error"),
    [
        (b'ENVELOPE ("x")', IndexError),
        (b'ENVELOPE ("d" "s" ((NIL NIL "a")) NIL NIL NIL NIL NIL NIL NIL)', TypeError),
        (b"BODYSTRUCTURE NIL", TypeError),
        (b"BODYSTRUCTURE ()", IndexError),
        (b"FLAGS", ProtocolError),
        (b'X "a"b""', ProtocolError),
    ],
)
def test_ic5_library_one_odd_item_loses_the_batch(odd: bytes, error: type[Exception]) -> None:
    answer = fetching(b"* 1 FETCH (UID 1 FLAGS ())", b"* 2 FETCH (UID 2 " + odd + b")")
    with library(answer) as (client, _), pytest.raises(error):
        client.fetch([1, 2], ["FLAGS"])


def test_ic6_library_names_are_taken_for_utf7() -> None:
    listed = b'* LIST () "/" "R&D"\r\n* LIST () "/" "Good"\r\nTAG OK x\r\n'
    with library({"LIST": listed}) as (client, _), pytest.raises(UnicodeDecodeError):
        client.list_folders()
    with library({"LIST": b'* LIST () "/" "Caf\xc3\xa9"\r\nTAG OK x\r\n'}) as (client, _):
        ((_, _, name),) = client.list_folders()
        assert name == "CafÃ©"
        with pytest.raises(UnicodeDecodeError):
            client.folder_status("Café".encode())


def test_ic7_library_two_search_lines_are_one_too_many() -> None:
    answer = b"* SEARCH 1 2\r\n* SEARCH 5\r\nTAG OK x\r\n"
    with library({"UID SEARCH": answer}) as (client, _), pytest.raises(ValueError, match="unexpected message list"):
        client.search("ALL")


def test_ic8_library_where_mail_went_is_in_a_private_place() -> None:
    with library({**MOVE, "UID MOVE": TAGGED, "UID COPY": TAGGED}) as (client, _):
        for command in (client.move, client.copy):
            assert not command([1, 2], "News")
            assert client._imap.untagged_responses.pop("COPYUID") == [b"9 1:2 10:11"]


def test_ic9_library_a_bare_copyuid_ends_the_connection_though_the_mail_moved() -> None:
    with library({**MOVE, "UID MOVE": b"[COPYUID 5 1:2 10:11]\r\nTAG OK done\r\n"}) as (client, _):
        with pytest.raises(imaplib.IMAP4.abort):
            client.move([1, 2], "News")
        with pytest.raises(ProtocolError):
            client.noop()


def test_ic10_library_a_stray_line_end_ends_the_connection() -> None:
    answer = fetching(b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc\r\n)")
    with library(answer) as (client, _), pytest.raises(imaplib.IMAP4.abort):
        client.fetch([1], ["BODY.PEEK[]"])


def test_ic11_library_an_empty_set_is_sent() -> None:
    with library(MOVE) as (client, server):
        client.move([], "News")
        client.copy([], "News")
        client.uid_expunge([])
        assert server.commands[-3:] == ['UID MOVE  "News"', 'UID COPY  "News"', "UID EXPUNGE "]


def test_ic12_library_criteria_beyond_ascii_within_others_cannot_be_sent() -> None:
    with library() as (client, server):
        before = len(server.lines)
        with pytest.raises(UnicodeEncodeError):
            client.search(["OR", ["SUBJECT", "ä"], ["SUBJECT", "b"]], charset="UTF-8")
        assert len(server.lines) == before


def test_ic12_criteria_are_ascii_and_have_no_charset() -> None:
    with connected() as (client, server):
        before = len(server.lines)
        with pytest.raises(RefusedError):
            client.search(1, 9, "ä@example.org")
        for criteria in ("ä", "b", ["OR", ["SUBJECT", "b"], ["SUBJECT", "c"]]):
            with pytest.raises((RefusedError, UnicodeEncodeError)):
                client._library.search(criteria, charset="UTF-8")
        assert len(server.lines) == before


def test_ic13_library_no_text_looks_like_success() -> None:
    answer = fetching(
        b"* 1 FETCH (UID 1 BODY[] NIL)", b"* 3 FETCH (UID 3 FLAGS ())", b"* 4 FETCH (UID 4 BODY[]<0> {1}\r\nx)"
    )
    with library(answer) as (client, _):
        found = client.fetch([1, 2, 3, 4], ["BODY.PEEK[]<0.1048576>"])
        assert found[1][b"BODY[]"] is None
        assert 2 not in found
        assert b"BODY[]" not in found[3]
        assert found[4][b"BODY[]<0>"] == b"x"


def test_ic14_library_a_tagged_answer_without_words_ends_the_connection() -> None:
    with library({"NOOP": b"TAG OK\r\n"}) as (client, _), pytest.raises(imaplib.IMAP4.abort):
        client.noop()
    with library({"NOOP": b"* OK [HIGHESTMODSEQ 5]\r\n* OK\r\nTAG OK x\r\n"}) as (client, _):
        client.noop()


def test_ic15_library_an_old_copyuid_stays_and_a_new_one_is_put_behind_it() -> None:
    both = b"* OK [COPYUID 9 1 10] x\r\nTAG OK [COPYUID 9 1 10] x\r\n"
    with library({**MOVE, "UID MOVE": [both, b"TAG OK No messages found\r\n", TAGGED]}) as (client, _):
        codes = client._imap.untagged_responses
        client.move([1], "News")
        assert codes["COPYUID"] == [b"9 1 10", b"9 1 10"]
        client.move([1], "News")
        assert codes["COPYUID"] == [b"9 1 10", b"9 1 10"]
        client.move([1, 2], "News")
        assert codes["COPYUID"] == [b"9 1 10", b"9 1 10", b"9 1:2 10:11"]


def test_ic16_library_a_size_may_be_anything() -> None:
    answer = fetching(b"* 1 FETCH (UID 1 RFC822.SIZE NIL)", b"* 2 FETCH (UID 2 RFC822.SIZE 3.45e+06)")
    with library(answer) as (client, _):
        found = client.fetch([1, 2], ["RFC822.SIZE"])
        assert [found[uid][b"RFC822.SIZE"] for uid in (1, 2)] == [None, b"3.45e+06"]


def test_ic17_library_esearch_looks_like_nothing_found() -> None:
    answer = b'* ESEARCH (TAG "A1") UID ALL 1:3\r\nTAG OK x\r\n'
    with library({"UID SEARCH": answer}) as (client, _):
        assert client.search("RETURN (ALL) ALL") == []


def test_ic17_esearch_is_not_asked_for() -> None:
    with connected() as (client, server):
        before = len(server.lines)
        with pytest.raises(RefusedError):
            client._library.search("RETURN (ALL) ALL")
        assert len(server.lines) == before


def test_ic18_library_read_only_is_called_a_broken_connection() -> None:
    assert issubclass(imaplib.IMAP4.readonly, imaplib.IMAP4.abort)
    writable = READ_ONLY.replace(b"ONLY", b"WRITE")
    with library({"SELECT": [writable, READ_ONLY]}) as (client, _), pytest.raises(imaplib.IMAP4.readonly):
        client.select_folder("INBOX")


def test_ic20_library_a_search_in_googles_words_has_a_charset() -> None:
    with library({"CAPABILITY": b"* CAPABILITY IMAP4rev1 X-GM-EXT-1\r\nTAG OK x\r\n"}) as (client, server):
        client.gmail_search("from:x")
        assert server.commands[-1] == "UID SEARCH CHARSET UTF-8 X-GM-RAW from:x"


def test_ic20_no_search_of_ours_has_a_charset() -> None:
    capability = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN X-GM-EXT-1\r\nTAG OK x\r\n"
    with connected({"CAPABILITY": capability}) as (client, server):
        before = len(server.lines)
        with pytest.raises(RefusedError):
            client._library.gmail_search("from:x")
        assert len(server.lines) == before
    assert not hasattr(GuardedClient, "gmail_search")


EXTENDED = b'* LIST () "/" "x" ("CHILDINFO" ("SUBSCRIBED"))\r\n* LIST () "/" "y"\r\nTAG OK x\r\n'


def test_ic21_library_more_than_three_words_in_a_list_line_are_too_many() -> None:
    with library({"LIST": EXTENDED}) as (client, _), pytest.raises(ValueError, match=r"zip|unpack"):
        client.list_folders()


def test_ic21_more_words_in_a_list_line_are_passed_over_and_never_asked_for() -> None:
    with connected({"LIST": EXTENDED}) as (client, server):
        assert [folder.raw for folder in client.folders("*")] == ["x", "y"]
        assert server.commands[-1] == 'LIST "" "*"'


def test_ic22_library_a_header_goes_by_the_name_that_the_server_gives_it() -> None:
    with library(fetching(b'* 1 FETCH (UID 1 BODY[HEADER.FIELDS ("From")]<0> {5}\r\na: b\r)')) as (client, _):
        assert b'BODY[HEADER.FIELDS ("FROM")]<0>' in client.fetch([1], ["BODY.PEEK[HEADER.FIELDS (From)]<0.9>"])[1]


def test_ic23_library_of_two_answers_with_one_uid_the_last_one_counts() -> None:
    answer = fetching(b"* 1 FETCH (UID 1 FLAGS (\\Flagged))", b"* 1 FETCH (UID 1 FLAGS ())")
    with library(answer) as (client, _):
        assert client.fetch([1], ["FLAGS"])[1][b"FLAGS"] == ()


WHOLE = b"* 1 FETCH (UID 1 FLAGS (\\Flagged) RFC822.SIZE 3 BODY[HEADER] {3}\r\nabc)"


@pytest.mark.parametrize(
    ("lines", "body", "flags"),
    [
        ([WHOLE, WHOLE], b"abc", {"\\Flagged"}),
        ([WHOLE, b"* 1 FETCH (UID 1 FLAGS (\\Seen))"], b"abc", {"\\Flagged", "\\Seen"}),
        ([b"* 1 FETCH (UID 1 FLAGS (\\Seen))", WHOLE], b"abc", {"\\Flagged", "\\Seen"}),
        ([WHOLE, WHOLE.replace(b"abc", b"abd")], None, {"\\Flagged"}),
        ([WHOLE, WHOLE.replace(b"SIZE 3", b"SIZE 4")], None, {"\\Flagged"}),
    ],
)
def test_ic23_two_answers_with_one_uid_forbid_what_either_forbids(
    lines: list[bytes], body: bytes | None, flags: set[str]
) -> None:
    """And at odds about the message they are no answer: its text is pending, and it is left alone."""
    with connected(fetching(*lines)) as (client, _):
        found = client.fetch([1], "UID FLAGS RFC822.SIZE BODY.PEEK[HEADER]<0.9>")[1]
        assert (found.body, found.flags) == (body, flags)


def test_ic24_library_a_status_of_another_folder_is_taken() -> None:
    with library({"STATUS": b'* STATUS "Other" (UIDVALIDITY 1 UIDNEXT 2)\r\nTAG OK x\r\n'}) as (client, _):
        assert client.folder_status("News") == {b"UIDVALIDITY": 1, b"UIDNEXT": 2}


def test_ic24_after_a_status_of_another_folder_no_new_place_is_believed() -> None:
    """COPYUID tells the UIDVALIDITY of the folder that mail really went to: where the two differ, the place is unknown."""
    status = b'* STATUS "Other" (UIDVALIDITY 7 UIDNEXT 2)\r\nTAG OK x\r\n'
    moved = b"* OK [COPYUID 9 1 10] x\r\n* 1 EXPUNGE\r\nTAG OK x\r\n"
    answers = mailbox({1: MAIL}) | {"STATUS": status, "UID MOVE": moved}
    with scripted(answers) as (source, server):
        (mail_,) = [one for one in source.scan(ALL) if isinstance(one, Mail)]
        target = source.prepare("News")
        assert target.uidvalidity == 7
        server._answers["UID SEARCH"] = b"TAG OK x\r\n"
        assert source.move([mail_.place], target) == {mail_.place: None}


# mail-parser


def parsed(raw: bytes) -> mailparser.MailParser:
    """What the library makes of it."""
    return mailparser.parse_from_bytes(raw)


FORWARD = mail(
    b"--b\n\nSee below.\n--b\nContent-Type: message/rfc822\n\nFrom: x@y.example\n\nAdvert!\n--b--\n",
    "Content-Type: multipart/mixed; boundary=b",
)


def test_mp1_library_a_forwarded_text_is_the_senders_own() -> None:
    assert "Advert!" in "".join(parsed(FORWARD).text_plain)


def test_mp1_a_forwarded_text_is_not_the_senders() -> None:
    assert parse(FORWARD).text == "See below."


TWO_FROM = with_header("From: Evil <evil@evil.example>")


def test_mp2_library_of_two_from_the_first_counts() -> None:
    found = parsed(TWO_FROM)
    assert (found.from_, found.has_defects) == ([("Evil", "evil@evil.example")], False)


def test_mp2_two_from_are_nobody() -> None:
    found = parse(TWO_FROM)
    assert (found.from_address, found.defects) == ("", ("duplicate:from",))


@pytest.mark.parametrize("charset", [b"us-ascii", b"x-unheard-of"])
def test_mp3_library_a_wrong_charset_costs_the_letters(charset: bytes) -> None:
    found = parsed(text_mail("Grüße", "latin-1").replace(b"latin-1", charset))
    assert found.text_plain[0].strip() == "Gr\ufffd\ufffde"
    assert found.defects_categories == {"CharsetDecodeDefect"}


@pytest.mark.parametrize("charset", [b"us-ascii", b"x-unheard-of"])
def test_mp3_a_wrong_charset_costs_nothing(charset: bytes) -> None:
    found = parse(text_mail("Grüße", "latin-1").replace(b"latin-1", charset))
    assert (found.text, found.defects) == ("Grüße", ("charset",))


BOM = b"\xef\xbb\xbf" + mail()


def test_mp4_library_a_bom_hides_all_headers() -> None:
    found = parsed(BOM)
    assert found.headers == {}
    assert found.body.startswith("\ufeffFrom: ")


def test_mp4_a_bom_hides_nothing() -> None:
    found = parse(BOM)
    assert (found.from_address, found.defects) == ("ann@mail.example", ("bom",))


NO_BOUNDARY = mail(b"Words.", "Content-Type: multipart/mixed")
AMP = multipart(("text/plain", "Mine."), ("text/x-amp-html", "<p>Amp"))


def test_mp5_library_text_in_odd_parts_is_not_managed() -> None:
    found = parsed(NO_BOUNDARY)
    assert (found.text_plain, found.text_not_managed) == ([], ["Words."])
    found = parsed(AMP)
    assert (found.text_plain, found.text_html, found.text_not_managed) == (["Mine."], [], ["<p>Amp"])


def test_mp5_text_without_its_boundary_is_read_and_amp_is_not() -> None:
    assert parse(NO_BOUNDARY).text == "Words."
    assert parse(AMP).text == "Mine."


ATTACHED = multipart(
    ("text/plain", "Mine."), ('text/html\nContent-Disposition: attachment; filename="a.html"', "<p>Advert!")
)


def test_mp6_library_html_that_is_attached_is_no_text() -> None:
    assert parsed(ATTACHED).text_html == []


def test_mp6_html_that_is_attached_is_no_evidence() -> None:
    assert parse(ATTACHED).text == "Mine."


FOLDED = with_header("List-Unsubscribe: <https://a.example>,\n <mailto:b@c.example>")


def test_mp7_library_folded_headers_keep_their_line_ends() -> None:
    assert parsed(FOLDED).list_unsubscribe == "<https://a.example>,\r\n <mailto:b@c.example>"


def test_mp7_folded_headers_are_one_line() -> None:
    value = parse(FOLDED).first("list-unsubscribe")
    assert value.isprintable()
    assert value.split() == ["<https://a.example>,", "<mailto:b@c.example>"]


AGAIN = with_header("Subject: Another", "Authentication-Results: a; dkim=pass", "Authentication-Results: b; dkim=fail")


def test_mp8_library_a_repeated_header_is_a_list() -> None:
    found = parsed(AGAIN)
    assert (found.subject, parsed(mail()).subject) == (["Another", "An offer"], "An offer")
    assert found.authentication_results == ["a; dkim=pass", "b; dkim=fail"]


def test_mp8_headers_are_always_several_the_top_one_first() -> None:
    found = parse(AGAIN)
    assert found.all("authentication-results") == ("a; dkim=pass", "b; dkim=fail")
    assert found.subject == "Another"
    assert "duplicate:subject" in found.defects


def _nested(levels: int) -> bytes:
    head = "".join(f"Content-Type: multipart/mixed; boundary=b{at}\n\n--b{at}\n" for at in range(levels))
    return b"From: a@b.example\n" + head.encode()


WORDS = with_header("Subject: " + "=?utf-8?q?a?= " * 20_000, instead="Subject")
FEWER_WORDS = with_header("Subject: " + "=?utf-8?q?a?= " * 4_500, instead="Subject")


def test_mp9_library_many_words_are_slow_and_many_levels_raise() -> None:
    with pytest.raises(AssertionError, match="processor time"), cpu_limit(0.05):
        assert parsed(WORDS).subject
    assert parsed(_nested(500)).message
    with pytest.raises(MailParserRecursionError):
        parsed(_nested(1_000))


def test_mp9_what_is_too_much_is_kept_unread_at_once_and_less_is_read() -> None:
    with cpu_limit(0.5):
        for bomb in (WORDS, _nested(500), _nested(1_000)):
            with pytest.raises(InputError, match="kept unread"):
                parse(bomb)
        assert parse(FEWER_WORDS).subject.startswith(100 * "a" + " ")


def _cut_base64(cut: int) -> bytes:
    data = base64.encodebytes(b"Words that are encoded. " * 20)
    return mail(data, "Content-Type: text/plain\nContent-Transfer-Encoding: base64").rstrip()[:-cut]


def test_mp10_library_a_cut_may_leave_a_part_undecoded() -> None:
    texts = [parsed(_cut_base64(cut)) for cut in range(1, 9)]
    undecoded = [cut for cut, found in enumerate(texts, 1) if found.text_plain[0].startswith("V29yZHM")]
    assert undecoded == [3, 7]
    assert not any(found.has_defects for found in texts)


@pytest.mark.parametrize("cut", range(1, 9))
def test_mp10_a_cut_part_is_decoded_as_far_as_it_goes(cut: int) -> None:
    text = parse(_cut_base64(cut), truncated=True).text
    assert text.startswith("Words that are encoded. Words")
    assert len(text) > 460


TWO_ADDRESSES = with_header("From: LinkedIn <messages-noreply@linkedin.com> <evil@example.test>", instead="From")
NAMED_BY_ADDRESS = with_header('From: "messages-noreply@linkedin.com" <evil@example.test>', instead="From")


def test_mp11_library_two_addresses_are_none_and_one_may_be_a_name() -> None:
    assert parsed(TWO_ADDRESSES).from_ == []
    assert parsed(NAMED_BY_ADDRESS).from_ == [("messages-noreply@linkedin.com", "evil@example.test")]


@pytest.mark.parametrize("raw", [TWO_ADDRESSES, NAMED_BY_ADDRESS])
def test_mp11_two_addresses_are_nobody(raw: bytes) -> None:
    found = parse(raw)
    assert (found.from_name, found.from_address, found.defects) == ("", "", ("malformed:from",))


# All of them


def test_every_number_of_the_facts_is_in_the_name_of_a_test() -> None:
    """IC and MP twice: what the library does, and that we are safe."""
    sources = (path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    names = [name for source in sources for name in re.findall(r"^ *def test_(\w+)", source, re.MULTILINE)]
    for letters, most, twice in (("ic", 24, True), ("mp", 11, True), ("s", 8, False)):
        wanted = {f"{letters}{number}" for number in range(1, most + 1)}
        library_too = {part for name in names if "_library_" in name for part in name.split("_")}
        ours = {part for name in names if "_library_" not in name for part in name.split("_")}
        assert wanted - ours == set()
        assert not twice or wanted - library_too == set()
