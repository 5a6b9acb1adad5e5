"""The workspace folder: finding it, naming runs and models, and writing so that a kill loses nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from amenable.config.folder import (
    CHAT,
    WorkspaceFolder,
    check_disk,
    find_workspace,
    init_workspace,
    new_run,
    own_sampling,
    resolve_model,
    write_atomic,
)
from amenable.errors import AmenableError, ConfigError, ModelError, ResourceError


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    return init_workspace(tmp_path / "w")


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_workspace_is_found_from_below(workspace: WorkspaceFolder) -> None:
    deep = workspace.runs / "a" / "b"
    deep.mkdir(parents=True)
    assert find_workspace(deep) == workspace
    assert workspace.database == str(workspace.root / "amenable.db")


def test_no_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(AmenableError, match="amenable init"):
        find_workspace(tmp_path)


def test_init_leaves_an_existing_workspace_alone(workspace: WorkspaceFolder) -> None:
    workspace.settings.write_text('database = "postgresql+psycopg://host/db"\n')
    again = init_workspace(workspace.root)
    assert again.database == "postgresql+psycopg://host/db"


def test_a_misspelt_workspace_setting_is_refused(workspace: WorkspaceFolder) -> None:
    workspace.settings.write_text('databse = "x"\n')
    with pytest.raises(ConfigError, match="did you mean database"):
        workspace.config()


def test_runs_are_numbered_by_stage_and_never_shared(workspace: WorkspaceFolder) -> None:
    made = [new_run(workspace, "sft").name for _ in range(10)] + [new_run(workspace, "ppo").name]
    assert made == [f"sft-{i}" for i in range(1, 11)] + ["ppo-1"]
    assert new_run(workspace, "sft", "mine").name == "mine"
    with pytest.raises(ConfigError, match="already a run"):
        new_run(workspace, "sft", "mine")
    with pytest.raises(ConfigError, match="not a fit name"):
        new_run(workspace, "sft", "../x")
    with pytest.raises(AmenableError, match="did you mean 'mine'"):
        workspace.run("mime")


def test_a_model_is_found_by_path_name_run_and_step(workspace: WorkspaceFolder) -> None:
    named = make_model(workspace.models / "base")
    made = make_model(workspace.runs / "sft-1" / "model")
    early = make_model(workspace.runs / "sft-1" / "models" / "step-000020")
    assert resolve_model("base", workspace) == named
    assert resolve_model(str(named), None) == named
    assert resolve_model("run:sft-1", workspace) == made
    assert resolve_model("run:sft-1@20", workspace) == early


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("bse", "did you mean 'base'"),
        ("run:sft-2", "did you mean 'sft-1'"),
        ("run:sft-1@7", "kept steps: 20"),
        ("run:sft-1@", "kept steps: 20"),
        ("run:ppo-9", "has made no model yet"),
        ("models", "no model"),
    ],
)
def test_an_unknown_model_names_the_nearest(workspace: WorkspaceFolder, reference: str, words: str) -> None:
    make_model(workspace.models / "base")
    make_model(workspace.runs / "sft-1" / "model")
    make_model(workspace.runs / "sft-1" / "models" / "step-000020")
    (workspace.runs / "ppo-9").mkdir()
    with pytest.raises(ModelError, match=words):
        resolve_model(reference, workspace)


def test_write_atomic_replaces_whole_and_keeps_permissions(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomic(path, b"one")
    path.chmod(0o640)
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize(("number", "what"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota is used up")])
def test_a_full_disk_leaves_the_old_content(
    number: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_atomic(path, b"old")

    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=what):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_check_disk_counts_free_bytes_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    check_disk(tmp_path / "not" / "yet", 1)
    with pytest.raises(ResourceError, match="GB are needed"):
        check_disk(tmp_path / "not" / "yet", 10**18)


@pytest.mark.parametrize(
    ("said", "temperature", "top_k"),
    [
        ('{"do_sample": true, "temperature": 0.3, "top_k": 20}', 0.3, 20),
        ('{"do_sample": true, "temperature": null}', CHAT.temperature, 0),
        ('{"temperature": 0.3}', CHAT.temperature, 0),  # nothing is drawn by its makers' account
        ('{"do_sample": true, "temperature": -1}', CHAT.temperature, 0),
        ('{"do_sample": true, "temperature": NaN}', CHAT.temperature, 0),
        ("[1]", CHAT.temperature, 0),
        ("no JSON", CHAT.temperature, 0),
        (None, CHAT.temperature, 0),
    ],
)
def test_a_model_may_say_how_it_is_drawn_from(tmp_path: Path, said: str | None, temperature: float, top_k: int) -> None:
    if said is not None:
        (tmp_path / "generation_config.json").write_text(said)
    found = own_sampling(tmp_path)
    assert (found.temperature, found.top_k) == (temperature, top_k)
    assert (found.top_p, found.max_tokens) == (CHAT.top_p, CHAT.max_tokens)
