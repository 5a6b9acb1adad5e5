"""Attention as a function with two named paths that give the same numbers.

"math"  batched matrix products and a softmax. On CPUs and rows of a few hundred tokens it is several times as
        fast as torch's flash kernel, forward and backward; it holds P*heads*L*S scores.
"sdpa"  torch's scaled_dot_product_attention: memory in proportion to L; the choice on CUDA and MPS.
"auto"  math on CPUs, sdpa elsewhere. A number: the same, but on CPUs only up to so many keys; where that lies is measured
        (paths.py).

Shape letters: P packed rows, L queries, S keys, A heads, K key-value heads, G heads per key-value head, D
head_dim.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Path = Literal["auto", "math", "sdpa"] | int


def attend(query_PLAD: Tensor, key_PKSD: Tensor, value_PKSD: Tensor, bias_PLS: Tensor | None, path: Path) -> Tensor:
    """softmax(q kᵀ / √D + bias) v as (P, L, A*D).

    bias_PLS: 0 where a query may look, the dtype's minimum where not; None: it may look everywhere.
    """
    compute = _math if _by_products(query_PLAD, key_PKSD, path) else _sdpa
    return compute(query_PLAD, key_PKSD, value_PKSD, bias_PLS)


def bias_of(allowed_PLS: Tensor, dtype: torch.dtype) -> Tensor:
    """The additive mask of a boolean one.

    The minimum and not -inf: a row without any key (padding) then gives a finite mean and not NaN.

    >>> bias_of(torch.tensor([[True, False]]), torch.float32).tolist()
    [[0.0, -3.4028234663852886e+38]]
    """
    bias = torch.zeros(allowed_PLS.shape, dtype=dtype, device=allowed_PLS.device)
    return bias.masked_fill_(~allowed_PLS, torch.finfo(dtype).min)


def _by_products(query_PLAD: Tensor, key_PKSD: Tensor, path: Path) -> bool:
    if path == "math" or path == "sdpa" or query_PLAD.device.type != "cpu":
        return path == "math"
    decoding = query_PLAD.shape[1] == 1
    return path == "auto" or decoding or key_PKSD.shape[2] <= path


def _math(query_PLAD: Tensor, key_PKSD: Tensor, value_PKSD: Tensor, bias_PLS: Tensor | None) -> Tensor:
    rows, length, heads, dim = query_PLAD.shape
    kv_heads, keys = key_PKSD.shape[1:3]
    group = heads // kv_heads
    # the G heads that share a key are queries of one matrix product, so keys are never repeated
    query = (query_PLAD * dim**-0.5).view(rows, length, kv_heads, group, dim).permute(0, 2, 3, 1, 4)
    query = query.reshape(rows * kv_heads, group * length, dim)
    scores = torch.bmm(query, key_PKSD.reshape(rows * kv_heads, keys, dim).transpose(1, 2))
    if bias_PLS is not None:
        scores.view(rows, kv_heads * group, length, keys).add_(bias_PLS[:, None].to(scores.dtype))
    weights = torch.softmax(scores, -1)
    out = torch.bmm(weights, value_PKSD.reshape(rows * kv_heads, keys, dim))
    return out.view(rows, heads, length, dim).transpose(1, 2).reshape(rows, length, heads * dim)


def _sdpa(query_PLAD: Tensor, key_PKSD: Tensor, value_PKSD: Tensor, bias_PLS: Tensor | None) -> Tensor:
    rows, length, heads, dim = query_PLAD.shape
    mask = None if bias_PLS is None else bias_PLS[:, None].to(query_PLAD.dtype)
    grouped = heads != key_PKSD.shape[1]
    out = F.scaled_dot_product_attention(
        query_PLAD.transpose(1, 2), key_PKSD, value_PKSD, attn_mask=mask, enable_gqa=grouped
    )
    return out.transpose(1, 2).reshape(rows, length, heads * dim)
