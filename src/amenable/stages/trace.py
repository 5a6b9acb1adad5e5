"""A rollout as state, action and reward: each token with its figures, for samples.jsonl and the token inspector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from amenable.algorithms._rollouts import earned
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
    """The first `most` rows as JSON values: prompt, response, score, and per token its text and figures.

    logprobs and ref_logprobs in nats; kl = their difference; values before the token was drawn; rewards with the KL
    penalty and the score at the end; advantages as the loss sees them. In an episode of several turns what the
    environment said stands between the policy's own tokens, with null for figures.
    """
    for row in range(min(most, batch.num_rows)):
        own = batch.trained_BT[row] if batch.trained_BT[row].any() else batch.valid_BT[row]
        rollout = batch.records[row]
        places = torch.nonzero(own)[:, 0]
        shown = slice(int(places[0]), int(places[-1]) + 1)
        figures: dict[str, Any] = {
            name: _numbers(batch.columns[column][row][shown], own[shown])
            for name, column in COLUMNS.items()
            if column in batch.columns
        }
        if "ref_logprobs" in figures:
            pairs = zip(figures["logprobs"], figures["ref_logprobs"], strict=True)
            figures["kl"] = [None if a is None else round(a - b, 5) for a, b in pairs]
        score = earned(batch)[row] if "reward.scores" in batch.columns else None
        yield {
            "prompt_id": rollout.prompt.id,
            "prompt": "\n".join(message.content for message in rollout.prompt.messages),
            "response": rollout.text,
            "finish": rollout.finish,
            "score": None if score is None else round(float(score), 5),
            "tokens": [tokenizer.decode([i], skip_special=False) for i in batch.tokens_BT[row][shown].tolist()],
            **figures,
        }


def _numbers(values: torch.Tensor, own: torch.Tensor) -> list[float | None]:
    return [round(float(v), 5) if mine else None for v, mine in zip(values, own, strict=True)]
