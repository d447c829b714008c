"""The fault plan by its numbers, F7 to F28: a real mailbox behind a server that says and does what the plan names.

Faults that other test modules hold bear their number there. The expected behaviour is that of imap.md 2.4: whatever the answer,
nothing is lost, doubled or left marked as deleted, and the next clean run finishes what is left.
"""

from __future__ import annotations

import imaplib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from dovecot import PASSWORD, WITHOUT_MOVE, Dovecot
from mailboxes import message

from faults.meddler import CUT, At, Meddler, Plan
from faults.world import BINNED, FRIEND, ONE, TARGET, THREE, TWO, Content, Patience, World
from filters.errors import FiltersError, LoginError, RefusedError, ServerError, TargetError
from filters.moving import Outcome

#: How a run asks a server to change where mail lies.
CHANGES = {"move": ["UID MOVE"], "copy": ["UID COPY", "UID STORE", "UID EXPUNGE"]}


@contextmanager
def meddled(world: World, plan: Mapping[str, Plan] | None = None, **more: Any) -> Iterator[tuple[World, Meddler]]:
    """The account behind a meddler, with `more` about it."""
    assert world.server
    with Meddler(world.server.plain_port, plan) as meddler:
        yield replace(world, port=meddler.port, **more), meddler


def check_at_rest(world: World, before: Content, *, renumbered: bool = False) -> None:
    """A clean run finishes what is left, whatever that is; then all invariants hold."""
    world.clean()
    assert world.content() == world.moved(before)
    world.check_journal(renumbered=renumbered)
    world.check_rerun()


def attempt(world: World) -> Outcome | FiltersError:
    """A run that may end in one of our errors."""
    try:
        return world.clean()
    except FiltersError as error:
        return error


# F8, F9: a full mailbox, a mailbox that may not be changed

QUOTA = """
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=64K
  quota_grace = 0
}
"""
BIG = message(20, wanted=False, body=b"x" * 63_000 + b"\r\n")


@pytest.mark.parametrize("how", ["move", "copy"])
def test_f8_over_quota_nothing_is_deleted_and_it_is_said_so(how: str, on_server: Callable[[Dovecot], World]) -> None:
    with Dovecot(capability=WITHOUT_MOVE if how == "copy" else "", more=QUOTA) as server:
        world = on_server(server).fill()
        for raw in (ONE, TWO, THREE, BIG):
            world.deliver(raw, "S")
        world.deliver(message(21, wanted=False, body=b"x" * 1000 + b"\r\n"))
        before = world.content()
        if how == "move":  # P9: where COPY is over quota, MOVE may go on
            world.clean()
            assert world.content() == world.moved(before)
            return
        with pytest.raises(match="quota") as caught:
            world.clean()
        assert caught.value.exit_code == 73
        assert world.content() == before
        with neighbour(world) as client:  # makes room
            _, found = client.uid("SEARCH", "LARGER", "60000")
            _expunge(client, found[0].decode())
        check_at_rest(world, [one for one in before if one[1] != BIG])


def test_f8_a_refusal_for_quota_stops_the_run(remote: World) -> None:
    before = remote.content()
    command = CHANGES[remote.how][0]
    with meddled(remote, {command: b"TAG NO [OVERQUOTA] Quota exceeded\r\n"}) as (world, meddler):
        with pytest.raises(match="quota") as caught:
            world.clean()
        assert caught.value.exit_code == 73
        assert len(meddler.sent(command)) == 1
        world.check_unharmed(before)
        assert world.content() == before
        meddler.plan.clear()
        check_at_rest(world, before)


@pytest.mark.parametrize(
    "warning", [b"* NO [OVERQUOTA] Soft quota has been exceeded\r\n", b"* OK [THROTTLED] slow down\r\n"]
)
def test_f8_a_warning_with_success_is_success_and_told(remote: World, warning: bytes) -> None:
    before = remote.content()
    told: list[str] = []
    command = CHANGES[remote.how][0]
    with meddled(
        remote,
        {command: At(change=lambda answer: warning + answer)},
        patience=Patience(first=0, quiet=0, tell=told.append),
    ) as (world, _):
        assert len(world.clean().moved) == 5
        assert [line for line in told if re.search("quota|slow", line)], told
        check_at_rest(world, before)


def test_f8_ok_overquota_is_success_and_told(remote: World) -> None:
    before = remote.content()
    told: list[str] = []
    command = CHANGES[remote.how][-1]
    swap = At(change=lambda answer: re.sub(rb"(?m)^(\S+ OK )(?:\[[^\]]*\] )?(?=[^*]*\Z)", rb"\1[OVERQUOTA] ", answer))
    with meddled(remote, {command: swap}, patience=Patience(first=0, quiet=0, tell=told.append)) as (world, _):
        assert len(world.clean().moved) == 5
        assert [line for line in told if "quota" in line], told
        check_at_rest(world, before)


ACL = """
mail_plugins = acl
protocol imap {
  mail_plugins = acl imap_acl
}
plugin {
  acl = vfile
}
"""


def _allow(world: World, rights: str, folder: str = "") -> None:
    """What the owner may do in a folder, by the letters of RFC 4314; the file is of Dovecot's."""
    path = world.root / folder / "dovecot-acl"
    path.write_text(f"owner {rights}\n")


@pytest.mark.parametrize("how", ["move", "copy"])
@pytest.mark.parametrize("missing", ["t", "e", "te", "twe"])
def test_f9_rights_that_are_missing_are_seen_before_anything_is_sent(
    missing: str, how: str, on_server: Callable[[Dovecot], World]
) -> None:
    capability = f"{WITHOUT_MOVE} ACL" if how == "copy" else ""
    with Dovecot(capability=capability, more=ACL) as server:
        world = on_server(server).fill()
        before = world.content()
        _allow(world, "".join(set("lrwstiekxap") - set(missing)))
        with world.no_change(), pytest.raises((RefusedError, TargetError)):
            world.clean()
        assert world.content() == before
        _allow(world, "lrwstiekxap")
        check_at_rest(world, before)


@pytest.mark.parametrize("how", ["move", "copy"])
def test_f9_a_target_that_takes_nothing_is_seen_before_anything_moves(
    how: str, on_server: Callable[[Dovecot], World]
) -> None:
    capability = f"{WITHOUT_MOVE} ACL" if how == "copy" else ""
    with Dovecot(capability=capability, more=ACL) as server:
        world = on_server(server).fill()
        before = world.content()
        _allow(world, "lrwstekxa", f".{TARGET}")
        with pytest.raises((RefusedError, TargetError)):
            world.clean()
        assert world.content() == before
        _allow(world, "lrwstiekxap", f".{TARGET}")
        check_at_rest(world, before)


def test_f9_ic18_a_folder_that_opens_read_only_is_not_touched(remote: World) -> None:
    before = remote.content()
    with (
        meddled(remote, {"SELECT": At(change=lambda answer: answer.replace(b"READ-WRITE", b"READ-ONLY"))}) as (
            world,
            _,
        ),
        world.no_change(),
        pytest.raises(RefusedError, match="read-only"),
    ):
        world.clean()
    assert remote.content() == before


def test_f9_without_deleted_among_the_permanent_flags_nothing_is_copied(
    dovecot_without_move: Dovecot, on_server: Callable[[Dovecot], World]
) -> None:
    world = on_server(dovecot_without_move).fill()
    before = world.content()

    def change(answer: bytes) -> bytes:
        return re.sub(rb"PERMANENTFLAGS \([^)]*\)", rb"PERMANENTFLAGS (\\Seen \\*)", answer)

    refused = pytest.raises((RefusedError, TargetError))
    with meddled(world, {"SELECT": At(change=change)}) as (behind, _), behind.no_change(), refused:
        behind.clean()
    assert world.content() == before


# F10, F11: refusals, for now and for good

FOR_NOW = ["NO [INUSE] x", "NO [UNAVAILABLE] x", "NO [SERVERBUG] x"]
FOR_GOOD = ["NO no", "BAD what", "NO [CANNOT] x", "NO [NOPERM] x", "NO [CONTACTADMIN] x", "NO [FUTURE] x"]
LOOKING = ["SELECT", "STATUS", "LIST", "UID SEARCH", "UID FETCH", "NAMESPACE"]


LATER = "BAD Request is throttled. Suggested Backoff Time: 7 milliseconds"


@pytest.mark.parametrize("answer", [*FOR_NOW, "NO [EXPUNGEISSUED] x", LATER])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_f10_what_is_refused_for_now_is_done_a_little_later(remote: World, answer: str, number: int) -> None:
    """imap.md 2.4: back off, reconcile, go on. Within one run."""
    if number >= len(CHANGES[remote.how]):
        pytest.skip("there is no such command without copying")
    before = remote.content()
    with meddled(remote, {CHANGES[remote.how][number]: [f"TAG {answer}\r\n".encode()] * 2}) as (world, _):
        assert len(world.clean().moved) == 5
        check_at_rest(world, before)


@pytest.mark.parametrize("answer", FOR_GOOD)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_f10_what_is_refused_for_good_stops_the_run(remote: World, answer: str, number: int) -> None:
    """Of a refused MOVE or COPY nothing is half done; after a refused removal there is one copy, which the next run finds."""
    if number >= len(CHANGES[remote.how]):
        pytest.skip("there is no such command without copying")
    before = remote.content()
    command = CHANGES[remote.how][number]
    with meddled(remote, {command: f"TAG {answer}\r\n".encode()}) as (world, meddler):
        for _ in range(2):
            start = len(meddler.sent(command))
            with pytest.raises(FiltersError):
                world.clean()
            assert len(meddler.sent(command)) - start <= 2
            world.check_unharmed(before)
            assert number or world.content() == before
        assert len(meddler.sent("UID COPY")) <= 1 or not number
        meddler.plan.clear()
        check_at_rest(world, before)


@pytest.mark.parametrize("answer", [FOR_NOW[1], *FOR_GOOD[:4]])
@pytest.mark.parametrize("command", [*LOOKING, "CREATE", "SUBSCRIBE"])
def test_f10_a_question_that_is_refused_costs_at_most_the_run(
    dovecot: Dovecot, on_server: Callable[[Dovecot], World], command: str, answer: str
) -> None:
    """At the first, the second and the third time that it is asked."""
    for time in range(3):
        world = on_server(dovecot)
        world = replace(world, state=world.state / str(time))
        for raw in (ONE, FRIEND, TWO, BINNED, THREE):
            world.deliver(raw, "S")
        before = world.content()
        answers: list[At | bytes] = [At()] * time + [f"TAG {answer}\r\n".encode()]
        with meddled(world, {command: answers}) as (behind, meddler):
            ended = attempt(behind)
            assert not isinstance(ended, Outcome) or len(ended.moved) + len(ended.left) <= 3
            behind.check_unharmed(before)
            meddler.plan.clear()
            check_at_rest(behind, before)


def test_f10_a_limit_is_kept_by_smaller_batches(remote: World) -> None:
    before = remote.content()
    command = CHANGES[remote.how][0]
    refused = b"TAG NO [LIMIT] too many\r\n"
    with meddled(remote, {command: [refused, At(), refused]}) as (world, meddler):
        assert len(world.clean().moved) == 5
        assert len(meddler.sent(command)) > 3
        check_at_rest(world, before)


def test_f11_a_named_wait_is_kept_and_one_that_is_too_long_is_told(remote: World) -> None:
    before = remote.content()
    command = CHANGES[remote.how][0]
    slept: list[float] = []
    throttled = "TAG BAD Request is throttled. Suggested Backoff Time: {} milliseconds\r\n"
    with meddled(
        remote, {command: [throttled.format(299_961).encode()]}, patience=Patience(first=0, quiet=0, sleep=slept.append)
    ) as (world, _meddler):
        assert len(world.clean().moved) == 5
        assert 299.961 in slept
        check_at_rest(world, before)
    longer = replace(remote, state=remote.state / "other")
    longer.deliver(message(30), "S")
    with meddled(
        longer,
        {command: [throttled.format(86_400_000).encode()]},
        patience=Patience(first=0, quiet=0, sleep=slept.append),
    ) as (world, _):
        with pytest.raises(ServerError, match="throttled"):
            world.clean()
        assert max(slept, default=0) <= 600
        assert len(world.clean().moved) == 1


# F13, F14: the target comes and goes


@contextmanager
def neighbour(world: World, folder: str = "INBOX") -> Iterator[imaplib.IMAP4]:
    """Another mail program of the same account."""
    assert world.server
    with world.server.neighbour(world.user) as client:
        assert client.select(f'"{folder}"')[0] == "OK"
        yield client


def test_f13_a_target_that_is_deleted_in_between_is_made_once_more(
    dovecot: Dovecot, dovecot_without_move: Dovecot, on_server: Callable[[Dovecot], World]
) -> None:
    for server in (dovecot, dovecot_without_move):
        world = on_server(server).fill(target=False)
        world = replace(world, state=world.state / world.how)
        before = world.content()

        def delete(world: World = world) -> None:
            with neighbour(world) as client:
                assert client.delete(TARGET)[0] == "OK"

        with meddled(world, {CHANGES[world.how][0]: [At(before=delete)]}) as (behind, meddler):
            assert len(behind.clean().moved) == 5
            assert len(meddler.sent(f'CREATE "{TARGET}"')) == 2
            check_at_rest(behind, before)


def test_f13_a_target_that_is_always_missing_ends_the_run(remote: World) -> None:
    before = remote.content()
    command = CHANGES[remote.how][0]
    with meddled(remote, {command: b"TAG NO [TRYCREATE] no such folder\r\n"}) as (world, meddler):
        with pytest.raises(TargetError):
            world.clean()
        assert len(meddler.sent(command)) == 2
        assert world.content() == before
        meddler.plan.clear()
        check_at_rest(world, before)


@pytest.mark.parametrize("answer", [None, b"TAG NO Cannot create this folder.\r\n"])
def test_f14_a_target_that_somebody_makes_at_the_same_time_is_the_target(
    dovecot: Dovecot, on_server: Callable[[Dovecot], World], answer: bytes | None
) -> None:
    world = on_server(dovecot).fill(target=False)
    before = world.content()

    def create() -> None:
        with neighbour(world) as client:
            assert client.create(TARGET)[0] == "OK"

    with meddled(world, {"CREATE": [At(before=create, answer=answer)]}) as (behind, meddler):
        assert len(behind.clean().moved) == 5
        assert len(meddler.sent("CREATE")) == 1
        check_at_rest(behind, before)


def test_f14_a_parent_that_is_only_a_branch_is_made_a_folder(
    dovecot: Dovecot, on_server: Callable[[Dovecot], World]
) -> None:
    world = on_server(dovecot).fill(target=False)
    with neighbour(world) as client:
        assert client.create(f"{TARGET}/Old")[0] == "OK"
    before = world.content()
    check_at_rest(world, before)


# F15, F16: the line goes, somebody else is at it


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    ("at", "plan"),
    [
        ("greeting", b"* BYE busy\r\n" + CUT),
        ("AUTHENTICATE", b"* BYE go away\r\n" + CUT),
        ("SELECT", CUT),
        ("UID FETCH", At(change=lambda answer: answer[: len(answer) // 2] + CUT)),
        ("UID FETCH", At(change=lambda answer: b"* BYE too much\r\n" + CUT)),
        ("UID SEARCH", At(change=lambda answer: answer[:3] + CUT)),
        ("STATUS", b"* BYE shutting down\r\n" + CUT),
        ("MOVE", b"* BYE shutting down\r\n" + CUT),
        ("MOVE", At(change=lambda answer: answer[: len(answer) // 2] + CUT)),
        ("MOVE", At(change=lambda answer: CUT)),
        ("STORE", At(change=lambda answer: CUT)),
        ("EXPUNGE", At(change=lambda answer: answer[:7] + CUT)),
    ],
)
def test_f15_a_line_that_goes_is_taken_up_again(remote: World, at: str, plan: At | bytes, times: int) -> None:
    before = remote.content()
    names = {"MOVE": CHANGES[remote.how][0], "STORE": "UID STORE", "EXPUNGE": "UID EXPUNGE"}
    if remote.how == "move" and at in ("STORE", "EXPUNGE"):
        pytest.skip("there is no such command without copying")
    if times > 1 and at in ("SELECT", "STATUS", "UID SEARCH"):
        pytest.skip("of those less cannot be asked: a second failure ends the run")
    # the first of all connections is made for the person who waits at the terminal: it is not tried again and again
    first: list[At | bytes] = [At()] if at in ("greeting", "AUTHENTICATE") else []
    answers: dict[str, Plan] = {names.get(at, at): [*first, *[plan] * times]}
    if first:
        answers["UID FETCH"] = [CUT]
    with meddled(remote, answers) as (world, meddler):
        assert len(world.clean().moved) == 5
        assert meddler.connections <= 2 + 2 * times
        check_at_rest(world, before)


@pytest.mark.parametrize("at", ["greeting", "AUTHENTICATE", "SELECT", "UID FETCH", "MOVE"])
def test_f15_a_line_that_goes_again_and_again_ends_the_run(remote: World, at: str) -> None:
    before = remote.content()
    with meddled(remote, {CHANGES[remote.how][0] if at == "MOVE" else at: b"* BYE busy\r\n" + CUT}) as (world, meddler):
        ended = attempt(world)
        assert isinstance(ended, ServerError) or (at == "UID FETCH" and not ended.moved)
        assert meddler.connections <= 80
        world.check_unharmed(before)
        meddler.plan.clear()
        check_at_rest(world, before)


def _expunge(client: imaplib.IMAP4, uid: str) -> None:
    client.uid("STORE", uid, "+FLAGS", "(\\Deleted)")
    client.uid("EXPUNGE", uid)


#: What a neighbour does to the second message (TWO, UID 3), and where that leaves it. "" is the inbox, None is nowhere.
MEDDLING: dict[str, tuple[Callable[[imaplib.IMAP4], object], str | None]] = {
    "expunges": (lambda client: _expunge(client, "3"), None),
    "moves": (lambda client: client.uid("MOVE", "3", "Junk"), ".Junk"),
    "flags": (lambda client: client.uid("STORE", "3", "+FLAGS", "(\\Flagged)"), ""),
}


@pytest.mark.parametrize("what", MEDDLING)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", ["STATUS", "UID FETCH 1", "MOVE", "STORE", "EXPUNGE"])
def test_f16_what_a_neighbour_does_meanwhile_is_respected(remote: World, what: str, when: str, at: str) -> None:
    """The rest is moved; what somebody else took is reported and never made again; what was flagged too late goes as it is."""
    names = {"MOVE": CHANGES[remote.how][0], "STORE": "UID STORE", "EXPUNGE": "UID EXPUNGE"}
    if remote.how == "move" and at in ("STORE", "EXPUNGE"):
        pytest.skip("there is no such command without copying")
    before = remote.content()
    act, place = MEDDLING[what]
    done: list[int] = []

    def meddle() -> None:
        if not done:
            done.append(1)
            with neighbour(remote) as client:
                act(client)

    step = At(before=meddle) if when == "before" else At(after=meddle)
    with meddled(remote, {names.get(at, at): [step]}) as (world, _):
        with suppress(ServerError):
            world.clean()
        world.clean()
        there = [raw for _, raw, *_ in world.content()]
        others = [raw for _, raw, *_ in before if raw != TWO]
        assert sorted(raw for raw in there if raw != TWO) == sorted(others)
        assert [world.where(raw) for raw in (ONE, THREE)] == [[f".{TARGET}"]] * 2
        # its copy may have been made before the neighbour came: then it lies in the target, where nobody took it from
        allowed = [[place] if place is not None else [], [f".{TARGET}"]]
        if place == ".Junk":
            allowed.append([f".{TARGET}", place])
        assert sorted(world.where(TWO)) in allowed
        # what was marked by us already goes away with the mark: only a server with MOVE can keep that apart
        junk = [one for one in world.content() if one[0] == ".Junk"]
        assert [raw for _, raw, *_ in junk] in ([], [TWO])
        world.check_bystanders(before, marked=bool(junk))
        assert {row.state for row in world.rows()} <= {"done", "failed", "vanished"}
        world.check_rerun()


# F17 to F19: numbers


def _made_anew(world: World, folder: str) -> None:
    """Delete a folder and make it anew with the same messages: another UIDVALIDITY, other numbers."""
    with neighbour(world, folder) as client:
        assert client.create("Aside")[0] == "OK"
        client.uid("MOVE", "1:*", "Aside")
        assert client.select("Aside")[0] == "OK"
        assert client.delete(folder)[0] == client.create(folder)[0] == "OK"
        client.uid("MOVE", "1:*", folder)
        assert client.select("INBOX")[0] == "OK"
        assert client.delete("Aside")[0] == "OK"


@pytest.mark.parametrize("how", ["move", "copy"])
@pytest.mark.parametrize("at", ["SELECT", "UID FETCH 1", "STATUS", "MOVE", "STORE", "EXPUNGE"])
def test_f17_a_source_that_is_numbered_anew_in_between_is_never_addressed_by_old_numbers(
    request: pytest.FixtureRequest, on_server: Callable[[Dovecot], World], how: str, at: str
) -> None:
    """UID 1 is the friend's afterwards. The run may end; nothing but what was judged is ever touched."""
    if how == "move" and at in ("STORE", "EXPUNGE"):
        pytest.skip("there is no such command without copying")
    world = on_server(request.getfixturevalue("dovecot" if how == "move" else "dovecot_without_move"))
    for raw, flags in ((ONE, "S"), (FRIEND, "S"), (TWO, "S"), (BINNED, "ST"), (THREE, "S")):
        world.deliver(raw, flags, folder=".Lists")
    with neighbour(world, "Lists") as client:  # the friend's gets the first number when the folder is made anew
        client.uid("MOVE", "1", "INBOX")
        client.select("INBOX")
        client.uid("MOVE", "1", "Lists")
    before = world.content()
    names = {"MOVE": CHANGES[how][0], "STORE": "UID STORE", "EXPUNGE": "UID EXPUNGE"}
    anew = At(before=lambda: _made_anew(world, "Lists"))
    with meddled(world, {names.get(at, at): [At(), anew] if at == "SELECT" else [anew]}, folder="Lists") as (behind, _):
        for _ in range(2):
            attempt(behind)
            behind.check_unharmed(before)
        behind.clean()
        assert sorted(behind.where(FRIEND) + behind.where(BINNED)) == [".Lists", ".Lists"]
        assert {row.state for row in behind.rows()} <= {"done", "failed", "doubt"}
        if "doubt" not in {row.state for row in behind.rows()}:
            behind.check_complete(before)


def test_f17_a_target_that_is_numbered_anew_in_between(remote: World) -> None:
    before = remote.content()
    command = CHANGES[remote.how][0]
    for step in (At(before=lambda: _made_anew(remote, TARGET)), At(after=lambda: _made_anew(remote, TARGET))):
        with meddled(remote, {command: [step]}, state=remote.state / f"{id(step)}") as (world, _):
            attempt(world)
            world.check_unharmed(before)
            check_at_rest(world, before, renumbered=True)
            assert len(world.take_back().moved) == 5
            world.check_complete(before)
            assert [world.where(raw) for raw in (ONE, TWO, THREE)] == [[""]] * 3


def _copyuid(change: Callable[[bytes, bytes, bytes], bytes], *, tagged: bool | None = None) -> At:
    """Another COPYUID in place of the server's, or none. `change` gets UIDVALIDITY, source and target sets."""

    def changed(answer: bytes) -> bytes:
        match = re.search(rb"\[COPYUID (\d+) (\S+) (\S+)\] ?", answer)
        if not match:
            return answer
        code = change(match[1], match[2], match[3])
        lines = answer.replace(match[0], b"").splitlines(keepends=True)
        if code and tagged is not False:
            lines[-1] = re.sub(rb"^(\S+ OK )", rb"\1[" + code + rb"] ", lines[-1])
        if code and tagged is not True:
            lines.insert(0, b"* OK [" + code + b"] x\r\n")
        return b"".join(lines)

    return At(change=changed)


COPYUIDS: dict[str, At] = {
    "missing": _copyuid(lambda v, s, t: b""),
    "untagged": _copyuid(lambda v, s, t: b"COPYUID %s %s %s" % (v, s, t), tagged=False),
    "tagged": _copyuid(lambda v, s, t: b"COPYUID %s %s %s" % (v, s, t), tagged=True),
    "both": _copyuid(lambda v, s, t: b"COPYUID %s %s %s" % (v, s, t)),
    "stale": _copyuid(lambda v, s, t: b"COPYUID %s 1 1" % v),
    "too few": _copyuid(lambda v, s, t: b"COPYUID %s %s 2:3" % (v, s)),
    "too many": _copyuid(lambda v, s, t: b"COPYUID %s %s 2:999" % (v, s)),
    "foreign": _copyuid(lambda v, s, t: b"COPYUID %s 901:905 %s" % (v, t)),
    "one foreign": _copyuid(lambda v, s, t: b"COPYUID %s %s,999 %s,999" % (v, s, t)),
    "other folder": _copyuid(lambda v, s, t: b"COPYUID 77 %s %s" % (s, t)),
    "backwards": _copyuid(lambda v, s, t: b"COPYUID %s 8:1 6:2" % v),
    "wrong places": _copyuid(lambda v, s, t: b"COPYUID %s %s 901:905" % (v, s)),
    "at odds": At(change=lambda answer: b"* OK [COPYUID 9 1 1] x\r\n" + answer),
    "nonsense": _copyuid(lambda v, s, t: b"COPYUID a b c"),
    "zero": _copyuid(lambda v, s, t: b"COPYUID 0 0 0"),
    "huge": _copyuid(lambda v, s, t: b"COPYUID %s 1:4294967295 1:4294967295" % v),
}


@pytest.mark.parametrize("what", COPYUIDS)
def test_f19_ic8_whatever_the_copyuid_says_no_place_is_mistaken(remote: World, what: str) -> None:
    """Then the place is unknown, or found by identity; the way back finds every message."""
    before = remote.content()
    with meddled(remote, {CHANGES[remote.how][0]: [COPYUIDS[what]]}) as (world, _):
        attempt(world)
        world.check_unharmed(before)
        world.clean()
        assert world.content() == world.moved(before)
        places = [row.moved_to for row in world.rows() if row.state == "done" and row.moved_to]
        with closing(world.open_at(TARGET, changes=False)) as source:
            looks = source.look(places)
        known = {row.moved_to: row.identity for row in world.rows() if row.state == "done" and row.moved_to}
        wrong = {place: look for place, look in looks.items() if look.identity != known[place]}
        assert not wrong
        if what != "wrong places":  # an honest server names places that are
            assert len(looks) == len(places)
        assert len(world.take_back().moved) == 5
        world.settle()
        assert world.content() == before


# F20 to F22: words


@pytest.mark.parametrize("capability", ["IMAP4rev1 NAMESPACE", "IMAP4rev1 IDLE UNSELECT SPECIAL-USE"])
def test_f20_without_move_and_uidplus_nothing_is_moved(capability: str, on_server: Callable[[Dovecot], World]) -> None:
    with Dovecot(capability=capability) as server:
        world = on_server(server).fill()
        before = world.content()
        with world.no_change(), pytest.raises(RefusedError, match="MOVE"):
            world.clean()
        assert world.content() == before


def test_f20_what_is_offered_before_login_only_is_not_used(
    dovecot_without_move: Dovecot, on_server: Callable[[Dovecot], World]
) -> None:
    """iCloud's proxy rewrites the list: what counts is the answer after login."""
    world = on_server(dovecot_without_move).fill()
    before = world.content()
    offer = re.compile(rb"UIDPLUS")
    plan: dict[str, Plan] = {"CAPABILITY": [At(change=lambda answer: offer.sub(b"MOVE UIDPLUS", answer))]}
    with meddled(world, plan) as (behind, meddler):
        assert len(behind.clean().moved) == 5
        assert not meddler.sent("UID MOVE")
        check_at_rest(behind, before)


UNASKED = [
    b"* 12 EXISTS\r\n* 3 RECENT\r\n",
    b"* 1 FETCH (FLAGS (\\Deleted))\r\n",
    b"* 3 FETCH (UID 3 FLAGS (\\Seen \\Answered))\r\n",
    b"* FLAGS (\\Deleted)\r\n",
    b"* OK [ALERT] Your mailbox \x1b[31mis on fire\r\n",
    b"* OK Still here\r\n",
    b"* NO [X-OTHER] a warning\r\n",
    b"* VANISHED (EARLIER) 300:310\r\n",
    b"* OK [HIGHESTMODSEQ 7]\r\n",
    b"* OK\r\n",
    b'* LIST (\\Noselect) "/" "Elsewhere"\r\n',
    b"* SEARCH\r\n",
    b"* CAPABILITY IMAP4rev1\r\n",
]


@pytest.mark.parametrize("unasked", UNASKED)
def test_f21_what_nobody_asked_for_changes_nothing(remote: World, unasked: bytes) -> None:
    """In front of every answer. A flag that forbids a move may be believed, to the safe side."""
    before = remote.content()
    told: list[str] = []
    plan: dict[str, Plan] = {
        "": At(change=lambda answer: unasked + answer),
        "greeting": At(),
        "AUTHENTICATE": At(),
        "CAPABILITY": At(),
    }
    with meddled(remote, plan, patience=Patience(first=0, quiet=0, tell=told.append)) as (world, meddler):
        outcome = world.clean()
        if b"Answered" not in unasked:
            assert len(outcome.moved) == 5
        world.check_unharmed(before)
        assert not [line for line in told if "\x1b" in line]
        meddler.plan.clear()
        check_at_rest(world, before)


def test_f21_expunges_that_nobody_asked_for_move_nothing_else(remote: World) -> None:
    """Sequence numbers change; we only ever speak of UIDs (P4)."""
    before = remote.content()
    plan = At(change=lambda answer: b"* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n" + answer)
    with meddled(remote, {"UID FETCH": plan, CHANGES[remote.how][0]: plan}) as (world, meddler):
        attempt(world)
        world.check_unharmed(before)
        meddler.plan.clear()
        check_at_rest(world, before)


def _last(line: Callable[[bytes], bytes]) -> At:
    """Change the line with the tag."""

    def changed(answer: bytes) -> bytes:
        head, end, tail = answer[:-2].rpartition(b"\r\n")
        return head + end + line(tail) + b"\r\n"

    return At(change=changed)


ODD: dict[str, At] = {
    "no text": _last(lambda line: b" ".join(line.split(b" ")[:2])),
    "trailing blank": At(change=lambda answer: re.sub(rb"(?m)(?<=[\])\da-z])\r$", b" \r", answer)),
    "code without text": _last(lambda line: b" ".join(line.split(b" ")[:2]) + b" [X-ODD]"),
    "lower case": _last(lambda line: line.replace(b" OK ", b" ok ", 1)),
    "blank before": _last(lambda line: b" " + line),
    "another tag": _last(lambda line: b"X1 OK x"),
}


@pytest.mark.parametrize("what", ODD)
def test_f22_ic14_an_odd_answer_is_taken_or_looked_into(remote: World, what: str) -> None:
    """Once at each command; then the connection may be given up, and what was done is found by looking."""
    commands = ["NAMESPACE", "LIST", "SELECT", "STATUS", "UID SEARCH", "UID FETCH", *CHANGES[remote.how]]
    before = remote.content()
    with meddled(remote, {command: [ODD[what]] for command in commands}) as (world, meddler):
        for _ in range(len(commands)):
            attempt(world)
            world.check_unharmed(before)
        meddler.plan.clear()
        check_at_rest(world, before)


def test_f22_an_inbox_of_another_spelling_is_the_inbox(remote: World) -> None:
    before = remote.content()
    spelled = At(change=lambda answer: answer.replace(b"INBOX", b"Inbox"))
    with meddled(remote, {"LIST": spelled, "STATUS": spelled}) as (world, _):
        check_at_rest(world, before)


# F23 to F25: two at once


@pytest.mark.parametrize("at", ["UID FETCH 1", "STATUS", "MOVE", "STORE", "EXPUNGE"])
def test_f23_two_hosts_at_once_lose_and_double_nothing(remote: World, at: str) -> None:
    """Two journals: neither knows of the other. Without MOVE the other may copy as well what is copied and not removed yet; then
    there are two, which RFC 6851 allows and nobody can prevent without a lock on the server."""
    names = {"MOVE": CHANGES[remote.how][0], "STORE": "UID STORE", "EXPUNGE": "UID EXPUNGE"}
    if remote.how == "move" and at in ("STORE", "EXPUNGE"):
        pytest.skip("there is no such command without copying")
    before = remote.content()
    other = replace(remote, state=remote.state / "other")
    done: list[int] = []

    def meanwhile() -> None:
        if not done:
            done.append(1)
            attempt(other)

    for step in (At(before=meanwhile), At(after=meanwhile)):
        done.clear()
        with meddled(remote, {names.get(at, at): [step]}) as (world, _):
            attempt(world)
            attempt(world)
            attempt(other)
            attempt(world)
        remote.check_unharmed(before)  # of each message there may be one copy more
        remote.check_bystanders(before)
        if remote.how == "move" or at in ("UID FETCH 1", "STATUS", "EXPUNGE"):
            remote.check_complete(before)


@pytest.mark.parametrize("what", ["flags", "answers", "swaps", "delivers"])
def test_f24_what_changed_between_judging_and_moving_is_left(remote: World, what: str) -> None:
    before = remote.content()
    late = message(40)

    def meddle() -> None:
        if what == "delivers":
            remote.deliver(late, "S")
        elif what == "swaps":
            _made_anew_as(remote)
        else:
            with neighbour(remote) as client:
                client.uid("STORE", "3", "+FLAGS", "(\\Flagged)" if what == "flags" else "(\\Answered)")

    with meddled(remote, {"STATUS": [At(before=meddle)]}) as (world, _):
        outcome = world.clean()
        if what in ("flags", "answers"):
            assert world.where(TWO) == [""]
            assert [one.reason for one in outcome.left if one.message_id == "2@example.org"] == [
                "it is flagged" if what == "flags" else "it is answered"
            ]
        elif what == "swaps":
            assert world.where(TWO) == [""]
        else:
            assert len(outcome.moved) == 5
            assert world.where(late) == [""]
        world.check_bystanders([one for one in world.content() if one[1] == late] + before)


def _made_anew_as(world: World) -> None:
    """TWO is taken away, and comes back as a new message: the old number is nobody's."""
    with neighbour(world) as client:
        client.uid("MOVE", "3", "Junk")
        client.select("Junk")
        client.uid("MOVE", "1:*", "INBOX")


# F26, F27: time and tokens


def test_f26_odd_dates_change_nothing_and_are_kept(world: World) -> None:
    """2038 and later, before 1970, no date, one that is none: windows are UIDs, not dates."""
    for number, (date, when) in enumerate(
        [
            ("Tue, 19 Jan 2038 03:14:08 +0000", 2_147_483_648),
            ("Mon, 01 Jan 2106 00:00:00 +0000", 4_291_747_200),
            ("Thu, 01 Jan 1970 00:00:00 +0000", 0),
            ("Sun, 29 Mar 2026 02:30:00 +0100", 1_774_744_200),
            ("Tue, 32 Foo 20266 99:99:99 +9999", 1_500_000_000),
            ("", 1_400_000_000),
        ]
    ):
        raw = message(50 + number, extra=f"Date: {date}\r\n".encode() if date else b"")
        world.deliver(raw, "S")
        path = world.file(raw)
        os.utime(path, (when, when))
    before = world.content()
    assert len(world.clean().moved) == 11
    assert sorted((raw, flags, date) for _, raw, flags, date in world.content()) == sorted(
        (raw, flags, date) for _, raw, flags, date in before
    )
    assert len(world.take_back().moved) == 11
    assert world.content() == before


@pytest.mark.parametrize("code", [b"EXPIRED", b"AUTHENTICATIONFAILED"])
@pytest.mark.parametrize("fresh", [True, False])
def test_f27_a_token_that_expires_in_mid_run_is_asked_for_once_more_and_never_in_a_loop(
    remote: World, code: bytes, fresh: bool
) -> None:
    before = remote.content()
    asked: list[str] = []

    def password(account: str) -> str:
        asked.append(account)
        return PASSWORD if len(asked) == 1 or not fresh else "fresh"

    command = CHANGES[remote.how][0]
    refusal = b"TAG NO [%s] token expired\r\n" % code
    with meddled(remote, {command: [At(answer=refusal + CUT)]}, password=password) as (world, meddler):
        if fresh:
            assert remote.server
            meddler.plan[command] = [
                At(answer=refusal + CUT, before=lambda: remote.server.set_password(remote.user, "fresh"))
            ]  # type: ignore[union-attr]
            meddler.plan["AUTHENTICATE"] = [At(), At(answer=refusal)]
            assert len(world.clean().moved) == 5
            assert len(asked) == 2
            check_at_rest(replace(world, password=lambda _: "fresh"), before)
        else:
            meddler.plan["AUTHENTICATE"] = [At(), *[At(answer=refusal)] * 50]
            with pytest.raises((LoginError, ServerError)):
                world.clean()
            assert len(asked) <= 2
            assert meddler.connections <= 4
            world.check_unharmed(before)
            meddler.plan.clear()
            check_at_rest(replace(world, password=lambda _: PASSWORD), before)
