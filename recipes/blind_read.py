"""A blind reading of several models' responses: drawn and shuffled without names, marked by a reader, tallied by name.

    python recipes/blind_read.py --workspace work draw base=starter SFT=run:quickstart-1-sft PPO=run:quickstart-1-ppo --plain base
    python recipes/blind_read.py --workspace work tally

`draw` writes blind/sheet.md, all responses to 40 held-out prompts of the primer in one shuffled order, and blind/key.json, which says
whose they are and is not to be opened before the marks stand. The reader writes blind/marks.txt, a line for each response: its
number, a rating from 1 to 7, and y or n for whether it does what was asked. `tally` prints mean rating and share by model.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from amenable import Workspace
from amenable.config.folder import WorkspaceFolder
from amenable.evals.statistics import mean_interval, share_interval
from amenable.stages.build import open_policy
from amenable.stages.grounds import Primer
from amenable.stages.ladder import Rung, ask

PROMPTS = 40


def main() -> None:
    """One of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", required=True)
    steps = parser.add_subparsers(dest="step", required=True)
    drawing = steps.add_parser("draw")
    drawing.add_argument("models", nargs="+", help="NAME=MODEL")
    drawing.add_argument("--plain", nargs="*", default=[], help="names of base models, which are asked in plain text")
    drawing.add_argument("--seed", type=int, default=0)
    steps.add_parser("tally")
    options = parser.parse_args()
    folder = Path(options.workspace) / "blind"
    if options.step == "draw":
        draw(
            Workspace(options.workspace).folder,
            folder,
            dict(m.split("=", 1) for m in options.models),
            options.plain,
            options.seed,
        )
    else:
        print(tally(folder))


def draw(workspace: WorkspaceFolder, folder: Path, models: dict[str, str], plain: list[str], seed: int) -> None:
    """The sheet and the key."""
    ground = Primer(seed)
    prompts = ground.held_out(PROMPTS)
    found = []
    for name, reference in models.items():
        policy = open_policy(reference, workspace)
        rung = Rung(name, policy, raw=name in plain)
        responses = ask(rung, prompts, ground.sampling.replace(temperature=0.7, top_p=0.95), seed=seed)
        found += [(name, prompt, response.text) for prompt, response in zip(prompts, responses, strict=True)]
    random.Random(seed).shuffle(found)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.json").write_text(json.dumps([name for name, _, _ in found]))
    sheet = []
    for number, (_, prompt, response) in enumerate(found):
        asked = "\n".join(f"{m.role}: {m.content}" for m in prompt.messages)
        sheet.append(f"## {number}\n\n{asked}\n\n> " + response.strip().replace("\n", "\n> "))
    (folder / "sheet.md").write_text("\n\n".join(sheet) + "\n", "utf-8")
    print(f"{folder / 'sheet.md'}: {len(found)} responses of {len(models)} models; write {folder / 'marks.txt'}")


def tally(folder: Path) -> str:
    """A line for each model, with 95 % intervals."""
    names = json.loads((folder / "key.json").read_text())
    marks: dict[int, tuple[float, bool]] = {}
    for line in (folder / "marks.txt").read_text("utf-8").splitlines():
        number, rating, done = line.split()
        marks[int(number)] = (float(rating), done == "y")
    if marks.keys() != set(range(len(names))):
        missing = sorted(set(range(len(names))) ^ marks.keys())
        raise SystemExit(f"marks.txt must have one line for each response; look at {missing[:10]}")
    lines = ["| model | rating, 1 to 7 | does what was asked | responses |", "|---|---|---|---|"]
    for name in dict.fromkeys(sorted(names, key=names.index)):
        own = [marks[number] for number, other in enumerate(names) if other == name]
        rating, done = mean_interval([r for r, _ in own]), share_interval([float(d) for _, d in own])
        lines.append(
            f"| {name} | {rating.value:.2f} ({rating.low:.2f}-{rating.high:.2f}) "
            f"| {done.value:.0%} ({done.low:.0%}-{done.high:.0%}) | {len(own)} |".replace("%", " %")
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
