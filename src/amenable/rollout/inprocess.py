"""What engines of this process share: requests become responses, the model is put into evaluation mode and back.

A subclass says how the tokens come about in `_steps`. Nothing here imports models/: a model is an object handed in.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amenable.errors import RolloutError
from amenable.rollout.engine import OnProgress, OnToken, Request, Token, TokenizerLike
from amenable.rollout.response import Response, limit_of
from amenable.rollout.sampling import Drawer, DrawKernel
from amenable.types import Rollout


class InProcess:
    """An Engine over a model object; `policy_version` is what its rollouts carry."""

    def __init__(
        self, model: Any, tokenizer: TokenizerLike, *, max_tokens: int | None, dtype: torch.dtype | None
    ) -> None:
        self.model, self.tokenizer, self.dtype = model, tokenizer, dtype
        self.context: int = model.context if max_tokens is None else min(max_tokens, model.context)
        self.policy_version = 0

    def load_weights(self, version: int) -> None:
        """Note which version the shared weights are; nothing is copied."""
        self.policy_version = version

    def generate(
        self,
        requests: Sequence[Request],
        *,
        on_token: OnToken | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Rollout]:
        """See Engine."""
        responses = self._start(requests, on_token)
        reported = 0
        with evaluating(self.model), self._computing():
            for num_done in self._steps(responses):
                if on_progress is not None and num_done > reported:
                    on_progress(num_done, len(responses))
                reported = num_done
        return [response.rollout(self.policy_version) for response in responses]

    def steps(
        self, requests: Sequence[Request], *, on_token: OnToken | None = None
    ) -> Generator[int, None, list[Rollout]]:
        """As `generate`, one call of the model at a time: yields how many responses are finished after each."""
        responses = self._start(requests, on_token)
        steps = self._steps(responses)
        with evaluating(self.model):
            while True:
                with self._computing():  # never across a yield: these modes belong to the thread, not to the generator
                    num_done = next(steps, None)
                if num_done is None:
                    break
                yield num_done
        return [response.rollout(self.policy_version) for response in responses]

    def stream(self, request: Request) -> Iterator[Token]:
        """See Engine."""
        drawn: deque[Token] = deque()
        rollouts: list[Rollout] = []

        def run() -> Iterator[int]:
            rollouts.extend((yield from self.steps([request], on_token=lambda _, token: drawn.append(token))))

        for _ in run():
            while drawn:
                yield drawn.popleft()
        if rollouts[0].failure:
            raise RolloutError(rollouts[0].failure, where=f"prompt {request.prompt.id!r}")

    def _steps(self, responses: list[Response]) -> Iterator[int]:
        """Generate everything, one call of the model at a time; yields how many responses are finished after each."""
        raise NotImplementedError

    def _start(self, requests: Sequence[Request], on_token: OnToken | None) -> list[Response]:
        responses = []
        for index, request in enumerate(requests):
            limit, failure = limit_of(request, self.model.kind, self.context, self.model.vocab_size)
            responses.append(Response(index, request, self.tokenizer, limit, on_token))
            if failure:
                responses[-1].fail(failure)
        return responses

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        device = device_of(self.model).type
        with torch.inference_mode(), torch.autocast(device, dtype=self.dtype, enabled=self.dtype is not None):
            yield


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout and the like off inside; every module's mode restored afterwards, whatever happens."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def drawer_of(
    responses: Sequence[Response],
    model: Any,
    device: torch.device,
    *,
    kernel: DrawKernel | None = None,
    apart: bool = False,
) -> Drawer:
    """A Drawer that stands where these responses stand."""
    source_counts = model.kind != "seq2seq"  # an encoder's source is not part of the text that is being written
    return Drawer(
        [r.request.sampling for r in responses],
        [r.request.seed for r in responses],
        [len(r.ids) for r in responses],
        [(*r.request.prompt_ids, *r.ids) if source_counts else r.ids for r in responses],
        vocab_size=model.vocab_size,
        device=device,
        kernel=kernel,
        apart=apart,
    )


def take(responses: Sequence[Response], drawer: Drawer, logits_BV: Tensor) -> list[int]:
    """Draw one token for each response and hand it over; the ids."""
    ids, logprobs = drawer.draw(logits_BV)
    for response, id, logprob in zip(responses, ids, logprobs, strict=True):
        response.push(id, logprob)
    return ids
