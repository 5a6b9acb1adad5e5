"""PPO, DPO, KTO, GRPO and best-of-4 at equal budget: the same comparisons, and as many responses learned from.

DPO learns from the comparisons, KTO from their two sides as labels, PPO and GRPO from a reward model trained on them, and
best-of-4 picks by that reward model what the SFT model says. The budget counts the rows of responses in all gradient steps of
a policy (an inner epoch counts once more); best-of-4 learns nothing and pays at each answer instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from amenable.studies.findings import Findings, Line, Panel
from amenable.studies.study import Study, StudyConfig
from amenable.types import Label

ROADS = ("SFT", "PPO", "GRPO", "DPO", "KTO", "best-of-4")
FIGURES = ("win_rate", "gold", "tokens", "finished")
INNER_EPOCHS, GROUP = 2, 4


class Config(StudyConfig, frozen=True, kw_only=True):
    """Settings of the study, beside those of every study."""

    comparisons: Annotated[int, Meta(ge=4, description="comparisons by the simulated labeler, for every road")]
    rows: Annotated[int, Meta(ge=64, description="rows of responses in the gradient steps of each policy")]
    offline_learning_rate: Annotated[float, Meta(gt=0, description="of DPO and KTO")]
    beta: Annotated[float, Meta(gt=0, description="of DPO and KTO")]


def measure(config: Config, study: Study) -> Findings:
    """Every road with every seed."""
    rows = []
    for road, found in study.cells(ROADS, partial(_walk, config, study)).items():
        row: dict[str, Any] = {"road": road} | {name: study.over_seeds(found, name) for name in FIGURES}
        row["kl"] = None if road == "best-of-4" else study.over_seeds(found, "kl")
        rows.append(row | {"seconds": study.over_seeds(found, "seconds")})
    places = tuple(float(i) for i in range(len(ROADS)))
    panels = tuple(
        Panel(title, "", unit, (Line(name, places, tuple(r[name] for r in rows), joined=False),), labels=ROADS)
        for name, title, unit in (
            ("win_rate", "preferred to the SFT model", "share, by the simulated labeler"),
            ("gold", "gold rating", "1 to 7, by the simulated labeler"),
        )
    )
    return Findings(rows=tuple(rows), panels=panels)


def _walk(config: Config, study: Study, road: str, seed: int) -> dict[str, Any]:
    """A road's model, then its figures. seconds: of the policy's run alone, on whatever machine it ran."""
    pairs = study.comparisons(seed)[: config.comparisons]
    file = study.write_data(f"comparisons-{seed}", pairs)
    reward = study.reward_model(f"reward-{seed}", file, seed, num_comparisons=len(pairs))
    if road in ("SFT", "best-of-4"):
        drawn = 4 if road == "best-of-4" else 1
        return study.measure(study.assistant(), seed, reward=reward, best_of_n=drawn) | {"seconds": 0.0}
    make: dict[str, Callable[[], Path]] = {
        "PPO": lambda: study.run("ppo", f"ppo-{seed}", _online(config, study, seed, reward, "ppo")),
        "GRPO": lambda: study.run("ppo", f"grpo-{seed}", _online(config, study, seed, reward, "grpo")),
        "DPO": lambda: study.run("dpo", f"dpo-{seed}", _offline(config, study, seed, file, "dpo")),
        "KTO": lambda: study.run("kto", f"kto-{seed}", _offline(config, study, seed, _labels(study, seed, pairs), "kto")),
    }  # fmt: skip
    started = time.perf_counter()
    model = str(make[road]() / "model")
    return {"seconds": time.perf_counter() - started} | study.measure(model, seed, reward=reward)


def _online(config: Config, study: Study, seed: int, reward: str, name: str) -> dict[str, Any]:
    own = {"kl_in": "reward"} if name == "grpo" else {}
    settings = study.online(seed, reward, name=name, **own)
    rows = config.rows // INNER_EPOCHS
    responses = GROUP if name == "grpo" else 1
    settings["responses_per_prompt"] = responses
    settings["train"]["units_per_step"] = max(1, study.policy.prompts_per_step // responses)
    settings["train"]["steps"] = max(1, rows // (settings["train"]["units_per_step"] * responses))
    return settings


def _offline(config: Config, study: Study, seed: int, file: Path, name: str) -> dict[str, Any]:
    rows_per_unit = 2 if name == "dpo" else 1
    units = 64 // rows_per_unit
    return {
        "model": study.assistant(),
        "data": {"train": [str(file)], "held_out_share": 0.0},
        "algorithm": {"name": name, "beta": config.beta},
        "train": {
            "seed": seed,
            "units_per_step": units,
            "steps": max(1, config.rows // (units * rows_per_unit)),
            "save_every": 0,
            "validate_every": 0,
            "optimizer": {"learning_rate": config.offline_learning_rate},
        },
    }


def _labels(study: Study, seed: int, pairs: Any) -> Path:
    """The two sides of each comparison as a yes and a no."""
    labels = [
        Label(id=f"{p.id}:{side}", prompt=p.prompt, response=text, label=good, labeler=p.labeler)
        for p in pairs
        for side, text, good in (("chosen", p.chosen, True), ("rejected", p.rejected, False))
    ]
    return study.write_data(f"labels-{seed}", labels)
