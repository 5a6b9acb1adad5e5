"""Reward accuracy against the number of comparisons; all pairs of a prompt together, or shuffled (Ouyang et al. 2022, 3.5).

For each number of ranked prompts, two reward models learn from the same comparisons for as many steps of as many: one takes
each prompt's ranking as one element (reward_ranking), the other its pairs in any order (reward_pairwise). Both are
measured on the pairs of other prompts, judged without noise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from amenable.errors import ConfigError, DataError
from amenable.evals.statistics import seeds_interval
from amenable.rewards.model import RewardModel
from amenable.stages.reward_measure import scored
from amenable.studies.findings import Findings, Line, Panel
from amenable.studies.study import REWARD_OPTIMIZER, Study, StudyConfig, grid
from amenable.types import Comparison, Ranking

DESIGNS = ("all pairs of a prompt together", "shuffled pairs")


class Config(StudyConfig, frozen=True, kw_only=True):
    """Settings of the study, beside those of every study."""

    sizes: Annotated[tuple[int, ...], Meta(min_length=1, description="ranked prompts to learn from")]
    epochs: Annotated[float, Meta(gt=0, description="passes over them; what repeats is what may overfit")]
    prompts_per_step: Annotated[int, Meta(ge=1, description="ranked prompts per step; as many pairs where shuffled")]


def measure(config: Config, study: Study) -> Findings:
    """Every size, design and seed."""
    rows: list[dict[str, Any]] = []
    for size, design in grid(config.sizes, DESIGNS):
        cells = {seed: _cell(config, study, seed, size, design) for seed in study.seeds}
        row: dict[str, Any] = {"ranked prompts": size, "design": design}
        row["comparisons"] = round(statistics.fmean(cell["comparisons"] for cell in cells.values()))
        rows.append(row | {name: study.over_seeds(cells, name) for name in ("accuracy", "log_loss", "train_accuracy")})
    panels = [
        Panel(
            title,
            "comparisons",
            unit,
            tuple(
                Line(d, tuple(float(r["comparisons"]) for r in own), tuple(r[name] for r in own))
                for d in DESIGNS
                for own in [[r for r in rows if r["design"] == d]]
            ),
            log_x=True,
        )
        for name, title, unit in (
            ("accuracy", "held-out accuracy", "share of pairs ordered as the noise-free labeler does"),
            ("log_loss", "held-out log loss", "nats per pair"),
        )
    ]
    gaps = seeds_interval(
        [
            _cell(config, study, s, config.sizes[-1], DESIGNS[0])["accuracy"]
            - _cell(config, study, s, config.sizes[-1], DESIGNS[1])["accuracy"]
            for s in study.seeds
        ]
    )
    note = f"At {config.sizes[-1]} ranked prompts, all pairs together less shuffled: {gaps.value:+.3f} accuracy ({gaps.low:+.3f} to {gaps.high:+.3f})."
    return Findings(rows=tuple(rows), panels=tuple(panels), notes=(note,))


def _cell(config: Config, study: Study, seed: int, size: int, design: str) -> dict[str, Any]:
    together = design == DESIGNS[0]
    name = f"{'together' if together else 'shuffled'}-{seed}-{size}"
    return study.cell(name, lambda: _make(config, study, seed, size, together, name))


def _make(config: Config, study: Study, seed: int, size: int, together: bool, name: str) -> dict[str, Any]:
    rankings = study.rankings(seed)[:size]
    if len(rankings) < size:
        mend = "raise ground.labelled or lower sizes"
        raise ConfigError(
            f"seed {seed} has {len(rankings)} rankings and {size} are asked for", where="sizes", mend=mend
        )
    pairs = [pair for ranking in rankings for pair in ranking.comparisons()]
    records: Sequence[Ranking | Comparison] = rankings if together else pairs
    per_step = config.prompts_per_step if together else round(config.prompts_per_step * len(pairs) / size)
    settings = {
        "model": study.assistant(),
        "data": {"train": [str(study.write_data(name, records))], "held_out_share": 0.0},
        "algorithm": {"name": "reward_ranking"} if together else {"name": "reward_pairwise", "centering": 0.0},
        "train": {
            "seed": seed,
            "steps": max(1, math.ceil(config.epochs * size / config.prompts_per_step)),
            "units_per_step": per_step,
            "save_every": 0,
            "optimizer": REWARD_OPTIMIZER,
        },
    }
    reward = RewardModel.load(study.run("reward", name, settings) / "model")
    held_out = [p for r in study.rankings(seed, split="test", noise=0.0) for p in r.comparisons()]
    if not held_out:
        raise DataError(
            "the labeler told no two held-out responses apart",
            where=f"seed {seed}",
            mend="raise ground.prompts or ground.max_tokens, or start from a better SFT model",
        )
    margins, own = _margins(reward, held_out), _margins(reward, pairs[:500])
    return {
        "comparisons": len(pairs),
        "accuracy": _accuracy(margins),
        "log_loss": statistics.fmean(_softplus(-m) for m in margins),
        "train_accuracy": _accuracy(own),
    }


def _margins(reward: RewardModel, pairs: Sequence[Comparison]) -> list[float]:
    scores = reward.score([scored(p.prompt, text) for p in pairs for text in (p.chosen, p.rejected)])
    return [a - b for a, b in zip(scores[0::2], scores[1::2], strict=True)]


def _accuracy(margins: Sequence[float]) -> float:
    """Equal scores count half."""
    return statistics.fmean(1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in margins)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
