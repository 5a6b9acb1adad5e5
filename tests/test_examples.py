"""The README's own-data example and the scripts of examples/ run as they stand, with fewer steps."""

from __future__ import annotations

import importlib
import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from amenable.cli.main import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FEWER = {"ppo": ["train.steps=1", "train.units_per_step=4", "train.validate_every=0"], "chat": ["--max-tokens", "8"]}
"""What the test adds to the README's command lines; all others run exactly as printed."""


def block(marker: str) -> str:
    """The code block of the README behind a marker."""
    found = re.search(rf"<!-- {re.escape(marker)} -->\n```\w+\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    assert found is not None, marker
    return found[1]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with the README's four files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMENABLE_WORKSPACE", raising=False)
    names = re.findall(r"<!-- file: (\S+) -->", README)
    assert len(names) == 4
    for name in names:
        (tmp_path / name).write_text(block(f"file: {name}"), encoding="utf-8")
    return tmp_path


def test_own_data_walks_the_road_by_the_readmes_commands(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("What is a cat?\n"))
    walked = []
    for line in block("commands: own data").splitlines():
        words = shlex.split(line)
        assert words[0] == "amenable"
        assert run([*words[1:], *FEWER.get(words[1], [])]) == 0, (line, capsys.readouterr().err)
        walked.append(words[1])
    assert walked == ["init", "pretrain", "sft", "reward", "ppo", "evaluate", "chat"]
    for name in ("base", "assistant", "scorer", "better"):
        assert (files / "runs" / name / "model" / "model.safetensors").is_file()
        assert not (files / "runs" / name / "rejects.jsonl").exists()
    report = json.loads((files / "runs" / "check" / "report.json").read_text())
    assert [rung["model"] for rung in report["ladder"]] == ["before", "after"]
    assert "scorer" in report["judge"] or "reward" in report["judge"]
    assert (files / "runs" / "check" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_own_data_from_python_runs_as_the_readme_has_it(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = block("runs: own data")
    assert len([line for line in source.splitlines() if line.strip()]) <= 10
    exec(compile(source, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 2
    assert (files / "my-workspace" / "runs" / "dpo-1" / "model").is_dir()


@pytest.mark.parametrize(
    ("name", "effort", "says"),
    [
        ("own_data", 0.01, "preferred to before on"),
        ("own_reward", 0.01, "FewLetters  score"),
        ("own_algorithm", 0.01, "power 1.0:"),
        pytest.param("instruct_starter", 0.01, "assistant: ", marks=pytest.mark.slow),
        pytest.param("rubric_ppo", 0.03, "after: ", marks=pytest.mark.slow),
        pytest.param("preferences", 0.03, "is preferred to assistant on", marks=pytest.mark.slow),
        pytest.param("own_labels", 0.05, "What do horses eat? →", marks=pytest.mark.slow),
        ("tictactoe", 0.01, "200 games"),
        pytest.param("four_ways", 0.01, "instruction-tuned, 4 shots:", marks=pytest.mark.slow),
        pytest.param("quickstart_in_python", 0.01, "What is the capital of France? →", marks=pytest.mark.slow),
    ],
)
def test_an_example_runs(
    name: str, effort: float, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    importlib.import_module(name).main(effort)
    assert says in capsys.readouterr().out


def test_every_example_is_run() -> None:
    (marks,) = (m for m in test_an_example_runs.pytestmark if m.name == "parametrize")
    tried = {
        case[0] if isinstance(case, tuple) and isinstance(case[0], str) else case.values[0] for case in marks.args[1]
    }
    assert tried == {path.stem for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "examples" / "first_evening.ipynb").read_text("utf-8"))
    assert notebook["nbformat"] == 4 and all(cell["metadata"] == {} for cell in notebook["cells"])
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    known: dict[str, object] = {}
    for number, cell in enumerate(cells):
        less = cell.replace("effort = 0.2", "effort = 0.01")
        assert (less != cell) == (number == 0)
        exec(compile(less, f"cell {number}", "exec"), known)
    assert "the page with everything side by side" in capsys.readouterr().out
