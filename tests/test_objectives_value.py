"""The value loss: by hand, and against plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amenable.objectives.value import explained_variance, value_loss

NUMBER = st.floats(-5, 5)


def scalar(v: float, old: float, target: float, clip: float | None) -> float:
    plain = (v - target) ** 2
    if clip is None:
        return plain / 2
    held = min(max(v, old - clip), old + clip)
    return max(plain, (held - target) ** 2) / 2


def test_by_hand() -> None:
    t = torch.tensor
    assert value_loss(t(3.0), t(0.0), t(1.0), clip=None).item() == 2.0
    assert value_loss(t(1.0), t(0.0), t(1.0), clip=0.5).item() == 0.125  # held at 0.5
    assert value_loss(t(3.0), t(0.0), t(1.0), clip=0.5).item() == 2.0  # held at 0.5, but 3 is worse
    assert value_loss(t(-1.0), t(0.0), t(-1.0), clip=0.25).item() == 0.28125


@given(NUMBER, NUMBER, NUMBER, st.sampled_from([None, 0.1, 1.0]))
def test_against_plain_python(v: float, old: float, target: float, clip: float | None) -> None:
    t = lambda x: torch.tensor(x, dtype=torch.float64)
    assert value_loss(t(v), t(old), t(target), clip=clip).item() == pytest.approx(scalar(v, old, target, clip))


def test_no_gradient_once_the_value_has_moved_far_enough() -> None:
    value = torch.tensor([0.75, 0.25], requires_grad=True)
    value_loss(value, torch.zeros(2), torch.ones(2), clip=0.5).sum().backward()
    assert value.grad is not None and value.grad.tolist() == [0.0, -0.75]


def test_explained_variance_by_hand_and_at_its_ends() -> None:
    t, all_ = torch.tensor, torch.ones(4, dtype=torch.bool)
    returns = t([1.0, 2.0, 3.0, 4.0])
    assert explained_variance(returns, returns, all_) == 1.0
    assert explained_variance(torch.full((4,), 7.0), returns, all_) == pytest.approx(
        0.0
    )  # a constant, even a wrong one
    assert explained_variance(-returns, returns, all_) == pytest.approx(-3.0)  # Var(2 x) = 4 Var(x)
    assert explained_variance(returns, torch.ones(4), all_) == 0.0


@given(st.lists(st.tuples(NUMBER, NUMBER, st.booleans()), min_size=1, max_size=12))
def test_explained_variance_against_numpy(rows: list[tuple[float, float, bool]]) -> None:
    values, returns = (torch.tensor([row[i] for row in rows], dtype=torch.float64) for i in (0, 1))
    mask = torch.tensor([kept for _, _, kept in rows])
    kept = np.array([(v, r) for v, r, m in rows if m]).reshape(-1, 2)
    spread = float(np.var(kept[:, 1])) if len(kept) else 0.0
    if 0 < spread < 1e-6:
        return  # rounding decides
    want = 1 - np.var(kept[:, 1] - kept[:, 0]) / spread if spread else 0.0
    assert explained_variance(values, returns, mask) == pytest.approx(want, abs=1e-6, rel=1e-6)
