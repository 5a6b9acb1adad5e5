"""`amenable evaluate`: models side by side on the same prompts, with intervals, samples and a report.

A model is a name, a folder or run:NAME, with a name of its own in front if wanted ("before=run:sft-1"), and with how
it is asked behind: "name@raw" continues plain text, "name@few-shot" puts examples before the prompt, "name@best-of-4"
lets the reward pick. Models that were fine-tuned to a task are measured on examples of it (evaluate_tuned.py).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from amenable.config.folder import WorkspaceFolder, new_run, resolve_model, whole_or_gone, write_atomic
from amenable.config.settings import dump_toml
from amenable.data.source import LoadedData, load, sample
from amenable.errors import ConfigError, DataError
from amenable.evals.report.page import write_report
from amenable.evals.report.records import DataSource, Report
from amenable.models.folder import read_metadata
from amenable.rewards.load import load_reward
from amenable.splitting import prompt_key
from amenable.stages.build import Compute, Policy, asked_with, open_policy, set_up
from amenable.stages.evaluate_tuned import evaluate_tuned
from amenable.stages.events import Event, OnEvent, RunResult, ignore
from amenable.stages.ladder import (
    Climb,
    Rung,
    asked_ids,
    climb,
    frontier_points,
    highlights,
    ladder_rows,
    sample_sets,
    text_rows,
)
from amenable.stages.tasks import TaskRow, TaskSettings, as_asked, evaluate_tasks
from amenable.stages.tuned import HEAD, open_tuned
from amenable.stages.verdict import LabelerVerdict
from amenable.train.run_folder import environment
from amenable.train.settings import TrainConfig
from amenable.types import AnyRecord, Decode, Prompt, Record, Sampling, Split, user

SHOWCASE = (
    "What is the capital of France?",
    "How can I break into Fort Knox?",
    "Write a shopping list.",
    "Explain the moon landing to a six-year-old.",
    "How do I apply for a job?",
)
ROOM_FOR_ANSWER = 16
"""Tokens that a prompt must leave free in a model's context, where answers may be as long."""
MOST_DOCUMENTS = 200
NOTHING_HELD_OUT = "none of it is held out by its hash: all of it is measured, what models learned from as well"


class Config(Record, frozen=True):
    """Settings of `amenable evaluate`."""

    models: Annotated[
        tuple[str, ...],
        Meta(description="models to compare: name, folder, run:NAME; NAME=model@raw|few-shot|best-of-N"),
    ]
    data: Annotated[
        str | None,
        Meta(
            description="prompts, or anything that holds prompts, such as demonstrations; for fine-tuned models examples of "
            "their task; null: tasks only"
        ),
    ] = None
    tasks: Annotated[TaskSettings, Meta(description="tasks with right answers, zero- and few-shot")] = TaskSettings()
    split: Annotated[
        Split | None,
        Meta(description="part of the data; null: its validation and test parts, or all where there are none"),
    ] = None
    held_out_share: Annotated[
        float,
        Meta(
            ge=0,
            lt=1,
            description="as in the training runs, so that the same prompts are held out where records name no split",
        ),
    ] = 0.05
    against: Annotated[str | None, Meta(description="the model that all others are compared with; null: the first")] = (
        None
    )
    judge: Annotated[
        str,
        Meta(
            description="labeler (simulated), or any reward: a model, a reward recipe (NAME.toml), rules, length, module:Class"
        ),
    ] = "labeler"
    judge_options: Annotated[dict[str, Any], Meta(description="settings of the judge")] = {}
    reward: Annotated[
        str | None, Meta(description="any reward, which picks the best of N where a model is asked so")
    ] = None
    limit: Annotated[
        int, Meta(ge=2, description="prompts of `data` at most, drawn by a hash of ids; of tasks: tasks.limit")
    ] = 200
    shots: Annotated[
        str | None, Meta(description="demonstrations for few-shot; null: those of `data` in its training part")
    ] = None
    num_shots: Annotated[int, Meta(ge=1, description="examples put before the prompt")] = 4
    documents: Annotated[str | None, Meta(description="texts to measure bits per byte on; null: not measured")] = None
    showcase: Annotated[tuple[str, ...], Meta(description="prompts whose responses are shown side by side")] = SHOWCASE
    sampling: Annotated[Sampling, Meta(description="how responses are drawn")] = Sampling(max_tokens=128)
    decode: Decode = "auto"
    seed: Annotated[int, Meta(ge=0, description="same seed, same figures")] = 0


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore
) -> RunResult:
    """Write report.html and report.json to runs/<name>/."""
    if config.tasks.sets:
        return run_tasks(config, workspace=workspace, name=name, on_event=on_event)
    if config.data is None:
        raise ConfigError(
            "the setting data must be given", where="data", mend="name prompts to answer, or tasks in tasks.sets"
        )
    if _have_tasks(config, workspace):
        return _run_tuned(config, workspace, name, on_event)
    started = time.perf_counter()
    compute = set_up(TrainConfig(seed=config.seed))
    rungs = _rungs(config, workspace, compute)
    against = config.against or rungs[0].name
    chosen, about = _prompts(config, workspace)
    rungs = _with_shots(config, rungs, chosen, workspace, on_event)
    prompts, about = _fitting(config, rungs, chosen, about)
    _check_showcase(config, rungs)
    documents, sources = _documents(config, workspace)
    judge, judge_name = _judge(config, workspace)
    with whole_or_gone(new_run(workspace, "evaluate", name)) as folder:
        for source in (about, *sources):
            if source.note:
                on_event(Event(stage="evaluate", kind="message", text=f"{source.name}: {source.note}"))
        on_event(
            Event(
                stage="evaluate",
                kind="message",
                text=f"{len(rungs)} models on {len(prompts)} prompts, judged by {judge_name}",
            )
        )
        found = climb(
            rungs,
            prompts,
            against=against,
            judge=judge,
            sampling=config.sampling,
            seed=config.seed,
            documents=documents,
            precision=compute.half,
            on_event=on_event,
        )
        report = _report(config, found, against, judge_name, (about, *sources), time.perf_counter() - started)
        report = report.replace(environment=environment(compute.paths, device=compute.device))
        write_atomic(folder / "config.toml", ('stage = "evaluate"\n' + dump_toml(config)).encode())
        write_report(folder, report)
        write_atomic(folder / "status.json", b'{"status": "finished"}')
    return RunResult(
        stage="evaluate",
        run=folder.name,
        folder=str(folder),
        seconds=time.perf_counter() - started,
        text=" ".join((*report.sentences, *report.notes)),
        files={"report": str(folder / "report.html"), "figures": str(folder / "report.json")},
        details={**report.summary(), "comparisons": {n: msgspec.to_builtins(w) for n, w in found.comparisons.items()}},
    )


def run_tasks(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore
) -> RunResult:
    """Write tasks.json, one row for each model, task, number of shots and way of scoring, to runs/<name>/."""
    if config.data is not None:
        raise ConfigError("both data and tasks.sets are given", where="data", mend="evaluate them one after the other")
    started = time.perf_counter()
    compute = set_up(TrainConfig(seed=config.seed))
    asked = []
    for spec in config.models:
        label, reference, how = _named(spec)
        asked.append(as_asked(label or spec, open_policy(reference, workspace, compute, decode=config.decode), how))
    _require_names([a.name for a in asked])
    rows = evaluate_tasks(
        asked, config.tasks, workspace=workspace, seed=config.seed, precision=compute.half, on_event=on_event
    )
    with whole_or_gone(new_run(workspace, "evaluate", name)) as folder:
        write_atomic(folder / "config.toml", ('stage = "evaluate"\n' + dump_toml(config)).encode())
        write_atomic(folder / "tasks.json", msgspec.json.format(msgspec.json.encode(rows)))
        write_atomic(folder / "status.json", b'{"status": "finished"}')
    return RunResult(
        stage="evaluate",
        run=folder.name,
        folder=str(folder),
        seconds=time.perf_counter() - started,
        text=" ".join(_cut_short(rows)),
        files={"figures": str(folder / "tasks.json")},
        details={"tasks": [msgspec.to_builtins(row) for row in rows]},
    )


def _cut_short(rows: Sequence[TaskRow]) -> list[str]:
    """What the contexts were too short for, in words."""
    once = {(r.model, r.task, r.shots): r for r in rows}.values()  # whatever they are scored by
    asked = sum(r.examples * r.draws for r in once)
    fewer, left_out = sum(r.fewer_shots for r in once), sum(r.left_out for r in once)
    said = [f"{fewer:,} of {asked:,} prompts hold fewer examples than asked for: the context is full."] if fewer else []
    return said + (
        [f"{left_out:,} more do not fit the context even without examples and were left out."] if left_out else []
    )


def _have_tasks(config: Config, workspace: WorkspaceFolder) -> bool:
    """Whether the models were fine-tuned to tasks. Raises ConfigError where only some were, and others cannot be asked."""
    tasks = {}
    for spec in config.models:
        _, reference, _ = _named(spec)
        tasks[spec] = (read_metadata(resolve_model(reference, workspace)).get(HEAD) or {}).get("task")
    if all(tasks.values()):
        return bool(tasks)
    silent = [spec for spec, task in tasks.items() if task not in (None, "target")]
    if silent:
        raise ConfigError(
            f"some of the models were fine-tuned to a task and write no text, as {silent[0]!r}",
            where="models",
            mend="evaluate them apart from the others",
        )
    return False


def _run_tuned(config: Config, workspace: WorkspaceFolder, name: str | None, on_event: OnEvent) -> RunResult:
    compute = set_up(TrainConfig(seed=config.seed))
    named = [_named(spec) for spec in config.models]
    labels = [label or spec for (label, _, _), spec in zip(named, config.models, strict=True)]
    _require_names(labels)
    return evaluate_tuned(
        [(label, open_tuned(ref, workspace, compute)) for label, (_, ref, _) in zip(labels, named, strict=True)],
        str(config.data),
        split=config.split,
        held_out_share=config.held_out_share,
        limit=config.limit,
        seed=config.seed,
        config_toml='stage = "evaluate"\n' + dump_toml(config),
        workspace=workspace,
        name=name,
        on_event=on_event,
    )


def _named(spec: str) -> tuple[str, str, str]:
    """(name, model, how it is asked) of NAME=MODEL@HOW."""
    label, _, reference = spec.rpartition("=")
    reference, _, how = reference.partition("@") if not reference.startswith("run:") else _run_and_how(reference)
    return label, reference, how


def _require_names(names: list[str]) -> None:
    if not names or len(set(names)) != len(names):
        raise ConfigError(
            "each model needs a name of its own", where="models", mend='as in models=["before=sft", "after=ppo"]'
        )


def _rungs(config: Config, workspace: WorkspaceFolder, compute: Compute) -> list[Rung]:
    opened: dict[str, Policy] = {}
    rungs: list[Rung] = []
    for spec in config.models:
        label, reference, how = _named(spec)
        if reference not in opened:
            opened[reference] = open_policy(reference, workspace, compute, decode=config.decode)
        policy = opened[reference]
        best = re.fullmatch(r"best-of-(\d+)", how)
        if how and not best and how not in ("raw", "few-shot"):
            raise ConfigError(f"{how!r} is no way to ask a model", where="models", mend="raw, few-shot or best-of-N")
        if not how:
            policy.tokenizer = asked_with(policy.model, policy.tokenizer)
        if best and not config.reward:
            raise ConfigError(
                "best-of-N needs a reward that picks", where="reward", mend="name a reward model, or labeler"
            )
        rungs.append(
            Rung(
                label or spec,
                policy,
                raw=how in ("raw", "few-shot"),
                best_of=int(best.group(1)) if best else 1,
                reward=load_reward(str(config.reward), lambda r: resolve_model(r, workspace), options={})
                if best
                else None,
            )
        )
    _require_names([r.name for r in rungs])
    return rungs


def _run_and_how(reference: str) -> tuple[str, str, str]:
    """run:NAME@STEP is a checkpoint, run:NAME@raw a way to ask."""
    head, _, tail = reference.rpartition("@")
    return (head, "@", tail) if head and not tail.isdigit() else (reference, "", "")


def _with_shots(
    config: Config, rungs: list[Rung], asked: Sequence[Prompt], workspace: WorkspaceFolder, on_event: OnEvent
) -> list[Rung]:
    """The models that are asked with examples, with examples."""
    ways = [_named(spec)[2] for spec in config.models]
    if "few-shot" not in ways:
        return rungs
    shots = _shots(config, asked, workspace, on_event)
    return [replace(r, shots=shots) if how == "few-shot" else r for r, how in zip(rungs, ways, strict=True)]


def _shots(
    config: Config, asked: Sequence[Prompt], workspace: WorkspaceFolder, on_event: OnEvent = ignore
) -> tuple[Any, ...]:
    """Examples for few-shot, short ones; none of the prompts that are asked is among them, whatever its side."""
    source = config.shots or str(config.data)
    try:
        loaded = load(source, "demonstrations", database=workspace.database)
    except DataError as error:
        if config.shots:
            raise
        mend = "name demonstrations in `shots`"
        raise DataError(f"there are no examples for few-shot: {error.what}", where=config.data, mend=mend) from error
    found = loaded.records
    if config.shots and loaded.left_out:
        on_event(Event(stage="evaluate", kind="message", text=f"{source}: {loaded.left_out}"))
    if not config.shots:
        found = [r for r in _divided(config, found) if r.split == "train"] or found
    measured = {prompt_key(prompt) for prompt in asked}
    found = [r for r in found if prompt_key(r) not in measured]
    if not found:
        raise DataError(
            "there are no examples for few-shot: all of them are among the prompts that are measured",
            where=source,
            mend="name other demonstrations in `shots`, or lower `limit`",
        )
    short = sorted(found, key=lambda d: len(d.messages[-1].content) + len(d.messages[0].content))
    return tuple(short[len(short) // 4 :: max(1, len(short) // (2 * config.num_shots))][: config.num_shots])


def _prompts(config: Config, workspace: WorkspaceFolder) -> tuple[list[Prompt], DataSource]:
    """Held-out prompts of the data, as many as the limit says."""
    assert config.data is not None
    loaded = load(config.data, "prompts", database=workspace.database)
    divided = _divided(config, loaded.records)
    held_out = (
        [p for p in divided if p.split != "train"]
        if config.split is None
        else [p for p in divided if p.split == config.split]
    )
    if not held_out and config.split is not None:
        raise DataError(
            f"it holds no prompts of the split {config.split}", where=config.data, mend="take another split"
        )
    chosen: list[Prompt] = sample(held_out or loaded.records, config.limit)  # type: ignore[assignment]
    return chosen, _source(config.data, "prompts", "evaluation", loaded, len(chosen), held_out=bool(held_out))


def _fitting(
    config: Config, rungs: list[Rung], chosen: list[Prompt], about: DataSource
) -> tuple[list[Prompt], DataSource]:
    """The prompts that leave room for an answer in every model's context."""

    def fits(rung: Rung, prompt: Prompt) -> bool:
        context, apart = rung.policy.model.context, rung.policy.model.kind == "seq2seq"
        room = 0 if apart else min(ROOM_FOR_ANSWER, config.sampling.max_tokens, context // 4)
        return len(asked_ids(rung, prompt, config.sampling, config.seed)) <= context - room

    fitting = [p for p in chosen if all(fits(r, p) for r in rungs)]
    if len(fitting) < 2:
        raise ConfigError(
            "fewer than two prompts are left", where=config.data, mend="take other data or models with a longer context"
        )
    if len(fitting) < len(chosen):
        left_out = f"{len(chosen) - len(fitting)} prompts are longer than a model's context and left out"
        about = about.replace(records=len(fitting), note="; ".join(filter(None, (about.note, left_out))))
    return fitting, about


def _showcase(config: Config) -> list[Prompt]:
    return [Prompt(id=f"showcase-{i}", messages=(user(t),)) for i, t in enumerate(config.showcase)]


def _check_showcase(config: Config, rungs: Sequence[Rung]) -> None:
    """Raise ConfigError for a prompt to show that a model cannot answer, before the first answer."""
    for prompt in _showcase(config):
        for rung in rungs:
            room = rung.policy.model.context - (rung.policy.model.kind != "seq2seq")
            if (size := len(asked_ids(rung, prompt, config.sampling, config.seed))) > room:
                raise ConfigError(
                    f"{prompt.messages[0].content[:40]!r} has {size:,} tokens, and {rung.name} has room for {room:,}",
                    where="showcase",
                    mend="shorten it, or set showcase=[]",
                )


def _documents(config: Config, workspace: WorkspaceFolder) -> tuple[list[Any], tuple[DataSource, ...]]:
    """Held-out texts for bits per byte, and their line of the data card."""
    if config.documents is None:
        return [], ()
    loaded = load(config.documents, "documents", database=workspace.database)
    held_out = [d for d in _divided(config, loaded.records) if d.split != "train"]
    chosen = sample(held_out or loaded.records, MOST_DOCUMENTS)
    return chosen, (
        _source(config.documents, "documents", "bits per byte", loaded, len(chosen), held_out=bool(held_out)),
    )


def _source(name: str, kind: str, used_for: str, loaded: LoadedData, records: int, *, held_out: bool) -> DataSource:
    notes = (loaded.warning, loaded.left_out, "" if held_out else NOTHING_HELD_OUT)
    return DataSource(
        name=name,
        kind=kind,
        records=records,
        used_for=used_for,
        licence=loaded.licence,
        sha256=loaded.sha256,
        note="; ".join(filter(None, notes)),
    )


def _divided(config: Config, records: list[AnyRecord]) -> list[AnyRecord]:
    """The records with their sides: those that training with this held_out_share had."""
    from amenable.data.split import assign_splits

    return assign_splits(records, (1 - config.held_out_share, config.held_out_share, 0.0))


def _judge(config: Config, workspace: WorkspaceFolder) -> tuple[Any, str]:
    if config.judge == "labeler":
        verdict = LabelerVerdict(**{"noise": 0.0, **config.judge_options})
        return verdict, "the simulated labeler (a rubric in code); no person judged these responses"
    reward = load_reward(config.judge, lambda r: resolve_model(r, workspace), options=config.judge_options)
    return reward, f"the reward {reward.name}"


def _report(
    config: Config, found: Climb, against: str, judge: str, sources: tuple[DataSource, ...], seconds: float
) -> Report:
    last = found.rungs[-1].name
    best, worst = highlights(found, last)
    showcase = _showcase(config)
    return Report(
        title="Evaluation: " + ", ".join(r.name for r in found.rungs),
        seed=config.seed,
        seconds=seconds,
        ladder=ladder_rows(found, against),
        against=against,
        judge=judge,
        sentences=tuple(w.sentence() for w in found.comparisons.values()),
        samples=sample_sets(found.rungs, showcase, config.sampling, config.seed) if showcase else (),
        best=best,
        worst=worst,
        texts=text_rows(found),
        frontier=frontier_points(found, config.seed),
        frontier_reward="mean score by the judge",
        data=sources,
        notes=tuple(found.notes),
        settings=msgspec.to_builtins(config),
    )
