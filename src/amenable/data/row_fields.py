"""What rows of any layout (layouts.py) have in common: how a row asks, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amenable.data.rejects import BadRow
from amenable.data.turns import messages_of, text_of
from amenable.types import Message, Messages, assistant, user

Fields = Mapping[str, Any]


def about(row: Fields) -> dict[str, Any]:
    """What rows of any layout may say of themselves: id, source, task, split."""
    found = {name: text_of(row[name], name) for name in ("id", "source") if row.get(name) not in (None, "")}
    split = {"train": "train", "validation": "validation", "valid": "validation", "dev": "validation", "test": "test"}
    if isinstance(row.get("split"), str) and row["split"] in split:
        found["split"] = split[row["split"]]
    return {"id": "", **found}


_QUESTIONS = ("prompt", "instruction", "question")


def question(row: Fields) -> str | None:
    """The name of the field that asks, if there is one."""
    return next((name for name in _QUESTIONS if name in row), None)


def asked(row: Fields, name: str | None) -> Messages:
    """What field `name` asks, with what rows of any layout may put around it: a system text and earlier turns before it, a
    passage or an input under it after an empty line. Empty if nothing is asked.
    """
    if name is None or row[name] is None:
        return ()
    turns = messages_of(row[name], name)
    if isinstance(row[name], str) and len(turns) == 1:
        companions = ("context",) if name in ("prompt", "input") else ("input", "context")
        given = [row[c] for c in companions if isinstance(row.get(c), str) and row[c].strip()]
        parts = [part for part in (row[name], *(g for g in given if g not in row[name])) if part]
        turns = (*_earlier(row.get("history")), *([user("\n\n".join(parts))] if parts else []))
    return led_by_system(row, turns)


def led_by_system(row: Fields, turns: Messages) -> Messages:
    system = next((row[n] for n in ("system", "system_prompt") if isinstance(row.get(n), str) and row[n].strip()), None)
    if system is None or not turns or turns[0].role in ("system", "text"):
        return turns
    return (Message(role="system", content=system), *turns)


def _earlier(history: Any) -> Messages:
    """Earlier turns as pairs of what was asked and answered."""
    pairs = history if isinstance(history, list) else []
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise BadRow("history must be a list of pairs: asked, answered")
    return tuple(
        m for pair in pairs for m in (user(text_of(pair[0], "history")), assistant(text_of(pair[1], "history")))
    )


def task(row: Fields) -> str:
    value = row.get("task", row.get("category", ""))
    return value if isinstance(value, str) else ""
