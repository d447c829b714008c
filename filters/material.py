"""What a model is learnt from: labelled mail and the shipped corpus, as rows with a fold, and their features when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from filters.errors import InputError
from filters.features import Features
from filters.grouping import Kinship, folds, groups
from filters.labelled import KEEP, PROMOTIONAL, Labelled
from filters.model import Model
from filters.senders import Sender
from filters.spool import Spool
from filters.train import Example

#: Mails of each label that can be measured at all, and folds.
FEWEST = 20
FOLDS = 5
#: How the identities of the shipped corpus begin.
CORPUS = "corpus:"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train: whose share of false positives is to be met, and what is not to be learnt from or given away."""

    target: float = 0.001
    from_scratch: bool = False
    """Without the shipped corpus."""
    private: int = 0
    """Words of fewer senders than this are left out."""
    given: Mapping[str, int] | None = field(default=None, repr=False)
    """Folds by any of a message's names, instead of our own."""


@dataclass(frozen=True, slots=True)
class Row:
    """One mail as it is counted. Mail of fold 0 is always learnt from, and never asked about."""

    id: str
    identity: str
    label: str
    positive: bool
    category: str
    barred: bool
    fold: int


@dataclass(frozen=True, slots=True)
class Material:
    """What there is to learn from, with a row for each mail, in this order. `own` may lie on disk, and is gone through several
    times; of each mail, only the row stays in memory."""

    rows: Sequence[Row]
    own: Iterable[Labelled]
    corpus: Sequence[Example] = ()

    def fill(self, spool: Spool) -> None:
        """Put all features into a spool."""
        for one in self.own:
            spool.add((one.features,), one.author)
        for example in self.corpus:
            spool.add(example.variants, example.author)

    def asked(self) -> Iterator[tuple[Row, Features]]:
        """The rows that are asked about, with the features of the mail as it is."""
        features = chain((one.features for one in self.own), (example.variants[0] for example in self.corpus))
        return ((row, one) for row, one in zip(self.rows, features, strict=True) if row.fold)


def rows_of(
    own: Iterable[Labelled], plan: Plan, category: Callable[[Labelled], str], positive: Collection[str]
) -> list[Row]:
    """The person's own mail, in folds. Raises InputError where it cannot be parted, unless there is but little of it."""
    rows: list[Row] = []

    def kin() -> Iterator[Kinship]:
        for one in own:  # once for both: it may lie on disk
            rows.append(_row(one, plan, category(one), positive))
            yield one.kin

    members = groups(kin())
    labels = [row.label for row in rows]
    if plan.given is not None:
        chosen = _numbered([row.fold for row in rows])
    else:
        chosen = folds(labels, members, FOLDS if are_few(labels) else _fold_count(labels, members))
    return [replace(row, fold=fold) for row, fold in zip(rows, chosen, strict=True)]


def _row(one: Labelled, plan: Plan, category: str, positive: Collection[str]) -> Row:
    return Row(
        id=one.place,
        identity=one.identity,
        label=one.label,
        positive=category in positive,
        category=category,
        barred=one.barred,
        fold=_given(one, plan.given) if plan.given is not None else 0,
    )


def are_few(labels: Iterable[str]) -> bool:
    """Whether mail with these labels is too little to measure with."""
    counts = Counter(labels)
    return len(counts) < 2 or min(counts.values()) < FEWEST


def _fold_count(labels: Sequence[str], members: Sequence[int]) -> int:
    parts = {
        label: len({group for one, group in zip(labels, members, strict=True) if one == label}) for label in set(labels)
    }
    label, fewest = min(sorted(parts.items()), key=lambda pair: pair[1])
    if fewest < 2:
        raise InputError(
            f"All mail under the label {label} is one campaign or thread, so that nothing can be held out. Nothing was trained."
        )
    return min(FOLDS, fewest)


def _given(one: Labelled, table: Mapping[str, int]) -> int:
    found = next((table[name] for name in one.names if name in table), None)
    if found is None:
        raise InputError(f"The list of folds does not name {one.place}. Nothing was trained.")
    return found


def _numbered(given: Sequence[int]) -> list[int]:
    """Folds from 1, in the order of the given numbers."""
    numbers = {fold: number for number, fold in enumerate(sorted(set(given)), 1)}
    if len(numbers) < 2:
        raise InputError("The list of folds names one fold only. Nothing was trained.")
    return [numbers[fold] for fold in given]


def refined(one: Labelled, reference: Model, sender: Sender) -> str:
    """The category of a mail whose label says only whether it is promotional: the one that the shipped model finds most likely."""
    if one.label not in (PROMOTIONAL, KEEP):
        return one.label
    chances = reference.probabilities(reference.values(one.features))
    fitting = [
        name
        for name in chances
        if sender.categories[name].promotional == (one.label == PROMOTIONAL)
        and sender.categories[name].action != "never"
    ]
    return max(fitting, key=lambda name: (chances[name], name))


def corpus_rows(examples: Sequence[Example], positive: Collection[str], *, asked: bool) -> list[Row]:
    """The shipped corpus as rows; when `asked` about, no author straddles a fold."""
    authors = sorted({example.author for example in examples})
    members = [authors.index(example.author) for example in examples]
    chosen = folds([example.category for example in examples], members, FOLDS) if asked else [0] * len(examples)
    return [
        Row(
            id=f"corpus/{one.path}",
            identity=f"{CORPUS}{one.path}",
            label=one.category,
            positive=one.category in positive,
            category=one.category,
            barred=one.barred,
            fold=fold,
        )
        for one, fold in zip(examples, chosen, strict=True)
    ]
