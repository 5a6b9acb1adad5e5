"""Rollouts of an environment as a stage's source: episodes in, batches and the environment's own figures out.

Every episode has a number, and its randomness follows from (the run's seed, that number) and the names of the
environment's streams alone; the policy's words from (the run's seed, step, place). So the number of the next episode is
all that a checkpoint needs to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from amenable.batch import Batch
from amenable.chat.tokenizer import Tokenizer, piece_tokenizer
from amenable.errors import ConfigError
from amenable.rollout.engine import Engine
from amenable.rollout.environment import Environment, play
from amenable.rollout.environments.load import find_environment
from amenable.train.contract import Metrics
from amenable.train.sources import OnlineSource, response_seed
from amenable.types import Record, Rollout, Sampling


class EpisodesState(Record, frozen=True):
    """The number of the next episode."""

    next: int = 0


class Episodes:
    """Seeds of episodes, without end: the units of an environment."""

    def __init__(self, *, units_per_step: int, seed: int, name: str = "episode") -> None:
        self.units_per_step, self.seed, self.name = units_per_step, seed, name
        self._state = EpisodesState()

    def next_units(self) -> list[int]:
        """The seeds of the next step's episodes."""
        first = self._state.next
        self._state = EpisodesState(next=first + self.units_per_step)
        return [response_seed(self.seed, self.name, number) for number in range(first, self._state.next)]

    @property
    def epochs_done(self) -> float:
        return 0.0  # a world has no end to come to

    def state(self) -> EpisodesState:
        return self._state

    def load_state(self, state: EpisodesState) -> None:
        self._state = state


class EpisodeSource(OnlineSource):
    """An OnlineSource over an environment; its metrics hold what the environment says of its episodes."""

    def next(self, step: int) -> tuple[dict[str, Batch], Metrics]:
        batches, metrics = super().next(step)
        metrics.pop("epoch/rollouts")
        return batches, metrics | figures(batches["rollouts"].records)


class Player:
    """Plays episodes of one environment with an engine; keeps its worlds from one call to the next."""

    def __init__(
        self, make: Callable[[], Environment], engine: Engine, tokenizer: Tokenizer, sampling: Sampling
    ) -> None:
        self.make, self.engine, self.tokenizer, self.sampling = make, engine, tokenizer, sampling
        self._worlds: list[Environment] = []

    def play(self, seeds: Sequence[int], sampling_seeds: Sequence[int]) -> list[Rollout]:
        """One episode for each pair of seeds."""
        self._worlds += [self.make() for _ in range(len(seeds) - len(self._worlds))]
        worlds = self._worlds[: len(seeds)]
        return play(self.engine, worlds, self.sampling, self.tokenizer, seeds=seeds, sampling_seeds=sampling_seeds)


class NoScore:
    """The scorer of an environment without a further reward: its rewards stand on the tokens already."""

    def columns(self, batch: Batch, what: tuple[str, ...]) -> dict[str, torch.Tensor]:
        return {"reward.scores": torch.zeros(batch.num_rows)}


def figures(rollouts: Sequence[Rollout]) -> Metrics:
    """Means over episodes of the yes/no and numbers that the environment told at their ends, under environment/."""
    told: dict[str, list[float]] = {}
    for rollout in rollouts:
        for name, value in rollout.prompt.meta.get("info", {}).items():
            if isinstance(value, bool | int | float):
                told.setdefault(f"environment/{name}", []).append(float(value))
    return {name: sum(values) / len(values) for name, values in told.items()}


def tokenizer_for(section: Mapping[str, Any]) -> Tokenizer:
    """A tokenizer of the environment's pieces, for a new model. Raises ConfigError if the environment names none."""
    kind = find_environment(str(section.get("name")))
    if "pieces" not in dir(kind):
        raise ConfigError(
            f"{section['name']} does not say what a new model must be able to read and write",
            where="environment.name",
            mend="give the class `pieces`, a tuple of the texts that are to be tokens, or name a `model` to start from",
        )
    return piece_tokenizer(kind.pieces)
