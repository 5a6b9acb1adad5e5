"""Keys and values of past tokens, so that a new token costs one step and not the whole text again.

Allocated once for a number of slots; a slot holds one running text. Nothing is ever cleared: a query of
position p reads positions 0..p of its slot only, so what an earlier text left behind further on is never
seen.

Shape letters: S slots, K key-value heads, M max_tokens, D head_dim, P packed rows, L tokens of each, N tokens
written.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amenable.errors import ModelError


class Cache:
    """keys and values: (layers, slots, key-value heads, max_tokens, head_dim)."""

    def __init__(
        self, shape: tuple[int, int, int, int, int], *, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        # zeros, not empty: a masked weight of 0 times an uninitialised NaN is NaN
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.num_slots, self.max_tokens = shape[1], shape[3]

    def copy_slot(self, src: int, dst: int, length: int) -> None:
        """Copy the first `length` tokens of slot src to slot dst: one reading of a prompt serves many."""
        for store in (self.keys, self.values):
            store[:, dst, :, :length].copy_(store[:, src, :, :length])

    @property
    def num_bytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()


@dataclass(frozen=True)
class CachePlan:
    """Where one forward pass reads and writes, worked out once and used by every layer.

    rows      slice or index of the slots to read, one per packed row
    length    tokens to read of each slot: the longest in use
    all_seen  each query may look at all of these: one token a row, all at one position
    target_N  where to write, as row numbers of the store seen as (S*K*M, D) within a layer, K per token
    source_N  which of the P*L tokens to write; None: all of them
    """

    cache: Cache
    rows: slice | Tensor
    length: int
    all_seen: bool
    target_N: Tensor
    source_N: Tensor | None

    def write(self, layer: int, key_PLKD: Tensor, value_PLKD: Tensor) -> None:
        dim = key_PLKD.shape[-1]
        for store, new in ((self.cache.keys, key_PLKD), (self.cache.values, value_PLKD)):
            rows = new.reshape(-1, *new.shape[-2:])
            if self.source_N is not None:
                rows = rows[self.source_N]
            store[layer].view(-1, dim).index_copy_(0, self.target_N, rows.reshape(-1, dim).to(store.dtype))

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values (P, K, length, D)."""
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        if isinstance(self.rows, slice):
            return keys[self.rows, :, : self.length], values[self.rows, :, : self.length]
        return keys[:, :, : self.length][self.rows], values[:, :, : self.length][self.rows]


def plan(cache: Cache, positions_PL: Tensor, segments_PL: Tensor, slots_P: Tensor | None) -> CachePlan:
    """Check that the tokens fit into the cache and find their places. slots_P None: row p is slot p."""
    num_rows = positions_PL.shape[0]
    slots = list(range(num_rows)) if slots_P is None else slots_P.tolist()
    if len(slots) != num_rows or len(set(slots)) != num_rows or max(slots) >= cache.num_slots or min(slots) < 0:
        raise ValueError(f"{num_rows} rows need as many distinct slots below {cache.num_slots}, not {slots}")
    device = positions_PL.device
    slots_P = torch.tensor(slots, device=device) if slots_P is None else slots_P.to(device)
    valid_PL = segments_PL >= 0
    source_N = None if bool(valid_PL.all()) else valid_PL.reshape(-1).nonzero().squeeze(1)
    slot_PL = slots_P[:, None].expand_as(positions_PL)
    slot_N, position_N = slot_PL.reshape(-1), positions_PL.reshape(-1)
    if source_N is not None:
        slot_N, position_N = slot_N[source_N], position_N[source_N]
    first, last = (int(x) for x in position_N.aminmax()) if position_N.numel() else (0, 0)
    length = last + 1
    if length > cache.max_tokens:
        raise ModelError(
            f"a text of {length} tokens does not fit into a cache of {cache.max_tokens}",
            mend="give a larger max_tokens or a shorter prompt",
        )
    heads = cache.keys.shape[2]
    head_K = torch.arange(heads, device=device)
    target_NK = (slot_N[:, None] * heads + head_K) * cache.max_tokens + position_N[:, None]
    run = slots == list(range(slots[0], slots[0] + num_rows))
    rows: slice | Tensor = slice(slots[0], slots[0] + num_rows) if run else slots_P
    return CachePlan(
        cache=cache,
        rows=rows,
        length=length,
        all_seen=positions_PL.shape[1] == 1 and source_N is None and first == last,
        target_N=target_NK.reshape(-1),
        source_N=source_N,
    )
