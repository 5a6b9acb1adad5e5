"""How long a run will take, by a trial of a few of its own steps: behind `amenable doctor RECIPE`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Annotated

from msgspec import Meta

from amenable.train.settings import TrainConfig
from amenable.types import Record, StepReport

TRIAL_SECONDS, TRIAL_STEPS = 10.0, (4, 40)


class Forecast(Record, frozen=True):
    """How long a run will take, from a few of its own steps.

    seconds = preparing + steps * step + validations * validation + samples * sample + checkpoints * checkpoint, all in seconds.
    """

    steps: int
    preparing: float
    step: Annotated[float, Meta(description="median, the first step left out")]
    validations: int
    validation: float
    samples: Annotated[int, Meta(description="times that the same held-out prompts are answered beside the steps")]
    sample: float
    checkpoints: int
    checkpoint: float
    seconds: float
    tokens_per_second: Annotated[float, Meta(description="real tokens learned from")]


class TrialOver(Exception):
    """A trial has measured what it was for."""

    def __init__(self, forecast: Forecast) -> None:
        super().__init__("the trial is over")
        self.forecast = forecast


def forecast(
    loop: Iterator[StepReport],
    steps: int,
    config: TrainConfig,
    *,
    preparing: float,
    validate: Callable[[], object] | None,
    watch: Callable[[], object] | None,
    watch_every: int,
    save: Callable[[], object],
) -> Forecast:
    """Some steps of the loop, one validation, one look at answers, one checkpoint; what a run of `steps` makes of them.

    preparing: seconds before the first step. save: writes a checkpoint.
    """
    fewest, most = TRIAL_STEPS
    seconds: list[float] = []
    tokens = 0
    for report in loop:
        seconds.append(report.seconds)
        tokens += report.num_tokens
        if len(seconds) >= most or (len(seconds) >= fewest and sum(seconds) > TRIAL_SECONDS):
            break
    step = statistics.median(seconds[1:] or seconds)
    num_validations = -(-steps // config.validate_every) if validate and config.validate_every else 0
    num_checkpoints = 1 + ((steps - 1) // config.save_every if config.save_every else 0)
    validation = _seconds(validate) if validate and num_validations else 0.0
    num_samples = 1 + -(-steps // watch_every) if watch else 0
    sample = _seconds(watch) if watch else 0.0
    saving = _seconds(save)
    return Forecast(
        steps=steps,
        preparing=preparing,
        step=step,
        validations=num_validations,
        validation=validation,
        samples=num_samples,
        sample=sample,
        checkpoints=num_checkpoints,
        checkpoint=saving,
        seconds=preparing
        + steps * step
        + num_validations * validation
        + num_samples * sample
        + num_checkpoints * saving,
        tokens_per_second=tokens / len(seconds) / step,
    )


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started
