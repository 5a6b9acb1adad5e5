"""What other labelling tools export and read: Argilla, Label Studio, and message trees as OASST keeps them.

Reading takes what the tools' own templates are called by: the prompt in a field prompt, instruction, question or input; the
responses in response, response-1, response_1, answer1, ... Writing gives rows that these readers read back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from amenable.data.rejects import BadRow
from amenable.data.turns import messages_of, text_of
from amenable.types import (
    AnyRecord,
    Comparison,
    Demonstration,
    Label,
    Messages,
    Prompt,
    Ranking,
    Rating,
    assistant,
)

Fields = Mapping[str, Any]
ASKED = ("prompt", "instruction", "question", "input")
ANSWER = re.compile(r"(?:response|answer|completion|output|text)[-_ ]?(\d*)")
YES, NO = ("yes", "true", "1", "good"), ("no", "false", "0", "bad")


# Argilla


def argilla_kinds(row: Fields) -> frozenset[str]:
    """The kinds in a record of an Argilla export; none if it is no such record."""
    if not isinstance(row.get("fields"), Mapping) or "responses" not in row:
        return frozenset()
    return frozenset({"rankings", "comparisons", "ratings", "labels", "demonstrations", "prompts"})


def argilla(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """A record of Argilla (2: responses by question; 1: a list with values by question); answers not submitted are left out."""
    prompt, answers = _asked(row["fields"])
    name = str(row.get("id") or "")
    if kind == "prompts":
        yield Prompt(id=name, messages=prompt)
        return
    for number, (question, value, labeler) in enumerate(_argilla_answers(row["responses"]), start=1):
        about = {"id": f"{name}.{number}", "labeler": labeler}
        if isinstance(value, list) and kind in ("rankings", "comparisons"):
            tiers = _argilla_tiers(value)
            if len(tiers) < 2 or not set(tiers) <= set(answers):
                raise BadRow(f"the ranking {question!r} names no fields of the record")
            yield from _order(kind, prompt, {answers[field]: tier for field, tier in tiers.items()}, about)
        elif not isinstance(value, list):
            yield from _single(kind, prompt, answers, question, value, about)


def _argilla_answers(responses: Any) -> Iterator[tuple[str, Any, str]]:
    if isinstance(responses, Mapping):
        for question, given in responses.items():
            for one in given if isinstance(given, list) else ():
                if isinstance(one, Mapping) and one.get("status", "submitted") == "submitted":
                    yield question, one.get("value"), str(one.get("user_id") or "")
    for one in responses if isinstance(responses, list) else ():
        if isinstance(one, Mapping) and one.get("status", "submitted") == "submitted":
            for question, given in (one.get("values") or {}).items():
                value = given.get("value") if isinstance(given, Mapping) else given
                yield question, value, str(one.get("user_id") or "")


def _argilla_tiers(value: list[Any]) -> dict[str, int]:
    if all(isinstance(v, str) for v in value):
        return {field: place for place, field in enumerate(value)}
    ranks = {str(v["value"]): int(v["rank"]) for v in value if isinstance(v, Mapping) and v.get("rank") is not None}
    order = {rank: tier for tier, rank in enumerate(sorted(set(ranks.values())))}
    return {field: order[rank] for field, rank in ranks.items()}


# Label Studio


def label_studio_kinds(row: Fields) -> frozenset[str]:
    """The kinds in a task of a Label Studio export; none if it is no such task."""
    if not isinstance(row.get("data"), Mapping) or not isinstance(row.get("annotations"), list):
        return frozenset()
    return frozenset({"rankings", "comparisons", "ratings", "labels", "demonstrations", "prompts"})


def label_studio(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """A task of Label Studio: pairwise, ranker, rating, choices and textarea results; cancelled ones are left out."""
    prompt, answers = _asked(row["data"])
    name = str(row.get("id") or "")
    if kind == "prompts":
        yield Prompt(id=name, messages=prompt)
        return
    number = 0
    for annotation in row["annotations"]:
        if not isinstance(annotation, Mapping) or annotation.get("was_cancelled"):
            continue
        for result in annotation.get("result") or []:
            number += 1
            labeler = annotation.get("completed_by", "")
            labeler = labeler.get("email", "") if isinstance(labeler, Mapping) else labeler
            about = {"id": f"{name}.{number}", "labeler": str(labeler)}
            yield from _studio_result(kind, prompt, answers, row["data"], result, about)


def _studio_result(
    kind: str, prompt: Messages, answers: Mapping[str, str], data: Fields, result: Any, about: dict[str, Any]
) -> Iterator[AnyRecord]:
    value = result.get("value") if isinstance(result, Mapping) else None
    if not isinstance(value, Mapping):
        raise BadRow("a result holds no value")
    question, judged = str(result.get("from_name") or ""), str(result.get("to_name") or "")
    match result.get("type"):
        case "pairwise" if kind in ("rankings", "comparisons"):
            if len(answers) != 2 or value.get("selected") not in ("left", "right"):
                raise BadRow("a pairwise result selects neither of two responses")
            texts = [answers[field] for field in sorted(answers)]
            best = 0 if value["selected"] == "left" else 1
            yield from _order(kind, prompt, {texts[best]: 0, texts[1 - best]: 1}, about)
        case "ranker" if kind in ("rankings", "comparisons"):
            items = {str(i["id"]): text_of(i.get("body", i.get("text")), "an item") for i in data.get("items", ())}
            ranked = value.get("ranker", {})
            order = ranked.get("rank", []) if isinstance(ranked, Mapping) else ranked
            tiers = {items[str(spot)]: tier for tier, spot in enumerate(order) if str(spot) in items}
            if len(tiers) >= 2:
                yield from _order(kind, prompt, tiers, about)
        case "rating" if kind == "ratings":
            yield from _single(kind, prompt, answers, question, value.get("rating"), about, judged=judged, high=5.0)
        case "choices" if kind == "labels":
            for choice in value.get("choices") or []:
                yield from _single(kind, prompt, answers, question, choice, about, judged=judged)
        case "textarea" if kind == "demonstrations":
            for text in value.get("text") or []:
                yield from _single(kind, prompt, answers, question, text, about)


# Both


def _asked(fields: Fields) -> tuple[Messages, dict[str, str]]:
    """(prompt, response texts by field name)."""
    name = next((n for n in ASKED if fields.get(n)), None)
    if name is None:
        raise BadRow(f"there is no field {', '.join(ASKED)}")
    answers = {
        key: value
        for key, value in fields.items()
        if key not in ASKED and ANSWER.fullmatch(key) and isinstance(value, str)
    }
    return messages_of(fields[name], name), answers


def _order(kind: str, prompt: Messages, tiers: Mapping[str, int], about: dict[str, Any]) -> Iterator[AnyRecord]:
    ranking = Ranking(prompt=prompt, responses=tuple(tiers), tiers=tuple(tiers.values()), **about)
    if kind == "rankings":
        yield ranking
    else:
        yield from ranking.comparisons()


def _single(
    kind: str,
    prompt: Messages,
    answers: Mapping[str, str],
    question: str,
    value: Any,
    about: dict[str, Any],
    *,
    judged: str = "",
    high: float = 7.0,
) -> Iterator[AnyRecord]:
    """What one answer to one question gives: a score, a yes or no, or a written answer. judged: the field it is about, if known."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "ratings" and is_number and answers:
        question, response = _about_one(question, answers, judged)
        low, top = min(1.0, float(value)), max(high, float(value))
        yield Rating(
            prompt=prompt, response=response, score=float(value), low=low, high=top, question=question, **about
        )
    elif kind == "labels" and answers and str(value).lower() in (*YES, *NO):
        question, response = _about_one(question, answers, judged)
        yes = str(value).lower() in YES
        yield Label(prompt=prompt, response=response, label=yes, name=question or "good", **about)
    elif (
        kind == "demonstrations"
        and isinstance(value, str)
        and value.strip()
        and question.startswith(("resp", "answer"))
    ):
        own = {"id": about["id"], "author": about["labeler"]}
        yield Demonstration(messages=(*prompt, assistant(value)), **own)


def _about_one(question: str, answers: Mapping[str, str], judged: str) -> tuple[str, str]:
    """(question, the response that it is about): the field that is named, the only one, or the one of the question's number.

    Of several responses, each with a question of its own number, all are asked the same one: it goes without the number.
    Raises BadRow if nothing says which response is meant.

    >>> _about_one("rating-2", {"response-1": "A", "response-2": "B"}, "")
    ('rating', 'B')
    """
    if len(answers) == 1:
        return question, next(iter(answers.values()))
    asked, number = re.fullmatch(r"(.*?)[-_ ]?(\d*)", question, re.DOTALL).groups()  # type: ignore[union-attr]
    numbered = {field: ANSWER.fullmatch(field).group(1) for field in answers}  # type: ignore[union-attr]
    fits = [judged] if judged in answers else [field for field in answers if number and numbered[field] == number]
    if len(fits) != 1:
        mend = "name it in to_name, or give both the same number, as in rating-2 and response-2"
        raise BadRow(f"nothing says which of {len(answers)} responses {question!r} is about: {mend}")
    return asked if asked and number and numbered[fits[0]] == number else question, answers[fits[0]]


# Writing


def argilla_rows(records: Iterable[AnyRecord]) -> Iterator[dict[str, Any]]:
    """Records as Argilla's; scales and margins are not kept there."""
    for record in records:
        fields, question, value, labeler = _told(record)
        if question is None:
            yield {"id": record.id, "fields": fields, "responses": {}}
            continue
        if isinstance(value, dict):
            value = [{"value": field, "rank": tier + 1} for field, tier in value.items()]
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        yield {"id": record.id, "fields": fields, "responses": {question: [{"value": value, "user_id": labeler}]}}


def label_studio_rows(records: Iterable[AnyRecord]) -> Iterator[dict[str, Any]]:
    """Records as Label Studio's tasks; its ranker knows no ties: they become an order."""
    for record in records:
        fields, question, value, labeler = _told(record)
        if question is None:
            yield {"id": record.id, "data": fields, "annotations": []}
            continue
        data: dict[str, Any] = dict(fields)
        told: dict[str, Any]
        if isinstance(value, dict):
            order = sorted(value, key=lambda field: value[field])
            data["items"] = [{"id": field, "body": fields[field]} for field in value]
            kind, told = "ranker", {"ranker": {"rank": order}}
        elif isinstance(value, bool):
            kind, told = "choices", {"choices": ["yes" if value else "no"]}
        elif isinstance(value, int | float):
            kind, told = "rating", {"rating": value}
        else:
            kind, told = "textarea", {"text": [value]}
        result = {"from_name": question, "to_name": "response", "type": kind, "value": told}
        yield {"id": record.id, "data": data, "annotations": [{"completed_by": labeler, "result": [result]}]}


def oasst_rows(records: Iterable[AnyRecord]) -> Iterator[dict[str, Any]]:
    """Rankings and demonstrations as message trees: one tree per record."""
    for record in records:
        if isinstance(record, Ranking):
            replies = [(text, tier) for text, tier in zip(record.responses, record.tiers, strict=True)]
            path: Messages = record.prompt
        elif isinstance(record, Demonstration):
            replies, path = [(record.messages[-1].content, 0)], record.messages[:-1]
        else:
            raise ValueError(f"a tree holds no {type(record).__name__}")
        turns = [m for m in path if m.role in ("user", "assistant")]
        leaves = [
            {"message_id": f"{record.id}/{n}", "text": text, "role": "assistant", "rank": tier, "replies": []}
            for n, (text, tier) in enumerate(replies)
        ]
        node: list[dict[str, Any]] = leaves
        for depth, turn in reversed(list(enumerate(turns))):
            name = record.id if depth == len(turns) - 1 else f"{record.id}@{depth}"
            role = "assistant" if turn.role == "assistant" else "prompter"
            node = [{"message_id": name, "text": turn.content, "role": role, "replies": node}]
        if node is not leaves:
            yield {"message_tree_id": record.id, "tree_state": "ready_for_export", "prompt": node[0]}


def _told(record: AnyRecord) -> tuple[dict[str, Any], str | None, Any, str]:
    """(fields, question, answer, labeler) of a record."""
    match record:
        case Prompt():
            return {"prompt": _turns(record.messages)}, None, None, ""
        case Demonstration():
            return {"prompt": _turns(record.messages[:-1])}, "response", record.messages[-1].content, record.author
        case Ranking():
            named = {f"response-{n}": text for n, text in enumerate(record.responses, start=1)}
            tiers = dict(zip(named, record.tiers, strict=True))
            return {"prompt": _turns(record.prompt), **named}, "ranking", tiers, record.labeler
        case Comparison():
            pair = {"response-1": record.chosen, "response-2": record.rejected}
            return (
                {"prompt": _turns(record.prompt), **pair},
                "ranking",
                {"response-1": 0, "response-2": 1},
                record.labeler,
            )
        case Rating():
            one = {"prompt": _turns(record.prompt), "response": record.response}
            return one, record.question, record.score, record.labeler
        case Label():
            one = {"prompt": _turns(record.prompt), "response": record.response}
            return one, record.name, record.label, record.labeler
    raise ValueError(f"no tool labels {type(record).__name__}")


def _turns(messages: Messages) -> Any:
    """A single user turn as text, else all turns."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return [{"role": m.role, "content": m.content} for m in messages]


WRITERS: dict[str, Callable[[Iterable[AnyRecord]], Iterator[dict[str, Any]]]] = {
    "argilla": argilla_rows,
    "label-studio": label_studio_rows,
    "oasst": oasst_rows,
}
"""Shapes of other tools that records are written in, by name."""
