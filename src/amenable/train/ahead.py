"""Rollouts drawn one step ahead, in a thread of their own, while the learner is busy with the step before.

Step s learns from what the policy of step s - 1's beginning said (step 1: from its own words); train/policy_scorer.py weighs
what follows from that. The drawing policy is a copy, brought up to date between two steps, so that nothing depends on how
the two threads interleave. What is drawn already is part of the source's state: a resumed run learns from the very same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import msgspec
import torch

from amenable.types import Record, Rollout


class Prompts(Protocol):
    """As train/sources.py has its Units."""

    def next_units(self) -> list[Any]: ...

    @property
    def epochs_done(self) -> float: ...


class Drawn(Record, frozen=True):
    """One step's rollouts, a group for each prompt. seconds: spent on drawing. epochs: passes over the prompts so far."""

    groups: tuple[tuple[Rollout, ...], ...]
    seconds: float
    epochs: float


class Ahead:
    """draw: (step, units) -> groups, by a copy of the policy. refresh: brings the copy up to date. last: the run's last step."""

    def __init__(
        self, draw: Callable[[int, list[Any]], list[list[Rollout]]], refresh: Callable[[], None], *, last: int
    ) -> None:
        self.draw, self.refresh, self.last = draw, refresh, last
        self._pending: Future[Drawn] | None = None
        self._thread = ThreadPoolExecutor(
            max_workers=1, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
        )

    def take(self, step: int, prompts: Prompts) -> Drawn:
        """The rollouts of this step; those of the next are begun."""
        if self._pending is None:
            self.refresh()
            self._begin(step, prompts)
        assert self._pending is not None
        drawn = self._pending.result()
        self._pending = None
        if step < self.last:
            self.refresh()
            self._begin(step + 1, prompts)
        return drawn

    def state(self) -> Any:
        """What is drawn and not yet taken; waits for it."""
        return None if self._pending is None else msgspec.to_builtins(self._pending.result())

    def load_state(self, state: Any) -> None:
        self._pending = None
        if state is not None:
            self._pending = Future()
            self._pending.set_result(msgspec.convert(state, Drawn))

    def _begin(self, step: int, prompts: Prompts) -> None:
        units, epochs = prompts.next_units(), prompts.epochs_done

        def draw() -> Drawn:
            started = time.perf_counter()
            groups = self.draw(step, units)
            seconds = time.perf_counter() - started
            return Drawn(groups=tuple(tuple(group) for group in groups), seconds=seconds, epochs=epochs)

        self._pending = self._thread.submit(draw)
