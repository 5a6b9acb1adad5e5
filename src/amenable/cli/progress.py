"""Progress of a running stage on stderr: bars in a terminal, a plain line every few seconds elsewhere.

with progress(quiet=False) as on_event:
    stage.run(config, workspace=..., on_event=on_event)
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TextIO

import click

from amenable.cli.common import duration, number

if TYPE_CHECKING:
    from amenable.stages.events import Event

LINE_EVERY_S = 10.0
RATE_WINDOW_S = 30.0


@contextmanager
def progress(*, quiet: bool, stream: TextIO | None = None) -> Iterator[Callable[[Event], None]]:
    """A listener for a stage's events. Warnings are shown even when quiet."""
    stream = stream if stream is not None else sys.stderr
    if quiet:
        yield lambda event: _warning(event, stream)
    elif stream.isatty():
        with _bars(stream) as on_event:
            yield on_event
    else:
        yield Lines(stream)


def tell(text: str, stream: TextIO) -> None:
    """A line to a stream that may have lost its reader: `2>&1 | tee log` ends at the same Ctrl-C. Work goes on, silently."""
    try:
        click.echo(text, file=stream)
    except OSError:
        drop(stream)


def drop(stream: TextIO) -> None:
    """What else is written to a stream goes nowhere: Python would complain once more when it closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Meter:
    """How fast something goes, over the last half minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque()

    def rate(self, event: Event) -> float | None:
        """Units per second: the stage's own figure, else what was seen; None at the first sight."""
        now = self._clock()
        if self._seen and event.done < self._seen[-1][1]:
            self._seen.clear()  # the stage began anew
        self._seen.append((now, event.done))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_WINDOW_S:
            self._seen.popleft()
        if event.rate is not None:
            return event.rate
        then, before = self._seen[0]
        elapsed = now - then
        return (event.done - before) / elapsed if elapsed > 0 and event.done > before else None


def pace(event: Event, rate: float | None) -> str:
    """ "4.1 steps/s, 1:15 left", as far as it is known; slow ones as seconds per unit."""
    if not rate:
        return ""
    speed = f"{number(rate)} {event.unit}/s" if rate >= 0.1 else f"{1 / rate:.0f} s per {event.unit.removesuffix('s')}"
    if event.total is None:
        return speed
    return f"{speed}, {duration(max(0.0, event.total - event.done) / rate)} left"


def count(event: Event) -> str:
    """ "20/100 steps"."""
    of = f"/{number(event.total)}" if event.total is not None else ""
    return f"{number(event.done)}{of} {event.unit}"


def metrics(event: Event) -> str:
    return "  ".join(f"{name} {number(value)}" for name, value in event.metrics.items())


class Lines:
    """Plain lines: what a stage says at once, its progress every LINE_EVERY_S seconds and at its first end.

    What begins again and again (the responses of each step) does not fill the log with its ends.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._meters: dict[str, Meter] = {}
        self._shown_at: dict[str, float] = {}
        self._ended: set[str] = set()

    def __call__(self, event: Event) -> None:
        if event.kind != "progress":
            if event.text:
                label = "warning: " if event.kind == "warning" else ""
                tell(f"{label}{event.text}", self._stream)
            return
        rate = self._meters.setdefault(event.stage, Meter(self._clock)).rate(event)
        now, finished = self._clock(), event.total is not None and event.done >= event.total
        first_end = finished and event.stage not in self._ended
        self._ended |= {event.stage} if finished else set()
        if not first_end and now - self._shown_at.get(event.stage, -LINE_EVERY_S) < LINE_EVERY_S:
            return
        self._shown_at[event.stage] = now
        told = ", ".join(part for part in (pace(event, rate), metrics(event)) if part)
        tell(f"{event.stage}: {count(event)}" + (f", {told}" if told else ""), self._stream)


@contextmanager
def _bars(stream: TextIO) -> Iterator[Callable[[Event], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn

    def column(field: str) -> TextColumn:
        return TextColumn("{task.fields[" + field + "]}", markup=False)

    name = TextColumn("{task.description}", markup=False)
    console = Console(file=stream)
    bar_width = 24 if console.width >= 100 else 8
    bars = Progress(name, BarColumn(bar_width), column("amount"), column("pace"), column("metrics"), console=console)
    tasks: dict[str, TaskID] = {}
    meters: dict[str, Meter] = {}
    lines: dict[str, Line] = {}

    def show(event: Event) -> None:
        if event.kind == "progress":
            if event.stage not in tasks:
                tasks[event.stage] = bars.add_task(event.stage, total=event.total, amount="", pace="", metrics="")
                meters[event.stage] = Meter()
            rate = meters[event.stage].rate(event)
            lines[event.stage] = Line(count(event), pace(event, rate).replace(f" {event.unit}/s", "/s"), metrics(event))
            shown = fitted(lines, console.width - bar_width)
            bars.update(tasks[event.stage], completed=event.done, total=event.total)
            for stage, line in shown.items():
                bars.update(tasks[stage], **line._asdict())
        elif event.text:
            label = "warning: " if event.kind == "warning" else ""
            style = "yellow" if event.kind == "warning" else None
            console.print(label + event.text, markup=False, highlight=False, style=style, soft_wrap=True)

    with bars:
        yield show


class Line(NamedTuple):
    """What stands beside a bar."""

    amount: str
    pace: str
    metrics: str


def fitted(lines: Mapping[str, Line], width: int) -> dict[str, Line]:
    """The lines cut to a width that names and bars leave whole: figures go first, from the end, then the pace.

    >>> fitted({"sft": Line("1/9 steps", "4 steps/s", "loss 2.1  kl 0.2")}, 36)["sft"]
    Line(amount='1/9 steps', pace='4 steps/s', metrics='loss 2.1')
    >>> fitted({"sft": Line("1/9 steps", "4 steps/s", "loss 2.1  kl 0.2")}, 20)["sft"]
    Line(amount='1/9 steps', pace='', metrics='')
    """
    gaps = 4  # between five columns
    room = width - gaps - max(map(len, lines)) - max(len(line.amount) for line in lines.values())
    with_pace = room - max(len(line.pace) for line in lines.values())
    out: dict[str, Line] = {}
    for stage, line in lines.items():
        figures = line.metrics.split("  ")
        while figures and len("  ".join(figures)) > max(0, with_pace):
            figures.pop()
        out[stage] = line._replace(pace=line.pace if with_pace >= 0 else "", metrics="  ".join(figures))
    return out


def _warning(event: Event, stream: TextIO) -> None:
    if event.kind == "warning":
        tell(f"warning: {event.text}", stream)
