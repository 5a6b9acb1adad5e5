"""Fine-tuning to tell classes of texts, or of pairs, apart (Radford et al. 2018; Devlin et al. 2019): cross entropy over labels."""

from __future__ import annotations

from typing import Annotated, Any

import torch.nn.functional as F
from msgspec import Meta

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.types import Record

feeds, unit, trains = "examples", "row", {"policy": "classes"}


class Config(Record, frozen=True):
    label_smoothing: Annotated[
        float, Meta(ge=0, lt=1, description="share of the target that is spread evenly over all classes")
    ] = 0.0


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"class": float(batch.num_rows)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    """Sum of -log p(class | text)."""
    logits_BC = outputs["policy"].classes_BC
    assert logits_BC is not None
    class_B = batch["class"].long().to(logits_BC.device)
    nats = F.cross_entropy(logits_BC, class_B, reduction="sum", label_smoothing=config.label_smoothing)
    return LossTerms(terms={"class": nats}, metrics={"accuracy": metric((logits_BC.argmax(-1) == class_B).float())})
