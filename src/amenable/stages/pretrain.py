"""Pre-train a language model from scratch, or go on with one: text in, a base model out.

The algorithm is the objective, and says which family of model learns: `pretrain` (next word) a decoder, `masked_word` an
encoder, `span_corruption` and `source_target` an encoder-decoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta

from amenable.chat.tokenizer import SMALLEST_VOCAB, Tokenizer, train_bpe
from amenable.config.folder import WorkspaceFolder
from amenable.errors import ConfigError, ModelError
from amenable.models.auto import UNLIMITED
from amenable.stages.build import (
    Compute,
    DecoderShape,
    Policy,
    check_context,
    make_actor,
    make_algorithm,
    new_policy,
    open_policy,
    policy_learner,
    save_result,
    validator,
)
from amenable.stages.data import (
    DataConfig,
    announce,
    collate_stream,
    drawn,
    open_stream,
    with_vocabulary,
)
from amenable.stages.events import OnEvent, RunResult, ignore
from amenable.stages.job import NEW, Job
from amenable.train.contract import Algorithm
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.train.sources import OfflineSource
from amenable.types import Record

TOKENIZER_SAMPLE_CHARACTERS = 20_000_000
MASK = "<|mask|>"
SENTINELS = tuple(f"<extra_id_{k}>" for k in range(100))
"""What stands for a hidden token, and for hidden spans in order, in tokenizers made here; the latter as T5 spells them."""


class ShapeConfig(DecoderShape, frozen=True):
    """A model's measures and its vocabulary."""

    vocab_size: Annotated[int, Meta(ge=262, description="tokens of the tokenizer trained with the model")] = 4096


class Config(Record, frozen=True):
    """Settings of `amenable pretrain`."""

    data: Annotated[DataConfig, Meta(description="documents")]
    model: Annotated[str | None, Meta(description="go on with this model; null: a new one of `shape`")] = None
    tokenizer: Annotated[str | None, Meta(description="folder of a tokenizer; null: train one on the data")] = None
    shape: Annotated[ShapeConfig, Meta(description="of a new model")] = ShapeConfig()
    context: Annotated[
        int,
        Meta(ge=0, description="tokens per training row; 0: the model's context, or shape.context if it has no limit"),
    ] = 0
    algorithm: Annotated[
        dict[str, Any],
        Meta(
            description="name (pretrain: next word, masked_word, span_corruption, source_target) and settings of the objective"
        ),
    ] = {}
    train: Annotated[TrainConfig, Meta(description="the loop")] = TrainConfig(
        optimizer=OptimizerConfig(learning_rate=1e-3, weight_decay=0.1), units_per_step=32
    )


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore, mode: str = NEW
) -> RunResult:
    """Train on documents (source_target: demonstrations) and write the model to runs/<name>/model."""
    with Job.open("pretrain", config, workspace, name, mode, on_event) as job:
        return _run(config, workspace, job)


def _run(config: Config, workspace: WorkspaceFolder, job: Job) -> RunResult:
    compute = job.set_up(config.train)
    algorithm = make_algorithm(config.algorithm, "pretrain", kinds=("documents", "demonstrations"))
    (kind,) = algorithm.feeds.values()
    if kind == "demonstrations" and algorithm.trains["policy"] != "seq2seq":
        raise ConfigError(
            f"{algorithm.name} is no objective to begin with", where="algorithm.name", mend="run `amenable sft`"
        )
    policy = _start(config, algorithm, workspace, job, compute)
    context = check_context(config.context, policy.model)
    context = config.shape.context if context >= UNLIMITED else context
    stream = open_stream(
        config.data,
        kind,
        policy.tokenizer,
        context=context,
        model_kind=policy.model.kind,
        rejects=job.rejects,
        workspace=workspace,
        snapshots=job.snapshots(),
    )
    job.data.update(stream.info, **policy.identity)
    size = f"{policy.model.num_parameters():,} parameters, {policy.tokenizer.vocab_size:,} tokens, context {context}"
    steps = announce(stream, config.train, job.say, size)
    learner = policy_learner(make_actor(policy.model, algorithm.trains["policy"]), config.train, compute)
    loader = stream.loader(units_per_step=config.train.units_per_step, seed=config.train.seed)
    collated = collate_stream if algorithm.name == "pretrain" else with_vocabulary(policy.tokenizer)
    held_out = [collated(stream.measured(64), kind)] if stream.validation else []
    hiding = torch.Generator().manual_seed(config.train.seed)
    held_out = [algorithm.arrange(batch, hiding) for batch in held_out]  # once, so that figures compare between steps

    def save(folder: Path, about: dict[str, Any], learns_on: bool) -> None:
        mixture = [msgspec.to_builtins(part) for part in drawn(stream, loader)]
        about |= {"data": job.data, "mixture": mixture}
        save_result(policy, policy.model, folder, about, learns_on=learns_on)

    result = job.train(
        algorithm,
        learner,
        OfflineSource({kind: loader}, collated),
        steps=steps,
        validate=validator(algorithm, learner, held_out),
        save_model=save,
    )
    if not result.model:  # a step was replayed
        return result
    parts = drawn(stream, loader)
    for part in parts:
        job.say(part.line())
    return result.replace(details={"mixture": [msgspec.to_builtins(part) for part in parts]})


def _start(config: Config, algorithm: Algorithm, workspace: WorkspaceFolder, job: Job, compute: Compute) -> Policy:
    """The model to train: an existing one, or a new one with a given or a newly trained tokenizer."""
    if config.model:
        policy = open_policy(config.model, workspace, compute, algorithm=algorithm)
        require_marks(policy.tokenizer, algorithm, str(policy.folder))
        _refuse_a_new_models_settings(config, has_limit=policy.model.context < UNLIMITED)
        return policy
    family = {"mlm": "encoder", "seq2seq": "seq2seq"}.get(algorithm.trains["policy"], "decoder")
    kept = job.folder.folder / "tokenizer"
    if not job.is_new:
        tokenizer = Tokenizer.load(kept)
    elif config.tokenizer:
        tokenizer = with_marks(Tokenizer.load(config.tokenizer), family)
    else:
        (kind,) = algorithm.feeds.values()
        tokenizer = _train_tokenizer(config, kind, family, workspace, job)
    if job.is_new:
        tokenizer.save(kept)
    return new_policy(config.shape, tokenizer, compute, seed=config.train.seed, kind=family)


def _refuse_a_new_models_settings(config: Config, *, has_limit: bool) -> None:
    """Raise ConfigError for a tokenizer or a shape beside a model, which has both; without a limit shape.context counts."""
    usual = ShapeConfig()
    shape = config.shape if has_limit else config.shape.replace(context=usual.context)
    for where, given in (("tokenizer", config.tokenizer is not None), ("shape", shape != usual)):
        if given:
            raise ConfigError(
                f"the model {config.model!r} has a {where} of its own",
                where=where,
                mend="leave it out, or begin a new model by leaving out model",
            )


def with_marks(tokenizer: Tokenizer, family: str) -> Tokenizer:
    """The tokenizer with the marks that stand for what a family's objective hides, if it lacks them."""
    if family == "encoder" and tokenizer.mask_id is None:
        return tokenizer.with_added({"mask_token": MASK})
    if family == "seq2seq" and not tokenizer.sentinel_ids:
        return tokenizer.with_added({}, SENTINELS)
    return tokenizer


def require_marks(tokenizer: Tokenizer, algorithm: Algorithm, where: str) -> None:
    """Raise ModelError if the tokenizer of a model that is there lacks the marks of the objective."""
    lacks = {
        "masked_word": None if tokenizer.mask_id is not None else "mask token",
        "span_corruption": None if len(tokenizer.sentinel_ids) > 1 else "sentinels (<extra_id_0> and so on)",
    }.get(algorithm.name)
    if lacks:
        raise ModelError(
            f"the model's tokenizer has no {lacks}",
            where=where,
            mend=f"go on with a model that was pre-trained by {algorithm.name}, or begin a new one",
        )


def _train_tokenizer(config: Config, kind: str, family: str, workspace: WorkspaceFolder, job: Job) -> Tokenizer:
    """A tokenizer of the training texts, with the marks of the family."""
    from amenable.data.rejects import Rejects
    from amenable.data.source import load

    job.say(f"training a tokenizer of {config.shape.vocab_size:,} tokens")
    texts: list[str] = []
    for spec in config.data.train:
        size = 0
        loaded = load(
            spec,
            kind,
            layout=config.data.layout,
            rejects=Rejects(limit_share=config.data.max_reject_share, path=job.rejects),
            limit=config.data.limit,
            database=workspace.database,
        )
        for record in loaded.records:
            text = record.text if kind == "documents" else "\n".join(m.content for m in record.messages)
            texts.append(text)
            size += len(text)
            if size > TOKENIZER_SAMPLE_CHARACTERS / len(config.data.train):
                break
    marks = {"encoder": 1, "seq2seq": len(SENTINELS)}.get(family, 0)
    if config.shape.vocab_size < SMALLEST_VOCAB + marks:
        raise ConfigError(
            f"a vocabulary of {config.shape.vocab_size} cannot hold the 256 bytes and {SMALLEST_VOCAB - 256 + marks} specials",
            where="shape.vocab_size",
            mend=f"set it to {SMALLEST_VOCAB + marks} or more",
        )
    return with_marks(train_bpe(texts, config.shape.vocab_size - marks), family)
