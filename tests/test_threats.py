"""Threats of the threat model (T1-T16 mail, M1-M8 model, credentials, supply chain) that no other module's test holds, and the
list of all of them: each number has a test that bears it in its name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from base64 import b64encode
from contextlib import suppress
from importlib import import_module
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import mails
import pytest
import template
from hostile import cpu_limit, mail, multipart, text_mail, with_header
from scripted_imap import ScriptedServer, mailbox

from filters import senders
from filters.errors import InputError
from filters.message import DECODED_CAP, HEADER_CAP, PART_CAP, WORD_CAP, decode_words, parse
from filters.normal_form import fold, normal, words
from filters.safe_text import unlinked

ROOT = Path(__file__).parent.parent

#: Nobody trains on his own mail yet (T16), and no account uses OAuth yet (M4).
LATER = {"t16", "m4"}


@pytest.mark.parametrize("number", [*(f"t{n}" for n in range(1, 17)), *(f"m{n}" for n in range(1, 9))])
def test_every_threat_has_a_test_that_bears_its_number(number: str) -> None:
    names = [
        name
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert any(re.match(rf"test_(?:[a-z]+\d+_)*{number}_", name) for name in names) != (number in LATER)


# --- T2, T14, M5: what is written


HOSTILE_VALUE = 'a\r\nX-Evil: 1\r\n\r\n{"x": \x1b[2J\x9b \u2028 \u202e,"\'</script>'
#: A host that must show up nowhere, in every place of a mail that can hold a link.
PHISH = "phish.example"


def command(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`unpitch` with these words."""
    env = {**os.environ, "UNPITCH_STATE": str(state)}
    return template.run(words, env)


def box_of(folder: Path, contents: dict[str, bytes]) -> Path:
    """A Maildir."""
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    for name, raw in contents.items():
        (folder / "cur" / name).write_bytes(raw)
    return folder


def test_t2_line_breaks_in_every_field_stay_in_their_field(tmp_path: Path) -> None:
    word = f"=?utf-8?b?{b64encode(HOSTILE_VALUE.encode()).decode()}?="
    raw = (
        mails.mail(template="x")
        .replace(b"Subject: ", f"Subject: {word} ".encode())
        .replace(b"Northfield School", word.encode())
    )
    raw = raw.replace(b"X-LinkedIn-Template: x", b"X-LinkedIn-Template: \x1b]0;x\x07 \xe2\x80\xa8 y")
    box = box_of(tmp_path / "box\x1b[2J\n{}", {"1.a:2,S": raw, "2.b\x1b[2J\r\nx:2,S": raw})
    done = command(tmp_path / "state", "audit", str(box), "--trust-authserv", mails.TRUSTED, "--format", "json")
    data = json.loads(done.stdout)
    assert len(data["findings"]) == 2
    assert set(data) == {"schema", "findings", "summary", "opt_out"}
    for text in _strings(data):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u202e\ud800-\udfff]", text)
    for words_ in (["audit", str(box)], ["clean", "--yes", str(box)], ["explain", str(box)], ["undo"]):
        done = command(
            tmp_path / "state", *words_, *(["--trust-authserv", mails.TRUSTED] if str(box) in words_ else [])
        )
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", done.stdout + done.stderr)
        assert not re.search(r"(?m)^\s*X-Evil", done.stdout + done.stderr)


def _strings(data: Any) -> list[str]:
    if isinstance(data, dict):
        return [text for pair in data.items() for one in pair for text in _strings(one)]
    if isinstance(data, list):
        return [text for one in data for text in _strings(one)]
    return [data] if isinstance(data, str) else []


def test_t14_m5_no_link_of_a_mail_occurs_in_any_output(tmp_path: Path) -> None:
    link = (
        f"https://{PHISH}/slink?code=AbC123 http://www.{PHISH}/optout www.{PHISH}/x mailto:stop@{PHISH} hxxp://{PHISH}/"
    )
    text = f"To opt out of promotional messages: {link}\n\n{mails.ADVERT} {link}\n\n{mails.DISCLOSURE} Unsubscribe: {link}\n"
    extra = (
        ("List-Unsubscribe", f"<https://{PHISH}/u?x=1>, <mailto:u@{PHISH}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    )
    genuine = mails.mail(
        text, subject=f"Unsubscribe at {link}", template=f"email_{link}".replace(" ", "-"), extra=extra
    )
    genuine = genuine.replace(
        b"Northfield School", f"Your opt-out, www.{PHISH}/a ftp://{PHISH}/b".replace(",", "").encode()
    )
    page = f'<html><body><a href="https://{PHISH}/a">Unsubscribe</a><p>{text}<img src="https://{PHISH}/p.gif"></body></html>'
    forged = mails.mail(text, subject=link, results=mails.FAIL, number=2, extra=extra)
    never = mails.security(3).replace(b"X-LinkedIn-Template: ", f"X-LinkedIn-Template: https://{PHISH}/".encode())
    in_html = (
        mails.mail("x", number=4).replace(b"text/plain", b"text/html").replace(b"\r\n\r\nx", f"\r\n\r\n{page}".encode())
    )
    box = box_of(tmp_path / "box", {"1.a:2,S": genuine, "2.b:2,S": forged, "3.c:2,S": never, "4.d:2,S": in_html})
    (tmp_path / "one.eml").write_bytes(genuine)
    trust = ["--trust-authserv", mails.TRUSTED]
    outputs = [
        command(tmp_path / "state", *said)
        for said in (
            ["audit", str(box), *trust],
            ["audit", str(box)],
            ["audit", str(box), *trust, "--format", "json"],
            ["audit", str(box), *trust, "--format", "csv", "--html", str(tmp_path / "audit.html")],
            ["explain", str(tmp_path / "one.eml"), *trust, "--html", str(tmp_path / "one.html")],
            ["explain", str(tmp_path / "one.eml"), *trust, "--redact"],
            ["clean", str(box), *trust, "--dry-run"],
            ["clean", str(box), *trust, "--yes"],
            ["runs"],
            ["undo"],
            ["runs"],
            ["opt-out"],
        )
    ]
    assert "1 moved" in outputs[7].stdout or "2 moved" in outputs[7].stdout
    for page_written in (tmp_path / "audit.html", tmp_path / "one.html"):
        assert PHISH not in page_written.read_text()
    for done in outputs:
        assert not done.returncode
        assert PHISH not in done.stdout + done.stderr
    assert "[link…]" in outputs[0].stdout


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://a.example/x, now", "see [link…] now"),
        ("HTTPS://A.EXAMPLE and www.b.example/c", "[link…] and [link…]"),
        ("ftp://a javascript://x data:y", "[link…] [link…] data:y"),
        ("mailto:a@b.example", "[link…]"),
        ("Ann Ames <ann@mail.example>", "Ann Ames <ann@mail.example>"),
        ("and/or: 24/7, www or //", "and/or: 24/7, www or //"),
    ],
)
def test_t14_links_are_taken_out(text: str, shown: str) -> None:
    assert unlinked(text) == shown


# --- T6: slow patterns

_MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "filters").rglob("*.py")
    if path.stem not in ("__init__", "__main__", "train", "demo")
)
_ATOMS = [
    *(
        "a",
        "A",
        "0",
        " ",
        "\n",
        "\t",
        "=",
        ";",
        ":",
        '"',
        "'",
        "\\",
        "(",
        ")",
        "<",
        ">",
        "[",
        "]",
        "{",
        "}",
        "@",
        ".",
        ",",
        "-",
        "_",
        "&",
    ),
    *(
        "a ",
        " a",
        "a=",
        "=a",
        "a;",
        "; ",
        'a"',
        '"a',
        "\\a",
        "a.",
        "a@",
        "a-",
        "<a",
        "a>",
        "(a",
        "a)",
        "a:",
        "a,",
        "a/",
        "//",
        "=?",
        "?=",
        "\n ",
    ),
    *(
        "h=",
        "http://",
        "mailto:",
        "www.",
        "display:",
        "From: ",
        "a@b.",
        "a: b\n",
        "=?utf-8?q?a?=",
        "e-mail",
        "ü",
        "\u0301",
        "漢",
    ),
]


def _patterns() -> list[tuple[str, re.Pattern[Any], set[str]]]:
    """Every pattern of the product with the methods by which it is used: one for a whole value may be slow at finding."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "filters").rglob("*.py"))
    uses: dict[str, set[str]] = {}
    for key, method in re.findall(r"\b(\w+)\.(match|fullmatch|search|finditer|findall|sub|split)\b", code):
        uses.setdefault(key, set()).add(method)
    found: dict[re.Pattern[Any], tuple[str, re.Pattern[Any], set[str]]] = {}
    for name in ["filters.senders", "filters.sources", *_MODULES]:
        for key, value in vars(import_module(name)).items():
            if isinstance(value, re.Pattern):
                found[value] = (f"{name}.{key}", value, uses.get(key, set()))
    return list(found.values())


_PATTERNS = _patterns()


@pytest.mark.parametrize(("name", "pattern", "used"), _PATTERNS, ids=[name for name, *_ in _PATTERNS])
def test_t6_64_kilobytes_of_near_misses_take_no_pattern_long(
    name: str, pattern: re.Pattern[Any], used: set[str]
) -> None:
    assert used, f"how is {name} used?"
    for atom in _ATOMS:
        text: Any = atom * (65_536 // len(atom)) + "\0!"
        if isinstance(pattern.pattern, bytes):
            text = text.encode()
        with cpu_limit(1.0):
            if used - {"match", "fullmatch"}:
                pattern.findall(text)
            pattern.match(text)
            pattern.fullmatch(text)


def test_t6_64_kilobytes_of_near_misses_of_every_phrase_take_no_time() -> None:
    sender = senders.load()
    phrases = sorted({entry.text for entry in (*sender.disclosures, *sender.footers)})
    assert len(phrases) > 50
    for phrase in phrases:
        cut = words(fold(normal(phrase)))
        near = " ".join(cut[:-1] or cut) + " "
        text = (near * (65_536 // max(len(near), 1)))[:65_536]
        with cpu_limit(1.0):
            sender.find(text)


# --- T8 to T11: caps


def test_t8_the_caps_on_parts_and_depth_are_where_they_are_said_to_be() -> None:
    def parts(count: int) -> bytes:
        return multipart(*[("text/plain", "hi")] * count, kind="mixed")

    assert parse(parts(PART_CAP - 1)).text.count("hi") == PART_CAP - 1
    with pytest.raises(InputError, match=f"more than {PART_CAP} parts"):
        parse(parts(PART_CAP + 2))


def test_t9_the_cap_on_the_header_block_is_where_it_is_said_to_be() -> None:
    block = with_header("X-A: " + "x" * (HEADER_CAP - 400)).replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    block = block.replace(b"X-A: ", b"X-A: " + b"y" * (HEADER_CAP - len(block)))
    assert len(block) == HEADER_CAP
    assert parse(block + b"\n\nhi").text == "hi"
    with pytest.raises(InputError, match="header block"):
        parse(block + b"y\n\nhi")


@pytest.mark.parametrize("coding", ["q?ab", "b?YWI="])
def test_t10_a_hundred_words_are_decoded_and_two_kilobytes_come_out(coding: str) -> None:
    shown = decode_words(f"=?utf-8?{coding}?= " * 3_000)
    assert len(shown) <= DECODED_CAP
    assert shown.startswith("ab" * WORD_CAP)
    assert shown[2 * WORD_CAP :].lstrip().startswith("=?utf-8")


@pytest.mark.parametrize(
    "charset", ["utf-7", "unicode_escape", "raw_unicode_escape", "idna", "punycode", "rot13", "zlib", "a\0b", "cp65001"]
)
def test_t11_a_charset_outside_the_list_is_not_used_in_headers_either(charset: str) -> None:
    coded = r"+ADw-x\u0041=5Cu0041"
    assert "<" not in decode_words(f"=?{charset}?q?{coded}?=")
    assert "A" not in decode_words(f"=?{charset}?q?=5Cu0041?=").replace("+ADw", "")


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "iso-2022-jp", "gb18030", "utf-8"])
def test_t11_bytes_that_are_no_text_of_their_charset_do_no_harm(charset: str) -> None:
    raw = (
        text_mail("x")
        .replace(b"utf-8", charset.encode())
        .replace(b"\r\n\r\nx", b"\r\n\r\n\x00\xd8\xff\xfe\x1b$B\x00\x81\x30x\xed\xa0\x80")
    )
    parse(raw).text.encode()


# --- T12, T13, T15: who it is from

_OWN, _OTHER = "messages-noreply@linkedin.com", "eve@phish.example"


def _spoofs() -> list[str]:
    """Thirty From lines in which one address stands where a careless reader looks, and the other where the mail is from."""
    pieces = ['"{}"', "<{}>", "({})", "{}", "=?utf-8?q?{}?="]
    lines = [
        f"{one.format(first)} {two.format(second)}"
        for first, second in permutations((_OWN, _OTHER))
        for one in pieces
        for two in pieces
        if not (one == two == "({})")
    ]
    return lines[:48]


def test_t13_no_line_with_two_addresses_is_from_the_sender() -> None:
    assert len(_spoofs()) >= 30
    for line in _spoofs():
        message = parse(with_header(f"From: {line}", instead="From"))
        assert message.from_address in ("", _OTHER, _OWN)
        if message.from_address == _OWN:  # the other one is in an encoded word: a name, however it looks
            assert line in (f"=?utf-8?q?{_OTHER}?= <{_OWN}>",)


# --- M2, M3: the password


def test_m2_the_password_is_in_no_argument_output_or_file(tmp_path: Path) -> None:
    secret = "Zq7-Xw9 Kd2"
    forms = [secret, b64encode(secret.encode()).decode()[:-2], b64encode(f"\0ann\0{secret}".encode()).decode()]
    seen: list[bytes] = []

    def search(asked: str) -> bytes:  # while the run waits for this answer, look at every process
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                seen.append((process / "cmdline").read_bytes())
        return answers["UID SEARCH"](asked)  # type: ignore[operator,no-any-return]

    answers = mailbox({1: mails.mail(), 2: mails.friend()})
    with ScriptedServer({**answers, "UID SEARCH": search}) as server:
        script = tmp_path / "give"
        script.write_text(f"#!/bin/sh\necho '{secret}'\n")
        script.chmod(0o700)
        # an interpreter of its own, whose arguments all processes of this machine can read
        env = {**os.environ, "UNPITCH_STATE": str(tmp_path / "state")}
        words = [*template.COMMAND, "audit", server.url(), "--password-command", str(script)]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert any(forms[2].encode() in line for line in server.lines)
    assert any(b"filters" in line for line in seen)
    files = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
    for text in (done.stdout.encode(), done.stderr.encode(), *files, *seen):
        assert not [form for form in forms if form.encode() in text]


# --- M6, M8: what we stand on


def test_m6_every_dependency_is_pinned_by_its_hash() -> None:
    for name in ("constraints.txt", "constraints-dev.txt", "scripts/fuzz-requirements.txt"):
        entries = re.split(r"\n(?=[a-zA-Z0-9])", re.sub(r"(?m)^ *#.*\n", "", (ROOT / name).read_text(encoding="utf-8")))
        pinned = [entry for entry in entries if entry.strip()]
        assert pinned
        for entry in pinned:
            assert re.match(r"[\w.\[\]-]+==[\w.]+", entry), entry
            assert "--hash=sha256:" in entry, entry
    assert "--require-hashes" in (ROOT / "scripts" / "install").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(project["dependencies"]) <= 10


def test_m8_no_parser_of_the_standard_library_that_only_newer_pythons_mended_is_used() -> None:
    """3.11 is the floor, so that `html.parser` (CVE-2025-6069) must not be reached; nor `email.policy.default` (T10)."""
    code = (
        "import filters.judge, filters.cli, sys\n"
        "from pathlib import Path\n"
        "judge = filters.judge.worker({'model': str(filters.judge.models.shipped('linkedin')), 'trusted': []})\n"
        "judge(Path(sys.argv[1]).read_bytes())\n"
        "sys.exit('html.parser' in sys.modules or 'email._header_value_parser' in sys.modules)\n"
    )
    (path, *_) = islice(sorted((ROOT / "corpus" / "linkedin").rglob("*.eml")), 1)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_m7_a_part_that_cannot_be_decoded_costs_itself_only() -> None:
    raw = mail(b"begin 666 x\n" + b"#" * 60_000, "Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode")
    with cpu_limit(1.0):
        parse(raw)
