"""Labelled folders to a model: features, scikit-learn, rounded weights, and cross-validation that holds whole authors out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from email import message_from_bytes
from email.encoders import encode_base64
from email.message import Message as Mime
from email.policy import compat32
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from filters.errors import InputError
from filters.features import Features, is_word, read, templates_of, view_of
from filters.labelled import is_barred
from filters.message import Message, parse
from filters.model import GENERAL_SCHEMA, SCHEMA, WORDS_SCALE, Model
from filters.safe_text import safe_text
from filters.senders import Sender
from filters.spool import Floats, Ints, Part, Spool

#: Bytes of a model file of less than 2 MB, of a feature's name in it, and of one weight.
_FILE_SIZE, _NAME_SIZE, _WEIGHT_SIZE = 1_900_000, 24, 8
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
    tolerance: float = 1e-6
    general: bool = False
    """Whether to look at what mail of any sender is made of (`filters.tokens`). Not for invented mail, whose headers we made up."""
    most_features: int = 45_000
    """A general model has no more features than this, nor than fit into 2 MB."""
    views: tuple[float, ...] = (1.0, 0.5, 0.5)
    """How much each view of a mail (`view_of`) counts in a general model."""


def general(recipe: Recipe) -> Recipe:
    """The same for real mail: it has more features than can be fitted twice, and its words need not be those of several authors."""
    return replace(recipe, general=True, fewest_authors=1, least_weight=0.0, tolerance=1e-5)


#: For any real mail.
GENERAL = general(Recipe())


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled mail. `author` groups what must not straddle a fold: an author's style, frames and variants."""

    path: str
    category: str
    author: str
    variants: tuple[Features, ...]
    barred: bool = False
    """By data no advertising as a whole, whatever the model says (`judge`): several messages, or a wanted stream."""


#: Long headers stay on one line: to fold them takes longer than to read the mail.
_UNFOLDED = compat32.clone(max_line_length=None)


def read_corpus(root: Path, sender: Sender) -> list[Example]:
    """All mails of `root`/<category>/*.eml, sorted by path; the author is the letter that begins the file name's slug."""
    examples = []
    for path in sorted(root.glob("*/*.eml")):
        raw = path.read_bytes()
        first = parse(raw)
        variants = (
            _features(first, sender),
            *(features_of(variant, sender) for variant in carriers(raw)[1:]),
        )
        author = path.stem.split("-")[2]
        examples.append(
            Example(f"{path.parent.name}/{path.name}", path.parent.name, author, variants, is_barred(first, sender))
        )
    return examples


def features_of(raw: bytes, sender: Sender, *, general: bool = False) -> Features:
    """The features of one mail."""
    return _features(parse(raw), sender, general=general)


def _features(message: Message, sender: Sender, *, general: bool = False) -> Features:
    return read(message, sender, templates_of(message, sender), general=general)


def carriers(raw: bytes) -> list[bytes]:
    """The mail as it is; with text or HTML alone and encoded otherwise; without the sender's private headers, and then without
    the footer too (scrubbed and re-sent mail has neither). What a mail says must not depend on what carries it."""
    mime = message_from_bytes(raw)
    plain, html = _part(mime, "plain"), _part(mime, "html")
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
    return mime.as_bytes(policy=_UNFOLDED)


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
    return mime.as_bytes(policy=_UNFOLDED)


def fit(examples: Iterable[Example], recipe: Recipe, about: dict[str, Any]) -> tuple[Model, LogisticRegression]:
    """Train, drop the words that hardly matter, and train again. The same examples and recipe give the same model: one thread,
    fixed order, rounded weights. The examples are gone through once, and need not fit into memory (`filters.spool`).

    The returned classifier carries the rounded weights too, so that the two can be compared.
    """
    with Spool(tokens=recipe.general) as spool:
        categories = []
        for example in examples:
            spool.add(example.variants, example.author)
            categories.append(example.category)
        return fit_part(spool.part(), categories, recipe, about)


def fit_part(
    part: Part, categories: Sequence[str], recipe: Recipe, about: dict[str, Any]
) -> tuple[Model, LogisticRegression]:
    """The same for mails that are on disk already, with the category of each."""
    known = tuple(sorted(set(categories)))
    numbers = {category: number for number, category in enumerate(known)}
    labels = np.array([numbers[category] for category in categories], np.int32)
    rows = part.variants
    return _fit_twice(_Data(part, known, np.repeat(labels, rows), np.repeat(1.0 / rows, rows)), recipe, about)


def _fit_twice(data: _Data, recipe: Recipe, about: dict[str, Any]) -> tuple[Model, LogisticRegression]:
    names = [name for name in data.part.names(recipe.fewest_mails, recipe.fewest_authors) if safe_text(name) == name]
    if recipe.general and names:
        names = _most_telling(data, names, recipe)
    if not names:
        raise InputError("These mails have nothing in common that a model could learn from. Nothing was trained.")
    model, classifier = _fit(data, recipe, about, names)
    if not recipe.least_weight:
        return model, classifier
    kept = [
        name for name, row in model.weights.items() if not is_word(name) or max(map(abs, row)) >= recipe.least_weight
    ]
    return _fit(data, recipe, about, sorted(kept))


@dataclass(frozen=True, slots=True)
class _Data:
    """Rows of features, and of each row the number of its category and its share of its mail."""

    part: Part
    categories: tuple[str, ...]
    labels: Ints
    shares: Floats


def _unevenness(data: _Data, names: list[str]) -> tuple[Floats, Floats]:
    """Of each feature, how unevenly the categories use it (the greatest log ratio of its share in one to its share in the rest), and
    in how many mails it occurs."""
    counts = data.part.frequencies(names, data.labels, data.shares)
    mails = np.bincount(data.labels, data.shares)
    inside = (counts + 1) / (mails + 2)
    total = counts.sum(axis=1)
    outside = (total[:, None] - counts + 1) / (mails.sum() - mails + 2)
    return np.abs(np.log(inside / outside)).max(axis=1), total


def _most_telling(data: _Data, names: list[str], recipe: Recipe) -> list[str]:
    """As many features as a model may have: those that are uneven and frequent."""
    most = min(recipe.most_features, _FILE_SIZE // (_NAME_SIZE + _WEIGHT_SIZE * len(data.categories)))
    uneven, total = _unevenness(data, names)
    best = np.argsort(-uneven * np.sqrt(total), kind="stable")[:most]
    return [names[number] for number in sorted(best.tolist())]


def _fit(data: _Data, recipe: Recipe, about: dict[str, Any], names: list[str]) -> tuple[Model, LogisticRegression]:
    """Fit these features: in a general model, each view of a mail by itself. Their log-odds are added up, which errs less than
    one fit of all (opinions formed apart err apart), and is still one linear model."""
    width = 1 if len(data.categories) == 2 else len(data.categories)
    weights, bias = np.zeros((len(names), width)), np.zeros(width)
    of_view = np.array([view_of(name) if recipe.general else 0 for name in names])
    for view in np.unique(of_view):
        here = np.flatnonzero(of_view == view)
        classifier, stretch = _fit_view(data, recipe, [names[number] for number in here])
        share = recipe.views[view]
        weights[here] = share * classifier.coef_.T * stretch[:, None]
        bias += share * classifier.intercept_
    if width == 1:  # one row of weights for the second category against the first: half of it for, half against
        weights, bias = weights * (-0.5, 0.5), bias * (-0.5, 0.5)
    weights, bias = np.round(weights, recipe.decimals), np.round(bias, recipe.decimals)
    classifier.n_features_in_ = len(names)
    classifier.coef_, classifier.intercept_ = weights.T, bias
    if width == 1:
        classifier.coef_, classifier.intercept_ = 2 * weights.T[1:], 2 * bias[1:]
    model = Model(
        categories=data.categories,
        bias=tuple(bias.tolist()),
        weights={name: tuple(row) for name, row in zip(names, weights.tolist(), strict=True)},
        threshold=recipe.threshold,
        unsure=recipe.unsure,
        sha256="",
        about=about,
        general=recipe.general,
    )
    return model, classifier


def _fit_view(data: _Data, recipe: Recipe, names: list[str]) -> tuple[LogisticRegression, Floats]:
    """A general model's features are stretched by their unevenness, which makes the penalty on the telling ones small (Wang and
    Manning 2012: naive Bayes and a linear classifier in one). Also returns by how much."""
    stretch = _unevenness(data, names)[0] if recipe.general else np.ones(len(names))
    blocks = np.where(data.part.named(names), 0, 1).astype(np.int32)
    matrix = data.part.matrix(names, blocks, np.array([1.0, WORDS_SCALE]), stretch)
    classifier = LogisticRegression(C=recipe.cost, max_iter=5000, tol=recipe.tolerance)
    with threadpool_limits(1):
        classifier.fit(matrix, data.labels, sample_weight=data.shares)
    return classifier, stretch


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


def cross_validate(examples: Sequence[Example], recipe: Recipe, authors: Collection[str] = ()) -> list[Judged]:
    """Leave one author out: each example (its first variant) of these authors, or of all, judged by a model trained on the others."""
    judged = []
    for author in sorted(authors or {example.author for example in examples}):
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
    """The model file: features in order, one a line, and the weights of each category (of two, of the second) in the same order."""
    head = {
        "schema": GENERAL_SCHEMA if model.general else SCHEMA,
        "about": model.about,
        "threshold": model.threshold,
        "unsure": model.unsure,
        "categories": model.categories,
        "bias": model.bias,
    }
    if model.general:
        head["general"] = True
    if (model.slope, model.offset) != (1.0, 0.0):
        head["calibration"] = [model.slope, model.offset]
    lines = [f" {json.dumps(key)}: {json.dumps(value, sort_keys=True)}," for key, value in head.items()]
    features = sorted(model.weights)
    names = [f"  {json.dumps(safe_text(name))}" for name in features]  # in ASCII, which is read faster
    columns = [
        f"  {json.dumps(category)}: {json.dumps([_short(model.weights[name][at]) for name in features], separators=(',', ':'))}"
        for at, category in enumerate(model.categories)
        if at or len(model.categories) != 2 or any(row[0] != -row[1] for row in model.weights.values())
    ]
    blocks = [' "features": [\n' + ",\n".join(names) + "\n ]", ' "weights": {\n' + ",\n".join(columns) + "\n }"]
    return "{\n" + "\n".join(lines) + "\n" + ",\n".join(blocks) + "\n}\n"


def _short(weight: float) -> float | int:
    return int(weight) if weight == int(weight) else weight
