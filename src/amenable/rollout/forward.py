"""The model's side of decoding: read prompts into slots of a cache, then one token a row and call.

PlainForward works with any model that has a cache. A Decoder on a CPU has a compiled one (models/native/decode.py) of the
same methods, which LocalEngine takes where it can.

Shape letters: B rows, P rows of a prefill, U prompts, L tokens of the longest, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from amenable.batch import Inputs
from amenable.rollout.inprocess import device_of
from amenable.rollout.sampling import DrawKernel

PREFILL_TOKENS = 8192  # tokens, padding included, in one forward pass over prompts
PREFILL_PIECE = 1024  # columns of one pass; longer prompts are read in pieces, to bound the attention scores


class Forward(Protocol):
    """What LocalEngine needs of a model.

    exact  a row's logits do not depend on the other rows, to the last bit
    draw   its own way of drawing, or None
    """

    exact: bool

    @property
    def draw(self) -> DrawKernel | None: ...

    def refresh(self) -> None:
        """Take the model's weights as they are now."""
        ...

    def reserve(self, num_slots: int, max_tokens: int) -> None:
        """Room for so many texts of so many tokens; what is there may be lost."""
        ...

    def prefill(self, prompts: Sequence[Sequence[int]], slot: int) -> Tensor:
        """Read prompts, longest first, into slots from `slot` on; the logits after each (U, V)."""
        ...

    def decode(self, tokens_B: np.ndarray, positions_B: np.ndarray) -> Tensor:
        """One token for each of slots 0 to B - 1; the logits (B, V)."""
        ...

    def copy_slot(self, src: int, dst: int, length: int) -> None: ...


class PlainForward:
    """Through the model's own hidden, logits and new_cache, with its own weights."""

    exact = False
    draw = None

    def __init__(self, model: Any) -> None:
        self.model, self.device = model, device_of(model)
        self._cache: Any = None
        self._size = (0, 0)

    def refresh(self) -> None:
        """Nothing: the weights are shared."""

    def reserve(self, num_slots: int, max_tokens: int) -> None:
        if self._size[0] < num_slots or self._size[1] < max_tokens:
            self._cache = None  # free the old one first
            self._cache, self._size = self.model.new_cache(num_slots, max_tokens), (num_slots, max_tokens)

    def copy_slot(self, src: int, dst: int, length: int) -> None:
        self._cache.copy_slot(src, dst, length)

    def prefill(self, prompts: Sequence[Sequence[int]], slot: int) -> Tensor:
        return torch.cat([self._read(part, slot + at) for at, part in similar(prompts)])

    def decode(self, tokens_B: np.ndarray, positions_B: np.ndarray) -> Tensor:
        tokens_B1, positions_B1 = (torch.from_numpy(a).to(self.device)[:, None] for a in (tokens_B, positions_B))
        inputs = Inputs(tokens_B1, positions_B1, torch.zeros_like(positions_B1))
        hidden_B1H = self.model.hidden(inputs, cache=self._cache, slots_P=None)
        return cast(Tensor, self.model.logits(hidden_B1H[:, 0]))

    def _read(self, prompts: Sequence[Sequence[int]], slot: int) -> Tensor:
        """Prompts of similar length, side by side; the logits after each (P, V)."""
        width = max(len(ids) for ids in prompts)
        tokens = np.zeros((len(prompts), width), dtype=np.int64)
        for row, ids in enumerate(prompts):
            tokens[row, : len(ids)] = ids
        tokens_PL = torch.from_numpy(tokens).to(self.device)
        last_P = torch.tensor([len(ids) - 1 for ids in prompts], device=self.device)
        position_L = torch.arange(width, device=self.device)
        segments_PL = (position_L > last_P[:, None]).long().neg_()
        positions_PL = position_L.expand(len(prompts), -1)
        slots_P = torch.arange(slot, slot + len(prompts), device=self.device)
        hidden_PH: Tensor | None = None
        for begin in range(0, width, PREFILL_PIECE):
            cut = slice(begin, begin + PREFILL_PIECE)
            inputs = Inputs(tokens_PL[:, cut], positions_PL[:, cut], segments_PL[:, cut])
            hidden_PLH = self.model.hidden(inputs, cache=self._cache, slots_P=slots_P)
            at_P = (last_P - begin).clamp(0, hidden_PLH.shape[1] - 1)
            found_PH = hidden_PLH[torch.arange(len(prompts), device=self.device), at_P]
            inside_P1 = (last_P >= begin)[:, None]
            hidden_PH = found_PH if hidden_PH is None else torch.where(inside_P1, found_PH, hidden_PH)
        assert hidden_PH is not None
        return cast(Tensor, self.model.logits(hidden_PH))


def similar(prompts: Sequence[Sequence[int]]) -> Iterator[tuple[int, Sequence[Sequence[int]]]]:
    """Prompts, sorted by length, in runs (index of the first, run) that waste at most half on padding and fit one pass."""
    begin = 0
    for end in range(1, len(prompts) + 1):
        if end < len(prompts):
            longest, shortest = len(prompts[begin]), len(prompts[end])
            fits = (end + 1 - begin) * longest <= PREFILL_TOKENS
            if fits and 2 * shortest >= longest:
                continue
        yield begin, prompts[begin:end]
        begin = end
