"""Runs that people start from the browser: `amenable COMMAND ...` as child processes, which outlive the server.

started/NAME.toml holds the recipe, NAME.log what the command printed, NAME.json its process. Settings are checked as on the
command line, by the model worker, before anything starts.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amenable.config.folder import WorkspaceFolder, check_name, write_atomic
from amenable.config.toml import to_toml
from amenable.errors import ResourceError
from amenable.server.errors import Conflict

LAST_BYTES = 4000
MOST_AT_ONCE = 2


class Runs:
    """Starts, resumes and ends runs of a workspace."""

    def __init__(self, workspace: WorkspaceFolder) -> None:
        self.workspace = workspace
        self.folder = workspace.root / "started"
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, command: str, settings: Mapping[str, Any], name: str | None) -> str:
        """Start a new run with settings that were checked. Returns its name.

        Raises Conflict where the name is taken or too much runs already, ConfigError for a name unfit for a folder.
        """
        with self._lock:
            name = name or self._free_name(command)
            check_name(name)
            if (self.workspace.runs / name).exists() or self._is_running(name):
                raise Conflict(f"there is already a run named {name!r}", mend="choose another name")
            self.folder.mkdir(exist_ok=True)
            recipe = self.folder / f"{name}.toml"
            write_atomic(recipe, to_toml(dict(settings)).encode())
            self._launch(name, [command, str(recipe), "--name", name])
        return name

    def resume(self, name: str) -> None:
        """Go on with a run. Raises Conflict where it is running."""
        with self._lock:
            if self._is_running(name):
                raise Conflict(f"the run {name!r} is running")
            self.folder.mkdir(exist_ok=True)
            self._launch(name, ["runs", "resume", name])

    def cancel(self, name: str) -> None:
        """End a run as Ctrl-C does: it finishes its step, writes a checkpoint and stops."""
        process = self._process_id(name)
        if process is None:
            raise Conflict(f"the run {name!r} does not run, or was not started from here", mend="end it where it runs")
        if os.name == "nt":
            raise Conflict("on Windows a run is not cancelled from here", mend="press Ctrl-C where it runs")
        os.kill(process, signal.SIGINT)

    def is_running(self, name: str) -> bool:
        """Whether a run that was started from here is going on."""
        with self._lock:
            return self._is_running(name)

    def message(self, name: str) -> str:
        """The end of what the command printed, once it failed; "" otherwise."""
        log = self.folder / f"{name}.log"
        with self._lock:
            child = self._children.get(name)
            if child is not None and child.poll() in (None, 0):
                return ""
        if not log.is_file():
            return ""
        text = log.read_bytes()[-LAST_BYTES:].decode("utf-8", "replace")
        return text[text.rfind("error: ") :].strip() if "error: " in text else ""

    def without_folder(self) -> list[str]:
        """Runs that were started from here and have no folder: not yet, or they failed before they made one."""
        known = set(self.workspace.run_names())
        return sorted(path.stem for path in self.folder.glob("*.log") if path.stem not in known)

    # Within

    def _is_running(self, name: str) -> bool:
        return self._process_id(name) is not None

    def _process_id(self, name: str) -> int | None:
        child = self._children.get(name)
        if child is not None:
            return child.pid if child.poll() is None else None
        try:  # an earlier server started it
            noted = json.loads((self.folder / f"{name}.json").read_text())
            process, began = int(noted["process"]), str(noted["began"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return process if began and began == began_at(process) else None

    def _free_name(self, command: str) -> str:
        taken = {path.stem for path in self.folder.glob("*.toml")} | set(self.workspace.run_names())
        numbers = [int(found[1]) for one in taken if (found := re.fullmatch(rf"{re.escape(command)}-(\d+)", one))]
        return f"{command}-{max(numbers, default=0) + 1}"

    def _launch(self, name: str, words: list[str]) -> None:
        going = [one for one in self._children if self._is_running(one)]
        if len(going) >= MOST_AT_ONCE:
            raise Conflict(f"{len(going)} runs are going on: {', '.join(going)}", mend="wait, or cancel one")
        try:
            with (self.folder / f"{name}.log").open("wb") as log:
                child = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "amenable",
                        *words,
                        "--quiet",
                        "--workspace",
                        str(self.workspace.root),
                    ],
                    cwd=self.workspace.root,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise ResourceError(f"the run could not be started: {error.strerror}") from None
        self._children[name] = child
        noted = {"process": child.pid, "began": began_at(child.pid)}
        write_atomic(self.folder / f"{name}.json", json.dumps(noted).encode())


def began_at(process: int) -> str:
    """When a process began, in the system's own words; with its number this names it, since numbers are used again.

    "" for one that has ended, and where the system does not say. Linux is asked through /proc, others through ps.
    """
    if not Path("/proc/self/stat").exists():
        return by_ps(process)
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def by_ps(process: int) -> str:
    """As began_at, by the program that every Unix has."""
    try:
        done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(process)], capture_output=True, text=True)
    except OSError:
        return ""
    state, _, began = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else began.strip()
