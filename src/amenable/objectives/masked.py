"""Sum, mean, variance and whitening over the places where a mask is True.

Why so: padding holds arbitrary numbers (even NaN), so masked places are filled, never multiplied; and a
mask without a True gives 0 with a live gradient graph, so that a step on an empty micro-batch still runs.

Masks are bool and broadcast to x. Everything is differentiable and keeps x's dtype; of whole numbers come floats.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_sum(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Sum over the places where mask is True; over everything, or over one dimension.

    >>> import torch
    >>> masked_sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, False, True])).item()
    5.0
    """
    kept = x.masked_fill(~mask, 0)
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean over the places where mask is True; 0 where there is none.

    >>> import torch
    >>> masked_mean(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, False, True])).item()
    2.5
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # a sum or a count may be more than float16 holds
    return (masked_sum(wide, mask, dim) / _count(wide, mask, dim).clamp(min=1)).to(torch.result_type(x, 0.0))


def masked_var(x: Tensor, mask: Tensor, unbiased: bool = True) -> Tensor:
    """Variance over the places where mask is True; unbiased divides by n − 1. 0 for fewer than two places.

    >>> import torch
    >>> masked_var(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, False, True])).item()
    4.5
    """
    # before all else: the gradient of inf² is not zero but NaN even where it is masked later
    wide = x.masked_fill(~mask, 0).to(torch.promote_types(x.dtype, torch.float32))
    squares = (wide - masked_mean(wide, mask)).square()
    count = _count(wide, mask, None) - (1 if unbiased else 0)
    return (masked_sum(squares, mask) / count.clamp(min=1)).to(torch.result_type(x, 0.0))


def whiten(x: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """x scaled to unit (unbiased) variance over the mask; 0 where mask is False.

    shift_mean: also move the mean to 0. False keeps the mean where it is, as is done for rewards, whose
    sign matters (Huang et al. 2024, "The N+ implementation details of RLHF with PPO", section on
    whitening). 1e-8 is added to the variance. Computed in float64, so that equal numbers, whatever their size, become 0
    and not their mean's rounding error times 10,000.

    >>> import torch
    >>> x, mask = torch.tensor([1.0, 2.0, 3.0, 99.0]), torch.tensor([True, True, True, False])
    >>> whiten(x, mask).tolist()
    [-1.0, 0.0, 1.0, 0.0]
    >>> whiten(x, mask, shift_mean=False).tolist()
    [1.0, 2.0, 3.0, 0.0]
    """
    wide = x.masked_fill(~mask, 0).double()
    mean = masked_mean(wide, mask)
    centred = (wide - mean) * (masked_var(wide, mask) + 1e-8).rsqrt()
    return (centred if shift_mean else centred + mean).masked_fill(~mask, 0).to(torch.result_type(x, 0.0))


def _count(x: Tensor, mask: Tensor, dim: int | None) -> Tensor:
    count = mask.expand_as(x).sum() if dim is None else mask.expand_as(x).sum(dim)
    return count.to(x.dtype)
