"""The one training loop, for every algorithm, as a generator of StepReports.

    for report in train(...):        # the caller logs, evaluates, saves; it may stop by breaking out
        ...

One step learns from one global batch per stream: take it from the source (which generates, for an online algorithm),
let the algorithm arrange it, add the columns it needs, prepare it once, then go over it `inner_epochs` times in
`minibatches` updates. A loss returns sums; this file alone divides them, by counts over the whole minibatch, so how a
batch is cut into micro-batches never changes the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from amenable.batch import Batch
from amenable.errors import AmenableError, ConfigError
from amenable.train.contract import Algorithm, Metrics
from amenable.train.learner import Learner, schedule
from amenable.train.split import divide, micro_batches
from amenable.types import StepReport


class Source(Protocol):
    """Where global batches come from. Its state is small and JSON-able."""

    def next(self, step: int) -> tuple[dict[str, Batch], Metrics]: ...

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


class Scorer(Protocol):
    """A frozen model that adds columns: {"reference.logprobs": [B, T]} or {"reward.scores": [B]}.

    What it gives beyond what was asked for are figures of each row, whose mean is logged under their name.
    """

    def columns(self, batch: Batch, what: tuple[str, ...]) -> dict[str, torch.Tensor]: ...


class NonFiniteError(AmenableError):
    """Weights that are not finite, or too many steps in a row with a non-finite loss or gradient."""


@dataclass
class Progress:
    """What moves while a run goes on, and must be saved with it, beside learner and source."""

    step: int = 0  # finished steps
    algorithm_state: Any = None
    generator: torch.Generator = field(default_factory=torch.Generator)  # arranging and cutting batches
    skipped_in_a_row: int = 0
    stop: str | None = None  # why the algorithm asked to end the run before its last step


def train(
    algorithm: Algorithm,
    learner: Learner,
    source: Source,
    *,
    steps: int,
    progress: Progress,
    scorers: Mapping[str, Scorer] | None = None,
    on_bad_batch: Callable[[int, dict[str, Batch]], None] | None = None,
    on_batch: Callable[[int, dict[str, Batch], Metrics], None] | None = None,
) -> Iterator[StepReport]:
    """Train from progress.step + 1 to `steps`.

    on_batch: sees each prepared global batch before it is learned from (samples, dumps), and the metrics so far, which are
    of all rows, also of those that the algorithm did not keep. on_bad_batch: sees the batch of a skipped step. Raises
    NonFiniteError after config.max_skipped skipped steps in a row.
    """
    config = learner.config
    if progress.algorithm_state is None:
        progress.algorithm_state = algorithm.initial_state()
    while progress.step < steps and progress.stop is None:
        started = time.perf_counter()
        step = progress.step + 1
        batches, metrics = source.next(step)
        batches, prepared = prepare_batches(algorithm, learner, batches, progress, scorers or {})
        metrics.update(prepared)
        if on_batch:
            on_batch(step, batches, metrics)
        metrics.update(learn(algorithm, learner, batches, progress, rate=schedule(config.optimizer, step, steps)))
        skipped = metrics.pop("skipped") > 0
        progress.skipped_in_a_row = progress.skipped_in_a_row + 1 if skipped else 0
        if skipped and on_bad_batch:
            on_bad_batch(step, batches)
        if not skipped:
            progress.algorithm_state, progress.stop = algorithm.after_step(progress.algorithm_state, metrics)
        progress.step = step
        metrics["learning_rate"] = config.optimizer.learning_rate * schedule(config.optimizer, step, steps)
        tokens = sum(int(b.length_B.sum()) for b in batches.values())
        yield StepReport(
            step=step,
            metrics=metrics,
            num_tokens=tokens,
            seconds=time.perf_counter() - started,
            skipped=skipped,
            stop=progress.stop,
        )
        if progress.skipped_in_a_row > config.max_skipped:
            raise NonFiniteError(
                f"{progress.skipped_in_a_row} steps in a row had a loss or gradient that is not finite",
                where=f"step {step}",
                mend="lower train.optimizer.learning_rate; `amenable runs replay` shows the batch that was dumped",
            )


def prepare_batches(
    algorithm: Algorithm,
    learner: Learner,
    batches: dict[str, Batch],
    progress: Progress,
    scorers: Mapping[str, Scorer],
) -> tuple[dict[str, Batch], Metrics]:
    """arrange → columns that the algorithm needs → prepare, for each stream."""
    metrics: Metrics = {}
    ready: dict[str, Batch] = {}
    for stream, batch in batches.items():
        batch = algorithm.arrange(batch, progress.generator)
        for role, what in _by_role(algorithm.needs.get(stream, ())).items():
            if role in scorers:
                columns = scorers[role].columns(batch, what)
                batch = batch.with_columns(columns)
                metrics.update(row_figures(columns, asked=[f"{role}.{w}" for w in what]))
            else:
                out = learner.evaluate(role, batch, what)
                found = {
                    "logprobs": out.logprobs_BT,
                    "values": out.values_BT,
                    "scores": out.scores_B,
                    "entropy": out.entropy_BT,
                }
                batch = batch.with_columns({f"{role}.{w}": column for w in what if (column := found[w]) is not None})
        batch, measured = algorithm.prepare(batch, progress.algorithm_state)
        if "importance" in batch.columns:
            batch = _weigh(algorithm, batch)
        metrics.update(measured)
        ready[stream] = batch
    return ready, metrics


def row_figures(columns: Mapping[str, torch.Tensor], asked: Sequence[str]) -> Metrics:
    """Means of what a scorer gave beyond the columns that were asked for, one number a row."""
    return {n: float(column.double().mean()) for n, column in columns.items() if n not in asked and column.dim() == 1}


def _weigh(algorithm: Algorithm, batch: Batch) -> Batch:
    """Advantages of responses that an older policy drew, by importance; losses are linear in them (train/policy_scorer.py)."""
    if "advantages" not in batch.columns:
        raise ConfigError(
            f"{algorithm.name} has no column 'advantages' to weigh", where="overlap", mend="set overlap = false"
        )
    return batch.with_columns({"advantages": batch["advantages"] * batch["importance"]})


def learn(
    algorithm: Algorithm, learner: Learner, batches: Mapping[str, Batch], progress: Progress, *, rate: float
) -> Metrics:
    """All inner updates on one step's batches. Returns the metrics' means over all of them.

    Where nothing counts, as where an algorithm kept no row, there is no update: momentum and decay would move the weights.
    """
    config = learner.config
    sums: dict[str, list[float]] = {}
    means: dict[str, list[float]] = {}
    skipped, updates = 0.0, 0
    for _ in range(config.inner_epochs):
        parts = {stream: divide(b, config.minibatches, progress.generator) for stream, b in batches.items()}
        for i in range(max(len(p) for p in parts.values())):
            minibatch = [p[i] for p in parts.values() if i < len(p)]
            loss, found, counts = accumulate(algorithm, learner, minibatch, progress.algorithm_state)
            done = {"skipped": 0.0}
            if any(counts.values()):
                done = learner.step(rate=rate, loss=loss)
                updates += 1
            else:
                learner.clear_gradients()
            for name, value in done.items():
                means.setdefault(name, []).append(value)
            this: Metrics = {}
            for name, (total, count) in found.items():
                if name.startswith("loss/"):
                    total, count = (total, counts[name[5:]]) if counts[name[5:]] else (0.0, 1.0)
                kept = sums.setdefault(name, [0.0, 0.0])
                kept[0], kept[1] = kept[0] + total, kept[1] + count
                this[name] = total / count if count else 0.0
            means.setdefault("loss", []).append(loss)
            skipped = max(skipped, means["skipped"][-1])
            if algorithm.enough(this):
                break
        else:
            continue
        break
    metrics = {name: total / count for name, (total, count) in sums.items() if count}
    metrics.update({name: math.fsum(v) / len(v) for name, v in means.items()})
    metrics["skipped"] = skipped
    metrics["updates"] = float(updates)
    return metrics


def accumulate(
    algorithm: Algorithm, learner: Learner, minibatch: list[Batch], state: Any
) -> tuple[float, dict[str, tuple[float, float]], dict[str, float]]:
    """Forward and backward over all micro-batches. Returns (loss, metrics as (sum, count), global counts)."""
    counts: dict[str, float] = {}
    for batch in minibatch:
        for name, count in algorithm.counts(batch).items():
            counts[name] = counts.get(name, 0.0) + count
    loss = 0.0
    found: dict[str, tuple[float, float]] = {}
    for batch in minibatch:
        for micro in micro_batches(batch, max_tokens=learner.config.micro_tokens):
            part, metrics = learner.forward_backward(micro, lambda o, b: algorithm.loss(o, b, state), counts)
            loss += part
            for name, (total, count) in metrics.items():
                kept = found.get(name, (0.0, 0.0))
                found[name] = (kept[0] + total, kept[1] + count)
    return loss, found, counts


def _by_role(needs: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    roles: dict[str, tuple[str, ...]] = {}
    for need in needs:
        role, what = need.split(".", 1)
        roles[role] = (*roles.get(role, ()), what)
    return roles
