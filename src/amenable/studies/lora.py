"""LoRA's rank against full fine-tuning (Hu et al. 2021, table 6): what is learned, trained parameters, memory.

Each run fine-tunes the base model on the same demonstrations for as many steps, in a process of its own, whose largest
resident memory is read at its end (torch's own few hundred MB included). `state` is what a checkpoint holds: the
trained weights and the optimiser's two moments. Held-out loss is of demonstrations with other prompts.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from amenable.config.folder import WorkspaceFolder
from amenable.stages.events import ignore
from amenable.stages.steps import make_run
from amenable.studies.findings import Findings, Line, Panel
from amenable.studies.study import Study, StudyConfig
from amenable.train.run_folder import RunFolder

FIGURES = ("loss", "gold", "finished")


class Config(StudyConfig, frozen=True, kw_only=True):
    """Settings of the study, beside those of every study."""

    ranks: Annotated[tuple[int, ...], Meta(min_length=1, description="LoRA ranks; full fine-tuning comes beside them")]
    demonstrations: Annotated[int, Meta(ge=10, description="demonstrations of the world, held-out ones among them")]
    steps: Annotated[int, Meta(ge=1, description="steps of every run")]
    learning_rate: Annotated[float, Meta(gt=0, description="of full fine-tuning")]
    lora_learning_rate: Annotated[float, Meta(gt=0, description="of every rank")]


def measure(config: Config, study: Study) -> Findings:
    """Every rank with every seed; rank 0 is full fine-tuning."""
    rows = []
    for rank, found in study.cells((*config.ranks, 0), partial(_cell, config, study)).items():
        one = found[study.seeds[0]]
        row: dict[str, Any] = {"rank": str(rank) if rank else "full", "trained parameters": one["parameters"]}
        row |= {"state, MB": round(one["state_bytes"] / 1e6, 2)}
        row |= {"peak memory, MB": study.over_seeds(found, "peak_mb")}
        rows.append(row | {name: study.over_seeds(found, name) for name in FIGURES})
    places = tuple(float(row["trained parameters"]) for row in rows)
    panels = tuple(
        Panel(title, "trained parameters", unit, (Line(name, places, tuple(r[name] for r in rows)),), log_x=True)
        for name, title, unit in (
            ("loss", "held-out loss", "nats per token"),
            ("gold", "gold rating", "1 to 7, by the simulated labeler"),
        )
    )
    return Findings(rows=tuple(rows), panels=panels, notes=("The rightmost point is full fine-tuning.",))


def _cell(config: Config, study: Study, rank: int, seed: int) -> dict[str, Any]:
    name = f"{study.folder.name}-rank{rank}-{seed}"
    settings: dict[str, Any] = {
        "model": study.base(),
        "data": {"train": [f"world:seed={study.ground.seed},size={config.demonstrations}"]},
        "train": {
            "seed": seed,
            "steps": config.steps,
            "units_per_step": 32,
            "save_every": 0,
            "validate_every": config.steps,
            "optimizer": {"learning_rate": config.lora_learning_rate if rank else config.learning_rate},
        },
    }
    if rank:
        settings["lora"] = {"rank": rank, "alpha": 2.0 * rank}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as apart:
        peak_mb = apart.submit(_train, name, settings, study.workspace.root).result()
    folder = RunFolder(study.workspace.runs / name)
    (last,) = list(folder.rows("metrics.jsonl"))[-1:]
    state = sorted(folder.checkpoints.rglob("tensors.safetensors"))[-1].stat().st_size  # of the newest checkpoint
    parameters = _num_trained(folder.model, rank)
    measured = study.measure(str(folder.model), seed, kl=False)
    loss = last["validation/nats_per_token"]
    return {"loss": loss, "parameters": parameters, "state_bytes": state, "peak_mb": peak_mb} | measured


def _train(name: str, settings: dict[str, Any], root: Path) -> float:
    """One run in this process; its peak resident memory in MB."""
    make_run("sft", name, settings, workspace=WorkspaceFolder(root), on_event=ignore, where=name)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def _num_trained(model: Path, rank: int) -> int:
    """Numbers in the adapter, or in the whole model."""
    from safetensors import safe_open

    total = 0
    for file in sorted((model / "adapter" if rank else model).glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                size = 1
                for length in tensors.get_slice(key).get_shape():
                    size *= length
                total += size
    return total
