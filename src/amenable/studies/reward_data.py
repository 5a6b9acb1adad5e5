"""Reward accuracy against the number of comparisons; all pairs of a prompt together, or shuffled (Ouyang et al. 2022, 3.5).

For each number of ranked prompts, two reward models learn from the same comparisons for as many steps of as many: one takes
each prompt's ranking as one element (reward_ranking), the other its pairs in any order (reward_pairwise). Both are
measured on the pairs of other prompts: in the world judged without noise, in the public sets (`sets`) by people, too.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal

from msgspec import Meta

from amenable.data.source import load
from amenable.errors import ConfigError, DataError
from amenable.evals.statistics import seeds_interval
from amenable.rewards.model import RewardModel
from amenable.splitting import prompt_key
from amenable.stages.reward_measure import scored
from amenable.studies.findings import Findings, Line, Panel
from amenable.studies.study import REWARD_OPTIMIZER, Study, StudyConfig, grid
from amenable.types import Comparison, Ranking

DESIGNS = ("all pairs of a prompt together", "shuffled pairs")
WORLD = "the world"
Judged = Sequence[Ranking] | Sequence[Comparison]


class Config(StudyConfig, frozen=True, kw_only=True):
    """Settings of the study, beside those of every study."""

    sizes: Annotated[tuple[int, ...], Meta(min_length=1, description="ranked prompts to learn from")]
    epochs: Annotated[float, Meta(gt=0, description="passes over them; what repeats is what may overfit")]
    prompts_per_step: Annotated[int, Meta(ge=1, description="ranked prompts per step; as many pairs where shuffled")]
    sets: Annotated[
        dict[str, Literal["rankings", "comparisons"]],
        Meta(description="sets that people judged, and what is read of them; comparisons are only shuffled"),
    ] = {}
    set_sizes: Annotated[tuple[int, ...], Meta(description="prompts of each such set to learn from")] = ()
    set_model: Annotated[str, Meta(description="the model that learns from them")] = "starter"

    def __post_init__(self) -> None:
        if bool(self.sets) != bool(self.set_sizes):
            raise ConfigError("sets and set_sizes go together", where="set_sizes", mend="name both or neither")


def measure(config: Config, study: Study) -> Findings:
    """Every size, design and seed; the world first, then each set."""
    sources = [(WORLD, config.sizes, DESIGNS)] + [
        (name, config.set_sizes, DESIGNS if kind == "rankings" else DESIGNS[1:]) for name, kind in config.sets.items()
    ]
    for name, kind in config.sets.items():
        _set(name, kind)  # one that cannot be had is said before hours are spent on the world
    rows: list[dict[str, Any]] = []
    for source, sizes, designs in sources:
        for size, design in grid(sizes, designs):
            cells = {seed: _cell(config, study, seed, size, design, source) for seed in study.seeds}
            row: dict[str, Any] = {"set": source, "ranked prompts": size, "design": design}
            row["comparisons"] = round(statistics.fmean(cell["comparisons"] for cell in cells.values()))
            rows.append(
                row | {name: study.over_seeds(cells, name) for name in ("accuracy", "log_loss", "train_accuracy")}
            )
    panels = [
        Panel(f"{title}, {source}", "comparisons", unit, _lines(rows, source, name), log_x=True)
        for source, _, _ in sources
        for name, title, unit in (
            ("accuracy", "held-out accuracy", "share of pairs ordered as they were judged"),
            ("log_loss", "held-out log loss", "nats per pair"),
        )
    ]
    notes = [_gap(config, study, s, sizes[-1]) for s, sizes, designs in sources if designs == DESIGNS]
    if config.sets:
        notes.append(f"People judged the pairs of {', '.join(config.sets)}; the simulated labeler those of the world.")
    return Findings(rows=tuple(rows), panels=tuple(panels), notes=tuple(notes))


def _lines(rows: Sequence[dict[str, Any]], source: str, name: str) -> tuple[Line, ...]:
    of_source = [row for row in rows if row["set"] == source]
    lines = []
    for design in dict.fromkeys(row["design"] for row in of_source):
        own = [row for row in of_source if row["design"] == design]
        lines.append(Line(design, tuple(float(r["comparisons"]) for r in own), tuple(r[name] for r in own)))
    return tuple(lines)


def _gap(config: Config, study: Study, source: str, size: int) -> str:
    """What the order of pairs did, seed by seed, at the largest size."""
    accuracy = [[_cell(config, study, s, size, d, source)["accuracy"] for d in DESIGNS] for s in study.seeds]
    gaps = seeds_interval([together - shuffled for together, shuffled in accuracy])
    return (
        f"At {size} ranked prompts of {source}, all pairs together less shuffled: {gaps.value:+.3f} accuracy "
        f"({gaps.low:+.3f} to {gaps.high:+.3f})."
    )


def _cell(config: Config, study: Study, seed: int, size: int, design: str, source: str) -> dict[str, Any]:
    together = design == DESIGNS[0]
    of_set = "" if source == WORLD else f"set{list(config.sets).index(source) + 1}-"
    name = f"{of_set}{'together' if together else 'shuffled'}-{seed}-{size}"
    return study.cell(name, lambda: _make(config, study, seed, size, together, source, name))


def _make(config: Config, study: Study, seed: int, size: int, together: bool, source: str, name: str) -> dict[str, Any]:
    judged, held_out = _judged(config, study, seed, source)
    if len(judged) < size:
        mend = "raise ground.labelled or lower sizes" if source == WORLD else "lower set_sizes"
        raise ConfigError(
            f"seed {seed} has {len(judged)} judged prompts of {source} and {size} are asked for", where=name, mend=mend
        )
    judged = judged[:size]
    pairs = _pairs(judged)
    records: Judged = judged if together else pairs
    per_step = config.prompts_per_step if together else max(1, round(config.prompts_per_step * len(pairs) / size))
    long = {} if source == WORLD else {"overlong": "truncate_left_prompt", "max_reject_share": 0.05}
    settings = {
        "model": study.assistant() if source == WORLD else config.set_model,
        "data": {"train": [str(study.write_data(name, records))], "held_out_share": 0.0, **long},
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
    margins, own = _margins(reward, held_out), _margins(reward, pairs[:500])
    return {
        "comparisons": len(pairs),
        "accuracy": _accuracy(margins),
        "log_loss": statistics.fmean(_softplus(-m) for m in margins),
        "train_accuracy": _accuracy(own),
    }


def _judged(config: Config, study: Study, seed: int, source: str) -> tuple[Judged, list[Comparison]]:
    """What there is to learn from, in the seed's order, and the pairs of other prompts.

    Of a set's training side what is beyond the largest size is held out, for the other sides are small.
    """
    if source == WORLD:
        held_out = _pairs(study.rankings(seed, split="test", noise=0.0))
        if not held_out:
            raise DataError(
                "the labeler told no two held-out responses apart",
                where=f"seed {seed}",
                mend="raise ground.prompts or ground.max_tokens, or start from a better SFT model",
            )
        return study.rankings(seed), held_out
    train, others = _set(source, config.sets[source])
    judged: Any = [record for record in train if not isinstance(record, Ranking) or len(set(record.tiers)) > 1]
    random.Random(seed).shuffle(judged)
    judged, left = judged[: max(config.set_sizes)], judged[max(config.set_sizes) :]
    known = {prompt_key(record) for record in judged}
    rest: Any = [record for record in itertools.chain(others, left) if prompt_key(record) not in known]
    return judged, _pairs(rest[: config.ground.prompts])


@cache
def _set(name: str, kind: str) -> tuple[list[Any], list[Any]]:
    """A set's training side, and what is on its other sides."""
    train, *others = (list(load(name, kind, split=split).records) for split in ("train", "validation", "test"))
    return train, [*itertools.chain(*others)]


def _pairs(judged: Judged) -> list[Comparison]:
    return [
        pair for record in judged for pair in ([record] if isinstance(record, Comparison) else record.comparisons())
    ]


def _margins(reward: RewardModel, pairs: Sequence[Comparison]) -> list[float]:
    """Score of the chosen less that of the rejected; a response that stands in several pairs is scored once."""
    asked = dict.fromkeys((pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected))
    found = dict(zip(asked, reward.score([scored(*each) for each in asked]), strict=True))
    return [found[pair.prompt, pair.chosen] - found[pair.prompt, pair.rejected] for pair in pairs]


def _accuracy(margins: Sequence[float]) -> float:
    """Equal scores count half."""
    return statistics.fmean(1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in margins)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
