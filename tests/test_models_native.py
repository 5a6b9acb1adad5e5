"""models/native: the compiled decoder against the plain forward pass, and never on stale weights."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amenable.errors import ConfigError, ModelError, ResourceError
from amenable.models import lora
from amenable.models.decoder import Decoder
from amenable.models.native import library as native_library
from amenable.models.native.decode import NativeDecoder, why_not
from amenable.models.native.library import DECODING, Source
from amenable.models.native.packed import Weights, fingerprint
from amenable.models.native.training import TRAINING
from amenable.rollout.local import LocalEngine
from amenable.rollout.sampling import DrawParams, draw
from amenable.types import Sampling
from tests.rollout_makers import decoder, mixed_requests, request, tokenizer
from tests.test_rollout_local import FAMILIES, NeverStops, plain_logits

pytestmark = pytest.mark.skipif(why_not(decoder()) is not None, reason=f"not compiled here: {why_not(decoder())}")
SHAPES: dict[str, dict[str, Any]] = {
    **FAMILIES,
    "odd widths": dict(hidden_size=50, num_heads=6, num_kv_heads=3, head_dim=10, mlp_size=70),
    "wide heads": dict(head_dim=96, tied=False),
    "gelu, ungated": dict(activation="gelu", gated=False, mlp_size=70, mlp_bias=True),
    "relu, biases": dict(activation="relu", qkv_bias=True, out_bias=True, mlp_bias=True, norm="layer"),
}
PROMPTS = (3, 33, 17, 90)
SOURCES = (DECODING, TRAINING)


def continued(model: Decoder, weights: Weights) -> tuple[Tensor, Tensor]:
    """Logits of the compiled decoder and of plain passes: after prompts, then after two tokens more in other slots."""
    draw_ids = torch.Generator().manual_seed(1)
    texts = [torch.randint(6, model.vocab_size, (n,), generator=draw_ids).tolist() for n in PROMPTS]
    fast = NativeDecoder(model, weights)
    fast.refresh()
    fast.reserve(2 * len(texts), 100)
    got, want = [fast.prefill(texts, len(texts))], [plain_logits(model, ids)[-1:] for ids in texts]
    for slot, ids in enumerate(texts):
        fast.copy_slot(len(texts) + slot, slot, len(ids))
    for token in (7, 11):
        positions = np.array([len(ids) for ids in texts])
        for ids in texts:
            ids.append(token)
        got.append(fast.decode(np.full(len(texts), token), positions))
        want += [plain_logits(model, ids)[-1:] for ids in texts]
    return torch.cat(got), torch.cat(want)


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_is_the_plain_pass(shape: str) -> None:
    got, want = continued(decoder(seed=5, **SHAPES[shape]), "float32")
    assert want.std() > 0.3
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("weights", "bound"), [("bfloat16", 0.02), ("int8", 0.05)])
def test_short_weights_stay_near(shape: str, weights: Weights, bound: float) -> None:
    """Mean distance of log-probs, nats. bfloat16 has 8 bits of mantissa, int8 7 and one scale per output."""
    got, want = (torch.log_softmax(x, -1) for x in continued(decoder(seed=5, **SHAPES[shape]), weights))
    distance = (got - want).abs().mean().item()
    assert 1e-4 < distance < bound


def test_a_bfloat16_model_runs_on_its_own_weights() -> None:
    model = decoder(seed=5).to(torch.bfloat16)
    got, want = continued(model, "bfloat16")
    exact, _ = continued(model.float(), "float32")
    assert (got - exact).abs().mean() < (want - exact).abs().mean(), "sums in float32: nearer than the plain pass"


def test_every_weight_runs_on_several_threads() -> None:
    model = decoder(hidden_size=128, num_heads=4, head_dim=32, mlp_size=2100, tied=False)
    one, _ = continued(model, "float32")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        three, want = continued(model, "float32")
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, three)
    torch.testing.assert_close(one, want, rtol=0, atol=2e-4)  # logits of 30 and more


def test_greedy_tokens_are_the_plain_ways() -> None:
    """At least 99.9 % of 1,600 tokens each chosen after the same text."""
    model = decoder(seed=9)
    plain = LocalEngine(model, NeverStops(), decode="plain")
    requests = [request([10 + i, 20, 30], seed=i, max_tokens=100, temperature=0.0) for i in range(16)]
    agree = total = 0
    fast = NativeDecoder(model, "float32")
    fast.refresh()
    fast.reserve(1, 128)
    for rollout in plain.generate(requests):
        text = [*rollout.prompt_ids, *rollout.response_ids]
        every = np.arange(len(text) - 1)
        logits = fast.forward(np.array(text[:-1]), every, np.zeros_like(every), every[2:])
        agree += int((logits.argmax(-1) == torch.tensor(rollout.response_ids)).sum())
        total += len(rollout.response_ids)
    assert total == 1600 and agree >= 0.999 * total


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_company_changes_no_bit(weights: Weights) -> None:
    model = decoder(hidden_size=48, num_heads=6, mlp_size=100)
    fast = NativeDecoder(model, weights)
    fast.refresh()
    fast.reserve(40, 64)
    texts = [list(range(6 + i, 6 + i + 1 + 7 * i % 40)) for i in range(40)]
    together = fast.prefill(texts, 0)
    for i in (0, 17, 39):
        assert torch.equal(fast.prefill([texts[i]], 0)[0], together[i])


def nudge(model: Decoder) -> Tensor:
    return model.model.layers[1].mlp.down_proj.weight


def through_data(model: Decoder) -> None:
    nudge(model).data[3, 5] += 1.0  # torch does not count this


def through_numpy(model: Decoder) -> None:
    nudge(model).detach().numpy()[3, 5] += 1.0


def in_place(model: Decoder) -> None:
    with torch.no_grad():
        nudge(model)[3, 5] += 1.0


def replaced(model: Decoder) -> None:
    model.model.layers[1].mlp.down_proj.weight = torch.nn.Parameter(nudge(model) + 1.0)


def by_an_optimiser(model: Decoder) -> None:
    nudge(model).grad = torch.ones_like(nudge(model))
    torch.optim.AdamW([nudge(model)], lr=0.1, fused=True).step()


def swapped(model: Decoder) -> None:
    rows = nudge(model).data
    rows[[0, 1]] = rows[[1, 0]].clone()


@pytest.mark.parametrize("change", [through_data, through_numpy, in_place, replaced, by_an_optimiser, swapped])
def test_weights_are_never_stale(change: Any) -> None:
    model, requests = decoder(), mixed_requests(6)
    engine = LocalEngine(model, tokenizer(), decode="compiled")
    before = engine.generate(requests)
    assert engine.generate(requests) == before
    change(model)
    after = engine.generate(requests)
    assert after != before
    assert after == LocalEngine(model, tokenizer(), decode="compiled").generate(requests)


def test_weights_are_copied_only_when_they_changed() -> None:
    model = decoder()
    fast = NativeDecoder(model, "float32")
    fast.refresh()
    first = fast._packed
    fast.refresh()
    assert fast._packed is first
    in_place(model)
    fast.refresh()
    assert fast._packed is not first


def test_an_adapter_is_part_of_the_weights() -> None:
    model = decoder()
    plain = LocalEngine(model, NeverStops(), decode="plain")
    fast = LocalEngine(model, NeverStops(), decode="compiled")
    requests = [request([5, 6, 7], seed=i, max_tokens=12) for i in range(4)]
    base = fast.generate(requests)
    lora.add_lora(model, lora.LoraConfig(rank=4))
    assert fast.generate(requests) == base, "B is zero at the start"
    with torch.no_grad():
        for parameter in lora.trained_parameters(model).values():
            parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
    adapted = fast.generate(requests)
    assert adapted != base
    for got, want in zip(adapted, plain.generate(requests), strict=True):
        assert got.response_ids == want.response_ids
        assert got.logprobs == pytest.approx(want.logprobs, abs=1e-4)
    with lora.adapter_off(model):
        assert fast.generate(requests) == base
    assert fast.generate(requests) == adapted


def test_draws_are_those_of_torch() -> None:
    model = decoder()
    fast = NativeDecoder(model, "float32")
    generator = torch.Generator().manual_seed(0)
    for size in (16, 50, 1000, 5003):
        logits = torch.randn(64, size, generator=generator) * 3
        logits[:, 3] = -torch.inf
        uniform = torch.rand(64, generator=generator)
        temperatures = [(0.0, 0.7, 1.0)[i % 3] for i in range(64)]
        samplings = [Sampling(temperature=t) for t in temperatures]
        want_ids, want = draw(logits, DrawParams.of(samplings), uniform)
        scale = np.array([1 / (t or 1.0) for t in temperatures], dtype=np.float32)
        ids, logprobs = fast.draw(logits, scale, np.array(temperatures) == 0, uniform.numpy())
        assert (ids == want_ids.numpy()).mean() > 0.98, "rounding may move a draw at an entry's edge"
        same = ids == want_ids.numpy()
        np.testing.assert_allclose(logprobs[same], want.numpy()[same], atol=1e-5)
    bad = torch.tensor([[0.0, torch.nan], [torch.inf, 0.0], [-torch.inf, -torch.inf], [-torch.inf, 1.0]])
    ids, logprobs = fast.draw(bad, np.ones(4, np.float32), np.zeros(4, bool), np.full(4, 0.5, np.float32))
    assert ids.tolist() == [-1, -1, -1, 1] and np.isnan(logprobs[:3]).all() and logprobs[3] == 0


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    native_library._found.cache_clear()
    monkeypatch.setenv("AMENABLE_CACHE", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    yield
    native_library._found.cache_clear()


def test_without_a_compiler_the_plain_way_runs(no_compiler: None) -> None:
    engine = LocalEngine(decoder(), tokenizer())
    assert "no C++ compiler" in (engine.why_plain() or "")
    assert engine.generate([request([5, 6], max_tokens=3)])[0].finish == "length"
    with pytest.raises(ConfigError, match="no C\\+\\+ compiler"):
        LocalEngine(decoder(), tokenizer(), decode="compiled")
    with pytest.raises(ModelError, match="no C\\+\\+ compiler"):
        NativeDecoder(decoder(), "float32")


def test_a_broken_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    native_library._found.cache_clear()
    broken = tmp_path / "cxx"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("AMENABLE_CACHE", str(tmp_path))
    with pytest.raises(ResourceError, match="out of order"):
        native_library.library()
    assert not list((tmp_path / "native").iterdir())
    native_library._found.cache_clear()


@pytest.mark.parametrize("content", [b"", b"no library"])
def test_a_damaged_library_is_compiled_once_more(
    content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AMENABLE_CACHE", str(tmp_path))
    source = Source("small.cpp", (), "-O0", {"two": (ctypes.c_int64, ())})
    (tmp_path / "small.cpp").write_text('extern "C" long long two() { return 2; }')
    monkeypatch.setattr(native_library, "FOLDER", tmp_path)
    for flags in native_library._flag_sets(source):
        compiler = next(c for c in (os.environ.get("CXX"), "g++", "clang++") if c and shutil.which(c))
        file = tmp_path / "native" / f"small-{native_library._fingerprint(source, compiler, flags)}.so"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    assert native_library.library(source).two() == 2


def test_a_library_that_cannot_be_loaded_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMENABLE_CACHE", str(tmp_path))
    source = Source("small.cpp", (), "-O0", {})
    (tmp_path / "small.cpp").write_text("")
    monkeypatch.setattr(native_library, "FOLDER", tmp_path)

    def refuse(path: str) -> None:
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert "failed to map segment" in str(native_library._found.__wrapped__(source))


def test_what_cannot_be_compiled_runs_plain() -> None:
    model = decoder()
    assert LocalEngine(model, tokenizer()).why_plain() is None
    assert LocalEngine(model, tokenizer(), decode="plain").why_plain() == "decode is set to plain"
    assert "float16" in (LocalEngine(model, tokenizer(), dtype=torch.float16).why_plain() or "")
    assert "float64" in (why_not(decoder().double()) or "")
    handle = model.model.norm.register_forward_hook(lambda module, args, out: out)
    assert "hook" in (LocalEngine(model, tokenizer()).why_plain() or "")
    handle.remove()
    assert why_not(model) is None
    model.model.layers[0].mlp.up_proj = torch.nn.Bilinear(2, 2, 2)  # type: ignore[assignment]
    assert "Bilinear" in (why_not(model) or "")


def test_the_fingerprint_sees_every_parameter() -> None:
    model = decoder(qkv_bias=True, tied=False)
    before = fingerprint(model)
    for parameter in model.parameters():
        parameter.data.view(-1)[-1] += 1e-3
        after = fingerprint(model)
        assert after != before
        before = after


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.name)
def test_a_change_in_a_header_compiles_anew(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = native_library._fingerprint(source, "g++", ())
    for name in (source.name, *source.headers):
        (tmp_path / name).write_text((native_library.FOLDER / name).read_text())
    monkeypatch.setattr(native_library, "FOLDER", tmp_path)
    assert native_library._fingerprint(source, "g++", ()) == before
    for name in source.headers:
        with (tmp_path / name).open("a") as file:
            file.write("\n")
        after = native_library._fingerprint(source, "g++", ())
        assert after != before
        before = after
    lines = [line for name in (source.name, *source.headers) for line in (tmp_path / name).read_text().splitlines()]
    assert {line.split('"')[1] for line in lines if line.startswith('#include "')} == set(source.headers)
