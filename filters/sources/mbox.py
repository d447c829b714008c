"""mbox: where one message ends and the next begins. The file is read in blocks and never held whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from filters.sources import MESSAGE_CAP

#: How every mbox file begins, and every message in it.
START = b"From "
#: Bytes of a line that are held; a longer one is cut, which changes nothing unless somebody wants it to.
_LONGEST_LINE = 1_048_576
_QUOTED = re.compile(rb"(?<=\n)>(?=>*From )")


@dataclass(slots=True)
class _Message:
    head: bytearray = field(default_factory=bytearray)
    size: int = 0
    end: bytes = b"\n"

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self.head += piece[: MESSAGE_CAP + 2 - len(self.head)]
        self.end = (self.end + piece)[-3:]

    def finished(self) -> tuple[bytes, int]:
        """Without the blank line that belongs to the file, not to the message."""
        blank = 2 if self.end.endswith(b"\n\r\n") else 1 if self.end.endswith(b"\n\n") else 0
        size = self.size - blank
        return bytes(self.head[: min(size, MESSAGE_CAP)]), size


def messages(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """(the first `MESSAGE_CAP` bytes, the size) of each message; the file must begin with `START`.

    A message begins after a "From " line that is the first line or follows a blank one. Of ">From ", ">>From " and so on one
    ">" is taken away (mboxrd, and right for mboxo too). Content-Length is ignored: nobody can tell whether it is true.
    """
    message: _Message | None = None
    before = b"\n\n"  # the bytes before a block, so that a line is seen in its surroundings
    for block in _whole_lines(blocks):
        window = before + block
        at = len(before)
        for start, end in _separators(window, at):
            if message:
                message.add(_unquoted(window, at, start))
                yield message.finished()
            message, at = _Message(), end
        if message:
            message.add(_unquoted(window, at, len(window)))
        before = window[-3:]
    if message:
        yield message.finished()


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks that end with a line, unless a line is longer than that."""
    rest = b""
    for block in blocks:
        rest += block
        end = rest.rfind(b"\n") + 1 or len(rest) // _LONGEST_LINE * _LONGEST_LINE
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def _separators(window: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Start and end of each "From " line from `at` on that follows a blank line."""
    while (found := window.find(b"\n" + START, at - 1)) >= 0:
        start = found + 1
        at = window.find(b"\n", start) + 1 or len(window)
        if window.endswith((b"\n\n", b"\n\r\n"), 0, start):
            yield start, at


def _unquoted(window: bytes, start: int, end: int) -> bytes:
    piece = window[start - 1 : end]  # with the byte before, which tells whether a line begins here
    return (_QUOTED.sub(b"", piece) if b">" + START in piece else piece)[1:]
