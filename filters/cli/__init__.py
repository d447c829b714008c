"""The command line: options in, one call, print out; errors become one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from filters import __version__
from filters.cli import mailbox, tell
from filters.errors import FiltersError
from filters.safe_text import safe_text

app = typer.Typer(
    name="unpitch",
    help="Finds LinkedIn's mail in a mailbox, tells its advertising from the mail you want, moves the advertising to a folder,"
    " can take it back, and says how to opt out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
mailbox.add_to(app)
tell.add_to(app)


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and end.", is_eager=True)) -> None:
    """Options before any command."""
    if show:
        typer.echo(f"unpitch {__version__}")
        raise typer.Exit


def main() -> None:
    """The command `unpitch`."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except FiltersError as error:
        _end(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except SystemExit as end:
        if end.code in (1, 130):  # Ctrl-C, at a prompt or elsewhere
            _end("Stopped. What was moved so far is in the journal; `unpitch undo --last` takes it back.", 130)
        raise


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def _end(message: str, code: int) -> None:
    print(f"unpitch: {safe_text(message)}", file=sys.stderr)
    sys.exit(code)
