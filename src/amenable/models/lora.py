"""LoRA (Hu et al. 2021) through peft: low-rank updates of some linear maps, the rest frozen.

An adapter of a Decoder is saved under Hugging Face's names in peft's format, so that peft loads it onto the transformers
model of the same folder, and the other way round. The reference policy of a run is the model with its adapter off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn

from amenable.errors import ModelError, nearest
from amenable.models.config import DecoderConfig
from amenable.models.decoder import Decoder
from amenable.models.folder import GPT2_NAMES, hf_name
from amenable.models.weights import read_json, tensors_of, write_json, write_tensors
from amenable.types import Record

if TYPE_CHECKING:
    from amenable.models.auto import AutoModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
UNSUPPORTED = (
    *("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern", "layers_to_transform", "lora_bias"),
    *("trainable_token_indices", "target_parameters", "layer_replication", "alora_invocation_tokens"),
)
PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Of peft's ways to begin, those that leave the base model's weights alone; PiSSA and its like change them."""
TO_MERGE = (
    "load it onto its base with peft, call merge_and_unload, then save_pretrained: that is a model like any other"
)


class LoraConfig(Record, frozen=True):
    """W x becomes W x + (alpha / rank) B A x, with A (rank, in) drawn at random and B (out, rank) zero at the start."""

    rank: Annotated[int, Meta(ge=1, description="rank of the update")] = 16
    alpha: Annotated[float, Meta(gt=0, description="the update is scaled by alpha / rank")] = 32.0
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on the adapter's input; 0 for PPO")] = 0.0
    targets: tuple[str, ...] = ()  # names of linear maps, e.g. ("q_proj", "v_proj"); empty: all within the layers
    seed: int = 0


def add_lora(model: Decoder | AutoModel, config: LoraConfig) -> None:
    """Freeze the model and put adapters into its linear maps, in place. Raises ModelError for an unknown target."""
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    root, _ = _root(model)
    if adapters_of(model):
        raise ModelError("the model has an adapter already", mend="merge(model) first")
    found = _found_targets(model, config.targets)
    settings = PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # annotated int there; only ever divided by the rank
        lora_dropout=config.dropout,
        target_modules=list(found),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            inject_adapter_in_model(settings, root)
        except ValueError as error:
            raise ModelError(f"peft cannot adapt this model: {error}", where="targets", mend="name others") from error


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that learn, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def count_lora(config: DecoderConfig, lora: LoraConfig) -> int:
    """Parameters that LoRA trains: rank * (in + out) of each target, in every layer.

    >>> gpt3 = DecoderConfig(vocab_size=50257, hidden_size=12288, num_layers=96, num_heads=96, num_kv_heads=96,
    ...                      head_dim=128, mlp_size=49152, context=2048)
    >>> count_lora(gpt3, LoraConfig(rank=1, targets=("q_proj", "v_proj")))  # Hu et al. 2021: 4.7 M
    4718592
    """
    sizes = _linear_sizes(config)
    targets = lora.targets or tuple(sizes)
    return config.num_layers * lora.rank * sum(sum(sizes[target]) for target in targets)


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """Within the block the model computes as if it had no adapter. Raises ModelError if it has none."""
    layers = adapters_of(model)
    if not layers:
        raise ModelError("the model has no adapter to turn off")
    # enable_adapters would also touch requires_grad, and an optimiser may be at work
    for layer in layers.values():
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers.values():
            layer._disable_adapters = False


def merge(model: Decoder | AutoModel) -> None:
    """Add the adapters to the weights, in place, and take them out; everything learns again."""
    for name, layer in adapters_of(model).items():
        layer.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
        vars(_root(model)[0]).pop("peft_config", None)  # else peft would take the model for adapted still
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def save_adapter(model: Decoder | AutoModel, folder: Path | str, *, base: str | None = None) -> Path:
    """Write the adapter in peft's format. base: the folder or name of the model that it belongs to."""
    folder = Path(folder)
    if not adapters_of(model):
        raise ModelError("the model has no adapter to save", where=str(folder))
    lora: Any = vars(_root(model)[0])["peft_config"]["default"]
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(_adapter_state(model), folder / WEIGHTS)
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if model.kind == "decoder" else None,
        "base_model_name_or_path": base,
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": [_hf_target(model, target) for target in sorted(lora.target_modules)],
        "fan_in_fan_out": isinstance(model, Decoder) and model.config.family == "gpt2",
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
    }
    write_json(config, folder / CONFIG)
    return folder


def load_adapter(model: Decoder | AutoModel, folder: Path | str, *, dropout: float = 0.0) -> None:
    """Put a saved adapter, ours or peft's, onto the model that it was trained on. Raises ModelError if it does not fit.

    dropout: of what learns on; the adapter's own was that of its training.
    """
    folder = Path(folder)
    raw: dict[str, Any] = read_json(folder / CONFIG)
    odd = [name for name in UNSUPPORTED if raw.get(name)]
    start = raw.get("init_lora_weights")
    if raw.get("peft_type") != "LORA":
        what = f"an adapter of kind {raw.get('peft_type')!r} is not supported"
    elif odd:
        what = f"{odd[0]} is not supported"
    elif raw.get("bias", "none") != "none":
        what = "adapters that train biases are not supported"
    elif start not in PLAIN_STARTS:
        what = f"the adapter began with {start!r}, which changed the base model's weights too"
    else:
        what = ""
    if what:
        raise ModelError(what, where=str(folder / CONFIG), mend=TO_MERGE)
    targets = raw["target_modules"]
    stored = dict(tensors_of(folder / WEIGHTS))
    if isinstance(targets, str):
        targets = sorted({name.split(".lora_")[0].rpartition(".")[2] for name in stored})
    config = LoraConfig(
        rank=raw["r"],
        alpha=raw["lora_alpha"],
        dropout=dropout,
        targets=tuple(dict.fromkeys(own for target in targets for own in _own_targets(model, target))),
    )
    try:
        add_lora(model, config)
    except ModelError as error:
        if error.where != "targets":
            raise
        raise ModelError(f"the adapter does not fit: {error.what}", where=str(folder), mend=TO_MERGE) from error
    own = _adapter_state(model)
    if own.keys() != stored.keys():
        strange = sorted(own.keys() ^ stored.keys())
        what = f"the adapter does not fit this model: {strange[0]} and {len(strange) - 1} more"
        raise ModelError(what, where=str(folder), mend=f"name its own base model; or {TO_MERGE}")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != stored[name].shape:
                raise ModelError(f"{name} is {tuple(stored[name].shape)}, not {tuple(tensor.shape)}", where=str(folder))
            tensor.copy_(stored[name])


def adapters_of(model: nn.Module) -> dict[str, Any]:
    """The modules that carry an adapter, by name; empty without peft's help if there is none."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def _root(model: Decoder | AutoModel) -> tuple[nn.Module, str]:
    """The module that peft sees, and its name within ours."""
    return (model, "") if isinstance(model, Decoder) else (model.inner, "inner.")


def _linear_sizes(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    """(in, out) of each linear map of a layer, by its short name."""
    with torch.device("meta"):
        layer = Decoder(config.replace(num_layers=1, windows=())).model.layers[0]
    linears = {n: m for n, m in layer.named_modules() if isinstance(m, nn.Linear)}
    return {n.rpartition(".")[2]: (m.in_features, m.out_features) for n, m in linears.items()}


def _found_targets(model: Decoder | AutoModel, targets: tuple[str, ...]) -> tuple[str, ...]:
    root, _ = _root(model)
    output = {id(root.get_output_embeddings())} if not isinstance(root, Decoder) else set()  # type: ignore[operator]
    modules = {n: m for n, m in root.named_modules() if _is_linear(m) and id(m) not in output}
    known = dict.fromkeys(name.rpartition(".")[2] for name in modules if name != "lm_head")
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in modules) or target == "lm_head":
            near = nearest(target, known)
            raise ModelError(
                f"the model has no linear map {target!r} within its layers",
                where="targets",
                mend=f"did you mean {near!r}? " * bool(near) + f"known: {', '.join(known)}",
            )
    return targets or tuple(known)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _hf_target(model: Decoder | AutoModel, target: str) -> str:
    """A target's name in Hugging Face's model: GPT-2's o_proj is attn.c_proj."""
    if isinstance(model, Decoder) and model.config.family == "gpt2":
        return next(theirs for ours, theirs in GPT2_NAMES.items() if ours.endswith(target))
    return target


def _own_targets(model: Decoder | AutoModel, target: str) -> list[str]:
    """Our names of a target in Hugging Face's model: GPT-2's c_proj is o_proj and down_proj."""
    if isinstance(model, Decoder) and model.config.family == "gpt2":
        return [o.rpartition(".")[2] for o, t in GPT2_NAMES.items() if t == target or t.endswith(f".{target}")]
    return [target]


def _adapter_state(model: Decoder | AutoModel) -> dict[str, Tensor]:
    """The adapter's own tensors under peft's names; they share memory with the model."""
    root, prefix = _root(model)
    state = {}
    for name, layer in adapters_of(root).items():
        theirs = hf_name(name, model.config) if isinstance(model, Decoder) else name
        for part in ("lora_A", "lora_B"):
            state[f"{PREFIX}{theirs}.{part}.weight"] = getattr(layer, part)["default"].weight.data
    assert all(re.search(r"\.lora_[AB]\.weight$", name) for name in state), prefix
    return state
