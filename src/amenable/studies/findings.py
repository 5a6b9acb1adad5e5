"""What a study found, as records, and how it is written: results.json, table.md, plot.svg."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from amenable.config.folder import write_atomic
from amenable.evals.statistics import Interval
from amenable.types import Record

Cell = str | int | float | Interval | None


class Line(Record, frozen=True):
    """A named curve or, with `joined` off, separate points; y as intervals."""

    name: str
    x: tuple[float, ...]
    y: tuple[Interval, ...]
    joined: bool = True
    dashed: bool = False  # a level or a fitted law: no dots, no whiskers
    fitted_to: str = ""  # the line whose law or level this is, and whose colour it takes; else grey


class Panel(Record, frozen=True):
    """One picture. labels: names for the places 0, 1, 2, … of x, where x is no quantity."""

    title: str
    x_name: str
    y_name: str
    lines: tuple[Line, ...]
    log_x: bool = False
    labels: tuple[str, ...] = ()


class Findings(Record, frozen=True):
    """rows: the table, one mapping a row, figures as intervals over seeds."""

    rows: tuple[dict[str, Any], ...]
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()


def write(folder: Path, title: str, about: Mapping[str, Any], found: Findings) -> dict[str, str]:
    """Write all three files into the folder; returns their paths by name."""
    rows = [msgspec.to_builtins(row) for row in found.rows]
    body = {"title": title, **about, "notes": list(found.notes), "rows": rows}
    write_atomic(folder / "results.json", json.dumps(body, indent=1).encode())
    notes = "".join(f"\n{note}\n" for note in found.notes)
    write_atomic(folder / "table.md", f"{table(found.rows)}\n{notes}".encode())
    draw(folder / "plot.svg", found.panels)
    return {name: str(folder / file) for name, file in (("results", "results.json"), ("table", "table.md"), ("plot", "plot.svg"))}  # fmt: skip


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table.

    >>> print(table([{"n": 4, "gold": Interval(value=0.5, low=0.25, high=0.75, count=3)}]))
    | n | gold |
    | --- | --- |
    | 4 | 0.500 (0.250 to 0.750) |
    """
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(columns)} |", "| " + " | ".join("---" for _ in columns) + " |"]
    return "\n".join(lines + [f"| {' | '.join(shown(row.get(name)) for name in columns)} |" for row in rows])


def shown(cell: Cell) -> str:
    """A cell as text; an interval with its ends.

    >>> shown(12345), shown(0.12345), shown(None)
    ('12,345', '0.123', '')
    """
    if cell is None:
        return ""
    if isinstance(cell, Interval):
        return f"{_number(cell.value)} ({_number(cell.low)} to {_number(cell.high)})"
    return cell if isinstance(cell, str) else _number(cell)


def plain_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose intervals are texts, for printing."""
    return [{name: shown(c) if isinstance(c, Interval) else c for name, c in row.items()} for row in rows]


def draw(path: Path, panels: Sequence[Panel]) -> None:
    """All panels as one SVG, up to four side by side, more in rows of two."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "amenable", "font.size": 9}):
        columns = len(panels) if len(panels) <= 4 else 2
        count = -(-len(panels) // columns)
        figure, all_axes = plt.subplots(count, columns, figsize=(5.2 * columns, 3.8 * count), squeeze=False, layout="constrained")  # fmt: skip
        for spare in all_axes.flat[len(panels) :]:
            spare.axis("off")
        for axes, panel in zip(all_axes.flat, panels, strict=False):
            measured = [line.name for line in panel.lines if not line.dashed]
            colours = {name: f"C{number % 10}" for number, name in enumerate(measured)}
            names = [line.name for line in panel.lines]
            for place, line in enumerate(panel.lines):
                label = line.name if names.index(line.name) == place else None  # a name stands in the legend once
                _plot(axes, line, colours.get(line.fitted_to if line.dashed else line.name, "grey"), label)
            axes.set(title=panel.title, xlabel=panel.x_name, ylabel=textwrap.fill(panel.y_name, 40))
            if panel.log_x:
                places = sorted({x for line in panel.lines for x in line.x})
                axes.set_xscale("log")
                axes.set_xticks(places, [f"{x:,.0f}" for x in places], fontsize=7)
                axes.minorticks_off()
            if panel.labels:
                axes.set_xticks(range(len(panel.labels)), panel.labels, rotation=20, ha="right", rotation_mode="anchor")
            if len(panel.lines) > 1:
                below = -0.34 if panel.labels else -0.16  # labels stand aslant
                axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, below), ncols=3)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _plot(axes: Any, line: Line, colour: str, label: str | None) -> None:
    values = [y.value for y in line.y]
    if line.dashed:
        axes.plot(line.x, values, linestyle="--", linewidth=1, label=label, color=colour)
        return
    spread = [[y.value - y.low for y in line.y], [y.high - y.value for y in line.y]]
    style = "-" if line.joined else ""
    axes.errorbar(line.x, values, yerr=spread, marker="o", markersize=4, linestyle=style, linewidth=1.2, capsize=2, label=label, color=colour)  # fmt: skip


def _number(value: float) -> str:
    if isinstance(value, int) or (abs(value) >= 1000 and value == round(value)):
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"
