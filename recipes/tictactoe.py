"""Tic-tac-toe from nothing but wins and losses: the recipe tictactoe.toml, run, measured and drawn.

    python recipes/tictactoe.py --workspace work                              # train, measure, print the table
    python recipes/tictactoe.py --workspace work --picture tictactoe.svg      # and draw the learning curve
    python recipes/tictactoe.py --workspace work --quick                      # a few steps: only that everything works

A small decoder with a tokenizer made for the game starts from random weights and learns by PPO against a mixture of
opponents. Then it plays at temperature 1, both sides, without a mask on illegal moves, against each opponent.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from amenable import Workspace
from amenable.cli.play import show
from amenable.cli.progress import progress
from amenable.evals.curves import read_curves
from amenable.stages.play import Figures, measure
from amenable.types import Sampling

RECIPE = Path(__file__).with_name("tictactoe.toml")
OPPONENTS = ("random", "minimax")
SMOOTH = 10  # steps behind one point of the picture


def main() -> None:
    """Run what is not there yet, measure, write tictactoe.json into the workspace and print the tables."""
    options = arguments()
    workspace = Workspace(options.workspace)
    name = f"tictactoe-{options.seed}"
    changes: dict[str, Any] = {"train.seed": options.seed, **({"train.steps": 4} if options.quick else {})}
    with progress(quiet=False) as on_event:
        if name not in workspace.folder.run_names():
            workspace.run("ppo", RECIPE, changes, name=name, on_event=on_event)
        elif not (workspace.folder.runs / name / "model" / "config.json").exists():
            workspace.resume(name, on_event=on_event)
    found = {opponent: games(workspace, name, opponent, 100 if options.quick else 4000) for opponent in OPPONENTS}
    for opponent, figures in found.items():
        print(f"\nagainst {opponent}")
        show(figures)
    result = {opponent: json.loads(figures.to_json()) for opponent, figures in found.items()}
    (Path(options.workspace) / f"{name}.json").write_text(json.dumps(result, indent=2))
    if options.picture:
        draw(workspace.folder.runs / name, options.picture)


def games(workspace: Workspace, name: str, opponent: str, number: int) -> Figures:
    """The figures against one opponent."""
    section = {"name": "tictactoe", "opponent": opponent}
    sampling = Sampling(temperature=1.0, max_tokens=1)
    return measure(f"run:{name}", section, sampling, workspace=workspace.folder, games=number, seed=1)


def draw(run: Path, path: Path) -> None:
    """How the games of training ended, by opponent, against the number of games played."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "amenable", "font.size": 9})
    curves = {curve.metric: curve for curve in read_curves(run)}
    figure, sides = plt.subplots(1, len(OPPONENTS), figsize=(9, 3.4), sharey=True, layout="constrained")
    for axes, opponent in zip(sides, OPPONENTS, strict=True):
        for ending, colour in (("won", "C0"), ("drawn", "C2"), ("lost", "C1"), ("illegal", "C3")):
            curve, played = curves[f"environment/{opponent}/{ending}"], curves["num_responses"].values
            total = [sum(played[: i + 1]) / 1000 for i in range(len(played))]
            blocks = range(0, len(curve.values) - SMOOTH + 1, SMOOTH)
            means = [sum(curve.values[i : i + SMOOTH]) / SMOOTH for i in blocks]
            axes.plot([total[i + SMOOTH - 1] for i in blocks], means, color=colour, linewidth=1.2, label=ending)
        axes.set(title=f"against {opponent}", xlabel="games played, thousands", ylim=(-0.02, 1.02))
    sides[0].set_ylabel("share of games")
    sides[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", required=True, help="folder for the run; made if need be")
    parser.add_argument("--seed", type=int, default=0, help="of the run")
    parser.add_argument("--picture", type=Path, help="where to draw the learning curve (needs matplotlib)")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything")
    return parser.parse_args()


if __name__ == "__main__":
    main()
