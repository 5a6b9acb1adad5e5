"""Public sets that bring questions and no instructions, as tasks: the wordings are the project's (wordings/NAME.toml).

A set's entry names its function in `tasks`, as in read_instructions.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from amenable.data.registry import read_tasks, read_text
from amenable.data.registry.read_instructions import FoundTasks, few, record
from amenable.data.registry.read_preferences import files
from amenable.data.rejects import Rejects
from amenable.data.templates import Task, read_task
from amenable.types import Demonstration, Label

COT_CLUSTERS = {
    "aqua": "numerical", "creak": "common_sense", "ecqa": "common_sense", "qasc": "science",
    "sensemaking": "common_sense", "strategyqa": "open_domain_qa",
}  # fmt: skip
"""Cluster of each part of flan-cot, as the same sets have it elsewhere."""


def flan_cot(folder: Path, part: str | None) -> FoundTasks:
    """Every part is a task: a question answered at once, with the explanation before or behind, or an answer explained.

    The questions list their options themselves.
    """
    worded = _wordings("flan-cot")
    for path in files(folder, f"{part or '*'}_train.tsv"):
        part_name = path.stem.removesuffix("_train")
        name, rows = f"cot_{part_name}", _explained(folder, part_name)
        options = few([(asked, answer) for asked, _, answer in rows])
        task = worded.replace(cluster=COT_CLUSTERS.get(part_name, name), options=options)
        yield name, task, [_cot_record(name, n, row, task) for n, row in enumerate(rows, 1)]


def fairytaleqa(folder: Path, part: str | None) -> FoundTasks:
    """One task: a passage of a story and a question on it, or a question to be made up. The stories' own split is kept."""
    name = "fairytaleqa"
    if part not in (None, name):
        return
    rows = _read(read_tasks.fairytaleqa, folder, "demonstrations", None)
    found = []
    for n, row in enumerate(rows, 1):
        passage, _, question = row.messages[0].content.rpartition("\n\n")
        fields, answers = {"passage": passage, "question": question}, row.meta["answers"]
        found.append(record(name, n, fields, answers[0], split=row.split, answers=answers))
    yield name, _wordings("fairytaleqa"), found


def sentence_polarity(folder: Path, part: str | None) -> FoundTasks:
    """One task: is a sentence of a film review positive or negative? Parts a and b are the halves of the set."""
    rows: Iterator[Label] = _read(read_text.sentence_polarity, folder, "labels", part)
    found = [
        record("sentence_polarity", n, {"sentence": row.response}, "positive" if row.label else "negative")
        for n, row in enumerate(rows, 1)
    ]
    if found:
        yield "sentence_polarity", _wordings("sentence-polarity"), found


def listed(question: str) -> tuple[str, ...]:
    """The options that a question lists behind dashes, each once.

    >>> listed("Where?\\nOptions:\\n- here\\n- there\\n- here"), listed("Why - if at all?")
    (('here', 'there'), ())
    """
    return tuple(dict.fromkeys(line.strip() for line in re.findall(r"^- (.*)$", question, re.MULTILINE)))


def _explained(folder: Path, part: str) -> list[tuple[str, str, str]]:
    """(question, explanation, answer) of the rows of a part; an answer that the question lists is as it stands there."""
    found = []
    for row in _read(read_tasks.flan_cot, folder, "demonstrations", part):
        asked, (why, _, told) = row.messages[0].content, row.messages[-1].content.rpartition("\nThe answer is ")
        answer = told.removesuffix(".")
        found.append((asked, why, next((o for o in listed(asked) if o.rstrip(".") == answer), answer)))
    return found


def _cot_record(name: str, number: int, row: tuple[str, str, str], task: Task) -> Demonstration:
    """With options of its own where the task has none."""
    asked, why, answer = row
    made = record(name, number, {"question": asked} | ({"explanation": why} if why else {}), answer)
    own = listed(asked)
    if task.options or len(own) < 2 or answer not in own:
        return made
    return made.replace(meta={**made.meta, "options": list(own)})


def _read(reader: Callable[..., Any], folder: Path, kind: str, part: str | None) -> Iterator[Any]:
    return (row for _, row in cast(Any, reader(folder, kind, part, Rejects(limit_share=0))))


def _wordings(name: str) -> Task:
    return read_task(Path(__file__).with_name("wordings") / f"{name}.toml")
