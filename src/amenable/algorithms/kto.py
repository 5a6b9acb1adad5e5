"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024, eq. 8): single yes/no labels in, no pairs, no reward model.

The reference point z0 is the batch's estimate of KL(policy || reference), from mismatched rows: each prompt with the
response of the next row. `arrange` builds them, the policy and the reference score them without gradient, `prepare`
takes max(0, mean log-ratio) over the whole global batch and drops them again. None of them is longer than the batch's
longest row, which fits the context: a prompt loses what is too much behind its first token, then a response its end.
A row alone in its batch has no other's response: z0 is 0 then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor

from amenable.batch import Batch, LossTerms, Outputs, concatenate, metric, pad
from amenable.objectives import preference
from amenable.types import Record

feeds, unit, trains = "labels", "row", {"policy": "lm"}
needs = ("reference.logprobs", "policy.logprobs")


class Config(Record, frozen=True):
    beta: Annotated[float, Meta(gt=0, description="strength of the leash to the reference; dimensionless")] = 0.1
    desirable_weight: Annotated[float, Meta(ge=0, description="weight of responses labelled yes")] = 1.0
    undesirable_weight: Annotated[float, Meta(ge=0, description="weight of responses labelled no")] = 1.0


def arrange(batch: Batch, config: Config, generator: torch.Generator) -> Batch:
    """Append, for each row, its prompt with the response of another row (a cyclic shift by a random distance)."""
    size, width = batch.tokens_BT.shape
    if size == 1:
        return batch.with_columns({"is_mismatched": torch.zeros(size)})
    distance = int(torch.randint(1, size, (1,), generator=generator))
    tokens, trained = [], []
    for row in range(size):
        own, other = row, (row + distance) % size
        starts = _response_start(batch, own), _response_start(batch, other)
        response = batch.tokens_BT[other, starts[1] : int(batch.valid_BT[other].sum())]
        prompt = _cut_left(batch.tokens_BT[own, : starts[0]], width - len(response))
        response = response[: width - len(prompt)]
        tokens.append(torch.cat([prompt, response]))
        trained.append(
            torch.cat(
                [
                    torch.zeros(len(prompt), dtype=torch.bool),
                    batch.trained_BT[other, starts[1] :][: len(response)],
                ]
            )
        )
    mismatched = Batch(
        tokens_BT=pad(tokens, dtype=torch.long),
        valid_BT=pad([torch.ones(len(t)) for t in tokens], dtype=torch.bool),
        trained_BT=pad(trained, dtype=torch.bool),
        unit_B=batch.unit_B,
        columns={**batch.columns, "is_mismatched": torch.ones(size)},
        records=batch.records,
        stream=batch.stream,
    )
    if batch.source_BS is not None:
        mismatched = replace(mismatched, source_BS=batch.source_BS, source_valid_BS=batch.source_valid_BS)
    return concatenate([batch.with_columns({"is_mismatched": torch.zeros(size)}), mismatched])


def prepare(batch: Batch, config: Config, state: Any) -> tuple[Batch, dict[str, float]]:
    ratio_B = (batch["policy.logprobs"] - batch["reference.logprobs"]).sum(1)
    is_mismatched_B = batch["is_mismatched"] > 0
    zero_point = preference.kto_baseline(ratio_B[is_mismatched_B])
    real = batch.select(torch.nonzero(~is_mismatched_B)[:, 0])
    return real.with_columns({"kl_zero": zero_point.expand(real.num_rows)}), {"kl_zero_point": float(zero_point)}


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"preference": float(batch.num_rows)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    ratio_B = logprobs_BT.sum(1) - batch["reference.logprobs"].sum(1)
    desirable_B = batch["label"] > 0.5
    loss_B = preference.kto(
        ratio_B,
        desirable_B,
        batch["kl_zero"],
        beta=config.beta,
        weights=(config.desirable_weight, config.undesirable_weight),
    )
    reward_B = config.beta * ratio_B
    return LossTerms(
        terms={"preference": loss_B.sum()},
        metrics={
            "reward_desirable": metric(reward_B, desirable_B),
            "reward_undesirable": metric(reward_B, ~desirable_B),
        },
    )


def _cut_left(prompt_T: Tensor, most: int) -> Tensor:
    """The first token, and of those behind it the last ones: `most` in all, at least one.

    >>> _cut_left(torch.tensor([1, 2, 3, 4]), 2).tolist(), _cut_left(torch.tensor([1, 2]), -3).tolist()
    ([1, 4], [1])
    """
    excess = max(len(prompt_T) - max(most, 1), 0)
    return torch.cat([prompt_T[:1], prompt_T[1 + excess :]])


def _response_start(batch: Batch, row: int) -> int:
    """Index of the first trained token: where the response begins."""
    return int(batch.trained_BT[row].long().argmax())
