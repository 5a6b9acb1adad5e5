"""Reward model from comparisons (Bradley and Terry 1952; Ouyang et al. 2022, eq. 1): chosen above rejected.

-log sigmoid(r(chosen) - r(rejected)), the mean over pairs. Where a comparison carries a strength and `use_margin` is
on, it is subtracted from the difference first (Touvron et al. 2023, eq. 2). With a zero head the first loss is ln 2.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.objectives.preference import bradley_terry
from amenable.types import Record

feeds, unit, trains = "comparisons", "pair", {"reward": "scalar"}


class Config(Record, frozen=True):
    use_margin: Annotated[bool, Meta(description="ask for a gap of the comparison's own strength")] = False
    centering: Annotated[
        float,
        Meta(
            ge=0,
            description="weight of the squared sum of a pair's scores; keeps scores near 0 (Eisenstein et al. 2023)",
        ),
    ] = 0.01


def counts(batch: Batch, config: Config) -> dict[str, float]:
    pairs = float((batch["chosen"] > 0).sum())
    return {"preference": pairs, "centering": pairs} if config.centering else {"preference": pairs}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    scores_B = outputs["reward"].scores_B
    assert scores_B is not None
    is_chosen_B = batch["chosen"] > 0
    chosen_P, rejected_P = scores_B[is_chosen_B], scores_B[~is_chosen_B]
    gap_P = chosen_P - rejected_P
    strength_P = batch["margin"][is_chosen_B] if config.use_margin else None
    terms = {"preference": bradley_terry(gap_P, strength_P).sum()}
    if config.centering:
        terms["centering"] = config.centering * (chosen_P + rejected_P).square().sum()
    return LossTerms(
        terms=terms,
        metrics={"accuracy": metric(gap_P > 0), "gap": metric(gap_P), "score": metric(scores_B)},
    )
