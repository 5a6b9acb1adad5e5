"""LoRA: counts, off = base, merged = on, and peft reads what we write."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
import transformers
from torch import Tensor

from amenable.batch import Inputs
from amenable.errors import ModelError
from amenable.models.decoder import Decoder, DecoderConfig
from amenable.models.folder import load_model, model_hash, new_model, save_model
from amenable.models.lora import (
    LoraConfig,
    adapter_off,
    add_lora,
    count_lora,
    load_adapter,
    merge,
    save_adapter,
    trained_parameters,
)

GPT3 = DecoderConfig(
    vocab_size=50257, hidden_size=12288, num_layers=96, num_heads=96, num_kv_heads=96, head_dim=128, mlp_size=49152, context=2048
)  # fmt: skip
GPT2 = DecoderConfig.tiny(
    64,
    family="gpt2",
    rope=None,
    norm="layer",
    gated=False,
    fused_qkv=True,
    num_kv_heads=4,
    qkv_bias=True,
    out_bias=True,
    mlp_bias=True,
    activation="gelu_new",
)
LLAMA = DecoderConfig.tiny(64, tied=False)


@torch.no_grad()
def logits(model: Decoder) -> Tensor:
    tokens = torch.arange(7)[None]
    return model.logits(model.hidden(Inputs(tokens, tokens, torch.zeros_like(tokens))))


def trained(model: Decoder) -> Decoder:
    """Give the adapter a B that is not zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in trained_parameters(model).items():
            if "lora_B" in name:
                parameter.normal_(0, 0.3, generator=generator)
    return model


def test_the_count_of_the_paper_on_gpt3() -> None:
    lora = LoraConfig(rank=1, alpha=1, targets=("q_proj", "v_proj"))
    assert count_lora(GPT3, lora) == 96 * 2 * 2 * 12288 == 4_718_592
    with torch.device("meta"):
        model = Decoder(GPT3)
        add_lora(model, lora)
    assert sum(p.numel() for p in trained_parameters(model).values()) == 4_718_592
    assert model.num_parameters() > 170e9


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_off_is_the_base_and_merged_is_on(config: DecoderConfig) -> None:
    model = new_model(config, 0)
    base = logits(model)
    lora = LoraConfig(rank=3, alpha=6)
    add_lora(model, lora)
    assert sum(p.numel() for p in trained_parameters(model).values()) == count_lora(config, lora)
    assert torch.equal(logits(model), base)  # B is zero at the start
    trained(model)
    on = logits(model)
    assert (on - base).abs().max() > 1e-2
    with adapter_off(model):
        assert torch.equal(logits(model), base)
    assert torch.equal(logits(model), on)
    merge(model)
    torch.testing.assert_close(logits(model), on, atol=1e-5, rtol=0)
    assert model.num_parameters() == new_model(config, 0).num_parameters()
    assert len(trained_parameters(model)) == len(list(model.parameters()))


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_peft_reads_our_adapter_and_we_read_its(config: DecoderConfig, tmp_path: Path) -> None:
    model = new_model(config, 0)
    save_model(model, tmp_path / "base")
    targets = ("qkv_proj", "down_proj") if config.fused_qkv else ("q_proj", "v_proj", "down_proj")
    add_lora(model, LoraConfig(rank=2, targets=targets))
    want = logits(trained(model))
    save_adapter(model, tmp_path / "ours", base=str(tmp_path / "base"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "ours").eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=torch.arange(7)[None]).logits, want, atol=1e-4, rtol=0)
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_model(tmp_path / "base")
    load_adapter(again, tmp_path / "theirs")
    torch.testing.assert_close(logits(again), want, atol=1e-6, rtol=0)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    model = new_model(LLAMA, 0)
    add_lora(model, LoraConfig(rank=2))
    save_adapter(model, tmp_path)
    with pytest.raises(ModelError, match="does not fit"):
        load_adapter(new_model(LLAMA.replace(num_layers=3), 0), tmp_path)
    with pytest.raises(ModelError, match=r"lora_A\.weight is"):
        load_adapter(new_model(LLAMA.replace(hidden_size=64), 0), tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_rslora": True}, "use_rslora"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "no linear map 'embed_tokens'"),
        ({"target_modules": r".*layers\.0.*q_proj"}, "does not fit this model"),
        ({"init_lora_weights": "pissa"}, "changed the base"),
        ({"init_lora_weights": "olora"}, "changed the base"),
    ],
)
def test_an_adapter_that_is_not_read_says_how_it_becomes_a_model(settings, said, tmp_path):
    import peft

    save_model(new_model(LLAMA, 0), tmp_path / "base")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = peft.get_peft_model(theirs, peft.LoraConfig(**{"r": 2, "target_modules": ["q_proj"], **settings}))
    theirs.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match=said) as caught:
        load_adapter(load_model(tmp_path / "base"), tmp_path / "adapter")
    assert "merge_and_unload" in caught.value.mend and str(tmp_path / "adapter") in caught.value.where


def test_linear_maps_of_a_class_of_their_own_are_adapted(tmp_path):
    shape = dict(vocab_size=61, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    transformers.FalconForCausalLM(transformers.FalconConfig(**shape)).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    add_lora(model, LoraConfig(rank=2))
    assert {n.split(".")[-4] for n in trained_parameters(model)} == {
        "query_key_value",
        "dense",
        "dense_h_to_4h",
        "dense_4h_to_h",
    }


def test_mistakes_are_named(tmp_path: Path) -> None:
    model = new_model(LLAMA, 0)
    with pytest.raises(ModelError, match="'q_prj'") as caught:
        add_lora(model, LoraConfig(targets=("q_prj",)))
    assert "did you mean 'q_proj'" in str(caught.value)
    with pytest.raises(ModelError, match="no adapter"), adapter_off(model):
        pass
    add_lora(model, LoraConfig())
    with pytest.raises(ModelError, match="carries LoRA"):
        save_model(model, tmp_path)


def test_one_seed_one_adapter() -> None:
    found = []
    for seed in (0, 0, 1):
        model = new_model(LLAMA, 0)
        state = torch.get_rng_state()
        add_lora(model, LoraConfig(seed=seed))
        assert torch.equal(torch.get_rng_state(), state)
        found.append(torch.cat([p.flatten() for p in trained_parameters(model).values()]))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_an_auto_model_takes_an_adapter(tmp_path: Path) -> None:
    config = transformers.T5Config(
        vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, decoder_start_token_id=0
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "base")
    model = load_model(tmp_path / "base")
    row = torch.arange(5)[None]
    inputs = Inputs(row, row, torch.zeros_like(row), row, torch.ones_like(row, dtype=torch.bool))
    with torch.no_grad():
        base = model.hidden(inputs)
        add_lora(model, LoraConfig(rank=2, targets=("q", "v")))
        on = trained(model).hidden(inputs)
        with adapter_off(model):
            assert torch.equal(model.hidden(inputs), base)
        save_adapter(model, tmp_path / "adapter")
        again = load_model(tmp_path / "base")
        load_adapter(again, tmp_path / "adapter")
        assert torch.equal(again.hidden(inputs), on) and not torch.equal(on, base)


# An adapter's folder as a model


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_an_adapters_folder_loads_as_the_adapted_model(config, tmp_path, monkeypatch):
    model = new_model(config, seed=0)
    save_model(model, tmp_path / "base")
    add_lora(model, LoraConfig(rank=4))
    wanted = logits(trained(model))
    save_adapter(model, tmp_path / "adapter", base="../base")  # from where the adapter lies
    loaded = load_model(tmp_path / "adapter")
    assert torch.allclose(logits(loaded), wanted, atol=1e-4)
    assert not any("lora_" in name for name, _ in loaded.named_parameters())
    save_adapter(model, tmp_path / "far" / "adapter", base=str(tmp_path / "base"))
    assert torch.equal(logits(load_model(tmp_path / "far" / "adapter")), logits(loaded))
    save_adapter(model, tmp_path / "far" / "adapter", base="base")  # from the folder that one is in, as peft writes it
    monkeypatch.chdir(tmp_path)
    assert torch.equal(logits(load_model(tmp_path / "far" / "adapter")), logits(loaded))


def test_a_model_that_peft_cannot_adapt_is_named(tmp_path):
    config = transformers.MambaConfig(vocab_size=61, hidden_size=16, state_size=4, num_hidden_layers=1)
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"(?s)peft cannot adapt this model.*out_proj"):
        add_lora(load_model(tmp_path), LoraConfig(rank=2))


def test_an_adapters_identity_covers_its_base(tmp_path):
    model = new_model(LLAMA, seed=0)
    save_model(model, tmp_path / "base")
    add_lora(model, LoraConfig(rank=4))
    save_adapter(trained(model), tmp_path / "adapter", base="../base")
    before = model_hash(tmp_path / "adapter")
    save_model(new_model(LLAMA, seed=1), tmp_path / "base")
    assert model_hash(tmp_path / "adapter") != before


@pytest.mark.parametrize("base", [None, "", "somebody/some-model", "../nowhere", "."])
def test_an_adapter_without_its_base_says_what_to_do(base, tmp_path):
    model = new_model(LLAMA, seed=0)
    add_lora(model, LoraConfig(rank=4))
    save_adapter(model, tmp_path / "adapter", base=base)
    with pytest.raises(ModelError, match="its base model") as error:
        load_model(tmp_path / "adapter")
    assert "base_model_name_or_path" in error.value.mend
    assert "adapter_config.json" in error.value.where
