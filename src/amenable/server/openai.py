"""An OpenAI-compatible endpoint: /v1/models and /v1/chat/completions, for any model that the workspace holds.

Any client of that interface works, with an API token as its key. Taken: model, messages, temperature, top_p, max_tokens
(or max_completion_tokens), seed, stop, n, stream, stream_options.include_usage. Fields that would change the answer and
are not understood (tools, response_format, logprobs, ...) are refused, not ignored, but for values that ask for nothing,
as many clients send them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from amenable.config.folder import every_model
from amenable.errors import AmenableError
from amenable.server.access import AnyOne, Generating
from amenable.server.bodies import LARGEST_SEED, Body, Json, Named, Short, Text
from amenable.server.errors import sentence, status_of
from amenable.server.generation import about, answers, nothing_kept
from amenable.server.models import Ask, Completion, model_folder
from amenable.server.site import SiteDep
from amenable.types import Message, Role, Sampling

router = APIRouter(prefix="/v1", tags=["openai"])
MOST_CHOICES = 8
DEFAULT_TOKENS = 256
ASKS_NOTHING: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
}
"""Fields that are not understood, with the values that change nothing."""


class Part(BaseModel):
    """A piece of a turn; text is all that there is here."""

    type: Literal["text"]
    text: Text


class Turn(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[Part], Field(max_length=100)]

    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        role: Role = "system" if self.role == "developer" else self.role
        return Message(role=role, content=text)


class StreamOptions(BaseModel):
    include_usage: bool = False


class Request(Body):
    """The part of OpenAI's request that is understood."""

    model: Named
    messages: Annotated[list[Turn], Field(min_length=1, max_length=200)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = None
    stop: Short | Annotated[list[Short], Field(max_length=4)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Short | None = None  # says nothing here: the token says who it is
    store: bool | None = None  # never kept
    metadata: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def without_what_asks_nothing(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        return {
            key: value
            for key, value in sent.items()
            if key in cls.model_fields or not (value is None or value in ASKS_NOTHING.get(key, ()))
        }

    def sampling(self) -> Sampling:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens or DEFAULT_TOKENS,
            stop=tuple(word for word in stop if word),
        )


@router.get("/models")
def models(person: AnyOne, site: SiteDep) -> Json:
    """The models that chat."""
    names = [name for name in every_model(site.workspace) if about(name, model_folder(name, site.workspace))["chat"]]
    return {"object": "list", "data": [_model(name) for name in names]}


@router.get("/models/{name}")
def model(name: str, person: AnyOne, site: SiteDep) -> Response:
    """One model."""
    return JSONResponse(_model(name)) if name in every_model(site.workspace) else _no_model(name)


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "amenable"}


@router.post("/chat/completions")
async def complete(new: Request, person: Generating, site: SiteDep) -> Response:
    """Answer a conversation, whole or streamed."""
    if new.model not in every_model(site.workspace):
        return _no_model(new.model)
    seed = secrets.randbelow(2**31) if new.seed is None else new.seed
    turns = tuple(turn.message() for turn in new.messages)
    asks = {
        str(i): Ask(model=new.model, messages=turns, sampling=new.sampling(), seed=(seed + i) % (LARGEST_SEED + 1))
        for i in range(new.n or 1)
    }
    head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": new.model}
    if new.stream:
        drawn = answers(site, asks, nothing_kept, whole=True)
        usage = new.stream_options is not None and new.stream_options.include_usage
        lines = _chunks(drawn, {**head, "object": "chat.completion.chunk"}, usage=usage)
        return StreamingResponse(lines, media_type="text/event-stream")

    async def whole(ask: Ask) -> Completion:
        async for event in site.worker.stream(ask):
            if isinstance(event, Completion):
                return event
        raise AssertionError("a stream ends with its completion")

    try:
        done = dict(zip(asks, await asyncio.gather(*(whole(ask) for ask in asks.values())), strict=True))
    except AmenableError as error:
        return _error(status_of(error), sentence(error), "server_error" if status_of(error) >= 500 else "invalid")
    choices = [
        {
            "index": int(side),
            "message": {"role": "assistant", "content": completion.text, "refusal": None},
            "finish_reason": completion.finish,
            "logprobs": None,
        }
        for side, completion in done.items()
    ]
    return JSONResponse({**head, "object": "chat.completion", "choices": choices, "usage": _usage(done)})


async def _chunks(drawn: AsyncIterator[Json], head: Json, *, usage: bool) -> AsyncIterator[bytes]:
    """OpenAI's form of the events."""
    begun: set[str] = set()
    async for event in drawn:
        if "error" in event:
            yield _line({"error": {"message": event["error"], "type": "server_error", "code": None, "param": None}})
            return
        if "done" in event:
            done: Mapping[str, Completion] = event["completions"]
            for side, completion in done.items():
                yield _line({**head, "choices": [_delta(side, {}, completion.finish)]})
            if usage:
                yield _line({**head, "choices": [], "usage": _usage(done)})
            yield b"data: [DONE]\n\n"
            return
        delta = (
            {"content": event["text"]} if event["side"] in begun else {"role": "assistant", "content": event["text"]}
        )
        begun.add(event["side"])
        yield _line({**head, "choices": [_delta(event["side"], delta, None)]})


def _delta(side: str, delta: Json, finish: str | None) -> Json:
    return {"index": int(side), "delta": delta, "finish_reason": finish, "logprobs": None}


def _line(value: Json) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _usage(done: Mapping[str, Completion]) -> Json:
    prompt = next(iter(done.values())).num_prompt_tokens
    drawn = sum(completion.num_tokens for completion in done.values())
    return {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}


def _no_model(name: str) -> Response:
    return _error(404, f"there is no model {name!r}; GET /v1/models lists them", "model_not_found")


def _error(status: int, message: str, code: str) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    told = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": told}, status_code=status)
