"""Real LinkedIn mail from public fixtures, read from beside the project: nothing wanted is judged promotional, nothing forged
is movable."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from filters import model, senders
from filters.judge import worker
from filters.message import MESSAGE_CAP
from filters.sources import Mail, Place, identity_of
from filters.sweep import Policy, decide

FOLDER = Path(__file__).parent.parent.parent / "shared" / "mail"
if not FOLDER.is_dir():
    pytest.skip("the real mails in ../shared/mail are not here", allow_module_level=True)
with (FOLDER / "INDEX.tsv").open(encoding="utf-8") as index:
    ROWS = [(row["file"], row["kind"]) for row in csv.DictReader(index, delimiter="\t")]
SENDER = senders.load()
GENUINE = [(name, kind) for name, kind in ROWS if kind not in ("forged", "linkedin_marketing")]
FORGED = [name for name, kind in ROWS if kind == "forged"]


def judged(name: str, placement: str = "below") -> tuple[Mail, dict[str, Any]]:
    raw = (FOLDER / name).read_bytes()[:MESSAGE_CAP]
    setup = {"model": str(model.shipped(SENDER.name)), "trusted": [["mx.google.com", placement]]}
    result = worker(setup)(raw)
    identity = identity_of(raw, result.get("message_id") or "<made-up@test>")
    return Mail(Place("a", "", name), raw, len(raw), frozenset(), identity), result


@pytest.mark.parametrize(("name", "kind"), GENUINE)
def test_wanted_mail_is_not_promotional(name: str, kind: str) -> None:
    verdict = judged(name)[1]["verdict"]
    assert not verdict["promotional"], verdict["evidence"]
    assert not SENDER.categories[verdict["category"]].promotional


@pytest.mark.parametrize(("name", "kind"), GENUINE)
def test_wanted_mail_is_of_its_kind(name: str, kind: str) -> None:
    category = judged(name)[1]["verdict"]["category"]
    alike = {"member_message": {"member_message", "message_digest"}}
    assert category in alike.get(kind, {kind})


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("placement", ["above", "below"])
@pytest.mark.parametrize("unverified", [False, True])
def test_a_forgery_is_never_movable(name: str, placement: str, unverified: bool) -> None:
    mail, result = judged(name, placement)
    assert result["claims"], "a forgery that claims to be LinkedIn's is reported"
    verdict = result["verdict"]
    assert verdict["authenticity"]["state"] in ("forged", "unverified")
    everything = Policy(frozenset(SENDER.categories), unverified)
    advertising = SENDER.categories[verdict["category"]].promotional
    if verdict["authenticity"]["state"] == "forged" or not unverified:
        assert decide(mail, verdict, advertising, everything, frozenset())[0] == "keep"


def test_forgeries_that_contradict_themselves_are_called_forged() -> None:
    states = {name: judged(name)[1]["verdict"]["authenticity"]["state"] for name in FORGED}
    assert states["p003.eml"] == states["p005.eml"] == states["p007.eml"] == "forged", states


def test_marketing_from_its_own_subdomain_is_recognised() -> None:
    verdict = judged("031.eml")[1]["verdict"]
    assert verdict["category"] == "linkedin_marketing"
    assert verdict["promotional"]
    assert verdict["authenticity"]["state"] == "verified"


@pytest.mark.parametrize("name", ["009.eml", "017.eml"])
def test_gmails_word_is_enough(name: str) -> None:
    assert judged(name)[1]["verdict"]["authenticity"]["state"] == "verified"
