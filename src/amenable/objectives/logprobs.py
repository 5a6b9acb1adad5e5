"""Log-probabilities, entropy and exact KL of a language-model head, a chunk of tokens at a time.

Why so: the logits of a whole batch, [tokens, vocabulary] in float32, are the largest tensor of training by
far. Here only one chunk of them exists at any moment, and it turns into the gradient of the logits but for one
factor per token, which is all that the backward pass brings. Up to KEPT_BYTES that is kept, in the dtype of the
matrix products; beyond, and for the entropy's gradient, the backward pass computes the logits again by chunks,
one matrix product more than the usual three.

Matrix products run in the autocast dtype if autocast is on, else in hidden's dtype; everything after them
runs in float32, or float64 if the inputs are.

Shape letters: N tokens, C tokens of one chunk, H hidden, V vocabulary, B rows, T tokens of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from amenable.objectives.masked import masked_mean, masked_sum

KEPT_BYTES = 1 << 27
"""What the head may keep of a forward pass, [tokens, vocabulary]: 8,192 tokens of 8,192 words in bfloat16."""
LOG2_E = 1 / math.log(2)
NEVER = -1e30
"""Stands for the log-probability of a word with logit -inf where it is weighed by that probability: 0 times -inf is NaN."""


class Softmax(Protocol):
    """With l = (logits_CV + bias_V) / temperature, writes log softmax(l) at the targets, the log-normalisers, the entropies,
    and softmax(l) - 1[target], which may overwrite the logits."""

    def __call__(
        self,
        logits_CV: Tensor,
        bias_V: Tensor | None,
        targets_C: Tensor,
        temperature: float,
        logprobs_C: Tensor,
        normalisers_C: Tensor,
        entropies_C: Tensor | None,
        kept_CV: Tensor | None,
    ) -> None: ...


def chunked_logprobs(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    targets_N: Tensor,
    *,
    bias_V: Tensor | None = None,
    temperature: float = 1.0,
    chunk: int | None = None,
    entropy: bool = False,
    logits_fn: Callable[[Tensor], Tensor] | None = None,
    softmax: Softmax | None = None,
) -> tuple[Tensor, Tensor | None]:
    """(logprobs_N, entropy_N or None) of softmax((hidden · weightᵀ + bias) / temperature), natural log.

    logprobs_N[n] is that of targets_N[n]; both results are float32 (float64 for float64 inputs) and
    differentiable once in hidden, weight and bias. A frozen weight costs no gradient product.
    temperature: above 0; that which the tokens were drawn with, for reinforcement learning.
    chunk: tokens per chunk; the results do not depend on it beyond rounding. None: few on a CPU, where a chunk's
    logits should stay in its cache.
    logits_fn: hidden_CH -> logits_CV, for heads that do more than a product (soft-capping); weight_VH and
    bias_V are then not read, gradients flow through the function's own tensors, and each chunk is
    checkpointed.
    softmax: compiled code in place of torch's operations, where the products are in float32 or bfloat16.

    >>> hidden, weight = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    >>> logprobs, entropy = chunked_logprobs(hidden, weight, torch.tensor([1]), entropy=True)
    >>> round(logprobs.item(), 4), round(entropy.item(), 4)
    (-0.6931, 0.6931)
    """
    _check_temperature(temperature)
    chunk = chunk or (256 if hidden_NH.device.type == "cpu" else 1024)
    if logits_fn is not None:
        return _checkpointed(hidden_NH, targets_N, logits_fn, temperature, chunk, entropy)
    hidden_NH, weight_VH = _matmul_dtype(hidden_NH, weight_VH)
    if hidden_NH.dtype not in (torch.float32, torch.bfloat16):
        softmax = None
    logprobs_N, entropy_N = _ChunkedLogprobs.apply(
        hidden_NH, weight_VH, bias_V, targets_N, float(temperature), chunk, entropy, softmax
    )
    return logprobs_N, entropy_N if entropy else None


def exact_kl(
    policy_hidden_NH: Tensor,
    policy_weight_VH: Tensor,
    reference_hidden_NH: Tensor,
    reference_weight_VH: Tensor,
    *,
    policy_bias_V: Tensor | None = None,
    reference_bias_V: Tensor | None = None,
    temperature: float = 1.0,
    chunk: int = 1024,
) -> Tensor:
    """kl_N = KL(policy ‖ reference) over the whole vocabulary, nats; the gradient goes to the policy alone.

    Both distributions are softmax(logits / temperature). The two models may differ in hidden size, not in
    vocabulary.

    >>> import math
    >>> policy, reference = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    >>> weight = torch.tensor([[math.log(3.0)], [0.0]])  # reference (3/4, 1/4), policy (1/2, 1/2)
    >>> round(exact_kl(policy, weight, reference, weight).item(), 4)  # ½ ln(2/3) + ½ ln 2
    0.1438
    """
    _check_temperature(temperature)
    policy_hidden_NH, policy_weight_VH = _matmul_dtype(policy_hidden_NH, policy_weight_VH)
    with torch.no_grad():
        reference_hidden_NH, reference_weight_VH = _matmul_dtype(reference_hidden_NH, reference_weight_VH)
    return _ExactKL.apply(
        policy_hidden_NH,
        policy_weight_VH,
        policy_bias_V,
        reference_hidden_NH.detach(),
        reference_weight_VH.detach(),
        None if reference_bias_V is None else reference_bias_V.detach(),
        float(temperature),
        chunk,
    )


def sequence_logprob(logprobs_BT: Tensor, mask_BT: Tensor, *, average: bool = False) -> Tensor:
    """logprob_B of each row: the sum over its masked tokens, or their mean; 0 for a row without any.

    >>> sequence_logprob(torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[True, True, False]])).tolist()
    [-3.0]
    """
    return masked_mean(logprobs_BT, mask_BT, 1) if average else masked_sum(logprobs_BT, mask_BT, 1)


class _ChunkedLogprobs(torch.autograd.Function):
    """∂logprob/∂logit_j = 1[j = target] − p_j;  ∂entropy/∂logit_j = −p_j (log p_j + entropy)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        temperature: float,
        chunk: int,
        entropy: bool,
        softmax: Softmax | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)  # None tells that nothing was learned from the entropy
        head = _Head(hidden_NH, weight_VH, bias_V, temperature, chunk)
        logprobs_N = head.new_empty(len(hidden_NH))
        normaliser_N = torch.empty_like(logprobs_N)
        entropy_N = head.new_empty(len(hidden_NH) if entropy else 0)
        num_bytes = len(hidden_NH) * len(weight_VH) * hidden_NH.element_size()
        keep = any(ctx.needs_input_grad[:3]) and num_bytes <= KEPT_BYTES
        kept_NV = hidden_NH.new_empty(len(hidden_NH), len(weight_VH)) if keep else None
        for part in head.parts():
            if softmax is not None:
                kept_CV = None if kept_NV is None else kept_NV[part]
                found = logprobs_N[part], normaliser_N[part], entropy_N[part] if entropy else None
                softmax(head.products(part, kept_CV), bias_V, targets_N[part], temperature, *found, kept_CV)
                continue
            logits_CV, target_C1 = head.logits(part), targets_N[part, None]
            top_C1, own_C1 = logits_CV.amax(-1, keepdim=True), logits_CV.gather(-1, target_C1)
            # powers of two: torch's exp is twice as slow on some CPUs
            power_CV = torch.sub(logits_CV, top_C1, out=head.scratch(part)).mul_(LOG2_E)
            p_CV = torch.exp2(power_CV, out=logits_CV)
            sum_C1 = p_CV.sum(-1, keepdim=True)
            log_sum_C1 = sum_C1.log()
            logprobs_N[part] = (own_C1 - top_C1 - log_sum_C1).squeeze(-1)
            normaliser_N[part] = (top_C1 + log_sum_C1).squeeze(-1)
            if entropy:
                mean_C1 = power_CV.clamp_(min=NEVER).mul_(p_CV).sum(-1, keepdim=True).div_(sum_C1 * LOG2_E)
                entropy_N[part] = (log_sum_C1 - mean_C1).squeeze(-1)
            if kept_NV is not None:
                p_CV.div_(sum_C1).scatter_add_(-1, target_C1, torch.full_like(sum_C1, -1.0))
                kept_NV[part] = p_CV
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, targets_N, normaliser_N, entropy_N, kept_NV)
        ctx.temperature, ctx.chunk, ctx.softmax = temperature, chunk, softmax
        return logprobs_N, entropy_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor | None, grad_entropy_N: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden_NH, weight_VH, bias_V, targets_N, normaliser_N, entropy_N, kept_NV = ctx.saved_tensors
        if grad_N is None and grad_entropy_N is None:
            return (None,) * 8
        if grad_N is not None and grad_entropy_N is None and kept_NV is not None:
            scale_N1 = grad_N[:, None] / -ctx.temperature
            grads = _grads_of_kept(kept_NV, scale_N1, hidden_NH, weight_VH, bias_V, ctx.needs_input_grad)
            return (*grads, *(None,) * 5)
        head = _Head(hidden_NH, weight_VH, bias_V, ctx.temperature, ctx.chunk)
        gathered = _HeadGrads(head, ctx.needs_input_grad)
        for part in head.parts():
            logp_CV = head.logits(part).sub_(normaliser_N[part, None])
            p_CV = torch.exp(logp_CV, out=head.scratch(part))
            grad_C1 = torch.zeros_like(normaliser_N[part, None]) if grad_N is None else grad_N[part, None]
            if grad_entropy_N is None:
                grad_CV = p_CV.mul_(-grad_C1)
            else:
                logp_CV.clamp_(min=NEVER).add_(entropy_N[part, None]).mul_(grad_entropy_N[part, None])
                grad_CV = logp_CV.add_(grad_C1).mul_(p_CV).neg_()
            grad_CV.scatter_add_(-1, targets_N[part, None], grad_C1)
            gathered.add(part, grad_CV)
        return (*gathered.result(), *(None,) * 5)


def _grads_of_kept(
    kept_NV: Tensor,
    scale_N1: Tensor,
    hidden_NH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of hidden, weight and bias where those of the logits are kept_NV * scale_N1.

    The scale goes to the small factors, so that nothing passes over kept_NV but the products.
    """
    dtype = hidden_NH.dtype
    with torch.autocast(hidden_NH.device.type, enabled=False):
        d_hidden = (kept_NV @ weight_VH).mul_(scale_N1) if needed[0] else None
        d_weight = kept_NV.t() @ (hidden_NH * scale_N1).to(dtype) if needed[1] else None
        d_bias = (kept_NV.t() @ scale_N1.to(dtype))[:, 0].to(bias_V.dtype) if needed[2] and bias_V is not None else None
    return d_hidden, d_weight, d_bias


class _ExactKL(torch.autograd.Function):
    """∂KL(p ‖ q)/∂logit_j = p_j (log p_j − log q_j − KL)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        reference_hidden_NH: Tensor,
        reference_weight_VH: Tensor,
        reference_bias_V: Tensor | None,
        temperature: float,
        chunk: int,
    ) -> Tensor:
        policy = _Head(hidden_NH, weight_VH, bias_V, temperature, chunk)
        reference = _Head(reference_hidden_NH, reference_weight_VH, reference_bias_V, temperature, chunk)
        kl_N = policy.new_empty(len(hidden_NH))
        for part in policy.parts():
            p_CV, gap_CV = _probs_and_gap(policy, reference, part)
            kl_N[part] = p_CV.mul_(gap_CV).sum(-1)
        ctx.save_for_backward(
            hidden_NH, weight_VH, bias_V, reference_hidden_NH, reference_weight_VH, reference_bias_V, kl_N
        )
        ctx.temperature, ctx.chunk = temperature, chunk
        return kl_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor | None, ...]:
        hidden_NH, weight_VH, bias_V, ref_hidden_NH, ref_weight_VH, ref_bias_V, kl_N = ctx.saved_tensors
        policy = _Head(hidden_NH, weight_VH, bias_V, ctx.temperature, ctx.chunk)
        reference = _Head(ref_hidden_NH, ref_weight_VH, ref_bias_V, ctx.temperature, ctx.chunk)
        grads = _HeadGrads(policy, ctx.needs_input_grad)
        for part in policy.parts():
            p_CV, gap_CV = _probs_and_gap(policy, reference, part)
            grads.add(part, gap_CV.sub_(kl_N[part, None]).mul_(p_CV).mul_(grad_N[part, None]))
        return (*grads.result(), None, None, None, None, None)


def _probs_and_gap(policy: _Head, reference: _Head, part: slice) -> tuple[Tensor, Tensor]:
    """(p_CV, log p − log q) of one chunk, in buffers of the two heads."""
    logp_CV, logq_CV, p_CV = policy.logits(part), reference.logits(part), policy.scratch(part)
    _normalise(logp_CV, p_CV)
    _normalise(logq_CV, p_CV)
    torch.exp(logp_CV, out=p_CV)
    return p_CV, logp_CV.sub_(logq_CV).masked_fill_(p_CV == 0, 0)  # else 0 times inf where a logit is -inf


def _normalise(logits_CV: Tensor, scratch_CV: Tensor) -> Tensor:
    """Turn logits into log-probs in place; returns the log-normaliser of each row."""
    top_C1 = logits_CV.amax(-1, keepdim=True)
    log_sum_C1 = torch.exp(logits_CV.sub_(top_C1), out=scratch_CV).sum(-1, keepdim=True).log()
    logits_CV.sub_(log_sum_C1)
    return (top_C1 + log_sum_C1).squeeze(-1)


class _Head:
    """A head's logits, chunk by chunk, in buffers used again for every chunk: fresh ones cost page faults."""

    def __init__(
        self, hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, temperature: float, chunk: int
    ) -> None:
        self.hidden_NH, self.weight_VH, self.bias_V = hidden_NH, weight_VH, bias_V
        self.temperature, self.chunk = temperature, min(chunk, len(hidden_NH))
        self.wide = _softmax_dtype(hidden_NH)
        self.logits_CV, self.scratch_CV = self._buffer(self.wide), self._buffer(self.wide)
        self.narrow_CV = self.logits_CV if self.wide == hidden_NH.dtype else self._buffer(hidden_NH.dtype)

    def _buffer(self, dtype: torch.dtype) -> Tensor:
        return self.hidden_NH.new_empty(self.chunk, len(self.weight_VH), dtype=dtype)

    def new_empty(self, num_tokens: int) -> Tensor:
        return self.hidden_NH.new_empty(num_tokens, dtype=self.wide)

    def parts(self) -> list[slice]:
        return _parts(len(self.hidden_NH), self.chunk)

    def scratch(self, part: slice) -> Tensor:
        """A second buffer of the chunk's shape."""
        return self.scratch_CV[: part.stop - part.start]

    def products(self, part: slice, out: Tensor | None = None) -> Tensor:
        """hidden_CH @ weightᵀ in the dtype of both, in `out` or valid until the next call."""
        narrow_CV = self.narrow_CV[: part.stop - part.start] if out is None else out
        with torch.autocast(narrow_CV.device.type, enabled=False):
            return torch.mm(self.hidden_NH[part], self.weight_VH.t(), out=narrow_CV)

    def logits(self, part: slice) -> Tensor:
        """logits_CV / temperature, valid until the next call."""
        narrow_CV, logits_CV = self.products(part), self.logits_CV[: part.stop - part.start]
        if narrow_CV.dtype != logits_CV.dtype:
            logits_CV.copy_(narrow_CV)
        if self.bias_V is not None:
            logits_CV.add_(self.bias_V)
        return logits_CV if self.temperature == 1.0 else logits_CV.div_(self.temperature)


class _HeadGrads:
    """Gradients of a head's hidden, weight and bias, gathered chunk by chunk from those of its logits."""

    def __init__(self, head: _Head, needed: tuple[bool, ...]) -> None:
        self.head = head
        hidden_NH, weight_VH, bias_V = head.hidden_NH, head.weight_VH, head.bias_V
        self.hidden_NH = torch.empty_like(hidden_NH) if needed[0] else None
        # In bfloat16 a sum over chunks would lose bits.
        self.weight_VH = torch.zeros_like(weight_VH, dtype=head.wide) if needed[1] else None
        self.bias_V = torch.zeros_like(bias_V, dtype=head.wide) if needed[2] and bias_V is not None else None

    def add(self, part: slice, grad_CV: Tensor) -> None:
        """Account for one chunk's gradient of the scaled logits, which is overwritten."""
        if self.head.temperature != 1.0:
            grad_CV.div_(self.head.temperature)
        if self.bias_V is not None:
            self.bias_V += grad_CV.sum(0)
        if grad_CV.dtype != self.head.hidden_NH.dtype:
            grad_CV = self.head.narrow_CV[: len(grad_CV)].copy_(grad_CV)
        with torch.autocast(grad_CV.device.type, enabled=False):
            if self.hidden_NH is not None:
                torch.mm(grad_CV, self.head.weight_VH, out=self.hidden_NH[part])
            if self.weight_VH is None:
                return
            if self.weight_VH.dtype == grad_CV.dtype:
                self.weight_VH.addmm_(grad_CV.t(), self.head.hidden_NH[part])
            else:
                self.weight_VH += grad_CV.t() @ self.head.hidden_NH[part]

    def result(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        weight_VH, bias_V = self.weight_VH, self.bias_V
        return (
            self.hidden_NH,
            None if weight_VH is None else weight_VH.to(self.head.weight_VH.dtype),
            None if bias_V is None or self.head.bias_V is None else bias_V.to(self.head.bias_V.dtype),
        )


def _checkpointed(
    hidden_NH: Tensor,
    targets_N: Tensor,
    logits_fn: Callable[[Tensor], Tensor],
    temperature: float,
    chunk: int,
    entropy: bool,
) -> tuple[Tensor, Tensor | None]:
    def one(hidden_CH: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
        logits_CV = logits_fn(hidden_CH)
        logp_CV = logits_CV.to(_softmax_dtype(logits_CV)).div(temperature).log_softmax(-1)
        entropy_C = -(logp_CV.exp() * logp_CV.clamp(min=NEVER)).sum(-1) if entropy else logp_CV.new_empty(0)
        return logp_CV.gather(-1, targets_C[:, None]).squeeze(-1), entropy_C

    # A head draws no random numbers, so there is no generator state to keep.
    parts = _parts(len(hidden_NH), chunk) or [slice(0, 0)]
    pairs = [checkpoint(one, hidden_NH[p], targets_N[p], use_reentrant=False, preserve_rng_state=False) for p in parts]
    return torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs]) if entropy else None


def _matmul_dtype(hidden_NH: Tensor, weight_VH: Tensor) -> tuple[Tensor, Tensor]:
    kind = hidden_NH.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_NH.dtype
    return hidden_NH.to(dtype), weight_VH.to(dtype)


def _softmax_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _parts(num_tokens: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, num_tokens)) for start in range(0, num_tokens, max(chunk, 1))]


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(
            f"temperature must be above 0, not {temperature}: log-probs of greedy decoding are not defined"
        )
