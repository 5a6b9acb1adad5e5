"""The ladder: what best-of-n is compared with, and of which answers a KL is told."""

from __future__ import annotations

from typing import Any

import pytest

from amenable.chat.tokenizer import Tokenizer
from amenable.config.folder import WorkspaceFolder
from amenable.rewards.length import LengthReward
from amenable.stages.build import ON_CPU, DecoderShape, Policy, new_policy, open_policy
from amenable.stages.ladder import Climb, Rung, ask, climb
from amenable.stages.pretrain import with_marks
from amenable.types import Document, Prompt, Sampling, user
from tests.stage_makers import Toys, toys, workspace

__all__ = ["toys", "workspace"]

PROMPTS = [Prompt(id=f"p{i}", messages=(user(f"Is the {thing} red?"),)) for i, thing in enumerate(("hat", "cup"))]
PLAIN = Sampling(max_tokens=6)


@pytest.fixture
def models(toys: Toys, workspace: WorkspaceFolder) -> tuple[Policy, Policy]:
    return open_policy(toys.sft, workspace), open_policy(toys.base, workspace)


class Indifferent(LengthReward):
    """Finds all responses equal, so that the first of each prompt's candidates is picked."""

    def score(self, items: Any) -> list[float]:
        return [0.0 for _ in items]


def test_no_candidate_of_best_of_n_is_what_it_is_compared_with(models: tuple[Policy, Policy]) -> None:
    seeds = []
    for n in (1, 2, 3):
        rung = Rung(f"best-of-{n}", models[0], best_of=n, reward=Indifferent())
        seeds += [rollout.seed for rollout in ask(rung, PROMPTS, PLAIN, seed=0)]
    assert len(set(seeds)) == len(seeds)


def test_texts_are_measured_on_decoders_only(models: tuple[Policy, Policy], toys: Toys) -> None:
    tokenizer = with_marks(Tokenizer.load(toys.tokenizer), "seq2seq")
    shape = DecoderShape(hidden_size=32, num_layers=1, num_heads=2, context=64)
    apart = new_policy(shape, tokenizer, ON_CPU, seed=0, kind="seq2seq")
    rungs, texts = [Rung("SFT", models[0]), Rung("apart", apart)], [Document(id="d", text="The hat is red.")]
    found = climb(rungs, PROMPTS, against="SFT", judge=LengthReward(), sampling=PLAIN, seed=0, documents=texts)
    assert found.bits_per_byte["apart"] is None and found.bits_per_byte["SFT"] is not None
    assert [note for note in found.notes if "Bits per byte of apart" in note]


def rise(models: tuple[Policy, Policy], sampling: Sampling, against: str = "SFT") -> Climb:
    sft, other = models
    rungs = [
        Rung("SFT", sft),
        Rung("SFT again", sft),
        Rung("best", sft, best_of=2, reward=LengthReward()),
        Rung("other", other),
    ]
    return climb(rungs, PROMPTS, against=against, judge=LengthReward(), sampling=sampling, seed=0)


@pytest.mark.parametrize(
    "settings, why",
    [
        ({}, ""),
        ({"temperature": 0.0}, "greedily"),
        ({"top_k": 3}, "with top_k,"),
        ({"top_p": 0.9, "repetition_penalty": 1.2}, "with top_p and repetition_penalty,"),
        ({"min_p": 0.1}, "with min_p,"),
    ],
)
def test_no_kl_is_told_of_answers_that_are_not_drawn_from_the_models_own_probabilities(
    models: tuple[Policy, Policy], settings: dict[str, Any], why: str
) -> None:
    found = rise(models, PLAIN.replace(**settings))
    told = {name: None if kl is None else kl.value for name, kl in found.kl.items()}
    assert told["SFT"] == told["SFT again"] == 0.0 and told["best"] == pytest.approx(0.193, abs=1e-3)
    assert (told["other"] is None) == bool(why)
    assert [why in note for note in found.notes] == [True] * bool(why)


def test_the_best_of_n_has_no_kl_to_it_but_its_own(models: tuple[Policy, Policy]) -> None:
    found = rise(models, PLAIN, against="best")
    told = {name: None if kl is None else kl.value for name, kl in found.kl.items()}
    assert told == {"SFT": None, "SFT again": None, "best": 0.0, "other": None}
    assert ["best of 2" in note for note in found.notes] == [True]
