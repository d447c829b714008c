"""The command line: options in, one call, print out; errors become one line and an exit code."""

from __future__ import annotations

import io
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

import typer

from filters import __version__
from filters.cli import (
    accounts,
    auditing,
    cleaning,
    configuration,
    exporting,
    granting,
    initial,
    learning,
    reviewing,
    scheduling,
    serving,
    tell,
    training,
    undoing,
    watching,
)
from filters.cli.ending import ENDING, SIGTERM_CODE
from filters.errors import FiltersError, WriteError
from filters.log import log
from filters.safe_text import safe_text

#: What a command that was broken off leaves behind. No word of `undo --last`: where this run moved nothing, that would take back the
#: one before.
_JOURNAL = "What was moved so far is in the journal: `unpitch runs` shows it, `unpitch undo --run ID` takes it back."
_MODELS = "A model that was not finished is not kept: `unpitch models` shows which one is in use."
_LEFT = dict.fromkeys(("clean", "undo", "watch"), _JOURNAL) | dict.fromkeys(("learn", "train"), _MODELS)
_LEFT |= dict.fromkeys(("audit", "evaluate", "explain"), "Nothing was changed.")

app = typer.Typer(
    name="unpitch",
    help="Finds LinkedIn's mail in a mailbox, tells its advertising from the mail you want, moves the advertising to a folder,"
    " can take it back, and says how to opt out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# in the order in which a person meets them
initial.add_to(app)
accounts.add_to(app)
granting.add_to(app)
configuration.add_to(app)
auditing.add_to(app)
cleaning.add_to(app)
watching.add_to(app)
scheduling.add_to(app)
serving.add_to(app)
exporting.add_to(app)
undoing.add_to(app)
tell.add_to(app)
learning.add_to(app)
reviewing.add_to(app)
training.add_to(app)


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and end.", is_eager=True)) -> None:
    """Options before any command."""
    if show:
        typer.echo(f"unpitch {__version__}")
        raise typer.Exit


def main() -> None:
    """The command `unpitch`."""
    _guard_streams()
    ENDING.obey()
    try:
        app()
    except FiltersError as error:
        _end(str(error), error.exit_code)
    except SystemExit as end:
        if end.code in (1, 130):  # Ctrl-C, at a prompt or elsewhere
            _end(_with_rest("Stopped."), 130)
        if end.code == SIGTERM_CODE:
            _end(_with_rest("Stopped."), SIGTERM_CODE)
        _end("", int(end.code or 0))
    except Exception as error:  # its text may hold mail
        at = traceback.extract_tb(error.__traceback__)[-1]
        defect = f"A defect in unpitch: {type(error).__name__} in {Path(at.filename).name}, line {at.lineno}."
        _end(_with_rest(f"{defect} Please report this."), 70)


def _with_rest(text: str) -> str:
    """What happened, and what the command that it happened to leaves behind."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    return f"{text} {_LEFT.get(command, '')}".rstrip()


class _Output:
    """Standard output that says in our words that it cannot be written. Whoever closed a pipe has seen enough, and reads nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _writing():
            return self._stream.write(text)

    def flush(self) -> None:
        with _writing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise SystemExit(WriteError.exit_code) from None
    except OSError as error:
        why = (error.strerror or "unknown error").lower()
        raise WriteError(_with_rest(f"The output cannot be written: {why}.")) from None


def _guard_streams() -> None:
    """Three streams that can be used, whatever we were started with. A closed one would be the next file that is opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (for as long as we live)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # in a locale that lacks a letter
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = cast(TextIO, _Output(sys.stdout))


def _end(message: str, code: int) -> NoReturn:
    """End with one line on stderr, and let go of what could not be written."""
    mine = log()
    line = f"unpitch: {safe_text(message)}\n" if message and not mine.as_json else ""
    for stream, text in ((sys.stdout, ""), (sys.stderr, line)):
        try:
            stream.write(text)
            stream.flush()
        except (OSError, WriteError, SystemExit):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = code or WriteError.exit_code
    if message:
        mine.event("error", why=message, exit_code=code)
    mine.event("ended", exit_code=code, seconds=round(time.monotonic() - mine.began, 3))
    sys.exit(code)
