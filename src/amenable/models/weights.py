"""Tensors of a model folder: read from safetensors only, sharded or not; never unpickled.

A pickle can run any program when it is opened, so a folder that has only pytorch_model.bin is refused with the way
to convert it. Every fault is a ModelError that names the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from amenable.config.folder import FULL
from amenable.errors import ModelError, ResourceError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "pytorch_model.pt")


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file. Raises ModelError if it is missing or not an object."""
    if not path.is_file():
        raise ModelError(f"there is no {path.name}", where=str(path.parent), mend="give a folder that holds a model")
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is not JSON: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} is not a JSON object", where=str(path))
    return value


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, in order. Raises ModelError if there are none or one is missing."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        table = read_json(folder / INDEX).get("weight_map")
        if not isinstance(table, dict):
            raise ModelError(f"{INDEX} has no weight_map", where=str(folder))
        names = sorted(set(table.values()))
        if unsafe := [n for n in names if not isinstance(n, str) or Path(n).name != n]:
            raise ModelError(f"{INDEX} names files outside its folder: {unsafe[0]!r}", where=str(folder))
        if missing := [n for n in names if not (folder / n).is_file()]:
            raise ModelError(f"shard {missing[0]} is missing", where=str(folder), mend="fetch the folder again")
        return [folder / n for n in names]
    if pickles := [n for n in PICKLES if (folder / n).exists()]:
        raise ModelError(
            f"the weights are in {pickles[0]}, a pickle, which can run any program when opened",
            where=str(folder),
            mend="fetch the safetensors version, or on a machine that you can spare load it with transformers and "
            "call save_pretrained, which writes safetensors",
        )
    raise ModelError(f"there is no {SINGLE}", where=str(folder), mend="give a folder that holds a model's weights")


def tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Every (name, tensor) of a model folder, one at a time, on the CPU."""
    for path in weight_files(folder):
        yield from tensors_of(path)


def stored_dtype(folder: Path) -> torch.dtype:
    """The number format of a folder's matrices, of an adapter's base; float32 for quantised ones."""
    found = (t.dtype for _, t in tensors(adapted(folder) or folder) if t.is_floating_point() and t.dim() > 1)
    return next((dtype for dtype in found if dtype.itemsize > 1), torch.float32)


def tensors_of(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every (name, tensor) of one safetensors file. Raises ModelError if it is cut short or damaged."""
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dictionary
                yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path.name} cannot be read: {error}",
            where=str(path),
            mend="the file is cut short or damaged; fetch it again",
        ) from error


def write_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors so that the file is whole or not there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file({n: t.detach().cpu().contiguous() for n, t in state.items()}, part, metadata={"format": "pt"})
        replace(part, path)
    except (SafetensorError, OSError) as error:
        raise full_disk(error, path) from error
    finally:
        part.unlink(missing_ok=True)


def write_json(value: Mapping[str, object], path: Path) -> None:
    """Write a JSON object so that the file is whole or not there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # A lone surrogate (of a name that was not UTF-8) becomes \udcNN, which in JSON means itself.
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8", "backslashreplace")
        replace(part, path)
    except OSError as error:
        raise full_disk(error, path) from error
    finally:
        part.unlink(missing_ok=True)


def replace(part: Path, path: Path) -> None:
    """Rename, once the bytes are on the disk: after a power cut there is the old file or the new one."""
    with part.open("r+b") as file:  # Windows flushes only what may be written
        os.fsync(file.fileno())
    part.replace(path)


def full_disk(error: Exception, path: Path) -> Exception:
    """A ResourceError if the disk or one's part of it is full, else the error itself."""
    for number, what in FULL.items():
        if getattr(error, "errno", None) == number or os.strerror(number) in str(error):  # safetensors says it in words
            return ResourceError(what, where=str(path), mend="free some space and start again")
    return error


def adapted(folder: Path) -> Path | None:
    """The folder of the model that an adapter's folder adapts; None for a folder that has weights of its own.

    The base is named in adapter_config.json, by an absolute path or one from there or, as peft means it, from the folder that
    one is in. Raises ModelError if it is not there.
    """
    if not (folder / ADAPTER).is_file() or any((folder / name).is_file() for name in (SINGLE, INDEX)):
        return None
    named = read_json(folder / ADAPTER).get("base_model_name_or_path")
    near = [(start / named).resolve() for start in (folder, Path())] if isinstance(named, str) and named else []
    base = next((b for b in near if (b / "config.json").is_file() and not (b / ADAPTER).is_file()), None)
    if base is None:
        raise ModelError(
            f"this is an adapter, and its base model {named!r} is not there",
            where=str(folder / ADAPTER),
            mend="put the path of the base model's folder into base_model_name_or_path",
        )
    return base


def model_hash(folder: Path | str) -> str:
    """SHA-256 of config.json and all safetensors files of a folder, names included: the model's identity.

    That of an adapter covers its base too.
    """
    folder = Path(folder)
    digest = hashlib.sha256()
    base = adapted(folder)
    if base is not None:
        digest.update(model_hash(base).encode())
    for path in [folder / (ADAPTER if base else "config.json"), *sorted(folder.glob("*.safetensors"))]:
        if not path.is_file():
            raise ModelError(f"there is no {path.name}", where=str(folder))
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Floating tensors in another dtype; others as they are."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
