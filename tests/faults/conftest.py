"""Fixtures for the tests by fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dovecot import Dovecot

from faults.world import World


@pytest.fixture
def on_server(tmp_path: Path) -> Callable[[Dovecot], World]:
    """Makes an empty account on a server."""

    def make(server: Dovecot) -> World:
        user = server.new_user()
        how = "copy" if server.hides_move else "move"
        return World(how, server.maildir(user), tmp_path / "state", server, user)

    return make


@pytest.fixture(params=["move", "copy", "maildir"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """An account with mail in it: where the server can move, where it can copy, and on the disk."""
    if request.param == "maildir":
        return World("maildir", tmp_path / "mail", tmp_path / "state").fill()
    server = request.getfixturevalue("dovecot" if request.param == "move" else "dovecot_without_move")
    made: World = request.getfixturevalue("on_server")(server)
    return made.fill()


@pytest.fixture(params=["move", "copy"])
def remote(request: pytest.FixtureRequest, on_server: Callable[[Dovecot], World]) -> World:
    """The same on servers only."""
    return on_server(request.getfixturevalue("dovecot" if request.param == "move" else "dovecot_without_move")).fill()
