"""Best-of-n: by hand, by enumeration of all n-tuples, and by simulation."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.stats import entropy as scipy_kl
from torch import Tensor

from amenable.objectives.best_of_n import (
    best_of_n_distribution,
    best_of_n_kl,
    best_of_n_kl_bound,
    best_of_n_reward,
)

PROBS = torch.tensor([0.1, 0.4, 0.2, 0.3, 0.0], dtype=torch.float64)
REWARDS = torch.tensor([2.0, -1.0, 2.0, 0.5, 9.0], dtype=torch.float64)  # a tie, and a best that never comes


def enumerate_all(n: int) -> Tensor:
    out = torch.zeros_like(PROBS)
    for draw in itertools.product(range(len(PROBS)), repeat=n):
        kept = max(draw, key=lambda k: REWARDS[k].item())  # the first of equals
        out[kept] += math.prod(PROBS[k].item() for k in draw)
    return out


def test_by_hand() -> None:
    coin, reward = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    assert best_of_n_distribution(coin, reward, 3).tolist() == [0.875, 0.125]
    assert best_of_n_reward(coin, reward, 3).item() == 0.875
    assert best_of_n_kl(coin, reward, 2).item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert best_of_n_kl_bound(4) == pytest.approx(math.log(4) - 0.75)


def test_of_no_outcomes_there_is_none() -> None:
    assert best_of_n_distribution(torch.zeros(0), torch.zeros(0), 2).tolist() == []


@pytest.mark.parametrize("n", [1, 2, 4])
def test_against_enumeration(n: int) -> None:
    wanted = enumerate_all(n)
    got = best_of_n_distribution(PROBS, REWARDS, n)
    torch.testing.assert_close(got, wanted)
    assert best_of_n_reward(PROBS, REWARDS, n).item() == pytest.approx((wanted * REWARDS).sum().item())
    assert best_of_n_kl(PROBS, REWARDS, n).item() == pytest.approx(scipy_kl(wanted[:4], PROBS[:4]))


def test_expected_reward_by_simulation() -> None:
    n, g = 5, torch.Generator().manual_seed(0)
    draws = torch.multinomial(PROBS, 100_000 * n, replacement=True, generator=g).reshape(-1, n)
    best = REWARDS[draws].amax(1)
    error = best.std() / math.sqrt(len(best))
    assert abs(best.mean() - best_of_n_reward(PROBS, REWARDS, n)) < 4 * error


def test_kl_stays_below_the_bound_and_meets_it_for_many_outcomes() -> None:
    for n in (1, 2, 8, 64):
        assert best_of_n_kl(PROBS, REWARDS, n) <= best_of_n_kl_bound(n) + 1e-12
        many = torch.full((100_000,), 1e-5, dtype=torch.float64)
        assert best_of_n_kl(many, torch.arange(100_000.0), n).item() == pytest.approx(
            best_of_n_kl_bound(n), rel=2e-3, abs=1e-9
        )


def test_the_bound_by_simulation() -> None:
    """A continuous reward has rank uniform in (0, 1); the best of n has density n·uⁿ⁻¹, whose mean log is the KL."""
    n, g = 4, torch.Generator().manual_seed(1)
    best = torch.rand(200_000, n, generator=g, dtype=torch.float64).amax(1)
    logs = math.log(n) + (n - 1) * best.log()
    assert abs(logs.mean() - best_of_n_kl_bound(n)) < 4 * logs.std() / math.sqrt(len(logs))


def test_n_below_one_is_refused() -> None:
    for f in (best_of_n_kl_bound, lambda n: best_of_n_distribution(PROBS, REWARDS, n)):
        with pytest.raises(ValueError, match="n must be"):
            f(0)
