"""Responses of a model to prompts, for sampling, ladders and best-of-n. One function, used by every stage above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from amenable.chat.render import render_prompt, render_source
from amenable.rollout.engine import Request
from amenable.rollout.slow import make_engine
from amenable.stages.build import Policy
from amenable.stages.events import Event, OnEvent, ignore
from amenable.train.sources import response_seed, scored
from amenable.types import Prompt, Rollout, Sampling, Scored


def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    responses_per_prompt: int = 1,
    precision: torch.dtype | None = None,
    num_slots: int = 64,
    prompt_ids: Sequence[Sequence[int]] | None = None,
    on_event: OnEvent = ignore,
    label: str = "responses",
) -> list[list[Rollout]]:
    """One list of rollouts per prompt; prompt_ids where the text is rendered otherwise (few-shot)."""
    render = render_source if policy.model.kind == "seq2seq" else render_prompt
    ids = [render(p.messages, policy.tokenizer) for p in prompts] if prompt_ids is None else prompt_ids
    engine = make_engine(policy.model, policy.tokenizer, num_slots=num_slots, dtype=precision, decode=policy.decode)
    requests = [
        Request(prompt=prompt, prompt_ids=tuple(own), sampling=sampling, seed=response_seed(seed, prompt.id, k))
        for prompt, own in zip(prompts, ids, strict=True)
        for k in range(responses_per_prompt)
    ]

    def show(done: int, total: int) -> None:
        on_event(Event(stage=label, done=float(done), total=float(total), unit="responses"))

    rollouts = engine.generate(requests, on_progress=show)
    k = responses_per_prompt
    return [rollouts[i : i + k] for i in range(0, len(rollouts), k)]


def best_of(reward: Any, groups: Sequence[Sequence[Rollout]]) -> list[Rollout]:
    """The response of each group that the reward scores highest; the first of equals."""
    flat: list[Scored] = [scored(rollout) for group in groups for rollout in group]
    scores = iter(reward.score(flat))
    return [max(((next(scores), -i, r) for i, r in enumerate(group)), key=lambda t: t[:2])[2] for group in groups]
