"""Fine-tuning to tag words, as named entities (Devlin et al. 2019, 5.3): cross entropy at the first token of each word."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.types import Record

feeds, unit, trains = "examples", "row", {"policy": "token_classes"}


class Config(Record, frozen=True):
    """Tagging has no settings of its own."""


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"tag": float(batch.num_trained)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    """Sum of -log p(tag | text) over words."""
    logits_BTC = outputs["policy"].classes_BTC
    assert logits_BTC is not None
    trained_BT = batch.trained_BT.to(logits_BTC.device)
    logits_NC, class_N = logits_BTC[trained_BT], batch["class"].to(logits_BTC.device)[trained_BT].long()
    nats = F.cross_entropy(logits_NC, class_N, reduction="sum")
    return LossTerms(terms={"tag": nats}, metrics={"accuracy": metric((logits_NC.argmax(-1) == class_N).float())})
