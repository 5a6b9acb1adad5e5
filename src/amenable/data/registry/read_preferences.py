"""Readers of the public sets of human preferences, ratings and rankings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from amenable.data import exports
from amenable.data.formats import Limits, Row, rows
from amenable.data.judged import dense_tiers
from amenable.data.layouts import LAYOUTS
from amenable.data.registry.plain_pickle import load_plain
from amenable.data.rejects import BadRow, Rejects, Where
from amenable.errors import DataError
from amenable.types import AnyRecord, Demonstration, Document, Label, Prompt, Ranking, Rating, Split, assistant, user

Found = Iterator[tuple[Where, AnyRecord]]


def files(folder: Path, *patterns: str) -> list[Path]:
    """The files of a set's folder that match, in order of name. Raises DataError if there is none."""
    found = sorted({f for pattern in patterns for f in folder.glob(pattern) if f.is_file()})
    if not found:
        raise DataError(
            f"the data set's folder has no file {' or '.join(patterns)}", where=str(folder), mend="fetch it again"
        )
    return found


def each_row(paths: Iterable[Path], rejects: Rejects) -> Iterator[Row]:
    """The rows of all files."""
    for path in paths:
        yield from rows(path, rejects, limits=Limits(), lines_of_text=True)


def converted(
    found: Iterable[Row], convert: Callable[[dict[str, Any]], Iterable[AnyRecord]], rejects: Rejects
) -> Found:
    """Rows through `convert`; a BadRow, or a field that is missing or of the wrong type, is a reject."""
    for row in found:
        if not isinstance(row.value, dict):
            rejects.add(row.where, "a row must be an object", str(row.value))
            continue
        try:
            records = list(convert(row.value))
        except BadRow as error:
            rejects.add(row.where, str(error), str(row.value))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            rejects.add(row.where, f"a field is missing or of the wrong type ({error!r})", str(row.value))
        else:
            yield from ((row.where, record) for record in records)


def split_in_name(path: Path | str) -> Split | None:
    """The split that a file's or folder's name tells, if it does."""
    words = re.split(r"[^a-z]+", str(path).lower())
    found: dict[str, Split] = {
        "train": "train",
        "dev": "validation",
        "val": "validation",
        "valid": "validation",
        "validation": "validation",
        "test": "test",
    }
    return next((found[w] for w in reversed(words) if w in found), None)


def hh_harmless(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Pairs of dialogues that differ in their last turn. The public files are train and test; another has no split."""
    hh = next(layout for layout in LAYOUTS if layout.name == "hh")
    for path in files(folder, "*.jsonl", "*.jsonl.gz"):
        split = split_in_name(path.name)
        for where, record in converted(each_row([path], rejects), lambda row: _checked(hh, row), rejects):
            yield where, record.replace(split=split)


def _checked(layout: Any, row: dict[str, Any]) -> Iterable[AnyRecord]:
    if not layout.matches(row):
        raise BadRow(f"the row is not of the layout {layout.name} ({layout.keys})")
    return layout.convert(row, "comparisons")


def finegrained_qa(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Questions with four judged answers; `:passages` puts the passages before the question."""
    for path in files(folder, "*feedback.json"):
        split = split_in_name(path.stem) if path.stem != "feedback" else None

        def convert(row: dict[str, Any]) -> Iterable[AnyRecord]:
            return exports.finegrained(row, kind, with_passages=part == "passages")

        for where, record in converted(each_row([path], rejects), convert, rejects):
            yield where, record.replace(split=split)


def oasst(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Conversation trees; as prompts also the lines of the prompt lottery."""
    trees = each_row(files(folder, "*tree*.jsonl"), rejects)
    yield from converted(trees, lambda row: exports.oasst(row, kind), rejects)
    if kind == "prompts":
        for row in each_row(sorted(folder.glob("prompt_lottery*.jsonl")), rejects):
            yield row.where, Prompt(id="", messages=(user(str(row.value)),))


_SUMMARISE = "Summarize this article in a few sentences."


def realsumm(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """News articles with 25 summaries each, scored by people for the share of content kept (0 to 1)."""

    def convert(row: dict[str, Any]) -> Iterable[AnyRecord]:
        prompt, name = (user(f"{_SUMMARISE}\n\n{row['document']}"),), f"realsumm-{row['doc_id']}"
        if kind == "documents":
            return [Document(id=name, text=row["document"])]
        if kind == "demonstrations":
            return [
                Demonstration(
                    id=name, messages=(*prompt, assistant(row["reference"])), author="person", task="summarise"
                )
            ]
        systems, scores = row["systems"], [float(s["human_litepyramid_recall"]) for s in row["systems"]]
        meta = {"systems": [s["system"] for s in systems]}
        if kind == "rankings":
            responses = tuple(s["summary"] for s in systems)
            return [
                Ranking(id=name, prompt=prompt, responses=responses, tiers=dense_tiers([-s for s in scores]), meta=meta)
            ]
        return [
            Rating(
                id=f"{name}/{s['system']}",
                prompt=prompt,
                response=s["summary"],
                score=score,
                low=0.0,
                high=1.0,
                question="content kept",
            )
            for s, score in zip(systems, scores, strict=True)
        ]

    pickled = (folder / "abs.pkl").is_file()
    found = _realsumm_rows(folder) if pickled else each_row(files(folder, "*.jsonl"), rejects)
    yield from converted(found, convert, rejects)


def _realsumm_rows(folder: Path) -> Iterator[Row]:
    """The public files, joined: two pickles of {document: summaries with scores}, and the documents one a line."""
    documents = (folder / "src.txt").read_text("utf-8").splitlines()
    kinds = {kind: load_plain(folder / f"{kind}.pkl") for kind in ("abs", "ext")}
    for number, document in enumerate(documents):
        systems = [
            {
                "system": f"{kind}/{name}",
                "summary": _untagged(made["system_summary"]),
                "human_litepyramid_recall": made["scores"]["litepyramid_recall"],
            }
            for kind, scored in kinds.items()
            for name, made in scored[number]["system_summaries"].items()
        ]
        reference = _untagged(kinds["ext"][number]["ref_summ"])
        row = {"doc_id": number, "document": _untagged(document), "reference": reference, "systems": systems}
        yield Row(Where(str(folder / "src.txt"), number + 1), row)


def _untagged(marked: str) -> str:
    return " ".join(re.sub(r"</?t>", " ", marked).split())


def squality(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Stories, questions on them, four summaries by people each, and people's ratings of systems' summaries.

    The judged stories are of the test part. Where it is not there, the prompt of a judged summary is empty; meta names
    its story and question.
    """
    if kind in ("rankings", "ratings"):
        judged = each_row(files(folder, "human-eval/*.jsonl"), rejects)
        yield from converted(judged, lambda row: _squality_judged(row, kind, _squality_questions(folder)), rejects)
        return
    for path in files(folder, "v1-3*/*.jsonl"):
        split = split_in_name(path.stem)
        yield from converted(each_row([path], rejects), lambda row, s=split: _squality_story(row, kind, s), rejects)  # type: ignore[misc]


def _squality_story(row: dict[str, Any], kind: str, split: Split | None) -> Iterator[AnyRecord]:
    name, story = f"squality-{row['metadata']['passage_id']}", row["document"]
    if kind == "documents":
        yield Document(id=name, text=story, split=split)
        return
    for question in row["questions"]:
        messages = (user(f"{story}\n\n{question['question_text']}"),)
        for number, response in enumerate(question["responses"], 1):
            yield Demonstration(
                id=f"{name}/{question['question_number']}/{number}",
                messages=(*messages, assistant(response["response_text"].strip())),
                task="summarise",
                author="person",
                split=split,
            )


def _squality_questions(folder: Path) -> dict[tuple[str, int], str]:
    found = {}
    for row in each_row(sorted(folder.glob("v1-3*/*.jsonl")), Rejects()):
        if isinstance(row.value, dict):
            for number, question in enumerate(row.value["questions"]):
                found[row.value["metadata"]["passage_id"], number] = question["question_text"]
    return found


def _squality_judged(row: dict[str, Any], kind: str, questions: dict[tuple[str, int], str]) -> Iterator[AnyRecord]:
    given = row["questions"]
    numbered = given.items() if isinstance(given, dict) else enumerate(given)
    for number, systems in numbered:
        name, asked = f"squality-{row['passage-id']}/{number}", questions.get((row["passage-id"], int(number)))
        prompt = (user(asked),) if asked else ()
        meta = {"story": row["passage-id"], "question": int(number), "systems": list(systems)}
        if kind == "rankings":
            scores = [float(s["overall"]["overall-rating"]) for s in systems.values()]
            responses = tuple(s["response"] for s in systems.values())
            yield Ranking(
                id=name, prompt=prompt, responses=responses, tiers=dense_tiers([-s for s in scores]), meta=meta
            )
            continue
        for system, answer in systems.items():
            for review in answer["reviews"]:
                for question in ("correctness", "selection", "overall"):
                    yield Rating(
                        id=f"{name}/{system}/{review['worker_id']}/{question}",
                        prompt=prompt,
                        response=answer["response"],
                        score=float(review[f"{question}-rating"]),
                        low=0.0,
                        high=100.0,
                        question=question,
                        labeler=f"squality-{review['worker_id']}",
                        meta={**meta, "system": system},
                    )


_TAG = re.compile(r"\[([+-])(\d)?\]")


def product_reviews(folder: Path, kind: str, part: str | None, rejects: Rejects) -> Found:
    """Sentences of product reviews with the strength of praise (+) and blame (-) of each feature.

    A sentence whose sum is above zero is positive, below zero negative; others have no label. As documents: whole reviews.
    """
    for path in (p for p in files(folder, "*.txt") if p.stem.lower() != "readme"):
        review: list[str] = []
        start = 0
        for row in each_row([path], rejects):
            line = str(row.value).strip()
            if line.startswith("[t]"):
                yield from _review(review, path, start, kind)
                review, start = [line[3:].strip()], row.where.line
            elif "##" in line:
                tags, _, said = line.partition("##")
                review.append(said.strip())
                total = sum((1 if sign == "+" else -1) * int(size or 1) for sign, size in _TAG.findall(tags))
                if kind == "labels" and total:
                    name = f"{path.stem}-{row.where.line}"
                    yield row.where, Label(id=name, prompt=(), response=said.strip(), label=total > 0, name="positive")
        yield from _review(review, path, start, kind)


def _review(lines: list[str], path: Path, start: int, kind: str) -> Found:
    if kind == "documents" and any(lines):
        text = "\n".join(line for line in lines if line)
        yield Where(str(path), start), Document(id=f"{path.stem}-{start}", text=text)
