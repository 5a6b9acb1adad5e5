"""amenable's worker: a stage through the Python face, as a user runs it, one step a turn.

python -m benchmarks.ours MATERIALS SIZE WORK [JSON: settings over ours]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from amenable.config.folder import WorkspaceFolder
from amenable.stages import offline, online, reward, sft  # noqa: F401  (imported here, so that memory counts from after it)
from amenable.stages.events import Event
from amenable.workspace import Workspace
from benchmarks.gate import Gate, Stop
from benchmarks.work import RESPONSE_TOKENS, WORKS


def settings(materials: Path, size: str, work: str) -> dict[str, Any]:
    """The recipe of a work: nothing is saved, measured or sampled along the way, the rest stands at its default."""
    found = WORKS[work]
    train = {"steps": 1_000_000, "units_per_step": found.rows[size], "save_every": 0, "validate_every": 0}
    recipe: dict[str, Any] = {
        "model": str(materials / "policy"),
        "data": {"train": [str(materials / f"{work}.jsonl")], "held_out_share": 0.0},
        "train": train | found.settings.get("train", {}),
    }
    if found.stage == "ppo":
        recipe |= {
            "reward": "length" if work == "grpo" else str(materials / "reward"),
            "responses_per_prompt": found.responses,
            "sampling": {"max_tokens": RESPONSE_TOKENS[size]},
            "sample_every": 0,
        }
    return recipe | {name: value for name, value in found.settings.items() if name != "train"}


def main(materials: str, size: str, work: str, over: str = "{}") -> None:
    gate = Gate()
    stage = WORKS[work].stage
    recipe = settings(Path(materials) / size, size, work)
    for name, value in json.loads(over).items():
        recipe[name] = {**recipe[name], **value} if isinstance(value, dict) and name in recipe else value
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)

        def listen(event: Event) -> None:
            if event.stage == stage and event.kind == "start":
                gate.tokens = lambda: tokens_of(workspace.folder, stage)
                gate.ready()
            elif event.stage == stage and event.kind == "progress":
                gate.step()

        try:
            workspace.run(stage, None, recipe, on_event=listen)
        except Stop:
            return


def tokens_of(workspace: WorkspaceFolder, stage: str) -> int:
    """Real tokens that the run has learned from."""
    metrics = workspace.runs / f"{stage}-1" / "metrics.jsonl"
    return sum(json.loads(line)["num_tokens"] for line in metrics.open()) if metrics.exists() else 0


if __name__ == "__main__":
    torch.set_num_threads(torch.get_num_threads())  # the thread pool starts before anything is timed
    main(*sys.argv[1:])
