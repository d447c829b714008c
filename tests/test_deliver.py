"""unpitch-deliver: mail in, the same mail out with a verdict; and, in trouble, without."""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivering import DELIVER, LMTP, install, mail_user, open_folder
from dovecot import Dovecot, missing
from mails import TRUSTED, forged, job_alert, mail
from postfix import Postfix
from postfix import missing as no_postfix

from filters import senders
from filters.message import MESSAGE_CAP
from filters.receivers import parse_trust
from filters.sieve import Wish, rules

TRUST = f"--trust-authserv={TRUSTED}"
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
VERDICT = re.compile(rb"X-Unpitch: category=(\w+); p=([01]\.\d{3}); auth=(\w+); v=[\d.]+; verdict=(\w+)\r\n")


def deliver(raw: bytes, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([DELIVER, *words], input=raw, capture_output=True, check=False, timeout=60, **more)  # type: ignore[call-overload, no-any-return]


def recipe(name: str) -> str:
    """The block of the README below the line that names it, with the programs of this checkout in place of the installed ones."""
    found = re.search(rf"<!-- recipe: {name} -->\n```\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1].replace("/usr/bin/unpitch-deliver", str(DELIVER)).replace("mx.example.org", TRUSTED)


@pytest.mark.parametrize(
    ("raw", "verdict", "code"),
    [
        (mail(), (b"partner_inmail", b"verified", b"promotional"), 0),
        (mail(results=""), (b"partner_inmail", b"unverified", b"unsure"), 2),
        (job_alert(), (b"job_alert", b"verified", b"other"), 1),
        (b"From: a@example.org\r\nSubject: hello\r\n\r\nx\r\n", (b"none", b"none", b"other"), 1),
    ],
    ids=["promotional", "unverified", "wanted", "elsewhere"],
)
def test_mail_comes_out_as_it_came_in_with_one_header(raw: bytes, verdict: tuple[bytes, ...], code: int) -> None:
    done = deliver(raw, TRUST)
    found = VERDICT.match(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert found and found.group(1, 3, 4) == verdict
    assert done.stdout[found.end() :] == raw
    done = deliver(raw, "--authserv-id", TRUSTED, "--exit-code")
    assert (done.returncode, done.stdout) == (code, b"")


def test_without_a_trusted_receiver_nothing_is_promotional() -> None:
    assert deliver(mail(), "--exit-code").returncode == 2


@pytest.mark.parametrize(
    ("raw", "words", "code", "says"),
    [
        (b"no mail\n", (), 0, b"no header"),
        (b"no mail\n", ("--tempfail",), 0, b"no header"),
        (b"", (), 0, b"no message"),
        (b"A: b\n" * 40_000 + b"\nx", (), 0, b"header block"),
        (b"A: b\n\nx", ("--model", "/nowhere"), 0, b"no model file"),
        (b"A: b\n\nx", ("--model", "/nowhere", "--tempfail"), 75, b"no model file"),
        (b"A: b\n\nx", ("--trust-authserv", "a b"), 0, b"names no receiver"),
        (b"A: b\n\nx", ("--wrong",), 75, b"no option"),
        (b"A: b\n\nx", ("--model",), 75, b"wants a value"),
        (b"A: b\n\nx", ("--",), 75, b"command"),
        (b"A: b\n\nx", ("--", "/nowhere/at/all"), 75, b"no such file"),
    ],
)
def test_in_trouble_mail_goes_through_or_is_kept(raw: bytes, words: tuple[str, ...], code: int, says: bytes) -> None:
    done = deliver(raw, *words)
    assert (done.returncode, done.stdout) == (code, raw if code == 0 else b"")
    assert says in done.stderr
    assert done.stderr.startswith(b"unpitch-deliver: ") and done.stderr.count(b"\n") == 1


def test_a_child_that_is_killed_costs_the_verdict_only() -> None:
    """A process limit of the caller's that nobody can judge under: no address space."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -v 24000; exec {DELIVER}"], input=mail(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, mail())
    assert b"not judged" in done.stderr


def test_a_huge_message_passes_unjudged_in_bounded_memory() -> None:
    piece = b"x" * 65_535 + b"\n"
    start = b"X-Unpitch: verdict=promotional\nSubject: big\n\n"
    script = f'ulimit -v 60000; exec "{DELIVER}" --tempfail'
    with subprocess.Popen(
        ["/bin/sh", "-c", f"(printf '%s' \"$1\"; head -c {100 * 2**20} /dev/zero) | ({script}) | cksum", "sh", start],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, err = process.communicate(timeout=60)
    assert out.split()[1] == str(100 * 2**20 + len(b"Subject: big\n\n")).encode()
    assert f"larger than {MESSAGE_CAP:,} bytes".encode() in err
    assert len(piece) == 65_536


def test_a_reader_that_is_gone_and_a_full_disk_are_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([DELIVER], input=mail(), stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.returncode == 75 and b"is gone" in done.stderr
    with open("/dev/full", "wb") as full:
        done = subprocess.run([DELIVER], input=mail(), stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 75 and b"no space left" in done.stderr


@pytest.mark.parametrize(("closed", "code"), [(">&-", 75), ("<&-", 75), (">&- 2>&-", 75), ("2>&-", 0)])
def test_mail_never_goes_where_a_closed_stream_was(closed: str, code: int, tmp_path: Path) -> None:
    """The next file or pipe that is opened takes its place."""
    script = f'exec "$1" <"$2" >"$3" {closed}'
    (tmp_path / "mail").write_bytes(mail())
    words = [str(DELIVER), str(tmp_path / "mail"), str(tmp_path / "out")]
    done = subprocess.run(["/bin/sh", "-c", script, "sh", *words], capture_output=True, check=False)
    assert done.returncode == code
    assert (tmp_path / "out").read_bytes().endswith(mail()) == (code == 0)


def test_a_message_that_breaks_off_on_a_full_disk_is_not_delivered(tmp_path: Path) -> None:
    """The first half of it fits, which is what no caller may take for all of it."""
    out = tmp_path / "out"
    script = f'ulimit -f 1; exec "{DELIVER}" >"$1"'
    raw = mail() + b"x" * 2_000
    done = subprocess.run(["/bin/sh", "-c", script, "sh", str(out)], input=raw, capture_output=True, check=False)
    assert done.returncode == 75 and b"file too large" in done.stderr
    assert 0 < out.stat().st_size < len(raw)


def test_half_a_message_is_passed_on_as_it_is() -> None:
    """Nobody can see on a pipe that more was to come; what came is not changed."""
    raw = mail()[:700]
    done = deliver(raw, TRUST)
    assert done.returncode == 0 and done.stdout.endswith(raw)


def test_a_command_gets_the_whole_message_and_its_exit_code_is_ours(tmp_path: Path) -> None:
    done = deliver(mail(), TRUST, "--", "/bin/sh", "-c", "cat; exit 67")
    assert done.returncode == 67
    assert VERDICT.match(done.stdout) and done.stdout.endswith(mail())
    done = deliver(mail(), "--", "/bin/sh", "-c", "cat > $1", "sh", str(tmp_path / "x"), env={"TMPDIR": "/nowhere"})
    assert done.returncode in (0, 75)


# --- the recipes of the README


def _maildir(home: Path, *names: str) -> None:
    for name in ("", *names):
        for part in ("cur", "new", "tmp"):
            (home / "Maildir" / name / part).mkdir(parents=True)


def _agent(home: Path, words: list[str], raw: bytes) -> None:
    done = subprocess.run(
        words, input=raw, capture_output=True, check=False, env={"HOME": str(home), "PATH": os.environ["PATH"]}
    )
    assert done.returncode == 0, done.stderr


def _lying(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "new").iterdir())]


@pytest.mark.skipif(not shutil.which("maildrop"), reason="no maildrop: install maildrop to run this test")
def test_the_recipe_for_maildrop(tmp_path: Path) -> None:
    _maildir(tmp_path, ".LinkedIn")
    (tmp_path / "filter").write_text(
        f'DEFAULT="{tmp_path}/Maildir"\n{recipe("maildrop").replace("$HOME", str(tmp_path))}'
    )
    (tmp_path / "filter").chmod(0o600)
    for raw in (mail(), job_alert()):
        _agent(tmp_path, ["maildrop", str(tmp_path / "filter")], raw.replace(b"\r\n", b"\n"))
    assert b"verdict=promotional" in _lying(tmp_path / "Maildir" / ".LinkedIn")[0]
    assert b"category=job_alert" in _lying(tmp_path / "Maildir")[0]


@pytest.mark.skipif(not shutil.which("procmail"), reason="no procmail: install procmail to run this test")
def test_the_recipe_for_procmail(tmp_path: Path) -> None:
    _maildir(tmp_path, ".LinkedIn")
    (tmp_path / "rc").write_text(f"MAILDIR={tmp_path}/Maildir\nDEFAULT={tmp_path}/Maildir/\n{recipe('procmail')}")
    for raw in (mail(), job_alert()):
        _agent(tmp_path, ["procmail", str(tmp_path / "rc")], raw.replace(b"\r\n", b"\n"))
    assert b"verdict=promotional" in _lying(tmp_path / "Maildir" / ".LinkedIn")[0]
    assert b"category=job_alert" in _lying(tmp_path / "Maildir")[0]


SIEVE = """
hostname = mx.example.net
protocol lmtp {
  mail_plugins = sieve
}
plugin {
  sieve = file:%(home)s/active.sieve
  sieve_plugins = sieve_extprograms
  sieve_extensions = +vnd.dovecot.execute +vnd.dovecot.filter
  sieve_execute_bin_dir = %(home)s/bin
  sieve_filter_bin_dir = %(home)s/bin
}
"""


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[Dovecot, Path]]:
    """A Dovecot with LMTP and Sieve, and the folder of its script and of the programs that it may start."""
    if reason := missing():
        pytest.skip(reason)
    if not list(Path("/usr/lib").glob("**/dovecot/modules/**/*sieve_extprograms_plugin.so")):
        pytest.skip("no Pigeonhole: install dovecot-sieve and dovecot-lmtpd to run these tests")
    with open_folder("sieve-") as home, Dovecot(more=LMTP + SIEVE % {"home": home}) as running:
        (home / "bin").mkdir()
        if reason := install(home / "bin"):
            pytest.skip(reason)
        yield running, home


@pytest.mark.parametrize("kind", ["execute", "filter"])
def test_the_recipes_for_sieve(store: tuple[Dovecot, Path], kind: str) -> None:
    server, home = store
    (home / "active.sieve").write_text(recipe(f"sieve {kind}"))
    for path in home.glob("*.svbin"):
        path.unlink()
    user = server.new_user()
    with smtplib.LMTP(str(server.home / "run" / "lmtp")) as client:
        for raw in (mail(), job_alert()):
            client.sendmail("a@example.org", [user], raw)
    (advert,) = _lying(server.maildir(user, ".LinkedIn"))
    (wanted,) = _lying(server.maildir(user))
    assert advert.endswith(mail().partition(b"\r\n")[2].replace(b"\r\n", b"\n")[-500:])
    assert b"jobalerts" in wanted
    assert (b"X-Unpitch: " in wanted) == (kind == "filter")


def test_exported_rules_file_at_delivery(store: tuple[Dovecot, Path]) -> None:
    server, home = store
    sender = senders.load()
    wish = Wish((parse_trust(f"{TRUSTED}:below"),), sender.promotional, "LinkedIn")
    (home / "active.sieve").write_text(rules(sender, wish, "unpitch"), encoding="utf-8")
    for path in home.glob("*.svbin"):
        path.unlink()
    user = server.new_user()
    with smtplib.LMTP(str(server.home / "run" / "lmtp")) as client:
        for raw in (mail(), job_alert(), forged()):
            client.sendmail("a@example.org", [user], raw)
    (advert,) = _lying(server.maildir(user, ".LinkedIn"))
    assert b"executive MBA" in advert
    assert len(_lying(server.maildir(user))) == 2


def test_the_recipe_for_postfix(store: tuple[Dovecot, Path]) -> None:
    if reason := no_postfix():
        pytest.skip(reason)
    server, home = store
    (home / "active.sieve").write_text("keep;")
    for path in home.glob("*.svbin"):
        path.unlink()
    lines = recipe("postfix").replace("user=vmail", f"user={mail_user()}")
    lines = lines.replace(str(DELIVER), str(home / "bin" / "unpitch-deliver"))
    lines = lines.replace("dovecot-lda ", f"dovecot-lda -c {server.home / 'dovecot.conf'} -o log_path={home}/lda.log ")
    with Postfix(transport="unpitch:", more=lines) as postfix:
        user = f"{server.new_user()}@example.org"
        for raw in (mail(), job_alert()):
            postfix.send("a@example.org", [user], raw)
        postfix.wait_until_empty()
    assert (server.maildir(user) / "new").is_dir(), postfix.log
    delivered = _lying(server.maildir(user))
    assert sorted(VERDICT.findall(raw.replace(b"\n", b"\r\n"))[0][3] for raw in delivered) == [b"other", b"promotional"]
