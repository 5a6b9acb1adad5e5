"""Length in words: the baseline that every reward model must beat, and a probe for rewards that merely like it long."""

from __future__ import annotations

from collections.abc import Sequence

from amenable.types import Scored


class LengthReward:
    """The number of words, counted by white space.

    >>> LengthReward().score([Scored(prompt=(), response="Three little words."), Scored(prompt=(), response="")])
    [3.0, 0.0]
    """

    name = "length"

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One score per item, in words."""
        return [float(len(item.response.split())) for item in items]
