"""Plots as numbers: where marks lie, in % of the width. The page draws them as SVG that keeps its letters' size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vsr.analysis.figure4 import PANELS, Accuracies, Relation, caption
from vsr.report.tables import Bar, Table

_MARGIN = 2.0  # % of the width: marks at the ends are not cut off
_POINTS = 150  # of a curve


class Mark(NamedTuple):
    """A dot.

    Attributes:
        at: where, % of the width.
        ends: of its interval, likewise, or None.
        series: number of its series.
        ours: measured here, or else published.
        words: what it says, for who points at it.
    """

    at: float
    ends: tuple[float, float] | None
    series: int
    ours: bool
    words: str


@dataclass(frozen=True)
class Dots:
    """Rows of dots over one axis.

    Attributes:
        series: their names.
        rows: the marks of each row, by its label.
        ticks: places on the axis, % of the width, and what is written there.
    """

    series: tuple[str, ...]
    rows: dict[str, tuple[Mark, ...]]
    ticks: tuple[tuple[float, str], ...]


class Point(NamedTuple):
    """A dot of a scatter plot: its number in the list of names, and its place, % of width and height from top left."""

    number: int
    x: float
    y: float


@dataclass(frozen=True)
class Panel:
    """One property against accuracy.

    Attributes:
        label: of the property.
        caption: its correlation.
        points: datasets with both.
        x, y: the ends of both axes, in words.
    """

    label: str
    caption: str
    points: tuple[Point, ...]
    x: tuple[str, str]
    y: tuple[str, str]


@dataclass(frozen=True)
class Scatter:
    """Figure 4, from one file of properties.

    Attributes:
        source: whose accuracies.
        where: the properties are from.
        names: of the datasets, in the order of their numbers, which begin at 1.
        panels: one for each property.
    """

    source: str
    where: str
    names: tuple[str, ...]
    panels: tuple[Panel, ...]


def dots_of_table(table: Table) -> Dots:
    """A row for each dataset, a series for each measure."""
    series = tuple(dict.fromkeys(cell.measure.label for cell in table.cells))
    values = [value for cell in table.cells for value in (cell.published, cell.ours, *(cell.interval or ()))]
    scale = _Scale(value for value in values if value is not None)
    rows = {}
    for name, cells in table.rows.items():
        marks = []
        for cell in cells:
            number, what = series.index(cell.measure.label), f"{name}, {cell.measure.label}"
            if cell.published is not None:
                marks.append(
                    Mark(scale(cell.published), None, number, False, f"{what}: published {cell.published:.1f} %")
                )
            if cell.ours is not None:
                words = f"{what}: ours {cell.ours:.1f} %" + ", in another setting" * bool(cell.unlike)
                marks.append(Mark(scale(cell.ours), scale.ends(cell.interval), number, True, words))
        rows[name] = tuple(marks)
    return Dots(series, rows, scale.ticks)


def dots_of_bars(bars: Sequence[Bar]) -> Dots:
    """A row for each corruption, a series for each dataset."""
    series, scale = tuple(dict.fromkeys(bar.dataset for bar in bars)), _Scale((0.0, 100.0))
    rows: dict[str, list[Mark]] = {}
    for bar in bars:
        number, marks = series.index(bar.dataset), rows.setdefault(bar.corruption, [])
        what = f"{bar.corruption} after {bar.dataset}"
        if bar.published is not None:
            marks.append(Mark(scale(bar.published), None, number, False, f"{what}: published {bar.published:.2f} %"))
        if bar.ours is not None:
            level = "" if bar.severity is None else f" at severity {bar.severity}"
            words = f"{what}{level}: ours {bar.ours:.1f} %"
            marks.append(Mark(scale(bar.ours), scale.ends(bar.interval), number, True, words))
    return Dots(series, {name: tuple(marks) for name, marks in rows.items()}, scale.ticks)


def scatter(relations: Iterable[Relation], accuracies: Accuracies, where: str) -> Scatter | None:
    """Panels of the relations that have two datasets or more; None: there are none."""
    shown = [relation for relation in relations if len(relation.points) > 1]
    names = tuple(sorted({name for relation in shown for name in relation.points}))
    panels = tuple(_panel(relation, names) for relation in shown)
    return Scatter(accuracies.source, where, names, panels) if panels else None


def curve(points: Sequence[tuple[int, float]]) -> str:
    """A curve's corners for SVG, in a field of 100 x 40: means of neighbours where there are many."""
    if len(points) < 2:
        return ""
    size = -(-len(points) // _POINTS)
    parts = [points[n : n + size] for n in range(0, len(points), size)]
    xs = [sum(x for x, _ in part) / len(part) for part in parts]
    ys = [sum(y for _, y in part) / len(part) for part in parts]
    low, high = min(ys), max(ys)
    places = zip(xs, ys, strict=True)
    wide, tall = (xs[-1] - xs[0]) or 1, (high - low) or 1
    return " ".join(f"{100 * (x - xs[0]) / wide:.2f},{38 - 36 * (y - low) / tall:.2f}" for x, y in places)


class _Scale:
    """From accuracies in % to places in % of the width: the axis spans whole tens."""

    def __init__(self, values: Iterable[float]) -> None:
        every = list(values) or [0.0, 100.0]
        self.low = max(0, int(min(every) // 10) * 10)
        self.high = min(100, max(self.low + 10, int(-(-max(every) // 10)) * 10))
        step = 10 if self.high - self.low <= 60 else 20
        marked = range(self.low, self.high + 1, step)
        self.ticks = tuple((self(value), f"{value} %" if value == marked[-1] else str(value)) for value in marked)

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(_MARGIN + (100 - 2 * _MARGIN) * share, 3)

    def ends(self, interval: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if interval is None else (self(interval[0]), self(interval[1]))


def _panel(relation: Relation, names: Sequence[str]) -> Panel:
    points: Mapping[str, tuple[float, float]] = relation.points
    xs, ys = [x for x, _ in points.values()], [y for _, y in points.values()]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    wide, tall = (right - left) or 1.0, (high - low) or 1.0
    places = tuple(
        Point(names.index(name) + 1, round(6 + 88 * (x - left) / wide, 2), round(92 - 84 * (y - low) / tall, 2))
        for name, (x, y) in points.items()
    )
    label = PANELS[relation.property][0]
    ends = (f"{left:.4g}", f"{right:.4g}"), (f"{low:.1f} %", f"{high:.1f} %")
    return Panel(label, caption(relation), places, *ends)
