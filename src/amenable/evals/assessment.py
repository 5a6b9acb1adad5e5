"""What is measured of an assistant: figures with their data and their limits, sorted into helpful, honest, harmless."""

from __future__ import annotations

from typing import Literal

from amenable.evals.statistics import Interval
from amenable.types import Record

Pillar = Literal["helpful", "honest", "harmless"]
PILLARS: tuple[Pillar, ...] = ("helpful", "honest", "harmless")


class Figure(Record, frozen=True):
    """One figure of one model.

    better   which way is better; "neither": what is good stands in the limits
    signed   on a scale from -1 to 1, instead of 0 to 1
    data     the set, its part, how many prompts
    limits   what the figure does not show, and what it was checked against
    ruler    the same measure where the answer is known, as (what, value): guessing, people's own answers
    """

    model: str
    pillar: Pillar
    name: str
    interval: Interval
    better: Literal["higher", "lower", "neither"]
    data: str
    limits: str
    ruler: tuple[tuple[str, float], ...] = ()
    signed: bool = False
    left_out: int = 0  # prompts that could not be asked: too long, or the server failed


class ModelPage(Record, frozen=True):
    """Everything measured of one model, in one pillar after the other."""

    model: str
    figures: tuple[Figure, ...]

    def pillars(self) -> tuple[tuple[Pillar, tuple[Figure, ...]], ...]:
        """Pillars that have figures, each with its own."""
        found = ((p, tuple(f for f in self.figures if f.pillar == p)) for p in PILLARS)
        return tuple((p, figures) for p, figures in found if figures)


class Verdict(Record, frozen=True):
    """How often a judge prefers a model's responses to another's; withheld: why it is not shown."""

    judge: str
    model: str
    against: str
    win_rate: Interval | None
    data: str
    withheld: str = ""
