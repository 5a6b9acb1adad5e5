"""Best-of-n from samples against enumeration of all subsets, and the laws of Gao et al. against curves made from them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from amenable.evals.overoptimisation import Fit, best_of_n, fit
from amenable.evals.statistics import seeds_interval
from amenable.objectives.best_of_n import best_of_n_reward


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_best_of_n_is_the_mean_over_all_subsets(n: int) -> None:
    rng = np.random.default_rng(n)
    proxy, gold = rng.normal(size=6), rng.normal(size=6)
    kept = [gold[max(subset, key=lambda i: proxy[i])] for subset in itertools.combinations(range(6), n)]
    assert best_of_n(proxy, gold, n) == pytest.approx(np.mean(kept))


def test_equal_proxies_share_as_if_drawn_by_lot() -> None:
    proxy, gold = [1.0, 2.0, 2.0, 0.0, 2.0], [0.3, 1.0, 5.0, 2.0, 0.0]
    orders = []
    for order in itertools.permutations(range(5)):  # a lot among equals: the last in a random order wins
        kept = [
            gold[max(subset, key=lambda i: (proxy[i], order.index(i)))]
            for subset in itertools.combinations(range(5), 2)
        ]
        orders.append(np.mean(kept))
    assert best_of_n(proxy, gold, 2) == pytest.approx(np.mean(orders))
    assert best_of_n(proxy[::-1], gold[::-1], 2) == pytest.approx(best_of_n(proxy, gold, 2))


def test_best_of_n_is_unbiased_for_the_exact_expectation() -> None:
    probs, rewards = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.0, 1.0, 3.0]).double()
    rng = np.random.default_rng(0)
    drawn = rng.choice(3, p=probs.numpy(), size=(4000, 8))
    found = [best_of_n(rewards.numpy()[row], rewards.numpy()[row], 4) for row in drawn]
    spread = np.std(found) / math.sqrt(len(found))
    assert np.mean(found) == pytest.approx(best_of_n_reward(probs, rewards, 4).item(), abs=4 * spread)


def test_more_than_there_are_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="best of 3"):
        best_of_n([1.0, 2.0], [1.0, 2.0], 3)


@pytest.mark.parametrize("law", ["bon", "rl"])
def test_a_law_finds_the_numbers_that_made_the_curve(law) -> None:
    made = Fit(law=law, alpha=1.3, beta=0.4, rms=0.0)
    places = [0.0, 0.5, 1.0, 2.0, 3.5]
    curve = [0.0, *(made.at(d) for d in places[1:])]
    found = fit(law, places, curve)
    assert found is not None
    assert (found.alpha, found.beta, found.rms) == pytest.approx((1.3, 0.4, 0.0), abs=1e-9)
    top = made.peak()
    assert top is not None
    assert made.at(top) > max(made.at(top * 0.9), made.at(top * 1.1))


def test_a_law_with_rising_gold_has_no_peak_and_one_point_is_no_curve() -> None:
    rising = fit("bon", [1.0, 2.0], [1.0, 5.0])
    assert rising is not None and rising.peak() is None
    assert fit("rl", [0.0, 1.0, 1.0], [0.0, 1.0, 1.2]) is None


def test_the_interval_over_seeds_is_students() -> None:
    values = [0.2, 0.5, 0.9]
    theirs = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    ours = seeds_interval(values)
    assert (ours.low, ours.high, ours.count) == pytest.approx((theirs.low, theirs.high, 3))
    with pytest.raises(ValueError, match="two"):
        seeds_interval([1.0])
