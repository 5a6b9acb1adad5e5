"""Training curves out of the metrics.jsonl of runs: one JSON object a line, "step" and metric values.

A run that was killed and resumed may hold a step twice: the later line counts. A half-written last line (the
process was killed while writing) is passed over, as resuming does; anything else that is no row is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from amenable.errors import DataError
from amenable.types import Record


class Curve(Record, frozen=True):
    """One metric of one run over its steps. Values may be nan (a skipped step): plots leave a gap."""

    run: str
    metric: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def read_curves(path: Path | str, *, run: str | None = None, metrics: Iterable[str] | None = None) -> list[Curve]:
    """The curves of a metrics.jsonl, or of the run folder that holds one; all numeric metrics if none are
    named.

    Raises DataError with file and line where a line is no JSON object with a whole "step", or a named metric
    is missing.
    """
    path = Path(path)
    file = path / "metrics.jsonl" if path.is_dir() else path
    run = run or file.parent.name
    rows = read_rows(file)
    names = list(metrics) if metrics is not None else _numeric(rows.values())
    curves = []
    for name in names:
        points = [(step, value) for step, row in sorted(rows.items()) if (value := _value(row.get(name))) is not None]
        if not points:
            known = ", ".join(_numeric(rows.values()))
            raise DataError(f"no metric {name!r}", where=str(file), mend=f"there are: {known}")
        curves.append(
            Curve(run=run, metric=name, steps=tuple(s for s, _ in points), values=tuple(v for _, v in points))
        )
    return curves


def thin(curve: Curve, num_points: int = 400) -> Curve:
    """A curve with at most about `num_points` points, each the mean of its neighbours; short ones stay as
    they are.

    >>> thin(Curve(run="r", metric="m", steps=(1, 2, 3, 4), values=(1.0, 3.0, 5.0, 7.0)), 2).values
    (2.0, 6.0)
    """
    count = len(curve.steps)
    if count <= num_points:
        return curve
    size = math.ceil(count / num_points)
    spans = [slice(i, i + size) for i in range(0, count, size)]
    return curve.replace(
        steps=tuple(curve.steps[s][-1] for s in spans),
        values=tuple(_mean(curve.values[s]) for s in spans),
    )


def read_rows(path: Path | str) -> dict[int, Mapping[str, object]]:
    """Step -> its line, of a metrics.jsonl or of the run folder that holds one. Raises DataError as read_curves does."""
    file = Path(path) / "metrics.jsonl" if Path(path).is_dir() else Path(path)
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(file)) from error
    rows: dict[int, Mapping[str, object]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # no newline after it: the writer was killed in the middle of the line
                continue
            raise DataError("no JSON", where=f"{file}:{number}", mend="remove the line") from error
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise DataError('no row with a whole "step"', where=f"{file}:{number}", mend="remove the line")
        rows[row["step"]] = row
    if not rows:
        raise DataError("no step has been logged", where=str(file))
    return rows


def _value(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _numeric(rows: Iterable[Mapping[str, object]]) -> list[str]:
    names = {name: None for row in rows for name, value in row.items() if _value(value) is not None}
    return [name for name in names if name != "step"]


def _mean(values: Sequence[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan
