"""Masked sum, mean, variance, whitening: against NumPy on the kept numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from amenable.objectives.masked import masked_mean, masked_sum, masked_var, whiten

ROWS = st.lists(st.tuples(st.floats(-100, 100), st.booleans()), min_size=1, max_size=12)


def column(rows: list[tuple[float, bool]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([x for x, _ in rows], dtype=torch.float64), torch.tensor([m for _, m in rows])


def test_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 9.0], [6.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_sum(x, mask).item() == 9.0
    assert masked_mean(x, mask).item() == 3.0
    assert masked_mean(x, mask, 1).tolist() == [1.5, 6.0]
    assert masked_sum(x, mask, 0).tolist() == [7.0, 2.0, 0.0]
    assert masked_var(x, mask).item() == 7.0  # (4 + 1 + 9) / 2
    assert masked_var(x, mask, unbiased=False).item() == pytest.approx(14 / 3)
    white = whiten(x, mask)
    torch.testing.assert_close(white[mask], torch.tensor([-2.0, -1.0, 3.0]) / 7**0.5)
    assert not white[~mask].any()
    torch.testing.assert_close(whiten(x, mask, shift_mean=False)[mask], white[mask] + 3.0)


@given(ROWS)
def test_against_numpy(rows: list[tuple[float, bool]]) -> None:
    x, mask = column(rows)
    kept = x[mask].numpy()
    if len(kept):
        assert masked_mean(x, mask).item() == pytest.approx(np.mean(kept), abs=1e-9)
        assert masked_var(x, mask, unbiased=False).item() == pytest.approx(np.var(kept), abs=1e-8)
    if len(kept) > 1:
        assert masked_var(x, mask).item() == pytest.approx(np.var(kept, ddof=1), abs=1e-8)
        expected = (kept - kept.mean()) / np.sqrt(kept.var(ddof=1) + 1e-8)
        np.testing.assert_allclose(whiten(x, mask)[mask].numpy(), expected, atol=1e-7)


@given(ROWS)
def test_masked_places_do_not_matter(rows: list[tuple[float, bool]]) -> None:
    x, mask = column(rows)
    spoiled = x.masked_fill(~mask, float("nan"))
    for f in (masked_sum, masked_mean, masked_var, whiten):
        assert torch.equal(f(spoiled, mask), f(x, mask))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_holds_the_result_and_not_the_sum(dtype: torch.dtype) -> None:
    x = torch.tensor([800.0, 1200.0]).to(dtype).repeat(100_000)
    mask = torch.ones(len(x), dtype=torch.bool)
    assert masked_mean(x, mask).item() == pytest.approx(1000, rel=0.01)
    assert masked_var(x, mask).item() == pytest.approx(40_000, rel=0.01)
    assert masked_mean(x, mask).dtype == masked_var(x, mask).dtype == dtype


@pytest.mark.parametrize("f", [masked_mean, masked_var, whiten])
def test_whole_numbers_become_floats(f) -> None:  # type: ignore[no-untyped-def]
    x, mask = torch.tensor([1, 2, 5, 9]), torch.tensor([True, True, True, False])
    assert torch.equal(f(x, mask), f(x.float(), mask))


@pytest.mark.parametrize("f", [masked_sum, masked_mean, masked_var, whiten])
def test_an_empty_mask_gives_zero_with_a_live_gradient(f) -> None:  # type: ignore[no-untyped-def]
    x = torch.tensor([1.0, float("inf")], requires_grad=True)
    out = f(x, torch.tensor([False, False])).sum()
    assert out.item() == 0
    out.backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 0.0]


def test_a_mask_that_broadcasts_counts_every_place() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    mask = torch.tensor([[True], [False]])
    assert masked_mean(x, mask).item() == 1.0
    assert masked_mean(x, mask, 1).tolist() == [1.0, 0.0]


def test_gradients() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = torch.tensor([[True, True, False, True]] * 3)
    for f in (masked_mean, masked_var, whiten):
        assert torch.autograd.gradcheck(lambda x, f=f: f(x, mask), (x,))
