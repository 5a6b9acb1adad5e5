"""docs/writing-an-algorithm.md runs: its file is an algorithm under the contract, and its number by hand is right."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from amenable.train import contract
from amenable.train.loop import accumulate, learn, prepare_batches

from .contract import batches_of, gradients, make, progress_of

PAGE = (Path(__file__).parent.parent / "docs" / "writing-an-algorithm.md").read_text(encoding="utf-8")
NAME = "my_objectives.dpop"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's file, where Python finds it, for the time of a test."""
    found = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert [path for path, _ in found] == ["my_objectives/dpop.py"]
    for path, code in found:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("my_objectives")]:
        del sys.modules[name]


def test_the_number_by_hand() -> None:
    (code,) = re.findall(r"<!-- run -->\n```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    exec(compile(code, "docs/writing-an-algorithm.md", "exec"), {})


def test_the_file_keeps_the_contract() -> None:
    """Same gradients however the batch is cut; updates lower the loss."""
    expected: dict[str, torch.Tensor] = {}
    for micro_tokens in (10_000, 12):
        algorithm, learner, scorers = make(NAME, micro_tokens=micro_tokens)
        progress = progress_of(algorithm)
        batches, _ = prepare_batches(algorithm, learner, batches_of(algorithm), progress, scorers)
        first, _, _ = accumulate(algorithm, learner, list(batches.values()), None)
        for key, gradient in gradients(learner).items():
            torch.testing.assert_close(gradient, expected.setdefault(key, gradient), atol=1e-10, rtol=0)
    assert any(g.abs().max() > 1e-6 for g in expected.values())
    learner.clear_gradients()
    for _ in range(8):
        learn(algorithm, learner, batches, progress, rate=3.0)
    last, _, _ = accumulate(algorithm, learner, list(batches.values()), None)
    assert last < first


def test_without_its_penalty_it_is_dpo() -> None:
    losses = []
    for name, config in ((NAME, contract.find(NAME).__dict__["Config"](penalty=0.0)), ("dpo", None)):
        algorithm, learner, scorers = make(name, config=config)
        batches, _ = prepare_batches(algorithm, learner, batches_of(algorithm), progress_of(algorithm), scorers)
        losses.append(accumulate(algorithm, learner, list(batches.values()), None)[0])
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)
