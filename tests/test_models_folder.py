"""Model folders: equal logits with transformers both ways, for every family; and every fault named."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from amenable.batch import Inputs
from amenable.errors import ModelError, ResourceError
from amenable.models.config import from_hf, to_hf
from amenable.models.decoder import Decoder, DecoderConfig
from amenable.models.folder import load_heads, load_model, model_hash, new_model, read_metadata, save_model
from amenable.models.heads import ClassHead, ScalarHead, ValueHead
from amenable.models.weights import read_json, write_json

SHAPE = dict(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
GPT2 = dict(vocab_size=61, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2)
CASES: dict[str, Callable[[], transformers.PreTrainedConfig]] = {
    "llama": lambda: transformers.LlamaConfig(**SHAPE),
    "llama-tied": lambda: transformers.LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "llama-biases": lambda: transformers.LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "llama-no-groups": lambda: transformers.LlamaConfig(**(SHAPE | {"num_key_value_heads": 4})),
    "llama-head-dim": lambda: transformers.LlamaConfig(**SHAPE, head_dim=16),
    "llama3-rope": lambda: transformers.LlamaConfig(**SHAPE, rope_parameters=dict(LLAMA3)),
    "linear-rope": lambda: transformers.LlamaConfig(
        **SHAPE, rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0}
    ),
    "mistral-window": lambda: transformers.MistralConfig(**SHAPE, sliding_window=4),
    "mistral": lambda: transformers.MistralConfig(**SHAPE, sliding_window=None),
    "qwen2": lambda: transformers.Qwen2Config(**SHAPE),
    "qwen2-tied": lambda: transformers.Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen2-windows": lambda: transformers.Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "qwen3": lambda: transformers.Qwen3Config(**SHAPE, head_dim=8),
    "qwen3-tied-bias": lambda: transformers.Qwen3Config(
        **SHAPE, head_dim=16, tie_word_embeddings=True, attention_bias=True
    ),
    "gpt2": lambda: transformers.GPT2Config(**GPT2),
    "gpt2-untied": lambda: transformers.GPT2Config(**GPT2, tie_word_embeddings=False, n_inner=40),
}


def theirs_of(config: transformers.PreTrainedConfig) -> transformers.PreTrainedModel:
    """A tiny random transformers model whose biases and norms are random too: zeros would hide mistakes."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def tokens_of(rows: int = 2, length: int = 11) -> Tensor:
    return torch.randint(0, 61, (rows, length), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def our_logits(model: Decoder, tokens_PL: Tensor) -> Tensor:
    positions_PL = torch.arange(tokens_PL.shape[1]).expand_as(tokens_PL)
    return model.logits(model.hidden(Inputs(tokens_PL, positions_PL, torch.zeros_like(tokens_PL))))


@torch.no_grad()
def their_logits(model: transformers.PreTrainedModel, tokens_PL: Tensor) -> Tensor:
    return model(input_ids=tokens_PL).logits


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_transformers_both_ways(case: str, tmp_path: Path) -> None:
    theirs = theirs_of(CASES[case]())
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    assert isinstance(ours, Decoder)
    assert ours.num_parameters() == sum(p.numel() for p in theirs.parameters())
    tokens = tokens_of()
    want = their_logits(theirs, tokens)
    assert want.std() > 0.05  # so that 1e-4 means something
    close(our_logits(ours, tokens), want)
    save_model(ours, tmp_path / "ours")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    close(their_logits(again, tokens), want)
    assert load_model(tmp_path / "ours").config == ours.config


def test_sharded_folder(tmp_path: Path) -> None:
    theirs = theirs_of(CASES["llama"]())
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    close(our_logits(load_model(tmp_path), tokens_of()), their_logits(theirs, tokens_of()))
    shards[0].unlink()
    with pytest.raises(ModelError, match=shards[0].name):
        load_model(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_a_clear_error(share: float, tmp_path: Path) -> None:
    save_model(new_model(DecoderConfig.tiny(), 0), tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        load_model(tmp_path)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    save_model(new_model(DecoderConfig.tiny(), 0), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(ModelError, match="pickle") as caught:
        load_model(tmp_path)
    assert "save_pretrained" in str(caught.value)


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_model(new_model(DecoderConfig.tiny(), 0), tmp_path)
    file = tmp_path / "model.safetensors"
    good = load_file(file)
    lost = {n: t for n, t in good.items() if n != "model.norm.weight"}
    for bad, named in (
        (lost, "1 missing: model.norm.weight"),
        (good | {"model.extra": torch.zeros(1)}, "1 unexpected: model.extra"),
        (good | {"model.norm.weight": torch.zeros(5)}, r"model.norm.weight is \(5,\), not \(32,\)"),
        (good | {"lm_head.weight": torch.ones(256, 32)}, "tied"),
    ):
        save_file(bad, file)
        with pytest.raises(ModelError, match=named):
            load_model(tmp_path)
    harmless = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    save_file(good | harmless | {"lm_head.weight": good["model.embed_tokens.weight"].clone()}, file)
    load_model(tmp_path)


def test_gpt2_files_without_prefix_load(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    theirs = theirs_of(CASES["gpt2"]())
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    bare = {n.removeprefix("transformer."): t for n, t in load_file(file).items()}
    save_file(bare | {"h.0.attn.bias": torch.ones(1, 1, 64, 64)}, file)
    close(our_logits(load_model(tmp_path), tokens_of()), their_logits(theirs, tokens_of()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "yarn"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}, "rope_parameters": None}, "dynamic"),
        ({"hidden_act": "quick_gelu"}, "quick_gelu"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
    ],
)
def test_what_is_not_computed_is_refused(change: dict[str, object], named: str) -> None:
    raw = transformers.LlamaConfig(**SHAPE).to_dict() | change
    if None in change.values():
        raw = {k: v for k, v in raw.items() if v is not None}
    with pytest.raises(ModelError, match=named):
        from_hf(raw)


def test_configs_of_transformers_4_are_read() -> None:
    raw = {**SHAPE, "model_type": "llama", "rope_theta": 500.0, "rms_norm_eps": 1e-5}
    old = raw | {"rope_scaling": {k: v for k, v in LLAMA3.items() if k != "rope_theta"}}
    new = raw | {"rope_parameters": LLAMA3}
    assert from_hf(old) == from_hf(new)
    assert from_hf(raw).rope.theta == 500.0


@pytest.mark.parametrize("windows", [(), (None, 8), (8, 8)])
def test_sliding_windows_are_told_to_older_readers_too(windows: tuple[int | None, ...]) -> None:
    config = DecoderConfig.tiny(family="qwen2", qkv_bias=True, windows=windows)
    raw = to_hf(config)
    del raw["layer_types"]
    assert from_hf(raw) == config
    older = transformers.Qwen2Config(**raw)  # makes its own layer_types, as all versions did before there were any
    assert [kind == "sliding_attention" for kind in older.layer_types] == [bool(config.window(i)) for i in range(2)]


def test_heads_and_metadata_are_saved_with_the_model(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = {
        "reward": ScalarHead(32, start="small", generator=generator),
        "value": ValueHead(32),
        "topic": ClassHead(32, 3, start="small", generator=generator),
    }
    heads["reward"].shift_(0.5)
    model = new_model(DecoderConfig.tiny(), 0)
    save_model(model, tmp_path, heads=heads, parent="models/base", metadata={"licence": "CC0", "run": "r1"})
    loaded = load_heads(tmp_path)
    hidden = torch.randn(5, 32)
    for name, head in heads.items():
        assert type(loaded[name]) is type(head)
        assert torch.equal(loaded[name](hidden), head(hidden))
    about = read_metadata(tmp_path)
    assert (about["parent"], about["licence"], about["run"]) == ("models/base", "CC0", "r1")
    save_model(model, tmp_path)
    assert load_heads(tmp_path) == {} and not (tmp_path / "heads.safetensors").exists()


def test_saving_keeps_other_files_and_changes_the_hash(tmp_path: Path) -> None:
    model = new_model(DecoderConfig.tiny(), 0)
    save_model(model, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    first = model_hash(tmp_path)
    save_model(model, tmp_path)
    assert model_hash(tmp_path) == first
    save_model(new_model(DecoderConfig.tiny(), 1), tmp_path)
    assert model_hash(tmp_path) != first
    assert (tmp_path / "tokenizer.json").exists() and not list(tmp_path.glob(".*"))


def test_heads_start_as_stated_and_stay_exact_under_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = ScalarHead(4096, start="small", generator=generator)(torch.randn(500, 4096, generator=generator))
    assert 0.9 < scores.std().item() < 1.1
    head = ScalarHead(2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 1.0]]))
    hidden = torch.tensor([[1.0, 0.001], [1.0, 0.002]])
    with torch.autocast("cpu", torch.bfloat16):
        one, two = head(hidden).tolist()
    assert (two - one) == pytest.approx(0.001, abs=1e-6)  # bfloat16 would round both to 1.0


def test_a_folder_without_config_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="not JSON"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ModelError, match="object"):
        load_model(tmp_path)


def test_metadata_may_hold_names_that_were_not_utf8(tmp_path: Path) -> None:
    written = {"classes": ["ja", "n\udce9"]}
    write_json(written, tmp_path / "amenable.json")
    assert read_json(tmp_path / "amenable.json") == written
    assert '"n\\udce9"' in (tmp_path / "amenable.json").read_text("utf-8")


def test_a_full_disk_is_told_from_other_errors(tmp_path):
    from safetensors import SafetensorError

    from amenable.models.weights import full_disk

    for number, what in ((errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "your disk quota is used up")):
        for error in (OSError(number, "x"), SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})")):
            found = full_disk(error, tmp_path)
            assert isinstance(found, ResourceError) and found.what == what
    assert full_disk(other := OSError(errno.EIO, "x"), tmp_path) is other
