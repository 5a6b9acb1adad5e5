"""REINFORCE with one baseline for the whole batch (Williams 1992; Hu et al. 2025, REINFORCE++): one response is enough.

Reward per token = -kl_coef * (KL of the token), the score on the last; advantage of a token = the sum of rewards from
it on, less the mean over all tokens of the global batch, divided by their deviation; PPO's clip. No critic, no groups:
the baseline does not know the prompt, so prompts of different difficulty add noise, never bias.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from amenable.algorithms import _rollouts
from amenable.batch import Batch, LossTerms, Outputs
from amenable.objectives.advantages import returns
from amenable.objectives.masked import masked_mean, whiten
from amenable.objectives.policy import aggregate, clip_fraction, ppo_clip
from amenable.types import Record

feeds, unit, trains = "prompts", "row", {"policy": "lm"}
needs, wants = _rollouts.ONLINE_NEEDS, ("entropy",)


class Config(Record, frozen=True):
    kl_coef: Annotated[float, Meta(ge=0, description="reward lost per nat of KL to the reference")] = 0.05
    discount: Annotated[float, Meta(gt=0, le=1, description="gamma; 1 in text, where episodes are short")] = 1.0
    baseline: Annotated[
        Literal["none", "mean", "whiten"],
        Meta(description="returns as they are (Williams 1992), less their mean, or also divided by their deviation"),
    ] = "whiten"
    clip: Annotated[
        float | None, Meta(description="half-width of the ratio's trust interval; null: weighted, never clipped")
    ] = 0.2
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


def prepare(batch: Batch, config: Config, state: Any) -> tuple[Batch, dict[str, float]]:
    """Scores and KL become rewards, rewards become returns and advantages; once over the whole global batch."""
    scores_B = _rollouts.scores_in_force(
        batch, truncated=config.truncated, truncated_score=config.truncated_score, score_clip=config.score_clip
    )
    rewards_BT = _rollouts.token_rewards(batch, scores_B, kl_coef=config.kl_coef)
    kept_B = _rollouts.in_force(batch, config.truncated)
    mask_BT = batch.trained_BT & kept_B[:, None]
    returns_BT = returns(rewards_BT, mask_BT, config.discount)
    advantages_BT = returns_BT
    if config.baseline == "mean":
        advantages_BT = returns_BT - masked_mean(returns_BT, mask_BT)
    elif config.baseline == "whiten":
        advantages_BT = whiten(returns_BT, mask_BT)
    prepared = _rollouts.with_advantages(batch, advantages_BT, rewards_BT, kept_B)
    return prepared, _rollouts.measure(batch, scores_B, rewards_BT.sum(1))


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"policy": float(batch.num_trained)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT, entropy_BT = outputs["policy"].logprobs_BT, outputs["policy"].entropy_BT
    assert logprobs_BT is not None and entropy_BT is not None
    mask_BT, old_BT, advantages_BT = batch.trained_BT, batch["policy.logprobs"], batch["advantages"]
    clip = float("inf") if config.clip is None else config.clip
    policy_BT = ppo_clip(logprobs_BT, old_BT, advantages_BT, clip_low=clip, clip_high=clip)
    clipped_BT = clip_fraction(logprobs_BT, old_BT, advantages_BT, clip_low=clip, clip_high=clip)
    return LossTerms(
        terms={"policy": aggregate(policy_BT, mask_BT, "token")},
        metrics=_rollouts.update_metrics(logprobs_BT, old_BT, entropy_BT, clipped_BT, mask_BT),
    )


def after_step(state: Any, metrics: dict[str, float], config: Config) -> tuple[Any, str | None]:
    return state, _rollouts.leash(metrics, config.max_kl)
