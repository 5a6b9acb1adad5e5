"""TRL's PPOTrainer, in the last version that has it: policy, reference, reward model and value model of one size."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForSequenceClassification
from trl.experimental.ppo import PPOConfig, PPOTrainer

from benchmarks.peers.common import ENDLESS, Task, serve
from benchmarks.work import RESPONSE_TOKENS


def trainer(task: Task) -> PPOTrainer:
    settings = task.common()
    for name in ("max_steps", "train_sampling_strategy"):  # it counts episodes, and shuffles
        settings.pop(name)
    config = PPOConfig(
        **settings,
        total_episodes=ENDLESS * task.rows,
        num_ppo_epochs=4,
        num_mini_batches=4,
        response_length=RESPONSE_TOKENS[task.size],
        temperature=1.0,
        num_sample_generations=0,
        local_rollout_forward_batch_size=64,
    )
    tokenizer = task.tokenizer()
    tokenizer.padding_side = "left"
    dataset = task.dataset().map(
        lambda row: {"input_ids": tokenizer(row["prompt"])["input_ids"]}, remove_columns=["prompt"]
    )
    return PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=task.model(),
        ref_model=task.model(),
        reward_model=scalar(task, "reward"),
        value_model=scalar(task, "policy"),
        train_dataset=dataset,
        callbacks=[task.callback()],
    )


def scalar(task: Task, name: str) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(task.home / name, num_labels=1)


if __name__ == "__main__":
    serve(trainer)
