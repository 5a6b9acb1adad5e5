"""A response while it grows: ids, log-probs, text, and when it ends. Both engines keep one per request."""

from __future__ import annotations

from amenable.rollout.engine import OnToken, Request, TextStream, Token, TokenizerLike
from amenable.rollout.sampling import FAILED
from amenable.types import FinishReason, Rollout

NOT_FINITE = "the model's logits were not finite (NaN or infinite) at token {} of the response"


class Response:
    """What has been drawn for one request.

    limit: tokens at most, by the request and by the room that the model's context leaves.
    """

    __slots__ = (
        "failure",
        "finish",
        "ids",
        "index",
        "key",
        "limit",
        "logprobs",
        "on_token",
        "request",
        "stop_ids",
        "stops",
        "text",
        "tokenizer",
    )

    def __init__(
        self, index: int, request: Request, tokenizer: TokenizerLike, limit: int, on_token: OnToken | None
    ) -> None:
        self.index, self.request, self.tokenizer, self.limit, self.on_token = index, request, tokenizer, limit, on_token
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.finish: FinishReason | None = None
        self.failure: str | None = None
        self.stop_ids = frozenset(tokenizer.stop_ids)
        self.stops = request.sampling.stop
        self.text = StoppedText(tokenizer.stream(), self.stops) if self.stops or on_token else None

    @property
    def num_tokens(self) -> int:
        """Prompt and response."""
        return len(self.request.prompt_ids) + len(self.ids)

    def push(self, id: int, logprob: float) -> None:
        """Take the next token; sets `finish` when it is the last."""
        if id == FAILED:
            self.fail(NOT_FINITE.format(len(self.ids) + 1))
            return
        self.ids.append(id)
        self.logprobs.append(logprob)
        if id in self.stop_ids:
            self.finish = "stop"
        elif len(self.ids) >= self.limit:
            self.finish = "length"
        if self.text is not None:
            self._push_text(id, logprob, self.text)

    def fail(self, why: str) -> None:
        self.finish, self.failure = "failed", why

    def _push_text(self, id: int, logprob: float, text: StoppedText) -> None:
        added = "" if self.finish == "stop" else text.push(id)
        if self.finish and not text.hit:
            added += text.finish()
        if text.hit:
            self.finish = "stop"
        if self.on_token is not None:
            self.on_token(self.index, Token(id=id, text=added, logprob=logprob))

    def _whole_text(self) -> str:
        if self.text is not None:
            return self.text.shown
        return self.tokenizer.decode(self.ids[:-1] if self.finish == "stop" else self.ids)

    def rollout(self, policy_version: int) -> Rollout:
        """The finished response as a record."""
        assert self.finish is not None
        return Rollout(
            prompt=self.request.prompt,
            prompt_ids=self.request.prompt_ids,
            response_ids=tuple(self.ids),
            logprobs=tuple(self.logprobs),
            text=self._whole_text(),
            finish=self.finish,
            policy_version=policy_version,
            seed=self.request.seed,
            failure=self.failure,
        )


class StoppedText:
    """Text that grows token by token and ends before the first stop string.

    `push` returns what is certain to stay; an end of the text that may be the start of a stop string is held back.
    Each token costs a look at the held-back part only.
    """

    def __init__(self, decoder: TextStream, stops: tuple[str, ...]) -> None:
        self.decoder, self.stops = decoder, tuple(s for s in stops if s)
        self.shown = ""
        self.held = ""
        self.hit = False

    def push(self, id: int) -> str:
        """Take the next token."""
        return self._take(self.decoder.push(id))

    def finish(self) -> str:
        """What was held back, once nothing follows."""
        added = self._take(self.decoder.finish())
        return added if self.hit else added + self._show(len(self.held))

    def _take(self, text: str) -> str:
        self.held += text
        starts = [at for stop in self.stops if (at := self.held.find(stop)) >= 0]
        if starts:
            self.hit = True
            return self._show(min(starts))
        return self._show(len(self.held) - self._may_begin_stop())

    def _may_begin_stop(self) -> int:
        """Length of the longest end of `held` with which a stop string begins."""
        longest = max((len(stop) - 1 for stop in self.stops), default=0)
        for size in range(min(longest, len(self.held)), 0, -1):
            if any(stop.startswith(self.held[-size:]) for stop in self.stops):
                return size
        return 0

    def _show(self, size: int) -> str:
        safe, self.held = self.held[:size], self.held[size:]
        self.shown += safe
        return safe


def limit_of(request: Request, kind: str, context: int, vocab_size: int) -> tuple[int, str | None]:
    """(response tokens at most, why it cannot be generated or None).

    Every token counts against the context, the last too, so that a learner can read the whole rollout; an
    encoder-decoder's source and response each have the context to themselves, the response less its start token.
    """
    ids = request.prompt_ids
    apart = kind == "seq2seq"
    room = context - (1 if apart else len(ids))
    if not ids:
        return 0, "the prompt has no tokens"
    if room < 1 or (apart and len(ids) > context):
        return 0, f"the prompt has {len(ids)} tokens; the context of {context} leaves no room for a response"
    if min(ids) < 0 or max(ids) >= vocab_size:
        bad = next(i for i in ids if not 0 <= i < vocab_size)
        return 0, f"the prompt holds token id {bad}, but the model's vocabulary has {vocab_size} entries"
    return min(request.sampling.max_tokens, room), None
