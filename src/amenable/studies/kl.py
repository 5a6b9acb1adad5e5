"""The reward-KL frontier over coefficients of PPO's penalty, 0 included (Stiennon et al. 2020, figure 5; Bai et al. 2022).

One reward model per seed, the same budget for every coefficient. Proxy is what PPO optimises, gold what it stands for.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from msgspec import Meta

from amenable.studies.findings import Findings, Line, Panel
from amenable.studies.study import Study, StudyConfig

SFT = "SFT"
FIGURES = ("kl", "proxy", "gold", "win_rate", "tokens", "finished")


class Config(StudyConfig, frozen=True, kw_only=True):
    """Settings of the study, beside those of every study."""

    coefficients: Annotated[tuple[float, ...], Meta(min_length=1, description="kl_coef of each policy")]
    comparisons: Annotated[int, Meta(ge=1, description="comparisons that the reward model learns from, at most")]


def measure(config: Config, study: Study) -> Findings:
    """Every coefficient with every seed, and the SFT model as the point at KL 0."""
    cells = study.cells((SFT, *map(str, config.coefficients)), partial(_cell, config, study))
    rows: list[dict[str, Any]] = [
        {"kl_coef": coef} | {name: study.over_seeds(found, name) for name in FIGURES} for coef, found in cells.items()
    ]
    by_kl = sorted(rows, key=lambda row: row["kl"].value)
    panels = []
    for name in ("proxy", "gold"):
        places = tuple(row["kl"].value for row in by_kl)
        line = Line(name, places, tuple(row[name] for row in by_kl))
        unit = "reward model's score" if name == "proxy" else "simulated labeler's rating, 1 to 7"
        panels.append(Panel(f"{name} reward", "KL to the SFT model, nats per response", unit, (line,)))
    return Findings(rows=tuple(rows), panels=tuple(panels))


def _cell(config: Config, study: Study, coef: str, seed: int) -> dict[str, Any]:
    """The SFT model, or what PPO made of it at this coefficient."""
    reward, model = _reward(config, study, seed), study.assistant()
    if coef != SFT:
        model = str(study.run("ppo", f"ppo-{seed}-{coef}", study.online(seed, reward, kl_coef=float(coef))) / "model")
    return study.measure(model, seed, reward=reward)


def _reward(config: Config, study: Study, seed: int) -> str:
    pairs = study.comparisons(seed)[: config.comparisons]
    file = study.write_data(f"comparisons-{seed}", pairs)
    return study.reward_model(f"reward-{seed}", file, seed, num_comparisons=len(pairs))
