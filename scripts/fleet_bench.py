"""What scripts/bench_fleet runs; see there."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import dovecot
import mails
from dovecot import PASSWORD, Dovecot
from processes import running

from filters.cli import fleet
from filters.journal import OPEN, look_into
from filters.monitoring import Done

ADVERTS, WANTED = 3, 9
AT_ONCE = 8


def lay_out(server: Dovecot, count: int) -> dict[str, str]:
    """Account name to user: an inbox with adverts and wanted mail."""
    users = {}
    for number in range(count):
        user = server.new_user()
        users[f"account-{number}"] = user
        for at in range(ADVERTS):
            server.deliver(user, mails.mail(number=1000 * number + at), flags="S")
        for at in range(WANTED):
            server.deliver(user, mails.job_alert(1000 * number + 500 + at), flags="F" if at % 3 == 0 else "S")
    return users


def accounts_file(path: Path, server: Dovecot, users: dict[str, str]) -> Path:
    text = f'[defaults]\ntrust_authserv = ["{mails.TRUSTED}"]\nto = "Ads"\n'
    for name, user in users.items():
        text += f'\n[accounts.{name}]\nlocation = "{server.url(user, plain=True)}"\n'
    path.write_text(text)
    path.chmod(0o600)
    return path


def content(server: Dovecot, user: str) -> dict[str, Counter[tuple[bytes, str]]]:
    """Of each folder its messages, with flags; straight from the Maildir."""
    found = {}
    for name in ("", ".Ads"):
        files = [one for sub in ("new", "cur") for one in (server.maildir(user, name) / sub).glob("*")]
        found[name] = Counter((one.read_bytes(), one.name.partition(":2,")[2]) for one in files)
    return found


def run(todo: list[fleet.Task]) -> tuple[list[Done], float]:
    begin = time.monotonic()
    all_done, _ = fleet.clean_all(todo, fleet.here(AT_ONCE, AT_ONCE), False, lambda _: None)
    return all_done, time.monotonic() - begin


def struck(todo: list[fleet.Task], kills: int) -> tuple[list[Done], float, int]:
    """A run whose workers are killed, as soon as they have begun something, until `kills` were."""
    over, killed = threading.Event(), 0

    def kill() -> None:
        nonlocal killed
        chance = random.Random(7)
        while not over.wait(0.15) and killed < kills:
            if found := running("filters.cli.fleet"):
                os.kill(chance.choice(found), signal.SIGKILL)
                killed += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        return *run(todo), killed
    finally:
        over.set()
        killer.join()


def main(count: int) -> int:
    if why := dovecot.missing():
        print(why, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="unpitch-fleet-") as name, Dovecot() as server:
        room = Path(name)
        os.environ |= {"UNPITCH_STATE": str(room / "state"), "UNPITCH_PASSWORD": PASSWORD}
        users = lay_out(server, count)
        before = {name: content(server, user) for name, user in users.items()}
        todo = fleet.load_tasks(accounts_file(room / "accounts.toml", server, users), "", full=False, dry_run=False)
        all_done, seconds, killed = struck([one for one in todo for _ in range(2)], count // 5)
        codes = Counter(done.exit_code for done in all_done)
        print(
            f"{count} accounts, each issued twice, {killed} workers killed: {seconds:.0f} s; exit codes {dict(codes)}"
        )
        for _ in range(2):  # what was left open is settled, and then nothing is to be done
            all_done, seconds = run(todo)
            rest = sum(done.moved for done in all_done)
            print(
                f"a further run: {rest} moved, {sum(done.exit_code != 0 for done in all_done)} failed, {seconds:.0f} s"
            )
        wrong = Counter[str]()
        for account, user in users.items():
            wrong.update(violations(before[account], content(server, user), account))
            wrong["adverts that were not moved"] += ADVERTS - len(content(server, user)[".Ads"])
        wrong["I6: a further run moved something"] = rest
        for text, number in sorted(wrong.items()):
            print(f"{text}: {number}")
        return 1 if +wrong else 0


def violations(
    before: dict[str, Counter[tuple[bytes, str]]], now: dict[str, Counter[tuple[bytes, str]]], account: str
) -> Counter[str]:
    """How often each invariant does not hold for an account."""
    was, there = Counter[bytes](), Counter[bytes]()
    for counts, folders in ((was, before), (there, now)):
        for messages in folders.values():
            for (raw, _), number in messages.items():
                counts[raw] += number
    aside = {raw for raw, _ in now[".Ads"]}
    bystanders = Counter({key: number for key, number in before[""].items() if key[0] not in aside})
    found = Counter(
        {
            "I1: lost": sum((was - there).values()),
            "I2: doubled": sum((there - was).values()),
            "I3: bystanders changed": sum((bystanders - now[""]).values()),
            "I4: left \\Deleted": sum("T" in flags for messages in now.values() for _, flags in messages),
        }
    )
    journal = look_into(fleet.journal_of(account))
    assert journal
    with journal:
        states = Counter(move.state for one in journal.runs() for move in journal.moves(one.id))
    found["I5: the journal says otherwise"] = abs(states["done"] - sum(now[".Ads"].values())) + sum(
        states[one] for one in OPEN
    )
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
