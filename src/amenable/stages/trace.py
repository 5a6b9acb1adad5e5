"""A rollout as state, action and reward: each token with its figures, for samples.jsonl and the token inspector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from amenable.batch import Batch
from amenable.chat.tokenizer import Tokenizer

COLUMNS = {
    "logprobs": "policy.logprobs",
    "ref_logprobs": "reference.logprobs",
    "values": "old_values",
    "rewards": "rewards",
    "advantages": "advantages",
}


def token_traces(batch: Batch, tokenizer: Tokenizer, *, most: int) -> Iterator[dict[str, Any]]:
    """The first `most` rows as JSON values: prompt, response, score, and per own token its text and figures.

    logprobs and ref_logprobs in nats; kl = their difference; values before the token was drawn; rewards with the KL
    penalty and the score at the end; advantages as the loss sees them.
    """
    for row in range(min(most, batch.num_rows)):
        own = batch.trained_BT[row] if batch.trained_BT[row].any() else batch.valid_BT[row]
        rollout = batch.records[row]
        figures: dict[str, Any] = {
            name: _numbers(batch.columns[column][row][own])
            for name, column in COLUMNS.items()
            if column in batch.columns
        }
        if "ref_logprobs" in figures:
            figures["kl"] = [round(a - b, 5) for a, b in zip(figures["logprobs"], figures["ref_logprobs"], strict=True)]
        ids = batch.tokens_BT[row][own].tolist()
        yield {
            "prompt_id": rollout.prompt.id,
            "prompt": "\n".join(message.content for message in rollout.prompt.messages),
            "response": rollout.text,
            "finish": rollout.finish,
            "score": round(float(batch["reward.scores"][row]), 5) if "reward.scores" in batch.columns else None,
            "tokens": [tokenizer.decode([i], skip_special=False) for i in ids],
            **figures,
        }


def _numbers(values: torch.Tensor) -> list[float]:
    return [round(float(v), 5) for v in values]
