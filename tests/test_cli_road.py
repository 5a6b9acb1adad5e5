"""The whole road on the command line, with toy settings: every command in the order in which a user meets it.

Most commands run in this process, for speed; what only a process of its own can show (a kill, Ctrl-C, a pipe) has one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from amenable.cli.main import run

from .stage_makers import KINDS, assert_same_run, write_rows

SHAPE = "[pretrain.shape]\nhidden_size = 32\nnum_layers = 2\nnum_heads = 2\ncontext = 64\nvocab_size = 300\n"
TRAIN = "steps = 4\nunits_per_step = 8\nsave_every = 2\nvalidate_every = 2\n"


@dataclass(frozen=True)
class Road:
    """A workspace in which the road was walked: what each command printed, by its first words."""

    root: Path
    printed: Mapping[str, Any]


def recipe(data: Mapping[str, str]) -> str:
    """One recipe for all stages."""
    kinds = {
        "pretrain": "documents",
        "sft": "demonstrations",
        "reward": "comparisons",
        "ppo": "prompts",
        "dpo": "comparisons",
        "kto": "labels",
    }
    models = {"sft": 'model = "run:pretrain-1"\n', "ppo": 'reward = "run:reward-1"\nsampling = { max_tokens = 8 }\n'}
    text = SHAPE
    for stage, kind in kinds.items():
        model = "" if stage in ("pretrain", "sft") else 'model = "run:sft-1"\n'
        more = "dump_batches = true\n" if stage == "ppo" else ""
        text += f"[{stage}]\n{model}{models.get(stage, '')}data = {{ train = [{json.dumps(data[kind])}] }}\n"
        text += f"[{stage}.train]\n{TRAIN}{more}"
    return text


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    root = tmp_path_factory.mktemp("road")
    data = {kind: write_rows(root / f"{kind}.jsonl", make()) for kind, make in KINDS.items()}
    (root / "road.toml").write_text(recipe(data))
    before = Path.cwd()
    os.chdir(root)
    printed: dict[str, Any] = {}
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("AMENABLE_WORKSPACE", raising=False)
            assert run(["init"]) == 0
            for stage in ("pretrain", "sft", "reward", "ppo", "dpo", "kto"):
                printed[stage] = as_json(stage, "road.toml", "--quiet")
            printed["sample"] = as_json("sample", "model=run:sft-1", 'prompts=["Hi", "Ho"]', "sampling.max_tokens=5")
            models = 'models=["before=run:sft-1", "after=run:ppo-1", "best=run:sft-1@best-of-2"]'
            few = ("limit=6", "sampling.max_tokens=6", 'showcase=["Hi"]', "reward=run:reward-1")
            printed["evaluate"] = as_json("evaluate", models, f"data={data['prompts']}", *few)
        yield Road(root, printed)
    finally:
        os.chdir(before)


def as_json(*args: str) -> Any:
    """What a command prints with --json: exactly one document on stdout."""
    import contextlib
    import io

    seen = io.StringIO()
    with contextlib.redirect_stdout(seen):
        assert run([*args, "--json"]) == 0
    return json.loads(seen.getvalue())


@pytest.fixture
def at(road: Road, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(road.root)
    monkeypatch.delenv("AMENABLE_WORKSPACE", raising=False)
    return road.root


def process(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [sys.executable, "-m", "amenable", *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)


def test_every_stage_prints_its_run_and_makes_its_model(road: Road) -> None:
    for stage in ("pretrain", "sft", "reward", "ppo", "dpo", "kto"):
        result = road.printed[stage]
        assert (result["run"], result["steps"], result["stopped"]) == (f"{stage}-1", 4, None)
        assert (Path(result["model"]) / "config.json").exists() and result["metrics"]
    assert [r["prompt"] for r in road.printed["sample"]["details"]["responses"]] == ["Hi", "Ho"]
    ladder = road.printed["evaluate"]["details"]["ladder"]
    assert [row["model"] for row in ladder] == ["before", "after", "best"] and ladder[0]["win_rate"] == 0.5
    assert "<html" in Path(road.printed["evaluate"]["files"]["report"]).read_text()[:500]


def test_runs_are_listed_shown_compared_and_replayed(at: Path) -> None:
    listed = {r["run"]: r for r in as_json("runs", "list")}
    assert all(r["status"] == "finished" for r in listed.values()), listed
    assert listed.keys() >= {"pretrain-1", "kto-1", "sample-1", "evaluate-1"} and listed["ppo-1"]["step"] == 4
    assert as_json("runs", "show", "ppo-1")["last"]["kl"] is not None
    compared = as_json("runs", "compare", "sft-1", "dpo-1")
    assert compared["last"]["loss"].keys() == {"sft-1", "dpo-1"} and "data.train" in compared["settings"]
    again = as_json("runs", "replay", "ppo-1", "2")
    logged = [json.loads(line) for line in Path("runs/ppo-1/metrics.jsonl").read_text().splitlines()]
    assert again["metrics"]["loss/policy"] == pytest.approx(logged[1]["loss/policy"], abs=1e-6)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["runs", "replay", "ppo-1", "9"], "dumped: 1, 2, 3, 4"),
        (["runs", "replay", "sft-1", "1"], "train.dump_batches=true dumps all"),
        (["runs", "resume", "sample-1"], "cannot be resumed"),
        (["runs", "resume", "pretrain-2"], "did you mean 'pretrain-1'"),
        (["models", "show", "run:sft-1@2"], "train.keep_models_every"),
    ],
)
def test_what_cannot_be_gone_back_to_is_said(
    at: Path, args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 1
    seen = capsys.readouterr()
    assert words in seen.err and seen.out == ""


def test_models_are_listed_verified_and_exported(at: Path, tmp_path: Path) -> None:
    names = [m["name"] for m in as_json("models", "list")]
    made = [f"run:{s}-1" for s in ("pretrain", "sft", "reward", "ppo", "dpo", "kto")]
    assert names == [*made, "starter", "assistant"]
    assert as_json("models", "verify", "run:ppo-1")["passed"] is True
    assert as_json("models", "show", "run:ppo-1")["run"] == "ppo-1"
    assert as_json("models", "export", "run:ppo-1", str(tmp_path / "out"))["bytes"] > 0
    pytest.importorskip("gguf")
    assert as_json("models", "export", "run:ppo-1", str(tmp_path / "out.gguf"), "--gguf")["tensors"] > 0


def test_data_goes_in_and_out_and_a_tokenizer_is_trained(at: Path, tmp_path: Path) -> None:
    assert as_json("data", "import", "comparisons.jsonl", "--project", "mine")["added"] == 60
    out = tmp_path / "back.jsonl"
    assert as_json("data", "export", "feedback:mine", str(out))["records"] == 60
    assert as_json("data", "check", str(out))["ok"] is True
    assert as_json("tokenizer", "train", "documents.jsonl", "--out", str(tmp_path / "t"), "--vocab-size", "280")
    rendered = process("data", "show", "demonstrations.jsonl", "--limit", "1", "--render", "--model", "run:sft-1")
    assert rendered.returncode == 0 and "⟦Yes," in rendered.stdout
    result = as_json("dpo", "road.toml", "data.train=feedback:mine", "train.steps=1", "--name", "from-feedback")
    assert result["steps"] == 1


def test_chat_reads_a_pipe(at: Path) -> None:
    said = "Hi\n/regenerate\n/temperature 0\n/system be kind\nHo\n/compare run:ppo-1\nHu\n/help\n/nonsense\n/quit\n"
    done = process("chat", "run:sft-1", "--max-tokens", "4", input=said)
    assert done.returncode == 0, done.stderr
    assert "[run:sft-1]" in done.stdout and "[run:ppo-1]" in done.stdout and "/regenerate" in done.stdout
    assert "temperature 0" in done.stderr and "there is no command /nonsense" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_broken_run_is_resumed_by_name(how: signal.Signals, at: Path) -> None:
    name = how.name.lower()
    more = ("train.steps=200", "train.save_every=5", "train.keep_models_every=100")
    if not (at / "runs" / "whole").exists():
        assert as_json("sft", "road.toml", *more, "--name", "whole", "--quiet")["steps"] == 200
    command = [sys.executable, "-m", "amenable", "sft", "road.toml", *more, "--name", name]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    metrics = at / "runs" / name / "metrics.jsonl"
    while child.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") > 12):
        pass
    child.send_signal(how)
    _, told = child.communicate(timeout=60)
    if how is signal.SIGINT:
        assert child.returncode == 130 and "Traceback" not in told
        assert "nothing is lost" in told and f"amenable runs resume {name}" in told
        assert {r["run"]: r["status"] for r in as_json("runs", "list")}[name] == "interrupted"
    else:
        assert child.returncode == -signal.SIGKILL
    assert as_json("runs", "resume", name, "--quiet")["steps"] == 200
    assert_same_run(at / "runs" / name, at / "runs" / "whole")


def test_a_run_of_the_same_name_is_refused(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sft", "road.toml", "--name", "sft-1"]) == 2
    assert "amenable runs resume sft-1" in capsys.readouterr().err


def test_settings_list_those_of_the_algorithm(at: Path) -> None:
    own = {s["name"]: s["default"] for s in as_json("ppo", "--settings")}
    assert own["algorithm.name"] == '"ppo"' and "algorithm.kl_coef" in own and "train.steps" in own
    other = {s["name"] for s in as_json("dpo", "algorithm.name=ipo", "--settings")}
    assert other & {"algorithm.tau", "algorithm.beta"} and "algorithm.kl_coef" not in other


@pytest.mark.parametrize(
    ("stage", "setting", "words"),
    [
        ("sft", "modle=x", "did you mean model?"),
        ("sft", "data.trian=x", "did you mean data.train?"),
        ("sft", "train.optimizer.learning_rat=1", "did you mean train.optimizer.learning_rate?"),
        ("sft", "train.optimizer.lr=1", "did you mean train.optimizer.learning_rate?"),
        ("sft", "train.optmizer.beta1=1", "did you mean train.optimizer?"),
        ("sft", "learning_rate=1", "did you mean train.optimizer.learning_rate?"),
        ("ppo", "algorithm.kl_cof=1", "did you mean algorithm.kl_coef?"),
        ("ppo", "algorithm.kl_coef=high", 'algorithm.kl_coef is "high"'),
        ("ppo", "sampling.temprature=1", "did you mean sampling.temperature?"),
        ("dpo", "algorithm.name=dop", "did you mean 'dpo'?"),
        ("dpo", "train=3", "it is a section: set train.steps"),
        ("dpo", "data.train=[1]", "data.train[0] is 1"),
    ],
)
def test_misspelt_settings_name_the_nearest(
    at: Path, stage: str, setting: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sorted(p.name for p in (at / "runs").iterdir())
    assert run([stage, "road.toml", setting]) == 2
    assert words in capsys.readouterr().err
    assert sorted(p.name for p in (at / "runs").iterdir()) == runs
