"""Losses that learn from what people prefer: pairs, rankings, ties, ratings, yes/no labels.

The first half trains a reward model from scalar scores; the second half trains a policy from log-probs
directly. Every loss is per pair [P] or per row [B], to be summed by the caller; log-sigmoids throughout, so
that no margin overflows.

Shape letters: P pairs, B rows (responses). margin_P = score of the first (preferred) − score of the second.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

DPOKind = Literal["sigmoid", "hinge", "ipo", "robust"]


def bradley_terry(margin_P: Tensor, strength_P: Tensor | None = None) -> Tensor:
    """loss_P = −log σ(margin − strength).

    strength_P: how far apart the two should be at least, in units of the score (Llama 2's margin; Touvron
    et al. 2023, equation 2); None: 0. Source: Bradley and Terry 1952; Ouyang et al. 2022, equation 1.

    >>> round(bradley_terry(torch.tensor([1.0])).item(), 4)  # ln(1 + e^-1)
    0.3133
    """
    return -logsigmoid(margin_P if strength_P is None else margin_P - strength_P)


class Pairs(NamedTuple):
    """Ordered pairs within units: margin_P = scores[better] − scores[worse]; a unit's weights sum to 1."""

    margin_P: Tensor
    weight_P: Tensor
    better_P: Tensor  # row index
    worse_P: Tensor  # row index


def ranking_pairs(scores_B: Tensor, tier_B: Tensor, unit_B: Tensor) -> Pairs:
    """All (better, worse) pairs within each unit; tier 0 is best, equal tiers make no pair.

    weight = 1 / number of ordered pairs of that unit (1/C(K,2) without ties), so a ranking counts as one
    element however long it is:
    loss = (weight · bradley_terry(margin)).sum(), count = units with a pair = weight.sum().
    Source: Ouyang et al. 2022, equation 1.

    >>> pairs = ranking_pairs(torch.tensor([3.0, 1.0, 0.5]), torch.tensor([0, 1, 1]), torch.tensor([7, 7, 7]))
    >>> pairs.margin_P.tolist(), pairs.weight_P.tolist(), pairs.worse_P.tolist()
    ([2.0, 2.5], [0.5, 0.5], [1, 2])
    """
    better_BB = (unit_B[:, None] == unit_B[None]) & (tier_B[:, None] < tier_B[None])
    better_P, worse_P = better_BB.nonzero(as_tuple=True)
    _, index_B = torch.unique(unit_B, return_inverse=True)
    unit_P = index_B[better_P]
    num_pairs_U = torch.bincount(unit_P, minlength=1)
    weight_P = num_pairs_U[unit_P].to(scores_B.dtype).reciprocal()
    return Pairs(scores_B[better_P] - scores_B[worse_P], weight_P, better_P, worse_P)


def plackett_luce(scores_B: Tensor, tier_B: Tensor, unit_B: Tensor) -> Tensor:
    """loss_B: of each response, −log probability that it is picked first out of itself and all worse ones
    of its unit.

    Summed over a unit without ties this is the negative log-likelihood of its ranking. Tied responses are
    not compared with each other. 0 for the worst tier; count = units. Source: Luce 1959; Plackett 1975.

    >>> loss = plackett_luce(torch.tensor([1.0, 0.0]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    >>> [round(x, 4) for x in loss.tolist()]
    [0.3133, 0.0]
    """
    own_BB = torch.eye(len(scores_B), dtype=torch.bool, device=scores_B.device)
    rival_BB = ((unit_B[:, None] == unit_B[None]) & (tier_B[:, None] < tier_B[None])) | own_BB
    rivals_BB = scores_B.expand(rival_BB.shape).masked_fill(~rival_BB, -torch.inf)
    return rivals_BB.logsumexp(1) - scores_B


def davidson(margin_P: Tensor, tie_P: Tensor, *, log_nu: float | Tensor) -> Tensor:
    """loss_P of a pair that may end in a tie: wins weigh e^(±margin/2), a tie ν. At equal scores P(tie) = ν
    / (2 + ν).

    tie_P: bool; where False the first was preferred. log_nu may be a learned tensor. Source: Davidson 1970,
    equation 2.

    >>> zero = torch.tensor([0.0])
    >>> round(davidson(zero, torch.tensor([True]), log_nu=0.0).item(), 4)  # ln 3
    1.0986
    """
    half_P = margin_P / 2
    log_nu_P = torch.as_tensor(log_nu, dtype=half_P.dtype, device=half_P.device).expand_as(half_P)
    logp_P3 = torch.stack([half_P, log_nu_P, -half_P], -1).log_softmax(-1)
    return -torch.where(tie_P, logp_P3[..., 1], logp_P3[..., 0])


def rao_kupper(margin_P: Tensor, tie_P: Tensor, *, threshold: float | Tensor) -> Tensor:
    """loss_P of a pair that may end in a tie: the first wins with probability σ(margin − threshold).

    threshold: above 0, in units of the score; ln θ of the paper. P(tie) = (θ² − 1) · σ(margin − threshold)
    · σ(−margin − threshold).
    Source: Rao and Kupper 1967, equation 2.

    >>> import math
    >>> zero = torch.tensor([0.0])
    >>> round(rao_kupper(zero, torch.tensor([True]), threshold=math.log(2.0)).item(), 4)  # (4 - 1) / 9
    1.0986
    """
    if not isinstance(threshold, Tensor) and not threshold >= 0:
        raise ValueError(f"threshold must not be below 0, where a tie has no probability, but it is {threshold}")
    threshold_ = torch.as_tensor(threshold, dtype=margin_P.dtype, device=margin_P.device)
    win_P, loss_P = logsigmoid(margin_P - threshold_), logsigmoid(-margin_P - threshold_)
    log_factor = 2 * threshold_ + torch.log(-torch.expm1(-2 * threshold_))
    return -torch.where(tie_P, log_factor + win_P + loss_P, win_P)


def rating(
    scores_B: Tensor,
    ratings_B: Tensor,
    *,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
) -> Tensor:
    """loss_B: squared error of the score against the rating; with low and high, against (rating − low) /
    (high − low).

    Give both (numbers or [B]) to learn scales of different lengths on the unit interval, or neither to
    learn raw ratings.

    >>> rating(torch.tensor([0.25]), torch.tensor([4.0]), low=1.0, high=7.0).item()  # (1/4 - 1/2)²
    0.0625
    """
    if (low is None) != (high is None):
        raise ValueError("give both low and high, or neither")
    target_B = ratings_B if low is None or high is None else (ratings_B - low) / (high - low)
    return (scores_B - target_B).square()


def label(scores_B: Tensor, label_B: Tensor) -> Tensor:
    """loss_B: binary cross-entropy of a yes/no label; the score is the log-odds of yes. label_B: bool, or a
    share in 0..1.

    >>> round(label(torch.tensor([1.0]), torch.tensor([True])).item(), 4)
    0.3133
    """
    return binary_cross_entropy_with_logits(scores_B, label_B.to(scores_B.dtype), reduction="none")


def dpo(
    policy_chosen_P: Tensor,
    policy_rejected_P: Tensor,
    ref_chosen_P: Tensor,
    ref_rejected_P: Tensor,
    *,
    beta: float,
    kind: DPOKind = "sigmoid",
    label_smoothing: float = 0.0,
) -> Tensor:
    """loss_P from sequence log-probs, with h = (log-ratio of chosen − log-ratio of rejected) to the
    reference:

    "sigmoid"  −(1 − ε) log σ(βh) − ε log σ(−βh)               Rafailov et al. 2023; ε: Mitchell 2023 (cDPO)
    "robust"   (−(1 − ε) log σ(βh) + ε log σ(−βh)) / (1 − 2ε)  Chowdhury et al. 2024
    "hinge"    max(0, 1 − βh)                                  Zhao et al. 2023 (SLiC), with a reference
    "ipo"      (h − 1 / (2β))²                                 Azar et al. 2023; β is the paper's τ

    label_smoothing ε: the share of labels thought to be flipped, 0 ≤ ε < ½; only for "sigmoid" and "robust".

    >>> zero, one = torch.tensor([0.0]), torch.tensor([1.0])
    >>> kinds = ("sigmoid", "hinge", "ipo")
    >>> [round(dpo(one, zero, zero, zero, beta=0.5, kind=kind).item(), 4) for kind in kinds]
    [0.4741, 0.5, 0.0]
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing must be in [0, 0.5), not {label_smoothing}")
    if label_smoothing and kind not in ("sigmoid", "robust"):
        raise ValueError(f"label_smoothing has no meaning for kind {kind!r}")
    if kind == "ipo":
        return ipo(policy_chosen_P, policy_rejected_P, ref_chosen_P, ref_rejected_P, tau=beta)
    h_P = beta * ((policy_chosen_P - ref_chosen_P) - (policy_rejected_P - ref_rejected_P))
    if kind == "hinge":
        return torch.relu(1 - h_P)
    right_P, flipped_P = -logsigmoid(h_P), -logsigmoid(-h_P)
    if kind == "sigmoid":
        return (1 - label_smoothing) * right_P + label_smoothing * flipped_P
    if kind == "robust":
        return ((1 - label_smoothing) * right_P - label_smoothing * flipped_P) / (1 - 2 * label_smoothing)
    raise ValueError(f"kind must be 'sigmoid', 'hinge', 'ipo' or 'robust', not {kind!r}")


def ipo(
    policy_chosen_P: Tensor,
    policy_rejected_P: Tensor,
    ref_chosen_P: Tensor,
    ref_rejected_P: Tensor,
    *,
    tau: float,
) -> Tensor:
    """loss_P = (h − 1 / (2τ))² from sequence log-probs: sums over tokens, as in the paper (Azar et al.
    2023, equation 17).

    >>> zero = torch.tensor([0.0])
    >>> ipo(zero, zero, zero, zero, tau=0.25).item()
    4.0
    """
    if not tau > 0:
        raise ValueError(f"tau (of kind 'ipo' beta) must be above 0, not {tau}")
    h_P = (policy_chosen_P - ref_chosen_P) - (policy_rejected_P - ref_rejected_P)
    return (h_P - 1 / (2 * tau)).square()


def kto(
    logratio_B: Tensor,
    desirable_B: Tensor,
    kl0: float | Tensor,
    *,
    beta: float,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """loss_B = w (1 − σ(±β (log-ratio − kl0))): + and the first weight for desirable rows, − and the second
    for others.

    logratio_B: policy's − reference's sequence log-prob. kl0: `kto_baseline`, nats per sequence.
    Source: Ethayarajh et al. 2024, equation 8.

    >>> loss = kto(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), 0.0, beta=1.0, weights=(1.0, 2.0))
    >>> [round(x, 4) for x in loss.tolist()]
    [0.2689, 1.4621]
    """
    gain_B = beta * (logratio_B - kl0)
    return torch.where(desirable_B, weights[0] * torch.sigmoid(-gain_B), weights[1] * torch.sigmoid(gain_B))


def kto_baseline(mismatched_logratio_B: Tensor) -> Tensor:
    """kl0: the mean log-ratio of responses put under other prompts of the batch, at least 0, without
    gradient; 0 where there are none.

    Source: Ethayarajh et al. 2024, section 4.1.

    >>> kto_baseline(torch.tensor([1.0, 3.0])).item()
    2.0
    """
    mismatched_B = mismatched_logratio_B.detach()
    return mismatched_B.mean().clamp(min=0) if len(mismatched_B) else mismatched_B.sum()


def orpo(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """loss_P = −log σ(log odds of chosen − log odds of rejected), from mean log-probs per token.

    The paper's L_OR; its whole loss is the chosen response's NLL + λ · this. Source: Hong et al. 2024,
    equations 4 and 7.

    >>> half, third = torch.tensor([0.5]).log(), torch.tensor([1 / 3]).log()
    >>> round(orpo(half, third).item(), 4)  # odds 1 and 1/2: −ln(2/3)
    0.4055
    """
    return -logsigmoid(_log_odds(chosen_P) - _log_odds(rejected_P))


def simpo(chosen_P: Tensor, rejected_P: Tensor, *, beta: float, gamma: float) -> Tensor:
    """loss_P = −log σ(β (chosen − rejected) − γ), from mean log-probs per token; no reference.

    Source: Meng et al. 2024, equation 6.

    >>> round(simpo(torch.tensor([-1.0]), torch.tensor([-2.0]), beta=2.0, gamma=1.0).item(), 4)
    0.3133
    """
    return -logsigmoid(beta * (chosen_P - rejected_P) - gamma)


def _log_odds(logprob: Tensor) -> Tensor:
    """log(p / (1 − p)); p = 1 is held just below, where the odds are still finite."""
    held = logprob.clamp(max=-torch.finfo(logprob.dtype).eps)
    return held - torch.log(-torch.expm1(held))
