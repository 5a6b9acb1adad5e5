"""`study flan`: what is held out stays out, held-out tasks are divided once, and the whole runs small and goes on."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch

from amenable.config.folder import init_workspace
from amenable.config.settings import parse, undocumented
from amenable.data.tasks import LoadedTask, Options, load_tasks, mixture
from amenable.data.templates import Task
from amenable.errors import ConfigError, DataError
from amenable.stages.events import ignore
from amenable.studies import catalog
from amenable.studies.flan import WAYS, Config, Tuning, _Bench, few_wordings, mean_of
from amenable.studies.study import Grid, run
from amenable.types import Demonstration, assistant, user

THINGS = ("cat", "dog", "hat", "sun", "cup", "bee", "owl", "key", "jam", "log")


def write_task(folder: Path, name: str, cluster: str, options: tuple[str, ...]) -> str:
    templates = ["Is the {thing} {colour}?", "The {thing} is {colour}. Say so."]
    given = f"cluster = {json.dumps(cluster)}\nfields = ['thing', 'colour']\ntemplates = {json.dumps(templates)}\n"
    (folder / f"{name}.toml").write_text(given + (f"options = {json.dumps(options)}\n" if options else ""))
    rows = [
        {"thing": f"{name} {t}", "colour": c, "answer": options[len(t + c) % 2] if options else f"So it is, {t}."}
        for t in THINGS
        for c in ("red", "blue", "green")
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return f"{folder}/{name}.toml@{folder}/{name}.jsonl"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    sets = [
        write_task(tmp_path, "one", "entailment", ("yes", "no")),
        write_task(tmp_path, "two", "talk", ()),
        write_task(tmp_path, "three", "colours", ("yes", "no")),
        write_task(tmp_path, "four", "things", ()),
    ]
    return catalog.settings("flan", quick=True) | {
        "sets": sets, "text": ["world:seed=0,size=40000"], "context": 128, "vocab_size": 500,
    }  # fmt: skip


def bench(settings: dict[str, Any], folder: Path) -> _Bench:
    config: Any = parse(Config, settings, where="test")
    return _Bench(config, Grid.open("flan", config, init_workspace(folder), ignore))


def test_packaged_settings_are_right_and_documented() -> None:
    full: Any = parse(Config, catalog.settings("flan"), where="flan")
    small: Any = parse(Config, catalog.settings("flan", quick=True), where="flan")
    assert len(full.seeds) >= 3 and len(full.widths) == 3 and full.templates == (1, 4, 10)
    told = {setting.name: setting.default for setting in catalog.describe_settings("flan", catalog.settings("flan"))}
    assert (
        json.loads(told["sets"]) == list(full.sets) and "\n" not in told["sets"]
    )  # a row of a table has no second line
    assert small.steps < full.steps and full.held_out[0] == "entailment" and not undocumented(Config)


@pytest.mark.parametrize("name", catalog.names())
def test_every_setting_of_a_study_is_told_in_one_line(name: str) -> None:
    told = catalog.describe_settings(name, catalog.settings(name))
    assert told and not [setting.name for setting in told if "\n" in str(setting.default)]


def test_a_held_out_task_is_divided_once_and_its_tests_are_for_testing(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    [spec] = bench(settings, tmp_path / "w").held("entailment")
    [task] = load_tasks((spec,))
    train, test = task.side("train"), task.side("test")
    assert len(train) + len(test) == 30 and 2 <= len(test) < 20 and task.task.options == ("yes", "no")
    assert not {json.dumps(r.meta["fields"]) for r in train} & {json.dumps(r.meta["fields"]) for r in test}
    again = load_tasks(bench(settings, tmp_path / "other").held("entailment"))[0]
    assert [r.id for r in again.side("test")] == [r.id for r in test]


def test_clusters_are_added_in_an_order_of_the_seed_and_the_held_out_one_never(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    found = bench(settings, tmp_path / "w")
    known = found.clusters("entailment")
    assert known == ["colours", "talk", "things"]
    two = {seed: found.first_clusters("entailment", known, 2, seed) for seed in range(8)}
    assert len({t.clusters for t in two.values()}) > 1
    for seed, tuning in two.items():
        assert set(found.first_clusters("entailment", known, 1, seed).clusters) < set(tuning.clusters)
    assert found.first_clusters("entailment", known, 3, 0) == Tuning("entailment", found.middle, found.config.wordings)
    sets = tuple(settings["sets"])
    records, _ = mixture(Options(sets=sets, held_out=("entailment",), clusters=("talk",)))
    assert {r.task for r in records if r.split == "train"} == {"two"}
    with pytest.raises(DataError, match="no task or cluster 'tlak'"):
        mixture(Options(sets=sets, clusters=("tlak",)))


def test_fewer_wordings_of_a_set_are_drawn_and_the_held_out_task_is_never_among_the_examples(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    found = bench(settings | {"cap": 30, "steps": 20}, tmp_path / "w")
    tasks = found.apart("entailment")
    for seed in range(4):
        few = few_wordings(tasks, 1, seed)
        assert [len(t.task.templates) for t in few] == [1, 1, 1, 1]
    assert len({t.task.templates for seed in range(8) for t in few_wordings(tasks, 1, seed)}) == 2
    assert few_wordings(tasks, 2, 0) == tasks
    worded = found.examples(Tuning("entailment", 32, 1, clusters=("talk", "things")), 0)
    rows = [json.loads(line) for line in worded.read_text().splitlines()]
    assert {r["task"] for r in rows} == {"two", "four"} and {r["split"] for r in rows} == {"train"}
    assert len({r["id"] for r in rows}) == len(rows) and len(rows) <= 20 * settings["units_per_step"]


def test_a_t0_template_is_one_wording_of_its_set() -> None:
    record = Demonstration(
        id="1", messages=(user("q"), assistant("a")), meta={"fields": {"prompt": "q"}}, split="train"
    )
    of_paws = Task(cluster="paraphrase", fields=("prompt",), templates=("{prompt}",))
    tasks = [LoadedTask(f"paws_labeled_final_{n}", of_paws, (record,)) for n in "abcdef"]
    mnli = LoadedTask("mnli", of_paws.replace(templates=("{prompt}", "So: {prompt}", "Well: {prompt}")), (record,))
    names = [t.name for t in few_wordings([*tasks, mnli], 2, 0)]
    assert len(names) == 3 and names[-1] == "mnli"  # two templates of PAWS, and two wordings of MNLI
    assert len(few_wordings([mnli], 2, 0)[0].task.templates) == 2


def test_a_figure_keeps_its_interval_over_examples_where_all_seeds_agree(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """Of two tasks with half-widths 0.3 and 0.4 the mean has 0.5 / 2; the seeds share the examples, so more seeds narrow nothing."""
    tasks = [
        {"accuracy": a, "low": a - half, "high": a + half, "examples": n, "commonest": c, "shortened": 0.25}
        for a, half, n, c in ((0.3, 0.3, 100, 1.0), (0.5, 0.4, 50, 0.8))
    ]
    cell = mean_of(tasks)
    assert {name: round(value, 9) for name, value in cell.items()} == {
        "accuracy": 0.4, "low": 0.15, "high": 0.65, "examples": 150, "commonest": 0.9, "shortened": 0.25,
    }  # fmt: skip
    found = bench(settings, tmp_path / "w")._score({0: cell, 1: cell})
    assert (found.accuracy.low, found.accuracy.high) == (found.accuracy.value,) * 2
    assert (round(found.examples.low, 9), round(found.examples.high, 9), found.examples.count) == (0.15, 0.65, 150)
    assert (found.commonest, found.shortened) == (0.9, 0.25)
    apart = bench(settings, tmp_path / "w")._score({0: cell, 1: {**cell, "accuracy": 0.9}})
    assert (apart.accuracy.low, apart.accuracy.high) == (0.0, 1.0)  # no accuracy of -2.5


def test_a_cluster_without_options_cannot_be_held_out(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no task with options"):
        bench(settings, tmp_path / "w").held("talk")


@pytest.mark.slow
def test_the_study_runs_at_its_quickest_and_goes_on(settings: dict[str, Any], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    workspace = init_workspace(tmp_path / "w")
    result = run("flan", settings, where="test", workspace=workspace)
    found = json.loads(Path(result.files["results"]).read_text())
    rows = found["rows"]
    assert [r["what"] for r in rows if r["part"] == "ways"] == list(WAYS)
    assert {r["part"] for r in rows} == {"ways", "clusters", "size", "wordings and LoRA"}
    assert all(r["guessing"] == 0.5 and r["accuracy"]["count"] == 2 for r in rows) and "judge" not in found
    for row in rows:
        over = row["over examples"]
        assert over["low"] <= over["value"] <= over["high"] and over["high"] - over["low"] > 0.1  # four examples
        assert 0 < row["one answer"] <= 1 and 0 <= row["shots cut"] <= 1
    assert "entailment (1 task)" in found["notes"][0] and any("nats per token" in note for note in found["notes"])
    drawn = "".join(ET.parse(result.files["plot"]).getroot().itertext())
    assert "guessing, entailment" in drawn
    made = {p: p.stat().st_mtime_ns for p in workspace.runs.glob("study-flan-*/**/*.safetensors")}
    told: list[str] = []
    again = run("flan", settings, where="test", workspace=workspace, on_event=lambda e: told.append(e.kind))
    assert json.loads(Path(again.files["results"]).read_text())["rows"] == rows
    assert made and made == {p: p.stat().st_mtime_ns for p in made} and told == ["done"]
