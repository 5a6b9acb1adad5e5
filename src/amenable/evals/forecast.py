"""What more comparisons would bring: a learning curve over training sets of growing size, and where it leads.

The method: the reward model is trained again on a half, a quarter, ... of its training prompts, every model is measured on
the same held-out comparisons, and a straight line of accuracy over log2(comparisons) is fitted by least squares, as the
data of Stiennon et al. 2020 (section 4.3: about one point per doubling) suggests. The slope is a weighted sum of what
each held-out pair was given, so its interval comes from resampling the held-out prompts. It does not say how much another
training seed would change the curve, and a line does not know of the ceiling that people's own disagreement sets.

Shape letters: S training sizes, N held-out pairs.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from amenable.errors import DataError
from amenable.evals.statistics import Interval, mean_interval, share_interval
from amenable.types import Record

Table = npt.NDArray[np.float64]
POINT = 0.01
FARTHEST = 2.0**20  # times the comparisons at hand: beyond, the line says nothing


class CurvePoint(Record, frozen=True):
    """Held-out accuracy after training on so many comparisons."""

    num_train: int
    accuracy: Interval


class Forecast(Record, frozen=True):
    """A learning curve and what follows from it.

    per_doubling   accuracy gained by doubling the comparisons (0.01 is one point)
    more, more_low, more_high   further comparisons for one more point; None: no finite number
    """

    points: tuple[CurvePoint, ...]
    per_doubling: Interval
    more: float | None
    more_low: float | None
    more_high: float | None

    def sentence(self) -> str:
        """What it says, in plain words, and no more than the interval shows."""
        last, slope = self.points[-1], self.per_doubling
        gain, low, high = (round(100 * x, 1) for x in (slope.value, slope.low, slope.high))
        curve = (
            f"Each doubling of the comparisons, up to the {last.num_train:,} at hand, brought {gain:+g} points of accuracy "
            f"(95 % interval {low:+g} to {high:+g})"
        )
        if last.accuracy.value > 1 - POINT:
            return f"{curve}; hardly a point is left to gain."
        if self.more is None or self.more_low is None:
            return f"{curve}: it is not shown that more of such comparisons would help."
        most = f"{self.more_high:,.0f}" if self.more_high is not None else "no bound above"
        return (
            f"{curve}: one more point would take about {self.more:,.0f} further ones ({self.more_low:,.0f} to {most})."
        )


def forecast(
    sizes: Sequence[int], right_SN: Sequence[Sequence[float]], *, clusters: Sequence[Hashable], seed: int = 0
) -> Forecast:
    """The learning curve of models trained on `sizes` comparisons.

    right_SN: for each size, 1.0 where the held-out pair was ordered right, 0.5 for a tie, else 0.0. clusters: the prompt
    of each pair. Raises DataError for fewer than two different sizes.

    >>> found = forecast([100, 200], [[1, 0, 0, 0], [1, 1, 0, 0]], clusters=["a", "b", "c", "d"])
    >>> found.per_doubling.value, round(found.more, 2)
    (0.25, 5.62)
    """
    order = np.argsort(sizes, kind="stable")
    right = np.asarray(right_SN, dtype=np.float64)[order]
    sizes = [int(sizes[i]) for i in order]
    if len(set(sizes)) < 2:
        raise DataError(
            "a learning curve needs two sizes of training data", where="forecast", mend="train on more comparisons"
        )
    # least squares on log2(size): the slope is a weighted sum of the accuracies, hence a mean over pairs
    x_S = np.log2(sizes) - np.mean(np.log2(sizes))
    slope_N = (x_S / (x_S @ x_S)) @ right
    slope = mean_interval(slope_N, clusters=clusters, seed=seed)
    more = [_further(sizes[-1], s) for s in (slope.value, slope.high, slope.low)]
    points = [
        CurvePoint(num_train=size, accuracy=share_interval(row, clusters=clusters, seed=seed))
        for size, row in zip(sizes, right, strict=True)
    ]
    return Forecast(points=tuple(points), per_doubling=slope, more=more[0], more_low=more[1], more_high=more[2])


def _further(size: int, slope: float) -> float | None:
    """Comparisons beyond `size` at which the line stands a point higher."""
    doublings = POINT / slope if slope > 0 else math.inf
    return size * (2.0**doublings - 1) if doublings < math.log2(FARTHEST) else None
