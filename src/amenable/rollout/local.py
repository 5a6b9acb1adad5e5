"""Generation inside the process: preallocated key-value cache, continuous batching, the learner's own weights.

Responses sit in slots 0 to n-1 without gaps, so that every step reads the cache as one slice: a row that ends is
overwritten by the last one, and waiting requests enter behind, many prompts at a time. A prompt wanted several times
is read once and its slot copied.

Two ways through the model (forward.py): a Decoder on a CPU with a C++ compiler at hand runs compiled, everything else
on the model's own operations. There, a response depends on its neighbours by float rounding of differently shaped
matrix products (logits within 1e-4), unless deterministic=True runs rows one by one in slot 0, so that every operation
has a shape that follows from the response alone. (A full batch of fixed size would not do: kernels treat the last rows
of a tile differently, and a request may land in any row.) Compiled, a response never depends on its neighbours.

Shape letters: B rows being decoded, U prompts, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from amenable.errors import ConfigError
from amenable.rollout.engine import TokenizerLike
from amenable.rollout.forward import Forward, PlainForward
from amenable.rollout.inprocess import InProcess, drawer_of, take
from amenable.rollout.response import Response
from amenable.rollout.sampling import Drawer
from amenable.types import Decode

CACHE_STEP = 64  # the cache's length is a multiple of this, so that similar calls reuse it


@runtime_checkable
class Compilable(Protocol):
    """A model that may have a compiled way, as models.decoder.Decoder."""

    def why_not_compiled(self) -> str | None: ...

    def compiled(self, weights: str) -> Any: ...


class LocalEngine(InProcess):
    """Generates with a decoder in this process.

    model          an nn.Module like models.decoder.Decoder: hidden(inputs, cache, slots), logits, new_cache. A learner's
                   step is seen at the next call
    num_slots      responses decoded together at most; each costs max_tokens of cache
    max_tokens     prompt + response at most; None: the model's context. Memory follows what requests ask for
    dtype          None: compute as the weights are; torch.bfloat16: autocast, or bfloat16 copies of the weights
    deterministic  exact whatever else is generated; on the plain way at the speed of batch 1
    decode         "auto": compiled where it can be, else plain; "plain": through the model's own operations; "compiled":
                   ConfigError where it cannot be; "int8": compiled with weights of 8 bits, whose log-probs differ from
                   the model's by some hundredths of a nat
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
        decode: Decode = "auto",
    ) -> None:
        super().__init__(model, tokenizer, max_tokens=max_tokens, dtype=dtype)
        self.num_slots, self.deterministic, self.decode = num_slots, deterministic, decode
        self._plain: PlainForward | None = None
        self._compiled: Any = None
        self.why_plain()  # a setting that cannot be is refused at once

    def why_plain(self) -> str | None:
        """Why this engine runs on the model's own operations; None: it runs compiled."""
        if self.decode == "plain":
            return "decode is set to plain"
        if not isinstance(self.model, Compilable):
            reason: str | None = "the model has no compiled form"
        elif self.dtype not in (None, torch.bfloat16, torch.float32):
            reason = f"there is no compiled form in {self.dtype}"
        else:
            reason = self.model.why_not_compiled()
        if reason is not None and self.decode != "auto":
            raise ConfigError(
                f"the model cannot run compiled: {reason}", where=f"decode = {self.decode!r}", mend='set it to "auto"'
            )
        return reason

    def _forward(self) -> Forward:
        """The way of this call: hooks and adapters may have come and gone."""
        if self.why_plain() is not None:
            self._compiled = None
            self._plain = self._plain or PlainForward(self.model)
            return self._plain
        self._plain = None
        if self._compiled is None:
            half = (self.dtype or next(self.model.parameters()).dtype) == torch.bfloat16
            weights = "int8" if self.decode == "int8" else "bfloat16" if half else "float32"
            self._compiled = cast(Compilable, self.model).compiled(weights)
        return cast(Forward, self._compiled)

    def _steps(self, responses: list[Response]) -> Iterator[int]:
        open_ = [r for r in responses if r.finish is None]
        num_done = len(responses) - len(open_)
        yield num_done
        if not open_:
            return
        forward = self._forward()
        num_slots = min(1 if self.deterministic and not forward.exact else self.num_slots, len(open_))
        longest = max(len(r.request.prompt_ids) + r.limit for r in open_)
        forward.refresh()
        forward.reserve(num_slots, min(-(-longest // CACHE_STEP) * CACHE_STEP, self.model.context))
        # longest first: neighbours have similar prompts, and equal prompts stand side by side
        waiting = deque(sorted(open_, key=lambda r: (-len(r.request.prompt_ids), r.request.prompt_ids)))
        rows = _Rows(self.model, forward, num_slots, apart=self.deterministic)
        enough_free = max(1, num_slots // 8)
        while waiting or rows.responses:
            free = num_slots - len(rows.responses)
            if waiting and (not rows.responses or free >= enough_free):
                rows.admit([waiting.popleft() for _ in range(min(free, len(waiting)))])
            else:
                rows.step()
            num_done += rows.leave()
            yield num_done


class _Rows:
    """The responses being decoded, row i in slot i, and what their next step reads."""

    def __init__(self, model: Any, forward: Forward, num_slots: int, *, apart: bool) -> None:
        self.model, self.forward, self.num_slots, self.apart = model, forward, num_slots, apart
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
            logits_UV = self.forward.prefill(prompts, base)
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
            self.forward.copy_slot(base + row_of[ids], slot, len(ids))
        added = [*firsts.values(), *copies]
        self.responses += added
        self.drawer = None
        index = torch.tensor([row_of[r.request.prompt_ids] for r in added], device=logits_UV.device)
        take(added, self._drawer(added, logits_UV), logits_UV[index])

    def step(self) -> None:
        """One token for every row."""
        if self.drawer is None:
            rows = self.responses
            self.tokens_B = np.array([r.ids[-1] for r in rows])
            self.positions_B = np.array([r.num_tokens - 1 for r in rows])
        logits_BV = self.forward.decode(self.tokens_B, self.positions_B)
        if self.drawer is None:
            self.drawer = self._drawer(self.responses, logits_BV)
        self.tokens_B = np.array(take(self.responses, self.drawer, logits_BV))
        self.positions_B += 1

    def _drawer(self, responses: list[Response], logits: Tensor) -> Drawer:
        return drawer_of(responses, self.model, logits.device, kernel=self.forward.draw, apart=self.apart)

    def leave(self) -> int:
        """Let finished responses go, the last rows taking their slots. Returns how many went."""
        num_before = len(self.responses)
        for row in range(num_before - 1, -1, -1):
            if self.responses[row].finish is None:
                continue
            last = self.responses.pop()
            if row < len(self.responses):
                self.responses[row] = last
                self.forward.copy_slot(len(self.responses), row, last.num_tokens - 1)
        num_left = num_before - len(self.responses)
        if num_left:
            self.drawer = None
        return num_left
