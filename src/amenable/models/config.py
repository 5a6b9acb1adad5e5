"""The shape of a decoder, and its translation from and to Hugging Face's config.json.

One record describes the Llama, Mistral, Qwen2, Qwen3 and GPT-2 families; the family only decides the names in
the files. A feature that decoder.py does not compute is refused here, at the door, never ignored: a model
that loads is exact. Read from both generations of config.json: `rope_theta` + `rope_scaling` (transformers 4)
and `rope_parameters` (5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from amenable.errors import ModelError
from amenable.types import Record

Family = Literal["llama", "mistral", "qwen2", "qwen3", "gpt2"]
FAMILIES: tuple[Family, ...] = ("llama", "mistral", "qwen2", "qwen3", "gpt2")
ARCHITECTURES: dict[Family, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
ACTIVATIONS = ("silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
Count = Annotated[int, Meta(ge=1)]


class Rope(Record, frozen=True):
    """Rotary position embedding (Su et al. 2021) and how its frequencies are stretched for long contexts.

    "linear" divides all frequencies by `factor`; "llama3" only the low ones (Llama 3.1): those whose
    wavelength exceeds original_context / low_freq_factor wholly, those below original_context /
    high_freq_factor not at all.
    """

    theta: float = 10000.0
    scaling: Literal["default", "linear", "llama3"] = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192


class DecoderConfig(Record, frozen=True):
    """Everything that decides what a Decoder computes. The defaults are the Llama family's.

    >>> config = DecoderConfig(vocab_size=4096, hidden_size=128, num_layers=4, num_heads=4, num_kv_heads=4,
    ...                        head_dim=32, mlp_size=384, context=512)
    >>> config.family, config.tied
    ('llama', True)
    """

    vocab_size: Count
    hidden_size: Count
    num_layers: Count
    num_heads: Count
    num_kv_heads: Count
    head_dim: Count
    mlp_size: Count
    context: Annotated[int, Meta(ge=1, description="positions at most, tokens")]
    family: Family = "llama"
    norm: Literal["rms", "layer"] = "rms"
    norm_eps: float = 1e-6
    activation: Literal["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"] = "silu"
    gated: bool = True  # act(gate) * up, as in Llama; False: one up-projection, as in GPT-2
    rope: Rope | None = Rope()  # None: learned positions
    fused_qkv: bool = False  # one projection for query, key and value, as in GPT-2's files
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False  # RMS norm of each head's query and key (Qwen3)
    tied: bool = True  # the head is the token embedding
    windows: tuple[int | None, ...] = ()  # sliding window of each layer, tokens; empty: none has one
    bos_id: int | None = None
    eos_id: int | tuple[int, ...] | None = None
    pad_id: int | None = None

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ModelError(f"{self.num_heads} heads cannot share {self.num_kv_heads} key-value heads evenly")
        if self.rope and self.head_dim % 2:
            raise ModelError(f"rotary positions need an even head_dim, not {self.head_dim}")
        if self.windows and len(self.windows) != self.num_layers:
            raise ModelError(f"{len(self.windows)} windows for {self.num_layers} layers")

    @classmethod
    def tiny(cls, vocab_size: int = 256, **changes: Any) -> DecoderConfig:
        """A model that runs in a millisecond, for tests and first tries; any field may be changed.

        >>> DecoderConfig.tiny(300, num_layers=1).num_layers
        1
        """
        shape: dict[str, Any] = dict(hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8)
        shape |= dict(mlp_size=64, context=128)
        return cls(vocab_size=vocab_size, **(shape | changes))

    def window(self, layer: int) -> int | None:
        """The sliding window of a layer in tokens, own token included; None: the whole past."""
        return self.windows[layer] if self.windows else None


def from_hf(raw: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The DecoderConfig of a parsed config.json. ModelError names what is missing or not known."""
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise ModelError(f"model type {family!r} is none of {', '.join(FAMILIES)}", where=where)
    if raw.get("quantization_config"):
        _refuse("quantised weights", where)
    try:
        fields = _from_gpt2(raw, where) if family == "gpt2" else _from_llama_like(raw, family, where)
    except KeyError as error:
        raise ModelError(f"{where} has no {error.args[0]!r}", where=where) from error
    if fields["activation"] not in ACTIVATIONS:
        _refuse(f"activation {fields['activation']!r}", where)
    eos = raw.get("eos_token_id")
    fields |= dict(bos_id=raw.get("bos_token_id"), pad_id=raw.get("pad_token_id"))
    return DecoderConfig(family=family, eos_id=tuple(eos) if isinstance(eos, list) else eos, **fields)


def to_hf(config: DecoderConfig) -> dict[str, Any]:
    """The config.json of a DecoderConfig, readable by transformers 4 and 5.

    >>> to_hf(DecoderConfig.tiny())["architectures"]
    ['LlamaForCausalLM']
    """
    eos = list(config.eos_id) if isinstance(config.eos_id, tuple) else config.eos_id
    raw: dict[str, Any] = {
        "architectures": [ARCHITECTURES[config.family]],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "bos_token_id": config.bos_id,
        "eos_token_id": eos,
        "pad_token_id": config.pad_id,
    }
    return raw | (_to_gpt2(config) if config.family == "gpt2" else _to_llama_like(config))


class NotNativeError(ModelError):
    """A model of a family that is read natively which has something that the native decoder does not know."""


def _refuse(what: str, where: str) -> None:
    raise NotNativeError(f"{what} is not supported by the native decoder", where=where)


def _from_llama_like(raw: Mapping[str, Any], family: str, where: str) -> dict[str, Any]:
    heads, hidden, layers = raw["num_attention_heads"], raw["hidden_size"], raw["num_hidden_layers"]
    bias = raw.get("attention_bias", False) if family in ("llama", "qwen3") else False
    head_dim = raw.get("head_dim") or (128 if family == "qwen3" else hidden // heads)
    if raw.get("pretraining_tp", 1) not in (1, None):
        _refuse("pretraining_tp above 1", where)
    return dict(
        vocab_size=raw["vocab_size"],
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=raw.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        mlp_size=raw["intermediate_size"],
        context=raw["max_position_embeddings"],
        norm_eps=raw.get("rms_norm_eps", 1e-6),
        activation=raw.get("hidden_act", "silu"),
        rope=_read_rope(raw, where),
        qkv_bias=True if family == "qwen2" else bias,
        out_bias=False if family == "qwen2" else bias,
        mlp_bias=raw.get("mlp_bias", False) if family == "llama" else False,
        qk_norm=family == "qwen3",
        tied=raw.get("tie_word_embeddings", False),
        windows=_read_windows(raw, family, layers),
    )


def _read_windows(raw: Mapping[str, Any], family: str, layers: int) -> tuple[int | None, ...]:
    window = raw.get("sliding_window", 4096 if family == "mistral" else None)
    if family == "mistral":
        return (window,) * layers if window else ()
    if family == "llama" or not raw.get("use_sliding_window") or not window:
        return ()
    full = raw.get("max_window_layers", 28)
    kinds = raw.get("layer_types") or ["full_attention" if i < full else "sliding_attention" for i in range(layers)]
    windows = tuple(window if kind == "sliding_attention" else None for kind in kinds)
    return windows if any(windows) else ()


def _read_rope(raw: Mapping[str, Any], where: str) -> Rope:
    old, new = raw.get("rope_scaling") or {}, raw.get("rope_parameters") or {}
    given = {**old, **new}
    kind: Any = given.get("rope_type") or given.get("type") or "default"
    if kind not in ("default", "linear", "llama3"):
        _refuse(f"rope scaling {kind!r} (known: default, linear, llama3)", where)
    if (given.get("partial_rotary_factor") or raw.get("partial_rotary_factor") or 1.0) != 1.0:
        _refuse("partial_rotary_factor", where)
    rope = Rope(theta=float(given.get("rope_theta") or raw.get("rope_theta") or 10000.0), scaling=kind)
    if kind == "default":
        return rope
    rope = rope.replace(factor=float(given["factor"]))
    if kind == "linear":
        return rope
    return rope.replace(
        low_freq_factor=float(given["low_freq_factor"]),
        high_freq_factor=float(given["high_freq_factor"]),
        original_context=int(given["original_max_position_embeddings"]),
    )


def _from_gpt2(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    if raw.get("scale_attn_by_inverse_layer_idx") or not raw.get("scale_attn_weights", True):
        _refuse("GPT-2's non-standard attention scaling", where)
    if raw.get("add_cross_attention"):
        _refuse("cross-attention in GPT-2", where)
    hidden, heads = raw["n_embd"], raw["n_head"]
    return dict(
        vocab_size=raw["vocab_size"],
        hidden_size=hidden,
        num_layers=raw["n_layer"],
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=hidden // heads,
        mlp_size=raw.get("n_inner") or 4 * hidden,
        context=raw["n_positions"],
        norm="layer",
        norm_eps=raw.get("layer_norm_epsilon", 1e-5),
        activation=raw.get("activation_function", "gelu_new"),
        gated=False,
        rope=None,
        fused_qkv=True,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        tied=raw.get("tie_word_embeddings", True),
    )


def _to_llama_like(config: DecoderConfig) -> dict[str, Any]:
    assert config.rope is not None
    rope: dict[str, Any] = {"rope_theta": config.rope.theta, "rope_type": config.rope.scaling}
    if config.rope.scaling != "default":
        rope["factor"] = config.rope.factor
    if config.rope.scaling == "llama3":
        rope["low_freq_factor"] = config.rope.low_freq_factor
        rope["high_freq_factor"] = config.rope.high_freq_factor
        rope["original_max_position_embeddings"] = config.rope.original_context
    raw: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp_size,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": config.activation,
        "rope_theta": config.rope.theta,
        "rope_parameters": rope,
        "attention_dropout": 0.0,
    }
    if config.rope.scaling != "default":
        raw["rope_scaling"] = rope
    if config.family in ("llama", "qwen3"):
        raw["attention_bias"] = config.qkv_bias
    if config.family == "llama":
        raw["mlp_bias"] = config.mlp_bias
    else:
        raw["sliding_window"] = next((w for w in config.windows if w), None)
    if config.family in ("qwen2", "qwen3"):
        raw["use_sliding_window"] = any(config.windows)
        windowed = [i for i in range(config.num_layers) if config.window(i)]
        raw["max_window_layers"] = min(windowed, default=config.num_layers)  # what there was before layer_types
        raw["layer_types"] = [
            "sliding_attention" if config.window(i) else "full_attention" for i in range(config.num_layers)
        ]
    return raw


def _to_gpt2(config: DecoderConfig) -> dict[str, Any]:
    return {
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.mlp_size,
        "n_positions": config.context,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": config.activation,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }
