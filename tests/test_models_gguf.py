"""GGUF: what is written is read back, in llama.cpp's layout, and computes the same."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from amenable.chat.tokenizer import Tokenizer, train_bpe
from amenable.errors import MissingExtraError, ModelError
from amenable.models.config import Rope
from amenable.models.decoder import DecoderConfig
from amenable.models.folder import new_model, save_model
from amenable.models.gguf import check_gguf, export_gguf, interleave

FAMILIES = {
    "llama": {"tied": False},
    "llama3": {"rope": Rope(scaling="llama3", factor=8.0, original_context=32)},
    "mistral": {"family": "mistral", "windows": (16, 16)},
    "qwen2": {"family": "qwen2", "qkv_bias": True},
    "qwen3": {"family": "qwen3", "qk_norm": True, "head_dim": 16},
}


def build(folder: Path, changes: dict[str, object]) -> Tokenizer:
    tokenizer = train_bpe(["the cat sat on the mat, and so did 12 dogs. " * 9], vocab_size=290)
    config = DecoderConfig.tiny(300, **changes)
    save_model(new_model(config, 0), folder, metadata={"licence": "CC0-1.0"})
    tokenizer.save(folder)
    return tokenizer


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_written_is_read_back(family: str, dtype: str, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    tokenizer = build(tmp_path / "m", FAMILIES[family])
    report = export_gguf(tmp_path / "m", tmp_path / "m.gguf", dtype=dtype)
    assert report.tokens == 300
    assert report.difference == 0 if dtype == "float32" else 0 < report.difference < 1e-3
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert reader.get_field("tokenizer.chat_template").contents() == tokenizer.chat_template
    assert reader.get_field("tokenizer.ggml.pre").contents() == "smollm"
    assert reader.get_field("tokenizer.ggml.eos_token_id").contents() == tokenizer.eos_id
    architecture = reader.get_field("general.architecture").contents()
    context = reader.get_field(f"{architecture}.context_length").contents()
    assert context == (16 if family == "mistral" else 128)
    names = {tensor.name for tensor in reader.tensors}
    assert ("output.weight" in names) == (family == "llama")
    assert ("rope_freqs.weight" in names) == (family == "llama3")


def test_permuted_rows_rotated_in_pairs_give_the_same_scores() -> None:
    """llama.cpp's rotation, written out here, of permuted q and k: the same q·k as ours by halves."""
    dim, position = 8, 5
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, dim, generator=generator, dtype=torch.float64)

    def angle(i: int) -> float:
        return position * 10000.0 ** (-2 * i / dim)

    def halves(x: Tensor) -> Tensor:
        out = x.clone()
        for i in range(dim // 2):
            a, b, t = x[i], x[i + dim // 2], angle(i)
            out[i], out[i + dim // 2] = a * math.cos(t) - b * math.sin(t), a * math.sin(t) + b * math.cos(t)
        return out

    def pairs(x: Tensor) -> Tensor:
        out = x.clone()
        for i in range(dim // 2):
            a, b, t = x[2 * i], x[2 * i + 1], angle(i)
            out[2 * i], out[2 * i + 1] = a * math.cos(t) - b * math.sin(t), a * math.sin(t) + b * math.cos(t)
        return out

    want = halves(q) @ k
    found = pairs(interleave(q, 1)) @ interleave(k, 1)
    torch.testing.assert_close(found, want, atol=1e-12, rtol=0)


def test_a_spoilt_file_is_found_out(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    build(tmp_path / "m", {})
    file = tmp_path / "m.gguf"
    export_gguf(tmp_path / "m", file, dtype="float32")
    reader = gguf.GGUFReader(file, "r+")
    tensor = next(t for t in reader.tensors if t.name == "blk.1.attn_k.weight")
    tensor.data[0, 0] += np.float32(0.01)
    reader.data.flush()
    with pytest.raises(ModelError, match=r"blk\.1\.attn_k\.weight"):
        check_gguf(tmp_path / "m", file, dtype="float32")
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ModelError, match="not a whole GGUF"):
        check_gguf(tmp_path / "m", file, dtype="float32")


def test_what_llama_cpp_cannot_do_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "m", {"activation": "relu"})
    with pytest.raises(ModelError, match="relu"):
        export_gguf(tmp_path / "m", tmp_path / "m.gguf")
    assert not list(tmp_path.glob("*gguf*"))


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name))
    with pytest.raises(MissingExtraError, match=r"amenable\[gguf\]"):
        export_gguf(tmp_path, tmp_path / "m.gguf")
