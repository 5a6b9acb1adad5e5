"""The whole road in one go, on what the package carries: pre-train, instruct, collect preferences, reward, PPO, measure.

With a base model (model=starter) the road begins at instruction and leads over the primer, with one instructed from it (sft=assistant)
at the preferences; stages/grounds.py has data and settings.

Preferences come from the simulated labeler, which is named so wherever its figures show. Every stage is a run of its
own, so an interrupted quickstart goes on where it stood; the same seed gives the same figures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from amenable.config.folder import WorkspaceFolder, check_name, new_run, write_atomic
from amenable.config.settings import dump_toml, load_toml
from amenable.errors import ConfigError
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
from amenable.stages.grounds import Ground, Primer, World
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
from amenable.types import Ranking, Record

PROJECT = "quickstart"
TIE = 0.5  # rating points within which the labeler calls it a tie
STAGES = ("pretrain", "sft", "reward", "ppo")


class Config(Record, frozen=True):
    """Settings of `amenable quickstart`."""

    model: Annotated[
        str | None,
        Meta(description="base model to instruct on the primer; null: a small one is pre-trained on generated text"),
    ] = None
    sft: Annotated[
        str | None,
        Meta(description="with model: what was instructed from it already, such as assistant; null: instructed here"),
    ] = None
    seed: Annotated[int, Meta(ge=0, description="same seed, same figures")] = 0
    effort: Annotated[
        float, Meta(gt=0, description="multiplies the steps of every stage; below 1 is quicker and worse")
    ] = 1.0
    prompts: Annotated[
        Annotated[int, Meta(ge=2)] | None,
        Meta(description="held-out prompts of the ladder; null: all of the primer's, or 600 generated ones"),
    ] = None
    labelled: Annotated[
        Annotated[int, Meta(ge=8)] | None,
        Meta(description="prompts whose responses the simulated labeler ranks; null: 1,600 of the primer's, or 3,000"),
    ] = None
    responses: Annotated[int, Meta(ge=2, description="responses ranked per prompt")] = 4
    noise: Annotated[float, Meta(ge=0, description="of the simulated labeler, in rating points of 1 to 7")] = 0.2
    careless: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="of generated text: percent of demonstrations written as in a hurry, wandering, repeating, cut",
        ),
    ] = 40


def run(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore
) -> RunResult:
    """Walk the road; write report.html and report.json to runs/<name>/.

    Raises ConfigError for sft without model, and for a name that other runs have.
    """
    if config.sft and not config.model:
        raise ConfigError(
            "sft without model", where="quickstart", mend="name the base model, too: model=starter sft=assistant"
        )
    clock = _Clock(folder := _open(config, workspace, name))
    road = _Road(config, workspace, folder, on_event)
    try:
        for step in road.steps():
            step()
            clock.note()
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
        model=str(road.run_folder("ppo") / "model"),
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
        self.ground = ground_of(config)
        self.stages = ("pretrain",) * (config.model is None) + ("sft",) * (config.sft is None) + ("reward", "ppo")

    def steps(self) -> Iterator[Callable[[], object]]:
        """What is to be done, in order."""
        ground, project = self.ground, self.folder.name
        if settings := ground.pretrain():
            yield lambda: self.stage("pretrain", settings)
        if not self.config.sft:
            yield lambda: self.stage("sft", ground.sft(self.base))
        yield self.collect_preferences
        yield lambda: self.stage("reward", ground.reward(self.model("sft"), project))
        yield lambda: self.stage("ppo", ground.ppo(self.model("sft"), self.model("reward")))

    @property
    def base(self) -> str:
        """The base model: that of the settings, else the one pre-trained here."""
        return self.config.model or self.model("pretrain")

    def model(self, stage: str) -> str:
        """What names a stage's model, in a workspace that was moved since, too."""
        if stage == "sft" and self.config.sft:
            return self.config.sft
        return f"run:{self.run_folder(stage).name}"

    def run_folder(self, stage: str) -> Path:
        return self.workspace.runs / f"{self.folder.name}-{stage}"

    def stage(self, stage: str, settings: Mapping[str, Any]) -> None:
        """Run a stage, or what is left of it."""
        name, where = self.run_folder(stage).name, f"quickstart, {stage}"
        make_run(stage, name, settings, workspace=self.workspace, on_event=self.on_event, where=where)

    def collect_preferences(self) -> None:
        """Sample from the SFT model, have the simulated labeler rank the samples beside a good answer, keep the rankings."""
        project = self.folder.name
        with Store.open(self.workspace.database) as store:
            if project in store.projects():
                return
        policy = open_policy(self.model("sft"), self.workspace)
        prompts = self.ground.to_rank(self.config.labelled)
        groups = generate(
            policy,
            prompts,
            self.ground.sampling,
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
            for good in prompt.references[-1:]:
                texts.setdefault(good, True)
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
        opened = (self.base, self.model("sft"), self.model("ppo"))
        base, assistant, tuned = (open_policy(model, self.workspace) for model in opened)
        scorer = RewardModel.load(self.run_folder("reward") / "model")
        shots = tuple(self.ground.shots())
        rungs = [
            Rung("base", base, raw=True),
            Rung("few-shot base", base, raw=True, shots=shots),
            Rung("SFT", assistant),
            Rung("best-of-4", assistant, best_of=4, reward=scorer),
            Rung("PPO", tuned),
        ]
        found = climb(
            rungs,
            self.ground.held_out(config.prompts),
            against="SFT",
            judge=LabelerVerdict(),
            sampling=self.ground.sampling,
            seed=config.seed,
            documents=self.ground.documents(),
            precision=half,
            on_event=self.on_event,
        )
        return self._report(found, clock.seconds)

    def _report(self, found: Climb, seconds: float) -> Report:
        best, worst = highlights(found, "PPO")
        runs = [self.run_folder(s) for s in self.stages]
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
            samples=sample_sets(found.rungs, self.ground.showcase(), self.ground.sampling, self.config.seed),
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
                self.ground.note,
                *(f"PPO: {f.trouble}: {f.evidence}" for f in diagnose(ppo.folder) if f.trouble == "over-optimisation"),
            ),
        )


def ground_of(config: Config) -> Ground:
    """What a quickstart of these settings walks on."""
    return Primer(config.seed, config.effort) if config.model else World(config.seed, config.effort, config.careless)


def _open(config: Config, workspace: WorkspaceFolder, name: str | None) -> Path:
    """The folder of a new quickstart, of the newest unfinished one with the same settings, or of this same one by its name."""
    text = 'stage = "quickstart"\n' + dump_toml(config)
    if name is not None:
        check_name(name)
    numbered = [
        n for n in workspace.run_names() if n.startswith(f"{PROJECT}-") and n.removeprefix(f"{PROJECT}-").isdigit()
    ]
    for known in [name] if name else reversed(numbered):
        folder = workspace.runs / str(known)
        file = folder / "config.toml"
        if file.exists() and file.read_text() == text and (name or not (folder / "report.json").exists()):
            return folder
    if name is not None:
        _require_free(name, workspace)
    folder = new_run(workspace, PROJECT, name)
    write_atomic(folder / "config.toml", text.encode())
    return folder


def _require_free(name: str, workspace: WorkspaceFolder) -> None:
    """Raise ConfigError if others have the name of the quickstart, of one of its runs or of its preferences."""
    taken = {name, *(f"{name}-{stage}" for stage in STAGES)} & set(workspace.run_names())
    if taken:
        raise ConfigError(
            f"there is already a run named {min(taken)!r}, of another kind or with other settings",
            where=str(workspace.runs),
            mend="choose another name",
        )
    with Store.open(workspace.database) as store:
        if name in store.projects():
            where = f"the feedback project {name}"
            raise ConfigError(f"{name!r} is a project already", where=where, mend="choose another name")


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
