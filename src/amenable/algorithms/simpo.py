"""Simple preference optimisation (Meng et al. 2024, eq. 6): the mean log-prob per token is the reward, no reference.

-log sigmoid(beta * (mean log-prob of chosen - of rejected) - gamma). Length counts for nothing, which DPO's sums do not
give; nothing but the learning rate holds the policy near its start. The paper searched gamma / beta from 0.1 to 0.8.
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
    beta: Annotated[float, Meta(gt=0, description="scale of the reward beta * (mean log-prob per token)")] = 2.0
    gamma: Annotated[float, Meta(ge=0, description="gap asked for between the two rewards")] = 1.0


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"preference": float((batch["chosen"] > 0).sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    is_chosen_B = batch["chosen"] > 0
    mean_B = sequence_logprob(logprobs_BT, batch.trained_BT, average=True)
    chosen_P, rejected_P = mean_B[is_chosen_B], mean_B[~is_chosen_B]
    loss_P = preference.simpo(chosen_P, rejected_P, beta=config.beta, gamma=config.gamma)
    gap_P = config.beta * (chosen_P - rejected_P)
    return LossTerms(
        terms={"preference": loss_P.sum()},
        metrics={
            "accuracy": metric(gap_P > 0),
            "gap": metric(gap_P),
            "logprob_chosen": metric(chosen_P),
            "logprob_rejected": metric(rejected_P),
        },
    )
