"""Chunked log-probs, entropy and exact KL: against torch's log_softmax on whole logits, and gradcheck."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax as scipy_log_softmax
from torch import Tensor

from amenable.objectives import logprobs
from amenable.objectives.logprobs import chunked_logprobs, exact_kl, sequence_logprob


def head(n: int = 7, h: int = 4, v: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, h, generator=g, dtype=dtype).requires_grad_()
    weight = torch.randn(v, h, generator=g, dtype=dtype).requires_grad_()
    bias = torch.randn(v, generator=g, dtype=dtype).requires_grad_()
    return hidden, weight, bias, torch.randint(v, (n,), generator=g)


def whole(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, t: float) -> tuple[Tensor, Tensor]:
    logits = hidden @ weight.t() if bias is None else hidden @ weight.t() + bias
    logp = (logits / t).log_softmax(-1)
    return logp.gather(-1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


def test_by_hand() -> None:
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[math.log(3.0)], [0.0]])  # probabilities 3/4, 1/4
    logprobs, entropy = chunked_logprobs(hidden, weight, torch.tensor([0]), entropy=True)
    assert logprobs.item() == pytest.approx(math.log(0.75), abs=1e-6)
    assert entropy is not None
    assert entropy.item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25), abs=1e-6)
    warm, _ = chunked_logprobs(hidden, weight, torch.tensor([0]), temperature=2.0)
    assert warm.item() == pytest.approx(math.log(math.sqrt(3) / (1 + math.sqrt(3))), abs=1e-6)


def test_values_against_scipy() -> None:
    hidden, weight, bias, targets = head()
    logp = scipy_log_softmax((hidden @ weight.t() + bias).detach().numpy() / 0.7, axis=-1)
    logprobs, entropy = chunked_logprobs(hidden, weight, targets, bias_V=bias, temperature=0.7, chunk=3, entropy=True)
    assert entropy is not None
    np.testing.assert_allclose(logprobs.detach(), logp[np.arange(7), targets], atol=1e-12)
    np.testing.assert_allclose(entropy.detach(), -(np.exp(logp) * logp).sum(-1), atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("with_entropy", [True, False])
def test_gradients_do_not_depend_on_the_chunk(chunk: int, with_bias: bool, with_entropy: bool) -> None:
    hidden, weight, bias, targets = head()
    used_bias = bias if with_bias else None
    coefficients = torch.linspace(-1, 2, 7, dtype=torch.float64)

    def loss(logprobs: Tensor, entropy: Tensor | None) -> Tensor:
        total = (coefficients * logprobs).sum()
        return total if entropy is None else total + (coefficients.square() * entropy).sum()

    leaves = [hidden, weight, *([bias] if with_bias else [])]
    a, b = whole(hidden, weight, used_bias, targets, 1.3)
    expected = torch.autograd.grad(loss(a, b if with_entropy else None), leaves)
    ours = chunked_logprobs(
        hidden, weight, targets, bias_V=used_bias, temperature=1.3, chunk=chunk, entropy=with_entropy
    )
    assert (ours[1] is None) is not with_entropy
    for got, want in zip(torch.autograd.grad(loss(*ours), leaves), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("with_bias", [True, False])
def test_kept_gradients_are_those_computed_again(monkeypatch: pytest.MonkeyPatch, with_bias: bool) -> None:
    hidden, weight, bias, targets = head()
    leaves = [hidden, weight, *([bias] if with_bias else [])]
    found = []
    for num_bytes in (1 << 20, 0):
        monkeypatch.setattr(logprobs, "KEPT_BYTES", num_bytes)
        ours, _ = chunked_logprobs(
            hidden, weight, targets, bias_V=bias if with_bias else None, temperature=0.7, chunk=3, entropy=True
        )
        kept = ours.grad_fn.saved_tensors[-1]  # type: ignore[union-attr]
        assert (kept is None) == (num_bytes == 0)
        found.append(torch.autograd.grad((ours * torch.arange(7.0)).sum(), leaves))
    for kept_grad, grad in zip(*found, strict=True):
        torch.testing.assert_close(kept_grad, grad, rtol=1e-10, atol=1e-12)


def test_kept_gradients_in_bfloat16() -> None:
    """Against float32 on the same inputs: each of the two products rounds twice to 8 bits, so 1 % of the norm."""
    hidden, weight, bias, targets = head(n=300, h=32, v=50, dtype=torch.float32)
    factors = torch.linspace(-1, 2, 300) / 300
    exact = torch.autograd.grad((whole(hidden, weight, bias, targets, 1.0)[0] * factors).sum(), [hidden, weight, bias])
    with torch.autocast("cpu", torch.bfloat16):
        ours, _ = chunked_logprobs(hidden, weight, targets, bias_V=bias)
    for got, want in zip(torch.autograd.grad((ours * factors).sum(), [hidden, weight, bias]), exact, strict=True):
        assert (got - want).norm() < 0.01 * want.norm()


def test_gradcheck() -> None:
    hidden, weight, bias, targets = head()

    def run(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        a, b = chunked_logprobs(hidden, weight, targets, bias_V=bias, temperature=0.8, chunk=3, entropy=True)
        assert b is not None
        return a, b

    # fast_mode=False: every input alone; gradcheck calls backward often on one graph, so nothing kept may be overwritten.
    assert torch.autograd.gradcheck(run, (hidden, weight, bias))


def test_a_graph_can_be_walked_twice() -> None:
    hidden, weight, _, targets = head()
    loss = chunked_logprobs(hidden, weight, targets, chunk=3)[0].square().sum()
    first = torch.autograd.grad(loss, [hidden, weight], retain_graph=True)
    second = torch.autograd.grad(loss, [hidden, weight])
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


def test_frozen_weight_and_frozen_hidden() -> None:
    hidden, weight, _, targets = head()
    wanted = torch.autograd.grad(whole(hidden, weight, None, targets, 1.0)[0].sum(), [hidden, weight])
    for i, (h, w) in enumerate([(hidden, weight.detach()), (hidden.detach(), weight)]):
        (got,) = torch.autograd.grad(chunked_logprobs(h, w, targets)[0].sum(), [(h, w)[i]])
        torch.testing.assert_close(got, wanted[i])


def test_logits_fn_soft_cap() -> None:
    hidden, weight, _, targets = head()
    logp = (5 * torch.tanh(hidden @ weight.t() / 5) / 0.9).log_softmax(-1)
    expected_loss = logp.gather(-1, targets[:, None]).sum() - 2 * (logp.exp() * logp).sum()
    expected = torch.autograd.grad(expected_loss, [hidden, weight])
    a, b = chunked_logprobs(
        hidden,
        weight,
        targets,
        temperature=0.9,
        chunk=3,
        entropy=True,
        logits_fn=lambda x: 5 * torch.tanh(x @ weight.t() / 5),
    )
    assert b is not None
    torch.testing.assert_close(a.sum() + 2 * b.sum(), expected_loss)
    for got, want in zip(torch.autograd.grad(a.sum() + 2 * b.sum(), [hidden, weight]), expected, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("logits_fn", [False, True])
def test_no_tokens_gives_zero_gradients(logits_fn: bool) -> None:
    hidden, weight, bias, _ = head()
    fn = (lambda x: x @ weight.t()) if logits_fn else None
    a, b = chunked_logprobs(
        hidden[:0], weight, torch.zeros(0, dtype=torch.long), bias_V=bias, entropy=True, logits_fn=fn
    )
    assert a.shape == (0,) and b is not None and b.shape == (0,)
    (a.sum() + b.sum()).backward()
    for x in (hidden, weight):
        assert x.grad is not None and not x.grad.any()


def test_extreme_logits_stay_finite() -> None:
    hidden = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    logprobs, entropy = chunked_logprobs(hidden, weight, torch.tensor([1]), entropy=True)
    assert logprobs.item() == -2e4 and entropy is not None and entropy.item() == 0
    (logprobs + entropy).sum().backward()
    assert weight.grad is not None and weight.grad.tolist() == [[-1.0], [1.0]]


@pytest.mark.parametrize("logits_fn", [False, True])
def test_a_word_ruled_out_by_its_bias_is_a_word_that_is_not_there(logits_fn: bool) -> None:
    """Values and gradients with a logit of -inf are those over the vocabulary without the word."""
    hidden, weight = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    bias, targets = torch.tensor([0.0, 0.5, 1.0, 0.0, -math.inf], dtype=torch.float64), torch.tensor([0, 1, 3])
    found = []
    for size in (5, 4):
        h, w, b = hidden.clone().requires_grad_(), weight[:size].clone().requires_grad_(), bias[:size]
        head = (lambda x, w=w, b=b: x @ w.t() + b) if logits_fn else None
        logprobs_N, entropy_N = chunked_logprobs(h, w, targets, bias_V=b, entropy=True, logits_fn=head)
        kl_N = exact_kl(h, w, hidden.flip(0), weight[:size], policy_bias_V=b, reference_bias_V=b)
        assert entropy_N is not None
        grads = torch.autograd.grad((logprobs_N + 2 * entropy_N + 3 * kl_N).sum(), [h, w])
        found.append([logprobs_N, entropy_N, kl_N, grads[0], grads[1][:4]])
    torch.testing.assert_close(*found)


def test_autocast_multiplies_in_bfloat16_and_normalises_in_float32() -> None:
    hidden, weight, bias, targets = head(n=64, h=32, v=50, dtype=torch.float32)
    exact, exact_entropy = whole(hidden, weight, bias, targets, 1.0)
    wanted = torch.autograd.grad(exact.sum() + exact_entropy.sum(), [hidden, weight, bias])
    with torch.autocast("cpu", torch.bfloat16):
        a, b = chunked_logprobs(hidden, weight, targets, bias_V=bias, chunk=16, entropy=True)
    assert b is not None and a.dtype == b.dtype == torch.float32
    rounded = (hidden.bfloat16() @ weight.bfloat16().t()).float() + bias
    torch.testing.assert_close(a, rounded.log_softmax(-1).gather(-1, targets[:, None])[:, 0], rtol=1e-6, atol=1e-5)
    # bfloat16 keeps 8 bits: the gradients are right to about 1 % of their largest entry.
    for got, want in zip(torch.autograd.grad(a.sum() + b.sum(), [hidden, weight, bias]), wanted, strict=True):
        assert got.dtype == torch.float32
        assert (got - want).abs().max() < 0.03 * want.abs().max()


def test_bfloat16_leaves_get_bfloat16_gradients() -> None:
    hidden, weight, _, targets = head(dtype=torch.bfloat16)
    logprobs, _ = chunked_logprobs(hidden, weight, targets, chunk=2)
    assert logprobs.dtype == torch.float32
    logprobs.sum().backward()
    assert hidden.grad is not None and hidden.grad.dtype == torch.bfloat16
    assert weight.grad is not None and weight.grad.dtype == torch.bfloat16


def test_never_more_than_a_few_chunks_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "KEPT_BYTES", 0)
    """Watches every tensor that torch creates, forward and backward."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for x in out if isinstance(out, tuple | list) else [out]:
                if isinstance(x, Tensor):
                    largest = max(largest, x.numel())
            return out

    hidden, weight, _, targets = head(n=512, h=8, v=100, dtype=torch.float32)
    with Watch():
        a, b = chunked_logprobs(hidden, weight, targets, chunk=64, entropy=True)
        assert b is not None
        (a.sum() + b.sum()).backward()
    assert largest == 64 * 100


def test_temperature_zero_is_refused() -> None:
    hidden, weight, _, targets = head()
    with pytest.raises(ValueError, match="temperature"):
        chunked_logprobs(hidden, weight, targets, temperature=0.0)


def test_exact_kl_against_torch() -> None:
    hidden, weight, bias, _ = head()
    ref_hidden, ref_weight, ref_bias, _ = head(h=3, seed=1)
    logp = ((hidden @ weight.t() + bias) / 0.6).log_softmax(-1)
    logq = ((ref_hidden @ ref_weight.t() + ref_bias) / 0.6).log_softmax(-1).detach()
    wanted = torch.nn.functional.kl_div(logq, logp, reduction="none", log_target=True).sum(-1)
    for chunk in (2, 7):
        got = exact_kl(
            hidden,
            weight,
            ref_hidden,
            ref_weight,
            policy_bias_V=bias,
            reference_bias_V=ref_bias,
            temperature=0.6,
            chunk=chunk,
        )
        torch.testing.assert_close(got, wanted)
        assert (got > 0).all()
        weights = torch.linspace(-1, 1, 7, dtype=torch.float64)
        ours = torch.autograd.grad((weights * got).sum(), [hidden, weight, bias, ref_hidden], allow_unused=True)
        theirs = torch.autograd.grad((weights * wanted).sum(), [hidden, weight, bias], retain_graph=True)
        assert ours[3] is None
        for a, b in zip(ours[:3], theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_exact_kl_gradcheck_and_zero_at_equality() -> None:
    hidden, weight, bias, _ = head()
    ref = head(seed=1)
    assert torch.autograd.gradcheck(
        lambda h, w, b: exact_kl(h, w, ref[0], ref[1], policy_bias_V=b, temperature=1.2, chunk=3),
        (hidden, weight, bias),
    )
    torch.testing.assert_close(exact_kl(hidden, weight, hidden, weight), torch.zeros(7, dtype=torch.float64))


def test_sequence_logprob() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, float("nan")], [0.0, 0.0, 0.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert sequence_logprob(logprobs, mask).tolist() == [-3.0, 0.0]
    mean = sequence_logprob(logprobs, mask, average=True)
    assert mean.tolist() == [-1.5, 0.0]
    mean.sum().backward()
    assert logprobs.grad is not None and logprobs.grad.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
