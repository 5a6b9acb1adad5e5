"""The layouts that public data come in, one small function each: a row's fields → records.

A layout tells by a row's keys whether the row is its own and which kinds it gives; LAYOUTS is in order of how special the keys
are, and the first that fits most of a file's first rows is taken for the whole file. Trees and chat exports are in
data/exports.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from amenable.data import exports, labelling_tools
from amenable.data.derive import SOURCES
from amenable.data.rejects import BadRow
from amenable.data.turns import dialogue, messages_of, text_of
from amenable.errors import DataError, nearest
from amenable.types import (
    KINDS,
    AnyRecord,
    Comparison,
    Demonstration,
    Document,
    Label,
    Message,
    Messages,
    Prompt,
    Ranking,
    Rating,
    assistant,
    text,
    user,
)

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """A shape of rows.

    keys     the keys, for error messages
    matches  the kinds a row of this shape gives; empty if it is not of this shape
    convert  (fields, one of those kinds) → records, with an empty id where the row has none; raises BadRow
    """

    name: str
    keys: str
    matches: Callable[[Fields], frozenset[str]]
    convert: Callable[[Fields, str], Iterator[AnyRecord]]


def kinds_of(layout: Layout, fields: Fields) -> frozenset[str]:
    """The kinds that the row gives, if it is of the layout."""
    return layout.matches(fields)


def recognise(sample: Sequence[dict[str, Any] | str], kind: str, *, forced: str | None, where: str) -> Layout:
    """The layout of a file's first rows. Raises DataError if none fits, or if it does not give `kind`."""
    fields = [{"text" if kind == "documents" else "prompt": row} if isinstance(row, str) else row for row in sample]
    if forced is not None:
        return _by_name(forced)
    votes: Counter[str] = Counter()
    for row in fields:
        fits = [layout for layout in LAYOUTS if layout.matches(row)]
        best = next((layout for layout in fits if _serves(layout, row, kind)), fits[0] if fits else None)
        if best is not None:
            votes[best.name] += 1
    if not votes:
        raise _unknown(fields, where)
    layout = _by_name(votes.most_common(1)[0][0])
    if not any(_serves(layout, row, kind) for row in fields):
        gives = sorted({k for row in fields for k in layout.matches(row)})
        can = sorted({k for k in KINDS if any(g in SOURCES.get(k, ()) for g in gives)} | set(gives))
        raise DataError(
            f"the rows hold {' and '.join(gives)} (layout {layout.name}), not {kind}",
            where=where,
            mend=f"read it as {' or '.join(can)}",
        )
    return layout


def _serves(layout: Layout, row: Fields, kind: str) -> bool:
    gives = layout.matches(row)
    return kind in gives or any(k in gives for k in SOURCES.get(kind, ()))


def _by_name(name: str) -> Layout:
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    known = [layout.name for layout in LAYOUTS]
    hint = nearest(name, known)
    raise DataError(
        f"there is no layout named {name!r}", mend=f"did you mean {hint}?" if hint else "known: " + ", ".join(known)
    )


def _unknown(rows: Sequence[Fields], where: str) -> DataError:
    keys = list(dict.fromkeys(str(k) for row in rows for k in row))[:20]
    low = {key.casefold() for key in keys}
    near = sorted(LAYOUTS, key=lambda la: -len(low & set(la.keys.replace("/", " ").replace(",", " ").split())))[:3]
    shown = "; ".join(f"{la.name} ({la.keys})" for la in near)
    return DataError(f"no known layout has the keys {', '.join(keys)}", where=where, mend=f"rename them as in: {shown}")


def _when(*needed: str, gives: str, without: Sequence[str] = ()) -> Callable[[Fields], frozenset[str]]:
    kinds = frozenset(gives.split())
    return lambda row: kinds if all(k in row for k in needed) and not any(k in row for k in without) else frozenset()


def _about(row: Fields) -> dict[str, Any]:
    """What rows of any layout may say of themselves: id, source, task, split."""
    found = {name: text_of(row[name], name) for name in ("id", "source") if row.get(name) not in (None, "")}
    split = {"train": "train", "validation": "validation", "valid": "validation", "dev": "validation", "test": "test"}
    if isinstance(row.get("split"), str) and row["split"] in split:
        found["split"] = split[row["split"]]
    return {"id": "", **found}


_QUESTIONS = ("prompt", "instruction", "question")


def _question(row: Fields) -> str | None:
    """The name of the field that asks, if there is one."""
    return next((name for name in _QUESTIONS if name in row), None)


def _asked(row: Fields, name: str | None) -> Messages:
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
    return _led_by_system(row, turns)


def _led_by_system(row: Fields, turns: Messages) -> Messages:
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


def _task(row: Fields) -> str:
    value = row.get("task", row.get("category", ""))
    return value if isinstance(value, str) else ""


# Our own records ------------------------------------------------------------------------------------------------------

_REQUIRED = {name: {f.name for f in msgspec.structs.fields(cls) if f.required} - {"id"} for name, cls in KINDS.items()}
_ALLOWED = {name: {f.name for f in msgspec.structs.fields(cls)} for name, cls in KINDS.items()}


def _own_kinds(row: Fields) -> frozenset[str]:
    if isinstance(row.get("prompt"), str) or any(isinstance(row.get(k), list) for k in ("chosen", "rejected")):
        return frozenset()
    kinds = {k for k in KINDS if _REQUIRED[k] <= row.keys() <= _ALLOWED[k]}
    if kinds >= {"prompts", "demonstrations"}:
        last = row["messages"][-1] if isinstance(row["messages"], list) and row["messages"] else {}
        kinds -= {"prompts" if isinstance(last, dict) and last.get("role") == "assistant" else "demonstrations"}
    return frozenset(kinds)


def _own(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """Field names as in types.py. Numbers and yes/no may be text, as in CSV."""
    given = {k: v for k, v in row.items() if v not in ("", None) or k in _REQUIRED[kind]}
    try:
        if isinstance(given.get("meta"), str):  # as `export` writes it to Parquet
            given["meta"] = msgspec.json.decode(given["meta"])
        if "prompt" in given and given["prompt"] is None:
            given["prompt"] = []
        for name in ("messages", "prompt"):  # chat interfaces write parts, other names of roles and further fields
            if isinstance(given.get(name), list) and all(isinstance(turn, Mapping) for turn in given[name]):
                given[name] = [{"role": m.role, "content": m.content} for m in messages_of(given[name], name)]
        yield msgspec.convert({"id": "", **given}, KINDS[kind], strict=False)  # type: ignore[misc]
    except (msgspec.DecodeError, RecursionError) as error:  # ValidationError is a DecodeError
        raise BadRow(str(error)) from error


# Preferences ----------------------------------------------------------------------------------------------------------


def _is_dialogue(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip("\n").startswith("Human:") and "Assistant:" in value


def _hh_kinds(row: Fields) -> frozenset[str]:
    fits = "prompt" not in row and _is_dialogue(row.get("chosen")) and _is_dialogue(row.get("rejected"))
    return frozenset({"comparisons"}) if fits else frozenset()


def _hh(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """Two whole dialogues that must differ in the last turn only."""
    chosen, rejected = dialogue(_led(row["chosen"])), dialogue(_led(row["rejected"]))
    if chosen[:-1] != rejected[:-1]:
        raise BadRow("the two dialogues differ before the last turn")
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        raise BadRow("a dialogue does not end with the assistant")
    yield Comparison(prompt=chosen[:-1], chosen=chosen[-1].content, rejected=rejected[-1].content, **_about(row))


def _led(value: str) -> str:
    return "\n\n" + value.lstrip("\n")


def _preference(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """chosen and rejected as texts, or as lists of messages that may repeat the prompt."""
    prompt = _asked(row, _question(row) or ("input" if "input" in row else None))
    sides = []
    for name in ("chosen", "rejected"):
        if isinstance(row[name], str):
            sides.append((prompt, row[name]))
            continue
        turns = messages_of(row[name], name)
        if not turns or turns[-1].role != "assistant":
            raise BadRow(f"{name} does not end with the assistant")
        sides.append((_led_by_system(row, turns[:-1]) or prompt, turns[-1].content))
    if sides[0][0] != sides[1][0]:
        raise BadRow("chosen and rejected answer different prompts")
    margin = row.get("margin")
    yield Comparison(
        prompt=sides[0][0],
        chosen=sides[0][1],
        rejected=sides[1][1],
        margin=None if margin in (None, "") else _number(margin, "margin"),
        **_about(row),
    )


def _ranking_kinds(row: Fields) -> frozenset[str]:
    ordered = any(k in row for k in ("ranking", "ranks", "tiers"))
    return frozenset({"rankings"}) if _question(row) and "responses" in row and ordered else frozenset()


def _ranking(row: Fields, kind: str) -> Iterator[AnyRecord]:
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
    prompt = _asked(row, _question(row))
    yield Ranking(prompt=prompt, responses=tuple(text_of(t, "a response") for t in texts), tiers=tiers, **_about(row))


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


def _finegrained(row: Fields, kind: str) -> Iterator[AnyRecord]:
    yield from exports.finegrained(row, kind, with_passages=False)


# Ratings and labels ---------------------------------------------------------------------------------------------------


def _rating_kinds(row: Fields) -> frozenset[str]:
    fits = ("response" in row or "completion" in row) and ("rating" in row or "score" in row)
    return frozenset({"ratings"}) if fits and _question(row) else frozenset()


def _response(row: Fields) -> str:
    """The response: a text, or messages of which the last is it."""
    response = row["completion"] if "completion" in row else row["response"]
    if isinstance(response, list):
        turns = messages_of(response, "completion")
        return turns[-1].content if turns else ""
    return text_of(response, "response")


def _rating(row: Fields, kind: str) -> Iterator[AnyRecord]:
    bounds: dict[str, Any] = {
        name: _number(row[name], name) for name in ("low", "high") if row.get(name) not in (None, "")
    }
    yield Rating(
        prompt=_asked(row, _question(row)),
        response=_response(row),
        score=_number(row.get("rating", row.get("score")), "the rating"),
        **bounds,
        **_about(row),
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
    key = str(value).strip().lower().removesuffix(".0")  # a column of numbers may be written with a point
    if key not in _YES_NO:
        raise BadRow(f"the label is neither yes nor no ({value!r:.40})")
    return _YES_NO[key]


def _response_label(row: Fields, kind: str) -> Iterator[AnyRecord]:
    answer, name = yes_no(row["label"])
    yield Label(prompt=_asked(row, "prompt"), response=_response(row), label=answer, name=name, **_about(row))


def _text_label_kinds(row: Fields) -> frozenset[str]:
    return (
        frozenset({"labels", "documents"}) if "label" in row and ("text" in row or "sentence" in row) else frozenset()
    )


def _text_label(row: Fields, kind: str) -> Iterator[AnyRecord]:
    said = text_of(row.get("text", row.get("sentence")), "text")
    if kind == "documents":
        yield Document(text=said, **_about(row))
        return
    answer, name = yes_no(row["label"])
    yield Label(prompt=(), response=said, label=answer, name=name, **_about(row))


# Demonstrations and prompts -------------------------------------------------------------------------------------------


def _conversation_kinds(name: str) -> Callable[[Fields], frozenset[str]]:
    def kinds(row: Fields) -> frozenset[str]:
        turns = row.get(name)
        if not isinstance(turns, list) or not all(isinstance(t, Mapping) for t in turns):
            return frozenset()
        last = turns[-1] if turns else {}
        asks = last.get("role", last.get("from")) in ("user", "human", "prompter")
        return frozenset({"prompts" if asks else "demonstrations"})

    return kinds


def _conversation(name: str) -> Callable[[Fields, str], Iterator[AnyRecord]]:
    def convert(row: Fields, kind: str) -> Iterator[AnyRecord]:
        turns = _led_by_system(row, messages_of(row[name], name))
        yield KINDS[kind](messages=turns, task=_task(row), **_about(row))  # type: ignore[misc]

    return convert


def _alpaca(row: Fields, kind: str) -> Iterator[AnyRecord]:
    output = row["output"] if "output" in row else row["response"]
    messages = (*(_asked(row, "instruction") or (user(""),)), assistant(text_of(output, "output")))
    yield Demonstration(messages=messages, task=_task(row), **_about(row))


_ANSWERS = {
    "prompt": ("completion", "response", "output", "answer"),
    "question": ("answer", "response"),
    "input": ("output", "target"),
}


def _asked_answered(row: Fields) -> tuple[str, str] | None:
    return next(((q, a) for q, answers in _ANSWERS.items() if q in row for a in answers if a in row), None)


def _answered_kinds(row: Fields) -> frozenset[str]:
    return frozenset({"demonstrations"}) if _asked_answered(row) and "label" not in row else frozenset()


def _answered(row: Fields, kind: str) -> Iterator[AnyRecord]:
    names = _asked_answered(row)
    assert names is not None
    answer = row[names[1]]
    if isinstance(answer, list):
        turns = messages_of(answer, names[1])
        answer = turns[-1].content if turns else ""
    messages = (*(_asked(row, names[0]) or (user(""),)), assistant(text_of(answer, names[1])))
    yield Demonstration(messages=messages, task=_task(row), **_about(row))


def _prompt_kinds(row: Fields) -> frozenset[str]:
    return frozenset({"prompts"}) if _question(row) else frozenset()


def _prompt(row: Fields, kind: str) -> Iterator[AnyRecord]:
    references = row.get("references", row.get("reference"))
    known = references if isinstance(references, list) else [references] if references not in (None, "") else []
    yield Prompt(
        messages=_asked(row, _question(row)),
        task=_task(row),
        references=tuple(text_of(r, "a reference") for r in known),
        **_about(row),
    )


def _text_kinds(row: Fields) -> frozenset[str]:
    return frozenset({"documents", "prompts"}) if "text" in row else frozenset()


def _text(row: Fields, kind: str) -> Iterator[AnyRecord]:
    said = text_of(row["text"], "text")
    yield Document(text=said, **_about(row)) if kind == "documents" else Prompt(messages=(text(said),), **_about(row))


LAYOUTS: tuple[Layout, ...] = (
    Layout("own", "the field names of amenable's records", _own_kinds, _own),
    Layout(
        "oasst",
        "message_tree_id, prompt",
        _when("message_tree_id", "prompt", gives="demonstrations rankings prompts"),
        exports.oasst,
    ),
    Layout("argilla", "fields, responses", labelling_tools.argilla_kinds, labelling_tools.argilla),
    Layout("label-studio", "data, annotations", labelling_tools.label_studio_kinds, labelling_tools.label_studio),
    Layout("chatgpt", "mapping, current_node", _when("mapping", gives="demonstrations"), exports.chatgpt),
    Layout("open-webui", "chat/history, messages", exports.open_webui_kinds, exports.open_webui),
    Layout(
        "finegrained",
        "question, preference, prediction 1",
        _when("question", "preference", "prediction 1", gives="rankings comparisons demonstrations prompts"),
        _finegrained,
    ),
    Layout("hh", "chosen, rejected as dialogues of Human and Assistant", _hh_kinds, _hh),
    Layout("preference", "prompt, chosen, rejected", _when("chosen", "rejected", gives="comparisons"), _preference),
    Layout("ranking", "prompt, responses, ranking/ranks", _ranking_kinds, _ranking),
    Layout(
        "sharegpt",
        "conversations with from, value",
        _conversation_kinds("conversations"),
        _conversation("conversations"),
    ),
    Layout("messages", "messages with role, content", _conversation_kinds("messages"), _conversation("messages")),
    Layout("rating", "prompt, response/completion, rating/score", _rating_kinds, _rating),
    Layout(
        "response-label",
        "prompt, completion/response, label",
        _when("prompt", "completion", "label", gives="labels"),
        _response_label,
    ),
    Layout(
        "response-label-2",
        "prompt, response, label",
        _when("prompt", "response", "label", gives="labels"),
        _response_label,
    ),
    Layout("alpaca", "instruction, input, output", _when("instruction", "output", gives="demonstrations"), _alpaca),
    Layout("dolly", "instruction, response", _when("instruction", "response", gives="demonstrations"), _alpaca),
    Layout("text-label", "text/sentence, label", _text_label_kinds, _text_label),
    Layout("prompt-completion", "prompt/question/input, completion/response/answer/output", _answered_kinds, _answered),
    Layout("text", "text", _text_kinds, _text),
    Layout("prompt", "prompt/instruction/question", _prompt_kinds, _prompt),
)
