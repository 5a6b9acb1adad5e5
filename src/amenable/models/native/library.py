"""kernel.cpp and its headers as a library of this machine: compiled at first use, kept in the cache folder, loaded with ctypes.

Needs a C++ compiler (CXX, g++ or clang++) and takes a few seconds once; without one everything runs on torch alone.
The file's name holds a hash of sources, flags, compiler and processor, so a change of any of them compiles anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from ctypes import c_double, c_int64, c_void_p
from functools import lru_cache
from pathlib import Path

import torch  # first: its OpenMP runtime is then the one that the library finds, so that both share one team of threads

from amenable.config.folder import cache_folder
from amenable.errors import ResourceError

SOURCE = Path(__file__).with_name("kernel.cpp")
HEADERS = tuple(SOURCE.with_name(name) for name in ("products.h", "vectors.h"))
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fno-math-errno", "-Wno-psabi")
TIMEOUT_S = 300


class Linear(ctypes.Structure):
    _fields_ = [("weight", c_void_p), ("scale", c_void_p), ("bias", c_void_p), ("blocks", c_int64), ("inner", c_int64)]


class Layer(ctypes.Structure):
    _fields_ = [
        *((name, Linear) for name in ("qkv", "out", "up", "down")),
        *((name, c_void_p) for name in ("norm1", "norm1_bias", "norm2", "norm2_bias", "q_norm", "k_norm")),
        ("window", c_int64),
    ]


class Model(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("kind", "embed_half", "num_layers", "hidden", "heads", "kv_heads", "head_dim")),
        *((name, c_int64) for name in ("gated", "activation", "layer_norm")),
        ("eps", c_double),
        *((name, c_void_p) for name in ("embed", "places", "cosine", "sine")),
        ("layers", ctypes.POINTER(Layer)),
        ("norm", c_void_p),
        ("norm_bias", c_void_p),
        ("head", Linear),
    ]


class Cache(ctypes.Structure):
    _fields_ = [("keys", c_void_p), ("values", c_void_p), ("slots", c_int64), ("max_tokens", c_int64)]


class Batch(ctypes.Structure):
    _fields_ = [
        ("tokens_n", c_int64),
        *((name, c_void_p) for name in ("tokens", "positions", "slots")),
        ("out_n", c_int64),
        *((name, c_void_p) for name in ("out_rows", "logits", "scratch")),
        ("threads", c_int64),
    ]


def library() -> ctypes.CDLL:
    """The compiled kernel. Raises ResourceError if there is no compiler, or none that can compile it."""
    found = _found()
    if isinstance(found, ctypes.CDLL):
        return found
    raise ResourceError(found, where=str(SOURCE), mend="install g++ or clang++, or name a compiler in CXX")


@lru_cache(maxsize=1)
def _found() -> ctypes.CDLL | str:
    """The library, or why there is none: tried once in a process."""
    compiler = next((c for c in (os.environ.get("CXX"), "g++", "clang++") if c and shutil.which(c)), None)
    if compiler is None:
        return "there is no C++ compiler for the compiled decoder"
    failure: str | None = None
    for flags in _flag_sets():
        file = cache_folder() / "native" / f"decode-{_fingerprint(compiler, flags)}.so"
        if file.exists() or (failure := _compile(compiler, flags, file)) is None:
            return _typed(ctypes.CDLL(str(file)))
    return f"{compiler} cannot compile the decoder: {failure}"


def _flag_sets() -> list[tuple[str, ...]]:
    """Flags to try: with threads, then without (Apple's compiler has no OpenMP)."""
    native = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    return [(*FLAGS, native, "-fopenmp"), (*FLAGS, native)]


def _fingerprint(compiler: str, flags: tuple[str, ...]) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S).stdout
    cpu = torch.backends.cpu.get_cpu_capability() + platform.machine() + platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():  # what -march=native looks at
        cpu += next((line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    sources = (file.read_text() for file in (SOURCE, *HEADERS))
    return hashlib.sha256("\n".join((*sources, *flags, version, cpu)).encode()).hexdigest()[:16]


def _compile(compiler: str, flags: tuple[str, ...], file: Path) -> str | None:
    """Write the library, whole or not at all. Returns why that failed, or None."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            made = Path(folder) / file.name
            done = subprocess.run(
                [compiler, *flags, str(SOURCE), "-o", str(made)], capture_output=True, text=True, timeout=TIMEOUT_S
            )
            if done.returncode:
                return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}"
            made.replace(file)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None


def _typed(loaded: ctypes.CDLL) -> ctypes.CDLL:
    pointer = ctypes.POINTER
    loaded.amenable_scratch_bytes.argtypes = [pointer(Model), pointer(Cache), c_int64, c_int64]
    loaded.amenable_scratch_bytes.restype = c_int64
    loaded.amenable_forward.argtypes = [pointer(Model), pointer(Cache), pointer(Batch)]
    loaded.amenable_forward.restype = None
    loaded.amenable_pack.argtypes = [c_void_p, *[c_int64] * 4, c_void_p, c_int64]
    loaded.amenable_pack.restype = None
    loaded.amenable_checksum.argtypes = [c_void_p, c_int64, c_void_p]
    loaded.amenable_checksum.restype = None
    loaded.amenable_draw.argtypes = [c_void_p, c_int64, c_int64, c_int64, *[c_void_p] * 5, c_int64]
    loaded.amenable_draw.restype = None
    return loaded
