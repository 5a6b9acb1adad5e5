"""Labels from your own people: a project in the feedback database, a reward model on what they said, the best of four.

    python examples/own_labels.py [EFFORT]

`amenable serve` collects such judgements in the browser; here they are written into the same database by hand, as a program
of your own would. EFFORT multiplies the steps; the default, 0.1, takes under a minute.
"""

import sys
from tempfile import TemporaryDirectory

from amenable import Workspace
from amenable.types import Comparison, user

SAID = {
    "What do bees make?": ("Bees make honey.", "Bees bees bees."),
    "What is ice?": ("Ice is frozen water.", "I do not want to say."),
    "How many legs has a spider?": ("A spider has eight legs.", "It has legs legs legs"),
    "Who bakes bread?": ("A baker bakes bread.", "Bread is who."),
    "What colour is grass?": ("Grass is green.", "The grass the grass the"),
    "What do cows eat?": ("Cows eat grass.", "Why do you ask?"),
}


def main(effort: float = 0.1) -> None:
    with TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        judged = [
            Comparison(
                id=f"{labeler}-{number}",
                prompt=(user(question),),
                chosen=good,
                rejected=poor,
                labeler=labeler,
            )
            for labeler in ("anna", "ben")
            for number, (question, (good, poor)) in enumerate(SAID.items())
        ]
        with workspace.feedback() as store:
            store.import_records("helpful", judged)
        scorer = workspace.reward(
            model="assistant",
            data={"train": "feedback:helpful", "held_out_share": 0.2},
            train={"steps": max(1, round(effort * 60)), "units_per_step": 4, "optimizer": {"learning_rate": 2e-4}},
        )
        chosen = workspace.sample(
            model="assistant",
            prompts=["What do horses eat?", "What colour is snow?"],
            responses_per_prompt=4,
            best_of=f"run:{scorer.run}",
            sampling={"temperature": 0.8, "max_tokens": 40},
        )
        for row in chosen.details["responses"]:
            print(f"{row['prompt']} → {row['response']}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
