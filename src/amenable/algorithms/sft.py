"""Supervised fine-tuning on demonstrations (Ouyang et al. 2022, step 1): the assistant's tokens and stop tokens only.

The mean is over tokens of the whole global batch, so long answers weigh more than short ones;
`mean = "response"` gives each response the same weight instead. With ptx_weight a stream of pre-training text is learned beside
them, so that what the base model knew is not forgotten (as in eq. 2 there, of PPO).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.types import Record

unit, trains = "row", {"policy": "lm"}


class Config(Record, frozen=True):
    mean: Annotated[
        Literal["token", "response"],
        Meta(description="whether every token or every response weighs the same"),
    ] = "token"
    ptx_weight: Annotated[
        float, Meta(ge=0, description="weight of the next-word loss on pre-training text; 0: no such stream")
    ] = 0.0


def feeds(config: Config) -> dict[str, str]:
    written = {"demonstrations": "demonstrations"}
    return written | {"ptx": "documents"} if config.ptx_weight else written


def counts(batch: Batch, config: Config) -> dict[str, float]:
    if batch.stream == "ptx":
        return {"ptx": float(batch.num_trained)}
    if config.mean == "token":
        return {"demonstration": float(batch.num_trained)}
    return {"demonstration": float(batch.trained_BT.any(1).sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    if batch.stream == "ptx":
        return LossTerms(
            terms={"ptx": -config.ptx_weight * logprobs_BT.sum()},
            metrics={"ptx_nats_per_token": metric(-logprobs_BT, batch.trained_BT)},
        )
    nats_B = -logprobs_BT.sum(1)
    total = nats_B.sum() if config.mean == "token" else (nats_B / batch.trained_BT.sum(1).clamp_min(1)).sum()
    greedy = metric(-logprobs_BT, batch.trained_BT)
    return LossTerms(terms={"demonstration": total}, metrics={"nats_per_token": greedy})
