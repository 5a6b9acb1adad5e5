"""What a reward is: a name, and one number per response. It sees text only, so that any tokenizer may stand behind it.

A reward that is made of others, or that knows its own limits, also gives figures beside its scores (`detail`): the
parts of a sum, the members of an ensemble, how far they disagree, whether a score lies beyond what was seen before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from amenable.errors import DataError
from amenable.types import Record, Scored

BEYOND = "beyond"
"""The figure that says whether a score lies above 99 % of the scores that a reward model gave to held-out responses."""


@runtime_checkable
class Reward(Protocol):
    """Scores responses; more is better. The scale is the reward's own, said in its docstring."""

    @property
    def name(self) -> str:
        """Short name for logs and reports."""
        ...

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One finite number per item, in order; an item's score does not depend on its neighbours."""
        ...


class Detail(Record, frozen=True):
    """Scores and the figures behind them, one number per item each.

    >>> Detail(scores=[1.0], figures={"length": [12.0]}).figures["length"]
    [12.0]
    """

    scores: list[float]
    figures: dict[str, list[float]] = {}


@runtime_checkable
class DetailedReward(Reward, Protocol):
    """A reward with figures of its own."""

    def detail(self, items: Sequence[Scored]) -> Detail:
        """The scores, and the figures by name."""
        ...


def detail(reward: Reward, items: Sequence[Scored]) -> Detail:
    """Scores with their figures; a plain reward has none. Raises DataError unless each is one finite number per item."""
    found = reward.detail(items) if isinstance(reward, DetailedReward) else Detail(scores=reward.score(items))
    for name, column in {"score": found.scores, **found.figures}.items():
        if len(column) != len(items):
            raise DataError(f"{len(column)} numbers for {len(items)} responses", where=f"reward {reward.name}, {name}")
        bad = next((i for i, value in enumerate(column) if not math.isfinite(value)), None)
        if bad is not None:
            shown = items[bad].response[:60]
            raise DataError(f"{column[bad]} is no score", where=f"reward {reward.name}, {name} of {shown!r}")
    return found


class HeldOutScores(Record, frozen=True):
    """What a reward model's scores were on held-out responses. Stored with the model, after its shift.

    >>> HeldOutScores.of([0.0, 2.0])
    HeldOutScores(count=2, mean=1.0, std=1.0, p99=1.98)
    """

    count: int
    mean: float
    std: float  # of the population: the scale of the scores
    p99: float  # 99th percentile

    @classmethod
    def of(cls, scores: Sequence[float]) -> HeldOutScores:
        return cls(
            count=len(scores),
            mean=float(np.mean(scores)),
            std=float(np.std(scores)),
            p99=float(np.quantile(scores, 0.99)),
        )
