"""Nothing that a mail, a server or a file name holds can steer a terminal, leak a link's secret, or run in a spreadsheet."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hostile import cpu_limit
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from filters.safe_text import REDACTED, csv_cell, redact, safe_text

ANY = st.text(st.characters(exclude_categories=()))
#: C0, DEL, C1, line and paragraph separators, and everything that changes the direction of text.
OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;ZXZpbA==\x07", r"\x1b]52;c;ZXZpbA==\x07"),
        (
            "\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\",
            "\\x1b]8;;https://evil.example\\x1b\\link\\x1b]8;;\\x1b\\",
        ),
        ("\x1b[2J\x9b31mred", r"\x1b[2J\x9b31mred"),
        ("a\x00b\x08c\x7f", r"a\x00b\x08c\x7f"),
        ("a\r\nb\tc", "a  b c"),
        ("invoice\u202egpj.exe", r"invoice\u202egpj.exe"),
        ("a\u200bb\u2066c\ufeffd", r"a\u200bb\u2066c\ufeffd"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("a\ud800b", r"a\ud800b"),
        ("a\ue000b\U000e0041c", r"a\ue000b\U000e0041c"),
        ("e\u0301", "é"),
        ("Grüße, 漢字 😀", "Grüße, 漢字 😀"),
    ],
)
def test_t3_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert safe_text(text) == shown


@given(ANY)
def test_t3_the_output_holds_nothing_a_terminal_obeys(text: str) -> None:
    shown = safe_text(text)
    assert not OBEYED.search(shown)
    assert not [char for char in shown if unicodedata.category(char)[0] == "C"]
    shown.encode()


@given(st.text(st.characters(codec="utf-8")), st.integers(2, 80))
def test_a_width_is_kept(text: str, width: int) -> None:
    assert cell_len(safe_text(text, width)) <= width


def test_a_cut_is_marked_and_short_text_is_whole() -> None:
    assert safe_text("abcdefgh", 5) == "abcd…"
    assert safe_text("abcde", 5) == "abcde"
    assert cell_len(safe_text("漢字漢字漢字", 6)) <= 6


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "https://www.firm.example/comm/feed/?midToken=AQEabc123&trk=eml",
            "https://www.firm.example/comm/feed/?midToken=…&trk=…",
        ),
        ("https://firm.example/a?b=c;d=e#f", "https://firm.example/a?b=…;d=…"),
        ("https://ann:secret@firm.example/", "https://firm.example/"),
        ("https://firm.example/in/ann-ames-0123456789abcdef/x", "https://firm.example/in/…/x"),
        ("https://firm.example/" + "Ab" * 30, "https://firm.example/…"),
        ("https://firm.example/jobs/view/12345/", "https://firm.example/jobs/view/12345/"),
        ("https://firm.example/a-long-but-harmless-path/", "https://firm.example/a-long-but-harmless-path/"),
        ("mailto:unsubscribe-abc@firm.example?subject=x", "mailto:…"),
        ("(otpToken=MTIzNDU2Nzg5MA==)", "(otpToken=…)"),
        (
            "see HTTPS://Firm.example/?t=1 and <http://b.example/?u=2>",
            "see HTTPS://Firm.example/?t=… and <http://b.example/?u=…>",
        ),
        ("a=b, 1+1=2, x == y", "a=b, 1+1=2, x == y"),
    ],
)
def test_links_lose_their_secrets(text: str, shown: str) -> None:
    assert safe_text(text) == shown


SECRET = "Zq7Xw9Kd2Lm4Np6R"


@given(
    st.sampled_from(
        [
            "https://a.example/?t={}",
            "https://a.example/x?a=1&t={}&b=2",
            "https://a.example/{}/y",
            "mailto:{}@a.example",
            "tok={}",
        ]
    ),
    ANY,
)
def test_no_secret_survives_whatever_stands_before_it(form: str, before: str) -> None:
    assert SECRET not in safe_text(f"{before} {form.format(SECRET)}")


def test_redacting_twice_changes_nothing() -> None:
    once = redact(f"https://a.example/{SECRET}/?t={SECRET}")
    assert redact(once) == once
    assert once.count(REDACTED) == 2


@pytest.mark.parametrize(
    "text",
    [
        "https://a/" + "a!" * 30_000,
        "https://a/" + "a" * 60_000,
        "https://a/?" + "a=&" * 20_000,
        "a=" * 30_000,
        "http://" * 9_000,
        "\u0301\u0327" * 4_000,
    ],
)
def test_t6_slow_inputs_take_bounded_time(text: str) -> None:
    with cpu_limit():
        safe_text(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1+1", "\t=1", "\r=1", "\n=1", "\tx"])
def test_t5_a_cell_is_never_a_formula(text: str) -> None:
    assert csv_cell(text).startswith("'")


@pytest.mark.parametrize(("text", "cell"), [("", ""), ("plain", "plain"), ("a=b", "a=b"), ("5-3", "5-3")])
def test_a_plain_cell_stays_plain(text: str, cell: str) -> None:
    assert csv_cell(text) == cell


@given(ANY)
def test_t5_no_cell_begins_like_a_formula(text: str) -> None:
    assert csv_cell(text).lstrip()[:1] not in ("=", "+", "-", "@")


def test_no_parameter_that_is_known_to_be_a_secret_is_shown() -> None:
    from filters import senders

    names = [name for one in senders.load().tokens if one.secrecy != "harmless" for name in one.names]
    assert len(names) > 10
    for name in names:
        assert "AQsecret123" not in safe_text(f"see https://www.linkedin.com/comm/x?{name}=AQsecret123&trk=a now")
