"""Does our Decoder compute what transformers computes? The largest difference of logits, in float32, on random inputs.

Each input is compared with transformers row by row without padding, and ours also padded, packed into one row and
cached: four ways of reading the same tokens that must agree.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from amenable.batch import Inputs, pad
from amenable.errors import ModelError
from amenable.models.decoder import Decoder
from amenable.models.folder import load_model, save_model
from amenable.models.weights import adapted
from amenable.types import Record

TOLERANCE = 1e-4


class VerifyReport(Record, frozen=True):
    """Largest |logit difference| to transformers of each way of reading, float32."""

    folder: str
    family: str
    parameters: int
    differences: dict[str, float]  # "padded", "packed", "cached"
    largest_logit: float  # for scale
    tolerance: float = TOLERANCE

    @property
    def difference(self) -> float:
        return max(self.differences.values())

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance


@torch.no_grad()
def verify(folder: Path | str, *, num_rows: int = 4, max_tokens: int = 48, seed: int = 0) -> VerifyReport:
    """Compare a folder's logits with transformers'. Raises ModelError if it is of no native family or cannot be read.

    An adapter is merged into its base, and transformers is given the merged weights.
    """
    folder = Path(folder)
    ours = load_model(folder)
    if not isinstance(ours, Decoder):
        raise ModelError(
            "only native families can be verified; this one runs in transformers itself", where=str(folder)
        )
    theirs = _theirs(ours, folder)
    generator = torch.Generator().manual_seed(seed)
    longest = min(max_tokens, ours.context)
    lengths = [*torch.randint(1, longest + 1, (num_rows - 1,), generator=generator).tolist(), longest]
    rows = [torch.randint(ours.vocab_size, (n,), generator=generator) for n in lengths]
    wanted = [theirs(input_ids=row[None]).logits[0] for row in rows]
    ways = {"padded": _padded(ours, rows), "packed": _packed(ours, rows), "cached": _cached(ours, rows)}
    return VerifyReport(
        folder=str(folder),
        family=ours.config.family,
        parameters=ours.num_parameters(),
        differences={
            way: max(_difference(a, b) for a, b in zip(found, wanted, strict=True)) for way, found in ways.items()
        },
        largest_logit=max(float(want.abs().max()) for want in wanted),
    )


def _theirs(ours: Decoder, folder: Path) -> nn.Module:
    """What transformers makes of the same weights."""
    from transformers import AutoModelForCausalLM

    if adapted(folder):
        with tempfile.TemporaryDirectory() as merged:
            save_model(ours, merged)
            theirs = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32, local_files_only=True)
    else:
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return theirs.eval()


def _padded(model: Decoder, rows: Sequence[Tensor]) -> list[Tensor]:
    logits = model.logits(model.hidden(_rectangle(rows)))
    return [logits[i, : len(row)] for i, row in enumerate(rows)]


def _packed(model: Decoder, rows: Sequence[Tensor]) -> list[Tensor]:
    """All rows as segments of one."""
    positions = torch.cat([torch.arange(len(row)) for row in rows])
    segments = torch.cat([torch.full((len(row),), i) for i, row in enumerate(rows)])
    hidden = model.hidden(Inputs(torch.cat(list(rows))[None], positions[None], segments[None]))[0]
    return list(model.logits(hidden).split([len(row) for row in rows]))


def _cached(model: Decoder, rows: Sequence[Tensor]) -> list[Tensor]:
    """The first half at once, then token by token."""
    cache = model.new_cache(len(rows), max(len(row) for row in rows))
    halves = [max(1, len(row) // 2) for row in rows]
    first = model.hidden(_rectangle([row[:n] for row, n in zip(rows, halves, strict=True)]), cache)
    found = [[first[i, :n]] for i, n in enumerate(halves)]
    for at in range(max(len(row) for row in rows)):
        live = [i for i, row in enumerate(rows) if halves[i] <= at < len(row)]
        if live:
            tokens = torch.stack([rows[i][at : at + 1] for i in live])
            step = Inputs(tokens, torch.full_like(tokens, at), torch.zeros_like(tokens))
            hidden = model.hidden(step, cache, torch.tensor(live))
            for i, h in zip(live, hidden, strict=True):
                found[i].append(h)
    return [model.logits(torch.cat(parts)) for parts in found]


def _rectangle(rows: Sequence[Tensor]) -> Inputs:
    tokens = pad(rows, dtype=torch.long)
    valid = pad([torch.ones(len(row)) for row in rows], dtype=torch.bool)
    return Inputs(tokens, torch.arange(tokens.shape[1]).expand_as(tokens), torch.where(valid, 0, -1))


def _difference(ours: Tensor, theirs: Tensor) -> float:
    gap = (ours - theirs).abs().max()
    return float(gap) if bool(gap.isfinite()) else float("inf")
