"""Server answers as plain values: what FETCH and COPYUID say, and sets of UIDs both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from imapclient.response_parser import parse_fetch_response

from filters.errors import RefusedError

_UID_MAX = 2**32 - 1
#: Lists within lists of one answer. Real ones have four.
_DEPTH_CAP = 128
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|$)|[()]')


@dataclass(frozen=True, slots=True)
class Fetched:
    """One message's answer to FETCH. `size` is -1 when absent or no number (IC16), `body` None when absent or NIL (IC13);
    `server_id` is "emailid:…", "x-gm-msgid:…" or ""."""

    uid: int
    size: int
    flags: frozenset[str] = frozenset()
    body: bytes | None = field(default=None, repr=False)
    server_id: str = ""


#: FETCH's answer about a header: the plain shape, 20 times as fast as the parser for all shapes.
_PLAIN = re.compile(rb'\d{1,10} \(UID (\d{1,10})(?: RFC822\.SIZE (\d{1,15}))? BODY\[[^\]"{}]*\](?:<0>)? \{\d+\}')


def answers(data: Iterable[Any]) -> Iterator[list[Any]]:
    """imaplib's flat list, cut into answers: tuples (text, literal), then the bytes that end the answer."""
    parts: list[Any] = []
    for part in data:
        if part is None:
            continue
        parts.append(part)
        if isinstance(part, bytes):
            yield parts
            parts = []


def fetched(parts: list[Any]) -> Fetched | None:
    """One answer of `answers`; None when it names no UID, or is nested too deeply. Raises what imapclient raises, which is nearly
    anything (IC5)."""
    if len(parts) == 2 and parts[1] == b")" and (plain := _PLAIN.fullmatch(parts[0][0])):
        return Fetched(int(plain[1]), int(plain[2] or -1), body=parts[0][1])
    if too_deep(b"".join(part if isinstance(part, bytes) else part[0] for part in parts)):
        return None
    (items,) = parse_fetch_response(parts, False, False).values()
    if b"UID" not in items:
        return None
    body = next((value for name, value in items.items() if name.startswith(b"BODY[")), None)
    return Fetched(
        uid=items[b"UID"],
        size=number(items.get(b"RFC822.SIZE"), -1),
        flags=frozenset(map(_flag, items.get(b"FLAGS") or ())) - {"\\Recent"},  # of the session, not of the message
        body=body if isinstance(body, bytes) else None,
        server_id=_server_id(items),
    )


def together(one: Fetched, other: Fetched) -> Fetched:
    """Two answers about one message (IC23), one of them perhaps unasked for: flags of both, because a mark in either forbids to move
    it. Where they are at odds about the message itself, there is no text of it."""
    odd = (
        -1 < one.size != other.size > -1
        or (one.body is not None and other.body is not None and one.body != other.body)
        or (one.server_id and other.server_id and one.server_id != other.server_id)
    )
    body = None if odd else other.body if one.body is None else one.body
    return Fetched(one.uid, max(one.size, other.size), one.flags | other.flags, body, one.server_id or other.server_id)


#: LIST's answer: flags, delimiter, and the name as a quoted string, an atom, or (group 5) a literal. What extensions add to it
#: is passed over.
_LISTED = re.compile(
    rb'\(([^()"{}]*)\) (?:NIL|"\\?(.)") (?:(?:"((?:[^"\\]|\\.)*)"|([^\s"(){}\\]+))(?: .*)?|(\{\d+\}))', re.DOTALL
)


def listed(parts: list[Any]) -> tuple[str, frozenset[str], str] | None:
    """One answer of `answers` to LIST: the name as the server spells it, flags in lower case, the delimiter or ""; None when it
    is anything else.

    Not by imapclient, which counts to three over all lines, so that after a malformed one each folder has the flags of another,
    and which takes "007" for 7.
    """
    text, literal = parts[0] if isinstance(parts[0], tuple) else (parts[0], None)
    line = _LISTED.fullmatch(text.strip())
    if not line or len(parts) > 2 or bool(line[5]) != (literal is not None):
        return None
    name = literal if line[5] else line[4] or re.sub(rb"\\(.)", rb"\1", line[3])
    return ascii_text(name), frozenset(ascii_text(line[1]).lower().split()), ascii_text(line[2])


def too_deep(text: bytes) -> bool:
    """Whether lists are nested in lists more than `_DEPTH_CAP` times (S3)."""
    if text.count(b"(") <= _DEPTH_CAP:
        return False
    depth = 0
    for bracket in _BRACKETS.finditer(text):
        depth += {b"(": 1, b")": -1}.get(bracket[0], 0)
        if depth > _DEPTH_CAP:
            return True
    return False


def _flag(flag: Any) -> str:
    name = ascii_text(flag)
    return "\\" + name[1:].capitalize() if name.startswith("\\") else name


def _server_id(items: dict[bytes, Any]) -> str:
    match items.get(b"EMAILID"), items.get(b"X-GM-MSGID"):
        case (bytes() as email_id,), _ if re.fullmatch(rb"[\w-]{1,255}", email_id):
            return f"emailid:{email_id.decode('ascii')}"
        case _, int() as gmail_id:
            return f"x-gm-msgid:{gmail_id}"
    return ""


def copied(codes: Iterable[Any], asked: frozenset[int]) -> tuple[int, dict[int, int]]:
    """COPYUID codes (RFC 4315) as one mapping. Wherever they are malformed, foreign or at odds, the place is unknown (P8)."""
    validities: set[int] = set()
    pairs: set[tuple[int, int]] = set()
    for code in set(codes):
        match = re.fullmatch(
            rb"(\d{1,10}) ([\d:,]{1,20000}) ([\d:,]{1,20000}) *", code if isinstance(code, bytes) else b""
        )
        old, new = (_expanded(match[2], len(asked)), _expanded(match[3], len(asked))) if match else ([], [])
        if not match or not old or len(old) != len(new) or not asked.issuperset(old):
            return 0, {}
        validities.add(int(match[1]))
        pairs.update(zip(old, new, strict=True))
    found = dict(pairs)
    if (
        len(validities) != 1
        or not 0 < min(validities) <= _UID_MAX
        or len(found) != len(pairs)
        or len(set(found.values())) != len(pairs)
    ):
        return 0, {}
    return validities.pop(), found


def _expanded(uids: bytes, most: int) -> list[int]:
    """The numbers of a set such as b"4,7:9"; "9:7" means the same as "7:9". Empty when malformed or more than `most`."""
    numbers: list[int] = []
    for part in uids.split(b","):
        match = re.fullmatch(rb"(\d{1,10})(?::(\d{1,10}))?", part)
        if not match:
            return []
        low, high = sorted((int(match[1]), int(match[2] or match[1])))
        if not 0 < low <= high <= _UID_MAX or high - low >= most - len(numbers):
            return []
        numbers.extend(range(low, high + 1))
    return numbers


def uid_set(uids: Iterable[int]) -> str:
    """UIDs as IMAP writes them, sorted and joined to ranges: "1:3,7". Raises RefusedError for none (IC11), or for what is no UID."""
    ordered = sorted({checked_uid(uid) for uid in uids})
    if not ordered:
        raise RefusedError("A command about no message at all was not sent.")
    ranges: list[list[int]] = []
    for uid in ordered:
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return ",".join(f"{low}:{high}" if low < high else f"{low}" for low, high in ranges)


def checked_uid(uid: int) -> int:
    """`uid`. Raises RefusedError when it is none."""
    if type(uid) is not int or not 0 < uid <= _UID_MAX:
        raise RefusedError("A command about something that is no UID was not sent.")
    return uid


def ascii_text(value: Any) -> str:
    """A name, flag or delimiter; 8-bit bytes stay visible as non-ASCII characters. The parser makes numbers of digits."""
    return value.decode("latin-1") if isinstance(value, bytes) else "" if value is None else str(value)


def number(value: Any, otherwise: int = 0) -> int:
    """`value` if it is a number as we expect it, else `otherwise`."""
    return value if type(value) is int and value >= 0 else otherwise
