"""Each stage learns what it promises, on a toy where that can be checked: by greedy text, by margin, by reward less KL."""

from __future__ import annotations

import json

import pytest
import torch

from amenable.config.folder import WorkspaceFolder
from amenable.models.folder import load_heads
from amenable.rewards.model import RewardModel
from amenable.stages.build import open_policy
from amenable.stages.generate import generate
from amenable.stages.sample import Config as SampleConfig
from amenable.stages.sample import run as sample
from amenable.types import Prompt, Sampling, Scored, user

from .stage_makers import (
    Toys,
    comparisons,
    demonstrations,
    labels,
    rows,
    start,
    toys,
    weights,
    workspace,
    write_rows,
)

__all__ = ["toys", "workspace"]

ALL = ("data.held_out_share=0.0", "train.save_every=0", "train.validate_every=0")


def test_sft_learns_twenty_answers_by_heart_stop_token_included(toys, workspace, tmp_path):
    spec = write_rows(tmp_path / "twenty.jsonl", demonstrations()[:20])
    settings = ("train.steps=250", "train.units_per_step=20", "train.optimizer.learning_rate=0.01")
    run = start("sft", toys.mapping("sft", f"data.train=[{json.dumps(spec)}]", *settings, *ALL), workspace, "heart")
    assert rows(run.path)[-1]["nats_per_token"] < 0.05
    policy = open_policy(run.model, workspace)
    asked = [Prompt(id=d.id, messages=d.messages[:1]) for d in demonstrations()[:20]]
    said = [g[0] for g in generate(policy, asked, Sampling(temperature=0.0, max_tokens=30), seed=0)]
    assert [r.text for r in said] == [d.messages[1].content for d in demonstrations()[:20]]
    assert all(r.finish == "stop" and r.response_ids[-1] in policy.tokenizer.stop_ids for r in said)


def test_a_reward_model_tells_good_from_bad(toys, workspace):
    settings = ("train.steps=30", "train.optimizer.learning_rate=0.01", "train.save_every=0")
    run = start("reward", toys.mapping("reward", *settings), workspace, "judge")
    quality = json.loads((run.path / "reward.json").read_text())
    assert quality["accuracy"]["value"] == 1.0 and quality["pairs"] > 5
    assert all("%" in sentence for sentence in quality["sentences"])
    model = RewardModel.load(run.model)
    for c in comparisons()[:10]:
        better, worse = model.score([Scored(prompt=c.prompt, response=r) for r in (c.chosen, c.rejected)])
        assert better > worse + 0.5


@pytest.mark.parametrize(("kind", "name"), [("rankings", "ranking"), ("ratings", "rating"), ("labels", "label")])
def test_the_other_reward_models_learn_too(kind, name, toys, workspace):
    data = f"data.train=[{json.dumps(toys.data[kind])}]"
    settings = ("train.steps=30", "train.optimizer.learning_rate=0.01", *ALL)
    run = start("reward", toys.mapping("reward", f"algorithm.name=reward_{name}", data, *settings), workspace, "judge")
    model = RewardModel.load(run.model)
    good, bad = model.score([Scored(prompt=(user("Is the ball red?"),), response=r) for r in ("Yes, red.", "What?")])
    assert good > bad + 0.3, (good, bad)
    if name == "rating":  # 6 and 2 on a scale of 1 to 7 are 5/6 and 1/6
        assert (good, bad) == pytest.approx((5 / 6, 1 / 6), abs=0.2)


def test_dpo_widens_the_gap(toys, workspace):
    settings = ("train.steps=15", "train.optimizer.learning_rate=0.003", *ALL)
    run = start("dpo", toys.mapping("dpo", *settings), workspace, "dpo")
    lines = rows(run.path)
    assert lines[0]["gap"] == pytest.approx(0, abs=0.02) and lines[0]["loss"] == pytest.approx(0.6931, abs=0.01)
    assert lines[-1]["gap"] > 1 and lines[-1]["accuracy"] == 1.0 and lines[-1]["loss"] < 0.4


def test_kto_parts_good_from_bad(toys, workspace):
    settings = ("train.steps=15", "train.optimizer.learning_rate=0.003", "train.units_per_step=16", *ALL)
    run = start("kto", toys.mapping("kto", *settings), workspace, "kto")
    lines = rows(run.path)
    first, last = lines[0], lines[-1]
    assert first["reward_desirable"] == pytest.approx(0, abs=0.02)
    assert last["reward_desirable"] - last["reward_undesirable"] > 0.5
    assert last["loss"] < first["loss"] - 0.1
    assert {r.label for r in labels()} == {True, False}


def objective(toys: Toys, workspace: WorkspaceFolder, model: str, reward, beta: float) -> tuple[float, float, float]:
    """(score - beta * KL, score, KL) of 240 sampled responses; KL measured against the SFT model, nats per response."""
    policy, reference = open_policy(model, workspace), open_policy(toys.sft, workspace)
    asked = [Prompt(id=d.id, messages=d.messages[:1]) for d in demonstrations()]
    said = [r for g in generate(policy, asked, Sampling(max_tokens=12), seed=5, responses_per_prompt=4) for r in g]
    scores = reward([r.text for r in said])
    kl = 0.0
    for r in said:
        ids = torch.tensor([[*r.prompt_ids, *r.response_ids]])
        own, other = (_logprobs(m.model, ids)[-len(r.response_ids) :] for m in (policy, reference))
        kl += float((own - other).sum()) / len(said)
    score = sum(scores) / len(scores)
    return score - beta * kl, score, kl


@torch.no_grad()
def _logprobs(model, ids):
    from amenable.batch import Inputs

    inputs = Inputs(ids, torch.arange(ids.shape[1])[None], torch.zeros_like(ids))
    return model.logits(model.hidden(inputs)).log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]


@pytest.mark.parametrize("critic", ["own", pytest.param("shared", marks=pytest.mark.slow)])
def test_ppo_raises_score_less_kl(critic, toys, workspace):
    """The objective itself, measured apart from training, rises by a clear margin; the KL stays held."""
    beta = 0.02
    settings = (
        "reward=rules", 'reward_options.contains=["red"]', f"algorithm.kl_coef={beta}", f"algorithm.critic={critic}",
        "algorithm.truncated=score", "train.steps=25", "train.units_per_step=48", "train.optimizer.learning_rate=0.005",
        "train.minibatches=2", "num_slots=64", "sample_every=0", *ALL,
    )  # fmt: skip
    run = start("ppo", toys.mapping("ppo", *settings), workspace, "ppo")
    says_red = lambda texts: [float("red" in t.lower().replace(".", "").replace(",", "").split()) for t in texts]
    before = objective(toys, workspace, toys.sft, says_red, beta)
    after = objective(toys, workspace, run.model, says_red, beta)
    assert before[2] == pytest.approx(0, abs=1e-5)
    assert after[0] > before[0] + 0.2, (before, after)
    logged = rows(run.path)
    assert sum(r["score"] for r in logged[-4:]) / 4 == pytest.approx(after[1], abs=0.2)
    assert logged[-1]["kl"] == pytest.approx(after[2], abs=max(1.5, 0.5 * after[2]))


@pytest.mark.slow
def test_a_stronger_leash_holds_tighter(toys, workspace):
    settings = (
        "reward=rules", 'reward_options.contains=["red"]', "algorithm.truncated=score", "train.steps=12",
        "train.units_per_step=32", "train.optimizer.learning_rate=0.005", "num_slots=64", "sample_every=0", *ALL,
    )  # fmt: skip
    kl = {
        beta: rows(start("ppo", toys.mapping("ppo", f"algorithm.kl_coef={beta}", *settings), workspace, f"b{i}").path)[-1]["kl"]
        for i, beta in enumerate((0.0, 1.0))
    }  # fmt: skip
    assert kl[1.0] < 0.5 * kl[0.0], kl


@pytest.mark.slow
def test_ptx_keeps_the_text_likely(toys, workspace):
    """With the mix, documents stay as likely as before while the reward pulls; without it they do not."""
    settings = (
        "reward=rules", 'reward_options.contains=["red"]', "algorithm.kl_coef=0.0", "algorithm.truncated=score",
        "train.steps=12", "train.units_per_step=16", "train.optimizer.learning_rate=0.005", "sample_every=0", *ALL,
    )  # fmt: skip
    nats = ptx_nats("ppo", settings, (1e-9, 5.0), toys, workspace)
    assert nats[5.0] < nats[1e-9] - 0.2, nats


def test_ptx_keeps_the_text_likely_in_sft(toys, workspace):
    settings = ("train.steps=12", "train.optimizer.learning_rate=0.01", *ALL)
    nats = ptx_nats("sft", settings, (1e-9, 1.0), toys, workspace)
    assert nats[1.0] < nats[1e-9] - 0.2, nats


def ptx_nats(stage, settings, weights, toys, workspace):
    """Nats per token of the documents in the last step, by the weight of the mix."""
    ptx = (f"ptx.train=[{json.dumps(toys.data['documents'])}]", "ptx_rows_per_step=8", "ptx.held_out_share=0.0")
    found = {}
    for number, weight in enumerate(weights):
        mapping = toys.mapping(stage, f"algorithm.ptx_weight={weight}", *ptx, *settings)
        found[weight] = rows(start(stage, mapping, workspace, f"w{number}").path)[-1]["ptx_nats_per_token"]
    return found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_first_ratio_is_one_and_the_sampling_gap_small(precision, toys, workspace):
    settings = (f"train.precision={precision}", "train.minibatches=1", "train.inner_epochs=1", "train.steps=1", *ALL)
    run = start("ppo", toys.mapping("ppo", "train.units_per_step=48", *settings), workspace, "ratio")
    row = rows(run.path)[0]
    assert row["ratio"] == pytest.approx(1.0, abs=1e-3) and row["clip_fraction"] < 0.01
    assert abs(row["update_kl"]) < 1e-4
    assert row["sampling_gap"] < (1e-4 if precision == "float32" else 0.02), row["sampling_gap"]


def test_sampling_is_the_same_for_the_same_seed(toys, workspace):
    def texts(name, seed):
        config = SampleConfig(model=toys.sft, prompts=("Is the cat red?",), responses_per_prompt=4, seed=seed, sampling=Sampling(max_tokens=10))  # fmt: skip
        return [row["response"] for row in sample(config, workspace=workspace, name=name).details["responses"]]

    assert texts("a", 1) == texts("b", 1) != texts("c", 2)


def test_best_of_n_by_a_reward_model(toys, workspace):
    config = SampleConfig(model=toys.sft, prompts=("Is the cat red?",), responses_per_prompt=8, sampling=Sampling(max_tokens=10, temperature=1.5))  # fmt: skip
    every = sample(config, workspace=workspace, name="every").details["responses"]
    best = sample(config.replace(best_of=toys.reward), workspace=workspace, name="best").details["responses"]
    model = RewardModel.load(toys.reward)
    items = [Scored(prompt=(user(r["prompt"]),), response=r["response"], finished=r["finish"] == "stop") for r in every]
    scores = model.score(items)
    assert len(best) == 1 and best[0]["response"] == every[scores.index(max(scores))]["response"]


def test_the_shared_value_head_and_the_own_critic_are_saved(toys, workspace):
    shared = start("ppo", toys.mapping("ppo", "algorithm.critic=shared", "train.steps=1"), workspace, "shared")
    assert load_heads(shared.model).keys() == {"value"} and not (shared.path / "model" / "critic").exists()
    own = start("ppo", toys.mapping("ppo", "train.steps=1"), workspace, "own")
    assert load_heads(own.model) == {} and load_heads(f"{own.model}/critic").keys() == {"value"}
    assert any(name.startswith("critic/") for name in weights(own.model))


def test_ppo_measures_held_out_prompts_of_all_sources(toys, workspace, tmp_path, monkeypatch):
    drawn = []

    def noted(draw, *_):
        drawn.extend(rollout.prompt.messages[0].content[0] for rollout in draw())
        return None

    monkeypatch.setattr("amenable.stages.online.measurer", noted)
    held = [Prompt(id=f"{s}{n}", messages=(user(f"{s}{n}"),)) for s in "ab" for n in range(100)]
    spec = write_rows(tmp_path / "held.jsonl", held)
    settings = (f"data.validation=[{json.dumps(spec)}]", "sampling.max_tokens=1", "reward=length", "train.steps=1")
    start("ppo", toys.mapping("ppo", *settings, "sample_every=0"), workspace)
    assert len(drawn) == 64 and 16 < drawn.count("b") < 48
