"""Generation inside the process: preallocated key-value cache, continuous batching, the learner's own weights.

Responses sit in slots 0 to n-1 without gaps, so that every step reads the cache as one slice: a row that ends is
overwritten by the last one, and waiting requests enter behind, several prompts of similar length at a time. A prompt
wanted several times is read once and its slot copied.

A response depends on its neighbours only by float rounding of differently shaped matrix products (logits within 1e-4).
With deterministic=True it does not depend on them at all: rows run one by one in slot 0, so every operation has a shape
that follows from the response alone. (A full batch of fixed size would not do: kernels treat the last rows of a tile
differently, and a request may land in any row.)

Shape letters: B rows being decoded, P rows of a prefill, L tokens of the longest, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amenable.batch import Inputs
from amenable.rollout.engine import TokenizerLike
from amenable.rollout.inprocess import InProcess, device_of, drawer_of, take
from amenable.rollout.response import Response
from amenable.rollout.sampling import Drawer

PREFILL_TOKENS = 8192  # tokens, padding included, in one forward pass over prompts
PREFILL_PIECE = 1024  # columns of one pass; longer prompts are read in pieces, to bound the attention scores
CACHE_STEP = 64  # the cache's length is a multiple of this, so that similar calls reuse it


class LocalEngine(InProcess):
    """Generates with a decoder in this process.

    model          an nn.Module like models.decoder.Decoder: hidden(inputs, cache, slots), logits, new_cache; shared, not
                   copied: a learner's step is seen at once
    num_slots      responses decoded together at most; each costs max_tokens of cache
    max_tokens     prompt + response at most; None: the model's context. Memory follows what requests ask for
    dtype          None: compute as the weights are; torch.bfloat16: autocast; benchmarks/generation.py compares
    deterministic  one row at a time: exact whatever else is generated, at the speed of batch 1
    """

    def __init__(
        self,
        model: Any,
        tokenizer: TokenizerLike,
        *,
        num_slots: int = 64,
        max_tokens: int | None = None,
        dtype: torch.dtype | None = None,
        deterministic: bool = False,
    ) -> None:
        super().__init__(model, tokenizer, max_tokens=max_tokens, dtype=dtype)
        self.num_slots = 1 if deterministic else num_slots
        self.deterministic = deterministic
        self._cache: Any = None
        self._cache_size = (0, 0)

    def _steps(self, responses: list[Response]) -> Iterator[int]:
        open_ = [r for r in responses if r.finish is None]
        num_done = len(responses) - len(open_)
        yield num_done
        if not open_:
            return
        # longest first: neighbours have similar prompts, and equal prompts stand side by side
        waiting = deque(sorted(open_, key=lambda r: (-len(r.request.prompt_ids), r.request.prompt_ids)))
        rows = _Rows(self.model, self._room(open_))
        enough_free = max(1, min(self.num_slots, len(open_)) // 8)
        while waiting or rows.responses:
            free = rows.num_slots - len(rows.responses)
            if waiting and (not rows.responses or free >= enough_free):
                rows.admit([waiting.popleft() for _ in range(min(free, len(waiting)))])
            else:
                rows.step()
            num_done += rows.leave()
            yield num_done

    def _room(self, responses: list[Response]) -> tuple[Any, int]:
        """A cache large enough for these responses, the last one if it is, and how many slots to use."""
        slots = min(self.num_slots, len(responses))
        longest = max(len(r.request.prompt_ids) + r.limit for r in responses)
        length = min(-(-longest // CACHE_STEP) * CACHE_STEP, self.model.context)
        if self._cache is None or self._cache_size[0] < slots or self._cache_size[1] < length:
            self._cache = None  # free the old one first
            self._cache = self.model.new_cache(slots, length)
            self._cache_size = (slots, length)
        return self._cache, slots


class _Rows:
    """The responses being decoded, row i in slot i, and the tensors of their next step."""

    def __init__(self, model: Any, room: tuple[Any, int]) -> None:
        self.model, (self.cache, self.num_slots) = model, room
        self.device = device_of(model)
        self.responses: list[Response] = []
        self.drawer: Drawer | None = None  # None: rows have changed since
        self.kept: tuple[tuple[int, ...], Tensor] | None = None  # the prompt in slot 0 and its logits, if one slot

    def admit(self, new: list[Response]) -> None:
        """Read the prompts of these responses, each once, and draw their first tokens."""
        base = len(self.responses)
        prompts = list(dict.fromkeys(r.request.prompt_ids for r in new))
        if self.kept is not None and prompts == [self.kept[0]]:
            logits_UV = self.kept[1]  # slot 0 still holds this prompt: decoding only wrote behind it
        else:
            logits_UV = torch.cat([self._prefill(part, base + at) for at, part in _similar(prompts)])
        if self.num_slots == 1:
            self.kept = (prompts[0], logits_UV)
        row_of = {ids: i for i, ids in enumerate(prompts)}
        firsts: dict[tuple[int, ...], Response] = {}
        copies = []
        for response in new:
            if firsts.setdefault(response.request.prompt_ids, response) is not response:
                copies.append(response)
        for slot, response in enumerate(copies, base + len(prompts)):
            ids = response.request.prompt_ids
            self.cache.copy_slot(base + row_of[ids], slot, len(ids))
        added = [*firsts.values(), *copies]
        self.responses += added
        self.drawer = None
        index = torch.tensor([row_of[r.request.prompt_ids] for r in added], device=self.device)
        take(added, drawer_of(added, self.model, self.device), logits_UV[index])

    def step(self) -> None:
        """One token for every row."""
        if self.drawer is None:
            rows = self.responses
            self.drawer = drawer_of(rows, self.model, self.device)
            self.input_B1 = torch.tensor([[r.ids[-1]] for r in rows], device=self.device)
            self.position_B1 = torch.tensor([[r.num_tokens - 1] for r in rows], device=self.device)
            self.segment_B1 = torch.zeros_like(self.position_B1)
        inputs = Inputs(self.input_B1, self.position_B1, self.segment_B1)
        hidden_B1H = self.model.hidden(inputs, cache=self.cache, slots_P=None)
        ids_B = take(self.responses, self.drawer, self.model.logits(hidden_B1H[:, 0]))
        self.input_B1, self.position_B1 = ids_B[:, None], self.position_B1 + 1

    def leave(self) -> int:
        """Let finished responses go, the last rows taking their slots. Returns how many went."""
        num_before = len(self.responses)
        for row in range(num_before - 1, -1, -1):
            if self.responses[row].finish is None:
                continue
            last = self.responses.pop()
            if row < len(self.responses):
                self.responses[row] = last
                self.cache.copy_slot(len(self.responses), row, last.num_tokens - 1)
        num_left = num_before - len(self.responses)
        if num_left:
            self.drawer = None
        return num_left

    def _prefill(self, prompts: list[tuple[int, ...]], slot: int) -> Tensor:
        """Read prompts into slots from `slot` on; the logits after each (P, V)."""
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
            hidden_PLH = self.model.hidden(inputs, cache=self.cache, slots_P=slots_P)
            at_P = (last_P - begin).clamp(0, hidden_PLH.shape[1] - 1)
            found_PH = hidden_PLH[torch.arange(len(prompts), device=self.device), at_P]
            inside_P1 = (last_P >= begin)[:, None]
            hidden_PH = found_PH if hidden_PH is None else torch.where(inside_P1, found_PH, hidden_PH)
        assert hidden_PH is not None
        return self.model.logits(hidden_PH)


def _similar(prompts: list[tuple[int, ...]]) -> Iterator[tuple[int, list[tuple[int, ...]]]]:
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
