"""Answers to the same held-out prompts while a policy learns from what is there before: from step 0 on, and of no influence."""

from __future__ import annotations

import json

import pytest

from amenable.data.split import assign_splits
from amenable.types import Demonstration, assistant, user

from .stage_makers import (
    COLOURS,
    THINGS,
    assert_same_run,
    assert_same_weights,
    break_and_resume,
    demonstrations,
    question,
    rows,
    start,
    toys,
    workspace,
    write_rows,
)

__all__ = ["toys", "workspace"]

FAST = "train.optimizer.learning_rate=0.01"


@pytest.fixture
def ran(toys, workspace):
    """Run a stage with overrides: (stage, name, *overrides) → RunResult."""

    def run(stage, name, *overrides, **more):
        return start(stage, toys.mapping(stage, *overrides), workspace, name, **more)

    return run


def steps_of(run):
    return sorted({row["step"] for row in rows(run.path, "watched.jsonl")})


def said(run, step):
    return {row["prompt"]: row["response"] for row in rows(run.path, "watched.jsonl") if row["step"] == step}


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto"])
def test_the_same_held_out_prompts_are_answered_from_step_0_to_the_end(stage, ran, toys, workspace):
    run = ran(stage, "run", FAST, "train.steps=7", "train.precision=float32")  # as `sample` computes on a CPU
    assert steps_of(run) == [0, 3, 6, 7]  # as often as held-out data are measured, and before the first step
    answers = [said(run, step) for step in steps_of(run)]
    first = answers[0]
    assert len(first) == 4 and all(list(a) == list(first) for a in answers)
    split = assign_splits(demonstrations(), (0.8, 0.2, 0.0))
    assert set(first) <= {d.messages[0].content for d in split if d.split == "validation"}
    for model, step in ((toys.base if stage == "sft" else toys.sft, 0), (run.model, 7)):
        asked = {"model": str(model), "prompts": list(first), "sampling": {"temperature": 0.0, "max_tokens": 16}}
        sampled = start("sample", asked, workspace).details["responses"]
        assert {row["prompt"]: row["response"] for row in sampled} == said(run, step)
    watched = rows(run.path, "watched.jsonl")
    assert all(len(row["tokens"]) == len(row["logprobs"]) <= 16 and row["score"] is None for row in watched)
    if stage == "sft":
        assert not any("kl" in row for row in watched)  # there is no reference
    else:
        assert all(abs(kl) < 1e-4 for row in watched if row["step"] == 0 for kl in row["kl"])
        assert any(abs(kl) > 1e-3 for row in watched if row["step"] == 7 for kl in row["kl"])


@pytest.mark.parametrize("more", [(), ("lora.rank=2", "lora.dropout=0.2")])
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_looking_changes_nothing(stage, more, ran):
    often, never = ran(stage, "often", "sample_every=1", *more), ran(stage, "never", "sample_every=0", *more)
    assert steps_of(often) == [0, 1, 2, 3, 4, 5, 6]
    assert not (never.path / "watched.jsonl").exists()
    assert rows(often.path) == rows(never.path)
    assert_same_weights(often.model, never.model)


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_resumed_run_has_each_step_once(stage, at, ran, toys, workspace):
    """Broken off before its first checkpoint or between two: no step is doubled, and none is missing."""
    mapping = toys.mapping(stage, "sample_every=1")
    whole = start(stage, mapping, workspace, "whole")
    again = break_and_resume(stage, mapping, workspace, at)
    assert_same_run(again.path, whole.path)
    assert steps_of(again) == [0, 1, 2, 3, 4, 5, 6] and len(rows(again.path, "watched.jsonl")) == 7 * 4


def test_how_often(ran):
    assert steps_of(ran("sft", "own", "sample_every=4", "train.validate_every=0")) == [0, 4, 6]
    warned = []
    settings = {
        "unmeasured": ("train.validate_every=0",),
        "none held out": ("data.held_out_share=0.0",),
        "asked for": ("data.held_out_share=0.0", "sample_every=2"),
    }
    for number, more in enumerate(settings.values()):
        run = ran(
            "sft", f"none-{number}", *more, on_event=lambda e: warned.append(e.text) if e.kind == "warning" else 0
        )
        assert not (run.path / "watched.jsonl").exists()
    assert warned == ["no prompts are held out that the model could answer: sample_every writes nothing"]


def test_a_reward_model_answers_nothing(ran):
    assert not (ran("reward", "judge").path / "watched.jsonl").exists()


def test_of_a_conversation_all_that_stands_before_the_last_answer(ran, workspace, tmp_path):
    talks = [
        Demonstration(id=f"t{i}", messages=(user(question(c, t)), assistant("Hm."), user("So?"), assistant("Yes.")))
        for i, (c, t) in enumerate((c, t) for c in COLOURS for t in THINGS)
    ]
    twice = [talk.replace(id=f"again {talk.id}") for talk in talks]  # a prompt is asked once
    data = write_rows(tmp_path / "talks.jsonl", [one for both in zip(talks, twice, strict=True) for one in both])
    asked = list(said(ran("sft", "talks", f"data.train={json.dumps([data])}"), 0))
    assert len(asked) == 4 and all(p.startswith("Is the ") and p.endswith("?\nHm.\nSo?") for p in asked)


def test_an_encoder_decoder_answers_as_well(ran, toys):
    pairs = (
        "algorithm.name=source_target",
        f"data.train={json.dumps([toys.data['demonstrations']])}",
        "train.precision=float32",
    )
    base = ran("pretrain", "pairs", *pairs)
    taught = ran("sft", "taught", f"model={json.dumps(base.model)}", "train.precision=float32")
    assert steps_of(taught) == [0, 3, 6] and len(said(taught, 0)) == 4


def test_prompts_that_leave_no_room_are_passed_over(ran, tmp_path):
    """The context is 64 tokens: a quarter of it is for the answer."""
    long, short = "Is the ball red? " * 5, "Is the hat blue?"
    held = [
        Demonstration(id=f"h{i}", messages=(user(words), assistant("Yes.")), split="validation")
        for i, words in enumerate((long, short))
    ]
    data = write_rows(tmp_path / "held.jsonl", held)
    run = ran("sft", "room", f"data.validation={json.dumps([data])}")
    assert list(said(run, 0)) == [short]
