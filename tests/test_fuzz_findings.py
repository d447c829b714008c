"""Every input that `scripts/fuzz` has found, and the targets themselves over the bytes that it begins with."""

from __future__ import annotations

import pytest
from fuzz_targets import TARGETS, WORDS, seeds
from hostile import cpu_limit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: (target, what went wrong, the smallest input that shows it)
FINDINGS = [
    (
        "replies",
        "a LIST line without flags ended in TypeError",
        b'L* LIST NIL "/" "News"\r\nTAG OK x\r\n',
    ),
    (
        "authentication",
        "an authserv-id put together from quoted pieces counted as the pinned one",
        b'mx.exampl"e.net"; dkim=pass header.d=linkedin.com',
    ),
    (
        "headers",
        "a boundary in a charset with a NUL in its name ended in ValueError",
        b"A: b\n\nContent-Type: multipart/mixed; boundary*=\0'x'y\n\nz",
    ),
    (
        "headers",
        "a boundary in pieces that do not fit together ended in TypeError",
        b"A: b\n\nContent-Type: multipart/mixed; boundary*=x; boundary*2=y\n\nz",
    ),
    (
        "message",
        "a From that is not UTF-8 at its end claimed one thing in the header block and another in the message",
        b"From: LinkedIn <security-noreply6linkedin.c\x87m>\n",
    ),
    ("replies", "a UIDVALIDITY of 0 in COPYUID was believed", b"MTAG OK [COPYUID 0 4 10] x\r\n"),
    (
        "replies",
        "a UIDVALIDITY beyond 32 bits in COPYUID was believed",
        b"P* OK [COPYUID 4294967296 4 10] x\r\nTAG OK x\r\n",
    ),
    (
        "starttls",
        "an answer to STARTTLS that came before STARTTLS was sent counted",
        b"* OK hello\r\nA1 OK begin\r\n\0A1 OK begin\r\n",
    ),
    (
        "html",
        "every block opened all formatting elements anew: 13 s for 60 kB",
        "".join(f"<font id={number}><p>" for number in range(4_900)).encode(),
    ),
    (
        "html",
        "zeros were counted in every possible way: 57 s for 64 kB",
        b'<p style="opacity:' + b"0" * 65_000 + b'x">',
    ),
]


@pytest.mark.parametrize(("target", "what", "data"), FINDINGS, ids=[what for _, what, _ in FINDINGS])
def test_what_fuzzing_found_stays_mended(target: str, what: str, data: bytes) -> None:
    with cpu_limit():
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_takes_what_it_begins_with(target: str) -> None:
    some = seeds()[target]
    assert len(some) >= 5
    assert WORDS[target]
    for data in some[:: max(1, len(some) // 60)]:
        TARGETS[target](data)
        TARGETS[target](data[: len(data) // 2])


@st.composite
def mutated(draw: st.DrawFn, some: list[bytes], words: list[bytes]) -> bytes:
    """One of `some` with pieces cut out, doubled, swapped, or put in."""
    raw = draw(st.sampled_from(some))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 100)))
        piece = draw(st.sampled_from([b"", raw[start:end] * 2, *words]) | st.binary(max_size=4))
        raw = raw[:start] + piece + raw[end:]
    return raw


@pytest.mark.parametrize("target", TARGETS)
def test_no_mutation_breaks_a_promise(target: str) -> None:
    """The same targets without atheris: mail, headers, Authentication-Results, folder names, FETCH and other answers, HTML, output."""
    some = sorted(seeds()[target], key=len)[:200]
    words = list(WORDS[target])

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated(some, words) | st.binary(max_size=200))
    def check(data: bytes) -> None:
        TARGETS[target](data)

    check()
