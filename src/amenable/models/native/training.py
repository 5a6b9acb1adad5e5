"""What lies between the matrix products of a training step, as compiled code with gradients (training.cpp). CPU only.

Each equals the plain operations that it stands for: in float32 within 1e-4, in bfloat16 it rounds less often than they do.
No result depends on the number of threads.

Shape letters: N rows or tokens, H hidden, V vocabulary, A heads, K key-value heads, D head_dim, E documents.
"""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from amenable.models.native.library import Source, library

ROWS_SUMMED = 64  # as in training.cpp
THREAD_ENTRIES = 1 << 15  # numbers of an elementwise pass that pay for waking another thread


class _Norm(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "hidden", "half")),
        ("eps", c_double),
        *((name, c_void_p) for name in ("x", "weight", "branch", "sum", "inverse", "out")),
        *((name, c_void_p) for name in ("d_sum", "d_out", "d_x", "d_weight", "d_weights", "d_branch")),
        ("threads", c_int64),
    ]


class _Head(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "vocabulary", "half")),
        *((name, c_void_p) for name in ("logits", "bias", "targets")),
        ("inverse_temperature", c_double),
        *((name, c_void_p) for name in ("logprobs", "normalisers", "entropies", "kept")),
        ("threads", c_int64),
    ]


class _Attention(ctypes.Structure):
    _fields_ = [
        ("documents", c_int64),
        *((name, c_void_p) for name in ("starts", "lengths")),
        *((name, c_int64) for name in ("tokens", "heads", "kv_heads", "dim", "window", "half")),
        ("scale", c_double),
        *((name, c_void_p) for name in ("cosine", "sine", "query", "key", "value")),
        *((name, c_int64) for name in ("query_stride", "key_stride")),
        *((name, c_void_p) for name in ("out", "logs", "d_out", "d_query", "d_key", "d_value")),
        *((name, c_int64) for name in ("d_query_stride", "d_key_stride", "threads")),
    ]


TRAINING = Source(
    "training.cpp",
    ("attention.h", "tiles.h", "vectors.h"),
    "-O2",  # -O3 takes a minute over it and gains nothing
    {
        "amenable_norm": (None, (ctypes.POINTER(_Norm),)),
        "amenable_norm_back": (None, (ctypes.POINTER(_Norm),)),
        "amenable_gate": (None, (c_int64, c_int64, *[c_void_p] * 3, c_int64)),
        "amenable_gate_back": (None, (c_int64, c_int64, *[c_void_p] * 5, c_int64)),
        "amenable_head": (c_int64, (ctypes.POINTER(_Head),)),
        "amenable_attend": (None, (ctypes.POINTER(_Attention),)),
        "amenable_attend_back": (None, (ctypes.POINTER(_Attention),)),
    },
)


def add_norm(
    x_NH: Tensor, branch_NH: Tensor | None, weight_H: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """(x + branch, that / sqrt(mean of its squares + eps) * weight), the second in `dtype`, which is the branch's too."""
    weight_H = weight_H.float()
    if branch_NH is None:
        return x_NH, _AddNorm.apply(x_NH, None, weight_H, eps, dtype)[0]
    out, total = _AddNorm.apply(x_NH, branch_NH.to(dtype), weight_H, eps, dtype)
    return total, out


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, branch: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        x, branch = x.contiguous(), None if branch is None else branch.contiguous()
        rows, hidden = x.shape
        total = x if branch is None else torch.empty_like(x)
        out, inverse = x.new_empty(rows, hidden, dtype=dtype), x.new_empty(rows)
        norm = _Norm(rows=rows, hidden=hidden, half=dtype == torch.bfloat16, eps=eps, threads=_threads(x.numel()))
        norm.x, norm.weight, norm.branch = x.data_ptr(), weight.data_ptr(), _address(branch)
        norm.sum, norm.inverse, norm.out = total.data_ptr(), inverse.data_ptr(), out.data_ptr()
        library(TRAINING).amenable_norm(norm)
        ctx.save_for_backward(total, weight, inverse)
        ctx.dtype, ctx.branched = dtype, branch is not None
        return (out,) if branch is None else (out, total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor | None, d_sum: Tensor | None = None) -> tuple[Tensor | None, ...]:
        total, weight, inverse = ctx.saved_tensors
        if d_out is None:
            return d_sum, None if d_sum is None or not ctx.branched else d_sum.to(ctx.dtype), None, None, None
        rows, hidden = total.shape
        d_x, d_weight = torch.empty_like(total), torch.empty_like(weight)
        d_weights = total.new_empty(-(-rows // ROWS_SUMMED), hidden)
        half = ctx.dtype == torch.bfloat16
        d_branch = d_x.new_empty(rows, hidden, dtype=ctx.dtype) if ctx.branched and half else None
        d_sum, d_out = None if d_sum is None else d_sum.contiguous(), d_out.contiguous()
        norm = _Norm(rows=rows, hidden=hidden, half=half, threads=_threads(total.numel()))
        norm.x, norm.weight, norm.inverse = total.data_ptr(), weight.data_ptr(), inverse.data_ptr()
        norm.d_sum, norm.d_out, norm.d_x, norm.d_branch = (
            _address(d_sum),
            d_out.data_ptr(),
            d_x.data_ptr(),
            _address(d_branch),
        )
        norm.d_weight, norm.d_weights = d_weight.data_ptr(), d_weights.data_ptr()
        library(TRAINING).amenable_norm_back(norm)
        return d_x, (d_branch if half else d_x) if ctx.branched else None, d_weight, None, None


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, in the gate's dtype."""
    return _Gated.apply(gate, up.to(gate.dtype))


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        out = torch.empty_like(gate)
        pointers = (x.data_ptr() for x in (gate, up, out))
        library(TRAINING).amenable_gate(gate.dtype == torch.bfloat16, gate.numel(), *pointers, _threads(gate.numel()))
        ctx.save_for_backward(gate, up)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_out, d_gate, d_up = d_out.contiguous(), torch.empty_like(gate), torch.empty_like(up)
        pointers = (x.data_ptr() for x in (gate, up, d_out, d_gate, d_up))
        library(TRAINING).amenable_gate_back(
            gate.dtype == torch.bfloat16, gate.numel(), *pointers, _threads(gate.numel())
        )
        return d_gate, d_up


@dataclass(frozen=True)
class Row:
    """Documents end to end in one row, as attention reads them.

    starts_E, lengths_E   int64; one behind the other from place 0 on
    cosine, sine          (N, D / 2) of the angles that queries and keys are turned by, float32; or None
    """

    starts_E: Tensor
    lengths_E: Tensor
    cosine: Tensor | None
    sine: Tensor | None

    @property
    def end(self) -> int:
        """The first place of no document."""
        return int(self.lengths_E.sum())


def attend(query_NAD: Tensor, key_NKD: Tensor, value_NKD: Tensor, row: Row, window: int | None) -> Tensor:
    """softmax(q kᵀ / √D) v within each document, of keys not after the query, as (N, A*D); 0 for tokens of none."""
    dtype = query_NAD.dtype
    return _Attend.apply(query_NAD, key_NKD.to(dtype), value_NKD.to(dtype), row, window or 0)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, row: Row, window: int) -> Tensor:
        tokens, heads, dim = query.shape
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        out = query.new_empty(tokens, heads * dim)
        out[row.end :] = 0
        logs = torch.empty(heads, tokens)
        a = _attention(query, key, value, row, window, out, logs)
        library(TRAINING).amenable_attend(a)
        ctx.save_for_backward(query, key, value, out, logs)
        ctx.row, ctx.window = row, window
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, logs = ctx.saved_tensors
        d_query, d_key, d_value = (torch.empty_like(x) for x in (query, key, value))
        for x in (d_query, d_key, d_value):
            x[ctx.row.end :] = 0
        a = _attention(query, key, value, ctx.row, ctx.window, out, logs)
        d_out = d_out.contiguous()
        a.d_out, a.d_query, a.d_key, a.d_value = (x.data_ptr() for x in (d_out, d_query, d_key, d_value))
        a.d_query_stride, a.d_key_stride = a.query_stride, a.key_stride
        library(TRAINING).amenable_attend_back(a)
        return d_query, d_key, d_value, None, None


def _attention(
    query: Tensor, key: Tensor, value: Tensor, row: Row, window: int, out: Tensor, logs: Tensor
) -> _Attention:
    (tokens, heads, dim), kv_heads = query.shape, key.shape[1]
    a = _Attention(documents=len(row.starts_E), tokens=tokens, heads=heads, kv_heads=kv_heads, dim=dim, window=window)
    a.starts, a.lengths = row.starts_E.data_ptr(), row.lengths_E.data_ptr()
    a.half, a.scale = query.dtype == torch.bfloat16, dim**-0.5
    a.cosine, a.sine = _address(row.cosine), _address(row.sine)
    a.query, a.key, a.value = query.data_ptr(), key.data_ptr(), value.data_ptr()
    a.query_stride, a.key_stride = heads * dim, kv_heads * dim
    a.out, a.logs, a.threads = out.data_ptr(), logs.data_ptr(), torch.get_num_threads()
    return a


def softmax_rows(
    logits_CV: Tensor,
    bias_V: Tensor | None,
    targets_C: Tensor,
    temperature: float,
    logprobs_C: Tensor,
    normalisers_C: Tensor,
    entropies_C: Tensor | None,
    kept_CV: Tensor | None,
) -> None:
    """objectives.logprobs.Softmax. Raises IndexError for a target beyond the vocabulary."""
    rows, vocabulary = logits_CV.shape
    targets_C, bias_V = targets_C.contiguous(), None if bias_V is None else bias_V.detach().float().contiguous()
    head = _Head(rows=rows, vocabulary=vocabulary, half=logits_CV.dtype == torch.bfloat16)
    head.logits, head.bias, head.targets = logits_CV.data_ptr(), _address(bias_V), targets_C.data_ptr()
    head.inverse_temperature, head.threads = 1 / temperature, _threads(logits_CV.numel())
    head.logprobs, head.normalisers = logprobs_C.data_ptr(), normalisers_C.data_ptr()
    head.entropies, head.kept = _address(entropies_C), _address(kept_CV)
    if not library(TRAINING).amenable_head(head):
        raise IndexError(f"a target token lies beyond the vocabulary of {vocabulary}")


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _threads(entries: int) -> int:
    return min(torch.get_num_threads(), 1 + entries // THREAD_ENTRIES)
