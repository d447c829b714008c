"""What nights of many accounts take: the price of one account, by the slope between two sizes of a fleet on a real Dovecot, and of
one account behind a delay of 50 ms each way; and from these a plan for 10,000 and 1,000,000 accounts. See scripts/bench_fleet.

Usage: PYTHONPATH=.:tests:scripts python scripts/plan_bench.py [--accounts 60] [--hours 6]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mails
from dovecot import PASSWORD, Dovecot
from fleet_bench import AT_ONCE, accounts_file, lay_out, run
from nights_bench import BODY, Proxy

from filters.cli import fleet

#: New mails of an account in a night that has some; one of them is an advert of 75 kB.
NEW = 20
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Price:
    """Of one account in one night: seconds of a processor (ours alone), seconds from start to end behind the delay, bytes either way."""

    processor: float
    seconds: float
    bytes: int


def processor_seconds(todo: list[fleet.Task]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done, _ = run(todo)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if wrong := [one.error for one in done if one.exit_code]:
        raise SystemExit(f"{len(wrong)} accounts failed: {wrong[0]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def slope(todo: list[fleet.Task], new_mail: Callable[[], None]) -> float:
    """What one account more costs; the start of the workers is in neither size's difference."""
    half = todo[: len(todo) // 2]
    found = []
    for _ in range(REPEATS):
        took = []
        for part in (half, todo):
            new_mail()
            took.append(processor_seconds(part))
            processor_seconds(todo)  # what came for the other half is nothing new any more
        found.append((took[1] - took[0]) / (len(todo) - len(half)))
    return statistics.median(found)


def through(proxy: Proxy, job: str) -> tuple[float, int, int]:
    """Seconds, bytes and round trips of one account behind the delay, done in this process, which is warm as a worker is."""
    proxy.up = proxy.down = proxy.turns = 0
    start = time.monotonic()
    if "error" in (said := fleet.answer(job)) and json.loads(said)["done"][0]["error"]:
        raise SystemExit(said)
    return time.monotonic() - start, proxy.up + proxy.down, proxy.turns


def plan(accounts: int, hours: float, quiet: Price, busy: Price) -> None:
    for name, price in (("nothing new", quiet), (f"{NEW} new", busy)):
        rate = accounts / (3600 * hours)
        print(
            f"| {accounts:,} | {name} | {rate:,.1f} | {rate * price.processor:,.2f} | {math.ceil(rate * price.seconds):,} |"
            f" {accounts * price.bytes / 1e9:,.2f} | {accounts * price.seconds / 3600 / fleet.PER_HOST:,.1f} |"
        )


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--accounts", type=int, default=60)
    options.add_argument("--hours", type=float, default=6.0)
    options.add_argument("--delay", type=float, default=0.05)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="unpitch-fleet-") as name, Dovecot() as server:
        room = Path(name)
        os.environ |= {"UNPITCH_STATE": str(room / "state"), "UNPITCH_PASSWORD": PASSWORD}
        users = lay_out(server, chosen.accounts)
        todo = fleet.load_tasks(accounts_file(room / "all.toml", server, users), "", full=False, dry_run=False)
        numbers = iter(range(10_000_000, 100_000_000))

        def new_mail(some: list[str]) -> None:
            for user in some:
                for _ in range(NEW - 1):
                    server.deliver(user, mails.friend(next(numbers)), flags="S")
                server.deliver(user, mails.mail(BODY, number=next(numbers)), flags="S")

        processor_seconds(todo)  # the first night looks at all there is
        everybody = list(users.values())
        prices = {
            "nothing new": slope(todo, lambda: None),
            f"{NEW} new": slope(todo, lambda: new_mail(everybody)),
        }
        proxy = Proxy(server.plain_port, chosen.delay)
        user = server.new_user()
        server.deliver(user, mails.friend(next(numbers)), flags="S")
        far = room / "one.toml"
        far.write_text(
            f'[defaults]\ntrust_authserv = ["{mails.TRUSTED}"]\nto = "Ads"\n\n'
            f'[accounts.far]\nlocation = "imap://{user}@127.0.0.1:{proxy.port}"\n'
        )
        far.chmod(0o600)
        (one,) = fleet.load_tasks(far, "", full=False, dry_run=False)
        fleet.answer(one.job)
        nights = []
        for (what, processor), some in zip(prices.items(), ([], [user]), strict=True):
            new_mail(some)
            seconds, size, turns = through(proxy, one.job)
            nights.append(Price(processor, seconds, size))
            print(
                f"{what}: {1000 * processor:.0f} ms of a processor, {turns} round trips, {seconds:.2f} s behind"
                f" {1000 * chosen.delay:.0f} ms each way, {size:,} bytes"
            )
        print(
            f"\n| accounts | night | accounts a second | processors | connections at once | GB |"
            f" hours, were all at one provider ({fleet.PER_HOST} at once) |\n|---|---|---|---|---|---|---|"
        )
        for accounts in (10_000, 1_000_000):
            plan(accounts, chosen.hours, *nights)
        print(f"\n({chosen.hours:g} hours a night; {AT_ONCE} at a time when measured)")


if __name__ == "__main__":
    main()
