"""What `scripts/fuzz` throws bytes at: one small function for each place where somebody else's bytes come in, and the bytes to
begin with.

A target returns, whatever the bytes are. It raises AssertionError where a promise is broken; any other exception is a finding
too, except those that the code documents. Nothing of atheris is in here: pytest runs the same functions over every finding.
"""

from __future__ import annotations

import io
import json
import re
import socket
import ssl
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import cast

import hostile

from filters import authentication_results, judge, message, model, senders
from filters.authenticity import Authserv, check
from filters.errors import FiltersError, InputError, UsageError
from filters.html import read_page
from filters.imitation import claims_to_be
from filters.normal_form import normal
from filters.safe_text import csv_cell, safe_text
from filters.sources import header_block, mbox
from filters.sources.files import message_id_of
from filters.sources.guarded import GuardedClient
from filters.sources.location import decoded, encoded, parse_url
from filters.sources.starttls import start_tls

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "mail"
RECEIVER = "mx.example.net"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _text(data: bytes) -> str:
    """Every text that Python can hold, lone surrogates too."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


# --- mail


@cache
def _judging() -> Callable[[bytes], dict[str, object]]:
    return judge.worker({"model": str(model.shipped("linkedin")), "trusted": [[RECEIVER, "above"]]})


def whole_message(data: bytes) -> None:
    """Bytes to verdict, as a worker does it; and what the mailbox side reads of the same bytes."""
    sender = senders.load()
    wanted = claims_to_be(header_block(data), sender)
    identity = message_id_of(data)
    assert re.fullmatch(r"(<[!-~]+>)?", identity)
    try:
        answer = _judging()(data)
    except InputError as error:
        assert not _CONTROLS.search(str(error))
        return
    assert json.loads(json.dumps(answer)) == answer
    assert not answer["claims"] or wanted, "judged as the sender's, and never fetched as such"
    if answer["claims"]:
        verdict = answer["verdict"]
        assert isinstance(verdict, dict)
        assert 0.0 <= verdict["probability"] <= 1.000001
        assert not (verdict["never"] and verdict["promotional"])
        assert not _CONTROLS.search(verdict["authenticity"]["why"])
        assert all(not _CONTROLS.search(clue["feature"] + clue["quote"]) for clue in verdict["evidence"])
        for text in (answer["subject"], answer["from"]):  # escaped where they are shown
            assert not re.search(r"[\x00-\x1f\x7f]", str(text))
            assert not _CONTROLS.search(safe_text(str(text)))


def headers(data: bytes) -> None:
    """A header block, its encoded words, and its From."""
    try:
        found = message.parse(data)
    except InputError:
        return
    assert found.from_address.isascii()
    assert found.from_address.count("@") == bool(found.from_address)
    for name, value in found.headers:
        assert re.fullmatch(r"[!-9;-~]+", name)
        shown = message.decode_words(value)
        assert len(shown) <= message.DECODED_CAP
        assert not re.search(r"[\x00-\x1f\x7f]", value + shown)
        (value + shown).encode()


_LINES = (
    b"Authentication-Results: %s\r\nReceived: from a.example by mx.example.net; x\r\n"
    b"Authentication-Results: mx.example.net; dmarc=pass header.from=linkedin.com\r\n"
    b"From: LinkedIn <messages-noreply@linkedin.com>\r\n\r\nx"
)


def authentication(data: bytes) -> None:
    """One Authentication-Results value, and the verdict on a mail that bears it on top."""
    results = authentication_results.parse(_text(data))
    for method in results.methods:
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", method.name)
        assert all(isinstance(value, str) for pair in method.properties for value in pair)
    value = re.sub(rb"[\r\n]+(?![ \t])", b" ", data)
    with suppress(InputError):
        mail = message.parse(_LINES % value)
        said = check(mail, senders.load(), [Authserv(RECEIVER, "above")])
        assert said.state != "verified" or RECEIVER.encode() in data.lower()


def html(data: bytes) -> None:
    """An HTML part."""
    try:
        page = read_page(message.decode(data, "utf-8")[0])
    except InputError:
        return
    for text in (page.text, page.hidden):
        shown = normal(text)
        shown.encode()
        assert normal(shown) == shown
    assert all(isinstance(link, str) for link in page.links)


def shown_text(data: bytes) -> None:
    """Whatever is printed. The first byte is the width."""
    text, width = _text(data[1:]), data[0] if data else 0
    for shown in (safe_text(text), csv_cell(text), safe_text(text, width)):
        assert not [char for char in shown if unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"]
        shown.encode()
    assert csv_cell(text).lstrip()[:1] not in ("=", "+", "-", "@")


# --- mailboxes


def folder_names(data: bytes) -> None:
    """A name as a person types it, as a server spells it, and as part of a location."""
    name = _text(data)
    with suppress(UsageError):
        raw = encoded(name)
        assert re.fullmatch(r"[ -~]*", raw), "more than printable ASCII on the wire"
        assert decoded(raw) in (name, raw)
    raw = data.decode("latin-1")
    shown = decoded(raw)
    assert shown == raw or encoded(shown) == raw
    try:
        location = parse_url(f"imaps://{name}")
    except UsageError as error:
        assert not _CONTROLS.search(str(error))
    else:
        assert parse_url(f"{location.account}/").account == location.account
        assert not re.search(r"[\x00-\x1f\x7f]", location.user + location.host + location.folder)


_CAPABLE = b"IMAP4rev1 AUTH=PLAIN MOVE UIDPLUS NAMESPACE OBJECTID ACL"
_UIDS = [4, 7, 8, 9, 4_294_967_295]
#: The first byte of a unit says which of these gets the rest of it as its answer.
ASKED: dict[bytes, tuple[bytes, Callable[[GuardedClient], object]]] = {
    b"G": (b"", lambda client: client.folders("*")),
    b"C": (b"CAPABILITY", lambda client: client.namespace()),
    b"A": (b"SASL", lambda client: client.namespace()),
    b"N": (b"NAMESPACE", lambda client: client.namespace()),
    b"L": (b"LIST", lambda client: client.folders("*")),
    b"S": (b"STATUS", lambda client: client.status("News")),
    b"O": (b"EXAMINE", lambda client: client.open("INBOX")),
    b"W": (b"SELECT", lambda client: client.open("INBOX", writing=True)),
    b"U": (b"UID SEARCH", lambda client: client.search(4, 1_000, "<1.2@mail.example>")),
    b"F": (b"UID FETCH", lambda client: client.fetch(_UIDS, "UID FLAGS RFC822.SIZE BODY.PEEK[HEADER]<0.4096> EMAILID")),
    b"M": (b"UID MOVE", lambda client: client.move(_UIDS[:4], "News")),
    b"P": (b"UID COPY", lambda client: client.copy(_UIDS[:4], "News")),
    b"D": (b"UID STORE", lambda client: (client.store(_UIDS, "+", {"\\Deleted"}), client.heard())),
    b"X": (b"UID EXPUNGE", lambda client: (client.uid_expunge(_UIDS), client.heard())),
    b"R": (b"MYRIGHTS", lambda client: client.rights("News")),
    b"K": (b"CREATE", lambda client: client.create("News")),
    b"E": (b"LOGOUT", lambda client: client.logout()),
}
USUAL = {
    b"CAPABILITY": b"* CAPABILITY %s\r\nTAG OK x\r\n" % _CAPABLE,
    b"AUTHENTICATE": b"+ \r\n",
    b"SASL": b"TAG OK in\r\n",
    b"NAMESPACE": b'* NAMESPACE (("" "/")) NIL NIL\r\nTAG OK x\r\n',
    b"STATUS": b"* STATUS x (UIDVALIDITY 9 UIDNEXT 10)\r\nTAG OK x\r\n",
    b"EXAMINE": b"* 9 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 100] x\r\nTAG OK [READ-ONLY] x\r\n",
    b"SELECT": b"* 9 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 100] x\r\nTAG OK [READ-WRITE] x\r\n",
    b"LOGOUT": b"* BYE x\r\nTAG OK x\r\n",
}


class Line:
    """One end of a connection to a server that is a table: it answers in memory while it is written to."""

    def __init__(self, greeting: bytes, answers: dict[bytes, bytes]) -> None:
        self._incoming, self._answers, self._tag = bytearray(greeting), answers, b""
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)
        tag, _, command = data.rstrip(b"\r\n").partition(b" ")
        if command:
            self._tag = tag
        known = [name for name in self._answers if command.startswith(name)] if command else [b"SASL"]
        answer = self._answers[max(known, key=len)] if known else b"TAG OK x\r\n"
        self._incoming += answer.replace(b"TAG", self._tag)

    def recv(self, size: int) -> bytes:
        taken = bytes(self._incoming[:size])
        del self._incoming[:size]
        return taken

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO()

    def settimeout(self, _seconds: float | None) -> None: ...

    def setsockopt(self, *_option: int) -> None: ...

    def shutdown(self, _how: int) -> None: ...

    def close(self) -> None: ...


@contextmanager
def served(line: Line) -> Iterator[None]:
    """Connections lead to `line`: no port, no thread, no waiting."""
    usual = socket.create_connection
    socket.create_connection = lambda *_, **__: line  # type: ignore[assignment,return-value]
    try:
        yield
    finally:
        socket.create_connection = usual


def server_replies(data: bytes) -> None:
    """What a server says instead of one usual answer, through imaplib, imapclient and our guard."""
    kind = data[:1] if data[:1] in ASKED else sorted(ASKED)[(data[0] if data else 0) % len(ASKED)]
    command, ask = ASKED[kind]
    answers = {**USUAL, command: data[1:]} if command else USUAL
    line = Line(b"* OK hello\r\n" if command else data[1:], answers)
    with served(line):
        try:
            client = GuardedClient("mail.example", 143, tls=False, changes=True)
            client.login("ann", "pa55word")
            if command.startswith(b"UID"):
                client.open("INBOX", writing=True)
            _check_answer(kind, ask(client))
        except FiltersError as error:
            assert not _CONTROLS.search(str(error))
            assert "pa55word" not in str(error)


def _check_answer(kind: bytes, found: object) -> None:
    """What must hold, whatever the server said."""
    match kind, found:
        case b"G" | b"L", list():
            for folder in found:
                assert folder.raw.isascii()
                safe_text(decoded(folder.raw), 40)
        case b"U", list():
            assert found == sorted(set(found))
            assert all(4 <= uid <= 1_000 for uid in found)
        case b"F", dict():
            assert set(found) <= set(_UIDS)
            for uid, one in found.items():
                assert one.uid == uid
                assert one.body is None or isinstance(one.body, bytes)
                assert one.size >= -1
                assert all(isinstance(flag, str) for flag in one.flags)
        case b"M" | b"P", (int() as validity, dict() as copies):
            assert set(copies) <= set(_UIDS)
            assert len(set(copies.values())) == len(copies)
            assert not copies or 0 < validity < 2**32


class _Context(ssl.SSLContext):
    """Begins TLS by giving back what it is given."""

    def wrap_socket(self, sock: object, **_: object) -> ssl.SSLSocket:  # type: ignore[override]
        return sock  # type: ignore[return-value]


_CONTEXT = _Context(ssl.PROTOCOL_TLS_CLIENT)


def before_tls(data: bytes) -> None:
    """What a server says in the clear: its greeting, and after a NUL its answer to STARTTLS."""
    greeting, _, answer = data.partition(b"\0")
    line = Line(greeting, {b"STARTTLS": answer})
    try:
        secured = start_tls(cast(socket.socket, line), "mail.example", 143, _CONTEXT)
    except FiltersError as error:
        assert not _CONTROLS.search(str(error))
    else:
        assert secured is line
        assert re.fullmatch(rb"(?i)\* OK[^\n]*\n(\* CAPABILITY [^\n]*\n)*", greeting), (
            "an answer before its question counted"
        )
        assert re.fullmatch(rb"(?i)(\* CAPABILITY [^\n]*\n)*A1 OK[^\n]*\n", answer)
    assert line.sent in ([], [b"A1 STARTTLS\r\n"])


def mailbox_file(data: bytes) -> None:
    """An mbox file, which must hold the same messages in whatever blocks it is read."""
    data = mbox.START + data
    whole = list(mbox.messages([data]))
    size = 1 + len(data) // 50 + len(data) % 7
    assert whole == list(mbox.messages(data[at : at + size] for at in range(0, len(data), size)))
    assert sum(size for _, size in whole) <= len(data)
    assert all(len(raw) <= size for raw, size in whole)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "message": whole_message,
    "headers": headers,
    "authentication": authentication,
    "folders": folder_names,
    "mbox": mailbox_file,
    "replies": server_replies,
    "starttls": before_tls,
    "html": html,
    "safe_text": shown_text,
}


# --- the bytes to begin with


#: What is worth putting in anywhere: grammar that chance would hardly find.
WORDS: dict[str, tuple[bytes, ...]] = {
    "message": (
        *(
            b"boundary*=",
            b"boundary*0*=utf-8''",
            b"name*1=",
            b"filename*=x''",
            b"charset*0=",
            b"format*=",
            b"Content-Disposition: inline; ",
        ),
        *(
            b"\r\n\r\n",
            b"\n\n",
            b"--=b",
            b"=?utf-16?b?",
            b"=?utf-8?q?",
            b"?=",
            b"Content-Type: ",
            b"multipart/mixed; boundary=",
        ),
        *(
            b"message/rfc822",
            b"text/html",
            b"charset=",
            b"charset*0*=x''%ff",
            b"Content-Transfer-Encoding: ",
            b"base64",
            b"quoted-printable",
        ),
        *(
            b"x-uuencode",
            b"format=flowed; delsp=yes",
            b"filename*=undefined''%ff",
            b"Received: ",
            b"From: ",
            b"linkedin.com",
        ),
        *(
            b"Authentication-Results: mx.example.net; ",
            b"dmarc=pass header.from=linkedin.com",
            b"X-LinkedIn-Template: ",
            b"<div hidden>",
        ),
    ),
    "headers": (
        *(b"\nContent-Type: multipart/mixed; ", b"boundary*=", b"boundary*0*=utf-8''", b"name*1=", b"\n\n"),
        *(
            b"From: ",
            b"Subject: ",
            b"Date: ",
            b"DKIM-Signature: h=",
            b"Message-ID: <",
            b"=?utf-8?q?",
            b"=?utf-16?b?",
            b"=?iso-2022-jp?b?",
        ),
        *(b"?=", b"\n ", b'"', b"\\", b"(", b")", b"<", b">", b"@linkedin.com", b",", b";", b":"),
    ),
    "authentication": (
        *(
            b"mx.example.net; ",
            b"dmarc=pass",
            b"dkim=fail",
            b"header.from=linkedin.com",
            b"header.d=",
            b"header.i=@",
            b"smtp.mailfrom=",
        ),
        *(b"(", b")", b'"', b"\\", b";", b"=", b"reason=", b"/1", b" 1;", b"\0"),
    ),
    "folders": (b"&", b"-", b"&AGE-", b"&2D3eAA-", b"&2D0-", b"/", b"@", b":", b"[", b"]", b"%40", b"%c3%bc", b"INBOX"),
    "starttls": (
        b"* OK ",
        b"* CAPABILITY IMAP4rev1\r\n",
        b"A1 OK ",
        b"A1 NO ",
        b"* BYE ",
        b"* PREAUTH ",
        b"\r\n",
        b"\n",
        b"\0",
    ),
    "mbox": (
        b"From ",
        b"\nFrom ",
        b"\n\nFrom ",
        b"\r\n\r\nFrom ",
        b">From ",
        b"\n>",
        b"\r",
        b"\n",
        b"From x Thu Jan  1 00:00:00 2026\n",
    ),
    "replies": (
        *(
            b"* ",
            b"TAG OK ",
            b"TAG NO [",
            b"TAG BAD ",
            b"+ \r\n",
            b"\r\n",
            b"{4}\r\n",
            b"{99999999}\r\n",
            b"~{3}\r\n",
            b"NIL",
            b"(",
            b")",
        ),
        *(
            b'"',
            b"\\",
            b" FETCH (UID 4 ",
            b"FLAGS (\\Seen)",
            b"RFC822.SIZE 9",
            b"BODY[HEADER]<0> ",
            b"EMAILID (M1)",
            b"X-GM-MSGID 5",
        ),
        *(
            b"[COPYUID 9 4:9 10:15]",
            b"EXPUNGE",
            b"VANISHED ",
            b"EXISTS",
            b"[UIDVALIDITY 5]",
            b"BYE",
            b'LIST () "/" ',
            b"SEARCH ",
        ),
        *(
            b"STATUS News (UIDVALIDITY 9 UIDNEXT 10)",
            b'NAMESPACE (("" "/")) NIL NIL',
            b"CAPABILITY IMAP4rev1 AUTH=PLAIN",
            b"PREAUTH",
        ),
    ),
    "html": (
        *(
            b"<table>",
            b"<td style='",
            b"display:none",
            b"font-size:0",
            b"overflow:hidden",
            b"max-height:0",
            b"hidden",
            b"<template>",
            b"</",
        ),
        *(
            b"<svg><title>",
            b"<math><mi>",
            b"<select>",
            b"<frameset>",
            b"<style>",
            b"<!--",
            b"-->",
            b"<a href='",
            b"&#0;",
            b"&nbsp;",
            b"<br>",
        ),
        *(b"<html>", b"<body hidden>", b"<p>", b"<plaintext>", b"<noscript>", b"<![CDATA["),
    ),
    "safe_text": (
        b"https://",
        b"mailto:",
        b"?t=",
        b"&",
        b"=",
        b"/",
        b"\x1b]8;;",
        b"\xc2\x9b",
        b"\xe2\x80\xae",
        b"\xed\xa0\x80",
        b"@",
        b"+",
    ),
}


def _mails() -> list[bytes]:
    """The corpus of the project, real mail where it lies beside the project, and every carrier and trick of the tests."""
    paths = [*sorted((ROOT / "corpus").rglob("*.eml")), *sorted(SHARED.glob("*.eml"))]
    return [path.read_bytes() for path in paths] + [make() for make in hostile.CARRIERS.values()]


def _values(mails: list[bytes], name: str) -> list[bytes]:
    found = [re.findall(rb"(?im)^%s:[ \t]*(.*(?:\r?\n[ \t].*)*)" % name.encode(), raw) for raw in mails]
    return [value for values in found for value in values]


_FETCHED = b"* 1 FETCH (UID 4 FLAGS (\\Seen) RFC822.SIZE 30 BODY[HEADER]<0> {21}\r\nMessage-ID: <a@b>\r\n\r\n EMAILID (M1))\r\n"
_OK = b"TAG OK x\r\n"
_REPLIES = (
    b"G* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello\r\n",
    b"G* PREAUTH welcome\r\n",
    b"G* BYE {99999999999}\r\n",
    b"C* CAPABILITY IMAP4rev1 MOVE\r\n" + _OK,
    b"ATAG NO [AUTHENTICATIONFAILED] no\r\n",
    b"A* CAPABILITY IMAP4rev1\r\nTAG OK [ALERT] in\r\n",
    b'N* NAMESPACE (("INBOX." ".")("" "/")) NIL NIL\r\n' + _OK,
    b'L* LIST (\\HasNoChildren \\Trash) "/" "News &- \\"more\\""\r\n* LIST () NIL {4}\r\nNews\r\n' + _OK,
    b'L* LIST (\\Noselect) "." INBOX.&APw-\r\n* LIST () "/" 2026\r\n' + _OK,
    b"S* STATUS News (UIDVALIDITY 9 UIDNEXT 10)\r\n" + _OK,
    b"STAG NO [TRYCREATE] none\r\n",
    b"O* 3 EXISTS\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 100] x\r\nTAG OK [READ-ONLY] x\r\n",
    b"W* 3 EXISTS\r\n* OK [PERMANENTFLAGS (\\*)] x\r\n* NO [UIDNOTSTICKY] x\r\nTAG OK [READ-WRITE] x\r\n",
    b"W* 3 EXISTS\r\nTAG OK [READ-ONLY] x\r\n",
    b"U* SEARCH 4 7\r\n* SEARCH 9 (MODSEQ 5)\r\n* ESEARCH (TAG TAG) UID ALL 4:9\r\n" + _OK,
    b"F" + _FETCHED + _OK,
    b'F* 2 FETCH (FLAGS (\\Flagged))\r\n* 3 FETCH (UID 7 BODY[HEADER]<0> NIL RFC822.SIZE -1)\r\n* 4 FETCH (UID 8 BODY[] "a\\"b")\r\n'
    + _OK,
    b'F* 5 FETCH (UID 9 ENVELOPE ("x" NIL (("a" NIL "b" "c")) NIL) INTERNALDATE "01-Jan-2026 00:00:00 +0000")\r\n* 1 EXPUNGE\r\n'
    + _OK,
    b"M* OK [COPYUID 9 4,7:9 10:13] x\r\n* 4 EXPUNGE\r\n" + _OK,
    b"MTAG OK [COPYUID 9 4 10] x\r\n",
    b"P* OK [COPYUID 9 4,7:9 10:13] x\r\nTAG OK [COPYUID 9 4,7:9 10:13] x\r\n",
    b"PTAG NO [TRYCREATE] none\r\n",
    b"PTAG BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds\r\n",
    b"D* 1 FETCH (UID 4 FLAGS (\\Deleted))\r\n* OK [HIGHESTMODSEQ 7] x\r\n" + _OK,
    b"X* 4 EXPUNGE\r\n* VANISHED 7:9\r\n" + _OK,
    b'R* MYRIGHTS "News" lrswitea\r\n' + _OK,
    b"KTAG NO [ALREADYEXISTS] there\r\n",
    b"M* VANISHED 4,7:9\r\nTAG NO [OVERQUOTA] full\r\n",
    b"ETAG BAD what?\r\n",
)
_CLEAR = (
    b"* OK hello\r\n\0A1 OK begin\r\n",
    b"* OK [CAPABILITY IMAP4rev1 STARTTLS] x\r\n\0* CAPABILITY IMAP4rev1\r\nA1 OK begin\r\n",
    b"* PREAUTH x\r\n\0",
    b"* OK x\r\n\0A1 NO not now\r\n",
    b"* OK x\r\n\0A1 OK begin\r\n* CAPABILITY IMAP4rev1\r\n",
    b"* BYE busy\r\n\0",
    b"* OK x\r\n\0* LIST () NIL x\r\nA1 OK\r\n",
)
_PRINTED = (
    "\x1b]52;c;ZXZpbA==\x07",
    "a\u202egpj.exe",
    "https://www.firm.example/comm/feed/?midToken=AQEabc123&trk=eml",
    "mailto:a@b.example?subject=x",
    "(otpToken=MTIzNDU2Nzg5MA==)",
    "=1+1",
    "\t@SUM(A1)",
    "e\u0301\u0327 漢字 😀",
    "\ud800\u2028",
)
_NAMES = (
    *(
        "INBOX",
        "News/Ads",
        "R&D",
        "&APw-ber",
        "Gel&APY-scht",
        "日本語",
        "&ZeVnLIqe-",
        "a b",
        "&-",
        "&AGE-",
        "&&",
        "\ud83d",
    ),
    *("ann@host/INBOX", "ann%40a.example@[::1]:993/x", "ann:pw@h", "a@h:99999/", "%ff@h", "a@h/%00"),
)


def seeds() -> dict[str, list[bytes]]:
    """Some bytes for each target to begin with."""
    mails = _mails()
    pages = [part for raw in mails for part in re.findall(rb"(?is)<html.*?</html>|<p.*", raw)]
    return {
        "message": mails,
        "headers": [raw.replace(b"\r\n", b"\n").partition(b"\n\n")[0] for raw in mails],
        "authentication": _values(mails, "Authentication-Results"),
        "folders": [name.encode("utf-8", "surrogatepass") for name in _NAMES],
        "mbox": [
            b"x\n" + b"\n\nFrom x\n".join(raw[:300] for raw in mails[at : at + 3])
            for at in range(0, len(mails) - 3, 40)
        ]
        + [b"\n\nFrom \n>From a\n\r\n>>From b\r\n\r\nFrom c", b"a\r\n\r\nFrom b\n\n\nFrom c\n"],
        "replies": list(_REPLIES),
        "starttls": list(_CLEAR),
        "html": pages,
        "safe_text": [b"\x28" + text.encode("utf-8", "surrogatepass") for text in _PRINTED]
        + [b"\0" + value for value in _values(mails, "Subject")],
    }
