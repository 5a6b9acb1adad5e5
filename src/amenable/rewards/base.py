"""What a reward is: a name, and one number per response. It sees text only, so that any tokenizer may stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from amenable.types import Scored


@runtime_checkable
class Reward(Protocol):
    """Scores responses; more is better. The scale is the reward's own, said in its docstring."""

    @property
    def name(self) -> str:
        """Short name for logs and reports."""
        ...

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One finite number per item, in order; an item's score does not depend on its neighbours."""
        ...
