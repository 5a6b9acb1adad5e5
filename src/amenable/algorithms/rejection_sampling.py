"""Best-of-n distilled back: draw n responses per prompt, fine-tune on the best by score.

Dong et al. 2023 (RAFT); Touvron et al. 2023 (Llama 2, section 3.2.3, rejection-sampling fine-tuning). One round moves
the policy towards best-of-n of itself, at most ln n - (n - 1) / n nats away (objectives/best_of_n.py); round upon round
it goes on, and nothing but the number of steps holds it to the reference. Among equal scores the first drawn is kept.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from msgspec import Meta
from torch import Tensor

from amenable.algorithms import _rollouts
from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.objectives.policy import aggregate
from amenable.types import Record

feeds, unit, trains = "prompts", "group", {"policy": "lm"}
needs, wants = _rollouts.ONLINE_NEEDS, ("entropy",)


class Config(Record, frozen=True):
    keep: Annotated[int, Meta(ge=1, description="best responses of each prompt that are learned from")] = 1
    mean: Annotated[
        Literal["token", "response"],
        Meta(description="whether every token or every response weighs the same"),
    ] = "token"
    truncated: Annotated[
        Literal["penalty", "mask", "score"],
        Meta(description="responses cut at the limit: fixed score, never learned from, or scored as they are"),
    ] = "mask"
    truncated_score: Annotated[
        float | None,
        Meta(
            description="the fixed score of a cut response where truncated = penalty; null: -1, or one standard deviation "
            "below the finished responses of the step where that is lower"
        ),
    ] = None
    max_kl: Annotated[
        float | None, Meta(description="stop the run when KL to the reference exceeds this, nats per response")
    ] = None


def prepare(batch: Batch, config: Config, state: Any) -> tuple[Batch, dict[str, float]]:
    """Keep the best responses of each prompt, an environment's rewards counted in; the others leave the batch."""
    own_B = _rollouts.scores_in_force(batch, truncated=config.truncated, truncated_score=config.truncated_score)
    scores_B = _rollouts.total(batch, own_B)
    metrics = _rollouts.measure(batch, own_B, scores_B)
    rows = _best(scores_B, batch.unit_B, _rollouts.in_force(batch, config.truncated), config.keep)
    metrics["responses_kept"] = len(rows) / batch.num_rows
    metrics["score_kept"] = float(scores_B[rows].double().mean()) if rows else float("nan")
    return batch.select(rows), metrics


def counts(batch: Batch, config: Config) -> dict[str, float]:
    if config.mean == "token":
        return {"demonstration": float(batch.num_trained)}
    return {"demonstration": float(batch.trained_BT.any(1).sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT, entropy_BT = outputs["policy"].logprobs_BT, outputs["policy"].entropy_BT
    assert logprobs_BT is not None and entropy_BT is not None
    mask_BT = batch.trained_BT
    total = aggregate(-logprobs_BT, mask_BT, "token" if config.mean == "token" else "sequence")
    return LossTerms(
        terms={"demonstration": total},
        metrics={"nats_per_token": metric(-logprobs_BT, mask_BT), "entropy": metric(entropy_BT, mask_BT)},
    )


def after_step(state: Any, metrics: dict[str, float], config: Config) -> tuple[Any, str | None]:
    return state, _rollouts.leash(metrics, config.max_kl)


def _best(scores_B: Tensor, unit_B: Tensor, kept_B: Tensor, keep: int) -> list[int]:
    """Rows of each unit's `keep` highest scores, in the batch's order; equal scores in the order drawn."""
    rows_of: dict[int, list[int]] = {}
    for row in torch.nonzero(kept_B)[:, 0].tolist():
        rows_of.setdefault(int(unit_B[row]), []).append(row)
    scores = scores_B.tolist()
    chosen = [r for rows in rows_of.values() for r in sorted(rows, key=lambda r: -scores[r])[:keep]]
    return sorted(chosen)
