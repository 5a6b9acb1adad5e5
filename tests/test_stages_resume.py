"""Resume bit for bit: a run broken off at any moment and resumed equals one that never was."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from amenable.config.runs import about
from amenable.errors import CheckpointError, ResumeError
from amenable.stages.ctrl_c import Interrupted
from amenable.stages.events import Event
from amenable.stages.resume import resume
from amenable.stages.steps import make_run
from amenable.train import checkpoint
from amenable.train.run_folder import hold

from .stage_makers import (
    Broken,
    assert_same_run,
    assert_same_weights,
    break_and_resume,
    breaking_at,
    child,
    rows,
    start,
    toys,
    without_speed,
    workspace,
)

__all__ = ["toys", "workspace"]

CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "pretrain": ("pretrain", ()),
    "pretrain-muon": ("pretrain", ("train.optimizer.name=muon",)),
    "sft": ("sft", ("train.inner_epochs=2",)),
    "sft-lora-dropout": ("sft", ("lora.rank=2", "lora.dropout=0.2")),
    "sft-ptx": ("sft", ("algorithm.ptx_weight=0.5", "ptx.train=[DOCUMENTS]", "ptx_rows_per_step=3")),
    "reward-pairwise": ("reward", ("data.train=[COMPARISONS]",)),
    "reward-ranking": ("reward", ("algorithm.name=reward_ranking", "data.train=[RANKINGS]")),
    "reward-rating": ("reward", ("algorithm.name=reward_rating", "data.train=[RATINGS]")),
    "reward-label": ("reward", ("algorithm.name=reward_label", "data.train=[LABELS]")),
    "dpo": ("dpo", ()),
    "dpo-lora": ("dpo", ("lora.rank=2",)),
    "kto": ("kto", ("train.minibatches=2",)),
    "ppo-own-ptx-adaptive": (
        "ppo",
        ("algorithm.ptx_weight=0.5", "ptx.train=[DOCUMENTS]", "ptx_rows_per_step=3", "algorithm.kl_target=2.0"),
    ),
    "ppo-shared": ("ppo", ("algorithm.critic=shared", "responses_per_prompt=2")),
    "ppo-overlap": ("ppo", ("overlap=true", "responses_per_prompt=2")),
    "ppo-lora": ("ppo", ("lora.rank=2", "critic=REWARD")),
}


def recipe(toys, case):
    stage, overrides = CASES[case]
    names = {k.upper(): json.dumps(v) for k, v in {**toys.data, "reward": toys.reward}.items()}
    for name, path in names.items():
        overrides = tuple(o.replace(f"[{name}]", f"[{path}]").replace(f"={name}", f"={path}") for o in overrides)
    return stage, toys.mapping(stage, *overrides)


@pytest.mark.parametrize("case", CASES)
def test_a_broken_run_goes_on_bit_for_bit(case, toys, workspace):
    stage, mapping = recipe(toys, case)
    whole = start(stage, mapping, workspace, "whole")
    again = break_and_resume(stage, mapping, workspace, step=5)
    assert [row["step"] for row in rows(whole.path)] == [1, 2, 3, 4, 5, 6]
    assert_same_run(again.path, whole.path)
    assert without_speed(again.metrics) == without_speed(whole.metrics)


def kill_somewhere(stage, mapping, workspace, name, *, after, jitter_s):
    """SIGKILL a run in a process of its own, a random while after a step was told, long before its last."""
    with child(stage, mapping, workspace, name) as process:
        for line in process.stdout:
            if line.strip() == str(after):
                break
        else:
            raise AssertionError(process.stderr.read())
        time.sleep(random.uniform(0, jitter_s))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (workspace.runs / name / "model" / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_goes_on_bit_for_bit(case, toys, workspace):
    stage, mapping = recipe(toys, case)
    mapping["train"]["steps"] = 16
    whole = start(stage, mapping, workspace, "whole")
    kill_somewhere(stage, mapping, workspace, "killed", after=3, jitter_s=0.2)
    assert about(workspace.run("killed"))["status"] == "interrupted"  # although its last word is that it runs
    again = resume(workspace.run("killed"))
    assert_same_run(again.path, whole.path)


@pytest.mark.slow
def test_killed_over_and_over(toys, workspace):
    """Many kills at random moments, in loading, learning and writing alike."""
    stage, mapping = recipe(toys, "ppo-shared")
    mapping["train"] |= {"steps": 12, "save_every": 1}
    whole = start(stage, mapping, workspace, "whole")
    kill_somewhere(stage, mapping, workspace, "killed", after=2, jitter_s=0.05)
    code = "import sys, torch; torch.set_num_threads(1); from pathlib import Path; from amenable.stages.resume import resume; print('up', flush=True); resume(Path(sys.argv[1]))"
    import subprocess
    import sys

    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code, str(workspace.run("killed"))], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(random.uniform(0.2, 1.5))
        process.kill()
        process.wait()
        process.stdout.close()
    again = resume(workspace.run("killed"))
    assert_same_run(again.path, whole.path)


def test_ctrl_c_writes_a_checkpoint_that_goes_on_just_so(toys, workspace):
    stage, mapping = recipe(toys, "ppo-shared")
    mapping["train"] |= {"steps": 8, "save_every": 0}
    whole = start(stage, mapping, workspace, "whole")
    with child(stage, mapping, workspace, "stopped") as process:
        for line in process.stdout:
            if line.strip() == "3":
                break
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        said = process.stderr.read()
    assert process.returncode == 1 and "Interrupted" in said and "runs resume stopped" in said, said
    assert Interrupted.exit_code == 130
    run = workspace.run("stopped")
    status = json.loads((run / "status.json").read_text())
    assert status["status"] == "interrupted" and "Ctrl-C after step" in status["why"]
    again = resume(run)
    assert_same_run(again.path, whole.path)
    assert json.loads((run / "status.json").read_text())["status"] == "finished"


def test_a_model_that_is_to_be_kept_is_kept_whenever_the_run_stops(toys, workspace):
    """Ctrl-C at the very step, and a kill as soon as the step's checkpoint is there."""
    mapping = toys.mapping("sft", "train.keep_models_every=2", "train.save_every=1")
    whole = start("sft", mapping, workspace, "whole")

    def press(event):
        if event.kind == "progress" and event.stage == "sft" and event.done == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        start("sft", mapping, workspace, "stopped", press)
    resume(workspace.run("stopped"))
    real = checkpoint.save
    with pytest.MonkeyPatch.context() as patch:

        def killed(folder, learner, source, progress, **given):
            real(folder, learner, source, progress, **given)
            if progress.step == 4:
                raise Broken

        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(Broken):
            start("sft", mapping, workspace, "killed")
    resume(workspace.run("killed"))
    for name in ("stopped", "killed"):
        assert list(workspace.kept_models(name)) == [2, 4, 6]
        for step, folder in workspace.kept_models(name).items():
            assert_same_weights(folder, workspace.kept_models("whole")[step])
        assert_same_run(workspace.run(name), whole.path)


def broken_run(toys, workspace, stage="sft", *overrides):
    """A run broken off at step 5 with checkpoints of steps 2 and 4."""
    with pytest.raises(Broken):
        start(stage, toys.mapping(stage, *overrides), workspace, "broken", breaking_at(5, stage))
    run = workspace.run("broken")
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step-000002", "step-000004"]
    return run


@pytest.mark.parametrize("damage", ["cut", "flipped", "no marker", "no state", "state cut"])
def test_a_damaged_checkpoint_is_left_out_with_a_warning(damage, toys, workspace):
    whole = start("sft", toys.mapping("sft"), workspace, "whole")
    run = broken_run(toys, workspace)
    newest = run / "checkpoints" / "step-000004"
    tensors, state = newest / "tensors.safetensors", newest / "state.json"
    content = bytearray(tensors.read_bytes())
    if damage == "cut":
        tensors.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-5] ^= 1
        tensors.write_bytes(content)
    elif damage == "no marker":
        (newest / "COMPLETE").unlink()
    elif damage == "no state":
        state.unlink()
    else:
        state.write_text(state.read_text()[:40])
    events: list[Event] = []
    again = resume(run, on_event=events.append)
    warnings = [e.text for e in events if e.kind == "warning"]
    assert len(warnings) == 1 and "step-000004" in warnings[0]
    assert any("going on after step 2" in e.text for e in events)
    assert_same_run(again.path, whole.path)
    # the checkpoint of step 4 was written anew and is sound now
    assert json.loads((run / "checkpoints" / "step-000004" / "state.json").read_text())["step"] == 4
    assert (run / "checkpoints" / "step-000004" / "COMPLETE").exists()


def test_without_a_sound_checkpoint_it_begins_again_and_says_so(toys, workspace):
    whole = start("sft", toys.mapping("sft"), workspace, "whole")
    run = broken_run(toys, workspace)
    for folder in (run / "checkpoints").iterdir():
        (folder / "tensors.safetensors").write_bytes(b"")
    events: list[Event] = []
    again = resume(run, on_event=events.append)
    assert len([e for e in events if e.kind == "warning" and "checkpoint" in e.text]) == 2
    assert any("going on after step 0" in e.text for e in events)
    assert_same_run(again.path, whole.path)


def test_copies_of_checkpoints_beside_them_are_left_alone(toys, workspace):
    def copies(event: Event) -> None:
        if event.stage == "sft" and event.done == 3:
            folder = workspace.run("r") / "checkpoints"
            shutil.copytree(folder / "step-000002", folder / "step-000002.bak")
        if event.stage == "sft" and event.done == 5:
            raise Broken

    with pytest.raises(Broken):
        start("sft", toys.mapping("sft", "train.steps=6", "train.save_every=2"), workspace, "r", copies)
    assert resume(workspace.run("r")).steps == 6
    assert (workspace.run("r") / "checkpoints" / "step-000002.bak" / "COMPLETE").exists()
    assert "step-000002.bak" not in about(workspace.run("r"))["checkpoints"]


def test_a_run_that_another_command_works_on_is_left_alone(toys, workspace):
    with pytest.raises(Broken):
        start("sft", toys.mapping("sft", "train.steps=4", "train.save_every=1"), workspace, "r", breaking_at(3, "sft"))
    status = (workspace.run("r") / "status.json").read_bytes()
    with hold(workspace.run("r")), pytest.raises(ResumeError, match="another command works on this run"):
        resume(workspace.run("r"))
    assert (workspace.run("r") / "status.json").read_bytes() == status
    assert resume(workspace.run("r")).steps == 4


def test_a_step_that_another_command_prepares_is_left_alone(toys, workspace):
    def make() -> Path:
        settings = toys.mapping("sft", "train.steps=1")
        return make_run("sft", "r", settings, workspace=workspace, on_event=lambda event: None, where="r")

    (run := workspace.runs / "r").mkdir(parents=True)
    with hold(run), pytest.raises(ResumeError, match="another command works on this run"):
        make()
    assert (run / ".lock").exists()
    assert make() == run  # what was cut before it began is made anew
    assert (run / "model").exists()


def test_a_run_is_running_as_long_as_a_process_works_on_it(toys, workspace, monkeypatch):
    with pytest.raises(Broken):
        start("sft", toys.mapping("sft", "train.steps=4", "train.save_every=1"), workspace, "r", breaking_at(3, "sft"))
    run = workspace.run("r")
    (run / "status.json").write_text('{"status": "running", "why": ""}')
    with hold(run):
        assert (about(run)["status"], about(run)["why"]) == ("running", "")
    assert (run / ".lock").exists()  # as a killed process leaves it
    assert about(run)["status"] == "interrupted" and "killed" in about(run)["why"]
    with hold(run):  # whoever looked does not hold it any more
        assert about(run)["status"] == "running"
    monkeypatch.setattr("amenable.config.runs.fcntl", None)
    assert about(run)["status"] == "running"  # nobody can say
    (run / ".lock").unlink()
    assert about(run)["status"] == "interrupted"


def test_the_lock_is_one_from_the_runs_beginning_to_its_end_and_after(toys, workspace):
    with pytest.raises(Broken):
        start("sft", toys.mapping("sft", "train.steps=4", "train.save_every=1"), workspace, "r", breaking_at(3, "sft"))
    lock = workspace.run("r") / ".lock"
    with lock.open() as waiting:  # as a command does that comes while the other one ends
        resume(workspace.run("r"))
        assert os.fstat(waiting.fileno()).st_ino == lock.stat().st_ino
    assert about(workspace.run("r"))["status"] == "finished"


def test_a_glance_at_a_run_does_not_keep_it_from_going_on(toys, workspace):
    run = workspace.runs / "r"
    run.mkdir(parents=True)
    glance = hold(run)
    threading.Timer(0.03, glance.close).start()
    hold(run).close()


def test_damaged_lines_of_the_metrics_are_left_out_and_told_of(toys, workspace):
    with pytest.raises(Broken):
        start("sft", toys.mapping("sft", "train.steps=6", "train.save_every=2"), workspace, "r", breaking_at(5, "sft"))
    file = workspace.run("r") / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([b"\xff\x00 garbage\n", *lines[1:], b'{"step": 5, "lo']))
    events = []
    resume(workspace.run("r"), on_event=events.append)
    assert [row["step"] for row in rows(workspace.run("r"))] == [2, 3, 4, 5, 6]
    assert "1 damaged lines of metrics.jsonl are left out" in [e.text for e in events if e.kind == "warning"]


@pytest.mark.parametrize("name", ["data.json", "environment.json", "config.toml"])
def test_a_run_that_misses_a_file_says_which(name, toys, workspace):
    with pytest.raises(Broken):
        start("sft", toys.mapping("sft", "train.steps=4", "train.save_every=1"), workspace, "r", breaking_at(3, "sft"))
    (workspace.run("r") / name).unlink()
    with pytest.raises(ResumeError, match=f"{name} is missing") as error:
        resume(workspace.run("r"))
    assert error.value.mend and "put it back" in error.value.mend


def test_a_finished_run_resumes_to_itself(toys, workspace):
    result = start("sft", toys.mapping("sft"), workspace, "done")
    before = (rows(result.path), shutil.copytree(result.path / "model", workspace.root / "copy"))
    again = resume(result.path)
    assert rows(result.path) == before[0] and again.metrics == result.metrics
    assert_same_weights(result.path / "model", before[1])


def test_a_run_that_stopped_early_does_not_go_on(toys, workspace):
    mapping = toys.mapping("ppo", "algorithm.max_kl=0.0001", "train.optimizer.learning_rate=0.01")
    result = start("ppo", mapping, workspace, "leashed")
    assert result.stopped and "max_kl" in result.stopped and 1 < result.steps < 6
    again = resume(result.path)
    assert again.steps == result.steps and again.stopped == result.stopped


def edit_data(run: Path, mapping) -> str:
    path = Path(mapping["data"]["train"][0])
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    return path.name


def edit_same_length_data(run: Path, mapping) -> str:
    path = Path(mapping["data"]["train"][0])
    path.write_text(path.read_text().replace("red", "tan"))
    return path.name


def edit_model(run: Path, mapping) -> str:
    file = Path(mapping["model"]) / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    return "model"


def edit_template(run: Path, mapping) -> str:
    file = Path(mapping["model"]) / "chat_template.jinja"
    file.write_text(file.read_text() + "{# other words #}")
    return "tokenizer: was"


def edit_tokenizer(run: Path, mapping) -> str:
    file = Path(mapping["model"]) / "tokenizer.json"
    vocabulary = json.loads(file.read_text())
    merges = vocabulary["model"]["merges"]
    merges[-1], merges[-2] = merges[-2], merges[-1]
    file.write_text(json.dumps(vocabulary))
    return "tokenizer: was"


def edit_version(run: Path, mapping) -> str:
    file = run / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "torch": "1.0.0"}))
    return "torch: was .*1.0.0"


def edit_config(run: Path, mapping) -> str:
    file = run / "config.toml"
    text = file.read_text()
    assert "learning_rate = 0.0003" in text
    file.write_text(text.replace("learning_rate = 0.0003", "learning_rate = 0.5"))
    return "learning_rate: was 0.0003, is 0.5"


EDITS = [edit_data, edit_same_length_data, edit_model, edit_template, edit_tokenizer, edit_version, edit_config]


@pytest.mark.parametrize("edit", EDITS)
def test_resume_refuses_with_the_difference_named(edit, toys, workspace, tmp_path):
    model = shutil.copytree(toys.sft, tmp_path / "base")
    data = shutil.copy(toys.data["demonstrations"], tmp_path / "mine.jsonl")
    overrides = (f"model={json.dumps(str(model))}", f"data.train=[{json.dumps(str(data))}]")
    run = broken_run(toys, workspace, "sft", *overrides)
    mapping = toys.mapping("sft", *overrides)
    before = (run / "metrics.jsonl").read_bytes()
    named = edit(run, mapping)
    with pytest.raises(ResumeError, match=named) as caught:
        resume(run)
    assert caught.value.where and caught.value.mend
    assert (run / "metrics.jsonl").read_bytes() == before


def test_resume_refuses_a_reward_that_reads_otherwise(toys, workspace, tmp_path):
    reward = shutil.copytree(toys.reward, tmp_path / "reward")
    run = broken_run(toys, workspace, "ppo", f"reward={json.dumps(str(reward))}")
    edit_template(run, {"model": reward})
    with pytest.raises(ResumeError, match=r"reward_tokenizers.*: was"):
        resume(run)


def test_threads_of_the_first_run_are_used_again(toys, workspace):
    import torch

    run = broken_run(toys, workspace)
    torch.set_num_threads(2)
    events: list[Event] = []
    try:
        resume(run, on_event=events.append)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)
    assert any("using 1 threads" in e.text for e in events)


def test_what_is_no_run_is_refused(toys, workspace):
    folder = workspace.runs / "empty"
    folder.mkdir()
    with pytest.raises(ResumeError, match="no run that had begun"):
        resume(folder)
    assert about(folder)["status"] == "preparing"  # what a run killed among its data looks like, too
    (folder / "config.toml").write_text('stage = "sample"\n')
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        resume(folder)
