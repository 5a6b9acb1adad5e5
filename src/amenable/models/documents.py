"""Attention within documents that stand end to end, without padding between them: each document by itself.

A batch's documents are one long row; only here are they laid side by side, those of nearly one length as one group,
so that the scores of a token cover its own document and little else. Equal, up to rounding, to attention over packed
rows with a mask (attention.py). Both directions gather: a token stands at exactly one place of one group.

Queries are taken in blocks of BLOCK, each with the keys up to its own end: half of the work that a mask would throw away is
never done, and a block's scores stay in the cache (one thread, 4 heads of 32, bfloat16, forward and backward over 4,096 tokens in rows of
512: 16 ms, all queries at once 44, torch's fused kernel 50; in rows of 4,096: 118, fused under a mask 311). Weights of documents beyond
KEPT tokens are computed again in the backward pass, so that memory grows with the length and not with its square.

Shape letters: F tokens of the long row; E documents of a group, S tokens of its longest; A heads, K key-value heads, G
heads per key-value head, D head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from amenable.models.attention import bias_of

SHORTEST_SHARE = 0.7
"""A group holds documents from its longest down to this share of it."""
BLOCK = 128
KEPT = 1024


def rounded(count: int, digits: int = 3) -> int:
    """The next number with only so many leading binary digits; three: at most a quarter more, an eighth on average.

    Few distinct shapes: on a CPU, oneDNN compiles and keeps further kernels for each new one (measured on a 0.4 M
    model in bfloat16: 1.8 GB after a hundred steps without the rounding, 0.46 GB with it).

    >>> [rounded(n) for n in (7, 9, 17, 100, 129)]
    [7, 10, 20, 112, 160]
    """
    unit = 1 << max(count.bit_length() - digits, 0)
    return -(-count // unit) * unit


def groups(lengths: Sequence[int], starts: Sequence[int], empty: int) -> tuple[Tensor, ...]:
    """For each group, where in the long row each token stands, (E, S); `empty`, a place of no document, fills up.

    >>> [g.tolist() for g in groups([3, 1, 3], [0, 3, 4], empty=7)]
    [[[0, 1, 2], [4, 5, 6]], [[3]]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    found, at = [], 0
    while at < len(order) and lengths[order[at]]:
        longest = rounded(lengths[order[at]])
        end = at + 1
        while end < len(order) and lengths[order[end]] >= SHORTEST_SHARE * longest:
            end += 1
        place_ES = torch.full((rounded(end - at), longest), empty, dtype=torch.long)
        for row, i in enumerate(order[at:end]):
            place_ES[row, : lengths[i]] = torch.arange(starts[i], starts[i] + lengths[i])
        found.append(place_ES)
        at = end
    return tuple(found)


@dataclass(frozen=True)
class Documents:
    """Where attention finds its operands, worked out once for all layers of a window.

    query, key   per group, the rows of (F * A, D) and (F * K, D) in the group's order: (E, heads, S) laid flat
    back_query, back_key   for each of those rows its place among all groups' rows; one past their end where it has none
    mask         (BLOCK, back + BLOCK), to add to the scores of a block's queries and its last keys: 0 where a token may look
    window       how far a token looks back, itself included; None: to the beginning
    sizes        per group, (E, S)
    """

    query: tuple[Tensor, ...]
    key: tuple[Tensor, ...]
    back_query: Tensor
    back_key: Tensor
    mask: Tensor
    window: int | None
    sizes: tuple[tuple[int, int], ...]

    def blocks(self, length: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """Queries, the keys that they look at, and what to add to the scores of the last of these."""
        back = self.mask.shape[1] - BLOCK
        for begin in range(0, length, BLOCK):
            end = min(begin + BLOCK, length)
            low = 0 if self.window is None else max(0, begin - back)
            masked = min(begin - low, back)
            yield slice(begin, end), slice(low, end), self.mask[: end - begin, back - masked : back + end - begin]


def lay_out(
    groups: Sequence[Tensor], segment_F: Tensor, heads: int, kv_heads: int, window: int | None, dtype: torch.dtype
) -> Documents:
    """groups: see batch.Inputs. segment_F: -1 for tokens of no document. window: how far a token looks back."""
    query, back_query = _rows(groups, segment_F, heads)
    key, back_key = (query, back_query) if heads == kv_heads else _rows(groups, segment_F, kv_heads)
    back = 0 if window is None else window - 1
    query_B = torch.arange(BLOCK, device=segment_F.device)
    distance_BS = query_B[:, None] - torch.arange(-back, BLOCK, device=segment_F.device)
    allowed_BS = distance_BS >= 0
    if window is not None:
        allowed_BS &= distance_BS < window
    sizes = tuple((g.shape[0], g.shape[1]) for g in groups)
    return Documents(query, key, back_query, back_key, bias_of(allowed_BS, dtype), window, sizes)


def attend_within(query_FAD: Tensor, key_FKD: Tensor, value_FKD: Tensor, documents: Documents) -> Tensor:
    """softmax(q kᵀ / √D + mask) v within each document as (F, A*D); 0 for tokens of none."""
    return _Attention.apply(query_FAD, key_FKD, value_FKD, documents)


class _Attention(torch.autograd.Function):
    """With P = softmax(S), O = P V: dV = Pᵀ dO; dS = P (dP - Σ dP P), dP = dO Vᵀ; dQ = dS K; dK = dSᵀ Q.

    Places that stand for no token have gradient 0: nothing reads the output of a token of no document.
    """

    @staticmethod
    def forward(ctx: Any, query_FAD: Tensor, key_FKD: Tensor, value_FKD: Tensor, documents: Documents) -> Tensor:
        num_tokens, heads, dim = query_FAD.shape
        kv_heads = key_FKD.shape[1]
        flat = [x.reshape(-1, dim) for x in (query_FAD, key_FKD, value_FKD)]
        outs, at = _whole(flat[0], documents.query), 0
        kept: list[Tensor] = []
        for g, (docs, length) in enumerate(documents.sizes):
            queries = docs * kv_heads, heads // kv_heads, length, dim
            query = flat[0].index_select(0, documents.query[g]).mul_(dim**-0.5).view(queries)
            key, value = (x.index_select(0, documents.key[g]).view(docs * kv_heads, length, dim) for x in flat[1:])
            size = docs * heads * length
            out = outs[at : at + size].view(queries)
            at += size
            kept += [query, key, value]
            for rows, seen, mask in documents.blocks(length):
                weights = _weights(query[:, :, rows], key[:, seen], mask)
                out[:, :, rows] = torch.bmm(weights, value[:, seen]).view(*queries[:2], -1, dim)
                if length <= KEPT:
                    kept.append(weights)
        ctx.save_for_backward(*kept)
        ctx.documents, ctx.shape = documents, (num_tokens, heads, kv_heads, dim)
        return outs.index_select(0, documents.back_query).view(num_tokens, heads * dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_FH: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        documents: Documents = ctx.documents
        kept = iter(ctx.saved_tensors)
        num_tokens, heads, kv_heads, dim = ctx.shape
        grad = grad_FH.reshape(-1, dim)
        d_queries = _whole(grad, documents.query)
        d_keys, d_values = _whole(grad, documents.key), _whole(grad, documents.key)
        at = at_key = 0
        for g, (docs, length) in enumerate(documents.sizes):
            query, key, value = next(kept), next(kept), next(kept)
            d_out = grad.index_select(0, documents.query[g]).view(query.shape)
            size, size_key = docs * heads * length, docs * kv_heads * length
            d_query = d_queries[at : at + size].view(query.shape)
            # a key's gradient is a sum over blocks: in float32 at least
            wide = torch.promote_types(grad.dtype, torch.float32)
            d_key, d_value = (torch.zeros(x.shape, dtype=wide, device=x.device) for x in (key, value))
            for rows, seen, mask in documents.blocks(length):
                weights = next(kept) if length <= KEPT else _weights(query[:, :, rows], key[:, seen], mask)
                d_part = _stacked(d_out[:, :, rows])
                d_value[:, seen] += torch.bmm(weights.transpose(1, 2), d_part)
                d_weights = torch.bmm(d_part, value[:, seen].transpose(1, 2))
                d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
                d_query[:, :, rows] = torch.bmm(d_scores, key[:, seen]).view(*query.shape[:2], -1, dim)
                d_key[:, seen] += torch.bmm(d_scores.transpose(1, 2), _stacked(query[:, :, rows]))
            d_keys[at_key : at_key + size_key] = d_key.view(-1, dim)
            d_values[at_key : at_key + size_key] = d_value.view(-1, dim)
            at, at_key = at + size, at_key + size_key
        return (
            d_queries.index_select(0, documents.back_query).mul_(dim**-0.5).view(num_tokens, heads, dim),
            d_keys.index_select(0, documents.back_key).view(num_tokens, kv_heads, dim),
            d_values.index_select(0, documents.back_key).view(num_tokens, kv_heads, dim),
            None,
        )


def _weights(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """softmax(q kᵀ + mask) of a block's queries (docs * K, G, B, D) over keys (docs * K, S, D) as (docs * K, G * B, S)."""
    scores = torch.bmm(_stacked(query), key.transpose(1, 2))
    block, masked = mask.shape
    scores.view(-1, block, key.shape[1])[:, :, key.shape[1] - masked :].add_(mask)
    return torch.softmax(scores, -1)


def _stacked(block: Tensor) -> Tensor:
    """The G heads that share a key as queries of one matrix product."""
    return block.reshape(block.shape[0], -1, block.shape[-1])


def _rows(groups: Sequence[Tensor], segment_F: Tensor, heads: int) -> tuple[tuple[Tensor, ...], Tensor]:
    head_A = torch.arange(heads, device=segment_F.device)
    rows = tuple((place_ES[:, None, :] * heads + head_A[:, None]).reshape(-1) for place_ES in groups)
    total = sum(len(r) for r in rows)
    back_FA = torch.full((len(segment_F), heads), total, device=segment_F.device)
    back_FA.view(-1)[torch.cat(rows)] = torch.arange(total, device=segment_F.device)
    back_FA[segment_F < 0] = total
    return rows, back_FA.view(-1)


def _whole(like: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """Room for all groups' rows, and one row of zeros at the end."""
    total = sum(len(r) for r in rows)
    out = like.new_empty(total + 1, like.shape[1])
    out[total] = 0
    return out
