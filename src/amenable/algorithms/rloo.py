"""REINFORCE with a leave-one-out baseline (Kool et al. 2019; Ahmadian et al. 2024): the whole response is one action.

Reward = score - kl_coef * (log-ratio of the whole response to the reference); advantage = reward - mean reward of the
other responses to the same prompt; loss = -advantage * log-prob of the response, the mean over responses. Departure:
each token's ratio to the policy that drew it is clipped as in PPO, which acts from a batch's second update on.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from amenable.algorithms import _rollouts
from amenable.batch import Batch, LossTerms, Outputs
from amenable.objectives import advantages
from amenable.objectives.policy import aggregate, clip_fraction, ppo_clip
from amenable.types import Record

feeds, unit, trains = "prompts", "group", {"policy": "lm"}
needs, wants = _rollouts.ONLINE_NEEDS, ("entropy",)


class Config(Record, frozen=True):
    kl_coef: Annotated[float, Meta(ge=0, description="reward lost per nat of KL to the reference")] = 0.05
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
    """Scores and KL become one reward per response, rewards become advantages; once over the whole global batch."""
    scores_B = _rollouts.scores_in_force(
        batch, truncated=config.truncated, truncated_score=config.truncated_score, score_clip=config.score_clip
    )
    rewards_BT = _rollouts.token_rewards(batch, scores_B, kl_coef=config.kl_coef)
    returns_B = rewards_BT.sum(1)
    kept_B = _rollouts.in_force(batch, config.truncated)
    advantages_B = advantages.rloo(returns_B, _rollouts.groups(batch, kept_B))
    prepared = _rollouts.with_advantages(batch, advantages_B[:, None], rewards_BT, kept_B)
    return prepared, _rollouts.measure(batch, scores_B, returns_B)


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"policy": float(batch.trained_BT.any(1).sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT, entropy_BT = outputs["policy"].logprobs_BT, outputs["policy"].entropy_BT
    assert logprobs_BT is not None and entropy_BT is not None
    mask_BT, old_BT, advantages_BT = batch.trained_BT, batch["policy.logprobs"], batch["advantages"]
    clip = float("inf") if config.clip is None else config.clip
    policy_BT = ppo_clip(logprobs_BT, old_BT, advantages_BT, clip_low=clip, clip_high=clip)
    clipped_BT = clip_fraction(logprobs_BT, old_BT, advantages_BT, clip_low=clip, clip_high=clip)
    return LossTerms(
        terms={"policy": aggregate(policy_BT, mask_BT, "constant")},  # a sum over tokens: the response's log-prob
        metrics=_rollouts.update_metrics(logprobs_BT, old_BT, entropy_BT, clipped_BT, mask_BT),
    )


def after_step(state: Any, metrics: dict[str, float], config: Config) -> tuple[Any, str | None]:
    return state, _rollouts.leash(metrics, config.max_kl)
