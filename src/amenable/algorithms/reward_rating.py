"""Reward model from scalar ratings: squared error against the rating's place on its own scale.

A score of 0 is the bottom of the scale, 1 its top; 1-5 and 1-7 ratings can be mixed.
"""

from __future__ import annotations

from typing import Any

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.objectives import preference
from amenable.types import Record

feeds, unit, trains = "ratings", "row", {"reward": "scalar"}


class Config(Record, frozen=True):
    """Squared error has no settings of its own."""


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"rating": float(batch.num_rows)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    scores_B = outputs["reward"].scores_B
    assert scores_B is not None
    loss_B = preference.rating(scores_B, batch["score"], low=batch["low"], high=batch["high"])
    return LossTerms(terms={"rating": loss_B.sum()}, metrics={"squared_error": metric(loss_B)})
