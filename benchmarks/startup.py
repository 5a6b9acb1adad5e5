"""How soon the command line answers: `amenable --help`, and the first token of `amenable sample` beside torch's own import."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare import ROOT
from benchmarks.rows import Row

HELP_SECONDS, SAMPLE_SECONDS = 0.3, 0.7
"""What we want: `--help` within the first; the first token within the second after what torch's import takes."""
TIMES = 5


def rows(materials: Path, *, threads: int) -> list[Row]:
    """Medians of a few starts, turn by turn, after one that warms the disk."""
    sample = [*_amenable("sample"), f"model={materials / 'S' / 'policy'}", 'prompts=["hello"]', "sampling.max_tokens=1"]
    commands = {
        "help": _amenable("--help"),
        "torch": [sys.executable, "-c", "import torch"],
        "sample": [*sample, "--quiet", "--workspace", str(materials / "workspace")],
    }
    _seconds([*_amenable("init"), str(materials / "workspace")], threads)
    found: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(TIMES + 1):
        for name, command in commands.items():
            took = _seconds(command, threads)
            if turn:
                found[name].append(took)
    help_, torch_, sampled = (statistics.median(found[name]) for name in ("help", "torch", "sample"))
    return [
        Row(work="amenable --help", size="-", ours=help_, unit="s", turns=TIMES, note=_verdict(help_, HELP_SECONDS)),
        Row(
            work="amenable sample, first token",
            size="S",
            peer="torch's import alone",
            ours=sampled,
            theirs=torch_,
            unit="s",
            turns=TIMES,
            note=_verdict(sampled, torch_ + SAMPLE_SECONDS),
        ),
    ]


def _verdict(seconds: float, most: float) -> str:
    return f"target: at most {most:.2g} s, " + ("reached" if seconds <= most else "not reached")


def _amenable(*words: str) -> list[str]:
    return [sys.executable, "-m", "amenable", *words]


def _seconds(command: Sequence[str], threads: int) -> float:
    """Of a whole process: processor time with one thread, else the clock."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    subprocess.run(list(command), env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if threads == 1:
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started
