"""A trained reward model as a Reward: text in, one number out, read with its own tokenizer and template.

The policy may have another tokenizer: only text passes between them. Scores are those of the scalar head; the head's
bias already holds the shift that makes demonstrations score 0 on average, where the stage measured one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from amenable.batch import Batch, pad
from amenable.chat.render import render_response, render_source, render_target
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
        rows = [self._row(item) for item in items]
        order = sorted(range(len(rows)), key=lambda i: rows[i].num_tokens)
        scores = [0.0] * len(rows)
        start = 0
        while start < len(order):
            stop, tokens = start, 0
            while stop < len(order) and (stop == start or tokens + rows[order[stop]].num_tokens <= self.micro_tokens):
                tokens += rows[order[stop]].num_tokens
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

    def _score(self, rows: list[_Row]) -> list[float]:
        device = next(self.actor.parameters()).device
        read = self.actor.model.kind == "seq2seq"
        batch = Batch(
            tokens_BT=pad([row.ids for row in rows], dtype=torch.long),
            valid_BT=pad([[True] * len(row.ids) for row in rows], dtype=torch.bool),
            trained_BT=torch.zeros(len(rows), max(len(row.ids) for row in rows), dtype=torch.bool),
            unit_B=torch.arange(len(rows)),
            source_BS=pad([row.source for row in rows], dtype=torch.long) if read else None,
            source_valid_BS=pad([[True] * len(row.source) for row in rows], dtype=torch.bool) if read else None,
        ).to(device)
        arithmetic: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if self.precision == torch.bfloat16:
            arithmetic = torch.autocast(device.type, dtype=torch.bfloat16)
        with torch.inference_mode(), arithmetic:
            scores_B = outputs_of(self.actor, batch, ("scores",)).scores_B
        assert scores_B is not None
        return scores_B.cpu().double().tolist()

    def _row(self, item: Scored) -> _Row:
        context, bos = self.actor.model.context, self.tokenizer.bos_id
        if self.actor.model.kind == "seq2seq":
            source = render_source(item.prompt, self.tokenizer)
            ids = render_target(item.response, self.tokenizer, item.finished)
        else:
            source, ids = [], list(render_response(item.prompt, item.response, self.tokenizer, item.finished).ids)
        self.num_truncated += max(len(ids), len(source)) > context
        return _Row(_cut(ids, context, bos), _cut(source, context, bos))


class _Row(NamedTuple):
    """What is read of a response: its ids behind the prompt's, or, by an encoder-decoder, apart from them."""

    ids: list[int]
    source: list[int]

    @property
    def num_tokens(self) -> int:
        return len(self.ids) + len(self.source)


def _cut(ids: list[int], context: int, bos: int | None) -> list[int]:
    if len(ids) <= context:
        return ids
    keep = ids[:1] if ids[:1] == [bos] else []
    return keep + ids[len(ids) - context + len(keep) :]


def held_out_scores(folder: Path | str, key: str = "held_out") -> HeldOutScores | None:
    """What a model's folder says of its scores on held-out responses; None where they were not measured."""
    stored = (read_metadata(folder).get("reward") or {}).get(key)
    return msgspec.convert(stored, HeldOutScores) if stored else None
