"""Labelled folders to a model: features, scikit-learn, rounded weights, and cross-validation that holds whole authors out."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from email import message_from_bytes
from email.encoders import encode_base64
from email.message import Message as Mime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from filters.features import Features, is_word, read, templates_of
from filters.message import parse
from filters.model import SCHEMA, Model
from filters.safe_text import safe_text
from filters.senders import Sender

#: The line between what was written and the footer, in text parts.
_RULE = re.compile(r"^[-.]{20,}\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a model looks like, apart from the mails."""

    cost: float = 30.0
    """Inverse of the L2 penalty (scikit-learn's C)."""
    fewest_mails: int = 3
    """A word is a feature from so many mails on ..."""
    fewest_authors: int = 2
    """... of so many authors: names and one author's habits drop out."""
    threshold: float = 0.65
    unsure: float = 0.3
    least_weight: float = 0.1
    """A word whose weights all stay below this in a first fit is left out of the second one."""
    decimals: int = 4


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled mail. `author` groups what must not straddle a fold: an author's style, frames and variants."""

    path: str
    category: str
    author: str
    variants: tuple[Features, ...]
    barred: bool = False
    """By data no advertising as a whole, whatever the model says (`judge`): several messages, or a wanted stream."""


def read_corpus(root: Path, sender: Sender) -> list[Example]:
    """All mails of `root`/<category>/*.eml, sorted by path; the author is the letter that begins the file name's slug."""
    examples = []
    for path in sorted(root.glob("*/*.eml")):
        raw = path.read_bytes()
        variants = tuple(features_of(variant, sender) for variant in carriers(raw))
        author = path.stem.split("-")[2]
        examples.append(
            Example(f"{path.parent.name}/{path.name}", path.parent.name, author, variants, _barred(raw, sender))
        )
    return examples


def _barred(raw: bytes, sender: Sender) -> bool:
    message = parse(raw)
    stream = sender.stream(message.from_address)
    several = sender.holds_several(message.from_address, message.subject, message.links)
    return several or (stream is not None and stream.wanted)


def features_of(raw: bytes, sender: Sender) -> Features:
    """The features of one mail."""
    message = parse(raw)
    return read(message, sender, templates_of(message, sender))


def carriers(raw: bytes) -> list[bytes]:
    """The mail as it is; with text or HTML alone and encoded otherwise; without the sender's private headers, and then without
    the footer too (scrubbed and re-sent mail has neither). What a mail says must not depend on what carries it."""
    plain, html = _part(message_from_bytes(raw), "plain"), _part(message_from_bytes(raw), "html")
    bare = _bare(raw)
    found = [raw, bare]
    if plain is not None:
        found += [_only(raw, plain, "plain", "utf-16"), _only(bare, _RULE.split(plain, 1)[0], "plain", "utf-8")]
    if html is not None:
        found.append(_only(raw, html, "html", "utf-8"))
    return found


def _bare(raw: bytes) -> bytes:
    mime = message_from_bytes(raw)
    for name in [name for name in mime if name.lower().startswith(("x-", "feedback-id", "list-unsubscribe"))]:
        del mime[name]
    return mime.as_bytes()


def _part(mime: Mime, subtype: str) -> str | None:
    for part in mime.walk():
        if part.get_content_type() == f"text/{subtype}":
            payload = part.get_payload(decode=True)
            return (
                payload.decode(part.get_content_charset() or "utf-8", "replace") if isinstance(payload, bytes) else None
            )
    return None


def _only(raw: bytes, text: str, subtype: str, charset: str) -> bytes:
    mime = message_from_bytes(raw)
    for name in ("content-type", "content-transfer-encoding", "mime-version"):
        del mime[name]
    mime.set_payload(text.encode(charset, "replace"))
    mime["MIME-Version"] = "1.0"
    mime["Content-Type"] = f"text/{subtype}; charset={charset}"
    encode_base64(mime)
    return mime.as_bytes()


def vocabulary(examples: Sequence[Example], recipe: Recipe) -> list[str]:
    """Named features that occur, and words that enough mails of enough authors use; sorted."""
    mails: Counter[str] = Counter()
    authors: dict[str, set[str]] = {}
    named: set[str] = set()
    for example in examples:
        words: set[str] = set()
        for variant in example.variants:
            named.update(variant.named)
            words.update(variant.words)
        mails.update(words)
        for word in words:
            authors.setdefault(word, set()).add(example.author)
    common = {
        word for word, n in mails.items() if n >= recipe.fewest_mails and len(authors[word]) >= recipe.fewest_authors
    }
    return sorted(named | common)


def fit(examples: Sequence[Example], recipe: Recipe, about: dict[str, Any]) -> tuple[Model, LogisticRegression]:
    """Train, drop the words that hardly matter, and train again. The same examples and recipe give the same model: one thread,
    fixed order, rounded weights.

    The returned classifier carries the rounded weights too, so that the two can be compared.
    """
    model, _ = _fit(examples, recipe, about, vocabulary(examples, recipe))
    kept = [
        name for name, row in model.weights.items() if not is_word(name) or max(map(abs, row)) >= recipe.least_weight
    ]
    return _fit(examples, recipe, about, sorted(kept))


def _fit(
    examples: Sequence[Example], recipe: Recipe, about: dict[str, Any], names: list[str]
) -> tuple[Model, LogisticRegression]:
    categories = tuple(sorted({example.category for example in examples}))
    empty = Model(categories, (0.0,) * len(categories), dict.fromkeys(names, ()), 1.0, 1.0, "", {})
    rows = [(variant, example) for example in examples for variant in example.variants]
    matrix = matrix_of([variant for variant, _ in rows], empty, names)
    labels = np.array([categories.index(example.category) for _, example in rows])
    shares = np.array([1.0 / len(example.variants) for _, example in rows])
    classifier = LogisticRegression(C=recipe.cost, max_iter=5000, tol=1e-6)
    with threadpool_limits(1):
        classifier.fit(matrix, labels, sample_weight=shares)
    if len(categories) == 2:  # one row for the second; the same as two rows of half of it
        classifier.coef_ = np.vstack([-classifier.coef_, classifier.coef_]) / 2
        classifier.intercept_ = np.hstack([-classifier.intercept_, classifier.intercept_]) / 2
    classifier.coef_ = np.round(classifier.coef_, recipe.decimals)
    classifier.intercept_ = np.round(classifier.intercept_, recipe.decimals)
    columns = classifier.coef_.T
    weights = {name: tuple(map(float, row)) for name, row in zip(names, columns, strict=True)}
    model = replace(
        empty,
        bias=tuple(map(float, classifier.intercept_)),
        weights=weights,
        threshold=recipe.threshold,
        unsure=recipe.unsure,
        about=about,
    )
    return model, classifier


def matrix_of(rows: Iterable[Features], model: Model, names: Sequence[str]) -> csr_matrix:
    """Feature vectors (messages x names), by the model's own arithmetic."""
    index = {name: i for i, name in enumerate(names)}
    data: list[float] = []
    columns: list[int] = []
    ends = [0]
    for features in rows:
        values = model.values(features)
        data.extend(values.values())
        columns.extend(index[name] for name in values)
        ends.append(len(data))
    return csr_matrix((data, columns, ends), shape=(len(ends) - 1, len(names)))


@dataclass(frozen=True, slots=True)
class Judged:
    """An example as judged by a model that had not seen its author."""

    example: Example
    chances: dict[str, float]

    def promotional(self, sender: Sender) -> float:
        """P(promotional)."""
        if self.example.barred:
            return 0.0
        return sum(chance for name, chance in self.chances.items() if sender.categories[name].promotional)

    @property
    def category(self) -> str:
        """The most probable category."""
        return max(self.chances, key=lambda name: (self.chances[name], name))


def cross_validate(examples: Sequence[Example], recipe: Recipe) -> list[Judged]:
    """Leave one author out: each example (its first variant) judged by a model trained on the other authors."""
    judged = []
    for author in sorted({example.author for example in examples}):
        model, _ = fit([example for example in examples if example.author != author], recipe, {})
        judged += [
            Judged(example, model.probabilities(model.values(example.variants[0])))
            for example in examples
            if example.author == author
        ]
    return judged


def digest(root: Path) -> str:
    """SHA-256 over names and bytes of a folder's mails, so that a model names what it was trained on."""
    total = hashlib.sha256()
    for path in sorted(root.glob("*/*.eml")):
        total.update(f"{path.parent.name}/{path.name}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def as_json(model: Model) -> str:
    """The model file: sorted, one feature a line, so that two versions can be compared by eye."""
    head = {
        "schema": SCHEMA,
        "about": model.about,
        "threshold": model.threshold,
        "unsure": model.unsure,
        "categories": model.categories,
        "bias": model.bias,
    }
    if (model.slope, model.offset) != (1.0, 0.0):
        head["calibration"] = [model.slope, model.offset]
    lines = [f" {json.dumps(key)}: {json.dumps(value, sort_keys=True)}," for key, value in head.items()]
    rows = [
        f"  {json.dumps(safe_text(name), ensure_ascii=False)}: {json.dumps([_short(w) for w in row], separators=(',', ':'))}"
        for name, row in sorted(model.weights.items())
    ]
    return "{\n" + "\n".join(lines) + '\n "weights": {\n' + ",\n".join(rows) + "\n }\n}\n"


def _short(weight: float) -> float | int:
    return int(weight) if weight == int(weight) else weight
