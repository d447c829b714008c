"""Grouping: what belongs together never straddles a fold."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from filters.grouping import ALIKE, Kinship, folds, groups, kinship, minhash
from filters.message import parse


def kin(subject: str, body: str, *, sender: str = "Ann <ann@example.org>", more: str = "") -> Kinship:
    raw = f"From: {sender}\nSubject: {subject}\n{more}\n{body}\n".encode()
    return kinship(parse(raw), frozenset(body.split()))


LETTER = " ".join(f"word{number}" for number in range(200))
OTHER = " ".join(f"thing{number}" for number in range(200))


def test_near_duplicates_belong_together() -> None:
    changed = LETTER.replace("word7 ", "seven ").replace("word8 ", "eight ")
    assert groups([kin("One", LETTER), kin("Two", OTHER), kin("Three", changed)]) == [0, 1, 0]


def likeness(one: Kinship, other: Kinship) -> float:
    return sum(a == b for a, b in zip(one.hashes, other.hashes, strict=True)) / len(one.hashes)


def test_likeness_is_about_the_share_of_common_words() -> None:
    half = " ".join(LETTER.split()[:100] + OTHER.split()[:100])
    one, other = kin("", LETTER), kin("", half)
    assert 0.1 < likeness(one, other) < 0.6 < ALIKE  # 100 of 300 words are common
    assert likeness(one, one) == 1.0


def test_a_campaign_belongs_together_whatever_its_numbers() -> None:
    found = groups([kin("30+ new jobs in Ulm", LETTER), kin("12+ new jobs in Ulm", OTHER), kin("Hello", "x")])
    assert found == [0, 0, 2]


def test_a_campaign_is_one_senders() -> None:
    other = kin("Spring sale today", OTHER, sender="Bob <bob@example.org>")
    assert groups([kin("Spring sale today", LETTER), other]) == [0, 1]


def test_hello_from_one_person_is_no_campaign() -> None:
    assert groups([kin("Hello", LETTER), kin("Re: Hello", OTHER)]) == [0, 1]


def test_a_thread_belongs_together() -> None:
    first = kin("One thing", LETTER, more="Message-ID: <a1@example.org>\n")
    answer = kin("Another", OTHER, sender="B <b@example.org>", more="In-Reply-To: <a1@example.org>\n")
    third = kin("A third", "c d", sender="C <c@example.org>", more="References: <zz@example.org> <a1@example.org>\n")
    assert groups([first, answer, third, kin("Alone", "y")]) == [0, 0, 0, 3]


def test_too_few_words_are_like_nothing() -> None:
    assert minhash(["a", "b"]) == ()
    assert groups([kin("", "a b"), kin("", "a b")]) == [0, 1]


def test_the_signature_does_not_hang_on_the_order_of_a_set() -> None:
    assert minhash(LETTER.split()) == minhash(LETTER.split()[::-1])


@given(
    st.lists(st.tuples(st.sampled_from(["ad", "keep", "other"]), st.integers(0, 30)), min_size=1, max_size=120),
    st.integers(2, 5),
)
def test_no_group_straddles_a_fold(rows: list[tuple[str, int]], count: int) -> None:
    labels, members = [label for label, _ in rows], [member for _, member in rows]
    chosen = folds(labels, members, count)
    assert len({(member, fold) for member, fold in zip(members, chosen, strict=True)}) == len(set(members))
    assert set(chosen) <= set(range(1, count + 1))
    assert chosen == folds(labels, members, count)


def test_labels_are_spread_evenly() -> None:
    labels = ["ad"] * 50 + ["keep"] * 100
    chosen = folds(labels, list(range(150)), 5)
    for label, each in (("ad", 10), ("keep", 20)):
        assert [
            sum(f == fold and one == label for f, one in zip(chosen, labels, strict=True)) for fold in range(1, 6)
        ] == [each] * 5


@given(st.lists(st.frozensets(st.integers(0, 8), max_size=3), max_size=40))
def test_sharing_a_sign_is_transitive(signs: list[frozenset[int]]) -> None:
    found = groups([Kinship(frozenset(map(str, one)), ()) for one in signs])
    for (one, first), (other, second) in pairwise(sorted(zip(signs, found, strict=True), key=lambda pair: pair[1])):
        if one & other:
            assert first == second
