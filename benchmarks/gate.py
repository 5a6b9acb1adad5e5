"""A worker's side of the protocol: JSON commands on stdin, one JSON answer a line on stdout. Standard library only.

    {"run": 3}      three more steps                       {"seconds": 1.2, "cpu": 2.3, "tokens": 5532}
    {"memory": 1}   peak resident memory until now         {"peak": 912345678, "imports": 312345678}
    {"stop": 1}     the end

A training loop belongs to its library, so the loop calls `step` after each of its steps, and that is where a worker waits
for its next turn. What libraries print goes to stderr.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


class Stop(BaseException):
    """Raised inside the loop by the command to stop; no library catches it."""


class Gate:
    """Make it after the imports: memory is counted from here."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.imports = resident_bytes()
        self.left = 0
        self.tokens: Callable[[], int] = lambda: 0
        self.begin = self.begin_cpu = 0.0
        self.begin_tokens = 0

    def ready(self) -> None:
        """Before the first step: wait for the first turn."""
        self._answer({"ready": True})
        self._wait()

    def step(self) -> None:
        """After each step: on with the turn, or report and wait for the next."""
        self.left -= 1
        if self.left > 0:
            return
        seconds, cpu = time.perf_counter() - self.begin, time.process_time() - self.begin_cpu
        self._answer({"seconds": seconds, "cpu": cpu, "tokens": self.tokens() - self.begin_tokens})
        self._wait()

    def _wait(self) -> None:
        for line in sys.stdin:
            command: dict[str, Any] = json.loads(line)
            if "run" in command:
                self.left = int(command["run"])
                self.begin_tokens = self.tokens()
                self.begin, self.begin_cpu = time.perf_counter(), time.process_time()
                return
            if "memory" in command:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
                self._answer({"peak": peak, "imports": self.imports})
            else:
                break
        raise Stop

    def _answer(self, answer: dict[str, Any]) -> None:
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()


def resident_bytes() -> int:
    """Memory in use now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
