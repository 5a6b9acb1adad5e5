"""The layouts that public data come in, one small function each: a row's fields → records.

A layout tells by a row's keys whether the row is its own and which kinds it gives; LAYOUTS is in order of how special the keys
are, and the first that fits most of a file's first rows is taken for the whole file. What people judged is in data/judged.py, trees and
chat exports in data/exports.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from amenable.data import exports, judged, labelling_tools, pairs
from amenable.data.derive import SOURCES
from amenable.data.formats import Row
from amenable.data.rejects import BadRow
from amenable.data.row_fields import Fields, about, asked, led_by_system, question, references, task
from amenable.data.turns import messages_of, missing, text_of, turns_of, unlearned
from amenable.errors import DataError, nearest
from amenable.splitting import side_named
from amenable.types import (
    KINDS,
    AnyRecord,
    Demonstration,
    Document,
    Prompt,
    assistant,
    text,
    user,
)


@dataclass(frozen=True)
class Layout:
    """A shape of rows.

    keys     the keys, for error messages
    matches  the kinds a row of this shape gives; empty if it is not of this shape
    convert  (fields, one of those kinds) → records, with an empty id where the row has none; raises BadRow
    gather   all rows of a file → those that `matches` and `convert` see, where a record is made of several
    """

    name: str
    keys: str
    matches: Callable[[Fields], frozenset[str]]
    convert: Callable[[Fields, str], Iterator[AnyRecord]]
    gather: Callable[[Iterable[Row]], Iterator[Row]] | None = None


LEARNED_BY = {
    "documents": "`amenable pretrain` learns from documents",
    "demonstrations": "`amenable sft` learns from demonstrations",
    "comparisons": "`amenable reward` and `amenable dpo` learn from comparisons",
    "rankings": "`amenable reward algorithm.name=reward_ranking` learns from rankings",
    "ratings": "`amenable reward algorithm.name=reward_rating` learns from ratings",
    "labels": "`amenable kto` learns from labels",
    "prompts": "`amenable ppo` practises on prompts",
}
"""For whoever gave data of one kind to a command of another."""


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
        raise _unknown(fields, kind, where)
    layout = _by_name(votes.most_common(1)[0][0])
    if not any(_serves(layout, row, kind) for row in fields):
        gives = sorted({k for row in fields for k in layout.matches(row)})
        can = sorted({k for k in KINDS if any(g in SOURCES.get(k, ()) for g in gives)} | set(gives))
        raise DataError(
            f"the rows hold {' and '.join(gives)} (layout {layout.name}), not {kind}",
            where=where,
            mend=f"read it as {' or '.join(can)}" + (f"; {LEARNED_BY[gives[0]]}" if gives[0] in LEARNED_BY else ""),
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


_USUAL = {
    "documents": ("text",),
    "prompts": ("prompt", "messages"),
    "demonstrations": ("prompt-completion", "messages"),
    "comparisons": ("preference",),
    "rankings": ("ranking",),
    "ratings": ("rating",),
    "labels": ("response-label", "text-label"),
}
"""The layouts that rows of an unknown one are most easily brought into."""


def _unknown(rows: Sequence[Fields], kind: str, where: str) -> DataError:
    keys = list(dict.fromkeys(str(k) for row in rows for k in row))[:20]
    low = {key.casefold() for key in keys}
    common = {la.name: len(low & set(la.keys.replace("/", " ").replace(",", " ").split())) for la in LAYOUTS}
    near = [name for name in sorted(common, key=lambda name: -common[name]) if common[name]][:2]
    shown = "; ".join(f"{name} ({_by_name(name).keys})" for name in dict.fromkeys((*near, *_USUAL[kind])))
    return DataError(f"no known layout has the keys {', '.join(keys)}", where=where, mend=f"rename them as in: {shown}")


def _when(*needed: str, gives: str, without: Sequence[str] = ()) -> Callable[[Fields], frozenset[str]]:
    kinds = frozenset(gives.split())
    return lambda row: kinds if all(k in row for k in needed) and not any(k in row for k in without) else frozenset()


# Our own records ------------------------------------------------------------------------------------------------------

_REQUIRED = {name: {f.name for f in msgspec.structs.fields(cls) if f.required} - {"id"} for name, cls in KINDS.items()}
_ALLOWED = {name: {f.name for f in msgspec.structs.fields(cls)} for name, cls in KINDS.items()}
_TEXTS = {name: {f.name for f in msgspec.structs.fields(cls) if f.type is str} for name, cls in KINDS.items()}


def _own_kinds(row: Fields) -> frozenset[str]:
    if isinstance(row.get("prompt"), str) or any(isinstance(row.get(k), list) for k in ("chosen", "rejected")):
        return frozenset()
    kinds = {k for k in KINDS if _REQUIRED[k] <= row.keys() <= _ALLOWED[k]}
    if kinds >= {"prompts", "demonstrations"}:
        last = row["messages"][-1] if isinstance(row["messages"], list) and row["messages"] else {}
        kinds -= {"prompts" if isinstance(last, dict) and last.get("role") == "assistant" else "demonstrations"}
    return frozenset(kinds)


def _own(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """Field names as in types.py. Numbers and yes/no may be text, as in CSV, and texts numbers; a split may be called val."""
    given = {k: v for k, v in row.items() if not missing(v) or k in _REQUIRED[kind]}
    for name in _TEXTS[kind] & given.keys():
        if isinstance(given[name], int | float):
            given[name] = text_of(given[name], name)
    if "label" in given and not isinstance(given["label"], bool):
        given["label"], answered = judged.yes_no(given["label"])
        given.setdefault("name", answered)
    given |= {"split": side} if (side := side_named(given.get("split"))) else {}
    try:
        if isinstance(given.get("meta"), str):  # as `export` writes it to Parquet
            given["meta"] = msgspec.json.decode(given["meta"])
        if "prompt" in given and given["prompt"] is None:
            given["prompt"] = []
        for name in ("messages", "prompt"):  # chat interfaces write parts, other names of roles and further fields
            if isinstance(given.get(name), list) and all(isinstance(turn, Mapping) for turn in given[name]):
                turns = messages_of(given[name], name)
                if kind == "demonstrations" and (known := unlearned(given[name], turns)):
                    given["meta"] = {**(given.get("meta") or {}), **known}
                given[name] = [{"role": m.role, "content": m.content} for m in turns]
        yield msgspec.convert({"id": "", **given}, KINDS[kind], strict=False)  # type: ignore[misc]
    except (msgspec.DecodeError, RecursionError) as error:  # ValidationError is a DecodeError
        raise BadRow(str(error)) from error


# Demonstrations and prompts -------------------------------------------------------------------------------------------


def _conversation_kinds(name: str) -> Callable[[Fields], frozenset[str]]:
    def kinds(row: Fields) -> frozenset[str]:
        turns = None if judged.marked(row) else turns_of(row.get(name))
        if not isinstance(turns, list) or not all(isinstance(t, Mapping) for t in turns):
            return frozenset()
        last = turns[-1] if turns else {}
        asks = str(last.get("role", last.get("from"))).lower() in ("user", "human", "prompter")
        return frozenset({"prompts" if asks else "demonstrations"})

    return kinds


def _conversation(name: str) -> Callable[[Fields, str], Iterator[AnyRecord]]:
    def convert(row: Fields, kind: str) -> Iterator[AnyRecord]:
        said = turns_of(row[name])
        turns = led_by_system(row, messages_of(said, name))
        if kind == "demonstrations":
            yield Demonstration(messages=turns, task=task(row), meta=unlearned(said, turns), **about(row))
        else:
            yield Prompt(messages=turns, task=task(row), references=references(row), **about(row))

    return convert


def _alpaca_kinds(answer: str) -> Callable[[Fields], frozenset[str]]:
    fits = _when("instruction", answer, gives="demonstrations")
    return lambda row: frozenset() if judged.marked(row) else fits(row)


def _alpaca(row: Fields, kind: str) -> Iterator[AnyRecord]:
    output = row["output"] if "output" in row else row["response"]
    messages = (*(asked(row, "instruction") or (user(""),)), assistant(text_of(output, "output")))
    yield Demonstration(messages=messages, task=task(row), **about(row))


_ANSWERS = {
    "prompt": ("completion", "response", "output", "answer"),
    "question": ("answer", "response"),
    "input": ("output", "target"),
    "query": ("response", "answer"),
    "problem": ("solution", "generated_solution", "answer"),
    "inputs_pretokenized": ("targets_pretokenized",),
    "inputs": ("targets",),
    "input_text": ("output_text",),
}


_SEVERAL = ("answer", "output", "target", "targets")
"""Answers that may be a list of texts: all are right, and the first is learned."""


def _asked_answered(row: Fields) -> tuple[str, str] | None:
    return next(((q, a) for q, answers in _ANSWERS.items() if q in row for a in answers if a in row), None)


def _answered_kinds(row: Fields) -> frozenset[str]:
    fits = _asked_answered(row) and "label" not in row and not judged.marked(row)
    return frozenset({"demonstrations"}) if fits else frozenset()


def _answered(row: Fields, kind: str) -> Iterator[AnyRecord]:
    names = _asked_answered(row)
    assert names is not None
    said, accepted = row[names[1]], []
    if isinstance(said, list) and said and names[1] in _SEVERAL and all(isinstance(one, str) for one in said):
        said, accepted = said[0], said
    if isinstance(said, list):
        turns = messages_of(said, names[1])
        if not turns or turns[-1].role != "assistant":
            raise BadRow(f"{names[1]} does not end with the assistant")
    else:
        turns = (assistant(text_of(said, names[1])),)
    if isinstance(row.get("choices"), list | Mapping) and not _is_choice(said, row["choices"]):
        raise BadRow(
            "the answer is one of the choices by its number or letter: write what it says, and the choices into the question"
        )
    messages = (*(asked(row, names[0]) or (user(""),)), *turns)
    if names[0] == "problem" and names[1] != "answer":  # what is learned says how the answer comes about
        found = (row.get(name) for name in ("answer", "expected_answer"))
        accepted = [text_of(one, "answer") for one in found if isinstance(one, str | int | float) and not missing(one)][
            :1
        ]
    meta = {"answers": accepted} if accepted else {}
    yield Demonstration(messages=messages, task=task(row), meta=meta, **about(row))


def _is_choice(answer: Any, choices: Any) -> bool:
    return answer in (choices.get("text", ()) if isinstance(choices, Mapping) else choices)


def _prompt_kinds(row: Fields) -> frozenset[str]:
    return frozenset({"prompts"}) if question(row) else frozenset()


def _prompt(row: Fields, kind: str) -> Iterator[AnyRecord]:
    messages = asked(row, question(row))
    yield Prompt(messages=messages, task=task(row), references=references(row), **about(row))


def _text_kinds(row: Fields) -> frozenset[str]:
    return frozenset({"documents", "prompts"}) if "text" in row else frozenset()


def _text(row: Fields, kind: str) -> Iterator[AnyRecord]:
    said = text_of(row["text"], "text")
    yield Document(text=said, **about(row)) if kind == "documents" else Prompt(messages=(text(said),), **about(row))


_OASST = "demonstrations rankings prompts"


def _oasst_messages_kinds(row: Fields) -> frozenset[str]:
    """Of a message, or of the trees that gathering makes of them."""
    one = _when("message_id", "parent_id", "text", "role", gives=_OASST)
    return one(row) or _when("message_tree_id", "prompt", gives=_OASST)(row)


LAYOUTS: tuple[Layout, ...] = (
    Layout("own", "the field names of amenable's records", _own_kinds, _own),
    Layout(
        "oasst",
        "message_tree_id, prompt",
        _when("message_tree_id", "prompt", gives=_OASST),
        exports.oasst,
    ),
    Layout(
        "oasst-messages", "message_id, parent_id, text, role", _oasst_messages_kinds, exports.oasst, exports.oasst_trees
    ),
    Layout("argilla", "fields, responses", labelling_tools.argilla_kinds, labelling_tools.argilla),
    Layout("label-studio", "data, annotations", labelling_tools.label_studio_kinds, labelling_tools.label_studio),
    Layout("chatgpt", "mapping, current_node", _when("mapping", gives="demonstrations"), exports.chatgpt),
    Layout("open-webui", "chat/history, messages", exports.open_webui_kinds, exports.open_webui),
    Layout(
        "finegrained",
        "question, preference, prediction 1",
        _when("question", "preference", "prediction 1", gives="rankings comparisons demonstrations prompts"),
        judged.finegrained,
    ),
    Layout("hh", "chosen, rejected as dialogues of Human and Assistant", judged.hh_kinds, judged.hh),
    Layout(
        "preference", "prompt, chosen, rejected", _when("chosen", "rejected", gives="comparisons"), judged.preference
    ),
    Layout("ranking", "prompt, responses, ranking/ranks", judged.ranking_kinds, judged.ranking),
    Layout(
        "pair",
        "two responses and which is better, as in SHP, PKU-SafeRLHF, HelpSteer2 and 3, WebGPT, Chatbot Arena",
        pairs.pair_kinds,
        pairs.pair,
    ),
    Layout(
        "answers", "prompt, answers/completions with text and rank/score each", judged.answers_kinds, judged.answers
    ),
    Layout(
        "sharegpt",
        "conversations with from, value, or of texts by turns",
        _conversation_kinds("conversations"),
        _conversation("conversations"),
    ),
    Layout(
        "conversation",
        "conversation with role, content, or input, output",
        _conversation_kinds("conversation"),
        _conversation("conversation"),
    ),
    Layout("gemini", "contents with role, parts", _conversation_kinds("contents"), _conversation("contents")),
    Layout("messages", "messages with role, content", _conversation_kinds("messages"), _conversation("messages")),
    Layout("rating", "prompt, response/completion, rating/score/helpfulness", judged.rating_kinds, judged.rating),
    Layout(
        "response-label",
        "prompt, completion/response, label",
        _when("prompt", "completion", "label", gives="labels"),
        judged.response_label,
    ),
    Layout(
        "response-label-2",
        "prompt, response, label",
        _when("prompt", "response", "label", gives="labels"),
        judged.response_label,
    ),
    Layout(
        "marked",
        "prompt, response/output or conversations, kto_tag/is_safe/label",
        judged.marked_kinds,
        judged.marked_response,
    ),
    Layout("alpaca", "instruction, input, output", _alpaca_kinds("output"), _alpaca),
    Layout("dolly", "instruction, response", _alpaca_kinds("response"), _alpaca),
    Layout("text-label", "text/sentence, label", judged.text_label_kinds, judged.text_label),
    Layout(
        "prompt-completion",
        "prompt/question/input/query/problem/inputs, completion/response/answer/output/solution/targets",
        _answered_kinds,
        _answered,
    ),
    Layout("text", "text", _text_kinds, _text),
    Layout("prompt", "prompt/instruction/question/query/problem", _prompt_kinds, _prompt),
)
