"""Reward models trained beside the run's own: further members of an ensemble, and models on less data for the learning curve.

They are trained one after the other when the run's own training is done, each from the model that the run began from. They
write no checkpoints: a run that is broken off among them, by Ctrl-C too, trains them again when it is resumed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from amenable.data.rows import Unit
from amenable.evals.forecast import Forecast, forecast
from amenable.evals.reward_quality import correctness
from amenable.models.forward import Actor
from amenable.models.heads import ScalarHead, Start
from amenable.rewards.base import Reward
from amenable.rewards.model import RewardModel
from amenable.splitting import prompt_key
from amenable.stages.build import Compute, LoraSettings, Policy, add_lora, make_actor
from amenable.stages.data import Stream, collate_stream
from amenable.stages.events import Event
from amenable.stages.job import Job
from amenable.stages.reward_measure import all_comparisons, margins
from amenable.train.contract import Algorithm
from amenable.train.learner import Learner
from amenable.train.loop import Progress, train
from amenable.train.settings import TrainConfig
from amenable.train.sources import OfflineSource


@dataclass(frozen=True)
class Member:
    """A trained reward model with what it is saved with."""

    policy: Policy
    actor: Actor
    reward: RewardModel


@dataclass(frozen=True)
class Recipe:
    """What every reward model of a run is trained with. open: the model to start from, ready for rows."""

    algorithm: Algorithm
    train: TrainConfig
    lora: LoraSettings
    head: Start
    compute: Compute
    open: Callable[[], Policy]
    stream_name: str

    def make(self, name: str, seed: int, policy: Policy) -> tuple[Actor, RewardModel, str | None]:
        """An untrained reward model on a policy: its actor, the reward, and a line on its adapter."""
        line = add_lora(policy, self.lora, seed)
        generator = torch.Generator().manual_seed(seed)
        head = ScalarHead(policy.model.hidden_size, start=self.head, generator=generator)
        actor = make_actor(policy.model, "scalar", head)
        return actor, RewardModel(actor, policy.tokenizer, name=name, precision=self.compute.precision), line

    def learner(self, actor: Actor, seed: int) -> Learner:
        config = self.train.replace(seed=seed)
        return Learner({"reward": actor}, config, precision=self.compute.precision, device=self.compute.device)

    def source(self, stream: Stream, seed: int) -> OfflineSource:
        loader = stream.loader(units_per_step=self.train.units_per_step, seed=seed)
        return OfflineSource({self.stream_name: loader}, collate_stream)


def train_apart(recipe: Recipe, stream: Stream, job: Job, *, steps: int, seed: int, label: str) -> Member:
    """A reward model of its own, from the same start, on a stream. label: what its progress is shown as."""
    torch.manual_seed(seed)  # dropout of an adapter
    policy = recipe.open()
    actor, reward, _ = recipe.make(label, seed, policy)
    progress = Progress(generator=torch.Generator().manual_seed(seed))
    learner = recipe.learner(actor, seed)
    for report in train(recipe.algorithm, learner, recipe.source(stream, seed), steps=steps, progress=progress):
        shown = {name: value for name, value in report.metrics.items() if name in ("loss", "accuracy")}
        job.on_event(Event(stage=label, done=float(report.step), total=float(steps), metrics=shown))
        job.heed_ctrl_c(f"the training of {label}")
    actor.eval()
    return Member(policy, actor, reward)


def learning_curve(
    recipe: Recipe, stream: Stream, whole: Reward | None, job: Job, *, halvings: int, steps: int, seed: int
) -> Forecast:
    """Train on 1/2, 1/4, ... of the prompts too, and see what each doubling brought.

    whole: a model trained on all of them; None: trained here.
    """
    comparisons = all_comparisons(stream.validation_records)
    sizes, right = [], []
    for share in [0.5**halving for halving in range(halvings, -1, -1)]:
        part, reward = first_prompts(stream, share, seed), whole if share == 1 else None
        if reward is None:
            own = max(1, round(steps * part.num_units / stream.num_units))
            reward = train_apart(recipe, part, job, steps=own, seed=seed, label=f"{share:.3g} of the data").reward
        sizes.append(num_comparisons(part))
        right.append(correctness(margins(reward, comparisons)).tolist())
    return forecast(sizes, right, clusters=[prompt_key(c) for c in comparisons], seed=seed)


def resampled(stream: Stream, seed: int) -> Stream:
    """As many prompts of each source as it has, drawn with replacement, each with all of its units."""
    units = {}
    for source, own in stream.units.items():
        groups = list(by_prompt(own).values())
        drawn = random.Random(f"bootstrap {seed} {source}").choices(groups, k=len(groups))
        units[source] = [unit for group in drawn for unit in group]
    return replace(stream, units=units)


def first_prompts(stream: Stream, share: float, seed: int) -> Stream:
    """A share of each source's prompts, at least one, by a hash: a smaller share is a part of a larger one."""
    units = {}
    for source, own in stream.units.items():
        groups = by_prompt(own)
        order = sorted(groups, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
        units[source] = [unit for key in order[: max(1, round(share * len(order)))] for unit in groups[key]]
    return replace(stream, units=units)


def by_prompt(units: Sequence[Unit]) -> Mapping[Any, list[Unit]]:
    """Units by the prompt that they share."""
    groups: dict[Any, list[Unit]] = {}
    for unit in units:
        groups.setdefault(prompt_key(unit[0].record), []).append(unit)
    return groups


def num_comparisons(stream: Stream) -> int:
    """Comparisons that a stream's units hold, those within rankings counted."""
    return len(all_comparisons([unit[0].record for units in stream.units.values() for unit in units]))
