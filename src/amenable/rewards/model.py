"""A trained reward model as a Reward: text in, one number out, read with its own tokenizer and template.

The policy may have another tokenizer: only text passes between them. Scores are those of the scalar head; the head's
bias already holds the shift that makes demonstrations score 0 on average, where the stage measured one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from amenable.batch import Batch, pad
from amenable.chat.render import Rendered, render_response
from amenable.chat.tokenizer import Tokenizer
from amenable.errors import ModelError
from amenable.models.folder import load_heads, load_model, read_metadata
from amenable.models.forward import Actor, outputs_of
from amenable.models.paths import Paths
from amenable.rewards.base import BEYOND, Detail, HeldOutScores
from amenable.types import Scored


class RewardModel:
    """A reward model in memory.

    held_out: its scores on held-out responses, where they were measured. Figure: `beyond`, 1.0 for a score above 99 % of them.

    context: tokens it can read; a longer conversation loses tokens at its left, counted in `num_truncated`.
    """

    def __init__(
        self,
        actor: Actor,
        tokenizer: Tokenizer,
        *,
        name: str,
        precision: torch.dtype = torch.float32,
        micro_tokens: int = 16384,
        held_out: HeldOutScores | None = None,
    ) -> None:
        self.actor, self.tokenizer, self.name = actor, tokenizer, name
        self.precision, self.micro_tokens = precision, micro_tokens
        self.held_out = held_out
        self.num_truncated = 0

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        device: str = "cpu",
        precision: torch.dtype = torch.float32,
        paths: Paths | None = None,
    ) -> RewardModel:
        """The reward model of a folder. paths: how attention is computed. Raises ModelError if it has no reward head."""
        heads = load_heads(folder, device=device)
        if "reward" not in heads:
            raise ModelError(
                "this model has no reward head",
                where=str(folder),
                mend="`amenable reward` trains one; a language model by itself gives no scores",
            )
        model = load_model(folder, device=device)
        if paths is not None:
            paths.use_in(model)
        actor = Actor(model, "scalar", heads["reward"]).requires_grad_(False).eval()
        held_out = held_out_scores(folder)
        return cls(actor, Tokenizer.load(folder), name=Path(folder).name, precision=precision, held_out=held_out)

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One number per item, in order."""
        rows = [self._cut(render_response(item.prompt, item.response, self.tokenizer, item.finished)) for item in items]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        scores = [0.0] * len(rows)
        start = 0
        while start < len(order):
            stop, tokens = start, 0
            while stop < len(order) and (stop == start or tokens + len(rows[order[stop]]) <= self.micro_tokens):
                tokens += len(rows[order[stop]])
                stop += 1
            for i, score in zip(order[start:stop], self._score([rows[i] for i in order[start:stop]]), strict=True):
                scores[i] = score
            start = stop
        return scores

    def detail(self, items: Sequence[Scored]) -> Detail:
        """Scores, and whether each lies beyond the held-out ones."""
        scores = self.score(items)
        if self.held_out is None:
            return Detail(scores=scores)
        return Detail(scores=scores, figures={BEYOND: [float(score > self.held_out.p99) for score in scores]})

    def _score(self, rows: list[list[int]]) -> list[float]:
        device = next(self.actor.parameters()).device
        batch = Batch(
            tokens_BT=pad(rows, dtype=torch.long),
            valid_BT=pad([[True] * len(row) for row in rows], dtype=torch.bool),
            trained_BT=torch.zeros(len(rows), max(map(len, rows)), dtype=torch.bool),
            unit_B=torch.arange(len(rows)),
        ).to(device)
        arithmetic: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if self.precision == torch.bfloat16:
            arithmetic = torch.autocast(device.type, dtype=torch.bfloat16)
        with torch.inference_mode(), arithmetic:
            scores_B = outputs_of(self.actor, batch, ("scores",)).scores_B
        assert scores_B is not None
        return scores_B.double().tolist()

    def _cut(self, rendered: Rendered) -> list[int]:
        ids, context = list(rendered.ids), self.actor.model.context
        if len(ids) <= context:
            return ids
        self.num_truncated += 1
        keep = ids[:1] if ids[:1] == [self.tokenizer.bos_id] else []
        return keep + ids[len(ids) - context + len(keep) :]


def held_out_scores(folder: Path | str, key: str = "held_out") -> HeldOutScores | None:
    """What a model's folder says of its scores on held-out responses; None where they were not measured."""
    stored = (read_metadata(folder).get("reward") or {}).get(key)
    return msgspec.convert(stored, HeldOutScores) if stored else None
