"""verify.py finds the right models right and a spoilt one wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from amenable.config.folder import PACKAGED
from amenable.models.decoder import DecoderConfig
from amenable.models.folder import new_model, save_model
from amenable.models.verify import verify


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_right_model_passes(family: str, tmp_path: Path) -> None:
    config = DecoderConfig.tiny(99, family=family, qkv_bias=family == "qwen2")
    save_model(new_model(config, 0), tmp_path)
    report = verify(tmp_path)
    assert report.passed and report.difference <= 1e-4
    assert set(report.differences) == {"padded", "packed", "cached"}
    assert report.parameters == new_model(config, 0).num_parameters()


def test_a_difference_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(new_model(DecoderConfig.tiny(99), 0), tmp_path)
    other = new_model(DecoderConfig.tiny(99), 0)
    with torch.no_grad():
        other.model.layers[1].self_attn.k_proj.weight[0] += 0.2
    save_model(other, tmp_path / "other")
    load = transformers.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM, "from_pretrained", lambda _, **settings: load(tmp_path / "other", **settings)
    )
    report = verify(tmp_path)
    assert not report.passed and 1e-4 < report.difference < 1


@pytest.mark.parametrize("name", PACKAGED)
def test_the_models_of_the_package_pass(name: str) -> None:
    """One is an adapter: transformers is given its merged weights."""
    assert verify(PACKAGED[name]).passed
