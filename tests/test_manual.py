"""The man page: as the commands are now, and as the programs that show it want it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from scripts.manual import PAGE, page


def test_the_man_page_is_up_to_date() -> None:
    """Run scripts/manual after a change of an option or a help text."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_command_and_its_options_are_in_it() -> None:
    text = page()
    assert ".SS clean\n" in text
    assert ".SS schedule install\n" in text
    assert "\\fB\\-\\-no\\-brake\\fR" in text
    assert "\\fB78\\fR" in text


@pytest.mark.parametrize(
    "words",
    [["man", "--warnings", "-l"], ["groff", "-man", "-k", "-ww", "-z"], ["mandoc", "-T", "lint", "-W", "error"]],
    ids=lambda words: words[0],
)
def test_no_program_that_shows_it_complains(words: list[str]) -> None:
    if not shutil.which(words[0]):
        pytest.skip(f"no {words[0]} here")
    done = subprocess.run([*words, str(PAGE)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
