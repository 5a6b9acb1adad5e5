"""Fine-tuned models on examples of their task: the part of `amenable evaluate` for models with a task of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from amenable.config.folder import WorkspaceFolder, new_run, whole_or_gone, write_atomic
from amenable.data.examples import Example, read_examples, side_of
from amenable.data.rejects import Rejects
from amenable.data.source import fingerprint
from amenable.errors import ConfigError, DataError
from amenable.evals.statistics import Interval, bootstrap, mean_interval, share_interval
from amenable.evals.task_metrics import CHOOSE_BY, by_example
from amenable.models.folder import read_metadata
from amenable.stages.events import Event, OnEvent, RunResult
from amenable.stages.tuned import About, NotAsked, Said, Tuned, figures, right_of
from amenable.types import Record, Split

RESAMPLES = 500


class TunedRow(Record, frozen=True):
    """One model on one set of examples; the interval is that of the task's own figure (`by`), over examples, at 95 %.

    left_out: examples that the model could not be asked. unread: rows of the data that are no examples. notes: why, in words.
    """

    model: str
    task: str
    data: str
    part: str  # of its examples: all, held out, or one split; "learned from" where the model learned from all
    examples: int
    by: str
    low: float
    high: float
    figures: dict[str, float]
    left_out: int = 0
    unread: int = 0
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """In words, for the terminal and the report."""
        shown = ", ".join(f"{name} {value:.3f}" for name, value in self.figures.items())
        told = f"{self.model} on {self.examples} examples of {self.data} ({self.part}): {shown}; {self.by} lies in {self.low:.3f} to {self.high:.3f}."
        return " ".join((told, *self.notes))


def evaluate_tuned(
    models: Sequence[tuple[str, Tuned]],
    spec: str,
    *,
    split: Split | None,
    held_out_share: float,
    limit: int,
    seed: int,
    config_toml: str,
    workspace: WorkspaceFolder,
    name: str | None,
    on_event: OnEvent,
) -> RunResult:
    """Write tuned.json (a row for each model) and answers.jsonl (what each said) to runs/<name>/."""
    started = time.perf_counter()
    rows: list[TunedRow] = []
    answers: list[dict[str, Any]] = []
    for label, tuned in models:
        rejects = Rejects(limit_share=1.0)  # finetune may have learned from data that hold few examples of the task
        examples, part = chosen(tuned, spec, rejects, split=split, held_out_share=held_out_share, limit=limit)
        on_event(Event(stage="evaluate", kind="message", text=f"{label} on {len(examples)} examples ({part})"))
        examples, said, left_out = _ask(tuned, examples)
        if not said:
            why = f"{label} cannot be asked any of the examples: {left_out[0]}"
            raise DataError(why, where=spec, mend="name data with shorter texts")
        notes = [f"{len(left_out)} more could not be asked: {left_out[0]}."] if left_out else []
        notes += [f"{rejects.summary()}."] if rejects.anything else []
        row = measured(label, tuned, spec, part, examples, said, seed)
        rows.append(row.replace(left_out=len(left_out), unread=rejects.rejected, notes=tuple(notes)))
        for example, one in zip(examples, said, strict=True):
            asked = {k: v for k in ("text", "second", "words") if (v := getattr(example, k))}
            answers.append({"model": label, **asked, "said": one, "right": right_of(tuned.about.task, example)})
    with whole_or_gone(new_run(workspace, "evaluate", name)) as folder:
        write_atomic(folder / "config.toml", config_toml.encode())
        write_atomic(folder / "tuned.json", msgspec.json.format(msgspec.json.encode(rows)))
        lines = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
        write_atomic(folder / "answers.jsonl", lines.encode())
        write_atomic(folder / "status.json", b'{"status": "finished"}')
    return RunResult(
        stage="evaluate",
        run=folder.name,
        folder=str(folder),
        seconds=time.perf_counter() - started,
        text=" ".join(row.sentence() for row in rows),
        files={"figures": str(folder / "tuned.json"), "answers": str(folder / "answers.jsonl")},
        details={"tuned": [msgspec.to_builtins(row) for row in rows]},
    )


def chosen(
    tuned: Tuned, spec: str, rejects: Rejects, *, split: Split | None, held_out_share: float, limit: int
) -> tuple[list[Example], str]:
    """The examples to measure on, and which part of the data they are.

    Of data that the model learned from, and of data that have parts: what was held out, by the share of the run that made the
    model. Of all other data, and of those of which nothing was held out: all.
    """
    about = tuned.about
    found = read_examples(spec, about.task, columns=about.columns, labels=about.labels, rejects=rejects)
    data = read_metadata(tuned.policy.folder).get("data", {})
    learned = {name: known for name, known in data.items() if isinstance(known, dict) and "units" in known}
    same = learned.get(spec) or next((k for k in learned.values() if k.get("sha256") == fingerprint(found)), None)
    parts = {example.split for example in found} - {None}
    share = held_out_share if same is None else same.get("held_out_share", held_out_share)
    from_all = same is not None and same.get("train_records") == same.get("records")
    part = "learned from" if from_all else "all"
    if split is not None:
        found, part = [e for e in found if side_of(e, share) == split], f"{split}, learned from" if from_all else split
    elif not from_all and (same is not None or len(parts) > 1):
        found, part = [e for e in found if side_of(e, share) != "train"], "held out"
    if not found:
        raise ConfigError(
            f"no examples are left of the part {part!r}", where="data", mend="name other data, or another split"
        )
    by_id = sorted(found, key=lambda e: e.id)[:limit]  # the ids are hashes: a fair sample
    return by_id, part


def _ask(tuned: Tuned, examples: Sequence[Example]) -> tuple[list[Example], list[Said], list[str]]:
    """The examples that could be asked, what was said of each, and why each of the others could not."""
    pairs = list(zip(examples, tuned.say_or_why_not(examples), strict=True))
    asked = [(example, one) for example, one in pairs if not isinstance(one, NotAsked)]
    return [e for e, _ in asked], [one for _, one in asked], [one.why for _, one in pairs if isinstance(one, NotAsked)]


def measured(
    label: str, tuned: Tuned, spec: str, part: str, examples: Sequence[Example], said: Sequence[Any], seed: int
) -> TunedRow:
    """The figures of what a model said, and the interval of the task's own."""
    interval = interval_of(tuned.about, said, examples, seed)
    return TunedRow(
        model=label,
        task=tuned.about.task,
        data=spec,
        part=part,
        examples=len(examples),
        by=CHOOSE_BY[tuned.about.task],
        low=interval.low,
        high=interval.high,
        figures=figures(tuned.about, said, examples),
    )


def interval_of(about: About, said: Sequence[Any], examples: Sequence[Example], seed: int) -> Interval:
    """Of the task's own figure: accuracy as a share, other means of examples as means, the rest measured anew on resamples."""
    each = by_example(about.task, said, [right_of(about.task, e) for e in examples])
    if each is not None:
        return share_interval(each, seed=seed) if about.task == "classification" else mean_interval(each, seed=seed)
    by = CHOOSE_BY[about.task]

    def on(rows_N: np.ndarray) -> float:
        return figures(about, [said[i] for i in rows_N], [examples[i] for i in rows_N])[by]

    return bootstrap(on, len(examples), seed=seed, num_resamples=RESAMPLES)
