"""Source to target (Sutskever et al. 2014; Vaswani et al. 2017), as in translation: an encoder-decoder learns the answer to each text.

The demonstrations' last turn is the target, all before it the source. Where `sft` teaches a model that is there, this is an objective
to begin with.
"""

from __future__ import annotations

from typing import Any

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.types import Record

feeds, unit, trains = "demonstrations", "row", {"policy": "seq2seq"}


class Config(Record, frozen=True):
    """Source to target has no settings of its own."""


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"target": float(batch.num_trained)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    """Sum of -log p over the targets' tokens, each given its source and the target before it."""
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    return LossTerms(
        terms={"target": -logprobs_BT.sum()}, metrics={"nats_per_token": metric(-logprobs_BT, batch.trained_BT)}
    )
