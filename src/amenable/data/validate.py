"""What makes a record usable beyond its types: the rules that every reader's rows must pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from amenable.types import (
    AnyRecord,
    Comparison,
    Demonstration,
    Document,
    Label,
    Message,
    Prompt,
    Ranking,
    Rating,
)


def problem(record: AnyRecord) -> str | None:
    """Why the record cannot be used, or None if it can.

    >>> from amenable.types import user
    >>> problem(Comparison(id="c", prompt=(user("Hi"),), chosen="Hello", rejected=" "))
    'the rejected response is empty'
    """
    match record:
        case Document():
            return _text_problem(record.text)
        case Prompt():
            return conversation_problem(record.messages, ends_with=("user", "text"))
        case Demonstration():
            return conversation_problem(record.messages, ends_with=("assistant",))
        case Comparison():
            return _prompt_problem(record.prompt) or _comparison_problem(record)
        case Ranking():
            return _prompt_problem(record.prompt) or _ranking_problem(record)
        case Rating():
            return _prompt_problem(record.prompt) or _rating_problem(record)
        case Label():
            return _prompt_problem(record.prompt) or _empty("the response", record.response)


def conversation_problem(messages: Sequence[Message], *, ends_with: Sequence[str]) -> str | None:
    """Why the turns are in no usable order: [system] then user and assistant by turns, or raw text first."""
    if not messages:
        return "there is no message"
    turns = messages[1:] if messages[0].role == "system" else messages
    if not turns:
        return "there is only a system message"
    if turns[0].role == "assistant":
        return "the conversation starts with the assistant"
    for before, after in pairwise(turns):
        if after.role in ("system", "text"):
            return f"a {after.role} message stands after the first turn"
        if (before.role == "assistant") == (after.role == "assistant"):
            return f"two {after.role} turns follow each other"
    if turns[-1].role not in ends_with:
        return f"the last turn is the {turns[-1].role}'s, not the {ends_with[0]}'s"
    for message in messages:
        if not message.content.strip():
            return f"a turn of the {message.role} is empty"
    return None


def _prompt_problem(prompt: Sequence[Message]) -> str | None:
    return conversation_problem(prompt, ends_with=("user", "text")) if prompt else None


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "the text holds NUL characters: it may be a binary file"
    return _empty("the text", text)


def _empty(what: str, text: str) -> str | None:
    return None if text.strip() else f"{what} is empty"


def _comparison_problem(record: Comparison) -> str | None:
    if record.chosen.strip() == record.rejected.strip():
        return "chosen and rejected are the same"
    if record.margin is not None and not math.isfinite(record.margin):
        return "the margin is not a finite number"
    return _empty("the chosen response", record.chosen) or _empty("the rejected response", record.rejected)


def _ranking_problem(record: Ranking) -> str | None:
    if len(record.tiers) != len(record.responses):
        return f"{len(record.tiers)} tiers are given for {len(record.responses)} responses"
    if len(record.responses) < 2:
        return "a ranking needs two responses"
    return next((p for p in (_empty("a ranked response", r) for r in record.responses) if p), None)


def _rating_problem(record: Rating) -> str | None:
    if not all(math.isfinite(x) for x in (record.score, record.low, record.high)):
        return "the score or its scale is not a finite number"
    if not record.low < record.high:
        return f"the scale from {record.low:g} to {record.high:g} is empty"
    if not record.low <= record.score <= record.high:
        return f"a score outside its scale ({record.score:g} is not within {record.low:g} to {record.high:g})"
    return _empty("the response", record.response)
