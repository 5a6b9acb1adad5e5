"""Readers of the public sets of questions, instructions and tasks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from amenable.data.formats import Row
from amenable.data.registry.read_preferences import Found, converted, each_row, files, split_in_name
from amenable.data.rejects import BadRow, Rejects, Where
from amenable.errors import DataError
from amenable.types import AnyRecord, Demonstration, Document, Prompt, Split, assistant, user


def _answer(asked: str, answer: str, *, id: str = "", **more: Any) -> Demonstration:
    return Demonstration(id=id, messages=(user(asked.strip()), assistant(answer.strip())), **more)


def fairytaleqa(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Children's stories in sections, and teachers' questions: the sections a question is about, then the question.

    meta.answers holds all answers; the first is demonstrated. The stories' own split is kept.
    """
    for path in files(folder, "**/section-stories/*/*.csv"):
        name, split = path.stem.removesuffix("-story"), split_in_name(path.parent.name)
        sections = _sections(path, rejects)
        if kind == "documents":
            yield Where(str(path), 1), Document(id=name, text="\n\n".join(sections.values()), split=split)
            continue
        asked = path.parents[2] / "questions" / path.parent.name / f"{name}-questions.csv"
        if not asked.is_file():
            rejects.add(Where(str(asked), 0), "the story has no file of questions")
            continue
        times: Counter[str] = Counter()

        def convert(
            row: dict[str, Any],
            name: str = name,
            sections: dict[str, str] = sections,
            split: Split | None = split,
            times: Counter[str] = times,
        ) -> Iterable[AnyRecord]:
            times[row["question_id"]] += 1  # a few stories use a number twice
            again = f"-{times[row['question_id']]}" if times[row["question_id"]] > 1 else ""
            question = _story_question(row, name, sections, split)
            return [question.replace(id=question.id + again)]

        yield from converted(each_row([asked], rejects), convert, rejects)


def _sections(path: Path, rejects: Rejects) -> dict[str, str]:
    found = {}
    for row in each_row([path], rejects):
        assert isinstance(row.value, dict)
        lines = (" ".join(line.split()) for line in row.value["text"].split("\n"))
        found[row.value["section"].strip()] = "\n".join(line for line in lines if line)
    return found


def _story_question(row: dict[str, Any], name: str, sections: dict[str, str], split: Split | None) -> Demonstration:
    about = [number.strip() for number in re.split(r"[,;]", row["cor_section"]) if number.strip()]
    if not about or any(number not in sections for number in about):
        raise BadRow(f"the question is about an unknown section ({row['cor_section']})")
    answers = [row[f"answer{n}"].strip() for n in range(1, 7) if row.get(f"answer{n}", "").strip()]
    if not answers:
        raise BadRow("the question has no answer")
    return _answer(
        "\n".join(sections[number] for number in about) + f"\n\n{row['question'].strip()}",
        answers[0],
        id=f"{name}-{row['question_id']}",
        task=row["attribute1"].strip(),
        author="person",
        split=split,
        meta={"answers": answers, "scope": row["local-or-sum"], "form": row["ex-or-im1"]},
    )


def gsm8k(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Word problems with worked solutions; the last line is "#### n". Marks of the calculator are cut out."""
    for path in files(folder, "*.jsonl"):
        split = split_in_name(path.stem)

        def convert(row: dict[str, Any], split: Split | None = split) -> Iterable[AnyRecord]:
            worked = re.sub(r"<<[^>]*>>", "", row["answer"])
            final = worked.rpartition("####")[2].strip().replace(",", "")
            return [
                _answer(
                    row["question"], worked, task="arithmetic", author="person", split=split, meta={"answers": [final]}
                )
            ]

        yield from converted(each_row([path], rejects), convert, rejects)


def self_instruct_seeds(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Tasks that people wrote, each with an instruction and worked instances."""

    def convert(row: dict[str, Any]) -> Iterator[AnyRecord]:
        for number, instance in enumerate(row["instances"]):
            given = instance["input"].strip()
            asked = f"{row['instruction']}\n\n{given}" if given else row["instruction"]
            yield _answer(asked, instance["output"], id=f"{row['id']}-{number}", task=row["name"], author="person")

    yield from converted(each_row(files(folder, "seed_tasks.jsonl"), rejects), convert, rejects)


def mt_bench(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Questions of two turns; the prompt is the first, meta.turns holds both."""

    def convert(row: dict[str, Any]) -> Iterator[AnyRecord]:
        yield Prompt(
            id=f"mt-bench-{row['question_id']}",
            messages=(user(row["turns"][0]),),
            task=row["category"],
            references=tuple(row.get("reference", ())[:1]),
            meta={"turns": row["turns"], "references": row.get("reference", [])},
        )

    yield from converted(each_row(files(folder, "question.jsonl"), rejects), convert, rejects)


def ifeval(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Prompts with orders that a program can check; meta names the orders and their numbers."""

    def convert(row: dict[str, Any]) -> Iterator[AnyRecord]:
        meta = {"instructions": row["instruction_id_list"], "arguments": row["kwargs"]}
        yield Prompt(id=f"ifeval-{row['key']}", messages=(user(row["prompt"]),), task="instructions", meta=meta)

    yield from converted(each_row(files(folder, "input_data*.jsonl"), rejects), convert, rejects)


def truthfulqa(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Questions that many people answer wrongly; references are true answers, meta.wrong holds false ones."""

    def convert(row: dict[str, Any]) -> Iterator[AnyRecord]:
        true = [a.strip() for a in row["Correct Answers"].split(";") if a.strip()]
        wrong = [a.strip() for a in row["Incorrect Answers"].split(";") if a.strip()]
        references = tuple(dict.fromkeys((row["Best Answer"].strip(), *true)))
        yield Prompt(
            id="", messages=(user(row["Question"]),), task=row["Category"], references=references, meta={"wrong": wrong}
        )

    yield from converted(each_row(files(folder, "*.csv"), rejects), convert, rejects)


def bbq(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Questions that tempt to a stereotype, with three choices; the reference is the right one."""

    def convert(row: dict[str, Any]) -> Iterator[AnyRecord]:
        choices = [row[f"ans{n}"] for n in range(3)]
        listed = "\n".join(f"({letter}) {choice}" for letter, choice in zip("ABC", choices, strict=True))
        yield Prompt(
            id=f"bbq-{row['category']}-{row['example_id']}",
            messages=(user(f"{row['context']}\n\n{row['question']}\n{listed}"),),
            task=row["category"],
            references=(choices[row["label"]],),
            meta={name: row[name] for name in ("label", "context_condition", "question_polarity", "answer_info")}
            | {"groups": row["additional_metadata"].get("stereotyped_groups", []), "options": choices},
        )

    yield from converted(each_row(files(folder, "*.jsonl"), rejects), convert, rejects)


def t0(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Data of natural language tasks in the words of the T0 templates; the task is the file's name (set_template)."""
    for path in files(folder, f"**/{part or '*'}.jsonl"):

        def convert(row: dict[str, Any], task: str = path.stem) -> Iterable[AnyRecord]:
            return [_answer(row["prompt"], row["completion"].removesuffix("<|endoftext|>"), task=task)]

        yield from converted(each_row([path], rejects), convert, rejects)


def flan_cot(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Questions with people's explanations, three columns without a header; the answer follows its explanation."""
    for path in files(folder, f"{part or '*'}_train.tsv"):
        for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
            if not line.strip():
                continue
            where, cells = Where(str(path), number), line.rstrip("\r").split("\t")
            if len(cells) != 3:
                rejects.add(where, f"the row has {len(cells)} fields, not 3", line)
                continue
            question, answer, why = (cell.replace("\\n", "\n").strip() for cell in cells)
            task = path.stem.removesuffix("_train")
            yield where, _answer(question, f"{why}\nThe answer is {answer.rstrip('.')}.", task=task, author="person")


def super_ni(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Tasks with a definition and instances: the definition, then the input; the first output is demonstrated."""
    for path in files(folder, f"*/{part or '*'}/*.json"):
        definition, task, split = _definition(path), path.parent.name, split_in_name(path.stem)

        def convert(
            row: dict[str, Any], task: str = task, split: Split | None = split, definition: str = definition
        ) -> Iterable[AnyRecord]:
            output = row["output"]
            answers = output if isinstance(output, list) else [output]
            asked = f"{definition}\n\n{row['input']}" if definition else row["input"]
            return [_answer(asked, answers[0], task=task, split=split, meta={"answers": answers})]

        yield from converted(each_row([path], rejects), convert, rejects)


def _definition(path: Path) -> str:
    found = json.loads(path.read_text("utf-8")).get("Definition", "")
    return (" ".join(found) if isinstance(found, list) else found).strip()


def instruction_induction(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Tiny tasks, each with several instructions by people, taken in turn. word_in_context is left out: not for every use."""
    for path in files(folder, f"**/raw/*/{part or '*'}.json"):
        annotations = next(p for p in path.parents if p.name == "raw").parent / "annotations" / path.name
        if path.stem == "word_in_context" or not annotations.is_file():
            continue
        instructions = json.loads(annotations.read_text("utf-8"))["annotations"]
        examples = json.loads(path.read_text("utf-8"))["examples"]
        found = (
            Row(Where(str(path), int(number)), {"number": int(number), **example})
            for number, example in examples.items()
        )

        def convert(
            row: dict[str, Any], task: str = path.stem, instructions: list[str] = instructions
        ) -> Iterable[AnyRecord]:
            given, answer = tiny(row)
            instruction = instructions[row["number"] % len(instructions)].strip()
            answers = row.get("possible_translations") or row.get("all_common_concepts") or [answer]
            return [_answer(f"{instruction}\n\n{given}", answer, task=task, meta={"answers": answers})]

        yield from converted(found, convert, rejects)


def tiny(row: dict[str, Any]) -> tuple[str, str]:
    """(what is given, what is wanted) of the three shapes of examples."""
    if "cause" in row:
        pair = (row["cause"], row["effect"]) if row["number"] % 2 else (row["effect"], row["cause"])
        return "Sentence 1: {}\nSentence 2: {}".format(*pair), row["cause"]
    if "items" in row:
        return ", ".join(row["items"]), row["concept"]
    wanted = row["output"]
    return str(row["input"]), str(wanted[0] if isinstance(wanted, list) else wanted)


def templates_only(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Refuses: the set holds templates with open slots, no rows."""
    raise DataError(
        "this set holds templates, no records", where=str(folder), mend="see its files, or use t0 or flan-cot"
    )
    yield
