"""Answers as they are drawn: server-sent events, the models there are, and one answer without anything kept."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from amenable.config.folder import PACKAGED, every_model, own_sampling
from amenable.errors import AmenableError
from amenable.server.access import AnyOne, Generating
from amenable.server.bodies import Drawing, Json, Named, Text, Turns, messages
from amenable.server.errors import WorkerDown, sentence
from amenable.server.models import Ask, Completion, model_folder
from amenable.server.site import Site, SiteDep
from amenable.types import Messages

router = APIRouter(prefix="/api", tags=["models"])
OnDone = Callable[[Mapping[str, Completion]], Json]
"""Takes the answers by side, whole or as far as they came, keeps them, and says what the last event tells further."""


class NewAnswer(Drawing):
    """One answer wanted."""

    model: Named
    messages: Turns
    system: Annotated[Text, Field()] = ""


def ask_of(site: Site, model: str, said: Messages, drawing: Drawing) -> Ask:
    """A checked request to the worker, with a seed of its own where none was given.

    Raises ModelError for a model that is not there, WorkerDown where the worker is not.
    """
    own = own_sampling(model_folder(model, site.workspace))
    if site.worker.state == "down":
        raise WorkerDown("the model worker is not running", mend="it is being started again; try again in a moment")
    seed = secrets.randbelow(2**31) if drawing.seed is None else drawing.seed
    return Ask(model=model, messages=said, sampling=drawing.sampling(own), seed=seed)


def sse(events: AsyncIterator[Json]) -> StreamingResponse:
    """Events as a browser reads them while they come."""

    async def lines() -> AsyncIterator[bytes]:
        async for event in events:
            yield b"data: " + json.dumps(event, default=str).encode() + b"\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"})  # fmt: skip


async def answers(site: Site, asks: Mapping[str, Ask], on_done: OnDone, *, whole: bool = False) -> AsyncIterator[Json]:
    """The events of one or several answers drawn side by side; "" as side is not told. whole: the last event holds
    the completions themselves, not what a browser is told of them.

    Where the reader goes away, what was drawn so far is handed to `on_done` all the same.
    """
    events: asyncio.Queue[tuple[str, str | Completion | AmenableError]] = asyncio.Queue()
    pieces: dict[str, list[str]] = {side: [] for side in asks}
    done: dict[str, Completion] = {}
    kept = False

    async def draw(side: str, ask: Ask) -> None:
        try:
            async for piece in site.worker.stream(ask):
                events.put_nowait((side, piece))
        except AmenableError as error:
            events.put_nowait((side, error))

    async def keep() -> Json:
        nonlocal kept
        kept = True
        for side, ask in asks.items():
            done.setdefault(side, _broken_off(ask, "".join(pieces[side])))
        return await anyio.to_thread.run_sync(on_done, {side: done[side] for side in asks})

    tasks = [asyncio.create_task(draw(side, ask)) for side, ask in asks.items()]
    try:
        while len(done) < len(asks):
            side, event = await events.get()
            if isinstance(event, AmenableError):
                yield {"error": sentence(event), **_side(side)}
                return
            if isinstance(event, Completion):
                done[side] = event
            else:
                pieces[side].append(event)
                yield {"text": event, **_side(side)}
        told = await keep()
        if whole:
            yield {"done": True, "completions": done}
        else:
            yield {"done": True, **(_told(done[next(iter(asks))]) if len(asks) == 1 else {}), **told}
    except AmenableError as error:  # what `on_done` could not keep
        yield {"error": sentence(error)}
    finally:
        for task in tasks:
            task.cancel()
        if not kept and any(pieces.values()):
            with anyio.CancelScope(shield=True):
                await keep()


def nothing_kept(_: Mapping[str, Completion]) -> Json:
    """An OnDone that keeps nothing."""
    return {}


def _side(side: str) -> Json:
    return {"side": side} if side else {}


def _told(completion: Completion) -> Json:
    keys = ("finish", "num_tokens", "num_prompt_tokens", "seconds", "seed", "model")
    return {key: getattr(completion, key) for key in keys}


def _broken_off(ask: Ask, text: str) -> Completion:
    """An answer as far as it came."""
    return Completion(
        model=ask.model,
        model_hash="",
        text=text,
        finish="length",
        num_tokens=0,
        num_prompt_tokens=0,
        logprob=None,
        seconds=0.0,
        seed=ask.seed,
    )


def as_json(completion: Completion, ask: Ask) -> Json:
    """A completion with its sampling, as it is kept."""
    return {**msgspec.to_builtins(completion), "sampling": msgspec.to_builtins(ask.sampling)}


@router.post("/generate")
def generate(new: NewAnswer, person: Generating, site: SiteDep) -> StreamingResponse:
    """Stream one answer. Leaving the stream ends the drawing."""
    ask = ask_of(site, new.model, messages(new.messages, new.system), new)
    return sse(answers(site, {"": ask}, nothing_kept))


@router.get("/models")
def models(person: AnyOne, site: SiteDep) -> Json:
    """The models of the workspace, of its runs, and of the package."""
    items = [about(name, model_folder(name, site.workspace)) for name in every_model(site.workspace)]
    return {"items": items, "total": len(items), "worker": site.worker.state}


WRITERS = ("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")
"""Ends of the names of architectures that write text."""


def about(name: str, folder: Path) -> Json:
    """What a model is. chat: whether it can answer (a reward model or an encoder cannot)."""
    metadata, config = _read(folder / "amenable.json"), _read(folder / "config.json")
    run, _, step = name.removeprefix("run:").partition("@") if name.startswith("run:") else ("", "", "")
    kind = "step" if step else "run" if run else "package" if folder in PACKAGED.values() else "model"
    writes = any(str(name).endswith(WRITERS) for name in config.get("architectures") or ())
    return {
        "name": name,
        "kind": kind,
        "run": run or None,
        "step": int(step) if step else None,
        "parent": metadata.get("parent"),
        "chat": writes and "reward" not in (metadata.get("heads") or {}),
        "size_bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    }


def _read(path: Path) -> Json:
    try:
        found: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
