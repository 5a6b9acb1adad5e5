"""Models as folders in Hugging Face's layout: load, save, make new.

A native family becomes a Decoder with every tensor accounted for (missing, unexpected and mis-shaped ones are errors
that name them); any other architecture goes to auto.py. Saving writes the names that transformers reads, the heads
beside them (heads.safetensors) and amenable.json: the parent, the data, the run, licence and metrics as given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from amenable.errors import ModelError
from amenable.models import attention as attention_paths
from amenable.models.config import FAMILIES, DecoderConfig, NotNativeError, from_hf, to_hf
from amenable.models.decoder import Decoder
from amenable.models.heads import Head, build, describe
from amenable.models.weights import (
    INDEX,
    SINGLE,
    adapted,
    cast,
    model_hash,
    read_json,
    tensors,
    tensors_of,
    write_json,
    write_tensors,
)

if TYPE_CHECKING:
    from amenable.models.auto import AutoModel

__all__ = ["load_heads", "load_model", "model_hash", "new_model", "read_metadata", "save_model"]

HEADS, METADATA = "heads.safetensors", "amenable.json"
HARMLESS = re.compile(r"(rotary_emb\.inv_freq|\.attn\.(masked_)?bias)$")
"""Buffers that older files carry and that follow from the config."""
OTHER_HEADS = re.compile(r"For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)$")
"""Architectures whose head does one task and predicts no words: classifiers, reward models."""

GPT2_NAMES = {
    "embed_tokens": "wte",
    "embed_positions": "wpe",
    "norm": "ln_f",
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "self_attn.qkv_proj": "attn.c_attn",
    "self_attn.o_proj": "attn.c_proj",
    "mlp.up_proj": "mlp.c_fc",
    "mlp.down_proj": "mlp.c_proj",
}
"""Our module's name → that in GPT-2's files."""


def new_model(config: DecoderConfig, seed: int) -> Decoder:
    """A Decoder with fresh weights.

    >>> new_model(DecoderConfig.tiny(), seed=0).num_parameters()
    26784
    """
    return Decoder(config).init_weights(torch.Generator().manual_seed(seed))


def load_model(
    folder: Path | str,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    attention: attention_paths.Path = "auto",
    trust_code: bool = False,
    native: bool = True,
) -> Decoder | AutoModel:
    """The model of a folder, in eval mode.

    Llama, Mistral, Qwen2, Qwen3 and GPT-2 load as our Decoder, every other architecture, and what the decoder does not
    know of these, through transformers (AutoModel).
    The folder of a LoRA adapter gives its base model with the adapter merged in.
    trust_code: let transformers run a model's own code, if it brings some. native=False: use transformers in any case.
    Raises ModelError.
    """
    folder = Path(folder)
    if base := adapted(folder):
        return _load_adapted(
            base, folder, dtype=dtype, device=device, attention=attention, trust_code=trust_code, native=native
        )
    raw = read_json(folder / "config.json")
    _check_purpose(raw, folder)
    config = _native_config(raw, folder) if native else None
    if config is None:
        from amenable.models.auto import load_auto

        return load_auto(folder, dtype=dtype, device=device, attention=attention, trust_code=trust_code)
    with torch.device("meta"):
        model = Decoder(config, attention=attention)
    state = _checked(_renamed(tensors(folder), config, dtype), model, folder)
    model.load_state_dict(state, assign=True)
    return model.to(device).eval()


def _check_purpose(raw: Mapping[str, Any], folder: Path) -> None:
    """Raise ModelError for what is saved with a head for one task, and without the one that predicts words."""
    if named := [str(name) for name in raw.get("architectures") or () if OTHER_HEADS.search(str(name))]:
        raise ModelError(
            f"this is a {named[0]}, whose head does one task and predicts no words",
            where=str(folder),
            mend="take the language model that it was made from; what scores responses can be a reward as a class of "
            "your own (module:Class)",
        )


def _native_config(raw: Mapping[str, Any], folder: Path) -> DecoderConfig | None:
    """The config of our Decoder, or None if it does not know the model."""
    if raw.get("model_type") not in FAMILIES:
        return None
    try:
        return from_hf(raw, str(folder / "config.json"))
    except NotNativeError:
        return None


def _load_adapted(base: Path, folder: Path, **how: Any) -> Decoder | AutoModel:
    from amenable.models.lora import load_adapter, merge

    model = load_model(base, **how)
    load_adapter(model, folder)
    merge(model)
    return model.eval()


def save_model(
    model: Decoder | AutoModel,
    folder: Path | str,
    *,
    heads: Mapping[str, Head] | None = None,
    parent: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder that transformers reads too; other files in it (the tokenizer) stay.

    heads: by name, e.g. {"reward": ScalarHead}. parent: the model that this one was trained from. metadata: JSON values for
    amenable.json. Each file is whole or absent, and config.json comes last, so that a folder cut short is seen as such.
    Raises ModelError while LoRA adapters are attached, ResourceError if the disk is full.
    """
    folder = Path(folder)
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise ModelError(
            "the model carries LoRA adapters",
            where=str(folder),
            mend="merge(model) first, or save_adapter(model, folder)",
        )
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    if isinstance(model, Decoder):
        write_tensors(hf_state(model), folder / SINGLE)
        raw = to_hf(model.config) | {"dtype": str(model.head_weight.dtype).removeprefix("torch.")}
    else:
        raw = model.save_weights(folder)
    heads = dict(heads or {})
    if heads:
        states = {f"{name}.{key}": t for name, head in heads.items() for key, t in head.state_dict().items()}
        write_tensors(states, folder / HEADS)
    about = {"parent": parent, "heads": {name: describe(head) for name, head in heads.items()}}
    write_json(dict(metadata or {}) | about, folder / METADATA)
    write_json(raw, folder / "config.json")
    return folder


def load_heads(folder: Path | str, *, device: torch.device | str = "cpu") -> dict[str, Head]:
    """The heads saved with a model, by name; empty if it has none. Float32."""
    folder = Path(folder)
    entries = read_metadata(folder).get("heads") or {}
    if not entries:
        return {}
    if not (folder / HEADS).is_file():
        raise ModelError(f"{HEADS} is missing", where=str(folder), mend="amenable.json names heads; fetch the file")
    stored = dict(tensors_of(folder / HEADS))
    heads: dict[str, Head] = {}
    for name, entry in entries.items():
        head = build(entry)
        own = {key.removeprefix(f"{name}."): t for key, t in stored.items() if key.startswith(f"{name}.")}
        _check_names(own, head.state_dict(), folder / HEADS)
        head.load_state_dict(own)
        heads[name] = head.to(device)
    return heads


def read_metadata(folder: Path | str) -> dict[str, Any]:
    """amenable.json of a model folder; empty for a model from elsewhere."""
    path = Path(folder) / METADATA
    return dict(read_json(path)) if path.exists() else {}


def hf_name(name: str, config: DecoderConfig) -> str:
    """The name in Hugging Face's files of one of our parameters or modules.

    >>> gpt2 = DecoderConfig.tiny(family="gpt2")
    >>> hf_name("model.layers.3.self_attn.o_proj.weight", gpt2)
    'transformer.h.3.attn.c_proj.weight'
    """
    if config.family != "gpt2":
        return name
    found = re.fullmatch(r"model\.(?:layers\.(\d+)\.)?(.+?)(\.weight|\.bias)?", name)
    if found is None:
        return name
    layer, module, kind = found.groups()
    place = "transformer." if layer is None else f"transformer.h.{layer}."
    return place + GPT2_NAMES[module] + (kind or "")


def transposed(name: str, config: DecoderConfig) -> bool:
    """Whether the file holds this weight (in, out) and not (out, in): GPT-2's matrices within the layers."""
    return config.family == "gpt2" and name.endswith("_proj.weight")


def hf_state(model: Decoder) -> dict[str, Tensor]:
    """The tensors of a Decoder as Hugging Face's files name and lay them; a tied head is not repeated."""
    c = model.config
    state = model.state_dict()
    return {hf_name(n, c): t.T if transposed(n, c) else t for n, t in state.items()}


def _renamed(stored: Iterable[tuple[str, Tensor]], config: DecoderConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors under our names, in our layout; harmless buffers left out."""
    with torch.device("meta"):
        ours = {hf_name(n, config): n for n in Decoder(config).state_dict()}
    state = {}
    for name, tensor in stored:
        if HARMLESS.search(name):
            continue
        full = f"transformer.{name}" if config.family == "gpt2" and f"transformer.{name}" in ours else name
        own = ours.get(full, full)
        tensor = tensor.T.contiguous() if transposed(own, config) and tensor.dim() == 2 else tensor
        state[own] = cast(tensor, dtype)
    return state


def _checked(state: dict[str, Tensor], model: Decoder, folder: Path) -> dict[str, Tensor]:
    if model.config.tied and "lm_head.weight" in state:
        head = state.pop("lm_head.weight")
        table = state.get("model.embed_tokens.weight")
        if table is not None and not torch.equal(head, table):
            raise ModelError(
                "config.json says that head and embedding are tied, but the file holds two different ones",
                where=str(folder),
                mend='set "tie_word_embeddings": false in config.json if both are meant',
            )
    _check_names(state, model.state_dict(), folder)
    return state


def _check_names(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: Path) -> None:
    """Raises ModelError naming every missing, unexpected or mis-shaped tensor (the first few of each)."""
    faults = []
    for what, names in (("missing", wanted.keys() - state.keys()), ("unexpected", state.keys() - wanted.keys())):
        if names:
            faults.append(f"{len(names)} {what}: {_some(names)}")
    wrong = [n for n in wanted.keys() & state.keys() if state[n].shape != wanted[n].shape]
    if wrong:
        shapes = [f"{n} is {tuple(state[n].shape)}, not {tuple(wanted[n].shape)}" for n in sorted(wrong)]
        faults.append(f"{len(wrong)} of another shape: {_some(shapes)}")
    if faults:
        raise ModelError(
            "the weights do not fit config.json: " + "; ".join(faults),
            where=str(where),
            mend="config.json and weights must come from one model",
        )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _clear(folder: Path) -> None:
    """Take away an earlier model's files, config.json first: until the new one is there, the folder is no model."""
    for name in ("config.json", METADATA, HEADS, SINGLE, INDEX):
        (folder / name).unlink(missing_ok=True)
    for shard in folder.glob("model-*-of-*.safetensors"):
        shard.unlink()
