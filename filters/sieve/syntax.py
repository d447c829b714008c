"""Sieve as text (RFC 5228): strings that hold what was meant and nothing else, and tests laid out so that a person can read them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

#: A test or a part of one, line by line.
Lines = list[str]
_WIDTH = 110
_STEP = "  "
_REFUSED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def quoted(text: str) -> str:
    """A quoted string (RFC 5228, 2.4.2), which may hold tabs and line ends. Raises ValueError for what it may not hold."""
    if _REFUSED.search(text):
        raise ValueError("a control character")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(text: str) -> str:
    """The part of a pattern of `:matches` that stands for exactly this text."""
    return "".join(f"\\{char}" if char in "*?\\" else char for char in text)


def test(head: str, values: Iterable[str]) -> Lines:
    """A test whose last argument is one string, or any of several."""
    strings = [quoted(value) for value in values]
    whole = f"{head} {strings[0]}" if len(strings) == 1 else f"{head} [{', '.join(strings)}]"
    if len(whole) <= _WIDTH or len(strings) == 1:
        return [whole]
    lines = [""]
    for string in strings:
        if lines[-1] and len(lines[-1]) + len(string) + 2 > _WIDTH:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{string},"
    return [f"{head} [", *(_STEP + line for line in lines[:-1]), f"{_STEP}{lines[-1].removesuffix(',')}", "]"]


def all_of(*tests: Lines) -> Lines:
    """A test that is true when all are."""
    return tests[0] if len(tests) == 1 else _group("allof", tests)


def any_of(*tests: Lines) -> Lines:
    """A test that is true when one is."""
    return tests[0] if len(tests) == 1 else _group("anyof", tests)


def no(lines: Lines) -> Lines:
    """A test that is true when the other one is not."""
    return [f"not {lines[0]}", *lines[1:]]


def because(why: str, lines: Lines) -> Lines:
    """The same test below a comment."""
    return [*comment(why), *lines]


def comment(text: str) -> Lines:
    """Lines of comments; a paragraph each."""
    paragraphs = (
        textwrap.wrap(part, _WIDTH - 10, break_long_words=False, break_on_hyphens=False) or [""]
        for part in text.split("\n")
    )
    return [f"# {line}".rstrip() for part in paragraphs for line in part]


def _group(word: str, tests: Sequence[Lines]) -> Lines:
    lines = [f"{word} ("]
    for number, one in enumerate(tests, 1):
        end = "" if number == len(tests) else ","
        lines += [f"{_STEP}{line}" for line in one[:-1]] + [f"{_STEP}{one[-1]}{end}"]
    return [*lines, ")"]
