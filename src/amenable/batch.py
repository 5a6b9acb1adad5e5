"""Tensor records: what models read, what they return, and what an algorithm sees.

Shape letters: B rows, T tokens of the longest row, S source tokens (encoder-decoders), P packed rows, L packed length,
H hidden, V vocabulary, N trained tokens.

A Batch is a rectangle of rows padded on the right; an algorithm never sees packing. The learner packs rows into
Inputs before the forward pass and unpacks the results (train/packing.py), so padding costs nothing but a few numbers.

Position t of every [B, T] column speaks about token t: logprobs_BT[b, t] = log p(token t | tokens before it), and for an
encoder log p(token t | all that is seen).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Vocabulary:
    """What an objective that hides tokens must know of the tokenizer; `arrange` reads it off its Batch.

    size          ids are below it
    mask_id       stands for a hidden token
    sentinel_ids  stand for hidden spans, in order
    start_id      what an encoder-decoder's target begins with
    eos_id        what a text and a target end with
    opens_V       bool by id: the token begins with a space or a sign, so that no word goes on in it
    closes_V      bool by id: it ends with one, so that no word goes on behind it
    """

    size: int
    mask_id: int | None = None
    sentinel_ids: tuple[int, ...] = ()
    start_id: int | None = None
    eos_id: int | None = None
    opens_V: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    closes_V: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))


@dataclass(frozen=True)
class Batch:
    """Rows of tokens and their columns.

    tokens_BT   int64; 0 where valid_BT is False
    valid_BT    bool; a token stands here
    trained_BT  bool; the token is an action or a target. Never True at t = 0 of a decoder row
    unit_B      int64; rows with one number (a pair, a group) are never cut apart
    columns     further [B] or [B, T] tensors by name: "chosen", "tier", "score", "label", "reference.logprobs", ...
                "seen": what an encoder reads in place of tokens_BT, some of them hidden
    records     one Python object per row (the Rollout, Comparison, ... it came from)
    source_BS, source_valid_BS   encoder input of sequence-to-sequence rows, else None
    vocabulary  of the tokenizer, until `arrange`; else None
    stream      the name in the algorithm's `feeds`
    """

    tokens_BT: Tensor
    valid_BT: Tensor
    trained_BT: Tensor
    unit_B: Tensor
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    records: tuple[Any, ...] = ()
    source_BS: Tensor | None = None
    source_valid_BS: Tensor | None = None
    stream: str = ""
    vocabulary: Vocabulary | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]

    @property
    def num_rows(self) -> int:
        return self.tokens_BT.shape[0]

    @property
    def num_units(self) -> int:
        return int(torch.unique(self.unit_B).numel())

    @property
    def num_trained(self) -> int:
        """Trained tokens in the batch."""
        return int(self.trained_BT.sum())

    @property
    def length_B(self) -> Tensor:
        """Tokens per row, source included."""
        lengths = self.valid_BT.sum(1)
        return lengths if self.source_valid_BS is None else lengths + self.source_valid_BS.sum(1)

    def with_columns(self, columns: Mapping[str, Tensor]) -> Batch:
        """A copy with columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    def with_trained(self, trained_BT: Tensor) -> Batch:
        """A copy that learns from other tokens."""
        return replace(self, trained_BT=trained_BT)

    def select(self, rows: Tensor | Sequence[int]) -> Batch:
        """The rows at these indices, in this order, trimmed to their longest."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.tokens_BT.device)
        width = self.tokens_BT.shape[1]
        valid_BT = self.valid_BT[index]
        keep = int(valid_BT.sum(1).max()) if len(index) else 0

        def cut(x: Tensor) -> Tensor:
            x = x[index]
            return x[:, :keep] if x.dim() >= 2 and x.shape[1] == width else x

        return replace(
            self,
            tokens_BT=cut(self.tokens_BT),
            valid_BT=cut(self.valid_BT),
            trained_BT=cut(self.trained_BT),
            unit_B=self.unit_B[index],
            columns={name: cut(column) for name, column in self.columns.items()},
            records=tuple(self.records[i] for i in index.tolist()) if self.records else (),
            source_BS=None if self.source_BS is None else self.source_BS[index],
            source_valid_BS=None if self.source_valid_BS is None else self.source_valid_BS[index],
        )

    def to(self, device: torch.device | str) -> Batch:
        def move(x: Tensor | None) -> Any:
            return None if x is None else x.to(device, non_blocking=True)

        return replace(
            self,
            tokens_BT=move(self.tokens_BT),
            valid_BT=move(self.valid_BT),
            trained_BT=move(self.trained_BT),
            unit_B=move(self.unit_B),
            columns={name: move(column) for name, column in self.columns.items()},
            source_BS=move(self.source_BS),
            source_valid_BS=move(self.source_valid_BS),
        )


def pad(rows: Sequence[Sequence[Any] | Tensor], *, dtype: torch.dtype, width: int | None = None) -> Tensor:
    """Rows of unequal length as one rectangle, zeros (False) on the right.

    >>> pad([[1, 2], [3]], dtype=torch.long).tolist()
    [[1, 2], [3, 0]]
    """
    tensors = [torch.as_tensor(row, dtype=dtype) for row in rows]
    width = max((len(t) for t in tensors), default=0) if width is None else width
    out = torch.zeros(len(tensors), width, dtype=dtype)
    for i, t in enumerate(tensors):
        out[i, : len(t)] = t
    return out


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Batches one below the other; they must have the same columns. Units are renumbered so as not to collide."""
    first = batches[0]
    width = max(b.tokens_BT.shape[1] for b in batches)

    def widen(x: Tensor, own_width: int, to: int) -> Tensor:
        if x.dim() < 2 or x.shape[1] != own_width:
            return x
        return torch.nn.functional.pad(x, (*(0, 0) * (x.dim() - 2), 0, to - x.shape[1]))

    def join(get: Callable[[Batch], Tensor]) -> Tensor:
        return torch.cat([widen(get(b), b.tokens_BT.shape[1], width) for b in batches])

    units, offset = [], 0
    for b in batches:
        units.append(b.unit_B + offset)
        offset = int(units[-1].max()) + 1 if b.num_rows else offset
    source, source_valid = None, None
    if first.source_BS is not None:
        s_width = max(b.source_BS.shape[1] for b in batches if b.source_BS is not None)
        source = torch.cat([widen(b.source_BS, b.source_BS.shape[1], s_width) for b in batches])  # type: ignore[arg-type, union-attr]
        source_valid = torch.cat(
            [widen(b.source_valid_BS, b.source_valid_BS.shape[1], s_width) for b in batches]  # type: ignore[arg-type, union-attr]
        )
    return Batch(
        tokens_BT=join(lambda b: b.tokens_BT),
        valid_BT=join(lambda b: b.valid_BT),
        trained_BT=join(lambda b: b.trained_BT),
        unit_B=torch.cat(units),
        columns={name: join(lambda b, n=name: b.columns[n]) for name in first.columns},  # type: ignore[misc]
        records=tuple(r for b in batches for r in b.records),
        source_BS=source,
        source_valid_BS=source_valid,
        stream=first.stream,
        vocabulary=first.vocabulary,
    )


def vocabulary_of(batch: Batch) -> Vocabulary:
    """The vocabulary of a batch that is still to be arranged."""
    assert batch.vocabulary is not None, "this batch carries no vocabulary"
    return batch.vocabulary


@dataclass(frozen=True)
class Inputs:
    """What a model's `hidden` reads: packed rows.

    tokens_PL     int64
    positions_PL  int64; from 0 in each segment
    segments_PL   int64; which Batch row the token belongs to, counted within the packed row from 0; -1 is padding.
                  A token attends only within its own segment
    source_PS, source_valid_PS   encoder input; then each packed row holds exactly one segment
    groups        where there is one long row of whole documents end to end: the places of their tokens, (documents,
                  tokens) for documents of nearly one length; the first place of no document fills up. Else None
    """

    tokens_PL: Tensor
    positions_PL: Tensor
    segments_PL: Tensor
    source_PS: Tensor | None = None
    source_valid_PS: Tensor | None = None
    groups: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class Outputs:
    """What one model returned for a Batch; a field is None unless it was wanted.

    logprobs_BT   natural log, of each trained token under softmax(logits / temperature); 0 elsewhere
    entropy_BT    nats, of the distribution each trained token was drawn from; 0 elsewhere
    values_BT     value head's estimate before each trained token is drawn; 0 elsewhere
    scores_B      scalar head at each row's last valid token
    classes_BC    class head's logits at each row's last valid token, an encoder's first; scores_B likewise
    classes_BTC   class head's logits at each trained token, which it has read; 0 elsewhere
    exact_kl_BT   KL(policy || reference) over the whole vocabulary before each trained token, nats; 0 elsewhere
    hidden_BTH    final hidden state that predicts each token (that of the token before it); for exact_kl
    """

    logprobs_BT: Tensor | None = None
    entropy_BT: Tensor | None = None
    values_BT: Tensor | None = None
    scores_B: Tensor | None = None
    classes_BC: Tensor | None = None
    classes_BTC: Tensor | None = None
    exact_kl_BT: Tensor | None = None
    hidden_BTH: Tensor | None = None


@dataclass(frozen=True)
class LossTerms:
    """What a loss returns: sums, never means. The loop divides each term by its global count.

    terms    {name: scalar sum with gradient}; the names are those of `counts`
    metrics  {name: (sum, count)} without gradient; reported as sum / count over the global batch
    """

    terms: Mapping[str, Tensor]
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def metric(values: Tensor, mask: Tensor | None = None) -> tuple[float, float]:
    """(sum, count) of `values` where `mask` is True, detached, for LossTerms.metrics.

    >>> metric(torch.tensor([1.0, 3.0]), torch.tensor([True, False]))
    (1.0, 1.0)
    """
    values = values.detach().cpu().double()  # first off the device: Apple's has no float64
    if mask is None:
        return float(values.sum()), float(values.numel())
    mask = mask.cpu()
    return float(values.masked_fill(~mask, 0).sum()), float(mask.sum())  # what stands outside may be NaN
