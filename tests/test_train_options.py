"""Every option of the loop acts: each test sees the effect of one, on a run of a stage or on the learner itself."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

import amenable.models.decoder as decoder_module
from amenable.batch import Batch, Inputs, metric
from amenable.chat.render import render
from amenable.chat.tokenizer import Tokenizer, train_bpe
from amenable.config.settings import load_toml, parse
from amenable.data.split import assign_splits
from amenable.errors import CheckpointError, ConfigError, DataError
from amenable.models.activations import kept_bytes
from amenable.models.config import DecoderConfig
from amenable.models.decoder import Decoder
from amenable.models.folder import load_heads, load_model, read_metadata
from amenable.models.heads import ValueHead
from amenable.models.packing import join, pack
from amenable.models.paths import Paths
from amenable.rewards.model import RewardModel
from amenable.stages.build import Compute, LoraSettings, Policy, make_actor, to_be_checkpointed
from amenable.stages.catalog import find
from amenable.stages.events import Event
from amenable.stages.resume import replay, resume
from amenable.stages.reward_apart import Recipe
from amenable.train import checkpoint, contract, loop
from amenable.train.learner import Learner, schedule
from amenable.train.loop import NonFiniteError
from amenable.train.muon import Muon, orthogonal
from amenable.train.optimizer import build_optimizers
from amenable.train.run_folder import RunFolder
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.train.split import micro_batches, split
from amenable.types import Demonstration, Scored, StepReport, assistant, user

from .contract import actor, batches_of, gradients, make
from .stage_makers import (
    COLOURS,
    THINGS,
    assert_same_weights,
    demonstrations,
    question,
    rows,
    start,
    toys,
    weights,
    workspace,
    write_rows,
)

__all__ = ["toys", "workspace"]


@pytest.fixture
def sft(toys, workspace):
    """Run sft with overrides: (name, *overrides) → RunResult."""

    def run(name, *overrides, stage="sft", on_event=lambda e: None):
        return start(stage, toys.mapping(stage, *overrides), workspace, name, on_event)

    return run


def column(run, name):
    return [row[name] for row in rows(run.path) if name in row]


def far_apart(a, b) -> float:
    """Largest difference of any weight of two models."""
    a, b = weights(a.path / "model"), weights(b.path / "model")
    return max(float((a[n].double() - b[n].double()).abs().max()) for n in a)


# Batches


@pytest.mark.parametrize("stage", ["sft", "dpo", "ppo"])
def test_micro_tokens_change_nothing_but_rounding(stage, sft):
    wide = sft("wide", "train.micro_tokens=100000", "train.steps=2", "train.precision=float32", stage=stage)
    narrow = sft("narrow", "train.micro_tokens=60", "train.steps=2", "train.precision=float32", stage=stage)
    assert column(narrow, "loss") == pytest.approx(column(wide, "loss"), abs=2e-5)
    # Adam divides by the gradient's size, so tiny gradients of another rounding move weights by up to one step size
    assert far_apart(wide, narrow) < 1e-3


def test_micro_batches_hold_rows_of_like_length_and_whole_units():
    lengths, units = [9, 200, 12, 180, 10, 190, 11, 8], [0, 1, 2, 3, 4, 5, 6, 6]
    valid_BT = torch.arange(200) < torch.tensor(lengths)[:, None]
    batch = Batch(valid_BT.long(), valid_BT, valid_BT, torch.tensor(units))
    found = micro_batches(batch, max_tokens=400)
    assert [micro.length_B.tolist() for micro in found] == [[200, 190], [180, 12, 11, 8, 10, 9]]
    assert [micro.unit_B.tolist() for micro in found] == [[1, 5], [3, 2, 6, 6, 4, 0]]
    assert micro_batches(batch, max_tokens=1000) == [batch]

    def cells(micros):
        return sum(pack(micro).inputs.tokens_PL.numel() for micro in micros)

    assert cells(found) < cells(split(batch, max_tokens=400))


def test_minibatches_and_inner_epochs_update_as_often(sft):
    plain = sft("plain", "train.steps=2")
    many = sft("many", "train.steps=2", "train.minibatches=2", "train.inner_epochs=3")
    assert column(plain, "updates") == [1, 1] and column(many, "updates") == [6, 6]
    assert far_apart(plain, many) > 1e-4


def test_there_are_no_more_minibatches_than_units(sft):
    most = sft("most", "train.steps=1", "train.minibatches=8", "train.validate_every=0")
    beyond = sft("beyond", "train.steps=1", "train.minibatches=9223372036854775807", "train.validate_every=0")
    assert column(most, "updates") == column(beyond, "updates") == [8]
    assert_same_weights(beyond.path / "model", most.path / "model")


def test_units_per_step_and_epochs_give_the_steps(sft):
    run = sft("epochs", "train.steps=0", "train.epochs=2", "train.units_per_step=5")
    units = json.loads((run.path / "data.json").read_text())
    train = next(v for v in units.values() if isinstance(v, dict))["units"]
    assert run.steps == math.ceil(2 * train / 5)
    assert column(run, "epoch/demonstrations")[-1] == pytest.approx(run.steps * 5 / train)


# Arithmetic


def test_bfloat16_rounds_and_float32_does_not(sft):
    exact = sft("exact", "train.precision=float32", "train.steps=3")
    rounded = sft("rounded", "train.precision=bfloat16", "train.steps=3")
    gap = max(abs(a - b) for a, b in zip(column(exact, "loss"), column(rounded, "loss"), strict=True))
    assert 1e-6 < gap < 0.05
    environments = [
        json.loads((r.path / "environment.json").read_text())["paths"]["training"] for r in (exact, rounded)
    ]
    assert environments == ["float32", "bfloat16"]
    assert all(t.dtype == torch.float32 for t in weights(rounded.path / "model").values())


def test_checkpointing_recomputes_and_gives_the_same_gradients(monkeypatch):
    calls = []
    real = decoder_module.Layer.forward
    monkeypatch.setattr(decoder_module.Layer, "forward", lambda self, *a: (calls.append(1), real(self, *a))[1])
    found, counted = [], []
    for on in (False, True):
        algorithm, _, _ = make("sft")
        learner = Learner({"policy": actor("lm", 3)}, TrainConfig(checkpointing=on))
        batch = batches_of(algorithm)["demonstrations"]
        calls.clear()
        learner.forward_backward(batch, lambda o, b, a=algorithm: a.loss(o, b, None), algorithm.counts(batch))
        counted.append(len(calls))
        found.append(gradients(learner))
    assert counted == [2, 4]  # two layers, once more each in the backward pass
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-12, rtol=0)


def test_checkpointing_reaches_the_run(sft):
    plain, again = sft("plain", "train.steps=2"), sft("again", "train.steps=2", "train.checkpointing=true")
    assert column(plain, "loss") == pytest.approx(column(again, "loss"), abs=1e-6)
    noted = [json.loads((r.path / "environment.json").read_text())["paths"]["checkpointing"] for r in (plain, again)]
    assert noted == [False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "paths", [Paths(attention=1 << 20, end_to_end=True), Paths(attention=1 << 20), Paths(), Paths(native=True)]
)
def test_what_a_pass_keeps_is_counted_before(paths, dtype):
    shape = dict(hidden_size=64, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=16, mlp_size=192, context=128)
    model = Decoder(DecoderConfig.tiny(256, **shape)).init_weights(torch.Generator().manual_seed(0))
    paths.use_in(model)
    tokens_BT = torch.randint(0, 256, (4, 128))
    valid_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    batch = Batch(tokens_BT, valid_BT, valid_BT, torch.arange(4))
    weights_at = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(x):
        if x.untyped_storage().data_ptr() not in weights_at:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage()  # held, so that no place is used twice
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            model.hidden((join(batch) if model.joins() else pack(batch)).inputs)
        measured = sum(storage.nbytes() for storage in kept.values())
    assert 0.9 < kept_bytes(model, 4 * 128, dtype) / measured < 1.4


def test_memory_decides_on_checkpointing():
    learner = Learner({"policy": actor("lm", 3)}, TrainConfig(micro_tokens=1000))
    needed = kept_bytes(learner.actors["policy"].model, 1000, torch.float32)
    assert to_be_checkpointed(learner, 2 * needed - 2) and not to_be_checkpointed(learner, 2 * needed)
    assert not to_be_checkpointed(learner, None)
    learner.config = TrainConfig(checkpointing=False)
    assert not to_be_checkpointed(learner, 0)


@pytest.mark.parametrize("kind", ["scalar", "value", "lm+value"])
def test_a_head_goes_where_its_model_is(kind):
    """On a machine with a CPU alone, another device is the one that holds no numbers."""
    model = Decoder(DecoderConfig.tiny()).to("meta")
    for head in (None, ValueHead(model.hidden_size)):
        made = make_actor(model, kind, head)
        assert {p.device.type for p in made.parameters()} == {"meta"}


def test_a_reward_model_to_be_trained_is_on_one_device(toys):
    policy = Policy(Decoder(DecoderConfig.tiny()).to("meta"), Tokenizer.load(toys.tokenizer), Path(), "")
    stands = Compute("meta", Paths())
    recipe = Recipe(
        contract.build("reward_pairwise"), TrainConfig(), LoraSettings(), "small", stands, lambda: policy, "c"
    )
    learner = recipe.learner(recipe.make("r", 0, policy)[0], 0)
    assert {p.device.type for _, p in learner.parameters()} == {"meta"}


class OnApple:
    """Stands for a tensor on Apple's device, which has no float64."""

    def __init__(self, values):
        self.values = values

    def detach(self):
        return self

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64")

    def cpu(self):
        return self.values


def test_a_metric_is_taken_where_float64_is():
    values, mask = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([True, False, True])
    assert metric(OnApple(values), OnApple(mask)) == (6.0, 2.0) and metric(OnApple(values)) == (9.0, 3.0)


def test_a_metric_reads_nothing_outside_its_mask():
    values, mask = torch.tensor([1.0, float("nan"), float("inf")]), torch.tensor([True, False, False])
    assert metric(values, mask) == (1.0, 1.0)


# Optimiser


def one_step(**options) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(weights before, gradients, weights after) of one update."""
    algorithm, _, _ = make("sft")
    learner = Learner({"policy": actor("lm", 3)}, TrainConfig(optimizer=OptimizerConfig(**options)))
    batch = batches_of(algorithm)["demonstrations"]
    before = {n: p.detach().clone() for n, p in learner.parameters()}
    loss, _ = learner.forward_backward(batch, lambda o, b: algorithm.loss(o, b, None), algorithm.counts(batch))
    found = gradients(learner)
    learner.step(rate=1.0, loss=loss)
    return before, found, {n: p.detach().clone() for n, p in learner.parameters()}


def test_the_first_adam_step_by_hand():
    """m / (sqrt(v) + eps) is g / (|g| + eps) at the first step, whatever the betas."""
    before, found, after = one_step(learning_rate=0.01, weight_decay=0.0, epsilon=1e-3, max_grad_norm=1e9)
    for name, start_value in before.items():
        by_hand = start_value - 0.01 * found[name] / (found[name].abs() + 1e-3)
        torch.testing.assert_close(after[name], by_hand, atol=1e-9, rtol=0)


def test_weight_decay_shrinks_matrices_and_nothing_else():
    plain = one_step(learning_rate=0.01, weight_decay=0.0)[2]
    before, _, decayed = one_step(learning_rate=0.01, weight_decay=0.5)
    for name, value in before.items():
        expected = plain[name] - (0.01 * 0.5 * value if value.dim() >= 2 else 0)
        torch.testing.assert_close(decayed[name], expected, atol=1e-9, rtol=0)
    assert any(v.dim() < 2 for v in before.values())


def test_max_grad_norm_scales_the_gradient():
    """Seen through Adam's epsilon: with a huge one the step is proportional to the gradient."""
    options = {"learning_rate": 1.0, "weight_decay": 0.0, "epsilon": 1e3}
    before, found, free = one_step(**options, max_grad_norm=1e9)
    norm = math.sqrt(sum(float(g.square().sum()) for g in found.values()))
    _, _, clipped = one_step(**options, max_grad_norm=norm / 4)
    for name, value in before.items():
        torch.testing.assert_close(clipped[name] - value, (free[name] - value) / 4, rtol=1e-3, atol=1e-9)


def test_the_first_muon_step_is_orthogonal_where_it_applies():
    """Matrices within layers move by lr * 0.2 * sqrt(longer side) times a matrix whose singular values lie near 1
    (the five Newton-Schulz steps end between 0.68 and 1.2); everything else moves as by AdamW."""
    options = {"learning_rate": 0.01, "weight_decay": 0.0, "max_grad_norm": 1e9}
    before, found, muon = one_step(**options, name="muon")
    adamw = one_step(**options)[2]
    matrices = [n for n in before if ".layers." in n and n.endswith("_proj.weight")]
    assert len(matrices) >= 7
    for name, value in before.items():
        if name not in matrices:
            torch.testing.assert_close(muon[name], adamw[name], atol=0, rtol=0)
            continue
        update = (value - muon[name]).double() / (0.01 * 0.2 * max(value.shape) ** 0.5)
        strengths = torch.linalg.svdvals(update)
        full = torch.linalg.svdvals(found[name].double())
        assert (strengths[full > 0.05 * full[0]] > 0.5).all() and strengths[0] < 1.3, name
        assert float((update * found[name]).sum()) > 0, name


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_muon_is_torchs_in_bfloat16_and_closer_to_its_own_formula_in_float32(precision):
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (
        [torch.randn(r, c, generator=generator.manual_seed(r)) for r, c in ((24, 40), (40, 24))] for _ in "ab"
    )
    group = {"lr": 0.02, "weight_decay": 0.1}
    for values, optimizer in (
        (ours, Muon([{"params": ours, **group}], momentum=0.9, precision=precision)),
        (theirs, torch.optim.Muon(theirs, momentum=0.9, adjust_lr_fn="match_rms_adamw", **group)),
    ):
        for step in range(3):
            for value in values:
                value.grad = torch.randn(value.shape, generator=generator.manual_seed(step))
            optimizer.step()
    exact = precision == torch.bfloat16
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=0 if exact else 2e-3, rtol=0)
        assert exact or not torch.equal(mine, other)
    matrix = torch.randn(24, 40, generator=generator)
    right, found = orthogonal(matrix.double(), torch.float64), orthogonal(matrix, precision).double()
    assert (found - right).abs().max() < (0.05 if exact else 1e-5)


def test_muon_and_its_momentum_reach_the_run(sft):
    base, other = sft("adamw"), sft("muon", "train.optimizer.name=muon")
    assert far_apart(base, other) > 1e-6
    assert far_apart(other, sft("momentum", "train.optimizer.name=muon", "train.optimizer.muon_momentum=0.5")) > 1e-6


def test_betas_and_schedule_reach_the_run(sft):
    base = sft("base")
    for name in ("beta1=0.5", "beta2=0.5", "epsilon=0.1", "weight_decay=0.9", "max_grad_norm=0.01"):
        assert far_apart(base, sft(name.replace("=", "-"), f"train.optimizer.{name}")) > 1e-6, name
    shapes = {
        "constant": [3e-4] * 6,
        "linear": [3e-4 * (0.5 + 0.5 * (1 - (s - 1) / 5)) for s in range(1, 7)],
    }
    for shape, rates in shapes.items():
        run = sft(
            shape, f"train.optimizer.schedule={shape}", "train.optimizer.final_share=0.5",
            "train.optimizer.warmup_share=0.0",
        )  # fmt: skip
        assert column(run, "learning_rate") == pytest.approx(rates)
    late = sft(
        "late", "train.optimizer.schedule=trapezoid", "train.optimizer.fall_share=0.5",
        "train.optimizer.final_share=0", "train.optimizer.warmup_share=0",
    )  # fmt: skip
    assert column(late, "learning_rate") == pytest.approx([3e-4, 3e-4, 3e-4, 2.25e-4, 1.5e-4, 0.75e-4])
    warm = sft("warm", "train.optimizer.schedule=constant", "train.optimizer.warmup_share=0.5")
    assert column(warm, "learning_rate") == pytest.approx([1e-4, 2e-4, 3e-4, 3e-4, 3e-4, 3e-4])


def test_the_cosine_by_hand():
    config = OptimizerConfig(schedule="cosine", final_share=0.1, warmup_share=0.0)
    assert schedule(config, 1, 11) == 1.0
    assert schedule(config, 6, 11) == pytest.approx(0.1 + 0.9 * 0.5)  # half-way of 1..11
    assert schedule(config, 11, 11) == pytest.approx(0.1)


@pytest.mark.parametrize("shape", ["linear", "cosine", "trapezoid"])
@pytest.mark.parametrize("steps", [2, 4, 10, 100])
def test_the_last_step_has_the_final_share_and_is_never_wasted(shape, steps):
    ends = [schedule(OptimizerConfig(schedule=shape, final_share=f), steps, steps) for f in (0.1, 0.0)]
    assert ends[0] == pytest.approx(0.1) and ends[1] > 0


def test_the_trapezoid_by_hand():
    config = OptimizerConfig(schedule="trapezoid", final_share=0.0, warmup_share=0.2, fall_share=0.4)
    shares = [schedule(config, step, 10) for step in range(1, 11)]
    assert shares == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    lengthened = [schedule(config, step, 20) for step in range(4, 13)]
    assert lengthened == [1.0] * 9


def test_a_trapezoid_that_falls_all_the_way_is_linear():
    shared = {"final_share": 0.1, "warmup_share": 0.1}
    linear = OptimizerConfig(schedule="linear", **shared)
    trapezoid = OptimizerConfig(schedule="trapezoid", fall_share=1.0, **shared)
    assert [schedule(trapezoid, s, 30) for s in range(1, 31)] == [schedule(linear, s, 30) for s in range(1, 31)]


def test_the_critic_has_a_step_size_of_its_own(sft):
    slow = sft("slow", "train.optimizer.critic_learning_rate=1e-9", stage="ppo")
    fast = sft("fast", "train.optimizer.critic_learning_rate=1e-2", stage="ppo")
    heads = [load_heads(r.path / "model" / "critic")["value"].weight.abs().max() for r in (slow, fast)]
    assert heads[0] < 1e-6 < 1e-3 < heads[1]


def test_a_critic_at_a_step_size_of_zero_stays_as_it_is():
    actors = {"policy": actor("lm", 3), "critic": actor("value", 4)}
    for given, wanted in ((0.0, 0.0), (None, 0.5), (0.25, 0.25)):
        made = build_optimizers(actors, OptimizerConfig(learning_rate=0.5, critic_learning_rate=given))
        rates = {id(p): group["peak_lr"] for o in made for group in o.param_groups for p in group["params"]}
        assert {rates[id(p)] for p in actors["critic"].parameters()} == {wanted}
        assert {rates[id(p)] for p in actors["policy"].parameters()} == {0.5}


def test_the_seed_decides(sft):
    first, second, third = sft("a"), sft("b"), sft("c", "train.seed=1")
    assert rows(first.path) == rows(second.path) != rows(third.path)
    assert_same_weights(first.path / "model", second.path / "model")


# Saving, measuring, looking again


def test_save_every_and_keep_checkpoints(sft):
    def kept(*overrides):
        run = sft("-".join(o.split(".")[1].replace("=", "") for o in overrides), *overrides)
        return [int(p.name.split("-")[1]) for p in checkpoint.checkpoints(run.path / "checkpoints")]

    assert kept("train.save_every=2", "train.keep_checkpoints=9") == [2, 4, 6]
    assert kept("train.save_every=1", "train.keep_checkpoints=3") == [4, 5, 6]
    assert kept("train.save_every=0", "train.keep_checkpoints=1") == [6]


@pytest.mark.parametrize("stage", ["pretrain", "sft", "reward", "dpo", "kto", "ppo"])
def test_validate_every_measures_what_is_held_out(stage, sft):
    run = sft("v", "train.validate_every=4", stage=stage)
    measured = [row["step"] for row in rows(run.path) if any(k.startswith("validation/") for k in row)]
    assert measured == [4, 6]
    never = sft("n", "train.validate_every=0", stage=stage)
    assert not any(k.startswith("validation/") for row in rows(never.path) for k in row)
    assert column(run, "loss") == column(never, "loss"), "measuring must not change the run"


def test_the_validation_loss_is_that_of_the_held_out_rows(sft, toys):
    """The same number from the saved model on the held-out demonstrations alone, computed here."""
    run = sft("v", "train.validate_every=6", "train.precision=float32")
    model, tokenizer = load_model(run.path / "model"), Tokenizer.load(run.path / "model")
    held = [d for d in assign_splits(demonstrations(), (0.8, 0.2, 0.0)) if d.split == "validation"]
    nats, count = 0.0, 0
    for record in held:
        rendered = render(record.messages, tokenizer)
        ids = torch.tensor([rendered.ids])
        inputs = Inputs(ids, torch.arange(ids.shape[1])[None], torch.zeros_like(ids))
        with torch.no_grad():
            logprobs = model.logits(model.hidden(inputs)).log_softmax(-1)
        for at, trained in enumerate(rendered.trained):
            if trained:
                nats, count = nats - float(logprobs[0, at - 1, ids[0, at]]), count + 1
    assert column(run, "validation/nats_per_token")[-1] == pytest.approx(nats / count, abs=1e-4)


def test_a_dumped_batch_replays_to_the_same_loss(sft, workspace):
    for stage, extra in (("sft", []), ("ppo", ["algorithm.critic=shared"])):
        run = sft(f"dumped-{stage}", "train.dump_batches=true", *extra, stage=stage)
        assert len(list((run.path / "dumps").iterdir())) == 6
        before = (rows(run.path), weights(run.path / "model"))
        again = replay(run.path, 4)
        row = rows(run.path)[3]
        assert again.metrics["loss"] == row["loss"] and again.steps == 4
        assert "finite" in again.text
        assert before[0] == rows(run.path)
    with pytest.raises(CheckpointError, match="no dump of step 9"):
        replay(run.path, 9)


def poison(monkeypatch, steps):
    """The loss of these steps is not a number."""
    real, seen = loop.accumulate, []

    def poisoned(algorithm, learner, minibatch, state):
        seen.append(1)
        loss, found, counts = real(algorithm, learner, minibatch, state)
        return (math.nan if len(seen) in steps else loss), found, counts

    monkeypatch.setattr(loop, "accumulate", poisoned)


def test_a_step_that_is_not_finite_is_skipped_counted_and_dumped(sft, monkeypatch):
    poison(monkeypatch, {3})
    events: list[Event] = []
    run = sft("skips", "train.validate_every=0", on_event=events.append)
    lines = rows(run.path)
    assert [row.get("skipped", False) for row in lines] == [False, False, True, False, False, False]
    assert [p.name for p in (run.path / "dumps").iterdir()] == ["step-000003"]
    assert any("step 3 was not finite" in e.text for e in events if e.kind == "warning")
    assert lines[2]["loss"] is None and lines[2]["updates"] == 1
    replayed = replay(run.path, 3)
    assert math.isfinite(replayed.metrics["loss"])


def test_too_many_in_a_row_end_the_run(sft, monkeypatch, workspace):
    poison(monkeypatch, {2, 3, 4, 5, 6})
    with pytest.raises(NonFiniteError, match="3 steps in a row") as caught:
        sft("lost", "train.max_skipped=2", "train.validate_every=0")
    assert "learning_rate" in str(caught.value.mend)
    run = workspace.run("lost")
    assert json.loads((run / "status.json").read_text())["status"] == "failed"
    assert [row["step"] for row in rows(run)] == [1, 2, 3, 4]
    monkeypatch.undo()
    assert resume(run).steps == 6  # what made it fail is gone: it goes on


def test_single_skips_do_not_add_up(sft, monkeypatch):
    poison(monkeypatch, {1, 3, 5})
    assert sft("odd", "train.max_skipped=1", "train.validate_every=0").steps == 6


@pytest.mark.parametrize(
    ("stage", "more"),
    [("sft", ["train.validate_every=0"]), ("sft", []), ("ppo", ["train.validate_every=0"]), ("sft", ["train.steps=1"])],
)
def test_weights_that_are_not_finite_end_the_run(stage, more, sft, workspace):
    """Found where a step cannot be learned from, where the held-out data is next, and at the end."""
    with pytest.raises(NonFiniteError, match="weights not finite") as caught:
        sft("burst", "train.optimizer.learning_rate=1e300", *more, stage=stage)
    assert "learning_rate (now 1e+300); there is no checkpoint yet" in str(caught.value.mend)
    run = workspace.run("burst")
    assert json.loads((run / "status.json").read_text())["status"] == "failed"
    assert not (run / "model").exists() and not list(run.glob("checkpoints/step-*"))


def test_the_last_good_checkpoint_stays(sft, monkeypatch, workspace):
    real = Learner.step

    def broken(self, **given):
        metrics = real(self, **given)
        if self.version == 4:
            with torch.no_grad():
                next(p for _, p in self.parameters())[0] = math.nan
        return metrics

    monkeypatch.setattr(Learner, "step", broken)
    options = ("train.save_every=1", "train.keep_checkpoints=2", "train.keep_models_every=2", "train.validate_every=0")
    with pytest.raises(NonFiniteError, match="1 of the model's") as caught:
        sft("late", *options)
    assert "step-000003" in str(caught.value.mend)
    run = workspace.run("late")
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step-000002", "step-000003"]
    assert [step for step in workspace.kept_models("late")] == [2]
    monkeypatch.undo()
    assert resume(run).steps == 6


def test_a_run_whose_last_steps_were_skipped_has_not_finished(sft, monkeypatch, workspace):
    poison(monkeypatch, {5, 6})
    with pytest.raises(NonFiniteError, match="the last 2 steps"):
        sft("unsure", "train.validate_every=0", "train.save_every=1", "train.keep_checkpoints=1")
    run = workspace.run("unsure")
    assert not (run / "model").exists()
    monkeypatch.undo()
    poison(monkeypatch, {6})
    assert sft("odd-end", "train.validate_every=0").steps == 6


def test_tensorboard_gets_the_figures(sft):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = sft("tracked", 'train.trackers=["tensorboard"]')
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    told = [(e.step, e.value) for e in events.Scalars("loss")]
    assert told == [(i + 1, pytest.approx(v)) for i, v in enumerate(column(run, "loss"))]


# Data


def about(run, spec):
    return json.loads((run.path / "data.json").read_text())[spec]


def test_held_out_share_use_held_out_and_limit(sft, toys):
    spec = toys.data["demonstrations"]
    trained = {}
    for share in (0.0, 0.2, 0.5):
        trained[share] = about(sft(f"share-{share}", f"data.held_out_share={share}"), spec)["train_records"]
    assert trained[0.0] == 60 and 36 <= trained[0.2] < 60 and 15 <= trained[0.5] < trained[0.2]
    everything = sft("all", "data.use_held_out=true")
    assert about(everything, spec)["train_records"] == 60 and not column(everything, "validation/nats_per_token")
    assert about(sft("few", "data.limit=10"), spec)["records"] == 10


def test_validation_of_its_own(sft, toys, tmp_path):
    path = write_rows(tmp_path / "held.jsonl", demonstrations()[:7])
    run = sft("own", f"data.validation=[{json.dumps(path)}]", "data.held_out_share=0.0")
    assert about(run, f"validation {path}")["records"] == 7 and len(column(run, "validation/nats_per_token")) == 2


def test_weights_of_a_mixture(sft, toys, tmp_path):
    """Nine tenths of the tokens come from the source of weight 9, however small it is."""
    one = write_rows(tmp_path / "one.jsonl", demonstrations()[:30])
    two = write_rows(tmp_path / "two.jsonl", demonstrations()[30:])
    seen: list[str] = []
    run = sft(
        "mixed", f"data.train=[{json.dumps(one)}, {json.dumps(two)}]", "data.weights=[9.0, 1.0]", "train.steps=40",
        "data.held_out_share=0.0", "train.save_every=0", "train.validate_every=0",
        on_event=lambda e: seen.append(e.text),
    )  # fmt: skip
    state = json.loads((run.path / "checkpoints" / "step-000040" / "state.json").read_text())
    tokens = [s["num_tokens"] for s in state["source"]["demonstrations"]["sources"].values()]
    assert tokens[0] / sum(tokens) == pytest.approx(0.9, abs=0.05)
    assert any(f"{one}:" in line and "90.0% of the mixture" in line for line in seen)


def long_demonstrations(path: Path) -> str:
    words = " ".join(f"{c} {t}" for c in COLOURS for t in THINGS)
    long = Demonstration(id="long", messages=(user(words), assistant("Yes.")))
    return write_rows(path, [*demonstrations()[:20], long])


def test_overlong_rows_by_each_rule(sft, tmp_path):
    spec = long_demonstrations(tmp_path / "long.jsonl")
    data = (f"data.train=[{json.dumps(spec)}]", "data.held_out_share=0.0", "train.steps=1")
    reject = about(sft("reject", *data), spec)
    assert (reject["units"], reject["rejected"], reject["truncated"]) == (20, 1, 0)
    cut = about(sft("cut", *data, "data.overlong=truncate_left_prompt"), spec)
    assert (cut["units"], cut["rejected"], cut["truncated"]) == (21, 0, 1)
    with pytest.raises(DataError, match="the limit is 64") as caught:
        sft("error", *data, "data.overlong=error")
    assert "long" in str(caught.value.where)


def test_train_on_the_last_turn_only(sft, tmp_path):
    talk = [
        Demonstration(id=f"t{i}", messages=(user("a"), assistant("Yes."), user(question(c, "cat")), assistant("No.")))
        for i, c in enumerate(COLOURS)
    ]
    spec = write_rows(tmp_path / "talk.jsonl", talk)
    data = (f"data.train=[{json.dumps(spec)}]", "data.held_out_share=0.0", "train.steps=1", "train.units_per_step=6")
    losses = {choice: column(sft(choice, *data, f"data.train_on={choice}"), "loss")[0] for choice in ("all", "last")}
    assert losses["all"] != losses["last"]


# LoRA


def test_lora_trains_and_counts_the_adapter_alone(sft, toys):
    told: list[str] = []
    run = sft(
        "lora",
        "lora.rank=2",
        "lora.alpha=8",
        "train.optimizer.learning_rate=0.01",
        on_event=lambda e: told.append(e.text),
    )
    config = load_model(toys.base).config
    size, mlp = config.hidden_size, config.mlp_size
    by_hand = 2 * 2 * (4 * 2 * size + 3 * (size + mlp))  # layers x rank x (q, k, v, o and gate, up, down)
    total = load_model(toys.base).num_parameters()
    assert f"LoRA of rank 2: {by_hand:,} of {total:,} parameters are trained" in "\n".join(told)
    before, after = weights(toys.base), weights(run.path / "model")
    moved = {n.split(":")[1] for n in before if not torch.equal(before[n], after[n])}
    assert moved and all("_proj" in name for name in moved)


def test_the_merged_model_equals_the_adapter_on_its_base_and_loads_in_peft(sft, toys):
    import peft
    import transformers

    run = sft("lora", "lora.rank=2", "train.optimizer.learning_rate=0.01")
    ids = torch.tensor([[1, 40, 50, 60, 70]])
    base = transformers.AutoModelForCausalLM.from_pretrained(toys.base)
    plain = base(ids).logits.detach().clone()
    adapted = peft.PeftModel.from_pretrained(base, str(run.path / "model" / "adapter")).eval()
    merged = transformers.AutoModelForCausalLM.from_pretrained(run.path / "model").eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(ids).logits, merged(ids).logits, atol=1e-4, rtol=0)
    assert (plain - merged(ids).logits).abs().max() > 1e-2


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward"])
def test_an_adapter_is_gone_on_with(stage, sft, toys):
    """It begins where it stood, and stays one adapter of its rank on the first base; DPO's reference is where it stood, too."""
    first = sft("first", "lora.rank=2", "train.optimizer.learning_rate=0.01")
    exact = (f"model=run:{first.run}", "train.precision=float32", "train.optimizer.learning_rate=0.01")
    merged = sft("merged", *exact, "train.steps=1", stage=stage)
    went_on = sft("on", *exact, "lora.continued=true", stage=stage)
    assert column(went_on, "loss")[0] == pytest.approx(column(merged, "loss")[0], abs=1e-5)
    old, new = (load_file(r.path / "model" / "adapter" / "adapter_model.safetensors") for r in (first, went_on))
    assert old.keys() == new.keys() and all(old[n].shape == new[n].shape for n in old)
    assert any(not torch.equal(old[n], new[n]) for n in old)
    about = json.loads((went_on.path / "model" / "adapter" / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(toys.base) and about["r"] == 2
    again = sft("again", f"model=run:{went_on.run}", "lora.continued=true", "train.steps=1")
    assert json.loads((again.path / "model" / "adapter" / "adapter_config.json").read_text())["r"] == 2
    with pytest.raises(ConfigError, match=r"lora\.rank is 3, and the adapter's is 2"):
        sft("other", *exact, "lora.continued=true", "lora.rank=3")


def test_lora_targets(sft):
    run = sft("targets", "lora.rank=1", 'lora.targets=["q_proj"]')
    adapter = json.loads((run.path / "model" / "adapter" / "adapter_config.json").read_text())
    assert adapter["target_modules"] == ["q_proj"] and adapter["r"] == 1


# Reward models


def test_a_zero_head_begins_at_ln_2_and_a_small_one_does_not(sft):
    zero = sft("zero", "train.steps=1", "algorithm.centering=0.0", stage="reward")
    small = sft("small", "train.steps=1", "algorithm.centering=0.0", "head=small", stage="reward")
    assert column(zero, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert column(small, "loss")[0] != pytest.approx(math.log(2), abs=1e-3)


def test_centred_on_demonstrations(sft, toys):
    data = toys.data["demonstrations"]
    exact = ("train.precision=float32", "train.optimizer.learning_rate=0.01")
    run = sft("centred", f"centre_on=[{json.dumps(data)}]", *exact, stage="reward")
    model = RewardModel.load(run.path / "model")
    items = [Scored(prompt=d.messages[:1], response=d.messages[1].content) for d in demonstrations()]
    assert sum(model.score(items)) / len(items) == pytest.approx(0.0, abs=1e-4)
    other = sft("other", *exact, stage="reward")
    assert abs(sum(RewardModel.load(other.path / "model").score(items)) / len(items)) > 1e-3
    assert read_metadata(run.path / "model")["reward"]["shift"] != 0


# PPO


def test_a_critic_from_a_reward_model_starts_with_its_head(sft, toys):
    """With a critic that does not learn, the saved value head is the reward head."""
    told: list[str] = []
    run = sft(
        "head", f"critic={json.dumps(toys.reward)}", "train.steps=1", "train.optimizer.critic_learning_rate=1e-12",
        stage="ppo", on_event=lambda e: told.append(e.text),
    )  # fmt: skip
    ours, theirs = load_heads(run.path / "model" / "critic")["value"], load_heads(toys.reward)["reward"]
    torch.testing.assert_close(ours.weight, theirs.weight, atol=1e-8, rtol=0)
    torch.testing.assert_close(ours.bias, theirs.bias, atol=1e-8, rtol=0)
    assert any("head included" in line for line in told)
    trunk, source = weights(run.path / "model" / "critic"), weights(toys.reward)
    for name in (n for n in source if n.startswith("model.safetensors")):
        torch.testing.assert_close(trunk[name], source[name], atol=1e-7, rtol=0)


def test_a_reward_model_with_another_tokenizer_works(sft, toys, workspace, tmp_path):
    other = train_bpe(["quite other words, and a few more of them " * 3], 280)
    other.save(tmp_path / "tokenizer")
    base = sft("base2", f"tokenizer={json.dumps(str(tmp_path / 'tokenizer'))}", "train.steps=1", stage="pretrain")
    reward = sft("reward2", f"model={json.dumps(base.model)}", "train.steps=2", stage="reward")
    assert Tokenizer.load(reward.model).fingerprint != Tokenizer.load(toys.sft).fingerprint
    run = sft("ppo2", f"reward={json.dumps(reward.model)}", "train.steps=2", stage="ppo")
    items = [Scored(prompt=(user(s["prompt"]),), response=s["response"], finished=s["finish"] == "stop") for s in rows(run.path, "samples.jsonl")]  # fmt: skip
    scores = [s["score"] for s in rows(run.path, "samples.jsonl")]
    assert RewardModel.load(reward.model).score(items) == pytest.approx(scores, abs=1e-4)


def test_responses_per_prompt_and_temperature_act(sft):
    one = sft("one", "train.steps=1", stage="ppo")
    three = sft("three", "train.steps=1", "responses_per_prompt=3", stage="ppo")
    assert column(one, "num_responses") == [8] and column(three, "num_responses") == [24]
    greedy = sft(
        "greedy", "train.steps=1", "responses_per_prompt=2", "sampling.temperature=0.0", "sample_every=1", stage="ppo"
    )
    said = [s["response"] for s in rows(greedy.path, "samples.jsonl")]
    assert said[0] == said[1] and said[2] == said[3]


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "online_dpo", "rejection_sampling"])
def test_algorithms_that_compare_responses_draw_several(algorithm, sft):
    run = sft("several", "train.steps=1", f"algorithm.name={algorithm}", stage="ppo")
    assert column(run, "num_responses") == [32]  # 8 prompts
    with pytest.raises(ConfigError, match="of a single one it learns nothing"):
        sft("single", "train.steps=1", f"algorithm.name={algorithm}", "responses_per_prompt=1", stage="ppo")


def test_sample_every(sft):
    run = sft("s", "sample_every=3", stage="ppo")
    assert sorted({s["step"] for s in rows(run.path, "samples.jsonl")}) == [1, 3, 6]
    watched = rows(run.path, "watched.jsonl")
    asked = [[s["prompt"] for s in watched if s["step"] == step] for step in (1, 3, 6)]
    assert len(asked[0]) == 4 and asked[0] == asked[1] == asked[2]  # the same prompts at every step
    assert all(
        abs(kl) < 1e-4 for s in watched if s["step"] == 1 for kl in s["kl"] if kl is not None
    )  # nothing learned yet
    assert all(s["score"] is not None and len(s["tokens"]) == len(s["kl"]) for s in watched)
    without = sft("none", "sample_every=0", stage="ppo")
    assert not (without.path / "samples.jsonl").exists() and not (without.path / "watched.jsonl").exists()
    assert rows(without.path) == rows(run.path)  # looking changes nothing


def test_the_saved_config_is_the_config(sft, toys):
    run = sft("saved", "lora.rank=1", 'train.trackers=["tensorboard"]')
    saved = load_toml(run.path / "config.toml")
    assert saved.pop("stage") == "sft"
    config_type, _ = find("sft")
    given = parse(config_type, toys.mapping("sft", "lora.rank=1", 'train.trackers=["tensorboard"]'), where="test")
    assert msgspec.to_builtins(parse(config_type, saved, where="saved")) == msgspec.to_builtins(given)


def test_what_is_logged_is_json_whatever_the_figures(tmp_path):
    """A skipped step's loss may be infinite; readers other than Python's know no Infinity."""
    report = StepReport(step=1, metrics={"loss": math.inf, "kl": math.nan, "score": 1.5}, num_tokens=4, seconds=0.5)
    RunFolder(tmp_path).log_step(report)
    assert "Infinity" not in (tmp_path / "metrics.jsonl").read_text()
    assert next(RunFolder(tmp_path).rows("metrics.jsonl")) | {"seconds": 0} == {
        "step": 1, "seconds": 0, "num_tokens": 4, "loss": None, "kl": None, "score": 1.5,
    }  # fmt: skip
