"""The simulated labeler as judge and as scorer: compares two responses, and rates one from 1 to 7 without rounding."""

from __future__ import annotations

from collections.abc import Sequence

from amenable.feedback.simulated import SimulatedLabeler
from amenable.types import Prompt, Scored


class LabelerVerdict:
    """Named as simulated wherever its figures show. noise: see SimulatedLabeler; it moves `compare` only."""

    name = SimulatedLabeler.name

    def __init__(self, *, noise: float = 0.0, seed: int = 0) -> None:
        self.labeler = SimulatedLabeler(noise=noise, seed=seed)

    def compare(self, prompt: Prompt, a: Scored, b: Scored) -> float:
        """1.0 if a is preferred, 0.0 if b is, 0.5 for a tie."""
        return self.labeler.compare(prompt, a.response, b.response, finished=(a.finished, b.finished))

    def score(self, items: Sequence[Scored]) -> list[float]:
        """1 + 6 x quality."""
        return [1 + 6 * self.labeler.quality(item) for item in items]
