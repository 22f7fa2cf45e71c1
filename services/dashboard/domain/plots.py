"""The geometry of plots: pure functions from numbers to shapes in pixels and percentages; templates draw them.

Heights are pixels, so that text keeps its size; widths are percentages, so that a plot fills its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final

TOP: Final = 10.0
FOOT: Final = 24.0
_MOST_LABELS: Final = 6
# Less than this is nought.
_LEAST: Final = 1e-9
_GAP: Final = 0.24
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Bar:
    """One period: its place in percent, `heights` from the ground up in pixels, and what a reader is told.

    A phone has room for every second label only: the others are minor.
    """

    x: float
    width: float
    heights: tuple[float, ...]
    title: str
    label: str = ""
    is_minor: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid at `y`, with its value."""

    y: float
    value: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars over periods. `ground` is the y of nought; without any data `is_empty` says so, and the axes stay."""

    height: int
    ground: float
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A part of one whole: its place and width in percent; nothing is drawn of a part of 0."""

    name: str
    kind: str
    count: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Line:
    """One drawn line in a box of 1000 by 100, with the class of its colour."""

    kind: str
    points: str
    area: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines over time with an optional limit at `limit_y` pixels. `first` and `last` name the ends of the axis."""

    height: int
    ground: float
    lines: tuple[Line, ...]
    limit_y: float | None
    limit: str
    first: str
    last: str
    is_empty: bool


def round_top(most: float, steps: int = 4) -> float:
    """Return the smallest round value that `steps` equal round steps reach and `most` does not exceed."""
    if most < _LEAST:
        return float(steps)
    rough = most / steps
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in _STEPS if unit * factor >= rough * (1 - 1e-9))
    # Counts have no fractions.
    return steps * max(1.0, step) if most >= 1 else steps * step


def bars(series: Sequence[Sequence[int]], titles: Sequence[str], labels: Sequence[str], *, height: int = 220) -> Bars:
    """Draw nested series: for each period the largest first, each of the others a part of it.

    `labels` name the periods; about every fifth is written, and always the last.
    """
    count = len(titles)
    top = round_top(max((max(period) for period in zip(*series, strict=True)), default=0))
    ground = height - FOOT
    scale = (ground - TOP) / top
    each = 100 / max(1, count)
    written = _written(count)
    drawn = tuple(
        Bar(
            x=round(number * each + each * _GAP / 2, 3),
            width=round(each * (1 - _GAP), 3),
            heights=tuple(round(values[number] * scale, 1) for values in series),
            title=titles[number],
            label=labels[number] if number in written else "",
            is_minor=number in written[1::2],
        )
        for number in range(count)
    )
    ticks = tuple(Tick(round(ground - top * part / 4 * scale, 1), f"{top * part / 4:,g}") for part in range(5))
    return Bars(height, ground, ticks, drawn, not any(any(values) for values in series))


def strip(counts: Sequence[tuple[int, int]], titles: Sequence[str], *, height: int = 44) -> Bars:
    """Draw small stacked bars without axes: what went well from the ground up, what failed on top of it."""
    most = max((well + failed for well, failed in counts), default=0)
    each = 100 / max(1, len(counts))
    scale = height / most if most else 0
    drawn = tuple(
        Bar(
            x=round(number * each + each * 0.12, 3),
            width=round(each * 0.76, 3),
            heights=(round(well * scale, 1), round(failed * scale, 1)),
            title=titles[number],
        )
        for number, (well, failed) in enumerate(counts)
    )
    return Bars(height, height, (), drawn, most == 0)


def parts(counts: Sequence[tuple[str, str, int]]) -> tuple[Part, ...]:
    """Divide one whole into parts (name, kind, count); each above 0 is at least 1 % wide, at the widest's cost."""
    whole = sum(count for _, _, count in counts)
    widths = [100 * count / whole if whole else 0.0 for _, _, count in counts]
    for place, width in enumerate(widths):
        if 0 < width < 1:
            widest = widths.index(max(widths))
            widths[widest] -= 1 - width
            widths[place] = 1.0
    found, x = [], 0.0
    for (name, kind, count), width in zip(counts, widths, strict=True):
        found.append(Part(name, kind, count, round(x, 3), round(width, 3)))
        x += width
    return tuple(found)


def lines(
    series: Sequence[tuple[str, Sequence[float | None]]],
    *,
    limit: float | None = None,
    limit_text: str = "",
    ends: tuple[str, str] = ("", "now"),
    height: int = 96,
) -> Lines:
    """Draw levels over time as (kind, values); a value that is not known leaves a gap in its line."""
    known = [value for _, values in series for value in values if value is not None]
    top = max([*known, limit or 0.0, 0.0]) * 1.1 or 1.0
    ground = height - 18.0
    drawn = tuple(Line(kind, points, _area(points)) for kind, values in series for points in _runs(values, top))
    limit_y = None if limit is None else round(6 + (ground - 6) * (1 - limit / top), 1)
    return Lines(height, ground, drawn, limit_y, limit_text, *ends, is_empty=not known)


def _runs(values: Sequence[float | None], top: float) -> list[str]:
    """Return the unbroken stretches of a line as points."""
    step = 1000 / max(1, len(values) - 1)
    found: list[list[str]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            found.append([])
        else:
            found[-1].append(f"{number * step:.0f},{100 * (1 - value / top):.1f}")
    return [" ".join(run) for run in found if run]


def _area(points: str) -> str:
    first, last = (point.partition(",")[0] for point in (points.partition(" ")[0], points.rpartition(" ")[2]))
    return f"{first},100 {points} {last},100"


def _written(count: int) -> range:
    """Return which of the periods are named on the axis: evenly from the last one backwards."""
    every = max(1, ceil(count / _MOST_LABELS))
    return range(count - 1, -1, -every)
