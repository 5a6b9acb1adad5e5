"""Supervised fine-tuning: a base model and demonstrations in, an assistant out."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from amenable.chat.render import check_template, default_template_for
from amenable.config.folder import WorkspaceFolder
from amenable.errors import TemplateError
from amenable.stages.align import open_data, ptx_loaders
from amenable.stages.build import (
    LoraSettings,
    Policy,
    add_lora,
    check_context,
    make_actor,
    make_algorithm,
    open_policy,
    policy_learner,
    save_result,
    validator,
)
from amenable.stages.data import DataConfig, announce, collate_stream
from amenable.stages.events import OnEvent, RunResult, ignore
from amenable.stages.job import NEW, Job
from amenable.stages.watched import SampleEvery, watcher_of_records
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.train.sources import OfflineSource
from amenable.types import Record


class Config(Record, frozen=True):
    """Settings of `amenable sft`."""

    model: Annotated[str, Meta(description="the base model: a name, a folder, or run:NAME")]
    data: Annotated[DataConfig, Meta(description="demonstrations")]
    context: Annotated[int, Meta(ge=0, description="tokens per row; 0: the model's context")] = 0
    lora: Annotated[LoraSettings, Meta(description="train an adapter instead of all weights")] = LoraSettings()
    default_template: Annotated[
        bool, Meta(description="give a model without a chat template a plain one; otherwise that is an error")
    ] = True
    trust_code: Annotated[bool, Meta(description="let transformers run the model folder's own Python code")] = False
    ptx: Annotated[
        DataConfig | None, Meta(description="documents for the pre-training mix, where algorithm.ptx_weight is above 0")
    ] = None
    ptx_rows_per_step: Annotated[int, Meta(ge=1, description="rows of documents per step in the pre-training mix")] = 16
    algorithm: Annotated[dict[str, Any], Meta(description="name and settings of the objective")] = {}
    sample_every: SampleEvery = None
    train: Annotated[TrainConfig, Meta(description="the loop")] = TrainConfig(
        optimizer=OptimizerConfig(learning_rate=3e-4), epochs=3.0, units_per_step=32
    )


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore, mode: str = NEW
) -> RunResult:
    """Train on demonstrations and write the model to runs/<name>/model."""
    with Job.open("sft", config, workspace, name, mode, on_event) as job:
        return _run(config, workspace, job)


def _run(config: Config, workspace: WorkspaceFolder, job: Job) -> RunResult:
    compute = job.set_up(config.train)
    algorithm = make_algorithm(config.algorithm, "sft", kinds=("demonstrations",), beside=("documents",))
    policy = open_policy(config.model, workspace, compute, trust_code=config.trust_code, algorithm=algorithm)
    ensure_template(policy, job, allowed=config.default_template)
    context = check_context(config.context, policy.model)
    stream = open_data(config.data, "demonstrations", policy, context, job, workspace)
    steps = announce(stream, config.train, job.say, add_lora(policy, config.lora, config.train.seed))
    learner = policy_learner(make_actor(policy.model, algorithm.trains["policy"]), config.train, compute)
    rows, seed = config.ptx_rows_per_step, config.train.seed
    loaders = {"demonstrations": stream.loader(units_per_step=config.train.units_per_step, seed=seed)}
    loaders |= ptx_loaders(
        config.ptx, algorithm, policy, context, job, workspace, beside="demonstrations", rows=rows, seed=seed
    )
    held_out = [collate_stream(stream.measured(256), "demonstrations")] if stream.validation else []
    return job.train(
        algorithm,
        learner,
        OfflineSource(loaders, collate_stream),
        steps=steps,
        validate=validator(algorithm, learner, held_out),
        watch=watcher_of_records(policy, stream.validation_records, learner, compute, job.folder),
        watch_every=config.sample_every,
        save_model=lambda folder, about, learns_on: save_result(
            policy, policy.model, folder, {**about, "data": job.data}, learns_on=learns_on
        ),
    )


def ensure_template(policy: Policy, job: Job, *, allowed: bool) -> None:
    """The tokenizer has a chat template whose stop token is trained, or gets a plain one. Raises TemplateError."""
    if policy.model.kind == "seq2seq":
        return
    if policy.tokenizer.chat_template is None:
        if not allowed:
            raise TemplateError(
                "the model has no chat template", where=str(policy.folder), mend="set default_template=true"
            )
        policy.tokenizer = default_template_for(policy.tokenizer)
        job.say("the model has no chat template: it gets a plain one, saved with the result")
    check_template(policy.tokenizer)
