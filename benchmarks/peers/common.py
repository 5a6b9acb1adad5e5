"""What the peers' workers share: the arguments, the data, and a callback that gives each step to the gate.

python -m benchmarks.peers.MODULE MATERIALS SIZE WORK JSON-OPTIONS
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, LlamaForCausalLM, TrainerCallback

from benchmarks.gate import Gate, Stop
from benchmarks.work import WORKS

ENDLESS = 1_000_000


@dataclass(frozen=True)
class Task:
    """One worker's work. options: of the trainer's config. output: a folder for what a trainer may write."""

    home: Path
    size: str
    work: str
    options: dict[str, Any]
    output: str
    gate: Gate

    @property
    def rows(self) -> int:
        """Rows, pairs or prompts of a step."""
        return WORKS[self.work].rows[self.size]

    def model(self) -> Any:
        """The policy, in float32 as trainers load it."""
        return LlamaForCausalLM.from_pretrained(self.home / "policy")

    def tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self.home / "policy")

    def records(self) -> list[dict[str, Any]]:
        return json.loads((self.home / f"{self.work}.ids.json").read_text())

    def dataset(self) -> Dataset:
        """The rows of the work, over and over, so that an epoch hardly ends."""
        records = self.records()
        return Dataset.from_list(records * max(1, 4096 // len(records)))

    def common(self) -> dict[str, Any]:
        """Settings of every trainer: one global batch a step, in the data's order, nothing saved or reported."""
        return {
            "output_dir": self.output,
            "per_device_train_batch_size": self.rows,
            "max_steps": ENDLESS,
            "train_sampling_strategy": "sequential",
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
        } | self.options

    def callback(self) -> TrainerCallback:
        """Tokens are counted where the rows of each step are known beforehand: demonstrations, in the data's order."""
        lengths = [len(record.get("input_ids", ())) for record in self.records()]
        steps = range(0, len(lengths), self.rows)
        return Turns(self.gate, [sum(lengths[at : at + self.rows]) for at in steps])


class Turns(TrainerCallback):
    """Hands each step of a trainer to the gate."""

    def __init__(self, gate: Gate, step_tokens: list[int]) -> None:
        self.gate, self.step_tokens = gate, step_tokens
        self.seen = self.step = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.gate.tokens = lambda: self.seen
        self.gate.ready()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seen += self.step_tokens[self.step % len(self.step_tokens)]
        self.step += 1
        self.gate.step()


def serve(trainer: Callable[[Task], Any]) -> None:
    """Build the trainer of the work named on the command line and train until told to stop."""
    materials, size, work, options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as output:
        task = Task(Path(materials) / size, size, work, json.loads(options), output, Gate())
        built = trainer(task)
        try:
            built.train()
        except Stop:
            return
