"""Optimise a policy for what people prefer by its own responses: PPO and its like, on prompts or in an environment."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta, structs

from amenable.batch import Batch
from amenable.chat.tokenizer import Tokenizer
from amenable.config.folder import WorkspaceFolder, resolve_model
from amenable.data.rows import collate, rollout_rows
from amenable.errors import ConfigError, ModelError
from amenable.models.folder import load_heads, load_model, model_hash
from amenable.models.forward import Actor
from amenable.models.heads import ValueHead
from amenable.rewards.load import PEOPLE, People, load_reward, names_model
from amenable.rollout.engine import Engine, OnProgress, Request
from amenable.rollout.environments.load import load_environment
from amenable.rollout.slow import make_engine
from amenable.stages.align import make_learner, open_data, ptx_loaders
from amenable.stages.build import (
    Compute,
    DecoderShape,
    LoraSettings,
    Policy,
    make_actor,
    make_algorithm,
    new_policy,
    open_policy,
    save_result,
)
from amenable.stages.data import DataConfig, Stream, announce, collate_stream
from amenable.stages.drift import Drift
from amenable.stages.episodes import Episodes, EpisodeSource, NoScore, Player, tokenizer_for
from amenable.stages.events import Event, OnEvent, RunResult, ignore
from amenable.stages.job import NEW, Job
from amenable.stages.sft import ensure_template
from amenable.stages.watched import MOST, measurer, watcher, write_samples
from amenable.train.ahead import Ahead
from amenable.train.contract import Algorithm, Metrics
from amenable.train.learner import Learner
from amenable.train.loop import Scorer
from amenable.train.policy_scorer import PolicyScorer
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.train.sources import OnlineSource, RewardScorer, response_seed
from amenable.types import Decode, Record, Rollout, Sampling

DRAW = 0
"""No step of training has this number, so that no response of training has the seeds of those that are only looked at."""


class Config(Record, frozen=True):
    """Settings of `amenable ppo`."""

    model: Annotated[
        str | None,
        Meta(description="the policy to start from, usually the SFT model; also the reference; null: new, of `shape`"),
    ] = None
    data: Annotated[DataConfig | None, Meta(description="prompts")] = None
    reward: Annotated[
        str | None,
        Meta(
            description="a reward model's name or folder, a reward recipe (NAME.toml), composite, ensemble, labeler, rules, "
            "length, people:PROJECT, or a class: module:Class"
        ),
    ] = None
    reward_options: Annotated[
        dict[str, Any], Meta(description="settings of that reward: the labeler, rules, composite, ensemble or class")
    ] = {}
    environment: Annotated[
        dict[str, Any] | None,
        Meta(description="instead of data: name (tictactoe, arithmetic, instructions, module:Class) and its settings"),
    ] = None
    shape: Annotated[
        DecoderShape | None, Meta(description="of a new model that learns in the environment by reward alone")
    ] = None
    critic: Annotated[
        str | None, Meta(description="model that the critic starts from; null: the policy's trunk with a fresh head")
    ] = None
    ptx: Annotated[
        DataConfig | None, Meta(description="documents for the pre-training mix, where algorithm.ptx_weight is above 0")
    ] = None
    ptx_rows_per_step: Annotated[int, Meta(ge=1, description="rows of documents per step in the pre-training mix")] = 16
    algorithm: Annotated[dict[str, Any], Meta(description="name and settings of the algorithm")] = {}
    sampling: Annotated[Sampling, Meta(description="how responses are drawn")] = Sampling(max_tokens=64)
    responses_per_prompt: Annotated[
        int,
        Meta(
            ge=0,
            description="responses drawn for each prompt; 0: 4 where the algorithm compares a prompt's responses, else 1",
        ),
    ] = 0
    max_prompt_tokens: Annotated[
        int, Meta(ge=0, description="longest prompt; 0: the context less sampling.max_tokens")
    ] = 0
    sample_every: Annotated[
        int, Meta(ge=0, description="steps between samples written to samples.jsonl and watched.jsonl; 0: none")
    ] = 10
    num_slots: Annotated[int, Meta(ge=1, description="responses decoded together; memory only")] = 128
    decode: Decode = "auto"
    reuse_logprobs: Annotated[
        bool,
        Meta(
            description="take sampling's log-probs for training's where they agree to 0.001 nats a token on some of the step's "
            "responses; false: always compute them again"
        ),
    ] = True
    overlap: Annotated[
        bool,
        Meta(
            description="generate the next step's responses, by a copy of the policy, while this step learns: they are one step "
            "old then, and weighed by truncated importance"
        ),
    ] = False
    importance_limit: Annotated[
        float, Meta(ge=1, description="where overlap is on: the largest weight of a token that an older policy drew")
    ] = 2.0
    lora: Annotated[LoraSettings, Meta(description="train an adapter; the reference is then the model without it")] = (
        LoraSettings()
    )
    train: Annotated[TrainConfig, Meta(description="the loop")] = TrainConfig(
        optimizer=OptimizerConfig(
            learning_rate=1e-4, schedule="linear", final_share=0.0, epsilon=1e-5, weight_decay=0.0, warmup_share=0.0
        ),
        steps=100,
        units_per_step=64,
        minibatches=4,
        inner_epochs=1,
    )

    def __post_init__(self) -> None:
        if self.environment is not None:
            _check_episodes(self)
            return
        for name, given in (("model", self.model), ("data", self.data), ("reward", self.reward)):
            if given is None:
                raise ConfigError(f"the setting {name!r} is missing", where=name, mend="give it, or an `environment`")
        if self.shape is not None:
            raise ConfigError("a new model has nothing to say to prompts", where="shape", mend="name a `model`")


def _check_episodes(config: Config) -> None:
    """Raises ConfigError for settings that say nothing, or two things, beside an environment."""
    assert config.environment is not None
    load_environment(config.environment)
    if config.data is not None or config.max_prompt_tokens:
        raise ConfigError(
            "prompts come from the environment",
            where="data" if config.data is not None else "max_prompt_tokens",
            mend="leave it out, or leave `environment` out",
        )
    if (config.model is None) == (config.shape is None):
        raise ConfigError(
            "an environment is played by a model that is there or by a new one",
            where="model, shape",
            mend="name a `model`, or give the `shape` of a new one",
        )
    if not config.train.steps:
        raise ConfigError("an environment has no end", where="train.steps", mend="say how many steps to learn")


def _check_new(config: Config, algorithm: Algorithm) -> None:
    """Raises ConfigError for settings that make sense only for a model that has learned something before."""
    held = any(need.startswith("reference.") for needs in algorithm.needs.values() for need in needs)
    if held and structs.asdict(algorithm.config).get("kl_coef") != 0:
        raise ConfigError(
            "a new model has nothing to be held to by KL",
            where="algorithm",
            mend="set algorithm.kl_coef = 0, with an algorithm that has it (ppo, grpo, rloo, reinforce)",
        )
    if config.lora.rank:
        raise ConfigError("a new model has nothing to adapt", where="lora.rank", mend="set it to 0")


def run(
    config: Config,
    *,
    workspace: WorkspaceFolder,
    name: str | None = None,
    on_event: OnEvent = ignore,
    mode: str = NEW,
) -> RunResult:
    """Learn from the policy's own responses to prompts; write the model to runs/<name>/model."""
    with Job.open("ppo", config, workspace, name, mode, on_event) as job:
        return _run(config, workspace, job)


def _run(config: Config, workspace: WorkspaceFolder, job: Job) -> RunResult:
    compute = job.set_up(config.train)
    algorithm = make_algorithm(config.algorithm, "ppo", given=("reference", "reward"))
    if not algorithm.online:
        raise ConfigError(
            f"{algorithm.name} learns from data that is there before",
            where="algorithm.name",
            mend="use `amenable dpo` or `kto`",
        )
    config = config.replace(responses_per_prompt=_responses_per_prompt(config, algorithm))
    if config.shape is not None:
        _check_new(config, algorithm)
    if (config.lora.rank or config.lora.continued) and config.lora.dropout:
        raise ConfigError(
            "dropout would make the policy that learns another one than the policy that spoke",
            where="lora.dropout",
            mend="set it to 0",
        )
    policy = _starting_policy(config, algorithm, workspace, compute)
    is_chat = policy.tokenizer.chat_template is not None or config.environment is not None
    if is_chat and config.shape is None:  # a new model's template is ours
        ensure_template(policy, job, allowed=True)
    prompts = _prompts(config, policy, job, workspace)
    steps = config.train.steps
    if prompts is not None:
        steps = announce(prompts, config.train, job.say)
    job.data.update(policy.identity)
    temperature = config.sampling.divisor
    critic = _critic(config, algorithm, policy, workspace, compute, job)
    learner, scorers = make_learner(algorithm, policy, config.lora, config.train, compute, temperature, job, critic)
    scorers["reward"] = _reward(config, workspace, compute, job)
    limit = config.importance_limit if config.overlap else None
    scorers["policy"] = PolicyScorer(learner, reuse=config.reuse_logprobs, limit=limit)
    source = _source(config, algorithm, policy, prompts, learner, steps, compute, job, workspace)
    if prompts is not None:
        held_out: list[Any] = prompts.measured(64)
    else:
        held_out = Episodes(units_per_step=256, seed=config.train.seed, name="validation").next_units()
    drift = Drift(job.say, lambda: job.folder.rows("metrics.jsonl"))
    scored = "people:" not in str(config.reward)  # people have enough to do
    watch = watcher(
        lambda: [group[0] for group in source.draw(DRAW, held_out[:MOST])] if held_out else [],
        source.make_rows,
        learner,
        scorers if scored else {"reference": scorers["reference"]},
        policy.tokenizer,
        job.folder,
    )

    def draw_held_out() -> list[Rollout]:
        return [rollout for group in source.draw(DRAW, held_out) for rollout in group]

    def on_batch(step: int, batches: dict[str, Batch], metrics: Metrics) -> None:
        drift.see(step, metrics)
        if config.sample_every and (step == 1 or step % config.sample_every == 0):
            write_samples(job.folder, step, batches["rollouts"], policy.tokenizer)
            watch(step)

    result = job.train(
        algorithm,
        learner,
        source,
        steps=steps,
        scorers=scorers,
        validate=measurer(draw_held_out, source.make_rows, learner, scorers) if held_out else None,
        on_batch=on_batch,
        save_model=lambda folder, about, learns_on: _save(
            policy, learner, folder, {**about, "data": job.data, "reward": config.reward}, learns_on
        ),
    )
    if result.model:  # no step was replayed
        drift.recall()  # a run that is resumed behind its last step sees none
    return result.replace(text=drift.alarm) if drift.alarm else result


def _responses_per_prompt(config: Config, algorithm: Algorithm) -> int:
    """Raises ConfigError for a single response where nothing is learned but from how responses compare."""
    compares = algorithm.unit == "group"
    if compares and config.responses_per_prompt == 1:
        raise ConfigError(
            f"{algorithm.name} compares the responses of a prompt, and of a single one it learns nothing",
            where="responses_per_prompt",
            mend="set it to 2 or more (0: 4)",
        )
    return config.responses_per_prompt or (4 if compares else 1)


def _starting_policy(config: Config, algorithm: Algorithm, workspace: WorkspaceFolder, compute: Compute) -> Policy:
    """The model to train: one that is there, or a new one that knows the environment's characters and nothing else."""
    if config.model is not None:
        return open_policy(config.model, workspace, compute, algorithm=algorithm)
    assert config.shape is not None and config.environment is not None
    return new_policy(config.shape, tokenizer_for(config.environment), compute, seed=config.train.seed)


def _prompts(config: Config, policy: Policy, job: Job, workspace: WorkspaceFolder) -> Stream | None:
    """The prompts to answer; None in an environment."""
    room = policy.model.context - config.sampling.max_tokens
    longest = config.max_prompt_tokens or room
    if longest > room or room < 1:
        asked = f"prompts of {longest} and " if config.max_prompt_tokens else "with any prompt, "
        raise ConfigError(
            f"{asked}responses of {config.sampling.max_tokens} tokens exceed the context of {policy.model.context}",
            where="max_prompt_tokens, sampling.max_tokens",
            mend="lower one of them",
        )
    if config.data is None:
        return None
    return open_data(config.data, "prompts", policy, longest, job, workspace)


def _reward(config: Config, workspace: WorkspaceFolder, compute: Compute, job: Job) -> Scorer:
    if config.reward is None:
        return NoScore()
    if (
        config.reward.startswith(PEOPLE)
        and config.reward_options.get("ask") == "rank"
        and config.responses_per_prompt == 1
    ):
        raise ConfigError(
            "people cannot rank a single response to a prompt",
            where="responses_per_prompt, reward_options.ask",
            mend="set responses_per_prompt to 2 or more, or ask for a label",
        )
    read: dict[str, Path] = {}
    reward = load_reward(
        config.reward,
        lambda reference: resolve_model(reference, workspace),
        options=config.reward_options,
        read=read,
        people=People(workspace.database, job.say),
        device=compute.device,
        precision=compute.precision,
        paths=compute.paths,
    )
    job.data["reward"] = _identity(config.reward, reward.name, read)
    tokenizers = {inner: Tokenizer.load(path).turns_fingerprint for inner, path in read.items() if path.is_dir()}
    job.data |= {"reward_tokenizers": tokenizers} if tokenizers else {}
    return RewardScorer(reward)


def _identity(spec: str, name: str, read: Mapping[str, Path]) -> str | dict[str, str]:
    """What data.json says of a reward: its model's hash, the hashes of all models and recipe files in it, or its name."""
    found = {
        inner: model_hash(path) if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        for inner, path in read.items()
    }
    return found[spec] if names_model(spec) else found or name


def _critic(
    config: Config, algorithm: Algorithm, policy: Policy, workspace: WorkspaceFolder, compute: Compute, job: Job
) -> Actor | None:
    """The critic: a model of its own, from the policy or from a reward model that reads the same tokens."""
    if "critic" not in algorithm.trains:
        if config.critic:
            raise ConfigError(
                "a critic is named, and the value head is set to share the policy's trunk",
                where="critic",
                mend="leave `critic` out, or set algorithm.critic = 'own'",
            )
        return None
    if not config.critic:
        return make_actor(copy.deepcopy(policy.model), "value")
    folder = resolve_model(config.critic, workspace)
    if Tokenizer.load(folder).fingerprint != policy.tokenizer.fingerprint:
        raise ModelError(
            "the critic reads other tokens than the policy writes",
            where=str(folder),
            mend="start the critic from a model with the policy's tokenizer, or leave `critic` out",
        )
    model = load_model(folder, device=compute.device, attention=compute.paths.attention)
    compute.paths.use_in(model)
    head = ValueHead(model.hidden_size)
    if "reward" in (heads := load_heads(folder, device=compute.device)):
        head.load_state_dict(heads["reward"].state_dict())
        job.say(f"the critic starts from the reward model {folder.name}, head included")
    job.data["critic"] = model_hash(folder)
    return make_actor(model, "value", head)


def _source(
    config: Config,
    algorithm: Algorithm,
    policy: Policy,
    prompts: Stream | None,
    learner: Learner,
    steps: int,
    compute: Compute,
    job: Job,
    workspace: WorkspaceFolder,
) -> OnlineSource:
    seq2seq_start = policy.tokenizer.decoder_start if policy.model.kind == "seq2seq" else None
    engine = _engine(config, policy, policy.model, compute)
    draw = _draw_by(
        engine,
        config,
        policy,
        lambda done, total: job.on_event(
            Event(stage="responses", done=float(done), total=float(total), unit="responses")
        ),
    )

    def by_policy(step: int, units: list[Any]) -> list[list[Rollout]]:
        engine.load_weights(learner.version)
        return draw(step, units)

    def make_rows(rollouts: list[Rollout], units: list[int]) -> Batch:
        unit_ids = units if algorithm.unit == "group" else list(range(len(rollouts)))
        return collate(rollout_rows(rollouts, unit_ids, decoder_start=seq2seq_start), "rollouts")

    rows, seed = config.ptx_rows_per_step, config.train.seed
    loaders = ptx_loaders(
        config.ptx, algorithm, policy, policy.model.context, job, workspace, beside="prompts", rows=rows, seed=seed
    )
    ahead = _ahead(config, policy, learner, steps, compute) if config.overlap else None
    num_units = config.train.units_per_step
    if prompts is not None:
        loader = prompts.loader(units_per_step=num_units, seed=seed)
        return OnlineSource(loader, by_policy, make_rows, loaders, collate_stream, ahead)
    units = Episodes(units_per_step=num_units, seed=seed)
    return EpisodeSource(units, by_policy, make_rows, loaders, collate_stream, ahead)


def _engine(config: Config, policy: Policy, model: Any, compute: Compute) -> Engine:
    return make_engine(model, policy.tokenizer, num_slots=config.num_slots, dtype=compute.half, decode=config.decode)


def _draw_by(
    engine: Engine, config: Config, policy: Policy, on_progress: OnProgress | None = None
) -> Callable[[int, list[Any]], list[list[Rollout]]]:
    """(step, units) -> the responses of each unit: answers to a prompt, or episodes of the environment."""
    k, player = config.responses_per_prompt, None
    if config.environment is not None:
        player = Player(load_environment(config.environment), engine, policy.tokenizer, config.sampling)

    def draw(step: int, units: list[Any]) -> list[list[Rollout]]:
        seeds = [response_seed(config.train.seed, step, place, i) for place in range(len(units)) for i in range(k)]
        wanted = [unit for unit in units for _ in range(k)]
        if player is not None:
            rollouts = player.play(wanted, seeds)
        else:
            requests = [
                Request(prompt=row.record, prompt_ids=tuple(row.tokens.tolist()), sampling=config.sampling, seed=seed)
                for (row, *_), seed in zip(wanted, seeds, strict=True)
            ]
            rollouts = engine.generate(requests, on_progress=on_progress)
        return [rollouts[i : i + k] for i in range(0, len(rollouts), k)]

    return draw


def _ahead(config: Config, policy: Policy, learner: Learner, steps: int, compute: Compute) -> Ahead:
    """Draws by a copy of the policy, which needs that much memory more."""
    older = copy.deepcopy(policy.model).requires_grad_(False)
    engine = _engine(config, policy, older, compute)

    def refresh() -> None:
        with torch.no_grad():
            for then, now in zip(older.parameters(), policy.model.parameters(), strict=True):
                then.copy_(now)
        engine.load_weights(learner.version)

    return Ahead(_draw_by(engine, config, policy), refresh, last=steps)


def _save(policy: Policy, learner: Learner, folder: Path, about: dict[str, Any], learns_on: bool) -> None:
    own = learner.actors["policy"].head
    heads: dict[str, torch.nn.Module] = {"value": own} if own is not None else {}
    if "critic" in learner.actors:
        critic = learner.actors["critic"]
        assert critic.head is not None
        save_result(policy, critic.model, folder / "critic", {"role": "critic"}, learns_on=learns_on, value=critic.head)
    save_result(policy, policy.model, folder, about, learns_on=learns_on, **heads)
