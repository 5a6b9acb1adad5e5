"""How much better than expected: GAE and returns per token; group baselines per response.

Why so: a row's mask may have gaps (a conversation of several turns, where others spoke in between). Tokens
outside the mask do not count as steps: nothing is discounted across them, and the next own token is the
successor.

Shape letters: B rows (responses), T tokens. No result carries a gradient worth having: call on detached
tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amenable.objectives.masked import whiten

STD_OFFSET = 1e-4  # added to a group's standard deviation; far below any real spread, far above rounding errors


def gae(
    rewards_BT: Tensor,
    values_BT: Tensor,
    mask_BT: Tensor,
    *,
    gamma: float,
    lam: float,
    bootstrap_B: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(advantages_BT, returns_BT) by generalised advantage estimation; both 0 where the mask is False.

    values_BT[b, t]: the estimate before token t is drawn. returns = advantages + values.
    bootstrap_B: the value after a row's last token, for responses cut at the limit; None: 0, the response
    has ended. Rewards outside the mask are not read: `rewards.credit_own` first moves them to the token
    that earned them.
    Source: Schulman et al. 2016, equations 11 and 16: δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γλ A_{t+1}.

    >>> rewards, values = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.25]])
    >>> advantages, returns = gae(rewards, values, torch.tensor([[True, True]]), gamma=1.0, lam=0.5)
    >>> advantages.tolist(), returns.tolist()  # δ = (-0.25, 0.75)
    ([[0.125, 0.75]], [[0.625, 1.0]])
    """
    next_value_B = torch.zeros_like(values_BT[:, 0]) if bootstrap_B is None else bootstrap_B
    next_advantage_B = torch.zeros_like(next_value_B)
    columns = []
    steps = zip(rewards_BT.unbind(1), values_BT.unbind(1), mask_BT.unbind(1), strict=True)
    for reward_B, value_B, own_B in reversed(list(steps)):
        delta_B = reward_B + gamma * next_value_B - value_B
        next_advantage_B = torch.where(own_B, delta_B + gamma * lam * next_advantage_B, next_advantage_B)
        next_value_B = torch.where(own_B, value_B, next_value_B)
        columns.append(next_advantage_B)
    advantages_BT = torch.stack(columns[::-1], 1).masked_fill(~mask_BT, 0)
    return advantages_BT, (advantages_BT + values_BT).masked_fill(~mask_BT, 0)


def returns(rewards_BT: Tensor, mask_BT: Tensor, gamma: float = 1.0) -> Tensor:
    """returns_BT: the discounted sum of rewards from each own token to the row's end; 0 where the mask is
    False.

    >>> returns(torch.tensor([[1.0, 9.0, 4.0]]), torch.tensor([[True, False, True]]), 0.5).tolist()
    [[3.0, 0.0, 4.0]]
    """
    return gae(rewards_BT, torch.zeros_like(rewards_BT), mask_BT, gamma=gamma, lam=1.0)[1]


def grpo(scores_B: Tensor, group_B: Tensor, normalise: bool = True) -> Tensor:
    """advantages_B: score − mean of its group, divided by the group's (unbiased) standard deviation + 1e-4.

    A group of one, or of equal scores, gets 0. Source: Shao et al. 2024 (DeepSeekMath), section 4.1.2.

    >>> grpo(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 0])).tolist()
    [-0.9999..., 0.0, 0.9999...]
    """
    centred_B, index_B, size_G = _centred(scores_B, group_B)
    if normalise:
        squares_G = torch.zeros_like(size_G).index_add(0, index_B, centred_B.square())
        std_G = (squares_G / (size_G - 1).clamp(min=1)).sqrt()
        centred_B = centred_B / (std_G[index_B] + STD_OFFSET)
    return centred_B.to(torch.result_type(scores_B, 0.0))


def dr_grpo(scores_B: Tensor, group_B: Tensor) -> Tensor:
    """advantages_B: score − mean of its group, without the division that favours groups of little spread.

    To be summed with aggregate(how="constant"). Source: Liu et al. 2025, "Understanding R1-Zero-like
    training".

    >>> dr_grpo(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 0])).tolist()
    [-2.0, 0.0, 2.0]
    """
    return grpo(scores_B, group_B, normalise=False)


def rloo(scores_B: Tensor, group_B: Tensor) -> Tensor:
    """advantages_B: score − mean of the others in its group. A group of one has no others and gets 0.

    Source: Kool et al. 2019; Ahmadian et al. 2024, "Back to basics", equation 9.

    >>> rloo(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 0])).tolist()
    [-3.0, 0.0, 3.0]
    """
    centred_B, index_B, size_G = _centred(scores_B, group_B)
    return (centred_B * (size_G / (size_G - 1).clamp(min=1))[index_B]).to(torch.result_type(scores_B, 0.0))


def reinforce_plus_plus(scores_B: Tensor, group_B: Tensor | None = None) -> Tensor:
    """advantages_B: scores (minus their group's mean, if groups are given) whitened over the whole batch.

    Source: Hu et al. 2025, "REINFORCE++" (without groups) and its baseline variant (with). For token-level
    advantages with KL in the reward, whiten `returns` over the mask instead.

    >>> reinforce_plus_plus(torch.tensor([1.0, 3.0, 5.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    centred_B = scores_B if group_B is None else dr_grpo(scores_B, group_B)
    return whiten(centred_B, torch.ones_like(centred_B, dtype=torch.bool))


def _centred(scores_B: Tensor, group_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(score less its group's mean, index_B of each row's group counted from 0, size_G), in float64: the mean of equal
    float32 numbers is then that number, and no rounding error is divided by a deviation as small as itself."""
    _, index_B, count_G = torch.unique(group_B, return_inverse=True, return_counts=True)
    scores_B, size_G = scores_B.double(), count_G.double()
    mean_G = torch.zeros_like(size_G).index_add(0, index_B, scores_B) / size_G
    return scores_B - mean_G[index_B], index_B, size_G
