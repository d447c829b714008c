"""Settling among messages that are alike, in folders that were numbered anew, and without a folder that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from dovecot import Dovecot
from test_moving import (
    NOW,
    ONE,
    TWO,
    Box,
    Gone,
    Watched,
    _break,
    _file,
    _on_server,
    _renumber,
    at,
    clean,
    running,
    states,
)

from filters.journal import open_journal
from filters.moving import reconcile, undo


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


def _copied(server: Dovecot, path: Path) -> Box:
    """Two alike, copied, and the run killed before the originals were removed."""
    server_box = _on_server(server, copies=True)
    server.deliver(server_box.url, ONE, folder=".Lists", flags="S")
    server.deliver(server_box.url, ONE, folder=".Lists", flags="S")
    box = Box(server_box.root, "Lists", server_box.open_at, server_box.deliver, server_box.url, copies=True)
    with pytest.raises(Gone):
        clean(box, path, lambda source: Watched(source, before=at("remove", _break)))
    return box


def test_a_copy_of_one_is_not_taken_for_that_of_another(dovecot_without_move: Dovecot, path: Path) -> None:
    box = _copied(dovecot_without_move, path)
    _file(box, ONE, ".Ads").unlink()
    with running(box, path) as (source, journal, _):
        reconcile(source, journal)
    assert sorted(box.where(ONE)) == [".Ads", ".Lists"]


def test_originals_that_were_numbered_anew_are_not_taken_for_gone(dovecot_without_move: Dovecot, path: Path) -> None:
    box = _copied(dovecot_without_move, path)
    _renumber(dovecot_without_move, box.url, "Lists")
    with running(box, path) as (source, journal, _):
        reconcile(source, journal)
    assert "done" not in states(path) or ".Lists" not in box.where(ONE)


def test_of_more_that_are_alike_than_were_copied_none_is_removed(dovecot_without_move: Dovecot, path: Path) -> None:
    box = _copied(dovecot_without_move, path)
    dovecot_without_move.deliver(box.url, ONE, folder=".Lists", flags="S")
    _renumber(dovecot_without_move, box.url, "Lists")
    with running(box, path) as (source, journal, _):
        reconcile(source, journal)
    assert states(path) == ["doubt", "doubt"]
    assert box.where(ONE).count(".Lists") == 3


def test_undo_puts_back_the_rest_where_a_folder_with_open_moves_is_gone(dovecot: Dovecot, path: Path) -> None:
    box = _on_server(dovecot)
    dovecot.deliver(box.url, TWO, flags="S")
    clean(box, path)
    dovecot.deliver(box.url, ONE, folder=".Lists", flags="S")
    lists = Box(box.root, "Lists", box.open_at, box.deliver, box.url)
    with pytest.raises(Gone):
        clean(lists, path, lambda source: Watched(source, before=at("move", _break)))
    with dovecot.neighbour(box.url) as client:
        client.delete("Lists")
    with open_journal(path) as journal:
        every = [move for run in journal.runs() for move in journal.moves(run.id)]
        with journal.run(every[0].place.account, "undo", NOW) as run:
            outcome = undo(box.open_at, journal, run, every)
    assert [move.message_id for move in outcome.moved] == ["2@example.org"]
    assert [left.reason for left in outcome.left] == ["the folder Lists is gone"]
    assert box.where(TWO) == [""]
