"""Rewards made of others: ensembles, weighted sums with gates, recipes that name recipes, and what is logged of them."""

from __future__ import annotations

import itertools
import math
import random
import re
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from amenable.batch import Batch
from amenable.config.settings import parse
from amenable.errors import ConfigError, DataError
from amenable.rewards.base import Detail, DetailedReward, HeldOutScores, Reward, detail
from amenable.rewards.composite import CompositeReward, Config, Part, check
from amenable.rewards.ensemble import Combine, EnsembleReward
from amenable.rewards.ensemble import Config as Several
from amenable.rewards.length import LengthReward
from amenable.rewards.load import load_reward
from amenable.stages.drift import Drift
from amenable.stages.resume import resume
from amenable.stages.sample import Config as SampleConfig
from amenable.stages.sample import run as sample
from amenable.train.loop import row_figures
from amenable.train.sources import RewardScorer
from amenable.types import Prompt, Rollout, Sampling, Scored, user

from .stage_makers import Toys, break_and_resume, rows, start, toys, workspace

__all__ = ["toys", "workspace"]


class Says:
    """Scores what the response says at one place: "1 5 2" is 5 at place 1. Knows its held-out scores if told."""

    name = "says"

    def __init__(self, place: int = 0, mean: float | None = None, std: float = 1.0, p99: float = 9.0) -> None:
        self.place = place
        self.held_out = None if mean is None else HeldOutScores(count=9, mean=mean, std=std, p99=p99)

    def score(self, items: Sequence[Scored]) -> list[float]:
        return [float(item.response.split()[self.place]) for item in items]

    def detail(self, items: Sequence[Scored]) -> Detail:
        scores = self.score(items)
        known = {} if self.held_out is None else {"beyond": [float(s > self.held_out.p99) for s in scores]}
        return Detail(scores=scores, figures=known)


SAYS = f"{__name__}:Says"


def said(*responses: str) -> list[Scored]:
    return [Scored(prompt=(user("Go on."),), response=response) for response in responses]


def load(spec: str, options: Mapping[str, Any] | None = None, **more: Any) -> Reward:
    return load_reward(spec, lambda reference: Path(reference), options=options or {}, **more)


# Ensembles


@pytest.mark.parametrize(
    ("how", "by_hand"),
    [  # of 1, 5, 3: mean 3, worst 1, variance (4 + 4 + 0) / 3
        (Combine(), 3.0),
        (Combine(combine="worst"), 1.0),
        (Combine(combine="penalised", penalty=0.5), 3.0 - 0.5 * math.sqrt(8 / 3)),
    ],
)
def test_an_ensemble_by_hand(how: Combine, by_hand: float) -> None:
    reward = EnsembleReward([Says(0), Says(1), Says(2)], how)
    found = reward.detail(said("1 5 3", "2 2 2"))
    assert found.scores == pytest.approx([by_hand, 2.0])
    assert found.figures["member_2"] == [5.0, 2.0]
    assert found.figures["disagreement"] == pytest.approx([math.sqrt(8 / 3), 0.0])
    assert isinstance(reward, DetailedReward)


def test_ensembles_agree_with_another_reckoning() -> None:
    draw = random.Random(0)
    table = [[draw.gauss(0, 2) for _ in range(4)] for _ in range(30)]
    items = said(*(" ".join(map(str, row)) for row in table))
    members = [Says(i) for i in range(4)]
    penalised = EnsembleReward(members, Combine(combine="penalised", penalty=2.0)).score(items)
    assert penalised == pytest.approx([statistics.fmean(row) - 2 * statistics.pstdev(row) for row in table])
    worst, mean = (EnsembleReward(members, Combine(combine=how)).score(items) for how in ("worst", "mean"))  # type: ignore[arg-type]
    assert all(w < m for w, m in zip(worst, mean, strict=True))
    shuffled = EnsembleReward(members[::-1], Combine(combine="penalised", penalty=2.0)).score(items)
    assert shuffled == pytest.approx(penalised)


def test_beyond_is_the_share_of_members_that_see_it() -> None:
    reward = EnsembleReward([Says(0, mean=0.0, p99=2.0), Says(1, mean=0.0, p99=4.0), Says(0)])
    assert reward.detail(said("3 3", "3 5", "1 1")).figures["beyond"] == [0.5, 1.0, 0.0]


# Sums and gates


def composite(**parts: Part) -> CompositeReward:
    places = {name: Says(i, mean=10.0, std=2.0) for i, name in enumerate(parts)}
    return CompositeReward(Config(parts=parts), places)


def part(**settings: Any) -> Part:
    return Part(reward=SAYS, **settings)


def test_a_sum_by_hand() -> None:
    reward = composite(a=part(weight=2.0, scale="standard"), b=part(weight=-3.0, scale="probability"), c=part(weight=0))
    found = reward.detail(said("14 0 7", f"9 {math.log(3)} 7"))
    assert found.scores == pytest.approx([2 * 2 - 3 * 0.5, 2 * -0.5 - 3 * 0.75])
    assert found.figures["a"] == pytest.approx([2.0, -0.5])  # (14 - 10) / 2, (9 - 10) / 2
    assert found.figures["b"] == pytest.approx([0.5, 0.75])  # 3 / (1 + 3)
    assert found.figures["c"] == [7.0, 7.0]
    assert found.figures["beyond"] == [1.0, 0.0]  # of a alone: b is subtracted, c not added


@pytest.mark.parametrize(
    ("gate", "open_total", "low_total"),  # where the sum is 5 and the gate open; where the sum is -5 and it is open
    [
        ({"gate_above": 1.0}, 0.0, -5.0),
        ({"gate_above": 1.0, "gate_total": -7.0}, -7.0, -7.0),
        ({"gate_above": 1.0, "gate": "replace"}, 0.0, 0.0),
        ({"gate_above": 1.0, "gate": "replace", "gate_total": 2.0}, 2.0, 2.0),
    ],
)
def test_a_gate_caps_or_replaces_the_total(gate: dict[str, Any], open_total: float, low_total: float) -> None:
    reward = composite(a=part(), b=part(weight=0, **gate))
    found = reward.detail(said("5 2", "-5 2", "5 1"))
    assert found.scores == [open_total, low_total, 5.0]
    assert found.figures["b/gate"] == [1.0, 1.0, 0.0]


def test_a_gate_below_and_the_order_of_parts() -> None:
    settings = {
        "a": part(weight=1.0, gate_below=0.0, gate="replace", gate_total=3.0),
        "b": part(weight=1.0, gate_above=5.0, gate="replace", gate_total=1.0),
        "c": part(weight=1.0, gate_below=-1.0, gate_total=2.0),
    }
    places = {name: Says(i) for i, name in enumerate(settings)}
    items = said(*(" ".join(map(str, values)) for values in itertools.product((-2.0, 1.0, 6.0), repeat=3)))
    totals = {
        tuple(CompositeReward(Config(parts={name: settings[name] for name in order}), places).score(items))
        for order in itertools.permutations(settings)
    }
    assert len(totals) == 1
    by_values = dict(zip([item.response for item in items], totals.pop(), strict=True))
    assert by_values["1.0 1.0 1.0"] == 3.0  # nothing open
    assert by_values["-2.0 6.0 1.0"] == 1.0  # the lower of two that replace
    assert by_values["-2.0 1.0 -2.0"] == 2.0  # replaced by 3, then capped
    assert by_values["6.0 1.0 -2.0"] == 2.0


def test_ever_more_of_a_weighted_part_never_lowers_the_total() -> None:
    reward = composite(a=part(weight=0.5, gate_below=0.0), b=part())
    scores = reward.score(said(*(f"{a} 3" for a in range(-5, 6))))
    assert scores == sorted(scores) and scores[0] < scores[-1]


# Recipes


def test_recipes_by_name_within_recipes(tmp_path: Path) -> None:
    inner = tmp_path / "parts" / "pair.toml"
    inner.parent.mkdir()
    code = f'reward = "{SAYS}"\noptions.place'
    inner.write_text(f'models = ["{SAYS}", "length"]\ncombine = "worst"\n')
    (tmp_path / "parts" / "sum.toml").write_text(f'[parts.pair]\nreward = "pair.toml"\n[parts.second]\n{code} = 1\n')
    outer = tmp_path / "outer.toml"
    outer.write_text('[parts.sum]\nreward = "parts/sum.toml"\nweight = 10\n[parts.words]\nreward = "length"\n')
    read: dict[str, Path] = {}
    found = detail(load(str(outer), read=read), said("7 2 0", "1 1 1"))
    assert found.scores == [10 * (3 + 2) + 3, 10 * (1 + 1) + 3]
    assert found.figures["sum/pair/member_1"] == [7.0, 1.0] and found.figures["sum/second"] == [2.0, 1.0]
    assert set(read) == {str(outer), "parts/sum.toml", "pair.toml"}


def test_the_recipes_in_the_docs_are_right() -> None:
    page = (Path(__file__).parent.parent / "docs" / "rewards.md").read_text(encoding="utf-8")
    found = re.findall(r"<!-- reward recipe -->\n```toml\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    assert len(found) == 2
    check(parse(Config, tomllib.loads(found[0]), where="docs"), "docs")
    assert parse(Several, tomllib.loads(found[1]), where="docs").combine == "penalised"


def parts(**settings: dict[str, Any]) -> dict[str, Any]:
    return {"parts": {name: {"reward": "length", **about} for name, about in settings.items()}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "parts"),
        ({"parts": {}}, "no parts"),
        (parts(a={"weight": 0}), "nothing is rewarded"),
        (parts(a={"gate": "replace"}), "never opens"),
        (parts(a={"gate_total": 1}), "never opens"),
        (parts(a={"gate_below": 2, "gate_above": 1}), "every value"),
        (parts(**{"a b": {}}), "not a fit name"),
        (parts(beyond={}), "not a fit name"),
        (parts(a={"gate_above": 1, "gate_total": math.inf}), "finite"),
        (parts(a={"scale": "standard"}), "not known"),
        (parts(a={"weigth": 2}), "weight"),
        (parts(a={"options": {"max_words": 3}}), "no options"),
        (parts(a={"reward": "rules"}), "no rule"),
    ],
)
def test_mistakes_in_a_composite_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("composite", options)
    assert words in str(caught.value)


def test_mistakes_in_ensembles_and_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two members"):
        load("ensemble", {"models": ["length"]})
    with pytest.raises(ConfigError, match="does nothing"):
        load("ensemble", {"models": ["length", "length"], "penalty": 2.0})
    (tmp_path / "a.toml").write_text('[parts.b]\nreward = "b.toml"\n')
    (tmp_path / "b.toml").write_text('models = ["length", "a.toml"]\n')
    with pytest.raises(ConfigError, match="names itself"):
        load(str(tmp_path / "a.toml"))
    with pytest.raises(ConfigError, match="no file"):
        load(str(tmp_path / "c.toml"))
    with pytest.raises(ConfigError, match="no options"):
        load(str(tmp_path / "a.toml"), {"combine": "worst"})


# What is logged


def batch_of(responses: Sequence[str]) -> Batch:
    rollouts = tuple(
        Rollout(
            prompt=Prompt(id=f"p{i}", messages=(user("Go on."),)),
            prompt_ids=(1,),
            response_ids=(2,),
            logprobs=(0.0,),
            text=response,
            finish="stop",
        )
        for i, response in enumerate(responses)
    )
    row_B1 = torch.ones(len(rollouts), 1, dtype=torch.bool)
    return Batch(
        tokens_BT=row_B1.long(), valid_BT=row_B1, trained_BT=row_B1, unit_B=torch.arange(len(rollouts)), records=rollouts
    )  # fmt: skip


def test_every_part_is_a_column_and_a_metric() -> None:
    reward = composite(a=part(gate_above=100.0), b=part(weight=2.0))
    columns = RewardScorer(reward).columns(batch_of(["1 2", "3 14"]), ("scores",))
    assert columns["reward.scores"].tolist() == [5.0, 31.0]
    assert row_figures(columns, asked=["reward.scores"]) == {
        "reward/a": 2.0,
        "reward/a/beyond": 0.0,
        "reward/a/gate": 0.0,
        "reward/b": 8.0,
        "reward/b/beyond": 0.5,
        "score_beyond": 0.25,
    }
    assert set(RewardScorer(LengthReward()).columns(batch_of(["a b"]), ("scores",))) == {"reward.scores"}


@pytest.mark.parametrize(("scores", "words"), [([1.0], "1 numbers for 2"), ([1.0, math.nan], "no score")])
def test_a_reward_that_breaks_its_word_is_named(scores: list[float], words: str) -> None:
    class Broken:
        name = "broken"

        def score(self, items: Sequence[Scored]) -> list[float]:
            return scores

    with pytest.raises(DataError, match=words) as caught:
        detail(Broken(), said("a", "b"))
    assert "broken" in str(caught.value)


def test_the_alarm_is_raised_once_and_only_where_scores_stay_beyond() -> None:
    told: list[str] = []
    drift = Drift(lambda text, kind: told.append(f"{kind}: {text}"))
    # the means of five from step 5 on: 0.48, 0.48, 0.48, 0.48, 0.68; of the first three 0.67, which does not count
    shares = [0.0, 1.0, 1.0, 0.0, 0.4, 0.0, 1.0, 1.0, 1.0, 1.0]
    for step, share in enumerate(shares, start=1):
        drift.see(step, {"score_beyond": share, "score": 1.0})
        assert bool(told) == (step >= 9)
    assert len(told) == 1 and told[0].startswith("warning: over-optimisation: at step 9, 68%")
    drift.see(11, {"score": 1.0})  # no figure, no word


def test_the_alarm_knows_after_a_resume_what_it_saw_before(
    toys: Toys, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amenable.stages.drift.LIMIT", 0.0)  # raised as soon as five steps were seen
    resumed = break_and_resume("ppo", toys.mapping("ppo"), workspace, step=5)
    assert "over-optimisation: at step 5" in resumed.text
    assert resume(resumed.path).text == resumed.text  # where no step is left


def test_the_alarm_looks_at_all_responses_and_not_at_the_best_of_them(
    toys: Toys, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    monkeypatch.setattr(Drift, "see", lambda self, step, metrics: seen.append(metrics["score_beyond"]))
    settings = ("algorithm.name=rejection_sampling", "algorithm.truncated=score", "responses_per_prompt=4")
    run = start("ppo", toys.mapping("ppo", *settings, "train.steps=3"), workspace, "best")
    assert seen == [row["score_beyond"] for row in rows(run.path)]
    assert all(row["num_responses"] == 32 and row["responses_kept"] == 0.25 for row in rows(run.path))


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_a_recipe_is_the_reward_of_an_online_run(algorithm: str, toys: Toys, workspace: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        f'[parts.liked]\nreward = "{toys.reward}"\n[parts.words]\nreward = "length"\nweight = -0.1\ngate_above = 8\n'
    )
    settings = (f"reward={recipe}", f"algorithm.name={algorithm}", "responses_per_prompt=2", "train.steps=2")
    run = start("ppo", toys.mapping("ppo", *settings), workspace, "recipe")
    for row in rows(run.path):
        assert row["score"] <= row["reward/liked"] - 0.1 * row["reward/words"] + 1e-5
        assert 0 <= row["reward/words/gate"] <= 1
    data = (run.path / "data.json").read_text()
    assert str(recipe) in data and toys.reward in data


def test_a_recipe_picks_the_best_of_several_responses(toys: Toys, workspace: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "short.toml"
    recipe.write_text('[parts.words]\nreward = "length"\nweight = -1\n')
    asked = SampleConfig(
        model=toys.sft,
        prompts=("Is the hat blue?",),
        responses_per_prompt=4,
        sampling=Sampling(max_tokens=8, temperature=2),
    )
    every = [row["response"] for row in sample(asked, workspace=workspace).details["responses"]]
    (picked,) = sample(asked.replace(best_of=str(recipe)), workspace=workspace).details["responses"]
    assert len(picked["response"].split()) == min(len(text.split()) for text in every)
    assert len({len(text.split()) for text in every}) > 1
