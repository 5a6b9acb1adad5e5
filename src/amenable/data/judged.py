"""Layouts of what people judged (layouts.py): comparisons, rankings, ratings and labels; a row's fields → records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from amenable.data import exports
from amenable.data.rejects import BadRow
from amenable.data.row_fields import Fields, about, asked, led_by_system, question
from amenable.data.turns import dialogue, is_dialogue, messages_of, text_of
from amenable.types import AnyRecord, Comparison, Document, Label, Ranking, Rating

# Preferences ----------------------------------------------------------------------------------------------------------


def hh_kinds(row: Fields) -> frozenset[str]:
    fits = "prompt" not in row and is_dialogue(row.get("chosen")) and is_dialogue(row.get("rejected"))
    return frozenset({"comparisons"}) if fits else frozenset()


def hh(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """Two whole dialogues that must differ in the last turn only."""
    chosen, rejected = dialogue(row["chosen"]), dialogue(row["rejected"])
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        raise BadRow("a dialogue does not end with the assistant")
    if chosen[:-1] != rejected[:-1]:
        raise BadRow("the two dialogues differ before the last turn")
    yield Comparison(prompt=chosen[:-1], chosen=chosen[-1].content, rejected=rejected[-1].content, **about(row))


_CONVERSATIONS = ("input", "inputs", "conversations", "messages", "conversation")
"""What a row of `preference` asks, where it has no question: LLaMA-Factory and axolotl have the conversation so far."""


def preference(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """chosen and rejected as texts, as a message, as lists of messages that may repeat the prompt, or as dialogues that must."""
    prompt = asked(row, question(row) or next((name for name in _CONVERSATIONS if name in row), None))
    sides = []
    whole = is_dialogue(row["chosen"]) and is_dialogue(row["rejected"])
    for name in ("chosen", "rejected"):
        if isinstance(row[name], str) and not whole:
            sides.append((prompt, row[name]))
            continue
        turns = messages_of([row[name]] if isinstance(row[name], Mapping) else row[name], name)
        if not turns or turns[-1].role != "assistant":
            raise BadRow(f"{name} does not end with the assistant")
        before = led_by_system(row, turns[:-1])
        if whole and prompt and before != prompt:
            raise BadRow(f"{name} is a dialogue that does not repeat the prompt")
        sides.append((before or prompt, turns[-1].content))
    if sides[0][0] != sides[1][0]:
        raise BadRow("chosen and rejected answer different prompts")
    margin = row.get("margin")
    yield Comparison(
        prompt=sides[0][0],
        chosen=sides[0][1],
        rejected=sides[1][1],
        margin=None if margin in (None, "") else _number(margin, "margin"),
        **about(row),
    )


def ranking_kinds(row: Fields) -> frozenset[str]:
    ordered = any(k in row for k in ("ranking", "ranks", "tiers"))
    return frozenset({"rankings"}) if question(row) and "responses" in row and ordered else frozenset()


def ranking(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """ranking: names (or places from 0) of the responses, best first, ties in a list; or ranks: one number each."""
    responses = row["responses"]
    if not isinstance(responses, list | dict):
        raise BadRow(f"responses must be a list or an object, not {type(responses).__name__}")
    names = list(responses) if isinstance(responses, dict) else list(range(len(responses)))
    texts = list(responses.values()) if isinstance(responses, dict) else responses
    if "ranking" in row:
        tiers = _tiers_by_order(row["ranking"], names)
    else:
        ranks = row.get("ranks", row.get("tiers"))
        if not isinstance(ranks, list) or len(ranks) != len(texts):
            raise BadRow(f"ranks must be a list with one number for each of {len(texts)} responses")
        tiers = dense_tiers([_number(r, "a rank") for r in ranks])
    prompt = asked(row, question(row))
    yield Ranking(prompt=prompt, responses=tuple(text_of(t, "a response") for t in texts), tiers=tiers, **about(row))


_ANSWERS = ("answers", "completions", "responses", "responses_and_scores")
_SAID = ("answer", "response", "completion", "text")
_SCORES = ("overall_score", "pm_score", "score")


def answers_kinds(row: Fields) -> frozenset[str]:
    """Rankings, if the row has answers that each bring their rank or score."""
    return frozenset({"rankings"}) if _asks(row) and _answers(row) else frozenset()


def _answers(row: Fields) -> tuple[str, str, str] | None:
    """The columns: of the answers, and in each of its text, and of its rank or score."""
    for name in _ANSWERS:
        given = row.get(name)
        if isinstance(given, list) and given and isinstance(given[0], Mapping):
            text = next((key for key in _SAID if key in given[0]), None)
            order = next((key for key in ("rank", *_SCORES) if key in given[0]), None)
            if text and order:
                return name, text, order
    return None


def _asks(row: Fields) -> str | None:
    return question(row) or next((name for name in ("user_input", "contents") if name in row), None)


def answers(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """Answers as objects with a rank, 1 the best (Nectar), or a score, the highest the best (UltraFeedback, stack exchange)."""
    columns = _answers(row)
    assert columns is not None
    name, text, order = columns
    prompt = asked(row, _asks(row))
    if len(row[name]) < 2:
        raise BadRow(f"there is one answer in {name}, and a ranking needs two")
    orders = [_number(answer[order], f"the {order}") for answer in row[name]]
    tiers = dense_tiers(orders if order == "rank" else [-number for number in orders])
    responses = tuple(_one_text(answer[text], text) for answer in row[name])
    yield Ranking(prompt=prompt, responses=responses, tiers=tiers, **about(row))


def _one_text(said: Any, name: str) -> str:
    """A text, or one message."""
    return messages_of([said], name)[0].content if isinstance(said, Mapping) else text_of(said, name)


def _tiers_by_order(order: Any, names: list[Any]) -> tuple[int, ...]:
    if not isinstance(order, list):
        raise BadRow(f"ranking must be a list, not {type(order).__name__}")
    tier: dict[Any, int] = {}
    for place, group in enumerate(order):
        for name in group if isinstance(group, list) else [group]:
            if name not in names:
                raise BadRow(f"the ranking names an unknown response: {name!r}")
            if name in tier:
                raise BadRow(f"the ranking names a response twice: {name!r}")
            tier[name] = place
    if missing := [name for name in names if name not in tier]:
        raise BadRow(f"the ranking leaves out a response: {missing[0]!r}")
    return tuple(tier[name] for name in names)


def dense_tiers(ranks: Sequence[float]) -> tuple[int, ...]:
    """Ranks (the smallest is best) as tiers from 0 without gaps.

    >>> dense_tiers([3, 1, 3, 10])
    (1, 0, 1, 2)
    """
    order = {rank: tier for tier, rank in enumerate(sorted(set(ranks)))}
    return tuple(order[rank] for rank in ranks)


def finegrained(row: Fields, kind: str) -> Iterator[AnyRecord]:
    yield from exports.finegrained(row, kind, with_passages=False)


# Ratings and labels ---------------------------------------------------------------------------------------------------


_SCALES: dict[str, dict[str, float]] = {"rating": {}, "score": {}, "helpfulness": {"low": 0.0, "high": 4.0}}
"""Columns of ratings, with the scale that theirs is if it is not the usual one: HelpSteer's goes from 0 to 4."""


def rating_kinds(row: Fields) -> frozenset[str]:
    fits = ("response" in row or "completion" in row) and any(name in row for name in _SCALES)
    return frozenset({"ratings"}) if fits and question(row) else frozenset()


def _response(row: Fields) -> str:
    """The response: a text, or one message of the assistant. Raises BadRow for more: which of them was judged?"""
    name = next(name for name in ("completion", "response", "output") if name in row)
    if isinstance(row[name], list):
        turns = messages_of(row[name], name)
        if [turn.role for turn in turns] != ["assistant"]:
            raise BadRow(f"a judged {name} must be one message of the assistant, not {len(turns)} messages")
        return turns[0].content
    return text_of(row[name], name)


def rating(row: Fields, kind: str) -> Iterator[AnyRecord]:
    given = next(name for name in _SCALES if name in row)
    bounds: dict[str, Any] = dict(_SCALES[given])
    bounds |= {name: _number(row[name], name) for name in ("low", "high") if row.get(name) not in (None, "")}
    yield Rating(
        prompt=asked(row, question(row)),
        response=_response(row),
        score=_number(row[given], "the rating"),
        **bounds,
        **about(row),
    )


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool):
        raise BadRow(f"{name} must be a number, not true or false")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRow(f"{name} must be a number, not {value!r:.40}") from error
    if not math.isfinite(number):
        raise BadRow(f"{name} is not a finite number ({value!r:.40})")
    return number


_YES_NO = {
    **dict.fromkeys(("1", "true", "yes", "good", "desirable", "up"), (True, "good")),
    **dict.fromkeys(("0", "false", "no", "bad", "undesirable", "down", "-1"), (False, "good")),
    **dict.fromkeys(("positive", "pos"), (True, "positive")),
    **dict.fromkeys(("negative", "neg"), (False, "positive")),
}


def yes_no(value: Any) -> tuple[bool, str]:
    """(answer, name of the question) of a label as people write it. Raises BadRow.

    >>> yes_no("pos"), yes_no(0), yes_no("1.0")
    ((True, 'positive'), (False, 'good'), (True, 'good'))
    """
    key = _label_key(value)
    if key not in _YES_NO:
        raise BadRow(f"the label is neither yes nor no ({value!r:.40})")
    return _YES_NO[key]


def _label_key(value: Any) -> str:
    return str(value).strip().lower().removesuffix(".0")  # a column of numbers may be written with a point


def response_label(row: Fields, kind: str) -> Iterator[AnyRecord]:
    answer, name = yes_no(row["label"])
    yield Label(prompt=asked(row, "prompt"), response=_response(row), label=answer, name=name, **about(row))


_MARKS = {"kto_tag": "good", "is_safe": "safe"}
"""Columns that say whether an answer is to be learned, and the question that they answer."""


def marked(row: Fields) -> bool:
    """Whether a row says of its answer that it is, or is not, one to learn from: such rows are no demonstrations."""
    return any(name in row for name in _MARKS)


def marked_kinds(row: Fields) -> frozenset[str]:
    given = any(name in row for name in ("response", "completion", "output"))
    told = marked(row) or isinstance(row.get("label"), bool)
    fits = told and ((question(row) and given) or isinstance(_talk(row), list))
    return frozenset({"labels"}) if fits else frozenset()


def _talk(row: Fields) -> Any:
    return next((row[name] for name in ("messages", "conversations") if name in row), None)


def marked_response(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """An answer with its mark: LLaMA-Factory's kto_tag, BeaverTails's is_safe, or label true or false at a conversation."""
    name = next(name for name in (*_MARKS, "label") if name in row)
    answer, _ = yes_no(row[name])
    if isinstance(_talk(row), list):
        turns = led_by_system(row, messages_of(_talk(row)))
        if not turns or turns[-1].role != "assistant":
            raise BadRow("the conversation does not end with the assistant")
        prompt, said = turns[:-1], turns[-1].content
    else:
        prompt, said = asked(row, question(row)), _response(row)
    yield Label(prompt=prompt, response=said, label=answer, name=_MARKS.get(name, "good"), **about(row))


def text_label_kinds(row: Fields) -> frozenset[str]:
    return (
        frozenset({"labels", "documents"}) if "label" in row and ("text" in row or "sentence" in row) else frozenset()
    )


def text_label(row: Fields, kind: str) -> Iterator[AnyRecord]:
    said = text_of(row.get("text", row.get("sentence")), "text")
    if kind == "documents":
        yield Document(text=said, **about(row))
        return
    if _label_key(row["label"]) == "-1":  # as Hugging Face's test parts have it
        raise BadRow("the label -1 usually means not labelled; write 0 for no")
    answer, name = yes_no(row["label"])
    yield Label(prompt=(), response=said, label=answer, name=name, **about(row))
