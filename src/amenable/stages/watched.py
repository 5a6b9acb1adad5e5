"""What a policy says as it learns, each token with its figures; and how good it is on prompts that were held out.

samples.jsonl    responses of a step's own batch, where the policy's own responses are learned from
watched.jsonl    the same held-out prompts answered anew, with the same seeds: what differs between two steps was learned
                 between them. Where the batch is the policy's own, step 1 is the policy as the run found it, and the answers
                 are drawn as the batch is; else step 0 is, and the answers are greedy. Nothing of the run depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, cast

import torch
from msgspec import Meta

from amenable.batch import Batch
from amenable.chat.tokenizer import Tokenizer
from amenable.data.derive import derive
from amenable.data.rows import collate, prompt_ids, rollout_rows
from amenable.errors import TemplateError
from amenable.stages.build import Compute, Policy
from amenable.stages.episodes import figures
from amenable.stages.generate import generate
from amenable.stages.trace import token_traces
from amenable.train.learner import Learner
from amenable.train.loop import Scorer, row_figures
from amenable.train.run_folder import RunFolder
from amenable.types import AnyRecord, Prompt, Rollout, Sampling

SAMPLES, WATCHED = "samples.jsonl", "watched.jsonl"
MOST = 4
MOST_TOKENS = 64
"""Of an answer where no setting says how responses are drawn; no more than a quarter of the model's context."""

SampleEvery = Annotated[
    Annotated[int, Meta(ge=0)] | None,
    Meta(
        description="steps between answers to a few held-out prompts, written to watched.jsonl at step 0 and at the end as well; "
        "null: as train.validate_every; 0: none"
    ),
]
"""The setting of the stages that learn from what is there before."""


def write_samples(folder: RunFolder, step: int, batch: Batch, tokenizer: Tokenizer) -> None:
    """A few responses of a step's batch."""
    for trace in token_traces(batch, tokenizer, most=MOST):
        folder.append(SAMPLES, {"step": step, **trace})


def watcher(
    draw: Callable[[], list[Rollout]],
    make_rows: Callable[[list[Rollout], list[int]], Batch],
    learner: Learner,
    scorers: Mapping[str, Scorer],
    tokenizer: Tokenizer,
    folder: RunFolder,
) -> Callable[[int], None]:
    """What to call when so many steps are to be named for what the policy says now.

    draw: one answer to each of the same few prompts. scorers: reference and reward, where they are to say something of it.
    """

    def watch(step: int) -> None:
        batch = _read([rollout for rollout in draw() if rollout.finish != "failed"], make_rows, learner)
        if batch is None:
            return
        for name, what in (("reference", "logprobs"), ("reward", "scores")):
            if name in scorers:
                batch = batch.with_columns(scorers[name].columns(batch, (what,)))
        for trace in token_traces(batch, tokenizer, most=MOST):
            folder.append(WATCHED, {"step": step, **trace})

    return watch


def measurer(
    draw: Callable[[], list[Rollout]],
    make_rows: Callable[[list[Rollout], list[int]], Batch],
    learner: Learner,
    scorers: Mapping[str, Scorer],
) -> Callable[[], dict[str, float]]:
    """What to call for score and KL to the reference of responses to held-out prompts, or in episodes.

    draw: with the same seeds each time.
    """

    def measure() -> dict[str, float]:
        drawn = draw()
        sound = [rollout for rollout in drawn if rollout.finish != "failed"]
        found = {"rollouts_failed": float(len(drawn) - len(sound))}
        batch = _read(sound, make_rows, learner)
        if batch is not None:
            reference_BT = scorers["reference"].columns(batch, ("logprobs",))["reference.logprobs"]
            rewarded = scorers["reward"].columns(batch, ("scores",))
            earned_B = torch.tensor([sum(rollout.token_rewards or ()) for rollout in sound])
            found |= {
                "score": float((rewarded["reward.scores"] + earned_B).mean()),
                "kl": float((batch["policy.logprobs"] - reference_BT).sum(1).mean()),
                "response_tokens": float(batch.trained_BT.sum(1).float().mean()),
                "finished": float(batch["finished"].mean()),
                **figures(sound),
                **row_figures(rewarded, asked=["reward.scores"]),
            }
        return {f"validation/{name}": value for name, value in found.items()}

    return measure


def _read(
    sound: list[Rollout], make_rows: Callable[[list[Rollout], list[int]], Batch], learner: Learner
) -> Batch | None:
    """Rows of rollouts with the policy's own log-probs; None of none."""
    if not sound:
        return None
    batch = make_rows(sound, list(range(len(sound))))
    own_BT = learner.evaluate("policy", batch, ("logprobs",)).logprobs_BT
    assert own_BT is not None
    return batch.with_columns({"policy.logprobs": own_BT})


def watcher_of_records(
    policy: Policy,
    held_out: Sequence[AnyRecord],
    learner: Learner,
    compute: Compute,
    folder: RunFolder,
    scorers: Mapping[str, Scorer] = {},
) -> Callable[[int], None] | None:
    """A watcher of greedy answers to the prompts of held-out records; None where there are none that fit."""
    kind, tokenizer = policy.model.kind, policy.tokenizer
    sampling = Sampling(temperature=0.0, max_tokens=min(MOST_TOKENS, policy.model.context // 4))
    longest = policy.model.context - sampling.max_tokens
    shown = list(islice(_asked(held_out, tokenizer, longest, kind), MOST))
    if not shown:
        return None
    prompts, ids = zip(*shown, strict=True)
    start = tokenizer.decoder_start if kind == "seq2seq" else None

    def draw() -> list[Rollout]:
        found = generate(policy, prompts, sampling, seed=0, prompt_ids=ids, precision=compute.half, num_slots=MOST)
        return [rollout for (rollout,) in found]

    def make_rows(rollouts: list[Rollout], units: list[int]) -> Batch:
        return collate(rollout_rows(rollouts, units, decoder_start=start), "rollouts")

    return watcher(draw, make_rows, learner, scorers, tokenizer, folder)


def _asked(
    records: Iterable[AnyRecord], tokenizer: Tokenizer, longest: int, kind: Any
) -> Iterator[tuple[Prompt, list[int]]]:
    """The prompts of records with their tokens, each once: of a conversation all that stands before its last answer."""
    seen = set()
    for record in records:
        for derived in derive(record, "prompts"):
            prompt = cast(Prompt, derived)
            if prompt.messages and prompt.messages not in seen:
                seen.add(prompt.messages)
                try:
                    yield from prompt_ids([prompt], tokenizer, longest, model_kind=kind)[0]
                except TemplateError:  # nothing that the run could learn from either, and counted there
                    continue
