"""What PPO and its like share with DPO and KTO: data opened for an algorithm, and the learner with its frozen reference.

Which streams are read, which models are made and which columns are added follows from the algorithm's file alone.
"""

from __future__ import annotations

import copy
from typing import Any

from amenable.batch import Batch
from amenable.config.folder import WorkspaceFolder
from amenable.errors import ConfigError
from amenable.models import lora as adapters
from amenable.models.forward import Actor
from amenable.stages.build import NEW_MODEL, Compute, LoraSettings, Policy, add_lora, freeze, make_actor, unembedding
from amenable.stages.data import DataConfig, Stream, open_stream
from amenable.stages.job import Job
from amenable.train.contract import Algorithm
from amenable.train.learner import Learner
from amenable.train.loop import Scorer
from amenable.train.settings import TrainConfig
from amenable.train.sources import NoReference, ReferenceScorer


def open_data(
    data: DataConfig, kind: str, policy: Policy, context: int, job: Job, workspace: WorkspaceFolder, label: str = ""
) -> Stream:
    stream = open_stream(
        data,
        kind,
        policy.tokenizer,
        context=context,
        model_kind=policy.model.kind,
        rejects=job.rejects,
        workspace=workspace,
        snapshots=job.snapshots(label),
    )
    job.data.update({label + name: about for name, about in stream.info.items()}, **policy.identity)
    return stream


def ptx_loaders(
    data: DataConfig | None,
    algorithm: Algorithm,
    policy: Policy,
    context: int,
    job: Job,
    workspace: WorkspaceFolder,
    *,
    beside: str,
    rows: int,
    seed: int,
) -> dict[str, Any]:
    """What an algorithm learns from beside the stage's own records, which are `beside`: documents of a pre-training mix, so many rows a step."""
    loaders: dict[str, Any] = {}
    for stream_name, kind in algorithm.feeds.items():
        if kind == beside:
            continue
        if data is None:
            raise ConfigError(
                f"{algorithm.name} also learns from {kind} (stream {stream_name}) and none are named",
                where="ptx",
                mend='name them, as in ptx.train=["my-texts"], or set algorithm.ptx_weight=0',
            )
        if policy.model.kind == "seq2seq":
            raise ConfigError(
                "an encoder-decoder has no next word of running text to learn",
                where="algorithm.ptx_weight",
                mend="set it to 0; `amenable pretrain algorithm.name=span_corruption` goes on with its pre-training",
            )
        extra = open_data(data, kind, policy, context, job, workspace, label=f"{stream_name} ")
        loaders[stream_name] = extra.loader(units_per_step=rows, seed=seed + 1)
    if data is not None and not loaders:
        raise ConfigError(
            "documents for the pre-training mix are named, but their weight is 0",
            where="algorithm.ptx_weight",
            mend="set it above 0, or leave `ptx` out",
        )
    return loaders


def make_learner(
    algorithm: Algorithm,
    policy: Policy,
    lora: LoraSettings,
    train: TrainConfig,
    compute: Compute,
    temperature: float,
    job: Job,
    critic: Actor | None = None,
) -> tuple[Learner, dict[str, Scorer]]:
    """The learner with all roles, and the reference: the policy as the run found it, unless it is new."""
    is_new = policy.folder == NEW_MODEL
    reference = (
        None if (lora.rank and not lora.continued) or is_new else freeze(Actor(copy.deepcopy(policy.model), "lm"))
    )
    line = add_lora(policy, lora, train.seed)
    if line:
        job.say(line)
    actors = {}
    for role, kind in algorithm.trains.items():
        if role == "policy":
            actors[role] = make_actor(policy.model, kind)
        elif role == "critic" and critic is not None:
            actors[role] = critic
        else:
            raise ConfigError(
                f"{algorithm.name} trains a role {role!r} that this stage cannot make", where="algorithm.name"
            )
    frozen = policy.model if reference is None else reference.model
    learner = Learner(
        actors,
        train,
        wants=algorithm.wants,
        temperature=temperature,
        reference=unembedding(frozen),
        precision=compute.precision,
        device=compute.device,
    )

    def evaluate(batch: Batch, what: tuple[str, ...]) -> Any:
        if reference is not None:
            return learner.evaluate("policy", batch, what, actor=reference)
        with adapters.adapter_off(policy.model):
            return learner.evaluate("policy", batch, what)

    return learner, {"reference": NoReference() if is_new else ReferenceScorer(evaluate)}
