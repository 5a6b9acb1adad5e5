"""A decoder's weights in the layout of kernel.cpp.

Copies: the learner goes on changing the model's own weights, and `fingerprint` tells whether a copy is still theirs.
An adapter (LoRA) is added to the weights that it updates, so that it costs nothing while decoding.

Shape letters: O outputs, I inputs, N blocks of 32 outputs.
"""

from __future__ import annotations

import ctypes
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amenable.models.config import ACTIVATIONS
from amenable.models.decoder import Decoder, frequencies
from amenable.models.native.library import Layer, Linear, Model, library
from amenable.models.norm import LayerNorm, RMSNorm

Weights = Literal["float32", "bfloat16", "int8"]
KINDS: tuple[Weights, ...] = ("float32", "bfloat16", "int8")
BLOCK, LANES = 32, 16
THREAD_COPY = 1 << 18  # entries of a matrix that pay for waking another thread
_ACTIVATION = {"silu": 0, "gelu": 1, "gelu_new": 2, "gelu_pytorch_tanh": 2, "relu": 3}
assert _ACTIVATION.keys() == set(ACTIVATIONS)


def unfit(model: Any) -> str | None:
    """Why the compiled kernel cannot stand in for this model, or None."""
    if type(model) is not Decoder or {"hidden", "logits"} & vars(model).keys():
        return "the model is not a plain Decoder"
    first = model.model.embed_tokens.weight
    if first.device.type != "cpu":
        return f"the model is on {first.device.type}"
    if first.dtype not in (torch.float32, torch.bfloat16):
        return f"the model's weights are {first.dtype}"
    if model.config.hidden_size % 2 or model.config.num_heads * model.config.head_dim % 2:
        return "its sizes are odd"
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            return f"a hook watches {name or 'the model'}"
        if isinstance(module, nn.Linear | nn.Embedding | RMSNorm | LayerNorm) or not list(module.parameters(False)):
            continue
        if not hasattr(module, "get_delta_weight"):
            return f"{name} is a {type(module).__name__}"
    return None


def fingerprint(model: Decoder) -> tuple[object, ...]:
    """Changes whenever a weight or an adapter's state does: torch's counters of changes in place, and a checksum of all
    bits, for changes that torch does not count (through .data, numpy or another process)."""
    state: list[object] = [getattr(m, "_disable_adapters", None) for m in model.modules() if hasattr(m, "lora_A")]
    found, checksum = ctypes.c_uint64(), library().amenable_checksum
    for tensor in model.parameters():
        whole = tensor.detach().contiguous()
        checksum(whole.data_ptr(), whole.numel() * whole.element_size(), ctypes.byref(found))
        version = 0 if tensor.is_inference() else tensor._version
        state.append((tensor.data_ptr(), version, found.value))
    return tuple(state)


class Packed:
    """Weights as the kernel reads them; `struct` holds their addresses and lives as long as this object."""

    @torch.no_grad()
    def __init__(self, model: Decoder, weights: Weights) -> None:
        config, self.weights = model.config, weights
        self._kept: list[Any] = []
        trunk, norm = model.model, cast(Any, model.model.norm)
        layers = (Layer * config.num_layers)(*(self._layer(m, model, i) for i, m in enumerate(trunk.layers)))
        embed = trunk.embed_tokens.weight.detach().contiguous()
        self._kept += [layers, embed]
        cosine, sine = self._rotary(model)
        self.struct = Model(
            kind=KINDS.index(weights),
            embed_half=embed.dtype == torch.bfloat16,
            num_layers=config.num_layers,
            hidden=config.hidden_size,
            heads=config.num_heads,
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            gated=config.gated,
            activation=_ACTIVATION[config.activation],
            layer_norm=config.norm == "layer",
            eps=config.norm_eps,
            embed=embed.data_ptr(),
            places=None if trunk.embed_positions is None else self._floats(trunk.embed_positions.weight),
            cosine=cosine,
            sine=sine,
            layers=ctypes.cast(layers, ctypes.POINTER(Layer)),
            norm=self._vector(norm.weight),
            norm_bias=self._vector(getattr(norm, "bias", None)),
            head=self._linear(model.head_weight, model.head_bias),
        )
        self.num_outputs = self.struct.head.blocks * BLOCK
        self.num_bytes = sum(t.numel() * t.element_size() for t in self._kept if isinstance(t, Tensor))

    def _layer(self, layer: Any, model: Decoder, index: int) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        parts = [attention.qkv_proj] if attention.fused else [attention.q_proj, attention.k_proj, attention.v_proj]
        up, up_bias = effective(mlp.up_proj)
        if mlp.gate_proj is not None:
            gate, gate_bias = effective(mlp.gate_proj)
            up = _interleaved(gate, up)
            if up_bias is not None and gate_bias is not None:
                up_bias = _interleaved(gate_bias[:, None], up_bias[:, None])[:, 0]
        down, down_bias = effective(mlp.down_proj)
        down = F.pad(down, (0, -down.shape[1] % (LANES if mlp.gate_proj is not None else BLOCK)))
        biases = [b for _, b in map(effective, parts) if b is not None]
        return Layer(
            qkv=self._linear(torch.cat([w for w, _ in map(effective, parts)]), torch.cat(biases) if biases else None),
            out=self._linear(*effective(attention.o_proj)),
            up=self._linear(up, up_bias),
            down=self._linear(down, down_bias),
            norm1=self._vector(layer.input_layernorm.weight),
            norm1_bias=self._vector(getattr(layer.input_layernorm, "bias", None)),
            norm2=self._vector(layer.post_attention_layernorm.weight),
            norm2_bias=self._vector(getattr(layer.post_attention_layernorm, "bias", None)),
            q_norm=None if attention.q_norm is None else self._floats(attention.q_norm.weight),
            k_norm=None if attention.k_norm is None else self._floats(attention.k_norm.weight),
            window=model.config.window(index) or 0,
        )

    def _linear(self, weight_OI: Tensor, bias_O: Tensor | None) -> Linear:
        outputs, inner = weight_OI.shape
        scale = None
        if self.weights == "int8":
            exact_OI = F.pad(weight_OI.float(), (0, 0, 0, -outputs % BLOCK))
            scale_O1 = exact_OI.abs().amax(1, keepdim=True).div_(127).clamp_min_(1e-30)
            short_OI, scale = exact_OI.div_(scale_O1).round_().to(torch.int8), self._floats(scale_O1)
            packed = short_OI.view(-1, BLOCK, inner).transpose(1, 2).contiguous()
        else:
            half = self.weights == "bfloat16"
            from_OI = weight_OI.detach().contiguous()
            packed = torch.empty(-(-outputs // BLOCK), inner * BLOCK, dtype=torch.bfloat16 if half else torch.float32)
            from_half = from_OI.dtype == torch.bfloat16
            threads = torch.get_num_threads() if packed.numel() > THREAD_COPY else 1
            library().amenable_pack(from_OI.data_ptr(), from_half, outputs, inner, half, packed.data_ptr(), threads)
        self._kept.append(packed)
        return Linear(weight=packed.data_ptr(), scale=scale, bias=self._vector(bias_O), blocks=len(packed), inner=inner)

    def _vector(self, values: Tensor | None) -> int | None:
        """The address of a float32 copy, padded with zeros to whole blocks."""
        return None if values is None else self._floats(F.pad(values, (0, -len(values) % BLOCK)))

    def _floats(self, values: Tensor) -> int:
        self._kept.append(values.detach().float().contiguous().clone())
        return self._kept[-1].data_ptr()

    def _rotary(self, model: Decoder) -> tuple[int | None, int | None]:
        rope = model.config.rope
        if rope is None:
            return None, None
        places = torch.arange(model.config.context, dtype=torch.float32)
        angle = places[:, None] * frequencies(rope, model.config.head_dim, torch.device("cpu"))
        return self._floats(angle.cos()), self._floats(angle.sin())


def effective(linear: Any) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a linear map, with its adapter added if that is on."""
    if isinstance(linear, nn.Linear):
        return linear.weight, linear.bias
    base = linear.get_base_layer()
    weight = base.weight
    if not linear.disable_adapters and not linear.merged:
        for name in linear.active_adapters:
            weight = weight + linear.get_delta_weight(name).to(weight.dtype)
    return weight, base.bias


def _interleaved(gate_OI: Tensor, up_OI: Tensor) -> Tensor:
    """Rows of both by turns of 16, so that one tile holds what one activation needs."""
    gate_OI, up_OI = (F.pad(w, (0, 0, 0, -len(w) % LANES)).view(-1, LANES, w.shape[1]) for w in (gate_OI, up_OI))
    return torch.cat((gate_OI, up_OI), 1).flatten(0, 1)
