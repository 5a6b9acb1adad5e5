"""Small SVG charts that take their colours from the page, so that light, dark and print need no second
picture.

Drawn here rather than by matplotlib: a tenth of the size, text stays text, and a chart can be read at phone
width because it is drawn at that width (`width` is in CSS pixels; the page shows it at about 1:1).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

NUM_COLOURS = 6
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 10.0, 36.0


@dataclass(frozen=True)
class Point:
    """A point with optional interval ends and a label. nan in y makes a gap in a line."""

    x: float
    y: float
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None
    label: str = ""
    title: str = ""  # shown on hover, read by screen readers
    ring: bool = False


@dataclass(frozen=True)
class Series:
    """Points under one name: joined by a line, marked by dots, or both."""

    name: str
    points: Sequence[Point]
    line: bool = True
    dots: bool = False


@dataclass(frozen=True)
class Axes:
    """The frame: the name of the x axis (that of y stands above the chart), and bounds where they should not follow the data."""

    x_label: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    diagonal: bool = False  # a dashed line y = x
    level: float | None = None  # a dashed horizontal line
    percent: bool = False  # both axes are shares, written as percent


def chart(series: Sequence[Series], axes: Axes, *, alt: str, width: int = 360, height: int = 220) -> Markup:
    """One chart as inline SVG. `alt` says in words what it shows.

    >>> line = Series("loss", [Point(1, 3.0), Point(2, 2.0)])
    >>> "<polyline" in chart([line], Axes(x_label="step"), alt="loss falls from 3 to 2")
    True
    """
    frame = _frame(series, axes, width, height)
    head = '<svg class="chart" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
    parts = [Markup(head).format(width, height, alt), *frame.draw(axes)]
    labels = _Labels(frame, series)
    for index, one in enumerate(series):
        parts.append(Markup('<g class="s{}">').format(index % NUM_COLOURS))
        if one.line:
            parts += _lines(one.points, frame)
        if one.dots:
            parts += [_dot(p, frame, labels) for p in one.points if math.isfinite(p.y)]
        parts.append(Markup("</g>"))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def bounds(values: Sequence[float], *, tight: bool = False) -> tuple[float, float]:
    """Axis ends that hold all values, with a little air unless tight.

    >>> bounds([0.0, 10.0])
    (-0.5, 10.5)
    """
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if high == low:
        air = abs(low) * 0.1 or 1.0
        return low - air, high + air
    air = 0.0 if tight else 0.05 * (high - low)
    return low - air, high + air


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within [low, high], about `count` of them.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(-3.0, 47.0)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def number(value: float) -> str:
    """A number for an axis or a legend: short, with three figures.

    >>> [number(v) for v in (0.0, 1500.0, 2500000.0, 0.1234, 1e-5, -3.0)]
    ['0', '1.5k', '2.5M', '0.123', '1e-05', '−3']
    """
    size = abs(value)
    if size >= 1e6:
        text = f"{value / 1e6:.3g}M"
    elif size >= 1000:
        text = f"{value / 1e3:.3g}k"
    else:
        text = f"{value:.3g}"
    return text.replace("-", "−") if "e" not in text else text


@dataclass(frozen=True)
class _Frame:
    """Data coordinates to pixels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: int
    height: int

    @property
    def right(self) -> float:
        return self.width - _RIGHT

    @property
    def bottom(self) -> float:
        return self.height - _BOTTOM

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (self.right - _LEFT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - _TOP)

    def draw(self, axes: Axes) -> list[Markup]:
        """Grid, ticks, axis name and guide lines."""
        parts = []
        for y in ticks(*self.y_range, 5):
            parts.append(_line("grid", _LEFT, self.y(y), self.right, self.y(y)))
            parts.append(_text("tick", _LEFT - 6, self.y(y) + 3.5, "end", _tick_text(y, axes)))
        parts.append(_line("axis", _LEFT, self.bottom, self.right, self.bottom))
        for x in ticks(*self.x_range, max(4, int((self.right - _LEFT) / 60))):
            parts.append(_text("tick", self.x(x), self.bottom + 15, "middle", _tick_text(x, axes)))
        parts.append(_text("name", (_LEFT + self.right) / 2, self.height - 4, "middle", axes.x_label))
        if axes.level is not None:
            parts.append(_line("guide", _LEFT, self.y(axes.level), self.right, self.y(axes.level)))
        if axes.diagonal:
            low = max(self.x_range[0], self.y_range[0])
            high = min(self.x_range[1], self.y_range[1])
            parts.append(_line("guide", self.x(low), self.y(low), self.x(high), self.y(high)))
        return parts


def _frame(series: Sequence[Series], axes: Axes, width: int, height: int) -> _Frame:
    shown = [p for s in series for p in s.points if math.isfinite(p.x) and math.isfinite(p.y)]
    xs = [v for p in shown for v in (p.x, p.x_low, p.x_high) if v is not None]
    ys = [v for p in shown for v in (p.y, p.y_low, p.y_high) if v is not None]
    if axes.level is not None:
        ys.append(axes.level)
    tight = not any(s.dots for s in series)
    return _Frame(axes.x_range or bounds(xs, tight=tight), axes.y_range or bounds(ys), width, height)


def _lines(points: Sequence[Point], frame: _Frame) -> list[Markup]:
    """One polyline a stretch of finite points."""
    stretches: list[list[Point]] = [[]]
    for p in points:
        if math.isfinite(p.y):
            stretches[-1].append(p)
        elif stretches[-1]:
            stretches.append([])
    parts = []
    for stretch in stretches:
        if stretch:
            path = " ".join(f"{frame.x(p.x):.1f},{frame.y(p.y):.1f}" for p in stretch)
            parts.append(Markup('<polyline class="line" points="{}"/>').format(path))
    return parts


def _dot(p: Point, frame: _Frame, labels: _Labels) -> Markup:
    x, y = frame.x(p.x), frame.y(p.y)
    parts = [Markup("<g>")]
    if p.title:
        parts.append(Markup("<title>{}</title>").format(p.title))
    if p.y_low is not None and p.y_high is not None:
        parts.append(_line("whisker", x, frame.y(p.y_low), x, frame.y(p.y_high)))
    if p.x_low is not None and p.x_high is not None:
        parts.append(_line("whisker", frame.x(p.x_low), y, frame.x(p.x_high), y))
    kind = "dot ring" if p.ring else "dot"
    parts.append(Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(kind, x, y))
    if p.label:
        parts.append(_text("label", *labels.place(x, y, p.label), p.label))
    parts.append(Markup("</g>"))
    return Markup("").join(parts)


class _Labels:
    """Finds a place beside its point for each label: where it covers least of points, whiskers, lines and labels."""

    def __init__(self, frame: _Frame, series: Sequence[Series]) -> None:
        self.frame = frame
        self.taken: list[tuple[float, float, float, float]] = []  # left, top, right, bottom
        for p in (p for s in series if s.dots for p in s.points if math.isfinite(p.y)):
            x, y = frame.x(p.x), frame.y(p.y)
            self.taken.append((x - 5, y - 5, x + 5, y + 5))
            x_ends = [frame.x(v) for v in (p.x_low, p.x_high) if v is not None] or [x]
            y_ends = [frame.y(v) for v in (p.y_low, p.y_high) if v is not None] or [y]
            self.taken += [(min(x_ends), y, max(x_ends), y), (x, min(y_ends), x, max(y_ends))]

        for s in series:
            if s.line and s.dots:
                for p, q in itertools.pairwise(s.points):
                    self._take_segment(frame.x(p.x), frame.y(p.y), frame.x(q.x), frame.y(q.y))

    def _take_segment(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A slanted line as a row of spots, since a box around it would bar far too much."""
        for i in range(1, 12):
            x, y = x1 + (x2 - x1) * i / 12, y1 + (y2 - y1) * i / 12
            self.taken.append((x, y, x, y))

    def place(self, x: float, y: float, label: str) -> tuple[float, float, str]:
        """(x, y, text-anchor) of the label of the point at (x, y)."""
        width = 6.2 * len(label)
        best = (math.inf, (x, y, "start"))
        for dx, dy in ((8, -8), (-8, -8), (8, 15), (-8, 15), (8, -20), (-8, -20), (8, 27), (-8, 27)):
            left = x + dx if dx > 0 else x + dx - width
            box = (left, y + dy - 10, left + width, y + dy + 2)
            outside = box[0] < _LEFT or box[2] > self.frame.width or box[1] < 0 or box[3] > self.frame.bottom
            cost = 100.0 * outside + sum(_overlap(box, other) for other in self.taken)
            if cost < best[0]:
                best = (cost, (x + dx, y + dy, "start" if dx > 0 else "end"))
                chosen = box
        self.taken.append(chosen)
        return best[1]


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    shape = '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
    return Markup(shape).format(kind, x1, y1, x2, y2)


def _text(kind: str, x: float, y: float, anchor: str, text: str) -> Markup:
    shape = '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    return Markup(shape).format(kind, x, y, anchor, text)


def _tick_text(value: float, axes: Axes) -> str:
    return f"{100 * value:.0f} %" if axes.percent else number(value)
