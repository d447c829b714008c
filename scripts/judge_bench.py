"""How fast one core judges mails of about 35 KB, beside mail-parser alone on the same mails; and, with --accuracy, how the
shipped model judges the harder generated mail of ../shared/bench, where only the disclosure tells advertising from the rest."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mailparser

from filters import judge, model, senders

BENCH = Path(__file__).parent.parent.parent / "shared" / "bench"


def generate(folder: Path, count: int, *extra: str) -> list[tuple[bytes, str, str]]:
    """(mail, label, variant) of generated mail."""
    words = [sys.executable, str(BENCH / "genmail.py"), str(folder / "box"), "--count", str(count), *extra]
    subprocess.run([*words, "--truth", str(folder / "truth")], check=True)
    rows = [line.split("\t") for line in (folder / "truth").read_text().splitlines()[1:]]
    return [((folder / "box" / "cur" / row[0]).read_bytes(), row[2], row[4]) for row in rows]


def rate(function: Callable[[bytes], object], mails: list[bytes]) -> float:
    begin = time.process_time()
    for mail in mails:
        function(mail)
    return len(mails) / (time.process_time() - begin)


def main() -> None:
    sender = senders.load()
    setup = {"model": str(model.shipped(sender.name)), "trusted": [["mx.example.org", "below"]]}
    judge_bytes = judge.worker(setup)
    with tempfile.TemporaryDirectory() as folder:
        if "--accuracy" in sys.argv:
            accuracy(judge_bytes, generate(Path(folder), 5000, "--linkedin", "1", "--hard", "--seed", "5"))
            return
        mails = [mail for mail, _, _ in generate(Path(folder), 400, "--linkedin", "1")]
    mails = [mail for mail in mails if 25_000 < len(mail) < 45_000]
    ours, bare = [], []
    for _ in range(5):
        ours.append(rate(judge_bytes, mails))
        bare.append(rate(mailparser.parse_from_bytes, mails))
    size = statistics.mean(map(len, mails)) / 1000
    print(f"{len(mails)} mails of {size:.0f} KB, one core, median of 5 alternating runs")
    print(
        f"unpitch, parse and judge: {statistics.median(ours):.0f} mails/s; mail-parser alone: {statistics.median(bare):.0f}"
    )
    print(f"ratio {statistics.median(o / b for o, b in zip(ours, bare, strict=True)):.2f}")


def accuracy(judge_bytes: Callable[[bytes], dict[str, object]], mails: list[tuple[bytes, str, str]]) -> None:
    counts: Counter[tuple[str, bool]] = Counter()
    for mail, label, variant in mails:
        verdict = judge_bytes(mail)["verdict"]
        found = verdict["promotional"] and verdict["category"] == "partner_inmail"  # type: ignore[index]
        counts[("promo" if label == "promo" else "other", bool(found))] += 1
        if (label == "promo") != bool(found):
            counts[(f"wrong: {label} {variant}", bool(found))] += 1
    for key, count in sorted(counts.items()):
        print(key, count)


if __name__ == "__main__":
    main()
