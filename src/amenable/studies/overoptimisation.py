"""Gold reward while a proxy is optimised, by best-of-n and by PPO (Gao et al. 2022, figures 1 and 3).

The proxy is a reward model trained on more or fewer comparisons of the simulated labeler, noise included; gold is the same
labeler's rating without noise. Both are in standard deviations of the SFT model's responses, from their mean there.
Best-of-n is computed exactly from `draws` responses per prompt, at KL = ln n - (n - 1) / n; PPO's KL is measured.
"""

from __future__ import annotations

import math
import statistics
from functools import partial
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from amenable.errors import ConfigError
from amenable.evals.frontier import best_of_n_kl, exact
from amenable.evals.overoptimisation import Fit, Law, best_of_n, fit
from amenable.evals.statistics import seeds_interval
from amenable.rewards.model import RewardModel
from amenable.stages.verdict import LabelerVerdict
from amenable.studies.findings import Findings, Line, Panel
from amenable.studies.study import Study, StudyConfig, grid
from amenable.train.sources import scored
from amenable.types import Scored


class Config(StudyConfig, frozen=True, kw_only=True):
    """Settings of the study, beside those of every study."""

    sizes: Annotated[tuple[int, ...], Meta(min_length=1, description="comparisons that the reward models learn from")]
    draws: Annotated[int, Meta(ge=2, description="responses per held-out prompt for best-of-n")]
    ns: Annotated[tuple[int, ...], Meta(min_length=2, description="the n of best-of-n; none above draws")]
    ppo_sizes: Annotated[tuple[int, ...], Meta(description="sizes whose reward models PPO is run with too")]
    every: Annotated[int, Meta(ge=1, description="steps of PPO between measured models")]

    def __post_init__(self) -> None:
        if max(self.ns) > self.draws or min(self.ns) < 1:
            raise ConfigError(f"best of {max(self.ns)} from {self.draws} draws", where="ns", mend="raise draws")
        if not set(self.ppo_sizes) <= set(self.sizes):
            raise ConfigError(
                "PPO needs a size's reward model", where="ppo_sizes", mend="take them from sizes, or leave it empty"
            )


def measure(config: Config, study: Study) -> Findings:
    """All cells, then the curves and their laws."""
    bon = {(seed, size): _best_of_n(config, study, seed, size) for seed, size in grid(study.seeds, config.sizes)}
    ppo = {(seed, size): _ppo(config, study, seed, size) for seed, size in grid(study.seeds, config.ppo_sizes)}
    rows, gold, proxy = [], [], []
    for kind, found, sizes in (("best-of-n", bon, config.sizes), ("PPO", ppo, config.ppo_sizes)):
        for size in sizes:
            paths = [found[seed, size] for seed in study.seeds]
            for place, point in enumerate(paths[0]["points"]):
                at = [path["points"][place] for path in paths]
                row = {"method": kind, "comparisons": size, "at": point["at"]}
                row |= {name: seeds_interval([p[name] for p in at]) for name in ("sqrt_kl", "proxy", "gold")}
                rows.append(row)
            gold += _lines(f"{kind}, {size}", rows[-len(paths[0]["points"]) :], "gold")
            proxy += _lines(f"{kind}, {size}", rows[-len(paths[0]["points"]) :], "proxy")
            gold += _law(kind, gold[-1])
    panels = tuple(
        Panel(f"{what} reward", "square root of KL to the SFT model", "standard deviations of SFT", tuple(lines))
        for what, lines in (("gold", gold), ("proxy", proxy))
    )
    return Findings(rows=tuple(rows), panels=panels, notes=tuple(_notes(config, study, bon, ppo)))


def _notes(config: Config, study: Study, bon: Any, ppo: Any) -> list[str]:
    """The fitted laws, each number with its interval over seeds."""
    notes = []
    laws: tuple[tuple[Law, str, Any, tuple[int, ...]], ...] = (
        ("bon", "best-of-n", bon, config.sizes),
        ("rl", "PPO", ppo, config.ppo_sizes),
    )
    for law, kind, found, sizes in laws:
        for size in sizes:
            fits = [_fit(law, found[seed, size]["points"]) for seed in study.seeds]
            known = [f for f in fits if f is not None]
            if len(known) < len(fits):
                left = f"{len(fits) - len(known)} of {len(fits)} policies"
                notes.append(
                    f"{kind}, {size} comparisons: no law, for {left} stood at fewer than two distances above 0."
                )
                continue
            alpha, beta = (seeds_interval([getattr(f, name) for f in known]) for name in ("alpha", "beta"))
            notes.append(
                f"{kind}, {size} comparisons: alpha {alpha.value:.3f} ({alpha.low:.3f} to {alpha.high:.3f}), "
                f"beta {beta.value:.3f} ({beta.low:.3f} to {beta.high:.3f})."
            )
    return notes


def _fit(law: Law, points: list[dict[str, Any]]) -> Fit | None:
    return fit(law, [p["sqrt_kl"] for p in points], [p["gold"] for p in points])


def _lines(name: str, rows: list[dict[str, Any]], figure: str) -> list[Line]:
    return [Line(name, tuple(r["sqrt_kl"].value for r in rows), tuple(r[figure] for r in rows))]


def _law(kind: str, line: Line) -> list[Line]:
    """The law fitted to a curve's means, as a dashed curve over the same stretch; none where none can be fitted."""
    law = fit("bon" if kind == "best-of-n" else "rl", line.x, [y.value for y in line.y])
    if law is None:
        return []
    places = tuple(float(x) for x in np.linspace(max(line.x) / 50, max(line.x), 50))
    return [Line("fitted law", places, tuple(exact(law.at(x)) for x in places), dashed=True, fitted_to=line.name)]


def _pool(config: Config, study: Study, seed: int) -> dict[str, Any]:
    """The SFT model's responses to a seed's held-out prompts, with gold ratings: prompt by prompt."""

    def make() -> dict[str, Any]:
        groups = study.answers(study.assistant(), seed, responses=config.draws)
        gold = [LabelerVerdict().score([scored(r) for r in group]) for group in groups]
        texts = [[[r.text, r.finish == "stop"] for r in group] for group in groups]
        return {"mean": _mean(gold), "deviation": _deviation(gold), "gold_scores": gold, "texts": texts}

    return study.cell(f"pool-{seed}", make)


def _reward(study: Study, seed: int, size: int) -> str:
    file = study.folder / "data" / f"comparisons-{seed}-{size}.jsonl"
    if not file.exists():
        pairs = study.comparisons(seed)
        if len(pairs) < size:
            mend = "raise ground.labelled or ground.responses, or lower sizes"
            raise ConfigError(
                f"seed {seed} has {len(pairs)} comparisons and {size} are asked for", where="sizes", mend=mend
            )
        study.write_data(file.stem, pairs[:size])
    return study.reward_model(f"reward-{seed}-{size}", file, seed, num_comparisons=size)


def _scores(config: Config, study: Study, seed: int, size: int) -> dict[str, Any]:
    """The proxy's scores of the pool."""

    def make() -> dict[str, Any]:
        reward = RewardModel.load(_reward(study, seed, size))
        proxy = [
            reward.score([Scored(prompt=p.messages, response=text, finished=ended) for text, ended in group])
            for p, group in zip(study.prompts(seed), _pool(config, study, seed)["texts"], strict=True)
        ]
        return {"mean": _mean(proxy), "deviation": _deviation(proxy), "scores": proxy}

    return study.cell(f"proxy-{seed}-{size}", make)


def _best_of_n(config: Config, study: Study, seed: int, size: int) -> dict[str, Any]:
    pool, proxy = _pool(config, study, seed), _scores(config, study, seed, size)
    points = []
    for n in config.ns:
        point: dict[str, Any] = {"at": f"n = {n}", "sqrt_kl": math.sqrt(max(0.0, best_of_n_kl(n)))}
        for name, about, groups in (("gold", pool, pool["gold_scores"]), ("proxy", proxy, proxy["scores"])):
            means = [best_of_n(by, figure, n) for by, figure in zip(proxy["scores"], groups, strict=True)]
            point[name] = (statistics.fmean(means) - about["mean"]) / about["deviation"]
        points.append(point)
    return {"points": points}


def _ppo(config: Config, study: Study, seed: int, size: int) -> dict[str, Any]:
    pool, proxy = _pool(config, study, seed), _scores(config, study, seed, size)
    reward = _reward(study, seed, size)
    settings = study.online(seed, reward)
    settings["train"]["keep_models_every"] = config.every
    run = study.run("ppo", f"ppo-{seed}-{size}", settings)
    points: list[dict[str, Any]] = [{"at": "step 0", "sqrt_kl": 0.0, "gold": 0.0, "proxy": 0.0}]
    for step, folder in study.workspace.kept_models(run.name).items():
        cell = study.cell(f"ppo-{seed}-{size}-{step}", partial(study.measure, str(folder), seed, reward=reward))
        point = {"at": f"step {step}", "sqrt_kl": math.sqrt(max(0.0, cell["kl"]))}
        for name, about in (("gold", pool), ("proxy", proxy)):
            point[name] = (cell[name] - about["mean"]) / about["deviation"]
        points.append(point)
    return {"points": points}


def _mean(groups: list[list[float]]) -> float:
    return statistics.fmean(x for group in groups for x in group)


def _deviation(groups: list[list[float]]) -> float:
    """Of all responses; 1 where all are alike."""
    return statistics.pstdev([x for group in groups for x in group]) or 1.0
