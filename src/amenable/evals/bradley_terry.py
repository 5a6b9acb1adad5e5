"""How strong models are by who beat whom (Bradley & Terry 1952), with intervals.

P(i beats j) = 1 / (1 + exp(b_j - b_i)); a tie counts half for each. Fitted by Newton's method on the log-likelihood with a
weak normal prior around the mean (standard deviation PRIOR), so that a model that won or lost everything has a finite
strength. Intervals are the normal ones of the fit, from the inverse of its curvature. Shown on Elo's scale: 400 points
are odds of ten to one, and the mean of all models is 1000.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from amenable.types import Record

PRIOR = 3.0  # nats: odds of twenty to one are one deviation off
SCALE = 400 / math.log(10)
MEAN = 1000.0
Z = 1.959964  # of a 95 % interval


class Strength(Record, frozen=True):
    """One model's place on the board."""

    model: str
    rating: float
    low: float
    high: float
    battles: int
    wins: int
    ties: int
    losses: int


def board(battles: Iterable[tuple[str, str, float]]) -> list[Strength]:
    """Strengths, best first, of (a, b, a's share: 1 won, 0.5 tied, 0 lost).

    >>> [(s.model, round(s.rating)) for s in board([("x", "y", 1.0)] * 30 + [("x", "y", 0.0)] * 10)]
    [('x', 1093), ('y', 907)]
    """
    rows = [row for row in battles if row[0] != row[1]]
    names = sorted({name for a, b, _ in rows for name in (a, b)})
    if not names:
        return []
    place = {name: i for i, name in enumerate(names)}
    first = np.array([place[a] for a, _, _ in rows])
    second = np.array([place[b] for _, b, _ in rows])
    share = np.array([s for _, _, s in rows])
    strengths, covariance = fit(first, second, share, len(names))
    deviation = np.sqrt(np.diag(covariance))
    out = []
    for name, i in place.items():
        own = np.concatenate([share[first == i], 1 - share[second == i]])
        rating, half = MEAN + SCALE * strengths[i], Z * SCALE * deviation[i]
        out.append(
            Strength(
                model=name,
                rating=float(rating),
                low=float(rating - half),
                high=float(rating + half),
                battles=len(own),
                wins=int((own == 1).sum()),
                ties=int((own == 0.5).sum()),
                losses=int((own == 0).sum()),
            )
        )
    return sorted(out, key=lambda s: (-s.rating, s.model))


def fit(first: np.ndarray, second: np.ndarray, share: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """(strengths in nats with mean 0, their covariance) of `num` models."""
    strengths = np.zeros(num)
    for _ in range(100):
        expected = 1 / (1 + np.exp(strengths[second] - strengths[first]))
        slope = -strengths / PRIOR**2
        np.add.at(slope, first, share - expected)
        np.add.at(slope, second, expected - share)
        step = np.linalg.solve(_curvature(first, second, expected, num), slope)
        strengths = strengths + step
        if np.abs(step).max() < 1e-10:
            break
    expected = 1 / (1 + np.exp(strengths[second] - strengths[first]))
    centre = np.eye(num) - 1 / num  # what is known is how models stand to each other, not where all of them stand
    covariance = centre @ np.linalg.inv(_curvature(first, second, expected, num)) @ centre
    return strengths - strengths.mean(), covariance


def _curvature(first: np.ndarray, second: np.ndarray, expected: np.ndarray, num: int) -> np.ndarray:
    weight = expected * (1 - expected)
    out = np.eye(num) / PRIOR**2
    np.add.at(out, (first, first), weight)
    np.add.at(out, (second, second), weight)
    np.add.at(out, (first, second), -weight)
    np.add.at(out, (second, first), -weight)
    return out
