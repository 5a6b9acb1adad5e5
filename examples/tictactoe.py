"""A game learned by playing it: tic-tac-toe by PPO from random weights, rewarded for how games end.

    python examples/tictactoe.py [EFFORT]

No game is shown and no rule told. EFFORT multiplies the steps; the default, 0.1, takes under a minute; recipes/tictactoe.toml is the
long run.
"""

import sys
from tempfile import TemporaryDirectory

from amenable import Workspace
from amenable.cli.play import show
from amenable.stages.play import measure
from amenable.types import Sampling


def main(effort: float = 0.1) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=1)
    with TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        played = workspace.ppo(
            environment={"name": "tictactoe", "opponent": "random", "illegal": -2.0},
            shape={"hidden_size": 64, "num_layers": 2, "num_heads": 4, "context": 48},
            sampling={"temperature": 1.0, "max_tokens": 1},
            algorithm={
                "kl_coef": 0.0,
                "critic": "shared",
                "value_weight": 0.5,
                "value_clip": None,
                "entropy_weight": 0.05,
            },
            train={
                "steps": max(1, round(effort * 300)),
                "units_per_step": 256,
                "optimizer": {"learning_rate": 2e-3, "schedule": "linear", "final_share": 0.02},
            },
        )
        opponent = {"name": "tictactoe", "opponent": "random"}
        found = measure(f"run:{played.run}", opponent, sampling, workspace=workspace.folder, games=200, seed=1)
        show(found)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
