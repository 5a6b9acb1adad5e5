"""`amenable sample`: responses of a model to prompts from a file, a set, or the command line; an encoder fills their masks."""

from __future__ import annotations

import json
import time
from typing import Annotated

import msgspec
from msgspec import Meta

from amenable.config.folder import WorkspaceFolder, new_run, resolve_model, whole_or_gone, write_atomic
from amenable.config.settings import dump_toml
from amenable.data.source import load
from amenable.errors import ConfigError
from amenable.rewards.load import People, load_reward
from amenable.stages.build import Compute, Policy, asked_with, for_generation, open_policy
from amenable.stages.events import Event, OnEvent, RunResult, ignore
from amenable.stages.fill import GAP, fill
from amenable.stages.generate import best_of, generate
from amenable.types import Decode, Prompt, Record, Rollout, Sampling, text, user


class Config(Record, frozen=True):
    """Settings of `amenable sample`."""

    model: Annotated[str, Meta(description="the model: a name, a folder, or run:NAME")]
    prompts: Annotated[
        tuple[str, ...], Meta(description="texts to answer; for an encoder with a [MASK] for each gap")
    ] = ()
    data: Annotated[str | None, Meta(description="a source of prompts beside or instead of `prompts`")] = None
    limit: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="prompts of `data` at most")] = None
    raw: Annotated[bool, Meta(description="continue the prompts as raw text, outside any chat template")] = False
    responses_per_prompt: Annotated[int, Meta(ge=1, description="responses for each prompt")] = 1
    best_of: Annotated[
        str | None, Meta(description="reward that picks the best of responses_per_prompt; null: all are kept")
    ] = None
    sampling: Annotated[Sampling, Meta(description="how tokens are drawn; masks take the likeliest")] = Sampling(
        temperature=0.8
    )
    decode: Decode = "auto"
    seed: Annotated[int, Meta(ge=0, description="same seed, same responses")] = 0


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore
) -> RunResult:
    """Write responses.jsonl to runs/<name>/ and return them in details["responses"]."""
    started = time.perf_counter()
    prompts = _prompts(config, workspace, on_event)
    compute = for_generation()
    policy = open_policy(config.model, workspace, compute, decode=config.decode)
    with whole_or_gone(new_run(workspace, "sample", name)) as folder:
        if policy.model.kind == "encoder" or any(GAP in text for text in config.prompts):
            rows = _filled(config, policy, prompts)
        else:
            rows = _answered(config, policy, prompts, compute, workspace, on_event)
        write_atomic(
            folder / "responses.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        )
        write_atomic(folder / "config.toml", ('stage = "sample"\n' + dump_toml(config)).encode())
        write_atomic(folder / "status.json", b'{"status": "finished"}')
    failed = sum(row.get("finish") == "failed" for row in rows)
    return RunResult(
        stage="sample",
        run=folder.name,
        folder=str(folder),
        seconds=time.perf_counter() - started,
        metrics={"responses": float(len(rows)), "failed": float(failed)},
        files={"responses": str(folder / "responses.jsonl")},
        details={"responses": rows},
    )


def _answered(
    config: Config,
    policy: Policy,
    prompts: list[Prompt],
    compute: Compute,
    workspace: WorkspaceFolder,
    on_event: OnEvent,
) -> list[dict[str, object]]:
    if any(p.messages[0].role != "text" for p in prompts):
        policy.tokenizer = asked_with(policy.model, policy.tokenizer)
    groups = generate(
        policy,
        prompts,
        config.sampling,
        seed=config.seed,
        responses_per_prompt=config.responses_per_prompt,
        precision=compute.half,
        on_event=on_event,
    )
    if config.best_of:
        people = People(workspace.database, lambda said: on_event(Event(stage="sample", kind="message", text=said)))
        reward = load_reward(config.best_of, lambda r: resolve_model(r, workspace), options={}, people=people)
        groups = [[best] for best in best_of(reward, groups)]
    return [_row(rollout) for group in groups for rollout in group]


def _filled(config: Config, policy: Policy, prompts: list[Prompt]) -> list[dict[str, object]]:
    """The prompts with their masks filled, and the likeliest tokens of each gap."""
    if config.responses_per_prompt > 1 or config.best_of:
        raise ConfigError(
            "an encoder fills a mask with its likeliest token, in one way",
            where="responses_per_prompt" if config.responses_per_prompt > 1 else "best_of",
            mend="leave it out",
        )
    texts = ["\n".join(m.content for m in prompt.messages) for prompt in prompts]
    return [
        {"prompt_id": prompt.id, "prompt": text, "response": one.text, "gaps": msgspec.to_builtins(one.gaps)}
        for prompt, text, one in zip(prompts, texts, fill(policy, texts), strict=True)
    ]


def _prompts(config: Config, workspace: WorkspaceFolder, on_event: OnEvent) -> list[Prompt]:
    prompts = [Prompt(id=f"prompt-{i}", messages=(user(p),)) for i, p in enumerate(config.prompts)]
    if config.data:
        loaded = load(config.data, "prompts", limit=config.limit, database=workspace.database)
        prompts += loaded.records
        if loaded.left_out:
            on_event(Event(stage="sample", kind="message", text=f"{config.data}: {loaded.left_out}"))
    if not prompts:
        raise ConfigError(
            "there is nothing to answer", where="prompts", mend='name texts, as in prompts=["Hello!"], or `data`'
        )
    if config.raw:
        prompts = [p.replace(messages=(text("\n".join(m.content for m in p.messages)),)) for p in prompts]
    return prompts


def _row(rollout: Rollout) -> dict[str, object]:
    return {
        "prompt_id": rollout.prompt.id,
        "prompt": "\n".join(m.content for m in rollout.prompt.messages),
        "response": rollout.text,
        "finish": rollout.finish,
        "tokens": len(rollout.response_ids),
        "logprob": round(sum(rollout.logprobs), 4),
        "seed": rollout.seed,
        **({"failure": rollout.failure} if rollout.failure else {}),
    }
