"""Where the marks of a chart stand: numbers in, rectangles out. The page's template draws them as SVG.

A chart is drawn on a canvas whose units are pixels at full width; the browser scales it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH = 720
#: Room for the numbers at the left, and for the names below.
_LEFT, _BELOW, _TOP = 44, 24, 8
#: The series that is everything but advertising.
REST = 9
#: Names below the bars that have room beside each other.
_NAMES = 9


@dataclass(frozen=True, slots=True)
class Mark:
    """One rectangle; `series` says of what, by number; `text` is what it stands for."""

    x: float
    y: float
    width: float
    height: float
    series: int
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A name or number beside an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of `width` by `height`: its marks, names along x, numbers along y."""

    width: int
    height: int
    marks: tuple[Mark, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    series: tuple[str, ...]


def stacked(columns: Sequence[tuple[str, Mapping[str, int]]], series: Sequence[str], height: int = 220) -> Chart:
    """Columns of which each is a stack of `series`, from below in their order; the last of them is `REST`. A zero has no mark."""
    most = max((sum(counts.get(name, 0) for name in series) for _, counts in columns), default=0)
    top = _round_up(most)
    room, step = height - _BELOW - _TOP, (WIDTH - _LEFT) / max(len(columns), 1)
    width = max(step * 0.8, 0.5)
    numbers = [*range(len(series) - 1), REST]
    marks = []
    for place, (label, counts) in enumerate(columns):
        base = float(height - _BELOW)
        for number, name in enumerate(series):
            if count := counts.get(name, 0):
                tall = count / top * room
                base -= tall
                x = _LEFT + place * step + (step - width) / 2
                marks.append(Mark(_r(x), _r(base), _r(width), _r(tall), numbers[number], f"{label}: {name} {count:,}"))
    names = [
        Tick(_r(_LEFT + (place + 0.5) * step), name) for place, name in _names([label for label, _ in columns], _NAMES)
    ]
    values = [
        Tick(_r(height - _BELOW - part * room), f"{int(top * part):,}") for part in (0, 0.5, 1) if top * part % 1 == 0
    ]
    return Chart(WIDTH, height, tuple(marks), tuple(names), tuple(values), tuple(series))


def rows(columns: Sequence[tuple[str, Mapping[str, int]]], series: Sequence[str], strong: int) -> Chart:
    """A line of small columns for each of `series`, all to one scale; the first `strong` are advertising."""
    left, tall, gap = 225, 30, 6
    most = max((count for _, counts in columns for count in counts.values()), default=1)
    step = (WIDTH - left) / max(len(columns), 1)
    marks, names = [], []
    for row, name in enumerate(series):
        floor = (row + 1) * (tall + gap)
        names.append(Tick(_r(floor - 2), name))
        for place, (label, counts) in enumerate(columns):
            if count := counts.get(name, 0):
                high = max(count / most * tall, 1.5)
                x = _r(left + place * step)
                series_number = row if row < strong else REST
                marks.append(
                    Mark(
                        x,
                        _r(floor - high),
                        _r(max(step * 0.8, 0.8)),
                        _r(high),
                        series_number,
                        f"{label}: {name} {count:,}",
                    )
                )
    height = len(series) * (tall + gap) + _BELOW
    named = _names([label for label, _ in columns], _NAMES - 3)
    ticks = [Tick(_r(left + place * step), name) for place, name in named if left + place * step < WIDTH - _LEFT]
    return Chart(WIDTH, height, tuple(marks), tuple(ticks), tuple(names), ())


def bars(items: Sequence[tuple[str, int, int]]) -> Chart:
    """Bars from the left, one for each (name, number, series)."""
    left, tall, gap = 285, 20, 8
    most = max((count for _, count, _ in items), default=1) or 1
    marks, names = [], []
    for row, (name, count, number) in enumerate(items):
        y = row * (tall + gap)
        marks.append(Mark(left, y, _r(max(count / most * (WIDTH - left), 1)), tall, number, f"{name}: {count:,}"))
        names.append(Tick(y + 15, name))
    return Chart(WIDTH, len(items) * (tall + gap), tuple(marks), (), tuple(names), ())


def _names(labels: Sequence[str], most: int) -> list[tuple[int, str]]:
    """(place, name) of the columns whose names have room; of many months the Januaries, as years."""
    named = list(enumerate(labels))
    if len(labels) > 2 * most and labels[0][4:5] == "-":
        named = [(place, label[:4]) for place, label in named if label.endswith("-01")]
    return named[:: -(-len(named) // most) or 1]


def _round_up(most: int) -> int:
    """A round number not below `most`, so that half of it is whole."""
    size = int("1" + "0" * (len(str(most)) - 1))
    tops = (size * tenths // 10 for tenths in (10, 12, 14, 16, 20, 24, 30, 40, 60, 80, 100))
    return next((top for top in tops if top >= max(most, 2) and top % 2 == 0), 20 * size)


def _r(number: float) -> float:
    return round(number, 1)
