"""Compiled operations of training: equal to the plain formulas in float64 and to autograd's gradients of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amenable.batch import Batch
from amenable.errors import ModelError, ResourceError
from amenable.models import paths
from amenable.models.decoder import Decoder, DecoderConfig
from amenable.models.forward import Actor, outputs_of
from amenable.models.heads import ValueHead
from amenable.models.lora import LoraConfig, add_lora
from amenable.models.native import library as native_library
from amenable.models.native import reading
from amenable.models.native.library import library
from amenable.models.native.training import TRAINING, Row, add_norm, attend, gated, softmax_rows
from amenable.objectives import logprobs
from amenable.objectives.logprobs import chunked_logprobs

from .test_models_decoder import VARIANTS
from .test_models_documents import some_rows

try:
    library(TRAINING)
    missing = ""
except ResourceError as error:
    missing = error.what
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not compiled here: {missing}")

HALF = torch.bfloat16
BOUND = {torch.float32: 1e-5, HALF: 1e-2}
"""Of ‖found - true‖ / ‖true‖; bfloat16 has 8 bits, and gradients of softmax are differences."""
SIZES = [(0, 5), (1, 5), (3, 16), (130, 33), (67, 128)]


def drawn(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def with_gradients(
    function: Callable[..., Any], inputs: Sequence[Tensor], dtypes: Sequence[torch.dtype], d_outs: Sequence[Tensor]
) -> list[Tensor]:
    """Results, then the inputs' gradients."""
    leaves = [x.to(dtype, copy=True).requires_grad_() for x, dtype in zip(inputs, dtypes, strict=True)]
    outs = function(*leaves)
    outs = outs if isinstance(outs, tuple) else (outs,)
    torch.autograd.backward(outs, [d.to(out.dtype) for d, out in zip(d_outs, outs, strict=True)])
    return [*(out.detach() for out in outs), *(leaf.grad for leaf in leaves)]  # type: ignore[misc]


def assert_near(found: Sequence[Tensor], true: Sequence[Tensor], bound: float) -> None:
    for place, (one, other) in enumerate(zip(found, true, strict=True)):
        assert one.shape == other.shape
        assert (one.double() - other).norm() <= bound * other.norm() + 1e-12, place


def on_threads(run: Callable[[], list[Tensor]]) -> Iterator[list[Tensor]]:
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            yield run()
        finally:
            torch.set_num_threads(before)


def assert_same_bits(runs: Iterator[list[Tensor]]) -> None:
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)


def plain_norm(x: Tensor, branch: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = x + branch
    return total, total * torch.rsqrt(total.square().mean(-1, keepdim=True) + 1e-5) * weight


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_norm_of_a_sum(size: tuple[int, int], dtype: torch.dtype) -> None:
    inputs = drawn(size, size, size[1:])
    true = with_gradients(plain_norm, inputs, [torch.float64] * 3, drawn(size, size, seed=1))
    compiled = lambda *x: add_norm(*x, 1e-5, dtype)
    found = with_gradients(compiled, inputs, [torch.float32, dtype, torch.float32], drawn(size, size, seed=1))
    assert [x.dtype for x in found] == [torch.float32, dtype, torch.float32, dtype, torch.float32]
    assert_near(found, true, BOUND[dtype])
    if dtype == torch.float32:  # without a sum, and without a gradient of it
        alone = with_gradients(lambda x, w: add_norm(x, None, w, 1e-5, dtype)[1], inputs[::2], [dtype] * 2, drawn(size))
        zero = lambda x, w: plain_norm(x, torch.zeros_like(x), w)[1]
        assert_near(alone, with_gradients(zero, inputs[::2], [torch.float64] * 2, drawn(size)), BOUND[dtype])
        only = with_gradients(lambda *x: add_norm(*x, 1e-5, dtype)[1], inputs, [dtype] * 3, drawn(size))
        second = lambda *x: plain_norm(*x)[1]
        assert_near(only, with_gradients(second, inputs, [torch.float64] * 3, drawn(size)), BOUND[dtype])


def test_a_sum_whose_norm_nobody_reads_passes_its_gradient_on() -> None:
    x, branch, weight, d_sum = drawn((3, 5), (3, 5), (5,), (3, 5))
    found = with_gradients(
        lambda *x: add_norm(*x, 1e-5, torch.float32)[0], [x, branch, weight], [torch.float32] * 3, [d_sum]
    )
    assert torch.equal(found[1], d_sum) and torch.equal(found[2], d_sum) and found[3] is None


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gated(size: tuple[int, int], dtype: torch.dtype) -> None:
    inputs = [4 * x for x in drawn(size, size)]
    true = with_gradients(lambda g, u: F.silu(g) * u, inputs, [torch.float64] * 2, drawn(size, seed=1))
    assert_near(with_gradients(gated, inputs, [dtype] * 2, drawn(size, seed=1)), true, BOUND[dtype])


def test_gated_by_what_is_far_out() -> None:
    gate = torch.tensor([-1e30, -200.0, -88.0, 0.0, 88.0, 200.0, 1e30, float("nan")])
    # without AVX-512 powers of e end at e^88, so that -1e30 is gated to -6e-9
    torch.testing.assert_close(gated(gate, torch.ones(8)), F.silu(gate), atol=1e-8, rtol=1e-6, equal_nan=True)


ROWS = {  # lengths, heads, key-value heads, width, window, rotary
    "one token": ([1], 1, 1, 8, None, True),
    "odd width": ([5, 3], 3, 1, 5, None, False),
    "shared keys": ([40, 33, 1, 12], 4, 2, 16, None, True),
    "wide": ([70, 9], 2, 2, 96, None, True),
    "window": ([150, 40, 3], 2, 1, 32, 20, True),
    "window of one": ([50], 1, 1, 8, 1, True),
    "long": ([300, 100], 1, 1, 64, None, True),
}


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, row: Row, lengths: list[int], window: int | None
) -> Tensor:
    """Document by document, with a mask."""
    out = query.new_zeros(len(query), query.shape[1] * query.shape[2])
    group = query.shape[1] // key.shape[1]
    if row.cosine is not None and row.sine is not None:
        cosine, sine = row.cosine[:, None].to(query.dtype), row.sine[:, None].to(query.dtype)

        def turned(x: Tensor) -> Tensor:
            u, v = x.chunk(2, -1)
            return torch.cat((u * cosine - v * sine, v * cosine + u * sine), -1)

        query, key = turned(query), turned(key)
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        distance = torch.arange(length)[:, None] - torch.arange(length)
        hidden = (distance < 0) | (distance >= (window or length))
        keys, values = (x[part].repeat_interleave(group, 1) for x in (key, value))
        scores = torch.einsum("qad,kad->aqk", query[part], keys) / math.sqrt(query.shape[2])
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        out[part] = torch.einsum("aqk,kad->qad", weights, values).flatten(1)
        start += length
    return out


def attention_case(name: str) -> tuple[list[Tensor], Tensor, Row, list[int], int | None]:
    lengths, heads, kv_heads, dim, window, rotary = ROWS[name]
    tokens = sum(lengths) + 3  # of no document
    *inputs, d_out = drawn(
        (tokens, heads, dim), (tokens, kv_heads, dim), (tokens, kv_heads, dim), (tokens, heads * dim)
    )
    d_out[sum(lengths) :] = 0
    angle = torch.cat([torch.arange(n) for n in (*lengths, 3)])[:, None] * 100.0 ** -torch.arange(0, 1, 2 / dim)
    length_E = torch.tensor(lengths)
    row = Row(length_E.cumsum(0) - length_E, length_E, angle.cos() if rotary else None, angle.sin() if rotary else None)
    return inputs, d_out, row, lengths, window


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("name", ROWS)
def test_attention_within_documents(name: str, dtype: torch.dtype) -> None:
    inputs, d_out, row, lengths, window = attention_case(name)
    plain = lambda *x: plain_attention(*x, row, lengths, window)
    rounded = [x.to(dtype) for x in inputs]
    true = with_gradients(plain, rounded, [torch.float64] * 3, [d_out])
    found = with_gradients(lambda *x: attend(*x, row, window), rounded, [dtype] * 3, [d_out])
    assert not any(x[sum(lengths) :].any() for x in found), "tokens of no document"
    assert_near(found[:1] + found[3:], true[:1] + true[3:], BOUND[dtype])
    if max(lengths) > 1 and window != 1:  # else every weight is 1, and scores have no gradient
        assert_near(found[1:3], true[1:3], BOUND[dtype])


def test_no_documents_at_all() -> None:
    empty = torch.empty(0, dtype=torch.long)
    out = attend(*drawn((2, 1, 4), (2, 1, 4), (2, 1, 4)), Row(empty, empty, None, None), None)
    assert torch.equal(out, torch.zeros(2, 4))


HEADS = [(0, 4, 7), (1, 1, 1), (5, 4, 7), (20, 16, 100), (9, 8, 32)]


def head_inputs(size: tuple[int, int, int]) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    tokens, hidden, vocabulary = size
    inputs = drawn((tokens, hidden), (vocabulary, hidden), (vocabulary,))
    targets = torch.randint(0, vocabulary, (tokens,), generator=torch.Generator().manual_seed(2))
    return inputs, targets, drawn((tokens,), (tokens,), seed=3)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("size", HEADS, ids=str)
def test_head(size: tuple[int, int, int], dtype: torch.dtype, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-probs, entropy and gradients with a bias at temperature 0.7, by chunks of 8."""
    if not kept:
        monkeypatch.setattr(logprobs, "KEPT_BYTES", 0)
    inputs, targets, d_outs = head_inputs(size)
    rounded = [x.to(dtype) for x in inputs[:2]] + inputs[2:]

    def plain(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        logp = ((hidden @ weight.T + bias) / 0.7).log_softmax(-1)
        return logp.gather(-1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)

    for outs in (slice(0, 1), slice(0, 2)):  # without and with a gradient of the entropy

        def compiled(hidden: Tensor, weight: Tensor, bias: Tensor, outs: slice = outs) -> tuple[Tensor, ...]:
            found = chunked_logprobs(
                hidden, weight, targets, bias_V=bias, temperature=0.7, chunk=8, entropy=True, softmax=softmax_rows
            )
            return found[outs]  # type: ignore[return-value]

        true = with_gradients(lambda *x, outs=outs: plain(*x)[outs], rounded, [torch.float64] * 3, d_outs[outs])
        found = with_gradients(compiled, rounded, [dtype, dtype, torch.float32], d_outs[outs])
        if size[2] > 1:
            assert_near(found, true, 1e-5 if dtype == torch.float32 else 0.02)
        else:
            assert max((float(x.abs().max()) for x in found if x.numel()), default=0.0) < 1e-5, (
                "one word has probability 1"
            )


def test_head_of_large_logits_and_wrong_targets() -> None:
    logits, found = torch.tensor([[1e4, 0.0, -1e4], [0.0, -torch.inf, 0.0]]), [torch.empty(2) for _ in range(3)]
    softmax_rows(logits, None, torch.tensor([1, 2]), 1.0, *found, None)
    torch.testing.assert_close(found[0], torch.tensor([-1e4, -math.log(2)]))
    torch.testing.assert_close(found[2], torch.tensor([0.0, math.log(2)]), atol=1e-6, rtol=0)
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match="vocabulary of 3"):
            softmax_rows(logits, None, torch.tensor([0, wrong]), 1.0, *found, None)


def test_a_number_that_is_none_is_not_hidden() -> None:
    """NaN in, NaN out: the learner skips such a step."""
    nan = torch.full((3, 4), torch.nan)
    found = [torch.empty(3) for _ in range(2)]
    softmax_rows(nan.clone(), None, torch.zeros(3, dtype=torch.long), 1.0, *found, None, None)
    assert found[0].isnan().all()
    inputs, _, row, _, _ = attention_case("shared keys")
    inputs[0][7, 1, 2] = torch.nan
    assert attend(*inputs, row, None)[7].isnan().any()
    assert add_norm(nan, nan, torch.ones(4), 1e-5, HALF)[1].isnan().all()


def test_threads_change_no_bit() -> None:
    inputs, d_out, row, _, window = attention_case("window")
    for dtype in (torch.float32, HALF):
        run = lambda dtype=dtype: with_gradients(lambda *x: attend(*x, row, window), inputs, [dtype] * 3, [d_out])
        assert_same_bits(on_threads(run))
    size = (700, 96)
    of_norm, d_of_norm = drawn(size, size, size[1:]), drawn(size, size, seed=1)
    types = [torch.float32, HALF, torch.float32]
    assert_same_bits(on_threads(lambda: with_gradients(lambda *x: add_norm(*x, 1e-5, HALF), of_norm, types, d_of_norm)))
    assert_same_bits(on_threads(lambda: with_gradients(gated, of_norm[:2], [HALF] * 2, d_of_norm[:1])))

    def softmax() -> list[Tensor]:
        (logits,), found = drawn((200, 999)), [torch.empty(200) for _ in range(3)]
        softmax_rows(logits, None, torch.arange(200), 0.5, *found, logits)
        return [logits, *found]

    assert_same_bits(on_threads(softmax))


def build(**changes: Any) -> Decoder:
    return Decoder(DecoderConfig.tiny(64, **changes)).init_weights(torch.Generator().manual_seed(1))


def learn(model: Decoder, batch: Batch, native: bool, *, autocast: bool = False) -> list[Tensor]:
    """Log-probs, entropies and values of the rows, then the gradients of one loss on them."""
    model.end_to_end, model.native = True, native
    head = ValueHead(model.hidden_size)
    torch.nn.init.constant_(head.weight, 0.1)
    model.zero_grad()
    with torch.autocast("cpu", HALF, enabled=autocast):
        assert model.reads_compiled() is native
        out = outputs_of(Actor(model, "lm+value", head), batch, ("logprobs", "entropy", "values"))
    found = [out.logprobs_BT, out.entropy_BT, out.values_BT]
    factors_BT = torch.linspace(-1, 2, batch.tokens_BT.numel()).view(batch.tokens_BT.shape)
    (found[0] * factors_BT + found[1] + found[2].square()).sum().backward()  # type: ignore[operator]
    return [*found, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]  # type: ignore[list-item]


LENGTHS = [[7, 4, 5, 1, 33, 12, 12, 11], [6], [1, 1]]
SHAPES = {**VARIANTS, "relu, gated": {"activation": "relu"}, "deep": {"num_layers": 3, "head_dim": 20}}


def assert_learns_the_same(model: Decoder, batch: Batch) -> None:
    """Float32: within 1e-4. bfloat16: as near to float32 as torch's operations are, within a fifth."""
    exact, found = (learn(model, batch, native) for native in (False, True))
    assert len(exact) == len(found) > 3
    for place, (a, b) in enumerate(zip(exact, found, strict=True)):
        assert (b - a).norm() <= 1e-4 * a.norm() + 1e-6, place
    plain, found = (learn(model, batch, native, autocast=True) for native in (False, True))
    for place, (true, a, b) in enumerate(zip(exact, plain, found, strict=True)):
        assert (b - true).norm() <= 1.2 * (a - true).norm() + 0.01 * true.norm(), place


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_decoder_computes_the_same(shape: str, lengths: list[int]) -> None:
    assert_learns_the_same(build(**SHAPES[shape]), some_rows(lengths))


@pytest.mark.parametrize("shape", SHAPES)
def test_activations_computed_again_give_the_same_bits(shape: str) -> None:
    model, batch = build(**SHAPES[shape]), some_rows(LENGTHS[0])
    once = learn(model, batch, True)
    model.checkpointing = True
    for one, again in zip(once, learn(model, batch, True), strict=True):
        assert torch.equal(one, again)


def test_a_decoder_has_the_same_bits_on_two_threads() -> None:
    model, batch = build(), some_rows([40, 33, 12, 9, 21])
    assert_same_bits(on_threads(lambda: learn(model, batch, True)))


def test_adapters_learn_the_same() -> None:
    model = build()
    add_lora(model, LoraConfig(rank=2))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02, generator=torch.Generator().manual_seed(3))
    assert_learns_the_same(model, some_rows(LENGTHS[0]))


def test_what_cannot_be_read_compiled_is_read_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "read", lambda *_: pytest.fail("read compiled"))
    wide = {"head_dim": 300, "num_heads": 1, "num_kv_heads": 1}
    compiled = build()
    compiled.model.layers[0].parts = (lambda *_: None, lambda *_: None)
    for model in (build().double(), build().bfloat16(), build(**wide), compiled):
        model.native, model.end_to_end = True, True
        assert not model.reads_compiled()
    fine = build()
    fine.native = fine.end_to_end = True
    with torch.autocast("cpu", torch.float16):
        assert not fine.reads_compiled()
    assert fine.reads_compiled()
    fine.double()
    found = outputs_of(Actor(fine, "lm"), some_rows([3, 4]), ("logprobs",)).logprobs_BT
    assert found is not None and found.dtype == torch.float64


def test_a_text_beyond_the_context_is_an_error() -> None:
    model = build(context=16)
    model.native = True
    with pytest.raises(ModelError, match="longer than this model's context of 16"):
        outputs_of(Actor(model, "lm"), some_rows([17]), ("logprobs",))


def test_without_a_compiler_nothing_compiled_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(*_: Any) -> None:
        raise ResourceError("there is no C++ compiler", where="", mend="")

    monkeypatch.setattr(paths, "library", no_library)
    monkeypatch.setattr(paths, "_best", lambda ways, *_: [1.0, 0.1])
    assert paths.measure("cpu").paths.native is False


def test_a_run_that_went_compiled_says_so_where_no_compiler_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_library, "_found", lambda source: f"there is no C++ compiler for {source.name}")
    model = build()
    model.native = True
    with pytest.raises(ResourceError, match="install g\\+\\+"):
        outputs_of(Actor(model, "lm"), some_rows([5]), ("logprobs",))
