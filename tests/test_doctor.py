"""`amenable doctor`: what it says is what is chosen, and a forecast is made of the run's own steps and leaves nothing."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from amenable.cli.main import run
from amenable.config.settings import parse
from amenable.models import compile, paths
from amenable.stages import doctor, trial
from amenable.stages.catalog import find
from amenable.stages.trial import Forecast

from .stage_makers import rows, start, toys, workspace

__all__ = ["toys", "workspace"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(trial, "TRIAL_STEPS", (3, 3))
    monkeypatch.setattr(doctor, "TIMES", 1)


def forecast(toys, workspace, stage, *overrides) -> Forecast:
    config_type, function = find(stage)
    return doctor.forecast(function, parse(config_type, toys.mapping(stage, *overrides), where="test"), workspace)


@pytest.mark.parametrize("stage", ["pretrain", "sft", "reward", "dpo", "kto", "ppo"])
def test_a_forecast_adds_up_and_leaves_nothing(stage, toys, workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = forecast(toys, workspace, stage, "train.steps=60", "train.save_every=25", "train.validate_every=20")
    assert (found.steps, found.checkpoints) == (60, 3)  # after 25, 50 and at the end
    assert found.validations == 3
    assert min(found.preparing, found.step, found.checkpoint, found.tokens_per_second) > 0
    assert found.samples == (4 if stage in ("sft", "dpo", "kto") else 0)  # at step 0 and with each validation
    parts = found.preparing + 60 * found.step + 3 * found.validation + 3 * found.checkpoint
    parts += found.samples * found.sample
    assert found.seconds == pytest.approx(parts)
    assert workspace.run_names() == [] and list(tmp_path.glob("amenable-trial-*")) == []


def test_a_forecast_tries_the_settings_that_the_run_will_have(toys, workspace, monkeypatch):
    """The trial takes the batches of the run itself: as many tokens a step, counted by a clock that stands."""
    ran = start("sft", toys.mapping("sft", "train.steps=3", "train.units_per_step=4"), workspace, "real")
    tokens = sum(row["num_tokens"] for row in rows(ran.path)) / 3
    found = forecast(toys, workspace, "sft", "train.steps=9", "train.units_per_step=4")
    assert found.steps == 9
    assert found.tokens_per_second * found.step == pytest.approx(tokens)


def test_doctor_says_what_is_chosen(toys, workspace, capsys):
    root = str(workspace.root)
    assert run(["doctor", "--json", "--workspace", root, "--model", str(toys.sft)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["paths"]["paths"]["training"] == paths.choose().paths.training
    assert said["machine"]["processor"] == paths.processor()
    assert set(said["tokens_per_second"]) == {"learning", "writing, 1 at a time", "writing, 16 at a time"}
    assert min(said["tokens_per_second"].values()) > 0
    assert said["forecast"] is None


def test_doctor_forecasts_a_recipe(toys, workspace, capsys, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'model = "{toys.sft}"\n[data]\ntrain = ["{toys.mapping("sft")["data"]["train"][0]}"]\n')
    root = str(workspace.root)
    assert run(["doctor", "sft", str(recipe), "train.steps=7", "--workspace", root]) == 0
    out = capsys.readouterr().out
    assert "forecast of sft" in out and "steps\t7\t" in out and "chosen" in out
    assert run(["doctor", "sfd", "--workspace", root]) == 2
    assert "did you mean 'sft'" in capsys.readouterr().err


def test_a_compiler_is_found_or_not(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert compile.compiler() is None
    assert "none" in doctor.machine()["compiler"]
    (tmp_path / "g++").write_text("#!/bin/sh\n")
    Path(tmp_path / "g++").chmod(0o755)
    assert compile.compiler() == str(tmp_path / "g++")
