"""`amenable diagnose`: each trouble provoked in a real run, and a healthy run that shows none."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from amenable.cli.main import run
from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.evals.curves import Curve
from amenable.evals.diagnose import RULES, Finding, correlation, diagnose, window
from amenable.types import Scored

from .stage_makers import Toys, start, toys, workspace  # noqa: F401 - fixtures


class Constant:
    """A reward that says the same of everything."""

    name = "constant"

    def score(self, items: Sequence[Scored]) -> list[float]:
        return [0.5] * len(items)


class Vowels:
    """A reward that depends on little, so that the policy can be driven far."""

    name = "vowels"

    def score(self, items: Sequence[Scored]) -> list[float]:
        return [float(item.response.strip().lower().count("e")) for item in items]


HERE = "tests.test_diagnose"
STEADY = "train.optimizer.schedule=constant"
MANY = "train.units_per_step=32"  # with fewer, another seed or processor may not show the trouble
PROVOKED: dict[str, tuple[str, tuple[str, ...]]] = {
    "KL explosion": (
        "ppo",
        (f"reward={HERE}:Vowels", "algorithm.kl_coef=0.0", "train.optimizer.learning_rate=0.003", STEADY,
         "sampling.max_tokens=16", MANY, "train.steps=20"),
    ),
    "length hacking": (
        "ppo",
        ("reward=length", "algorithm.kl_coef=0.0", "algorithm.truncated=score", "sampling.max_tokens=24",
         "train.optimizer.learning_rate=0.003", MANY, "train.steps=24"),
    ),
    "entropy collapse": (
        "ppo",
        (f"reward={HERE}:Vowels", "algorithm.kl_coef=0.0", "train.optimizer.learning_rate=0.005", STEADY, "train.inner_epochs=4",
         MANY, "train.steps=60"),
    ),
    "missing EOS": ("ppo", ("sampling.max_tokens=3", "train.steps=3")),
    "value not learning": ("ppo", ("train.optimizer.critic_learning_rate=1e-12", "train.steps=10")),
    "reward saturation": ("ppo", (f"reward={HERE}:Constant", "train.steps=4")),
    "ratio off 1": (
        "ppo",
        (f"reward={HERE}:Vowels", "train.inner_epochs=6", "train.optimizer.learning_rate=0.02", STEADY, "train.steps=4"),
    ),
    "overfitting": (
        "sft",
        ("train.steps=150", "train.validate_every=20", "train.optimizer.learning_rate=0.03", "data.held_out_share=0.5"),
    ),
    "not learning": ("sft", ("train.steps=20", "train.optimizer.learning_rate=1e-12")),
}  # fmt: skip


LONG = ("KL explosion", "length hacking", "entropy collapse", "overfitting", "value not learning")


@pytest.mark.parametrize("trouble", [pytest.param(t, marks=[pytest.mark.slow] * (t in LONG)) for t in PROVOKED])
def test_a_provoked_trouble_is_named(trouble: str, toys: Toys, workspace: WorkspaceFolder) -> None:  # noqa: F811
    stage, overrides = PROVOKED[trouble]
    result = start(stage, toys.mapping(stage, *overrides), workspace, "sick")
    found = {finding.trouble: finding for finding in diagnose(result.folder)}
    assert trouble in found, list(found) or (Path(result.folder) / "metrics.jsonl").read_text()[-600:]
    finding = found[trouble]
    assert any(sign.isdigit() for sign in finding.evidence) and finding.suggestion
    assert 1 <= finding.steps[0] <= finding.steps[1]


@pytest.mark.slow
def test_a_healthy_run_shows_none(toys: Toys, workspace: WorkspaceFolder) -> None:  # noqa: F811
    settings = ("reward=length", "train.steps=20", "train.units_per_step=24", "sampling.temperature=0.8", "sampling.max_tokens=32",
                "train.inner_epochs=4", "train.optimizer.learning_rate=1e-5", "train.optimizer.critic_learning_rate=0.003",
                STEADY, "algorithm.value_clip=10.0", "algorithm.trace=1.0", "algorithm.truncated=score")  # fmt: skip
    result = start("ppo", toys.mapping("ppo", *settings), workspace, "well")
    assert diagnose(result.folder) == []


def test_scores_beyond_what_people_gave_alarm_the_run_and_are_named(
    toys: Toys,  # noqa: F811
    workspace: WorkspaceFolder,  # noqa: F811
    tmp_path: Path,
) -> None:
    """A reward model that remembers far lower scores of held-out responses than it gives the policy's."""
    judge = shutil.copytree(toys.reward, tmp_path / "judge")
    about = json.loads((judge / "amenable.json").read_text())
    about["reward"]["held_out"] = {"mean": -9.0, "std": 1.0, "p99": -8.0, "count": 10}
    (judge / "amenable.json").write_text(json.dumps(about))
    result = start("ppo", toys.mapping("ppo", f"reward={judge}", "train.steps=6"), workspace, "beyond")
    assert result.text.startswith("over-optimisation: at step 5, 100%")
    assert "over-optimisation" in [finding.trouble for finding in diagnose(result.folder)]


def log(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps({"step": i, **row}) + "\n" for i, row in enumerate(rows, 1)))
    return path


def test_skipped_steps_and_a_gap_between_engine_and_learner(tmp_path: Path) -> None:
    rows = [
        {"loss": 1.0, "score": 0.1, "sampling_gap": 5e-2, **({"skipped": True} if i == 3 else {})} for i in range(9)
    ]
    found = {f.trouble: f for f in diagnose(log(tmp_path / "metrics.jsonl", rows))}
    assert set(found) == {"non-finite steps", "ratio off 1"}
    assert found["non-finite steps"].steps == (4, 4)
    assert "5.0e-02" in found["ratio off 1"].evidence


def test_scores_beyond_what_people_were_seen_to_give(tmp_path: Path) -> None:
    rows = [{"score": float(i), "score_beyond": min(1.0, 0.1 * i)} for i in range(12)]
    (finding,) = diagnose(log(tmp_path / "metrics.jsonl", rows))
    assert finding.trouble == "over-optimisation"


def test_every_rule_is_provoked() -> None:
    named = {"kl_explosion", "over_optimisation", "length_hacking", "entropy_collapse", "missing_eos", "value_not_learning", "reward_saturation", "ratio_off_one", "overfitting", "not_learning"}  # fmt: skip
    assert {rule.__name__ for rule in RULES} == named
    assert len(PROVOKED) == len(RULES) - 1  # over-optimisation is provoked by a test of its own
    page = (Path(__file__).parent.parent / "docs" / "diagnose.md").read_text(encoding="utf-8")
    for trouble in (*PROVOKED, "over-optimisation", "non-finite steps"):
        assert f"\n| {trouble} |" in page, trouble


def test_a_step_that_was_not_finite_does_not_hide_the_rest(tmp_path: Path) -> None:
    rows = [{"finished": None if i % 2 else 0.2} for i in range(8)]
    assert [f.trouble for f in diagnose(log(tmp_path / "metrics.jsonl", rows))] == ["missing EOS"]


def test_window_and_correlation() -> None:
    a = Curve(run="r", metric="a", steps=(1, 2, 3, 4), values=(1.0, 2.0, 3.0, 4.0))
    b = a.replace(metric="b", steps=(2, 3, 4, 5), values=(-1.0, -2.0, -3.0, 9.0))
    assert window(a, 0, 0.5) == 1.5 and window(a, 0.99, 1) == 4.0
    assert correlation(a, b) == pytest.approx(-1.0)
    assert correlation(a, a.replace(values=(5.0,) * 4)) == 0.0
    assert math.isclose(correlation(a, a.replace(values=(1.0, 3.0, 2.0, 4.0))), 0.8)


def test_a_finding_is_a_record() -> None:
    assert Finding.from_json(Finding(trouble="t", evidence="e", steps=(1, 2), suggestion="s").to_json()).steps == (1, 2)


def test_the_command_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = init_workspace(tmp_path).runs / "sick"
    run_folder.mkdir(parents=True)
    log(run_folder / "metrics.jsonl", [{"finished": 0.2}] * 3)
    monkeypatch.chdir(tmp_path)
    assert run(["diagnose", "sick"]) == 0
    told = capsys.readouterr().out
    assert "missing EOS (steps 3-3)" in told and "20%" in told and "try: raise sampling.max_tokens" in told
    assert run(["diagnose", "sick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["trouble"] == "missing EOS"
    log(run_folder / "metrics.jsonl", [{"finished": 1.0}] * 3)
    assert run(["diagnose", "sick"]) == 0
    assert "nothing looks wrong" in capsys.readouterr().out
    assert run(["diagnose", "sik"]) != 0
    assert "sick" in capsys.readouterr().err
