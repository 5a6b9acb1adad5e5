"""A model to talk to: what `amenable chat` holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from amenable.chat.render import render_prompt, render_source
from amenable.chat.tokenizer import Tokenizer
from amenable.models.folder import load_model
from amenable.rollout.engine import Request
from amenable.rollout.slow import make_engine
from amenable.stages.build import asked_with, for_generation, require_fit
from amenable.types import Decode, Message, Prompt, Sampling, text


class Talker:
    """Streams answers of one model. A model without a chat template is spoken to in a plain one, told by `note`."""

    def __init__(self, folder: Path | str, *, decode: Decode = "auto") -> None:
        self.folder = Path(folder)
        compute = for_generation()
        model = load_model(folder, device=compute.device)
        tokenizer = Tokenizer.load(folder)
        require_fit(model, tokenizer, self.folder)
        self.tokenizer = asked_with(model, tokenizer)
        self.note = "" if self.tokenizer is tokenizer else "this model has no chat template: a plain one is used"
        self.model, self.context = model, model.context
        self.engine = make_engine(model, self.tokenizer, dtype=compute.half, decode=decode)

    def stream(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Iterator[str]:
        """The answer to a conversation, piece by piece. The oldest requests and their answers are left out when the context is full."""
        for token in self.engine.stream(self.request(messages, sampling, seed)):
            if token.text:
                yield token.text

    def request(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Request:
        """What an engine is asked for the next turn of a conversation."""
        ids = self._fit(list(messages), sampling)
        prompt = Prompt(id="chat", messages=tuple(messages) or (text(""),))
        return Request(prompt=prompt, prompt_ids=tuple(ids), sampling=sampling, seed=seed)

    def _fit(self, messages: list[Message], sampling: Sampling) -> list[int]:
        render = render_source if self.model.kind == "seq2seq" else render_prompt
        ids = render(messages, self.tokenizer)
        room = self.context - min(sampling.max_tokens, self.context // 4)
        while len(ids) > room and len(asked := [i for i, m in enumerate(messages) if m.role == "user"]) > 1:
            del messages[asked[0] : asked[1]]  # with its answer: templates want a user's turn first
            ids = render(messages, self.tokenizer)
        return ids
