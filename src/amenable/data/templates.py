"""Instruction templates as data: one task, several wordings of its request, rendered from a record's named parts.

A task file is TOML: the cluster, the names of its fields, and wordings that use them in braces.

    cluster = "rewriting"
    fields = ["text", "change"]
    templates = [
        "Make this {change}:\\n\\n{text}",
        "Here is a text. Please make it {change}.\\n{text}",
    ]

A record brings its parts in `meta.fields` and its answer as the last message; whatever wording is chosen, the answer
stays. A template is used for those records only that have all of its fields. "{{" and "}}" stand for braces.
The records of one example say so in `meta.example`, by which a Loader keeps its wordings apart (data/loader.py).
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter

import msgspec

from amenable.errors import DataError, nearest
from amenable.types import Demonstration, Prompt, Record, user

EXAMPLE = "example"
"""Key in a rendered record's meta: the id of the record that it is a wording of."""


class Task(Record, frozen=True):
    """A task: the names of its parts and the wordings of its request.

    >>> task = Task(cluster="opposites", fields=("word",), templates=("What is the opposite of {word}?",))
    >>> task.usable({"word": "hot"}), task.usable({"text": "hot"})
    ((0,), ())
    """

    cluster: str
    fields: tuple[str, ...]
    templates: tuple[str, ...]

    def usable(self, parts: Mapping[str, object]) -> tuple[int, ...]:
        """The templates, by number, all of whose fields are among the parts."""
        return tuple(i for i, template in enumerate(self.templates) if fields_of(template) <= parts.keys())


def fields_of(template: str) -> frozenset[str]:
    """The fields that a template names. Raises ValueError for unbalanced braces.

    >>> sorted(fields_of("Make {text} {change}, with {{braces}}."))
    ['change', 'text']
    """
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def read_task(path: Path) -> Task:
    """The task of a TOML file. Raises DataError, naming the file and the template, if it cannot be used."""
    try:
        task = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Task)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise DataError(
            f"the task file cannot be read: {error}", where=str(path), mend="see docs/data.md, Templates"
        ) from error
    return checked(task, where=str(path))


def checked(task: Task, where: str = "") -> Task:
    """The same task. Raises DataError for a template without a field, with a field that the task lacks, with
    unbalanced braces, or that stands twice."""
    if not task.templates:
        raise DataError(f"the task {task.cluster!r} has no template", where=where, mend="write at least one")
    for number, template in enumerate(task.templates):
        place = f"{where or task.cluster}, template {number + 1}"
        try:
            named = fields_of(template)
        except ValueError as error:
            raise DataError(
                f"the braces are not balanced: {error}", where=place, mend="write {{ and }} for braces in the text"
            ) from error
        if not named:
            raise DataError(
                "the template names no field", where=place, mend=f"use one of {', '.join(task.fields) or 'its fields'}"
            )
        for name in sorted(named - set(task.fields)):
            hint = nearest(name, task.fields)
            raise DataError(
                f"the template names the field {name!r}, which the task lacks",
                where=place,
                mend=f"did you mean {hint}?" if hint else f"the task has {', '.join(task.fields) or 'no fields'}",
            )
        if template in task.templates[:number]:
            raise DataError("the template stands twice", where=place, mend="delete one of them")
    return task


def wording(task: Task, parts: Mapping[str, object], index: int) -> str:
    """The request in the wording of template `index`.

    >>> wording(Task(cluster="c", fields=("a",), templates=("Say {a}.",)), {"a": "hello {you}"}, 0)
    'Say hello {you}.'
    """
    template = task.templates[index]
    if missing := sorted(fields_of(template) - parts.keys()):
        raise DataError(
            f"the record has no {' and no '.join(missing)}",
            where=f"{task.cluster}, template {index + 1}",
            mend="take one of task.usable(parts)",
        )
    return "".join(
        before + (str(parts[name]) if name is not None else "") for before, name, _, _ in Formatter().parse(template)
    )


def render(task: Task, record: Demonstration, index: int) -> Demonstration:
    """The demonstration in the wording of template `index`: the same answer, id and example marked.

    >>> from amenable.types import assistant
    >>> task = Task(cluster="opposites", fields=("word",), templates=("What is the opposite of {word}?",))
    >>> asked = user("Say the opposite of hot.")
    >>> record = Demonstration(id="o-1", messages=(asked, assistant("Cold.")), meta={"fields": {"word": "hot"}})
    >>> found = render(task, record, 0)
    >>> found.id, found.messages[0].content, found.messages[1].content, found.meta["example"]
    ('o-1/t1', 'What is the opposite of hot?', 'Cold.', 'o-1')
    """
    asked = user(wording(task, _parts(record), index))
    before = [m for m in record.messages if m.role == "system"]
    return record.replace(
        id=f"{record.id}/t{index + 1}",
        messages=(*before, asked, record.messages[-1]),
        meta={**record.meta, EXAMPLE: record.id},
    )


def render_prompt(task: Task, record: Demonstration, index: int) -> Prompt:
    """The request alone, in the wording of template `index`, with the record's answer as its reference."""
    shown = render(task, record, index)
    return Prompt(
        id=shown.id, messages=shown.messages[:-1], task=shown.task, references=(record.messages[-1].content,),
        source=shown.source, split=shown.split, meta=shown.meta,
    )  # fmt: skip


def wordings(task: Task, record: Demonstration, number: int, seed: int = 0) -> Iterator[Demonstration]:
    """At most `number` wordings of a record, none twice, drawn by the seed and the record's id; none for a record of
    several turns or without fields."""
    parts = _parts(record)
    if not parts or sum(m.role == "user" for m in record.messages) != 1:
        return
    usable: Sequence[int] = task.usable(parts)
    for index in random.Random(f"{seed}:{record.id}").sample(usable, min(number, len(usable))):
        yield render(task, record, index)


def _parts(record: Demonstration) -> Mapping[str, object]:
    parts = record.meta.get("fields", {})
    return parts if isinstance(parts, dict) else {}
