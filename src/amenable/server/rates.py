"""Limits on how often: a bucket of requests per person (or address) and kind, refilled steadily. In memory: one web process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from amenable.server.errors import TooMany

Kind = Literal["any", "sign_in", "generate"]
LIMITS: dict[Kind, tuple[float, float]] = {"any": (100.0, 400.0), "sign_in": (10 / 60, 10.0), "generate": (1.0, 30.0)}
"""kind → (requests per second in the long run, at most at once)."""
MOST_BUCKETS = 10_000


class Rates:
    """Counts requests. clock: seconds, for tests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[Kind, str], tuple[float, float]] = {}  # (left, when)

    def take(self, kind: Kind, who: str) -> None:
        """Count one request. Raises TooMany where the bucket is empty."""
        per_second, most = LIMITS[kind]
        now = self.clock()
        with self._lock:
            left, when = self._buckets.get((kind, who), (most, now))
            left = min(most, left + (now - when) * per_second)
            if left < 1:
                wait = (1 - left) / per_second
                raise TooMany("too many requests", mend=f"wait {wait:.0f} seconds" if wait > 1 else "wait a moment")
            if len(self._buckets) >= MOST_BUCKETS:
                self._drop_full(now)
            self._buckets[kind, who] = (left - 1, now)

    def _drop_full(self, now: float) -> None:
        """Forget buckets that have filled up again; where that is not enough, all."""
        kept = {
            key: (left, when)
            for key, (left, when) in self._buckets.items()
            if left + (now - when) * LIMITS[key[0]][0] < LIMITS[key[0]][1]
        }
        self._buckets = kept if len(kept) < MOST_BUCKETS else {}
