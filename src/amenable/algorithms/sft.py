"""Supervised fine-tuning on demonstrations (Ouyang et al. 2022, step 1): the assistant's tokens and stop tokens only.

The mean is over tokens of the whole global batch, so long answers weigh more than short ones;
`mean = "response"` gives each response the same weight instead.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.types import Record

feeds, unit, trains = "demonstrations", "row", {"policy": "lm"}


class Config(Record, frozen=True):
    mean: Annotated[
        Literal["token", "response"],
        Meta(description="whether every token or every response weighs the same"),
    ] = "token"


def counts(batch: Batch, config: Config) -> dict[str, float]:
    if config.mean == "token":
        return {"demonstration": float(batch.num_trained)}
    return {"demonstration": float(batch.trained_BT.any(1).sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    nats_B = -logprobs_BT.sum(1)
    total = nats_B.sum() if config.mean == "token" else (nats_B / batch.trained_BT.sum(1).clamp_min(1)).sum()
    greedy = metric(-logprobs_BT, batch.trained_BT)
    return LossTerms(terms={"demonstration": total}, metrics={"nats_per_token": greedy})
