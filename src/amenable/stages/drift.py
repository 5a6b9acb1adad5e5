"""Watches the scores of a policy's responses leave what the reward model has seen, and says so once.

A reward model is trustworthy about responses such as people judged. Where most of a policy's responses score above 99 % of
its held-out ones, the scores say more of the reward model's gaps than of the responses (Gao et al. 2022).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from statistics import fmean

LIMIT = 0.5  # share of responses beyond; the rule of evals/diagnose.py
STEPS = 5  # that it is averaged over


class Drift:
    """The alarm of one run. alarm: what was said, empty until then."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self.alarm = ""
        self._say = say
        self._last: deque[float] = deque(maxlen=STEPS)

    def see(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in a step's share of all responses; a reward without held-out scores gives no figure and no alarm.

        Of all, since the best that an algorithm keeps score beyond what is usual wherever the policy stands.
        """
        if "score_beyond" not in metrics:
            return
        self._last.append(metrics["score_beyond"])
        share = fmean(self._last)
        if not self.alarm and len(self._last) == STEPS and share >= LIMIT:
            self.alarm = (
                f"over-optimisation: at step {step}, {share:.0%} of the responses of the last {STEPS} steps score above 99 % of "
                "the reward model's held-out responses, so its scores are no longer to be trusted; stop earlier, raise "
                "algorithm.kl_coef, or label samples of this policy and train the reward model again"
            )
            self._say(self.alarm, "warning")
