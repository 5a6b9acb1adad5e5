"""What a trained reward model is worth: its zero, its held-out scores, its accuracy and whose choices it meets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from amenable.config.folder import WorkspaceFolder
from amenable.evals.curves import read_curves
from amenable.evals.forecast import Forecast
from amenable.evals.report.records import CurveGroup, DataSource, Report
from amenable.evals.reward_quality import BAG_OF_WORDS, Column, RewardQuality, reward_quality
from amenable.evals.statistics import bootstrap, mean_interval, share_interval, spearman
from amenable.rewards.base import Reward
from amenable.splitting import prompt_key
from amenable.stages.data import Stream, some_of
from amenable.stages.job import Job
from amenable.types import AnyRecord, Comparison, Label, Messages, Ranking, Rating, Scored

MOST_ITEMS = 1024  # responses that a mean or a percentile is taken of


def measure(reward: Reward, stream: Stream, seed: int) -> tuple[RewardQuality | None, dict[str, Any]]:
    """Held-out accuracy with interval, calibration, baselines; as a record, and as JSON values with plain sentences."""
    quality, about = _measure(reward, stream, seed)
    if shared := len(_prompts(stream.validation_records) & _prompts(_trained_on(stream))):
        less = " and leaves no bag of words to compare with" if quality is not None else ""
        about["sentences"].append(
            f"{shared} of the prompts measured were trained on too, which flatters the figures{less}."
        )
    elif quality is not None and BAG_OF_WORDS not in [b.name for b in quality.baselines]:
        about["sentences"].append(
            "The responses hold no word to learn from, so there is no bag of words to compare with."
        )
    return quality, about


def _measure(reward: Reward, stream: Stream, seed: int) -> tuple[RewardQuality | None, dict[str, Any]]:
    held_out: Sequence[AnyRecord] = stream.validation_records
    if comparisons := all_comparisons(held_out):
        quality = _of_comparisons(reward, comparisons, stream, seed)
        sentences = [quality.sentence(), *(b.sentence("the reward model") for b in quality.baselines)]
        if quality.human_agreement is not None:
            a = quality.human_agreement
            sentences.append(
                f"Two labelers agree on {a.value:.1%} of the pairs that both judged (95 % interval {a.low:.1%}-{a.high:.1%}): "
                "about as far as one person's choices can be foreseen."
            )
        return quality, {"pairs": len(comparisons), "sentences": sentences, **msgspec.to_builtins(quality)}
    if labels := [r for r in held_out if isinstance(r, Label)]:
        return None, _of_labels(reward, labels, seed)
    if ratings := [r for r in held_out if isinstance(r, Rating)]:
        return None, _of_ratings(reward, ratings, seed)
    return None, {"sentences": ["There is no held-out data, so nothing is known of the reward model's accuracy."]}


def _of_comparisons(reward: Reward, comparisons: list[Comparison], stream: Stream, seed: int) -> RewardQuality:
    scores = reward.score([scored(c.prompt, text) for c in comparisons for text in (c.chosen, c.rejected)])
    train = all_comparisons(_trained_on(stream))
    return reward_quality(
        comparisons,
        scores[0::2],
        scores[1::2],
        train=None if _prompts(train) & _prompts(comparisons) else train,
        name="the reward model",
        judged_by=_judges(comparisons),
        seed=seed,
    )


def _of_labels(reward: Reward, labels: list[Label], seed: int) -> dict[str, Any]:
    scores = reward.score([scored(r.prompt, r.response) for r in labels])
    right = [float((s > 0) == r.label) for s, r in zip(scores, labels, strict=True)]
    interval = share_interval(right, clusters=[prompt_key(r) for r in labels], seed=seed)
    sentence = (
        f"The reward model's sign agrees with {interval.value:.1%} of {len(labels)} held-out labels "
        f"(95 % interval {interval.low:.1%}-{interval.high:.1%})."
    )
    return {"labels": len(labels), "sentences": [sentence], "accuracy": msgspec.to_builtins(interval)}


def _of_ratings(reward: Reward, ratings: list[Rating], seed: int) -> dict[str, Any]:
    scores_N = np.array(reward.score([scored(r.prompt, r.response) for r in ratings]))
    given_N = np.array([(r.score - r.low) / (r.high - r.low) for r in ratings])
    prompts = [prompt_key(r) for r in ratings]
    link = bootstrap(lambda rows: spearman(scores_N[rows], given_N[rows]), len(ratings), clusters=prompts, seed=seed)
    error = mean_interval(np.abs(scores_N - given_N), clusters=prompts, seed=seed)
    sentence = (
        f"The reward model misses {len(ratings)} held-out ratings by {error.value:.1%} of their scale on average "
        f"(95 % interval {error.low:.1%}-{error.high:.1%}); rank correlation {link.value:.2f}."
    )
    values = {"rank_correlation": msgspec.to_builtins(link), "mean_error": msgspec.to_builtins(error)}
    return {"ratings": len(ratings), "sentences": [sentence], **values}


def _trained_on(stream: Stream) -> list[AnyRecord]:
    return [unit[0].record for units in stream.units.values() for unit in units]


def _prompts(records: Sequence[Any]) -> set[tuple[tuple[str, str], ...]]:
    """The prompts of records, word for word; raw texts have none."""
    return {tuple((m.role, m.content) for m in r.prompt) for r in records if r.prompt}


def all_comparisons(records: Sequence[AnyRecord]) -> list[Comparison]:
    """The comparisons among records, those within rankings too."""
    return [r for r in records if isinstance(r, Comparison)] + [
        c for r in records if isinstance(r, Ranking) for c in r.comparisons()
    ]


def margins(reward: Reward, comparisons: Sequence[Comparison]) -> Column:
    """Score of the chosen less that of the rejected response."""
    scores_N = np.array(
        reward.score([scored(c.prompt, text) for c in comparisons for text in (c.chosen, c.rejected)]), dtype=np.float64
    )
    return scores_N[0::2] - scores_N[1::2]


def preferred(records: Sequence[AnyRecord]) -> list[Scored]:
    """The chosen responses of comparisons and the best of rankings."""
    found = [scored(r.prompt, r.chosen) for r in records if isinstance(r, Comparison)]
    for r in records:
        if isinstance(r, Ranking):
            best = min(r.tiers)
            found += [scored(r.prompt, text) for text, tier in zip(r.responses, r.tiers, strict=True) if tier == best]
    return found


def all_responses(records: Sequence[AnyRecord]) -> list[Scored]:
    """Every judged response, good or bad."""
    found: list[Scored] = []
    for r in records:
        if isinstance(r, Comparison):
            found += [scored(r.prompt, r.chosen), scored(r.prompt, r.rejected)]
        elif isinstance(r, Ranking):
            found += [scored(r.prompt, text) for text in r.responses]
        elif isinstance(r, Rating | Label):
            found.append(scored(r.prompt, r.response))
    return some_of(found, MOST_ITEMS)


def scored(prompt: Messages, response: str) -> Scored:
    """A finished response to a prompt."""
    return Scored(prompt=prompt, response=response)


def good_responses(centre_on: Sequence[str], stream: Stream, workspace: WorkspaceFolder) -> tuple[list[Scored], str]:
    """What shall score 0 on average, and what it is in words: demonstrations, else preferred responses; empty for others.

    Ratings and labels have a zero of their own: the bottom of the scale, and even odds. What the sources hold that is no
    demonstration goes to the stream's notes.
    """
    if centre_on:
        from amenable.data.source import load

        loaded = {spec: load(spec, "demonstrations", database=workspace.database) for spec in centre_on}
        shown = [d for source in loaded.values() for d in source.records]
        stream.notes += [f"{spec}: {source.left_out}" for spec, source in loaded.items() if source.left_out]
        found, what = [scored(d.messages[:-1], d.messages[-1].content) for d in shown], "demonstrations"
    elif found := preferred(stream.validation_records):
        what = "preferred held-out responses"
    else:
        found = preferred(_trained_on(stream))
        what = "preferred responses of the training data, as none are held out,"
    return some_of(found, MOST_ITEMS), what


def report_of(
    job: Job, seed: int, seconds: float, quality: RewardQuality | None, curve: Forecast | None, sentences: Sequence[str]
) -> Report:
    """The page of a reward run."""
    shown = ("loss", "accuracy", "squared_error")
    curves = [c for c in read_curves(job.folder.folder) if c.metric.removeprefix("validation/") in shown]
    return Report(
        title=f"Reward model {job.name}",
        seed=seed,
        seconds=seconds,
        judge="" if quality is None else quality.judged_by,
        notes=tuple(sentences) if quality is None else (),
        reward_quality=() if quality is None else (quality,),
        forecast=curve,
        curves=(CurveGroup(title="Training", curves=tuple(curves)),),
        data=tuple(
            DataSource(
                name=name,
                kind="training" if not name.startswith("validation ") else "validation",
                records=about["records"],
                used_for="reward",
                licence=about.get("licence", ""),
                sha256=about.get("sha256", ""),
            )
            for name, about in job.data.items()
            if isinstance(about, Mapping) and "records" in about
        ),
        settings=msgspec.to_builtins(job.config),
        environment=job.folder.read_json("environment.json"),
    )


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
