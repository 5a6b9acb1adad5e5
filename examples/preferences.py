"""Preferences without a reward model: DPO on the primer's rankings, and KTO on thumbs of your own.

    python examples/preferences.py [EFFORT]

DPO reads pairs, of which a ranking holds several; KTO reads single answers with a yes or a no, here from a file as a chat's
thumbs would give them. EFFORT multiplies the steps; the default, 0.1, takes a minute or two.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from amenable import Workspace

THUMBS = [
    ("What do bees make?", "Bees make honey.", True),
    ("What do bees make?", "Who knows what bees make?", False),
    ("What is ice?", "Ice is frozen water.", True),
    ("What is ice?", "Ice ice ice.", False),
    ("How many legs has a spider?", "A spider has eight legs.", True),
    ("How many legs has a spider?", "It has legs.", False),
    ("Who bakes bread?", "A baker bakes bread.", True),
    ("Who bakes bread?", "Go away.", False),
]


def main(effort: float = 0.1) -> None:
    def train(steps: int, units: int) -> dict[str, object]:
        return {"steps": max(1, round(effort * steps)), "units_per_step": units}

    with TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        thumbs = Path(folder) / "thumbs.jsonl"
        rows = [{"prompt": asked, "response": answer, "label": good} for asked, answer, good in THUMBS]
        thumbs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        ranked = workspace.dpo(model="assistant", data={"train": "primer"}, train=train(80, 16))
        thumbed = workspace.kto(model="assistant", data={"train": thumbs, "held_out_share": 0.0}, train=train(20, 8))
        report = workspace.evaluate(
            models=["assistant", f"DPO=run:{ranked.run}", f"KTO=run:{thumbed.run}"],
            data="primer:clusters=facts+common_sense",
            limit=max(8, round(effort * 100)),
            sampling={"temperature": 0.7, "max_tokens": 48},
            showcase=[],
        )
        print(report.text)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
