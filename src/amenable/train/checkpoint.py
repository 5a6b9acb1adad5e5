"""Checkpoints: everything that a run needs to go on bit for bit, written so that a kill at any moment loses none.

    checkpoints/step-000120/
        tensors.safetensors   weights and Adam's moments by role, generators, torch's own random state
        state.json            step, algorithm state, cursors, version, checksum of the tensors
        COMPLETE              written last; a folder without it is not a checkpoint

A checkpoint is made in a temporary folder beside, flushed to disk, marked, then renamed. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file

from amenable.errors import CheckpointError, ResourceError
from amenable.train.contract import Algorithm
from amenable.train.learner import Learner
from amenable.train.loop import Progress, Source
from amenable.train.run_folder import full_disk_named

MARKER = "COMPLETE"


def save(folder: Path, learner: Learner, source: Source, progress: Progress, *, keep: int) -> Path:
    """Write folder/step-N and remove all but the newest `keep` checkpoints. Returns the new folder.

    Raises ResourceError if the disk is full; the checkpoints that are there stay.
    """
    final = folder / f"step-{progress.step:06d}"
    if _fault(final) is None:
        return final
    work = folder / f".tmp-step-{progress.step:06d}"
    shutil.rmtree(work, ignore_errors=True)
    try:
        with full_disk_named(work):
            _write(work, learner, source, progress)
    except ResourceError:
        shutil.rmtree(work, ignore_errors=True)  # room for what else must be written
        raise
    shutil.rmtree(final, ignore_errors=True)
    os.replace(work, final)
    _flush(folder)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def _write(work: Path, learner: Learner, source: Source, progress: Progress) -> None:
    work.mkdir(parents=True)
    tensors, values = learner.state()
    tensors["generator/progress"] = progress.generator.get_state()
    tensors["generator/torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["generator/cuda"] = torch.cuda.get_rng_state()
    save_file({name: t.contiguous().cpu().clone() for name, t in tensors.items()}, work / "tensors.safetensors")
    state = {
        "step": progress.step,
        "skipped_in_a_row": progress.skipped_in_a_row,
        "stop": progress.stop,
        "algorithm": msgspec.to_builtins(progress.algorithm_state),
        "learner": values,
        "source": source.state(),
        "sha256": file_hash(work / "tensors.safetensors"),
    }
    (work / "state.json").write_text(json.dumps(state))
    for name in ("tensors.safetensors", "state.json"):
        _flush(work / name)
    (work / MARKER).write_text("")
    _flush(work / MARKER)
    _flush(work)


def load(folder: Path, algorithm: Algorithm, learner: Learner, source: Source, progress: Progress) -> None:
    """Put learner, source and progress back to where this checkpoint stood.

    Raises CheckpointError if it is incomplete or damaged.
    """
    if not (folder / MARKER).exists():
        raise CheckpointError("the checkpoint is incomplete", where=str(folder), mend="resume from an earlier one")
    try:
        state = json.loads((folder / "state.json").read_text())
        if file_hash(folder / "tensors.safetensors") != state["sha256"]:
            raise CheckpointError("the checkpoint's tensors are damaged (checksum differs)", where=str(folder))
        tensors = load_file(folder / "tensors.safetensors")
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the checkpoint cannot be read: {error}", where=str(folder), mend="resume from an earlier one"
        ) from error
    learner.load_state(tensors, state["learner"])
    source.load_state(state["source"])
    progress.step = state["step"]
    progress.skipped_in_a_row = state["skipped_in_a_row"]
    progress.stop = state["stop"]
    progress.algorithm_state = msgspec.convert(state["algorithm"], algorithm.state_type)
    progress.generator.set_state(tensors["generator/progress"])
    torch.set_rng_state(tensors["generator/torch"])
    if torch.cuda.is_available() and "generator/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator/cuda"])


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return [p for p in _by_step(folder) if (p / MARKER).exists()]


def latest_sound(folder: Path) -> tuple[Path | None, list[str]]:
    """(the newest checkpoint whose checksum holds, notes about newer ones that do not)."""
    notes: list[str] = []
    for candidate in reversed(_by_step(folder)):
        fault = _fault(candidate)
        if fault is None:
            return candidate, notes
        notes.append(f"{candidate.name} {fault}")
    return None, notes


def set_aside(folder: Path, newest: Path | None) -> None:
    """Rename what stands behind the newest sound checkpoint, so that it is neither used nor counted among those kept."""
    sound = -1 if newest is None else _step(newest)
    for path in _by_step(folder):
        if _step(path) > sound:
            shutil.rmtree(aside := folder / f"damaged-{path.name}", ignore_errors=True)
            os.replace(path, aside)


def _by_step(folder: Path) -> list[Path]:
    """step-N, oldest first; what else is called step-... (a copy that somebody made) is none of ours."""
    return sorted((p for p in folder.glob("step-*") if p.name.removeprefix("step-").isdecimal()), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, None if nothing is."""
    if not (path / MARKER).exists():
        return f"is incomplete (no {MARKER} marker)"
    try:
        state: dict[str, Any] = json.loads((path / "state.json").read_text())
        sound = file_hash(path / "tensors.safetensors") == state["sha256"]
    except (OSError, ValueError, KeyError) as error:
        return f"cannot be read ({error})"
    return None if sound else "is damaged (checksum differs)"


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    if os.name != "posix":  # Windows opens no folders, and flushes only what may be written
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
