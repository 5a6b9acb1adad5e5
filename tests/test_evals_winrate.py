"""Win rates: swapped positions, ties, clusters and tasks."""

import pytest

from amenable.errors import DataError
from amenable.evals.winrate import Judge, Scorer, compare, to_scored
from amenable.types import Prompt, Rollout, Scored, user


def prompts(n, task=lambda i: ""):
    return [Prompt(id=f"p{i}", messages=(user(f"question {i}"),), task=task(i)) for i in range(n)]


class Length:
    name = "length"

    def score(self, items):
        return [float(len(x.response)) for x in items]


class FirstLiker:
    """Prefers the first shown, unless the other is more than twice as long."""

    def compare(self, prompt, a, b):
        if len(b.response) > 2 * len(a.response):
            return 0.0
        return 1.0


def test_a_judge_that_likes_the_first_position_gives_half_and_shows_its_bias():
    found = compare(prompts(10), ["aa"] * 10, ["bb"] * 10, FirstLiker(), seed=0)
    assert found.win_rate.value == 0.5 and found.ties == 10
    assert found.position_bias == 0.5 and found.flipped == 1.0
    assert found.p_value == 1.0
    assert found.sentence().startswith("No difference shown")


def test_a_clear_winner_survives_the_swap():
    found = compare(prompts(10), ["aaaaa"] * 10, ["b"] * 10, FirstLiker(), seed=0, name_a="PPO", name_b="SFT")
    assert found.win_rate.value == 1.0 and found.flipped == 0.0 and found.position_bias == 0.0
    assert found.p_value == pytest.approx(2 / 1024)
    assert found.sentence().startswith("PPO is preferred to SFT on 100 % of 10 prompts")


def test_half_a_verdict_counts_a_quarter():
    class Unsure:
        def compare(self, prompt, a, b):
            return 1.0 if a.response == "a" else 0.5

    found = compare(prompts(2), ["a", "a"], ["b", "b"], Unsure(), seed=0)
    assert found.outcomes == (0.75, 0.75)


def test_swapping_the_models_mirrors_everything():
    a, b = ["x" * (i % 5) for i in range(40)], ["x" * (i % 3) for i in range(40)]
    one, other = (compare(prompts(40), *pair, Length(), seed=3) for pair in ((a, b), (b, a)))
    assert one.win_rate.value == pytest.approx(1 - other.win_rate.value)
    assert one.p_value == pytest.approx(other.p_value)
    assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
    assert one.win_rate.low == pytest.approx(1 - other.win_rate.high, abs=1e-9)


def test_several_samples_of_a_prompt_are_one_cluster_and_tasks_are_broken_down():
    asked = prompts(4, task=lambda i: "facts" if i < 2 else "lists")
    rows = [p for p in asked for _ in range(3)]
    found = compare(rows, ["aa"] * 6 + ["a"] * 6, ["a"] * 6 + ["aa"] * 6, Length(), seed=0)
    assert found.win_rate.count == 4
    assert [(t.task, t.win_rate.value, t.win_rate.count) for t in found.tasks] == [
        ("facts", 1.0, 2),
        ("lists", 0.0, 2),
    ]


def test_rollouts_say_whether_they_finished_and_failures_are_refused():
    p = prompts(1)[0]
    rollout = Rollout(prompt=p, prompt_ids=(1,), response_ids=(2,), logprobs=(-1.0,), text="cut of", finish="length")
    assert to_scored(p, rollout) == Scored(prompt=p.messages, response="cut of", finished=False)
    with pytest.raises(DataError, match="failed rollout"):
        to_scored(p, rollout.replace(finish="failed", failure="boom"))


def test_uneven_lists_and_wild_judges_are_refused():
    with pytest.raises(DataError, match="line up"):
        compare(prompts(2), ["a"], ["b", "b"], Length(), seed=0)

    class Wild:
        def compare(self, prompt, a, b):
            return 2.0

    with pytest.raises(DataError, match="outside 0 to 1"):
        compare(prompts(1), ["a"], ["b"], Wild(), seed=0)

    class NotANumber:
        def score(self, items):
            return [float("nan")] * len(items)

    with pytest.raises(DataError, match="finite"):
        compare(prompts(1), ["a"], ["b"], NotANumber(), seed=0)
    assert isinstance(Length(), Scorer) and not isinstance(Length(), Judge)

    class Short:
        def score(self, items):
            return [1.0] * (len(items) - 1)

    with pytest.raises(DataError, match="for 2 responses"):
        compare(prompts(1), ["a"], ["b"], Short(), seed=0)
