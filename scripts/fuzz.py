"""Runs coverage-guided fuzzing over the targets of tests/fuzz_targets.py, and prints what came of it. See scripts/fuzz."""

from __future__ import annotations

import argparse
import hashlib
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

#: For one unit: seconds of processor time, and the memory of the whole process. No clock is asked: the machine may be busy.
CPU_SECONDS = 1.0
MEMORY_MB = 512
#: A unit that never ends is stopped by this clock.
WALL_SECONDS = 60
UNIT_BYTES = 65_536
#: So many findings, and a target is left: the next ones would most likely be the same.
ENOUGH = 3
INSTRUMENTED = ["filters", "mailparser", "imapclient", "imaplib", "email", "quopri", "base64"]
_STATE = re.compile(r"#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+)")
_UNITS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s*(\d+)")


@dataclass
class Tally:
    """What one target came to."""

    units: int = 0
    seconds: float = 0.0
    edges: int = 0
    features: int = 0
    peak_mb: int = 0
    findings: list[Path] = field(default_factory=list)


class Finding(Exception):  # noqa: N818
    """A limit was passed."""


def measured(target: Callable[[bytes], None], data: bytes) -> None:
    """Run one unit. Raises Finding when it took too much, and whatever the target raises."""
    before = time.process_time()
    target(data)
    used = time.process_time() - before
    if used > CPU_SECONDS:
        raise Finding(f"{used:.1f} s of processor time")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1_048_576)
    if peak > MEMORY_MB:
        raise Finding(f"{peak:.0f} MB of memory")


# --- the process that fuzzes one target


def fuzz(name: str, words: list[str]) -> None:
    """Let libFuzzer loose; does not return."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        import fuzz_targets
    target = fuzz_targets.TARGETS[name]

    def unit(data: bytes) -> None:
        try:
            measured(target, data)
        except Finding:  # the instruments cost time and memory, too: what counts is the bare code
            if _fails_bare(name, data):
                raise

    atheris.Setup([sys.argv[0], *words], unit)
    atheris.Fuzz()


def _fails_bare(name: str, data: bytes) -> bool:
    command = [sys.executable, __file__, "--replay", name]
    try:
        return (
            subprocess.run(command, input=data, capture_output=True, timeout=WALL_SECONDS, check=False).returncode != 0
        )
    except subprocess.TimeoutExpired:
        return True


def replay(name: str) -> None:
    """Run the unit on stdin without instruments."""
    import fuzz_targets

    for data in fuzz_targets.seeds()[name][:1]:  # what is loaded once for all is no cost of the unit
        fuzz_targets.TARGETS[name](data)
    measured(fuzz_targets.TARGETS[name], sys.stdin.buffer.read())


# --- the driver


def run(name: str, seconds: float, folder: Path) -> Tally:
    """Fuzz one target for so long, starting again after each finding."""
    import fuzz_targets

    corpus, seeds, finds = (folder / kind / name for kind in ("corpus", "seeds", "findings"))
    for path in (corpus, seeds, finds):
        path.mkdir(parents=True, exist_ok=True)
    for data in fuzz_targets.seeds()[name]:
        (seeds / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data[:UNIT_BYTES])
    words = folder / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in fuzz_targets.WORDS[name]))
    tally = Tally()
    begun = time.monotonic()
    while (left := seconds - tally.seconds) >= 1 and len(tally.findings) < ENOUGH:
        before = set(finds.iterdir())
        options = {
            "max_total_time": int(left),
            "timeout": WALL_SECONDS,
            "rss_limit_mb": MEMORY_MB,
            "max_len": UNIT_BYTES,
            "artifact_prefix": f"{finds}/",
            "dict": words,
            "print_final_stats": 1,
            "reload": 0,
        }
        command = [sys.executable, __file__, "--fuzz", name, *(f"-{key}={value}" for key, value in options.items())]
        log = folder / f"{name}.log"
        with log.open("w") as output:
            code = subprocess.run(
                [*command, str(corpus), str(seeds)], stdout=output, stderr=output, check=False
            ).returncode
        said = log.read_text(errors="replace")
        _count(tally, said)
        tally.seconds = time.monotonic() - begun
        new = sorted(set(finds.iterdir()) - before)
        for found in new:
            found.with_suffix(".txt").write_text(said[-20_000:])
        tally.findings += new
        if code and not new:
            raise SystemExit(f"{name}: the fuzzer failed; see {log}")
    return tally


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _count(tally: Tally, said: str) -> None:
    states = _STATE.findall(said)
    units = _UNITS.findall(said) or [state[0] for state in states[-1:]]
    tally.units += int(units[-1]) if units else 0
    if states:
        tally.edges, tally.features = (
            max(old, int(new)) for old, new in zip((tally.edges, tally.features), states[-1][1:], strict=True)
        )
    tally.peak_mb = max([tally.peak_mb, *map(int, _PEAK.findall(said))])


def main() -> None:
    """Read the words, run, print a table. Exit code 1 when something was found."""
    match sys.argv[1:]:
        case ["--fuzz", name, *words]:
            return fuzz(name, words)
        case ["--replay", name]:
            return replay(name)
    import fuzz_targets

    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help=f"of: {', '.join(fuzz_targets.TARGETS)}; all by default")
    parser.add_argument("--minutes", type=float, default=60.0, help="in all; the targets get equal shares (60)")
    parser.add_argument("--processes", type=int, default=1, help="so many targets at a time (1)")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "fuzz", help="for corpora, logs, findings (build/fuzz)"
    )
    words = parser.parse_args()
    names = words.target or list(fuzz_targets.TARGETS)
    if unknown := set(names) - set(fuzz_targets.TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    share = words.minutes * 60 * words.processes / len(names)
    folder = words.folder.resolve()
    with ThreadPoolExecutor(words.processes) as pool:
        runs = {name: pool.submit(run, name, share, folder) for name in names}
    tallies = {name: done.result() for name, done in runs.items()}
    print_table(tallies)
    findings = [path for tally in tallies.values() for path in tally.findings]
    print(f"{len(findings)} findings" + (f", in {folder / 'findings'}" if findings else ""))
    return sys.exit(bool(findings))


def print_table(tallies: dict[str, Tally]) -> None:
    """One line for each target."""
    print(f"{'target':<16}{'executions':>12}{'minutes':>9}{'edges':>8}{'features':>10}{'peak MB':>9}{'findings':>10}")
    for name, one in tallies.items():
        print(
            f"{name:<16}{one.units:>12,}{one.seconds / 60:>9.1f}{one.edges:>8,}{one.features:>10,}{one.peak_mb:>9,}{len(one.findings):>10}"
        )
    units, seconds = sum(one.units for one in tallies.values()), sum(one.seconds for one in tallies.values())
    print(f"{'all':<16}{units:>12,}{seconds / 60:>9.1f}")


if __name__ == "__main__":
    main()
