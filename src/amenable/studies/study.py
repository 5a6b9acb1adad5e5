"""What every study stands on: its folder, its cells, the models and responses of the generated world, and the gold judge.

A study walks a grid of seeds and settings. Each run that it needs is a run of the workspace, each figure a small JSON
file (a cell) in the study's folder; what is there is not made again, so that a study broken off at any moment goes on by
the same command. The folder is named after the settings, so that others never read its cells.

The gold judge is the simulated labeler without noise, named as simulated wherever its figures show. All seeds share the
base and the SFT model; a seed decides prompts, responses, the labeler's noise, the reward model, the policy and the
held-out prompts. Intervals over seeds are Student's t, and cover only what the seed decides.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from amenable.config.folder import WorkspaceFolder, resolve_model, write_atomic
from amenable.config.settings import dump_toml, parse
from amenable.data.world import world_records
from amenable.evals.statistics import Interval, seeds_interval
from amenable.evals.winrate import compare
from amenable.feedback.simulated import SimulatedLabeler
from amenable.rewards.model import RewardModel
from amenable.stages.build import Policy, open_policy, set_up
from amenable.stages.events import Event, OnEvent, RunResult, ignore
from amenable.stages.generate import best_of, generate
from amenable.stages.grounds import World
from amenable.stages.ladder import candidates_seed, measured_kl
from amenable.stages.steps import make_run
from amenable.stages.verdict import LabelerVerdict
from amenable.studies import catalog
from amenable.studies.findings import Findings, plain_rows, write
from amenable.train.settings import TrainConfig
from amenable.train.sources import scored
from amenable.types import Comparison, Prompt, Ranking, Record, Rollout, Sampling

K = TypeVar("K")
TIE = 0.5  # rating points within which the labeler calls it a tie, as in quickstart
REWARD_OPTIMIZER = {"name": "muon", "learning_rate": 1e-3}  # as in quickstart, too
JUDGE = "the simulated labeler (a rubric in code, without noise); no person judged these responses"


class GroundConfig(Record, frozen=True):
    """The models that a study starts from, and the labeler's work."""

    base: Annotated[str | None, Meta(description="pre-trained model; null: made as by quickstart")] = None
    assistant: Annotated[str | None, Meta(description="SFT model; null: made as by quickstart, from the base")] = None
    seed: Annotated[int, Meta(ge=0, description="of base and SFT model, where they are made")] = 0
    effort: Annotated[float, Meta(gt=0, description="multiplies the steps of base and SFT model")] = 1.0
    prompts: Annotated[int, Meta(ge=2, description="held-out prompts that every model answers, per seed")] = 150
    labelled: Annotated[int, Meta(ge=4, description="prompts whose responses the simulated labeler ranks")] = 800
    responses: Annotated[int, Meta(ge=2, description="responses of the SFT model ranked per prompt")] = 4
    noise: Annotated[float, Meta(ge=0, description="of the labeler's rankings, in rating points of 1 to 7")] = 0.2
    max_tokens: Annotated[int, Meta(ge=1, description="tokens per response at most")] = 48
    reward_steps: Annotated[
        int, Meta(ge=1, description="fewest steps of a reward model; two passes over its data where that is more")
    ] = 40


class PolicyConfig(Record, frozen=True):
    """How policies learn online."""

    steps: Annotated[int, Meta(ge=1, description="steps of a policy's run")] = 24
    prompts_per_step: Annotated[int, Meta(ge=1, description="prompts per step")] = 96
    kl_coef: Annotated[float, Meta(ge=0, description="reward lost per nat of KL to the SFT model")] = 0.1
    learning_rate: Annotated[float, Meta(gt=0, description="of the policy")] = 1e-4


class GridConfig(Record, frozen=True):
    """What every study can be told."""

    seeds: Annotated[tuple[int, ...], Meta(min_length=2, description="one repetition each; intervals are over them")]


class StudyConfig(GridConfig, frozen=True, kw_only=True):
    """What every study on the generated world can be told."""

    ground: Annotated[GroundConfig, Meta(description="models to start from, and the labeler's work")] = GroundConfig()
    policy: Annotated[PolicyConfig, Meta(description="how policies learn online")] = PolicyConfig()


def run(
    name: str, settings: Mapping[str, Any], *, where: str, workspace: WorkspaceFolder, on_event: OnEvent = ignore
) -> RunResult:
    """Walk a study's grid, or what is left of it; write results.json, table.md and plot.svg into its folder."""
    config_type, measure = catalog.find(name)
    config: Any = parse(config_type, settings, where=where)
    of_world = isinstance(config, StudyConfig)
    study = Study.of(name, config, workspace, on_event) if of_world else Grid.open(name, config, workspace, on_event)
    found: Findings = measure(config, study)
    about = {"study": name, "seeds": list(config.seeds), "settings": settings} | ({"judge": JUDGE} if of_world else {})
    files = write(study.folder, catalog.about(name), about, found)
    write_atomic(study.folder / "status.json", json.dumps({"status": "finished"}).encode())
    on_event(Event(stage="study", kind="done", text=f"study {name} done: {files['plot']}"))
    return RunResult(
        stage="study",
        run=study.folder.name,
        folder=str(study.folder),
        text=" ".join(found.notes),
        files=files,
        details={name: plain_rows(found.rows)},
    )


@dataclass
class Grid:
    """A study under way: its folder, its cells, its runs."""

    folder: Path
    workspace: WorkspaceFolder
    seeds: tuple[int, ...]
    on_event: OnEvent

    @classmethod
    def open(cls, name: str, config: GridConfig, workspace: WorkspaceFolder, on_event: OnEvent) -> Grid:
        """The study whose folder belongs to these settings."""
        return Grid(_folder(name, config, workspace), workspace, config.seeds, on_event)

    # Cells and runs

    def cell(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The figures of one cell of the grid: read, or made and kept."""
        file = self.folder / "cells" / f"{name}.json"
        if not file.exists():
            values = make()
            write_atomic(file, json.dumps(values).encode())
            shown = ", ".join(f"{k} {v:.3g}" for k, v in values.items() if isinstance(v, int | float))
            self.on_event(Event(stage="study", kind="message", text=f"{name}: {shown}"))
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def cells(
        self, points: Sequence[K], make: Callable[[K, int], dict[str, Any]]
    ) -> dict[K, dict[int, dict[str, Any]]]:
        """The figures of every point with every seed, the cell POINT-SEED each; one seed's points before the next seed's."""
        found: dict[K, dict[int, dict[str, Any]]] = {point: {} for point in points}
        for seed, point in grid(self.seeds, points):
            found[point][seed] = self.cell(f"{point}-{seed}", partial(make, point, seed))
        return found

    def run(self, stage: str, name: str, settings: Mapping[str, Any]) -> Path:
        """The finished run of one cell, by name."""
        whole = f"{self.folder.name}-{name}"
        return make_run(stage, whole, settings, workspace=self.workspace, on_event=self.on_event, where=whole)

    def write_data(self, name: str, records: Sequence[Record]) -> Path:
        """A file of records in the study's data folder."""
        file = self.folder / "data" / f"{name}.jsonl"
        write_atomic(file, b"".join(record.to_json() + b"\n" for record in records))
        return file

    def over_seeds(self, cells: Mapping[int, Mapping[str, Any]], figure: str) -> Interval:
        """A figure of one cell per seed, with its interval."""
        return seeds_interval([cells[seed][figure] for seed in self.seeds])


@dataclass
class Study(Grid):
    """A study on the generated world."""

    ground: GroundConfig
    policy: PolicyConfig
    _answers: dict[tuple[str, int], list[Rollout]] = field(default_factory=dict)
    _policies: dict[str, Policy] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, config: StudyConfig, workspace: WorkspaceFolder, on_event: OnEvent) -> Study:
        """The study whose folder belongs to these settings."""
        folder = _folder(name, config, workspace)
        return cls(folder, workspace, config.seeds, on_event, config.ground, config.policy)

    # Models

    def base(self) -> str:
        """The pre-trained model's folder."""
        if self.ground.base:
            return str(resolve_model(self.ground.base, self.workspace))
        return str(self._world_run("pretrain", self._world().pretrain()) / "model")

    def assistant(self) -> str:
        """The SFT model's folder."""
        if self.ground.assistant:
            return str(resolve_model(self.ground.assistant, self.workspace))
        return str(self._world_run("sft", self._world().sft(self.base())) / "model")

    def open_model(self, model: str) -> Policy:
        """A model and its tokenizer. The SFT model stays in memory, being the reference of all others."""
        if model == self.assistant():
            return self._policies.setdefault(model, open_policy(model, self.workspace))
        return open_policy(model, self.workspace)

    def reward_model(self, name: str, file: Path, seed: int, *, num_comparisons: int) -> str:
        """A reward model on a file of comparisons: two passes, and never fewer than ground.reward_steps."""
        settings = {
            "model": self.assistant(),
            "data": {"train": [str(file)], "held_out_share": 0.0},
            "algorithm": {"name": "reward_pairwise"},
            "train": {
                "seed": seed,
                "steps": max(self.ground.reward_steps, 2 * num_comparisons // 32),
                "units_per_step": 32,
                "save_every": 0,
                "optimizer": REWARD_OPTIMIZER,
            },
        }
        return str(self.run("reward", name, settings) / "model")

    def online(self, seed: int, reward: str, **algorithm: Any) -> dict[str, Any]:
        """Settings of `amenable ppo` from the SFT model; algorithm: its settings, PPO's own name and coefficient unless given."""
        return {
            "model": self.assistant(),
            "reward": reward,
            "data": {"train": [f"world:seed={seed + 101},size=4000"]},
            "algorithm": {"name": "ppo", "kl_coef": self.policy.kl_coef} | algorithm,
            "sampling": {"max_tokens": self.ground.max_tokens},
            "sample_every": 0,
            "train": {
                "seed": seed,
                "steps": self.policy.steps,
                "units_per_step": self.policy.prompts_per_step,
                "minibatches": 4,
                "inner_epochs": 2,
                "save_every": 0,
                "validate_every": 0,
                "optimizer": {"learning_rate": self.policy.learning_rate, "critic_learning_rate": 1e-3},
            },
        }

    # Prompts, responses, judgements

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=1.0, max_tokens=self.ground.max_tokens)

    def prompts(self, seed: int) -> list[Prompt]:
        """Held-out prompts of a seed."""
        return _prompts(seed + 301, self.ground.prompts, "test")

    def answers(
        self, model: str, seed: int, *, responses: int = 1, drawn_with: int | None = None
    ) -> list[list[Rollout]]:
        """Responses of a model to the held-out prompts of a seed. drawn_with: a seed of their own, of best-of-n's candidates."""
        half = set_up(TrainConfig(seed=seed)).half
        policy, prompts = self.open_model(model), self.prompts(seed)
        return generate(
            policy,
            prompts,
            self.sampling,
            seed=seed if drawn_with is None else drawn_with,
            responses_per_prompt=responses,
            precision=half,
            on_event=self.on_event,
        )

    def reference_answers(self, seed: int) -> list[Rollout]:
        """One response of the SFT model to each held-out prompt, to compare with; other draws than `measure` compares."""
        key = (self.assistant(), seed)
        if key not in self._answers:
            self._answers[key] = [group[1] for group in self.answers(key[0], seed, responses=2)]
        return self._answers[key]

    def rankings(self, seed: int, *, split: str = "train", noise: float | None = None) -> list[Ranking]:
        """Responses of the SFT model in the simulated labeler's order, kept in the study's data folder."""
        file = self.folder / "data" / f"rankings-{split}-{seed}.jsonl"
        if not file.exists():
            made = self._rank(seed, split, self.ground.noise if noise is None else noise)
            write_atomic(file, b"".join(record.to_json() + b"\n" for record in made))
        return [Ranking.from_json(line) for line in file.read_bytes().splitlines()]

    def comparisons(self, seed: int) -> list[Comparison]:
        """All pairs of a seed's rankings in an order drawn by the seed: the first n are a sample of them all."""
        pairs = [pair for ranking in self.rankings(seed) for pair in ranking.comparisons()]
        random.Random(seed).shuffle(pairs)
        return pairs

    def measure(
        self, model: str, seed: int, *, reward: str | None = None, best_of_n: int = 1, kl: bool = True
    ) -> dict[str, Any]:
        """A model on the held-out prompts of a seed: gold rating, proxy score, KL, win rate against SFT, tokens.

        best_of_n: responses drawn of which the reward picks one; KL is then not measured. kl: off for a model that does not
        come from the SFT model and may read other tokens.
        """
        groups = self.answers(model, seed, responses=best_of_n, drawn_with=candidates_seed(seed, best_of_n))
        scorer = RewardModel.load(reward) if reward else None
        rollouts = best_of(scorer, groups) if best_of_n > 1 else [group[0] for group in groups]
        items, judge = [scored(r) for r in rollouts], LabelerVerdict()
        found: dict[str, Any] = {"gold": statistics.fmean(judge.score(items))}
        if scorer is not None:
            found["proxy"] = statistics.fmean(scorer.score(items))
        if best_of_n == 1 and kl:
            found["kl"] = measured_kl(self._reference(), rollouts, self.sampling, seed).k1.value
        against = [scored(r) for r in self.reference_answers(seed)]
        found["win_rate"] = compare(self.prompts(seed), items, against, judge, seed=seed).win_rate.value
        found["tokens"] = statistics.fmean(len(r.response_ids) for r in rollouts)
        found["finished"] = statistics.fmean(r.finish == "stop" for r in rollouts)
        return found

    def _reference(self) -> Policy:
        return self.open_model(self.assistant())

    def _rank(self, seed: int, split: str, noise: float) -> list[Ranking]:
        prompts = _prompts(seed + 201, self.ground.labelled if split == "train" else self.ground.prompts, split)
        policy, half = self._reference(), set_up(TrainConfig(seed=seed)).half
        groups = generate(
            policy,
            prompts,
            self.sampling,
            seed=seed + 7,
            responses_per_prompt=self.ground.responses,
            precision=half,
            on_event=self.on_event,
        )
        labeler = SimulatedLabeler(noise=noise, seed=seed, tie=TIE if noise else 0.0)
        rankings = []
        for prompt, group in zip(prompts, groups, strict=True):
            texts = {r.text: r.finish == "stop" for r in group if r.finish != "failed" and r.text.strip()}
            if len(texts) > 1:  # equal responses are ranked once
                tiers = labeler.rank(prompt, list(texts), list(texts.values()))
                record = Ranking(
                    id=prompt.id, prompt=prompt.messages, responses=tuple(texts), tiers=tiers, labeler=labeler.name
                )
                rankings += [record] if len(set(tiers)) > 1 else []
        return rankings

    def _world(self) -> World:
        return World(self.ground.seed, self.ground.effort)

    def _world_run(self, stage: str, settings: Mapping[str, Any]) -> Path:
        """Base and SFT model have a name of their own, so that all studies of a workspace share them."""
        name = f"study-world-{self.ground.seed}-{self.ground.effort:g}-{stage}"
        return make_run(stage, name, settings, workspace=self.workspace, on_event=self.on_event, where=name)


def _folder(name: str, config: GridConfig, workspace: WorkspaceFolder) -> Path:
    text = f'stage = "study {name}"\n' + dump_toml(config)
    folder = workspace.runs / f"study-{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    write_atomic(folder / "config.toml", text.encode())
    return folder


def grid(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """All combinations, the first axis slowest."""
    return list(itertools.product(*axes))


def _prompts(seed: int, size: int, split: str) -> list[Prompt]:
    found: Any = world_records("prompts", seed=seed, size=size, split=split)  # type: ignore[arg-type]
    return list(found)
