"""transformers' Trainer on demonstrations."""

from __future__ import annotations

from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

from benchmarks.peers.common import Task, serve


def trainer(task: Task) -> Trainer:
    return Trainer(
        task.model(),
        TrainingArguments(**task.common()),
        data_collator=DataCollatorForSeq2Seq(task.tokenizer()),
        train_dataset=task.dataset(),
        callbacks=[task.callback()],
    )


if __name__ == "__main__":
    serve(trainer)
