"""Train a reward model on what people prefer: comparisons, rankings, ratings or labels in, one number per response out.

With several members it is an ensemble: the first is the model itself, the others lie within its folder. Afterwards the
scores get their zero, and all that is known of the model is measured on held-out prompts and written to reward.json and
report.html: accuracy beside baselines and people, calibration, length bias, and where a learning curve leads.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from amenable.config.folder import WorkspaceFolder, write_atomic
from amenable.errors import AmenableError, ConfigError
from amenable.evals.report.page import write_report
from amenable.evals.reward_quality import RewardQuality, correctness
from amenable.models.heads import ScalarHead
from amenable.rewards.base import HeldOutScores, Reward
from amenable.rewards.ensemble import EnsembleReward
from amenable.rewards.load import MEMBERS
from amenable.stages.build import (
    LoraSettings,
    Policy,
    check_context,
    make_algorithm,
    open_policy,
    save_result,
    validator,
)
from amenable.stages.data import DataConfig, Stream, announce, collate_stream, open_stream
from amenable.stages.events import OnEvent, RunResult, ignore
from amenable.stages.job import NEW, Job
from amenable.stages.reward_apart import Member, Recipe, learning_curve, resampled, train_apart
from amenable.stages.reward_measure import all_comparisons, all_responses, good_responses, margins, measure, report_of
from amenable.stages.sft import ensure_template
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.types import Record, Scored


class Config(Record, frozen=True):
    """Settings of `amenable reward`."""

    model: Annotated[str, Meta(description="the model to start from, usually the SFT model")]
    data: Annotated[DataConfig, Meta(description="comparisons, rankings, ratings or labels, as the algorithm feeds")]
    context: Annotated[int, Meta(ge=0, description="tokens per row; 0: the model's context")] = 0
    lora: Annotated[LoraSettings, Meta(description="train an adapter and the head only")] = LoraSettings()
    head: Annotated[
        Literal["zero", "small"], Meta(description="start of the head: zero (first loss ln 2) or std 1/sqrt(d+1)")
    ] = "zero"
    centre_on: Annotated[
        tuple[str, ...],
        Meta(description="demonstrations that shall score 0 on average; empty: the preferred held-out responses"),
    ] = ()
    members: Annotated[
        int,
        Meta(ge=1, description="reward models trained one after the other, in other orders; 2 or more: an ensemble"),
    ] = 1
    bootstrap: Annotated[bool, Meta(description="each member learns from prompts drawn anew with replacement")] = False
    forecast: Annotated[
        int,
        Meta(
            ge=0,
            le=6,
            description="smaller training sets to learn from again (1/2, 1/4, ...) for the learning curve; 0: none. They "
            "take up to as long as the training itself",
        ),
    ] = 0
    algorithm: Annotated[
        dict[str, Any],
        Meta(description="name (reward_pairwise, reward_ranking, reward_rating, reward_label) and settings"),
    ] = {}
    train: Annotated[TrainConfig, Meta(description="the loop; one epoch, for a reward model overfits at once")] = (
        TrainConfig(optimizer=OptimizerConfig(learning_rate=1e-4), epochs=1.0, units_per_step=32)
    )


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore, mode: str = NEW
) -> RunResult:
    """Train, measure on held-out prompts, write model, reward.json and report.html."""
    with Job.open("reward", config, workspace, name, mode, on_event) as job:
        return _run(config, workspace, job)


def _run(config: Config, workspace: WorkspaceFolder, job: Job) -> RunResult:
    started = time.perf_counter()
    compute = job.set_up(config.train)
    algorithm = make_algorithm(config.algorithm, "reward_pairwise", role="reward")
    (stream_name, kind), *_ = algorithm.feeds.items()

    def open_start() -> Policy:
        policy = open_policy(config.model, workspace, compute, algorithm=algorithm)
        if kind != "labels" or policy.tokenizer.chat_template is not None:
            ensure_template(policy, job, allowed=True)
        return policy

    policy = open_start()
    stream = _open(config, kind, policy, workspace, job)
    _check(config, kind, stream)
    good = good_responses(config.centre_on, stream, workspace)  # before the training, which a name mistyped would waste
    job.data.update(stream.info, **policy.identity)
    seed = config.train.seed
    recipe = Recipe(algorithm, config.train, config.lora, config.head, compute, open_start, stream_name)
    actor, reward, adapter = recipe.make(job.name, seed, policy)
    steps = announce(stream, config.train, job.say, adapter)
    learner = recipe.learner(actor, seed)
    held_out = [collate_stream(stream.measured(256), stream_name)] if stream.validation else []

    def save(folder: Path, metadata: dict[str, Any], learns_on: bool) -> None:
        if learns_on:  # neither shifted nor measured yet
            save_result(policy, policy.model, folder, metadata, learns_on=True, reward=actor.head)
            return
        actor.eval()
        members = [Member(policy, actor, reward)]
        for k in range(1, config.members):
            own = resampled(stream, seed + k) if config.bootstrap else stream
            label = f"member {k + 1} of {config.members}"
            members.append(train_apart(recipe, own, job, steps=steps, seed=seed + k, label=label))
        curve = None
        if config.forecast:
            on_all = None if config.bootstrap else reward
            curve = learning_curve(recipe, stream, on_all, job, halvings=config.forecast, steps=steps, seed=seed)
        shifts = _centre(members, *good, job)
        whole: Reward = reward if len(members) == 1 else EnsembleReward([m.reward for m in members], name=job.name)
        quality, about = _measured(whole, stream, seed)
        about |= {"sentences": [*about["sentences"], *([curve.sentence()] if curve else [])]}
        about |= {"forecast": msgspec.to_builtins(curve), "members": [_accuracy(m, stream) for m in members]}
        write_atomic(job.folder.folder / "reward.json", json.dumps(about, indent=2).encode())
        for sentence in about["sentences"]:
            job.say(sentence)
        _save(members, whole, shifts, stream, folder, {**metadata, "data": job.data}, about)
        seconds = time.perf_counter() - started
        write_report(job.folder.folder, report_of(job, seed, seconds, quality, curve, about["sentences"]))

    first = resampled(stream, seed) if config.bootstrap else stream
    result = job.train(
        algorithm,
        learner,
        recipe.source(first, seed),
        steps=steps,
        validate=validator(algorithm, learner, held_out),
        save_model=save,
    )
    folder = job.folder.folder
    if not result.model:  # a step was replayed
        return result
    files = {"quality": str(folder / "reward.json"), "report": str(folder / "report.html")}
    return result.replace(details=json.loads((folder / "reward.json").read_text()), files=files)


def _open(config: Config, kind: str, policy: Policy, workspace: WorkspaceFolder, job: Job) -> Stream:
    return open_stream(
        config.data,
        kind,
        policy.tokenizer,
        context=check_context(config.context, policy.model),
        model_kind=policy.model.kind,
        rejects=job.rejects,
        workspace=workspace,
        snapshots=job.snapshots(),
    )


def _check(config: Config, kind: str, stream: Stream) -> None:
    """Raise ConfigError for settings that would do nothing, or the wrong thing, on these records."""
    if config.bootstrap and config.members == 1:
        raise ConfigError(
            "one reward model alone gains nothing from drawing its prompts anew",
            where="bootstrap",
            mend="set members too",
        )
    if config.centre_on and kind in ("labels", "ratings"):
        raise ConfigError(
            f"a reward model of {kind} has a zero of its own", where="centre_on", mend="leave it out: it is not shifted"
        )
    if config.forecast and not all_comparisons(stream.validation_records):
        raise ConfigError(
            "a learning curve is measured on held-out comparisons, and there are none",
            where="forecast",
            mend="set data.held_out_share or data.validation, or forecast=0",
        )
    smallest = min(len(units) for units in stream.units.values())
    if config.forecast and smallest < 2**config.forecast:
        raise ConfigError(
            f"{smallest} units cannot be halved {config.forecast} times", where="forecast", mend="set it lower"
        )


def _measured(whole: Reward, stream: Stream, seed: int) -> tuple[RewardQuality | None, dict[str, Any]]:
    """What the model is worth, or why that cannot be said: a trained model is never lost to a figure about it."""
    try:
        return measure(whole, stream, seed)
    except AmenableError as error:
        return None, {"sentences": [f"The reward model could not be measured: {error.what}."]}


def _centre(members: list[Member], items: list[Scored], what: str, job: Job) -> list[float]:
    """Shift each member's head so that these responses, good ones, score 0 on average. Returns the shifts."""
    shifts = []
    for member in members:
        mean = sum(member.reward.score(items)) / len(items) if items else 0.0
        assert isinstance(member.actor.head, ScalarHead)
        member.actor.head.shift_(-mean)
        shifts.append(-mean)
    if items:
        shown = ", ".join(f"{shift:+.3f}" for shift in shifts)
        job.say(f"scores are shifted by {shown}, so that {len(items)} {what} average 0")
    return shifts


def _accuracy(member: Member, stream: Stream) -> float | None:
    """A member's own accuracy on held-out comparisons."""
    comparisons = all_comparisons(stream.validation_records)
    if not comparisons:
        return None
    return float(correctness(margins(member.reward, comparisons)).mean())


def _save(
    members: list[Member],
    whole: Reward,
    shifts: list[float],
    stream: Stream,
    folder: Path,
    metadata: dict[str, Any],
    quality: dict[str, Any],
) -> None:
    """Further members first: the first one's config.json makes the folder a model."""
    items = all_responses(stream.validation_records)

    def scores_of(reward: Reward) -> Any:
        return msgspec.to_builtins(HeldOutScores.of(reward.score(items))) if items else None

    known = [{"shift": s, "held_out": scores_of(m.reward)} for m, s in zip(members, shifts, strict=True)]
    together = {"ensemble_held_out": scores_of(whole)} if len(members) > 1 else {}
    for k, (member, one) in reversed(list(enumerate(zip(members, known, strict=True)))):
        target = folder / MEMBERS / str(k + 1) if k else folder
        about = {**metadata, "reward": {**one, **({} if k else {"quality": quality, **together})}}
        save_result(member.policy, member.policy.model, target, about, reward=member.actor.head)
