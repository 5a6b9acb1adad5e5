"""What the folders of runs say: state, figures, settings. Torch-free; train/run_folder.py writes them."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from amenable.config.folder import WorkspaceFolder
from amenable.config.settings import load_toml
from amenable.errors import AmenableError, DataError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

NOT_METRICS = {"step", "seconds", "num_tokens", "skipped"}
CUT_OFF = "its process ended without a word: killed, out of memory, or the machine went off"


def metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The steps that a run logged; a last line cut short by a kill is left out.

    Raises DataError at a line that is damaged otherwise.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_text("utf-8", errors="replace").split("\n") if path.exists() else []
    for place, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            if place == len(lines):
                return
            raise DataError("the line is damaged", where=f"{path}:{place}", mend="remove it") from None
        if isinstance(row, dict):
            yield row


def last_of(folder: Path) -> dict[str, Any]:
    """The newest step, and the newest value of every metric. A file that did not change since it was read is not read again.

    Raises DataError at a damaged line.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        return {}
    now = path.stat()
    return _last_of(folder, now.st_mtime_ns, now.st_size)


@lru_cache(maxsize=4096)
def _last_of(folder: Path, mtime_ns: int, size: int) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for row in metrics(folder):
        last |= {key: row[key] for key in row if key == "step" or (key not in NOT_METRICS and is_figure(row[key]))}
    return last


def series_of(rows: Sequence[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """(step, value) pairs by metric; values that are no numbers are left out."""
    out: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for key, value in row.items():
            if key not in NOT_METRICS and is_figure(value):
                out.setdefault(key, []).append((row.get("step", 0), float(value)))
    return out


def is_figure(value: Any) -> bool:
    """Whether it is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def about_if_sound(folder: Path) -> dict[str, Any]:
    """As _about; of a damaged run only what is wrong with it."""
    try:
        return about(folder)
    except AmenableError as error:
        bare: dict[str, Any] = dict.fromkeys(("stage", "step", "model")) | {"checkpoints": []}
        why = f"{error.what} ({error.where})"
        return {"run": folder.name, "status": "damaged", "why": why, "folder": str(folder), **bare}


def about(folder: Path) -> dict[str, Any]:
    """Where a run stands. Raises DataError where a file of its folder is damaged."""
    last = last_of(folder)
    status = read_json(folder / "status.json")
    if status.get("status") == "running" and not is_held(folder):
        status = {"status": "interrupted", "why": CUT_OFF}
    checkpoints = sorted(
        p.parent.name for p in folder.glob("checkpoints/step-*/COMPLETE") if p.parent.name[5:].isdecimal()
    )
    model = folder / "model"
    settings = settings_of(folder)
    return {
        "run": folder.name,
        "stage": settings.get("stage"),
        "status": status.get("status", "unknown" if settings else "preparing"),
        "why": status.get("why", ""),
        "step": last.get("step"),
        "checkpoints": checkpoints,
        "model": str(model) if (model / "config.json").exists() else None,
        "folder": str(folder),
    }


def is_held(folder: Path) -> bool:
    """Whether a command works on the run: it holds the lock that train/run_folder.py takes, until its process ends.

    True as well where the system does not say: on Windows, and on file systems without locks.
    """
    lock = folder / ".lock"
    if not lock.exists():
        return False
    if fcntl is None:
        return True
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.ENOENT  # it ended just now
    return False


def settings_of(folder: Path) -> dict[str, Any]:
    """A run's settings; none before it wrote them."""
    return load_toml(folder / "config.toml") if (folder / "config.toml").exists() else {}


def read_json(path: Path) -> dict[str, Any]:
    """The table of a JSON file; empty where there is no file. Raises DataError for what is no JSON."""
    try:
        value = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        raise DataError(f"the file is not JSON: {error}", where=str(path)) from None
    return value if isinstance(value, dict) else {}


def differences(workspace: WorkspaceFolder, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings that are not the same in all runs, each run's value or None."""
    own = {name: dict(flat(settings_of(workspace.runs / name))) for name in names}
    keys = sorted({key for settings in own.values() for key in settings})
    table = {key: {name: own[name].get(key) for name in names} for key in keys}
    return {key: values for key, values in table.items() if len({str(value) for value in values.values()}) > 1}


def flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A table's values by their full names."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
