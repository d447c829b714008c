"""What scripts/bench_train runs, for one count; see there."""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path

import hostile

from filters import model as models
from filters.features import Features
from filters.train import GENERAL, Example, as_json, fit
from filters.workers import Failure, Workers

#: Words of the language, used as often as 1 / rank, and of one mail; words that each kind of mail prefers.
_LANGUAGE, _LENGTH, _PREFERRED = 200_000, 180, 400
_SYLLABLES = [
    "ka",
    "lo",
    "mi",
    "ter",
    "van",
    "sha",
    "pre",
    "cos",
    "ul",
    "en",
    "dra",
    "fi",
    "bo",
    "nex",
    "qua",
    "rin",
    "to",
    "sel",
    "ma",
    "gor",
]


def main() -> int:
    count = int(sys.argv[1])
    peak = Peak()
    peak.start()
    start = time.perf_counter()
    source = features if "--features" in sys.argv else examples
    model, _ = fit(peak.passing(source(count)), GENERAL, {})
    whole = time.perf_counter() - start
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".json") as file:
        size = file.write(as_json(model))
        file.flush()
        start = time.process_time()
        models.load(Path(file.name))
        loading = time.process_time() - start
    print(
        f"{count:>8,} messages: generated, read and spooled in {peak.passed - peak.began:.0f} s, fitted in {whole - (peak.passed - peak.began):.0f} s;"
        f" peak of anonymous memory {peak.reading} MB while reading, {peak.highest} MB in all; model {size / 1e6:.2f} MB,"
        f" {len(model.weights):,} features, loaded in {1000 * loading:.0f} ms of processor time"
    )
    return 0


def examples(count: int) -> Iterator[Example]:
    with Workers("filters.labelled:worker", {"ours": False}) as workers:
        for (number, label), result in workers.map(mails(count)):
            if isinstance(result, Failure):
                print(f"{number}: {result.reason}", file=sys.stderr)
            else:
                yield Example(str(number), label, str(number), (Features.from_json(result),))


def features(count: int) -> Iterator[Example]:
    """As many features as from mail, without the mail: for measuring memory alone."""
    for (number, label), raw in mails(count):
        words = raw.partition(b"\r\n\r\n")[2].decode().split()
        pairs = (f"{one} {two}" for one, two in pairwise(words))
        tokens = (f"mark:{word}" for word in words[:150])
        yield Example(str(number), label, str(number), (Features({}, frozenset([*words, *pairs]), frozenset(tokens)),))


def mails(count: int) -> Iterator[tuple[tuple[int, str], bytes]]:
    """Mails of a language of 200,000 words; every third is an advertisement, which prefers other words than the rest."""
    chance = random.Random(1)
    words = ["".join(chance.choices(_SYLLABLES, k=chance.randint(1, 5))) for _ in range(_LANGUAGE)]
    often = list(accumulate(1 / (rank + 5) for rank in range(_LANGUAGE)))
    preferred = {label: chance.sample(words, _PREFERRED) for label in ("ad", "letter")}
    for number in range(count):
        label = "letter" if number % 3 else "ad"
        text = chance.choices(words, cum_weights=often, k=_LENGTH) + chance.choices(preferred[label], k=12)
        chance.shuffle(text)
        host = f"X-Mailer: Mailer {number % 9}\nX-Host: h{number % 5000}.example\n"
        yield (number, label), hostile.mail(" ".join(text).encode(), head=hostile.HEAD + host.encode())


class Peak(threading.Thread):
    """Looks at our own anonymous memory ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = self.reading = 0
        self.began = time.perf_counter()
        self.passed = self.began

    def run(self) -> None:
        while True:
            self.highest = max(self.highest, _anonymous())
            time.sleep(0.1)

    def passing(self, found: Iterator[Example]) -> Iterator[Example]:
        """The same examples; notes when they are through."""
        yield from found
        self.passed, self.reading = time.perf_counter(), self.highest


def _anonymous() -> int:
    """Megabytes of anonymous memory of this process (proc_pid_status(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    sys.exit(main())
