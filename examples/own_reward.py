"""Two rewards of your own for PPO: rules by settings, and a class in Python.

    python examples/own_reward.py [EFFORT]

A reward is anything with a `name` and `score(items) -> list[float]`; it sees text, so any tokenizer may stand behind it
(src/amenable/rewards/base.py). It is named as module:Class, so that a run can be resumed. EFFORT multiplies the steps;
the default, 0.1, takes under a minute.
"""

import sys
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from amenable import Workspace
from amenable.types import Scored


class FewLetters:
    """The share of words with at most `longest` letters: a language of short words."""

    name = "few letters"

    def __init__(self, longest: int = 4) -> None:
        self.longest = longest

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One score in 0..1 per item; an empty response gets 0."""
        return [self._share(item.response.split()) for item in items]

    def _share(self, words: list[str]) -> float:
        return sum(len(word) <= self.longest for word in words) / len(words) if words else 0.0


def main(effort: float = 0.1) -> None:
    def train(steps: int, rate: float, units: int) -> dict[str, object]:
        return {"steps": max(1, round(effort * steps)), "units_per_step": units, "optimizer": {"learning_rate": rate}}

    with TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        texts, prompts = "world:size=200000", "world:size=200"
        shape = {"hidden_size": 64, "num_layers": 2, "num_heads": 2, "context": 64, "vocab_size": 1000}
        base = workspace.pretrain(data={"train": texts}, shape=shape, train=train(400, 3e-3, 16))
        assistant = workspace.sft(model=base, data={"train": "world:size=2000"}, train=train(200, 2e-3, 16))
        common = {
            "model": assistant,
            "data": {"train": prompts},
            "sampling": {"max_tokens": 16},
            "train": train(60, 1e-3, 32),
            "algorithm": {"kl_coef": 0.02, "truncated": "score"},
        }
        rules = {"max_words": 8, "ends_properly": True}
        runs = {
            "rules": workspace.ppo(reward="rules", reward_options=rules, name="brief", **common),
            "FewLetters": workspace.ppo(
                reward="own_reward:FewLetters",
                reward_options={"longest": 4},
                name="short-words",
                **common,
            ),
        }
        for title, run in runs.items():
            print(f"{title:11} score {run.metrics['score']:.2f} at KL {run.metrics['kl']:.2f} nats per response")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
