"""Models behind an OpenAI-compatible server (vLLM, llama.cpp, Ollama, …): requests in, texts out, over httpx.

A conversation goes to /chat/completions, a raw text to /completions. Such a server tells texts and no token ids, so its rollouts
hold neither ids nor log-probs: they serve measuring, not training. A reply depends on the server and on what else it
does; a seed is sent, and need not be obeyed. A key, if there is one, stands in AMENABLE_API_KEY and nowhere else.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from amenable.errors import ConfigError, RolloutError
from amenable.rollout.engine import OnProgress, OnToken, Request, Token
from amenable.types import FinishReason, Rollout

KEY = "AMENABLE_API_KEY"
FINISH: dict[str | None, FinishReason] = {"stop": "stop", "length": "length"}
BUSY = (408, 429, 500, 502, 503, 504)
"""Answers after which it is worth asking again."""


def is_url(reference: str) -> bool:
    """Does a model's name mean one behind a server?

    >>> is_url("http://localhost:8000/v1#mine"), is_url("run:sft-1")
    (True, False)
    """
    return reference.startswith(("http://", "https://"))


class OpenAIEngine:
    """One model of one server, named as URL#MODEL: http://localhost:8000/v1#llama."""

    policy_version = 0

    def __init__(
        self, reference: str, *, context: int = 4096, parallel: int = 4, timeout_s: float = 120.0, attempts: int = 4,
        wait_s: float = 1.0,
    ) -> None:  # fmt: skip
        """context: tokens that the server is trusted with; it may know less. wait_s: before the second attempt, then doubled."""
        try:
            import httpx
        except ImportError as error:
            raise RolloutError("models behind a URL need httpx", where=reference, mend="pip install httpx") from error
        self.url, _, self.model = reference.partition("#")
        if not self.model:
            raise ConfigError(
                "the URL names no model", where=reference, mend="write it behind a #, as in http://host:8000/v1#llama"
            )
        self.context, self.parallel, self.attempts, self.wait_s = context, parallel, attempts, wait_s
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(base_url=self.url.rstrip("/"), headers=headers, timeout=timeout_s)

    def generate(
        self, requests: Sequence[Request], *, on_token: OnToken | None = None, on_progress: OnProgress | None = None
    ) -> list[Rollout]:
        """One rollout per request, in their order; several are asked at a time. on_token is never called: texts come whole.

        A request that the server cannot answer is a rollout with finish "failed" and the reason. Raises RolloutError if
        the server cannot be reached at all, or refuses the key or the model.
        """
        found: list[Rollout] = []
        with ThreadPoolExecutor(self.parallel) as pool:
            for rollout in pool.map(self._answer, requests):
                found.append(rollout)
                if on_progress is not None:
                    on_progress(len(found), len(requests))
        return found

    def stream(self, request: Request) -> Iterator[Token]:
        """The pieces of one response as they come. They are texts: id -1, log-prob not a number."""
        import httpx

        path, body = self._body(request)
        try:
            with self.client.stream("POST", path, json={**body, "stream": True}) as response:
                if response.status_code != 200:
                    response.read()
                    raise RolloutError(*_refusal(response), where=self.url)
                for line in response.iter_lines():
                    if not line.startswith("data:") or line.endswith("[DONE]"):
                        continue
                    for choice in json.loads(line.removeprefix("data:")).get("choices", []):
                        piece = choice.get("text") or (choice.get("delta") or {}).get("content")
                        if piece:
                            yield Token(id=-1, text=piece, logprob=math.nan)
        except httpx.HTTPError as error:
            raise RolloutError(f"the server cannot be reached: {error}", where=self.url) from error

    def load_weights(self, version: int) -> None:
        """Raises RolloutError: the weights are the server's."""
        raise RolloutError(
            "a model behind a URL cannot be given weights", where=self.url, mend="train one of this folder"
        )

    def _answer(self, request: Request) -> Rollout:
        import httpx

        path, body = self._body(request)
        why = ""
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.wait_s * 2 ** (attempt - 1))
            try:
                response = self.client.post(path, json=body)
            except httpx.TimeoutException:
                why = f"no answer in {self.client.timeout.read:.0f} s"
                continue
            except httpx.HTTPError as error:
                raise RolloutError(
                    f"the server cannot be reached: {error}", where=self.url, mend="is it running, and the URL right?"
                ) from error
            if response.status_code == 200:
                return _rollout(request, response.json())
            why = f"the server said {response.status_code}: {response.text[:200]}"
            if response.status_code in (401, 403, 404):
                raise RolloutError(why, where=self.url, mend=f"check the model's name and the key in {KEY}")
            if response.status_code not in BUSY:
                break
        return _failed(request, why)

    def _body(self, request: Request) -> tuple[str, dict[str, Any]]:
        asked, messages = request.sampling, request.prompt.messages
        body: dict[str, Any] = {
            "model": self.model, "temperature": 0.0 if asked.greedy else asked.temperature, "top_p": asked.top_p,
            "max_tokens": asked.max_tokens, "seed": request.seed,
        }  # fmt: skip
        body |= {"stop": list(asked.stop)} if asked.stop else {}
        further = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}  # not OpenAI's own; vLLM and others take them
        body |= {name: value for name, off in further.items() if (value := getattr(asked, name)) != off}
        if any(m.role == "text" for m in messages):
            return "/completions", body | {"prompt": "".join(m.content for m in messages)}
        return "/chat/completions", body | {"messages": [{"role": m.role, "content": m.content} for m in messages]}


def _rollout(request: Request, body: Any) -> Rollout:
    try:
        choice = body["choices"][0]
        said = choice["text"] if "text" in choice else choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return _failed(request, f"an answer without a text: {str(body)[:200]}")
    return Rollout(
        prompt=request.prompt, prompt_ids=(), response_ids=(), logprobs=(), text=(said or "").strip(),
        finish=FINISH.get(choice.get("finish_reason"), "stop"), seed=request.seed,
    )  # fmt: skip


def _failed(request: Request, why: str) -> Rollout:
    return Rollout(
        prompt=request.prompt, prompt_ids=(), response_ids=(), logprobs=(), text="", finish="failed", failure=why,
        seed=request.seed,
    )  # fmt: skip


def _refusal(response: Any) -> tuple[str]:
    return (f"the server said {response.status_code}: {response.text[:200]}",)
