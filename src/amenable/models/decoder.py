"""One decoder for the Llama, Mistral, Qwen2, Qwen3 and GPT-2 families.

Modules carry the names of Llama's files, so that weights and LoRA adapters need no translation there;
folder.py holds GPT-2's table. Reads packed rows (several segments a row, batch.Inputs) or, with a cache,
continues running texts. Departures from transformers: no dropout anywhere, rotary angles in float32 at least,
logits only on request. Sources: Vaswani et al. 2017; Su et al. 2021 (rotary); Zhang & Sennrich 2019 (RMS
norm); Shazeer 2020 (gated MLP); Ainslie et al. 2023 (grouped queries); Radford et al. 2019 (GPT-2: pre-norm,
residual projections scaled at the start).

Shape letters: P packed rows, L packed length, H hidden, V vocabulary, N tokens, A heads, K key-value heads, D
head_dim, S keys to look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from amenable.batch import Inputs
from amenable.errors import ModelError
from amenable.models.attention import Path, attend, bias_of
from amenable.models.cache import Cache, CachePlan, plan
from amenable.models.config import DecoderConfig, Rope
from amenable.models.documents import Documents, attend_within, lay_out
from amenable.models.norm import LayerNorm, RMSNorm, compute_dtype

if TYPE_CHECKING:
    from amenable.models.native.decode import NativeDecoder
    from amenable.models.native.packed import Weights

__all__ = ["Cache", "Decoder", "DecoderConfig", "Rope"]

MOST_HEAD_DIM = 256
"""What the compiled attention has room for (native/attention.h)."""


class Decoder(nn.Module):
    """A causal language model.

    >>> model = Decoder(DecoderConfig.tiny()).init_weights(torch.Generator().manual_seed(0))
    >>> tokens = torch.tensor([[5, 6, 7]])
    >>> inputs = Inputs(tokens, torch.arange(3)[None], torch.zeros(1, 3, dtype=torch.long))
    >>> model.logits(model.hidden(inputs)).shape
    torch.Size([1, 3, 256])

    packs          several segments a packed row are allowed
    linear_head    the logits are hidden @ head_weightᵀ + head_bias and nothing more
    attention      "auto", "math", "sdpa" or a number of keys, see attention.py
    end_to_end     True: documents are best read end to end (batch.Inputs.groups), on a CPU
    native         True: such documents are read by compiled operations (native/reading.py) where these can
    checkpointing  True: each layer's activations are computed again in the backward pass, for less memory
    """

    packs = True
    linear_head = True
    kind: Literal["decoder"] = "decoder"

    def __init__(self, config: DecoderConfig, *, attention: Path = "auto") -> None:
        super().__init__()
        self.config = config
        self.attention: Path = attention
        self.end_to_end = False
        self.native = False
        self.checkpointing = False
        self.model = Trunk(config)
        self.lm_head = None if config.tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def hidden(self, inputs: Inputs, cache: Cache | None = None, slots_P: Tensor | None = None) -> Tensor:
        """Final-normed hidden states (P, L, H); that of a token predicts the next one.

        Without a cache a token sees its own segment up to itself. With one, its key and value are written at
        its position of slot slots_P[row] (None: row p is slot p) and it sees positions 0 to its own there;
        tokens of segment -1 write nothing and their output means nothing. Raises ModelError if a text
        outgrows context or cache.
        """
        if inputs.groups is not None and self.reads_compiled():
            from amenable.models.native.reading import read

            return read(self.model, inputs, self.checkpointing)
        return self.model(inputs, cache, slots_P, self.attention, self.checkpointing)

    def joins(self) -> bool:
        """Whether documents are read end to end: on a CPU, where this is wanted."""
        return self.reads_compiled() or (self.end_to_end and self.model.embed_tokens.weight.device.type == "cpu")

    def reads_compiled(self) -> bool:
        """Whether documents end to end are read by native/reading.py: wanted, and able to with these weights and products."""
        weight = self.model.embed_tokens.weight
        dtypes_fit = weight.dtype == torch.float32 and compute_dtype(weight) in (torch.float32, torch.bfloat16)
        whole = all(layer.parts is None for layer in self.model.layers)
        return (
            self.native
            and weight.device.type == "cpu"
            and dtypes_fit
            and whole
            and self.config.head_dim <= MOST_HEAD_DIM
        )

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """(..., H) to (..., V)."""
        return F.linear(hidden_NH, self.head_weight, self.head_bias)

    @property
    def head_weight(self) -> Tensor:
        """(V, H); logits = hidden @ head_weightᵀ."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    @property
    def head_bias(self) -> Tensor | None:
        return None

    @property
    def context(self) -> int:
        return self.config.context

    @property
    def hidden_size(self) -> int:
        return self.config.hidden_size

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    def num_parameters(self) -> int:
        """Parameters in all, a tied head counted once."""
        return sum(p.numel() for p in self.parameters())

    def new_cache(self, num_slots: int, max_tokens: int) -> Cache:
        """An empty cache for `num_slots` running texts of at most `max_tokens` tokens each."""
        c = self.config
        if max_tokens > c.context:
            raise ModelError(
                f"{max_tokens} tokens are more than this model's context of {c.context}",
                mend="shorten the prompt or the response",
            )
        weight = self.model.embed_tokens.weight
        shape = (c.num_layers, num_slots, c.num_kv_heads, max_tokens, c.head_dim)
        return Cache(shape, dtype=weight.dtype, device=weight.device)

    def why_not_compiled(self) -> str | None:
        """Why `compiled` would not work for this model on this machine, or None."""
        from amenable.models.native.decode import why_not

        return why_not(self)

    def compiled(self, weights: Weights) -> NativeDecoder:
        """The model for generation on a CPU, as compiled code with its own cache and packed copies of the weights."""
        from amenable.models.native.decode import NativeDecoder

        return NativeDecoder(self, weights)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> Decoder:
        """Fresh weights, drawn on the CPU in the order of the modules: one seed, one model, on any device.

        Embeddings N(0, 0.02²); matrices N(0, 2/(5H)) (Nguyen & Salazar 2019; 0.023 at GPT-2's 768), those
        that write to the residual stream divided by sqrt(2 * layers); biases 0, norms 1.
        """
        std = math.sqrt(2 / (5 * self.config.hidden_size))
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding) or (module is self.lm_head and isinstance(module, nn.Linear)):
                _draw(module.weight, 0.02, generator)
            elif isinstance(module, nn.Linear):
                residual = name.endswith(("o_proj", "down_proj"))
                _draw(module.weight, std / math.sqrt(2 * self.config.num_layers) if residual else std, generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.LayerNorm | RMSNorm):
                module.weight.fill_(1.0)
                if isinstance(module, nn.LayerNorm):
                    module.bias.zero_()
        return self


class Trunk(nn.Module):
    """Everything below the head."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = _embedding(config.vocab_size, config.hidden_size)
        self.embed_positions = None if config.rope else _embedding(config.context, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_layers))
        self.norm = _norm(config, cast=False)

    def forward(
        self, inputs: Inputs, cache: Cache | None, slots_P: Tensor | None, path: Path, checkpointing: bool
    ) -> Tensor:
        x = self.embed_tokens(inputs.tokens_PL)
        places = None if cache is None else plan(cache, inputs.positions_PL, inputs.segments_PL, slots_P)
        if cache is None:
            self.check_context(inputs.positions_PL)
        if self.embed_positions is not None:
            x = x + self.embed_positions(inputs.positions_PL)
        dtype = compute_dtype(x)
        rotation = rotations(self.config, inputs.positions_PL, dtype) if self.config.rope else None
        seen = {w: self._seen(inputs, places, w, dtype) for w in set(self.config.windows or (None,))}
        for index, layer in enumerate(self.layers):
            visible = seen[self.config.window(index)]
            if checkpointing and torch.is_grad_enabled() and places is None:
                x = checkpoint(layer, x, rotation, visible, None, path, use_reentrant=False)
            else:
                x = layer(x, rotation, visible, places, path)
        return self.norm(x)

    def check_context(self, positions_PL: Tensor) -> None:
        """Raise ModelError if a position lies beyond the context."""
        if positions_PL.shape[1] > self.config.context and int(positions_PL.max()) >= self.config.context:
            raise ModelError(
                f"a row of {int(positions_PL.max()) + 1} tokens is longer than this model's context of "
                f"{self.config.context}",
                mend="cut or drop long rows, or choose a model with a longer context",
            )

    def _seen(
        self, inputs: Inputs, places: CachePlan | None, window: int | None, dtype: torch.dtype
    ) -> Tensor | Documents | None:
        """What each query may look at: an additive mask (P, L, S), or its own document up to itself."""
        query_PL = inputs.positions_PL
        if inputs.groups is not None:
            heads = self.config.num_heads, self.config.num_kv_heads
            return lay_out(inputs.groups, inputs.segments_PL[0], *heads, window, dtype)
        if places is None:
            segments_PL = inputs.segments_PL
            distance = query_PL[:, :, None] - query_PL[:, None, :]
            allowed = (segments_PL[:, :, None] == segments_PL[:, None, :]) & (distance >= 0)
        else:
            if places.all_seen and window is None:
                return None
            distance = query_PL[:, :, None] - torch.arange(places.length, device=query_PL.device)
            allowed = distance >= 0
        if window is not None:
            allowed &= distance < window
        return bias_of(allowed, dtype)


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    parts: `before` and `after` attention, compiled (compile.py); None: as they are. Texts that go on from a cache never are.
    """

    parts: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = _norm(config)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = _norm(config)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        visible: Tensor | Documents | None,
        places: CachePlan | None,
        path: Path,
    ) -> Tensor:
        if self.parts is not None and places is None:
            before, after = self.parts
            query, key, value = before(self, x, rotation)
            return after(self, x, self.self_attn.look(query, key, value, visible, None, path))
        x = x + self.self_attn(self.input_layernorm(x), rotation, visible, places, path)
        return x + self.mlp(self.post_attention_layernorm(x))

    def before(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values."""
        return self.self_attn.project(self.input_layernorm(x), rotation)

    def after(self, x: Tensor, seen: Tensor) -> Tensor:
        """The layer's output. seen: what attention gathered, before its own projection."""
        x = x + self.self_attn.o_proj(seen)
        return x + self.mlp(self.post_attention_layernorm(x))


class Attention(nn.Module):
    """Grouped-query self-attention."""

    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        self.index, self.head_dim = index, config.head_dim
        hidden, bias = config.hidden_size, config.qkv_bias
        query, key = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.sizes = (query, key, key)
        self.fused = config.fused_qkv
        if config.fused_qkv:
            self.qkv_proj = nn.Linear(hidden, query + 2 * key, bias=bias)
        else:
            self.q_proj = nn.Linear(hidden, query, bias=bias)
            self.k_proj = nn.Linear(hidden, key, bias=bias)
            self.v_proj = nn.Linear(hidden, key, bias=bias)
        self.o_proj = nn.Linear(query, hidden, bias=config.out_bias)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        visible: Tensor | Documents | None,
        places: CachePlan | None,
        path: Path,
    ) -> Tensor:
        return self.o_proj(self.look(*self.project(x, rotation), visible, places, path))

    def project(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, rotated."""
        if self.fused:
            query, key, value = self.qkv_proj(x).split(self.sizes, -1)
        else:
            query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        query, key, value = (y.unflatten(-1, (-1, self.head_dim)) for y in (query, key, value))
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        if rotation is not None:
            query, key = rotate(query, *rotation), rotate(key, *rotation)
        return query, key, value

    def look(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        visible: Tensor | Documents | None,
        places: CachePlan | None,
        path: Path,
    ) -> Tensor:
        """What each query gathers, heads side by side."""
        if isinstance(visible, Documents):
            return attend_within(query[0], key[0], value[0], visible)[None]
        if places is None:
            key, value = key.transpose(1, 2), value.transpose(1, 2)
        else:
            places.write(self.index, key, value)
            key, value = places.read(self.index)
            query = query.to(key.dtype)
        return attend(query, key, value, visible, path)


class MLP(nn.Module):
    """down(act(gate(x)) * up(x)), or down(act(up(x))) where the family has no gate."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        hidden, size, bias = config.hidden_size, config.mlp_size, config.mlp_bias
        self.gate_proj = nn.Linear(hidden, size, bias=bias) if config.gated else None
        self.up_proj = nn.Linear(hidden, size, bias=bias)
        self.down_proj = nn.Linear(size, hidden, bias=bias)
        self.act = ACTIVATION[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        if self.gate_proj is None:
            return self.down_proj(self.act(self.up_proj(x)))
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATION: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": F.relu,
}


def rotations(config: DecoderConfig, positions_PL: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and signed sin (P, L, 1, D) of each position's angles."""
    assert config.rope is not None
    exact = torch.promote_types(dtype, torch.float32)
    frequency = frequencies(config.rope, config.head_dim, positions_PL.device).to(exact)
    angle = positions_PL[..., None, None].to(exact) * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)


def rotate(x_PLAD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i+D/2}) by its angle."""
    if torch.compiler.is_compiling():
        return _rotated(x_PLAD, cos, sin)
    return _Rotate.apply(x_PLAD, cos, sin)


class _Rotate(torch.autograd.Function):
    """Its gradient is turned back by the same angle."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(gradient, cos, -sin), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat((second, first), -1), sin)


@lru_cache(maxsize=64)
def frequencies(rope: Rope, head_dim: int, device: torch.device) -> Tensor:
    """(D/2) radians per position."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    frequency = 1.0 / (rope.theta**exponent)
    if rope.scaling == "linear":
        frequency = frequency / rope.factor
    elif rope.scaling == "llama3":
        turns = rope.original_context * frequency / (2 * math.pi)  # full turns within the original context
        keep = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
        keep = keep.clamp(0, 1)
        frequency = frequency * (keep + (1 - keep) / rope.factor)
    return frequency.to(device)


def _embedding(count: int, size: int) -> nn.Embedding:
    """On the meta device without the first draw, for which torch would import its compiler: a second of start-up."""
    if torch.get_default_device().type == "meta":
        return nn.Embedding.from_pretrained(torch.empty(count, size), freeze=False)
    return nn.Embedding(count, size)


def _norm(config: DecoderConfig, *, cast: bool = True) -> nn.Module:
    kind = LayerNorm if config.norm == "layer" else RMSNorm
    return kind(config.hidden_size, config.norm_eps, cast=cast)


def _draw(weight: Tensor, std: float, generator: torch.Generator) -> None:
    if weight.device.type != "meta":
        weight.copy_(torch.empty(weight.shape, dtype=torch.float32).normal_(0.0, std, generator=generator))
