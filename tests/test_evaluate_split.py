"""What `evaluate` asks by default is what training with its own defaults never saw."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amenable.chat.tokenizer import train_bpe
from amenable.config.folder import WorkspaceFolder
from amenable.data.source import load
from amenable.data.split import assign_splits
from amenable.errors import DataError
from amenable.stages.data import DataConfig
from amenable.stages.evaluate import Config, _prompts, _shots
from amenable.types import Prompt, user


def test_evaluation_and_training_hold_out_the_same_prompts():
    assert Config(models=("m",), data="d").held_out_share == DataConfig(train=("d",)).held_out_share
    prompts = [Prompt(id=str(i), messages=(user(f"Question {i}?"),)) for i in range(2000)]
    share = DataConfig(train=("d",)).held_out_share
    trained = {p.id for p in assign_splits(prompts, (1 - share, share, 0.0)) if p.split == "train"}
    share = Config(models=("m",), data="d").held_out_share
    asked = {p.id for p in assign_splits(prompts, (1 - share, share, 0.0)) if p.split != "train"}
    assert 60 < len(asked) < 140
    assert not trained & asked


POLICY = SimpleNamespace(model=SimpleNamespace(context=64), tokenizer=train_bpe(["Question"], 262))
RUNGS: list[Any] = [SimpleNamespace(policy=POLICY)]


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_examples_of_few_shot_are_none_of_the_prompts_that_are_asked(share: float, tmp_path: Path):
    file, workspace = tmp_path / "d.jsonl", WorkspaceFolder(tmp_path)
    file.write_text("".join(json.dumps({"prompt": f"Question {i}?", "output": f"{i}."}) + "\n" for i in range(200)))
    config = Config(models=("m@few-shot",), data=str(file), held_out_share=share, num_shots=50)
    asked = {p.messages[-1].content for p in _prompts(config, RUNGS, workspace)[0]}
    shown = {shot.messages[0].content for shot in _shots(config, workspace)}
    assert len(shown) == 50 and 200 * share * 0.6 < len(asked) < 200 * share * 1.5
    assert not shown & asked


def test_a_part_that_is_not_there_is_not_replaced_by_all(tmp_path: Path):
    file, workspace = tmp_path / "d.jsonl", WorkspaceFolder(tmp_path)
    file.write_text("".join(json.dumps({"prompt": f"{i}?", "split": "train"}) + "\n" for i in range(5)))
    with pytest.raises(DataError, match="no prompts of the split test"):
        _prompts(Config(models=("m",), data=str(file), split="test"), RUNGS, workspace)
    asked, about = _prompts(Config(models=("m",), data=str(file)), RUNGS, workspace)
    assert len(asked) == 5 and "none of it is held out" in about.note
    with pytest.raises(DataError, match="no examples for few-shot") as error:
        _shots(Config(models=("m",), data=str(file)), workspace)
    assert "shots" in error.value.mend
    assert load(str(file), "prompts").records[0].split == "train"
