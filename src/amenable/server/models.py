"""The model worker from the web process's side: a child process that holds torch, asked over pipes, restarted when it dies.

One JSON object a line. To the child: {"id", "op", ...}. From it, any number of events of that id, the last with "done"
or "error". Every request that waits when the child dies gets an error; a new child starts at once, or a while later
where children keep dying.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from amenable.config.folder import CHAT, WorkspaceFolder, every_model, resolve_model
from amenable.errors import AmenableError, ModelError
from amenable.server.errors import WorkerDown
from amenable.types import Messages, Record, Sampling

DIED = "the model worker died while it worked on this; it is being started again"
FIRST_PAUSE_S, LONGEST_PAUSE_S, QUIET_S = 0.2, 30.0, 60.0
STOP_S = 5.0

Event = dict[str, Any]


class Ask(Record, frozen=True):
    """One response wanted. model: as on the command line; seed: the same seed and messages give the same response."""

    model: str
    messages: Messages
    sampling: Sampling = CHAT
    seed: int = 0


class Completion(Record, frozen=True):
    """One response given, without characters that PostgreSQL cannot keep. logprob: of the whole response under the
    sampling distribution, nats."""

    model: str
    model_hash: str
    text: str
    finish: Literal["stop", "length", "failed"]
    num_tokens: int
    num_prompt_tokens: int
    logprob: float | None
    seconds: float
    seed: int
    failure: str | None = None

    def __post_init__(self) -> None:
        if "\0" in self.text:
            msgspec.structs.force_setattr(self, "text", self.text.replace("\0", ""))


class ModelWorker:
    """Starts the child, asks it, and starts it again. Safe to use from several threads."""

    def __init__(self, workspace: WorkspaceFolder) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Callable[[Event], None]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._keeper: threading.Thread | None = None
        self.num_started = 0

    @property
    def state(self) -> Literal["ready", "starting", "down"]:
        """Whether models can be asked now."""
        if self._ready.is_set():
            return "ready"
        return "starting" if self._process is not None and self._process.poll() is None else "down"

    @property
    def process_id(self) -> int | None:
        """Of the child that runs now."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the child and the thread that keeps it."""
        self._stopping.clear()
        self._keeper = threading.Thread(target=self._keep, name="model worker", daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """End the child. Whoever waits gets an error."""
        self._stopping.set()
        process, keeper = self._process, self._keeper
        if process is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]  # the child ends when its input does
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        if keeper is not None:
            keeper.join(STOP_S)

    # Asking

    def complete(
        self, asks: Sequence[Ask], *, on_progress: Callable[[int, int], None] | None = None
    ) -> list[Completion]:
        """One completion per ask, in their order, drawn together. Blocks.

        Raises ModelError for a model that is not there or cannot generate, WorkerDown where the worker dies.
        """
        for event in self.ask("complete", asks=[self._checked(ask) for ask in asks]):
            if "progress" in event and on_progress is not None:
                on_progress(event["progress"], len(asks))
            elif "done" in event:
                return msgspec.convert(event["done"], list[Completion])
        raise WorkerDown(DIED)

    async def stream(self, ask: Ask) -> AsyncIterator[str | Completion]:
        """The pieces of one response as they are drawn, then the whole. Leaving the loop ends the drawing."""
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(events.put_nowait, event)

        number = self._send(tell, "stream", asks=[self._checked(ask)])
        try:
            while True:
                event = await events.get()
                if "text" in event:
                    yield event["text"]
                elif "done" in event:
                    yield msgspec.convert(event["done"][0], Completion)
                    return
                elif "error" in event:
                    raise _error_of(event["error"])
        finally:
            self._forget(number)

    def ask(self, op: str, **what: Any) -> Iterator[Event]:
        """The events of any request to the child. Raises what it answers as an error."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        number = self._send(events.put, op, **what)
        try:
            while True:
                event = events.get()
                if "error" in event:
                    raise _error_of(event["error"])
                yield event
                if "done" in event:
                    return
        finally:
            self._forget(number)

    def _checked(self, ask: Ask) -> dict[str, Any]:
        """As the child wants it: with the folder of the model, which may lie in the workspace or the package alone."""
        folder = model_folder(ask.model, self.workspace)
        return {**msgspec.to_builtins(ask), "folder": str(folder)}

    # Within

    def _send(self, tell: Callable[[Event], None] | None, op: str, **what: Any) -> int:
        number = next(self._numbers)
        line = json.dumps({"id": number, "op": op, **what}).encode() + b"\n"
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                raise WorkerDown("the model worker is being started; try again in a moment")
            if tell is not None:
                self._waiting[number] = tell
            try:
                process.stdin.write(line)  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            except OSError:
                self._waiting.pop(number, None)
                raise WorkerDown(DIED) from None
        return number

    def _forget(self, number: int) -> None:
        """Listen no more; where it was not over, the child need not go on."""
        with self._lock:
            was_open = self._waiting.pop(number, None) is not None
        if was_open:
            with contextlib.suppress(WorkerDown):
                self._send(None, "cancel", of=number)

    def _keep(self) -> None:
        """Start a child, read what it says until it dies, and again."""
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            process = self._start_child()
            self._read(process)
            process.wait()
            self._ready.clear()
            with self._lock:
                waiting, self._waiting = list(self._waiting.values()), {}
            for tell in waiting:
                tell({"error": {"kind": "WorkerDown", "what": DIED}})
            pause = FIRST_PAUSE_S if time.monotonic() - began > QUIET_S else min(pause * 2, LONGEST_PAUSE_S)
            self._stopping.wait(pause)

    def _start_child(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "amenable.server.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal is the server's to answer
        )
        with self._lock:
            self._process = process
            self.num_started += 1
        return process

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout:  # type: ignore[union-attr]
            try:
                event = json.loads(line)
            except ValueError:
                continue  # half a line: it died while it wrote
            if "ready" in event:
                self._ready.set()
                continue
            over = "done" in event or "error" in event
            with self._lock:
                tell = self._waiting.pop(event["id"], None) if over else self._waiting.get(event["id"])
            if tell is not None:
                tell(event)


def model_folder(reference: str, workspace: WorkspaceFolder) -> Path:
    """The folder of a model by name. Unlike on the command line, no path: the web may not point anywhere on the disk."""
    if reference not in every_model(workspace):
        raise ModelError(f"there is no model {reference!r}", mend="GET /api/models lists them")
    return resolve_model(reference, workspace)


def _error_of(told: dict[str, Any]) -> AmenableError:
    kind = WorkerDown if told.get("kind") == "WorkerDown" else AmenableError
    return kind(told["what"], where=told.get("where"), mend=told.get("mend"))
