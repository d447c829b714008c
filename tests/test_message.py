"""Bytes to Message: the same sentence in every carrier, every measured defect of the MIME library, and every bomb."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest
from hostile import (
    CARRIERS,
    HEAD,
    READ_BOMBS,
    REFUSED_BOMBS,
    SENTENCE,
    cpu_limit,
    mail,
    multipart,
    text_mail,
    with_header,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.errors import InputError
from filters.html import read_page
from filters.message import DECODED_CAP, LINK_CAP, Message, _bodies, _text_of, _tree, decode_words, parse
from filters.normal_form import normal

SHARED = Path(__file__).parent.parent.parent / "shared" / "mail"


# --- text


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_sentence_is_found_in_every_carrier(carrier: str) -> None:
    assert SENTENCE in parse(CARRIERS[carrier]()).text


@pytest.mark.parametrize("carrier", CARRIERS)
def test_line_ends_make_no_difference(carrier: str) -> None:
    raw = CARRIERS[carrier]().replace(b"\r\n", b"\n")
    assert parse(raw).text == parse(raw.replace(b"\n", b"\r\n")).text


FORWARD = "Content-Type: text/plain\n\nforwarded words"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("message/rfc822", FORWARD),
        ("text/plain\nContent-Disposition: attachment", "words"),
        ("text/html; name=page.html", "words"),
        ('text/plain\nContent-Disposition: inline; filename="words.txt"', "words"),
        ("text/plain\nContent-Disposition: attachment; filename*=undefined''words", "words"),
        ("text/plain\nContent-Disposition: inline; filename*=undefined''words", "words"),
        ("text/x-amp-html", "words"),
        ("text/calendar", "words"),
        ("image/png", "words"),
    ],
)
def test_words_that_the_sender_does_not_show_are_no_evidence(content: str, text: str) -> None:
    message = parse(multipart(("text/plain", "Mine."), (content, text), kind="mixed"))
    assert (message.text, message.hidden) == ("Mine.", "")


def test_parts_of_a_digest_are_forwarded_messages() -> None:
    assert parse(mail(b"--d\n\nSubject: x\n\nwords\n--d--\n", "Content-Type: multipart/digest; boundary=d")).text == ""


@pytest.mark.parametrize(
    "charset", ["utf-7", "unicode_escape", "idna", "rot13", "hex", "undefined", "a\0b", "x" * 500, "mbcs"]
)
def test_t11_a_charset_outside_the_list_is_not_used(charset: str) -> None:
    message = parse(text_mail("+ADw-words\\u0041").replace(b"utf-8", charset.encode()))
    assert message.text == "+ADw-words\\u0041"
    assert message.defects == ("charset",)


def test_bytes_that_fit_no_charset_harm_only_themselves() -> None:
    message = parse(text_mail("Grüße aus Örebro, \x00 100 €").replace(b" 100", b" \x93100\x94"))
    assert message.text == 'Grüße aus Örebro, "100" €'
    assert message.defects == ("charset",)


@pytest.mark.parametrize("cut", range(1, 9))
@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
def test_a_cut_message_loses_its_end_only(encoding: str, cut: int) -> None:
    raw = text_mail("Größer und schöner: " + "äöü" * 30, encoding=encoding).removesuffix(b"\r\n")
    message = parse(raw[:-cut], truncated=True)
    assert message.text.startswith("Größer und schöner: " + "äöü" * 25)
    assert "truncated" in message.defects


def test_quoted_replies_of_format_flowed_keep_their_depths_apart() -> None:
    raw = text_mail("> one \n> two\n>> three \nfour \n-- \nfive\n", more="; format=flowed")
    assert parse(raw).text == "one two\nthree\nfour\n--\nfive"


# --- HTML


@pytest.mark.parametrize(
    "look",
    [
        'style="display:none"',
        'style="DISPLAY : NONE !important"',
        'style="color:red;display:none;max-height:0"',
        'style="visibility:hidden"',
        'style="max-height:0px;overflow:hidden"',
        'style="height: 0; overflow: hidden"',
        'style="font-size:0"',
        'style="font-size: 0px; overflow:hidden"',
        'style="opacity:0"',
        'style="opacity: 0.0"',
        "hidden",
    ],
)
def test_hidden_text_is_kept_apart(look: str) -> None:
    page = read_page(f"<p>Seen</p><div {look}>un<b>seen</b></div><p>too</p>")
    assert (normal(page.text), normal(page.hidden)) == ("Seen\ntoo", "unseen")


@pytest.mark.parametrize(
    "look",
    [
        'style="display:block"',
        'style="display:none;display:block"',
        'style="max-height:0"',
        'style="line-height:0;overflow:hidden"',
        'style="height:0.5em;overflow:hidden"',
        'style="font-size:0.9em"',
        'style="opacity:0.5"',
        'style="mso-hide:all"',
        'title="display:none"',
    ],
)
def test_text_that_shows_is_not_taken_for_hidden(look: str) -> None:
    page = read_page(f"<div {look}>seen</div>")
    assert (normal(page.text), page.hidden) == ("seen", "")


def test_hidden_within_hidden_and_unseen_within_hidden() -> None:
    page = read_page(
        "<p hidden>a<b hidden>b<style>s</style></b><i style='display:none' hidden>c</i></p><svg><title><svg><title>t"
    )
    assert (normal(page.text), sorted(page.hidden.split())) == ("", ["a", "b", "c"])


@pytest.mark.parametrize("page", ["<body hidden>seen", "<html style='display:none'>seen"])
def test_nobody_hides_a_whole_page(page: str) -> None:
    assert read_page(page).text.strip() == "seen"


def test_what_is_no_text_is_left_out() -> None:
    html = "<title>t</title><style>s{}</style><script>j()</script><template>p</template><img alt='a'><!-- c --><iframe>f</iframe>x"
    assert read_page(html).text.strip() == "x"


def test_blocks_and_cells_are_lines_and_inline_tags_are_nothing() -> None:
    html = "<div>a<b>b</b><span>c</span></div>d<br>e<table><tr><td>f<td>g</table><a style='display:block'>h</a>i<li>j"
    assert normal(read_page(html).text) == "abc\nd\ne\nf\ng\nh\ni\nj"


# --- links


def test_links_of_both_parts_in_order_and_once() -> None:
    message = parse(
        multipart(
            ("text/plain", "See https://a.example/1?x=1&y=2. Or <http://b.example/>, MAILTO:c@d.example!"),
            (
                "text/html",
                "<a href='https://a.example/1?x=1&amp;y=2'>1</a><area href=' https://e.example/ '><a href=javascript:x>2</a>"
                "<a href='/relative'>3</a><a href='https://f.example/\nx'>4</a><a href=https://b.example/></a><a href></a>",
            ),
        )
    )
    assert message.links == (
        "https://a.example/1?x=1&y=2",
        "http://b.example/",
        "MAILTO:c@d.example",
        "https://e.example/",
        "https://f.example/x",
        "https://b.example/",
    )


def test_links_are_capped_in_number_and_length() -> None:
    many = parse(text_mail("".join(f"https://a.example/{number}\n" for number in range(LINK_CAP + 10))))
    assert len(many.links) == LINK_CAP
    assert parse(text_mail("https://a.example/" + "x" * 10_000)).links == ()


# --- headers


def test_headers_are_unfolded_cleaned_and_in_order() -> None:
    message = parse(with_header("X-One: a\r\n\tb\x1b[2Jc\x00d", "x-two:", "X-ONE: e", "X-Raw: caf\u00e9"))
    assert message.headers[:4] == (("x-one", "a b [2Jc d"), ("x-two", ""), ("x-one", "e"), ("x-raw", "café"))
    assert message.all("x-one") == ("a b [2Jc d", "e")
    assert (message.first("x-one"), message.first("x-none"), message.all("x-none")) == ("a b [2Jc d", "", ())


def test_plain_fields() -> None:
    message = parse(mail())
    assert message.message_id == "1.2@mail.example"
    assert (message.from_name, message.from_address) == ("Ann Ames", "ann@mail.example")
    assert message.date == datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert (message.subject, message.defects) == ("An offer", ())


@pytest.mark.parametrize(
    "value", ["", "a@b", "<a@b", "<a b@c>", "<a@b><c@d>", "<a\u202eb@c>", "<" + "x" * 251 + ">", "<a@b> UID STORE 1:*"]
)
def test_a_malformed_message_id_is_none(value: str) -> None:
    assert parse(with_header(f"Message-ID: {value}", instead="Message-ID")).message_id == ""


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "Mon, 99 Feb 2026 10:00:00 +0000",
        "1 Jan 0300 00:00 +2359",
        "31 Dec 9999 23:59:59 -2359",
        "1 Jan 1970 00:00:00 +0000",
    ],
)
def test_a_nonsense_date_is_none(value: str) -> None:
    assert parse(with_header(f"Date: {value}", instead="Date")).date is None


def test_a_date_without_zone_is_utc() -> None:
    assert parse(with_header("Date: 2 Mar 2026 10:00:00", instead="Date")).date == datetime(2026, 3, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=?UTF-8?Q?Gr=C3=BC=C3=9Fe?= aus =?utf-8?b?w5ZyZWJybw==?=", "Grüße aus Örebro"),
        ("=?utf-8?q?one?= =?utf-8?q?_word?=", "one word"),
        ("=?utf-8?q?=C3?=\t=?utf-8?q?=A9?=", "é"),
        ("=?iso-8859-1?q?=E9?= =?utf-8?q?=C3=A9?=", "éé"),
        ("=?utf-8*de?q?a?=b", "ab"),
        ("=?windows-1252?q?=93a=94?=", "“a”"),
        ("=?utf-8?b?w6k?= =?utf-8?b?!!?=", "é"),
        ("=?utf-7?q?+ADw-?=", "+ADw-"),
        ("=?utf-8?q?a=0D=0AB: c=1B?=", "a B: c"),
        ("=?broken?x?y?= =?utf-8?q?a", "=?broken?x?y?= =?utf-8?q?a"),
    ],
)
def test_encoded_words(value: str, shown: str) -> None:
    assert decode_words(value) == shown


def test_t10_encoded_words_are_bounded() -> None:
    assert decode_words("=?utf-8?q?ab?=" * 101).startswith("ab" * 100 + "=?")
    assert len(decode_words("=?utf-8?q?" + "a" * 5_000 + "?=")) == DECODED_CAP


GOOD, BAD, NO_NAME = "noreply@firm.example", "", ""
FROM_LINES = [
    ("noreply@firm.example", NO_NAME, GOOD),
    ("<noreply@firm.example>", NO_NAME, GOOD),
    ("Firm <NoReply@FIRM.Example>", "Firm", GOOD),
    ("Firm<noreply@firm.example>", "Firm", GOOD),
    ("  Firm   Inc.   < noreply@firm.example >  ", "Firm Inc.", GOOD),
    ('"Firm, Inc." <noreply@firm.example>', "Firm, Inc.", GOOD),
    (r'"Ann \"Bo\" Ames" <noreply@firm.example>', 'Ann "Bo" Ames', GOOD),
    ("Ann (via Firm) <noreply@firm.example>", "Ann (via Firm)", GOOD),
    ("noreply@firm.example (Firm)", "Firm", GOOD),
    ("=?utf-8?q?F=C3=ADrm?= <noreply@firm.example>", "Fírm", GOOD),
    ('"=?utf-8?q?F=C3=ADrm?=" <noreply@firm.example>', "Fírm", GOOD),
    ("Fírm <noreply@firm.example>", "Fírm", GOOD),
    ("Firm\r\n <noreply@firm.example>", "Firm", GOOD),
    ("=?utf-8?q?noreply=40firm=2Eexample?= <evil@bad.example>", "noreply@firm.example", "evil@bad.example"),
    (
        "=?utf-8?q?Firm_=3Cnoreply=40firm=2Eexample=3E?= <evil@bad.example>",
        "Firm <noreply@firm.example>",
        "evil@bad.example",
    ),
    ("Firm =?utf-8?q?=3Cnoreply=40firm=2Eexample=3E?=", NO_NAME, BAD),
    ("noreply@firm.example <evil@bad.example>", NO_NAME, BAD),
    ("Firm <noreply@firm.example> <evil@bad.example>", NO_NAME, BAD),
    ('"noreply@firm.example" <evil@bad.example>', NO_NAME, BAD),
    ('"Firm <noreply@firm.example>" <evil@bad.example>', NO_NAME, BAD),
    ("<noreply@firm.example>, <evil@bad.example>", NO_NAME, BAD),
    ("noreply@firm.example, evil@bad.example", NO_NAME, BAD),
    ("noreply@firm.example (evil@bad.example)", NO_NAME, BAD),
    ("(noreply@firm.example) evil@bad.example", NO_NAME, BAD),
    ("evil@bad.example (<noreply@firm.example>)", NO_NAME, BAD),
    ("Firm: noreply@firm.example;", NO_NAME, BAD),
    ("Firm, Ann <noreply@firm.example>", NO_NAME, BAD),
    ("noreply@firm.example@bad.example", NO_NAME, BAD),
    ("<@bad.example:noreply@firm.example>", NO_NAME, BAD),
    ("<noreply@firm.example", NO_NAME, BAD),
    ("noreply@firm.example>", NO_NAME, BAD),
    ('"noreply"@firm.example', NO_NAME, BAD),
    ("noreply@firm.example.", NO_NAME, BAD),
    ("noreply@firm..example", NO_NAME, BAD),
    ("noreply@[192.0.2.1]", NO_NAME, BAD),
    ("noreply@fırm.example", NO_NAME, BAD),
    ("noreply@\u212airm.example", NO_NAME, BAD),
    ("noreply@firm.example\x00.bad.example", NO_NAME, BAD),
    ("noreply @firm.example", NO_NAME, BAD),
    ('"Firm <noreply@firm.example>', NO_NAME, BAD),
    ("Firm", NO_NAME, BAD),
    ("", NO_NAME, BAD),
]


@pytest.mark.parametrize(("value", "name", "address"), FROM_LINES)
def test_t13_from_is_one_mailbox_or_nobody(value: str, name: str, address: str) -> None:
    message = parse(with_header(f"From: {value}", instead="From"))
    assert (message.from_name, message.from_address) == (name, address)
    assert message.defects == (() if address else ("malformed:from",))


def test_no_from_and_two_from_are_nobody() -> None:
    assert parse(with_header("X-A: b", instead="From")).defects == ("no-from",)
    for second in ("From: evil@bad.example", "FROM : evil@bad.example"):
        twice = parse(with_header(second))
        assert (twice.from_address, twice.defects) == ("", ("duplicate:from",))


SIGNATURE = "DKIM-Signature: v=1; a=rsa-sha256; h=From:Subject:\r\n X-Firm-Class:Received; b=x"


@pytest.mark.parametrize(
    "line",
    [
        "Subject: another",
        "Date: Mon, 02 Mar 2026 10:00:00 +0100",
        "To: c@d.example",
        "Content-Type: text/plain",
        "Reply-To: evil@bad.example",
        "List-Unsubscribe: <https://bad.example>",
        "Message-ID: <3@x>",
        "MIME-Version: 1.0",
        "X-Firm-Class: other",
    ],
)
def test_t15_a_second_header_that_must_be_single_is_a_defect(line: str) -> None:
    once = [
        SIGNATURE,
        "Content-Type: text/html",
        "Reply-To: a@b.example",
        "List-Unsubscribe: <https://a.example>",
        "X-Firm-Class: one",
    ]
    assert parse(with_header(*once)).defects == ()
    name = line.partition(":")[0].lower()
    assert parse(with_header(line, *once)).defects == (f"duplicate:{name}",)


def test_headers_that_relays_repeat_are_no_defect() -> None:
    repeated = ["Received: x", "Authentication-Results: y", SIGNATURE, "X-Spam-Status: no", "Delivered-To: z"]
    assert parse(with_header(*repeated, *repeated)).defects == ()


def test_a_bom_is_noted_and_hides_no_header() -> None:
    message = parse(b"\xef\xbb\xbf" + mail())
    assert (message.from_address, message.defects) == ("ann@mail.example", ("bom",))


def test_a_line_of_an_mbox_is_no_header() -> None:
    assert parse(b"From ann@mail.example Mon Mar  2 10:00:00 2026\n" + mail()).headers == parse(mail()).headers


def test_a_header_block_alone_is_mail() -> None:
    message = parse(HEAD)
    assert (message.subject, message.text) == ("An offer", "")


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"\r\n\r\nFrom: a@b.example\r\n", b"no mail at all", b"\0" * 1000, b"\xff\xfeF\0r\0o\0m\0"]
)
def test_bytes_without_a_header_are_no_mail(raw: bytes) -> None:
    with pytest.raises(InputError, match="no header"):
        parse(raw)


# --- crashes and bombs


@pytest.mark.parametrize(
    "raw",
    [
        HEAD
        + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\nhi",
        HEAD
        + b"Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed\n\nhi",
        HEAD + b"Content-Type: text/plain; charset*=undefined''%ff\n\nhi",
        HEAD + b"Content-Type: text/plain; charset=\xff\n\nhi",
        HEAD + b"Content-Type: text/plain; charset*=a; charset*2=b\n\nhi",
        HEAD + b"Content-Type: text/plain; format*=a; format*2=b; format=flowed\n\nhi",
        HEAD + b"Content-Type: text/plain; format*=\xff''x\n\nhi",
        HEAD + b"Content-Disposition: inline; filename*=a; filename*2=b\n\nhi",
        HEAD + b"Content-Type: text/plain; name*=a; name*2=b\n\nhi",
        HEAD + b"Content-Transfer-Encoding: x-uuencode\n\nbegin 666 x\n#####\nend\n",
    ],
)
def test_inputs_that_crash_libraries_are_read(raw: bytes) -> None:
    assert parse(raw).subject == "An offer"


def test_empty_parameters_by_the_thousand_do_not_hide_the_text() -> None:
    assert "hi" in parse(HEAD + b"Content-Type: text/plain" + b" ;" * 7_000 + b"\n\nhi").text


@pytest.mark.parametrize("bomb", REFUSED_BOMBS)
def test_t7_t8_t9_t10_a_bomb_is_kept_unread_at_once(bomb: str) -> None:
    raw = REFUSED_BOMBS[bomb]()
    with cpu_limit(), pytest.raises(InputError, match="kept unread"):
        parse(raw)


@pytest.mark.parametrize("bomb", READ_BOMBS)
def test_t7_t8_t9_t10_a_bomb_that_can_be_read_is_read_in_bounded_time(bomb: str) -> None:
    raw = READ_BOMBS[bomb]()
    with cpu_limit():
        parse(raw)


SEEDS = [
    *(make() for make in CARRIERS.values()),
    with_header(SIGNATURE),
    multipart(("message/rfc822", FORWARD), kind="mixed"),
]
FRAGMENTS = [
    *(
        b"\r\n",
        b"\n\n",
        b"--=b",
        b"\0",
        b"\xff",
        b'"',
        b"<",
        b"=?utf-16?b?AAA?=",
        b"boundary",
        b"charset=undefined",
        b"format=flowed",
    ),
    *(
        b"charset*=x'y'%ff",
        b"filename*=undefined''%ff",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: x-uuencode\n",
    ),
    *(
        b"Content-Type: multipart/mixed; boundary=x\n",
        b"Content-Type: message/rfc822\n\n",
        b"Date: 99 Feb 99999999 25:61 +999999\n",
    ),
    *(
        b"<table>",
        b"<p hidden>",
        b"<template>",
        b"<svg><title>",
        b"<body hidden>",
        b"<style>",
        b"&#0;",
        b"<frameset>",
        b"<select>",
    ),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A mail of ours with pieces cut out, doubled, or put in."""
    raw = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 200)))
        raw = raw[:start] + draw(st.sampled_from([*FRAGMENTS, b"", raw[start:end] * 2])) + raw[end:]
    return raw


def check_never_raises(raw: bytes, truncated: bool) -> None:
    try:
        message = parse(raw, truncated)
    except InputError:
        return
    assert isinstance(message, Message)
    assert normal(message.text) == message.text
    assert all(text.encode() is not None for text in (message.text, message.hidden, message.subject, message.from_name))
    assert message.from_address.isascii()
    assert not any(char < " " for _, value in message.headers for char in value)


@settings(max_examples=200, deadline=None)
@given(mutated(), st.booleans())
def test_mutated_mail_never_raises(raw: bytes, truncated: bool) -> None:
    check_never_raises(raw, truncated)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2_000), st.booleans())
def test_any_bytes_never_raise(raw: bytes, truncated: bool) -> None:
    check_never_raises(raw, truncated)
    check_never_raises(HEAD + raw, truncated)


#: What decides where a part begins and ends, and texts that are long enough to be kept from the parser.
PIECES = [
    *(
        b"--a\n",
        b"--a--\n",
        b"--b\n",
        b"--b--\n",
        b"--",
        b"\n",
        b"\n\n",
        b"\0",
        b"\xe4",
        b" folded\n",
        b"From a\n",
        b"-- \n",
    ),
    *(
        b"Content-Type: multipart/mixed; boundary=b\n",
        b"Content-Type: text/html\n",
        b"Content-Transfer-Encoding: base64\n",
    ),
    *(
        b"Content-Type: message/rfc822\n",
        b"Content-Type: multipart/digest; boundary=b\n",
        b"Subject: x\n",
        b"x y\n" * 40,
    ),
    *(b"\xe4 =C3\n" * 30, b"YWJj" * 40, b"x" * 200),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_what_is_kept_from_the_mime_parser_changes_nothing(pieces: list[bytes]) -> None:
    field, body = ("content-type", "multipart/mixed; boundary=a"), b"".join(pieces)
    read = _tree([field], body)
    whole = message_from_bytes(b"%b: %b\n\n%b" % (*(word.encode() for word in field), body))
    assert [part.items() for part in read.walk()] == [part.items() for part in whole.walk()]
    assert [_text_of(part) for part in read.walk()] == [_text_of(part) for part in whole.walk()]
    assert [part.get_payload() for part in _bodies(read)] == [part.get_payload() for part in _bodies(whole)]


# --- real mail


@pytest.mark.parametrize("path", sorted(SHARED.glob("*.eml")) or [None], ids=lambda path: path.name if path else "none")
def test_real_mail_is_read(path: Path | None) -> None:
    if path is None:
        pytest.skip(f"the real mails are not beside the project ({SHARED})")
    raw = path.read_bytes()
    message = parse(raw)
    assert message.from_address
    assert message.subject
    assert not {defect for defect in message.defects if defect != "charset"}
    assert bool(message.text) == bool(raw.replace(b"\r\n", b"\n").partition(b"\n\n")[2].strip())


def test_a_cut_real_shaped_base64_part_is_still_read() -> None:
    coded = base64.encodebytes((SENTENCE + "\n").encode() * 200)
    head = mail(
        b"--c\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n",
        "Content-Type: multipart/mixed; boundary=c",
    )
    for cut in range(10_000, 10_008):
        assert parse(head + coded[:cut], truncated=True).text.count(SENTENCE) > 80
