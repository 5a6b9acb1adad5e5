"""The model worker: `python -m amenable.server.worker`, the child of server/models.py that holds torch and the models.

Reads requests from stdin, one JSON object a line, and answers on stdout. Everything that is being generated takes turns,
one call of a model each, so that several models answer side by side. Ends when its input ends.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from amenable.errors import AmenableError, ModelError
from amenable.types import Messages, Sampling

if TYPE_CHECKING:
    from amenable.stages.talk import Talker

MOST_MODELS = 6  # kept in memory; the one that was used longest ago goes first
MOST_STREAMS = 8  # that take turns; later ones wait
BATCH = 32  # responses of one request drawn together

Job = Generator[None, None, None]
Asked = dict[str, Any]


class Worker:
    """Answers requests until there are none."""

    def __init__(self, out: IO[bytes]) -> None:
        self.out = out
        self.models: OrderedDict[str, tuple[tuple[float, ...], Loaded]] = OrderedDict()
        self.waiting: deque[tuple[int, Job]] = deque()
        self.jobs: OrderedDict[int, Job] = OrderedDict()

    def run(self, requests: queue.SimpleQueue[Asked | None]) -> None:
        """Take what comes in; between, one step of everything that is going on."""
        self.say({"ready": True})
        while True:
            idle = not self.jobs and not self.waiting
            try:
                asked = requests.get(block=idle)
                if asked is None:
                    return
                self.take(asked)
                continue
            except queue.Empty:
                pass
            while self.waiting and len(self.jobs) < MOST_STREAMS:
                number, job = self.waiting.popleft()
                self.jobs[number] = job
            for number, job in list(self.jobs.items()):
                self.step(number, job)

    def take(self, asked: Asked) -> None:
        if asked["op"] == "cancel":
            self.waiting = deque(entry for entry in self.waiting if entry[0] != asked["of"])
            if job := self.jobs.pop(asked["of"], None):
                job.close()
            return
        self.waiting.append((asked["id"], OPERATIONS[asked["op"]](self, asked)))

    def step(self, number: int, job: Job) -> None:
        try:
            next(job)
        except StopIteration:
            self.jobs.pop(number, None)
        except Exception as error:
            self.jobs.pop(number, None)
            self.say({"id": number, "error": _told(error)})

    def say(self, event: dict[str, Any]) -> None:
        self.out.write(json.dumps(event).encode() + b"\n")
        self.out.flush()

    def loaded(self, folder: str) -> Loaded:
        """A model, from memory where it has not changed on the disk."""
        stamp = tuple(path.stat().st_mtime for path in sorted(Path(folder).glob("*.safetensors")))
        kept = self.models.get(folder)
        if kept is None or kept[0] != stamp:
            self.models.pop(folder, None)
            while len(self.models) >= MOST_MODELS:
                self.models.popitem(last=False)
            self.models[folder] = kept = (stamp, Loaded(Path(folder)))
        self.models.move_to_end(folder)
        return kept[1]


class Loaded:
    """A model in memory, with one engine for each response that is being drawn; engines are used again."""

    def __init__(self, folder: Path) -> None:
        from amenable.models.folder import model_hash
        from amenable.stages.talk import Talker

        self.talker: Talker = Talker(folder)
        self.hash = model_hash(folder)
        self.engine: Any = self.talker.engine
        self.free = [self.engine]

    def borrow(self) -> Any:
        from amenable.rollout.slow import make_engine

        if self.free:
            return self.free.pop()
        return make_engine(self.talker.model, self.talker.tokenizer, dtype=self.engine.dtype)


def generate(worker: Worker, asked: Asked) -> Job:
    """Draw every response asked for. A stream says its pieces, others how far they are."""
    number, asks = asked["id"], asked["asks"]
    done: list[dict[str, Any] | None] = [None] * len(asks)
    places: dict[str, list[int]] = {}
    for place, ask in enumerate(asks):
        places.setdefault(ask["folder"], []).append(place)
    for folder, wanted in places.items():
        loaded = worker.loaded(folder)
        for begin in range(0, len(wanted), BATCH):
            part = wanted[begin : begin + BATCH]
            drawn = yield from _draw(worker, loaded, number, [asks[i] for i in part], say=asked["op"] == "stream")
            for place, completion in zip(part, drawn, strict=True):
                done[place] = completion
            if asked["op"] != "stream":
                worker.say({"id": number, "progress": sum(d is not None for d in done)})
    worker.say({"id": number, "done": done})


def _draw(
    worker: Worker, loaded: Loaded, number: int, asks: Sequence[Asked], *, say: bool
) -> Generator[None, None, list[dict[str, Any]]]:
    """Responses of one model, drawn together."""
    requests = [
        loaded.talker.request(
            msgspec.convert(ask["messages"], Messages), msgspec.convert(ask["sampling"], Sampling), ask["seed"]
        )
        for ask in asks
    ]

    def tell(index: int, token: Any) -> None:
        if token.text:
            worker.say({"id": number, "text": token.text})

    began = time.perf_counter()
    engine = loaded.borrow()
    try:
        going = engine.steps(requests, on_token=tell if say else None)
        while True:
            try:
                next(going)
            except StopIteration as end:
                rollouts = end.value
                break
            yield
    finally:
        loaded.free.append(engine)
    seconds = time.perf_counter() - began
    if say and rollouts[0].failure:
        raise ModelError(rollouts[0].failure)
    return [
        {
            "model": ask["model"],
            "model_hash": loaded.hash,
            "text": rollout.text,
            "finish": rollout.finish,
            "num_tokens": len(rollout.response_ids),
            "num_prompt_tokens": len(rollout.prompt_ids),
            "logprob": sum(rollout.logprobs) if rollout.failure is None else None,
            "seconds": seconds,
            "seed": ask["seed"],
            "failure": rollout.failure,
        }
        for ask, rollout in zip(asks, rollouts, strict=True)
    ]


def settings(worker: Worker, asked: Asked) -> Job:
    """The settings of a stage with those of an algorithm, as `--settings` lists them."""
    from amenable.workspace import all_settings

    mapping = {"algorithm": {"name": asked["algorithm"]}} if asked["algorithm"] else {}
    found = all_settings(asked["stage"], mapping)
    worker.say({"id": asked["id"], "done": [{**msgspec.to_builtins(s), "required": s.required} for s in found]})
    yield


def check(worker: Worker, asked: Asked) -> Job:
    """Settings by their full names as tables, checked as the command line does."""
    from amenable.workspace import checked, overlay

    mapping = overlay({}, asked["settings"])
    checked(asked["stage"], mapping, where="settings")
    worker.say({"id": asked["id"], "done": mapping})
    yield


OPERATIONS = {"stream": generate, "complete": generate, "settings": settings, "check": check}


def _told(error: Exception) -> dict[str, Any]:
    """An error as it goes to the other process; what is no user's fault goes to stderr with its traceback too."""
    if isinstance(error, AmenableError):
        return {"kind": type(error).__name__, "what": error.what, "where": error.where, "mend": error.mend}
    import traceback

    traceback.print_exception(error)
    if isinstance(error, MemoryError):
        return {"kind": "ResourceError", "what": "there is not enough memory for this model"}
    return {"kind": "Bug", "what": "the model worker failed; the server's log says why"}


def _read(requests: queue.SimpleQueue[Asked | None]) -> None:
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    requests.put(None)
    os._exit(0)  # the server is gone: nobody waits for what is being drawn


def main() -> None:
    """Answer the parent process."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    requests: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    Worker(out).run(requests)


if __name__ == "__main__":
    main()
