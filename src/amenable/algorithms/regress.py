"""Fine-tuning to foretell a number of a text, or of a pair: squared error, in spreads of the training numbers."""

from __future__ import annotations

from typing import Any

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.types import Record

feeds, unit, trains = "examples", "row", {"policy": "number"}


class Config(Record, frozen=True):
    """Regression has no settings of its own."""


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"number": float(batch.num_rows)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    """Sum of (foretold - true)²."""
    scores_B = outputs["policy"].scores_B
    assert scores_B is not None
    error_B = scores_B - batch["number"].to(scores_B)
    return LossTerms(terms={"number": (error_B**2).sum()}, metrics={"absolute_error": metric(error_B.abs())})
