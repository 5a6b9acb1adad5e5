"""Splits: by prompt and never by row, the same everywhere, in the asked shares."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amenable.data.split import assign_splits
from amenable.splitting import FRACTIONS, prompt_key, side_named, split_of
from amenable.stages.data import DataConfig
from amenable.types import (
    Comparison,
    Demonstration,
    Document,
    Label,
    Message,
    Prompt,
    Ranking,
    Rating,
    assistant,
    text,
    user,
)

QUESTION = (user("What is  the capital of France?"),)


def test_key_is_the_first_user_turn() -> None:
    system = Message(role="system", content="Be kind.")
    records = [
        Prompt(id="1", messages=QUESTION),
        Prompt(id="2", messages=(system, user("what is the capital\nof france?"))),
        Demonstration(id="3", messages=(*QUESTION, assistant("Paris."), user("And of Italy?"), assistant("Rome."))),
        Comparison(id="4", prompt=QUESTION, chosen="Paris.", rejected="Rome."),
        Ranking(id="5", prompt=QUESTION, responses=("a", "b"), tiers=(0, 1)),
        Rating(id="6", prompt=QUESTION, response="Paris.", score=7),
        Label(id="7", prompt=QUESTION, response="Paris.", label=True),
    ]
    assert {prompt_key(r) for r in records} == {"what is the capital of france?"}


def test_keys_without_a_prompt() -> None:
    assert prompt_key(Document(id="Book 1", text="a")) == "Book 1"
    assert prompt_key(Prompt(id="1", messages=(text("Once upon"),))) == "once upon"
    assert prompt_key(Label(id="1", prompt=(), response="Good  film", label=True)) == "good film"
    pair = Comparison(id="1", prompt=(), chosen="b", rejected="a")
    assert prompt_key(pair) == prompt_key(pair.replace(chosen="a", rejected="b")) == "a"
    assert prompt_key(Ranking(id="1", prompt=(), responses=("c", "b"), tiers=(0, 0))) == "b"


def test_split_is_stable_over_machines_and_versions() -> None:
    # Fixed for good: a change here would move records between train and test of existing runs.
    found = {side: [i for i in range(200) if split_of(f"question {i}") == side] for side in ("validation", "test")}
    assert found == {"validation": [30, 56, 68, 120, 136], "test": [98, 118, 127, 140, 143, 187]}


def test_nothing_that_is_trained_on_by_default_is_called_held_out_anywhere() -> None:
    held_out = DataConfig(train=("a",)).held_out_share
    assert FRACTIONS[0] == 1 - held_out and sum(FRACTIONS) == 1
    keys = [f"question {i}" for i in range(2000)]
    trained_on = {key for key in keys if split_of(key, (1 - held_out, held_out, 0.0)) == "train"}
    assert trained_on == {key for key in keys if split_of(key) == "train"}


def test_sides_are_known_by_the_first_word_of_their_usual_names() -> None:
    assert {side_named(name) for name in ("train", " Training ", "TRAIN_SFT", "train.gz")} == {"train"}
    assert {side_named(name) for name in ("valid", "val", "dev", "eval", "validation-mismatched")} == {"validation"}
    assert {side_named(name) for name in ("test", "Testing", "test_prefs")} == {"test"}
    assert {side_named(name) for name in ("", None, "trainer", "contest", "all", 3)} == {None}


def test_shares() -> None:
    found = Counter(split_of(str(i), (0.8, 0.15, 0.05)) for i in range(20_000))
    # Three standard errors of a share of 0.15 in 20,000 are 0.0076.
    assert found["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert found["validation"] / 20_000 == pytest.approx(0.15, abs=0.01)
    assert {split_of(str(i), (1, 0, 0)) for i in range(500)} == {"train"}
    assert {split_of(str(i), (0.5, 0.5, 0)) for i in range(500)} == {"train", "validation"}
    assert {split_of(str(i), (0, 0, 2)) for i in range(500)} == {"test"}


def test_seed_draws_another_split() -> None:
    sides = [[split_of(str(i), seed=seed) for i in range(200)] for seed in (0, 0, 1)]
    assert sides[0] == sides[1] != sides[2]


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([None, None, None, "train", "test"])), max_size=40)
)
def test_split_by_prompt_never_leaks(drawn: list[tuple[str, None]]) -> None:
    records = [
        Comparison(id=str(i), prompt=(user(ask),), chosen=f"x{i}", rejected="y", split=split)
        for i, (ask, split) in enumerate(drawn)
    ]
    split = assign_splits(records, (0.5, 0.25, 0.25))
    assert [r.replace(split=None) for r in split] == [r.replace(split=None) for r in records]
    assert all(a.split == b.split for a, b in zip(records, split, strict=True) if a.split is not None)
    sides: defaultdict[str, set[str | None]] = defaultdict(set)
    given_sides: defaultdict[str, set[str | None]] = defaultdict(set)
    for before, after in zip(records, split, strict=True):
        sides[prompt_key(after)].add(after.split)
        given_sides[prompt_key(before)] |= {before.split} - {None}
    # One side per prompt, unless the set itself came with several.
    assert all(len(found) == max(1, len(given_sides[key])) for key, found in sides.items())


def test_half_split_sets_follow_the_most_held_out() -> None:
    prompt = Prompt(id="1", messages=QUESTION)
    records = [prompt.replace(split="train"), prompt.replace(split="test"), prompt]
    assert [r.split for r in assign_splits(records)] == ["train", "test", "test"]
