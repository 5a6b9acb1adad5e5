"""`amenable assess`: models measured as assistants: helpful, honest, harmless. Figures with intervals, data and limits.

A model is a name, a folder, run:NAME or URL#MODEL of an OpenAI-compatible server (http://localhost:8000/v1#llama), with a name of
its own in front if wanted ("before=run:sft-1") and @raw behind if it is to be asked in raw text. Answers are kept in the
workspace's cache, so an assessment that was interrupted, or is asked for more, computes only what is missing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import torch
from msgspec import Meta

from amenable.config.folder import WorkspaceFolder, new_run, resolve_model, whole_or_gone, write_atomic
from amenable.config.settings import dump_toml
from amenable.data.registry.entries import entry, names
from amenable.errors import ConfigError
from amenable.evals.agreement import FEWEST_PROMPTS, Agreement
from amenable.evals.assessment import Figure, ModelPage, Verdict
from amenable.evals.report.page import write_report
from amenable.evals.report.records import DataSource, Report
from amenable.evals.statistics import share_interval
from amenable.rewards.base import Reward
from amenable.rewards.load import load_reward
from amenable.rollout.openai import is_url
from amenable.stages import assess_harmless, assess_helpful, assess_honest
from amenable.stages.assess_bench import Bench, BenchSettings
from amenable.stages.build import set_up
from amenable.stages.events import Event, OnEvent, RunResult, ignore
from amenable.stages.judge import Judge, ModelJudge, RewardJudge, agreements, win_values
from amenable.stages.subjects import Kept, open_subject
from amenable.train.run_folder import environment
from amenable.train.settings import TrainConfig
from amenable.types import Prompt, Record

MeasureName = Literal[
    "instructions", "ifeval", "summaries", "truthfulqa", "stories", "refusal", "bbq", "tone"
]  # fmt: skip
MEASURES: dict[str, Callable[[Kept, Bench], list[Figure]]] = {
    "instructions": assess_helpful.instructions,
    "ifeval": assess_helpful.ifeval,
    "summaries": assess_helpful.summaries,
    "truthfulqa": assess_honest.truthfulqa,
    "stories": assess_honest.stories,
    "refusal": assess_harmless.refusal,
    "bbq": assess_harmless.bbq,
    "tone": assess_harmless.tone,
}
DATA: dict[str, tuple[str, ...]] = {
    "ifeval": ("ifeval",),
    "truthfulqa": ("truthfulqa",),
    "stories": ("fairytaleqa",),
    "bbq": ("bbq",),
    "tone": ("sentence-polarity", "hh-harmless"),
}
"""Public sets that a measure reads; `summaries` names its own."""


class JudgeSettings(Record, frozen=True):
    """Who compares the models' answers, and on what."""

    model: Annotated[
        str | None, Meta(description="a model asked for its judgement: name, folder, run:NAME or URL#MODEL")
    ] = None
    people: Annotated[
        tuple[Literal["hh-harmless", "finegrained-qa", "oasst", "realsumm"], ...],
        Meta(description="sets of replies ranked by people, on which every judge and the reward are measured first"),
    ] = ("hh-harmless", "finegrained-qa", "oasst", "realsumm")
    prompts: Annotated[str, Meta(description="prompts whose answers are compared; any source of prompts")] = "primer"
    against: Annotated[str | None, Meta(description="the model all others are compared with; null: the first")] = None


class Config(Record, frozen=True):
    """Settings of `amenable assess`."""

    models: Annotated[
        tuple[str, ...], Meta(min_length=1, description="models: name, folder, run:NAME, URL#MODEL; NAME=model@raw")
    ]
    measures: Annotated[tuple[MeasureName, ...], Meta(description="what is measured; all, if not said")] = (
        "instructions", "ifeval", "summaries", "truthfulqa", "stories", "refusal", "bbq", "tone",
    )  # fmt: skip
    asked: Annotated[BenchSettings, Meta(description="how much is asked, and how")] = BenchSettings()
    judge: Annotated[JudgeSettings, Meta(description="comparison of the models' answers by a judge")] = JudgeSettings()
    reward: Annotated[
        str | None, Meta(description="a reward that judges too, and scores summaries: any reward as in ppo")
    ] = None
    reward_options: Annotated[dict[str, Any], Meta(description="settings of the reward")] = {}
    url_context: Annotated[int, Meta(ge=256, description="tokens that a model behind a URL is trusted with")] = 4096
    seed: Annotated[int, Meta(ge=0, description="same seed, same figures")] = 0


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore
) -> RunResult:
    """Write report.html, report.json and figures.json to runs/<name>/."""
    started = time.perf_counter()
    compute = set_up(TrainConfig(seed=config.seed))
    kept = [_open(spec, config, workspace, compute.half, on_event) for spec in config.models]
    if len({k.name for k in kept}) < len(kept):
        raise ConfigError("each model needs a name of its own", where="models", mend='as in models=["before=sft"]')
    base = _base(config, kept)
    reward = None
    if config.reward:
        reward = load_reward(config.reward, lambda r: resolve_model(r, workspace), options=config.reward_options)
    bench = Bench(config.asked, config.seed, reward, workspace.database)
    judges = _judges(config, workspace, compute.half, reward, on_event)
    if judges and len(kept) > 1:
        bench.all_records(config.judge.prompts, "prompts")  # whose trouble is to be told before the first answer
    pages = []
    for k in kept:
        figures: list[Figure] = []
        for measure in dict.fromkeys(config.measures):
            on_event(Event(stage="assess", kind="message", text=f"{k.name}: {measure}"))
            figures += MEASURES[measure](k, bench)
        pages.append(ModelPage(k.name, tuple(figures)))
    found = [a for judge in judges for a in agreements(judge, config.judge.people, bench)]
    verdicts = _verdicts(config, kept, base, judges, found, bench) if len(kept) > 1 else []
    with whole_or_gone(new_run(workspace, "assess", name)) as folder:
        report = Report(
            title="Assessment: " + ", ".join(k.name for k in kept),
            seed=config.seed,
            seconds=time.perf_counter() - started,
            assessment=tuple(pages),
            agreements=tuple(found),
            verdicts=tuple(verdicts),
            data=tuple(_sources(config, bench)),
            notes=_not_measured(config, judges, found),
            settings=msgspec.to_builtins(config),
            environment=environment(compute.paths, device="cpu"),
        )
        write_atomic(folder / "config.toml", ('stage = "assess"\n' + dump_toml(config)).encode())
        all_figures = {"figures": [f for p in pages for f in p.figures], "agreements": found, "verdicts": verdicts}
        write_atomic(folder / "figures.json", msgspec.json.format(msgspec.json.encode(all_figures)))
        write_report(folder, report)
        write_atomic(folder / "status.json", b'{"status": "finished"}')
    return RunResult(
        stage="assess",
        run=folder.name,
        folder=str(folder),
        seconds=time.perf_counter() - started,
        files={"report": str(folder / "report.html"), "figures": str(folder / "figures.json")},
        details={
            "assessment": [_row(f) for p in pages for f in p.figures],
            "judges": [_agreement_row(a) for a in found],
            "verdicts": [_verdict_row(v) for v in verdicts],
        },
    )


def _open(
    spec: str, config: Config, workspace: WorkspaceFolder, precision: torch.dtype | None, on_event: OnEvent
) -> Kept:
    label, reference, how = _named(spec)
    if how not in ("", "raw"):
        raise ConfigError(f"{how!r} is no way to ask a model here", where="models", mend="@raw, or nothing")
    subject = open_subject(
        reference, label or reference, how, workspace, context=config.url_context, precision=precision
    )
    return Kept(subject, workspace, config.seed, on_event)


def _named(spec: str) -> tuple[str, str, str]:
    """(name, model, how) of NAME=MODEL@HOW; in a URL nothing but a name in front is read.

    >>> _named("mine=http://h/v1?a=b#m"), _named("run:sft-1@raw"), _named("run:sft-1@40")
    (('mine', 'http://h/v1?a=b#m', ''), ('', 'run:sft-1', 'raw'), ('', 'run:sft-1@40', ''))
    """
    given = re.fullmatch(r"(?:([^=:/]+)=)?(.+)", spec, re.DOTALL)
    if given is None:
        raise ConfigError("a model has no name", where="models", mend="name a model, a folder, run:NAME or URL#MODEL")
    label, reference = given[1] or "", given[2]
    head, _, how = reference.rpartition("@")
    if is_url(reference) or not head or how.isdigit():
        return label, reference, ""
    return label, head, how


def _judges(
    config: Config, workspace: WorkspaceFolder, precision: torch.dtype | None, reward: Reward | None, on_event: OnEvent
) -> list[Judge]:
    judges: list[Judge] = []
    if config.judge.model:
        judges.append(ModelJudge(_open(config.judge.model, config, workspace, precision, on_event)))
    return judges + ([RewardJudge(reward)] if reward is not None else [])


def _base(config: Config, kept: Sequence[Kept]) -> Kept:
    """The model that all others are compared with."""
    base = next((k for k in kept if k.name == (config.judge.against or kept[0].name)), None)
    if base is None:
        known = ", ".join(k.name for k in kept)
        raise ConfigError(f"no model is named {config.judge.against!r}", where="judge.against", mend=f"one of {known}")
    return base


def _verdicts(
    config: Config, kept: Sequence[Kept], base: Kept, judges: Sequence[Judge], found: Sequence[Agreement], bench: Bench
) -> list[Verdict]:
    """Of every judge on every model against the one; withheld where the judge meets people nowhere better than a coin."""
    verdicts = []
    for judge in judges:
        good = [a.data for a in found if a.judge == judge.name and a.better_than_a_coin]
        for k in (k for k in kept if k is not base):
            if not good:
                why = (
                    "it agrees with people no better than a coin, as far as is known, on any set that it was measured on "
                    f"(of {FEWEST_PROMPTS} prompts or more)"
                )
                verdicts.append(Verdict(judge.name, k.name, base.name, None, config.judge.prompts, why))
                continue
            prompts: list[Prompt] = bench.records(config.judge.prompts, "prompts")
            own, other = (x.answers("compared", prompts, bench.sampling()) for x in (k, base))
            both = [(p.messages, a.text, b.text) for p, a, b in zip(prompts, own, other, strict=True) if not a.failed and not b.failed]  # fmt: skip
            values = win_values(judge, *([list(c) for c in zip(*both, strict=True)] or [[], [], []]))
            data = (
                f"{config.judge.prompts}, {len(values)} prompts; the judge was better than a coin on {', '.join(good)}"
            )
            interval = share_interval(values, seed=config.seed) if values else None
            verdicts.append(
                Verdict(judge.name, k.name, base.name, interval, data, "" if values else "no prompt fits the judge")
            )
    return verdicts


def _not_measured(config: Config, judges: Sequence[Judge], found: Sequence[Agreement]) -> tuple[str, ...]:
    """Which judges could not read a pair of a set that people judged."""
    measured = {(a.judge, a.data) for a in found}
    missing = [(j.name, data) for j in judges for data in config.judge.people if (j.name, data) not in measured]
    return tuple(f"{judge} could not be measured on {data}: no pair fits it." for judge, data in missing)


def _sources(config: Config, bench: Bench) -> list[DataSource]:
    used: dict[str, list[str]] = {}
    for measure in config.measures:
        for name in bench.settings.summaries if measure == "summaries" else DATA.get(measure, ()):
            used.setdefault(name, []).append(measure)
    judged = config.judge.people if config.judge.model or config.reward else ()
    for name in judged:
        used.setdefault(name, []).append("agreement with people")
    known = {name: entry(name) for name in used if name in names()}
    return [
        DataSource(
            name=name, kind=", ".join(about.kinds), records=sum(len(v) for v in bench.held(name)), licence=about.licence,
            used_for=", ".join(used[name]), note=about.warning,
        )
        for name, about in known.items()
    ]  # fmt: skip


def _row(figure: Figure) -> dict[str, Any]:
    i = figure.interval
    return {
        "model": figure.model, "pillar": figure.pillar, "figure": figure.name, "value": round(i.value, 4),
        "low": round(i.low, 4), "high": round(i.high, 4), "better": figure.better, "prompts": i.count,
    }  # fmt: skip


def _agreement_row(a: Agreement) -> dict[str, Any]:
    return {
        "judge": a.judge, "people": a.data, "accuracy": round(a.accuracy.value, 4), "low": round(a.accuracy.low, 4),
        "high": round(a.accuracy.high, 4), "spearman": a.spearman and round(a.spearman.value, 3),
        "kendall": a.kendall and round(a.kendall.value, 3), "first preferred": round(a.first.value, 4), "pairs": a.pairs,
    }  # fmt: skip


def _verdict_row(v: Verdict) -> dict[str, Any]:
    shown = v.win_rate
    return {
        "judge": v.judge, "model": v.model, "against": v.against, "win rate": shown and round(shown.value, 4),
        "low": shown and round(shown.low, 4), "high": shown and round(shown.high, 4), "withheld": v.withheld,
    }  # fmt: skip
