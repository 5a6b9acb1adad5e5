"""decoder.py against transformers, against itself packed, cached and recomputed."""

from __future__ import annotations

import pytest
import torch

from amenable.batch import Inputs
from amenable.models.decoder import Decoder, DecoderConfig
from amenable.models.norm import RMSNorm


def rows(tokens_PL: torch.Tensor) -> Inputs:
    positions_PL = torch.arange(tokens_PL.shape[1]).expand_as(tokens_PL)
    return Inputs(tokens_PL, positions_PL, torch.zeros_like(tokens_PL))


def build(**changes: object) -> Decoder:
    config = DecoderConfig.tiny(64, **changes)
    return Decoder(config).init_weights(torch.Generator().manual_seed(1)).double()


VARIANTS = {
    "llama": {},
    "window": {"family": "mistral", "windows": (3, None)},
    "qk_norm": {"family": "qwen3", "qk_norm": True, "tied": False},
    "learned": {
        "family": "gpt2",
        "rope": None,
        "norm": "layer",
        "gated": False,
        "fused_qkv": True,
        "num_kv_heads": 4,
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "activation": "gelu_new",
    },
}


@pytest.fixture(params=VARIANTS, name="model")
def _model(request: pytest.FixtureRequest) -> Decoder:
    return build(**VARIANTS[request.param])


def test_packed_rows_equal_separate_rows(model: Decoder) -> None:
    tokens = torch.randint(0, 64, (3, 7), generator=torch.Generator().manual_seed(0))
    lengths = (7, 4, 5)
    packed = torch.cat([tokens[i, :n] for i, n in enumerate(lengths)] + [torch.zeros(2, dtype=torch.long)])[None]
    positions = torch.cat([torch.arange(n) for n in (*lengths, 2)])[None]
    segments = torch.tensor([0] * 7 + [1] * 4 + [2] * 5 + [-1] * 2)[None]
    together = model.hidden(Inputs(packed, positions, segments))[0]
    start = 0
    for i, n in enumerate(lengths):
        alone = model.hidden(rows(tokens[i : i + 1, :n]))[0]
        torch.testing.assert_close(together[start : start + n], alone, atol=1e-12, rtol=0)
        start += n


def test_cached_decoding_equals_full_forward(model: Decoder) -> None:
    tokens = torch.randint(0, 64, (3, 9), generator=torch.Generator().manual_seed(0))
    full = model.hidden(rows(tokens))
    cache = model.new_cache(5, 16)
    for store in (cache.keys, cache.values):
        store.fill_(7.0)  # left by an earlier text: must never be seen
    slots = torch.tensor([4, 0, 2])
    lengths = torch.tensor([5, 2, 4])
    positions = torch.arange(5).expand(3, 5)
    segments = torch.where(positions < lengths[:, None], 0, -1)
    with torch.no_grad():
        first = model.hidden(Inputs(tokens[:, :5], positions, segments), cache, slots)
        for p, n in enumerate(lengths.tolist()):
            torch.testing.assert_close(first[p, :n], full[p, :n], atol=1e-12, rtol=0)
        at = lengths.clone()
        while bool((at < 9).any()):
            live = (at < 9).nonzero().squeeze(1)
            step = Inputs(
                tokens[live, at[live]][:, None],
                at[live][:, None],
                torch.zeros(len(live), 1, dtype=torch.long),
            )
            out = model.hidden(step, cache, slots[live])
            torch.testing.assert_close(out[:, 0], full[live, at[live]], atol=1e-12, rtol=0)
            at[live] += 1


def test_prefix_is_copied_and_continued(model: Decoder) -> None:
    tokens = torch.randint(0, 64, (2, 8), generator=torch.Generator().manual_seed(0))
    tokens[1, :5] = tokens[0, :5]
    full = model.hidden(rows(tokens))
    cache = model.new_cache(3, 8)
    with torch.no_grad():
        model.hidden(rows(tokens[:1, :5]), cache, torch.tensor([1]))
        cache.copy_slot(1, 2, 5)
        positions = torch.arange(5, 8).expand(2, 3)
        rest = Inputs(tokens[:, 5:], positions, torch.zeros(2, 3, dtype=torch.long))
        out = model.hidden(rest, cache, torch.tensor([1, 2]))
    torch.testing.assert_close(out, full[:, 5:], atol=1e-12, rtol=0)


def test_both_attention_paths_agree(model: Decoder) -> None:
    tokens = torch.randint(0, 64, (2, 6))
    segments = torch.tensor([[0, 0, 0, 1, 1, -1], [0, 0, 1, 1, 1, 1]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 0], [0, 1, 0, 1, 2, 3]])
    inputs = Inputs(tokens, positions, segments)
    model.float()
    found = {}
    for path in ("math", "sdpa"):
        model.attention = path
        found[path] = model.hidden(inputs)[segments >= 0]
    torch.testing.assert_close(found["math"], found["sdpa"], atol=1e-5, rtol=0)


def test_checkpointing_recomputes_and_gives_the_same_gradients(model: Decoder) -> None:
    tokens = torch.randint(0, 64, (2, 6))
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    model.model.layers[0].register_forward_pre_hook(count)
    gradients = []
    for checkpointing in (False, True):
        model.checkpointing = checkpointing
        model.zero_grad()
        calls = 0
        model.logits(model.hidden(rows(tokens))).pow(2).sum().backward()
        assert calls == (2 if checkpointing else 1)
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again, atol=1e-12, rtol=0)


def test_runs_under_autocast() -> None:
    model = build().float()
    tokens = torch.randint(0, 64, (2, 6))
    exact = model.hidden(rows(tokens))
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.hidden(rows(tokens))
        cache = model.new_cache(2, 8)
        with torch.no_grad():
            cached = model.hidden(rows(tokens), cache)
    # bfloat16 keeps 8 bits: 2 layers of rounding at 2^-8 each on values of order 1
    torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0)
    torch.testing.assert_close(cached.float(), exact, atol=0.1, rtol=0)


def test_same_seed_same_weights_and_residual_scale() -> None:
    one, two = build(hidden_size=128, num_layers=8), build(hidden_size=128, num_layers=8)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    attention = one.model.layers[0].self_attn
    ratio = attention.q_proj.weight.std() / attention.o_proj.weight.std()
    assert 3.8 < ratio.item() < 4.2  # sqrt(2 * 8) = 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rms_norm_equals_torch_forward_and_backward(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 16, generator=generator).to(dtype).requires_grad_()
    norm = RMSNorm(16, 1e-2).to(dtype)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0, generator=generator)
    gradient = torch.randn(3, 5, 16, generator=generator).to(dtype)
    want = torch.nn.functional.rms_norm(x.double(), (16,), norm.weight.double(), 1e-2)
    wanted = (want, *torch.autograd.grad(want, (x, norm.weight), gradient.double()))
    found = norm(x)
    found = (found, *torch.autograd.grad(found, (x, norm.weight), gradient))
    bound = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.1}[dtype]  # sums of 15 terms of order 1
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b.double(), atol=bound, rtol=0)
    with torch.no_grad():
        assert torch.equal(norm(x), found[0])


def test_rms_norm_has_the_gradient_of_finite_differences() -> None:
    norm = RMSNorm(4, 1e-3).double()
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))
