"""Fine-tune a model to one task: classes, numbers, tags, answers that stand in a passage, or texts to write.

Any family will do. A decoder is read at its last token, an encoder at its first, an encoder-decoder at the target's start; an
encoder writes no text, so it takes no source -> target. The model of the best validation is kept, and measured.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from msgspec import Meta
from safetensors.torch import load_file

from amenable.config.folder import WorkspaceFolder, write_atomic
from amenable.data.example_rows import Scale
from amenable.data.examples import Example, Task, check_columns, read_examples, side_of
from amenable.data.rejects import Rejects
from amenable.data.source import fingerprint
from amenable.errors import ConfigError, DataError, nearest
from amenable.evals import task_metrics
from amenable.evals.curves import read_curves
from amenable.evals.report.page import write_report
from amenable.evals.report.records import CurveGroup, DataSource, Report
from amenable.models.auto import UNLIMITED
from amenable.models.weights import write_tensors
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
)
from amenable.stages.catalog import TASK_ALGORITHMS
from amenable.stages.data import DataConfig, Stream, announce, check_sources, collate_stream
from amenable.stages.events import OnEvent, RunResult, ignore
from amenable.stages.job import NEW, Job
from amenable.stages.sft import ensure_template
from amenable.stages.tuned import HEAD, KINDS, About, figures, foretold, new_head, units_of, written
from amenable.train.contract import Algorithm
from amenable.train.learner import Learner
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.train.sources import OfflineSource
from amenable.types import Record

CONTEXT_WITHOUT_LIMIT = 512
"""Of a model that reads any length, where no context is given."""


class Config(Record, frozen=True):
    """Settings of `amenable finetune`."""

    model: Annotated[str, Meta(description="the model to start from: a name, a folder, or run:NAME")]
    task: Annotated[
        Task,
        Meta(
            description="classification, regression, tokens (a tag for each word), extraction (answers in a passage) or target (a text to write)"
        ),
    ]
    data: Annotated[DataConfig, Meta(description="files with named columns, or public sets")]
    columns: Annotated[
        dict[str, str],
        Meta(
            description="the files' names for text, second, label, number, words, tags, answers; those left out are looked for under their usual names"
        ),
    ] = {}
    labels: Annotated[
        tuple[str, ...], Meta(description="the classes or tags there are; empty: those of the training data")
    ] = ()
    context: Annotated[
        int, Meta(ge=0, description="tokens per row; 0: the model's context, 512 if it has no limit")
    ] = 0
    lora: Annotated[LoraSettings, Meta(description="train an adapter and the head instead of all weights")] = (
        LoraSettings()
    )
    choose_by: Annotated[
        str | None,
        Meta(description="figure on held-out examples by which the best step's model is kept; null: the task's own"),
    ] = None
    measure_at_most: Annotated[
        int, Meta(ge=0, description="held-out examples that each validation measures; 0: all")
    ] = 500
    max_tokens: Annotated[
        int, Meta(ge=1, description="target: tokens that an answer may have where it is measured")
    ] = 64
    trust_code: Annotated[bool, Meta(description="let transformers run the model folder's own Python code")] = False
    algorithm: Annotated[
        dict[str, Any], Meta(description="name and settings of the objective; by default the task's own")
    ] = {}
    train: Annotated[TrainConfig, Meta(description="the loop")] = TrainConfig(
        optimizer=OptimizerConfig(learning_rate=3e-4), epochs=3.0, units_per_step=32, validate_every=50
    )


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore, mode: str = NEW
) -> RunResult:
    """Train on examples; write the best model, finetune.json and report.html."""
    with Job.open("finetune", config, workspace, name, mode, on_event) as job:
        return _run(config, workspace, job)


def _run(config: Config, workspace: WorkspaceFolder, job: Job) -> RunResult:
    _check(config)
    compute = job.set_up(config.train)
    algorithm = make_algorithm(config.algorithm, TASK_ALGORITHMS[config.task])
    _check_kind(config, algorithm)
    policy = open_policy(config.model, workspace, compute, trust_code=config.trust_code, algorithm=algorithm)
    if config.task == "target":
        ensure_template(policy, job, allowed=True)
    loaded = _load(config, job)
    context = check_context(config.context, policy.model)
    context = CONTEXT_WITHOUT_LIMIT if context >= UNLIMITED else context
    about = _about(config, [e for examples, _ in loaded.train.values() for e in examples], context)
    stream = _stream(config, loaded, policy, about)
    job.data.update(stream.info, **policy.identity)
    steps = announce(stream, config.train, job.say, add_lora(policy, config.lora, config.train.seed))
    actor = make_actor(policy.model, KINDS[config.task], new_head(about, policy.model.hidden_size, config.train.seed))
    learner = policy_learner(actor, config.train, compute)
    held_out = stream.validation_records[: config.measure_at_most or None]
    best = Best(config, about, policy, learner, job, held_out, stream.validation[: len(held_out)])
    loader = stream.loader(units_per_step=config.train.units_per_step, seed=config.train.seed)
    heads = {} if actor.head is None else {HEAD: actor.head}

    def save(folder: Path, said: dict[str, Any], learns_on: bool) -> None:
        if not learns_on:
            best.put_back()
        told = {**said, "data": job.data, HEAD: msgspec.to_builtins(about)}
        save_result(policy, policy.model, folder, told, learns_on=learns_on, **heads)

    (stream_name,) = algorithm.feeds
    result = job.train(
        algorithm,
        learner,
        OfflineSource({stream_name: loader}, collate_stream),
        steps=steps,
        validate=best.measure if held_out else None,
        save_model=save,
    )
    return _report(result, config, about, best, stream, job) if result.model else result


class Best:
    """The trained weights of the step that did best on held-out examples, in best.safetensors of the run's folder.

    What was best before is read from the run's log, so that a run that goes on chooses as one that never stopped.
    """

    def __init__(
        self,
        config: Config,
        about: About,
        policy: Policy,
        learner: Learner,
        job: Job,
        examples: Sequence[Example],
        units: Sequence[Any],
    ) -> None:
        self.name = config.choose_by or task_metrics.CHOOSE_BY[config.task]
        self.about, self.policy, self.learner, self.job = about, policy, learner, job
        self.examples, self.units = examples, units
        self.file = job.folder.folder / "best.safetensors"

    @property
    def key(self) -> str:
        return f"validation/{self.name}"

    def measure(self) -> dict[str, float]:
        """The task's figures on the held-out examples; keeps the weights if they are the best so far."""
        if self.about.task == "target":
            said: list[Any] = list(written(self.policy, self.examples, self.about))
        else:
            with self.learner.evaluating():
                said = foretold(
                    self.units, self.about, self.policy.tokenizer, lambda b, w: self.learner.evaluate("policy", b, w)
                )
        found = figures(self.about, said, self.examples)
        best = self.step()
        if task_metrics.better(self.name, found[self.name], None if best is None else best[self.key]):
            write_tensors({name: p.detach().cpu().clone() for name, p in self.learner.parameters()}, self.file)
        return {f"validation/{name}": value for name, value in found.items()}

    def step(self) -> dict[str, Any] | None:
        """The log's line of the best step so far; None before the first validation."""
        best: dict[str, Any] | None = None
        for row in self.job.folder.rows("metrics.jsonl"):
            value = row.get(self.key)
            if value is not None and task_metrics.better(self.name, value, None if best is None else best[self.key]):
                best = row
        return best

    @torch.no_grad()
    def put_back(self) -> None:
        """The best weights into the model, if any step was measured."""
        if self.step() is None:
            return
        state = load_file(self.file)
        for name, parameter in self.learner.parameters():
            parameter.copy_(state[name])


@dataclass(frozen=True)
class Loaded:
    """Examples by source, with what is known of them, and those held out."""

    train: dict[str, tuple[list[Example], dict[str, Any]]]
    held_out: list[Example]
    info: dict[str, Any]
    notes: list[str]


def _load(config: Config, job: Job) -> Loaded:
    """Read and split the sources; the same text falls on the same side in all of them."""
    train: dict[str, tuple[list[Example], dict[str, Any]]] = {}
    held_out: list[Example] = []
    info: dict[str, Any] = {}
    notes: list[str] = []

    def read(spec: str, labels: Sequence[str]) -> tuple[list[Example], dict[str, Any]]:
        rejects = Rejects(limit_share=config.data.max_reject_share, path=job.rejects)
        found = read_examples(
            spec, config.task, columns=config.columns, labels=labels, rejects=rejects, limit=config.data.limit
        )
        if rejects.anything:
            notes.append(f"{spec}: {rejects.summary()}")
        return found, {"sha256": fingerprint(found), "records": len(found), "rejects": rejects.rejected}

    for spec in config.data.train:
        examples, about = read(spec, config.labels)
        sides = [side_of(e, config.data.held_out_share) for e in examples]
        own = [e for e, side in zip(examples, sides, strict=True) if side == "train" or config.data.use_held_out]
        if not own:
            raise DataError(
                "no examples to train on are left", where=spec, mend="add some, or lower data.held_out_share"
            )
        if not config.data.use_held_out:
            held_out += [e for e, side in zip(examples, sides, strict=True) if side == "validation"]
        how = {"held_out_share": config.data.held_out_share, "use_held_out": config.data.use_held_out}
        train[spec] = (own, {**about, "train_records": len(own), **how})
    if config.data.validation:
        labels = config.labels or labels_of(config.task, [e for own, _ in train.values() for e in own])
        held_out = []
        for spec in config.data.validation:
            examples, about = read(spec, labels)
            held_out += [e for e in examples if e.split != "train"] or examples
            info[f"validation {spec}"] = about
    return Loaded(train, held_out, info, notes)


def labels_of(task: Task, examples: Sequence[Example]) -> tuple[str, ...]:
    """The classes or tags that examples have, in order of the alphabet."""
    if task == "classification":
        return tuple(sorted({e.label for e in examples}))
    return tuple(sorted({tag for e in examples for tag in e.tags})) if task == "tokens" else ()


def _about(config: Config, examples: Sequence[Example], context: int) -> About:
    labels = config.labels or labels_of(config.task, examples)
    if config.task in ("classification", "tokens") and len(labels) < 2:
        raise DataError(
            f"there is one class only ({', '.join(labels)}), and nothing to tell apart",
            where="data.train",
            mend="add examples of another class, or say which column holds it, as in columns.label=NAME",
        )
    numbers = [e.number for e in examples]
    spread = float(np.std(numbers)) if config.task == "regression" else 1.0
    scale = Scale(mean=float(np.mean(numbers)), spread=spread or 1.0) if config.task == "regression" else Scale()
    return About(
        task=config.task,
        context=context,
        labels=labels,
        scale=scale,
        columns=config.columns,
        max_tokens=config.max_tokens,
    )


def _stream(config: Config, loaded: Loaded, policy: Policy, about: About) -> Stream:
    """Rows of all sources, and of what is held out: those examples that fit, and whose labels the training data know."""
    units: dict[str, list[Any]] = {}
    notes = list(loaded.notes)
    info = dict(loaded.info)
    kind, overlong = policy.model.kind, config.data.overlong
    for spec, (examples, known) in loaded.train.items():
        units[spec], report = units_of(examples, policy.tokenizer, about, kind, overlong)
        info[spec] = {**known, "units": len(units[spec])}
        if report.rejected or report.truncated:
            reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(report.reasons.items()))
            info[spec] |= {"rejected": report.rejected, "truncated": report.truncated}
            notes.append(
                f"{spec}: {report.rejected} of {len(examples)} left out ({reasons}), {report.truncated} truncated"
            )
        if not units[spec]:
            raise DataError(
                f"none of {len(examples)} examples can be used", where=spec,
                mend="; ".join(f"{n} {reason}" for reason, n in report.reasons.items()),
            )  # fmt: skip
    known_labels = set(about.labels)
    usable = [e for e in loaded.held_out if not known_labels or {e.label, *e.tags} - {""} <= known_labels]
    usable.sort(key=lambda e: e.id)  # ids are hashes: the first of them are a fair sample, however a file is sorted
    if len(usable) < len(loaded.held_out):
        notes.append(
            f"{len(loaded.held_out) - len(usable)} held-out examples have a label that no training example has"
        )
    held_out: list[Any] = []
    records: list[Example] = []
    # a text to answer is never cut where it is asked: an answer that could not be given is no empty answer
    how = "truncate_left_prompt" if overlong == "truncate_left_prompt" and config.task != "target" else "reject"
    for example in usable:
        own, _ = units_of([example], policy.tokenizer, about, kind, how)
        held_out += own
        records += [example] if own else []
    if len(records) < len(usable):
        notes.append(f"{len(usable) - len(records)} held-out examples are longer than the context and are not measured")
    if not records and config.data.validation:
        raise DataError(
            f"no examples to measure on are left of {len(loaded.held_out)}",
            where=", ".join(config.data.validation),
            mend="; ".join(notes[len(loaded.notes) :]) or "name other data in data.validation",
        )
    if not records:
        notes.append("no examples are held out: the model is kept as it stands at the end, unmeasured")
    weights = dict(zip(config.data.train, config.data.weights, strict=True)) if config.data.weights else {}
    return Stream("examples", units, weights, held_out, records, info, notes)


def _check(config: Config) -> None:
    """Raise ConfigError for settings that would do nothing here, or cannot be."""
    check_sources(config.data)
    check_columns(config.task, config.columns)
    task_metrics.require(config.task)
    if config.choose_by is not None and config.choose_by not in task_metrics.NAMES[config.task]:
        near = nearest(config.choose_by, task_metrics.NAMES[config.task])
        raise ConfigError(
            f"{config.task} has no figure {config.choose_by!r}",
            where="choose_by",
            mend=(f"did you mean {near!r}? " if near else "") + f"known: {', '.join(task_metrics.NAMES[config.task])}",
        )
    if len(set(config.labels)) != len(config.labels):
        twice = next(label for label, n in Counter(config.labels).items() if n > 1)
        raise ConfigError(f"the label {twice!r} is named twice", where="labels", mend="name each once")
    if config.labels and config.task not in ("classification", "tokens"):
        raise ConfigError(f"{config.task} has no labels", where="labels", mend="leave them out")
    for setting, given in (
        ("data.layout", config.data.layout is not None),
        ("data.prefix_words", config.data.prefix_words > 0),
        ("data.question", config.data.question is not None),
        ("data.train_on", config.data.train_on != "all"),
    ):
        if given:
            raise ConfigError("examples are read by named columns", where=setting, mend="set columns instead")


def _check_kind(config: Config, algorithm: Algorithm) -> None:
    """Raise ConfigError if the algorithm does not learn what the task needs. tag and extract train the same kind of role."""
    usual = TASK_ALGORITHMS[config.task]
    feeds = "demonstrations" if config.task == "target" else "examples"
    fits = algorithm.trains.get("policy") == KINDS[config.task] and list(algorithm.feeds.values()) == [feeds]
    if not fits or (
        KINDS[config.task] == "token_classes" and algorithm.name in TASK_ALGORITHMS.values() and algorithm.name != usual
    ):
        raise ConfigError(
            f"{algorithm.name} does not learn {config.task}",
            where="algorithm.name",
            mend=f"leave it out (it is {usual!r} then)",
        )


def _report(result: RunResult, config: Config, about: About, best: Best, stream: Stream, job: Job) -> RunResult:
    """finetune.json and report.html: the figures of the step that was kept, beside what needs no model."""
    folder = job.folder.folder
    row = best.step()
    told: dict[str, Any] = {"task": config.task, "labels": list(about.labels), "chosen_by": best.name}
    sentences: list[str] = []
    found: dict[str, float] = {}
    if row is not None:
        named = {key.removeprefix("validation/"): value for key, value in row.items() if key.startswith("validation/")}
        found = {
            name: value for name, value in named.items() if value is not None
        }  # None: a correlation of equal numbers
        told |= {"step": row["step"], "examples": len(best.examples), "figures": found}
        shown = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        sentences.append(
            f"Step {row['step']} of {result.steps} was the best by {best.name} on {len(best.examples)} held-out examples: {shown}."
        )
        trivial = trivial_figures(
            about, [unit[0].record for units in stream.units.values() for unit in units], best.examples
        )
        if trivial:
            told["trivial"] = trivial
            shown = ", ".join(f"{name} {value:.3f}" for name, value in trivial.items())
            sentences.append(f"Always saying what is commonest in the training data gives {shown}.")
    write_atomic(folder / "finetune.json", json.dumps(told, indent=2).encode())
    wanted = ("loss", best.key) if row is not None else ("loss",)
    curves = CurveGroup(title="training", curves=tuple(read_curves(folder, run=job.name, metrics=wanted)))
    sources = tuple(
        DataSource(name=name, kind="examples", records=int(known["records"]), sha256=str(known["sha256"]))
        for name, known in stream.info.items()
    )
    report = Report(
        title=f"{config.task}: {job.name}",
        seed=config.train.seed,
        seconds=result.seconds,
        sentences=tuple(sentences),
        notes=tuple(stream.notes),
        curves=(curves,),
        data=sources,
    )
    write_report(folder, report)
    files = {"figures": str(folder / "finetune.json"), "report": str(folder / "report.html")}
    return result.replace(metrics=found or result.metrics, text=" ".join(sentences), details=told, files=files)


def trivial_figures(about: About, train: Sequence[Example], held_out: Sequence[Example]) -> dict[str, float]:
    """The figures of a model that always says the commonest class, or the mean; {} where there is nothing like it."""
    if about.task == "classification":
        most = Counter(e.label for e in train).most_common(1)[0][0]
        return figures(about, [most] * len(held_out), held_out)
    if about.task == "regression":
        found = figures(about, [about.scale.mean] * len(held_out), held_out)
        return {name: found[name] for name in ("rmse", "absolute_error")}
    if about.task == "tokens":
        most = Counter(tag for e in train for tag in e.tags).most_common(1)[0][0]
        return {"accuracy": figures(about, [(most,) * len(e.tags) for e in held_out], held_out)["accuracy"]}
    return {}
