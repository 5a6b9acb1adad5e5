"""What rows of any layout (layouts.py) have in common: how a row asks, and what it says of itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from amenable.data.rejects import BadRow
from amenable.data.turns import content_text, messages_of, missing, text_of
from amenable.splitting import side_named
from amenable.types import Message, Messages, assistant, user

Fields = Mapping[str, Any]


def about(row: Fields) -> dict[str, Any]:
    """What rows of any layout may say of themselves: id, source, task, split."""
    given = {name: row[name] for name in ("id", "source") if not missing(row.get(name))}
    if isinstance(given.get("source"), list):
        given["source"] = ", ".join(text_of(one, "source") for one in given["source"])
    found = {name: text_of(value, name) for name, value in given.items()}
    return {"id": "", "split": side_named(row.get("split")), **found}


_SYSTEM = ("system", "system_prompt", "systemInstruction", "system_instruction")
_QUESTIONS = ("prompt", "instruction", "question", "query", "problem")


def question(row: Fields) -> str | None:
    """The name of the field that asks, if there is one."""
    return next((name for name in _QUESTIONS if name in row), None)


def asked(row: Fields, name: str | None) -> Messages:
    """What field `name` asks, with what rows of any layout may put around it: a system text and earlier turns before it, a
    passage or an input under it after an empty line. Empty if nothing is asked.
    """
    if name is None or row[name] is None:
        return ()
    value = text_of(row[name], name) if isinstance(row[name], int | float) else row[name]
    if isinstance(value, Mapping):  # a text with figures about it, as RealToxicityPrompts and WebGPT have it
        value = next((value[part] for part in ("text", "full_text") if isinstance(value.get(part), str)), value)
    turns = messages_of(value, name)
    if isinstance(value, str) and len(turns) == 1 and turns[0].role == "user":
        said = turns[0].content
        companions = ("context",) if name in ("prompt", "input") else ("input", "context")
        given = [g for g in (beside(row.get(c), c) for c in companions) if g and not _holds(said, g)]
        task_text = beside(row.get("definition"), "definition") if name in ("input", "inputs") else ""
        parts = [part for part in (task_text, said, *given) if part]
        turns = (*_earlier(row.get("history")), *([user("\n\n".join(parts))] if parts else []))
    return led_by_system(row, turns)


def beside(value: Any, name: str) -> str:
    """What a row has beside its question, as text: nothing, a text, a number, or texts with empty lines between them.

    Raises BadRow for anything else, so that nobody learns to answer without what was asked about.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):  # as pandas writes what is missing
        return ""
    parts = [text_of(part, name) for part in (value if isinstance(value, list) else [value])]
    return "\n\n".join(part for part in parts if part.strip())


def _holds(question: str, text: str) -> bool:
    """Whether a question has the text in it already: as lines of its own, or as five words or more anywhere.

    >>> _holds("Multiply by 15.", "5"), _holds("Double it:\\n5", "5")
    (False, True)
    """
    text = text.strip()
    return f"\n{text}\n" in f"\n{question}\n" or (len(text.split()) >= 5 and text in question)


def led_by_system(row: Fields, turns: Messages) -> Messages:
    """The turns behind the row's system text, if it has one and they do not begin with one themselves."""
    system = next((text for n in _SYSTEM if (text := _system_text(row.get(n), n))), None)
    if system is None or not turns or turns[0].role in ("system", "text"):
        return turns
    return (Message(role="system", content=system), *turns)


def _system_text(value: Any, name: str) -> str:
    """A system text as `beside` takes it, or as the parts of a message ({"parts": [{"text": ...}]})."""
    parts = value.get("parts") if isinstance(value, Mapping) else value
    if isinstance(parts, list) and parts and all(isinstance(part, Mapping) for part in parts):
        return content_text(parts)
    return beside(parts, name)


def _earlier(history: Any) -> Messages:
    """Earlier turns as pairs of what was asked and answered."""
    pairs = [] if history in (None, "") else history
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise BadRow("history must be a list of pairs: asked, answered")
    return tuple(
        m for pair in pairs for m in (user(text_of(pair[0], "history")), assistant(text_of(pair[1], "history")))
    )


_REFERENCES = ("references", "reference", "reference_answer", "ground_truth", "solution")


def references(row: Fields) -> tuple[str, ...]:
    """The answers that are right, if a prompt's row has some: one or several, SQuAD's answers, or verl's ground truth."""
    rewarded, answers = row.get("reward_model"), row.get("answers")
    given = next((row[name] for name in _REFERENCES if not missing(row.get(name))), None)
    if given is None and isinstance(rewarded, Mapping):
        given = rewarded.get("ground_truth")
    if given is None:
        said = answers.get("text") if isinstance(answers, Mapping) else answers
        given = said if isinstance(said, list) and all(isinstance(one, str) for one in said) else None
    known = given if isinstance(given, list) else [] if missing(given) else [given]
    return tuple(dict.fromkeys(text_of(one, "a reference") for one in known))


def task(row: Fields) -> str:
    value = row.get("task", row.get("category", ""))
    return value if isinstance(value, str) else ""
