"""Best-of-n in closed form: draw n responses, keep the one of highest reward.

For a discrete distribution everything is exact: the best of n has a reward ≤ x with probability F(x)ⁿ.
Among equal rewards the first drawn is kept, which leaves their proportions as they were.

Shape letters: K outcomes. probs_K sums to 1; rewards_K any order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def best_of_n_distribution(probs_K: Tensor, rewards_K: Tensor, n: int) -> Tensor:
    """probs_K of the outcome that best-of-n keeps.

    >>> best_of_n_distribution(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0]), 2).tolist()
    [0.25, 0.75]
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    levels_L, level_K = torch.unique(rewards_K, return_inverse=True)  # levels ascend
    mass_L = probs_K.new_zeros(len(levels_L)).index_add(0, level_K, probs_K)
    upto_L = mass_L.cumsum(0).clamp(max=1)
    below_L = torch.cat([upto_L.new_zeros(1), upto_L[:-1]])
    gain_L = torch.where(mass_L > 0, (upto_L**n - below_L**n) / mass_L, 0)
    return probs_K * gain_L[level_K]


def best_of_n_reward(probs_K: Tensor, rewards_K: Tensor, n: int) -> Tensor:
    """The expected reward of best-of-n, exact.

    >>> best_of_n_reward(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0]), 3).item()
    0.875
    """
    return (best_of_n_distribution(probs_K, rewards_K, n) * rewards_K).sum()


def best_of_n_kl(probs_K: Tensor, rewards_K: Tensor, n: int) -> Tensor:
    """KL(best-of-n ‖ one draw), nats, exact. Never above `best_of_n_kl_bound`; far below it when outcomes
    are few.

    >>> round(best_of_n_kl(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0]), 2).item(), 4)
    0.1308
    """
    best_K = best_of_n_distribution(probs_K, rewards_K, n)
    return (torch.xlogy(best_K, best_K) - torch.xlogy(best_K, probs_K)).sum()


def best_of_n_kl_bound(n: int) -> float:
    """log n − (n − 1) / n, nats: the KL for a continuous reward, and an upper bound for any.

    Source: Stiennon et al. 2020, appendix G.3; that it is a bound: Beirami et al. 2024, theorem 1.

    >>> round(best_of_n_kl_bound(4), 4)
    0.6363
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    return math.log(n) - (n - 1) / n
