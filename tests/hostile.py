"""Builders of mail: one sentence in every carrier that mail has for text, and the bombs and tricks of the threat model."""

from __future__ import annotations

import base64
import quopri
import signal
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: What must be found again, in normal form, whatever carries it.
SENTENCE = 'Pärt\'s "café" offer ends soon: at most one message every 60 days, dear reader.'
_CURLY = SENTENCE.replace("'", "\u2019").replace('"c', "\u201cc").replace('é"', "é\u201d")

HEAD = b"""From: Ann Ames <ann@mail.example>
To: Bo Berg <bo@example.org>
Subject: An offer
Date: Mon, 02 Mar 2026 10:00:00 +0100
Message-ID: <1.2@mail.example>
MIME-Version: 1.0
"""


def mail(body: bytes = b"Hello.\n", content: str = "", head: bytes = HEAD) -> bytes:
    """A mail with CRLF line ends. `content`: its Content fields, one a line."""
    fields = f"{content}\n".encode() if content else b""
    return (head + fields + b"\n" + body).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def with_header(*lines: str, instead: str = "") -> bytes:
    """A mail with these header lines on top, and without the header named `instead`."""
    rest = [line for line in HEAD.splitlines(True) if not instead or not line.startswith(f"{instead}:".encode())]
    return mail(head="".join(f"{line}\n" for line in lines).encode() + b"".join(rest))


def text_mail(text: str, charset: str = "utf-8", encoding: str = "8bit", more: str = "") -> bytes:
    """One text/plain part."""
    data = text.encode(charset)
    coders: dict[str, Callable[[bytes], bytes]] = {
        "8bit": bytes,
        "base64": base64.encodebytes,
        "quoted-printable": quopri.encodestring,
    }
    coded = coders[encoding](data)
    return mail(coded, f"Content-Type: text/plain; charset={charset}{more}\nContent-Transfer-Encoding: {encoding}")


def html_mail(html: str) -> bytes:
    """One text/html part, quoted-printable."""
    coded = quopri.encodestring(html.encode())
    return mail(coded, "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable")


def multipart(*parts: tuple[str, str], kind: str = "alternative") -> bytes:
    """A multipart of (Content-Type, body) parts."""
    body = "".join(f"--=b\nContent-Type: {content}\n\n{text}\n" for content, text in parts) + "--=b--\n"
    return mail(body.encode(), f'Content-Type: multipart/{kind}; boundary="=b"')


def _split(text: str, at: str) -> str:
    """`at` between every two letters of the fifth word on, as a forger or a bad template would."""
    start = text.index("offer")
    return text[:start] + at.join(text[start:])


def _delsp() -> bytes:
    lines = [SENTENCE[at : at + 24] for at in range(0, len(SENTENCE), 24)]
    lines = [" " + line if line.startswith(" ") else line for line in lines]
    return text_mail(" \n".join(lines) + "\n", more="; format=flowed; delsp=yes")


def _soft_breaks() -> bytes:
    coded = "=\n".join("".join(f"={byte:02X}" for byte in char.encode()) for char in SENTENCE)
    return mail(coded.encode(), "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable")


CARRIERS: dict[str, Callable[[], bytes]] = {
    "text 8bit": lambda: text_mail(SENTENCE),
    "text base64": lambda: text_mail(SENTENCE, encoding="base64"),
    "soft breaks after every character": _soft_breaks,
    "windows-1252": lambda: text_mail(_CURLY, "windows-1252"),
    "windows-1252 that says iso-8859-1": lambda: text_mail(_CURLY, "windows-1252").replace(
        b"windows-1252", b"iso-8859-1"
    ),
    "windows-1252 that says us-ascii": lambda: text_mail(_CURLY, "windows-1252").replace(b"windows-1252", b"us-ascii"),
    "windows-1252 that says utf-8": lambda: text_mail(_CURLY, "windows-1252").replace(b"windows-1252", b"utf-8"),
    "UTF-8 that says iso-8859-1": lambda: text_mail(_CURLY).replace(b"utf-8", b"iso-8859-1"),
    "UTF-8 that says nothing": lambda: mail(SENTENCE.encode()),
    "an unknown charset": lambda: text_mail(SENTENCE).replace(b"utf-8", b"x-unheard-of"),
    "UTF-16": lambda: text_mail(SENTENCE, "utf-16", "base64"),
    "UTF-16 big-endian": lambda: text_mail(SENTENCE, "utf-16-be", "quoted-printable"),
    "UTF-8 with a BOM": lambda: text_mail("\ufeff" + SENTENCE),
    "curly quotes": lambda: text_mail(_CURLY),
    "entities": lambda: html_mail("<p>" + "".join(f"&#{ord(char)};" for char in SENTENCE)),
    "named entities": lambda: html_mail(
        SENTENCE.replace('"', "&quot;").replace("é", "&eacute;").replace("ä", "&auml;")
    ),
    "inline tags within words": lambda: html_mail(_split(SENTENCE, "<b></b>")),
    "<wbr> within words": lambda: html_mail(_split(SENTENCE, "<wbr>")),
    "comments within words": lambda: html_mail(_split(SENTENCE, "<!-- x -->")),
    "soft hyphens": lambda: html_mail(_split(SENTENCE, "&shy;")),
    "zero-width characters": lambda: text_mail(_split(SENTENCE, "\u200b\u200c\u034f\u2060")),
    "no-break spaces": lambda: html_mail(SENTENCE.replace(" ", "&nbsp; ")),
    "NFD": lambda: text_mail(unicodedata.normalize("NFD", SENTENCE)),
    "full width": lambda: text_mail(SENTENCE.replace("offer", "ｏｆｆｅｒ")),
    "lines of HTML source": lambda: html_mail("<td>" + SENTENCE.replace(" ", "\r\n\t") + "</td>"),
    "HTML with a conditional comment": lambda: html_mail(f"<!--[if !mso]><!--><p>{SENTENCE}</p><!--<![endif]-->"),
    "HTML shown to all but Outlook": lambda: html_mail(f'<a style="mso-hide:all">{SENTENCE}</a>'),
    "a text size set within a cell of size 0": lambda: html_mail(
        f'<td style="font-size:0"><p style="font-size:14px">{SENTENCE}</p></td>'
    ),
    "flowed with delsp": _delsp,
    "beside other HTML": lambda: multipart(("text/plain; charset=utf-8", SENTENCE), ("text/html", "<p>Other")),
    "beside other text": lambda: multipart(("text/plain", "Other"), ("text/html; charset=utf-8", f"<p>{SENTENCE}")),
    "a multipart without its boundary": lambda: mail(SENTENCE.encode(), "Content-Type: multipart/mixed"),
    "a quoted reply": lambda: text_mail("I agree.\n\nBo wrote:\n> " + SENTENCE),
    "a mail without a blank line before its text": lambda: HEAD + SENTENCE.encode() + b"\n",
}


# --- bombs: a parser that is not guarded takes seconds to minutes, or gigabytes, for each


def _nested(levels: int, inner: str) -> bytes:
    opened = "".join(f"Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n" for level in range(levels))
    return HEAD + (opened + inner).encode()


#: Must be kept unread.
REFUSED_BOMBS: dict[str, Callable[[], bytes]] = {
    "a megabyte and a byte": lambda: mail() + b"x" * 1_048_576,
    "a header of 1 MB": lambda: with_header("X-Long: " + "x" * 900_000),
    "100,000 headers": lambda: with_header(*["X-A: b"] * 100_000),
    "1,000 nested multiparts": lambda: _nested(1_000, "hi"),
    "21 nested multiparts": lambda: _nested(21, "hi"),
    "2,000 nested forwards": lambda: HEAD + b"Content-Type: message/rfc822\n\n" * 2_000 + b"hi",
    "100,000 parts": lambda: mail(b"--x\n\na\n" * 100_000, "Content-Type: multipart/mixed; boundary=x"),
    "90,000 parts, boundary in pieces": lambda: mail(
        b"--xy\n\na\n" * 90_000, 'Content-Type: multipart/mixed; boundary*0=x;\n boundary*1="y"'
    ),
    "90,000 parts, boundary percent-encoded": lambda: mail(
        b"--xy\n\na\n" * 90_000, "Content-Type: multipart/mixed; boundary*=us-ascii''%78y"
    ),
    "100,000 parts after lone carriage returns": lambda: (
        HEAD + b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\r\ra\r" * 100_000
    ),
    "a delivery report of 400,000 blocks": lambda: (
        HEAD + b"Content-Type: message/delivery-status\n\n" + b"\n\n" * 400_000
    ),
    "a part with 300,000 parameters": lambda: multipart(("text/plain" + ";" * 300_000, "hi")),
    "a part with 50,000 quotes": lambda: multipart(('text/plain; name="' + '\\";"' * 50_000, "hi")),
    "9,000 encoded words in names of parts": lambda: multipart(
        *[("text/plain; name=" + "=?utf-8?q?a?=" * 100, "hi")] * 90
    ),
    "20,000 unfinished tags": lambda: html_mail("<a " * 20_000),
    "20,000 unfinished comments": lambda: html_mail("<!--" * 20_000),
    "100,000 nested <div>": lambda: html_mail("<div>" * 100_000),
    "20,000 nested lists, closed elsewhere": lambda: html_mail("<ul><li></b></i>" * 20_000),
    "100,000 attributes": lambda: html_mail("<p " + " ".join(f"a{number}" for number in range(100_000)) + ">"),
    "50,000 attributes without blanks": lambda: html_mail("<p " + "".join(f'a{n:x}=""' for n in range(50_000)) + ">"),
}

#: Must be read, and quickly.
READ_BOMBS: dict[str, Callable[[], bytes]] = {
    "20 nested multiparts": lambda: _nested(20, "Content-Type: text/plain\n\nhi"),
    "5,000 encoded words in the Subject": lambda: with_header("Subject: " + "=?utf-8?q?a?=" * 5_000, instead="Subject"),
    "60,000 quotes in From": lambda: with_header("From: " + '"' * 60_000, instead="From"),
    "60,000 parentheses in From": lambda: with_header("From: " + "(" * 60_000, instead="From"),
    "60,000 blanks in From": lambda: with_header("From: a" + " " * 60_000 + "b", instead="From"),
    "60,000 backslashes in From": lambda: with_header('From: "' + "\\" * 60_000, instead="From"),
    "60,000 semicolons in To": lambda: with_header("To: " + "a:;" * 20_000, instead="To"),
    "60,000 semicolons in DKIM-Signature": lambda: with_header("DKIM-Signature: " + "; h " * 15_000),
    "60,000 digits in Date": lambda: with_header("Date: " + "1" * 60_000, instead="Date"),
    "9,000 unfinished comments": lambda: html_mail("<!--" * 9_000),
    "9,000 nested <font>": lambda: html_mail("".join(f"<font color={number}>" for number in range(9_000))),
    "4,900 unclosed <b> with as many paragraphs": lambda: html_mail(
        "".join(f"<b id={number}><p>" for number in range(4_900))
    ),
    "900,000 zeros in a style": lambda: html_mail(f'<p style="opacity:{"0" * 900_000}x">seen'),
    "120,000 combining marks in hidden HTML": lambda: mail(
        b"<p hidden>" + b"&#769;&#807;" * 60_000, "Content-Type: text/html"
    ),
    "300,000 combining marks": lambda: text_mail("a" + "\u0301\u0327" * 150_000, encoding="base64"),
    "letters that grow 18-fold": lambda: text_mail("\ufdfa" * 300_000),
    "a million bytes that are no UTF-8": lambda: mail(b"\xffa" * 500_000),
    "a megabyte of broken base64": lambda: mail(b"=A!" * 300_000, "Content-Transfer-Encoding: base64"),
    "a megabyte of blank lines": lambda: mail(b"\n" * 500_000),
    "a megabyte of quotes and URLs": lambda: mail(b">>> http://\n" * 80_000, "Content-Type: text/plain; format=flowed"),
    "a megabyte of Content fields": lambda: mail(b"content-x: multipart/\n" * 40_000),
}

#: No cap can see these before the decoding, and mail-parser is handed their text: the processor limit of a worker ends them.
WORKER_BOMBS: dict[str, Callable[[], bytes]] = {
    "300,000 combining marks beside a NUL": lambda: (
        text_mail("a" + "\u0301\u0327" * 150_000, encoding="base64") + b"\0"
    ),
}


@contextmanager
def cpu_limit(seconds: float = 2.0) -> Iterator[None]:
    """Fail when what is inside uses more processor time than a worker would be given for one mail (no clock is read)."""

    def stop(_signal: int, _frame: object) -> None:
        raise AssertionError(f"used more than {seconds} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
