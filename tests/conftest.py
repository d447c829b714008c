"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dovecot import Dovecot, missing


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """A Dovecot for the whole session; take a user of your own from it."""
    if reason := missing():
        pytest.skip(reason)
    with Dovecot() as running:
        yield running


@pytest.fixture
def user(dovecot: Dovecot) -> str:
    """A user of `dovecot` with an empty mailbox."""
    return dovecot.new_user()
