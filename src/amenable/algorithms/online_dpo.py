"""Direct preference optimisation on the policy's own responses (Guo et al. 2024, OAIF): a reward is the judge.

Each prompt's best and worst response by score become a pair, and DPO's loss (Rafailov et al. 2023, eq. 7) is taken on
it: draw two responses per prompt as the paper does, or more. labels = "soft" takes the expected loss under a
Bradley-Terry judge with these scores, sigmoid(difference), instead of trusting the order; its optimum is that of PPO,
pi_ref * exp(score / beta). Equal scores make no pair; such prompts are counted in the metric `ties`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from msgspec import Meta
from torch import Tensor

from amenable.algorithms import _rollouts
from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.objectives import preference
from amenable.types import Record

feeds, unit, trains = "prompts", "group", {"policy": "lm"}
needs, wants = _rollouts.ONLINE_NEEDS, ("entropy",)


class Config(Record, frozen=True):
    beta: Annotated[float, Meta(gt=0, description="strength of the leash to the reference; dimensionless")] = 0.1
    labels: Annotated[
        Literal["hard", "soft"],
        Meta(description="the better response wins always, or with probability sigmoid(difference of scores)"),
    ] = "hard"
    truncated: Annotated[
        Literal["penalty", "mask", "score"],
        Meta(description="responses cut at the limit: fixed score, left out, or scored as they are"),
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
    """Keep each prompt's best and worst response, with columns "chosen" and "win" (probability that it wins).

    An environment's rewards count into a response's score.
    """
    own_B = _rollouts.scores_in_force(
        batch, truncated=config.truncated, truncated_score=config.truncated_score, score_clip=config.score_clip
    )
    scores_B = _rollouts.total(batch, own_B)
    metrics = _rollouts.measure(batch, own_B, scores_B)
    kept_B = _rollouts.in_force(batch, config.truncated)
    pairs = _pairs(scores_B, batch.unit_B, kept_B)
    metrics["ties"] = 1 - len(pairs) / batch.num_units
    rows = torch.tensor(pairs, dtype=torch.long).reshape(-1)
    difference_P = (scores_B[rows[0::2]] - scores_B[rows[1::2]]).repeat_interleave(2)
    chosen_B = torch.tensor([1.0, 0.0], dtype=scores_B.dtype).repeat(len(pairs))
    win_B = torch.sigmoid(difference_P) if config.labels == "soft" else torch.ones_like(chosen_B)
    return batch.select(rows).with_columns({"chosen": chosen_B, "win": win_B}), metrics


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"preference": float((batch["chosen"] > 0).sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT, entropy_BT = outputs["policy"].logprobs_BT, outputs["policy"].entropy_BT
    assert logprobs_BT is not None and entropy_BT is not None
    is_chosen_B = batch["chosen"] > 0
    policy_B, reference_B = logprobs_BT.sum(1), batch["reference.logprobs"].sum(1)
    chosen = policy_B[is_chosen_B], reference_B[is_chosen_B]
    rejected = policy_B[~is_chosen_B], reference_B[~is_chosen_B]
    right_P = preference.dpo(chosen[0], rejected[0], chosen[1], rejected[1], beta=config.beta)
    wrong_P = preference.dpo(rejected[0], chosen[0], rejected[1], chosen[1], beta=config.beta)
    win_P = batch["win"][is_chosen_B]
    reward_B = config.beta * (policy_B - reference_B)
    gap_P = reward_B[is_chosen_B] - reward_B[~is_chosen_B]
    return LossTerms(
        terms={"preference": (win_P * right_P + (1 - win_P) * wrong_P).sum()},
        metrics={
            "accuracy": metric(gap_P > 0),
            "gap": metric(gap_P),
            "entropy": metric(entropy_BT, batch.trained_BT),
        },
    )


def after_step(state: Any, metrics: dict[str, float], config: Config) -> tuple[Any, str | None]:
    return state, _rollouts.leash(metrics, config.max_kl)


def _pairs(scores_B: Tensor, unit_B: Tensor, kept_B: Tensor) -> list[tuple[int, int]]:
    """(row of the best, row of the worst) of each unit whose responses differ in score."""
    rows_of: dict[int, list[int]] = {}
    for row in torch.nonzero(kept_B)[:, 0].tolist():
        rows_of.setdefault(int(unit_B[row]), []).append(row)
    scores = scores_B.tolist()
    found = [(max(rows, key=scores.__getitem__), min(rows, key=scores.__getitem__)) for rows in rows_of.values()]
    return [(best, worst) for best, worst in found if scores[best] > scores[worst]]
