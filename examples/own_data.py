"""Your own files through the stages: JSONL in, then base model, SFT, reward model, DPO, and an evaluation.

    python examples/own_data.py [EFFORT]

The files that this script writes stand for yours: a small shop's questions and answers. EFFORT multiplies the training
steps; the default, 0.1, takes well under a minute.
"""

import json
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from amenable import Workspace

GOODS = {
    "apples": 2,
    "bread": 3,
    "cheese": 7,
    "eggs": 4,
    "honey": 6,
    "milk": 1,
    "pears": 2,
    "rice": 5,
    "soup": 4,
    "tea": 8,
}
QUESTIONS = (
    "How much is the {0}?",
    "What do you ask for the {0}?",
    "The price of the {0}, please?",
    "What does the {0} cost?",
    "I would like to buy the {0}. How much?",
    "Is the {0} dear?",
    "How many dollars for the {0}?",
    "And the {0}?",
)


def write_files(folder: Path) -> None:
    """One record a line; the keys are among those that amenable recognises by themselves (docs/data.md)."""
    asked = [(question.format(thing), thing, price) for (thing, price), question in product(GOODS.items(), QUESTIONS)]
    rows = {
        "texts.jsonl": [{"text": f"In the shop the {thing} is {price} dollars. " * 3} for _, thing, price in asked],
        "demonstrations.jsonl": [
            {"prompt": question, "completion": f"The {thing} is {price} dollars."} for question, thing, price in asked
        ],
        "comparisons.jsonl": [
            {
                "prompt": question,
                "chosen": f"The {thing} is {price} dollars.",
                "rejected": f"I do not know the {thing}.",
            }
            for question, thing, price in asked
        ],
    }
    for name, lines in rows.items():
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def main(effort: float = 0.1) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_files(folder)
        workspace = Workspace(folder / "workspace")
        comparisons = {"train": folder / "comparisons.jsonl", "held_out_share": 0.2}

        def train(steps: int, rate: float) -> dict[str, object]:
            return {"steps": max(1, round(effort * steps)), "units_per_step": 8, "optimizer": {"learning_rate": rate}}

        shape = {"hidden_size": 64, "num_layers": 2, "num_heads": 2, "context": 64, "vocab_size": 400}
        base = workspace.pretrain(data={"train": folder / "texts.jsonl"}, shape=shape, train=train(300, 3e-3))
        demonstrations = {"train": folder / "demonstrations.jsonl", "held_out_share": 0.2}
        assistant = workspace.sft(model=base, data=demonstrations, train=train(300, 3e-3))
        scorer = workspace.reward(model=assistant, data=comparisons, train=train(60, 1e-3))
        better = workspace.dpo(model=assistant, data=comparisons, train=train(60, 3e-4), algorithm={"beta": 0.1})
        report = workspace.evaluate(
            models=[f"before=run:{assistant.run}", f"after=run:{better.run}"],
            data=str(folder / "comparisons.jsonl"),
            judge=scorer,
            sampling={"temperature": 0.7, "max_tokens": 24},
            showcase=[],
        )
        for question in ("How much is the tea?", "What do you ask for the rice?"):
            print(question, "→", workspace.chat(better).say(question))
        print(report.text)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
