"""Optimise a policy for what people judged before: DPO and its like on comparisons, KTO on labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from msgspec import Meta

from amenable.config.folder import WorkspaceFolder
from amenable.errors import ConfigError
from amenable.stages.align import make_learner, open_data
from amenable.stages.build import LoraSettings, check_context, make_algorithm, open_policy, save_result, validator
from amenable.stages.data import DataConfig, Stream, announce, collate_stream
from amenable.stages.events import OnEvent, RunResult, ignore
from amenable.stages.job import NEW, Job
from amenable.stages.sft import ensure_template
from amenable.stages.watched import SampleEvery, watcher_of_records
from amenable.train.contract import Algorithm
from amenable.train.learner import Learner
from amenable.train.loop import Progress, Scorer, prepare_batches
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.train.sources import OfflineSource
from amenable.types import Record


class Config(Record, frozen=True):
    """Settings of `amenable dpo` and `amenable kto`."""

    model: Annotated[str, Meta(description="the policy to start from, usually the SFT model; also the reference")]
    data: Annotated[DataConfig, Meta(description="comparisons (dpo) or labels (kto)")]
    algorithm: Annotated[dict[str, Any], Meta(description="name and settings of the algorithm")] = {}
    context: Annotated[int, Meta(ge=0, description="tokens per row; 0: the model's context")] = 0
    sample_every: SampleEvery = None
    lora: Annotated[LoraSettings, Meta(description="train an adapter; the reference is then the model without it")] = (
        LoraSettings()
    )
    train: Annotated[TrainConfig, Meta(description="the loop")] = TrainConfig(
        optimizer=OptimizerConfig(learning_rate=5e-5, schedule="linear", final_share=0.0, epsilon=1e-8),
        epochs=1.0,
        units_per_step=32,
    )


def run(
    config: Config,
    *,
    workspace: WorkspaceFolder,
    name: str | None = None,
    on_event: OnEvent = ignore,
    mode: str = NEW,
    stage: str = "dpo",
) -> RunResult:
    """Learn from comparisons or labels; write the model to runs/<name>/model."""
    with Job.open(stage, config, workspace, name, mode, on_event) as job:
        return _run(config, workspace, job)


def run_kto(config: Config, **options: Any) -> RunResult:
    """`run_offline` under its command's name."""
    return run(config, stage="kto", **options)


def _run(config: Config, workspace: WorkspaceFolder, job: Job) -> RunResult:
    compute = job.set_up(config.train)
    algorithm = make_algorithm(config.algorithm, job.stage, given=("reference", "reward"))
    if algorithm.online:
        raise ConfigError(
            f"{algorithm.name} learns from its own responses", where="algorithm.name", mend="use `amenable ppo`"
        )
    if algorithm.name == "kto" and config.train.units_per_step == 1:
        raise ConfigError("kto compares rows", where="train.units_per_step", mend="set it to 2 or more")
    policy = open_policy(config.model, workspace, compute, algorithm=algorithm)
    ensure_template(policy, job, allowed=True)
    context = check_context(config.context, policy.model)
    (stream_name, kind), *_ = algorithm.feeds.items()
    stream = open_data(config.data, kind, policy, context, job, workspace)
    steps = announce(stream, config.train, job.say)
    learner, scorers = make_learner(algorithm, policy, config.lora, config.train, compute, 1.0, job)
    loader = stream.loader(units_per_step=config.train.units_per_step, seed=config.train.seed)
    return job.train(
        algorithm,
        learner,
        OfflineSource({stream_name: loader}, collate_stream),
        steps=steps,
        scorers=scorers,
        validate=_validate(algorithm, learner, scorers, stream, stream_name, config.train.seed),
        watch=watcher_of_records(policy, stream.validation_records, learner, compute, job.folder, scorers),
        watch_every=config.sample_every,
        save_model=lambda folder, about, learns_on: save_result(
            policy, policy.model, folder, {**about, "data": job.data}, learns_on=learns_on
        ),
    )


def _validate(
    algorithm: Algorithm, learner: Learner, scorers: Mapping[str, Scorer], stream: Stream, name: str, seed: int
) -> Any:
    if not stream.validation:
        return None
    batch = collate_stream(stream.measured(256), name)
    first = Progress(algorithm_state=algorithm.initial_state(), generator=torch.Generator().manual_seed(seed))
    # reference columns do not change over the run; the policy's own (KTO) are those at the start
    ready, _ = prepare_batches(algorithm, learner, {name: batch}, first, scorers)
    return validator(algorithm, learner, [ready[name]])
