"""Preference losses: hand numbers, SciPy, enumeration of rankings, and probabilities that must sum to 1."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit
from torch import Tensor

from amenable.objectives.preference import (
    bradley_terry,
    davidson,
    dpo,
    ipo,
    kto,
    kto_baseline,
    label,
    orpo,
    plackett_luce,
    ranking_pairs,
    rao_kupper,
    rating,
    simpo,
)

NUMBER = st.floats(-20, 20)


def t(*x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


YES, NO = torch.tensor([True]), torch.tensor([False])


@given(NUMBER, st.floats(0, 3))
def test_bradley_terry(margin: float, strength: float) -> None:
    assert bradley_terry(t(margin)).item() == pytest.approx(-log_expit(margin))
    assert bradley_terry(t(margin), t(strength)).item() == pytest.approx(-log_expit(margin - strength))
    both = math.exp(-bradley_terry(t(margin)).item()) + math.exp(-bradley_terry(t(-margin)).item())
    assert both == pytest.approx(1)


def test_bradley_terry_by_hand() -> None:
    assert bradley_terry(t(0.0)).item() == pytest.approx(math.log(2))
    assert bradley_terry(t(math.log(3))).item() == pytest.approx(math.log(4 / 3))
    assert bradley_terry(t(-1000.0)).item() == 1000
    assert bradley_terry(t(1000.0)).item() == 0


def test_all_pairs_of_a_ranking_are_one_element() -> None:
    scores = t(0.0, 1.0, 3.0, 0.0, 0.0, 2.0, 5.0).requires_grad_()
    tier = torch.tensor([1, 0, 2, 0, 1, 1, 0])
    unit = torch.tensor([7, 7, 7, 3, 3, 3, 1])  # a full ranking, one with a tie, a lone response
    pairs = ranking_pairs(scores, tier, unit)
    got = {(b, w): (m, x) for m, x, b, w in zip(*(column.tolist() for column in pairs), strict=True)}
    third = pytest.approx(1 / 3)
    assert got == {
        (1, 0): (1.0, third),
        (1, 2): (-2.0, third),
        (0, 2): (-3.0, third),
        (3, 4): (0.0, 0.5),
        (3, 5): (-2.0, 0.5),
    }
    assert pairs.weight_P.sum().item() == pytest.approx(2)  # the units that have a pair
    loss = (pairs.weight_P * bradley_terry(pairs.margin_P)).sum()
    wanted = -(log_expit(1) + log_expit(-2) + log_expit(-3)) / 3 - (log_expit(0) + log_expit(-2)) / 2
    assert loss.item() == pytest.approx(wanted)


def test_a_ranking_without_pairs_gives_zero_with_a_live_gradient() -> None:
    scores = t(1.0, 2.0).requires_grad_()
    pairs = ranking_pairs(scores, torch.tensor([0, 0]), torch.tensor([0, 0]))
    loss = (pairs.weight_P * bradley_terry(pairs.margin_P)).sum()
    assert loss.item() == 0 and pairs.margin_P.shape == (0,)
    loss.backward()
    assert scores.grad is not None and not scores.grad.any()
    empty = ranking_pairs(scores[:0], torch.zeros(0).long(), torch.zeros(0).long())
    assert empty.margin_P.shape == (0,)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(NUMBER, st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=9))
def test_ranking_pairs_against_a_loop(rows: list[tuple[float, int, int]]) -> None:
    pairs = ranking_pairs(t(*[r[0] for r in rows]), *torch.tensor([r[1:] for r in rows]).T)
    wanted = {
        (i, j): a[0] - b[0]
        for (i, a), (j, b) in itertools.permutations(enumerate(rows), 2)
        if a[2] == b[2] and a[1] < b[1]
    }
    got = dict(zip(zip(pairs.better_P.tolist(), pairs.worse_P.tolist(), strict=True), pairs.margin_P, strict=True))
    assert {k: v.item() for k, v in got.items()} == pytest.approx(wanted)


def test_plackett_luce_by_hand_and_sums_to_one() -> None:
    weights = [1.0, 2.0, 5.0]
    scores = t(*[math.log(w) for w in weights])
    unit = torch.zeros(3, dtype=torch.long)
    total = 0.0
    for order in itertools.permutations(range(3)):  # order[place] = response
        tier = torch.tensor([order.index(i) for i in range(3)])
        probability = math.exp(-plackett_luce(scores, tier, unit).sum().item())
        left = sum(weights)
        by_urn = 1.0
        for i in order:
            by_urn *= weights[i] / left
            left -= weights[i]
        assert probability == pytest.approx(by_urn)
        total += probability
    assert total == pytest.approx(1)


def test_plackett_luce_of_two_is_bradley_terry_and_ties_are_not_compared() -> None:
    scores = t(0.3, -0.5, 2.0, 1.0, -1.0)
    tier, unit = torch.tensor([0, 1, 0, 0, 1]), torch.tensor([4, 4, 9, 9, 9])
    loss = plackett_luce(scores, tier, unit)
    assert loss[:2].tolist() == pytest.approx([-log_expit(0.8), 0])
    assert loss[2:].tolist() == pytest.approx([-log_expit(3), -log_expit(2), 0])
    scores.requires_grad_()
    (slope,) = torch.autograd.grad(plackett_luce(scores, tier * 0, unit).sum(), scores)
    assert not slope.any()


def test_davidson() -> None:
    # weights 4 and 1, ν = 0.5: tie weight 0.5 · √4 = 1; of 6 altogether
    margin = t(math.log(4))
    assert math.exp(-davidson(margin, NO, log_nu=math.log(0.5)).item()) == pytest.approx(4 / 6)
    assert math.exp(-davidson(margin, YES, log_nu=math.log(0.5)).item()) == pytest.approx(1 / 6)
    assert math.exp(-davidson(-margin, NO, log_nu=math.log(0.5)).item()) == pytest.approx(1 / 6)
    torch.testing.assert_close(davidson(margin, NO, log_nu=-80.0), bradley_terry(margin))
    assert torch.equal(davidson(torch.tensor([1]), YES, log_nu=0.5), davidson(torch.tensor([1.0]), YES, log_nu=0.5))


def test_rao_kupper() -> None:
    # weights 4 and 1, θ = 2: 4 / (4 + 2), 1 / (1 + 8), tie (4 − 1) · 4 / (6 · 9)
    margin, eta = t(math.log(4)), math.log(2)
    assert math.exp(-rao_kupper(margin, NO, threshold=eta).item()) == pytest.approx(4 / 6)
    assert math.exp(-rao_kupper(-margin, NO, threshold=eta).item()) == pytest.approx(1 / 9)
    assert math.exp(-rao_kupper(margin, YES, threshold=eta).item()) == pytest.approx(12 / 54)
    torch.testing.assert_close(rao_kupper(margin, NO, threshold=0.0), bradley_terry(margin))


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.01, 5))
def test_ties_against_the_papers_weights(first: float, second: float, free: float) -> None:
    """In the papers' own terms, strengths in place of scores: Davidson's nu, and Rao and Kupper's theta above 1."""
    margin, near, theta = t(math.log(first) - math.log(second)), lambda x: pytest.approx(-math.log(x)), 1 + free
    whole = first + second + free * math.sqrt(first * second)
    assert davidson(margin, NO, log_nu=math.log(free)).item() == near(first / whole)
    assert davidson(margin, YES, log_nu=math.log(free)).item() == near(free * math.sqrt(first * second) / whole)
    apart = (first + theta * second) * (theta * first + second)
    assert rao_kupper(margin, NO, threshold=math.log(theta)).item() == near(first / (first + theta * second))
    assert rao_kupper(margin, YES, threshold=math.log(theta)).item() == near((theta**2 - 1) * first * second / apart)


@given(NUMBER, st.floats(0.01, 3))
def test_three_outcomes_sum_to_one(margin: float, free: float) -> None:
    for f in (lambda m, tie: davidson(m, tie, log_nu=free), lambda m, tie: rao_kupper(m, tie, threshold=free)):
        losses = [f(t(margin), NO), f(t(-margin), NO), f(t(margin), YES)]
        assert sum(math.exp(-x.item()) for x in losses) == pytest.approx(1)
        assert f(t(margin), YES).item() == pytest.approx(f(t(-margin), YES).item())


def test_ties_learn_their_parameter_and_survive_extremes() -> None:
    for f, name in ((davidson, "log_nu"), (rao_kupper, "threshold")):
        margin = t(300.0, -300.0, 0.0).requires_grad_()
        free = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
        for tie in (torch.zeros(3).bool(), torch.ones(3).bool()):
            grads = torch.autograd.grad(f(margin, tie, **{name: free}).sum(), [margin, free])
            assert all(torch.isfinite(g).all() for g in grads)
        assert torch.autograd.grad(f(t(0.0), YES, **{name: free}).sum(), free)[0] < 0  # a tie makes ties likelier


def test_rating() -> None:
    assert rating(t(5.0), t(7.0)).item() == 4
    assert rating(t(0.5), t(7.0), low=1.0, high=7.0).item() == 0.25
    assert rating(t(0.5, 0.5), t(5.0, 1.0), low=t(1.0, 1.0), high=t(5.0, 7.0)).tolist() == [0.25, 0.25]
    with pytest.raises(ValueError, match="both"):
        rating(t(0.5), t(7.0), low=1.0)


@given(st.lists(st.floats(1, 7), min_size=2, max_size=9))
def test_rating_is_least_squares(ratings: list[float]) -> None:
    """The one score that minimises it for all is NumPy's mean of the ratings, on the unit interval."""
    best = float(np.mean((np.array(ratings) - 1) / 6))
    score = t(best).requires_grad_()
    loss = rating(score.expand(len(ratings)), t(*ratings), low=1.0, high=7.0).sum()
    assert loss.item() == pytest.approx(len(ratings) * float(np.var((np.array(ratings) - 1) / 6)), abs=1e-12)
    assert torch.autograd.grad(loss, score)[0].item() == pytest.approx(0, abs=1e-9)


@given(NUMBER)
def test_label(score: float) -> None:
    assert label(t(score), YES).item() == pytest.approx(-log_expit(score))
    assert label(t(score), NO).item() == pytest.approx(-log_expit(-score))
    assert label(t(score), t(0.25)).item() == pytest.approx(-0.25 * log_expit(score) - 0.75 * log_expit(-score))


@given(NUMBER, NUMBER, NUMBER, NUMBER, st.sampled_from([0.0, 0.1, 0.3]))
def test_dpo_family_against_scipy(a: float, b: float, c: float, d: float, eps: float) -> None:
    h, beta = (a - c) - (b - d), 0.3
    args = (t(a), t(b), t(c), t(d))
    right, flipped = -log_expit(beta * h), -log_expit(-beta * h)
    near = lambda x: pytest.approx(x, abs=1e-9)
    assert dpo(*args, beta=beta, label_smoothing=eps).item() == near((1 - eps) * right + eps * flipped)
    robust = dpo(*args, beta=beta, kind="robust", label_smoothing=eps).item()
    assert robust == near(((1 - eps) * right - eps * flipped) / (1 - 2 * eps))
    assert dpo(*args, beta=beta, kind="hinge").item() == near(max(0, 1 - beta * h))
    assert dpo(*args, beta=beta, kind="ipo").item() == near((h - 1 / 0.6) ** 2)
    assert ipo(*args, tau=beta).item() == near((h - 1 / 0.6) ** 2)


def test_dpo_by_hand() -> None:
    zero = t(0.0)
    assert dpo(zero, zero, zero, zero, beta=0.1).item() == pytest.approx(math.log(2))
    # policy: chosen up by ln 2, rejected down by ln 2; β = 1: σ(ln 4) = 4/5
    args = (t(math.log(2)), t(-math.log(2)), zero, zero)
    assert dpo(*args, beta=1.0).item() == pytest.approx(math.log(5 / 4))
    # ε = 1/4: (3/4 ln 5/4 − 1/4 ln 5) / (1/2)
    robust = dpo(*args, beta=1.0, kind="robust", label_smoothing=0.25).item()
    assert robust == pytest.approx(1.5 * math.log(5 / 4) - 0.5 * math.log(5))


def test_robust_dpo_is_unbiased_under_flipped_labels() -> None:
    a, b, zero, eps = t(0.8), t(-0.4), t(0.0), 0.2
    clean = dpo(a, b, zero, zero, beta=0.5)
    kept = dpo(a, b, zero, zero, beta=0.5, kind="robust", label_smoothing=eps)
    flipped = dpo(b, a, zero, zero, beta=0.5, kind="robust", label_smoothing=eps)
    torch.testing.assert_close((1 - eps) * kept + eps * flipped, clean)


def test_dpo_refuses_what_has_no_meaning() -> None:
    zero = t(0.0)
    with pytest.raises(ValueError, match="no meaning"):
        dpo(zero, zero, zero, zero, beta=0.1, kind="hinge", label_smoothing=0.1)
    with pytest.raises(ValueError, match="label_smoothing"):
        dpo(zero, zero, zero, zero, beta=0.1, label_smoothing=0.5)
    with pytest.raises(ValueError, match="kind"):
        dpo(zero, zero, zero, zero, beta=0.1, kind="huge")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beta"):
        dpo(zero, zero, zero, zero, beta=0.0, kind="ipo")


def test_a_tie_needs_a_threshold_above_0() -> None:
    with pytest.raises(ValueError, match="threshold"):
        rao_kupper(t(0.0), YES, threshold=-0.5)


@given(NUMBER, st.floats(0, 5))
def test_kto_against_scipy(logratio: float, kl0: float) -> None:
    both = kto(t(logratio, logratio), torch.tensor([True, False]), kl0, beta=0.2, weights=(1.0, 1.5))
    gain = 0.2 * (logratio - kl0)
    assert both.tolist() == pytest.approx([1 - expit(gain), 1.5 * (1 - expit(-gain))])


def test_kto_by_hand_and_direction() -> None:
    logratio = t(math.log(3) + 0.5, math.log(3) + 0.5).requires_grad_()
    loss = kto(logratio, torch.tensor([True, False]), 0.5, beta=1.0)
    assert loss.tolist() == pytest.approx([0.25, 0.75])
    (slope,) = torch.autograd.grad(loss.sum(), logratio)
    assert slope.tolist() == pytest.approx([-3 / 16, 3 / 16])
    baseline = kto_baseline(torch.tensor([-3.0, 1.0], requires_grad=True))
    assert baseline.item() == 0 and not baseline.requires_grad
    assert kto_baseline(t(1.0, 2.0)).item() == 1.5
    assert kto_baseline(torch.zeros(0)).item() == 0  # a row alone has no other's prompt


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_orpo_against_odds(p: float, q: float) -> None:
    odds = (p / (1 - p)) / (q / (1 - q))
    assert orpo(t(math.log(p)), t(math.log(q))).item() == pytest.approx(math.log(1 + 1 / odds))


def test_orpo_stays_finite_at_certainty() -> None:
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([0.0, -1e-9, -500.0], dtype=dtype, requires_grad=True)
        loss = orpo(x, x.detach().flip(0))
        assert torch.isfinite(loss).all()
        assert torch.isfinite(torch.autograd.grad(loss.sum(), x)[0]).all()


@given(NUMBER, NUMBER)
def test_simpo(a: float, b: float) -> None:
    assert simpo(t(a), t(b), beta=2.0, gamma=0.5).item() == pytest.approx(-log_expit(2 * (a - b) - 0.5))


def test_simpo_by_hand() -> None:
    # 2 · (−1 + 1.5) − 1 = 0
    assert simpo(t(-1.0), t(-1.5), beta=2.0, gamma=1.0).item() == pytest.approx(math.log(2))
