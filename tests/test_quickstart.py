"""The quickstart as a whole: interrupted and gone on with, it gives what an unbroken one gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amenable.config.folder import init_workspace
from amenable.config.settings import load_toml
from amenable.errors import ConfigError
from amenable.feedback.store import Store
from amenable.stages.events import Event
from amenable.stages.quickstart import Config, _open, run
from amenable.types import Label, user

SMALL = Config(effort=0.01, prompts=6, labelled=800)


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs" / "quickstart-1" / "report.json").read_text())
    return found


def test_what_was_instructed_needs_the_model_that_it_was_instructed_from(tmp_path: Path) -> None:
    workspace = init_workspace(tmp_path)
    with pytest.raises(ConfigError, match="sft without model"):
        run(Config(sft="assistant"), workspace=workspace)
    assert workspace.run_names() == []


def test_a_named_quickstart_goes_on_with_itself_and_takes_no_other_runs_name(tmp_path: Path) -> None:
    workspace = init_workspace(tmp_path)
    folder = _open(SMALL, workspace, "demo")
    assert _open(SMALL, workspace, "demo") == folder
    (folder / "report.json").write_text("{}")
    assert _open(SMALL, workspace, "demo") == folder
    (workspace.runs / "sft-1").mkdir()
    (workspace.runs / "sft-1" / "config.toml").write_text('stage = "sft"\n')
    (workspace.runs / "other-pretrain").mkdir()
    for name, taken in (("demo", "demo"), ("sft-1", "sft-1"), ("other", "other-pretrain")):
        with pytest.raises(ConfigError, match=f"already a run named '{taken}'"):
            _open(Config(seed=7, effort=3.0), workspace, name)
    with Store.open(workspace.database) as store:
        store.import_records("people", [Label(id="l", prompt=(user("Hi"),), response="Ho", label=True)])
    with pytest.raises(ConfigError, match="'people' is a project already"):
        _open(SMALL, workspace, "people")
    with pytest.raises(ConfigError, match="not a fit name"):
        _open(SMALL, workspace, "../outside")
    assert load_toml(workspace.runs / "sft-1" / "config.toml") == {"stage": "sft"}
    assert load_toml(folder / "config.toml")["effort"] == SMALL.effort
    assert sorted(workspace.run_names()) == ["demo", "other-pretrain", "sft-1"]


@pytest.mark.slow
def test_a_quickstart_goes_on_from_what_was_instructed_already(tmp_path: Path) -> None:
    config = Config(model="starter", sft="assistant", effort=0.02, prompts=4, labelled=400)
    result = run(config, workspace=init_workspace(tmp_path))
    made = {name.removeprefix("quickstart-1") for name in init_workspace(tmp_path).run_names()}
    assert made == {"", "-reward", "-ppo"}
    report = report_of(tmp_path)
    assert [row["model"] for row in report["ladder"]] == ["base", "few-shot base", "SFT", "best-of-4", "PPO"]
    assert load_toml(tmp_path / "runs" / "quickstart-1-ppo" / "config.toml")["model"] == "assistant"
    assert (tmp_path / "runs" / "quickstart-1-ppo" / "model") == Path(result.model)


@pytest.mark.slow
def test_an_interrupted_quickstart_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    """In a workspace that was moved since, too."""

    def stop(event: Event) -> None:
        if event.kind == "message" and "ranked" in event.text:
            raise KeyboardInterrupt

    def stop_in_ppo(event: Event) -> None:
        if event.stage == "ppo" and event.done == 1:
            raise KeyboardInterrupt

    run(SMALL, workspace=init_workspace(tmp_path / "unbroken"))
    broken = init_workspace(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, workspace=broken, on_event=stop)
    spent = json.loads((tmp_path / "broken" / "runs" / "quickstart-1" / "spent.json").read_text())["seconds"]
    assert spent > 0
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, workspace=broken, on_event=stop_in_ppo)
    (tmp_path / "broken").rename(tmp_path / "moved")
    result = run(SMALL, workspace=init_workspace(tmp_path / "moved"))
    assert result.run == "quickstart-1" and not (tmp_path / "broken").exists()

    one, other = report_of(tmp_path / "unbroken"), report_of(tmp_path / "moved")
    assert [row["model"] for row in one["ladder"]] == ["base", "few-shot base", "SFT", "best-of-4", "PPO"]
    assert one["ladder"] == other["ladder"]
    assert other["seconds"] > spent
    assert result.seconds == pytest.approx(other["seconds"], rel=0.2)
