"""The policy on its own responses: log-probs taken from sampling where they are training's, weights where an older policy drew.

Sampling and training go through different code, so the log-probs of one are the other's but for rounding: to 1e-6 nats in
float32, to some thousandths in bfloat16. Where they agree, a forward pass over all responses is saved.

Responses drawn ahead come from the policy of one step before. Each token's advantage is then weighed by how much likelier
the policy finds it now, cut at a limit (Ionides 2008; for language models Yao et al. 2025): pi_now / pi_drew is what makes an
expectation under pi_drew one under pi_now, and the cut bounds its variance. The ratio of PPO and its like starts at pi_now.

Shape letters: B rows (responses), T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amenable.batch import Batch
from amenable.objectives.masked import masked_mean
from amenable.objectives.policy import truncated_importance
from amenable.train.learner import Learner

GAP_LIMIT = 1e-3
"""Nats per token, mean of absolute values, up to which sampling's log-probs stand for training's."""
SAMPLE_EVERY = 8
"""One row in so many is computed both ways."""


class PolicyScorer:
    """A loop's scorer for the role "policy" of rollouts: "policy.logprobs", and "policy.values" where the trunk is shared.

    reuse   log-probs of sampling where they agree with training's on a sample of the batch's rows. Figures: sampling_gap,
            what lies between them, and logprobs_reused, the share of rows taken over
    limit   None: the policy itself drew. Else an older one did: the column "importance" (B, T) is min(pi_now / pi_drew, limit),
            1 where nothing is trained, and its figures are importance and importance_cut, the share of tokens at the limit
    """

    def __init__(self, learner: Learner, *, reuse: bool, limit: float | None = None) -> None:
        self.learner, self.reuse, self.limit = learner, reuse, limit

    def columns(self, batch: Batch, what: tuple[str, ...]) -> dict[str, Tensor]:
        drawn_BT = batch.columns.get("sampling.logprobs")
        if drawn_BT is None:
            return self._compute(batch, what)
        if self.limit is not None:
            return self._weighed(batch, self._compute(batch, what), drawn_BT, self.limit)
        if not self.reuse or what != ("logprobs",):
            found = self._compute(batch, what)
            return found | self._gap(batch, found.get("policy.logprobs"), torch.arange(batch.num_rows))
        return self._reused(batch, drawn_BT)

    def _compute(self, batch: Batch, what: tuple[str, ...]) -> dict[str, Tensor]:
        out = self.learner.evaluate("policy", batch, what)
        found = {"logprobs": out.logprobs_BT, "values": out.values_BT, "entropy": out.entropy_BT}
        return {f"policy.{name}": column for name in what if (column := found[name]) is not None}

    def _reused(self, batch: Batch, drawn_BT: Tensor) -> dict[str, Tensor]:
        every = torch.arange(batch.num_rows)
        is_sample = every % SAMPLE_EVERY == 0
        logprobs_BT = torch.where(batch.trained_BT, drawn_BT, 0.0)
        self._put(batch, every[is_sample], logprobs_BT)
        figures = self._gap(batch, logprobs_BT, every[is_sample])
        rest = every[~is_sample]
        agrees = float(figures["sampling_gap"][0]) <= GAP_LIMIT
        if not agrees and len(rest):
            self._put(batch, rest, logprobs_BT)
            figures = self._gap(batch, logprobs_BT, every)
        reused_B = ~is_sample if agrees else torch.zeros_like(is_sample)
        return {"policy.logprobs": logprobs_BT, "logprobs_reused": reused_B.float(), **figures}

    def _put(self, batch: Batch, rows: Tensor, logprobs_BT: Tensor) -> None:
        """Write training's log-probs of these rows."""
        part = batch.select(rows)
        found_bt = self._compute(part, ("logprobs",))["policy.logprobs"]
        logprobs_BT[rows] = 0.0
        logprobs_BT[rows, : found_bt.shape[1]] = found_bt.to(logprobs_BT.dtype)

    def _gap(self, batch: Batch, logprobs_BT: Tensor | None, rows: Tensor) -> dict[str, Tensor]:
        """sampling_gap of these rows, the same for all rows of the batch."""
        if logprobs_BT is None:
            return {}
        distance_BT = (logprobs_BT - batch["sampling.logprobs"]).abs()
        return {"sampling_gap": masked_mean(distance_BT[rows], batch.trained_BT[rows]).expand(batch.num_rows)}

    def _weighed(self, batch: Batch, found: dict[str, Tensor], drawn_BT: Tensor, limit: float) -> dict[str, Tensor]:
        weight_BT = importance(found["policy.logprobs"], drawn_BT, batch.trained_BT, limit)
        cut_BT = (weight_BT >= limit) & batch.trained_BT
        figures = {
            "importance_mean": masked_mean(weight_BT, batch.trained_BT).expand(batch.num_rows),
            "importance_cut": masked_mean(cut_BT.float(), batch.trained_BT).expand(batch.num_rows),
        }
        return {**found, "importance": weight_BT, **figures}


def importance(now_BT: Tensor, drawn_BT: Tensor, mask_BT: Tensor, limit: float) -> Tensor:
    """min(e^(now - drawn), limit) where the mask is True, 1 elsewhere.

    >>> now, drawn = torch.tensor([[0.0, -1.0, -1.0]]), torch.tensor([[-2.0, -1.5, -0.5]])
    >>> [round(w, 3) for w in importance(now, drawn, torch.tensor([[True, True, False]]), 2.0)[0].tolist()]
    [2.0, 1.649, 1.0]
    """
    return torch.where(mask_BT, truncated_importance(now_BT, drawn_BT, cap=limit), 1.0)
