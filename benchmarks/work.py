"""What is measured: model sizes, works, peers and targets. Plain data; read by amenable's side and by the peers'.

A step's rows are the same at every step (but for the work sft-variable), so that both sides do equal work in any order.
Works and targets are those that docs/benchmarks.md explains.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

FILL = 0.45
"""Mean length of a row as a share of the longest."""


@dataclass(frozen=True)
class Size:
    """A Llama-shaped model with tied embeddings."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    head_dim: int
    mlp_size: int
    context: int

    @property
    def trunk_parameters(self) -> int:
        """Those of matrix products below the vocabulary head."""
        attention = 4 * self.hidden_size * self.num_heads * self.head_dim
        return self.num_layers * (attention + 3 * self.hidden_size * self.mlp_size)

    @property
    def head_parameters(self) -> int:
        return self.vocab_size * self.hidden_size


SIZES = {
    "T": Size(512, 32, 2, 4, 8, 64, 256),  # for tests
    "S": Size(4096, 128, 4, 4, 32, 384, 512),
    "M": Size(8192, 512, 8, 8, 64, 1408, 1024),
}


@dataclass(frozen=True)
class Work:
    """One kind of step. rows: demonstrations, pairs or prompts per step, by size. steps: in one turn, by size."""

    stage: str
    rows: dict[str, int]
    steps: dict[str, int]
    longest: dict[str, int] = field(default_factory=dict)  # tokens of the longest row
    responses: int = 0  # drawn for each prompt
    settings: dict[str, Any] = field(default_factory=dict)  # ours, beyond what every work sets


LONGEST = {"T": 64, "S": 256, "M": 512}
RESPONSE_TOKENS = {"T": 8, "S": 64, "M": 64}
PROMPT_TOKENS = {"T": (4, 8), "S": (16, 64), "M": (16, 64)}
PPO = {"train": {"inner_epochs": 4, "minibatches": 4}}

WORKS = {
    "sft": Work("sft", {"T": 4, "S": 16, "M": 8}, {"T": 1, "S": 3, "M": 1}, LONGEST),
    "sft-variable": Work("sft", {"T": 4, "S": 16, "M": 8}, {"T": 1, "S": 4, "M": 2}, LONGEST),
    "reward": Work("reward", {"T": 2, "S": 16, "M": 4}, {"T": 1, "S": 3, "M": 1}, LONGEST),
    "dpo": Work("dpo", {"T": 2, "S": 16, "M": 4}, {"T": 1, "S": 2, "M": 1}, LONGEST),
    "grpo": Work(
        "ppo", {"T": 2, "S": 8, "M": 8}, {"T": 1, "S": 1, "M": 1}, responses=8, settings={"algorithm": {"name": "grpo"}}
    ),
    "ppo": Work("ppo", {"T": 8, "S": 64, "M": 32}, {"T": 1, "S": 1, "M": 1}, responses=1, settings=PPO),
    "ppo-shared": Work(
        "ppo",
        {"T": 8, "S": 64, "M": 32},
        {"T": 1, "S": 1, "M": 1},
        responses=1,
        settings={**PPO, "algorithm": {"critic": "shared"}},
    ),
}

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "67108864",
}
"""glibc keeps freed memory instead of giving it back at every step."""


@dataclass(frozen=True)
class Peer:
    """Another system's way to do a work. environment: its folder; module: its worker; variables: set for its process."""

    name: str
    environment: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


def _trl(
    works: str, version: str = "1.16", environment: str = "trl", module: str = "trl_worker"
) -> dict[str, list[Peer]]:
    tuned = {"bf16": True, "gradient_checkpointing": False}
    peers = [
        Peer(f"TRL {version}, default", environment, module),
        Peer(f"TRL {version}, tuned", environment, module, tuned, MALLOC),
    ]
    return {work: peers for work in works.split()}


TRAINER = [
    Peer("transformers Trainer, default", "trl", "trainer_worker"),
    Peer("transformers Trainer, tuned", "trl", "trainer_worker", {"bf16": True}, MALLOC),
]
PEERS: dict[str, list[Peer]] = {
    **_trl("sft sft-variable reward dpo grpo"),
    **_trl("ppo ppo-shared", "1.12", "trl-ppo", "trl_ppo_worker"),
}
PEERS["sft"] = PEERS["sft"] + TRAINER
PEERS["sft-variable"] = PEERS["sft-variable"] + TRAINER

TARGETS: dict[tuple[str, str], dict[str, float]] = {
    ("sft", "TRL 1.16, default"): {"S": 12, "M": 6},
    ("sft", "TRL 1.16, tuned"): {"S": 6, "M": 4},
    ("sft", "transformers Trainer, tuned"): {"S": 6, "M": 3.5},
    ("reward", "TRL 1.16, tuned"): {"S": 3, "M": 3},
    ("dpo", "TRL 1.16, tuned"): {"S": 4, "M": 3.5},
    ("grpo", "TRL 1.16, tuned"): {"S": 3, "M": 3},
    ("ppo", "TRL 1.12, tuned"): {"S": 4, "M": 5},
}
"""Ratio that we want to reach against a peer."""
LIMIT_TARGETS = {("sft", "S"): 0.35, ("sft", "M"): 0.55}
"""Share of the measured bfloat16 peak that we want to reach."""
MEMORY_TARGETS = {("ppo", "S"): 0.5, ("ppo", "M"): 0.5}
"""Our peak memory as a share of the peer's that we want to stay below."""


LIMIT_SIDE = 1024
"""Of the square matrices whose product measures the machine's peak."""


def row_lengths(work: str, size: str, seed: int = 0) -> list[int]:
    """Tokens of each row (of each side of a pair) of one step, control tokens included; mean `FILL` of the longest."""
    found, longest = WORKS[work], WORKS[work].longest[size]
    draw = random.Random(f"{work} {size} {seed}")
    num = found.rows[size] * (2 if found.stage in ("reward", "dpo") else 1)
    if work == "sft-variable":  # many short, few long
        return [max(12, round(longest ** draw.uniform(0.5, 1.0))) for _ in range(num)]
    lengths = [draw.randint(round(0.1 * longest), round(0.7 * longest)) for _ in range(num)]
    lengths[-1] = longest  # what the others pad to
    surplus = sum(lengths) - round(FILL * longest * num)
    while surplus:  # one token here and there until the fill is exact
        row = draw.randrange(num - 1)
        change = -1 if surplus > 0 else 1
        if 0.05 * longest < lengths[row] + change < longest:
            lengths[row] += change
            surplus += change
    return lengths


def operations(work: str, size: str, lengths: list[int]) -> float:
    """Floating-point operations that a step needs: 6 x parameters x real tokens + causal attention, forward and backward.

    lengths: rows of a step, prompt and response together for the online works. A forward pass alone counts a third. The
    scalar models (reward, critic) have no vocabulary head. What is computed twice or over padding does not count.
    """
    shape = SIZES[size]
    tokens = sum(lengths)
    attention = sum(2 * n * n * shape.num_heads * shape.head_dim for n in lengths) * shape.num_layers
    trunk = 2 * shape.trunk_parameters * tokens + attention
    whole = trunk + 2 * shape.head_parameters * tokens
    if work.startswith("sft"):
        return 3 * whole
    if work == "reward":
        return 3 * trunk
    if work == "dpo":  # policy forward and backward, reference forward
        return 4 * whole
    if work == "grpo":  # drawn, log-probs, reference, one update
        return (1 + 1 + 1 + 3) * whole
    if work == "ppo":  # drawn, log-probs, reference; reward and critic; 4 epochs of policy and critic
        return (3 + 12) * whole + (2 + 12) * trunk
    if work == "ppo-shared":
        return (3 + 12) * whole + trunk
    raise KeyError(work)
