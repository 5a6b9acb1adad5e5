"""Rewards per token: by hand, and against a loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amenable.objectives.rewards import (
    clip_scores,
    credit_own,
    kl_shaped_rewards,
    last_true,
    replace_unfinished,
)

MASKS = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4)


def test_by_hand() -> None:
    mask = torch.tensor([[True, False, True, False], [False] * 4])
    kl = torch.tensor([[0.5, float("nan"), -1.0, 8.0], [8.0] * 4])
    rewards = kl_shaped_rewards(torch.tensor([3.0, 3.0]), kl, mask, coef=0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, 0.0, 3.1, 0.0], [0.0] * 4]))


@given(MASKS)
def test_against_a_loop(rows: list[list[bool]]) -> None:
    mask = torch.tensor(rows)
    g = torch.Generator().manual_seed(0)
    kl = torch.randn(mask.shape, generator=g, dtype=torch.float64)
    scores = torch.randn(len(rows), generator=g, dtype=torch.float64)
    rewards, moved = kl_shaped_rewards(scores, kl, mask, coef=0.3), credit_own(kl, mask)
    for b, row in enumerate(rows):
        own = [t for t in range(5) if row[t]]
        assert last_true(mask)[b].item() == (own[-1] if own else -1)
        credit = [0.0] * 5
        for t in range(5):
            want = -0.3 * kl[b, t].item() * row[t] + (scores[b].item() if own and t == own[-1] else 0)
            assert rewards[b, t].item() == pytest.approx(want)
            if own:
                credit[max([o for o in own if o <= t], default=own[0])] += kl[b, t].item()
        assert moved[b].tolist() == pytest.approx(credit)


def test_the_sum_is_the_score_minus_coef_times_the_kl_of_the_sequence() -> None:
    mask = torch.tensor([[False, True, True, True, False]])
    kl = torch.tensor([[9.0, 0.1, 0.2, 0.3, 9.0]])
    total = kl_shaped_rewards(torch.tensor([1.5]), kl, mask, coef=0.5).sum().item()
    assert total == pytest.approx(1.5 - 0.5 * 0.6)


def test_a_score_that_is_not_finite_stays_on_its_token() -> None:
    scores, mask = (
        torch.tensor([float("inf"), float("nan")]),
        torch.tensor([[True, True, False], [False, False, False]]),
    )
    rewards = kl_shaped_rewards(scores, torch.zeros(2, 3), mask, coef=0.5)
    assert rewards.tolist() == [[0.0, float("inf"), 0.0], [0.0, 0.0, 0.0]]


def test_scores() -> None:
    scores = torch.tensor([-7.0, 2.0, 7.0])
    assert clip_scores(scores, 5.0).tolist() == [-5.0, 2.0, 5.0]
    assert replace_unfinished(scores, torch.tensor([True, False, True]), -1.0).tolist() == [-7.0, -1.0, 7.0]
    assert replace_unfinished(torch.tensor([1, 0]), torch.tensor([True, False]), -0.5).tolist() == [1.0, -0.5]


@pytest.mark.parametrize("shift", [-100.0, -3.0, 0.0, 3.0])
def test_being_cut_never_pays(shift: float) -> None:
    """Whatever the zero of the reward, a cut response scores below the mean of the finished ones, and at most -1."""
    scores = torch.randn(64, generator=torch.Generator().manual_seed(0)) + shift
    finished = torch.arange(64) % 4 > 0
    given = replace_unfinished(scores, finished)
    assert torch.equal(given[finished], scores[finished])
    assert (given[~finished] < scores[finished].mean() - 0.5).all() and (given[~finished] <= -1).all()
    assert replace_unfinished(scores, torch.zeros(64, dtype=torch.bool)).tolist() == [-1.0] * 64


@pytest.mark.parametrize("shift", [-100.0, 0.0, 3.0])
def test_being_cut_never_pays_in_an_environment(shift: float) -> None:
    """The same of scores and what was earned beside them together; a score that is set is of the scores alone."""
    g = torch.Generator().manual_seed(0)
    scores, earned = torch.randn(64, generator=g), torch.randn(64, generator=g) + shift
    finished = torch.arange(64) % 4 > 0
    given = replace_unfinished(scores, finished, earned_B=earned)
    whole = scores + earned
    assert torch.equal(given[finished], scores[finished])
    fixed = min(-1.0, float(whole[finished].mean() - whole[finished].std(correction=0)))
    torch.testing.assert_close((given + earned)[~finished], torch.full((16,), fixed))
    assert replace_unfinished(scores, finished, -2.0, earned_B=earned)[~finished].tolist() == [-2.0] * 16
