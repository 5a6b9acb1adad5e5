"""Several reward models as one: their mean, their worst, or their mean less what they disagree by.

A policy finds the responses that one reward model overrates; members that were trained apart seldom overrate the same
ones (Coste et al. 2023). There the penalty is the variance; here it is the standard deviation, in the unit of the
scores. Members should share one scale, as those of one `amenable reward` run do.

Shape letters: E members, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from amenable.errors import ConfigError
from amenable.rewards.base import BEYOND, Detail, HeldOutScores, Reward, detail
from amenable.types import Record, Scored


class Combine(Record, frozen=True):
    """How the members' scores become one; the options of a reward model that was trained with several members."""

    combine: Annotated[
        Literal["mean", "worst", "penalised"],
        Meta(description="mean; worst: the lowest of them; penalised: mean - penalty * standard deviation"),
    ] = "mean"
    penalty: Annotated[
        float, Meta(ge=0, description="of `penalised`: score lost per unit of the members' standard deviation")
    ] = 1.0

    def __post_init__(self) -> None:
        if self.penalty != 1.0 and self.combine != "penalised":
            raise ConfigError(
                f"a penalty does nothing where the members are combined by their {self.combine}",
                where="penalty",
                mend="set combine = 'penalised', or leave penalty out",
            )


class Config(Combine, frozen=True, kw_only=True):
    """Settings of the ensemble reward."""

    models: Annotated[tuple[str, ...], Meta(description="the members: rewards by name, two at least")]


class EnsembleReward:
    """Scores on the members' scale. held_out: of the members' mean, where it was measured.

    Figures: each member's score, their standard deviation as `disagreement`, and the share of members for whom the
    response lies beyond their held-out ones.

    >>> from amenable.rewards.length import LengthReward
    >>> from amenable.rewards.rules import Config as Rules, RulesReward
    >>> pair = EnsembleReward([LengthReward(), RulesReward(Rules(max_words=9))], Combine(combine="worst"))
    >>> pair.score([Scored(prompt=(), response="Three little words.")])
    [1.0]
    """

    def __init__(
        self,
        members: Sequence[Reward],
        combine: Combine | None = None,
        *,
        name: str = "ensemble",
        held_out: HeldOutScores | None = None,
    ) -> None:
        if len(members) < 2:
            raise ConfigError(
                "an ensemble needs two members at least", where=name, mend="name two reward models in `models`"
            )
        self.members, self.how, self.name = tuple(members), combine or Combine(), name
        self.held_out = held_out

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One score per item."""
        return self.detail(items).scores

    def detail(self, items: Sequence[Scored]) -> Detail:
        """Scores and figures."""
        found = [detail(member, items) for member in self.members]
        scores_EN = np.array([one.scores for one in found], dtype=np.float64)
        spread_N = scores_EN.std(0)
        figures = {f"member_{i}": one.scores for i, one in enumerate(found, start=1)}
        figures["disagreement"] = spread_N.tolist()
        beyond = [one.figures[BEYOND] for one in found if BEYOND in one.figures]
        if beyond:
            figures[BEYOND] = np.mean(beyond, axis=0).tolist()
        if self.how.combine == "worst":
            total_N = scores_EN.min(0)
        else:
            penalty = self.how.penalty if self.how.combine == "penalised" else 0.0
            total_N = scores_EN.mean(0) - penalty * spread_N
        return Detail(scores=total_N.tolist(), figures=figures)
