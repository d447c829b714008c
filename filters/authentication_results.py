"""One Authentication-Results value (RFC 8601) to methods and properties: tolerant of every receiver's habits, never of what
stands in comments and quotes, in linear time, and without ever raising.

Real receivers leave the id out (Microsoft), the blank before a comment (Yahoo), or end in ";". Senders choose parts of the
text: an envelope sender with a quoted local part, a reason, a comment. Whoever searches such a header for "dmarc=pass"
finds what the sender wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENING = re.compile(r'["(]')
_QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_PARENTHESIS = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
#: A quoted string is taken out before the text is cut, and put back into values afterwards: its number between two NULs.
_MASK = re.compile(r"\0(\d+)\0")
_WORD = re.compile(r"([^\s=]+)(?:\s*=\s*(\S*))?")
_METHOD = re.compile(r"([a-z][a-z0-9_-]*)(?:/\d+)?")
_KEYWORD = re.compile(r"[a-z][a-z0-9_-]*")
_ID = re.compile(r"([^\s=]+)(?:\s+(\d+))?")


@dataclass(frozen=True, slots=True)
class Method:
    """A method's result. `name` and `result` are lower case; `result` is "" when what stands there is no keyword."""

    name: str
    result: str
    properties: tuple[tuple[str, str], ...]
    """("header.d", "example.org") and the like, in order; names are lower case, values as written, without quotes."""

    def values(self, *names: str) -> tuple[str, ...]:
        """The values of these properties, in order."""
        return tuple(value for name, value in self.properties if name in names)


@dataclass(frozen=True, slots=True)
class Results:
    """What one header says. `authserv_id` is lower case, and "" when the header begins with a method. One with a quoted string in
    it keeps the quotes, and so is never the pinned one: no receiver writes such, and a border server that strips forgeries of its
    id may not know it in pieces like "mx.exam""ple.net"."""

    authserv_id: str
    version: str
    methods: tuple[Method, ...]


def parse(value: str) -> Results:
    """Read a header value. A clause that is cut off in a comment or a quoted string is dropped."""
    text, quoted = plain(value)
    first, *clauses = text.split(";")
    if "=" in first:
        clauses.insert(0, first)
        name = version = ""
    else:
        named = _ID.fullmatch(first.strip())
        name, version = (named[1], named[2] or "") if named else (first.strip(), "")
    methods = (_method(clause, quoted) for clause in clauses)
    name = _MASK.sub(lambda mask: f'"{quoted[int(mask[1])]}"', name)
    # "K" stands for the Kelvin sign as well once it is lower case
    return Results((name.lower() if name.isascii() else name).rstrip("."), version, tuple(filter(None, methods)))


def plain(value: str) -> tuple[str, list[str]]:
    """`value` with a blank for each comment and a mask for each quoted string, and the strings; cut at the ";" before a
    comment or a string that does not end."""
    value = value.replace("\0", " ")
    pieces: list[str] = []
    quoted: list[str] = []
    start = 0
    while found := _OPENING.search(value, start):
        pieces.append(value[start : found.start()])
        start = (
            _end_of_quoted(value, found.start(), quoted) if found[0] == '"' else _end_of_comment(value, found.start())
        )
        if start < 0:
            return "".join(pieces).replace(")", " ").rpartition(";")[0], quoted
        pieces.append(f"\0{len(quoted) - 1}\0" if found[0] == '"' else " ")
    pieces.append(value[start:])
    return "".join(pieces).replace(")", " "), quoted


def _end_of_quoted(value: str, start: int, quoted: list[str]) -> int:
    """The offset behind a quoted string, which is added to `quoted`; -1 if it does not end."""
    found = _QUOTED.match(value, start)
    if not found:
        return -1
    quoted.append(_ESCAPED.sub(r"\1", found[1]))
    return found.end()


def _end_of_comment(value: str, start: int) -> int:
    """The offset behind a comment with all that is nested in it; -1 if it does not end."""
    depth = 0
    for found in _PARENTHESIS.finditer(value, start):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return -1


def _method(clause: str, quoted: list[str]) -> Method | None:
    """The method of a clause, or None for "none", stray words and nonsense."""
    words = [(word[1].lower(), word[2]) for word in _WORD.finditer(clause)]
    if not words or words[0][1] is None or not (name := _METHOD.fullmatch(words[0][0])):
        return None
    result = words[0][1].lower()
    properties = ((key, _unmasked(value, quoted)) for key, value in words[1:] if value is not None and "\0" not in key)
    return Method(name[1], result if _KEYWORD.fullmatch(result) else "", tuple(properties))


def _unmasked(text: str, quoted: list[str]) -> str:
    return _MASK.sub(lambda mask: quoted[int(mask[1])], text)
