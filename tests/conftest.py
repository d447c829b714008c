"""Fixtures that several test modules share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from dovecot import WITHOUT_MOVE, Dovecot, missing

# Whoever starts the tests in the background hands down an ignored Ctrl-C, which processes of ours would go on to ignore.
signal.signal(signal.SIGINT, signal.default_int_handler)


#: Whose single tests take longest. They begin, so that no worker is at one of them when the others have nothing left to do.
LONGEST = ("test_cli_learn.py", "test_train.py", "test_training.py", "test_cli_training.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """A Dovecot for the whole session; take a user of your own from it."""
    if reason := missing():
        pytest.skip(reason)
    with Dovecot() as running:
        yield running


@pytest.fixture(scope="session")
def dovecot_without_move() -> Iterator[Dovecot]:
    """A Dovecot that does not say that it can move, so that we copy."""
    if reason := missing():
        pytest.skip(reason)
    with Dovecot(capability=WITHOUT_MOVE) as running:
        yield running


@pytest.fixture
def user(dovecot: Dovecot) -> str:
    """A user of `dovecot` with an empty mailbox."""
    return dovecot.new_user()
