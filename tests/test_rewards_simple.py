"""The rewards without a model: rules, length, and the simulated labeler as a reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from amenable.errors import ConfigError
from amenable.feedback.simulated import SimulatedLabeler
from amenable.rewards import labeler, rules
from amenable.rewards.base import Reward
from amenable.rewards.labeler import LabelerReward
from amenable.rewards.length import LengthReward
from amenable.rewards.load import load_reward
from amenable.rewards.rules import RulesReward
from amenable.types import Scored, user


def item(response: str, *references: str, finished: bool = True) -> Scored:
    return Scored(prompt=(user("What is 2 plus 3?"),), response=response, references=references, finished=finished)


def test_all_are_rewards():
    for reward in (LengthReward(), LabelerReward(), RulesReward(rules.Config(max_words=3))):
        assert isinstance(reward, Reward)
        assert reward.name


@pytest.mark.parametrize(
    ("config", "holds", "fails"),
    [
        (rules.Config(contains=("please",)), item("Yes, Please!"), item("I am pleased.")),
        (rules.Config(avoids=("bad",)), item("A badger."), item("That is bad.")),
        (rules.Config(min_words=3), item("one two three"), item("one two")),
        (rules.Config(max_words=2), item("one two"), item("one two three")),
        (rules.Config(ends_properly=True), item('He said "yes."'), item("He said")),
        (rules.Config(ends_properly=True), item("Done."), item("Done.", finished=False)),
        (rules.Config(regex=r"^\d+$"), item("12"), item("12 or so")),
        (rules.Config(number_is_reference=True), item("First 2, then 1,005.", "1005"), item("1005, no, 7", "1005")),
        (rules.Config(equals_reference=True), item(" paris ", "Paris.", "London"), item("Paris it is", "Paris")),
    ],
)
def test_each_rule_sees_what_it_is_for(config, holds, fails):
    assert RulesReward(config).score([holds, fails]) == [1.0, 0.0]


def test_share_of_rules_and_all_or_nothing():
    config = rules.Config(contains=("two", "three"), max_words=3, ends_properly=True)
    said = item("Only two.")
    assert RulesReward(config).score([said]) == [0.75]
    assert RulesReward(config).held(said)["contains:three"] is False
    assert RulesReward(config.replace(all_or_nothing=True)).score([said, item("Two three.")]) == [0.0, 1.0]


def test_mistakes_in_rules_are_told():
    with pytest.raises(ConfigError, match="no rule"):
        RulesReward(rules.Config())
    with pytest.raises(ConfigError, match="regular expression"):
        RulesReward(rules.Config(regex="("))
    with pytest.raises(ConfigError, match="needs references"):
        RulesReward(rules.Config(equals_reference=True)).score([item("5")])
    with pytest.raises(ConfigError, match="holds a number"):
        RulesReward(rules.Config(number_is_reference=True)).score([item("5", "five")])


def test_length_counts_words():
    assert LengthReward().score([item("a b  c\nd"), item("")]) == [4.0, 0.0]


def test_labeler_reward_reads_quality_or_rating():
    good, bad = item("2 plus 3 is 5.", "5"), item("", "5")
    judge = SimulatedLabeler(noise=0.8, seed=3)
    plain = LabelerReward(labeler.Config(scale=4.0, shift=-2.0)).score([good, bad])
    assert plain == [-2.0 + 4.0 * judge.quality(good), -2.0]
    noisy = LabelerReward(labeler.Config(read="rating", noise=0.8, seed=3)).score([good, bad])
    assert noisy == [(judge.rate(good) - 1) / 6, (judge.rate(bad) - 1) / 6]


class Shouting:
    """A reward of a user's own: the number of exclamation marks, times `weight`."""

    name = "shouting"

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def score(self, items: Sequence[Scored]) -> list[float]:
        return [self.weight * item.response.count("!") for item in items]


def own(spec: str, **options: object) -> Reward:
    return load_reward(spec, lambda reference: Path(reference), options=options)


def test_a_class_of_the_users_own_is_a_reward():
    reward = own(f"{__name__}:Shouting", weight=2.0)
    assert reward.score([item("No!"), item("No!!"), item("No.")]) == [2.0, 4.0, 0.0]


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        ("no_such_module:Reward", {}, "no module named"),
        (f"{__name__}:Shoutin", {}, "did you mean Shouting"),
        (f"{__name__}:Shouting", {"loudness": 3}, "does not take these options"),
        ("pathlib:PurePath", {}, "is no reward"),
    ],
)
def test_code_that_cannot_be_a_reward_is_refused(spec: str, options: dict[str, object], words: str):
    with pytest.raises(ConfigError) as caught:
        own(spec, **options)
    assert words in str(caught.value)
