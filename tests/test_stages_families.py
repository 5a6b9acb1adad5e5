"""The three families from scratch: an encoder by masked words, an encoder-decoder by spans or by source and target, a decoder as ever."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import transformers

from amenable.chat.tokenizer import Tokenizer, train_bpe
from amenable.data.rows import tokenise_texts, vocabulary_of
from amenable.errors import ConfigError, ModelError
from amenable.models.folder import load_model
from amenable.stages.resume import replay
from amenable.stages.talk import Talker
from amenable.types import Document, Sampling, user

from .stage_makers import (
    assert_same_run,
    break_and_resume,
    rows,
    start,
    toys,
    workspace,
)

__all__ = ["toys", "workspace"]

OBJECTIVES = ("masked_word", "span_corruption", "source_target")
HIDING = (*OBJECTIVES[:2], pytest.param("source_target", marks=pytest.mark.slow))
FAST = ("train.optimizer.learning_rate=0.01", "train.precision=float32")


def recipe(toys, objective, *overrides):
    data = toys.data["demonstrations" if objective == "source_target" else "documents"]
    named = (f"algorithm.name={objective}", f"data.train=[{json.dumps(data)}]")
    return toys.mapping("pretrain", *named, *FAST, *overrides)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_new_model_learns_and_loads_in_transformers(objective, toys, workspace):
    run = start("pretrain", recipe(toys, objective, "train.steps=40", "train.validate_every=40"), workspace, "new")
    lines = rows(run.path)
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert lines[-1]["nats_per_token"] < lines[0]["nats_per_token"] - 1
    assert lines[-1]["validation/nats_per_token"] < lines[0]["nats_per_token"] - 1
    auto = transformers.AutoModelForMaskedLM if objective == "masked_word" else transformers.AutoModelForSeq2SeqLM
    theirs, ours = auto.from_pretrained(run.model).eval(), load_model(run.model)
    assert ours.kind == ("encoder" if objective == "masked_word" else "seq2seq")
    assert type(theirs).__name__ == type(ours.inner).__name__
    spelt = transformers.AutoTokenizer.from_pretrained(run.model)
    tokenizer = Tokenizer.load(run.model)
    assert spelt.pad_token_id == tokenizer.pad_id and spelt.eos_token_id == tokenizer.eos_id
    if objective == "masked_word":
        assert spelt.mask_token_id == tokenizer.mask_id


def test_a_vocabulary_too_small_for_the_marks_names_the_setting(toys, workspace):
    mapping = {"algorithm": {"name": "span_corruption"}, "shape": {"vocab_size": 300}}
    with pytest.raises(ConfigError, match="300 cannot hold the 256 bytes and 106 specials") as error:
        start("pretrain", {**mapping, "data": {"train": [toys.data["documents"]]}}, workspace, "small")
    assert error.value.where == "shape.vocab_size" and "362" in error.value.mend


@pytest.mark.slow
def test_transformers_fills_masks_as_we_do(toys, workspace):
    """The pipeline of transformers, on our folder as it stands, gives the same tokens the same probabilities."""
    run = start("pretrain", recipe(toys, "masked_word", "train.steps=60", "train.units_per_step=16"), workspace, "new")
    model, spelt = transformers.AutoModelForMaskedLM.from_pretrained(run.model), transformers.AutoTokenizer.from_pretrained(run.model)  # fmt: skip
    fill = transformers.pipeline("fill-mask", model=model, tokenizer=spelt)
    found = fill(f"{spelt.bos_token}The cat{spelt.mask_token} red.{spelt.eos_token}")
    theirs = {f["token_str"]: f["score"] for f in found}
    (ours,) = start("sample", {"model": run.model, "prompts": ["The cat [MASK] red."]}, workspace).details["responses"]
    (gap,) = ours["gaps"]
    assert ours["response"] == f"The cat{gap[0]['text']} red."
    both = [(one["probability"], theirs[one["text"]]) for one in gap if one["text"] in theirs]
    assert len(both) >= 3 and all(p == pytest.approx(q, abs=0.02) for p, q in both)  # ours leaves control tokens out


@pytest.mark.parametrize("objective", HIDING)
def test_a_broken_run_goes_on_bit_for_bit(objective, toys, workspace):
    mapping = recipe(toys, objective)
    whole = start("pretrain", mapping, workspace, "whole")
    again = break_and_resume("pretrain", mapping, workspace, step=5)
    assert_same_run(again.path, whole.path)


@pytest.mark.parametrize("objective", HIDING)
def test_a_dumped_step_replays_with_its_own_loss(objective, toys, workspace):
    run = start("pretrain", recipe(toys, objective, "train.dump_batches=true"), workspace, "dumped")
    again = replay(run.path, 4)
    assert again.metrics["loss"] == rows(run.path)[3]["loss"]


def test_going_on_with_a_model_needs_one_of_the_right_family(toys, workspace):
    encoder = start("pretrain", recipe(toys, "masked_word", "train.steps=2"), workspace, "encoder")
    go_on = json.dumps(encoder.model)
    more = start("pretrain", recipe(toys, "masked_word", "train.steps=2", f"model={go_on}"), workspace, "more")
    assert load_model(more.model).kind == "encoder"
    with pytest.raises(ModelError, match="is an encoder, which fills masks and writes no text, and span_corruption"):
        start("pretrain", recipe(toys, "span_corruption", f"model={go_on}"), workspace, "wrong")
    with pytest.raises(ModelError, match="a decoder, which writes text and fills no masks, and masked_word trains"):
        start("pretrain", recipe(toys, "masked_word", f"model={json.dumps(toys.base)}"), workspace, "wrong")
    with pytest.raises(ModelError, match=r"is an encoder.*sft trains a decoder or an encoder-decoder"):
        start("sft", toys.mapping("sft", f"model={go_on}"), workspace, "wrong")
    with pytest.raises(ConfigError, match="no objective to begin with"):
        start("pretrain", recipe(toys, "source_target", "algorithm.name=sft"), workspace, "wrong")


def test_an_encoder_asked_to_write_says_what_it_is(toys, workspace):
    encoder = start("pretrain", recipe(toys, "masked_word", "train.steps=2"), workspace, "encoder").model
    with pytest.raises(ModelError, match="fills masks and writes no text"):
        Talker(encoder)
    with pytest.raises(ConfigError, match=r"nothing to fill.*no \[MASK\]"):
        start("sample", {"model": encoder, "prompts": ["Hello!"]}, workspace)
    with pytest.raises(ConfigError, match="in one way"):
        start("sample", {"model": encoder, "prompts": ["A [MASK]."], "responses_per_prompt": 2}, workspace)
    with pytest.raises(ConfigError, match="longer than the model's context"):
        start("sample", {"model": encoder, "prompts": ["A [MASK]" * 40]}, workspace)
    with pytest.raises(ModelError, match="fills masks and writes no text"):
        start("evaluate", {"models": [encoder], "data": toys.data["prompts"]}, workspace)
    with pytest.raises(ModelError, match="it is no encoder"):
        start("sample", {"model": toys.base, "prompts": ["The cat [MASK] red."]}, workspace)
    assert not list(workspace.runs.glob("sample*"))


@pytest.mark.slow
def test_an_encoder_decoder_writes_what_it_was_taught(toys, workspace):
    """Source to target from scratch, then sampled and talked to, in the same words it was trained in."""
    few = workspace.root / "few.jsonl"
    few.write_text("".join(line + "\n" for line in Path(toys.data["demonstrations"]).read_text().splitlines()[:6]))
    mapping = recipe(toys, "source_target", f"data.train={json.dumps([str(few)])}", "data.held_out_share=0.0", "train.steps=120", "train.units_per_step=6")  # fmt: skip
    run = start("pretrain", mapping, workspace, "pairs")
    assert rows(run.path)[-1]["nats_per_token"] < 0.1
    asked = {"prompts": ["Is the ball red?"], "sampling": {"temperature": 0.0, "max_tokens": 20}}
    sampled = start("sample", {"model": run.model, **asked}, workspace)
    assert sampled.details["responses"][0]["response"] == "Yes, the ball is red."
    talker = Talker(run.model)
    said = "".join(talker.stream([user("Is the ball red?")], Sampling(temperature=0.0, max_tokens=20), 0))
    assert said == "Yes, the ball is red."
    assert talker.note == ""


def test_masks_of_a_model_without_a_mask_token_are_refused(toys, workspace):
    torch.manual_seed(0)
    shape = dict(vocab_size=320, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    folder = workspace.root / "bare"
    transformers.BertForMaskedLM(transformers.BertConfig(**shape)).save_pretrained(folder)
    Tokenizer.load(toys.tokenizer).save(folder)
    with pytest.raises(ModelError, match="tokenizer has no mask token"):
        start("pretrain", recipe(toys, "masked_word", f"model={json.dumps(str(folder))}"), workspace, "wrong")


def test_a_mixture_is_told_before_and_after(toys, workspace):
    said = []
    texts = [toys.data["documents"], str(workspace.root / "more.jsonl")]
    lines = [Document(id=f"m{i}", text=f"{i} and {i}. " * 8).to_json() for i in range(30)]
    (workspace.root / "more.jsonl").write_bytes(b"\n".join(lines))
    for weights in ([3, 1], []):
        mapping = toys.mapping("pretrain", f"data.train={json.dumps(texts)}", f"data.weights={json.dumps(weights)}", "train.steps=20")  # fmt: skip
        said.clear()
        run = start("pretrain", mapping, workspace, f"mixed{len(weights)}", lambda event: said.append(event.text))
        mixture = run.details["mixture"]
        assert sum(part["share"] for part in mixture) == pytest.approx(1)
        assert sum(part["tokens"] for part in mixture) == sum(line["num_tokens"] for line in rows(run.path))
        if weights:
            assert mixture[0]["share"] == pytest.approx(0.75, abs=0.1)
        before = [text for text in said if "of the mixture" in text]
        after = [text for text in said if "learned from" in text]
        assert len(before) == len(after) == 2 and f"{mixture[1]['tokens']:,} tokens learned from" in after[1]
        about = json.loads((run.path / "model" / "amenable.json").read_text())
        assert about["mixture"] == mixture


def test_texts_are_cut_into_framed_pieces_without_loss():
    tokenizer = train_bpe(["the cat sat on the mat " * 9], 270)
    frame = tokenizer.frame
    assert frame == ([tokenizer.bos_id], [tokenizer.eos_id])
    document = Document(id="d", text="the cat sat on the mat, said the mat")
    made = tokenise_texts([document], tokenizer, 8, frame)
    assert all(
        len(row) <= 8 and row.tokens[0] == tokenizer.bos_id and row.tokens[-1] == tokenizer.eos_id for row in made
    )
    inside = [t for row in made for t in row.tokens[row.trained].tolist()]
    assert inside == tokenizer.encode(document.text)


def test_a_tokenizers_marks_are_known():
    spelt = train_bpe(["a cat, a cat, a cat"] * 9, 268)
    tokenizer = spelt.with_added({"mask_token": "<m>"}, ["<extra_id_0>", "<extra_id_1>"])
    vocabulary, first = vocabulary_of(tokenizer), spelt.vocab_size
    assert (vocabulary.mask_id, vocabulary.sentinel_ids, vocabulary.size) == (first, (first + 1, first + 2), first + 3)
