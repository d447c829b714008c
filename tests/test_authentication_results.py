"""Authentication-Results as real receivers write them, and as forgers would like them to be read."""

from __future__ import annotations

import pytest
from hostile import cpu_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.authentication_results import Method, Results, parse

SHAPES = {
    "gmail": (
        "mx.google.com; dkim=pass header.i=@a.example header.s=s1 header.b=Kx9/+aZ=; spf=pass (google.com: domain of "
        "b-1@b.a.example designates 192.0.2.1 as permitted sender) smtp.mailfrom=b-1@b.a.example; "
        "dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=a.example",
        "mx.google.com",
        {"dkim": ("pass", "header.i", "@a.example"), "dmarc": ("pass", "header.from", "a.example")},
    ),
    "microsoft": (
        "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=b.a.example; dkim=pass (signature was verified) "
        "header.d=a.example;dmarc=pass action=none header.from=a.example;compauth=pass reason=100",
        "",
        {"dkim": ("pass", "header.d", "a.example"), "dmarc": ("pass", "header.from", "a.example")},
    ),
    "microsoft with stray words": (
        "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=a.example; o.example; dkim=none (message not signed) "
        "header.d=none;o.example; dmarc=fail action=oreject header.from=a.example;",
        "",
        {"dkim": ("none", "header.d", "none"), "dmarc": ("fail", "header.from", "a.example")},
    ),
    "yahoo": (
        "atlas324.free.mail.ne1.yahoo.com; dkim=unknown; spf=none smtp.mailfrom=a.example arc_overridden_status=NOT; "
        "dmarc=pass(p=NONE,sp=NONE) header.from=a.example arc_overridden_status=NOT;",
        "atlas324.free.mail.ne1.yahoo.com",
        {"dkim": ("unknown", "", ""), "dmarc": ("pass", "header.from", "a.example")},
    ),
    "icloud": (
        "dkim-verifier.icloud.com; dkim=pass (2048-bit key) header.d=a.example header.i=@a.example header.b=r/M8U3nt",
        "dkim-verifier.icloud.com",
        {"dkim": ("pass", "header.d", "a.example")},
    ),
    "icloud's reason": ('bimi.icloud.com; bimi=skipped reason="insufficient dmarc"', "bimi.icloud.com", {"bimi": ("skipped", "reason", "insufficient dmarc")}),
    "fastmail": (
        "mx4.messagingengine.com; dkim=pass (2048-bit rsa key sha256) header.d=a.example header.i=@a.example "
        "header.b=QwCPOZZR header.a=rsa-sha256 header.s=1a x-bits=2048; dmarc=pass policy.published-domain-policy=reject "
        "(p=reject,d=none,d.eval=none) policy.policy-from=p header.from=a.example; iprev=pass smtp.remote-ip=192.0.2.1 (h)",
        "mx4.messagingengine.com",
        {"dkim": ("pass", "header.d", "a.example"), "dmarc": ("pass", "header.from", "a.example")},
    ),
    "zoho": (
        "mx.zohomail.com;\tdkim=pass;\tspf=pass (zohomail.com: domain of a.example designates 192.0.2.1 as permitted "
        "sender)  smtp.mailfrom=b@a.example;\tdmarc=pass(p=reject dis=none)  header.from=a.example",
        "mx.zohomail.com",
        {"dkim": ("pass", "", ""), "dmarc": ("pass", "header.from", "a.example")},
    ),
    "gmx": (" gmx.net; dkim=pass header.i=@a.example", "gmx.net", {"dkim": ("pass", "header.i", "@a.example")}),
    "mail.de": (
        'mxpostfix02.mail.de; dkim=pass (2048-bit key; unprotected) header.d=a.example header.i=@a.example header.b="Tt2w"; '
        "dkim-atps=neutral",
        "mxpostfix02.mail.de",
        {"dkim": ("pass", "header.b", "Tt2w"), "dkim-atps": ("neutral", "", "")},
    ),
    "yandex": ("sas2-1.qloud-c.yandex.net; dkim=pass header.i=@a.example", "sas2-1.qloud-c.yandex.net", {"dkim": ("pass", "header.i", "@a.example")}),
    "mail.ru": (
        "mxs.mail.ru; spf=none () smtp.mailfrom=b@a.example smtp.helo=h.example;  dkim=pass header.d=a.example; "
        "dmarc=pass header.from=b@a.example",
        "mxs.mail.ru",
        {"spf": ("none", "smtp.helo", "h.example"), "dmarc": ("pass", "header.from", "b@a.example")},
    ),
    "opendkim": (
        'mail.o.example; dkim=fail reason="signature verification failed" (1024-bit key; unprotected) header.d=a.example',
        "mail.o.example",
        {"dkim": ("fail", "header.d", "a.example")},
    ),
    "opendmarc": ("mail.o.example; dmarc=pass (p=none dis=none) header.from=a.example", "mail.o.example", {"dmarc": ("pass", "header.from", "a.example")}),
    "rspamd": (
        'mail.o.example; dkim=pass header.d=a.example header.s=s header.b=x; dmarc=pass (policy=reject) header.from=a.example; '
        'spf=pass (mail.o.example: domain of "b+c=d@a.example" designates 192.0.2.1 as permitted sender) smtp.mailfrom="b+c=d@a.example"',
        "mail.o.example",
        {"dmarc": ("pass", "header.from", "a.example"), "spf": ("pass", "smtp.mailfrom", "b+c=d@a.example")},
    ),
    "blanks everywhere": ("mx.o.example 1 ; dkim/1 = pass (x) header.d = a.example", "mx.o.example", {"dkim": ("pass", "header.d", "a.example")}),
}  # fmt: skip


@pytest.mark.parametrize(("value", "name", "expected"), SHAPES.values(), ids=SHAPES)
def test_every_receivers_shape_is_read(value: str, name: str, expected: dict[str, tuple[str, str, str]]) -> None:
    results = parse(value)
    assert results.authserv_id == name
    for method, (result, key, wanted) in expected.items():
        [found] = [one for one in results.methods if one.name == method]
        assert found.result == result
        assert not key or found.values(key) == (wanted,)


def test_the_version_and_none_are_no_methods() -> None:
    assert parse("mx.o.example 1; none") == Results("mx.o.example", "1", ())


def test_an_id_is_one_word_else_it_is_none_that_can_be_pinned() -> None:
    assert parse("mx.o.example evil; dkim=pass").authserv_id == "mx.o.example evil"
    assert parse("MX.O.Example.; dkim=pass").authserv_id == "mx.o.example"


def test_an_id_with_a_sign_that_becomes_a_letter_is_another() -> None:
    assert parse("mx.\u212ael.example; dkim=pass").authserv_id != "mx.kel.example"


@pytest.mark.parametrize(
    "name", ['"mx.o.example"', 'mx.o."example"', '"mx.o.exam""ple"', '""mx.o.example', "mx.o.(x)example"]
)
def test_an_id_in_pieces_is_none_that_can_be_pinned(name: str) -> None:
    results = parse(f"{name}; dkim=pass")
    assert results.authserv_id not in ("", "mx.o.example")
    assert [method.name for method in results.methods] == ["dkim"]


def test_two_signatures_are_two_methods_and_a_property_may_come_twice() -> None:
    results = parse("o; dkim=fail header.d=a.example header.d=b.example; dkim=pass header.d=c.example")
    assert [method.result for method in results.methods] == ["fail", "pass"]
    assert results.methods[0].values("header.d", "header.i") == ("a.example", "b.example")


LIES = [
    'o; spf=pass reason="x; dmarc=pass header.from=a.example"',
    "o; spf=pass (x; dmarc=pass header.from=a.example)",
    "o; spf=pass (x (y) ; dmarc=pass header.from=a.example)",
    "o; spf=pass (x \\) ; dmarc=pass header.from=a.example)",
    'o; spf=pass smtp.mailfrom="a; dmarc=pass header.from=a.example"@x',
    'o; spf=pass smtp.mailfrom="a\\"; dmarc=pass header.from=a.example"@x',
    'o; spf=pass smtp.mailfrom=("; dmarc=pass header.from=a.example")x',
    "o; spf=pass smtp.mailfrom=dmarc=pass",
    "o; spf=pass dmarc=pass header.from=a.example",
    'o; spf=pass; "dmarc"=pass header.from=a.example',
    'o; spf=pass; d"mar"c=pass header.from=a.example',
    "o; spf=pass; x dmarc=pass header.from=a.example",
    "o; spf=pass; dmarc pass header.from=a.example",
    "o; spf=pass; (dmarc=pass header.from=a.example",
    'o; spf=pass; "x; dmarc=pass header.from=a.example',
]


@pytest.mark.parametrize("value", LIES)
def test_what_stands_in_comments_quotes_and_other_clauses_is_no_method(value: str) -> None:
    assert [method.name for method in parse(value).methods if method.result == "pass"] == ["spf"]


@pytest.mark.parametrize(
    "value", ['o; dmarc="pass"', "o; dmarc=pa(x)ss", "o; dmarc=(pass)", "o; dmarc=", 'o; dmarc=p"as"s']
)
def test_a_result_is_a_plain_word(value: str) -> None:
    assert all(method.result in ("", "pa") for method in parse(value).methods)


def test_a_propertys_name_is_never_quoted() -> None:
    assert parse('o; dkim=pass header."d"=a.example x=y').methods[0].properties == (("x", "y"),)


def test_a_property_in_a_comment_is_none() -> None:
    [method] = parse("o; dmarc=pass (header.from=a.example) header.from=b.example").methods
    assert method.values("header.from") == ("b.example",)


def test_a_clause_that_is_cut_off_in_a_quote_is_dropped_and_those_before_it_stand() -> None:
    assert parse('o; dkim=pass header.d=a.example; dmarc=pass header.from="a.example').methods == (
        Method("dkim", "pass", (("header.d", "a.example"),)),
    )


@pytest.mark.parametrize(
    "piece",
    ['"', "(", ")", "a=", "a ", ";", "\\", '"\\', "(\\", " ", "= ", "()", '""', "x", "a;", ".", "a=b;", '"a" ', "\0"],
)
def test_64_kilobytes_of_anything_take_linear_time(piece: str) -> None:
    value = "o; dkim=pass " + piece * (65_536 // len(piece))
    with cpu_limit():
        parse(value)


HOSTILE = st.text(st.sampled_from('"()\\;= \t\0.=@/aé\ud800;dmarc=pass'), max_size=60) | st.text(max_size=60)


@settings(max_examples=150, deadline=None)
@given(HOSTILE)
def test_nothing_makes_the_parser_raise(value: str) -> None:
    assert isinstance(parse(value), Results)
    parse("o; dkim=pass " + value)


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_no_quoted_text_ever_becomes_a_method(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    methods = parse(f"o; spf=pass reason={quoted} smtp.helo=h; dkim=none").methods
    assert [(method.name, method.result) for method in methods] == [("spf", "pass"), ("dkim", "none")]
    assert methods[0].values("reason", "smtp.helo") == (text.replace("\0", " "), "h")


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_a_comment_changes_nothing(text: str) -> None:
    comment = "(" + "".join("\\" + char if char in "\\()" else char for char in text) + ")"
    assert parse(f"o; spf=pass {comment} smtp.helo=h; dkim=none") == parse("o; spf=pass smtp.helo=h; dkim=none")
