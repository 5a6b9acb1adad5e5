"""Three families on one task: the recipe sentiment.toml, run and measured.

    python recipes/sentiment.py --workspace work            # about 5 minutes of one core
    python recipes/sentiment.py --workspace work --quick    # a minute: only that everything works on real data

A decoder, an encoder and an encoder-decoder of the same measures are pre-trained on film reviews and fine-tuned on the labels of
sentence-polarity. Reported: accuracy on held-out sentences with its interval.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reviews import arguments, once  # the script beside this one

from amenable import Workspace
from amenable.cli.progress import progress

RECIPE = Path(__file__).with_name("sentiment.toml")
OBJECTIVES = {"decoder": "pretrain", "encoder": "masked_word", "encoder-decoder": "span_corruption"}


def main() -> None:
    """Run what is not there yet, write sentiment.json into the workspace and print the table."""
    options = arguments(__doc__)
    workspace = Workspace(options.workspace)
    rows = []
    with progress(quiet=False) as show:
        workspace.on_event = show
        for family, objective in OBJECTIVES.items():
            rows.append(measured(workspace, family, objective, quick=options.quick))
    (Path(options.workspace) / "sentiment.json").write_text(json.dumps(rows, indent=2))
    print("| family | pre-trained by | accuracy (95 % interval) |\n|---|---|---|")
    for row in rows:
        print(f"| {row['family']} | `{row['objective']}` | {shown(row)} |")


def measured(workspace: Workspace, family: str, objective: str, *, quick: bool) -> dict[str, object]:
    """The row of one family."""
    few = {"train.steps": 4, "train.validate_every": 0} if quick else {}
    own: dict[str, Any] = {"algorithm.name": objective, **few}
    if family != "decoder":  # the decoder comes first, and all read its tokens
        own["tokenizer"] = str(workspace.folder.runs / "sentiment-decoder" / "model")
    base, tuned = f"sentiment-{family}", f"sentiment-{family}-tuned"
    once(workspace, RECIPE, "pretrain", base, workspace.on_event, own)
    once(workspace, RECIPE, "finetune", tuned, workspace.on_event, {"model": f"run:{base}", **few})
    found = workspace.evaluate(
        models=[f"run:{tuned}"], data="sentence-polarity", held_out_share=0.1, limit=100 if quick else 2000
    )
    (row,) = found.details["tuned"]
    return {"family": family, "objective": objective, **row}


def shown(row: dict[str, object]) -> str:
    """A share with its interval, in percent."""
    accuracy, low, high = row["figures"]["accuracy"], row["low"], row["high"]  # type: ignore[index]
    return f"{accuracy:.1%} ({100 * low:.1f}-{100 * high:.1f}), {row['examples']} sentences"


if __name__ == "__main__":
    main()
