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

A task may list its answer options (a record its own, in `meta.options`): "{options_}" shows them where it stands in a
template, as in FLAN's (Wei et al. 2022), "{answer}" is the record's answer. `targets` says what is answered, one for all
templates or one each: a template that asks the other way round has a target that names other fields.
The records of one example say so in `meta.example`, by which a Loader keeps its wordings apart (data/loader.py).
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Literal

import msgspec

from amenable.errors import DataError, nearest
from amenable.types import Demonstration, Message, Prompt, Record, assistant, text, user

EXAMPLE = "example"
"""Key in a rendered record's meta: the id of the record that it is a wording of."""
OPTIONS = "options_"
"""Field of a template that stands for the list of answer options."""
ANSWER = "answer"
"""Field of a template or target that stands for the record's answer."""
PLAIN_TARGET = "{answer}"

Form = Literal["turns", "text"]
"""How examples stand before a request: as earlier turns of a conversation, or all as one raw text for a base model."""


class Task(Record, frozen=True):
    """A task: the names of its parts and the wordings of its request.

    options  the possible answers, if they are few and the same for all records
    targets  what is answered: one for all templates, or one each

    >>> task = Task(cluster="opposites", fields=("word",), templates=("What is the opposite of {word}?",))
    >>> task.usable({"word": "hot"}), task.usable({"text": "hot"})
    ((0,), ())
    """

    cluster: str
    fields: tuple[str, ...]
    templates: tuple[str, ...]
    options: tuple[str, ...] = ()
    targets: tuple[str, ...] = (PLAIN_TARGET,)

    def usable(self, parts: Mapping[str, object]) -> tuple[int, ...]:
        """The templates, by number, all of whose fields (and their target's) are among the parts."""
        known = parts.keys() | {ANSWER}
        return tuple(
            i for i, template in enumerate(self.templates) if fields_of(template) | fields_of(self.target(i)) <= known
        )

    def target(self, index: int) -> str:
        """What template `index` wants answered."""
        return self.targets[0] if len(self.targets) == 1 else self.targets[index]

    def asks_answer(self, index: int) -> bool:
        """Does template `index` ask for the record's answer, without telling it?"""
        return self.target(index) == PLAIN_TARGET and ANSWER not in fields_of(self.templates[index])


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
    except OSError as error:
        what = f"the task file cannot be read: {error.strerror or error}"
        raise DataError(what, where=str(path), mend="name a TOML file as in docs/data.md, Templates") from error
    return checked(task, where=str(path))


def checked(task: Task, where: str = "") -> Task:
    """The same task. Raises DataError for a template without a field, with a field that the task lacks, with
    unbalanced braces, or that stands twice; for an option that stands twice; for targets of another number."""
    if not task.templates:
        raise DataError(f"the task {task.cluster!r} has no template", where=where, mend="write at least one")
    if len(task.targets) not in (1, len(task.templates)):
        raise DataError(
            f"the task has {len(task.targets)} targets for {len(task.templates)} templates",
            where=where or task.cluster,
            mend="write one for all templates, or one each",
        )
    _distinct(task.options, where or task.cluster)
    for number, template in enumerate(task.templates):
        place = f"{where or task.cluster}, template {number + 1}"
        try:
            named, wanted = fields_of(template), fields_of(task.target(number))
        except ValueError as error:
            raise DataError(
                f"the braces are not balanced: {error}", where=place, mend="write {{ and }} for braces in the text"
            ) from error
        if not named and wanted <= {ANSWER}:
            raise DataError(
                "the template names no field", where=place, mend=f"use one of {', '.join(task.fields) or 'its fields'}"
            )
        for name in sorted((named | wanted) - {*task.fields, OPTIONS, ANSWER}):
            hint = nearest(name, task.fields)
            raise DataError(
                f"the template names the field {name!r}, which the task lacks",
                where=place,
                mend=f"did you mean {hint}?" if hint else f"the task has {', '.join(task.fields) or 'no fields'}",
            )
        if any(template == t and task.target(number) == task.target(i) for i, t in enumerate(task.templates[:number])):
            raise DataError("the template stands twice", where=place, mend="delete one of them")
    return task


def wording(task: Task, parts: Mapping[str, object], index: int) -> str:
    """The request in the wording of template `index`.

    >>> wording(Task(cluster="c", fields=("a",), templates=("Say {a}.",)), {"a": "hello {you}"}, 0)
    'Say hello {you}.'
    """
    template = task.templates[index]
    if missing := sorted((fields_of(template) | fields_of(task.target(index))) - parts.keys() - {ANSWER}):
        raise DataError(
            f"the record has no {' and no '.join(missing)}",
            where=f"{task.cluster}, template {index + 1}",
            mend="take one of task.usable(parts)",
        )
    return _filled(template, parts)


def render(
    task: Task,
    record: Demonstration,
    index: int,
    *,
    options: bool | None = None,
    shots: Sequence[Demonstration] = (),
    form: Form = "turns",
) -> Demonstration:
    """The demonstration in the wording of template `index`: the same id and example marked.

    options: show the answer options, or not; None: where the template has them. shots: solved records of the task that
    stand before it, in the same wording. Raises DataError for an answer outside the options.

    >>> task = Task(cluster="opposites", fields=("word",), templates=("What is the opposite of {word}?",))
    >>> asked = user("Say the opposite of hot.")
    >>> record = Demonstration(id="o-1", messages=(asked, assistant("Cold.")), meta={"fields": {"word": "hot"}})
    >>> found = render(task, record, 0)
    >>> found.id, found.messages[0].content, found.messages[1].content, found.meta["example"]
    ('o-1/t1', 'What is the opposite of hot?', 'Cold.', 'o-1')
    >>> render(task, record, 0, shots=[record], form="text").messages[0].content
    'What is the opposite of hot?\\nCold.\\n\\nWhat is the opposite of hot?\\n'
    """
    pairs = [_question_answer(task, shown, index, options) for shown in (*shots, record)]
    *before, (asked, answer) = pairs
    system = tuple(m for m in record.messages if m.role == "system")
    messages: tuple[Message, ...]
    if form == "text":
        told = "".join(f"{q}\n{a}\n\n" for q, a in before)
        messages = (text(f"{told}{asked}\n"), assistant(answer))
    else:
        turns = (m for q, a in before for m in (user(q), assistant(a)))
        messages = (*system, *turns, user(asked), assistant(answer))
    return record.replace(id=f"{record.id}/t{index + 1}", messages=messages, meta={**record.meta, EXAMPLE: record.id})


def render_prompt(
    task: Task,
    record: Demonstration,
    index: int,
    *,
    options: bool | None = None,
    shots: Sequence[Demonstration] = (),
    form: Form = "turns",
) -> Prompt:
    """The request alone, in the wording of template `index`, with what it wants answered as its reference."""
    shown = render(task, record, index, options=options, shots=shots, form=form)
    return Prompt(
        id=shown.id, messages=shown.messages[:-1], task=shown.task, references=(shown.messages[-1].content,),
        source=shown.source, split=shown.split, meta=shown.meta,
    )  # fmt: skip


def wordings(
    task: Task, record: Demonstration, number: int, seed: int = 0, *, options: bool | None = None
) -> Iterator[Demonstration]:
    """At most `number` wordings of a record, none twice, drawn by the seed and the record's id; none for a record of
    several turns or without fields."""
    for index in drawn_templates(task, record, number, seed):
        yield render(task, record, index, options=options)


def drawn_templates(task: Task, record: Demonstration, number: int, seed: int = 0) -> list[int]:
    """At most `number` of the templates that a record can be worded with, by the seed and the record's id."""
    parts = parts_of(task, record)
    if not parts or sum(m.role == "user" for m in record.messages) != 1:
        return []
    usable: Sequence[int] = task.usable(parts)
    return random.Random(f"{seed}:{record.id}").sample(usable, min(number, len(usable)))


def parts_of(task: Task, record: Demonstration) -> dict[str, object]:
    """What a record's templates may name: its fields, and the list of its options if it has any; empty without fields."""
    fields = record.meta.get("fields", {})
    if not isinstance(fields, dict) or not fields:
        return {}
    options = options_of(task, record)
    return {**fields, OPTIONS: options_text(options)} if options else dict(fields)


def options_of(task: Task, record: Demonstration) -> tuple[str, ...]:
    """The answers that a record may have: its own (`meta.options`), else the task's; () if any text may be right.

    Raises DataError for an option that stands twice.
    """
    options = tuple(map(str, record.meta.get("options", task.options)))
    _distinct(options, f"{task.cluster}, record {record.id}")
    return options


def options_text(options: Sequence[str]) -> str:
    """The options as a request shows them.

    >>> options_text(["yes", "no"])
    'OPTIONS:\\n- yes\\n- no'
    """
    return "\n- ".join(("OPTIONS:", *options))


def _question_answer(task: Task, record: Demonstration, index: int, show: bool | None) -> tuple[str, str]:
    options, answer = options_of(task, record), record.messages[-1].content
    if options and answer not in options:
        raise DataError(
            f"the answer {answer!r} is not among the options {', '.join(map(repr, options))}",
            where=f"{task.cluster}, record {record.id}",
            mend="correct the answer, or add it to the options",
        )
    parts = {**parts_of(task, record), ANSWER: answer}
    if show is False:
        parts[OPTIONS] = ""
    asked = wording(task, parts, index)
    if show is False:
        asked = re.sub(r"\n{3,}", "\n\n", asked).strip()
    elif show and options and OPTIONS not in fields_of(task.templates[index]):
        asked = f"{asked}\n\n{options_text(options)}"
    return asked, _filled(task.target(index), parts)


def _distinct(options: Sequence[str], where: str) -> None:
    for option in {o for o in options if options.count(o) > 1}:
        raise DataError(f"the option {option!r} stands twice", where=where, mend="list every option once")


def _filled(template: str, parts: Mapping[str, object]) -> str:
    return "".join(
        before + (str(parts[name]) if name is not None else "") for before, name, _, _ in Formatter().parse(template)
    )
