"""Muon: momentum whose update is made orthogonal, for the matrices within a model's layers.

Jordan et al. 2024, "Muon"; the step is scaled to the size of AdamW's as in Liu et al. 2025 (0.2 · sqrt(max(rows, columns))),
so that both can have one learning rate. torch.optim.Muon computes in bfloat16 always, which a processor without bfloat16 does
twenty times slower than in float32; here the run's precision decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """For groups of matrices, each with "lr" and "weight_decay". precision: that the update is made orthogonal in."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, momentum: float, precision: torch.dtype) -> None:
        super().__init__(groups, {"momentum": momentum})
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure is ever given
        """One update of every matrix that has a gradient, with Nesterov's look ahead."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for weight_RC in group["params"]:
                if weight_RC.grad is None:
                    continue
                state = self.state[weight_RC]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight_RC)
                mean_RC = state["momentum_buffer"].lerp_(weight_RC.grad, 1 - momentum)
                update_RC = orthogonal(weight_RC.grad.lerp(mean_RC, momentum), self.precision)
                weight_RC.mul_(1 - rate * group["weight_decay"])
                weight_RC.add_(update_RC, alpha=-rate * 0.2 * max(weight_RC.shape) ** 0.5)


def orthogonal(matrix_RC: Tensor, precision: torch.dtype) -> Tensor:
    """U Vᵀ of a matrix U S Vᵀ, about: five Newton-Schulz steps, which leave singular values between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    tall = matrix_RC.shape[0] > matrix_RC.shape[1]
    x = matrix_RC.to(precision, copy=True)
    x = x.T if tall else x
    x.div_(x.norm().clamp(min=EPSILON))
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
