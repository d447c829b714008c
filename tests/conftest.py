"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import dovecot as server


@pytest.fixture(scope="session")
def dovecot() -> Iterator[server.Dovecot]:
    """A Dovecot for the whole session; take a user of your own from it."""
    if reason := server.missing():
        pytest.skip(reason)
    with server.Dovecot() as running:
        yield running


@pytest.fixture
def user(dovecot: server.Dovecot) -> str:
    """A user of `dovecot` with an empty mailbox."""
    return dovecot.new_user()
