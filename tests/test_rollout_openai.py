"""The engine of models behind an OpenAI-compatible server, against a small server of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from amenable.errors import ConfigError, RolloutError
from amenable.rollout.engine import Request
from amenable.rollout.openai import OpenAIEngine
from amenable.types import Prompt, Sampling, text, user
from tests.openai_makers import SEEN, serving


@pytest.fixture
def url() -> Iterator[str]:
    with serving() as found:
        yield found


PLAIN = Sampling()


def asked(said: str, sampling: Sampling = PLAIN) -> Request:
    return Request(prompt=Prompt(id=said, messages=(user(said),)), prompt_ids=(), sampling=sampling, seed=7)


def test_answers_come_in_order_and_what_fails_stops_no_other(url: str) -> None:
    engine = OpenAIEngine(f"{url}#m", wait_s=0.01)
    told: list[tuple[int, int]] = []
    found = engine.generate(
        [asked(s) for s in ("one", "busy", "long", "odd", "two")], on_progress=lambda *n: told.append(n)
    )
    assert [r.text for r in found] == ["ONE", "BUSY", "", "", "TWO"]
    assert [r.finish for r in found] == ["length", "length", "failed", "failed", "length"]
    assert "too long" in str(found[2].failure) and "without a text" in str(found[3].failure)
    assert told[-1] == (5, 5) and not found[0].response_ids


def test_what_is_sent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENABLE_API_KEY", "secret")
    engine = OpenAIEngine(f"{url}#m")
    engine.generate([asked("hi", Sampling(temperature=0.5, max_tokens=9, stop=("\n",), top_k=3))])
    [(path, body, key)] = SEEN
    assert path == "/v1/chat/completions" and key == "Bearer secret"
    assert body == {
        "model": "m", "temperature": 0.5, "top_p": 1.0, "max_tokens": 9, "seed": 7, "stop": ["\n"], "top_k": 3,
        "messages": [{"role": "user", "content": "hi"}],
    }  # fmt: skip
    raw = Request(prompt=Prompt(id="r", messages=(text("Once"),)), prompt_ids=())
    assert engine.generate([raw])[0].text == "ONCE"
    assert SEEN[-1][0] == "/v1/completions" and "stop" not in SEEN[-1][1]


def test_a_stream_gives_the_pieces(url: str) -> None:
    assert [t.text for t in OpenAIEngine(f"{url}#m").stream(asked("hi"))] == ["Hel", "lo"]


def test_errors_say_what_to_do(url: str) -> None:
    with pytest.raises(ConfigError, match="names no model"):
        OpenAIEngine(url)
    with pytest.raises(RolloutError, match="404"):
        OpenAIEngine(f"{url}#unknown").generate([asked("hi")])
    with pytest.raises(RolloutError, match="cannot be reached"):
        OpenAIEngine("http://127.0.0.1:9/v1#m").generate([asked("hi")])
    with pytest.raises(RolloutError, match="weights"):
        OpenAIEngine(f"{url}#m").load_weights(1)
