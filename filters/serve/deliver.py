"""`unpitch-deliver`: a message on stdin comes out of stdout with the verdict in a header. Imports little: it starts for each mail.

The message goes on whole or not at all, as far as one who writes to a pipe can see to that: nothing is written before it is known
how, a message too large to be judged is handed through as it comes, and whoever calls learns from the exit code that it broke off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from filters import __version__
from filters.serve.alone import Unjudged, judge_alone
from filters.serve.marking import STANDINGS, marked, standing, value

#: EX_TEMPFAIL: mail servers and delivery agents keep the mail and try again. For everything: another code may bounce it.
TEMPFAIL = 75
#: A longer message is handed through unread (`filters.message.MESSAGE_CAP`, not imported for its price).
MOST = 1_048_576
_PIECE = 65_536
_USAGE = """\
usage: unpitch-deliver [--trust-authserv ID[:PLACE]]... [--model FILE] [--tempfail] [--exit-code | -- COMMAND [ARGUMENT]...]

Reads one message from stdin, and writes it to stdout with one header added that says what it is:
  X-Unpitch: category=partner_inmail; p=0.998; auth=verified; v=0.1.0; verdict=promotional
A header of that name that comes with the message is removed.

  --trust-authserv ID[:PLACE]  believe Authentication-Results of this receiver; without one, nothing is "verified", and so nothing
                               "promotional" (also: --authserv-id)
  --model FILE                 judge with this model
  --exit-code                  write nothing; exit with 0: promotional, 1: not, 2: unsure or not to be judged
  --tempfail                   exit with 75 when judging fails, so that the message is kept and tried again; without this option
                               it goes through with no header added, as do messages that are too large or no mail in any case
  -- COMMAND ...               give the message to this command on its stdin, from a file that is complete, and end as it ends
  --help, --version

Exit codes: 0 (with --exit-code 0, 1 or 2; with COMMAND the command's), or 75 when the message could not be passed on.
"""


class _Options:
    """What the command line says (argparse would cost a tenth of the time there is)."""

    def __init__(self, words: Sequence[str]) -> None:
        self.exit_code = self.tempfail = False
        self.model = ""
        self.trusted: list[str] = []
        self.command: list[str] = []
        rest = iter(words)
        for word in rest:
            name, equals, given = word.partition("=")
            if word == "--":
                self.command = list(rest)
            elif word == "--exit-code":
                self.exit_code = True
            elif word == "--tempfail":
                self.tempfail = True
            elif name in ("--trust-authserv", "--authserv-id"):
                self.trusted.append(given if equals else _next(rest, name))
            elif name == "--model":
                self.model = given if equals else _next(rest, name)
            else:
                raise ValueError(f"there is no option {word!r}")
        if words[-1:] == ["--"] or (self.command and self.exit_code):
            raise ValueError("behind -- stands a command, and without --exit-code")


def _next(rest: Iterator[str], name: str) -> str:
    word = next(rest, None)
    if word is None:
        raise ValueError(f"{name} wants a value")
    return word


def main() -> NoReturn:
    """The console script. Never returns, and never ends with a traceback: its exit code would bounce mail."""
    words = sys.argv[1:]
    if words in (["--help"], ["-h"], ["--version"]):
        print(_USAGE if words[0] != "--version" else f"unpitch {__version__}", end="\n" if "v" in words[0] else "")
        sys.exit(0)
    try:
        code = _deliver(_Options(words))
    except ValueError as error:
        code = _trouble(f"{error}; unpitch-deliver --help shows what there is")
    except BrokenPipeError:
        code = _trouble("whoever reads the message is gone")
    except OSError as error:
        code = _trouble(f"the message cannot be passed on: {(error.strerror or 'unknown error').lower()}")
    except Exception as error:
        code = _trouble(f"a defect in unpitch ({type(error).__name__})")
    os._exit(code)  # what Python still holds of stdout was never ours


def _trouble(why: str) -> int:
    _say(f"{why}. The message was not passed on; try again (exit code {TEMPFAIL})")
    return TEMPFAIL


def _say(text: str) -> None:
    """One line for the log of whoever called."""
    line = "".join(char if char.isprintable() else "?" for char in text)
    try:
        os.write(2, f"unpitch-deliver: {line}.\n".encode("utf-8", "replace"))
    except OSError:
        return  # nobody listens, and the mail matters more


def _deliver(options: _Options) -> int:
    start = b"".join(_pieces(MOST + 1))
    result = judge_alone(start, options.model, options.trusted) if 0 < len(start) <= MOST else _unread(start)
    if isinstance(result, Unjudged):
        _say(f"not judged: {result.why}")
        if options.tempfail and not result.always:
            return TEMPFAIL
    if options.exit_code:
        for _ in _pieces(sys.maxsize):  # who writes to us must not break off
            pass
        return STANDINGS["unsure" if isinstance(result, Unjudged) else standing(result)]
    start = marked(start, "" if isinstance(result, Unjudged) else value(result))
    if options.command:
        _run(options.command, start)
    _write(1, start)
    for piece in _pieces(sys.maxsize):
        _write(1, piece)
    os.close(1)  # the last chance to be told that the disk is full
    return 0


def _unread(start: bytes) -> Unjudged:
    return Unjudged(f"it is larger than {MOST:,} bytes" if start else "there is no message on stdin", always=True)


def _pieces(most: int) -> Iterator[bytes]:
    """What stdin has, at most so many bytes."""
    while most > 0 and (piece := os.read(0, min(_PIECE, most))):
        most -= len(piece)
        yield piece


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _run(command: Sequence[str], start: bytes) -> NoReturn:
    """Become the command, with the message as its stdin: a file without a name, so that it is all there or not at all."""
    from tempfile import TemporaryFile  # noqa: PLC0415  (only here)

    with TemporaryFile() as file:
        _write(file.fileno(), start)
        for piece in _pieces(sys.maxsize):
            _write(file.fileno(), piece)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        os.dup2(file.fileno(), 0)
    os.execvp(command[0], list(command))  # noqa: S606  (no shell is what is wanted)
