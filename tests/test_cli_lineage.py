"""Models kept on the way of a run, and lineage: from a person to the models that learned from them, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amenable.cli.main import run
from amenable.config.folder import WorkspaceFolder, resolve_model
from amenable.data.source import load
from amenable.errors import ModelError, StoreError
from amenable.feedback.parts import Compared
from amenable.feedback.store import NewGeneration, Store
from amenable.models.folder import model_hash, read_metadata
from amenable.stages.resume import resume
from amenable.types import Prompt, user

from .stage_makers import (
    COLOURS,
    THINGS,
    Broken,
    assert_same_run,
    assert_same_weights,
    breaking_at,
    question,
    rows,
    start,
    toys,
    workspace,
)

__all__ = ["toys", "workspace"]


# run:NAME@STEP


@pytest.mark.parametrize(
    "stage", ["sft", pytest.param("reward", marks=pytest.mark.slow), pytest.param("ppo", marks=pytest.mark.slow)]
)
def test_models_are_kept_on_the_way_without_disturbing_it(stage, toys, workspace):
    adapted = () if stage == "ppo" else ("lora.rank=2", "lora.dropout=0.1")
    plain = start(stage, toys.mapping(stage, *adapted), workspace, "plain")
    keeping = toys.mapping(stage, *adapted, "train.keep_models_every=2")
    start(stage, keeping, workspace, "keeping")
    assert_same_run(workspace.run("keeping"), workspace.run("plain"))
    assert list(workspace.kept_models("keeping")) == [2, 4, 6]
    shorter = toys.mapping(stage, *adapted, "train.optimizer.schedule=constant", "train.optimizer.warmup_share=0")
    longer = {**shorter, "train": {**shorter["train"], "keep_models_every": 4}}
    start(stage, longer, workspace, "longer")
    shorter["train"] = {**shorter["train"], "steps": 4}
    start(stage, shorter, workspace, "shorter")
    kept = resolve_model("run:longer@4", workspace)
    if stage != "reward":  # whose head is shifted at the end only
        assert_same_weights(kept, workspace.run("shorter") / "model")
    assert (kept / "tokenizer.json").exists() and read_metadata(kept)["steps"] == 4
    with pytest.raises(ModelError, match="keeps no model of step 3"):
        resolve_model("run:longer@3", workspace)
    with pytest.raises(ModelError, match="keeps no model"):
        resolve_model("run:plain@2", workspace)
    assert plain.model is not None


def test_kept_models_are_listed_and_answer(toys, workspace, capsys):
    start("sft", toys.mapping("sft", "train.keep_models_every=3"), workspace, "a")
    capsys.readouterr()
    assert run(["models", "list", "--json", "--workspace", str(workspace.root)]) == 0
    assert [m["name"] for m in json.loads(capsys.readouterr().out)] == [
        *("run:a", "run:a@3", "run:a@6"), *("starter", "assistant"),
    ]  # fmt: skip
    args = ["sample", "model=run:a@3", "prompts=Hi", "sampling.max_tokens=3", "--workspace", str(workspace.root)]
    assert run(args) == 0


# Lineage


def collect(database: str, labeler: str, project: str, things: tuple[str, ...]) -> None:
    """A person compares answers about some things."""
    with Store.open(database) as store:
        for thing in things:
            for colour in COLOURS:
                prompt = Prompt(id=f"{thing}-{colour}", messages=(user(question(colour, thing)),))
                [number] = store.add_prompts(project, [prompt])
                texts = (f"Yes, it is {colour}.", f"No idea, {thing}.")
                good, bad = store.add_generations(number, [NewGeneration(text=text) for text in texts])
                store.add_annotation(number, [Compared(chosen=good, rejected=bad)], labeler=labeler)


@pytest.fixture
def taught(toys, workspace) -> tuple[WorkspaceFolder, dict[str, str]]:
    """ann's comparisons taught a reward model, which taught a policy; dpo learned from bob's, sft from nobody's."""
    database = workspace.database
    collect(database, "ann", "helpful", THINGS[:5])
    collect(database, "bob", "other", THINGS[5:])
    sft = start("sft", toys.mapping("sft"), workspace, "sft").model
    short = ("train.steps=2", "data.held_out_share=0.0", f"model={sft}")
    start("reward", toys.mapping("reward", *short, "data.train=feedback:helpful"), workspace, "rm")
    start("ppo", toys.mapping("ppo", *short, "reward=run:rm"), workspace, "ppo")
    start("dpo", toys.mapping("dpo", *short, "data.train=feedback:other"), workspace, "dpo")
    start("dpo", toys.mapping("dpo", *short, "model=run:dpo"), workspace, "dpo-again")
    return workspace, {name: model_hash(workspace.run(name) / "model") for name in workspace.run_names()}


def test_from_a_person_to_the_models_that_learned_from_them_and_back(taught):
    workspace, made = taught
    with Store.open(workspace.database) as store:
        ann, bob = store.lineage_of(labeler="ann"), store.lineage_of(labeler="bob")
        assert set(ann.runs) == {"rm", "ppo"} and set(ann.models) == {made["rm"], made["ppo"]}
        assert set(bob.models) == {made["dpo"], made["dpo-again"]}
        assert store.lineage_of(model=made["ppo"]).labelers == ("ann",)
        assert store.lineage_of(model="run:dpo-again").labelers == ("bob",)
        assert store.lineage_of(model=made["sft"]).labelers == ()
        [snapshot] = ann.snapshots
    data = json.loads((workspace.run("rm") / "data.json").read_text())
    assert data["feedback:helpful"]["snapshot"] == snapshot
    assert len(load(f"feedback:helpful@{snapshot}", "comparisons", database=workspace.database).records) == 30
    with pytest.raises(StoreError, match="holds comparisons of 'helpful'"):
        load(f"feedback:other@{snapshot}", "comparisons", database=workspace.database)


def test_a_run_goes_on_with_the_feedback_that_it_began_with(toys, workspace):
    collect(workspace.database, "ann", "helpful", THINGS[:5])
    mapping = toys.mapping("dpo", "data.train=feedback:helpful")
    start("dpo", mapping, workspace, "whole")
    with pytest.raises(Broken):
        start("dpo", mapping, workspace, "broken", breaking_at(3, "dpo"))
    collect(workspace.database, "bob", "helpful", THINGS[5:])
    resume(workspace.run("broken"))
    assert rows(workspace.run("broken")) == rows(workspace.run("whole"))
    assert_same_weights(workspace.run("broken") / "model", workspace.run("whole") / "model")


def test_equal_models_of_two_runs_are_said_to_be_equal(toys, workspace):
    Store.open(workspace.database).close()
    told: list[str] = []
    for name in ("one", "two"):
        start("sft", toys.mapping("sft"), workspace, name, lambda event: told.append(event.text))
    assert any("already known to come of run 'one'" in text for text in told)


def test_a_run_without_feedback_is_told_from_one_that_is_not_there(toys, workspace, capsys):
    start("sft", toys.mapping("sft"), workspace, "sft")
    for thing, words in (
        ("sft", "learned from no feedback"),
        ("run:sft", "learned from no feedback"),
        ("x", "nothing named"),
    ):
        assert run(["--workspace", str(workspace.root), "lineage", thing]) == 1
        assert words in capsys.readouterr().err


def test_without_a_database_nothing_is_noted(toys, workspace):
    start("sft", toys.mapping("sft"), workspace, "sft")
    assert not Path(workspace.database).exists()
