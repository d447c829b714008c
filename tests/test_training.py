"""Training on one's own mail: what is measured, what the gate lets through, and that the same mail gives the same bytes."""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import small_corpus

from filters import model as models
from filters import senders
from filters.errors import InputError
from filters.features import Features
from filters.grouping import Kinship, minhash
from filters.labelled import Labelled
from filters.material import FEWEST, Plan, rows_of
from filters.measures import Confusion, Scored
from filters.registry import Registry
from filters.train import Recipe, as_json
from filters.training import adopt, check, cost, course, evaluated, retrained

SENDER = senders.load()
AD = ["harvest", "tractor", "plough", "barn", "cattle", "dairy", "orchard", "tillage", "seed", "hay"]
NOTE = ["committee", "minutes", "budget", "agenda", "chair", "vote", "quorum", "motion", "treasurer", "ballot"]
PLAIN = ["about", "after", "again", "along", "among", "around", "before", "below", "between"]


def mail(number: int, label: str, words: list[str], dice: random.Random) -> Labelled:
    """A mail of a few telling words, in the shape in which labelled mail is read."""
    chosen = frozenset([*dice.sample(words, 4), *dice.sample(PLAIN, 5)])
    return Labelled(
        place=f"box/{number}",
        identity=f"sha256:{number}",
        names=(str(number), f"box/{number}"),
        label=label,
        features=Features({"stream:member_message": "", "class:none": ""}, chosen),
        kin=Kinship(frozenset({f"id:{number}"}), minhash(chosen)),
        author=f"author {number % 7}",
    )


def mailbox(labels: tuple[str, str], ads: int = 60, notes: int = 90, seed: int = 1) -> list[Labelled]:
    dice = random.Random(seed)
    found = [mail(number, labels[0], AD, dice) for number in range(ads)]
    return found + [mail(ads + number, labels[1], NOTE, dice) for number in range(notes)]


OWN = mailbox(("promotional", "keep"))
SCRATCH = Plan(from_scratch=True)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many mails the shipped corpus has for this test."""
    folder = small_corpus.lay_out(tmp_path / "corpus")
    monkeypatch.setattr("filters.examples.corpus_folder", lambda: folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # what is kept of the whole corpus stays
    return len(list(folder.glob("*/*/*.eml")))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", models.shipped(SENDER.name))


def flipped(own: list[Labelled], share: float) -> list[Labelled]:
    wrong = set(random.Random(5).sample(range(len(own)), round(share * len(own))))
    other = {"promotional": "keep", "keep": "promotional"}
    return [replace(one, label=other[one.label]) if at in wrong else one for at, one in enumerate(own)]


def test_own_mail_gives_a_better_model_and_it_is_used(registry: Registry) -> None:
    """The shipped model knows nothing of ploughs; the new one finds them all, on mail that it did not see."""
    trained = course(OWN, SENDER, registry, SCRATCH, Recipe())
    assert trained.before is not None
    assert trained.before.confusion.tp == 0
    assert trained.measures.confusion.tp > 50
    assert trained.measures.confusion.fp == 0
    assert trained.objections == ()
    number = adopt(registry, trained, OWN, force=False)
    assert registry.in_use() == number
    loaded = models.load(registry.active())
    assert (loaded.threshold, loaded.slope) == (trained.model.threshold, trained.model.slope)
    assert [one.mail for one in registry.lessons(number)] == OWN


def test_the_same_mail_gives_the_same_bytes(registry: Registry) -> None:
    once, again = (as_json(course(OWN, SENDER, registry, SCRATCH, Recipe()).model) for _ in range(2))
    assert once == again


def test_the_card_tells_how_it_came_to_be_and_no_word_of_the_mail(registry: Registry) -> None:
    about = course(OWN, SENDER, registry, SCRATCH, Recipe()).model.about
    assert about["own_mails"] == {"keep": 90, "promotional": 60}
    assert about["cross_validation"]["false_positives"] == 0
    assert len(about["own_sha256"]) == 64
    assert not {"box", "author"} & set(str(about).replace("/", " ").split())


def test_held_out_scores_come_from_models_that_did_not_see_the_mail(registry: Registry) -> None:
    """A mail of no telling word at all cannot be known by a model that did not learn it by heart."""
    alone = [replace(one, features=Features({}, frozenset({f"only{at}", "same"}))) for at, one in enumerate(OWN)]
    trained = course(alone, SENDER, registry, SCRATCH, Recipe(fewest_mails=1, fewest_authors=1))
    assert trained.measures.auc < 0.7


def test_mail_that_has_nothing_in_common_teaches_nothing(registry: Registry) -> None:
    alone = [replace(one, features=Features({}, frozenset({f"only{at}"}))) for at, one in enumerate(OWN)]
    with pytest.raises(InputError, match="nothing in common"):
        course(alone, SENDER, registry, SCRATCH)


def test_flipped_labels_do_not_pass_the_gate_silently(registry: Registry) -> None:
    trained = course(flipped(OWN, 0.05), SENDER, registry, SCRATCH, Recipe())
    assert any("labels contradict everything else" in one for one in trained.objections)
    assert len(trained.suspects) >= 4
    number = adopt(registry, trained, OWN, force=False)
    assert registry.in_use() == "shipped"
    adopt(registry, trained, OWN, force=True)
    assert registry.in_use() > number


def test_a_worse_model_is_not_used(registry: Registry) -> None:
    """The one in use was trained well; one that was trained on little else is worse on the same mail, and the table says where."""
    good = course(OWN, SENDER, registry, SCRATCH, Recipe())
    adopt(registry, good, OWN, force=False)
    blind = [replace(one, features=Features({}, one.features.words & set(PLAIN))) for one in OWN]
    bad = course(blind, SENDER, registry, SCRATCH, Recipe())
    assert any("worse than the model in use" in one for one in bad.objections)
    assert len(bad.lost) > 10
    adopt(registry, bad, blind, force=False)
    assert registry.in_use() == "0001"


def test_the_model_in_use_is_not_flattered_by_mail_it_learnt(registry: Registry) -> None:
    """On mail that it was trained on, the scores of the time when that was held out count."""
    first = course(OWN, SENDER, registry, SCRATCH, Recipe())
    adopt(registry, first, OWN, force=False)
    again = course(OWN, SENDER, registry, SCRATCH, Recipe())
    assert again.before is not None
    assert again.before.confusion == first.measures.confusion
    assert again.objections == ()


def test_the_corpus_goes_with_it_unless_from_scratch(registry: Registry, corpus: int) -> None:
    trained = course(OWN, SENDER, registry, Plan(), Recipe())
    assert trained.model.about["trained_on"] == "own mail and the shipped corpus"
    assert "disclosure_decisive:partner_inmail" in trained.model.weights
    assert len(trained.scored) == len(OWN)  # measured on the person's own mail alone
    alone = course(OWN, SENDER, registry, SCRATCH, Recipe())
    assert "disclosure_decisive:partner_inmail" not in alone.model.weights


def test_a_few_corrections_are_learnt_and_measured_on_the_corpus(registry: Registry, corpus: int) -> None:
    """Three mails alone cannot be measured: the corpus is asked about as well, and stays as good as it was."""
    lessons = [replace(one, label="keep") for one in mailbox(("keep", "keep"), 3, 0)]
    trained, own = retrained(lessons, SENDER, registry)
    assert list(own) == lessons
    assert len(trained.scored) == corpus + len(lessons)
    assert trained.measures.confusion.fp == 0
    assert trained.objections == ()
    adopt(registry, trained, own, force=False)
    newer, own = retrained([replace(lessons[0], label="promotional")], SENDER, registry)
    assert [one.label for one in own] == ["promotional", "keep", "keep"]
    assert newer.model.about["own_mails"] == {"keep": 2, "promotional": 1}


def test_private_leaves_out_what_few_senders_say(registry: Registry) -> None:
    own = [replace(one, features=Features({}, one.features.words | {f"secret{hash(one.author) % 1}"})) for one in OWN]
    rare = [
        replace(one, features=Features({}, one.features.words | {"ann"})) if at < 9 else one
        for at, one in enumerate(own)
    ]
    few = [replace(one, author="ann" if at < 5 else "bob") if at < 9 else one for at, one in enumerate(rare)]
    shared = course(few, SENDER, registry, Plan(from_scratch=True, private=3), Recipe(least_weight=0))
    own_use = course(few, SENDER, registry, SCRATCH, Recipe(least_weight=0))
    assert "ann" not in shared.model.weights
    assert "ann" in own_use.model.weights


def test_other_labels_can_be_measured(registry: Registry) -> None:
    own = mailbox(("spam", "ham"))
    trained = course(own, SENDER, registry, Plan(), Recipe(), positive="spam")
    assert trained.model.categories == ("ham", "spam")
    assert trained.before is None
    assert trained.measures.confusion.tp > 50
    again = evaluated(own, trained.model, trained.model, SENDER, {}, "spam")
    assert [one.positive for one in again] == [one.label == "spam" for one in own]
    with pytest.raises(InputError, match="knows nothing of dust; it tells apart ham, spam"):
        evaluated(own, trained.model, trained.model, SENDER, {}, "dust")


def test_given_folds_are_kept(registry: Registry) -> None:
    table = {one.names[0]: at % 3 + 10 for at, one in enumerate(OWN)}
    rows = rows_of(OWN, Plan(given=table), lambda one: one.label, {"promotional"})
    assert [row.fold for row in rows] == [at % 3 + 1 for at in range(len(OWN))]
    with pytest.raises(InputError, match="does not name box/5"):
        rows_of(OWN, Plan(given={key: fold for key, fold in table.items() if key != "5"}), lambda one: one.label, {"x"})
    with pytest.raises(InputError, match="one fold only"):
        rows_of(OWN, Plan(given=dict.fromkeys(table, 1)), lambda one: one.label, {"x"})


def test_no_group_is_on_both_sides(registry: Registry) -> None:
    twins = [replace(one, kin=Kinship(frozenset({f"campaign:{at // 3}"}), ())) for at, one in enumerate(OWN)]
    rows = rows_of(twins, Plan(), lambda one: one.label, {"promotional"})
    folds = {}
    for at, row in enumerate(rows):
        folds.setdefault(at // 3, set()).add(row.fold)
    assert all(len(found) == 1 for found in folds.values())


def test_one_campaign_cannot_be_held_out(registry: Registry) -> None:
    one = [replace(mail, kin=Kinship(frozenset({mail.label}), ())) for mail in OWN]
    with pytest.raises(InputError, match="label keep is one campaign"):
        rows_of(one, Plan(), lambda mail: mail.label, {"promotional"})


@pytest.mark.parametrize(
    ("ads", "notes", "labels", "words"),
    [
        (0, 0, {"keep", "promotional"}, "no mail under the label keep, promotional"),
        (30, 0, {"promotional"}, "one label only"),
        (30, FEWEST - 1, {"keep"}, "keep has 19; 20 of each"),
    ],
)
def test_too_little_mail_is_refused(ads: int, notes: int, labels: set[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check(Counter(one.label for one in mailbox(("promotional", "keep"), ads, notes)), labels)


def test_a_wanted_mail_that_moves_costs_ten_advertisements() -> None:
    assert cost(Confusion(tp=5, fp=1, fn=2, tn=9)) == 12


def test_mail_barred_by_data_is_never_called_promotional(registry: Registry) -> None:
    barred = [replace(one, barred=True) for one in OWN]
    found: list[Scored] = evaluated(barred, models.load(registry.shipped), models.load(registry.shipped), SENDER, {})
    assert {one.score for one in found} == {0.0}
