"""Rows ⇄ packed rows: the model reads several short rows side by side, the algorithm sees a padded rectangle.

B, T: the Batch's rows and tokens. P, L: packed rows and their length. N: flat list of positions.

Packing is first-fit over rows sorted by length (Krell et al. 2021), so it depends on nothing but the lengths.
A token attends only within its own segment, so the result is that of the rows run one by one, up to float
rounding.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from amenable.batch import Batch, Inputs
from amenable.models.documents import groups, rounded

SHORTEST_PACK_TOKENS = 128


@dataclass(frozen=True)
class Packed:
    """Inputs, and where each token of the Batch went: flat index p * L + l; -1 where the Batch has no token."""

    inputs: Inputs
    where_BT: Tensor


def bins(lengths: list[int], capacity: int) -> list[list[int]]:
    """Row indices per bin, no bin's sum above capacity; longest rows first, each into the first bin with room.

    >>> bins([3, 5, 2, 2], 5)
    [[1], [0, 2], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    room: list[int] = []
    filled: list[list[int]] = []
    first_open = 0
    for i in order:
        while first_open < len(room) and room[first_open] == 0:
            first_open += 1
        for b in range(first_open, len(room)):
            if room[b] >= lengths[i]:
                filled[b].append(i)
                room[b] -= lengths[i]
                break
        else:
            filled.append([i])
            room.append(capacity - lengths[i])
    return filled


def join(batch: Batch) -> Packed:
    """Lay the Batch's rows end to end, as one long row whose documents attention takes one by one."""
    lengths = batch.valid_BT.sum(1).tolist()
    starts = [0, *itertools.accumulate(lengths)]
    total = starts.pop()
    width = rounded(total + 1, 5)  # at least one place of no document
    device = batch.tokens_BT.device
    time_T = torch.arange(batch.tokens_BT.shape[1], device=device)
    where_BT = torch.where(batch.valid_BT, torch.tensor(starts, device=device)[:, None] + time_T, -1)
    row_BT = torch.arange(batch.num_rows, device=device)[:, None].expand_as(where_BT)

    def lay(values_BT: Tensor, fill: int) -> Tensor:
        return torch.nn.functional.pad(values_BT[batch.valid_BT], (0, width - total), value=fill)[None]

    inputs = Inputs(
        tokens_PL=lay(batch.tokens_BT, 0),
        positions_PL=lay(time_T.expand_as(batch.tokens_BT), 0),
        segments_PL=lay(row_BT, -1),
        groups=tuple(g.to(device) for g in groups(lengths, starts, total)),
    )
    return Packed(inputs, where_BT)


def pack(batch: Batch, *, packs: bool = True) -> Packed:
    """Lay the Batch's rows into packed rows of at most max(longest row, 128) tokens.

    packs=False, or rows with a source: one row per packed row.
    """
    lengths = batch.valid_BT.sum(1).tolist()
    longest = max([*lengths, 1])
    if packs and batch.source_BS is None:
        layout = bins(lengths, max(longest, SHORTEST_PACK_TOKENS))
    else:
        layout = [[i] for i in range(len(lengths))]
    width = max((sum(lengths[i] for i in rows) for rows in layout), default=1) or 1
    if packs and batch.source_BS is None:
        width = rounded(width)
    device = batch.tokens_BT.device
    row_start = torch.zeros(len(lengths), dtype=torch.long)
    segment = torch.zeros(len(lengths), dtype=torch.long)
    for p, rows in enumerate(layout):
        at = p * width
        for s, i in enumerate(rows):
            row_start[i], segment[i] = at, s
            at += lengths[i]
    row_start, segment = row_start.to(device), segment.to(device)
    time_T = torch.arange(batch.tokens_BT.shape[1], device=device)
    where_BT = torch.where(batch.valid_BT, row_start[:, None] + time_T, -1)
    flat = where_BT[batch.valid_BT]
    num_packed = rounded(len(layout)) if packs and batch.source_BS is None else len(layout)
    size = num_packed * width

    def scatter(values_BT: Tensor, fill: int) -> Tensor:
        out = torch.full((size,), fill, dtype=torch.long, device=device)
        out[flat] = values_BT[batch.valid_BT]
        return out.view(num_packed, width)

    inputs = Inputs(
        tokens_PL=scatter(batch.tokens_BT, 0),
        positions_PL=scatter(time_T.expand_as(batch.tokens_BT), 0),
        segments_PL=scatter(segment[:, None].expand_as(batch.tokens_BT), -1),
        source_PS=batch.source_BS,
        source_valid_PS=batch.source_valid_BS,
    )
    return Packed(inputs, where_BT)
