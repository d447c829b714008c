"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from filters.errors import EXIT_CODES, FiltersError

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "filters").rglob("*.py"))


def _strings_without_docstrings(tree: ast.Module) -> list[str]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_of_a_sender_stands_in_code(path: Path) -> None:
    """Wordings, addresses and URLs are data. Only the command line's own help and default folder may name the sender."""
    strings = _strings_without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
    if path.parent.name == "cli":
        strings = [
            text for text in strings if re.search(r"(?i)linkedin\.com|inmail|licdn", text) and text != "partner_inmail"
        ]
    assert [text for text in strings if "linkedin" in text.lower() or "licdn" in text.lower()] == []


def test_the_readme_prints_the_exit_codes_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", readme, re.MULTILINE))
    assert {int(code): text for code, text in rows.items()} == EXIT_CODES


def test_every_error_has_a_documented_exit_code() -> None:
    assert {error.exit_code for error in FiltersError.__subclasses__()} <= set(EXIT_CODES)


def test_every_command_is_in_the_readme_and_has_help() -> None:
    from typer.main import get_command

    from filters.cli import app

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"unpitch {name}" in readme
        assert command.help


@pytest.mark.parametrize("module", ["sklearn", "numpy", "scipy"])
def test_judging_imports_nothing_heavy(module: str) -> None:
    code = f"import filters.cli, filters.judge, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_m1_no_pickle_anywhere() -> None:
    for path in MODULES:
        assert not re.search(r"^\s*(import|from) (pickle|joblib|shelve|marshal)", path.read_text(), re.MULTILINE), path


def test_the_tests_that_the_guarantees_name_exist() -> None:
    section = (ROOT / "README.md").read_text().partition("## Guarantees")[2].partition("\n## ")[0]
    named = re.findall(r"(test_\w+|wire_rules)\.py(?:::(test_\w+))?", section)
    assert len(named) > 15
    for module, function in named:
        (path,) = (ROOT / "tests").rglob(f"{module}.py")
        assert f"\ndef {function}(" in path.read_text() if function else True, (module, function)
