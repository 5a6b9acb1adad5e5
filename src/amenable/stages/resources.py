"""Whether memory and disk have room for a run, before it begins."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from amenable.config.folder import check_disk
from amenable.errors import ResourceError
from amenable.train.learner import Learner
from amenable.train.settings import TrainConfig


def check_resources(folder: Path, learner: Learner, config: TrainConfig, steps: int) -> None:
    """Room for weights, gradients and moments in memory, and for the checkpoints and kept models on disk."""
    sizes = [p.numel() * p.element_size() for _, p in learner.parameters()]
    in_memory = 2 * sum(sizes)  # gradients and what the optimiser adds to the loaded weights: at least this much more
    free_memory = free_memory_bytes(learner.device)
    if free_memory is not None and in_memory > free_memory:
        raise ResourceError(
            f"training needs at least {in_memory / 2**30:.1f} GiB more memory and {free_memory / 2**30:.1f} GiB are free",
            mend="train fewer parameters (LoRA: lora.rank=8), or use a smaller model",
        )
    whole = sum(p.numel() * p.element_size() for actor in learner.actors.values() for p in actor.parameters())
    kept = steps // config.keep_models_every if config.keep_models_every else 0
    on_disk = 3 * sum(sizes) * (config.keep_checkpoints + 1) + whole * (1 + kept)
    check_disk(folder, on_disk)


def free_memory_bytes(device: str) -> int | None:
    """Of the device; on a CPU what could be had, the system's caches given up."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next((line.split()[1] for line in lines if line.startswith("MemAvailable")), "")) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
