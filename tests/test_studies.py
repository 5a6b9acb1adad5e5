"""Studies: every packaged one can be parsed, runs at its quickest, and goes on where it was broken off."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from amenable.cli.main import cli
from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.config.settings import parse, undocumented
from amenable.errors import ConfigError
from amenable.evals.statistics import Interval
from amenable.rewards.length import LengthReward
from amenable.splitting import prompt_key
from amenable.stages.events import Event
from amenable.studies import catalog, reward_data, study
from amenable.studies.findings import Findings, Line, Panel, shown, table, write
from amenable.studies.study import Study, run
from amenable.types import Rollout
from tests.stage_makers import comparisons, rankings, start, write_rows

STUDIES = ("kl", "ladder", "lora", "overoptimisation", "reward-data", "roads")

SLOW = ("ladder", "lora", "roads", "kl")


Models = dict[str, str]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A base and an SFT model of the world that have hardly begun to learn."""
    torch.set_num_threads(1)
    workspace = init_workspace(tmp_path_factory.mktemp("world"))
    train = {"steps": 3, "units_per_step": 4, "save_every": 0, "validate_every": 0}
    shape = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "context": 256, "vocab_size": 600}
    pretrain = {"data": {"train": ["world:seed=0,size=60000"]}, "shape": shape, "train": train}
    base = start("pretrain", pretrain, workspace, "base")
    sft = start("sft", {"model": base.model, "data": {"train": ["world:seed=0,size=100"]}, "train": train}, workspace)
    return {"base": str(base.model), "assistant": str(sft.model)}


def quick(name: str, models: Models) -> dict[str, Any]:
    settings = catalog.settings(name, quick=True)
    settings["ground"] |= models
    return settings


def test_the_studies_of_the_issue_are_there() -> None:
    assert tuple(catalog.names()) == tuple(sorted((*STUDIES, "flan")))  # flan's own tests: test_study_flan.py


@pytest.mark.parametrize("name", STUDIES)
def test_packaged_settings_are_right_and_quick_ones_smaller(name: str) -> None:
    config_type, _ = catalog.find(name)
    full: Any = parse(config_type, catalog.settings(name), where=name)
    small: Any = parse(config_type, catalog.settings(name, quick=True), where=name)
    assert len(full.seeds) >= 3 and len(small.seeds) == 2
    assert small.ground.prompts < full.ground.prompts
    assert not undocumented(config_type)
    assert all(setting.default is not None for setting in catalog.describe_settings(name, catalog.settings(name)))


def test_an_unknown_study_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no study") as told:
        catalog.settings("road")
    assert "roads" in str(told.value)


def test_the_command_lists_studies_and_their_settings() -> None:
    listed = CliRunner().invoke(cli, ["study", "--json"])
    assert [row["name"] for row in json.loads(listed.output)] == catalog.names()
    told = CliRunner().invoke(cli, ["study", "kl", "--settings", "policy.steps=7", "coefficients=[0.5]", "--json"])
    found = {row["name"]: row["default"] for row in json.loads(told.output)}
    assert (found["policy.steps"], found["coefficients"], found["comparisons"]) == ("7", "[0.5]", "3000")
    assert found["ground.base"] == "none"


def test_the_config_of_a_study_is_a_recipe_for_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('stage = "study kl"\nseeds = [5, 6]\n')
    told = CliRunner().invoke(cli, ["study", "kl", str(file), "--settings", "--json"])
    assert {row["name"]: row["default"] for row in json.loads(told.output)}["seeds"] == "[5, 6]"
    with pytest.raises(ConfigError, match="not for"):
        catalog.read_recipe("roads", file)


def test_a_study_refuses_an_unknown_setting(tmp_path: Path) -> None:
    settings = catalog.settings("kl", quick=True) | {"coeficients": [0.1]}
    with pytest.raises(ConfigError, match="coefficients"):
        run("kl", settings, where="test", workspace=init_workspace(tmp_path))
    assert not list((tmp_path / "runs").iterdir())


def test_best_of_more_than_is_drawn_is_refused() -> None:
    config_type, _ = catalog.find("overoptimisation")
    with pytest.raises(ConfigError, match="best of 8"):
        parse(config_type, catalog.settings("overoptimisation", quick=True) | {"ns": [1, 8]}, where="test")


def test_what_is_written(tmp_path: Path) -> None:
    gold = Interval(value=0.5, low=0.25, high=0.75, count=3)
    panel = Panel("gold", "n", "rating", (Line("a <b>", (1.0, 2.0), (gold, gold)),))
    files = write(tmp_path, "title", {"study": "x"}, Findings(rows=({"n": 4, "gold": gold},), panels=(panel,)))
    assert json.loads(Path(files["results"]).read_text())["rows"][0]["gold"]["low"] == 0.25
    assert "| 4 | 0.500 (0.250 to 0.750) |" in Path(files["table"]).read_text()
    ET.parse(files["plot"])
    assert table([{"a": 1}, {"b": "x"}]).splitlines()[-1] == "|  | x |"
    assert shown(0.5) == "0.500"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in STUDIES]
)
def test_every_study_runs_at_its_quickest(name: str, models: Models, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    workspace = init_workspace(tmp_path)
    result = run(name, quick(name, models), where="test", workspace=workspace)
    found = json.loads(Path(result.files["results"]).read_text())
    assert found["rows"] and "simulated" in found["judge"] and found["seeds"] == [0, 1]
    ET.parse(result.files["plot"])
    for row in found["rows"]:
        for cell in row.values():
            assert not isinstance(cell, dict) or cell["count"] == 2


def test_reward_data_learns_from_what_people_judged_too(models: Models, tmp_path: Path) -> None:
    """Rankings in both designs, comparisons in one; held-out prompts are others than those learned from."""
    torch.set_num_threads(1)
    sets = {write_rows(tmp_path / f"{kind}.jsonl", made): kind for kind, made in (("rankings", rankings()), ("comparisons", comparisons()))}  # fmt: skip
    settings = quick("reward-data", models) | {
        "sizes": [4],
        "sets": sets,
        "set_sizes": [4],
        "set_model": models["assistant"],
    }
    config: Any = parse(catalog.find("reward-data")[0], settings, where="test")
    result = run("reward-data", settings, where="test", workspace=init_workspace(tmp_path / "w"))
    found = json.loads(Path(result.files["results"]).read_text())
    told = [(row["set"], row["design"], row["comparisons"]) for row in found["rows"]]
    together, shuffled = reward_data.DESIGNS
    first, second = sets
    assert told[:2] == [("the world", together, told[0][2]), ("the world", shuffled, told[0][2])]
    assert told[2:] == [(first, together, told[2][2]), (first, shuffled, told[2][2]), (second, shuffled, 4)]
    assert any("People judged" in note for note in found["notes"])
    ET.parse(result.files["plot"])
    for source in sets:
        judged, held_out = reward_data._judged(config, None, 0, source)  # type: ignore[arg-type]
        learned = {prompt_key(record) for record in judged}
        assert held_out and not learned & {prompt_key(pair) for pair in held_out}
    with pytest.raises(ConfigError, match="go together"):
        parse(catalog.find("reward-data")[0], settings | {"set_sizes": []}, where="test")


def test_best_of_n_is_compared_with_none_of_its_candidates(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    groups: list[list[Rollout]] = []

    def first(reward: object, drawn: list[list[Rollout]]) -> list[Rollout]:
        groups.extend(drawn)
        return [group[0] for group in drawn]

    monkeypatch.setattr(study, "best_of", first)
    monkeypatch.setattr(study.RewardModel, "load", lambda folder: LengthReward())
    config: Any = parse(catalog.find("roads")[0], quick("roads", models), where="test")
    found = Study.of("roads", config, init_workspace(tmp_path), lambda event: None)
    found.measure(models["assistant"], 0, reward="any", best_of_n=3)
    candidates = {rollout.seed for group in groups for rollout in group}
    assert len(candidates) == 3 * len(found.prompts(0))
    assert not candidates & {rollout.seed for rollout in found.reference_answers(0)}


@pytest.mark.slow
def test_a_broken_study_goes_on_and_ends_the_same(models: Models, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    settings = quick("kl", models)

    def breaking(event: Event) -> None:
        if event.kind == "message" and event.text.startswith("0.5-0"):
            raise KeyboardInterrupt

    broken, whole = init_workspace(tmp_path / "broken"), init_workspace(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run("kl", settings, where="test", workspace=broken, on_event=breaking)
    made = set(_cells(broken))
    assert made and len(made) < 6
    told: list[str] = []
    again = run("kl", settings, where="test", workspace=broken, on_event=lambda e: told.append(e.text))
    assert not [text for text in told if text.split(":")[0] in made], "a cell was made twice"
    unbroken = run("kl", settings, where="test", workspace=whole)
    one, other = (json.loads(Path(r.files["results"]).read_text())["rows"] for r in (again, unbroken))
    assert one == other
    other_settings = run("kl", settings | {"seeds": [0, 2]}, where="test", workspace=whole)
    assert other_settings.run != unbroken.run


def _cells(workspace: WorkspaceFolder) -> list[str]:
    return [path.stem for path in workspace.runs.glob("study-*/cells/*.json")]
