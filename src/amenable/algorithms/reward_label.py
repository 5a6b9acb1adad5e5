"""Reward model from yes/no labels: one logit per response, trained with cross entropy; its score is the logit."""

from __future__ import annotations

from typing import Any

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.objectives import preference
from amenable.types import Record

feeds, unit, trains = "labels", "row", {"reward": "scalar"}


class Config(Record, frozen=True):
    """Cross entropy has no settings of its own."""


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"label": float(batch.num_rows)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    scores_B = outputs["reward"].scores_B
    assert scores_B is not None
    label_B = batch["label"].to(scores_B.dtype)
    right_B = (scores_B > 0) == (label_B > 0.5)
    return LossTerms(
        terms={"label": preference.label(scores_B, label_B).sum()},
        metrics={"accuracy": metric(right_B), "positive_share": metric(label_B)},
    )
