"""What is kept is what would be made, and nothing that is damaged is believed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from filters import examples, senders
from filters.features import Features
from filters.kept import kept
from filters.train import Example

EXAMPLES = [
    Example(
        "a/x.eml", "a", "x", (Features({"stream:a": "q"}, frozenset({"w", "v w"})), Features({}, frozenset())), True
    ),
    Example("b/y.eml", "b", "y", (Features({"n:1": "", "m:2": ""}, frozenset(), frozenset({"t"})),)),
]


@pytest.fixture(autouse=True)
def writable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def asked(folder: Path, key: str, made: list[Example]) -> tuple[list[Example], bool]:
    """What there is, and whether it was made anew."""
    calls = []

    def make() -> list[Example]:
        calls.append(1)
        return made

    return kept(folder, "e", key, make, examples._packed, examples._unpacked), bool(calls)


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    assert asked(tmp_path, "k", EXAMPLES) == (EXAMPLES, True)
    assert asked(tmp_path, "k", []) == (EXAMPLES, False)
    assert list(asked(tmp_path, "k", [])[0][1].variants[0].named) == ["n:1", "m:2"]
    assert asked(tmp_path, "another", EXAMPLES[:1]) == (EXAMPLES[:1], True)
    assert [path.name for path in (tmp_path / "__pycache__").iterdir()] == ["e.json"]


@pytest.mark.parametrize("damage", ["", "[" * 100_000, "cut", "null", "value"])
def test_what_is_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    asked(tmp_path, "k", EXAMPLES)
    path = tmp_path / "__pycache__" / "e.json"
    text = path.read_text()
    path.write_text(
        {"cut": text[:-40], "value": json.dumps({"key": "k", "value": [["a", 1, 2, 3, "?"]]})}.get(damage, damage)
    )
    assert asked(tmp_path, "k", EXAMPLES) == (EXAMPLES, True)
    assert asked(tmp_path, "k", EXAMPLES) == (EXAMPLES, False)


def test_where_nothing_can_be_kept_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").touch()
    assert asked(tmp_path, "k", EXAMPLES) == asked(tmp_path, "k", EXAMPLES) == (EXAMPLES, True)


def test_the_key_tells_data_of_one_sender_from_changed_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = senders.load()
    before = examples._key(sender)
    assert before == examples._key(sender)
    monkeypatch.setattr(examples, "_LIBRARIES", ("scikit-learn",))
    assert examples._key(sender) != before
