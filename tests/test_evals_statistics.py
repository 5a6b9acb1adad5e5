"""Statistics against hand-made numbers, scipy and scikit-learn, and by simulation of their coverage."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve as sklearn_curve

from amenable.evals import statistics as ours
from amenable.evals.statistics import Interval


def test_mean_interval_agrees_with_scipy_bootstrap():
    x = np.random.default_rng(1).exponential(size=150)
    mine = ours.mean_interval(x, seed=3)
    theirs = stats.bootstrap((x,), np.mean, method="percentile", n_resamples=10_000, rng=4).confidence_interval
    # Two Monte Carlo runs of 10,000: the ends differ by a few hundredths of the standard error (0.08).
    assert mine.value == pytest.approx(x.mean())
    assert mine.low == pytest.approx(theirs.low, abs=0.01)
    assert mine.high == pytest.approx(theirs.high, abs=0.01)


def test_same_seed_gives_the_same_interval_and_another_seed_another():
    x = np.random.default_rng(0).normal(size=50)
    assert ours.mean_interval(x, seed=7) == ours.mean_interval(x, seed=7)
    assert ours.mean_interval(x, seed=7) != ours.mean_interval(x, seed=8)


def test_chunks_of_random_numbers_do_not_lose_resamples(monkeypatch):
    monkeypatch.setattr(ours, "_CHUNK", 1000)
    assert sum(ours._chunks(10_000, 77)) == 10_000


def test_clusters_widen_the_interval_by_the_design_effect():
    rng = np.random.default_rng(5)
    x = np.repeat(rng.normal(size=60), 4)  # four identical rows a prompt: no more information than one
    clusters = [i // 4 for i in range(240)]
    naive, honest = ours.mean_interval(x, seed=1), ours.mean_interval(x, clusters=clusters, seed=1)
    assert honest.count == 60
    # Width grows by sqrt(4) = 2, within the noise of 10,000 resamples.
    assert (honest.high - honest.low) / (naive.high - naive.low) == pytest.approx(2.0, rel=0.05)


def _coverage(draw, truth, interval, runs=400):
    rng = np.random.default_rng(11)
    hits = sum(interval(*draw(rng), seed).covers(truth) for seed in range(runs))
    return hits / runs


def test_coverage_of_win_rates_with_ties():
    def draw(rng):
        return (rng.choice([0.0, 0.5, 1.0], p=[0.3, 0.1, 0.6], size=200),)

    covered = _coverage(draw, 0.65, lambda x, s: ours.share_interval(x, seed=s, num_resamples=1000))
    # 95 % nominal; 400 simulations have a standard error of 1.1 points, taken three times.
    assert 0.917 <= covered <= 0.983


def test_coverage_of_clustered_means():
    clusters = [i // 3 for i in range(240)]

    def draw(rng):
        return (np.repeat(rng.normal(size=80), 3) + 0.3 * rng.normal(size=240),)

    def interval(x, seed):
        return ours.mean_interval(x, clusters=clusters, seed=seed, num_resamples=1000)

    assert 0.91 <= _coverage(draw, 0.0, interval) <= 0.983
    naive = _coverage(draw, 0.0, lambda x, s: ours.mean_interval(x, seed=s, num_resamples=1000))
    assert naive < 0.85  # what would be claimed if prompts were not resampled together


def test_paired_test_keeps_its_level_under_the_null():
    rng = np.random.default_rng(2)
    p = [ours.paired_test(rng.normal(size=40), seed=i, num_permutations=400) for i in range(300)]
    assert np.mean(np.asarray(p) < 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_wilson_against_scipy():
    for k, n in [(0, 10), (3, 17), (200, 200), (61, 100)]:
        theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
        mine = ours.wilson(k, n)
        assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_share_of_unanimous_rows_is_not_certain():
    share = ours.share_interval([1.0] * 100, seed=0)
    assert share.value == share.high == 1.0
    assert share.low == pytest.approx(0.9630, abs=1e-4)  # 100 / (100 + 1.96²)
    assert ours.share_interval([0.5] * 10, seed=0).covers(0.4)
    one_prompt = ours.share_interval([1.0, 0.0], clusters=["p", "p"], seed=0)
    assert one_prompt.high - one_prompt.low > 0.8
    each_half = ours.share_interval([1.0, 0.0] * 4, clusters=[p for p in "abcd" for _ in range(2)], seed=0)
    assert (each_half.low, each_half.high) == pytest.approx((0.1500, 0.8500), abs=1e-4)  # Wilson of 2 of 4
    uneven = ours.share_interval([1.0, 0.0, 1.0, 1.0, 0.0, 0.0], clusters=list("aabbbb"), seed=0)
    assert uneven.low < 0.2 and uneven.high > 0.8


def test_sign_test_against_scipy_and_by_hand():
    assert ours.sign_test(5, 0) == pytest.approx(2 / 32)
    for wins, losses in [(8, 2), (60, 40), (1000, 1080), (7, 7), (15_000, 14_500)]:
        theirs = stats.binomtest(wins, wins + losses).pvalue
        assert ours.sign_test(wins, losses) == pytest.approx(theirs, rel=1e-8)


def test_paired_test_against_scipy_permutation():
    x = np.array([0.3, -0.1, 0.7, 0.2, 0.9, -0.4, 0.55, 0.25])

    def mean(sample, axis):
        return np.mean(sample, axis=axis)

    exact = stats.permutation_test((x,), mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert ours.paired_test(x) == pytest.approx(exact)
    many = np.random.default_rng(3).normal(0.2, 1, size=60)
    drawn = stats.permutation_test((many,), mean, permutation_type="samples", n_resamples=10_000, rng=1).pvalue
    assert ours.paired_test(many, seed=5) == pytest.approx(drawn, abs=0.02)  # two draws of 10,000


def test_paired_test_flips_whole_clusters():
    x = [1.0] * 10
    assert ours.paired_test(x) == pytest.approx(2 / 1024)
    assert ours.paired_test(x, clusters=[0] * 5 + [1] * 5) == 0.5  # two prompts: 2 of 4 sign patterns
    assert ours.paired_test([0.0, 0.0]) == 1.0


def test_calibration_against_sklearn_and_by_hand():
    rng = np.random.default_rng(9)
    p = rng.random(500)
    y = (rng.random(500) < p).astype(float)
    true, predicted = sklearn_curve(y, p, n_bins=10)
    bins = ours.calibration_curve(p, y)
    assert [b.accuracy for b in bins] == pytest.approx(true)
    assert [b.confidence for b in bins] == pytest.approx(predicted)
    assert sum(b.count for b in bins) == 500
    # bins of 0.5: {0.1, 0.3} mean 0.2 against 0.5, {0.9} against 1: (2 * 0.3 + 0.1) / 3
    assert ours.expected_calibration_error([0.1, 0.3, 0.9], [1, 0, 1], num_bins=2) == pytest.approx(0.7 / 3)
    assert ours.calibration_curve([1.0], [1.0])[0].high == 1.0


def test_correlations_against_scipy():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 6, size=80).astype(float)
    y = x + rng.integers(0, 6, size=80)
    assert ours.pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert ours.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert ours.kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)
    assert math.isnan(ours.spearman([1, 1], [1, 2])) and math.isnan(ours.kendall([1, 1], [1, 2]))


def test_a_constant_column_correlates_with_nothing_whatever_its_number():
    """The mean of several 0.1 is not 0.1: what rounding leaves is no spread."""
    for constant in (0.1, 0.7, 1e-300, 1e300):
        assert math.isnan(ours.pearson([constant] * 3, [1, 2, 4])) and math.isnan(
            ours.pearson([constant] * 7, [0.1] * 7)
        )
    assert ours.pearson([1e-200, 2e-200, 0], [1e200, 2e200, 0]) == pytest.approx(1)


def test_columns_of_unequal_length_are_refused():
    for f in (ours.pearson, ours.spearman, ours.kendall, ours.mcnemar, ours.calibration_curve):
        with pytest.raises(ValueError, match="2 numbers beside 1"):
            f([1.0, 0.0], [1.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        ours.calibration_curve([1.5], [1.0])


def test_bootstrap_of_any_statistic_keeps_pairs_and_clusters():
    rng = np.random.default_rng(6)
    x = rng.normal(size=100)
    y = x + rng.normal(size=100)
    mine = ours.bootstrap(lambda rows: ours.pearson(x[rows], y[rows]), 100, seed=1, num_resamples=2000)
    theirs = stats.bootstrap(
        (x, y), lambda a, b: stats.pearsonr(a, b).statistic, paired=True, vectorized=False,
        method="percentile", n_resamples=2000, rng=1,
    ).confidence_interval  # fmt: skip
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    whole = ours.bootstrap(lambda rows: float(len(rows)), 4, clusters=["a", "a", "b", "b"], num_resamples=50)
    assert (whole.low, whole.high) == (4.0, 4.0)


def test_sentence_claims_nothing_unless_interval_and_test_agree():
    wide = Interval(value=0.6, low=0.49, high=0.71, count=80)
    assert ours.sentence("A", "B", wide, 0.01).startswith("No difference shown")
    narrow = Interval(value=0.57, low=0.504, high=0.64, count=190)
    assert ours.sentence("A", "B", narrow, 0.06).startswith("No difference shown")
    claimed = ours.sentence("A", "B", narrow, 0.04)
    assert claimed == "A is preferred to B on 57 % of 190 prompts (95 % interval 50.4-64; paired test p = 0.040)."
    touching = Interval(value=0.6, low=0.5, high=0.7, count=80)
    assert ours.sentence("A", "B", touching, 0.01).startswith("No difference shown")


def test_bad_columns_are_refused():
    for bad in ([], [math.nan], [[1.0]]):
        with pytest.raises(ValueError):
            ours.mean_interval(bad)
    with pytest.raises(ValueError):
        ours.mean_interval([1.0, 2.0], clusters=["a"])
    with pytest.raises(ValueError):
        ours.share_interval([1.5])
