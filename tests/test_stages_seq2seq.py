"""A toy T5, as transformers saves it, goes through the stages: finite losses, moved weights, and transformers loads the result."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, trainers

from amenable.chat.render import render_source
from amenable.errors import ConfigError
from amenable.rewards.model import RewardModel
from amenable.stages.resume import resume
from amenable.types import Scored, user

from .chat_makers import write_folder
from .stage_makers import (
    Broken,
    assert_same_run,
    breaking_at,
    pairs,
    question,
    rows,
    start,
    toys,
    weights,
    workspace,
)

__all__ = ["toys", "workspace"]


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random T5 of two layers with a Unigram tokenizer, in one folder."""
    folder = tmp_path_factory.mktemp("t5")
    inner = tokenizers.Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=specials, unk_token="<unk>", show_progress=False)
    texts = [question(c, t) + f" Yes, the {t} is {c}. No idea, {t}. What? it" for c, t in pairs()] * 3
    inner.train_from_iterator(texts, trainer=trainer)
    write_folder(folder, inner, {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"})
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=160, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)
    model.save_pretrained(folder)
    return folder


def recipe(toys, t5, stage, *overrides):
    few = ("train.steps=2", "train.optimizer.learning_rate=0.003", "context=48", "train.precision=float32")
    few = tuple(o for o in few if not (stage == "ppo" and o.startswith("context")))
    return toys.mapping(stage, f"model={json.dumps(str(t5))}", *few, *overrides)


def check(run, t5, workspace):
    """Finite figures, weights that moved, a folder that transformers reads to the same logits."""
    lines = rows(run.path)
    assert len(lines) == 2 and all(math.isfinite(line["loss"]) for line in lines)
    before, after = weights(t5), weights(run.model)
    shared = [n for n in before if n in after]
    assert shared and any(not torch.equal(before[n], after[n]) for n in shared)
    theirs = transformers.T5ForConditionalGeneration.from_pretrained(run.model)
    out = theirs(input_ids=torch.tensor([[5, 6, 1]]), decoder_input_ids=torch.tensor([[0, 7]])).logits
    assert out.isfinite().all()


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto"])
def test_t5_learns_from_what_was_written(stage, toys, t5, workspace):
    run = start(stage, recipe(toys, t5, stage), workspace, "t5")
    check(run, t5, workspace)


def test_t5_sft_lowers_its_loss(toys, t5, workspace):
    mapping = recipe(toys, t5, "sft", "train.steps=30", "train.optimizer.learning_rate=0.01", "train.validate_every=0")
    run = start("sft", mapping, workspace, "t5")
    lines = rows(run.path)
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5


@pytest.mark.parametrize("critic", ["own", "shared"])
def test_t5_ppo(critic, toys, t5, workspace):
    mapping = recipe(toys, t5, "ppo", "max_prompt_tokens=40", f"algorithm.critic={critic}", "algorithm.truncated=score")
    run = start("ppo", mapping, workspace, "t5")
    check(run, t5, workspace)
    first = rows(run.path)[0]
    assert first["kl"] == pytest.approx(0, abs=1e-4) and first["sampling_gap"] < 1e-3
    assert first["score"] != 0 and first["response_tokens"] > 1


@pytest.mark.slow
def test_t5_ppo_resumes_bit_for_bit(toys, t5, workspace):
    mapping = recipe(toys, t5, "ppo", "max_prompt_tokens=40", "train.steps=3", "train.save_every=1")
    whole = start("ppo", mapping, workspace, "whole")
    with pytest.raises(Broken):
        start("ppo", mapping, workspace, "broken", breaking_at(2, "ppo"))
    assert_same_run(resume(workspace.run("broken")).path, whole.path)


@torch.no_grad()
def test_t5_as_a_reward_model(toys, t5, workspace):
    """The score of a response is what the head makes of transformers' decoder state at its end."""
    with torch.enable_grad():
        run = start("reward", recipe(toys, t5, "reward"), workspace, "t5")
    check(run, t5, workspace)
    reward = RewardModel.load(run.model)
    scores = reward.score([Scored(prompt=(user(q),), response="Yes.") for q in ("Is it red?", "What?")])
    theirs = transformers.T5ForConditionalGeneration.from_pretrained(run.model).eval()
    for asked, score in zip(("Is it red?", "What?"), scores, strict=True):
        source = torch.tensor([render_source((user(asked),), reward.tokenizer)])
        target = torch.tensor([[0, *reward.tokenizer.encode("Yes."), 1]])
        state = theirs.get_encoder()(input_ids=source)[0]
        hidden = theirs.get_decoder()(input_ids=target, encoder_hidden_states=state)[0][0, -1]
        assert float(reward.actor.head(hidden)) == pytest.approx(score, abs=1e-5)
    assert scores[0] != scores[1]


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_no_running_text_beside_what_t5_learns(stage, toys, t5, workspace):
    ptx = (f"ptx.train=[{json.dumps(toys.data['documents'])}]", "algorithm.ptx_weight=0.5")
    with pytest.raises(ConfigError, match="no next word of running text"):
        start(stage, toys.mapping(stage, f"model={t5}", "train.steps=1", *ptx), workspace, "mixed")
