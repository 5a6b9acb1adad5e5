"""Fine-tuning to find an answer in a passage (Devlin et al. 2019, 4.2): where it begins and where it ends, each one of its tokens."""

from __future__ import annotations

from typing import Any

import torch

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.types import Record

feeds, unit, trains = "examples", "row", {"policy": "token_classes"}


class Config(Record, frozen=True):
    """Extraction has no settings of its own."""


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"answer": float(batch.trained_BT.any(1).sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    """Sum over answers of the mean of -log p(begins here) and -log p(ends here), each over the passage's tokens."""
    logits_BTC = outputs["policy"].classes_BTC
    assert logits_BTC is not None
    passage_BT = batch.trained_BT.to(logits_BTC.device)
    there_B = passage_BT.any(1)
    nats_B = logits_BTC.sum((1, 2)) * 0.0
    right_B = there_B.clone()
    for c, name in enumerate(("begins", "ends")):
        # a row without a passage keeps finite logits, so that nothing of it is NaN
        logits_BT = logits_BTC[:, :, c].masked_fill(~passage_BT & there_B[:, None], float("-inf"))
        true_B = batch[name].to(logits_BT.device).argmax(1)
        logprob_B = logits_BT.log_softmax(1).gather(1, true_B[:, None])[:, 0]
        nats_B = nats_B - 0.5 * torch.where(there_B, logprob_B, 0.0)
        right_B &= logits_BT.argmax(1) == true_B
    return LossTerms(terms={"answer": nats_B.sum()}, metrics={"accuracy": metric(right_B.float(), there_B)})
