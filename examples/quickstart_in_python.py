"""The whole road from Python: base model, SFT, simulated preferences, reward model, PPO, ladder, chat.

    python examples/quickstart_in_python.py [EFFORT]

EFFORT multiplies the training steps of every stage. The default, 0.02, takes a minute or two and shows only that
everything runs; 1 takes some minutes and gives the figures of `amenable quickstart`.
"""

import sys
from tempfile import TemporaryDirectory

from amenable import Workspace
from amenable.types import Sampling


def main(effort: float = 0.02) -> None:
    with TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        fewer = {} if effort >= 1 else {"prompts": 20, "labelled": 300}
        result = workspace.quickstart(effort=effort, **fewer)
        for rung in result.details["ladder"]:
            low, high = 100 * rung["low"], 100 * rung["high"]
            print(f"{rung['model']:14} preferred to SFT on {100 * rung['win_rate']:5.1f} % ({low:.1f}-{high:.1f})")
        print("models:", ", ".join(workspace.models()))
        talk = workspace.chat(f"run:{result.run}-ppo", sampling=Sampling(temperature=0.0, max_tokens=24))
        print("What is the capital of France? →", talk.say("What is the capital of France?"))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
