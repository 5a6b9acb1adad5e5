"""Three families on one task: the recipe sentiment.toml, run and measured.

    python recipes/sentiment.py --workspace work            # about 5 minutes of one core
    python recipes/sentiment.py --workspace work --quick    # a minute: only that everything works on real data

A decoder, an encoder and an encoder-decoder of the same measures are pre-trained on film reviews and fine-tuned on the labels of
sentence-polarity. Reported: accuracy on held-out sentences with its interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from amenable import Workspace
from amenable.cli.progress import progress

RECIPE = Path(__file__).with_name("sentiment.toml")
OBJECTIVES = {"decoder": "pretrain", "encoder": "masked_word", "encoder-decoder": "span_corruption"}


def main() -> None:
    """Run what is not there yet, write sentiment.json into the workspace and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default="work", help="folder of the runs")
    parser.add_argument("--quick", action="store_true", help="a few steps of each run")
    options = parser.parse_args()
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
    own: dict[str, object] = {"algorithm.name": objective, **few}
    if family != "decoder":  # the decoder comes first, and all read its tokens
        own["tokenizer"] = str(workspace.folder.runs / "sentiment-decoder" / "model")
    base = once(workspace, "pretrain", f"sentiment-{family}", own)
    tuned = once(workspace, "finetune", f"sentiment-{family}-tuned", {"model": base, **few})
    found = workspace.evaluate(
        models=[tuned], data="sentence-polarity", held_out_share=0.1, limit=100 if quick else 2000
    )
    (row,) = found.details["tuned"]
    return {"family": family, "objective": objective, **row}


def once(workspace: Workspace, stage: str, name: str, settings: dict[str, object]) -> str:
    """The model of a run, which is made if it is not there, and gone on with if it was interrupted."""
    if name not in workspace.folder.run_names():
        workspace.run(stage, RECIPE, settings, name=name)
    elif not (workspace.folder.runs / name / "model").exists():
        workspace.resume(name)
    return f"run:{name}"


def shown(row: dict[str, object]) -> str:
    """A share with its interval, in percent."""
    accuracy, low, high = row["figures"]["accuracy"], row["low"], row["high"]  # type: ignore[index]
    return f"{accuracy:.1%} ({100 * low:.1f}-{100 * high:.1f}), {row['examples']} sentences"


if __name__ == "__main__":
    main()
