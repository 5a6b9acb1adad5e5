"""Policy losses: hand numbers, gradients, and loops in plain Python from the definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from amenable.objectives.policy import (
    aggregate,
    cispo,
    clip_fraction,
    entropy_bonus,
    gspo,
    ppo_clip,
    ratio,
    reinforce,
    truncated_importance,
)


def rows(seed: int = 0, b: int = 3, t: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    old = -torch.rand(b, t, generator=g, dtype=torch.float64)
    now = (old + 0.4 * torch.randn(b, t, generator=g, dtype=torch.float64)).requires_grad_()
    advantages = torch.randn(b, t, generator=g, dtype=torch.float64)
    return now, old, advantages, torch.rand(b, t, generator=g) < 0.7


def scalar_ppo(now: float, old: float, a: float, low: float, high: float, dual: float | None) -> float:
    r = math.exp(now - old)
    objective = min(r * a, min(max(r, 1 - low), 1 + high) * a)
    return -max(objective, dual * a) if dual is not None and a < 0 else -objective


def one(x: float) -> Tensor:
    return torch.tensor([[x]], dtype=torch.float64)


def test_ppo_by_hand() -> None:
    two, half = math.log(2.0), math.log(0.5)
    settings = {"clip_low": 0.25, "clip_high": 0.5}
    assert ppo_clip(one(two), one(0), one(1), **settings).item() == -1.5  # held at 1 + 0.5
    assert ppo_clip(one(two), one(0), one(-1), **settings).item() == pytest.approx(2)  # not held: it must come down
    assert ppo_clip(one(half), one(0), one(1), **settings).item() == pytest.approx(-0.5)
    assert ppo_clip(one(half), one(0), one(-1), **settings).item() == 0.75  # held at 1 − 0.25
    assert ppo_clip(one(two), one(0), one(-1), dual=1.75, **settings).item() == 1.75
    assert ppo_clip(one(two), one(0), one(1), dual=1.25, **settings).item() == -1.5  # dual only where A < 0


@given(st.floats(-3, 0), st.floats(-3, 0), st.floats(-2, 2), st.sampled_from([None, 3.0]))
def test_ppo_against_plain_python(now: float, old: float, a: float, dual: float | None) -> None:
    got = ppo_clip(one(now), one(old), one(a), clip_low=0.2, clip_high=0.3, dual=dual).item()
    assert got == pytest.approx(scalar_ppo(now, old, a, 0.2, 0.3, dual), abs=1e-12)


def test_a_dual_clip_of_1_or_less_is_refused() -> None:
    with pytest.raises(ValueError, match="dual"):
        ppo_clip(torch.zeros(1, 1), torch.zeros(1, 1), -torch.ones(1, 1), clip_low=0.2, clip_high=0.2, dual=0.5)


def test_at_ratio_one_every_loss_has_the_policy_gradient() -> None:
    now, _, advantages, mask = rows()
    old = now.detach()
    (wanted,) = torch.autograd.grad(reinforce(now, advantages).sum(), now)
    torch.testing.assert_close(wanted, -advantages)
    for f in (ppo_clip, cispo):
        (got,) = torch.autograd.grad(f(now, old, advantages, clip_low=0.2, clip_high=0.2).sum(), now)
        torch.testing.assert_close(got, wanted)
    row = advantages[:, :1]
    (got,) = torch.autograd.grad(
        aggregate(gspo(now, old, row, mask, clip_low=0.2, clip_high=0.2), mask, "sequence"), now
    )
    (wanted,) = torch.autograd.grad(aggregate(reinforce(now, row), mask, "sequence"), now)
    torch.testing.assert_close(got, wanted)


def test_clip_fraction_marks_the_tokens_without_gradient() -> None:
    now, old, advantages, _ = rows(1, 20, 20)
    (slope,) = torch.autograd.grad(ppo_clip(now, old, advantages, clip_low=0.2, clip_high=0.3).sum(), now)
    marked = clip_fraction(now, old, advantages, clip_low=0.2, clip_high=0.3)
    assert torch.equal(marked == 1, slope == 0)
    assert 0.05 < marked.mean() < 0.95
    assert not clip_fraction(old, old, advantages, clip_low=0.2, clip_high=0.3).any()
    (slope,) = torch.autograd.grad(ppo_clip(now, old, advantages, clip_low=0.2, clip_high=0.3, dual=1.4).sum(), now)
    dual = clip_fraction(now, old, advantages, clip_low=0.2, clip_high=0.3, dual=1.4)
    assert torch.equal(dual == 1, slope == 0) and dual.sum() > marked.sum()


def test_gspo_against_plain_python() -> None:
    now, old, advantages, mask = rows(2)
    mask[2] = False
    got = gspo(now, old, advantages[:, :1], mask, clip_low=0.1, clip_high=0.2)
    for b in range(3):
        own = [t for t in range(5) if mask[b, t]]
        for t in range(5):
            if t not in own:
                assert got[b, t] == 0
                continue
            s = math.prod(math.exp(now[b, j].item() - old[b, j].item()) for j in own) ** (1 / len(own))
            a = advantages[b, 0].item()
            assert got[b, t].item() == pytest.approx(-min(s * a, min(max(s, 0.9), 1.2) * a))
    assert torch.isfinite(torch.autograd.grad(got.sum(), now)[0]).all()


def test_gspo_by_hand() -> None:
    now, old = torch.tensor([[math.log(4.0), 0.0]]), torch.zeros(1, 2)
    got = gspo(now, old, torch.tensor([[-1.0]]), torch.ones(1, 2).bool(), clip_low=0.1, clip_high=0.1)
    torch.testing.assert_close(got, torch.full((1, 2), 2.0))  # √(4 · 1)


def test_gspo_reads_nothing_outside_the_mask() -> None:
    old, mask = torch.zeros(1, 2), torch.tensor([[True, False]])
    slopes = []
    for outside in (1.0, math.nan, math.inf):
        now = torch.tensor([[0.1, outside]], requires_grad=True)
        loss = gspo(now, old, torch.tensor([[2.0, outside]]), mask, clip_low=0.5, clip_high=0.5)
        slopes += [torch.autograd.grad(loss.sum(), now)[0].tolist()]
    assert slopes[0][0][0] < 0 == slopes[0][0][1] and slopes[1] == slopes[2] == slopes[0]


def test_cispo_keeps_a_gradient_where_ppo_has_none() -> None:
    now, old = one(math.log(2.0)).requires_grad_(), one(0)
    loss = cispo(now, old, one(3), clip_low=1.0, clip_high=0.5)
    assert loss.item() == pytest.approx(-1.5 * 3 * math.log(2))
    (slope,) = torch.autograd.grad(loss.sum(), now)
    assert slope.item() == pytest.approx(-1.5 * 3)  # the weight itself carries none
    low = cispo(one(math.log(0.5)), old, one(1), clip_low=0.25, clip_high=0.5)
    assert low.item() == pytest.approx(0.75 * math.log(2))


@given(st.floats(-3, 0), st.floats(-3, 0), st.floats(-2, 2))
def test_cispo_against_plain_python(now: float, old: float, a: float) -> None:
    """The value, and the slope of a log-prob whose weight stands still."""
    logprob = one(now).requires_grad_()
    loss = cispo(logprob, one(old), one(a), clip_low=0.2, clip_high=0.3)
    weight = min(max(math.exp(now - old), 0.8), 1.3)
    assert loss.item() == pytest.approx(-weight * a * now, abs=1e-12)
    assert torch.autograd.grad(loss.sum(), logprob)[0].item() == pytest.approx(-weight * a, abs=1e-12)


def test_reinforce_and_entropy_by_hand() -> None:
    assert reinforce(one(-0.5), one(3)).item() == 1.5
    entropy = torch.tensor([[0.7, float("nan")]], requires_grad=True)
    loss = entropy_bonus(entropy, torch.tensor([[True, False]]))
    assert loss.tolist() == [[pytest.approx(-0.7), 0.0]]
    loss.sum().backward()
    assert entropy.grad is not None and entropy.grad.tolist() == [[-1.0, 0.0]]


def test_truncated_importance() -> None:
    now = torch.tensor([math.log(3.0), math.log(0.5)], requires_grad=True)
    weight = truncated_importance(now, torch.zeros(2), cap=2.0)
    torch.testing.assert_close(weight, torch.tensor([2.0, 0.5]))
    assert not weight.requires_grad


def test_wild_ratios_stay_finite() -> None:
    now = torch.tensor([[500.0, -500.0]], requires_grad=True)
    for a in (1.0, -1.0):
        loss = ppo_clip(now, torch.zeros(1, 2), torch.full((1, 2), a), clip_low=0.2, clip_high=0.2)
        (slope,) = torch.autograd.grad(loss.sum(), now)
        assert torch.isfinite(loss).all() and torch.isfinite(slope).all()
    assert ratio(now, now.detach()).tolist() == [[1.0, 1.0]]


def test_aggregate() -> None:
    loss = torch.tensor([[1.0, 3.0], [5.0, float("nan")], [7.0, 7.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    assert aggregate(loss, mask, "token").item() == 9
    assert aggregate(loss, mask, "constant").item() == 9
    assert aggregate(loss, mask, "sequence").item() == 7  # 2 + 5 + 0
    aggregate(loss, mask, "sequence").backward()
    assert loss.grad is not None and loss.grad.tolist() == [[0.5, 0.5], [1.0, 0.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="how"):
        aggregate(loss, mask, "mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["token", "sequence", "constant"])
def test_a_batch_without_trained_tokens_gives_zero_with_a_live_gradient(how: str) -> None:
    now, old, advantages, mask = rows()
    loss = aggregate(ppo_clip(now, old, advantages, clip_low=0.2, clip_high=0.2), mask & False, how)  # type: ignore[arg-type]
    assert loss.item() == 0
    (slope,) = torch.autograd.grad(loss, now)
    assert not slope.any()


@given(st.integers(0, 1000), st.integers(1, 2))
def test_sums_do_not_depend_on_how_rows_are_split(seed: int, cut: int) -> None:
    now, old, advantages, mask = rows(seed)
    loss = ppo_clip(now, old, advantages, clip_low=0.2, clip_high=0.2)
    for how in ("token", "sequence", "constant"):
        parts = aggregate(loss[:cut], mask[:cut], how) + aggregate(loss[cut:], mask[cut:], how)  # type: ignore[arg-type]
        torch.testing.assert_close(parts, aggregate(loss, mask, how))  # type: ignore[arg-type]
