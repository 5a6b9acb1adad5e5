"""Examples of one task: files with named columns, or public sets, → what is asked and what is right.

    classification   a text, or two, and the class it belongs to
    regression       a text, or two, and a number
    tokens           the words of a text, and a tag for each
    extraction       a passage, a question, and answers that stand in the passage word for word
    target           a text, and what to write for it

Each column has the names that public data use, tried in order; `columns` names others. What cannot be used is counted in
`rejects` with file, line and reason, as everywhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from amenable.data.formats import Limits, Row, is_saved_dataset, rows, saved_dataset_rows
from amenable.data.read import Watched, file_sides, files_of, on_side
from amenable.data.registry.entries import names as public_names
from amenable.data.rejects import BadRow, Rejects, Where
from amenable.data.row_fields import asked
from amenable.data.source import load, paths_of
from amenable.data.turns import missing, text_of
from amenable.errors import ConfigError, DataError, nearest
from amenable.splitting import plain, side_named, split_of
from amenable.types import Demonstration, Label, Record, Split

Task = Literal["classification", "regression", "tokens", "extraction", "target"]

TEXT = ("text", "sentence", "sentence1", "premise", "question1", "review", "content")
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "classification": {
        "text": TEXT,
        "second": ("second", "sentence2", "hypothesis", "question2", "text2"),
        "label": ("label", "class", "category", "sentiment"),
    },
    "regression": {
        "text": TEXT,
        "second": ("second", "sentence2", "hypothesis", "question2", "text2"),
        "number": ("number", "score", "rating", "value", "label"),
    },
    "tokens": {"words": ("words", "tokens"), "tags": ("tags", "ner_tags", "labels")},
    "extraction": {"text": ("context", "passage", "text"), "second": ("question",), "answers": ("answers", "answer")},
    "target": {
        "text": ("prompt", "instruction", "question", "source", "input", "text"),
        "answers": ("answers", "target", "output", "answer", "response", "completion", "summary"),
    },
}
"""For each task its columns, and the names they are known by."""
OPTIONAL = ("second",)
UNLABELLED = "-1"
_LISTS: dict[str, tuple[str, ...]] = {"tokens": ("words", "tags"), "extraction": ("answers",)}
"""Columns that may be lists or objects, which CSV has as JSON."""


class Example(Record, frozen=True):
    """What one task asks, and what is right.

    >>> Example(id="e", text="A fine film.", label="good").second
    ''
    """

    id: str
    text: str = ""  # the text; of extraction: the passage
    second: str = ""  # the second of a pair; of extraction: the question
    label: str = ""
    number: float = 0.0
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()  # the first is learned from, all are right
    start: int = -1  # of extraction: where the first answer begins in the text, characters; -1: at its first place
    split: Split | None = None


def read_examples(
    spec: str,
    task: Task,
    *,
    columns: Mapping[str, str],
    labels: Sequence[str] = (),
    rejects: Rejects,
    limit: int | None = None,
) -> list[Example]:
    """The examples of a file, a folder or a public set, each once.

    columns: {"text": "the file's name for it"}. labels: the classes there are; a row with another one is bad. Where none are
    named, -1 beside classes that are numbers from 0 on is no class: public sets mark rows without a label so.
    Raises DataError if a column is missing, nothing usable is left, or too many rows are bad; ConfigError for an unknown column.
    """
    check_columns(task, columns)
    found: list[Example] = []
    places: dict[str, Where] = {}  # by id
    there: dict[str, None] = {}  # all columns, in their order
    used: set[str] = set()
    for where, fields in _rows(spec, task, columns, rejects):
        there.update(dict.fromkeys(fields))
        row = Watched(fields, used)
        rejects.tell_split(row.get("split"))
        try:
            example = _example(row, task, columns, set(labels))
        except (BadRow, TypeError, ValueError, KeyError) as error:
            rejects.add(where, str(error), repr(row)[:1000].encode("utf-8", "replace"))
            continue
        if example.id in places:
            rejects.duplicate()
            continue
        places[example.id] = where
        rejects.keep()
        found.append(example)
    found = found if labels else _labelled(found, places, rejects)
    rejects.finish()
    rejects.unused += [name for name in there if name and name not in used]
    if not found:
        raise DataError("there is no row to use", where=spec, mend=rejects.summary())
    if limit is not None and len(found) > limit:
        ids = sorted((e.id for e in found), key=lambda name: hashlib.blake2b(name.encode(), digest_size=8).digest())
        kept = set(ids[:limit])
        found = [example for example in found if example.id in kept]
    return found


def _labelled(found: list[Example], places: Mapping[str, Where], rejects: Rejects) -> list[Example]:
    """The examples without those labelled -1, which go to the rejects, where all other labels are numbers from 0 on."""
    others = {example.label for example in found} - {UNLABELLED}
    if "0" not in others or not all(label.isdecimal() for label in others):
        return found
    for example in found:
        if example.label == UNLABELLED:
            why = f"the label {UNLABELLED} says that there is none (if it is a class, name all of them in labels)"
            rejects.take_back(places[example.id], why, example.to_json()[:1000])
    return [example for example in found if example.label != UNLABELLED]


def check_columns(task: Task, columns: Mapping[str, str]) -> None:
    """Raise ConfigError for a column that the task does not have."""
    for name in columns:
        if name not in COLUMNS[task]:
            near = nearest(name, COLUMNS[task])
            raise ConfigError(
                f"{task} has no column {name!r}",
                where=f"columns.{name}",
                mend=(f"did you mean {near!r}? " if near else "") + f"it has {', '.join(COLUMNS[task])}",
            )


def side_of(example: Example, held_out_share: float) -> Split:
    """Its own split, else one by a hash of its text: the same text, the same side."""
    key = plain(" ".join((example.text, example.second, *example.words)))
    return example.split or split_of(key, (1 - held_out_share, held_out_share, 0.0))


def _rows(
    spec: str, task: Task, columns: Mapping[str, str], rejects: Rejects
) -> Iterator[tuple[Where, dict[str, Any]]]:
    if spec.partition(":")[0] in public_names():
        yield from _public(spec, task)
        return
    structures = {name for column in _LISTS.get(task, ()) for name in _names(task, column, columns)}
    for place, found in _tables(spec, rejects, structures):
        first = list(islice(found, 1))
        for row in first:
            _check_named(row.value, task, columns, place)
        for row in chain(first, found):
            if isinstance(row.value, dict):
                yield row.where, row.value if row.split is None else {"split": row.split, **row.value}
            else:
                rejects.add(row.where, "a line of text has no named columns")


def _names(task: Task, column: str, columns: Mapping[str, str]) -> tuple[str, ...]:
    """What a column may be called in the file."""
    return (columns[column],) if column in columns else COLUMNS[task][column]


def _tables(spec: str, rejects: Rejects, structures: Collection[str]) -> Iterator[tuple[str, Iterator[Row]]]:
    """The rows of each file, or of a saved dataset, with its place."""
    paths = paths_of(spec)
    files: list[Path] = []
    for path in paths:
        if path.is_dir() and is_saved_dataset(path):
            yield str(path), saved_dataset_rows(path, rejects)
        else:
            files += files_of(path, rejects)
    sides = file_sides(files, paths[0] if len(paths) == 1 else None)
    for file in files:
        found = rows(file, rejects, limits=Limits(), lines_of_text=True, structures=structures)
        yield str(file), on_side(found, sides.get(file))


def _check_named(row: dict[str, Any] | str, task: Task, columns: Mapping[str, str], where: str) -> None:
    """Raise DataError if a file lacks a column, by its first row."""
    if isinstance(row, str):
        raise DataError(
            f"a text file has no columns, and {task} needs some", where=where, mend="give JSONL, CSV or the like"
        )
    for name, known in COLUMNS[task].items():
        named = columns.get(name)
        if (named is not None and named not in row) or (
            named is None and name not in OPTIONAL and not any(k in row for k in known)
        ):
            usual = {k for others in COLUMNS[task].values() for k in others}
            free = [str(k) for k in row if k not in usual]
            near = nearest(named or name, [str(k) for k in row]) or next(iter(free), "NAME")
            raise DataError(
                f"the file has no column {named or name!r}; it has {', '.join(map(str, list(row)[:12]))}",
                where=where,
                mend=f"say which it is, as in columns.{name}={near}",
            )


def _public(spec: str, task: Task) -> Iterator[tuple[Where, dict[str, Any]]]:
    """A public set's labels as classes; its demonstrations as a passage with a question, or as source and target."""
    if task == "classification":
        for n, label in enumerate(load(spec, "labels").records, 1):
            assert isinstance(label, Label)
            asked = "\n".join(m.content for m in label.prompt)
            text = {"text": asked, "second": label.response} if asked else {"text": label.response}
            yield (
                Where(spec, n),
                {**text, "label": f"{'' if label.label else 'not '}{label.name}", "split": label.split},
            )
    elif task in ("extraction", "target"):
        for n, shown in enumerate(load(spec, "demonstrations").records, 1):
            assert isinstance(shown, Demonstration)
            asked = "\n".join(m.content for m in shown.messages[:-1])
            answers = shown.meta.get("answers") or [shown.messages[-1].content]
            if task == "target":
                yield Where(spec, n), {"source": asked, "target": answers, "split": shown.split}
                continue
            passage, _, question = asked.rpartition("\n\n")
            yield Where(spec, n), {"context": passage, "question": question, "answers": answers, "split": shown.split}
    else:
        raise DataError(f"no public set holds examples of {task}", where=spec, mend="name a file with columns")


def _example(row: Mapping[str, Any], task: Task, columns: Mapping[str, str], labels: set[str]) -> Example:
    """One row as an example. Raises BadRow saying what is wrong."""
    value = {name: _value(row, columns.get(name), known, name) for name, known in COLUMNS[task].items()}
    split = side_named(row.get("split"))
    if task == "tokens":
        words, tags = _list(value["words"], "words"), _list(value["tags"], "tags")
        if not words or len(words) != len(tags):
            raise BadRow(f"{len(words)} words have {len(tags)} tags")
        _require_known(tags, labels)
        return _named(Example(id="", words=words, tags=tags, split=split))
    text = _asked(row) if task == "target" and "text" not in columns else text_of(value["text"], "text")
    second = "" if missing(value.get("second")) else text_of(value["second"], "second")
    if not text.strip():
        raise BadRow("the text is empty")
    if task == "classification":
        label = "" if missing(value["label"]) else _name(value["label"], "the label").strip()
        if not label:
            raise BadRow("the label is empty")
        _require_known((label,), labels)
        return _named(Example(id="", text=text, second=second, label=label, split=split))
    if task == "regression":
        try:
            number = float("nan" if isinstance(value["number"], bool) else value["number"])
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not math.isfinite(number):
            raise BadRow(f"{value['number']!r:.40} is no number")
        return _named(Example(id="", text=text, second=second, number=number, split=split))
    answers = tuple(dict.fromkeys(a for a in _answers(value["answers"]) if a.strip()))
    if not answers:
        raise BadRow("there is no answer")
    start = -1
    if task == "extraction":
        if not second.strip():
            raise BadRow("the question is empty")
        answers = tuple(a for a in answers if a in text)
        if not answers:
            raise BadRow("no answer stands in the passage word for word")
        start = _start(value["answers"], answers[0], text)
    return _named(Example(id="", text=text, second=second, answers=answers, start=start, split=split))


def _value(row: Mapping[str, Any], named: str | None, known: Iterable[str], name: str) -> Any:
    for key in (named,) if named else known:
        if key in row:
            return row[key]
    if name in OPTIONAL:
        return ""
    raise BadRow(f"the row has no column {named or name!r}")


def _asked(row: Mapping[str, Any]) -> str:
    """What a row of `target` asks, as `amenable sft` reads it: with the passage or the input that stands beside its question."""
    turns = asked(row, next(name for name in COLUMNS["target"]["text"] if name in row))
    if any(turn.role == "assistant" for turn in turns):
        raise BadRow("several turns are asked, and target answers one text (`amenable sft` learns conversations)")
    return "\n\n".join(turn.content for turn in turns if turn.content)


def _require_known(given: Sequence[str], labels: set[str]) -> None:
    strange = [label for label in given if labels and label not in labels]
    if strange:
        raise BadRow(f"the label {strange[0]!r} is none of {', '.join(sorted(labels)[:20])}")


def _list(value: Any, name: str) -> tuple[str, ...]:
    """A list, or words between spaces, as CSV has them."""
    if isinstance(value, str):
        return tuple(value.split())
    if not isinstance(value, list | tuple):
        raise BadRow(f"{name} is {type(value).__name__}, not a list")
    return tuple(_name(one, f"one of the {name}") for one in value)


def _name(value: Any, what: str) -> str:
    """A word, or the number of a class."""
    if not isinstance(value, str | int | float) or value != value:
        raise BadRow(f"{what} is {'NaN' if value != value else type(value).__name__}, no text and no number")
    return str(value)


def _answers(value: Any) -> list[str]:
    """One text or number, a list of them, or SQuAD's {"text": [...], "answer_start": [...]}. Raises BadRow for others."""
    said = value.get("text") if isinstance(value, Mapping) else value
    return [text_of(one, "an answer") for one in _several(said)]


def _start(value: Any, answer: str, text: str) -> int:
    """Where SQuAD's form says that an answer begins, if it does stand there; else -1."""
    if not isinstance(value, Mapping) or answer not in (answers := _answers(value)):
        return -1
    starts, place = _several(value.get("answer_start")), answers.index(answer)
    start = starts[place] if place < len(starts) and isinstance(starts[place], int) else -1
    return start if start >= 0 and text[start : start + len(answer)] == answer else -1


def _several(value: Any) -> Sequence[Any]:
    """A list as it is, nothing as an empty one, and anything else as a list of it alone."""
    return value if isinstance(value, list | tuple) else () if missing(value) else (value,)


def _named(example: Example) -> Example:
    content = example.replace(split=None).to_json()
    return example.replace(id=f"e-{hashlib.sha256(content).hexdigest()[:16]}")
