"""What a reward was paid for in KL: (KL, reward) points of runs and checkpoints, and which of them none
beats.

Gao et al. 2023 (arXiv:2210.10760) plot reward against the square root of the KL, where best-of-n and RL
curves come out nearly straight; `sqrt_kl` gives that axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from amenable.evals.statistics import Interval
from amenable.types import Record


class FrontierPoint(Record, frozen=True):
    """One checkpoint: KL to the reference in nats per response, and the reward (or win rate) that it
    reaches."""

    run: str
    kl: Interval
    reward: Interval
    step: int | None = None
    label: str = ""  # shown beside the point, e.g. "best of 4" or "beta 0.05"


def pareto(points: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """The points that no other matches in reward at the same or less KL, in order of KL.

    >>> def at(kl, reward): return FrontierPoint(run="r", kl=exact(kl), reward=exact(reward))
    >>> [p.kl.value for p in pareto([at(3, 0.9), at(1, 0.6), at(2, 0.5), at(0, 0.5)])]
    [0, 1, 3]
    """
    best, kept = -math.inf, []
    for point in sorted(points, key=lambda p: (p.kl.value, -p.reward.value)):
        if point.reward.value > best:
            best = point.reward.value
            kept.append(point)
    return tuple(kept)


def sqrt_kl(interval: Interval) -> Interval:
    """The KL on a square-root axis. Estimates below zero, which k1 can give by chance, stand at 0.

    >>> sqrt_kl(Interval(value=4.0, low=-0.1, high=9.0, count=5))
    Interval(value=2.0, low=0.0, high=3.0, count=5, level=0.95)
    """
    value, low, high = (math.sqrt(max(0.0, x)) for x in (interval.value, interval.low, interval.high))
    return interval.replace(value=value, low=low, high=high)


def exact(value: float) -> Interval:
    """A number known without error, such as the reference's KL to itself."""
    return Interval(value=value, low=value, high=value, count=1)


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n to the model that it samples from, an upper bound: log n - (n - 1) / n nats per
    response.

    Stiennon et al. 2020, appendix G.3; exact if no two samples tie (Beirami et al. 2024 show that it bounds
    from above).

    >>> round(best_of_n_kl(4), 4)
    0.6363
    """
    return math.log(n) - (n - 1) / n
