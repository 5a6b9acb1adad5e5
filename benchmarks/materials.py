"""Models and data that both sides read: random weights, random words, every word one token.

A folder for each size: policy/ and reward/ (Hugging Face layout, with tokenizer), and for each work WORK.jsonl (records
for amenable) and WORK.ids.json (the very token ids and texts, for peers).
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

from amenable.chat.render import render
from amenable.chat.tokenizer import Tokenizer, train_bpe
from amenable.models.config import DecoderConfig
from amenable.models.folder import new_model, save_model
from amenable.models.heads import ScalarHead
from amenable.types import assistant, user
from benchmarks.work import PROMPT_TOKENS, SIZES, WORKS, Size, row_lengths

TEMPLATE_TOKENS = 5
"""What the chat template adds to a prompt and a response: bos, two roles, two ends."""
VARIABLE_STEPS = 16


def make(folder: Path, size: str) -> Path:
    """Write the materials of a size, or leave those that are there; returns their folder."""
    home = folder / size
    if (home / "done").exists():
        return home
    home.mkdir(parents=True, exist_ok=True)
    shape = SIZES[size]
    config = decoder_config(shape).replace(bos_id=1, eos_id=2, pad_id=0)
    tokenizer = word_tokenizer(shape.vocab_size)
    for name, seed in (("policy", 0), ("reward", 1)):
        head = ScalarHead(shape.hidden_size, start="small", generator=torch.Generator().manual_seed(seed))
        tokenizer.save(home / name)
        save_model(new_model(config, seed=seed), home / name, heads={"reward": head} if name == "reward" else None)
    for work in WORKS:
        write(home, work, size, tokenizer)
    (home / "done").touch()
    return home


def decoder_config(size: Size) -> DecoderConfig:
    """The decoder of a size."""
    return DecoderConfig(
        vocab_size=size.vocab_size, hidden_size=size.hidden_size, num_layers=size.num_layers, num_heads=size.num_heads,
        num_kv_heads=size.num_heads, head_dim=size.head_dim, mlp_size=size.mlp_size, context=size.context,
    )  # fmt: skip


def word_tokenizer(vocab_size: int) -> Tokenizer:
    """A byte-level BPE of about this size; some thousand of its tokens are whole words behind a space."""
    draw = random.Random(vocab_size)
    syllables = [c + v for c in "bdfghklmnprstvz" for v in "aeiou"]
    words = ["".join(draw.choices(syllables, k=draw.choice((2, 3)))) for _ in range(vocab_size)]
    return train_bpe([" " + " ".join(words * 3)], vocab_size)


def write(home: Path, work: str, size: str, tokenizer: Tokenizer) -> None:
    """Records of a work for amenable, and the same as ids and texts for peers."""
    draw = random.Random(f"{work} {size}")
    words = Words(draw, tokenizer)
    rows: list[dict[str, Any]] = []
    peers: list[dict[str, Any]] = []
    stage = WORKS[work].stage
    if stage == "sft":
        for step in range(VARIABLE_STEPS if work == "sft-variable" else 1):
            for length in row_lengths(work, size, seed=step):
                messages = [user(words(2)), assistant(words(length - TEMPLATE_TOKENS - 2))]
                rows.append({"messages": [{"role": m.role, "content": m.content} for m in messages]})
                rendered = render(messages, tokenizer)
                labels = [i if t else -100 for i, t in zip(rendered.ids, rendered.trained, strict=True)]
                peers.append({"input_ids": list(rendered.ids), "labels": labels})
    elif stage in ("reward", "dpo"):
        lengths = row_lengths(work, size)
        for first, second in zip(lengths[0::2], lengths[1::2], strict=True):
            shared = min(first, second) // 3
            prompt, chosen, rejected = (
                words(n - TEMPLATE_TOKENS) for n in (shared + 5, first - shared, second - shared)
            )
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
            start = f"<|bos|><|user|>{prompt}<|end|><|assistant|>"
            peers.append({"prompt": start, "chosen": f"{chosen}<|end|>", "rejected": f"{rejected}<|end|>"})
    else:
        shortest, longest = PROMPT_TOKENS[size]
        for _ in range(WORKS[work].rows[size]):
            prompt = words(draw.randint(shortest, longest) - 4)
            rows.append({"prompt": prompt})
            peers.append({"prompt": f"<|bos|><|user|>{prompt}<|end|><|assistant|>"})
    (home / f"{work}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / f"{work}.ids.json").write_text(json.dumps(peers))


class Words:
    """So many random words, each one token, each behind a space."""

    def __init__(self, draw: random.Random, tokenizer: Tokenizer) -> None:
        self.draw = draw
        spelled = (tokenizer.decode([i]) for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids)
        self.words = [word for word in spelled if word.startswith(" ") and word.strip().isalpha()]

    def __call__(self, count: int) -> str:
        return "".join(self.draw.choices(self.words, k=max(1, count)))
