"""The corpus that comes with unpitch, as examples. To read it takes longer than to learn from it, so that is kept (`filters.kept`)."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filters.features import Features
from filters.kept import kept
from filters.labelled import pack, unpacked
from filters.model import corpus_folder
from filters.senders import Sender
from filters.train import Example, digest, read_corpus

_HERE = Path(__file__).parent
#: What reads and trains, besides our own code.
_LIBRARIES = ("mail-parser", "scikit-learn", "selectolax")


def corpus_digest(sender: Sender) -> str:
    """The digest of the mails, as a model names it."""
    return digest(corpus_folder() / sender.name)


def shipped_examples(sender: Sender) -> list[Example]:
    """The corpus of a sender as its data of today read it. `sender` has all of them."""

    def make() -> list[Example]:
        return read_corpus(corpus_folder() / sender.name, sender)

    return kept(_HERE, f"{sender.name}-examples", _key(sender), make, _packed, _unpacked)


def known_scores(sender: Sender, of: str, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What `make` says of the corpus, by the identity of its mails; the same for the same `of`."""
    return kept(_HERE, f"{sender.name}-scores", f"{_key(sender)} {of}", make, dict, dict)


def _key(sender: Sender) -> str:
    """Whatever examples and scores depend on: the mails, our code and data, the libraries."""
    found = hashlib.sha256(f"{corpus_digest(sender)} {sys.version} {[version(name) for name in _LIBRARIES]}".encode())
    for path in sorted([*_HERE.glob("*.py"), *(_HERE / "senders").rglob("*.py"), *_HERE.rglob("*.toml")]):
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _packed(examples: list[Example]) -> list[Any]:
    return [
        [one.path, one.category, one.author, one.barred, pack({"variants": [part.as_json() for part in one.variants]})]
        for one in examples
    ]


def _unpacked(rows: list[Any]) -> list[Example]:
    return [
        Example(path, category, author, tuple(map(Features.from_json, unpacked(content)["variants"])), barred)
        for path, category, author, barred, content in rows
    ]
