"""Rows: masks and columns by hand, every document token trained exactly once, nothing dropped without a count."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amenable.chat.render import render_prompt, render_response
from amenable.chat.tokenizer import Tokenizer, train_bpe
from amenable.data.rows import Row, RowSettings, collate, prompt_ids, rollout_rows, tokenise, tokenise_documents
from amenable.errors import DataError, EmptyMaskError, RolloutError, TemplateError
from amenable.types import (
    Comparison,
    Demonstration,
    Document,
    Label,
    Message,
    Prompt,
    Ranking,
    Rating,
    Rollout,
    assistant,
    text,
    user,
)
from tests.chat_makers import t5_like

BYTES = train_bpe(["ab"], 262)  # one id per byte: "a" is 70, "b" 71, and so on
ASK = (user("a"),)
PROMPT = [1, 4, 70, 2, 5]  # bos user a end assistant
WIDE = RowSettings(context=64)


def demonstration(*contents: str, id: str = "d") -> Demonstration:
    roles = (user, assistant)
    return Demonstration(id=id, messages=tuple(roles[i % 2](c) for i, c in enumerate(contents)))


def comparison(chosen: str, rejected: str, id: str = "c", **more: object) -> Comparison:
    return Comparison(id=id, prompt=ASK, chosen=chosen, rejected=rejected, **more)  # type: ignore[arg-type]


# --- documents


def test_document_cut_by_hand() -> None:
    # bos a b c d end in rows of 4: the second begins with the last token of the first, untrained.
    rows = tokenise_documents([Document(id="1", text="abcd")], BYTES, 4)
    assert [r.tokens.tolist() for r in rows] == [[1, 70, 71, 72], [72, 73, 2]]
    assert [r.trained.tolist() for r in rows] == [[False, True, True, True], [False, True, True]]
    assert rows[0].record.id == "1"


@given(st.lists(st.text(max_size=40), max_size=5), st.integers(2, 12))
@settings(max_examples=150, deadline=None)
def test_every_document_token_is_trained_once(texts: list[str], context: int) -> None:
    docs = [Document(id=str(i), text=t) for i, t in enumerate(texts)]
    rows = tokenise_documents(docs, BYTES, context)
    for doc in docs:
        own = [r for r in rows if r.record is doc]
        trained = [int(t) for r in own for t in r.tokens[r.trained]]
        assert trained == [*BYTES.encode(doc.text), 2]
        assert all(2 <= len(r) <= context and not r.trained[0] for r in own)
        assert all(a.tokens[-1] == b.tokens[0] for a, b in pairwise(own))


def test_documents_make_units_of_one_row() -> None:
    units, report = tokenise([Document(id="1", text="abcd")], BYTES, RowSettings(context=4))
    assert [len(u) for u in units] == [1, 1] and (report.kept, report.rejected) == (1, 0)


# --- demonstrations


def test_demonstration_by_hand() -> None:
    units, report = tokenise([demonstration("a", "b", "c", "d")], BYTES, WIDE)
    (row,) = units[0]
    assert row.tokens.tolist() == [1, 4, 70, 2, 5, 71, 2, 4, 72, 2, 5, 73, 2]
    assert np.flatnonzero(row.trained).tolist() == [5, 6, 11, 12]
    assert (report.kept, report.rejected, report.truncated) == (1, 0, 0)
    ((last,),), _ = tokenise([demonstration("a", "b", "c", "d")], BYTES, WIDE.replace(train_on="last"))
    assert np.flatnonzero(last.trained).tolist() == [11, 12]


def test_answers_that_are_not_to_be_learned(tmp_path: Path) -> None:
    record = demonstration("a", "b", "c", "d").replace(meta={"unlearned": [1]})
    ((row,),), _ = tokenise([record], BYTES, WIDE)
    assert np.flatnonzero(row.trained).tolist() == [11, 12]
    bad = record.replace(meta={"unlearned": [3]})
    assert tokenise([bad], BYTES, WIDE.replace(train_on="last"))[1].reasons == {"no trained token": 1}
    seq2seq, tokenizer = WIDE.replace(model_kind="seq2seq"), Tokenizer.load(t5_like(tmp_path))
    units, report = tokenise([record, bad], tokenizer, seq2seq)
    assert len(units) == 1 and report.reasons == {"template: the last answer is not to be learned": 1}


def test_raw_demonstration() -> None:
    record = Demonstration(id="1", messages=(text("a"), assistant("b")))
    ((row,),), _ = tokenise([record], BYTES, WIDE)
    assert row.tokens.tolist() == [1, 70, 71, 2] and np.flatnonzero(row.trained).tolist() == [2, 3]


def test_seq2seq_demonstration(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(t5_like(tmp_path))
    ((row,),), _ = tokenise([demonstration("How many?", "Seven.")], tokenizer, WIDE.replace(model_kind="seq2seq"))
    assert row.source is not None and row.source.tolist() == [*tokenizer.encode("How many?"), 1]
    assert row.tokens.tolist() == [0, *tokenizer.encode("Seven."), 1]
    assert row.trained.tolist() == [False] + [True] * (len(row.tokens) - 1)


# --- preferences


def test_comparison_columns() -> None:
    units, _ = tokenise([comparison("b", "cc", margin=2.0), comparison("d", "e")], BYTES, WIDE)
    batch = collate(units, "comparisons")
    assert batch.tokens_BT.tolist() == [
        [*PROMPT, 71, 2, 0],
        [*PROMPT, 72, 72, 2],
        [*PROMPT, 73, 2, 0],
        [*PROMPT, 74, 2, 0],
    ]
    assert batch.unit_B.tolist() == [0, 0, 1, 1] and batch.stream == "comparisons"
    assert batch["chosen"].tolist() == [1, 0, 1, 0] and batch["margin"].tolist() == [2, 2, 0, 0]
    assert batch.valid_BT.sum(1).tolist() == [7, 8, 7, 7]
    assert batch.trained_BT.int().sum(1).tolist() == [2, 3, 2, 2]
    assert batch.records[2].chosen == "d"


def test_comparisons_of_one_prompt_share_a_unit_if_asked() -> None:
    other = Comparison(id="o", prompt=(user("z"),), chosen="x", rejected="y")
    records = [comparison("b", "c", "1"), other, comparison("d", "e", "2")]
    units, _ = tokenise(records, BYTES, WIDE.replace(group_by_prompt=True))
    assert [[r.record.id for r in u] for u in units] == [["1", "1", "2", "2"], ["o", "o"]]
    assert [r.columns["chosen"] for r in units[0]] == [1, 0, 1, 0]


def test_rankings_ratings_labels() -> None:
    ranking = Ranking(id="r", prompt=ASK, responses=("b", "c", "d"), tiers=(1, 0, 1))
    assert collate(tokenise([ranking], BYTES, WIDE)[0])["tier"].tolist() == [1, 0, 1]
    rating = Rating(id="r", prompt=ASK, response="b", score=6)
    batch = collate(tokenise([rating], BYTES, WIDE)[0])
    assert [batch[n].item() for n in ("score", "low", "high")] == [6, 1, 7]
    labels = [Label(id=str(i), prompt=(), response="b", label=bool(i)) for i in (0, 1)]
    batch = collate(tokenise(labels, BYTES, WIDE)[0])
    assert batch["label"].tolist() == [0, 1] and batch.tokens_BT.tolist() == [[1, 71, 2]] * 2


# --- too long


def test_overlong_is_rejected_and_counted() -> None:
    records = [comparison("b", "c"), comparison("b", "c" * 9), demonstration("a", "b")]
    units, report = tokenise(records, BYTES, RowSettings(context=8))
    assert len(units) == 2 and (report.kept, report.rejected, report.truncated) == (2, 1, 0)
    assert report.reasons == {"longer than the context": 1}


def test_both_sides_lose_the_same_prompt() -> None:
    # bos user a b c end assistant | d end, and the same with "dee": 11 tokens, one too many.
    record = Comparison(id="c", prompt=(user("abc"),), chosen="d", rejected="dee")
    ((chosen, rejected),), report = tokenise([record], BYTES, RowSettings(context=10, overlong="truncate_left_prompt"))
    prompt = [1, 70, 71, 72, 2, 5]
    assert chosen.tokens.tolist() == [*prompt, 73, 2] and rejected.tokens.tolist() == [*prompt, 73, 74, 74, 2]
    assert chosen.trained.tolist() == [False] * 6 + [True] * 2
    assert (report.kept, report.truncated) == (1, 1)


def test_a_response_that_cannot_fit_is_rejected() -> None:
    settings = RowSettings(context=6, overlong="truncate_left_prompt")
    units, report = tokenise([demonstration("a", "bbb"), demonstration("a", "bbbb")], BYTES, settings)
    assert units[0][0].tokens.tolist() == [1, 5, 71, 71, 71, 2]
    assert report.reasons == {"the response alone is longer than the context": 1}


def test_overlong_as_an_error_names_the_record() -> None:
    with pytest.raises(DataError, match="8 tokens and the limit is 7") as caught:
        tokenise([demonstration("a", "bb", id="d7")], BYTES, RowSettings(context=7, overlong="error"))
    assert "d7" in str(caught.value)


def test_seq2seq_truncates_the_source(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(t5_like(tmp_path))
    settings = RowSettings(context=6, model_kind="seq2seq", overlong="truncate_left_prompt")
    ask = "How many cats sat on the mat?"
    units, report = tokenise(
        [demonstration(ask, "a"), demonstration("a", ask), demonstration("a", "b")], tokenizer, settings
    )
    assert units[0][0].source is not None and units[1][0].source is not None
    assert units[0][0].source.tolist() == [*tokenizer.encode(ask), 1][-6:]
    assert units[1][0].source.tolist() == [*tokenizer.encode("a"), 1]
    assert (report.kept, report.rejected, report.truncated) == (2, 1, 1)


@given(st.integers(3, 30), st.text("ab", max_size=20), st.text("ab", max_size=20))
@settings(max_examples=150, deadline=None)
def test_fitted_rows_fit_and_keep_the_whole_response(context: int, asked: str, answer: str) -> None:
    settings = RowSettings(context=context, overlong="truncate_left_prompt")
    units, report = tokenise([demonstration(asked, answer)], BYTES, settings)
    assert report.kept + report.rejected == 1 and len(units) == report.kept
    for (row,) in units:
        assert len(row) <= context and row.tokens[0] == 1 and not row.trained[0]
        assert row.tokens[row.trained].tolist() == [*BYTES.encode(answer), 2]


def test_records_that_the_template_refuses_are_counted() -> None:
    raw_talk = Demonstration(id="bad", messages=(text("a"), user("b"), assistant("c")))
    no_answer = Demonstration(id="none", messages=ASK)
    _, report = tokenise([demonstration("a", "b"), raw_talk, no_answer], BYTES, WIDE)
    assert (report.kept, report.rejected) == (1, 2)
    assert report.reasons["no trained token"] == 1 and any(r.startswith("template: ") for r in report.reasons)
    with pytest.raises(TemplateError):
        tokenise([raw_talk], BYTES, WIDE)


# --- prompts and rollouts


def test_prompts_that_the_template_refuses_are_counted_unless_it_refuses_all() -> None:
    picky = BYTES.with_changes(
        chat_template="{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ m['content'] + eos_token }}{% endfor %}"
    )
    plain, ruled = (
        Prompt(id="p", messages=(user("a"),)),
        Prompt(id="q", messages=(Message(role="system", content="s"), user("a"))),
    )
    found, report = prompt_ids([plain, ruled], picky, 50)
    assert [prompt.id for prompt, _ in found] == ["p"] and report.rejected == 1
    assert any("no system" in reason for reason in report.reasons)
    with pytest.raises(TemplateError, match="no system"):
        prompt_ids([ruled], picky, 50)


def test_prompt_ids() -> None:
    prompts = [Prompt(id="1", messages=ASK), Prompt(id="2", messages=(user("abc"),))]
    found, report = prompt_ids(prompts, BYTES, 5)
    assert found == [(prompts[0], PROMPT)] and report.reasons == {"prompt too long": 1}
    found, report = prompt_ids(prompts, BYTES, 5, overlong="truncate_left_prompt")
    assert found[1] == (prompts[1], [1, 71, 72, 2, 5]) and report.truncated == 1
    with pytest.raises(DataError, match="record 2"):
        prompt_ids(prompts, BYTES, 5, overlong="error")


def rollout(**changes: object) -> Rollout:
    made = Rollout(
        prompt=Prompt(id="p", messages=ASK),
        prompt_ids=tuple(PROMPT),
        response_ids=(71, 72, 2),
        logprobs=(-1.0, -0.5, -0.25),
        text="bc",
        finish="stop",
    )
    return made.replace(**changes)


def test_rollout_rows_by_hand() -> None:
    second = rollout(own=(True, False, True), finish="length")
    units = rollout_rows([rollout(), second, rollout()], [7, 3, 7])
    assert [len(u) for u in units] == [2, 1]
    batch = collate(units, "rollouts")
    assert batch.tokens_BT[0].tolist() == [*PROMPT, 71, 72, 2]
    assert batch["sampling.logprobs"][2].tolist() == [0, 0, 0, 0, 0, -1, -0.5, -0.25]
    assert batch.trained_BT[2].nonzero().flatten().tolist() == [5, 7]
    assert batch["finished"].tolist() == [1, 1, 0] and batch.unit_B.tolist() == [0, 0, 1]
    assert batch.records[2] is second


def test_rollout_is_what_rendering_makes() -> None:
    rendered = render_response(ASK, "bc", BYTES)
    ((row,),) = rollout_rows([rollout()], [0])
    assert tuple(row.tokens.tolist()) == rendered.ids and tuple(row.trained.tolist()) == rendered.trained
    assert render_prompt(ASK, BYTES) == PROMPT


def test_token_rewards_and_seq2seq_rollouts() -> None:
    ((row,),) = rollout_rows([rollout(token_rewards=(0.0, 0.0, 1.0))], [0], decoder_start=0)
    assert row.tokens.tolist() == [0, 71, 72, 2] and row.source is not None and row.source.tolist() == PROMPT
    batch = collate([[row]])
    assert batch["token_rewards"].tolist() == [[0, 0, 0, 1]]
    assert batch.source_BS is not None and batch.source_BS.tolist() == [PROMPT]
    assert batch.length_B.tolist() == [9]


def test_rollouts_that_cannot_be_trained_on() -> None:
    with pytest.raises(RolloutError, match="timed out"):
        rollout_rows([rollout(finish="failed", failure="timed out")], [0])
    with pytest.raises(EmptyMaskError):
        rollout_rows([rollout(response_ids=(), logprobs=())], [0])
    with pytest.raises(EmptyMaskError):
        rollout_rows([rollout(own=(False, False, False))], [0])


# --- collate


def test_collate_pads_and_selects() -> None:
    units = rollout_rows([rollout(), rollout(response_ids=(71,), logprobs=(-1.0,))], [0, 1])
    batch = collate(units)
    assert batch.tokens_BT[1].tolist() == [*PROMPT, 71, 0, 0] and batch.tokens_BT.dtype == torch.long
    assert batch.valid_BT[1].tolist() == [True] * 6 + [False] * 2
    short = batch.select([1])
    assert short.tokens_BT.shape == (1, 6) and short["sampling.logprobs"].shape == (1, 6)


def test_rows_of_unlike_columns_do_not_mix() -> None:
    with pytest.raises(AssertionError, match="columns"):
        collate([[Row(np.array([1, 2]), np.array([False, True]), {"a": 1.0})], [Row(np.array([1]), np.array([False]))]])
