"""The four ways to put a language model to a task, measured side by side: prompted, fine-tuned, instruction-tuned, preferred.

    python examples/four_ways.py [EFFORT]

The tasks that this script writes stand for yours: is a thing an animal, is it big, is it cold? The last is held out: only the model
that is fine-tuned for it learns it. EFFORT multiplies the training steps; the default is 0.2.
"""

import json
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from amenable import Workspace

KNOWN = {
    "animal": ("cat", "horse", "owl", "bee", "whale", "hen"),
    "big": ("horse", "whale", "house", "glacier", "forest", "ship"),
    "cold": ("snow", "ice", "glacier", "frost", "winter", "hail"),
}
THINGS = sorted(
    {thing for things in KNOWN.values() for thing in things} | {"stone", "fire", "soup", "oven", "coin", "hat"}
)
PLACES = ("in the north", "by the sea", "at home", "in a tale", "far away", "in spring")
WORDINGS = (
    "{thing} {place}: is it %s?\n\n{options_}",
    "Think of the {thing} {place}. Would you call it %s?",
    "Say yes or no. The {thing} {place} is %s.",
)


def write_files(folder: Path) -> dict[str, str]:
    """A task file and its rows for each question, and running text that tells what is so; each task as `tasks:` names it."""
    sets, texts = {}, []
    for number, (word, right) in enumerate(KNOWN.items()):
        about = {"cluster": word, "fields": ["thing", "place"], "options": ["yes", "no"]}
        about["templates"] = [wording % word for wording in WORDINGS]
        (folder / f"{word}.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in about.items()))
        rows = []
        for place, thing in product(range(len(PLACES)), THINGS):
            row = {"thing": thing, "place": PLACES[place], "answer": "yes" if thing in right else "no"}
            rows.append({**row, "split": "test" if (place + number) % 3 == 0 else "train"})
            texts.append({"text": f"The {thing} {PLACES[place]} is {'' if thing in right else 'not '}{word}. " * 3})
        (folder / f"{word}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sets[word] = f"{folder}/{word}.toml@{folder}/{word}.jsonl"
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    asked = [(row["thing"], row["place"], row["answer"]) for row in rows if row["split"] == "train"]
    pairs = [
        {
            "prompt": f"Say yes or no. The {thing} {place} is cold.",
            "chosen": answer,
            "rejected": "no" if answer == "yes" else "yes",
        }
        for thing, place, answer in asked
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return sets


def main(effort: float = 0.2) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sets = write_files(folder)
        workspace = Workspace(folder / "workspace")

        def train(steps: int, rate: float) -> dict[str, object]:
            return {"steps": max(1, round(effort * steps)), "units_per_step": 16, "optimizer": {"learning_rate": rate}}

        shape = {"hidden_size": 64, "num_layers": 2, "num_heads": 2, "context": 128, "vocab_size": 500}
        base = workspace.pretrain(data={"train": folder / "texts.jsonl"}, shape=shape, train=train(400, 3e-3))

        own = f"tasks:sets={sets['cold']},templates=3"
        alone = workspace.sft(model=base, data={"train": own}, train=train(400, 2e-3))
        # near=0: these tasks ask about the same things, which would count as repeating the held-out task
        mixture = f"tasks:sets={'+'.join(sets.values())},templates=3,held_out=cold,near=0"
        tuned = workspace.sft(model=base, data={"train": mixture}, train=train(400, 2e-3))
        pairs = {"train": folder / "pairs.jsonl", "held_out_share": 0.2}
        preferred = workspace.dpo(model=tuned, data=pairs, train=train(100, 3e-4), algorithm={"beta": 0.1})

        runs = {"base": base, "fine-tuned": alone, "instruction-tuned": tuned, "preferred": preferred}
        found = workspace.evaluate(
            models=[f"{name}=run:{result.run}" for name, result in runs.items()],
            tasks={"sets": [sets["cold"]], "shots": [0, 4], "draws": 2, "limit": 60},
        )
        for row in found.details["tasks"]:
            if row["scored_by"] == "likelihood":
                interval = f"{row['low']:.2f} to {row['high']:.2f}"
                print(f"{row['model']}, {row['shots']} shots: {row['accuracy']:.2f} ({interval})")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
