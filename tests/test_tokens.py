"""Tokens of any mail: each family sees what it is for, nothing that gives the answer away is seen, and any mail has a bound."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path

import hostile
import mails
import pytest
from hypothesis import given
from hypothesis import strategies as st

import filters.tokens
from filters.errors import InputError
from filters.message import parse
from filters.tokens import FAMILIES, FAMILY_CAP, TOKEN_CAP, is_leak, tokens


def of(raw: bytes) -> frozenset[str]:
    return tokens(parse(raw))


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("X-Mailer: Sendomat 7.31 (bulk)", "head:x-mailer sendomat"),
        ("X-Mailer: Sendomat 7.31 (bulk)", "has:x-mailer"),
        ("Received: from unknown (HELO a.b.example.com) ([203.0.113.9]) by mx with SMTP", "hop:example.com"),
        ("Received: from unknown (HELO a.b.example.com) ([203.0.113.9]) by mx with SMTP", "hop:203.0"),
        ("Received: from unknown (HELO a.b.example.com) ([203.0.113.9]) by mx with SMTP", "hop:unknown"),
        ("Reply-To: <offers@elsewhere.example>", "sender:reply-to elsewhere.example"),
        ("Reply-To: <offers@elsewhere.example>", "sender:reply-to other domain"),
        ("List-Id: A list <news.lists.example>", "head:list-id news.lists.example"),
        ("Date: Mon, 02 Mar 2026 10:00 +0530", "date:zone +0530"),
        ("Date: Mon, 02 Mar 2026 10:00 +0530", "date:no seconds"),
        ("Subject: FREE money!!!", "subject:free money"),
        ("Subject: FREE money!!!", "subject:mark !!"),
        ("To: a@x.example, b@x.example", "to:to n 2"),
        ("Message-ID: <ABC123.def@host.example>", "id:host.example"),
    ],
)
def test_headers_are_seen(header: str, token: str) -> None:
    assert token in of(hostile.with_header(header, instead=header.partition(":")[0]))


PAGE = (
    '<body bgcolor="#ff0000"><form action="http://203.0.113.7:81/x"><img src="http://pics.example.com/a.gif"></form>'
    '<a href="http://evil.example/login?u=1">www.bank.example</a> <a href="http://203.0.113.7/offer">buy</a>'
    '<div style="display:none">secretly hidden</div>Only $ 99.95! Save 50 % NOW, C4SH<!-- x -->less</body>'
)


@pytest.mark.parametrize(
    "token",
    [
        "tag:body bgcolor #ff0000",
        "tag:form n 1",
        "tag:src example.com",
        "tag:link text says otherwise",
        "tag:comment within a word",
        "link:evil.example",
        "link:ip 203.0",
        "link:/login",
        "link:n 2",
        "hidden:secretly",
        "mark:$ 9.9",
        "mark:9 %",
        "mark:NOW",
        "mark:C9SHless",
        "form:html True",
        "part:text/html",
        "part:encoding quoted-printable",
    ],
)
def test_html_links_and_marks_are_seen(token: str) -> None:
    assert token in of(hostile.html_mail(PAGE))


LEAKS = """X-Spam-Status: Yes, score=12
X-Spam-Flag: YES
X-Bogosity: Spam, tests=bogofilter
X-Spambayes-Classification: spam
X-Gmail-Labels: Spam,Unread
X-DSPAM-Result: Spam
X-Keywords: junk
X-Status: O
X-Mozilla-Keys: junk
X-MS-Exchange-Organization-SCL: 9
X-Microsoft-Antispam: BCL:7
X-Forefront-Antispam-Report: CIP:1
X-Rspamd-Score: 12
X-Barracuda-Spam-Score: 4
X-Proofpoint-Spam-Details: rule=spam
X-Folder: Bulk
X-Virus-Scanned: by a gateway
X-Evolution: 0001
Delivered-To: trap@example.org
X-Original-To: trap@example.org
Xref: gmane.spam 12
Archived-At: <http://archive.example/spam/1>
Lines: 12
Content-Length: 512"""


@pytest.mark.parametrize("header", LEAKS.splitlines())
def test_what_gives_the_answer_away_is_no_token(header: str) -> None:
    assert is_leak(header.partition(":")[0].lower())
    assert of(hostile.with_header(header)) == of(hostile.with_header())


def test_authenticated_results_and_recipients_are_no_tokens() -> None:
    header = "Authentication-Results: mx.example.net; x-spam=fail policy.v=spammy"
    assert not [token for token in of(hostile.with_header(header)) if "spammy" in token]
    personal = hostile.with_header("List-Unsubscribe: <mailto:leave-bo.berg@example.org>", instead="Reply-To")
    assert not [token for token in of(personal) if "berg" in token]


def test_ordinary_headers_are_no_leaks() -> None:
    names = "from to subject x-mailer user-agent list-id list-unsubscribe precedence mime-version x-priority errors-to x-beenthere"
    assert not [name for name in names.split() if is_leak(name)]


def test_each_leak_says_what_it_is_and_where_it_was_seen() -> None:
    data = tomllib.loads((Path(filters.tokens.__file__).parent / "leaks.toml").read_text(encoding="utf-8"))
    assert data["leak"]
    assert all(entry["what"] and entry["where"] and entry["headers"] for entry in data["leak"])


def test_dates_and_ids_count_by_their_form() -> None:
    one, other = mails.mail(number=1), mails.mail(number=59).replace(b"2016", b"2019")
    assert of(one) == of(other)


def test_each_family_names_itself_and_has_a_bound() -> None:
    head = "".join(f"X-Name{number}: word{'abcdefghij'[number % 10]} v\n" for number in range(1_000))
    words = " ".join(f"W{chr(65 + a)}{chr(65 + b)}Q{a * b}" for a in range(26) for b in range(26)) * 5
    links = "".join(f"http://h{n}.example{n}.com/p{n} " for n in range(3_000))
    found = of(hostile.mail((words + links).encode(), head=hostile.HEAD + head.encode()))
    assert {token.partition(":")[0] for token in found} <= set(FAMILIES)
    assert len(found) <= FAMILY_CAP * len(FAMILIES)
    assert max(map(len, found)) <= TOKEN_CAP


BOMBS = {
    "digits": b"1" * 300_000,
    "dollars and commas": b"$1,,,,,,," * 40_000,
    "one long word": b"a" * 300_000,
    "capitals": b"A-" * 150_000,
    "dots": b"a." * 150_000,
    "marks": b"!" * 300_000,
}
HTML_BOMBS = {
    "anchors": "<a href=http://a.example " * 5_000,
    "attributes": "<a " + "href= " * 3_000 + ">",
    "comments": "<!--" * 9_000,
    "tags": "<b>x" * 9_000,
    "quotes": "<a href='" * 5_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_long_text_is_no_bomb(bomb: str) -> None:
    with hostile.cpu_limit():
        of(hostile.mail(BOMBS[bomb]))
        of(hostile.mail(head=hostile.HEAD + b"X-Long: " + BOMBS[bomb][:60_000] + b"\n"))
        of(hostile.with_header(f"Subject: {BOMBS[bomb][:60_000].decode()}", instead="Subject"))


@pytest.mark.parametrize("bomb", HTML_BOMBS)
def test_tangled_html_is_no_bomb(bomb: str) -> None:
    with hostile.cpu_limit(), suppress(InputError):
        of(hostile.html_mail(HTML_BOMBS[bomb]))


@given(st.binary(max_size=2_000), st.binary(max_size=200))
def test_any_bytes_have_tokens(body: bytes, value: bytes) -> None:
    line = value.replace(b"\n", b" ").replace(b"\r", b" ")
    for name in (b"Subject", b"From", b"Received", b"Date", b"Message-ID", b"Content-Type", b"X-Any", b"To"):
        try:
            message = parse(name + b": " + line + b"\n\n" + body)
        except InputError:
            continue
        assert all(token.partition(":")[0] in FAMILIES for token in tokens(message))
