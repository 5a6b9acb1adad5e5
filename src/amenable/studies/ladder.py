"""The ladder of InstructGPT (Ouyang et al. 2022, figure 1): base, few-shot, SFT, PPO, PPO-ptx by win rate against SFT.

SFT itself, drawn a second time, shows what equality looks like. `bits_per_byte` is of held-out world text: the price of
alignment in pre-training's own coin, which the pre-training mix of PPO-ptx is there to lower.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from msgspec import Meta

from amenable.data.world import world_records
from amenable.evals.winrate import compare
from amenable.stages.build import set_up
from amenable.stages.ladder import Rung, ask, bits_per_byte
from amenable.stages.verdict import LabelerVerdict
from amenable.studies.findings import Findings, Line, Panel
from amenable.studies.study import Study, StudyConfig
from amenable.train.settings import TrainConfig
from amenable.train.sources import scored

RUNGS = ("base", "few-shot", "SFT", "PPO", "PPO-ptx")


class Config(StudyConfig, frozen=True, kw_only=True):
    """Settings of the study, beside those of every study."""

    comparisons: Annotated[int, Meta(ge=4, description="comparisons that the reward model learns from, at most")]
    shots: Annotated[int, Meta(ge=1, description="examples in the few-shot prompt")]
    ptx_weight: Annotated[float, Meta(gt=0, description="of the pre-training mix in PPO-ptx")]
    ptx_rows: Annotated[int, Meta(ge=1, description="rows of pre-training text per step of PPO-ptx")]
    text: Annotated[int, Meta(ge=1000, description="characters of held-out text for bits per byte")]


def measure(config: Config, study: Study) -> Findings:
    """Every rung with every seed."""
    rows = []
    for rung, found in study.cells(RUNGS, partial(_cell, config, study)).items():
        row: dict[str, Any] = {"model": rung}
        row |= {name: study.over_seeds(found, name) for name in ("win_rate", "gold", "bits_per_byte")}
        row["kl"] = study.over_seeds(found, "kl") if "kl" in found[study.seeds[0]] else None
        rows.append(row)
    places = tuple(float(i) for i in range(len(RUNGS)))
    panels = tuple(
        Panel(title, "", unit, (Line(name, places, tuple(r[name] for r in rows), joined=False),), labels=RUNGS)
        for name, title, unit in (
            ("win_rate", "preferred to SFT", "share, by the simulated labeler"),
            ("bits_per_byte", "held-out text", "bits per byte"),
        )
    )
    return Findings(rows=tuple(rows), panels=panels)


def _cell(config: Config, study: Study, rung: str, seed: int) -> dict[str, Any]:
    model = _model(config, study, rung, seed)
    documents: Any = list(world_records("documents", seed=seed + 401, size=config.text, split="test"))
    price = {"bits_per_byte": bits_per_byte(study.open_model(model), documents, seed)}
    return price | (_ask_base(config, study, rung, seed) if rung in RUNGS[:2] else study.measure(model, seed))


def _model(config: Config, study: Study, rung: str, seed: int) -> str:
    if rung in ("base", "few-shot"):
        return study.base()
    if rung == "SFT":
        return study.assistant()
    pairs = study.comparisons(seed)[: config.comparisons]
    file = study.write_data(f"comparisons-{seed}", pairs)
    reward = study.reward_model(f"reward-{seed}", file, seed, num_comparisons=len(pairs))
    settings = study.online(seed, reward)
    if rung == "PPO-ptx":
        settings["algorithm"]["ptx_weight"] = config.ptx_weight
        settings["ptx"] = {"train": [f"world:seed={study.ground.seed}"]}
        settings["ptx_rows_per_step"] = config.ptx_rows
    return str(study.run("ppo", f"{rung.lower()}-{seed}", settings) / "model")


def _ask_base(config: Config, study: Study, rung: str, seed: int) -> dict[str, Any]:
    """The base model reads plain text: the question alone, or after examples."""
    records: Any = world_records("demonstrations", seed=seed + 501, size=config.shots, split="train")
    shots = tuple(records) if rung == "few-shot" else ()
    asked = Rung(rung, study.open_model(study.base()), raw=True, shots=shots)
    half = set_up(TrainConfig(seed=seed)).half
    prompts, judge = study.prompts(seed), LabelerVerdict()
    items = [scored(r) for r in ask(asked, prompts, study.sampling, seed=seed, precision=half, on_event=study.on_event)]
    against = [scored(r) for r in study.reference_answers(seed)]
    gold = judge.score(items)
    won = compare(prompts, items, against, judge, seed=seed).win_rate.value
    return {"gold": sum(gold) / len(gold), "win_rate": won}
