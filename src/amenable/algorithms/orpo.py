"""Odds-ratio preference optimisation (Hong et al. 2024, eq. 6-7): fine-tuning and preference at once, no reference.

-log p(chosen) per token, plus weight * -log sigmoid(log odds of chosen - log odds of rejected), the odds taken of the
mean log-prob per token. Starts from a base model: the first term is the fine-tuning.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.objectives import preference
from amenable.objectives.logprobs import sequence_logprob
from amenable.types import Record

feeds, unit, trains = "comparisons", "pair", {"policy": "lm"}


class Config(Record, frozen=True):
    weight: Annotated[float, Meta(ge=0, description="weight of the odds-ratio term; the paper's lambda")] = 0.1


def counts(batch: Batch, config: Config) -> dict[str, float]:
    is_chosen_B = batch["chosen"] > 0
    return {"sft": float(batch.trained_BT[is_chosen_B].sum()), "preference": float(is_chosen_B.sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    is_chosen_B = batch["chosen"] > 0
    mean_B = sequence_logprob(logprobs_BT, batch.trained_BT, average=True)
    chosen_P, rejected_P = mean_B[is_chosen_B], mean_B[~is_chosen_B]
    return LossTerms(
        terms={
            "sft": -logprobs_BT[is_chosen_B].sum(),
            "preference": config.weight * preference.orpo(chosen_P, rejected_P).sum(),
        },
        metrics={
            "accuracy": metric(chosen_P > rejected_P),
            "logprob_chosen": metric(chosen_P),
            "logprob_rejected": metric(rejected_P),
        },
    )
