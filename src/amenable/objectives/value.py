"""The critic's loss, and how much of the returns it foresees.

Shape: any, usually [B, T]; the caller sums over the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amenable.objectives.masked import masked_var


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


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 − Var(returns − values) / Var(returns) over the mask: 1 where the critic foresees everything, 0 where it
    does as well as a constant, below 0 where worse. 0.0 where the returns do not vary.

    Source: OpenAI baselines' explained_variance, logged beside every PPO run.

    >>> explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]), torch.tensor([True, True]))
    0.75
    """
    spread = float(masked_var(returns.double(), mask, unbiased=False))
    return 1 - float(masked_var((returns - values).double(), mask, unbiased=False)) / spread if spread > 1e-12 else 0.0
