"""How long `amenable doctor STAGE RECIPE` says that a run will take, beside what it then took.

    python -m benchmarks.forecasts

Two recipes of size S, SFT on rows of unequal length and PPO, with measurements on held-out data and checkpoints on the
way. One thread, and processor time in place of the clock, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch

STEPS = {"sft-variable": 150, "ppo": 12}
STAGES = {"sft-variable": "sft", "ppo": "ppo"}


def main() -> None:
    torch.set_num_threads(1)
    time.perf_counter = time.process_time  # type: ignore[assignment]  # before anything takes hold of it
    from amenable.stages import doctor
    from amenable.workspace import Workspace, checked
    from benchmarks import materials
    from benchmarks.ours import settings

    with tempfile.TemporaryDirectory() as folder:
        home = materials.make(Path(folder), "S")
        for work, steps in STEPS.items():
            recipe: dict[str, Any] = settings(home, "S", work)
            recipe["data"]["held_out_share"] = 0.1
            recipe["train"] |= {"steps": steps, "validate_every": max(1, steps // 3), "save_every": max(1, steps // 3)}
            workspace = Workspace(Path(folder) / "workspace")
            config, run = checked(STAGES[work], recipe, where=work)
            said = doctor.forecast(run, config, workspace.folder).seconds
            started = time.process_time()
            workspace.run(STAGES[work], None, recipe)
            took = time.process_time() - started
            print(f"{work}: {said:.1f} s said, {took:.1f} s took, {took / said - 1:+.0%}", flush=True)


if __name__ == "__main__":
    main()
