"""A run that notices what a person moved is killed at each of its steps: no lesson is lost, and none is made up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_corrections import ADVERT, ALERT, OTHER_ADVERT, OTHER_ALERT, Account, _in_files, _name, clean, to_learn
from test_moving import _maildir

from faults.points import killed_at

pytestmark = pytest.mark.faults


def _cleaned(root: Path, path: Path) -> Account:
    account = _in_files(_maildir(root))
    for raw in (ADVERT, OTHER_ADVERT, ALERT, OTHER_ALERT):
        account.box.deliver(raw, "S")
    clean(account, path, adverts=[ADVERT])
    return account


def test_killed_at_every_step_a_run_notices_the_same(tmp_path: Path) -> None:
    root, path, saved = tmp_path / "mail", tmp_path / "state" / "journal.sqlite3", tmp_path / "saved"
    account = _cleaned(root, path)
    account.drag(ADVERT, "Ads", "")
    account.drag(ALERT, "", "Ads")
    for folder in (root, path.parent):
        shutil.copytree(folder, saved / folder.name)
    step = 1
    while killed_at(step, lambda: clean(account, path)):
        clean(account, path)
        assert to_learn(account, path) == {_name(ADVERT): "keep", _name(ALERT): "promotional"}, step
        assert (account.box.where(ADVERT), account.box.where(OTHER_ADVERT)) == ([""], [".Ads"])
        for folder in (root, path.parent):
            shutil.rmtree(folder)
            shutil.copytree(saved / folder.name, folder)
        step += 1
    assert step > 10
