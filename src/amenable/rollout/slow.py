"""Generation for models without a cache: the whole text is read again for every token.

Right for any architecture behind the common model interface, and slow: the cost of a response grows with the square of
its length. Encoder-decoders read the prompt as their source at every step too; responses begin after
the model's start token. Sampling, seeds, stops and failures are those of LocalEngine.

Shape letters: B rows, L tokens of the longest row, S source tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from amenable.batch import Inputs, pad
from amenable.errors import ConfigError, ModelError
from amenable.rollout.engine import Engine, TokenizerLike
from amenable.rollout.inprocess import InProcess, device_of, drawer_of, take
from amenable.rollout.local import LocalEngine
from amenable.rollout.response import Response
from amenable.types import Decode


def make_engine(
    model: Any,
    tokenizer: TokenizerLike,
    *,
    num_slots: int = 64,
    max_tokens: int | None = None,
    dtype: torch.dtype | None = None,
    deterministic: bool = False,
    decode: Decode = "auto",
) -> Engine:
    """The fastest engine that fits the model: LocalEngine if it has a cache, else SlowEngine; options as there."""
    require_writer(model)
    if not hasattr(model, "new_cache"):
        if decode in ("compiled", "int8"):
            raise ConfigError(
                f"a {model.kind} without a cache cannot run compiled",
                where=f"decode = {decode!r}",
                mend='set it to "auto"',
            )
        return SlowEngine(
            model, tokenizer, num_slots=num_slots, max_tokens=max_tokens, dtype=dtype, deterministic=deterministic
        )
    return LocalEngine(
        model,
        tokenizer,
        num_slots=num_slots,
        max_tokens=max_tokens,
        dtype=dtype,
        deterministic=deterministic,
        decode=decode,
    )


def require_writer(model: Any) -> None:
    """Raise ModelError for a model that writes no text."""
    if model.kind == "encoder":
        raise ModelError(
            "an encoder (BERT and the like) cannot generate: it fills masks and writes no text",
            mend="choose a decoder or an encoder-decoder",
        )


class SlowEngine(InProcess):
    """Generates with any model of the common interface (decoder or encoder-decoder); options as LocalEngine's."""

    def __init__(
        self,
        model: Any,
        tokenizer: TokenizerLike,
        *,
        num_slots: int = 16,
        max_tokens: int | None = None,
        dtype: torch.dtype | None = None,
        deterministic: bool = False,
    ) -> None:
        super().__init__(model, tokenizer, max_tokens=max_tokens, dtype=dtype)
        self.num_slots = 1 if deterministic else num_slots
        self.start: tuple[int, ...] = ()
        if model.kind == "seq2seq":
            self.start = (_start_id(model, tokenizer),)

    def _steps(self, responses: list[Response]) -> Iterator[int]:
        open_ = [r for r in responses if r.finish is None]
        num_done = len(responses) - len(open_)
        yield num_done
        waiting = sorted(open_, key=lambda r: len(r.request.prompt_ids))
        rows: list[Response] = []
        device = device_of(self.model)
        drawer = None
        while waiting or rows:
            if waiting and len(rows) < self.num_slots:
                while waiting and len(rows) < self.num_slots:
                    rows.append(waiting.pop())
                drawer = None
            drawer = drawer or drawer_of(rows, self.model, device)
            take(rows, drawer, self._logits(rows, device))
            left = [r for r in rows if r.finish is None]
            num_done += len(rows) - len(left)
            rows, drawer = left, drawer if len(left) == len(rows) else None
            yield num_done

    def _logits(self, rows: list[Response], device: torch.device) -> Tensor:
        """After the last token of each row (B, V)."""
        if self.start:
            texts: list[Sequence[int]] = [(*self.start, *r.ids) for r in rows]
        else:
            texts = [(*r.request.prompt_ids, *r.ids) for r in rows]
        sources = [r.request.prompt_ids for r in rows] if self.start else None
        hidden_BLH = self.model.hidden(inputs_of(texts, sources, device))
        last_B = torch.tensor([len(text) - 1 for text in texts], device=device)
        return self.model.logits(hidden_BLH[torch.arange(len(rows), device=device), last_B])


def inputs_of(texts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None, device: torch.device) -> Inputs:
    """Texts one a row, padded on the right; sources of an encoder-decoder beside them."""
    tokens_BL = pad(texts, dtype=torch.long).to(device)
    length_B1 = torch.tensor([[len(text)] for text in texts], device=device)
    position_L = torch.arange(tokens_BL.shape[1], device=device)
    positions_BL = position_L.expand_as(tokens_BL)
    segments_BL = (position_L >= length_B1).long().neg()
    if sources is None:
        return Inputs(tokens_BL, positions_BL, segments_BL)
    source_BS = pad(sources, dtype=torch.long).to(device)
    source_valid_BS = pad([[True] * len(source) for source in sources], dtype=torch.bool).to(device)
    return Inputs(tokens_BL, positions_BL, segments_BL, source_PS=source_BS, source_valid_PS=source_valid_BS)


def _start_id(model: Any, tokenizer: Any) -> int:
    start = tokenizer.decoder_start if model.start_id is None else model.start_id
    if start is None:
        raise ModelError(
            "nothing says with which token an encoder-decoder's response starts",
            mend="set decoder_start_token_id in the model folder's config.json",
        )
    return int(start)
