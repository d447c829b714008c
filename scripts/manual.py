"""Writes packaging/unpitch.1, the man page, from the commands themselves: run by scripts/manual after each change of an option or a help text."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from typer import Context
from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.main import get_command

from filters import __version__
from filters.cli import app
from filters.errors import EXIT_CODES

PAGE = Path(__file__).parent.parent / "packaging" / "unpitch.1"
_ENVIRONMENT = {
    "UNPITCH_CONFIG": "The configuration file; `unpitch config path` says which one is read.",
    "UNPITCH_STATE": "The folder of the journal and of models of your own.",
    "UNPITCH_PASSWORD": "A password, where no better way is set up. Other programs of yours can read it.",
}


def page() -> str:
    """The page, as mandoc and groff read it (man(7))."""
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    context = Context(command, info_name="unpitch")
    lines = [
        '.\\" Made by scripts/manual; change the help texts instead.',
        f'.TH UNPITCH 1 "" "unpitch {__version__}" "User Commands"',
        ".SH NAME",
        r"unpitch \- find LinkedIn's mail, and move its advertising aside",
        ".SH SYNOPSIS",
        ".B unpitch",
        r"[\fIOPTION\fR] \fICOMMAND\fR [\fIARGUMENT\fR]...",
        ".SH DESCRIPTION",
        _text(command.help or ""),
        ".PP",
        r"Every command takes \fB\-\-help\fR. Most people need \fBinit\fR, \fBaudit\fR,",
        r"\fBclean\fR and \fBundo\fR.",
        ".SH OPTIONS",
        *_options(command, context),
        ".SH COMMANDS",
        *_commands(command, context),
        ".SH EXIT STATUS",
    ]
    for code, meaning in EXIT_CODES.items():
        lines += _entry(f"\\fB{code}\\fR", meaning)
    lines.append(".SH ENVIRONMENT")
    for name, meaning in _ENVIRONMENT.items():
        lines += _entry(f"\\fB{name}\\fR", meaning)
    return "\n".join(lines) + "\n"


def _commands(group: TyperGroup, above: Context) -> Iterator[str]:
    for name, command in group.commands.items():
        context = Context(command, parent=above, info_name=name)
        if isinstance(command, TyperGroup):
            yield from _commands(command, context)
            continue
        words = " ".join(context.command_path.split()[1:])
        arguments = [param.make_metavar(context) for param in command.params if isinstance(param, TyperArgument)]
        shown = " ".join(f"\\fI{_inline(argument)}\\fR" for argument in arguments)
        yield f".SS {words}"
        yield f"\\fBunpitch {_inline(words)}\\fR [\\fIOPTION\\fR]... {shown}".rstrip()
        for paragraph in (command.help or "").split("\n\n"):
            yield from (".PP", _text(paragraph))
        yield from _options(command, context)


def _options(command: TyperCommand | TyperGroup, context: Context) -> Iterator[str]:
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record and (param.name != "help" or not context.parent):  # every command has it; once is enough
            yield from _entry(f"\\fB{_inline(record[0])}\\fR", record[1])


def _entry(term: str, meaning: str) -> list[str]:
    return [".TP", term, _text(meaning)]


def _inline(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")


def _text(text: str) -> str:
    """A paragraph: no line of it is a request of roff's."""
    lines = textwrap.wrap(_inline(text), 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is written.\n")
