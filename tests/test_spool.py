"""Training data on disk: what was counted is exact while it fits, what is forgotten is rare, and the matrix is the model's own."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import spool as spools
from filters.features import Features
from filters.model import WORDS_SCALE, Model
from filters.spool import Ints, Part, Spool

NAMES = st.text("abcdef", min_size=1, max_size=2)
MAILS = st.lists(st.tuples(st.frozensets(NAMES, max_size=6), st.booleans(), st.sampled_from("xyz")), max_size=30)


LENGTHS = np.array([1.0, WORDS_SCALE])


def blocks(part: Part, names: list[str]) -> Ints:
    return np.where(part.named(names), 0, 1).astype(np.int32)


def features(words: frozenset[str], named: bool) -> Features:
    return Features({"sign:on": ""} if named else {}, words)


def fill(spool: Spool, mails: list[tuple[frozenset[str], bool, str]]) -> Spool:
    for words, named, author in mails:
        spool.add((features(words, named), features(words, False)), author)
    return spool


@given(MAILS, st.integers(1, 4), st.integers(1, 2))
def test_names_are_those_of_enough_mails_and_authors(
    mails: list[tuple[frozenset[str], bool, str]], fewest: int, authors: int
) -> None:
    having = {word: [author for words, _, author in mails if word in words] for words, *_ in mails for word in words}
    want = {word for word, who in having.items() if len(who) >= fewest and len(set(who)) >= authors}
    with Spool() as spool:
        found = fill(spool, mails).part().names(fewest, authors)
    assert found == sorted(want | {"sign:on"} if any(named for _, named, _ in mails) else want)


@given(MAILS)
def test_the_matrix_holds_the_models_own_values(mails: list[tuple[frozenset[str], bool, str]]) -> None:
    with Spool() as spool:
        part = fill(spool, mails).part()
        names = part.names(2, 1)
        matrix = part.matrix(names, blocks(part, names), LENGTHS, np.ones(len(names))).toarray()
    model = Model(("a",), (0.0,), dict.fromkeys(names, (0.0,)), 1.0, 1.0, "", {})
    assert matrix.shape == (2 * len(mails), len(names))
    for number, (words, named, _) in enumerate(mails):
        for row, features_ in ((2 * number, features(words, named)), (2 * number + 1, features(words, False))):
            values = model.values(features_)
            assert matrix[row].tolist() == [values.get(name, 0.0) for name in names]


@given(MAILS, st.integers(4, 12))
def test_with_too_many_features_the_rare_ones_are_forgotten_and_the_rest_keeps_its_place(
    mails: list[tuple[frozenset[str], bool, str]], most: int
) -> None:
    always = [(words | {"often"}, named, author) for words, named, author in mails]
    groups, shares = np.zeros(2 * len(mails), np.int32), np.ones(2 * len(mails))
    with Spool(most=most) as spool, Spool() as whole:
        some, every = fill(spool, always).part(), fill(whole, always).part()
        names = some.names(1, 1)
        assert set(names) <= set(every.names(1, 1))
        if mails:
            assert (some.frequencies(names, groups, shares) <= every.frequencies(names, groups, shares)).all()


def test_what_is_frequent_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_CHUNK", 50)
    groups = np.arange(400, dtype=np.int32) % 2
    with Spool(most=100) as spool:
        for number in range(400):
            words = frozenset({"often", f"once{number}", f"twice{number // 2}"})
            spool.add((Features({"named": ""}, words),), "author")
        part = spool.part()
        assert {"named", "often"} <= set(part.names(3, 1))
        assert part.frequencies(["named", "often"], groups, np.ones(400)).tolist() == [[200, 200], [200, 200]]
        matrix = part.matrix(["named", "often"], np.array([0, 1], np.int32), LENGTHS, np.array([1.0, 2.0]))
    assert matrix.toarray().tolist() == [[1.0, 6.0]] * 400


@given(MAILS, st.lists(st.booleans(), min_size=30, max_size=30), st.integers(1, 3), st.integers(1, 3))
def test_a_part_is_as_if_the_others_had_never_been_there(
    mails: list[tuple[frozenset[str], bool, str]], chosen: list[bool], fewest: int, authors: int
) -> None:
    mask = np.array(chosen[: len(mails)], np.bool_)
    with Spool() as spool, Spool() as alone:
        part = fill(spool, mails).part(mask)
        whole = fill(alone, [mail for mail, taken in zip(mails, chosen, strict=False) if taken]).part()
        names = part.names(fewest, authors)
        assert names == whole.names(fewest, authors)
        found = [one.matrix(names, blocks(one, names), LENGTHS, np.ones(len(names))) for one in (part, whole)]
    assert (found[0].toarray() == found[1].toarray()).all()


def test_an_author_of_more_mail_than_is_worked_on_at_once_is_one_author(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_CHUNK", 5)
    with Spool() as spool:
        part = fill(spool, [(frozenset("abc"), False, "xy"[number % 2]) for number in range(20)]).part()
        assert part.names(20, 2) == ["a", "b", "c"]
        assert part.names(1, 3) == []


def test_the_file_has_no_name_and_is_for_its_owner_alone() -> None:
    with Spool() as spool:
        status = os.fstat(spool._file.fileno())
    assert status.st_mode & 0o777 == 0o600
    assert status.st_nlink == 0
