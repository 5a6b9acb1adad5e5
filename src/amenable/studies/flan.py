"""What instruction tuning brings on tasks never seen (Wei et al. 2022, FLAN: figures 3, 5, 6, 7; Sanh et al. 2022, T0).

Models of several widths are pre-trained here on running text, then tuned on a mixture of tasks from which whole clusters are held
out, near repetitions included (data/tasks.py). Accuracy on the held-out clusters' tasks is by the likelihood of each
option. Each held-out task is divided once, by a hash: shots and per-task fine-tuning come from its training side, every figure from its
test side. All seeds share the pre-trained models and the test examples; a seed decides the mixture, its wordings and order, the
order in which clusters are added, and the draws of wording and shots.

As in FLAN an example is seen in one wording, drawn from those of its set that are in use. T0 has other examples for each
wording of a set, so that fewer wordings there are fewer examples to draw from, too.
"""

from __future__ import annotations

import hashlib
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from amenable.config.folder import write_atomic
from amenable.config.runs import metrics
from amenable.config.toml import to_toml
from amenable.data.registry.read_instructions import set_of
from amenable.data.tasks import LoadedTask, Options, held_apart, load_tasks, worded
from amenable.data.templates import Task, options_of
from amenable.errors import ConfigError
from amenable.evals.statistics import Interval
from amenable.splitting import plain, split_of
from amenable.stages.build import open_policy, set_up
from amenable.stages.events import Event
from amenable.stages.tasks import TaskSettings, as_asked, evaluate_tasks
from amenable.studies.findings import Findings, Line, Panel
from amenable.studies.study import Grid, GridConfig
from amenable.train.settings import TrainConfig
from amenable.types import Demonstration, Record

NEAR = 0.8
"""Similarity to a held-out example from which a training example is taken out."""
WAYS = ("zero-shot", "few-shot", "tuned, zero-shot", "tuned, few-shot", "fine-tuned on the task")


class Config(GridConfig, frozen=True, kw_only=True):
    """Settings of the study."""

    sets: Annotated[tuple[str, ...], Meta(min_length=1, description="sets of tasks, as behind tasks:sets=")]
    held_out: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="clusters never trained on; the first bears all further figures"),
    ]
    held_tasks: Annotated[int, Meta(ge=1, description="tasks with options of each held-out cluster at most")]
    text: Annotated[tuple[str, ...], Meta(min_length=1, description="running text that the models are pre-trained on")]
    widths: Annotated[tuple[int, ...], Meta(min_length=1, description="widths of the models, ascending; heads have 32")]
    layers: Annotated[int, Meta(ge=1, description="layers of every model")]
    context: Annotated[int, Meta(ge=32, description="tokens that every model reads")]
    vocab_size: Annotated[int, Meta(ge=300, description="tokens of the vocabulary")]
    pretrain_steps: Annotated[int, Meta(ge=1, description="steps of pre-training")]
    steps: Annotated[int, Meta(ge=1, description="steps of every tuning")]
    units_per_step: Annotated[int, Meta(ge=1, description="examples per step of tuning, rows of text of pre-training")]
    learning_rate: Annotated[float, Meta(gt=0, description="of tuning")]
    lora_learning_rate: Annotated[float, Meta(gt=0, description="of LoRA")]
    lora_rank: Annotated[int, Meta(ge=1, description="of LoRA")]
    cap: Annotated[int, Meta(ge=1, description="examples of a task that count at most")]
    wordings: Annotated[int, Meta(ge=1, description="wordings of each set at most, where they are not what varies")]
    templates: Annotated[tuple[int, ...], Meta(min_length=1, description="wordings of each set that are compared")]
    counts: Annotated[
        tuple[int, ...],
        Meta(min_length=1, description="numbers of training clusters; those beyond what there is are left out"),
    ]
    shots: Annotated[int, Meta(ge=1, description="examples of the few-shot prompts")]
    draws: Annotated[int, Meta(ge=1, description="draws of wording, shots and order that a figure is the mean of")]
    limit: Annotated[int, Meta(ge=2, description="test examples of a held-out task at most")]


class Score(Record, frozen=True):
    """Accuracy by likelihood, mean over a cluster's tasks and over seeds.

    accuracy   with its interval over seeds: what the mixture, the wordings and the shots change
    examples   with its interval over test examples, which all seeds share: how sure the figure itself is
    commonest  share of a task's examples that are given one and the same answer; 1.0 knows nothing of the question
    shortened  share of prompts whose shots did not all fit the context
    """

    accuracy: Interval
    examples: Interval
    commonest: float
    shortened: float


class Tuning(Record, frozen=True):
    """What a model was tuned on. templates: wordings of each set; clusters: empty for all; lora: rank, 0 for all weights."""

    held_out: str
    width: int
    templates: int
    clusters: tuple[str, ...] = ()
    lora: int = 0
    own_task: str = ""  # fine-tuned on this task alone

    @property
    def name(self) -> str:
        """A file name that says it."""
        about = self.own_task or f"{self.held_out}-out"
        if self.clusters:
            which = hashlib.sha256(" ".join(self.clusters).encode()).hexdigest()[:6]
            about += f"-{len(self.clusters)}c-{which}"
        return f"{about}-w{self.width}-t{self.templates}" + (f"-lora{self.lora}" if self.lora else "")


def measure(config: Config, study: Grid) -> Findings:
    """Four ways; number of clusters; size; wordings; LoRA."""
    bench = _Bench(config, study)
    rows: list[dict[str, Any]] = []
    ways = _ways(bench, rows)
    panels = [ways, _clusters(bench, rows), _sizes(bench, rows), _wordings(bench, rows)]
    first = config.held_out[0]
    held = ", ".join(f"{cluster} ({_counted(len(bench.held(cluster)), 'task')})" for cluster in config.held_out)
    notes = (
        f"Accuracy by likelihood on {held}, "
        f"{_counted(config.limit, 'test example')} of a task at most; all but the four ways on {first}, where guessing reaches "
        f"{bench.chance(first):.3f}.",
        f"accuracy: over {len(config.seeds)} seeds that share the pre-trained models and the test examples, as do the plot's whiskers; an interval "
        "without width says that the seeds agree, not that the figure is sure. over examples: the same mean, over test examples.",
        "one answer: share of a task's questions that are given its commonest answer; at 1.000 the model tells no question from another. "
        "shots cut: share of prompts that hold fewer examples than asked, the context being full.",
        *bench.made(),
    )
    return Findings(rows=tuple(rows), panels=tuple(panels), notes=notes)


def _ways(bench: _Bench, rows: list[dict[str, Any]]) -> Panel:
    config, width = bench.config, bench.config.widths[-1]
    lines = []
    for number, cluster in enumerate(config.held_out):
        tuning = Tuning(cluster, width, config.wordings)
        found = [
            bench.accuracy(cluster, width, None, 0),
            bench.accuracy(cluster, width, None, config.shots),
            bench.accuracy(cluster, width, tuning, 0),
            bench.accuracy(cluster, width, tuning, config.shots),
            bench.fine_tuned(cluster, width),
        ]
        for way, one in zip(WAYS, found, strict=True):
            rows.append(bench.row("ways", cluster, width, one, way))
        aside = 0.12 * (number - (len(config.held_out) - 1) / 2)
        places = tuple(place + aside for place in range(len(WAYS)))
        lines.append(Line(cluster, places, tuple(one.accuracy for one in found), joined=False))
        lines.append(guessing(bench.chance(cluster), (0.0, len(WAYS) - 1.0), cluster))
    return Panel("four ways", "", "accuracy", tuple(lines), labels=WAYS)


def _clusters(bench: _Bench, rows: list[dict[str, Any]]) -> Panel:
    """In an order that each seed draws."""
    config, cluster, width = bench.config, bench.config.held_out[0], bench.middle
    known = bench.clusters(cluster)
    counts = [n for n in config.counts if n < len(known)] + [len(known)]
    found = []
    for count in counts:
        one = bench.over_seeds(cluster, width, 0, partial(bench.first_clusters, cluster, known, count))
        rows.append(bench.row("clusters", cluster, width, one, _counted(count, "cluster")))
        found.append(one)
    return bench.panel("training clusters", "clusters", counts, {"tuned, zero-shot": found}, bench.chance(cluster))


def _sizes(bench: _Bench, rows: list[dict[str, Any]]) -> Panel:
    config, cluster = bench.config, bench.config.held_out[0]
    lines: dict[str, list[Score]] = {"not tuned": [], "tuned": []}
    for width in config.widths:
        for name, tuning in (("not tuned", None), ("tuned", Tuning(cluster, width, config.wordings))):
            lines[name].append(bench.accuracy(cluster, width, tuning, 0))
            rows.append(bench.row("size", cluster, width, lines[name][-1], name))
    sizes = [bench.parameters(w) for w in config.widths]
    return bench.panel("model size", "parameters", sizes, lines, bench.chance(cluster), log_x=True)


def _wordings(bench: _Bench, rows: list[dict[str, Any]]) -> Panel:
    """And LoRA, beside them."""
    config, cluster, width = bench.config, bench.config.held_out[0], bench.middle
    tunings = [(_counted(n, "wording"), Tuning(cluster, width, n)) for n in config.templates]
    tunings.append((f"LoRA {config.lora_rank}", Tuning(cluster, width, config.wordings, lora=config.lora_rank)))
    tunings.append(("all weights", Tuning(cluster, width, config.wordings)))
    found = [bench.accuracy(cluster, width, tuning, 0) for _, tuning in tunings]
    for (name, _), one in zip(tunings, found, strict=True):
        rows.append(bench.row("wordings and LoRA", cluster, width, one, name))
    places = tuple(map(float, range(len(found))))
    line = Line("tuned, zero-shot", places, tuple(one.accuracy for one in found), joined=False)
    level = guessing(bench.chance(cluster), places)
    return Panel("wordings; LoRA", "", "accuracy", (line, level), labels=tuple(name for name, _ in tunings))


@dataclass
class _Bench:
    """Models, held-out tasks and figures of the study."""

    config: Config
    study: Grid
    _tasks: list[LoadedTask] = field(default_factory=list)
    _held: dict[str, list[str]] = field(default_factory=dict)
    _apart: dict[str, list[LoadedTask]] = field(default_factory=dict)

    @property
    def middle(self) -> int:
        return self.config.widths[len(self.config.widths) // 2]

    def tasks(self) -> list[LoadedTask]:
        self._tasks = self._tasks or load_tasks(self.config.sets)
        return self._tasks

    def clusters(self, held_out: str) -> list[str]:
        """The clusters to train on."""
        return sorted({t.task.cluster for t in self.tasks() if t.task.cluster != held_out})

    def held(self, cluster: str) -> list[str]:
        """The tasks of a held-out cluster, as sets of their own: their wordings and their rows, divided."""
        if cluster not in self._held:
            with_options = [
                t for t in self.tasks()
                if t.task.cluster == cluster and all(len(options_of(t.task, r)) > 1 for r in t.records)
            ]  # fmt: skip
            if not with_options:
                known = sorted({t.task.cluster for t in self.tasks()})
                raise ConfigError(
                    f"the cluster {cluster!r} has no task with options",
                    where="held_out",
                    mend=f"clusters: {', '.join(known)}",
                )
            self._held[cluster] = [self._divide(t) for t in with_options[: self.config.held_tasks]]
        return self._held[cluster]

    def chance(self, cluster: str) -> float:
        """Of guessing among the options."""
        found = [t for spec in self.held(cluster) for t in load_tasks((spec,))]
        return statistics.fmean(1 / len(options_of(t.task, t.records[0])) for t in found)

    def _divide(self, task: LoadedTask) -> str:
        folder = self.study.folder / "data"
        wordings, rows = folder / f"{task.name}.toml", folder / f"{task.name}.jsonl"
        about = {name: list(getattr(task.task, name)) for name in ("fields", "templates", "targets", "options")}
        write_atomic(wordings, to_toml({"cluster": task.task.cluster, **about}).encode())
        write_atomic(rows, b"".join(_row(task, r) for r in task.records))
        return f"{wordings}@{rows}"

    # Models

    def base(self, width: int) -> Path:
        """A pre-trained model."""
        config = self.config
        settings: dict[str, Any] = {
            "data": {"train": list(config.text)},
            "shape": {
                "hidden_size": width, "num_layers": config.layers, "num_heads": max(1, width // 32),
                "context": config.context, "vocab_size": config.vocab_size,
            },
            "train": {
                "steps": config.pretrain_steps, "units_per_step": config.units_per_step, "save_every": 100,
                "validate_every": 0, "optimizer": {"learning_rate": 2e-3, "weight_decay": 0.1},
            },
        }  # fmt: skip
        if width != config.widths[-1]:  # the tokenizer is trained once, with the widest
            settings["tokenizer"] = str(self.base(config.widths[-1]))
        return self.study.run("pretrain", f"base-w{width}", settings) / "model"

    def tuned(self, tuning: Tuning, seed: int) -> Path:
        """A model tuned on the mixture, or on one task alone."""
        config = self.config
        settings: dict[str, Any] = {
            "model": str(self.base(tuning.width)),
            "data": {"train": [str(self.examples(tuning, seed))]},
            "train": {
                "seed": seed, "steps": config.steps, "units_per_step": config.units_per_step, "save_every": 100,
                "validate_every": 0,
                "optimizer": {"learning_rate": config.lora_learning_rate if tuning.lora else config.learning_rate},
            },
        }  # fmt: skip
        if tuning.lora:
            settings["lora"] = {"rank": tuning.lora, "alpha": 2.0 * tuning.lora}
        return self.study.run("sft", f"{tuning.name}-{seed}", settings) / "model"

    def examples(self, tuning: Tuning, seed: int) -> Path:
        """The file of what a model is tuned on: as many examples as its steps take, each worded once."""
        config = self.config
        name = f"{tuning.replace(lora=0).name}-{seed}"
        file = self.study.folder / "data" / f"{name}.jsonl"
        if not file.exists():
            if tuning.own_task:
                specs = [s for s in self.held(tuning.held_out) if Path(s.split("@")[0]).stem == tuning.own_task]
                tasks, _ = held_apart(load_tasks(specs), (), NEAR)
            else:
                known = tuning.clusters or self.clusters(tuning.held_out)
                tasks = [t for t in self.apart(tuning.held_out) if t.task.cluster in known]
            options = Options(cap=config.cap, size=config.steps * config.units_per_step, seed=seed)
            found, _ = worded(few_wordings(tasks, tuning.templates, seed), options)
            self.study.write_data(name, [r for r in found if r.split == "train"])
        return file

    def apart(self, held_out: str) -> list[LoadedTask]:
        """All tasks with this cluster held out, and what is near to held-out examples taken out."""
        if held_out not in self._apart:
            held = [t.name for t in self.tasks() if t.task.cluster == held_out]
            self._apart[held_out], removed = held_apart(self.tasks(), held, NEAR)
            said = f"{held_out} held out: {sum(removed.values()):,} training examples of others taken out, too near to held-out ones"
            self.study.on_event(Event(stage="study", kind="message", text=said))
        return self._apart[held_out]

    # Figures

    def accuracy(self, cluster: str, width: int, tuning: Tuning | None, shots: int) -> Score:
        """Mean over a cluster's tasks, over seeds. tuning None: the pre-trained model."""
        return self.over_seeds(cluster, width, shots, lambda seed: tuning)

    def first_clusters(self, held_out: str, known: Sequence[str], count: int, seed: int) -> Tuning:
        """Tuned on the first clusters of the seed's order; all of them are named by none."""
        order = random.Random(seed).sample(list(known), len(known))
        few = () if count == len(known) else tuple(sorted(order[:count]))
        return Tuning(held_out, self.middle, self.config.wordings, clusters=few)

    def fine_tuned(self, cluster: str, width: int) -> Score:
        """Each task by a model that was fine-tuned on it alone."""
        cells = {}
        for seed in self.study.seeds:
            found = []
            for spec in self.held(cluster):
                name = Path(spec.split("@")[0]).stem
                tuning = Tuning(cluster, width, self.config.wordings, own_task=name)
                found.append(self._cell(cluster, width, tuning, 0, seed, (spec,)))
            cells[seed] = mean_of(found)
        return self._score(cells)

    def over_seeds(self, cluster: str, width: int, shots: int, tuning: Any) -> Score:
        """tuning: what was tuned on, of a seed."""
        return self._score(
            {s: self._cell(cluster, width, tuning(s), shots, s, tuple(self.held(cluster))) for s in self.study.seeds}
        )

    def _score(self, cells: dict[int, dict[str, float]]) -> Score:
        mean = {name: statistics.fmean(cell[name] for cell in cells.values()) for name in cells[self.study.seeds[0]]}
        examples = Interval(value=mean["accuracy"], low=mean["low"], high=mean["high"], count=int(mean["examples"]))
        seeds = self.study.over_seeds(cells, "accuracy")  # Student's t knows no bounds; an accuracy does
        seeds = seeds.replace(low=max(0.0, seeds.low), high=min(1.0, seeds.high))
        return Score(seeds, examples, mean["commonest"], mean["shortened"])

    def _cell(
        self, cluster: str, width: int, tuning: Tuning | None, shots: int, seed: int, specs: tuple[str, ...]
    ) -> dict[str, Any]:
        name = f"{cluster}-{tuning.name if tuning else f'base-w{width}'}-{shots}shots-{seed}"
        return self.study.cell(name, partial(self._measure, width, tuning, shots, seed, specs))

    def _measure(
        self, width: int, tuning: Tuning | None, shots: int, seed: int, specs: tuple[str, ...]
    ) -> dict[str, Any]:
        model = self.tuned(tuning, seed) if tuning else self.base(width)
        half = set_up(TrainConfig(seed=seed)).half
        settings = TaskSettings(sets=specs, shots=(shots,), draws=self.config.draws, limit=self.config.limit)
        asked = as_asked(model.parent.name, open_policy(str(model), self.study.workspace), "")
        rows = evaluate_tasks([asked], settings, workspace=self.study.workspace, seed=seed, precision=half)
        return mean_of(
            [
                {
                    "accuracy": r.accuracy, "low": r.low, "high": r.high, "examples": r.examples, "commonest": r.commonest,
                    "shortened": r.fewer_shots / (r.examples * r.draws), "left_out": r.left_out / r.draws,
                    "per_token": next(o.accuracy for o in rows if o.task == r.task and o.scored_by == "likelihood per token"),
                }
                for r in rows if r.scored_by == "likelihood"
            ]
        )  # fmt: skip

    def parameters(self, width: int) -> int:
        """Numbers of a model of this width."""
        policy = open_policy(str(self.base(width)), self.study.workspace)
        return sum(p.numel() for p in policy.model.parameters())

    # Table and pictures

    def row(self, part: str, cluster: str, width: int, score: Score, what: str) -> dict[str, Any]:
        return {
            "part": part, "held out": cluster, "width": str(width), "what": what, "accuracy": score.accuracy,
            "over examples": score.examples, "guessing": round(self.chance(cluster), 3),
            "one answer": round(score.commonest, 3), "shots cut": round(score.shortened, 3),
        }  # fmt: skip

    def panel(
        self, title: str, x_name: str, xs: Sequence[float], lines: dict[str, list[Score]], chance: float, *,
        log_x: bool = False,
    ) -> Panel:  # fmt: skip
        places = tuple(map(float, xs))
        drawn = [Line(name, places, tuple(one.accuracy for one in found)) for name, found in lines.items()]
        return Panel(title, x_name, "accuracy", (*drawn, guessing(chance, places)), log_x=log_x)

    def made(self) -> list[str]:
        """What was pre-trained, and what was tuned on, in words."""
        said = []
        for width in self.config.widths:
            learned = list(metrics(self.base(width).parent))
            read = sum(step["num_tokens"] for step in learned)
            loss = f"{learned[-1]['nats_per_token']:.2f} nats per token after {read:,} tokens"
            said.append(f"{width} ({self.parameters(width):,} parameters; {loss})")
        steps, each = self.config.steps, self.config.units_per_step
        tasks = [t for t in self.tasks() if t.task.cluster != self.config.held_out[0]]
        return [
            f"Models of width {', '.join(said)}, pre-trained on {', '.join(self.config.text)}.",
            f"Tuned for {steps} steps of {each} examples, from {len(tasks)} tasks in {len({t.task.cluster for t in tasks})} clusters where "
            f"{self.config.held_out[0]} is held out.",
        ]


def guessing(chance: float, places: Sequence[float], cluster: str = "") -> Line:
    """The level of guessing, dashed; where several clusters are drawn, in the colour of its own."""
    level = Interval(value=chance, low=chance, high=chance, count=1)
    name = f"guessing, {cluster}" if cluster else "guessing"
    return Line(name, tuple(places), (level,) * len(places), dashed=True, fitted_to=cluster)


def mean_of(tasks: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean over tasks; its interval from theirs, their examples being others; the examples of all together.

    >>> a, b = ({"accuracy": x, "low": x - 0.3, "high": x + 0.4, "examples": 10} for x in (0.5, 0.7))
    >>> {name: round(value, 3) for name, value in mean_of([a, b]).items()}
    {'accuracy': 0.6, 'low': 0.388, 'high': 0.883, 'examples': 20}
    """
    mean = {name: statistics.fmean(task[name] for task in tasks) for name in tasks[0]}
    down, up = (math.hypot(*(task[end] - task["accuracy"] for task in tasks)) / len(tasks) for end in ("low", "high"))
    examples = sum(task["examples"] for task in tasks)
    return mean | {"low": mean["accuracy"] - down, "high": mean["accuracy"] + up, "examples": examples}


def _counted(number: int, thing: str) -> str:
    """
    >>> _counted(1, "task"), _counted(1200, "task")
    ('1 task', '1,200 tasks')
    """
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def few_wordings(tasks: Sequence[LoadedTask], count: int, seed: int) -> list[LoadedTask]:
    """The tasks with at most so many wordings of each set, drawn by the seed. Of T0, each wording is a task of its own."""
    places: dict[str, list[tuple[str, int]]] = {}
    for t in tasks:
        places.setdefault(set_of(t.name), []).extend((t.name, i) for i in range(len(t.task.templates)))
    chosen: dict[str, list[int]] = {}
    for name, found in places.items():
        for task, index in sorted(random.Random(f"{seed}:{name}").sample(found, min(count, len(found)))):
            chosen.setdefault(task, []).append(index)
    return [LoadedTask(t.name, _with_templates(t.task, chosen[t.name]), t.records) for t in tasks if t.name in chosen]


def _with_templates(task: Task, numbers: Sequence[int]) -> Task:
    targets = task.targets if len(task.targets) == 1 else tuple(task.targets[i] for i in numbers)
    return task.replace(templates=tuple(task.templates[i] for i in numbers), targets=targets)


def _row(task: LoadedTask, record: Demonstration) -> bytes:
    """One line of a held-out task's file. The same matter falls on the same side, whatever its id."""
    fields = record.meta["fields"]
    side = split_of(plain(" ".join(map(str, fields.values()))), (0.6, 0.0, 0.4))
    options = options_of(task.task, record)
    own = {"id": record.id, "answer": record.messages[-1].content, "options": options, "split": side}
    return msgspec.json.encode({**fields, **own}) + b"\n"
