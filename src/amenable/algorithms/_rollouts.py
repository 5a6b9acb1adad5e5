"""What the critic-free online algorithms share: scores in force, baselines' groups, and one set of metric names.

A name that begins with _ is no algorithm. Everything here reads a rollout Batch that already has the columns
"policy.logprobs", "reference.logprobs" and "reward.scores"; the metrics are named as PPO names its own, so that runs
of different algorithms share their plots.

Shape letters: B rows (responses), T tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from amenable.batch import Batch, metric
from amenable.objectives.kl import Kind, kl_estimate
from amenable.objectives.masked import masked_sum
from amenable.objectives.rewards import clip_scores, credit_own, kl_shaped_rewards, replace_unfinished

Truncated = Literal["penalty", "mask", "score"]
ONLINE_NEEDS = ("policy.logprobs", "reference.logprobs", "reward.scores")


def scores_in_force(
    batch: Batch, *, truncated: Truncated, truncated_score: float | None, score_clip: float | None = None
) -> Tensor:
    """scores_B as they are learned from: clipped, and fixed for responses cut at the limit under "penalty".

    An environment's rewards stand on their tokens and come beside: see `total`.
    """
    scores_B = batch["reward.scores"].to(batch["policy.logprobs"].dtype)
    if score_clip is not None:
        scores_B = clip_scores(scores_B, score_clip)
    if truncated == "penalty":
        earned_B = total(batch, torch.zeros_like(scores_B))
        scores_B = replace_unfinished(scores_B, batch["finished"] > 0, truncated_score, earned_B=earned_B)
    return scores_B


def token_rewards(batch: Batch, scores_B: Tensor, *, kl_coef: float, estimator: Kind = "k1") -> Tensor:
    """rewards_BT: −kl_coef · KL of the token, the score on the last own token, an environment's rewards where earned."""
    kl_BT = kl_estimate(estimator, batch["policy.logprobs"], batch["reference.logprobs"])
    rewards_BT = kl_shaped_rewards(scores_B, kl_BT, batch.trained_BT, coef=kl_coef)
    if "token_rewards" in batch.columns:
        rewards_BT = rewards_BT + credit_own(batch["token_rewards"], batch.trained_BT)
    return rewards_BT


def in_force(batch: Batch, truncated: Truncated) -> Tensor:
    """bool_B: rows that are learned from. Under "mask" a response cut at the limit is left out."""
    return batch["finished"] > 0 if truncated == "mask" else torch.ones(batch.num_rows, dtype=torch.bool)


def groups(batch: Batch, kept_B: Tensor) -> Tensor:
    """group_B: the prompt's number; a row that is left out stands alone, so that no baseline reads its score."""
    alone_B = torch.arange(batch.num_rows) + int(batch.unit_B.max()) + 1
    return torch.where(kept_B, batch.unit_B, alone_B)


def with_advantages(batch: Batch, advantages: Tensor, rewards_BT: Tensor, kept_B: Tensor) -> Batch:
    """The batch with its mask cut to the rows in force, and [B, T] columns "advantages" and "rewards"."""
    mask_BT = batch.trained_BT & kept_B[:, None]
    columns = {"advantages": advantages.expand(mask_BT.shape).masked_fill(~mask_BT, 0), "rewards": rewards_BT}
    return replace(batch.with_columns(columns), trained_BT=mask_BT)


def measure(batch: Batch, scores_B: Tensor, returns_B: Tensor) -> dict[str, float]:
    """Metrics of the responses as drawn. score: the reward's own and an environment's; kl: nats per response, by k1."""
    mask_BT = batch.trained_BT
    kl_B = masked_sum(batch["policy.logprobs"] - batch["reference.logprobs"], mask_BT, 1)
    return {
        "score": float(earned(batch).double().mean()),
        "score_in_force": float(total(batch, scores_B).double().mean()),
        "score_spread": float(earned(batch).double().std(correction=0)),
        "kl": float(kl_B.double().mean()),
        "return": float(returns_B.double().mean()),
        "response_tokens": float(mask_BT.sum(1).double().mean()),
        "finished": float((batch["finished"] > 0).double().mean()),
        "num_responses": float(batch.num_rows),
    }


def earned(batch: Batch) -> Tensor:
    """score_B as it was given: the reward's, and what an environment gave on the way; no penalty of ours."""
    return total(batch, batch["reward.scores"])


def total(batch: Batch, scores_B: Tensor) -> Tensor:
    """scores_B, and what an environment gave on the way."""
    return scores_B + batch["token_rewards"].sum(1) if "token_rewards" in batch.columns else scores_B


def update_metrics(
    logprobs_BT: Tensor, old_BT: Tensor, entropy_BT: Tensor, clipped_BT: Tensor, mask_BT: Tensor
) -> dict[str, tuple[float, float]]:
    """Metrics of one update, for LossTerms. update_kl: k3 from the policy that drew, nats per token."""
    moved_BT = old_BT - logprobs_BT
    return {
        "entropy": metric(entropy_BT, mask_BT),
        "ratio": metric(torch.exp(-moved_BT), mask_BT),
        "clip_fraction": metric(clipped_BT, mask_BT),
        "update_kl": metric(torch.expm1(-moved_BT) + moved_BT, mask_BT),
    }


def leash(metrics: dict[str, float], max_kl: float | None) -> str | None:
    """The reason to stop, if the policy went too far."""
    if max_kl is not None and metrics["kl"] > max_kl:
        return f"KL to the reference is {metrics['kl']:.2f} nats per response, above max_kl = {max_kl}"
    return None
