"""GAE, returns and group advantages: against sums written straight from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amenable.objectives.advantages import dr_grpo, gae, grpo, reinforce_plus_plus, returns, rloo


def random_rows(seed: int, b: int = 4, t: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    rewards = torch.randn(b, t, generator=g, dtype=torch.float64)
    values = torch.randn(b, t, generator=g, dtype=torch.float64)
    return rewards, values, torch.rand(b, t, generator=g) < 0.6


def brute_force(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float, last: float) -> Tensor:
    """A_k = Σ_l (γλ)^l δ_{k+l} over the own tokens alone, numbered 0..n−1."""
    out = torch.zeros_like(rewards)
    for b in range(len(rewards)):
        own = mask[b].nonzero()[:, 0].tolist()
        r, v = rewards[b, own].numpy(), np.append(values[b, own].numpy(), last)
        for k, t in enumerate(own):
            out[b, t] = sum((gamma * lam) ** (j - k) * (r[j] + gamma * v[j + 1] - v[j]) for j in range(k, len(own)))
    return out


def test_gae_by_hand_with_a_gap() -> None:
    rewards = torch.tensor([[1.0, 50.0, 2.0, 50.0]])
    values = torch.tensor([[0.5, 50.0, 1.0, 50.0]])
    mask = torch.tensor([[True, False, True, False]])
    advantages, targets = gae(rewards, values, mask, gamma=0.5, lam=0.5)
    # δ of the last own token: 2 − 1 = 1; of the first: 1 + 0.5 · 1 − 0.5 = 1, plus 0.25 · 1
    assert advantages.tolist() == [[1.25, 0.0, 1.0, 0.0]]
    assert targets.tolist() == [[1.75, 0.0, 2.0, 0.0]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.0, 1.5]))
def test_gae_against_brute_force(seed: int, gamma: float, lam: float, last: float) -> None:
    rewards, values, mask = random_rows(seed)
    bootstrap = torch.full((4,), last, dtype=torch.float64)
    advantages, targets = gae(rewards, values, mask, gamma=gamma, lam=lam, bootstrap_B=bootstrap)
    wanted = brute_force(rewards, values, mask, gamma, lam, last)
    torch.testing.assert_close(advantages, wanted)
    torch.testing.assert_close(targets, (wanted + values) * mask)


def test_what_stands_outside_the_mask_is_not_read() -> None:
    rewards, values, mask = random_rows(0)
    nan = float("nan")
    for got, want in zip(
        gae(rewards.masked_fill(~mask, nan), values.masked_fill(~mask, nan), mask, gamma=0.9, lam=0.9),
        gae(rewards, values, mask, gamma=0.9, lam=0.9),
        strict=True,
    ):
        assert torch.equal(got, want)


def test_lambda_one_gives_returns_whatever_the_values() -> None:
    rewards, values, mask = random_rows(1)
    torch.testing.assert_close(gae(rewards, values, mask, gamma=0.9, lam=1.0)[1], returns(rewards, mask, 0.9))


def test_returns_by_hand_and_brute_force() -> None:
    assert returns(torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3).bool(), 0.5).tolist() == [[3.0, 4.0, 4.0]]
    rewards, _, mask = random_rows(2)
    torch.testing.assert_close(
        returns(rewards, mask, 0.7), brute_force(rewards, torch.zeros_like(rewards), mask, 0.7, 1.0, 0.0)
    )


def test_a_row_without_own_tokens_gets_zeros() -> None:
    rewards, values, mask = random_rows(3)
    mask[1] = False
    advantages, targets = gae(rewards, values, mask, gamma=1.0, lam=0.95)
    assert not advantages[1].any() and not targets[1].any()


SCORES = torch.tensor([1.0, 3.0, 10.0, 10.0, 4.0, 7.0], dtype=torch.float64)
GROUP = torch.tensor([5, 5, 2, 2, 5, 9])  # numbers and order do not matter; the last group has one member


def test_group_advantages_by_hand() -> None:
    # group 5: scores 1, 3, 4, mean 8/3, unbiased variance (25 + 1 + 16) / 9 / 2 = 7/3
    centred = torch.tensor([-5 / 3, 1 / 3, 0, 0, 4 / 3, 0], dtype=torch.float64)
    torch.testing.assert_close(dr_grpo(SCORES, GROUP), centred)
    torch.testing.assert_close(grpo(SCORES, GROUP), centred / ((7 / 3) ** 0.5 + 1e-4))
    torch.testing.assert_close(grpo(SCORES, GROUP, normalise=False), centred)
    # minus the mean of the others: 1 − 3.5, 3 − 2.5, 4 − 2
    torch.testing.assert_close(rloo(SCORES, GROUP), torch.tensor([-2.5, 0.5, 0, 0, 2, 0], dtype=torch.float64))


@pytest.mark.parametrize("score", [0.0, 0.1, 1.7, 100.1, -12345.678, 1e8])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 31])
def test_equal_scores_of_any_size_teach_nothing(score: float, size: int) -> None:
    scores = torch.tensor([score] * size + [3.0])
    group = torch.tensor([0] * size + [1])
    for f in (grpo, dr_grpo, rloo, reinforce_plus_plus):
        assert f(scores, group).tolist() == [0.0] * (size + 1)
        assert f(scores, group).dtype == torch.float32
    assert reinforce_plus_plus(scores[:-1]).tolist() == [0.0] * size


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(0, 2)), min_size=2, max_size=12))
def test_group_advantages_against_brute_force(rows: list[tuple[float, int]]) -> None:
    scores = torch.tensor([s for s, _ in rows], dtype=torch.float64)
    group = torch.tensor([g for _, g in rows])
    for i, (score, g) in enumerate(rows):
        mine = np.array([s for s, h in rows if h == g])
        others = np.array([s for j, (s, h) in enumerate(rows) if h == g and j != i])
        assert dr_grpo(scores, group)[i].item() == pytest.approx(score - mine.mean(), abs=1e-9)
        if len(others):
            assert rloo(scores, group)[i].item() == pytest.approx(score - others.mean(), abs=1e-9)
            want = (score - mine.mean()) / (mine.std(ddof=1) + 1e-4)
            assert grpo(scores, group)[i].item() == pytest.approx(want, abs=1e-8)


def test_shifting_a_group_changes_nothing() -> None:
    shift = 100.0 * GROUP
    for f in (grpo, dr_grpo, rloo, lambda s, g: reinforce_plus_plus(s, g)):
        torch.testing.assert_close(f(SCORES + shift, GROUP), f(SCORES, GROUP))


@pytest.mark.parametrize("advantages", [grpo, dr_grpo, rloo, reinforce_plus_plus])
def test_scores_may_be_whole_numbers(advantages) -> None:  # type: ignore[no-untyped-def]
    """Nothing behind the point is cut off: 0 and 1 are the usual scores of a rule."""
    scores, group = torch.tensor([0, 1, 1, 0, 0]), torch.tensor([0, 0, 0, 1, 1])
    assert torch.equal(advantages(scores, group), advantages(scores.float(), group))


def test_reinforce_plus_plus() -> None:
    torch.testing.assert_close(reinforce_plus_plus(SCORES), (SCORES - SCORES.mean()) / (SCORES.var() + 1e-8).sqrt())
    centred = dr_grpo(SCORES, GROUP)
    # the group baseline leaves a mean of 0: sum of squares (25 + 1 + 16) / 9, over 6 − 1
    torch.testing.assert_close(reinforce_plus_plus(SCORES, GROUP), centred / (42 / 9 / 5) ** 0.5)
