"""Models on tasks with right answers, zero- and few-shot: the part of `amenable evaluate` behind `tasks.sets`.

One cell is a model, a task, a number of shots and a draw: the draw picks the wording, the examples and their order from
the seed, the same for all records. Cells are kept in the workspace's cache under the model's hash and everything else that decides
them, so that an evaluation that was interrupted, or is asked for again, computes only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from msgspec import Meta

from amenable.chat.render import render_prompt, render_response
from amenable.config.folder import WorkspaceFolder, write_atomic
from amenable.data.rows import Row, collate
from amenable.data.source import sample
from amenable.data.tasks import LoadedTask, load_tasks
from amenable.data.templates import Form, options_of, parts_of
from amenable.data.templates import render_prompt as worded_prompt
from amenable.errors import ConfigError, DataError
from amenable.evals.options import calibrated, choose, per_token, prior, same_answer
from amenable.evals.statistics import share_interval
from amenable.models.forward import Actor, outputs_of
from amenable.rollout.inprocess import device_of
from amenable.stages.build import Policy
from amenable.stages.events import Event, OnEvent, ignore
from amenable.stages.generate import generate
from amenable.train.split import split
from amenable.types import Demonstration, Prompt, Record, Sampling

CONTENT_FREE = ("N/A", "", "[MASK]")
"""What stands in the place of a record's parts for contextual calibration, as in Zhao et al. 2021."""
NUM_DOMAIN_TEXTS = 5


class TaskSettings(Record, frozen=True):
    """Tasks with right answers, as `tasks:` sources name them."""

    sets: Annotated[tuple[str, ...], Meta(description="sets of tasks: NAME, NAME:TASK or WORDINGS@ROWS")] = ()
    shots: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(description="examples before a request")] = (0,)
    draws: Annotated[int, Meta(ge=1, description="draws of wording, examples and order that are averaged")] = 3
    answers: Annotated[
        Literal["likelihood", "generation", "both"],
        Meta(description="how an answer is found where a task has options; without options it is always generated"),
    ] = "likelihood"
    calibration: Annotated[
        Literal["none", "contextual", "domain"], Meta(description="what option scores are divided by")
    ] = "none"
    options: Annotated[
        Literal["template", "shown", "hidden"], Meta(description="answer options: where the template has them, or")
    ] = "template"
    limit: Annotated[int, Meta(ge=2, description="test examples of a task at most, drawn by a hash of their ids")] = 200
    max_tokens: Annotated[int, Meta(ge=1, description="tokens of a generated answer at most")] = 32


class Cell(Record, frozen=True):
    """One model on one task with k shots in one draw. By way of scoring, for each id: what it said, and is it right (1 or 0)?"""

    ids: tuple[str, ...]
    said: dict[str, tuple[str, ...]]
    correct: dict[str, tuple[float, ...]]
    fewer_shots: int = 0  # examples whose shots did not all fit the context
    left_out: int = 0  # examples that do not fit even without shots


class TaskRow(Record, frozen=True):
    """One line of the table: accuracy over all draws, with its 95 % interval over examples."""

    model: str
    task: str
    cluster: str
    shots: int
    scored_by: str
    accuracy: float
    low: float
    high: float
    examples: int
    draws: int
    chance: float | None  # of guessing among the options
    commonest: float  # share of the examples that are given one and the same answer
    fewer_shots: int
    left_out: int


@dataclass(frozen=True)
class Asked:
    """A model and how it is asked: raw text where it has no chat template."""

    name: str
    policy: Policy
    raw: bool

    @property
    def form(self) -> Form:
        return "text" if self.raw else "turns"


@dataclass(frozen=True)
class Draw:
    """The wording and the examples of one draw of a task."""

    task: LoadedTask
    template: int
    shots: tuple[Demonstration, ...]
    show: bool | None
    form: Form

    def prompt(self, record: Demonstration, k: int) -> Prompt:
        """The record's request after the last k examples."""
        return worded_prompt(
            self.task.task, record, self.template, options=self.show,
            shots=self.shots[len(self.shots) - k :], form=self.form,
        )  # fmt: skip


def evaluate_tasks(
    asked: Sequence[Asked],
    settings: TaskSettings,
    *,
    workspace: WorkspaceFolder,
    seed: int,
    precision: torch.dtype | None = None,
    on_event: OnEvent = ignore,
) -> list[TaskRow]:
    """A row for each model, task, number of shots and way of scoring."""
    tasks = load_tasks(settings.sets)
    held = {t.name: _examples(t, settings.limit) for t in tasks}
    rows: list[TaskRow] = []
    total = len(asked) * len(tasks) * len(settings.shots)
    for model in asked:
        if model.policy.model.kind != "decoder":
            raise ConfigError(f"{model.name} is no decoder", where="models", mend="tasks are asked of decoders only")
        for task in tasks:
            for k in settings.shots:
                draws = [
                    _cell(model, task, held[task.name], settings, k, draw, workspace, seed, precision)
                    for draw in range(settings.draws)
                ]
                rows += _rows(model.name, task, held[task.name], k, draws, seed)
                on_event(
                    Event(
                        stage="tasks", done=len({(r.model, r.task, r.shots) for r in rows}), total=total, unit="cells"
                    )
                )
    return rows


def as_asked(name: str, policy: Policy, how: str) -> Asked:
    """A model as `evaluate` names it; @raw, and a base model without a chat template, are asked in raw text."""
    if how not in ("", "raw"):
        raise ConfigError(f"{how!r} is no way to ask a task", where="models", mend="@raw, and tasks.shots for examples")
    return Asked(name, policy, raw=how == "raw" or policy.tokenizer.chat_template is None)


def _examples(task: LoadedTask, limit: int) -> list[Demonstration]:
    held = task.side("test") or task.side("validation")
    if len(held) < 2:
        raise DataError(
            "the task has no test part: fewer than two examples", where=task.name, mend="mark rows with split = test"
        )
    found: Any = sample(list(held), limit)
    return list(found)


def _cell(
    model: Asked,
    task: LoadedTask,
    examples: Sequence[Demonstration],
    settings: TaskSettings,
    k: int,
    draw: int,
    workspace: WorkspaceFolder,
    seed: int,
    precision: torch.dtype | None,
) -> Cell:
    drawn = draw_of(task, examples, k, f"{seed}:{draw}", settings, model.form)
    path = workspace.root / "cache" / "tasks" / f"{_key(model, drawn, examples, settings, seed, draw, precision)}.json"
    if path.is_file():
        return Cell.from_json(path.read_bytes())
    found = measure(model, drawn, examples, settings, seed=seed + draw, precision=precision)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, found.to_json())
    return found


def draw_of(
    task: LoadedTask, examples: Sequence[Demonstration], k: int, key: str, settings: TaskSettings, form: Form
) -> Draw:
    """Wording, examples and order, from the key. Raises DataError if they cannot be had."""
    wordable = [
        i for i in range(len(task.task.templates))
        if task.task.asks_answer(i) and all(i in task.task.usable(parts_of(task.task, r)) for r in examples)
    ]  # fmt: skip
    if not wordable:
        raise DataError("no template asks all examples for their answer", where=task.name, mend="add a template")
    pool = [r for r in task.side("train") if all(i in task.task.usable(parts_of(task.task, r)) for i in wordable)]
    if len(pool) < k:
        raise DataError(
            f"{k} shots are wanted and the task has {len(pool)} training examples",
            where=task.name,
            mend="lower tasks.shots",
        )
    chosen = random.Random(f"{key}:{task.name}")
    template = chosen.choice(wordable)
    show = {"template": None, "shown": True, "hidden": False}[settings.options]
    return Draw(task, template, tuple(chosen.sample(pool, k)), show, form)


def measure(
    model: Asked,
    drawn: Draw,
    examples: Sequence[Demonstration],
    settings: TaskSettings,
    *,
    seed: int,
    precision: torch.dtype | None = None,
) -> Cell:
    """Ask one draw of all examples and compare with what is right."""
    optioned = all(options_of(drawn.task.task, r) for r in examples)
    by_options = optioned and settings.answers != "generation"
    by_text = not optioned or settings.answers != "likelihood"
    context = model.policy.model.context
    fitting: list[tuple[Demonstration, Prompt, int]] = []
    for record in examples:
        options = options_of(drawn.task.task, record) if by_options else ()
        for k in range(len(drawn.shots), -1, -1):
            prompt = drawn.prompt(record, k)
            longest = max((len(_continued(model, prompt, o)[0]) for o in options), default=0)
            if by_text:
                longest = max(
                    longest, len(render_prompt(prompt.messages, model.policy.tokenizer)) + settings.max_tokens
                )
            if longest <= context:
                fitting.append((record, prompt, k))
                break
    if len(fitting) < 2:
        raise DataError(
            f"fewer than two examples fit the context of {context} tokens", where=f"{model.name} on {drawn.task.name}",
            mend="take a model with a longer context, or shorter examples",
        )  # fmt: skip
    said: dict[str, tuple[str, ...]] = {}
    if by_options:
        said |= _by_likelihood(model, drawn, fitting, settings, seed)
    correct = {
        way: tuple(float(t == r.messages[-1].content) for t, (r, _, _) in zip(told, fitting, strict=True))
        for way, told in said.items()
    }
    if by_text:
        said["generation"] = _by_generation(model, fitting, settings, seed, precision)
        correct["generation"] = tuple(
            float(same_answer(t, r.meta.get("answers") or [r.messages[-1].content]))
            for t, (r, _, _) in zip(said["generation"], fitting, strict=True)
        )
    return Cell(
        ids=tuple(r.id for r, _, _ in fitting),
        said=said,
        correct=correct,
        fewer_shots=sum(k < len(drawn.shots) for _, _, k in fitting),
        left_out=len(examples) - len(fitting),
    )


def _by_likelihood(
    model: Asked,
    drawn: Draw,
    fitting: Sequence[tuple[Demonstration, Prompt, int]],
    settings: TaskSettings,
    seed: int,
) -> dict[str, tuple[str, ...]]:
    """The option chosen for each example, by way of scoring."""
    task = drawn.task.task
    scores = option_scores(model, [(p, options_of(task, r)) for r, p, _ in fitting])
    priors: dict[Any, list[tuple[list[float], list[int]]]] = {}
    chosen: dict[str, list[str]] = {}
    for (record, _, k), (nats, counts) in zip(fitting, scores, strict=True):
        options = options_of(task, record)
        ways = {"likelihood": nats, "likelihood per token": per_token(nats, counts)}
        if settings.calibration != "none":
            if (k, options) not in priors:
                empty = [drawn.prompt(r, k) for r in without_content(drawn, record, settings.calibration, seed)]
                priors[k, options] = option_scores(model, [(p, options) for p in empty])
            held = priors[k, options]
            sums, means = [n for n, _ in held], [per_token(n, c) for n, c in held]
            ways[f"likelihood, {settings.calibration}"] = calibrated(nats, prior(sums))
            ways[f"likelihood per token, {settings.calibration}"] = calibrated(per_token(nats, counts), prior(means))
        for way, found in ways.items():
            chosen.setdefault(way, []).append(options[choose(found)])
    return {way: tuple(values) for way, values in chosen.items()}


def option_scores(model: Asked, asked: Sequence[tuple[Prompt, Sequence[str]]]) -> list[tuple[list[float], list[int]]]:
    """(log-prob in nats, tokens) of each option as the answer to each prompt, the stop token not counted."""
    units = [
        [
            Row(np.array(ids, np.int32), np.array(trained, np.bool_))
            for o in options
            for ids, trained in [_continued(model, p, o)]
        ]
        for p, options in asked
    ]
    actor = Actor(model.policy.model, "lm")
    nats: list[float] = []
    with torch.inference_mode():
        for micro in split(collate(units), max_tokens=8192):
            found = outputs_of(actor, micro.to(device_of(actor.model)), ("logprobs",)).logprobs_BT
            assert found is not None
            nats += found.double().sum(1).tolist()
    values = iter(nats)
    return [([next(values) for _ in unit], [int(row.trained.sum()) for row in unit]) for unit in units]


def without_content(drawn: Draw, record: Demonstration, kind: str, seed: int) -> list[Demonstration]:
    """The record with its parts replaced: by texts without content, or by words of the task in random order."""
    parts: dict[str, str] = {name: str(value) for name, value in record.meta["fields"].items()}
    if kind == "contextual":
        fills = [dict.fromkeys(parts, nothing) for nothing in CONTENT_FREE]
    else:
        chosen = random.Random(f"{seed}:{drawn.task.name}")
        others = drawn.task.side("train") or [record]
        words = [w for r in others for value in r.meta["fields"].values() for w in str(value).split()] or ["N/A"]
        fills = [
            {name: " ".join(chosen.choices(words, k=max(1, len(value.split())))) for name, value in parts.items()}
            for _ in range(NUM_DOMAIN_TEXTS)
        ]
    return [record.replace(meta={**record.meta, "fields": fill}) for fill in fills]


def _continued(model: Asked, prompt: Prompt, option: str) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    rendered = render_response(prompt.messages, option, model.policy.tokenizer, finished=False)
    return rendered.ids, rendered.trained


def _by_generation(
    model: Asked,
    fitting: Sequence[tuple[Demonstration, Prompt, int]],
    settings: TaskSettings,
    seed: int,
    precision: torch.dtype | None,
) -> tuple[str, ...]:
    """What is written for each example."""
    sampling = Sampling(temperature=0.0, max_tokens=settings.max_tokens, stop=("\n",) if model.raw else ())
    groups = generate(model.policy, [p for _, p, _ in fitting], sampling, seed=seed, precision=precision)
    return tuple(rollout.text for (rollout,) in groups)


def _rows(
    name: str, task: LoadedTask, examples: Sequence[Demonstration], k: int, draws: Sequence[Cell], seed: int
) -> list[TaskRow]:
    rows = []
    asked = [options_of(task.task, r) for r in examples]
    ids = [id for cell in draws for id in cell.ids]
    for way in draws[0].correct:
        found = share_interval([v for cell in draws for v in cell.correct[way]], clusters=ids, seed=seed)
        rows.append(
            TaskRow(
                model=name, task=task.name, cluster=task.task.cluster, shots=k, scored_by=way,
                accuracy=found.value, low=found.low, high=found.high, examples=len(set(ids)), draws=len(draws),
                chance=statistics.fmean(1 / len(o) for o in asked) if all(asked) else None,
                commonest=statistics.fmean(_commonest(cell.said[way]) for cell in draws),
                fewer_shots=sum(c.fewer_shots for c in draws), left_out=sum(c.left_out for c in draws),
            )
        )  # fmt: skip
    return rows


def _commonest(said: Sequence[str]) -> float:
    """The share of the commonest of what was said.

    >>> _commonest(["yes", "no", "yes", "yes"])
    0.75
    """
    return Counter(said).most_common(1)[0][1] / len(said)


def _key(
    model: Asked,
    drawn: Draw,
    examples: Sequence[Demonstration],
    settings: TaskSettings,
    seed: int,
    draw: int,
    precision: Any,
) -> str:
    """Everything that decides a cell, hashed."""
    about = [
        3, model.policy.hash, model.policy.tokenizer.turns_fingerprint, drawn.task.name, drawn.form, drawn.template, seed, draw,
        str(precision), model.policy.decode, msgspec.to_builtins(settings.replace(sets=(), shots=(), draws=1, limit=2)),
        msgspec.to_builtins(drawn.task.task),
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    others = drawn.task.side("train") if settings.calibration == "domain" else ()
    for record in (*drawn.shots, *examples, *others):
        digest.update(record.to_json())
    return digest.hexdigest()
