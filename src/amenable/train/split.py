"""Cutting a global batch: into micro-batches (memory only) and into minibatches (one optimiser update each).

A unit (a pair, all responses of a prompt) is never cut apart.
"""

from __future__ import annotations

import torch

from amenable.batch import Batch


def split(batch: Batch, *, max_tokens: int) -> list[Batch]:
    """Micro-batches of whole units in the batch's order, each of at most max_tokens tokens (or one unit)."""
    lengths = batch.length_B.tolist()
    units: dict[int, list[int]] = {}
    for row, unit in enumerate(batch.unit_B.tolist()):
        units.setdefault(unit, []).append(row)
    micros: list[list[int]] = [[]]
    tokens = 0
    for rows in units.values():
        size = sum(lengths[r] for r in rows)
        if micros[-1] and tokens + size > max_tokens:
            micros.append([])
            tokens = 0
        micros[-1].extend(rows)
        tokens += size
    return [batch.select(rows) for rows in micros if rows]


def micro_batches(batch: Batch, *, max_tokens: int) -> list[Batch]:
    """As split, the units with the longest rows first: rows of one length side by side pack tightly and attend to little else.

    A batch without rows gives none.
    """
    lengths = batch.length_B.tolist()
    if sum(lengths) <= max_tokens:
        return [batch] if lengths else []
    units = batch.unit_B.tolist()
    longest: dict[int, int] = {}
    for unit, length in zip(units, lengths, strict=True):
        longest[unit] = max(longest.get(unit, 0), length)
    order = sorted(range(batch.num_rows), key=lambda row: (-longest[units[row]], units[row], row))
    return split(batch.select(order), max_tokens=max_tokens)


def divide(batch: Batch, parts: int, generator: torch.Generator) -> list[Batch]:
    """`parts` minibatches of whole units, at most one per unit, drawn without replacement in an order from the generator.

    A batch without rows, of which an algorithm kept none, is one minibatch.
    """
    if parts == 1 or batch.num_rows == 0:
        return [batch]
    unit_ids = torch.unique(batch.unit_B)
    order = unit_ids[torch.randperm(len(unit_ids), generator=generator)]
    pieces = [piece for piece in torch.tensor_split(order, min(parts, len(order))) if len(piece)]
    rows_of: dict[int, list[int]] = {}
    for row, unit in enumerate(batch.unit_B.tolist()):
        rows_of.setdefault(unit, []).append(row)
    return [batch.select([r for u in piece.tolist() for r in rows_of[u]]) for piece in pieces]
