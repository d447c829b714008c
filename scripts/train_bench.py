"""What scripts/bench_train runs, for one count; see there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path

import hostile
from judge_bench import generate
from pss import tree

from filters.features import Features
from filters.labelled import unpacked
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


#: In a process of its own, as at delivery: processor time of the load, in ms.
_LOAD = """
import sys, time
from pathlib import Path
from filters.model import load
start = time.process_time()
load(Path(sys.argv[1]))
print(1000 * (time.process_time() - start))
"""


#: One mail, its number and its label.
Found = tuple[tuple[int, str], bytes]


def main() -> int:
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="unpitch-bench-") as name:
        found = letters(count, Path(name)) if "--html" in sys.argv else mails(count, "--large" in sys.argv)
        return (once if "--once" in sys.argv else command)(count, found, Path(name))


def command(count: int, found: Iterable[Found], folder: Path) -> int:
    """The whole of `unpitch train`: reading, grouping, cross-validation, calibration, the last fit."""
    files = {label: (folder / f"{label}.mbox").open("wb") for label in ("ad", "letter")}
    for (_, label), raw in found:
        files[label].write(b"From a@example.org Sat Nov 28 12:00:00 2026\n" + raw.replace(b"\r\n", b"\n") + b"\n\n")
    for file in files.values():
        file.close()
    size = sum(Path(file.name).stat().st_size for file in files.values())
    labels = [word for label, file in files.items() for word in ("--label", f"{label}={file.name}")]
    words = [sys.executable, "-m", "filters", "train", *labels, "--output", str(folder / "model.json")]
    start = time.perf_counter()
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, env=os.environ | {"UNPITCH_STATE": str(folder / "state")}
    )
    peak = Peak(process.pid)
    peak.start()
    code = process.wait()
    print(
        f"{count:>8,} messages, {size / 1e6:,.0f} MB: unpitch train took {time.perf_counter() - start:.0f} s (exit code {code});"
        f" peak of anonymous memory {peak.one} MB in one process, {peak.all} MB in all together"
    )
    return code


def once(count: int, found: Iterable[Found], folder: Path) -> int:
    """One training, without cross-validation, of mails that lie ready."""
    sizes, labels = array("i"), list[str]()
    with (folder / "mails").open("wb") as file:
        for (_, label), raw in found:
            sizes.append(file.write(raw))
            labels.append(label)
    peak = Peak(os.getpid())
    peak.start()
    began = time.perf_counter()
    read: list[float] = []
    with (folder / "mails").open("rb") as file:
        ready = ((named, file.read(size)) for named, size in zip(enumerate(labels), sizes, strict=True))
        model, _ = fit(_noting(read, examples(ready)), GENERAL, {})
    done = time.perf_counter()
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".json") as file:
        size = file.write(as_json(model))
        file.flush()
        loading = float(subprocess.check_output([sys.executable, "-c", _LOAD, file.name]))
    print(
        f"{count:>8,} messages, {sum(sizes) / 1e6:,.0f} MB: read and spooled in {read[0] - began:.0f} s, fitted in {done - read[0]:.0f} s;"
        f" peak of anonymous memory {peak.one} MB in one process, {peak.all} MB in all together; model {size / 1e6:.2f} MB,"
        f" {len(model.weights):,} features, loaded in {loading:.0f} ms of processor time"
    )
    return 0


def examples(found: Iterable[Found]) -> Iterator[Example]:
    with Workers("filters.labelled:worker", {"ours": False, "general": True}) as workers:
        for (number, label), result in workers.map(found):
            if isinstance(result, Failure):
                print(f"{number}: {result.reason}", file=sys.stderr)
            else:
                yield Example(str(number), label, str(number), (Features.from_json(unpacked(result["content"])),))


def _noting(when: list[float], found: Iterator[Example]) -> Iterator[Example]:
    """The same examples; notes when they are through."""
    yield from found
    when.append(time.perf_counter())


def letters(count: int, folder: Path) -> Iterator[Found]:
    """Mails of 5 to 50 KB by ../shared/bench/genmail.py: text, HTML and pictures; every third is LinkedIn's."""
    rows = generate(folder, 2 * count, "--linkedin", "0.33", "--promo", "0.5")
    fitting = ((label, raw) for raw, label, _ in rows if 5_000 <= len(raw) <= 50_000)
    for number, (label, raw) in enumerate(islice(fitting, count)):
        yield (number, "letter" if label == "other" else "ad"), raw


def mails(count: int, large: bool) -> Iterator[Found]:
    """Mails of a language of 200,000 words; every third is an advertisement, which prefers other words than the rest. `large`: 5
    to 50 KB each."""
    chance = random.Random(1)
    words = ["".join(chance.choices(_SYLLABLES, k=chance.randint(1, 5))) for _ in range(_LANGUAGE)]
    often = list(accumulate(1 / (rank + 5) for rank in range(_LANGUAGE)))
    preferred = {label: chance.sample(words, _PREFERRED) for label in ("ad", "letter")}
    for number in range(count):
        label = "letter" if number % 3 else "ad"
        length = chance.randint(600, 6_500) if large else _LENGTH
        text = chance.choices(words, cum_weights=often, k=length) + chance.choices(preferred[label], k=12)
        chance.shuffle(text)
        host = f"X-Mailer: Mailer {number % 9}\nX-Host: h{number % 5000}.example\n"
        head = hostile.HEAD.replace(b"An offer", " ".join(text[:4]).encode()).replace(b"<1.2@", f"<{number}@".encode())
        yield (number, label), hostile.mail(" ".join(text).encode(), head=head + host.encode())


class Peak(threading.Thread):
    """Looks at the anonymous memory of a process and its children five times a second: the most of one, and of all together, in MB."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.one, self.all = process, 0, 0

    def run(self) -> None:
        while True:
            found = [_anonymous(pid) for pid in tree(self.process)]
            self.one, self.all = max(self.one, *found), max(self.all, sum(found))
            time.sleep(0.2)


def _anonymous(process: int) -> int:
    """Megabytes of anonymous memory of a process (proc_pid_status(5)); 0 when it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    sys.exit(main())
