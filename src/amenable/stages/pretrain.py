"""Pre-train a language model from scratch, or go on with one: text in, a base model out."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from amenable.chat.tokenizer import Tokenizer, train_bpe
from amenable.config.folder import WorkspaceFolder
from amenable.stages.build import (
    Compute,
    DecoderShape,
    Policy,
    check_context,
    make_actor,
    make_algorithm,
    new_policy,
    open_policy,
    save_result,
    validator,
)
from amenable.stages.data import DataConfig, collate_stream, mixture_lines, open_stream, steps_for
from amenable.stages.events import OnEvent, RunResult, ignore
from amenable.stages.job import NEW, Job
from amenable.train.learner import Learner
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.train.sources import OfflineSource
from amenable.types import Document, Record

TOKENIZER_SAMPLE_CHARACTERS = 20_000_000


class ShapeConfig(DecoderShape, frozen=True):
    """A Llama-shaped decoder and its vocabulary."""

    vocab_size: Annotated[int, Meta(ge=262, description="tokens of the tokenizer trained with the model")] = 4096


class Config(Record, frozen=True):
    """Settings of `amenable pretrain`."""

    data: Annotated[DataConfig, Meta(description="documents")]
    model: Annotated[str | None, Meta(description="go on with this model; null: a new one of `shape`")] = None
    tokenizer: Annotated[str | None, Meta(description="folder of a tokenizer; null: train one on the data")] = None
    shape: Annotated[ShapeConfig, Meta(description="of a new model")] = ShapeConfig()
    context: Annotated[int, Meta(ge=0, description="tokens per training row; 0: the model's context")] = 0
    algorithm: Annotated[dict[str, Any], Meta(description="name and settings of the objective")] = {}
    train: Annotated[TrainConfig, Meta(description="the loop")] = TrainConfig(
        optimizer=OptimizerConfig(learning_rate=1e-3, weight_decay=0.1), units_per_step=32
    )


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore, mode: str = NEW
) -> RunResult:
    """Train on documents and write the model to runs/<name>/model."""
    with Job.open("pretrain", config, workspace, name, mode, on_event) as job:
        return _run(config, workspace, job)


def _run(config: Config, workspace: WorkspaceFolder, job: Job) -> RunResult:
    compute = job.set_up(config.train)
    algorithm = make_algorithm(config.algorithm, "pretrain", kinds=("documents",))
    policy = _start(config, workspace, job, compute)
    context = check_context(config.context, policy.model)
    stream = open_stream(
        config.data, "documents", policy.tokenizer, context=context, rejects=job.rejects, workspace=workspace
    )
    job.data.update(stream.info, model=policy.hash)
    steps = steps_for(config.train.steps, config.train.epochs, stream.num_units, config.train.units_per_step)
    for line in stream.notes + mixture_lines(stream, steps, config.train.units_per_step):
        job.say(line)
    job.say(f"{policy.model.num_parameters():,} parameters, {policy.tokenizer.vocab_size:,} tokens, context {context}")
    learner = Learner(
        {"policy": make_actor(policy.model, "lm")}, config.train, precision=compute.precision, device=compute.device
    )
    loader = stream.loader(units_per_step=config.train.units_per_step, seed=config.train.seed)
    held_out = [collate_stream(stream.validation[:64], "documents")] if stream.validation else []
    return job.train(
        algorithm,
        learner,
        OfflineSource({"documents": loader}, collate_stream),
        steps=steps,
        validate=validator(algorithm, learner, held_out),
        save_model=lambda folder, about, learns_on: save_result(
            policy, policy.model, folder, {**about, "data": job.data}, learns_on=learns_on
        ),
    )


def _start(config: Config, workspace: WorkspaceFolder, job: Job, compute: Compute) -> Policy:
    """The model to train: an existing one, or a new one with a given or a newly trained tokenizer."""
    if config.model:
        return open_policy(config.model, workspace, compute)
    kept = job.folder.folder / "tokenizer"
    if not job.is_new:
        tokenizer = Tokenizer.load(kept)
    elif config.tokenizer:
        tokenizer = Tokenizer.load(config.tokenizer)
    else:
        tokenizer = _train_tokenizer(config, workspace, job)
    if job.is_new:
        tokenizer.save(kept)
    return new_policy(config.shape, tokenizer, compute, seed=config.train.seed)


def _train_tokenizer(config: Config, workspace: WorkspaceFolder, job: Job) -> Tokenizer:
    from amenable.data.rejects import Rejects
    from amenable.data.source import load

    job.say(f"training a tokenizer of {config.shape.vocab_size:,} tokens")
    texts: list[str] = []
    for spec in config.data.train:
        size = 0
        loaded = load(spec, "documents", layout=config.data.layout, rejects=Rejects(), limit=config.data.limit)
        for document in loaded.records:
            assert isinstance(document, Document)
            texts.append(document.text)
            size += len(document.text)
            if size > TOKENIZER_SAMPLE_CHARACTERS / len(config.data.train):
                break
    return train_bpe(texts, config.shape.vocab_size)
