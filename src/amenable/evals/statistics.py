"""Intervals, paired tests and plain sentences: what makes a comparison honest.

Every estimate is an Interval (value, low, high, number of independent units). Responses to the same prompt
are not independent, so wherever a prompt may occur more than once its rows are resampled together
(`clusters`). Intervals are percentile bootstraps (Efron and Tibshirani 1993, chapter 13), except where all
clusters agree and the bootstrap would claim certainty: there Wilson's score interval (1927) stands in. Randomness
comes from an explicit seed. Only numpy.

Shape letters: N rows, C clusters, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from amenable.types import Record

Numbers = Sequence[float] | npt.NDArray[Any]
_CHUNK = 4_000_000  # random indices held at once


class Interval(Record, frozen=True):
    """An estimate with its interval.

    value, low, high are in the unit of what was measured; count is the number of independent units (prompts,
    where clusters were given), not of rows.

    >>> Interval(value=0.61, low=0.54, high=0.68, count=200).covers(0.5)
    False
    """

    value: float
    low: float
    high: float
    count: int
    level: float = 0.95

    def covers(self, point: float) -> bool:
        """True if `point` lies in the interval, its ends included."""
        return self.low <= point <= self.high


class CalibrationBin(Record, frozen=True):
    """Predictions with a confidence in [low, high): how sure they were, how often right, how many."""

    low: float
    high: float
    confidence: float  # mean predicted probability
    accuracy: float  # share that came true
    count: int


def mean_interval(
    values: Numbers,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Mean of `values` with a percentile bootstrap interval, resampled by cluster where clusters are given.

    For a paired comparison hand in the differences. With clusters the mean is that of all rows, not of
    cluster means.

    >>> mean_interval([2.0, 2.0], clusters=["p1", "p1"])
    Interval(value=2.0, low=2.0, high=2.0, count=1, level=0.95)
    """
    values_N = _column(values)
    sums_C, sizes_C = _cluster_sums(values_N, clusters)
    rng = np.random.default_rng(seed)
    num_clusters = len(sums_C)
    means = []
    for size in _chunks(num_resamples, num_clusters):
        drawn_RC = rng.integers(num_clusters, size=(size, num_clusters))
        means.append(sums_C[drawn_RC].sum(1) / sizes_C[drawn_RC].sum(1))
    low, high = _percentiles(np.concatenate(means), level)
    return Interval(value=float(values_N.mean()), low=low, high=high, count=num_clusters, level=level)


def share_interval(
    values: Numbers,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Mean of values in [0, 1] (accuracy, win rate with ties half) with its interval.

    The bootstrap over clusters; Wilson's interval over the clusters when every cluster has the same mean, since
    resampling equal clusters would give an interval of no width.

    >>> won = share_interval([1.0] * 20)
    >>> (won.value, round(won.low, 3), won.high)
    (1.0, 0.839, 1.0)
    """
    values_N = _column(values)
    if values_N.min() < 0 or values_N.max() > 1:
        raise ValueError("shares lie between 0 and 1")
    found = mean_interval(values_N, clusters=clusters, seed=seed, num_resamples=num_resamples, level=level)
    sums_C, sizes_C = _cluster_sums(values_N, clusters)
    if np.ptp(sums_C / sizes_C) > 1e-12:
        return found
    return wilson(found.value * found.count, found.count, level=level)


def bootstrap(
    statistic: Callable[[npt.NDArray[np.int64]], float],
    num_rows: int,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Any statistic with its percentile interval: `statistic(row_indices)` is called once per resample.

    Resamples on which the statistic is not a number (a correlation of constant columns) are left out of the
    interval. Paired columns stay paired, since whole rows are drawn.

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> bootstrap(lambda rows: float(np.median(x[rows])), 4).value
    2.5
    """
    groups = _cluster_rows(num_rows, clusters)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num_resamples):
        drawn = rng.integers(len(groups), size=len(groups))
        found.append(statistic(np.concatenate([groups[i] for i in drawn])))
    finite = np.asarray([x for x in found if math.isfinite(x)])
    value = float(statistic(np.arange(num_rows)))
    low, high = _percentiles(finite, level) if len(finite) else (math.nan, math.nan)
    return Interval(value=value, low=low, high=high, count=len(groups), level=level)


def wilson(successes: float, count: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a binomial share. `successes` may be fractional (ties count half).

    >>> w = wilson(8, 10)
    >>> (w.value, round(w.low, 4), round(w.high, 4))
    (0.8, 0.4902, 0.9433)
    """
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count} make no share")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / count
    scale = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    # Rounding must not push the estimate out of its own interval.
    return Interval(value=share, low=min(low, share), high=max(high, share), count=count, level=level)


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided sign test (binomial with 1/2) of wins against losses; ties have been left out.

    On the discordant pairs of two classifiers this is McNemar's exact test.

    >>> round(sign_test(8, 2), 6)
    0.109375
    >>> sign_test(0, 0)
    1.0
    """
    count, smaller = wins + losses, min(wins, losses)
    if count == 0:
        return 1.0
    i = np.arange(smaller, dtype=np.float64)
    log_terms = np.concatenate([[0.0], np.cumsum(np.log((count - i) / (i + 1)))]) - count * math.log(2)
    return min(1.0, 2.0 * float(np.exp(log_terms).sum()))


def mcnemar(correct_a: Numbers, correct_b: Numbers) -> float:
    """McNemar's exact test: is A right more often than B on the same rows? Two-sided p value.

    >>> round(mcnemar([1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0]), 9)
    0.03125
    """
    a_N, b_N = paired_columns(correct_a, correct_b)
    differences_N = a_N - b_N
    return sign_test(int((differences_N > 0).sum()), int((differences_N < 0).sum()))


def paired_test(
    differences: Numbers,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_permutations: int = 10_000,
) -> float:
    """Two-sided p value of "the mean difference is zero": a sign-flip permutation test by cluster.

    Each cluster's sum of differences keeps or flips its sign with probability 1/2. Where all non-zero sums
    are of equal size this is the exact sign test; with at most 14 of them all flips are enumerated;
    otherwise flips are drawn and the observed one counted among them, so p is never 0 (Phipson and Smyth
    2010).

    >>> paired_test([0.5, 0.5, 0.5, 0.5, 0.0])  # 4 wins, one tie
    0.125
    >>> paired_test([1.0, 2.0, 3.0])  # 2 of the 8 sign patterns are as far out
    0.25
    """
    sums_C, _ = _cluster_sums(_column(differences), clusters)
    sums_C = sums_C[np.abs(sums_C) > 1e-12]
    count = len(sums_C)
    if count == 0:
        return 1.0
    sizes_C = np.abs(sums_C)
    if np.ptp(sizes_C) <= 1e-12 * sizes_C.max():
        return sign_test(int((sums_C > 0).sum()), int((sums_C < 0).sum()))
    far = abs(float(sums_C.sum())) - 1e-9 * float(sizes_C.sum())
    if count <= 14:
        signs_RC = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float((np.abs(signs_RC @ sums_C) >= far).mean())
    rng, hits = np.random.default_rng(seed), 0
    for size in _chunks(num_permutations, count):
        signs_RC = 1 - 2 * rng.integers(2, size=(size, count), dtype=np.int8)
        hits += int((np.abs(signs_RC @ sums_C) >= far).sum())
    return (hits + 1) / (num_permutations + 1)


def calibration_curve(
    probabilities: Numbers, outcomes: Numbers, *, num_bins: int = 10, low: float = 0.0
) -> tuple[CalibrationBin, ...]:
    """Predicted probabilities against what happened, in equal bins of [low, 1]; empty bins are left out.

    >>> bins = calibration_curve([0.25, 0.25, 0.75], [0, 1, 1], num_bins=2)
    >>> [(b.confidence, b.accuracy, b.count) for b in bins]
    [(0.25, 0.5, 2), (0.75, 1.0, 1)]
    """
    p_N, y_N = paired_columns(probabilities, outcomes)
    if p_N.min() < 0 or p_N.max() > 1:
        raise ValueError("probabilities lie between 0 and 1")
    edges = np.linspace(low, 1.0, num_bins + 1)
    bin_N = np.clip(np.searchsorted(edges, p_N, side="right") - 1, 0, num_bins - 1)
    bins = []
    for b in np.unique(bin_N):
        inside = bin_N == b
        bins.append(
            CalibrationBin(
                low=float(edges[b]),
                high=float(edges[b + 1]),
                confidence=float(p_N[inside].mean()),
                accuracy=float(y_N[inside].mean()),
                count=int(inside.sum()),
            )
        )
    return tuple(bins)


def expected_calibration_error(
    probabilities: Numbers, outcomes: Numbers, *, num_bins: int = 10, low: float = 0.0
) -> float:
    """Mean distance of confidence and accuracy over bins, weighted by their counts (Guo et al. 2017, eq. 3).

    >>> expected_calibration_error([0.25, 0.25, 0.75, 0.75], [0, 1, 1, 1], num_bins=2)
    0.25
    """
    bins = calibration_curve(probabilities, outcomes, num_bins=num_bins, low=low)
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / total


def pearson(x: Numbers, y: Numbers) -> float:
    """Linear correlation; nan if one column is constant.

    >>> pearson([1, 2, 3], [2, 4, 6])
    1.0
    """
    x_N, y_N = paired_columns(x, y)
    if not np.ptp(x_N) or not np.ptp(y_N):  # a mean may differ from equal numbers by rounding
        return math.nan
    x_N, y_N = (column_N / np.abs(column_N).max() for column_N in (x_N - x_N.mean(), y_N - y_N.mean()))
    return max(-1.0, min(1.0, float(x_N @ y_N) / math.sqrt(float(x_N @ x_N) * float(y_N @ y_N))))


def spearman(x: Numbers, y: Numbers) -> float:
    """Rank correlation, ties given their mean rank; nan if one column is constant.

    >>> spearman([1, 2, 3, 4], [1, 10, 100, 50])
    0.8
    """
    return pearson(ranks(x), ranks(y))


def kendall(x: Numbers, y: Numbers) -> float:
    """Kendall's tau-b (ties corrected for); nan if one column is constant. Time grows with N squared.

    >>> round(kendall([1, 2, 3, 4], [1, 2, 4, 3]), 6)
    0.666667
    """
    x_N, y_N = paired_columns(x, y)
    agree, pairs_x, pairs_y = 0.0, 0, 0
    for i in range(len(x_N) - 1):
        dx, dy = np.sign(x_N[i + 1 :] - x_N[i]), np.sign(y_N[i + 1 :] - y_N[i])
        agree += float(dx @ dy)
        pairs_x += int(np.count_nonzero(dx))
        pairs_y += int(np.count_nonzero(dy))
    return agree / math.sqrt(pairs_x * pairs_y) if pairs_x and pairs_y else math.nan


def ranks(values: Numbers) -> npt.NDArray[np.float64]:
    """Ranks from 1, ties given their mean.

    >>> ranks([10.0, 30.0, 10.0]).tolist()
    [1.5, 3.0, 1.5]
    """
    values_N = _column(values)
    _, inverse_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse_N]


def sentence(a: str, b: str, win_rate: Interval, p_value: float, *, unit: str = "prompts") -> str:
    """One plain sentence about A against B. It names a winner only if the interval leaves out 50 % and p <
    0.05.

    >>> sentence("PPO", "SFT", Interval(value=0.61, low=0.54, high=0.68, count=200), 0.003)
    'PPO is preferred to SFT on 61 % of 200 prompts (95 % interval 54-68; paired test p = 0.003).'
    >>> sentence("PPO", "SFT", Interval(value=0.52, low=0.45, high=0.59, count=200), 0.62)
    'No difference shown: PPO is preferred to SFT on 52 % of 200 prompts
    (95 % interval 45-59; paired test p = 0.62).'
    >>> sentence("base", "SFT", Interval(value=0.08, low=0.05, high=0.12, count=200), 1e-9)
    'SFT is preferred to base on 92 % of 200 prompts (95 % interval 88-95; paired test p < 0.001).'
    """
    decided = not win_rate.covers(0.5) and p_value < 0.05 and not math.isnan(win_rate.value)
    if decided and win_rate.value < 0.5:
        a, b = b, a
        win_rate = win_rate.replace(value=1 - win_rate.value, low=1 - win_rate.high, high=1 - win_rate.low)
    claim = f"{a} is preferred to {b} on {_percent(win_rate.value)} % of {win_rate.count} {unit}"
    level = f"{100 * win_rate.level:g}"
    proof = f"{level} % interval {_percent(win_rate.low)}-{_percent(win_rate.high)}; {p_text(p_value)}"
    return f"{claim} ({proof})." if decided else f"No difference shown: {claim} ({proof})."


def p_text(p_value: float) -> str:
    """A p value as people read it.

    >>> (p_text(0.0312), p_text(0.00312), p_text(1e-5), p_text(0.999))
    ('paired test p = 0.031', 'paired test p = 0.003', 'paired test p < 0.001', 'paired test p = 1.00')
    """
    if p_value < 0.001:
        return "paired test p < 0.001"
    return f"paired test p = {p_value:.3f}" if p_value < 0.1 else f"paired test p = {p_value:.2f}"


def _percent(share: float) -> str:
    """Whole percent; with decimals where rounding would hide on which side of 50 the number lies."""
    for digits in (0, 1, 2):
        text = f"{100 * share:.{digits}f}"
        if float(text) != 50 or share == 0.5:
            return text
    return text


def _column(values: Numbers) -> npt.NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or len(column) == 0:
        raise ValueError(f"one row of numbers is needed, not the shape {column.shape}")
    if not np.isfinite(column).all():
        raise ValueError("a number is missing or not finite")
    return column


def paired_columns(x: Numbers, y: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Two columns as arrays. Raises ValueError if they are not of the same length, or hold what is no number."""
    x_N, y_N = _column(x), _column(y)
    if len(x_N) != len(y_N):
        raise ValueError(f"{len(x_N)} numbers beside {len(y_N)}")
    return x_N, y_N


def _cluster_ids(num_rows: int, clusters: Sequence[Hashable] | None) -> npt.NDArray[np.int64]:
    if clusters is None:
        return np.arange(num_rows)
    if len(clusters) != num_rows:
        raise ValueError(f"{len(clusters)} clusters for {num_rows} rows")
    number: dict[Hashable, int] = {}
    return np.asarray([number.setdefault(name, len(number)) for name in clusters])


def _cluster_sums(
    values_N: npt.NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    ids_N = _cluster_ids(len(values_N), clusters)
    sums_C = np.bincount(ids_N, weights=values_N).astype(np.float64)
    return sums_C, np.bincount(ids_N).astype(np.float64)


def _cluster_rows(num_rows: int, clusters: Sequence[Hashable] | None) -> list[npt.NDArray[np.int64]]:
    ids_N = _cluster_ids(num_rows, clusters)
    order = np.argsort(ids_N, kind="stable")
    return np.split(order, np.cumsum(np.bincount(ids_N))[:-1])


def _chunks(total: int, width: int) -> list[int]:
    step = max(1, _CHUNK // max(1, width))
    return [min(step, total - start) for start in range(0, total, step)]


def _percentiles(values: npt.NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def seeds_interval(values: Numbers, *, level: float = 0.95) -> Interval:
    """Mean over repetitions with other seeds, and Student's t interval: with three, a bootstrap would be far too sure.

    Raises ValueError for one repetition, which says nothing of its spread.

    >>> found = seeds_interval([1.0, 2.0, 3.0])
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (2.0, -0.484, 4.484)
    """
    from scipy.stats import t

    values_N = _column(values)
    count, mean = len(values_N), float(values_N.mean())
    if count < 2:
        raise ValueError("an interval over seeds takes two at least")
    half = float(t.ppf(0.5 + level / 2, count - 1)) * float(values_N.std(ddof=1)) / math.sqrt(count)
    return Interval(value=mean, low=mean - half, high=mean + half, count=count, level=level)
