"""An algorithm of your own in one file, this one: SFT in which a long answer weighs less than its length.

    python examples/own_algorithm.py [EFFORT]

An algorithm is a module, named by its dotted name wherever Python finds it; on the command line, from the root of the
repository: PYTHONPATH=. amenable sft algorithm.name=examples.own_algorithm algorithm.power=1 ... The contract stands in
src/amenable/train/contract.py; docs/writing-an-algorithm.md explains it.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
from msgspec import Meta

from amenable import Workspace
from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.types import Record

feeds, unit, trains = "demonstrations", "row", {"policy": "lm"}


class Config(Record, frozen=True):
    """Every setting has a type, bounds and a description; recipes and `--settings` read them here."""

    power: Annotated[float, Meta(ge=0, le=1, description="0: every token weighs the same; 1: every response does")] = (
        0.5
    )


def weights(batch: Batch, config: Config) -> torch.Tensor:
    """weight_B: (row,) number of trained tokens to the power of -`power`; 0 for a row without any."""
    tokens_B = batch.trained_BT.sum(1)
    return torch.where(tokens_B > 0, tokens_B.clamp_min(1).double() ** -config.power, 0.0)


def counts(batch: Batch, config: Config) -> dict[str, float]:
    """What the loop divides the summed loss by, over the whole global batch: the sum of the tokens' weights."""
    return {"demonstration": float((weights(batch, config) * batch.trained_BT.sum(1)).sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    """The weighted sum of -log p over trained tokens. Sums only: the loop divides."""
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    weighted_B = weights(batch, config).to(logprobs_BT) * logprobs_BT.sum(1)
    return LossTerms(
        terms={"demonstration": -weighted_B.sum()}, metrics={"nats_per_token": metric(-logprobs_BT, batch.trained_BT)}
    )


def main(effort: float = 0.1) -> None:
    def train(steps: int, rate: float) -> dict[str, object]:
        return {"steps": max(1, round(effort * steps)), "units_per_step": 16, "optimizer": {"learning_rate": rate}}

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that examples.own_algorithm is found
    with TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        shape = {"hidden_size": 64, "num_layers": 2, "num_heads": 2, "context": 128, "vocab_size": 1000}
        base = workspace.pretrain(data={"train": "world:size=200000"}, shape=shape, train=train(200, 3e-3))
        for power in (0.0, 1.0):
            algorithm = {"name": "examples.own_algorithm", "power": power}
            made = workspace.sft(
                model=base, data={"train": "world:size=1000"}, algorithm=algorithm, train=train(200, 2e-3)
            )
            print(f"power {power}: {made.metrics['nats_per_token']:.3f} nats per token at the end")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
