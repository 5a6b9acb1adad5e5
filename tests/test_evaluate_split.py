"""What `evaluate` asks by default is what training with its own defaults never saw."""

from __future__ import annotations

from amenable.data.split import assign_splits
from amenable.stages.data import DataConfig
from amenable.stages.evaluate import Config
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
