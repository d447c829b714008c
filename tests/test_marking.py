"""The header with the verdict: where it goes, and that nothing else changes."""

from __future__ import annotations

import email

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.serve.marking import marked, standing

SAID = "category=other; p=0.000"
OURS = b"X-Unpitch: category=other; p=0.000"


def verdict(**changes: object) -> dict[str, object]:
    state = changes.pop("state", "verified")
    plain = {"promotional": True, "unsure": False, "never": False, "several": False, "known": True}
    return {"claims": True, "verdict": plain | {"authenticity": {"state": state, "contradicted": False}} | changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "promotional"),
        ({"state": "unverified"}, "unsure"),
        ({"state": "forged"}, "other"),
        ({"never": True}, "other"),
        ({"several": True}, "other"),
        ({"known": False}, "other"),
        ({"authenticity": {"state": "verified", "contradicted": True}}, "other"),
        ({"promotional": False, "unsure": True}, "unsure"),
        ({"promotional": False}, "other"),
    ],
)
def test_only_what_clean_would_move_unasked_is_promotional(changes: dict[str, object], expected: str) -> None:
    assert standing(verdict(**changes)) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"A: b\r\n\r\nx\n", OURS + b"\r\nA: b\r\n\r\nx\n"),
        (b"A: b\n\nx\r\n", OURS + b"\nA: b\n\nx\r\n"),
        (b"A: b", OURS + b"\nA: b"),
        (b"From x Mon\nA: b\n\n", b"From x Mon\n" + OURS + b"\nA: b\n\n"),
        (b"A: b\nX-Unpitch: verdict=promotional\nC: d\n\n", OURS + b"\nA: b\nC: d\n\n"),
        (b"x-UNPITCH : a;\n\tb\n c\nX-Unpitch:d\nA: b\n\n", OURS + b"\nA: b\n\n"),
        (b"A: b\rX-Unpitch: c\rD: e\n\n", OURS + b"\nA: b\rD: e\n\n"),
        (b"A: b\nX-Unpitch: c", OURS + b"\nA: b\n"),
        (b"A: b\n\nX-Unpitch: c\n", OURS + b"\nA: b\n\nX-Unpitch: c\n"),
        (b"A: b\nno header\nX-Unpitch: c\n\n", OURS + b"\nA: b\nno header\n\n"),
        (b" verdict=promotional\nA: b\n\n", b" verdict=promotional\nA: b\n\n"),
        (b"From x\n verdict=promotional\nA: b\n\n", b"From x\n verdict=promotional\nA: b\n\n"),
        (b"no mail at all\n", b"no mail at all\n"),
        (b"", b""),
    ],
)
def test_the_header_goes_on_top_and_foreign_ones_go(before: bytes, after: bytes) -> None:
    assert marked(before, SAID) == after


def test_without_a_verdict_nobody_else_speaks_either() -> None:
    assert marked(b"A: b\r\nX-Unpitch: verdict=promotional\r\nC: d\r\n\r\nx", "") == b"A: b\r\nC: d\r\n\r\nx"


@given(st.lists(st.sampled_from([b"From ", b"X-Unpitch: a", b"A: b", b" ", b"\t", b"\r\n", b"\n", b"\r", b"x", b":"])))
def test_whatever_comes_only_whole_lines_of_ours_go_and_one_comes(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    if b"X-Unpitch" not in raw:
        done = marked(raw, SAID)
        assert done == raw or done.replace(OURS + b"\r\n", b"", 1) == raw or done.replace(OURS + b"\n", b"", 1) == raw
    read = email.message_from_bytes(marked(raw, SAID)).get_all("X-Unpitch")
    assert read in (None, [SAID])
