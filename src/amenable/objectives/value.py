"""The critic's loss.

Shape: any, usually [B, T]; the caller sums over the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, *, clip: float | None) -> Tensor:
    """Half the squared error, per token; the worse of the plain one and that of values held within ±clip of
    the old ones.

    clip: in units of the value; None: no clipping (old_values is then not read).
    Source: OpenAI baselines' PPO2, as in Huang et al. 2024, "The N+ implementation details of RLHF with PPO".

    >>> one = torch.tensor([1.0])
    >>> value_loss(one, 0 * one, one, clip=0.25).item()  # clipped value 0.25, error 0.75
    0.28125
    """
    error = (values - returns).square()
    if clip is not None:
        held = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (held - returns).square())
    return error / 2
