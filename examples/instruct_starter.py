"""The package's base model, instructed: SFT on the primer, then the same questions to both.

    python examples/instruct_starter.py [EFFORT]

EFFORT multiplies the training steps; the default, 0.1, takes a minute or two and learns little beyond the form of an answer,
1 takes some minutes.
"""

import sys
from tempfile import TemporaryDirectory

from amenable import Workspace
from amenable.types import Sampling

QUESTIONS = ("Hello! How are you?", "Why do people wear coats in winter?", "Write a shopping list for a soup.")


def main(effort: float = 0.1) -> None:
    with TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        train = {
            "steps": max(1, round(effort * 240)),
            "units_per_step": 32,
            "optimizer": {"name": "muon", "learning_rate": 1e-3},
        }
        assistant = workspace.sft(model="starter", data={"train": "primer:templates=2"}, train=train)
        sampling = Sampling(temperature=0.7, top_p=0.95, max_tokens=60)
        for question in QUESTIONS:
            print(f"\n{question}")
            for model in ("starter", assistant):
                name = "assistant" if model is assistant else "starter"
                print(f"  {name}: {workspace.chat(model, sampling=sampling).say(question)}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
