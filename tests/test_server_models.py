"""The model worker and what speaks through it: streams, several models at once, a worker that dies, OpenAI's interface."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal

import httpx
import openai
import pytest
import torch

from amenable.errors import AmenableError, ModelError
from amenable.server.errors import WorkerDown
from amenable.server.models import Ask, Completion
from amenable.server.site import Site
from amenable.server.worker import Loaded
from amenable.stages.talk import Talker
from amenable.types import Sampling, user
from tests.server_makers import browser, events, running, shared_worker, site, talking, wait_for, whole
from tests.stage_makers import Toys, toys

__all__ = ["shared_worker", "site", "talking", "toys"]
ASKED = (user("Is the ball red?"),)
GREEDY = Sampling(temperature=0, max_tokens=12)
LONG = Sampling(temperature=1, max_tokens=40)


def test_a_response_is_what_the_model_says(talking: Site, toys: Toys) -> None:
    """The same as in the command line's chat; the same seed gives the same, another another."""
    talker = Talker(toys.sft)
    greedy, one, again, other = talking.worker.complete(
        [Ask(model="sft", messages=ASKED, sampling=GREEDY)]
        + [Ask(model="sft", messages=ASKED, sampling=LONG, seed=seed) for seed in (1, 1, 2)]
    )
    assert greedy.text == "".join(talker.stream(ASKED, GREEDY, 0)) != ""
    assert one.text == "".join(talker.stream(ASKED, LONG, 1)) == again.text != other.text
    assert greedy.finish in ("stop", "length") and one.logprob is not None and one.logprob < 0
    assert one.num_prompt_tokens > 0 and len(greedy.model_hash) == 64


def test_streams_take_turns_and_add_up(talking: Site) -> None:
    """Two models answer side by side: the pieces interleave, and each stream is its whole answer."""
    order: list[str] = []

    async def draw(model: str) -> tuple[str, Completion]:
        pieces = []
        async for event in talking.worker.stream(Ask(model=model, messages=ASKED, sampling=LONG, seed=3)):
            if isinstance(event, Completion):
                return "".join(pieces), event
            order.append(model)
            pieces.append(event)
        raise AssertionError

    async def both() -> list[tuple[str, Completion]]:
        return await asyncio.gather(draw("sft"), draw("base"))

    def turns() -> int:
        order.clear()
        for text, completion in asyncio.run(both()):
            assert text == completion.text != ""
        return sum(a != b for a, b in itertools.pairwise(order))

    turns()  # loads both models
    # on a busy machine the second request may reach the worker when the first is answered; not five times over
    assert any(turns() > 1 for _ in range(5)), order


def test_what_cannot_be_asked(talking: Site) -> None:
    for name in ("nobody", "../sft", "/etc", "", "run:none", "models/sft"):
        with pytest.raises(ModelError, match="there is no model"):
            talking.worker.complete([Ask(model=name, messages=ASKED)])
    long = Ask(model="sft", messages=(user("Is the ball red? " * 60),))
    (failed,) = talking.worker.complete([long])
    assert failed.finish == "failed" and failed.failure is not None and "tokens" in failed.failure

    async def stream() -> None:
        async for _ in talking.worker.stream(long):
            raise AssertionError

    with pytest.raises(AmenableError, match="tokens"):
        asyncio.run(stream())


def test_a_worker_that_dies_is_started_again(talking: Site) -> None:
    ada = browser(talking, "labeler")
    ask = {"model": "sft", "messages": [{"role": "user", "content": "Is the ball red?"}], "temperature": 0}
    first = whole(events(ada.post("/api/generate", ask)))
    started, pid = talking.worker.num_started, talking.worker.process_id
    assert pid is not None

    os.kill(pid, signal.SIGSTOP)  # so that it cannot be done before it dies

    async def die_in_the_middle() -> None:
        asyncio.get_running_loop().call_later(0.2, os.kill, pid, signal.SIGKILL)
        async for _ in talking.worker.stream(Ask(model="sft", messages=ASKED, sampling=LONG)):
            raise AssertionError

    with pytest.raises(WorkerDown, match="started again"):
        asyncio.run(die_in_the_middle())
    told = ada.post("/api/generate", ask)
    assert told.status_code == 503 or "worker" in events(told)[-1].get("error", "worker")
    wait_for(lambda: talking.worker.num_started > started and talking.worker.state == "ready")
    assert whole(events(ada.post("/api/generate", ask))) == first != ""


def test_leaving_a_stream_ends_the_drawing(talking: Site) -> None:
    async def look_in() -> None:
        async for _ in talking.worker.stream(Ask(model="sft", messages=ASKED, sampling=LONG)):
            break

    asyncio.run(look_in())
    wait_for(lambda: not talking.worker._waiting)
    assert talking.worker.complete([Ask(model="sft", messages=ASKED, sampling=GREEDY)])[0].text


def test_models_are_listed_with_what_they_can(talking: Site) -> None:
    items = {item["name"]: item for item in browser(talking, "chat").get("/api/models").json()["items"]}
    assert items["sft"]["chat"] and items["base"]["chat"] and not items["reward"]["chat"]
    assert items["sft"]["size_bytes"] > 1000


def test_generate_over_http(talking: Site) -> None:
    ada = browser(talking, "chat")
    ask = {"model": "sft", "messages": [{"role": "user", "content": "Is the hat blue?"}], "seed": 5, "max_tokens": 20}
    told = events(ada.post("/api/generate", ask))
    assert told[-1]["done"] is True and told[-1]["seed"] == 5 and whole(told)
    assert whole(told) == whole(events(ada.post("/api/generate", ask)))
    assert events(ada.post("/api/generate", {**ask, "seed": None}))[-1]["seed"] is not None
    for wrong in (
        {**ask, "model": "nobody"},
        {**ask, "messages": []},
        {**ask, "temperature": -1},
        {**ask, "top_p": 0},
        {**ask, "max_tokens": 0},
        {**ask, "colour": "red"},
    ):
        assert ada.post("/api/generate", wrong).status_code in (400, 422), wrong


# OpenAI's interface, by its own client


def test_the_openai_client(talking: Site) -> None:
    token = browser(talking, "chat").post("/api/tokens", {"name": "client"}).json()["token"]
    with running(talking) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        assert {"sft", "base"} <= {model.id for model in client.models.list()}
        assert client.models.retrieve("sft").id == "sft"
        asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is the ball red?"}]
        common = {"model": "sft", "messages": asked, "temperature": 0, "max_tokens": 16}
        answer = client.chat.completions.create(**common)
        text = answer.choices[0].message.content
        assert text and answer.choices[0].finish_reason in ("stop", "length")
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        chunks = list(client.chat.completions.create(**common, stream=True, stream_options={"include_usage": True}))
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
        assert len(chunks) > 3 and chunks[-1].usage == answer.usage
        several = client.chat.completions.create(**{**common, "temperature": 1.5}, n=3, seed=4)
        assert [choice.index for choice in several.choices] == [0, 1, 2]
        assert len({choice.message.content for choice in several.choices}) > 1
        cut = client.chat.completions.create(**common, stop=text[3:5])
        assert cut.choices[0].message.content == text[: text.index(text[3:5])]
        asks_nothing = {"frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": False, "logit_bias": {}}
        plain = client.chat.completions.create(**common, **asks_nothing, response_format={"type": "text"})
        assert plain.choices[0].message.content == text
        for more in ({"frequency_penalty": 0.5}, {"logprobs": True}, {"response_format": {"type": "json_object"}}):
            with pytest.raises(openai.UnprocessableEntityError):
                client.chat.completions.create(**common, **more)
        with pytest.raises(openai.NotFoundError, match="there is no model"):
            client.chat.completions.create(**{**common, "model": "nobody"})
        with pytest.raises(openai.UnprocessableEntityError):
            client.chat.completions.create(**common, tools=[])
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list()
        with httpx.Client(base_url=url) as bare:
            assert bare.post("/v1/chat/completions", json=common).status_code in (401, 403)


def test_engines_made_for_more_streams_compute_as_the_first(toys: Toys) -> None:
    loaded = Loaded(toys.sft)
    first = loaded.borrow()
    first.dtype = torch.bfloat16  # as on a GPU
    assert first is loaded.talker.engine and loaded.borrow().dtype is torch.bfloat16
