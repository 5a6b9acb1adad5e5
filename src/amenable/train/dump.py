"""A step's batches written to disk, so that `amenable runs replay` can look at one step again and again.

dumps/step-000012/
    <stream>.safetensors   the prepared batch: tokens, masks, columns
    learner.safetensors    weights and moments before the step
    state.json             algorithm state, rows' texts
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file

from amenable.batch import Batch
from amenable.errors import CheckpointError
from amenable.train.contract import Algorithm
from amenable.train.learner import Learner
from amenable.train.loop import Progress
from amenable.train.run_folder import full_disk_named

FIELDS = ("tokens_BT", "valid_BT", "trained_BT", "unit_B", "source_BS", "source_valid_BS")


def dump_batches(
    folder: Path,
    step: int,
    batches: dict[str, Batch],
    learner: Learner,
    progress: Progress,
    algorithm: Algorithm,
) -> Path:
    """Write the batches of a step beside the learner's state as it stands now. Raises ResourceError if the disk is full."""
    target = folder / f"step-{step:06d}"
    with full_disk_named(target):
        return _write(target, step, batches, learner, progress, algorithm)


def _write(
    target: Path, step: int, batches: dict[str, Batch], learner: Learner, progress: Progress, algorithm: Algorithm
) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for stream, batch in batches.items():
        tensors = {f: t for f in FIELDS if (t := getattr(batch, f)) is not None}
        tensors |= {f"column/{name}": column for name, column in batch.columns.items()}
        save_file(
            {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}, target / f"{stream}.safetensors"
        )
    tensors, values = learner.state()
    tensors["generator/progress"] = progress.generator.get_state()
    save_file({k: t.contiguous().cpu().clone() for k, t in tensors.items()}, target / "learner.safetensors")
    state = {
        "step": step,
        "algorithm": algorithm.name,
        "state": msgspec.to_builtins(progress.algorithm_state),
        "learner": values,
        "streams": list(batches),
    }
    (target / "state.json").write_text(json.dumps(state))
    return target


def load_batches(target: Path) -> tuple[dict[str, Batch], dict[str, torch.Tensor], dict[str, Any]]:
    """(batches, learner's tensors, state) of a dump. Raises CheckpointError if it cannot be read."""
    try:
        state: dict[str, Any] = json.loads((target / "state.json").read_text())
        batches = {}
        for stream in state["streams"]:
            tensors = load_file(target / f"{stream}.safetensors")
            columns = {name.removeprefix("column/"): t for name, t in tensors.items() if name.startswith("column/")}
            fields: dict[str, Any] = {f: tensors[f] for f in FIELDS if f in tensors}
            batches[stream] = Batch(**fields, columns=columns, stream=stream)
        return batches, load_file(target / "learner.safetensors"), state
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"the dump cannot be read: {error}", where=str(target)) from error
