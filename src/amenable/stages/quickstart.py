"""The whole road in one go, on text that the package carries: pre-train, instruct, collect preferences, reward, PPO, measure.

Preferences come from the simulated labeler, which is named so wherever its figures show. Every stage is a run of its
own, so an interrupted quickstart goes on where it stood; the same seed gives the same figures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from amenable.config.folder import WorkspaceFolder, write_atomic
from amenable.config.settings import dump_toml, load_toml
from amenable.data.world import showcase_prompts, world_records
from amenable.evals.curves import read_curves, thin
from amenable.evals.diagnose import diagnose
from amenable.evals.report.page import write_report
from amenable.evals.report.records import CurveGroup, DataSource, Report
from amenable.evals.reward_quality import RewardQuality
from amenable.feedback.simulated import SimulatedLabeler
from amenable.feedback.store import Store
from amenable.rewards.model import RewardModel
from amenable.stages.build import open_policy, set_up
from amenable.stages.events import Event, OnEvent, RunResult, ignore
from amenable.stages.generate import generate
from amenable.stages.ladder import (
    Climb,
    Rung,
    climb,
    frontier_points,
    highlights,
    ladder_rows,
    sample_sets,
    text_rows,
    traces_of,
)
from amenable.stages.steps import make_run
from amenable.stages.verdict import LabelerVerdict
from amenable.train.run_folder import RunFolder
from amenable.train.settings import TrainConfig
from amenable.types import Document, Ranking, Record, Sampling

PROJECT = "quickstart"
SAMPLING = Sampling(temperature=1.0, max_tokens=64)
TIE = 0.5  # rating points within which the labeler calls it a tie


class Config(Record, frozen=True):
    """Settings of `amenable quickstart`."""

    seed: Annotated[int, Meta(ge=0, description="same seed, same figures")] = 0
    effort: Annotated[
        float, Meta(gt=0, description="multiplies the steps of every stage; below 1 is quicker and worse")
    ] = 1.0
    prompts: Annotated[int, Meta(ge=2, description="held-out prompts of the ladder")] = 600
    labelled: Annotated[int, Meta(ge=8, description="prompts whose responses the simulated labeler ranks")] = 3000
    responses: Annotated[int, Meta(ge=2, description="responses ranked per prompt")] = 4
    noise: Annotated[float, Meta(ge=0, description="of the simulated labeler, in rating points of 1 to 7")] = 0.2
    careless: Annotated[
        int,
        Meta(ge=0, le=100, description="percent of demonstrations written as in a hurry: wandering, repeating, cut"),
    ] = 40


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore
) -> RunResult:
    """Walk the road; write report.html and report.json to runs/<name>/."""
    clock = _Clock(folder := _open(config, workspace, name))
    road = _Road(config, workspace, folder, on_event)
    try:
        base = road.stage("pretrain", pretrain_settings(config))
        clock.note()
        road.stage("sft", sft_settings(config, base))
        clock.note()
        road.collect_preferences()
        clock.note()
        road.stage("reward", _reward(road))
        clock.note()
        road.stage("ppo", _ppo(road))
    finally:
        clock.note()
    report = road.measure(clock)
    write_report(folder, report)
    write_atomic(folder / "status.json", json.dumps({"status": "finished"}).encode())
    chat = f"amenable chat run:{folder.name}-ppo"
    on_event(Event(stage="quickstart", kind="done", text=f"talk to the result: {chat}"))
    return RunResult(
        stage="quickstart",
        run=folder.name,
        folder=str(folder),
        model=str(road.model("ppo")),
        seconds=clock.seconds,
        text=" ".join(report.sentences[:2]),
        files={"report": str(folder / "report.html"), "figures": str(folder / "report.json")},
        details={**report.summary(), "chat": chat},
    )


class _Clock:
    """Seconds spent on a quickstart over all of its starts; what a kill takes is what ran since the last note."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "spent.json"
        self.before = float(json.loads(self.file.read_text())["seconds"]) if self.file.exists() else 0.0
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def note(self) -> None:
        write_atomic(self.file, json.dumps({"seconds": round(self.seconds, 3)}).encode())


class _Road:
    """The stages of one quickstart, each a run named after it."""

    def __init__(self, config: Config, workspace: WorkspaceFolder, folder: Path, on_event: OnEvent) -> None:
        self.config, self.workspace, self.folder, self.on_event = config, workspace, folder, on_event

    def model(self, stage: str) -> Path:
        return self.run_folder(stage) / "model"

    def run_folder(self, stage: str) -> Path:
        return self.workspace.runs / f"{self.folder.name}-{stage}"

    def stage(self, stage: str, settings: Mapping[str, Any]) -> Path:
        """Run a stage, or what is left of it. Returns its model's folder."""
        name, where = self.run_folder(stage).name, f"quickstart, {stage}"
        folder = make_run(stage, name, settings, workspace=self.workspace, on_event=self.on_event, where=where)
        return folder / "model"

    def collect_preferences(self) -> None:
        """Sample from the SFT model, have the simulated labeler rank the samples beside a good answer, keep the rankings."""
        project = self.folder.name
        with Store.open(self.workspace.database) as store:
            if project in store.projects():
                return
        policy = open_policy(str(self.model("sft")), self.workspace)
        prompts = _of(
            world_records(
                "prompts", seed=self.config.seed + 1, size=_scaled(self.config, self.config.labelled), split="train"
            )
        )
        groups = generate(
            policy,
            prompts,
            SAMPLING,
            seed=self.config.seed,
            responses_per_prompt=self.config.responses,
            on_event=self.on_event,
            label="responses to rank",
        )
        labeler = SimulatedLabeler(noise=self.config.noise, seed=self.config.seed, tie=TIE)
        rankings = []
        for prompt, group in zip(prompts, groups, strict=True):
            sound = [r for r in group if r.finish != "failed"]
            texts = {r.text: r.finish == "stop" for r in sound if r.text.strip()}  # equal responses are ranked once
            texts.setdefault(prompt.references[-1], True)
            if len(texts) < 2:
                continue
            tiers = labeler.rank(prompt, list(texts), list(texts.values()))
            rankings.append(
                Ranking(
                    id=f"{project}-{prompt.id}",
                    prompt=prompt.messages,
                    responses=tuple(texts),
                    tiers=tiers,
                    labeler=labeler.name,
                    source=project,
                )
            )
        with Store.open(self.workspace.database) as store:
            store.import_records(project, rankings)
        self.on_event(
            Event(
                stage="quickstart",
                kind="message",
                text=f"the simulated labeler ranked {sum(len(r.responses) for r in rankings):,} responses to {len(rankings):,} prompts",
            )
        )

    def measure(self, clock: _Clock) -> Report:
        """The ladder and everything else on the report's page."""
        config = self.config
        half = set_up(TrainConfig(seed=config.seed)).half
        base, assistant, tuned = (open_policy(str(self.model(s)), self.workspace) for s in ("pretrain", "sft", "ppo"))
        scorer = RewardModel.load(self.model("reward"))
        shots = tuple(_of(world_records("demonstrations", seed=config.seed + 2, size=4, split="train")))
        rungs = [
            Rung("base", base, raw=True),
            Rung("few-shot base", base, raw=True, shots=shots),
            Rung("SFT", assistant),
            Rung("best-of-4", assistant, best_of=4, reward=scorer),
            Rung("PPO", tuned),
        ]
        prompts = _of(world_records("prompts", seed=config.seed + 3, size=config.prompts, split="test"))
        documents: list[Document] = _of(world_records("documents", seed=config.seed + 4, size=60_000, split="test"))
        found = climb(
            rungs,
            prompts,
            against="SFT",
            judge=LabelerVerdict(),
            sampling=SAMPLING,
            seed=config.seed,
            documents=documents,
            precision=half,
            on_event=self.on_event,
        )
        return self._report(found, clock.seconds)

    def _report(self, found: Climb, seconds: float) -> Report:
        best, worst = highlights(found, "PPO")
        runs = [self.run_folder(s) for s in ("pretrain", "sft", "reward", "ppo")]
        quality = json.loads((self.run_folder("reward") / "reward.json").read_text())
        ppo = RunFolder(self.run_folder("ppo"))
        return Report(
            title="Quickstart: the whole road",
            seed=self.config.seed,
            seconds=seconds,
            ladder=ladder_rows(found, "SFT"),
            against="SFT",
            judge="the simulated labeler (a rubric in code, without noise); no person judged these responses",
            sentences=tuple(w.sentence() for w in reversed(list(found.comparisons.values()))),
            samples=sample_sets(found.rungs, showcase_prompts(), SAMPLING, self.config.seed),
            best=best,
            worst=worst,
            texts=text_rows(found),
            curves=tuple(_curves(folder) for folder in runs),
            reward_quality=(_quality(quality),) if "accuracy" in quality else (),
            frontier=frontier_points(found, self.config.seed),
            frontier_reward="simulated labeler's rating",
            traces=traces_of(list(ppo.rows("samples.jsonl"))),
            data=_data_card(runs),
            settings={folder.name.rsplit("-", 1)[1]: load_toml(folder / "config.toml") for folder in runs},
            environment=ppo.read_json("environment.json"),
            notes=(
                "The text is generated by amenable from a seed; the model knows nothing else of the world.",
                *(f"PPO: {f.trouble}: {f.evidence}" for f in diagnose(ppo.folder) if f.trouble == "over-optimisation"),
            ),
        )


def pretrain_settings(config: Config) -> dict[str, Any]:
    """Settings of the quickstart's `amenable pretrain`."""
    return {
        "data": {"train": [f"world:seed={config.seed}"]},
        "shape": {"hidden_size": 128, "num_layers": 4, "num_heads": 4, "context": 256, "vocab_size": 4096},
        "train": {
            "seed": config.seed,
            "steps": _scaled(config, 200),
            "units_per_step": 128,
            "save_every": 100,
            "optimizer": {
                "name": "muon",
                "learning_rate": 1e-2,
                "weight_decay": 0.1,
                "schedule": "linear",
                "final_share": 0.0,
            },
        },
    }


def sft_settings(config: Config, base: Path) -> dict[str, Any]:
    """Settings of the quickstart's `amenable sft`."""
    return {
        "model": str(base),
        "data": {"train": [f"world:seed={config.seed},size=12000,careless={config.careless}"]},
        "train": {
            "seed": config.seed,
            "steps": _scaled(config, 150),
            "units_per_step": 64,
            "save_every": 50,
            "validate_every": 50,
            "optimizer": {"name": "muon", "learning_rate": 7e-3, "schedule": "linear", "final_share": 0.0},
        },
    }


def _reward(road: _Road) -> dict[str, Any]:
    return {
        "model": str(road.model("sft")),
        "data": {"train": [f"feedback:{road.folder.name}"], "held_out_share": 0.1},
        "algorithm": {"name": "reward_ranking"},
        "train": {
            "seed": road.config.seed,
            "epochs": 2.0,
            "units_per_step": 16,
            "save_every": 50,
            "optimizer": {"name": "muon", "learning_rate": 1e-3},
        },
    }


def _ppo(road: _Road) -> dict[str, Any]:
    config = road.config
    return {
        "model": str(road.model("sft")),
        "reward": str(road.model("reward")),
        "data": {"train": [f"world:seed={config.seed + 1},size=4000"]},
        "algorithm": {"name": "ppo", "kl_coef": 0.15},
        "sampling": {"temperature": SAMPLING.temperature, "max_tokens": SAMPLING.max_tokens},
        "train": {
            "seed": config.seed,
            "steps": _scaled(config, 36),
            "units_per_step": 256,
            "minibatches": 4,
            "inner_epochs": 2,
            "save_every": 20,
            "optimizer": {"learning_rate": 1e-4, "critic_learning_rate": 1e-3},
        },
    }


def _open(config: Config, workspace: WorkspaceFolder, name: str | None) -> Path:
    """The folder of a new quickstart, or of the newest unfinished one with the same settings."""
    text = 'stage = "quickstart"\n' + dump_toml(config)
    names = [
        n for n in workspace.run_names() if n.startswith(f"{PROJECT}-") and n.removeprefix(f"{PROJECT}-").isdigit()
    ]
    for known in [name] if name else reversed(names):
        folder = workspace.runs / str(known)
        file = folder / "config.toml"
        if file.exists() and file.read_text() == text and not (folder / "report.json").exists():
            return folder
    number = 1 + max((int(n.removeprefix(f"{PROJECT}-")) for n in names), default=0)
    folder = workspace.runs / (name or f"{PROJECT}-{number}")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "config.toml", text.encode())
    return folder


def _scaled(config: Config, amount: int) -> int:
    return max(2, round(amount * config.effort))


def _of(records: Any) -> Any:
    return list(records)


def _curves(folder: Path) -> CurveGroup:
    shown = {"loss", "nats_per_token", "accuracy", "score", "kl", "entropy", "response_tokens", "value_error"}
    held_out = {f"validation/{name}" for name in shown}
    curves = [thin(c) for c in read_curves(folder) if c.metric in shown | held_out]
    return CurveGroup(title=folder.name.rsplit("-", 1)[1], curves=tuple(curves))


def _quality(values: dict[str, Any]) -> RewardQuality:
    import msgspec

    names = RewardQuality.__struct_fields__
    return msgspec.convert({name: values[name] for name in names if name in values}, RewardQuality)


def _data_card(runs: list[Path]) -> tuple[DataSource, ...]:
    kinds = {"pretrain": "documents", "sft": "demonstrations", "reward": "rankings", "ppo": "prompts"}
    card = []
    for folder in runs:
        stage = folder.name.rsplit("-", 1)[1]
        for name, about in RunFolder(folder).read_json("data.json").items():
            if isinstance(about, dict) and "records" in about:
                card.append(
                    DataSource(
                        name=name,
                        kind="documents" if name.startswith("ptx ") else kinds[stage],
                        records=about["records"],
                        used_for=stage,
                        licence=about.get("licence", ""),
                        sha256=about.get("sha256", ""),
                    )
                )
    return tuple(card)
