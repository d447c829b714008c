"""doctor: every line, against a real Dovecot and against a server that answers as others do."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mails
import pytest
from dovecot import PASSWORD, Dovecot
from mailboxes import AT_ONCE
from scripted_imap import ScriptedServer
from test_cli import unpitch
from test_cli_imap import words

from filters import doctor
from filters.sources.describing import Description, Quota, describe

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HEADER = mails.mail().partition(b"\r\n\r\n")[0] + b"\r\n"
FOUND = Description(
    tls="TLSv1.3",
    expires=(NOW + timedelta(days=90)).timestamp(),
    capabilities=frozenset({"MOVE", "UIDPLUS", "IDLE"}),
    folder="INBOX",
    messages=3,
    strategy="move",
    prefix="",
    delimiter="/",
    special=(),
    quotas=(),
    headers=(HEADER,) * 10,
)


def lines(tmp_path: Path, dovecot: Dovecot, user: str, *more: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = unpitch("doctor", dovecot.url(user), "--json", *words(dovecot, *more), state=tmp_path)
    data = json.loads(done.stdout)
    assert data["schema"] == doctor.SCHEMA
    return done.returncode, {line["about"]: line for line in data["accounts"][1]["lines"]}


def test_all_is_well_on_a_real_server_and_nothing_is_changed(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    for number in range(12):
        dovecot.deliver(user, mails.mail(number=number), flags="S")
    before = dovecot.snapshot(user)
    code, found = lines(tmp_path, dovecot, user)
    assert code == 0
    assert dovecot.snapshot(user) == before
    assert "12 messages" in found["login"]["text"]
    assert found["TLS"]["text"].startswith("TLSv1.")
    assert found["moves"]["text"] == "by MOVE, in one step"
    assert "MOVE UIDPLUS" in found["capabilities"]["text"]
    assert f'trust_authserv = ["{mails.TRUSTED}:above"]' in found["Authentication-Results"]["next_step"]


def test_where_the_server_cannot_move(dovecot_without_move: Dovecot, tmp_path: Path) -> None:
    _, found = lines(tmp_path, dovecot_without_move, dovecot_without_move.new_user())
    assert found["moves"]["state"] == "ok"
    assert "journalled copy" in found["moves"]["text"]


def test_a_wrong_password_ends_it_with_the_next_step(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    dovecot.set_password(user, "right")
    rest = ("--ca-file", str(dovecot.ca_file), "--password-command", "printf wrong", "--json")
    done = unpitch("doctor", dovecot.url(user), *rest, state=tmp_path)
    assert done.returncode == 69
    (last,) = json.loads(done.stdout)["accounts"][1]["lines"]
    assert (last["about"], last["state"]) == ("login", "failure")
    assert "app password" in last["next_step"]


def test_a_person_sees_lines_and_the_machine_s_own_first(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    done = unpitch("doctor", dovecot.url(user), *words(dovecot), state=tmp_path)
    assert done.stdout.startswith("This machine\n  ok       model: linkedin, ")
    assert "journal: none yet" in done.stdout
    assert not list(tmp_path.glob("journal*"))


def test_a_maildir_and_what_is_none(tmp_path: Path) -> None:
    box = tmp_path / "box"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
    assert "by renaming" in unpitch("doctor", str(box), state=tmp_path).stdout
    assert unpitch("doctor", str(tmp_path / "none"), state=tmp_path).returncode == 69


def line(about: str, found: Description = FOUND, trusted: tuple[doctor.Authserv, ...] = ()) -> doctor.Line:
    return next(one for one in doctor.account("imaps://x", lambda: found, trusted, NOW) if one.about == about)


def changed(**fields: object) -> Description:
    values = {name: getattr(FOUND, name) for name in Description.__slots__}
    return Description(**values | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("about", "found", "state", "says"),
    [
        ("TLS", changed(expires=(NOW + timedelta(days=3)).timestamp()), "warning", "2026-11-27"),
        ("TLS", changed(tls="", expires=0.0), "ok", "this machine only"),
        ("moves", changed(strategy="it is a special folder. Choose another."), "failure", "refused"),
        ("quota", changed(quotas=(Quota("STORAGE", 99, 100),)), "warning", "99 of 100 KiB"),
        ("quota", changed(quotas=(Quota("MESSAGE", 9, 100),)), "ok", "9 of 100"),
        ("special folders", changed(special=("\\Junk: Spam",)), "ok", "Spam"),
        ("names of folders", changed(prefix="INBOX.", delimiter="."), "ok", "INBOX."),
        ("capabilities", changed(capabilities=frozenset()), "ok", "not: MOVE"),
        ("Authentication-Results", changed(headers=()), "warning", "seen: none"),
        ("clock", changed(headers=(HEADER.replace(b"2016", b"2031"),) * 5), "warning", "future"),
    ],
)
def test_each_line_in_each_state(about: str, found: Description, state: str, says: str) -> None:
    seen = line(about, found)
    assert (seen.state, says in seen.text) == (state, True), seen
    assert bool(seen.next_step) == (state != "ok") or about == "moves"


@pytest.mark.parametrize(
    ("asked", "seconds", "state", "says"),
    [
        (True, 3_599.0, "ok", "good for 60 minutes"),
        (True, math.inf, "ok", "does not say"),
        (True, None, "failure", "gave no access token"),
        (False, None, "ok", "not tried"),
    ],
)
def test_leave_in_each_state(asked: bool, seconds: float | None, state: str, says: str) -> None:
    found = doctor.leave("leave is kept in x", asked, seconds)
    assert found.state == state and says in found.text and found.text.startswith("leave is kept in x")


def test_who_is_believed_is_said() -> None:
    seen = line("Authentication-Results", trusted=(doctor.Authserv("mx.example.org", "above"),))
    assert seen.state == "ok"
    assert "believed: mx.example.org:above" in seen.text


def quota_answer(text: bytes) -> Callable[[str], bytes]:
    return lambda _: b'* QUOTAROOT "INBOX" ""\r\n* QUOTA "" (' + text + b")\r\nTAG OK done\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (quota_answer(b"STORAGE 10 512 MESSAGE 3 1000"), (Quota("STORAGE", 10, 512), Quota("MESSAGE", 3, 1000))),
        (quota_answer(b""), ()),
        (lambda _: b"TAG NO not here\r\n", ()),
    ],
)
def test_quotas_as_servers_tell_them(answer: Callable[[str], bytes], expected: tuple[Quota, ...]) -> None:
    capabilities = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN MOVE UIDPLUS NAMESPACE QUOTA\r\nTAG OK done\r\n"
    with ScriptedServer({"CAPABILITY": capabilities, "GETQUOTAROOT": answer, "UID SEARCH": b"TAG OK x\r\n"}) as server:
        found = describe(server.url(), lambda _: PASSWORD, ca_file=None, patience=AT_ONCE, newest=5)
    assert found.quotas == expected
