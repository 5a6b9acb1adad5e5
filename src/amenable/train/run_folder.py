"""The folder of a run: what it was told, on what, where it stands, what it saw.

    config.toml        the resolved settings
    environment.json   versions, machine, threads, compute paths in force, and the settings once more
    data.json          each stream's sources with hashes, counts, epochs
    metrics.jsonl      one line per step
    samples.jsonl      responses by step; watched.jsonl: to the same prompts at each, from step 0 or 1 on
    checkpoints/       see checkpoint.py
    dumps/             batches of skipped steps (or of all, if asked), for `runs replay`
    status.json        running | interrupted | parked | finished | failed, and why
    models/step-N/     the model after step N, where train.keep_models_every keeps it
    model/             the result

Lines after a checkpoint are cut off when a run resumes from it, so each step stands once.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import torch
from safetensors import SafetensorError

from amenable import __version__
from amenable.config.folder import write_atomic
from amenable.errors import ResumeError
from amenable.models.paths import Paths
from amenable.models.weights import full_disk
from amenable.types import StepReport

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]


TOKENIZERS = ("tokenizer", "reward_tokenizers")
"""What data.json says of the tokenizers that a run began with."""


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.model = folder / "model"
        self.dumps = folder / "dumps"

    def kept_model(self, step: int) -> Path:
        """Where the model as it stood after a step is kept (run:NAME@STEP)."""
        return self.folder / "models" / f"step-{step:06d}"

    def create(self, *, config_toml: str, environment: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Lay out a new run's folder."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / "config.toml", config_toml.encode())
        self.write_json("environment.json", environment)
        self.write_json("data.json", data)
        self.set_status("running")

    def write_json(self, name: str, value: Any) -> None:
        write_atomic(self.folder / name, (json.dumps(value, indent=2, default=str) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """A file of the run's. Raises ResumeError if it is missing or damaged."""
        try:
            return json.loads((self.folder / name).read_text())
        except (FileNotFoundError, ValueError) as error:
            raise ResumeError(
                f"the run's {name} is missing or damaged",
                where=str(self.folder / name),
                mend="put it back as it was, or start a new run from the newest checkpoint's model",
            ) from error

    def set_status(self, status: str, why: str = "", *, waits_for: Sequence[int] = ()) -> None:
        """waits_for: of a parked run, the tasks of the feedback database that people have not answered yet."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        waits = {"waits_for": list(waits_for)} if waits_for else {}
        self.write_json("status.json", {"status": status, "why": why, "at": at, **waits})

    @property
    def status(self) -> str:
        path = self.folder / "status.json"
        return str(self.read_json("status.json")["status"]) if path.exists() else "unknown"

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """One line of JSON at the end of a file. NaN and infinities, which JSON has not, become null."""
        clean = {k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in row.items()}
        with full_disk_named(self.folder / name), (self.folder / name).open("a") as file:
            file.write(json.dumps(clean) + "\n")

    def log_step(self, report: StepReport) -> None:
        row: dict[str, Any] = {
            "step": report.step,
            "seconds": round(report.seconds, 4),
            "num_tokens": report.num_tokens,
        }
        if report.skipped:
            row["skipped"] = True
        self.append("metrics.jsonl", {**row, **report.metrics})

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of a JSONL file; what is no JSON, as a last line cut short by a kill, is left out."""
        return (row for row in self._lines(name) if row is not None)

    def _lines(self, name: str) -> Iterator[dict[str, Any] | None]:
        path = self.folder / name
        if not path.exists():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    row = None
                yield row if isinstance(row, dict) else None

    def cut_after(self, step: int) -> dict[str, int]:
        """Keep only what was logged up to `step`. By file the damaged lines that are left out, a last one cut short aside."""
        damaged = {}
        for name in ("metrics.jsonl", "samples.jsonl", "watched.jsonl"):
            path = self.folder / name
            if path.exists():
                found = list(self._lines(name))
                kept = [row for row in found if row is not None and row.get("step", 0) <= step]
                if lost := found[:-1].count(None):
                    damaged[name] = lost
                write_atomic(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        return damaged

    def check_unchanged(self, *, environment: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Raise ResumeError naming each difference in data, model, tokenizer or versions since the run began."""
        differences = []
        for name, now in (("environment.json", environment), ("data.json", data)):
            before = self.read_json(name)
            before, now = _flat(before), _flat(json.loads(json.dumps(now, default=str)))
            for key in sorted({*before, *now} - {"machine", "started"}):
                noted = key in before or not key.startswith(TOKENIZERS)  # a run of an older version did not note them
                if noted and before.get(key) != now.get(key):
                    differences.append(f"{key}: was {_short(before.get(key))}, is {_short(now.get(key))}")
        if differences:
            raise ResumeError(
                "the run cannot go on as it was: " + "; ".join(differences),
                where=str(self.folder),
                mend="restore what changed, or start a new run from the newest checkpoint's model",
            )


def hold(folder: Path, *, tries: int = 5) -> IO[str]:
    """The run's lock, held until it is closed or the process ends. Raises ResumeError if another command holds it.

    Tried several times: whoever looks whether the run is worked on (config/runs.py) holds the lock for a moment.
    """
    file = (folder / ".lock").open("a")
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES) and tries > 1:
                file.close()
                time.sleep(0.02)
                return hold(folder, tries=tries - 1)
            file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):  # a file system without locks
                return (folder / ".lock").open("a")
            raise ResumeError(
                "another command works on this run", where=str(folder), mend="wait for its end, or stop it first"
            ) from error
    return file


@contextlib.contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """A full disk within the block is a ResourceError that names `path`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if (named := full_disk(error, path)) is error:
            raise
        raise named from error


def environment(paths: Paths, *, device: str) -> dict[str, Any]:
    """What the figures of a run may depend on."""
    import safetensors
    import tokenizers

    return {
        "amenable": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "tokenizers": tokenizers.__version__,
        "safetensors": safetensors.__version__,
        "threads": torch.get_num_threads(),
        "device": device,
        "paths": msgspec.to_builtins(paths),
        "machine": f"{platform.machine()} {platform.system()} {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables within tables as one, keys joined by points.

    >>> _flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3})
    {'a.b': 1, 'a.c.d': 2, 'e': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        inner = isinstance(value, Mapping) and value
        flat |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 120 else text[:117] + "..."
