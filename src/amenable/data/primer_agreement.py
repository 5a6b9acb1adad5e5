"""How well the simulated labeler agrees with the primer's own ratings, for the check, its test and the data card.

The labeler sees a response and what the prompt brings in its meta; no reference, no id, no other response.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amenable.data.primer import CLUSTERS, Options, primer_records
from amenable.feedback.simulated import SimulatedLabeler
from amenable.types import Rating, Record, Scored


class Agreement(Record, frozen=True):
    """Spearman's rank correlation of ratings and qualities: over all responses, by part, by cluster.

    by_part: the two sides of the split, and `unseen`, the quarter of the prompts whose disagreements nobody looked at while
    the labeler's rules were changed.
    """

    num_responses: int
    overall: float
    by_part: dict[str, float]
    by_cluster: dict[str, float]


def agreement() -> Agreement:
    """Of the labeler without noise; the held-out clusters are split like the others, so that each side has all."""
    ratings = [r for r in primer_records("ratings", Options(held_out="train")) if isinstance(r, Rating)]
    labeler = SimulatedLabeler(noise=0.0)
    qualities = [labeler.quality(Scored(prompt=r.prompt, response=r.response, meta=r.meta)) for r in ratings]

    def over(chosen: Sequence[bool]) -> float:
        pairs = [(r.score, q) for r, q, taken in zip(ratings, qualities, chosen, strict=True) if taken]
        return spearman(*zip(*pairs, strict=True)) if pairs else float("nan")

    parts = {
        "train": [r.split == "train" for r in ratings],
        "held out": [r.split != "train" for r in ratings],
        "unseen": [_unseen(r.id.partition("/")[0]) for r in ratings],
    }
    return Agreement(
        num_responses=len(ratings),
        overall=over([True] * len(ratings)),
        by_part={name: over(chosen) for name, chosen in parts.items()},
        by_cluster={name: over([r.meta["task"] == name for r in ratings]) for name in CLUSTERS},
    )


def _unseen(ranking: str) -> bool:
    return int(hashlib.md5(ranking.encode()).hexdigest(), 16) % 4 == 0


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, ties at their mean rank.

    >>> round(spearman([1, 2, 2, 7], [0.1, 0.4, 0.3, 0.9]), 4), round(spearman([1, 2], [2, 1]), 4)
    (0.9487, -1.0)
    """
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, places, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])
