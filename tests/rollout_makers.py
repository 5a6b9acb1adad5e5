"""Small models, tokenizers and requests for the tests of rollout/."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from amenable.chat.tokenizer import Tokenizer, train_bpe
from amenable.models.decoder import Decoder, DecoderConfig
from amenable.rollout.engine import Request
from amenable.types import Prompt, Sampling, text

WORDS = "the cat sat on the mat and the old dog ran to the red house by the sea. ä ö 猫 😀 "


@lru_cache
def tokenizer() -> Tokenizer:
    return train_bpe([WORDS * 40], vocab_size=320)


@lru_cache
def stopping() -> Tokenizer:
    """The same with many stop ids, so that a random model's responses end at different lengths."""
    return tokenizer().with_changes(stop_ids=range(250, 270))


def decoder(seed: int = 0, **changes: Any) -> Decoder:
    """Weights large enough that the distributions are far from uniform and depend on the text."""
    model = Decoder(DecoderConfig.tiny(tokenizer().vocab_size, **changes)).init_weights(
        torch.Generator().manual_seed(seed)
    )
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.15)
    return model.eval()


def request(ids: list[int] | tuple[int, ...] | str, seed: int = 0, **sampling: Any) -> Request:
    if isinstance(ids, str):
        ids = tokenizer().encode(ids)
    prompt = Prompt(id=f"p{seed}", messages=(text("x"),))
    return Request(prompt=prompt, prompt_ids=tuple(ids), sampling=Sampling(**sampling), seed=seed)


def mixed_requests(count: int = 24) -> list[Request]:
    """Prompts of several lengths, some wanted several times; every setting of sampling somewhere."""
    settings: list[dict[str, Any]] = [
        {},
        {"temperature": 0.0},
        {"temperature": 0.7, "top_k": 20},
        {"top_p": 0.9},
        {"min_p": 0.05, "temperature": 1.3},
        {"repetition_penalty": 1.3},
        {"temperature": 0.0, "repetition_penalty": 1.2},
    ]
    draw = torch.Generator().manual_seed(3)
    prompts = [torch.randint(6, tokenizer().vocab_size, (n,), generator=draw).tolist() for n in (3, 5, 9, 17, 30)]
    return [
        request(prompts[i // 3 % len(prompts)], seed=i, max_tokens=1 + (7 * i) % 23, **settings[i % len(settings)])
        for i in range(count)
    ]
