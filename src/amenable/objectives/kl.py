"""Estimates of KL(policy ‖ reference) from the log-probs of tokens that the policy drew.

Source: J. Schulman, "Approximating KL divergence" (2020). With d = logprobs − ref_logprobs:
    k1 = d                    unbiased; single values are often negative
    k2 = d² / 2               biased, equal to the KL to second order in the distance; never negative
    k3 = exp(−d) − 1 + d      unbiased and never negative

As a loss they do not minimise what they estimate (gradient of the mean over the policy's own tokens, the
tokens held fixed):
    k1    0 on average: useless as a loss
    k2    the gradient of KL(policy ‖ reference), the one meant
    k3    the gradient of KL(reference ‖ policy)
In a reward, without gradient, k1 is the exact choice, and k3 is biased. tests/test_objectives_kl.py
measures all of this.

Shape: any; natural log, nats.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Kind = Literal["k1", "k2", "k3"]


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """logprobs − ref_logprobs.

    >>> k1(torch.tensor([-1.0]), torch.tensor([-1.5])).tolist()
    [0.5]
    """
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Half the squared difference.

    >>> k2(torch.tensor([-1.0]), torch.tensor([-1.5])).tolist()
    [0.125]
    """
    return (logprobs - ref_logprobs).square() / 2


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """exp(−d) − 1 + d with d = logprobs − ref_logprobs.

    >>> round(k3(torch.tensor([-1.0]), torch.tensor([-1.5])).item(), 4)  # e^-0.5 - 0.5
    0.1065
    """
    difference = logprobs - ref_logprobs
    return torch.expm1(-difference) + difference


def kl_estimate(kind: Kind, logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The estimate of this name, per token.

    >>> kl_estimate("k1", torch.tensor([-1.0]), torch.tensor([-1.5])).tolist()
    [0.5]
    """
    kinds = {"k1": k1, "k2": k2, "k3": k3}
    if kind not in kinds:
        raise ValueError(f"kind must be 'k1', 'k2' or 'k3', not {kind!r}")
    return kinds[kind](logprobs, ref_logprobs)
