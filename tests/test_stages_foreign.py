"""Models as others save them go through the stages: what their folders say beside the weights stays with the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from amenable.chat.tokenizer import Tokenizer
from amenable.config.folder import own_sampling

from .chat_makers import qwen_like
from .stage_makers import start, toys, workspace

__all__ = ["toys", "workspace"]

SHAPE = dict(vocab_size=384, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)


@pytest.mark.parametrize("family", ["Qwen2", "Olmo2"])
def test_how_a_model_is_drawn_from_stays_with_what_is_made_of_it(family, toys, workspace, tmp_path):
    folder = foreign(family, tmp_path / "model")
    said = json.loads((folder / "generation_config.json").read_text())
    said |= {"do_sample": True, "temperature": 0.6, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
    (folder / "generation_config.json").write_text(json.dumps(said))
    result = start("sft", toys.mapping("sft", f"model={folder}", "train.steps=1"), workspace)
    assert own_sampling(Path(result.model)) == own_sampling(folder)
    kept = json.loads((Path(result.model) / "generation_config.json").read_text())
    assert sorted(kept["eos_token_id"]) == sorted(said["eos_token_id"])
    assert Tokenizer.load(result.model).stop_ids == Tokenizer.load(folder).stop_ids


def foreign(family: str, folder: Path) -> Path:
    """A random model with a vocabulary beyond its tokenizer's, ChatML and two stop tokens."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SHAPE, num_key_value_heads=2, pad_token_id=0)
    getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(folder)
    return qwen_like(folder)
