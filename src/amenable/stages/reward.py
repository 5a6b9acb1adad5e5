"""Train a reward model on what people prefer: comparisons, rankings, ratings or labels in, one number per response out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from amenable.config.folder import WorkspaceFolder, write_atomic
from amenable.evals.reward_quality import RewardQuality, reward_quality
from amenable.evals.statistics import share_interval
from amenable.models.heads import ScalarHead
from amenable.rewards.model import RewardModel
from amenable.stages.build import (
    LoraSettings,
    add_lora,
    check_context,
    make_actor,
    make_algorithm,
    open_policy,
    save_result,
    validator,
)
from amenable.stages.data import DataConfig, Stream, collate_stream, mixture_lines, open_stream, steps_for
from amenable.stages.events import OnEvent, RunResult, ignore
from amenable.stages.job import NEW, Job
from amenable.stages.sft import ensure_template
from amenable.train.learner import Learner
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.train.sources import OfflineSource
from amenable.types import Comparison, Label, Messages, Ranking, Record, Scored


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
        Meta(description="demonstrations that shall score 0 on average; empty: the held-out chosen responses"),
    ] = ()
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
    """Train, measure on held-out prompts, write model and reward.json."""
    with Job.open("reward", config, workspace, name, mode, on_event) as job:
        return _run(config, workspace, job)


def _run(config: Config, workspace: WorkspaceFolder, job: Job) -> RunResult:
    compute = job.set_up(config.train)
    algorithm = make_algorithm(config.algorithm, "reward_pairwise", role="reward")
    policy = open_policy(config.model, workspace, compute)
    (stream_name, kind), *_ = algorithm.feeds.items()
    if kind != "labels" or policy.tokenizer.chat_template is not None:
        ensure_template(policy, job, allowed=True)
    context = check_context(config.context, policy.model)
    stream = open_stream(
        config.data,
        kind,
        policy.tokenizer,
        context=context,
        model_kind=policy.model.kind,
        rejects=job.rejects,
        workspace=workspace,
        snapshots=job.snapshots(),
    )
    job.data.update(stream.info, model=policy.hash)
    steps = steps_for(config.train.steps, config.train.epochs, stream.num_units, config.train.units_per_step)
    adapter = add_lora(policy.model, config.lora, config.train.seed)
    for line in (
        stream.notes + mixture_lines(stream, steps, config.train.units_per_step) + ([adapter] if adapter else [])
    ):
        job.say(line)
    actor = make_actor(policy.model, "scalar", _head(config, policy.model.hidden_size))
    learner = Learner({"reward": actor}, config.train, precision=compute.precision, device=compute.device)
    loader = stream.loader(units_per_step=config.train.units_per_step, seed=config.train.seed)
    held_out = [collate_stream(stream.validation[:256], stream_name)] if stream.validation else []
    reward = RewardModel(actor, policy.tokenizer, name=job.name, precision=compute.precision)

    def save(folder: Path, metadata: dict[str, Any], learns_on: bool) -> None:
        if learns_on:  # neither shifted nor measured yet
            save_result(policy, policy.model, folder, metadata, learns_on=True, reward=actor.head)
            return
        shift = _centre(config, actor.head, reward, stream, workspace, job)
        quality = measure(reward, stream, config.train.seed)
        write_atomic(job.folder.folder / "reward.json", json.dumps(quality, indent=2).encode())
        for sentence in quality["sentences"]:
            job.say(sentence)
        about = {**metadata, "data": job.data, "reward": {"shift": shift, "quality": quality}}
        save_result(policy, policy.model, folder, about, reward=actor.head)

    result = job.train(
        algorithm,
        learner,
        OfflineSource({stream_name: loader}, collate_stream),
        steps=steps,
        validate=validator(algorithm, learner, held_out),
        save_model=save,
    )
    quality = json.loads((job.folder.folder / "reward.json").read_text())
    return result.replace(details=quality, files={"quality": str(job.folder.folder / "reward.json")})


def measure(reward: Any, stream: Stream, seed: int) -> dict[str, Any]:
    """Held-out accuracy with interval, calibration, baselines; as JSON values with plain sentences."""
    held_out = [r for r in stream.validation_records]
    comparisons = [r for r in held_out if isinstance(r, Comparison)] + [
        c for r in held_out if isinstance(r, Ranking) for c in as_comparisons(r)
    ]
    labels = [r for r in held_out if isinstance(r, Label)]
    if comparisons:
        train = [u[0].record for units in stream.units.values() for u in units]
        train_pairs = [r for r in train if isinstance(r, Comparison)] + [
            c for r in train if isinstance(r, Ranking) for c in as_comparisons(r)
        ]
        scores = reward.score([scored(c.prompt, text) for c in comparisons for text in (c.chosen, c.rejected)])
        quality: RewardQuality = reward_quality(
            comparisons,
            scores[0::2],
            scores[1::2],
            train=train_pairs,
            name="the reward model",
            judged_by=_judges(comparisons),
            seed=seed,
        )
        sentences = [quality.sentence(), *(b.sentence("the reward model") for b in quality.baselines)]
        return {"pairs": len(comparisons), "sentences": sentences, **msgspec.to_builtins(quality)}
    if labels:
        scores = reward.score([scored(r.prompt, r.response) for r in labels])
        right = [float((s > 0) == r.label) for s, r in zip(scores, labels, strict=True)]
        interval = share_interval(right, seed=seed)
        sentence = (
            f"The reward model's sign agrees with {interval.value:.1%} of {len(labels)} held-out labels "
            f"(95 % interval {interval.low:.1%}-{interval.high:.1%})."
        )
        return {"labels": len(labels), "sentences": [sentence], "accuracy": msgspec.to_builtins(interval)}
    return {"sentences": ["There is no held-out data, so nothing is known of the reward model's accuracy."]}


def _judges(comparisons: Sequence[Comparison]) -> str:
    """Whose choices they are, in words; a simulated labeler is named as such."""
    simulated = [c.labeler.startswith("simulated") for c in comparisons]
    return (
        "the simulated labeler"
        if all(simulated)
        else "people and the simulated labeler"
        if any(simulated)
        else "people"
    )


def as_comparisons(ranking: Ranking) -> list[Comparison]:
    """All ordered pairs of a ranking."""
    return [
        Comparison(
            id=f"{ranking.id}:{i}>{j}",
            prompt=ranking.prompt,
            chosen=ranking.responses[i],
            rejected=ranking.responses[j],
            labeler=ranking.labeler,
            source=ranking.source,
        )
        for i, j in ranking.pairs()
    ]


def scored(prompt: Messages, response: str) -> Scored:
    """A finished response to a prompt."""
    return Scored(prompt=prompt, response=response)


def _head(config: Config, hidden_size: int) -> ScalarHead:
    import torch

    generator = torch.Generator().manual_seed(config.train.seed)
    return ScalarHead(hidden_size, start=config.head, generator=generator)


def _centre(
    config: Config, head: Any, reward: RewardModel, stream: Stream, workspace: WorkspaceFolder, job: Job
) -> float:
    """Shift the head so that demonstrations (or held-out chosen responses) score 0 on average. Returns the shift."""
    items: Sequence[Scored]
    if config.centre_on:
        from amenable.data.source import load

        shown = [
            d for spec in config.centre_on for d in load(spec, "demonstrations", database=workspace.database).records
        ]
        items = [scored(d.messages[:-1], d.messages[-1].content) for d in shown][:512]
    else:
        items = [scored(r.prompt, r.chosen) for r in stream.validation_records if isinstance(r, Comparison)][:512]
    if not items:
        return 0.0
    mean = sum(reward.score(items)) / len(items)
    head.shift_(-mean)
    job.say(f"scores are shifted by {-mean:+.3f}, so that {len(items)} good responses average 0")
    return -mean
