"""How a gold reward moves while a proxy is optimised: best-of-n from samples, and the laws of Gao et al. 2022.

Gao et al. 2022 (arXiv:2210.10760): with d = sqrt(KL) and R the gold reward less its value at d = 0,
best-of-n follows R = d (alpha - beta d) and reinforcement learning R = d (alpha - beta ln d). Only numpy.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from amenable.evals.statistics import Numbers
from amenable.types import Record

Law = Literal["bon", "rl"]


class Fit(Record, frozen=True):
    """A fitted law; rms is the root mean square of what it leaves over.

    >>> fit = Fit(law="bon", alpha=2.0, beta=0.5, rms=0.0)
    >>> fit.at(1.0), fit.peak()
    (1.5, 2.0)
    """

    law: Law
    alpha: float
    beta: float
    rms: float

    def at(self, distance: float) -> float:
        """The gold reward at d = sqrt(KL)."""
        return distance * (self.alpha - self.beta * _shape(self.law, distance))

    def peak(self) -> float | None:
        """The d of the highest gold reward; None if the law never falls (beta not above 0)."""
        if self.beta <= 0:
            return None
        if self.law == "bon":
            return self.alpha / (2 * self.beta)
        exponent = self.alpha / self.beta - 1
        return math.exp(exponent) if exponent < 50 else None


def fit(law: Law, distances: Numbers, gains: Numbers) -> Fit | None:
    """Least squares of a law's alpha and beta to (sqrt(KL), gold reward less its start); points at d = 0 say nothing.

    None for fewer than two distances above 0, through which no law of two numbers can be laid.

    >>> found = fit("bon", [1.0, 2.0, 3.0], [1.5, 2.0, 1.5])
    >>> round(found.alpha, 6), round(found.beta, 6)
    (2.0, 0.5)
    """
    d_N, gains_N = np.asarray(distances, dtype=np.float64), np.asarray(gains, dtype=np.float64)
    d_N, gains_N = d_N[d_N > 0], gains_N[d_N > 0]
    if len(np.unique(d_N)) < 2:
        return None
    columns_N2 = np.stack([d_N, [-d * _shape(law, d) for d in d_N]], axis=1)
    (alpha, beta), *_ = np.linalg.lstsq(columns_N2, gains_N, rcond=None)
    left_N = gains_N - columns_N2 @ np.array([alpha, beta])
    return Fit(law=law, alpha=float(alpha), beta=float(beta), rms=float(np.sqrt((left_N**2).mean())))


def best_of_n(proxy: Numbers, figure: Numbers, n: int) -> float:
    """The expected figure (gold or proxy) of the response that best-of-n by proxy keeps, from N ≥ n samples; unbiased.

    The mean over all subsets of n samples, in closed form (Nakano et al. 2021, appendix I): the i-th by proxy is the best of
    C(i-1, n-1) of the C(N, n) subsets. Samples of equal proxy share their weights, as if the tie were drawn by lot.

    >>> best_of_n([0.1, 0.2, 0.3], [1.0, 5.0, 3.0], 2)  # subsets keep 5, 3, 3
    3.6666666666666665
    """
    proxy_N, figure_N = np.asarray(proxy, dtype=np.float64), np.asarray(figure, dtype=np.float64)
    count = len(proxy_N)
    if not 1 <= n <= count:
        raise ValueError(f"best of {n} cannot be had from {count} samples")
    weight_N = np.array([math.comb(i, n - 1) / math.comb(count, n) for i in range(count)])
    order_N = np.argsort(proxy_N, kind="stable")
    _, level_N, size_L = np.unique(proxy_N[order_N], return_inverse=True, return_counts=True)
    shared_L = np.bincount(level_N, weights=weight_N) / size_L
    return float((shared_L[level_N] * figure_N[order_N]).sum())


def _shape(law: Law, distance: float) -> float:
    return distance if law == "bon" else math.log(distance)
