"""Group-relative policy optimisation: several responses per prompt judge each other, no critic.

Shao et al. 2024 (DeepSeekMath, eq. 3): advantage = (score - group's mean) / group's deviation for every token, PPO's
clip, k3 in the loss, the mean over responses of token means; these are the defaults. Dr. GRPO (Liu et al. 2025):
normalise = false, aggregate = "constant". DAPO (Yu et al. 2025): clip_high = 0.28, aggregate = "token", kl_coef = 0.
GSPO (Zheng et al. 2025): ratio = "sequence", clip_low = 3e-4, clip_high = 4e-4. CISPO (MiniMax 2025): ratio = "cispo",
clip_low = 1 (the weight has no lower bound), aggregate = "token", kl_coef = 0.

k3 in the loss is called an estimate of KL(policy || reference) in the paper; its gradient is that of KL(reference ||
policy), token by token. With that, and with scores divided by a deviation that differs by prompt, the optimum is not
pi_ref * exp(score / kl_coef): docs/small-world.md measures by how much. kl_in = "reward" has that optimum.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from msgspec import Meta
from torch import Tensor

from amenable.algorithms import _rollouts
from amenable.batch import Batch, LossTerms, Outputs
from amenable.errors import ConfigError
from amenable.objectives import advantages
from amenable.objectives.kl import Kind, kl_estimate
from amenable.objectives.masked import masked_mean
from amenable.objectives.policy import aggregate, cispo, clip_fraction, gspo, ppo_clip
from amenable.types import Record

feeds, unit, trains = "prompts", "group", {"policy": "lm"}
needs, wants = _rollouts.ONLINE_NEEDS, ("entropy",)


class Config(Record, frozen=True):
    kl_coef: Annotated[float, Meta(ge=0, description="weight of the KL to the reference; 0: none")] = 0.04
    kl_in: Annotated[
        Literal["loss", "reward"], Meta(description="where the KL penalty stands; the paper's is in the loss")
    ] = "loss"
    kl_estimator: Annotated[
        Literal["k1", "k2", "k3"] | None,
        Meta(description="null: k3 in the loss (the paper's), k1 in the reward (the unbiased one)"),
    ] = None
    normalise: Annotated[
        bool, Meta(description="divide by the group's standard deviation; off: Dr. GRPO (Liu et al. 2025)")
    ] = True
    aggregate: Annotated[
        Literal["token", "sequence", "constant"],
        Meta(description="mean over all tokens, over responses of token means, or over responses of sums / constant"),
    ] = "sequence"
    constant_tokens: Annotated[
        int, Meta(ge=1, description="tokens by which a response's sum is divided where aggregate = constant")
    ] = 64
    ratio: Annotated[
        Literal["token", "sequence", "cispo"],
        Meta(
            description="clip each token's ratio, the response's geometric mean (GSPO), or a weight only (cispo; as published "
            "with clip_low = 1, aggregate = token, kl_coef = 0)"
        ),
    ] = "token"
    clip_low: Annotated[float, Meta(gt=0, description="the ratio is clipped below 1 - clip_low")] = 0.2
    clip_high: Annotated[float, Meta(gt=0, description="the ratio is clipped above 1 + clip_high")] = 0.2
    dual_clip: Annotated[
        Annotated[float, Meta(gt=1)] | None,
        Meta(
            description="where the advantage is negative the ratio counts at most this much (Ye et al. 2020); null: not held; ratio = token only"
        ),
    ] = None
    truncated: Annotated[
        Literal["penalty", "mask", "score"],
        Meta(
            description="responses cut at the limit: fixed score, left out of loss and baseline, or scored as they are"
        ),
    ] = "penalty"
    truncated_score: Annotated[
        float | None,
        Meta(
            description="the fixed score of a cut response where truncated = penalty; null: -1, or one standard deviation "
            "below the finished responses of the step where that is lower"
        ),
    ] = None
    score_clip: Annotated[float | None, Meta(description="scores are cut to plus or minus this; null: not")] = None
    max_kl: Annotated[
        float | None, Meta(description="stop the run when KL to the reference exceeds this, nats per response")
    ] = None

    def __post_init__(self) -> None:
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ConfigError(
                "k1 in the loss has an expected gradient of zero: it would hold the policy to nothing",
                where="algorithm.kl_estimator",
                mend="use k2 or k3, or set algorithm.kl_in = 'reward'",
            )
        if self.dual_clip is not None and self.ratio != "token":
            raise ConfigError(
                f"the dual clip holds single tokens' ratios, and ratio = {self.ratio!r} has none",
                where="algorithm.dual_clip",
                mend="leave it out, or set algorithm.ratio = 'token'",
            )


def prepare(batch: Batch, config: Config, state: Any) -> tuple[Batch, dict[str, float]]:
    """Scores become advantages within each prompt's group; once over the whole global batch."""
    scores_B = _rollouts.scores_in_force(
        batch, truncated=config.truncated, truncated_score=config.truncated_score, score_clip=config.score_clip
    )
    kl_coef = config.kl_coef if config.kl_in == "reward" else 0.0
    rewards_BT = _rollouts.token_rewards(batch, scores_B, kl_coef=kl_coef, estimator=_estimator(config))
    returns_B = rewards_BT.sum(1)
    kept_B = _rollouts.in_force(batch, config.truncated)
    group_B = _rollouts.groups(batch, kept_B)
    advantages_B = advantages.grpo(returns_B, group_B, normalise=config.normalise)
    metrics = _rollouts.measure(batch, scores_B, returns_B)
    metrics["groups_without_signal"] = _flat(advantages_B, batch.unit_B)
    return _rollouts.with_advantages(batch, advantages_B[:, None], rewards_BT, kept_B), metrics


def counts(batch: Batch, config: Config) -> dict[str, float]:
    responses = float(batch.trained_BT.any(1).sum())
    count = {
        "token": float(batch.num_trained),
        "sequence": responses,
        "constant": responses * config.constant_tokens,
    }[config.aggregate]
    return {"policy": count, "kl": count} if _kl_in_loss(config) else {"policy": count}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT, entropy_BT = outputs["policy"].logprobs_BT, outputs["policy"].entropy_BT
    assert logprobs_BT is not None and entropy_BT is not None
    mask_BT, old_BT = batch.trained_BT, batch["policy.logprobs"]
    terms = {"policy": aggregate(_policy_loss(logprobs_BT, batch, config), mask_BT, config.aggregate)}
    if _kl_in_loss(config):
        kl_BT = kl_estimate(_estimator(config), logprobs_BT, batch["reference.logprobs"])
        terms["kl"] = config.kl_coef * aggregate(kl_BT, mask_BT, config.aggregate)
    clipped_BT = _clipped(logprobs_BT.detach(), batch, config)
    return LossTerms(
        terms=terms, metrics=_rollouts.update_metrics(logprobs_BT, old_BT, entropy_BT, clipped_BT, mask_BT)
    )


def after_step(state: Any, metrics: dict[str, float], config: Config) -> tuple[Any, str | None]:
    return state, _rollouts.leash(metrics, config.max_kl)


def _policy_loss(logprobs_BT: Tensor, batch: Batch, config: Config) -> Tensor:
    old_BT, advantages_BT = batch["policy.logprobs"], batch["advantages"]
    low, high = config.clip_low, config.clip_high
    if config.ratio == "sequence":
        return gspo(logprobs_BT, old_BT, advantages_BT, batch.trained_BT, clip_low=low, clip_high=high)
    if config.ratio == "cispo":
        return cispo(logprobs_BT, old_BT, advantages_BT, clip_low=low, clip_high=high)
    return ppo_clip(logprobs_BT, old_BT, advantages_BT, clip_low=low, clip_high=high, dual=config.dual_clip)


def _clipped(logprobs_BT: Tensor, batch: Batch, config: Config) -> Tensor:
    """1.0 for tokens whose ratio is clipped: their gradient is gone (token, sequence) or weighed less (cispo)."""
    old_BT = batch["policy.logprobs"]
    if config.ratio == "sequence":
        mean_B1 = masked_mean(logprobs_BT - old_BT, batch.trained_BT, 1)[:, None]
        logprobs_BT, old_BT = mean_B1.expand(old_BT.shape), torch.zeros_like(old_BT)
    if config.ratio == "cispo":
        ratio_BT = torch.exp(logprobs_BT - old_BT)
        return ((ratio_BT > 1 + config.clip_high) | (ratio_BT < 1 - config.clip_low)).to(old_BT.dtype)
    low, high, dual = config.clip_low, config.clip_high, config.dual_clip
    return clip_fraction(logprobs_BT, old_BT, batch["advantages"], clip_low=low, clip_high=high, dual=dual)


def _kl_in_loss(config: Config) -> bool:
    return config.kl_in == "loss" and config.kl_coef > 0


def _estimator(config: Config) -> Kind:
    if config.kl_estimator is not None:
        return config.kl_estimator
    return "k3" if config.kl_in == "loss" else "k1"


def _flat(advantages_B: Tensor, group_B: Tensor) -> float:
    """Share of prompts whose responses all have the same reward: nothing is learned from them."""
    _, index_B = torch.unique(group_B, return_inverse=True)
    largest_G = torch.zeros(int(index_B.max()) + 1, dtype=advantages_B.dtype)
    largest_G = largest_G.scatter_reduce(0, index_B, advantages_B.abs(), "amax")
    return float((largest_G == 0).double().mean())
