"""How lines and tables look on a terminal, and plain when piped; every word passes `safe_text`."""

from __future__ import annotations

from collections.abc import Callable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from filters.safe_text import safe_text


def say(console: Console, text: str, style: str = "", safe: Callable[[str], str] = safe_text) -> None:
    """Print safe text: wrapped under its own indentation on a terminal, one line when piped."""
    indent = len(text) - len(text.lstrip(" "))
    line = Text(safe(text[indent:]), style=style)
    wrapped = line.wrap(console, max(console.width - indent, 20)) if console.is_terminal else [line]
    for part in wrapped or [line]:
        console.print(Text(" " * indent) + part, soft_wrap=True)


def table_for(console: Console) -> Table:
    """A table that looks well on a terminal and is plain text when piped."""
    return Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, header_style="bold", show_edge=False)


def counted(number: int, noun: str) -> str:
    """ "1 mail", "1,234 mails"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
