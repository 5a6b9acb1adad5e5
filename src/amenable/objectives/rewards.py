"""From one score per response to one reward per token, and what is done to scores before.

Shape letters: B rows (responses), T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kl_shaped_rewards(scores_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, *, coef: float) -> Tensor:
    """rewards_BT = −coef · kl, plus the score at each row's last masked token; 0 where the mask is False.

    kl_BT: nats per token, usually k1. A row without a masked token has nowhere to put its score and stays 0.
    Source: Ziegler et al. 2019, equation 2; Ouyang et al. 2022, equation 2.

    >>> mask = torch.tensor([[True, True, False]])
    >>> kl_shaped_rewards(torch.tensor([1.0]), torch.tensor([[0.5, 0.25, 9.0]]), mask, coef=0.5).tolist()
    [[-0.25, 0.875, 0.0]]
    """
    rewards_BT = (-coef * kl_BT).masked_fill(~mask_BT, 0)
    spots_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    last_BT = spots_T[None] == last_true(mask_BT)[:, None]
    return rewards_BT + torch.where(last_BT, scores_B[:, None], 0)  # never times False: inf and NaN would spread


def last_true(mask_BT: Tensor) -> Tensor:
    """index_B of each row's last True; −1 for a row without one.

    >>> last_true(torch.tensor([[True, True, False], [False, False, False]])).tolist()
    [1, -1]
    """
    spots_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return torch.where(mask_BT, spots_T, -1).amax(1)


def credit_own(rewards_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """rewards_BT with each reward moved to the last masked token at or before it; 0 where the mask is False.

    An environment may reward on a token that is not the policy's own (its reply to the move); the move
    earned it. Rewards before a row's first masked token go to that first one. A row without a masked token
    gets only zeros.

    >>> credit_own(torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([[False, True, False, True]])).tolist()
    [[0.0, 7.0, 0.0, 8.0]]
    """
    spots_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    last_BT = torch.where(mask_BT, spots_T, -1).cummax(1).values
    first_B1 = mask_BT.to(torch.uint8).argmax(1, keepdim=True)
    home_BT = torch.where(last_BT < 0, first_B1, last_BT)
    return torch.zeros_like(rewards_BT).scatter_add(1, home_BT, rewards_BT).masked_fill(~mask_BT, 0)


def clip_scores(scores_B: Tensor, limit: float) -> Tensor:
    """scores_B held within ±limit.

    >>> clip_scores(torch.tensor([-9.0, 1.0]), 5.0).tolist()
    [-5.0, 1.0]
    """
    return scores_B.clamp(-limit, limit)


def replace_unfinished(
    scores_B: Tensor, finished_B: Tensor, score: float | None = None, *, earned_B: Tensor | None = None
) -> Tensor:
    """scores_B with a fixed score for each response cut before its stop token.

    score: that score; None: −1, as in Stiennon et al. 2020, whose reward is 0 on demonstrations, or one standard
    deviation below the mean of the finished responses where that is lower. A reward model with another zero, or a
    policy that scores below −1, would otherwise reward being cut.
    earned_B: what rows earn beside their scores, None: nothing. Where score is None, all of the above is of both
    together: a cut row's score is what brings its whole reward down (or up) to the fixed one.

    >>> replace_unfinished(torch.tensor([2.0, 3.0]), torch.tensor([True, False]), -1.0).tolist()
    [2.0, -1.0]
    >>> replace_unfinished(torch.tensor([-2.0, -4.0, 0.5]), torch.tensor([True, True, False])).tolist()
    [-2.0, -4.0, -4.0]
    >>> replace_unfinished(torch.zeros(2), torch.tensor([True, False]), earned_B=torch.tensor([-5.0, 2.0])).tolist()
    [0.0, -7.0]
    """
    if score is not None:
        return torch.where(finished_B, scores_B, score)
    earned_B = torch.zeros_like(scores_B) if earned_B is None else earned_B.to(scores_B.dtype)
    finished = (scores_B + earned_B)[finished_B].double()
    fixed = min(-1.0, float(finished.mean() - finished.std(correction=0))) if len(finished) else -1.0
    return torch.where(finished_B, scores_B, fixed - earned_B)
