"""train.compile: compiled layers compute what plain ones do, a rule says when, and one setting goes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from amenable.batch import Batch
from amenable.errors import ConfigError, ResourceError
from amenable.models import compile
from amenable.models.config import DecoderConfig
from amenable.models.decoder import Decoder
from amenable.models.forward import Actor
from amenable.models.paths import PLAIN, Paths
from amenable.stages.build import WORK_TO_COMPILE, to_be_compiled
from amenable.train.contract import build
from amenable.train.learner import Learner
from amenable.train.loop import accumulate
from amenable.train.settings import TrainConfig

from .stage_makers import assert_same_run, break_and_resume, rows, start, toys, workspace

__all__ = ["toys", "workspace"]

needs_compiler = pytest.mark.skipif(compile.compiler() is None, reason="no C++ compiler")
GPT2 = dict(family="gpt2", rope=None, norm="layer", gated=False, fused_qkv=True, num_kv_heads=4, qkv_bias=True,
            out_bias=True, mlp_bias=True, activation="gelu_new")  # fmt: skip


def learner(precision: torch.dtype, paths: Paths, *, compiled: bool, shape: dict[str, Any], **train: Any) -> Learner:
    model = Decoder(DecoderConfig.tiny(64, **shape)).init_weights(torch.Generator().manual_seed(1))
    paths.use_in(model)
    if compiled:
        compile.compile_layers(model)
    return Learner({"policy": Actor(model, "lm")}, TrainConfig(**train), precision=precision)


def batch(seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 40, (6,), generator=draw)
    valid_BT = torch.arange(int(lengths.max())) < lengths[:, None]
    tokens_BT = torch.randint(0, 64, valid_BT.shape, generator=draw) * valid_BT
    trained_BT = valid_BT.clone()
    trained_BT[:, 0] = False
    return Batch(tokens_BT, valid_BT, trained_BT, torch.arange(6), stream="documents")


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "paths"),
    [({}, Paths(attention=1 << 20, end_to_end=True)), ({"qk_norm": True, "windows": (3, None)}, PLAIN), (GPT2, PLAIN)],
    ids=["llama, end to end", "qk", "gpt2"],
)
def test_compiled_layers_compute_the_same(shape: dict[str, Any], paths: Paths) -> None:
    """Log-probs and gradients: float32 within 1e-4; bfloat16 within what its 8 bits leave of sums in another order."""
    from torch._dynamo.utils import counters

    algorithm = build("pretrain")
    torch.compiler.reset()
    counters.clear()
    for precision, bound in ((torch.float32, 1e-4), (torch.bfloat16, 0.05)):
        found = []
        for compiled in (False, True):
            one = learner(precision, paths, compiled=compiled, shape=shape)
            logprobs_BT = one.evaluate("policy", batch(0), ("logprobs",)).logprobs_BT
            assert logprobs_BT is not None
            for seed in (1, 2):  # other shapes, the same code
                accumulate(algorithm, one, [batch(seed)], None)
            found.append((logprobs_BT, {name: p.grad for name, p in one.parameters()}))
        (plain_BT, plain), (fast_BT, fast) = found
        torch.testing.assert_close(fast_BT, plain_BT, rtol=0, atol=bound)
        for name, gradient in fast.items():
            assert (gradient - plain[name]).norm() <= bound * plain[name].norm(), name
    frames = counters["frames"]
    assert frames["ok"] == frames["total"] >= 8, "before and after, with and without gradient, in either precision"
    assert not counters["graph_break"]


@needs_compiler
@pytest.mark.slow
def test_a_compiled_run_says_so_learns_the_same_and_resumes(toys: Any, workspace: Any) -> None:
    def run(name: str, setting: str) -> Any:
        return start("sft", toys.mapping("sft", f"train.compile={setting}", "train.precision=float32"), workspace, name)

    plain, fast = run("plain", "off"), run("fast", "on")
    for one, compiled in ((plain, False), (fast, True)):
        assert json.loads((one.path / "environment.json").read_text())["paths"]["compiled"] is compiled
    for a, b in zip(rows(plain.path), rows(fast.path), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
    mapping = toys.mapping("sft", "train.compile=on", "train.precision=float32")
    assert_same_run(break_and_resume("sft", mapping, workspace, 3).path, fast.path)


def test_the_rule_counts_operations_and_no_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "compiler", lambda: "/usr/bin/g++")
    one = learner(torch.float32, PLAIN, compiled=False, shape={}, units_per_step=32, inner_epochs=2)
    model = one.actors["policy"].model
    per_step = 6 * model.num_parameters() * 32 * 2 * model.context
    enough = int(WORK_TO_COMPILE / per_step) + 1
    assert to_be_compiled(one, enough) and not to_be_compiled(one, enough - 1)
    one.config = one.config.replace(compile="off")
    assert not to_be_compiled(one, enough)
    one.config = one.config.replace(compile="on")
    assert to_be_compiled(one, 1)
    one.config = one.config.replace(compile="auto", paths="plain")
    assert not to_be_compiled(one, enough), "plain paths are plain"
    one.config, model.native = one.config.replace(paths="auto"), True
    assert not to_be_compiled(one, enough), "compiled operations leave little to gain"


def test_without_a_compiler_the_plain_layers_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "compiler", lambda: None)
    one = learner(torch.float32, PLAIN, compiled=False, shape={})
    assert not to_be_compiled(one, 10**12)
    one.config = one.config.replace(compile="on")
    with pytest.raises(ConfigError, match="no C\\+\\+ compiler"):
        to_be_compiled(one, 10**12)
    with pytest.raises(ResourceError, match="no C\\+\\+ compiler"):
        compile.compile_layers(one.actors["policy"].model)
