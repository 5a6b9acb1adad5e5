"""Proximal policy optimisation on language, held to a reference by KL, with the pre-training mix.

Schulman et al. 2017 (clipped ratio), Ziegler et al. 2019 (KL in the reward, adaptive coefficient), Ouyang et al. 2022
(eq. 2, ptx), Huang et al. 2024 (details). Per response token: reward = -kl_coef * (estimated KL of the token), and the
reward model's score is added on the last token; advantages by GAE against a critic.

Where it departs from Ouyang et al.: rewards are not whitened by default (their scale then decides the true leash), and
each role's gradient is clipped by itself. Multi-turn rollouts: only the policy's own tokens act, an environment's
`token_rewards` are added where they fall.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from msgspec import Meta

from amenable.algorithms import _rollouts
from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.errors import ConfigError
from amenable.objectives import kl as kl_objectives
from amenable.objectives.advantages import gae
from amenable.objectives.masked import whiten
from amenable.objectives.policy import clip_fraction, ppo_clip
from amenable.objectives.rewards import (
    credit_own,
    kl_shaped_rewards,
    last_true,
    replace_unfinished,
)
from amenable.objectives.value import explained_variance, value_loss
from amenable.types import Record

unit = "row"


class Config(Record, frozen=True):
    kl_coef: Annotated[float, Meta(ge=0, description="reward lost per nat of KL to the reference")] = 0.05
    kl_estimator: Annotated[
        Literal["k1", "k2", "k3", "exact"],
        Meta(description="in the reward: k1, k2, k3; in the loss: k2, k3, exact"),
    ] = "k1"
    kl_in: Annotated[Literal["reward", "loss"], Meta(description="where the KL penalty stands")] = "reward"
    kl_target: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="nats per response to steer towards by adapting kl_coef; null: kl_coef stays fixed"),
    ] = None
    kl_horizon: Annotated[
        float,
        Meta(
            gt=0,
            description="responses over which the coefficient adapts, by 20 % at most in a step (Ziegler et al. 2019)",
        ),
    ] = 10_000
    max_kl: Annotated[
        float | None,
        Meta(description="stop the run when KL to the reference exceeds this, nats per response"),
    ] = None
    max_update_kl: Annotated[
        float | None,
        Meta(description="leave out a step's remaining updates when the policy moved this far, nats per token"),
    ] = None
    clip: Annotated[float, Meta(gt=0, description="half-width of the ratio's trust interval")] = 0.2
    dual_clip: Annotated[
        Annotated[float, Meta(gt=1)] | None,
        Meta(
            description="where the advantage is negative the ratio counts at most this much (Ye et al. 2020); null: not held"
        ),
    ] = None
    value_clip: Annotated[float | None, Meta(description="how far a value may move per step; null: not clipped")] = 0.2
    value_weight: Annotated[float, Meta(ge=0, description="weight of the value loss")] = 0.1
    entropy_weight: Annotated[float, Meta(ge=0, description="bonus per nat of entropy")] = 0.0
    discount: Annotated[float, Meta(gt=0, le=1, description="gamma; 1 in text, where episodes are short")] = 1.0
    trace: Annotated[float, Meta(ge=0, le=1, description="lambda of GAE: 1 trusts returns, 0 trusts the critic")] = 0.95
    whiten_rewards: Annotated[bool, Meta(description="scale rewards to unit variance, mean kept")] = False
    whiten_advantages: Annotated[bool, Meta(description="advantages to mean 0, variance 1 over the global batch")] = (
        True
    )
    critic: Annotated[
        Literal["own", "shared"],
        Meta(description="own: a model of its own; shared: a value head on the policy's trunk"),
    ] = "own"
    truncated: Annotated[
        Literal["penalty", "mask", "bootstrap", "score"],
        Meta(
            description="responses cut at the limit: fixed score, left out, critic's estimate as the score, or scored as they are"
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
    ptx_weight: Annotated[
        float,
        Meta(
            ge=0,
            description="weight of the next-word loss on pre-training text; 0: no such stream (Ouyang et al. 2022, eq. 2)",
        ),
    ] = 0.0

    def __post_init__(self) -> None:
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ConfigError(
                "k1 in the loss has an expected gradient of zero: it would hold the policy to nothing",
                where="algorithm.kl_estimator",
                mend="use k2 (reverse KL) or exact; k3 in a loss is the forward KL; or set algorithm.kl_in = 'reward'",
            )
        if self.kl_in == "reward" and self.kl_estimator == "exact":
            raise ConfigError(
                "the exact KL stands in the loss, not in the reward",
                where="algorithm.kl_estimator",
                mend="set algorithm.kl_in = 'loss', or use k1, k2 or k3",
            )


class State(Record, frozen=True):
    """kl_coef: the coefficient in force, which adapts where kl_target is set."""

    kl_coef: float


def feeds(config: Config) -> dict[str, str]:
    return {"rollouts": "prompts", "ptx": "documents"} if config.ptx_weight else {"rollouts": "prompts"}


def trains(config: Config) -> dict[str, str]:
    return {"policy": "lm", "critic": "value"} if config.critic == "own" else {"policy": "lm+value"}


def needs(config: Config) -> dict[str, tuple[str, ...]]:
    values = "critic.values" if config.critic == "own" else "policy.values"
    columns = ("policy.logprobs", "reference.logprobs", "reward.scores", values)
    return {"rollouts": (*columns, "reference.hidden") if _exact(config) else columns}


def wants(config: Config) -> tuple[str, ...]:
    return ("entropy", "exact_kl") if _exact(config) else ("entropy",)


def initial_state(config: Config) -> State:
    return State(kl_coef=config.kl_coef)


def prepare(batch: Batch, config: Config, state: State) -> tuple[Batch, dict[str, float]]:
    """Scores and KL become rewards, rewards become advantages and returns; once over the whole global batch."""
    if batch.stream != "rollouts":
        return batch, {}
    mask_BT = batch.trained_BT
    finished_B = batch["finished"] > 0
    logprobs_BT, reference_BT = batch["policy.logprobs"], batch["reference.logprobs"]
    values_BT = batch["critic.values" if config.critic == "own" else "policy.values"]
    log_ratio_BT = (logprobs_BT - reference_BT) * mask_BT
    scores_B = _scores(batch, finished_B, config)
    penalty_BT = torch.zeros_like(logprobs_BT)
    if config.kl_in == "reward" and config.kl_estimator != "exact":
        penalty_BT = kl_objectives.kl_estimate(config.kl_estimator, logprobs_BT, reference_BT) * mask_BT
    rewards_BT = kl_shaped_rewards(scores_B, penalty_BT, mask_BT, coef=state.kl_coef)
    if "token_rewards" in batch.columns:
        rewards_BT = rewards_BT + credit_own(batch["token_rewards"], mask_BT)
    metrics = _measure(batch, log_ratio_BT, scores_B, rewards_BT, finished_B)
    if config.truncated == "mask":
        mask_BT = mask_BT & finished_B[:, None]
    if config.whiten_rewards:
        rewards_BT = whiten(rewards_BT, mask_BT, shift_mean=False)
    bootstrap_B = None
    if config.truncated == "bootstrap":  # the value before the last token stands for the value after it
        last_B = last_true(mask_BT).clamp_min(0)
        bootstrap_B = torch.where(finished_B, 0.0, values_BT.gather(1, last_B[:, None])[:, 0])
    advantages_BT, returns_BT = gae(
        rewards_BT, values_BT, mask_BT, gamma=config.discount, lam=config.trace, bootstrap_B=bootstrap_B
    )
    metrics["explained_variance"] = explained_variance(values_BT, returns_BT, mask_BT)
    if config.whiten_advantages:
        advantages_BT = whiten(advantages_BT, mask_BT)
    columns = {
        "advantages": advantages_BT,
        "returns": returns_BT,
        "old_values": values_BT,
        "rewards": rewards_BT,
    }
    kept = Batch(**{**batch.__dict__, "trained_BT": mask_BT, "columns": {**batch.columns, **columns}})
    return kept, metrics


def counts(batch: Batch, config: Config) -> dict[str, float]:
    tokens = float(batch.num_trained)
    if batch.stream == "ptx":
        return {"ptx": tokens}
    found = {"policy": tokens, "value": tokens}
    if config.kl_in == "loss":
        found["kl"] = tokens
    if config.entropy_weight:
        found["entropy"] = tokens
    return found


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: State) -> LossTerms:
    policy = outputs["policy"]
    logprobs_BT, entropy_BT = policy.logprobs_BT, policy.entropy_BT
    assert logprobs_BT is not None and entropy_BT is not None
    mask_BT = batch.trained_BT
    if batch.stream == "ptx":
        return LossTerms(
            terms={"ptx": -config.ptx_weight * logprobs_BT.sum()},
            metrics={"ptx_nats_per_token": metric(-logprobs_BT, mask_BT)},
        )
    values_BT = (outputs["critic"] if config.critic == "own" else policy).values_BT
    assert values_BT is not None
    old_BT = batch["policy.logprobs"]
    advantages_BT, clip, dual = batch["advantages"], config.clip, config.dual_clip
    policy_BT = ppo_clip(logprobs_BT, old_BT, advantages_BT, clip_low=clip, clip_high=clip, dual=dual)
    value_BT = value_loss(values_BT, batch["old_values"], batch["returns"], clip=config.value_clip)
    terms = {
        "policy": torch.where(mask_BT, policy_BT, 0.0).sum(),
        "value": config.value_weight * torch.where(mask_BT, value_BT, 0.0).sum(),
    }
    if config.kl_in == "loss":
        if config.kl_estimator == "exact":
            assert policy.exact_kl_BT is not None
            kl_BT = policy.exact_kl_BT
        else:
            kl_BT = kl_objectives.kl_estimate(config.kl_estimator, logprobs_BT, batch["reference.logprobs"])
        terms["kl"] = state.kl_coef * torch.where(mask_BT, kl_BT, 0.0).sum()
    if config.entropy_weight:
        terms["entropy"] = -config.entropy_weight * torch.where(mask_BT, entropy_BT, 0.0).sum()
    moved_BT = old_BT - logprobs_BT
    return LossTerms(
        terms=terms,
        metrics={
            "entropy": metric(entropy_BT, mask_BT),
            "ratio": metric(torch.exp(-moved_BT), mask_BT),
            "clip_fraction": metric(
                clip_fraction(logprobs_BT, old_BT, advantages_BT, clip_low=clip, clip_high=clip, dual=dual), mask_BT
            ),
            "update_kl": metric(torch.exp(-moved_BT) - 1 + moved_BT, mask_BT),
            "value_error": metric((values_BT - batch["returns"]).square(), mask_BT),
        },
    )


def enough(metrics: dict[str, float], config: Config) -> bool:
    return config.max_update_kl is not None and metrics.get("update_kl", 0.0) > config.max_update_kl


def after_step(state: State, metrics: dict[str, float], config: Config) -> tuple[State, str | None]:
    """Adapt the coefficient (Ziegler et al. 2019, section 2.2) and watch the leash."""
    kl = metrics["kl"]
    if config.kl_target is not None:
        error = min(max(kl / config.kl_target - 1, -0.2), 0.2)
        share = min(metrics["num_responses"] / config.kl_horizon, 1.0)  # more would turn the coefficient's sign
        state = state.replace(kl_coef=state.kl_coef * (1 + error * share))
    if config.max_kl is not None and kl > config.max_kl:
        return state, f"KL to the reference is {kl:.2f} nats per response, above max_kl = {config.max_kl}"
    return state, None


def _exact(config: Config) -> bool:
    return config.kl_in == "loss" and config.kl_estimator == "exact"


def _scores(batch: Batch, finished_B: torch.Tensor, config: Config) -> torch.Tensor:
    truncated = "score" if config.truncated == "bootstrap" else config.truncated
    scores_B = _rollouts.scores_in_force(
        batch, truncated=truncated, truncated_score=config.truncated_score, score_clip=config.score_clip
    )
    return replace_unfinished(scores_B, finished_B, 0.0) if config.truncated == "bootstrap" else scores_B


def _measure(
    batch: Batch,
    log_ratio_BT: torch.Tensor,
    scores_B: torch.Tensor,
    rewards_BT: torch.Tensor,
    finished_B: torch.Tensor,
) -> dict[str, float]:
    mask_BT = batch.trained_BT
    return {
        "score": float(_rollouts.earned(batch).float().mean()),
        "score_in_force": float(_rollouts.total(batch, scores_B).float().mean()),
        "score_spread": float(_rollouts.earned(batch).float().std(correction=0)),
        "kl": float(log_ratio_BT.sum(1).float().mean()),
        "return": float(rewards_BT.sum(1).float().mean()),
        "response_tokens": float(mask_BT.sum(1).float().mean()),
        "finished": float(finished_B.float().mean()),
        "num_responses": float(batch.num_rows),
    }
