"""TRL's SFTTrainer, RewardTrainer, DPOTrainer and GRPOTrainer."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForSequenceClassification
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from benchmarks.peers.common import Task, serve
from benchmarks.work import LONGEST, RESPONSE_TOKENS, WORKS


def trainer(task: Task) -> Any:
    shared = {"processing_class": task.tokenizer(), "callbacks": [task.callback()], "train_dataset": task.dataset()}
    if task.work == "grpo":
        return grpo(task, shared)
    settings = task.common() | {"max_length": LONGEST[task.size]}
    if task.work == "dpo":
        return DPOTrainer(task.model(), args=DPOConfig(**settings), **shared)
    if task.work == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(task.home / "policy", num_labels=1)
        return RewardTrainer(model, RewardConfig(**settings), **shared)
    return SFTTrainer(task.model(), SFTConfig(**settings), **shared)


def grpo(task: Task, shared: dict[str, Any]) -> GRPOTrainer:
    """With the paper's KL term, as amenable's default has it; TRL's own default is none."""
    settings = task.common()
    settings.pop("train_sampling_strategy")  # it has an order of its own
    responses = WORKS[task.work].responses
    settings |= {
        "per_device_train_batch_size": task.rows * responses,
        "num_generations": responses,
        "max_completion_length": RESPONSE_TOKENS[task.size],
        "beta": 0.04,
    }
    return GRPOTrainer(task.model(), reward_funcs=length, args=GRPOConfig(**settings), **shared)


def length(completions: list[str], **_: Any) -> list[float]:
    """Our reward `length`: characters."""
    return [float(len(text)) for text in completions]


if __name__ == "__main__":
    serve(trainer)
