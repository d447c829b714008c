"""T1: whatever text comes from a mail, a server or a person, on the wire it is one command on one line, or nothing at all.

100,000 made-up texts go through every argument that the guarded client takes; what arrives at a server is read by a parser of its
own, which knows nothing of our list of commands.
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from scripted_imap import ScriptedServer
from test_guarded import ONLY_LOGIN, connected

from filters.errors import FiltersError, LoginError
from filters.sources.guarded import GuardedClient
from filters.sources.location import encoded

PIECES = [
    *"ab09 .@<>\"'\\(){}[]*%&+-:;,=~!#$^|/?\t\r\n\0\x0b\x1b\x7f\x85\xa0äßあ😀\u2028\ud800\uffff",
    "\r\n",
    '"\r\nA1 EXPUNGE\r\n',
    '" "',
    "\\\\",
    '\\"',
    "{5}\r\n",
    "{5+}\r\n",
    "&AA0ACg-",
    "&-",
    "INBOX",
    "a" * 100,
    "1:*",
    "\\Deleted",
    "BODY[]",
    "UID 1) (",
    " HEADER ",
    " FLAGS",
    " BODY.PEEK[HEADER.FIELDS (FROM",
    ")]<0.9>",
    "ID",
    "%s%n",
]
#: A command as RFC 3501 writes one: words, quoted strings of ASCII without NUL, CR or LF, parentheses; no literals.
_QUOTED = rb'"(?:[\x01-\x09\x0b\x0c\x0e-\x21\x23-\x5b\x5d-\x7f]|\\["\\])*"'
_WORD = rb"(?:[^\s\"\\{}\x00-\x1f\x7f-\xff]|\\[A-Z][a-z]+)+"
_LINE = re.compile(rb"[A-Z]+\d+(?: (?:" + _QUOTED + rb"|" + _WORD + rb"))+\r\n")


def texts(count: int, seed: int) -> Iterator[str]:
    """Made of few pieces, because most of what is long is refused anyhow."""
    chance = random.Random(seed)
    for _ in range(count):
        yield "".join(chance.choices(PIECES, k=chance.choice((0, 1, 1, 2, 2, 3, 4, 8))))


#: Everything that takes a text; what it must be on the wire, as a pattern for the words after the tag.
ARGUMENTS: dict[str, tuple[Callable[[GuardedClient, str], object], bytes]] = {
    "Message-ID to search for": (
        lambda client, text: client.search(1, 9, text),
        rb'UID SEARCH UID 1:9( HEADER Message-ID ".*")?',
    ),
    "folder, as typed": (lambda client, text: client.create(encoded(text)), b'CREATE ".*"'),
    "folder, as the server spells it": (
        lambda client, text: client.status(text),
        rb'STATUS ".*" \(UIDVALIDITY UIDNEXT\)',
    ),
    "folder to open": (lambda client, text: client.open(text, writing=True), b'(SELECT|EXAMINE|STATUS) ".*".*'),
    "folder to subscribe to": (lambda client, text: client.subscribe(text), b'SUBSCRIBE ".*"'),
    "folder to move to": (lambda client, text: client.move([1], text), b'UID MOVE 1 ".*"'),
    "folder to copy to": (lambda client, text: client.copy([1], text), b'UID COPY 1 ".*"'),
    "flag to store": (
        lambda client, text: client.store([1], "+", [f"\\Seen{text}"]),
        rb"UID STORE 1 \+FLAGS\.SILENT \(\\Seen\)",
    ),
    "sign of a flag": (
        lambda client, text: client.store([1], text, ["\\Deleted"]),
        rb"UID STORE 1 [+-]FLAGS\.SILENT \(\\Deleted\)",
    ),
    "folder whose rights are asked for": (lambda client, text: client.rights(text), b'MYRIGHTS ".*"'),
    "folders to list": (lambda client, text: client.folders(text), b'LIST "" ".*"'),
    "items to fetch": (lambda client, text: client.fetch([1], f"UID{text}"), rb"UID FETCH 1 \(UID.*\)"),
}


def _check(lines: list[bytes], most: int) -> None:
    """Every line is one whole command."""
    assert len(lines) <= most
    for line in lines:
        assert _LINE.fullmatch(line), line
        assert line.count(b"\r") == line.count(b"\n") == 1


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_t1_no_text_makes_two_commands_of_one(argument: str) -> None:
    command, wanted = ARGUMENTS[argument]
    capability = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN MOVE UIDPLUS ACL\r\nTAG OK x\r\n"
    with connected({"CAPABILITY": capability}) as (client, server):
        before, sent = len(server.lines), 0
        for text in texts(12_500, sum(map(ord, argument))):
            with suppress(FiltersError):
                command(client, text)
                sent += 1
            assert not client.dead, text
        lines = server.lines[before:]
        _check(lines, 2 * 12_500)
        assert sent <= len(lines)
        assert sent > 50
        for line in lines:
            assert re.fullmatch(wanted, line.partition(b" ")[2].rstrip(), re.DOTALL), line


@pytest.mark.parametrize("offered", ["AUTH=PLAIN", "LOGIN only"])
def test_t1_no_user_or_password_makes_two_commands_of_one(offered: str) -> None:
    refused = {"SASL": b"TAG NO wrong\r\n", "LOGIN": b"TAG NO wrong\r\n", **({} if "=" in offered else ONLY_LOGIN)}
    with ScriptedServer(refused) as server:
        client = GuardedClient("127.0.0.1", server.port, tls=False, changes=False)
        before, wanted = len(server.lines), []
        for user, password in zip(texts(12_500, 1), texts(12_500, 2), strict=True):
            with pytest.raises(LoginError) as caught:
                client.login(user, password)
            if " refused the login" in str(caught.value):
                wanted.append((user, password))
            assert not client.dead
        assert len(wanted) > 1_000
        assert [*_logins(server.lines[before:])] == wanted
        client.logout()


def _logins(lines: list[bytes]) -> Iterator[tuple[str, str]]:
    """User and password of each login, as the server understands them."""
    for line in lines:
        assert line.count(b"\r") == line.count(b"\n") == 1
        if re.fullmatch(rb"[A-Za-z0-9+/]*={0,2}\r\n", line):
            nothing, user, password = base64.b64decode(line).decode().split("\0")
            assert not nothing
            yield user, password
        elif not re.fullmatch(rb"[A-Z]+\d+ AUTHENTICATE PLAIN\r\n", line):
            assert _LINE.fullmatch(line), line
            match = re.fullmatch(rb"[A-Z]+\d+ LOGIN (" + _QUOTED + b") (" + _QUOTED + rb")\r\n", line)
            assert match, line
            user, password = (re.sub(rb"\\(.)", rb"\1", part[1:-1]).decode() for part in match.groups())
            yield user, password


def test_the_parser_of_these_tests_sees_two_commands() -> None:
    for bad in (
        b'A1 STATUS "x"\r\nA1 EXPUNGE\r\n',
        b'A1 STATUS "x\r\n"\r\n',
        b'A1 STATUS "x" y" \r\n',
        b"A1 STATUS {5}\r\n",
        b'A1 STATUS "x\0"\r\n',
        b'A1 STATUS "\xe4"\r\n',
        b'A1 STATUS "x\\"\r\n',
        b"A1 NOOP\n",
    ):
        assert not _LINE.fullmatch(bad), bad
    for good in (b'A1 STATUS "a \\" b" (X)\r\n', b"A1 UID STORE 1 +FLAGS (\\Seen \\Flagged)\r\n"):
        assert _LINE.fullmatch(good), good
