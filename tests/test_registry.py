"""The registry of models: written whole, kept, used, and taken back."""

from __future__ import annotations

import gzip
import json
import os
import stat
from pathlib import Path

import pytest

from filters import model as models
from filters.errors import InputError, NotFoundError, WriteError
from filters.features import Features
from filters.grouping import Kinship
from filters.labelled import Labelled
from filters.registry import SHIPPED, Learnt, Registry, write_file

MODEL = json.dumps(
    {
        "schema": 3,
        "about": {},
        "threshold": 0.8,
        "unsure": 0.3,
        "categories": ["ad", "note"],
        "bias": [0.0, 0.0],
        "features": ["buy"],
        "weights": {"ad": [1.0], "note": [-1.0]},
    }
)
LEARNT = Learnt(
    Labelled(
        place="box/1",
        identity="sha256:1",
        names=("1", "box/1"),
        label="keep",
        features=Features({"sign": "quoted \ud800 words"}, frozenset({"a", "b c"}), frozenset({"link:x"})),
        kin=Kinship(frozenset({"id:1"}), (1, 2)),
        author="ann",
    ),
    0.25,
)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", models.shipped("linkedin"))


def test_at_first_the_shipped_model_is_in_use(registry: Registry) -> None:
    assert registry.in_use() == SHIPPED
    assert registry.active() == registry.shipped
    assert registry.numbers() == []
    assert list(registry.lessons(SHIPPED)) == []
    assert not registry.folder.exists()


def test_a_model_is_kept_used_and_taken_back(registry: Registry) -> None:
    first, second = registry.add(MODEL, [LEARNT]), registry.add(MODEL, [])
    assert [first, second] == registry.numbers() == ["0001", "0002"]
    assert registry.in_use() == SHIPPED
    registry.use(first)
    registry.use(second)
    registry.use(second)
    assert registry.active().read_text() == MODEL
    assert [registry.back(), registry.back()] == [first, SHIPPED]
    with pytest.raises(NotFoundError, match="no other was before it"):
        registry.back()


def test_what_a_model_was_trained_on_is_read_back(registry: Registry) -> None:
    assert list(registry.lessons(registry.add(MODEL, [LEARNT, LEARNT]))) == [LEARNT, LEARNT]


def test_it_is_for_its_owner_only(registry: Registry) -> None:
    registry.use(registry.add(MODEL, [LEARNT]))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in registry.folder.iterdir()}
    assert modes == {"0001.json": 0o600, "0001.mails.gz": 0o600, "in-use": 0o600}
    assert stat.S_IMODE(registry.folder.stat().st_mode) == 0o700


def test_a_broken_model_is_never_put_to_use(registry: Registry) -> None:
    registry.use(registry.add(MODEL, []))
    broken = registry.add(MODEL[:-9], [])
    with pytest.raises(InputError, match="no model file"):
        registry.use(broken)
    assert registry.in_use() == "0001"


def test_a_model_in_use_that_was_taken_away_is_named(registry: Registry) -> None:
    registry.use(registry.add(MODEL, []))
    (registry.folder / "0001.json").unlink()
    with pytest.raises(InputError, match=r"0001, is not in .* --use shipped"):
        registry.active()
    registry.use(SHIPPED)
    assert registry.active() == registry.shipped


@pytest.mark.parametrize("number", ["", "../x", "1", "0009", "in-use"])
def test_an_unknown_model(registry: Registry, number: str) -> None:
    with pytest.raises(NotFoundError, match="There is no model"):
        registry.use(number)


#: As an earlier version wrote words: one by one.
FORMER = json.dumps(LEARNT.mail.as_json() | {"score": 0.5, "words": ["a"], "tokens": []}).encode()


@pytest.mark.parametrize("content", [b"", b"\x1f\x8bnonsense", b"[1]", gzip.compress(FORMER)])
def test_damaged_lessons_are_named(registry: Registry, content: bytes) -> None:
    number = registry.add(MODEL, [LEARNT])
    (registry.folder / f"{number}.mails.gz").write_bytes(content)
    if content:
        with pytest.raises(InputError, match="damaged"):
            list(registry.lessons(number))


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match="no space left"):
        write_file(path, fail)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match="cannot be written"):
        write_file(tmp_path / "models" / "file", lambda _: None)
