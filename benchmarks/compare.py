"""Two workers turn by turn: A B A B ..., the ratio of each pair of turns, and an interval for its median.

Time is processor time where a process has one thread, which other work on the machine disturbs little, and the clock on
the wall otherwise.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.work import LIMIT_SIDE

LIMIT_STEPS = 5
LIMIT_OPERATIONS = 2.0 * LIMIT_SIDE**3
ROOT = Path(__file__).resolve().parent.parent


class WorkerError(Exception):
    """A worker ended, or said something else than it should; the message holds its last words."""


class Worker:
    """A process at the gate. Made ready by the first `run`."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], *, threads: int) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the worker)
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", **variables},
            text=True,
        )
        self._read()  # ready

    def run(self, steps: int) -> dict[str, float]:
        """{"seconds", "cpu", "tokens"} of so many steps."""
        return self._ask({"run": steps})

    def memory(self) -> dict[str, float]:
        """{"peak", "imports"} in bytes."""
        return self._ask({"memory": 1})

    def stop(self) -> None:
        if self.process.poll() is None and self.process.stdin:
            self.process.stdin.write('{"stop": 1}\n')
            self.process.stdin.close()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def _ask(self, command: dict[str, Any]) -> dict[str, float]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, float]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise WorkerError(self.errors.read().decode(errors="replace")[-1500:].strip() or "it ended without a word")
        return json.loads(line)


@dataclass(frozen=True)
class Interval:
    """A median and the order statistics around it that hold the true one with at least `coverage`."""

    median: float
    low: float
    high: float
    coverage: float


def median_interval(values: Sequence[float], coverage: float = 0.95) -> Interval:
    """Distribution-free: the narrowest pair of order statistics that covers the median often enough, else the widest.

    Between the k-th smallest and the k-th largest of n lies the median unless fewer than k fall on one side:
    1 - 2 P(Binomial(n, 1/2) < k).

    >>> median_interval([3.0, 1.0, 2.0])
    Interval(median=2.0, low=1.0, high=3.0, coverage=0.75)
    """
    ordered = sorted(values)
    n = len(ordered)
    best = 1
    for k in range(1, n // 2 + 1):
        if _covers(n, k) >= coverage:
            best = k
    return Interval(statistics.median(ordered), ordered[best - 1], ordered[n - best], _covers(n, best))


def _covers(n: int, k: int) -> float:
    return max(0.0, 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n)


@dataclass(frozen=True)
class Turns:
    """What a comparison measured, by turn: seconds of a step, theirs / ours, operations a second of the limit; and memory.

    theirs and ratios are empty if only we ran. Where both sides count tokens, the ratio is that of seconds a token.
    """

    ours: list[float]
    theirs: list[float]
    ratios: list[float]
    peak_flops: list[float]
    our_tokens: float
    our_memory: dict[str, float]
    their_memory: dict[str, float]


def seconds_of(answer: Mapping[str, float], threads: int) -> float:
    return answer["cpu"] if threads == 1 else answer["seconds"]


def interleave(
    ours: Worker, theirs: Worker | None, limit: Worker, *, steps: int, turns: int, threads: int, warm: int = 1
) -> Turns:
    """`turns` rounds of: ours, theirs, the machine's limit. The ratio of a round is theirs / ours."""
    for _ in range(warm):
        for worker in filter(None, (ours, theirs)):
            worker.run(steps)
    limit.run(LIMIT_STEPS)
    own, other, ratios, peaks = [], [], [], []
    tokens = 0.0
    for _ in range(turns):
        a = ours.run(steps)
        own.append(seconds_of(a, threads) / steps)
        tokens += a["tokens"] / steps / turns
        if theirs:
            b = theirs.run(steps)
            other.append(seconds_of(b, threads) / steps)
            counted = a["tokens"] and b["tokens"]
            ratios.append(other[-1] / own[-1] * (a["tokens"] / b["tokens"] if counted else 1.0))
        peaks.append(LIMIT_STEPS * LIMIT_OPERATIONS / seconds_of(limit.run(LIMIT_STEPS), threads))
    return Turns(own, other, ratios, peaks, tokens, ours.memory(), theirs.memory() if theirs else {})


def python_of(environments: Path, name: str) -> Path:
    """The interpreter of a peer's environment, there or not."""
    return environments / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def our_worker(materials: Path, size: str, work: str, *, threads: int) -> Worker:
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "benchmarks.ours", str(materials), size, work]
    return Worker(command, {"PYTHONPATH": path}, threads=threads)


def limit_worker(*, threads: int) -> Worker:
    return Worker([sys.executable, "-m", "benchmarks.limit"], {}, threads=threads)
