"""A decoder on the compiled kernel: reads prompts, decodes rows and draws tokens. CPU only.

    float32 weights: the numbers of Decoder.hidden and logits within 1e-4
    bfloat16: those of autocast, with the residual stream and all sums in float32; keys and values are kept in bfloat16
    int8: weights only, one scale per output

A text's numbers do not depend on what else is read or decoded beside it, to the last bit.

Shape letters: B rows, N tokens, U prompts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amenable.errors import ModelError, ResourceError
from amenable.models.decoder import Decoder
from amenable.models.native.library import Batch, Cache, library
from amenable.models.native.packed import LANES, Packed, Weights, fingerprint, unfit

PIECE_TOKENS = 384  # tokens of prompts in one call: their activations stay in the second-level cache
THREAD_WORK = 1 << 20  # multiplications that pay for waking another thread
THREAD_DRAW = 1 << 16  # entries of logits that do


def why_not(model: Any) -> str | None:
    """Why this model cannot run on the compiled kernel here, or None."""
    if (reason := unfit(model)) is not None:
        return reason
    try:
        library()
    except ResourceError as error:
        return error.what
    return None


class NativeDecoder:
    """Continues running texts in the slots of its own cache; a rollout.forward.Forward."""

    exact = True

    def __init__(self, model: Decoder, weights: Weights) -> None:
        if (reason := why_not(model)) is not None:
            raise ModelError(f"the compiled decoder cannot run this model: {reason}", mend="choose the plain path")
        self.model, self.weights, self.vocab_size = model, weights, model.vocab_size
        self._library = library()
        self._fingerprint: tuple[object, ...] = ()
        self._packed: Packed | None = None
        self._cache: Cache | None = None
        self._scratch = torch.empty(0, dtype=torch.uint8)
        c = model.config
        self._work = (
            c.num_layers * c.hidden_size * (c.mlp_size * 3 + c.head_dim * (c.num_heads * 2 + c.num_kv_heads * 2))
        )

    def refresh(self) -> None:
        """Copy the model's weights again if they have changed since."""
        found = fingerprint(self.model)
        if self._packed is None or found != self._fingerprint:
            self._packed = None  # free the old copy first
            self._packed, self._fingerprint = Packed(self.model, self.weights), found

    def reserve(self, num_slots: int, max_tokens: int) -> None:
        """Room for so many texts of so many tokens; what is there may be lost."""
        if self._cache is not None and self._cache.slots >= num_slots and self._cache.max_tokens >= max_tokens:
            return
        c = self.model.config
        length = -(-max_tokens // LANES) * LANES
        lead = (c.num_layers, num_slots, c.num_kv_heads, length)
        self._cache = None
        dtype = torch.bfloat16 if self.weights == "bfloat16" else torch.float32
        self.keys = torch.zeros(*lead, c.head_dim, dtype=dtype)
        self.values = torch.zeros(*lead, -(-c.head_dim // LANES) * LANES, dtype=dtype)
        self._cache = Cache(self.keys.data_ptr(), self.values.data_ptr(), num_slots, length)

    def copy_slot(self, src: int, dst: int, length: int) -> None:
        """Copy the first `length` tokens of slot src to slot dst."""
        length = -(-length // LANES) * LANES  # keys lie in blocks of 16 positions
        for store in (self.keys, self.values):
            store[:, dst, :, :length].copy_(store[:, src, :, :length])

    def prefill(self, prompts: Sequence[Sequence[int]], slot: int) -> Tensor:
        """Read prompts into slots from `slot` on, packed without padding; the logits after each (U, V)."""
        lengths = np.array([len(ids) for ids in prompts])
        tokens_N = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in prompts])
        ends_U = np.cumsum(lengths)
        positions_N = np.arange(len(tokens_N)) - np.repeat(ends_U - lengths, lengths)
        slots_N = np.repeat(np.arange(slot, slot + len(prompts)), lengths)
        logits = []
        for begin in range(0, len(tokens_N), PIECE_TOKENS):
            cut = slice(begin, begin + PIECE_TOKENS)
            out = ends_U[(ends_U > begin) & (ends_U <= begin + PIECE_TOKENS)] - 1 - begin
            logits.append(self.forward(tokens_N[cut], positions_N[cut], slots_N[cut], out))
        return torch.cat(logits)

    def decode(self, tokens_B: np.ndarray, positions_B: np.ndarray) -> Tensor:
        """One token for each of slots 0 to B - 1; the logits (B, V)."""
        rows_B = np.arange(len(tokens_B))
        return self.forward(tokens_B, positions_B, rows_B, rows_B)

    def forward(self, tokens_N: np.ndarray, positions_N: np.ndarray, slots_N: np.ndarray, out: np.ndarray) -> Tensor:
        """Write tokens to the cache; the logits of the tokens numbered `out`. All int64.

        Tokens of one slot stand in order of position, each behind what the slot holds.
        """
        assert self._packed is not None and self._cache is not None, "refresh and reserve first"
        work = self._work * len(tokens_N) + self.vocab_size * self.model.hidden_size * len(out)
        threads = min(torch.get_num_threads(), 1 + work // THREAD_WORK)
        struct, cache = self._packed.struct, self._cache
        needed = self._library.amenable_scratch_bytes(struct, cache, len(tokens_N), threads)
        if len(self._scratch) < needed:
            self._scratch = torch.empty(needed, dtype=torch.uint8)
        logits = torch.empty(len(out), self._packed.num_outputs)
        arrays = [np.ascontiguousarray(a, dtype=np.int64) for a in (tokens_N, positions_N, slots_N, out)]
        batch = Batch(
            tokens_n=len(tokens_N),
            tokens=arrays[0].ctypes.data,
            positions=arrays[1].ctypes.data,
            slots=arrays[2].ctypes.data,
            out_n=len(out),
            out_rows=arrays[3].ctypes.data,
            logits=logits.data_ptr(),
            scratch=self._scratch.data_ptr(),
            threads=threads,
        )
        self._library.amenable_forward(struct, cache, batch)
        return logits[:, : self.vocab_size]

    def draw(
        self, logits_BV: Tensor, scale_B: np.ndarray, greedy_B: np.ndarray, uniform_B: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """rollout.sampling.draw without filters and penalties: (ids_B, logprobs_B)."""
        logits_BV = logits_BV if logits_BV.stride(1) == 1 else logits_BV.contiguous()
        rows, size = logits_BV.shape
        ids_B, logprobs_B = np.empty(rows, np.int64), np.empty(rows, np.float32)
        threads = min(torch.get_num_threads(), 1 + rows * size // THREAD_DRAW)
        self._library.amenable_draw(
            logits_BV.data_ptr(),
            logits_BV.stride(0),
            rows,
            size,
            scale_B.ctypes.data,
            greedy_B.ctypes.data,
            uniform_B.ctypes.data,
            ids_B.ctypes.data,
            logprobs_B.ctypes.data,
            threads,
        )
        return ids_B, logprobs_B
