"""Models side by side on the same held-out prompts: the rungs, their responses, and everything a report says of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from amenable.batch import Batch
from amenable.chat.render import render_prompt, render_source
from amenable.data.rows import collate, rollout_rows, tokenise_documents
from amenable.errors import DataError
from amenable.evals.frontier import FrontierPoint, best_of_n_kl, exact
from amenable.evals.kl import sequence_kl
from amenable.evals.report.records import (
    Highlight,
    LadderRow,
    ModelTexts,
    Response,
    SampleSet,
    TokenTrace,
    prompt_text,
)
from amenable.evals.statistics import Interval, mean_interval
from amenable.evals.text_measures import Likelihood, likelihood, measure_texts
from amenable.evals.winrate import WinRate, compare
from amenable.models.forward import Actor, outputs_of
from amenable.rollout.inprocess import device_of
from amenable.stages.build import Policy
from amenable.stages.events import OnEvent, ignore
from amenable.stages.generate import best_of, generate
from amenable.train.sources import response_seed, scored
from amenable.train.split import split
from amenable.types import Demonstration, Document, Prompt, Rollout, Sampling


@dataclass(frozen=True)
class Rung:
    """A model and the way it is asked.

    raw: the prompt as plain text, outside any chat template. shots: examples put before it as question and answer.
    best_of: responses drawn of which `reward` picks one. None of them is what the model says where it is asked once, so that
    best-of-n is never compared with one of its own candidates.
    """

    name: str
    policy: Policy
    raw: bool = False
    shots: tuple[Demonstration, ...] = ()
    best_of: int = 1
    reward: Any = None


@dataclass
class Climb:
    """The responses of every rung to the same prompts, and what was measured on them."""

    rungs: list[Rung]
    prompts: list[Prompt]
    responses: dict[str, list[Rollout]] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)
    kl: dict[str, Interval | None] = field(default_factory=dict)
    bits_per_byte: dict[str, float | None] = field(default_factory=dict)
    comparisons: dict[str, WinRate] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def climb(
    rungs: Sequence[Rung],
    prompts: Sequence[Prompt],
    *,
    against: str,
    judge: Any,
    sampling: Sampling,
    seed: int,
    documents: Sequence[Document] = (),
    precision: torch.dtype | None = None,
    on_event: OnEvent = ignore,
) -> Climb:
    """Ask every rung every prompt and compare each with the rung named `against`.

    judge: has `score`, and `compare` too where it judges pairs (the simulated labeler). KL is measured for rungs that are asked as
    `against` is (same tokenizer, not raw), in nats per response; for best-of-n it is log n - (n - 1) / n. Where it cannot be
    measured, a note says why (`why_no_kl`).
    Failed responses stay out of the comparison, with an error if there is one: a prompt must fit every rung.
    """
    found = Climb(list(rungs), list(prompts))
    base = next((r for r in rungs if r.name == against), None)
    if base is None:
        raise DataError(
            f"no model is named {against!r}", where="against", mend=f"one of {', '.join(r.name for r in rungs)}"
        )
    for rung in rungs:
        found.responses[rung.name] = ask(rung, prompts, sampling, seed=seed, precision=precision, on_event=on_event)
        found.scores[rung.name] = _scores(judge, found.responses[rung.name])
        found.kl[rung.name] = _kl(rung, base, found.responses[rung.name], sampling, seed)
        found.bits_per_byte[rung.name] = None
        if not documents or rung.best_of > 1 or rung.shots:
            continue
        if rung.policy.model.kind == "decoder":
            found.bits_per_byte[rung.name] = bits_per_byte(rung.policy, documents, seed)
        else:
            found.notes.append(
                f"Bits per byte of {rung.name} are not measured: it is no decoder, which goes on with a text."
            )
    if (why := why_no_kl(base, sampling)) and any(_is_to_measure(rung, base) for rung in rungs):
        found.notes.append(f"KL is not measured: {why}.")
    for rung in rungs:
        if rung.name != against:
            found.comparisons[rung.name] = compare(
                prompts,
                [scored(r) for r in found.responses[rung.name]],
                [scored(r) for r in found.responses[against]],
                judge,
                seed=seed,
                name_a=rung.name,
                name_b=against,
            )
    return found


def ask(
    rung: Rung,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    precision: torch.dtype | None = None,
    on_event: OnEvent = ignore,
) -> list[Rollout]:
    """One response of a rung to each prompt. Raises DataError if one could not be generated."""
    how = sampling.replace(stop=(*sampling.stop, "\n")) if rung.shots else sampling
    groups = generate(
        rung.policy,
        prompts,
        how,
        seed=candidates_seed(seed, rung.best_of),
        responses_per_prompt=rung.best_of,
        precision=precision,
        prompt_ids=[asked_ids(rung, prompt, sampling, seed) for prompt in prompts],
        on_event=on_event,
        label=f"{rung.name} answers",
    )
    rollouts = best_of(rung.reward, groups) if rung.best_of > 1 else [group[0] for group in groups]
    for rollout in rollouts:
        if rollout.finish == "failed":
            raise DataError(
                f"{rung.name} could not answer: {rollout.failure}",
                where=f"prompt {rollout.prompt.id}",
                mend="leave out prompts that are longer than the context",
            )
    return rollouts


def candidates_seed(seed: int, best_of: int) -> int:
    """The seed of best-of-n's candidates: a stream of its own for each n, apart from that of single responses (n = 1)."""
    return seed if best_of == 1 else response_seed(seed, "best-of", best_of)


def asked_ids(rung: Rung, prompt: Prompt, sampling: Sampling, seed: int) -> list[int]:
    """What a rung reads of a prompt: all turns by its chat template, or as plain text."""
    if rung.raw or rung.shots:
        return _raw_ids(rung, prompt, sampling, seed)
    render = render_source if rung.policy.model.kind == "seq2seq" else render_prompt
    return render(prompt.messages, rung.policy.tokenizer)


def bits_per_byte(policy: Policy, documents: Sequence[Document], seed: int) -> float:
    """Bits that the model needs per byte of held-out text."""
    return text_likelihood(policy, documents, seed).bits_per_byte


def text_likelihood(policy: Policy, documents: Sequence[Document], seed: int) -> Likelihood:
    """How well the model predicts held-out text; the interval is over documents."""

    def logprobs(texts: Sequence[str]) -> list[tuple[float, int]]:
        docs = [Document(id=str(i), text=t) for i, t in enumerate(texts)]
        rows = tokenise_documents(docs, policy.tokenizer, policy.model.context)
        sums = [[0.0, 0.0] for _ in docs]
        actor = Actor(policy.model, "lm")
        with torch.inference_mode():
            for micro in split(collate([[row] for row in rows]), max_tokens=16384):
                found = outputs_of(actor, micro.to(device_of(policy.model)), ("logprobs",)).logprobs_BT
                assert found is not None
                for record, nats, count in zip(
                    micro.records, found.sum(1).tolist(), micro.trained_BT.sum(1).tolist(), strict=True
                ):
                    sums[int(record.id)][0] += nats
                    sums[int(record.id)][1] += count
        return [(nats, int(count)) for nats, count in sums]

    return likelihood([d.text for d in documents], logprobs, seed=seed)


def ladder_rows(found: Climb, against: str) -> tuple[LadderRow, ...]:
    """The ladder as a report has it; the rung compared against stands at 50 %."""
    rows = []
    for rung in found.rungs:
        kl, count = found.kl[rung.name], len(found.prompts)
        rate = (
            found.comparisons[rung.name].win_rate
            if rung.name != against
            else Interval(value=0.5, low=0.5, high=0.5, count=count)
        )
        rows.append(
            LadderRow(
                model=rung.name,
                win_rate=rate.value,
                low=rate.low,
                high=rate.high,
                prompts=count,
                kl=None if kl is None else kl.value,
                bits_per_byte=found.bits_per_byte[rung.name],
            )
        )
    return tuple(rows)


def sample_sets(
    rungs: Sequence[Rung], prompts: Sequence[Prompt], sampling: Sampling, seed: int
) -> tuple[SampleSet, ...]:
    """The same prompts answered by every rung, for reading side by side."""
    answers = {rung.name: ask(rung, prompts, sampling, seed=seed) for rung in rungs}
    return tuple(
        SampleSet(
            prompt=prompt_text(prompt.messages),
            task=prompt.task,
            responses=tuple(
                Response(model=name, text=rollouts[i].text, finished=rollouts[i].finish == "stop")
                for name, rollouts in answers.items()
            ),
        )
        for i, prompt in enumerate(prompts)
    )


def highlights(found: Climb, name: str, count: int = 4) -> tuple[tuple[Highlight, ...], tuple[Highlight, ...]]:
    """(best, worst) held-out responses of a rung by the judge's score."""
    order = sorted(range(len(found.prompts)), key=lambda i: (-found.scores[name][i], i))

    def show(i: int) -> Highlight:
        rollout = found.responses[name][i]
        text = Response(model=name, text=rollout.text, finished=rollout.finish == "stop", score=found.scores[name][i])
        return Highlight(prompt=prompt_text(found.prompts[i].messages), response=text)

    return tuple(show(i) for i in order[:count]), tuple(show(i) for i in order[::-1][:count])


def text_rows(found: Climb) -> tuple[ModelTexts, ...]:
    """Diversity, repetition and length of each rung's responses."""
    return tuple(
        ModelTexts(
            model=rung.name,
            measures=measure_texts(
                [r.text for r in found.responses[rung.name]],
                finished=[r.finish == "stop" for r in found.responses[rung.name]],
            ),
        )
        for rung in found.rungs
    )


def frontier_points(found: Climb, seed: int) -> tuple[FrontierPoint, ...]:
    """Mean judge's score against KL for each rung that has a KL."""
    ids = [p.id for p in found.prompts]
    return tuple(
        FrontierPoint(
            run=r.name, label=r.name, kl=kl, reward=mean_interval(found.scores[r.name], clusters=ids, seed=seed)
        )
        for r in found.rungs
        if (kl := found.kl[r.name]) is not None
    )


def traces_of(rows: Sequence[Mapping[str, Any]], most: int = 4) -> tuple[TokenTrace, ...]:
    """Token traces for the inspector from a run's samples.jsonl: the newest ones."""
    last = max((row["step"] for row in rows), default=0)
    names = ("tokens", "logprobs", "ref_logprobs", "kl", "values", "rewards", "advantages")
    return tuple(
        TokenTrace(
            title=f"step {row['step']}: {row['prompt'][:60]}",
            prompt=row["prompt"],
            score=row["score"],
            finished=row["finish"] == "stop",
            **{name: tuple(row[name]) for name in names if name in row},
        )
        for row in rows
        if row["step"] == last and row.get("kl") and row["tokens"]
    )[:most]


def _raw_ids(rung: Rung, prompt: Prompt, sampling: Sampling, seed: int) -> list[int]:
    """Plain text for a base model: the question alone, or after as many examples as fit, in an order of the prompt's own."""
    tokenizer, question = rung.policy.tokenizer, prompt_text(prompt.messages)
    if not rung.shots:
        return tokenizer.start_ids + tokenizer.encode(question + "\n")
    shots = list(rung.shots)
    random.Random(f"{seed} {prompt.id}").shuffle(shots)
    room = rung.policy.model.context - min(sampling.max_tokens, rung.policy.model.context // 4)
    while True:
        examples = "".join(
            f"Question: {prompt_text(d.messages[:-1])}\nAnswer: {d.messages[-1].content}\n\n" for d in shots
        )
        ids = tokenizer.start_ids + tokenizer.encode(f"{examples}Question: {question}\nAnswer:")
        if len(ids) <= room or not shots:
            return ids
        shots.pop()


def _scores(judge: Any, rollouts: Sequence[Rollout]) -> list[float]:
    return judge.score([scored(r) for r in rollouts])


def why_no_kl(base: Rung, sampling: Sampling) -> str:
    """Why the KL to a rung cannot be measured on answers that are drawn so, in words; "" where it can.

    Log-probs are of the whole vocabulary, before penalty and filters: of answers drawn otherwise their difference is no KL.

    >>> why_no_kl(Rung("SFT", None), Sampling(top_k=5))
    'answers are drawn with top_k, and log-probabilities are those without'
    """
    if base.best_of > 1:
        return f"nobody knows how likely an answer is to be the best of {base.best_of}, as {base.name}'s are"
    if sampling.greedy:
        return "answers are drawn greedily, and log-probabilities are those of temperature 1"
    off = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    given = " and ".join(name for name, value in off.items() if getattr(sampling, name) != value)
    return f"answers are drawn with {given}, and log-probabilities are those without" if given else ""


def _kl(rung: Rung, base: Rung, rollouts: Sequence[Rollout], sampling: Sampling, seed: int) -> Interval | None:
    if not _is_to_measure(rung, base) or why_no_kl(base, sampling):
        return _exact_kl(rung, base)
    return measured_kl(base.policy, rollouts, sampling, seed).k1


def _exact_kl(rung: Rung, base: Rung) -> Interval | None:
    """The KL of the base's own model, asked as the base is: 0, or the bound of best-of-n; None of all else."""
    if rung.policy is not base.policy or rung.raw or base.raw:
        return None
    if rung is base:
        return exact(0.0)
    return None if base.best_of > 1 else exact(best_of_n_kl(rung.best_of))


def _is_to_measure(rung: Rung, base: Rung) -> bool:
    """Whether a rung reads what the base reads, answers once, and has a KL that is not known without its answers."""
    same = rung.policy.tokenizer.fingerprint == base.policy.tokenizer.fingerprint
    alike = same and rung.best_of == 1 and not (rung.raw or rung.shots or base.raw or base.shots)
    return alike and _exact_kl(rung, base) is None


def measured_kl(reference: Policy, rollouts: Sequence[Rollout], sampling: Sampling, seed: int) -> Any:
    """KL per response of the policy that drew the rollouts to a reference, at the sampling temperature.

    sampling: neither greedy nor with filters or a penalty, see `why_no_kl`.
    """
    start = reference.tokenizer.decoder_start if reference.model.kind == "seq2seq" else None
    batch: Batch = collate(rollout_rows(rollouts, list(range(len(rollouts))), decoder_start=start))
    actor = Actor(reference.model, "lm")
    pieces: list[list[float]] = []
    with torch.inference_mode():
        for micro in split(batch, max_tokens=16384):
            there = micro.to(device_of(reference.model))
            found = outputs_of(actor, there, ("logprobs",), temperature=sampling.divisor).logprobs_BT
            assert found is not None
            pieces += [row[mask].tolist() for row, mask in zip(found, there.trained_BT, strict=True)]
    own = [[p for p, o in zip(r.logprobs, r.own or [True] * len(r.logprobs), strict=True) if o] for r in rollouts]
    return sequence_kl(own, pieces, clusters=[r.prompt.id for r in rollouts], seed=seed)
