"""Toward a rubric of your own: samples ranked by it, a reward model trained on the rankings, PPO toward the reward model.

    python examples/rubric_ppo.py [EFFORT]

The rubric stands for people with a form before them: a good note is at most twenty words long, ends properly, and says
"please" or "thank". The reward model only sees which note was preferred. EFFORT multiplies prompts and steps; the default,
0.1, takes a minute or two and shows only that it runs.
"""

import json
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from amenable import Workspace

WHO = ("my aunt", "our teacher", "the baker", "my brother", "Anna", "the doctor", "our neighbour", "my friend Tom")
WHAT = ("the warm scarf", "the cake", "a lift to town", "the old book", "help with the garden", "the red apples")
PROMPTS = [f"Write a short note to thank {who} for {what}." for who, what in product(WHO, WHAT)]
TRAINED, HELD_OUT = PROMPTS[:36], PROMPTS[36:]  # the last two people are held out


def marks(note: str) -> int:
    """0 to 3: one for each thing that the rubric asks for."""
    words = note.lower()
    polite = "please" in words or "thank" in words
    return (0 < len(note.split()) <= 20) + note.rstrip().endswith((".", "!", "?")) + polite


def ranking(prompt: str, notes: list[str]) -> dict[str, object]:
    """Rank 1 is best; equal marks are a tie."""
    order = sorted({marks(note) for note in notes}, reverse=True)
    return {"prompt": prompt, "responses": notes, "ranks": [1 + order.index(marks(note)) for note in notes]}


def main(effort: float = 0.1) -> None:
    def scaled(number: int) -> int:
        return max(1, round(effort * number))

    sampling = {"temperature": 1.0, "max_tokens": 48}
    with TemporaryDirectory() as folder:
        workspace = Workspace(folder)

        def notes(model: object, prompts: list[str], each: int) -> list[tuple[str, list[str]]]:
            rows = workspace.sample(model=model, prompts=prompts, responses_per_prompt=each, sampling=sampling).details[
                "responses"
            ]
            texts = [row["response"] for row in rows]
            return [(prompt, texts[i * each : (i + 1) * each]) for i, prompt in enumerate(prompts)]

        drawn = notes("assistant", TRAINED, max(2, scaled(16)))
        rankings = [ranking(prompt, found) for prompt, found in drawn if len(set(map(marks, found))) > 1]
        files = {"rankings": rankings, "prompts": [{"prompt": prompt} for prompt in TRAINED]}
        for name, rows in files.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            Path(folder, f"{name}.jsonl").write_text(text, encoding="utf-8")
        scorer = workspace.reward(
            model="assistant",
            data={"train": f"{folder}/rankings.jsonl", "held_out_share": 0.2},
            algorithm={"name": "reward_ranking"},
            train={"steps": scaled(60), "units_per_step": 8, "optimizer": {"learning_rate": 2e-4}},
        )
        better = workspace.ppo(
            model="assistant",
            reward=scorer,
            data={"train": f"{folder}/prompts.jsonl", "held_out_share": 0.0},
            sampling=sampling,
            algorithm={"critic": "shared", "kl_coef": 0.05},
            train={"steps": scaled(40), "units_per_step": 32, "optimizer": {"learning_rate": 5e-5}},
        )
        for title, model in (("before", "assistant"), ("after", better)):
            given = [marks(note) for _, found in notes(model, HELD_OUT, 4) for note in found]
            print(f"{title}: {sum(given) / len(given):.2f} of 3 marks over {len(given)} notes to people not trained on")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
