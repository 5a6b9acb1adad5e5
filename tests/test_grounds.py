"""What the quickstart walks on: what is measured was never trained on, and every stage's settings are settings it has."""

from __future__ import annotations

import pytest

from amenable.config.settings import parse
from amenable.data.primer import HELD_OUT, primer_records
from amenable.data.source import load
from amenable.stages.catalog import find
from amenable.stages.grounds import Ground, Primer, World, scaled

GROUNDS = [World(), Primer()]


@pytest.mark.parametrize("ground", GROUNDS, ids=["world", "primer"])
def test_settings_are_those_of_the_stages(ground: Ground) -> None:
    sections = {
        "pretrain": ground.pretrain(), "sft": ground.sft("base"), "reward": ground.reward("sft", "project"),
        "ppo": ground.ppo("sft", "reward"),
    }  # fmt: skip
    for stage, settings in sections.items():
        if settings is not None:
            config_type, _ = find(stage)
            assert parse(config_type, settings, where=stage)


@pytest.mark.parametrize("ground", GROUNDS, ids=["world", "primer"])
def test_held_out_prompts_are_neither_ranked_nor_trained_on(ground: Ground) -> None:
    (source,) = ground.ppo("sft", "reward")["data"]["train"]
    asked = {p.messages for p in load(source, "prompts").records if p.split == "train"}
    (source,) = ground.sft("base")["data"]["train"]
    asked |= {d.messages[:-1] for d in load(source, "demonstrations").records if d.split == "train"}
    asked |= {p.messages for p in ground.to_rank(200)}
    held_out = ground.held_out(200)
    assert 100 <= len(held_out) <= 200
    assert not asked & {p.messages for p in held_out}
    assert not asked & {p.messages for p in ground.showcase()}


def test_no_prompt_is_ranked_twice_for_one_reward_model() -> None:
    ranked = {r.prompt for r in load("primer", "rankings").records}
    assert ranked and not ranked & {p.messages for p in Primer().to_rank(None)}


def test_the_primers_held_out_prompts_are_all_of_its_test_side_and_hold_two_clusters_back() -> None:
    ground = Primer()
    held_out = ground.held_out(None)
    assert {p.split for p in held_out} == {"test"} and {p.task for p in held_out} >= set(HELD_OUT)
    assert not {d.task for d in primer_records("demonstrations") if d.split == "train"} & set(HELD_OUT)
    assert all(d.split == "train" for d in ground.shots())


def test_no_text_that_measures_bits_per_byte_is_trained_on() -> None:
    texts = {d.text for d in Primer().documents()}
    trained = {d.text for d in primer_records("documents")}
    answers = {d.messages[-1].content for d in primer_records("demonstrations") if d.split == "train"}
    assert len(texts) >= 20 and not texts & (trained | answers)


def test_effort_scales_every_stage_and_leaves_something_to_do() -> None:
    half, whole = Primer(effort=0.5), Primer()
    for stage in ("sft", "ppo"):
        steps = [getattr(g, stage)(*("a", "b")[: 1 + (stage != "sft")])["train"]["steps"] for g in (half, whole)]
        assert steps[0] == pytest.approx(steps[1] / 2, abs=1)
    # the reward model's steps are two passes over what is ranked
    assert whole.reward("a", "b")["train"]["epochs"] == half.reward("a", "b")["train"]["epochs"] == 2
    assert len(half.to_rank(None)) == pytest.approx(len(whole.to_rank(None)) / 2, abs=1)
    assert scaled(1, 0.001) == 2
