"""Next-word pre-training (GPT; Radford et al. 2018): documents in, a language model out."""

from __future__ import annotations

from typing import Any

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.types import Record

feeds, unit, trains = "documents", "row", {"policy": "lm"}


class Config(Record, frozen=True):
    """Next-word prediction has no settings of its own."""


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"next_word": float(batch.num_trained)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    """Sum of -log p over all tokens; the loop makes it the mean: nats per token."""
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    return LossTerms(
        terms={"next_word": -logprobs_BT.sum()},
        metrics={"nats_per_token": metric(-logprobs_BT, batch.trained_BT)},
    )
