"""Policy-gradient losses per token, and how they are added up.

Every loss returns [B, T] to be minimised; the caller adds it up with `aggregate` and the loop divides by a
global count. Advantages and old log-probs are constants: detached by the caller. Advantages broadcast, so
[B, 1] does for one per row.

Shape letters: B rows (responses), T tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from amenable.objectives.masked import masked_mean, masked_sum

How = Literal["token", "sequence", "constant"]
LOG_RATIO_LIMIT = 20.0  # exp(20): far outside any clip range, and neither it nor its gradient overflows


def ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """Probability now over probability when drawn; log held within ±20.

    >>> ratio(torch.tensor([-1.0]), torch.tensor([-1.0])).item()
    1.0
    """
    return (logprobs - old_logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def ppo_clip(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_BT: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual: float | None = None,
) -> Tensor:
    """loss_BT = −min(ratio · A, clip(ratio, 1 − clip_low, 1 + clip_high) · A).

    dual: a number above 1; where A < 0 the loss is at most −dual · A, so that one token whose probability
    rose by chance cannot rule the step. Source: Schulman et al. 2017, equation 7; clip_high ≠ clip_low: Yu
    et al. 2025 (DAPO), equation 10;
    dual: Ye et al. 2020, equation 5.

    >>> zero, one = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    >>> ppo_clip(zero + 2, zero, one, clip_low=0.2, clip_high=0.5).item()  # ratio e², held at 1.5
    -1.5
    >>> ppo_clip(zero + 2, zero, -one, clip_low=0.2, clip_high=0.5, dual=3.0).item()  # e² > 3
    3.0
    """
    if dual is not None and not dual > 1:
        raise ValueError(f"dual must be above 1, not {dual}: it would hold ratios that clipping lets through")
    return _clipped(ratio(logprobs_BT, old_logprobs_BT), advantages_BT, clip_low, clip_high, dual)


def gspo(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_BT: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """loss_BT as in PPO, with one ratio per row: the geometric mean of its tokens' ratios. 0 where the mask
    is False.

    To be added up with aggregate(how="sequence"). Source: Zheng et al. 2025 (GSPO), equations 5 and 7.

    >>> now, old, mask = torch.tensor([[2.0, 0.0]]).log1p(), torch.zeros(1, 2), torch.ones(1, 2).bool()
    >>> gspo(now, old, torch.tensor([[-1.0]]), mask, clip_low=0.1, clip_high=0.1)  # √(3 · 1)
    tensor([[1.7321, 1.7321]])
    """
    mean_B = masked_mean(logprobs_BT - old_logprobs_BT, mask_BT, 1)
    ratio_B1 = ratio(mean_B, torch.zeros_like(mean_B))[:, None]
    own_BT = advantages_BT.expand(mask_BT.shape).masked_fill(~mask_BT, 0)  # before the ratio, whose gradient it weighs
    return _clipped(ratio_B1, own_BT, clip_low, clip_high, None).masked_fill(~mask_BT, 0)


def cispo(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_BT: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """loss_BT = −clip(ratio) · A · logprob with no gradient through the ratio: every token keeps a gradient.

    Source: MiniMax 2025 (MiniMax-M1), equations 4 and 5; there clip_low is so large that it never acts.

    >>> now, old, advantage = torch.tensor([[-1.0]]), torch.tensor([[-3.0]]), torch.tensor([[2.0]])
    >>> cispo(now, old, advantage, clip_low=1.0, clip_high=0.5).item()  # 1.5 · 2 · 1
    3.0
    """
    weight_BT = ratio(logprobs_BT.detach(), old_logprobs_BT).clamp(1 - clip_low, 1 + clip_high)
    return -weight_BT * advantages_BT * logprobs_BT


def reinforce(logprobs_BT: Tensor, advantages_BT: Tensor) -> Tensor:
    """loss_BT = −A · logprob. Source: Williams 1992.

    >>> reinforce(torch.tensor([[-1.0]]), torch.tensor([[2.0]])).item()
    2.0
    """
    return -advantages_BT * logprobs_BT


def entropy_bonus(entropy_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """loss_BT = −entropy where the mask is True, else 0: added with a positive coefficient it keeps the
    policy open.

    >>> entropy_bonus(torch.tensor([[0.5, 9.0]]), torch.tensor([[True, False]])).tolist()
    [[-0.5, 0.0]]
    """
    return (-entropy_BT).masked_fill(~mask_BT, 0)


def clip_fraction(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_BT: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual: float | None = None,
) -> Tensor:
    """1.0 for each token whose gradient PPO's clipping removes, else 0.0; its mean over the mask is the
    clip fraction.

    That is a ratio above 1 + clip_high with A > 0, or below 1 − clip_low or above dual with A < 0.

    >>> now, old = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 0.0]])
    >>> clip_fraction(now, old, torch.tensor([[1.0, -1.0]]), clip_low=0.2, clip_high=0.2).tolist()
    [[1.0, 0.0]]
    """
    ratio_BT = ratio(logprobs_BT, old_logprobs_BT)
    above = (ratio_BT > 1 + clip_high) & (advantages_BT > 0)
    below = (ratio_BT < 1 - clip_low) & (advantages_BT < 0)
    if dual is not None:
        below = below | (ratio_BT > dual) & (advantages_BT < 0)
    return (above | below).to(logprobs_BT.dtype)


def truncated_importance(logprobs: Tensor, sampler_logprobs: Tensor, *, cap: float) -> Tensor:
    """min(ratio, cap) without gradient: corrects a loss for tokens drawn by a slightly different sampler.

    logprobs: of the trainer's policy before the update; sampler_logprobs: as reported when drawn.
    Source: Ionides 2008; for language models Yao et al. 2025, "Your efficient RL framework secretly brings
    you off-policy RL".

    >>> truncated_importance(torch.tensor([0.0, 0.0]), torch.tensor([-1.0, 0.0]), cap=2.0).tolist()
    [2.0, 1.0]
    """
    return ratio(logprobs.detach(), sampler_logprobs.detach()).clamp(max=cap)


def aggregate(loss_BT: Tensor, mask_BT: Tensor, how: How = "token") -> Tensor:
    """The scalar sum that the loop divides by a global count:

    "token"     sum over tokens;               count: trained tokens     long responses weigh more
    "sequence"  sum over rows of token means;  count: rows               every response weighs the same
    "constant"  sum over tokens;               count: rows × a constant  length plays no part (Dr. GRPO)

    >>> loss, mask = torch.tensor([[1.0, 3.0], [4.0, 9.0]]), torch.tensor([[True, True], [True, False]])
    >>> [aggregate(loss, mask, how).item() for how in ("token", "sequence", "constant")]
    [8.0, 6.0, 8.0]
    """
    if how == "sequence":
        return masked_mean(loss_BT, mask_BT, 1).sum()
    if how in ("token", "constant"):
        return masked_sum(loss_BT, mask_BT)
    raise ValueError(f"how must be 'token', 'sequence' or 'constant', not {how!r}")


def _clipped(ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, dual: float | None) -> Tensor:
    loss = torch.maximum(-ratio * advantages, -ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
    if dual is None:
        return loss
    return torch.where(advantages < 0, torch.minimum(loss, -dual * advantages), loss)
