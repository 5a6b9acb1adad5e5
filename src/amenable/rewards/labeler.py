"""The simulated labeler as a reward: its quality without noise, or its noisy rating, on a chosen scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from amenable.feedback.simulated import SimulatedLabeler
from amenable.types import Record, Scored


class Config(Record, frozen=True):
    """Settings of the labeler reward. score = shift + scale * (quality, or rating mapped to 0..1)."""

    read: Annotated[
        Literal["quality", "rating"],
        Meta(description="quality: fine and without noise; rating: whole points of 1 to 7 with noise, mapped to 0..1"),
    ] = "quality"
    noise: Annotated[float, Meta(ge=0, description="standard deviation of a rating, in rating points")] = 0.5
    seed: Annotated[int, Meta(description="another seed is another labeler")] = 0
    scale: Annotated[float, Meta(gt=0, description="length of the range of scores")] = 1.0
    shift: Annotated[float, Meta(description="score of the worst response")] = 0.0


class LabelerReward:
    """Scores by the simulated labeler, in shift .. shift + scale.

    >>> from amenable.types import user
    >>> asked = Scored(prompt=(user("What is 2 plus 3?"),), response="2 plus 3 is 5.", references=("5",))
    >>> LabelerReward(Config(read="rating", noise=0.0, scale=2.0, shift=-1.0)).score([asked, asked.replace(response="")])
    [1.0, -1.0]
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.labeler = SimulatedLabeler(noise=self.config.noise, seed=self.config.seed)

    @property
    def name(self) -> str:
        return self.labeler.name

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One score per item."""
        return [self.config.shift + self.config.scale * self._share(item) for item in items]

    def _share(self, item: Scored) -> float:
        if self.config.read == "quality":
            return self.labeler.quality(item)
        return (self.labeler.rate(item) - 1.0) / 6.0
