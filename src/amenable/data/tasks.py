"""Tasks as a source: `tasks:sets=SET+SET` is an instruction mixture, worded from templates (data/templates.py).

    tasks:sets=super-ni:copa                             one task of a public set, one wording an example
    tasks:sets=super-ni+primer,templates=3,cap=500       at most 500 examples a task, each in three wordings
    tasks:sets=t0+super-ni,held_out=entailment+copa      a cluster and a task that training never sees
    tasks:sets=t0,clusters=science+topic                 two clusters of a set
    tasks:sets=mine.toml@rows.jsonl,shots=2              a task file, or flan-templates:rte, over rows of one's own

Examples are drawn in proportion to each task's size, of which no more than the cap counts (Raffel et al. 2020,
section 3.5.2), to the power 1 / temperature. A held-out task or cluster stands on the test side as a whole, and whatever in
training nearly repeats a held-out or test example is taken out and counted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from amenable.data.formats import Limits, rows
from amenable.data.near import near_pairs
from amenable.data.options import parse_options
from amenable.data.registry.entries import entry, names, tasks_of
from amenable.data.registry.fetch import Progress, fetch
from amenable.data.registry.read_preferences import split_in_name
from amenable.data.rejects import BadRow, Rejects
from amenable.data.split import assign_splits
from amenable.data.templates import (
    ANSWER,
    OPTIONS,
    Form,
    Task,
    drawn_templates,
    fields_of,
    parts_of,
    read_task,
    render,
)
from amenable.data.turns import missing, text_of
from amenable.errors import DataError, nearest
from amenable.splitting import plain
from amenable.types import Demonstration, Record, Split, assistant, user

SOURCE = "tasks"
KINDS = ("demonstrations",)


class Options(Record, frozen=True):
    """What may stand behind `tasks:`."""

    sets: Annotated[
        tuple[str, ...], Meta(description="sets of tasks, joined by +: NAME, NAME:TASK, WORDINGS@ROWS")
    ] = ()
    templates: Annotated[int, Meta(ge=1, description="wordings of each example, none twice in a step")] = 1
    shots: Annotated[int, Meta(ge=0, description="solved examples of the task's training side before each")] = 0
    form: Annotated[Form, Meta(description="turns of a conversation, or one raw text for a base model")] = "turns"
    options: Annotated[
        Literal["template", "shown", "hidden"], Meta(description="answer options: where the template has them, or")
    ] = "template"
    cap: Annotated[int, Meta(ge=1, description="examples of a task that count at most")] = 3000
    temperature: Annotated[float, Meta(ge=1, description="1: in proportion to size; higher: more equal")] = 1.0
    size: Annotated[int, Meta(ge=0, description="training examples of all tasks together; 0: as many as there are")] = 0
    held_out: Annotated[tuple[str, ...], Meta(description="tasks and clusters for testing only, joined by +")] = ()
    clusters: Annotated[
        tuple[str, ...], Meta(description="tasks and clusters to train on, joined by +; empty: all")
    ] = ()
    near: Annotated[
        float, Meta(ge=0, le=1, description="similarity to a held-out example from which one is taken out; 0: off")
    ] = 0.8
    seed: Annotated[int, Meta(ge=0, description="which examples, wordings and shots are drawn")] = 0


@dataclass(frozen=True)
class LoadedTask:
    """A task with its records, each on its side."""

    name: str
    task: Task
    records: tuple[Demonstration, ...]

    def side(self, *sides: str) -> list[Demonstration]:
        """The records of these sides."""
        return [r for r in self.records if r.split in sides]

    @cached_property
    def solved(self) -> list[tuple[str, Demonstration]]:
        """The training side, each record behind what it is about."""
        return [(_matter(r), r) for r in self.side("train")]


def source_records(options: str) -> tuple[list[Demonstration], list[str]]:
    """The records of `tasks:OPTIONS`, and what is to be said of them."""
    return mixture(parse_options(Options, options, SOURCE))


def mixture(options: Options) -> tuple[list[Demonstration], list[str]]:
    """Worded records of all sides, and notes: what each task gives, what was held out, what was taken out as too near."""
    loaded = load_tasks(options.sets)
    held = named_tasks(loaded, options.held_out, where="held_out")
    wanted = named_tasks(loaded, options.clusters, where="clusters")
    loaded = [t for t in loaded if t.name in held or t.name in wanted or not options.clusters]
    kept, removed = held_apart(loaded, held, options.near)
    found, notes = worded(kept, options)
    notes += [f"{name}: held out, never trained on" for name in held]
    notes += [f"{name}: {n:,} taken out of training, too near to held-out examples" for name, n in removed.items()]
    return found, notes


def held_apart(
    tasks: Sequence[LoadedTask], held: Sequence[str], near: float
) -> tuple[list[LoadedTask], dict[str, int]]:
    """The tasks, those named in `held` on the test side as a whole; and what training lost for being too near, by task."""
    return without_near([_on_test_side(t) if t.name in held else t for t in tasks], near)


def worded(tasks: Sequence[LoadedTask], options: Options) -> tuple[list[Demonstration], list[str]]:
    """Training examples as many and in as many wordings as the options say, those of the other sides; and counts."""
    sizes = {t.name: len(t.side("train")) for t in tasks if t.side("train")}
    counts = draw_counts(sizes, cap=options.cap, temperature=options.temperature, size=options.size)
    found: list[Demonstration] = []
    notes: list[str] = []
    for task in tasks:
        chosen = random.Random(f"{options.seed}:{task.name}").sample(task.side("train"), counts.get(task.name, 0))
        train = [own for record in chosen if (own := _worded(task, record, options))]
        others = task.side("validation", "test")[: options.cap]
        held_out = [own for record in others if (own := _worded(task, record, options))]
        found += [record for own in (*train, *held_out) for record in own]
        if task.name in sizes:
            notes.append(f"{task.name}: {len(train):,} of {sizes[task.name]:,} training examples drawn")
        if lost := len(chosen) + len(others) - len(train) - len(held_out):
            notes.append(f"{task.name}: {lost:,} examples left out, as they lack what every template asks for")
    return found, notes


def draw_counts(sizes: Mapping[str, int], *, cap: int, temperature: float = 1.0, size: int = 0) -> dict[str, int]:
    """Examples to draw from each task: in proportion to min(its size, cap) ** (1 / temperature), `size` in all.

    size 0: the sum of min(its size, cap). What a task has too few of goes to the others.

    >>> draw_counts({"a": 100, "b": 900, "c": 4000}, cap=1000)
    {'a': 100, 'b': 900, 'c': 1000}
    >>> draw_counts({"a": 100, "b": 900, "c": 4000}, cap=1000, size=200)
    {'a': 10, 'b': 90, 'c': 100}
    >>> draw_counts({"a": 100, "b": 900}, cap=1000, temperature=2.0, size=100)  # 10 to 30
    {'a': 25, 'b': 75}
    """
    weights = {name: min(n, cap) ** (1 / temperature) for name, n in sizes.items()}
    left = min(size or sum(min(n, cap) for n in sizes.values()), sum(sizes.values()))
    full: dict[str, int] = {}
    while True:
        total = sum(w for name, w in weights.items() if name not in full)
        share = {name: left * w / total for name, w in weights.items() if name not in full}
        over = [name for name, wanted in share.items() if wanted >= sizes[name]]
        if not over:
            break
        for name in over:
            full[name] = sizes[name]
            left -= sizes[name]
    counts = {name: int(wanted) for name, wanted in share.items()}
    rest = left - sum(counts.values())
    for name in sorted(counts, key=lambda name: counts[name] - share[name])[:rest]:  # the largest remainders
        counts[name] += 1
    return {name: full.get(name, counts.get(name, 0)) for name in sizes}


def named_tasks(tasks: Sequence[LoadedTask], wanted: Sequence[str], *, where: str) -> list[str]:
    """The names of the tasks that are, or whose cluster is, among the wanted. Raises DataError for an unknown one."""
    known = {t.name for t in tasks} | {t.task.cluster for t in tasks}
    for name in wanted:
        if name not in known:
            hint = nearest(name, known)
            raise DataError(
                f"there is no task or cluster {name!r}",
                where=where,
                mend=f"did you mean {hint}?" if hint else f"there are {', '.join(sorted(known))}",
            )
    return [t.name for t in tasks if t.name in wanted or t.task.cluster in wanted]


def without_near(tasks: Sequence[LoadedTask], threshold: float) -> tuple[list[LoadedTask], dict[str, int]]:
    """The tasks without training records that nearly repeat one held out (validation and test), and how many each lost.

    Compared are the records' parts, not their wordings. Short texts count as near only if they are equal.
    """
    if not threshold:
        return list(tasks), {}
    kept_out = [_matter(r) for t in tasks for r in t.side("validation", "test")]
    place = [(t.name, r.id) for t in tasks for r in t.side("train")]
    matter = [_matter(r) for t in tasks for r in t.side("train")]
    first, exact = len(kept_out), set(kept_out)
    near = {n for n, said in enumerate(matter) if said in exact}
    near |= {j - first for _, j, _ in near_pairs([*kept_out, *matter], threshold, known=first)}
    gone = {place[n] for n in near}
    removed = Counter(name for name, _ in gone)
    left = [LoadedTask(t.name, t.task, tuple(r for r in t.records if (t.name, r.id) not in gone)) for t in tasks]
    return left, {t.name: removed[t.name] for t in tasks if removed[t.name]}


def shots_for(task: LoadedTask, record: Demonstration, k: int, key: str) -> list[Demonstration]:
    """k solved records of the task's training side, never the record itself, chosen and ordered by the key."""
    if not k:
        return []
    own = _matter(record)
    pool = [r for matter, r in task.solved if r.id != record.id and matter != own]
    return random.Random(key).sample(pool, min(k, len(pool)))


# Sets -----------------------------------------------------------------------------------------------------------------


def load_tasks(sets: Sequence[str], progress: Progress | None = None) -> list[LoadedTask]:
    """The tasks of all sets, with sides. Raises DataError for a set without tasks, or for wordings without rows."""
    if not sets:
        raise DataError("no set of tasks is named", where="sets", mend="for example tasks:sets=super-ni:copa")
    found: dict[str, LoadedTask] = {}
    for spec in sets:
        for name, task, records in _read(spec, progress):
            if not records:
                raise DataError(
                    f"{name} holds wordings and no records",
                    where=spec,
                    mend=f"put rows with {', '.join(task.fields)} and answer behind it: {spec}@rows.jsonl",
                )
            if name in found:
                raise DataError(f"the task {name} comes twice", where=spec, mend="name it in one set only")
            found[name] = LoadedTask(name, task, tuple(assign_splits(records)))
    return list(found.values())


def _read(spec: str, progress: Progress | None) -> Iterator[tuple[str, Task, list[Demonstration]]]:
    wordings, _, source = spec.partition("@")
    head, _, part = wordings.partition(":")
    if wordings.endswith(".toml"):
        found: Iterable[Any] = [(Path(wordings).stem, read_task(Path(wordings)), [])]
    elif head == "primer":
        found = _primer(part or None)
    elif head in names():
        found = tasks_of(entry(head))(fetch(head, progress=progress), part or None)
    else:
        known = [*(n for n in names() if entry(n).tasks), "primer"]
        hint = nearest(head, known)
        raise DataError(
            f"there is no set of tasks named {head!r}",
            where=spec,
            mend=f"did you mean {hint}?" if hint else f"sets: {', '.join(known)}, or FILE.toml@ROWS.jsonl",
        )
    some = False
    for name, task, records in found:
        some = True
        yield name, task, _rows(name, task, Path(source)) if source else records
    if not some:
        raise DataError(f"{head} has no task {part!r}", where=spec, mend=f"tasks:sets={head} takes all of them")


def _primer(part: str | None) -> Iterator[tuple[str, Task, list[Demonstration]]]:
    from amenable.data import primer

    known = primer.tasks()
    for record in primer.written_demonstrations():
        known.setdefault(record.task, Task(cluster=record.task, fields=(), templates=()))
    for name, task in known.items():
        if part in (None, name) and task.templates:
            yield (
                name,
                task,
                [
                    r.replace(split=primer.side(r.id, r.task))
                    for r in primer.written_demonstrations()
                    if r.task == name and task.usable(r.meta.get("fields", {}))
                ],
            )


def _rows(name: str, task: Task, path: Path) -> list[Demonstration]:
    """Rows of a file: the task's fields, `answer` (or a list of right ones), and if wanted `options`, `id` and `split`."""
    if not path.is_file():
        raise DataError(
            "there is no such file of rows", where=str(path), mend="name a JSONL, JSON, CSV or Parquet file"
        )
    found = []
    for number, row in enumerate(rows(path, Rejects(limit_share=0), limits=Limits(), structures=(ANSWER,)), 1):
        where = f"{path}:{row.where.line}"
        fields = row.value if isinstance(row.value, dict) else {}
        answer = fields.get(ANSWER)
        answers = _several(answer, where, ANSWER) if isinstance(answer, list) else [_text(answer, where, ANSWER)]
        answers = [text for text in answers if text.strip()]
        if not answers:
            raise DataError("the row has no answer", where=where, mend='give it a field "answer"')
        parts = {name: text for name in task.fields if (text := _text(fields.get(name), where, name)).strip()}
        meta: dict[str, Any] = {"fields": parts, "answers": answers}
        meta |= {"options": _several(fields["options"], where, "options")} if fields.get("options") else {}
        record = Demonstration(
            id=f"{name}/{fields.get('id') or number}",
            messages=(user("\n\n".join(parts.values())), assistant(answers[0])),
            task=name,
            split=_side(fields.get("split"), where),
            meta=meta,
        )
        _require_wordable(task, record, fields, where)
        found.append(record)
    return found


def _require_wordable(task: Task, record: Demonstration, fields: Mapping[str, Any], where: str) -> None:
    """Raise DataError for a row that lacks what every template asks for: it would give nothing."""
    parts = parts_of(task, record)
    if task.usable(parts):
        return
    wanted = [fields_of(t) | fields_of(task.target(i)) for i, t in enumerate(task.templates)]
    lacks = min((sorted(named - parts.keys() - {ANSWER}) for named in wanted), key=len)
    names = ["options" if name == OPTIONS else name for name in lacks]
    raise DataError(
        f"the row lacks {' and '.join(names)}, without which no template can word it",
        where=where,
        mend=f"fill it in; the row has {', '.join(str(key) for key, value in fields.items() if not missing(value))}",
    )


def _text(value: Any, where: str, name: str) -> str:
    """A text, or a number as text; of nothing the empty text."""
    try:
        return "" if missing(value) else text_of(value, name)
    except BadRow as error:
        raise DataError(str(error), where=where, mend="write it as one text, or as a number") from error


def _several(value: Any, where: str, name: str) -> list[str]:
    """A list of texts; in a CSV file it is written as JSON."""
    if isinstance(value, str):
        with suppress(msgspec.DecodeError):
            value = msgspec.json.decode(value)
    if isinstance(value, list):
        with suppress(BadRow):
            return [text_of(one, name) for one in value]
    raise DataError(f"{name} is no list of texts", where=where, mend='write it as ["yes", "no"], in CSV too')


def _side(value: Any, where: str) -> Split | None:
    """The side that a row says it is on."""
    if value in (None, ""):
        return None
    side = split_in_name(str(value))
    if side is None:
        raise DataError(f"there is no side {str(value)!r}", where=where, mend="split is train, validation or test")
    return side


def _on_test_side(held: LoadedTask) -> LoadedTask:
    return LoadedTask(held.name, held.task, tuple(r.replace(split="test") for r in held.records))


def _matter(record: Demonstration) -> str:
    return plain("\n".join(map(str, record.meta["fields"].values())))


def _worded(task: LoadedTask, record: Demonstration, options: Options) -> list[Demonstration]:
    """The record in as many wordings as the options say; in none if no template can word it."""
    show = {"template": None, "shown": True, "hidden": False}[options.options]
    number = options.templates if record.split == "train" else 1
    return [
        render(
            task.task,
            record,
            index,
            options=show,
            shots=shots_for(task, record, options.shots, f"{options.seed}:{record.id}:{index}"),
            form=options.form,
        )
        for index in drawn_templates(task.task, record, number, options.seed)
    ]
