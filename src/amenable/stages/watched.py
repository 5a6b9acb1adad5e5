"""What a policy says as it learns, each token with its figures.

samples.jsonl    responses of a step's own batch
watched.jsonl    the same held-out prompts answered anew, with the same seeds: what differs between two steps was learned
                 between them. At step 1 it is the policy as the run found it. Nothing of the run depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amenable.batch import Batch
from amenable.chat.tokenizer import Tokenizer
from amenable.stages.trace import token_traces
from amenable.train.learner import Learner
from amenable.train.loop import Scorer
from amenable.train.run_folder import RunFolder
from amenable.train.sources import OnlineSource

SAMPLES, WATCHED = "samples.jsonl", "watched.jsonl"
MOST = 4
DRAW = 0  # no step of training has this number, so that no response of training has these seeds


def write_samples(folder: RunFolder, step: int, batch: Batch, tokenizer: Tokenizer) -> None:
    """A few responses of a step's batch."""
    for trace in token_traces(batch, tokenizer, most=MOST):
        folder.append(SAMPLES, {"step": step, **trace})


def watcher(
    source: OnlineSource,
    units: list[Any],
    learner: Learner,
    scorers: Mapping[str, Scorer],
    tokenizer: Tokenizer,
    folder: RunFolder,
    *,
    scored: bool,
) -> Callable[[int], None]:
    """What to call before a step is learned from. scored: False where a score is asked of people, who have enough to do."""
    shown = units[:MOST]

    def watch(step: int) -> None:
        drawn = [group[0] for group in source.draw(DRAW, shown)] if shown else []
        sound = [rollout for rollout in drawn if rollout.finish != "failed"]
        if not sound:
            return
        batch = source.make_rows(sound, list(range(len(sound))))
        own_BT = learner.evaluate("policy", batch, ("logprobs",)).logprobs_BT
        assert own_BT is not None
        batch = batch.with_columns({"policy.logprobs": own_BT})
        batch = batch.with_columns(scorers["reference"].columns(batch, ("logprobs",)))
        if scored:
            batch = batch.with_columns(scorers["reward"].columns(batch, ("scores",)))
        for trace in token_traces(batch, tokenizer, most=MOST):
            folder.append(WATCHED, {"step": step, **trace})

    return watch
