"""The header that carries a verdict: what it says, and how it gets into a message of which no other byte changes."""

from __future__ import annotations

import re
from typing import Any

from filters import __version__

NAME = b"X-Unpitch"
#: What somebody else wrote under our name, folded lines too. Some readers take a bare CR for the end of a line.
_OURS = re.compile(
    rb"(?<![^\r\n])" + NAME + rb"[ \t]*:[^\r\n]*(?:\r\n|\n|\r|\Z)(?:[ \t][^\r\n]*(?:\r\n|\n|\r|\Z))*", re.IGNORECASE
)
#: The line that an mbox, and some delivery agents, put before a message.
_ENVELOPE = re.compile(rb">?From [^\n]*\n")
_BLANK_LINE = re.compile(rb"(?<![^\n])\r?\n")
_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:")
#: What may be done with a mail: the exit codes of `unpitch-deliver --exit-code`.
STANDINGS = {"promotional": 0, "other": 1, "unsure": 2}


def standing(result: dict[str, Any]) -> str:
    """What a delivery may do with a mail, by what `filters.judge` said of it: only what `clean` would move unasked is "promotional".

    "unsure": so it may be, but the model is not sure enough, or nobody who is trusted vouches for its origin.
    """
    if not result["claims"]:
        return "other"
    verdict = result["verdict"]
    authenticity = verdict["authenticity"]
    barred = verdict["never"] or verdict["several"] or not verdict["known"] or authenticity["contradicted"]
    if barred or authenticity["state"] == "forged":
        return "other"
    if verdict["promotional"]:
        return "promotional" if authenticity["state"] == "verified" else "unsure"
    return "unsure" if verdict["unsure"] else "other"


def said(result: dict[str, Any]) -> dict[str, str]:
    """What the header says, in order: words of our own data and numbers, never one of the mail."""
    category, probability, state = "none", 0.0, "none"
    if result["claims"]:
        verdict = result["verdict"]
        category, probability, state = verdict["category"], verdict["probability"], verdict["authenticity"]["state"]
    words = {"category": category, "p": f"{probability:.3f}", "auth": state, "v": __version__}
    return words | {"verdict": standing(result)}


def value(result: dict[str, Any]) -> str:
    """The same as it stands in the header."""
    return "; ".join(f"{name}={word}" for name, word in said(result).items())


def marked(start: bytes, verdict: str) -> bytes:
    """`start`, the beginning of a message with its header block, with our header on top of the block and none of that name below.

    It goes behind an mbox's "From " line and ends as the first line ends. `verdict` "": nobody may speak for us, and nor do we. Where
    no header begins the block none is added: what follows would become a part of it.
    """
    envelope = _ENVELOPE.match(start)
    top = envelope.end() if envelope else 0
    blank = _BLANK_LINE.search(start, top)
    end = blank.start() if blank else len(start)
    block = _OURS.sub(b"", start[top:end])
    if not verdict or not _HEADER.match(block):
        return start[:top] + block + start[end:]
    line_end = b"\r\n" if start[: start.find(b"\n") + 1].endswith(b"\r\n") else b"\n"
    return start[:top] + NAME + b": " + verdict.encode("ascii") + line_end + block + start[end:]
