"""Reward model from rankings of K responses with ties (Ouyang et al. 2022, eq. 1): all pairs of a prompt as one element.

Each ranking weighs the same: its ordered pairs are averaged before the mean over rankings, which keeps K(K-1)/2
correlated pairs from counting as so many observations. Ties train nothing by default; with `ties = "davidson"` or
"rao-kupper" they pull scores together under that model of ties. `likelihood = "plackett-luce"` takes the probability of
the whole order instead: the best is picked first of all, then the next of those left (Plackett 1975).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from msgspec import Meta
from torch import Tensor

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.errors import ConfigError
from amenable.objectives.preference import Pairs, bradley_terry, davidson, plackett_luce, ranking_pairs, rao_kupper
from amenable.types import Record

feeds, unit, trains = "rankings", "group", {"reward": "scalar"}


class Config(Record, frozen=True):
    likelihood: Annotated[
        Literal["pairs", "plackett-luce"],
        Meta(description="of a ranking: of its pairs, each weighing 1 / their number, or of the whole order"),
    ] = "pairs"
    ties: Annotated[Literal["ignore", "davidson", "rao-kupper"], Meta(description="what a tie teaches")] = "ignore"
    tie_parameter: Annotated[
        float, Meta(gt=0, description="Davidson's nu or Rao-Kupper's ln theta: how readily people tie")
    ] = 0.5

    def __post_init__(self) -> None:
        if self.likelihood == "plackett-luce" and self.ties != "ignore":
            raise ConfigError(
                "Plackett and Luce have no ties: tied responses are not compared",
                where="algorithm.ties",
                mend="leave it out, or set algorithm.likelihood = 'pairs'",
            )


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"ranking": float(_pairs(torch.zeros(batch.num_rows), batch, config)[0].weight_P.sum().round())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    scores_B = outputs["reward"].scores_B
    assert scores_B is not None
    pairs, tied_P = _pairs(scores_B, batch, config)
    gap_P = pairs.margin_P
    if config.ties == "davidson":
        loss_P = davidson(gap_P, tied_P, log_nu=math.log(config.tie_parameter))
    elif config.ties == "rao-kupper":
        loss_P = rao_kupper(gap_P, tied_P, threshold=config.tie_parameter)
    else:
        loss_P = bradley_terry(gap_P)
    total = (loss_P * pairs.weight_P).sum()
    if config.likelihood == "plackett-luce":
        total = plackett_luce(scores_B, batch["tier"], batch.unit_B).sum()
    total = total + 0.0 * scores_B.sum()  # live gradients where every ranking is a tie
    return LossTerms(
        terms={"ranking": total},
        metrics={"accuracy": metric(gap_P > 0, ~tied_P), "score": metric(scores_B)},
    )


def _pairs(scores_B: Tensor, batch: Batch, config: Config) -> tuple[Pairs, Tensor]:
    """Pairs that count, and which of them are ties (none where ties are ignored)."""
    tier_B = batch["tier"]
    if config.ties == "ignore":
        pairs = ranking_pairs(scores_B, tier_B, batch.unit_B)
        return pairs, torch.zeros_like(pairs.better_P, dtype=torch.bool)
    place_B = torch.arange(len(tier_B), device=tier_B.device) / (len(tier_B) + 1)
    pairs = ranking_pairs(scores_B, tier_B + place_B, batch.unit_B)  # ties broken by place: every pair stands once
    return pairs, tier_B[pairs.better_P] == tier_B[pairs.worse_P]
