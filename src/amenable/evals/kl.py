"""How far a policy has moved from its reference, in nats per response, from samples of the policy.

With d = log p(token) - log q(token) of tokens drawn from p, both k1 = d and k3 = exp(-d) - 1 + d have the
mean KL(p || q) (Schulman 2020, "Approximating KL divergence"). Summed over a response's tokens each
estimates the KL of whole responses. k1 may fall below zero by chance; k3 cannot and varies less while p and
q are near. Both log-probs must be taken at the temperature that the response was drawn at; otherwise the
figure is no KL.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from amenable.errors import DataError
from amenable.evals.statistics import Interval, mean_interval
from amenable.types import Record


class SequenceKL(Record, frozen=True):
    """KL of the policy to its reference over responses, nats.

    k1, k3       per response, intervals over prompts
    per_token    k1 summed over all tokens / number of tokens
    per_response k1 of each response, in order
    """

    k1: Interval
    k3: Interval
    per_token: float
    num_responses: int
    num_tokens: int
    per_response: tuple[float, ...]


def sequence_kl(
    logprobs: Sequence[Sequence[float]],
    ref_logprobs: Sequence[Sequence[float]],
    *,
    own: Sequence[Sequence[bool] | None] | None = None,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> SequenceKL:
    """KL from the per-token log-probs of responses that the policy drew: one row a response, nats.

    own: which tokens the policy drew itself (a Rollout's `own`; None: all). clusters: prompt ids.
    Raises DataError if rows or tokens do not line up, or nothing is left to measure.

    >>> found = sequence_kl([[-1.0, -1.0], [-2.0]], [[-1.5, -2.0], [-2.0]])
    >>> (found.per_response, found.k1.value, found.per_token)
    ((1.5, 0.0), 0.75, 0.5)
    """
    masks = own if own is not None else [None] * len(logprobs)
    if not logprobs or not len(logprobs) == len(ref_logprobs) == len(masks):
        raise DataError(f"{len(logprobs)} rows of log-probs, {len(ref_logprobs)} of the reference", where="sequence KL")
    k1, k3, num_tokens = [], [], 0
    for row, (p, q, mask) in enumerate(zip(logprobs, ref_logprobs, masks, strict=True)):
        if len(p) != len(q) or (mask is not None and len(mask) != len(p)):
            raise DataError(f"{len(p)} and {len(q)} log-probs of one response", where=f"sequence KL, row {row}")
        d_T = np.asarray(p, dtype=np.float64) - np.asarray(q, dtype=np.float64)
        if mask is not None:
            d_T = d_T[np.asarray(mask, dtype=bool)]
        if not np.isfinite(d_T).all():
            raise DataError("a log-prob is not finite", where=f"sequence KL, row {row}")
        k1.append(float(d_T.sum()))
        k3.append(float((np.expm1(-d_T) + d_T).sum()))
        num_tokens += len(d_T)
    return SequenceKL(
        k1=mean_interval(k1, clusters=clusters, seed=seed),
        k3=mean_interval(k3, clusters=clusters, seed=seed),
        per_token=sum(k1) / num_tokens if num_tokens else 0.0,
        num_responses=len(k1),
        num_tokens=num_tokens,
        per_response=tuple(k1),
    )
