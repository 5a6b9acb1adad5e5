"""Every stage that the command line can run: command → "module:Config:function". Torch-free; modules load when used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from amenable.errors import ConfigError, nearest

STAGES: dict[str, str] = {
    "pretrain": "amenable.stages.pretrain:Config:run",
    "sft": "amenable.stages.sft:Config:run",
    "finetune": "amenable.stages.finetune:Config:run",
    "reward": "amenable.stages.reward:Config:run",
    "ppo": "amenable.stages.online:Config:run",
    "dpo": "amenable.stages.offline:Config:run",
    "kto": "amenable.stages.offline:Config:run_kto",
    "sample": "amenable.stages.sample:Config:run",
    "evaluate": "amenable.stages.evaluate:Config:run",
    "assess": "amenable.stages.assess:Config:run",
    "quickstart": "amenable.stages.quickstart:Config:run",
}
TASK_ALGORITHMS: dict[str, str] = {
    "classification": "classify",
    "regression": "regress",
    "tokens": "tag",
    "extraction": "extract",
    "target": "sft",
}
"""The algorithm that `amenable finetune` learns each task by."""
RESUMABLE = ("pretrain", "sft", "finetune", "reward", "ppo", "dpo", "kto")


def find(command: str) -> tuple[type, Callable[..., Any]]:
    """(Config, run function) of a command. Raises ConfigError that names the nearest known one."""
    if command not in STAGES:
        near = nearest(str(command), STAGES)
        mend = (f"did you mean {near!r}? " if near else "") + f"known: {', '.join(STAGES)}"
        raise ConfigError(f"there is no stage named {command!r}", mend=mend)
    module_name, config, function = STAGES[command].split(":")
    module = importlib.import_module(module_name)
    return module.__dict__[config], module.__dict__[function]
