"""What every engine offers: requests in, rollouts out, or one response token by token.

A stage or a chat talks to this protocol only; local.py (own cache, batched), slow.py (any model) and later engines of
other servers stand behind it. A response depends on weights, prompt, sampling and seed, not on what else is generated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from amenable.types import Prompt, Record, Rollout, Sampling


class Request(Record, frozen=True):
    """One response wanted. K responses to a prompt are K requests with different seeds: the prompt is read once.

    >>> from amenable.types import text
    >>> Request(prompt=Prompt(id="p", messages=(text("Once"),)), prompt_ids=(1, 17), seed=3).sampling.temperature
    1.0
    """

    prompt: Prompt
    prompt_ids: tuple[int, ...]  # rendered, generation prompt included; the source of an encoder-decoder
    sampling: Sampling = Sampling()
    seed: int = 0


class Token(Record, frozen=True):
    """One drawn token. `text` is what it adds to the visible response: empty while a character is incomplete or a stop
    string may have begun, then several at once; the texts of a response add up to Rollout.text."""

    id: int
    text: str
    logprob: float  # nats, full vocabulary, at the sampling temperature


OnToken = Callable[[int, Token], None]
"""Called with the index of the request and each token as it is drawn."""
OnProgress = Callable[[int, int], None]
"""Called with (responses finished, responses wanted) whenever some finish."""


class Engine(Protocol):
    """Generates with one policy."""

    policy_version: int
    context: int  # prompt and response tokens at most

    def generate(
        self,
        requests: Sequence[Request],
        *,
        on_token: OnToken | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Rollout]:
        """One rollout per request, in their order. What cannot be generated comes back with finish "failed" and the
        reason in `failure`; it never stops the others."""
        ...

    def stream(self, request: Request) -> Iterator[Token]:
        """The tokens of one response as they are drawn. Raises RolloutError where `generate` would report a failure."""
        ...

    def load_weights(self, version: int) -> None:
        """Make the weights of this version the ones that generate; rollouts carry the number from now on."""
        ...


class TextStream(Protocol):
    """Turns token ids into text one at a time, never half a character; see chat.tokenizer."""

    def push(self, token: int, /) -> str: ...
    def finish(self) -> str: ...


class TokenizerLike(Protocol):
    """What engines need of chat.tokenizer.Tokenizer."""

    @property
    def stop_ids(self) -> Any: ...

    def decode(self, ids: Sequence[int], /) -> str: ...

    def stream(self) -> TextStream: ...
