"""Walk every road of the small world, draw docs/small_world.svg, and print the table of docs/small-world.md.

    OMP_NUM_THREADS=1 python benchmarks/small_world.py [SEEDS]

Two to three minutes of one core per seed. The world, the roads and their settings stand in tests/small_world.py.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.small_world import ASTRAY, DISTILLED, ROADS, Road, Trip, walk  # noqa: E402

PICTURE = ROOT / "docs" / "small_world.svg"
GOALS = {"kl": "exp(r/β)", "ipo": "IPO's", "best-of-4": "best of 4"}


def main(num_seeds: int = 1) -> None:
    torch.set_num_threads(1)
    found: dict[str, list[Trip]] = {}
    print("| road | optimum | start | end | seconds |\n| --- | --- | --- | --- | --- |")
    for road in (*ROADS, DISTILLED, *ASTRAY):
        started = time.process_time()
        trips = [walk(road, seed=seed) for seed in range(num_seeds)]
        seconds = (time.process_time() - started) / num_seeds
        found[road.name] = trips
        ends = [trip.distance for trip in trips]
        spread = f" ({min(ends):.3f}-{max(ends):.3f})" if num_seeds > 1 else ""
        start, end = trips[0].distances[0], statistics.fmean(ends)
        print(f"| {road.name} | {GOALS[road.optimum]} | {start:.2f} | {end:.4f}{spread} | {seconds:.0f} |", flush=True)
    draw(found)


def draw(found: dict[str, list[Trip]]) -> None:
    """Left the roads that arrive, right those that do not; both against the share of the road gone."""
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "amenable", "font.size": 9})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
    for axes, roads, title in (
        (left, (*ROADS, DISTILLED), "Each to its own optimum"),
        (right, ASTRAY, "Not to π_ref · exp(r/β)"),
    ):
        for road in roads:
            plot(axes, road, found[road.name][0].distances)
        axes.axhline(0.02, color="black", linewidth=0.8, linestyle=":")
        axes.set(yscale="log", ylim=(1e-4, 1.2), xlim=(0, 1), xlabel="share of the steps", title=title)
        axes.legend(fontsize=7, loc="lower left", frameon=False)
    left.set_ylabel("total variation to the optimum, worst prompt")
    figure.savefig(PICTURE, metadata={"Date": None})


def plot(axes: plt.Axes, road: Road, distances: list[float]) -> None:
    axes.plot([i / (len(distances) - 1) for i in range(len(distances))], distances, linewidth=1.2, label=road.name)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
