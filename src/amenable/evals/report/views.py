"""Report records prepared for the page: charts drawn, numbers written, settings laid flat."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from amenable.evals.assessment import PILLARS, ModelPage
from amenable.evals.assessment import Figure as Measured
from amenable.evals.curves import Curve, thin
from amenable.evals.frontier import FrontierPoint, pareto, sqrt_kl
from amenable.evals.report.charts import NUM_COLOURS, Axes, Point, Series, chart, number
from amenable.evals.report.records import LadderRow, Report
from amenable.evals.reward_quality import RewardQuality
from amenable.evals.statistics import Interval


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    name: str
    colour: int
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart with its caption and legend."""

    title: str
    svg: Markup
    legend: tuple[Key, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """One row of an interval plot on a scale of 0 to 1."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class View:
    """What the template shows besides the report itself."""

    sections: tuple[tuple[str, str], ...]  # (anchor, name in the navigation) of those that are there
    measured: tuple[tuple[str, tuple[tuple[Measured, ...], ...]], ...]  # by pillar, by figure, one of each model
    ladder: tuple[Bar, ...]
    curves: tuple[tuple[str, tuple[Figure, ...]], ...]
    rewards: tuple[tuple[RewardQuality, tuple[Bar, ...], Figure], ...]
    frontier: tuple[Figure, ...]
    settings: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]


def of(report: Report) -> View:
    """The view of a report."""
    held = (
        ("assessment", "Assessment", report.assessment),
        ("judges", "Judges", report.agreements),
        ("ladder", "Ladder", report.ladder),
        ("samples", "Samples", report.samples),
        ("extremes", "Best and worst", report.best or report.worst),
        ("texts", "Variety", report.texts),
        ("curves", "Curves", report.curves),
        ("reward", "Reward model", report.reward_quality),
        ("frontier", "Reward against KL", report.frontier),
        ("inspector", "Token inspector", report.traces),
        ("data", "Data card", report.data),
        ("settings", "Settings", report.settings or report.environment),
    )
    return View(
        sections=tuple((anchor, name) for anchor, name, there in held if there),
        measured=tuple(_measured(report.assessment)),
        ladder=tuple(Bar(row.model, row.win_rate, row.low, row.high) for row in report.ladder),
        curves=tuple((g.title, tuple(_curve_figures(g.curves))) for g in report.curves),
        rewards=tuple((q, _accuracy_bars(q), _calibration(q)) for q in report.reward_quality),
        frontier=tuple(_frontier(report.frontier, report.frontier_reward, root) for root in (False, True))
        if report.frontier
        else (),
        settings=tuple(flat(report.settings)),
        environment=tuple(flat(report.environment)),
    )


def _measured(pages: Sequence[ModelPage]) -> Iterator[tuple[str, tuple[tuple[Measured, ...], ...]]]:
    """The figures of all models, brought together by pillar and name."""
    for pillar in PILLARS:
        named: dict[str, list[Measured]] = {}
        for found in (f for page in pages for f in page.figures if f.pillar == pillar):
            named.setdefault(found.name, []).append(found)
        if named:
            yield pillar, tuple(tuple(figures) for figures in named.values())


def alike(figures: Sequence[Measured]) -> list[tuple[list[str], Measured]]:
    """Figures whose data, limits and rulers are the same, together: the models, and one of them."""
    found: dict[tuple[object, ...], tuple[list[str], Measured]] = {}
    for figure in figures:
        key = (figure.data, figure.limits, figure.ruler, figure.left_out)
        found.setdefault(key, ([], figure))[0].append(figure.model)
    return list(found.values())


def place(figure: Measured, value: float) -> float:
    """Where a value stands on the figure's scale, in percent."""
    return 100 * min(1.0, max(0.0, (value + 1) / 2 if figure.signed else value))


def flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) rows.

    >>> flat({"algorithm": {"kl_coef": 0.05}, "seed": 1})
    [('algorithm.kl_coef', '0.05'), ('seed', '1')]
    """
    rows = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            rows.append((f"{prefix}{name}", text))
    return rows


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> (duration(42.4), duration(503), duration(7380))
    ('42 s', '8 min 23 s', '2 h 3 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(share: float | None, digits: int = 0) -> str:
    """A share as percent; a dash where there is none.

    >>> (percent(0.614), percent(0.614, 1), percent(None))
    ('61 %', '61.4 %', '–')
    """
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def decimal(value: float | None, digits: int = 2) -> str:
    """A number with fixed decimals; a dash where there is none.

    >>> (decimal(1.234), decimal(-0.5, 1), decimal(None), decimal(float("nan")))
    ('1.23', '−0.5', '–', '–')
    """
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def spread(interval: Interval, digits: int = 2) -> str:
    """An interval's ends as words: "0.12 to 0.34"."""
    return f"{decimal(interval.low, digits)} to {decimal(interval.high, digits)}"


def span(interval: Interval | LadderRow) -> str:
    """The ends of a share's interval as percent.

    >>> span(Interval(value=0.61, low=0.544, high=0.68, count=200))
    '54.4–68.0 %'
    """
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f} %"


def breakable(name: str) -> Markup:
    """A dotted name that may be broken at its dots and underscores.

    >>> breakable("algorithm.kl_coef<")
    Markup('algorithm.<wbr>kl_<wbr>coef&lt;')
    """
    return Markup(re.sub(r"([._/])", r"\1<wbr>", str(escape(name))))


def typeset(sentence: str) -> str:
    """A sentence for the page: true minus signs and dashes, and no line break inside a figure.

    >>> typeset("on 61 % (interval 54-68; p < 0.001), -8 points")
    'on 61\\xa0% (interval 54\\u2060–\\u206068; p\\xa0<\\xa00.001), −8\\xa0points'
    """
    sentence = re.sub(r"(?<=\d)-(?=\d)", "\u2060–\u2060", sentence)
    sentence = re.sub(r"(?<=[ (])-(?=\d)", "−", sentence)
    return re.sub(r"(?<=\d) (?=%|points)|(?<=\bp) (?=[<=] )|(?<=p.[<=]) ", "\xa0", sentence)


FILTERS = {
    "breakable": breakable,
    "span": span,
    "typeset": typeset,
    "percent": percent,
    "decimal": decimal,
    "duration": duration,
    "alike": alike,
    "place": place,
    "spread": spread,
    "number": number,
}


def _curve_figures(curves: Sequence[Curve]) -> list[Figure]:
    runs = list(dict.fromkeys(c.run for c in curves))
    figures = []
    for metric in dict.fromkeys(c.metric for c in curves):
        lines, keys = [], []
        for run in runs:
            for curve in (c for c in curves if c.metric == metric and c.run == run):
                points = tuple(Point(float(x), y) for x, y in _pairs(thin(curve)))
                lines.append((runs.index(run), Series(run, points, dots=len(points) == 1)))
                keys.append(Key(run, runs.index(run) % NUM_COLOURS, number(curve.values[-1])))
        alt = f"{metric} by step; last values: " + ", ".join(f"{k.name} {k.note}" for k in keys)
        svg = chart(_by_colour(lines), Axes(x_label="step"), alt=alt)
        figures.append(Figure(metric, svg, tuple(keys)))
    return figures


def _by_colour(lines: Sequence[tuple[int, Series]]) -> list[Series]:
    """Series in their places, empty ones between, so that a run keeps its colour in every plot."""
    places = dict(lines)
    return [places.get(i, Series("", ())) for i in range(max(places, default=-1) + 1)]


def _pairs(curve: Curve) -> list[tuple[int, float]]:
    return list(zip(curve.steps, curve.values, strict=True))


def _accuracy_bars(quality: RewardQuality) -> tuple[Bar, ...]:
    rows = [(quality.name, quality.accuracy), *((b.name, b.accuracy) for b in quality.baselines)]
    if quality.human_agreement is not None:
        rows.append(("two people agree", quality.human_agreement))
    return tuple(Bar(name, i.value, i.low, i.high) for name, i in rows)


def _calibration(quality: RewardQuality) -> Figure:
    points = [
        Point(
            b.confidence,
            b.accuracy,
            title=f"{b.count} pairs: confidence {percent(b.confidence)}, right {percent(b.accuracy)}",
        )
        for b in quality.calibration
    ]
    low = min([0.5, *(b.accuracy for b in quality.calibration)])
    bottom = math.floor(low * 10) / 10
    axes = Axes("confidence", x_range=(0.5, 1.0), y_range=(bottom, 1.0), diagonal=True, percent=True)
    alt = "Calibration: " + "; ".join(p.title for p in points)
    note = f"ECE {decimal(quality.ece.value, 3)} (95 % interval {spread(quality.ece, 3)})"
    return Figure(
        "How often right, by confidence", chart([Series("reward", points, dots=True)], axes, alt=alt), note=note
    )


def _frontier(points: Sequence[FrontierPoint], reward: str, root: bool) -> Figure:
    best = pareto(points)
    runs = list(dict.fromkeys(p.run for p in points))
    series = []
    for run in runs:
        placed = []
        for p in sorted((p for p in points if p.run == run), key=lambda p: p.kl.value):
            kl = sqrt_kl(p.kl) if root else p.kl
            name = p.label or (f"step {p.step}" if p.step is not None else run)
            placed.append(
                Point(
                    kl.value, p.reward.value, kl.low, kl.high, p.reward.low, p.reward.high,
                    label=p.label,
                    title=f"{run}, {name}: {reward} {number(p.reward.value)} at KL {number(p.kl.value)} nats",
                    ring=p not in best,
                )
            )  # fmt: skip
        series.append(Series(run, placed, dots=True))
    x_label = "√KL, √nats per response" if root else "KL, nats per response"
    alt = f"{reward} against {x_label}: " + "; ".join(p.title for s in series for p in s.points)
    return Figure(
        f"{reward} by {'√KL' if root else 'KL'}",
        chart(series, Axes(x_label), alt=alt, width=400, height=280),
        tuple(Key(run, i % NUM_COLOURS) for i, run in enumerate(runs)),
    )
