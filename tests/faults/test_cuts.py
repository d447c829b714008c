"""The connection is cut after the n-th byte, once or twice, and no mail is lost, doubled or touched (F1 to F3, F25).

A step of its own in .ci/run: `pytest -m faults tests/faults`; more cuts with UNPITCH_WHOLE=1. scripts/soak does the same for every byte.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mailboxes import message

from faults import WHOLE, trial
from faults.checker import Message, Violation, content, deleted, placing
from faults.proxy import IN, OUT, Cut, Proxy
from faults.trial import KINDS, STRATEGIES, Mailbox, Stage, Tally, double_cuts, single_cuts, wanted

#: Bytes from one cut to the next. Each strategy begins at another byte, so that what they have in common is cut three times as often.
EVERY, APART = (9, 3) if WHOLE else (31, 10)
DOUBLE = 300 if WHOLE else 180


@pytest.fixture(scope="module", params=STRATEGIES)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    if reason := trial.missing(request.param):
        pytest.skip(reason)
    with Stage(request.param) as running:
        yield running


def _nothing_found(tally: Tally) -> None:
    assert tally.cuts > 0
    assert not tally.found, f"{dict(tally.found)} in {tally.trials} trials:\n" + "\n".join(tally.examples[:5])


@pytest.mark.faults
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("direction", [OUT, IN])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_costs_nothing(stage: Stage, kind: str, direction: str, part: int) -> None:
    tally = Tally()
    first = 1 + APART * STRATEGIES.index(stage.strategy)
    for cuts in single_cuts(stage, kind, direction, every=EVERY, first=first)[part::4]:
        tally.add(stage.trial(kind, cuts))
    _nothing_found(tally)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(4))
def test_two_cuts_cost_nothing(stage: Stage, seed: int) -> None:
    tally = Tally()
    for kind, cuts in double_cuts(stage, DOUBLE // len(STRATEGIES) // 4, seed):
        tally.add(stage.trial(kind, cuts))
    _nothing_found(tally)


@pytest.mark.faults
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_look_that_breaks_off_twice_proves_nothing(strategy: str) -> None:
    """One message alone is asked for by itself: a connection that broke at it once, and again at once after that, and then is refused
    must not be taken for a message that cannot be read, and its copy not for one that is not there."""
    if reason := trial.missing(strategy):
        pytest.skip(reason)
    tally = Tally()
    with Stage(strategy, alone=True) as stage:
        for after in range(stage.sizes["clean"][IN] // 2, stage.sizes["clean"][IN], 60):
            tally.add(stage.trial("clean", [Cut(IN, after), Cut(OUT, 103, refuse=True)]))
    _nothing_found(tally)


# The checker itself, which must be able to find something: these run with all other tests.


def _message(number: int, folder: str = "INBOX", *, flags: str = "\\Seen", raw: bytes = b"") -> Message:
    return Message(folder, 5, number, frozenset(flags.split()), "01-Jan-2026 00:00:00 +0000", raw or wanted(number))


def _kinds(found: list[Violation]) -> list[str]:
    return [one.kind for one in found]


def test_the_checker_sees_what_is_lost_and_what_is_there_twice() -> None:
    before = [_message(1), _message(2)]
    assert content(before, before) == []
    assert _kinds(content(before, before[:1])) == ["lost"]
    assert _kinds(content(before, [*before, _message(1, "Ads")])) == ["duplicated"]
    assert _kinds(content(before, [_message(1), _message(2, raw=wanted(2) + b"!")])) == ["lost", "duplicated"]


def test_the_checker_sees_what_was_touched() -> None:
    before = [_message(1), _message(2)]

    def ours(one: Message) -> bool:
        return one.raw == wanted(1)

    after = [_message(1, "Ads"), _message(2)]
    assert placing(before, after, ours, "Ads") == []
    assert _kinds(placing(before, before, ours, "Ads")) == ["altered"]
    assert _kinds(placing(before, [after[0], _message(2, flags="")], ours, "Ads")) == ["foreign"]
    assert _kinds(deleted(before, [_message(1, flags="\\Deleted \\Seen")], ours)) == ["deleted"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_cut_of_each_kind(strategy: str) -> None:
    """A taste of the sweep, so that it cannot break unseen between two runs of CI."""
    if reason := trial.missing(strategy):
        pytest.skip(reason)
    with Stage(strategy) as stage:
        for kind in KINDS:
            size = stage.sizes[kind]
            for cut in (
                Cut(OUT, size[OUT] // 2),
                Cut(OUT, size[OUT] - 20, True),
                Cut(IN, size[IN] - 40),
                Cut(IN, 3, True),
            ):
                _nothing_found(stage.trial(kind, [cut]))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_mail_that_arrives_meanwhile_confuses_nothing(strategy: str, kind: str) -> None:
    """Courier counts it in UIDNEXT, but gives its number to a copy that comes before anybody has looked."""
    if reason := trial.missing(strategy):
        pytest.skip(reason)
    with trial.start(strategy) as server, Proxy(server.plain_port) as proxy:  # type: ignore[attr-defined]
        box = Mailbox(server, proxy)
        box.fill()
        folder = ".LinkedIn" if kind == "clean" else ""
        if kind == "undo":
            box.clean()
        else:
            server.deliver(box.user, message(20, wanted=False), folder=folder)
        for number in (21, 22):
            server.deliver(box.user, message(number, wanted=False), folder=folder)
        outcome = box.clean() if kind == "clean" else box.undo()
        assert len(outcome.moved) == 3
        names = [one.message_id for one in box.look()]
        assert len(names) == len(set(names))
