"""A reward model from people's comparisons of replies, against length and a bag of words: harmless.toml, run and measured.

    python recipes/harmless.py --workspace work [--quick]     # about 5 minutes on two cores after recipes/reviews.py

It starts from the base model of reviews.toml and is measured on a quarter of the prompts that it never saw.
"""

from __future__ import annotations

import json
from pathlib import Path

from reviews import arguments, finish, once, pretrained  # the script beside this one

from amenable import Workspace
from amenable.cli.progress import progress

RECIPE = Path(__file__).with_name("harmless.toml")


def main() -> None:
    """Train the base model if it is not there, then the reward model; print the table."""
    options = arguments(__doc__)
    workspace = Workspace(options.workspace)
    with progress(quiet=False) as show:
        pretrained(workspace, options.quick, show)
        once(workspace, RECIPE, "reward", "harmless-reward", show, {"train.steps": 8} if options.quick else {})
    found = json.loads((workspace.folder.runs / "harmless-reward" / "reward.json").read_text())
    rows = [{"model": "reward model", **{k: found["accuracy"][k] for k in ("value", "low", "high")}}]
    for baseline in found["baselines"]:
        rows.append(
            {
                "model": baseline["name"],
                **{k: baseline["accuracy"][k] for k in ("value", "low", "high")},
                "gain": baseline["gain"]["value"],
                "p_value": baseline["p_value"],
            }
        )
    finish(options.workspace, "harmless", {"rows": rows, "pairs": found["num_pairs"], "sentences": found["sentences"]})


if __name__ == "__main__":
    main()
