"""Pairs of responses with a verdict, each set under column names of its own: a row's fields → comparisons or a ranking.

SHP, PKU-SafeRLHF, HelpSteer2 and 3, WebGPT, summarize_from_feedback, AlpacaFarm, Chatbot Arena, MT-bench, and the preferences that
OpenAI and Vertex AI take. A tie is a ranking of one tier, and holds no comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from amenable.data.rejects import BadRow
from amenable.data.row_fields import Fields, about, asked, led_by_system, question
from amenable.data.turns import messages_of, text_of
from amenable.types import AnyRecord, Comparison, Messages, Ranking, assistant, user


@dataclass(frozen=True)
class Pair:
    """Two columns of responses and those of the verdict.

    verdict: their values → above 0 if the first is better, below 0 if the second is, 0 for a tie. margin: it is a strength.
    """

    first: str
    second: str
    by: tuple[str, ...]
    verdict: Callable[..., float]
    margin: bool = False


def _is(first: int, second: int) -> Callable[[Any], float]:
    """A verdict that names the better one by its number."""

    def verdict(value: Any) -> float:
        number = _number(value)
        if number not in (first, second):
            raise BadRow(f"the verdict is {value!r:.40}, neither {first} nor {second}")
        return 1 if number == first else -1

    return verdict


def _number(value: Any) -> float:
    if value is None or isinstance(value, bool):
        raise BadRow(f"the verdict is {value!r}, no number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRow(f"the verdict is {value!r:.40}, no number") from error
    if number != number:
        raise BadRow("the verdict is NaN")
    return number


def _winner(value: Any) -> float:
    said = str(value).strip().lower()
    if said in ("model_a", "model_b"):
        return 1 if said == "model_a" else -1
    if said.startswith(("tie", "both")):
        return 0
    raise BadRow(f"the winner is {value!r:.40}, neither model_a, model_b nor a tie")


def _won(first: Any, second: Any) -> float:
    return _number(first) - _number(second)


PAIRS = (
    Pair("human_ref_A", "human_ref_B", ("labels",), _is(1, 0)),  # SHP: 1 is A
    Pair("response_0", "response_1", ("better_response_id",), _is(0, 1)),
    Pair("response_1", "response_2", ("preference_strength",), lambda value: -_number(value), margin=True),
    Pair("response1", "response2", ("overall_preference",), lambda value: -_number(value), margin=True),
    Pair("answer_0", "answer_1", ("score_0", "score_1"), _won),
    Pair("output_1", "output_2", ("preference",), _is(1, 2)),
    Pair("candidate_0", "candidate_1", ("choice",), _is(0, 1)),
    Pair("summaries", "info", ("choice",), _is(0, 1)),
    Pair("conversation_a", "conversation_b", ("winner",), _winner),
    Pair("response_a", "response_b", ("winner",), _winner),
    Pair("response_a", "response_b", ("winner_model_a", "winner_model_b"), _won),
    Pair("preferred_output", "non_preferred_output", (), lambda: 1),
    Pair("chosen_response", "rejected_response", (), lambda: 1),
)


def _pair(row: Fields) -> Pair | None:
    return next((p for p in PAIRS if all(name in row for name in (p.first, p.second, *p.by))), None)


def pair_kinds(row: Fields) -> frozenset[str]:
    return frozenset({"rankings", "comparisons"}) if _pair(row) else frozenset()


def pair(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """The better of two responses. Raises BadRow where the two answer different conversations, or no verdict is given."""
    found = _pair(row)
    assert found is not None
    better = found.verdict(*(row[name] for name in found.by))
    (prompt, first), (other, second) = _sides(row, found)
    if prompt != other:
        raise BadRow("the two conversations differ before the last turn")
    if kind == "rankings":
        tiers = (int(better < 0), int(better > 0))
        yield Ranking(prompt=prompt, responses=(first, second), tiers=tiers, **about(row))
    elif better:
        chosen, rejected = (first, second) if better > 0 else (second, first)
        margin = abs(better) if found.margin else None
        yield Comparison(prompt=prompt, chosen=chosen, rejected=rejected, margin=margin, **about(row))


def _sides(row: Fields, found: Pair) -> list[tuple[Messages, str]]:
    if found.first == "summaries":
        first, second = (summary["text"] for summary in row["summaries"])
        return [(_post(row["info"]), text_of(said, "a summary")) for said in (first, second)]
    given = [_listed(row[name]) for name in (found.first, found.second)]
    if found.first == "conversation_a":
        return [_judged(messages_of(said, "the conversation"), row.get("turn")) for said in given]
    asks = _listed(row.get("prompt"))
    if isinstance(asks, list) and all(isinstance(said, str) for said in asks):
        return [_judged(_by_turns(asks, said), None) for said in given]
    prompt = _asked(row)
    return [(prompt, _text(said, name)) for said, name in zip(given, (found.first, found.second), strict=True)]


def _listed(value: Any) -> Any:
    """A list of texts that is written as JSON, as the arena's tables have it; anything else as it is."""
    if isinstance(value, str) and value.startswith('["') and value.endswith('"]'):
        try:
            return msgspec.json.decode(value, type=list[str])
        except msgspec.DecodeError:
            return value
    return value


def _by_turns(asks: list[str], said: Any) -> Messages:
    if not isinstance(said, list) or len(said) != len(asks):
        raise BadRow(f"the prompt has {len(asks)} turns, and the responses do not")
    return tuple(
        m
        for one, other in zip(asks, said, strict=True)
        for m in (user(text_of(one, "a turn")), assistant(text_of(other, "a turn")))
    )


def _text(said: Any, name: str) -> str:
    if not isinstance(said, list):
        return text_of(said, name)
    turns = messages_of(said, name)
    if [turn.role for turn in turns] != ["assistant"]:
        raise BadRow(f"{name} must be one message of the assistant")
    return turns[0].content


def _judged(turns: Messages, turn: Any) -> tuple[Messages, str]:
    """The conversation up to the answer that was judged: of MT-bench's two the first, where turn is 1."""
    answers = [n for n, message in enumerate(turns) if message.role == "assistant"]
    if not answers:
        raise BadRow("a conversation holds no answer")
    last = answers[int(turn) - 1] if isinstance(turn, int | float) and 1 <= turn <= len(answers) else answers[-1]
    return turns[:last], turns[last].content


def _asked(row: Fields) -> Messages:
    if isinstance(row.get("history"), str) and question(row) is None:
        return (user(row["history"]),)  # SHP
    given = row.get("input")
    if isinstance(given, Mapping):  # OpenAI
        return led_by_system(row, messages_of(given["messages"], "input"))
    name = question(row) or next((n for n in ("input", "context", "input_text") if n in row), None)
    return asked(row, name)


def _post(info: Mapping[str, Any]) -> Messages:
    """What is to be summarised, worded as Stiennon et al. 2020 did (openai/summarize-from-feedback)."""
    if article := info.get("article"):
        return (user(f"Article:\n{text_of(article, 'article')}\n\nTL;DR:"),)
    post = text_of(info["post"], "post")
    return (user(f"SUBREDDIT: r/{info.get('subreddit')}\n\nTITLE: {info.get('title')}\n\nPOST: {post}\n\nTL;DR:"),)
