"""A reward made of parts: a weighted sum of other rewards, and gates that cap or replace it.

    [parts.helpful]
    reward = "run:helpful"
    scale = "standard"        # in standard deviations of the model's held-out scores

    [parts.toxic]
    reward = "run:toxic"      # trained with reward_label
    scale = "probability"     # of a yes
    weight = 0                # no part of the sum
    gate_above = 0.5          # but where it is likely, the total is at most -1
    gate_total = -1

total = sum of weight * value over the parts. A gate is open where its part's value (on its scale) lies below
`gate_below` or above `gate_above`. Gates that replace come first (the lowest of them counts), then those that cap, so
the order of the parts does not matter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from amenable.errors import ConfigError
from amenable.rewards.base import BEYOND, Detail, HeldOutScores, Reward, detail
from amenable.types import Record, Scored

Column = npt.NDArray[np.float64]
PART_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Part(Record, frozen=True):
    """One part of a composite reward."""

    reward: Annotated[str, Meta(description="any reward by name: a model, labeler, rules, length, a recipe, a class")]
    options: Annotated[dict[str, Any], Meta(description="settings of that reward")] = {}
    weight: Annotated[float, Meta(description="factor in the sum; 0: logged, and read by the gate, but not added")] = (
        1.0
    )
    scale: Annotated[
        Literal["raw", "standard", "probability"],
        Meta(
            description="raw: as scored; standard: less the mean and over the standard deviation of a reward model's "
            "held-out scores; probability: 1 / (1 + exp(-score)), for models of yes/no labels"
        ),
    ] = "raw"
    gate_below: Annotated[float | None, Meta(description="the gate is open below this value; null: not")] = None
    gate_above: Annotated[float | None, Meta(description="the gate is open above this value; null: not")] = None
    gate: Annotated[
        Literal["cap", "replace"],
        Meta(description="what an open gate does: cap: the total is at most gate_total; replace: it is gate_total"),
    ] = "cap"
    gate_total: Annotated[float, Meta(description="the total, or its upper bound, where the gate is open")] = 0.0

    @property
    def gated(self) -> bool:
        """Whether the part has a gate."""
        return self.gate_below is not None or self.gate_above is not None


class Config(Record, frozen=True):
    """Settings of the composite reward."""

    parts: Annotated[dict[str, Part], Meta(description="the parts by name; each is logged as reward/<name>")]


class CompositeReward:
    """Scores are weighted sums. Figures: each part's value on its scale, its own figures as <part>/<figure>, whether its
    gate was open as <part>/gate, and `beyond` averaged over the parts that are added and know it.

    >>> from amenable.rewards.length import LengthReward
    >>> parts = Config(parts={"words": Part(reward="length", weight=0.5, gate_above=3, gate="replace")})
    >>> short, long = (Scored(prompt=(), response=text) for text in ("Two words.", "These are four words."))
    >>> CompositeReward(parts, {"words": LengthReward()}).score([short, long])
    [1.0, 0.0]
    """

    def __init__(self, config: Config, rewards: Mapping[str, Reward], *, name: str = "composite") -> None:
        check(config, name)
        self.config, self.rewards, self.name = config, dict(rewards), name
        for part_name, part in config.parts.items():
            if part.scale == "standard":
                _standard(self.rewards[part_name], f"{name}: parts.{part_name}.scale")

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One score per item."""
        return self.detail(items).scores

    def detail(self, items: Sequence[Scored]) -> Detail:
        """Scores and figures."""
        total_N = np.zeros(len(items))
        replaced_N, cap_N = np.full(len(items), np.inf), np.full(len(items), np.inf)
        figures: dict[str, list[float]] = {}
        beyond: list[list[float]] = []
        for name, part in self.config.parts.items():
            found = detail(self.rewards[name], items)
            value_N = self._on_scale(name, part, np.array(found.scores, dtype=np.float64))
            total_N = total_N + part.weight * value_N
            figures[name] = value_N.tolist()
            figures |= {f"{name}/{key}": values for key, values in found.figures.items()}
            if part.weight > 0 and BEYOND in found.figures:
                beyond.append(found.figures[BEYOND])
            if part.gated:
                open_N = _open(part, value_N)
                figures[f"{name}/gate"] = open_N.astype(np.float64).tolist()
                bound_N = np.where(open_N, part.gate_total, np.inf)
                if part.gate == "cap":
                    cap_N = np.minimum(cap_N, bound_N)
                else:
                    replaced_N = np.minimum(replaced_N, bound_N)
        total_N = np.minimum(np.where(np.isfinite(replaced_N), replaced_N, total_N), cap_N)
        if beyond:
            figures[BEYOND] = np.mean(beyond, axis=0).tolist()
        return Detail(scores=total_N.tolist(), figures=figures)

    def _on_scale(self, name: str, part: Part, score_N: Column) -> Column:
        if part.scale == "probability":
            return np.exp(-np.logaddexp(0.0, -score_N))
        if part.scale == "standard":
            held_out = _standard(self.rewards[name], name)
            return (score_N - held_out.mean) / held_out.std
        return score_N


def check(config: Config, where: str) -> None:
    """Raise ConfigError for a recipe that cannot mean what was meant."""
    if not config.parts:
        raise ConfigError("the reward has no parts", where=where, mend="add one: parts.NAME.reward = ...")
    for name, part in config.parts.items():
        spot = f"{where}: parts.{name}"
        if not PART_NAME.fullmatch(name) or name == BEYOND:
            mend = f"use letters, digits, '_' and '-'; {BEYOND!r} has a meaning of its own"
            raise ConfigError(f"{name!r} is not a fit name", where=spot, mend=mend)
        if not (math.isfinite(part.weight) and math.isfinite(part.gate_total)):
            raise ConfigError("weight and gate_total must be finite", where=spot, mend="give numbers")
        if not part.gated and (part.gate != "cap" or part.gate_total != 0.0):
            raise ConfigError(
                "the gate never opens", where=spot, mend="set gate_below or gate_above, or leave gate settings out"
            )
        if part.gate_below is not None and part.gate_above is not None and part.gate_below > part.gate_above:
            raise ConfigError(
                f"every value lies below {part.gate_below} or above {part.gate_above}",
                where=spot,
                mend="gate_below must not exceed gate_above",
            )
    if all(part.weight == 0 for part in config.parts.values()):
        raise ConfigError(
            "all weights are 0, so nothing is rewarded", where=where, mend="give a part a weight other than 0"
        )


def _open(part: Part, value_N: Column) -> npt.NDArray[np.bool_]:
    open_N = np.zeros(len(value_N), dtype=np.bool_)
    if part.gate_below is not None:
        open_N |= value_N < part.gate_below
    if part.gate_above is not None:
        open_N |= value_N > part.gate_above
    return open_N


@runtime_checkable
class _Measured(Protocol):
    """A reward that knows its scores on held-out responses."""

    held_out: HeldOutScores | None


def _standard(reward: Reward, where: str) -> HeldOutScores:
    """The held-out scores of a reward model, or a ConfigError."""
    held_out = reward.held_out if isinstance(reward, _Measured) else None
    if held_out is None or held_out.std == 0:
        raise ConfigError(
            f"the scale of {reward.name}'s scores on held-out responses is not known",
            where=where,
            mend="take a reward model that was trained with held-out data, or scale = 'raw'",
        )
    return held_out
