"""KL estimators: values and gradients against the exact KL over a small vocabulary.

Expectations under the policy are taken two ways: exactly (the sum over the vocabulary) and by drawing tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_kl
from torch import Tensor

from amenable.objectives.kl import k1, k2, k3, kl_estimate

V = 6
Estimator = Callable[[Tensor, Tensor], Tensor]


def two(distance: float = 0.7) -> tuple[Tensor, Tensor]:
    """Policy logits (a leaf) and reference log-probs."""
    g = torch.Generator().manual_seed(3)
    base = torch.randn(V, generator=g, dtype=torch.float64)
    step = torch.randn(V, generator=g, dtype=torch.float64)
    return (base + distance * step).requires_grad_(), base.log_softmax(-1)


def exact(logits: Tensor, logq: Tensor) -> Tensor:
    logp = logits.log_softmax(-1)
    return (logp.exp() * (logp - logq)).sum()


def expected(estimator: Estimator, logits: Tensor, logq: Tensor) -> Tensor:
    """Mean of the estimate over the policy, the drawing itself without gradient: what a loss on samples tends to."""
    logp = logits.log_softmax(-1)
    return (logp.exp().detach() * estimator(logp, logq)).sum()


def test_by_hand() -> None:
    p, q = torch.tensor(math.log(0.5)), torch.tensor(math.log(0.25))
    assert k1(p, q).item() == pytest.approx(math.log(2))
    assert k2(p, q).item() == pytest.approx(math.log(2) ** 2 / 2)
    assert k3(p, q).item() == pytest.approx(0.5 - 1 + math.log(2))


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k2_and_k3_are_never_negative_and_names_agree(a: float, b: float) -> None:
    x, y = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    assert k2(x, y) >= 0 and k3(x, y) >= -1e-15
    assert k1(x, y) == -k1(y, x)
    for kind, function in (("k1", k1), ("k2", k2), ("k3", k3)):
        assert kl_estimate(kind, x, y) == function(x, y)  # type: ignore[arg-type]


def test_an_estimator_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="not 'k4'"):
        kl_estimate("k4", torch.zeros(1), torch.zeros(1))  # type: ignore[arg-type]


def test_k3_keeps_its_digits_near_zero() -> None:
    small = torch.tensor(1e-3)  # exp(−x) − 1 + x written plainly would lose most of them in float32
    assert k3(small, torch.tensor(0.0)).item() == pytest.approx(5e-7, rel=0.02)


@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_are_unbiased(estimator: Estimator) -> None:
    logits, logq = two()
    wanted = exact(logits, logq)
    assert wanted.item() == pytest.approx(scipy_kl(logits.softmax(-1).detach(), logq.exp()), rel=1e-9)
    torch.testing.assert_close(expected(estimator, logits, logq), wanted)


@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_by_simulation(estimator: Estimator) -> None:
    logits, logq = two()
    logp = logits.log_softmax(-1).detach()
    drawn = torch.multinomial(logp.exp(), 200_000, replacement=True, generator=torch.Generator().manual_seed(0))
    values = estimator(logp[drawn], logq[drawn])
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - exact(logits, logq).detach()) < 4 * error
    assert error < 0.02 * exact(logits, logq)  # so that the line above says something


def test_k2_agrees_to_second_order() -> None:
    """The gap shrinks with the cube of the distance, the KL itself with the square."""
    gaps = []
    for distance in (0.1, 0.05, 0.025):
        logits, logq = two(distance)
        gaps.append(abs(expected(k2, logits, logq) - exact(logits, logq)).item())
    assert gaps[0] / gaps[1] == pytest.approx(8, rel=0.15)  # higher orders are still seen at these distances
    assert gaps[1] / gaps[2] == pytest.approx(8, rel=0.1)
    logits, logq = two(0.025)
    assert expected(k2, logits, logq).item() == pytest.approx(exact(logits, logq).item(), rel=0.03)


def gradient(value: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(value, logits)[0]


def test_k1_as_a_loss_teaches_nothing() -> None:
    logits, logq = two()
    torch.testing.assert_close(gradient(expected(k1, logits, logq), logits), torch.zeros(V, dtype=torch.float64))


def test_k2_as_a_loss_has_the_gradient_of_the_kl() -> None:
    logits, logq = two()
    torch.testing.assert_close(gradient(expected(k2, logits, logq), logits), gradient(exact(logits, logq), logits))


def test_k3_as_a_loss_has_the_gradient_of_the_kl_the_other_way_round() -> None:
    logits, logq = two()
    forward = (logq.exp() * (logq - logits.log_softmax(-1))).sum()  # KL(reference ‖ policy)
    got = gradient(expected(k3, logits, logq), logits)
    torch.testing.assert_close(got, gradient(forward, logits))
    assert (got - gradient(exact(logits, logq), logits)).abs().max() > 0.01


def test_gradients_by_simulation() -> None:
    logits, logq = two()
    drawn = torch.multinomial(
        logits.softmax(-1).detach(), 100_000, replacement=True, generator=torch.Generator().manual_seed(1)
    )
    p = logits.softmax(-1).detach()
    wanted = {k1: torch.zeros_like(p), k2: gradient(exact(logits, logq), logits), k3: p - logq.exp()}
    for estimator, truth in wanted.items():
        got = gradient(estimator(logits.log_softmax(-1)[drawn], logq[drawn]).mean(), logits)
        assert (got - truth).abs().max() < 0.006  # one standard error is below 0.0016


def test_in_the_reward_k1_has_the_gradient_of_the_kl_and_k3_has_not() -> None:
    logits, logq = two()
    wanted = gradient(exact(logits, logq), logits)

    def in_the_reward(estimator: Estimator) -> Tensor:
        logp = logits.log_softmax(-1)
        return gradient((logp.exp().detach() * estimator(logp, logq).detach() * logp).sum(), logits)

    torch.testing.assert_close(in_the_reward(k1), wanted)
    assert (in_the_reward(k3) - wanted).abs().max() > 0.01
