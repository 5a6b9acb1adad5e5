"""Export to GGUF, the file of llama.cpp and Ollama, and the check that reads it back.

For the Llama, Mistral, Qwen2 and Qwen3 families with a byte-level BPE tokenizer and its chat template. What llama.cpp
would compute differently is refused, not written. Three traps, all seen to here:
- llama.cpp rotates neighbouring pairs (x0, x1) in its "llama" architecture, Hugging Face's files pair halves (x0, x_{D/2}):
  the rows of q and k are permuted (as well as their biases);
- Llama 3.1's stretched frequencies travel as a tensor, rope_freqs.weight;
- its "llama" architecture knows no sliding window: the context is cut to the window, within which the two agree.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from amenable.chat.tokenizer import Tokenizer
from amenable.errors import MissingExtraError, ModelError
from amenable.models.config import DecoderConfig
from amenable.models.decoder import Decoder, frequencies
from amenable.models.folder import load_model, read_metadata
from amenable.types import Record

FileType = Literal["float32", "float16"]
ARCHITECTURE = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""llama.cpp's token types."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {_WORDS + r"\p{N}" + _REST: "qwen2", _WORDS + r"\p{N}{1,3}" + _REST: "llama-bpe"}
"""A tokenizer's splitting pattern → llama.cpp's name for it."""


class GgufReport(Record, frozen=True):
    """What a GGUF file holds, found by reading it back."""

    path: str
    architecture: str
    tensors: int
    tokens: int
    difference: float  # largest |written - read| of any weight; 0 for float32
    num_bytes: int


def export_gguf(folder: Path | str, path: Path | str, *, dtype: FileType = "float16") -> GgufReport:
    """Write a model folder as one GGUF file and read it back. dtype: of matrices; vectors stay float32.

    Raises ModelError for what llama.cpp cannot compute, MissingExtraError without the gguf package.
    """
    gguf = _gguf()
    folder, path = Path(folder), Path(path)
    model, tokenizer = _load(folder)
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(part, ARCHITECTURE[model.config.family])
    try:
        for key, value in metadata_of(folder, model, tokenizer, dtype).items():
            _add(writer, gguf, key, value)
        for name, array in arrays_of(model, dtype):
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return check_gguf(folder, path, dtype=dtype)


def check_gguf(folder: Path | str, path: Path | str, *, dtype: FileType = "float16") -> GgufReport:
    """Read a GGUF file and compare every tensor and every field with the folder. Raises ModelError at the first difference."""
    gguf = _gguf()
    folder, path = Path(folder), Path(path)
    model, tokenizer = _load(folder)
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, OSError) as error:
        raise ModelError(f"the file is not a whole GGUF: {error}", where=str(path), mend="export it again") from error
    wanted = metadata_of(folder, model, tokenizer, dtype)
    for key, value in wanted.items():
        field = reader.get_field(key)
        found = None if field is None else field.contents()
        same = np.isclose(found, value, rtol=1e-6) if isinstance(value, float) and found is not None else found == value
        if not same:
            raise ModelError(f"{key} reads back as {str(found)[:60]!r}, not {str(value)[:60]!r}", where=str(path))
    stored = {tensor.name: tensor for tensor in reader.tensors}
    difference, count = 0.0, 0
    for name, array in arrays_of(model, "float32"):
        if name not in stored:
            raise ModelError(f"tensor {name} is not in the file", where=str(path))
        read = np.asarray(stored[name].data, dtype=np.float32).reshape(array.shape)
        difference = max(difference, float(np.abs(read - array).max()))
        count += 1
        close = np.array_equal(read, array) if dtype == "float32" else np.allclose(read, array, rtol=1e-3, atol=1e-7)
        if not close:
            raise ModelError(f"tensor {name} reads back with other numbers", where=str(path))
    if odd := sorted(stored.keys() - {name for name, _ in arrays_of(model, "float32")}):
        raise ModelError(f"tensor {odd[0]} is not of this model", where=str(path))
    return GgufReport(
        path=str(path),
        architecture=ARCHITECTURE[model.config.family],
        tensors=count,
        tokens=len(wanted["tokenizer.ggml.tokens"]),
        difference=difference,
        num_bytes=path.stat().st_size,
    )


def metadata_of(folder: Path, model: Decoder, tokenizer: Tokenizer, dtype: FileType) -> dict[str, Any]:
    """The fields of the file: shape, rotary settings, tokenizer, template, origin."""
    c = model.config
    assert c.rope is not None
    shape: dict[str, Any] = {
        "context_length": min([c.context, *(w for w in c.windows if w)]),
        "embedding_length": c.hidden_size,
        "block_count": c.num_layers,
        "feed_forward_length": c.mlp_size,
        "attention.head_count": c.num_heads,
        "attention.head_count_kv": c.num_kv_heads,
        "attention.key_length": c.head_dim,
        "attention.value_length": c.head_dim,
        "attention.layer_norm_rms_epsilon": float(c.norm_eps),
        "rope.dimension_count": c.head_dim,
        "rope.freq_base": float(c.rope.theta),
        "vocab_size": c.vocab_size,
    }
    if c.rope.scaling == "linear":
        shape |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(c.rope.factor)}
    architecture = ARCHITECTURE[c.family]
    about = {"general.name": folder.resolve().name, "general.file_type": 0 if dtype == "float32" else 1}
    if licence := read_metadata(folder).get("licence"):
        about["general.license"] = str(licence)
    return about | {f"{architecture}.{k}": v for k, v in shape.items()} | _tokenizer_fields(folder, c, tokenizer)


def arrays_of(model: Decoder, dtype: FileType) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """(name, array) of every tensor as llama.cpp wants it."""
    c = model.config
    for name, tensor in model.state_dict().items():
        stem, _, kind = name.rpartition(".")
        if ARCHITECTURE[c.family] == "llama" and stem.endswith(("q_proj", "k_proj")):
            tensor = interleave(tensor, c.num_heads if stem.endswith("q_proj") else c.num_kv_heads)
        matrix = tensor.dim() > 1 and dtype == "float16"
        tensor = tensor.detach().float()
        yield f"{_name(stem)}.{kind}", (tensor.half() if matrix else tensor).contiguous().numpy()
    if c.rope is not None and c.rope.scaling == "llama3":
        plain = frequencies(c.rope.replace(scaling="default"), c.head_dim, torch.device("cpu"))
        yield "rope_freqs.weight", (plain / frequencies(c.rope, c.head_dim, torch.device("cpu"))).numpy()


def interleave(tensor: Tensor, heads: int) -> Tensor:
    """Rows of each head from halves to pairs: (0, 1, ..., D/2, D/2 + 1, ...) to (0, D/2, 1, D/2 + 1, ...).

    >>> interleave(torch.arange(4), heads=1).tolist()
    [0, 2, 1, 3]
    """
    rest = tensor.shape[1:]
    return tensor.reshape(heads, 2, -1, *rest).transpose(1, 2).reshape(tensor.shape)


def _name(stem: str) -> str:
    if stem in NAMES:
        return NAMES[stem]
    _, _, index, module = stem.split(".", 3)
    return f"blk.{index}.{NAMES[module]}"


def _load(folder: Path) -> tuple[Decoder, Tokenizer]:
    model = load_model(folder)
    if not isinstance(model, Decoder) or model.config.family not in ARCHITECTURE:
        raise ModelError(f"GGUF export knows the families {', '.join(ARCHITECTURE)}", where=str(folder))
    if model.config.activation != "silu":
        raise ModelError(f"llama.cpp knows no {model.config.activation} in this family", where=str(folder))
    if model.config.windows and None in model.config.windows:
        raise ModelError("sliding windows in some layers only cannot be exported", where=str(folder))
    return model, Tokenizer.load(folder)


def _tokenizer_fields(folder: Path, config: DecoderConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    raw = json.loads(tokenizer.inner.to_str())
    if raw["model"].get("type") != "BPE" or raw["model"].get("byte_fallback"):
        raise ModelError("GGUF export needs a byte-level BPE tokenizer", where=str(folder / "tokenizer.json"))
    if tokenizer.vocab_size > config.vocab_size:
        raise ModelError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}", where=str(folder)
        )
    spelt = {i: token for token, i in tokenizer.inner.get_vocab(with_added_tokens=True).items()}
    added = tokenizer.inner.get_added_tokens_decoder()
    kinds = {i: USER_DEFINED for i in added} | {i: CONTROL for i in tokenizer.special_ids}
    size = range(config.vocab_size)
    fields: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _split_name(raw, folder),
        "tokenizer.ggml.tokens": [spelt.get(i, f"[PAD{i}]") for i in size],
        "tokenizer.ggml.token_type": [kinds.get(i, NORMAL if i in spelt else UNUSED) for i in size],
        "tokenizer.ggml.merges": [m if isinstance(m, str) else " ".join(m) for m in raw["model"]["merges"]],
        # as in training: raw text begins with bos, if the tokenizer has one
        "tokenizer.ggml.add_bos_token": tokenizer.bos_id is not None,
        "tokenizer.ggml.add_eos_token": False,
    }
    further = next((i for i in tokenizer.stop_ids if i != tokenizer.eos_id), None)
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "padding": tokenizer.pad_id, "eot": further}
    fields |= {f"tokenizer.ggml.{name}_token_id": i for name, i in ids.items() if i is not None}
    if tokenizer.chat_template:
        fields["tokenizer.chat_template"] = tokenizer.chat_template
    return fields


def _split_name(raw: Mapping[str, Any], folder: Path) -> str:
    """llama.cpp's name of how the tokenizer cuts text before merging."""
    outer = raw.get("pre_tokenizer") or {}
    steps = outer["pretokenizers"] if outer.get("type") == "Sequence" else [outer]
    kinds = [step.get("type") for step in steps]
    normalizer = (raw.get("normalizer") or {}).get("type")
    plain = not any(step.get("add_prefix_space") for step in steps) and normalizer in (None, "NFC")
    if plain and kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if plain and kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if plain and kinds == ["Split", "ByteLevel"]:
        pattern = steps[0].get("pattern", {}).get("Regex")
        if pattern in SPLITS:
            return SPLITS[pattern]
    raise ModelError(
        "llama.cpp has no name that we know for the way this tokenizer cuts text",
        where=str(folder / "tokenizer.json"),
        mend="known: GPT-2's, SmolLM's (ours), Qwen2's and Llama 3's",
    )


def _add(writer: Any, gguf: Any, key: str, value: Any) -> None:
    kinds = gguf.GGUFValueType
    if isinstance(value, list):
        writer.add_array(key, value)
    else:
        kind = {bool: kinds.BOOL, int: kinds.UINT32, float: kinds.FLOAT32, str: kinds.STRING}[type(value)]
        writer.add_key_value(key, value, kind)


def _gguf() -> Any:
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError("gguf", extra="gguf", purpose="exporting to llama.cpp")
    import gguf

    return gguf
