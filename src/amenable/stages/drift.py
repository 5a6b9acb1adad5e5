"""Watches the scores of a policy's responses leave what the reward model has seen, and says so once.

A reward model is trustworthy about responses such as people judged. Where most of a policy's responses score above 99 % of
its held-out ones, the scores say more of the reward model's gaps than of the responses (Gao et al. 2022).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean
from typing import Any

LIMIT = 0.5  # share of responses beyond; the rule of evals/diagnose.py
STEPS = 5  # that it is averaged over


class Drift:
    """The alarm of one run. alarm: what was said, empty until then.

    logged: the metrics of the steps before the first that is seen, of a run that goes on; what was said of them is not said again.
    """

    def __init__(
        self, say: Callable[[str, str], None], logged: Callable[[], Iterable[Mapping[str, Any]]] = tuple
    ) -> None:
        self.alarm = ""
        self._say = say
        self._logged = logged
        self._last: deque[float] = deque(maxlen=STEPS)

    def recall(self) -> None:
        """Take in the steps that were logged before, if that is still to be done."""
        logged, self._logged = self._logged, tuple
        for row in logged():
            self._take(row["step"], row)

    def see(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in a step's share of all responses; a reward without held-out scores gives no figure and no alarm.

        Of all, since the best that an algorithm keeps score beyond what is usual wherever the policy stands.
        """
        self.recall()
        said = self.alarm
        self._take(step, metrics)
        if self.alarm != said:
            self._say(self.alarm, "warning")

    def _take(self, step: int, metrics: Mapping[str, Any]) -> None:
        if metrics.get("score_beyond") is None:  # None: as a log has what is no number
            return
        self._last.append(metrics["score_beyond"])
        share = fmean(self._last)
        if not self.alarm and len(self._last) == STEPS and share >= LIMIT:
            self.alarm = (
                f"over-optimisation: at step {step}, {share:.0%} of the responses of the last {STEPS} steps score above 99 % of "
                "the reward model's held-out responses, so its scores are no longer to be trusted; stop earlier, raise "
                "algorithm.kl_coef, or label samples of this policy and train the reward model again"
            )
