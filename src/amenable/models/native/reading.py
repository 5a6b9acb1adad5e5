"""A Decoder's trunk over documents that stand end to end, on the compiled operations of training.py; with gradients.

Matrix products stay torch's and go through the model's own modules, so adapters and biases work as ever. What has no compiled
operation (layer norms, other activations than a gated SiLU) is left to its module.

Shape letters: N tokens, H hidden, A heads, K key-value heads, D head_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from amenable.batch import Inputs
from amenable.models.decoder import Layer, Trunk, frequencies
from amenable.models.native.training import Row, add_norm, attend, gated
from amenable.models.norm import RMSNorm, compute_dtype


def read(trunk: Trunk, inputs: Inputs, checkpointing: bool) -> Tensor:
    """Trunk.forward for inputs with groups: final-normed hidden states (1, N, H)."""
    trunk.check_context(inputs.positions_PL)
    x_NH = trunk.embed_tokens(inputs.tokens_PL[0])
    if trunk.embed_positions is not None:
        x_NH = x_NH + trunk.embed_positions(inputs.positions_PL[0])
    row, branch_NH = row_of(trunk, inputs), None
    for index, layer in enumerate(trunk.layers):
        assert isinstance(layer, Layer)
        window = trunk.config.window(index)
        if checkpointing and torch.is_grad_enabled():
            x_NH, branch_NH = checkpoint(_layer, layer, x_NH, branch_NH, row, window, use_reentrant=False)
        else:
            x_NH, branch_NH = _layer(layer, x_NH, branch_NH, row, window)
    if branch_NH is not None:
        x_NH = x_NH + branch_NH
    return _norm(trunk.norm, x_NH, None)[1][None]


def row_of(trunk: Trunk, inputs: Inputs) -> Row:
    """Where the documents stand, and the angles of their tokens."""
    positions_N, segments_N = inputs.positions_PL[0], inputs.segments_PL[0]
    lengths_E = torch.bincount(segments_N[segments_N >= 0])
    lengths_E = lengths_E[lengths_E > 0]
    starts_E = lengths_E.cumsum(0) - lengths_E
    if trunk.config.rope is None:
        return Row(starts_E, lengths_E, None, None)
    angle = positions_N[:, None].float() * frequencies(trunk.config.rope, trunk.config.head_dim, positions_N.device)
    return Row(starts_E, lengths_E, angle.cos(), angle.sin())


def _layer(layer: Layer, x_NH: Tensor, branch_NH: Tensor | None, row: Row, window: int | None) -> tuple[Tensor, Tensor]:
    """The residual stream and what the layer's MLP adds to it. branch_NH: what is still to be added before the layer."""
    attention, mlp = layer.self_attn, layer.mlp
    x_NH, in_NH = _norm(layer.input_layernorm, x_NH, branch_NH)
    seen_NH = attend(*attention.project(in_NH, None), row, window)
    x_NH, in_NH = _norm(layer.post_attention_layernorm, x_NH, attention.o_proj(seen_NH))
    if mlp.gate_proj is None or mlp.act is not torch.nn.functional.silu:
        return x_NH, mlp(in_NH)
    return x_NH, mlp.down_proj(gated(mlp.gate_proj(in_NH), mlp.up_proj(in_NH)))


def _norm(norm: Any, x_NH: Tensor, branch_NH: Tensor | None) -> tuple[Tensor, Tensor]:
    if isinstance(norm, RMSNorm):
        return add_norm(x_NH, branch_NH, norm.weight, norm.eps, compute_dtype(x_NH) if norm.cast else x_NH.dtype)
    if branch_NH is not None:
        x_NH = x_NH + branch_NH
    return x_NH, norm(x_NH)
