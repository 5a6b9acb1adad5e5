"""Public sets of instructions as tasks: their wordings as templates, their rows as records with named parts.

A set's entry names its function in `tasks`; each gives (name, Task, records). The records of flan-templates come from
elsewhere (data/tasks.py): it holds wordings only.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amenable.data.registry.read_preferences import files, split_in_name
from amenable.data.registry.read_tasks import tiny
from amenable.data.templates import Task, checked
from amenable.errors import DataError
from amenable.types import Demonstration, Split, assistant, user

FoundTasks = Iterator[tuple[str, Task, list[Demonstration]]]

MOST_OPTIONS = 14
"""A task whose rows have so few different answers, each about four times or more, has these as its options."""

CLUSTERS = {
    "adversarial_qa": "reading_comprehension", "boolq": "reading_comprehension", "duorc": "reading_comprehension",
    "quoref": "reading_comprehension", "ropes": "reading_comprehension", "copa": "common_sense",
    "commonsense_qa": "common_sense", "cosmos_qa": "common_sense", "social_i_qa": "common_sense", "qasc": "science",
    "quarel": "science", "quartz": "science", "wiqa": "science", "dbpedia_14": "topic", "kilt_tasks_hotpotqa": "open_domain_qa",
    "mnli": "entailment", "paws": "paraphrase", "rotten_tomatoes": "sentiment", "common_gen": "structure_to_text",
    "wiki_bio": "structure_to_text",
}  # fmt: skip
"""Cluster of each set that does not say its own; as in FLAN where it has the set."""

TINY_CLUSTERS = {
    "first_word_letter": "spelling", "second_word_letter": "spelling", "letters_list": "spelling",
    "orthography_starts_with": "spelling", "singular_to_plural": "morphosyntax", "active_to_passive": "morphosyntax",
    "negation": "syntax", "antonyms": "lexical_semantics", "synonyms": "lexical_semantics",
    "taxonomy_animal": "lexical_semantics", "rhymes": "phonetics", "larger_animal": "knowledge",
    "cause_and_effect": "semantics", "common_concept": "semantics", "informal_to_formal": "style", "sum": "numerical",
    "diff": "numerical", "num_to_verbal": "numerical", "translation_en-de": "translation",
    "translation_en-es": "translation", "translation_en-fr": "translation", "sentiment": "sentiment",
    "sentence_similarity": "paraphrase",
}  # fmt: skip
"""Cluster of each tiny task, as Honovich et al. 2022 sort them (table 1); their GLUE tasks stand where FLAN has them."""


def t0(folder: Path, part: str | None) -> FoundTasks:
    """Every T0 template is a task of its own: its rows come worded already."""
    for path in files(folder, f"**/{part or '*'}.jsonl"):
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        pairs = [(row["prompt"].strip(), row["completion"].removesuffix("<|endoftext|>").strip()) for row in rows]
        task = Task(cluster=cluster_of(path.stem), fields=("prompt",), templates=("{prompt}",), options=few(pairs))
        yield path.stem, task, [record(path.stem, n, {"prompt": q}, a) for n, (q, a) in enumerate(pairs, 1) if q and a]


def super_ni(folder: Path, part: str | None) -> FoundTasks:
    """Definition and input; with the positive, and with the positive and negative examples (Wang et al. 2022)."""
    by_task: dict[str, list[Path]] = {}
    for path in files(folder, f"*/{part or '*'}/*.json"):
        by_task.setdefault(path.parent.name, []).append(path)
    for name, paths in by_task.items():
        read = {path: json.loads(path.read_text("utf-8")) for path in paths}
        about = next(iter(read.values()))
        rows = [
            (split_in_name(path.stem), row["input"].strip(), _answers(row["output"]))
            for path, held in read.items()
            for row in held["Instances"]
        ]
        categories = about.get("Categories") or [cluster_of(name)]
        task = Task(
            cluster=categories[0].lower().replace(" ", "_"),
            fields=("input",),
            templates=tuple(definition_templates(about)),
            options=few([(asked, answers[0]) for _, asked, answers in rows]),
        )
        yield (
            name,
            checked(task, name),
            [
                record(name, n, {"input": asked}, answers[0], split=split, answers=answers)
                for n, (split, asked, answers) in enumerate(rows, 1)
                if asked and answers[0]
            ],
        )


def definition_templates(about: Mapping[str, Any]) -> Iterator[str]:
    """The templates of one Super-NaturalInstructions task, those whose parts it has.

    >>> about = {"Definition": ["Say yes."], "Positive Examples": [{"input": "Go?", "output": "yes"}]}
    >>> [t.splitlines()[-2:] for t in definition_templates(about)]
    [['', '{input}'], ['Input: {input}', 'Output:'], ['Input: {input}', 'Output:']]
    """
    told = about.get("Definition") or []
    definition = literal(" ".join(told) if isinstance(told, list) else told)
    examples = {
        kind: [_worked(kind, n, e) for n, e in enumerate((about.get(f"{kind} Examples") or [])[:2], 1)]
        for kind in ("Positive", "Negative")
    }
    now = "Input: {input}\nOutput:"
    yield f"{definition}\n\n{{input}}" if definition else "{input}"
    begin = f"Definition: {definition}\n\n" if definition else ""
    yield begin + now
    if examples["Positive"]:
        yield begin + "".join(examples["Positive"]) + "Now answer this one.\n" + now
    if examples["Negative"]:
        yield begin + "".join(examples["Positive"] + examples["Negative"]) + "Now answer this one.\n" + now


def instruction_induction(folder: Path, part: str | None) -> FoundTasks:
    """The instructions that people wrote for a tiny task are its templates; the task is tiny_NAME.

    word_in_context is left out: not for every use.
    """
    by_task: dict[str, list[Path]] = {}
    for path in files(folder, f"**/raw/*/{part or '*'}.json"):
        by_task.setdefault(path.stem, []).append(path)
    for name, paths in by_task.items():
        annotations = next(p for p in paths[0].parents if p.name == "raw").parent / "annotations" / f"{name}.json"
        if name == "word_in_context" or not annotations.is_file():
            continue
        written = json.loads(annotations.read_text("utf-8"))["annotations"]
        told = dict.fromkeys(literal(instruction.strip()) for instruction in written if instruction.strip())
        found: dict[str, tuple[str, list[str]]] = {}
        for path in paths:
            for number, example in json.loads(path.read_text("utf-8"))["examples"].items():
                given, answer = tiny({"number": int(number), **example})
                others = example.get("possible_translations") or example.get("all_common_concepts") or [answer]
                found.setdefault(given, (answer, others))
        pairs = [(given, answer) for given, (answer, _) in found.items()]
        task = Task(
            cluster=TINY_CLUSTERS.get(name, name),
            fields=("input",),
            templates=tuple(f"{instruction}\n\n{{input}}" for instruction in told),
            options=few(pairs),
        )
        own = f"tiny_{name}"  # the primer has a "sentiment", too
        yield (
            own,
            checked(task, own),
            [
                record(own, n, {"input": given}, answer, answers=others)
                for n, (given, (answer, others)) in enumerate(found.items(), 1)
            ],
        )


def flan_templates(folder: Path, part: str | None) -> FoundTasks:
    """The patterns of FLAN 1: wordings with fields, and what each wants answered; no records."""
    patterns, clusters = _flan(folder)
    cluster = {task: name for name, tasks in clusters.items() for task in tasks}
    for name, pairs in patterns.items():
        if part not in (None, name):
            continue
        unique = list(dict.fromkeys((asked, target) for asked, target in pairs))
        slots = re.findall(r"(?<!\{)\{(\w+)\}", "".join(a + b for a, b in unique))
        fields = tuple(slot for slot in dict.fromkeys(slots) if slot not in ("options_", "answer"))
        templates, targets = zip(*unique, strict=True)
        yield (
            name,
            checked(Task(cluster=cluster.get(name, name), fields=fields, templates=templates, targets=targets), name),
            [],
        )


def _flan(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The patterns and the clusters, from FLAN's source (never run) or from a copy as JSON."""
    if (folder / "templates.py").is_file():
        return _constant(folder / "templates.py", "PATTERNS"), _constant(
            folder / "task_splits.py", "_DEFAULT_TASK_CLUSTERS_ABBREV"
        )
    patterns, clusters = (
        json.loads(files(folder, f"*{end}.json")[0].read_text("utf-8")) for end in ("templates", "clusters")
    )
    return patterns.get("PATTERNS", patterns), clusters


def _constant(path: Path, name: str) -> dict[str, Any]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            found = ast.literal_eval(node.value)
            if isinstance(found, dict):
                return found
    raise DataError(f"the file has no table {name}", where=str(path), mend="fetch it again")


def record(
    name: str,
    number: int,
    fields: Mapping[str, str],
    answer: str,
    *,
    split: Split | None = None,
    answers: list[str] | None = None,
) -> Demonstration:
    """A row of a task: its parts in meta.fields, all right answers in meta.answers, and a request that shows the parts."""
    asked = "\n\n".join(fields.values())
    return Demonstration(
        id=f"{name}/{number}", messages=(user(asked), assistant(answer)), task=name, split=split,
        meta={"fields": dict(fields), "answers": answers or [answer]},
    )  # fmt: skip


def few(pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    """The different answers, in order, if they are at most MOST_OPTIONS and come four times or more on average.

    >>> few([(str(n), "yes" if n % 2 else "no") for n in range(8)]), few([("a", "b"), ("c", "d")])
    (('no', 'yes'), ())
    """
    counts = Counter(answer for _, answer in pairs if answer)
    return tuple(sorted(counts)) if 2 <= len(counts) <= MOST_OPTIONS and len(pairs) >= 4 * len(counts) else ()


def cluster_of(name: str) -> str:
    """The cluster of a set that does not say its own; its name where it is not known."""
    return CLUSTERS.get(set_of(name), name)


def set_of(name: str) -> str:
    """The set that a T0 template words; any other task is a set of its own.

    >>> set_of("paws_labeled_final_Meaning"), set_of("mnli"), set_of("task73_commonsenseqa")
    ('paws', 'mnli', 'task73_commonsenseqa')
    """
    return next((known for known in CLUSTERS if name.startswith(known)), name)


def literal(said: str) -> str:
    """Text that stands in a template as itself."""
    return said.strip().replace("{", "{{").replace("}", "}}")


def _worked(kind: str, number: int, example: Mapping[str, Any]) -> str:
    output = _answers(example["output"])[0]
    why = f"\nExplanation: {literal(example['explanation'])}" if example.get("explanation") else ""
    return f"{kind} example {number}\nInput: {literal(example['input'])}\nOutput: {literal(output)}{why}\n\n"


def _answers(output: Any) -> list[str]:
    return [str(o).strip() for o in output] if isinstance(output, list) else [str(output).strip()]
