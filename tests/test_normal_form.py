"""One normal form on both sides of every comparison."""

from __future__ import annotations

import unicodedata

import pytest
from hostile import cpu_limit
from hypothesis import given
from hypothesis import strategies as st

from filters.normal_form import fold, normal, spans, words

ANY = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  a \t b\u00a0\u2003c  ", "a b c"),
        ("a\r\n \n\n  b\u2028c\x85d\x0be", "a\nb\nc\nd\ne"),
        ("\u201ca\u201d \u2018b\u2019 \u00abc\u00bb it\u00b4s 5\u2033", '"a" \'b\' "c" it\'s 5"'),
        ("a\u2010b\u2013c\u2014d\u2212e", "a-b-c-d-e"),
        ("a\u200bb\u200dc\u00add\u034fe\ufefff\u2066g\u202eh\U000e0041i\u3164j\ufe0f", "abcdefghij"),
        ("e\u0301 \ufb01n \uff21\u2460 \u2026", "é fin A1 ..."),
        ("a\x00b\x1b[2Jc\x7fd\x9be", "a b [2Jc d e"),
        ("a\ud800b", "a\ufffd\ufffd\ufffdb"),
        ("", ""),
    ],
)
def test_normal(text: str, shown: str) -> None:
    assert normal(text) == shown


@given(ANY)
def test_normal_is_stable_encodable_and_without_controls(text: str) -> None:
    once = normal(text)
    assert normal(once) == once
    once.encode()
    assert not [char for char in once if unicodedata.category(char) == "Cc" and char != "\n"]


@pytest.mark.parametrize("char", ["\u0344", "\u3164", "\uffa0", "\u1fef", "\uff40", "\u2057", "\u00b4"])
def test_normal_is_stable_where_it_once_was_not(char: str) -> None:
    once = normal(f"a{char}b")
    assert normal(once) == once


@pytest.mark.parametrize(
    "text",
    ["a" + "\u0301\u0327" * 200_000, "\ufdfa" * 20_000, "a \n" * 200_000, "\u200b" * 500_000, "\U0001f600" * 200_000],
)
def test_normal_takes_bounded_time(text: str) -> None:
    with cpu_limit():
        normal(text)


def test_marks_in_moderation_and_signs_are_kept() -> None:
    assert normal("─" * 80) == "─" * 80
    assert normal("x" + "\u0323" * 90) == unicodedata.normalize("NFKC", "x" + "\u0323" * 90)


@given(ANY)
def test_offsets_in_folded_text_are_offsets_in_the_text(text: str) -> None:
    assert len(fold(text)) == len(text)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("ÀÉ", "àé"),
        ("İx", "ix"),
        ("TANITIM İletisi, tanıtım", "tanitim iletisi, tanitim"),
        ("STRASSE", "strasse"),
        ("ΣΑΣ", "σας"),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_words_with_their_places() -> None:
    text = fold("At most 1 E-mail every 60 days, don't_stop e-x")
    assert " ".join(words(text)) == "at most # email every # days don t stop e x"
    assert [text[start:end] for start, end in spans(text)][:6] == ["at", "most", "1", "e-mail", "every", "60"]


@given(ANY | st.text("e-mailx 1_é."))
def test_every_word_has_a_place_in_order(text: str) -> None:
    folded = fold(normal(text))
    found, places = words(folded), spans(folded)
    assert len(found) == len(places)
    for word, (start, end) in zip(found, places, strict=True):
        assert word in ("#", folded[start:end].replace("e-mail", "email"))
    edges = [edge for place in places for edge in place]
    assert edges == sorted(edges)
