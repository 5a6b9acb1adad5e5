"""auto.py: other architectures behind the same interface give transformers' own logits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from amenable.batch import Inputs
from amenable.errors import ModelError
from amenable.models.auto import AutoModel
from amenable.models.folder import load_model, save_model
from amenable.models.heads import ClassHead

SHAPE = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
PROPHET = {
    f"num_{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("attention_heads", 4))
}
PROPHET |= dict(vocab_size=61, hidden_size=32)
T5 = dict(vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)


def stored(model: transformers.PreTrainedModel, folder: Path) -> transformers.PreTrainedModel:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return model.eval()


def padded() -> tuple[Inputs, Tensor]:
    tokens_PL = torch.randint(3, 61, (2, 7), generator=torch.Generator().manual_seed(0))
    valid_PL = torch.arange(7) < torch.tensor([[7], [4]])
    positions_PL = torch.arange(7).expand(2, 7)
    return Inputs(tokens_PL * valid_PL, positions_PL, torch.where(valid_PL, 0, -1)), valid_PL


@pytest.mark.parametrize("capped", [None, 2.0])
@torch.no_grad()
def test_gemma_with_soft_capping(capped: float | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.Gemma2Config(
        **SHAPE, num_key_value_heads=2, head_dim=8, final_logit_softcapping=capped, attn_logit_softcapping=None
    )
    theirs = stored(transformers.Gemma2ForCausalLM(config), tmp_path / "a")
    ours = load_model(tmp_path / "a")
    assert isinstance(ours, AutoModel) and ours.kind == "decoder" and not ours.packs
    assert ours.linear_head is (capped is None)
    inputs, valid = padded()
    hidden = ours.hidden(inputs)
    want = theirs(input_ids=inputs.tokens_PL, attention_mask=valid.long()).logits
    torch.testing.assert_close(ours.logits(hidden)[valid], want[valid], atol=1e-4, rtol=0)
    if capped:
        assert ours.logits(hidden * 100).abs().max() <= capped
        plain = torch.nn.functional.linear(hidden[valid], ours.head_weight)
        torch.testing.assert_close(capped * torch.tanh(plain / capped), want[valid], atol=1e-4, rtol=0)
    save_model(ours, tmp_path / "b")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b").eval()
    after = again(input_ids=inputs.tokens_PL, attention_mask=valid.long()).logits
    torch.testing.assert_close(after[valid], want[valid], atol=1e-5, rtol=0)


@pytest.mark.parametrize("projected", [32, 16])
@torch.no_grad()
def test_a_model_that_asks_its_decoder_past_its_base(projected: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.OPTConfig(
        vocab_size=61,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=projected,
    )
    theirs = stored(transformers.OPTForCausalLM(config), tmp_path)
    ours = load_model(tmp_path)
    inputs, valid = padded()
    want = theirs(input_ids=inputs.tokens_PL, attention_mask=valid.long()).logits
    torch.testing.assert_close(ours.logits(ours.hidden(inputs))[valid], want[valid], atol=1e-4, rtol=0)


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize("odd", ["yarn", "scaled"])
@torch.no_grad()
def test_what_the_decoder_does_not_know_of_its_families_goes_through_transformers(odd: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs: transformers.PreTrainedModel
    if odd == "yarn":
        theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, rope_parameters=YARN))
    else:
        shape = dict(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64)
        theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, scale_attn_by_inverse_layer_idx=True))
    stored(theirs, tmp_path)
    ours = load_model(tmp_path)
    assert isinstance(ours, AutoModel)
    inputs, valid = padded()
    want = theirs(input_ids=inputs.tokens_PL, attention_mask=valid.long()).logits
    torch.testing.assert_close(ours.logits(ours.hidden(inputs))[valid], want[valid], atol=1e-4, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_t5_predicts_the_next_decoder_token(tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    kind = {} if tied else {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}
    theirs = stored(transformers.T5ForConditionalGeneration(transformers.T5Config(**T5, **kind)), tmp_path)
    ours = load_model(tmp_path)
    assert isinstance(ours, AutoModel) and ours.kind == "seq2seq" and ours.start_id == 0
    source, source_valid = padded()
    labels = torch.randint(3, 61, (2, 5), generator=torch.Generator().manual_seed(1))
    # a row of ours is the start token and then the labels: position t predicts label t, which is token t + 1
    row = torch.cat((torch.full((2, 1), 0), labels), 1)
    zeros = torch.zeros_like(row)
    inputs = Inputs(row, torch.arange(6).expand(2, 6), zeros, source.tokens_PL, source_valid)
    logits = ours.logits(ours.hidden(inputs))
    want = theirs(input_ids=source.tokens_PL, attention_mask=source_valid.long(), labels=labels)
    torch.testing.assert_close(logits[:, :-1], want.logits, atol=1e-4, rtol=0)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), row[:, 1:].flatten())
    torch.testing.assert_close(loss, want.loss, atol=1e-5, rtol=0)


@torch.no_grad()
def test_bart_with_its_head_bias(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=61,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=32,
        decoder_start_token_id=2,
    )
    model = transformers.BartForConditionalGeneration(config)
    model.final_logits_bias.normal_()
    theirs = stored(model, tmp_path)
    ours = load_model(tmp_path)
    assert not ours.linear_head and ours.context == 32
    source, valid = padded()
    row = torch.randint(3, 61, (2, 5))
    inputs = Inputs(row, torch.arange(5).expand(2, 5), torch.zeros_like(row), source.tokens_PL, valid)
    want = theirs(input_ids=source.tokens_PL, attention_mask=valid.long(), decoder_input_ids=row).logits
    torch.testing.assert_close(ours.logits(ours.hidden(inputs)), want, atol=1e-4, rtol=0)


@torch.no_grad()
def test_bert_is_an_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(**SHAPE, max_position_embeddings=32)
    theirs = stored(transformers.BertForMaskedLM(config), tmp_path)
    ours = load_model(tmp_path)
    assert ours.kind == "encoder" and not ours.linear_head
    inputs, valid = padded()
    want = theirs(input_ids=inputs.tokens_PL, attention_mask=valid.long()).logits
    torch.testing.assert_close(ours.logits(ours.hidden(inputs))[valid], want[valid], atol=1e-4, rtol=0)


def with_tensors(folder: Path, more: dict[str, Tensor]) -> Path:
    """The folder, its file of weights with so many tensors more."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file({**load_file(file), **more}, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("family", ["Bert", "Albert"])
@torch.no_grad()
def test_an_encoder_with_the_other_heads_of_its_pretraining(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SHAPE, max_position_embeddings=32)
    theirs = stored(getattr(transformers, f"{family}ForPreTraining")(config), tmp_path)
    ours = load_model(tmp_path)
    assert ours.kind == "encoder"
    inputs, valid = padded()
    want = theirs(input_ids=inputs.tokens_PL, attention_mask=valid.long()).prediction_logits
    torch.testing.assert_close(ours.logits(ours.hidden(inputs))[valid], want[valid], atol=1e-4, rtol=0)


def test_a_pooler_is_left_out_and_other_tensors_are_errors(tmp_path: Path) -> None:
    config = transformers.RobertaConfig(**SHAPE, max_position_embeddings=32)
    transformers.RobertaForMaskedLM(config).save_pretrained(tmp_path)
    pooler = {f"roberta.pooler.dense.{n}": torch.zeros(32) for n in ("weight", "bias")}
    assert load_model(with_tensors(tmp_path, pooler)).kind == "encoder"
    with pytest.raises(ModelError, match=r"roberta\.odd\.weight") as caught:
        load_model(with_tensors(tmp_path, {"roberta.odd.weight": torch.zeros(2)}))
    assert "roberta.pooler" not in str(caught.value)


def test_the_buffers_of_older_files_are_left_out(tmp_path: Path) -> None:
    shape = dict(vocab_size=61, hidden_size=32, num_layers=1, num_heads=4, max_position_embeddings=32)
    config = transformers.GPTNeoConfig(**shape, attention_types=[[["global"], 1]])
    transformers.GPTNeoForCausalLM(config).save_pretrained(tmp_path)
    attention = "transformer.h.0.attn.attention"
    buffers = {f"{attention}.bias": torch.ones(1, 1, 32, 32), f"{attention}.masked_bias": torch.tensor(-1e9)}
    assert load_model(with_tensors(tmp_path, buffers)).kind == "decoder"


def test_a_discriminator_names_no_words(tmp_path: Path) -> None:
    transformers.ElectraForPreTraining(transformers.ElectraConfig(**SHAPE)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="these weights are a discriminator"):
        load_model(tmp_path)


def read_as_encoder(ours: AutoModel, length: int) -> Tensor:
    zeros = torch.zeros(1, length, dtype=torch.long)
    return ours.hidden(Inputs(torch.full((1, length), 5), torch.arange(length)[None], zeros))


@pytest.mark.parametrize("family", ["Roberta", "XLMRoberta", "MPNet", "Longformer", "Camembert"])
@torch.no_grad()
def test_the_positions_that_an_encoder_does_not_use_are_no_context(family: str, tmp_path: Path) -> None:
    more = {"attention_window": 4} if family == "Longformer" else {}
    config = getattr(transformers, f"{family}Config")(**SHAPE, **more, max_position_embeddings=18, pad_token_id=1)
    getattr(transformers, f"{family}ForMaskedLM")(config).save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert ours.context == 16
    assert read_as_encoder(ours, 16).isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):  # one more is one too many
        read_as_encoder(ours, 17)


@pytest.mark.parametrize("family", ["Albert", "Electra", "Bert"])
@torch.no_grad()
def test_the_width_of_an_encoder_is_that_of_its_states(family: str, tmp_path: Path) -> None:
    more = {} if family == "Bert" else {"embedding_size": 8}
    config = getattr(transformers, f"{family}Config")(**SHAPE, **more, max_position_embeddings=16)
    getattr(transformers, f"{family}ForMaskedLM")(config).save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    hidden = read_as_encoder(ours, 5)
    assert ours.hidden_size == hidden.shape[-1] == 32 and ours.context == 16
    assert ClassHead(ours.hidden_size, 3)(hidden[0]).shape == (5, 3)
    assert ours.logits(hidden).shape == (1, 5, 61)


def test_led_holds_the_smaller_of_its_two_contexts(tmp_path: Path) -> None:
    config = transformers.LEDConfig(
        vocab_size=61,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_encoder_position_embeddings=32,
        max_decoder_position_embeddings=16,
        attention_window=4,
    )
    transformers.LEDForConditionalGeneration(config).save_pretrained(tmp_path)
    assert load_model(tmp_path).context == 16


@torch.no_grad()
def test_an_encoder_decoder_that_reads_its_encoder_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.SwitchTransformersConfig(**T5, num_experts=2)
    theirs = stored(transformers.SwitchTransformersForConditionalGeneration(config), tmp_path)
    ours = load_model(tmp_path)
    source, valid = padded()
    row = torch.randint(3, 61, (2, 5))
    inputs = Inputs(row, torch.arange(5).expand(2, 5), torch.zeros_like(row), source.tokens_PL, valid)
    want = theirs(input_ids=source.tokens_PL, attention_mask=valid.long(), decoder_input_ids=row).logits
    torch.testing.assert_close(ours.logits(ours.hidden(inputs)), want, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("error::FutureWarning")  # of a name that transformers changes: nothing a user can mend
def test_gradients_flow_and_dropout_is_off(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.T5Config(**T5, dropout_rate=0.5)
    stored(transformers.T5ForConditionalGeneration(config), tmp_path)
    model = load_model(tmp_path).train()
    row = torch.randint(3, 61, (2, 5))
    inputs = Inputs(
        row, torch.arange(5).expand(2, 5), torch.zeros_like(row), row, torch.ones_like(row, dtype=torch.bool)
    )
    gradients = []
    for checkpointing in (False, True):
        model.checkpointing = checkpointing
        model.zero_grad()
        model.logits(model.hidden(inputs)).pow(2).mean().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert len(gradients[0]) == len(list(model.parameters()))
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-5)


NOISY: dict[str, dict[str, object]] = {
    "SwitchTransformersForConditionalGeneration": T5 | dict(num_experts=4, router_jitter_noise=0.5),
    "MixtralForCausalLM": SHAPE | dict(num_key_value_heads=2, num_local_experts=4, router_jitter_noise=0.5),
    "Gemma3ForConditionalGeneration": dict(
        text_config=SHAPE | dict(num_key_value_heads=2, head_dim=8, attention_dropout=0.5),
        vision_config=dict(
            hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
        ),
        mm_tokens_per_image=4,
        image_token_index=60,
    ),
}


@pytest.mark.parametrize("name", NOISY)
@torch.no_grad()
def test_training_reads_as_measuring_does(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture = getattr(transformers, name)
    stored(architecture(architecture.config_class(**NOISY[name])), tmp_path)
    model = load_model(tmp_path)
    row = torch.randint(3, 61, (1, 9))
    inputs = Inputs(row, torch.arange(9)[None], torch.zeros_like(row), row, torch.ones_like(row, dtype=torch.bool))
    torch.testing.assert_close(model.train().hidden(inputs), model.eval().hidden(inputs), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_short_row_reads_alike_beside_one_beyond_the_short_context(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rope = dict(rope_type="longrope", rope_theta=1e4, short_factor=[1.0] * 4, long_factor=[2.0, 3.0, 4.0, 5.0])
    config = transformers.Phi3Config(
        **SHAPE, rope_parameters=rope, max_position_embeddings=32, original_max_position_embeddings=5, pad_token_id=0
    )
    theirs = stored(transformers.Phi3ForCausalLM(config), tmp_path)
    ours = load_model(tmp_path)
    inputs, valid_PL = padded()  # 7 and 4 tokens
    for order in ([0, 1], [1, 0]):
        batch = Inputs(inputs.tokens_PL[order], inputs.positions_PL, inputs.segments_PL[order])
        logits = ours.logits(ours.hidden(batch))
        for row, tokens_L, valid_L in zip(logits, batch.tokens_PL, valid_PL[order], strict=True):
            alone = theirs(input_ids=tokens_L[valid_L][None]).logits[0]
            torch.testing.assert_close(row[valid_L], alone, atol=1e-4, rtol=0)


@torch.no_grad()
def test_rwkv_is_saved_as_it_was_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = dict(vocab_size=61, hidden_size=32, attention_hidden_size=32, intermediate_size=48, num_hidden_layers=8)
    theirs = stored(transformers.RwkvForCausalLM(transformers.RwkvConfig(**shape)), tmp_path / "a")
    inputs, _ = padded()
    want = theirs(input_ids=inputs.tokens_PL[:1]).logits
    ours = load_model(tmp_path / "a")
    torch.testing.assert_close(ours.logits(ours.hidden(inputs))[:1], want, atol=1e-4, rtol=0)
    save_model(ours, tmp_path / "b")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b").eval()
    torch.testing.assert_close(again(input_ids=inputs.tokens_PL[:1]).logits, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["XLNet", "Bert"])
def test_a_model_that_sees_what_comes_is_no_decoder(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: transformers.PreTrainedModel
    if family == "XLNet":
        config = transformers.XLNetConfig(vocab_size=61, d_model=32, n_layer=1, n_head=4, d_inner=48)
        model = transformers.XLNetLMHeadModel(config)
    else:
        model = transformers.BertLMHeadModel(transformers.BertConfig(**SHAPE))
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="sees the tokens that are to come"):
        load_model(tmp_path)


def test_a_bert_that_looks_back_only_is_a_decoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    transformers.BertLMHeadModel(transformers.BertConfig(**SHAPE, is_decoder=True)).save_pretrained(tmp_path)
    assert load_model(tmp_path).kind == "decoder"


@pytest.mark.parametrize("family", ["FNet", "ConvBert"])
def test_a_model_that_padding_changes_is_refused(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {name: value for name, value in SHAPE.items() if family != "FNet" or name != "num_attention_heads"}
    more = {} if family == "FNet" else {"embedding_size": 32}
    config = getattr(transformers, f"{family}Config")(**shape, **more, max_position_embeddings=32)
    getattr(transformers, f"{family}ForMaskedLM")(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="changes with the padding"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("model", "config", "said"),
    [
        ("ProphetNetForConditionalGeneration", PROPHET, "cannot be read in parts"),
        ("DebertaV2Model", SHAPE, "none of transformers' AutoModelForCausalLM"),
        ("BertModel", SHAPE, "saved with the head that predicts words"),
        ("LlamaForSequenceClassification", SHAPE, "whose head does one task"),
        ("MixtralForSequenceClassification", SHAPE, "whose head does one task"),
    ],
)
def test_a_model_of_another_purpose_says_what_it_is(
    model: str, config: dict[str, int], said: str, tmp_path: Path
) -> None:
    architecture = getattr(transformers, model)
    architecture(architecture.config_class(**config)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=said) as caught:
        load_model(tmp_path)
    assert caught.value.mend and caught.value.where == str(tmp_path) and len(str(caught.value)) < 800


def test_own_code_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "odd", "auto_map": {"AutoConfig": "odd.C"}}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "odd.py").write_text("raise SystemExit('the code ran')")
    with pytest.raises(ModelError, match="code of its own"):
        load_model(tmp_path)


def test_missing_tensors_are_errors(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    stored(transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**SHAPE)), tmp_path)
    load_model(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    lost = next(n for n in whole if "final_layer_norm" in n)
    save_file({n: t for n, t in whole.items() if n != lost}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=lost):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_act": "fancy"}, "KeyError: 'fancy'"),
        ({"rope_scaling": {"type": "fancy", "factor": 2.0}}, "KeyError: 'fancy'"),
        ({"num_hidden_layers": "1"}, "expected int, got str"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "requires bitsandbytes"),
    ],
)
def test_what_transformers_objects_to_is_told(change: dict[str, object], said: str, tmp_path: Path) -> None:
    transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**SHAPE)).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ModelError, match="transformers cannot") as caught:
        load_model(tmp_path)
    assert said in str(caught.value) and str(tmp_path) in str(caught.value)
