"""How full projects are, as labelers see it at every step; of a large project as it was a moment ago."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from amenable.feedback import queue
from amenable.feedback.queue import Places

LARGE = 2_000
"""Slots from which on a count is kept: counting 15,000 takes longer than handing in."""
KEPT_S = 2.0


class Fullness:
    """queue.places of projects. clock: seconds, for tests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._known: dict[int, tuple[float, Places]] = {}  # (when, what) of large projects

    def of(self, connection: sa.Connection, project: int) -> Places:
        with self._lock:
            counted_at, known = self._known.get(project, (0.0, None))
            if known is not None:
                if self.clock() - counted_at < KEPT_S:
                    return known
                self._known[project] = (self.clock(), known)  # others go on with it while this one counts
        found = queue.places(connection, project)
        with self._lock:
            if found.total >= LARGE:
                self._known[project] = (self.clock(), found)
            else:
                self._known.pop(project, None)
        return found
