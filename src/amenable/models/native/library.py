"""C++ files as libraries of this machine: compiled at first use, kept in the cache folder, loaded with ctypes.

Needs a C++ compiler (CXX, g++ or clang++) and takes a few seconds once; without one everything runs on torch alone.
The file's name holds a hash of sources, flags, compiler and processor, so a change of any of them compiles anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from ctypes import POINTER, c_double, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch  # first: its OpenMP runtime is then the one that the library finds, so that both share one team of threads

from amenable.config.folder import cache_folder
from amenable.errors import ResourceError

FOLDER = Path(__file__).parent
FLAGS = ("-std=c++17", "-shared", "-fPIC", "-fno-math-errno", "-Wno-psabi")
TIMEOUT_S = 300


@dataclass(frozen=True, eq=False)
class Source:
    """A C++ file, the headers that it includes, how hard the compiler tries, and its functions: (result, arguments)."""

    name: str
    headers: tuple[str, ...]
    effort: str
    functions: Mapping[str, tuple[Any, tuple[Any, ...]]]


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
        ("layers", POINTER(Layer)),
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


DECODING = Source(
    "kernel.cpp",
    ("products.h", "vectors.h"),
    "-O3",
    {
        "amenable_scratch_bytes": (c_int64, (POINTER(Model), POINTER(Cache), c_int64, c_int64)),
        "amenable_forward": (None, (POINTER(Model), POINTER(Cache), POINTER(Batch))),
        "amenable_pack": (None, (c_void_p, *[c_int64] * 4, c_void_p, c_int64)),
        "amenable_checksum": (None, (c_void_p, c_int64, c_void_p)),
        "amenable_draw": (None, (c_void_p, c_int64, c_int64, c_int64, *[c_void_p] * 5, c_int64)),
    },
)


def library(source: Source = DECODING) -> ctypes.CDLL:
    """What a source compiles to. Raises ResourceError if nothing here can compile it, or load what was compiled."""
    found = _found(source)
    if isinstance(found, ctypes.CDLL):
        return found
    raise ResourceError(
        found,
        where=str(FOLDER / source.name),
        mend="install g++ or clang++, or name a compiler in CXX, or in AMENABLE_CACHE a folder whose files may be run",
    )


@lru_cache(maxsize=8)
def _found(source: Source) -> ctypes.CDLL | str:
    """The library, or why there is none: tried once in a process."""
    compiler = next((c for c in (os.environ.get("CXX"), "g++", "clang++") if c and shutil.which(c)), None)
    if compiler is None:
        return f"there is no C++ compiler for {source.name}"
    failure = ""
    for flags in _flag_sets(source):
        file = cache_folder() / "native" / f"{Path(source.name).stem}-{_fingerprint(source, compiler, flags)}.so"
        if file.exists():
            with contextlib.suppress(OSError):  # cut or damaged: compiled once more
                return _typed(ctypes.CDLL(str(file)), source)
        if why := _compile(source, compiler, flags, file):
            failure = why
            continue
        try:
            return _typed(ctypes.CDLL(str(file)), source)
        except OSError as error:  # on a file system mounted noexec, say
            return f"the compiled {source.name} cannot be loaded: {error}"
    return f"{compiler} cannot compile {source.name}: {failure}"


def _flag_sets(source: Source) -> list[tuple[str, ...]]:
    """Flags to try: with threads, then without (Apple's compiler has no OpenMP)."""
    native = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    flags = (source.effort, *FLAGS, native)
    return [(*flags, "-fopenmp"), flags]


def _fingerprint(source: Source, compiler: str, flags: tuple[str, ...]) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S).stdout
    cpu = torch.backends.cpu.get_cpu_capability() + platform.machine() + platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():  # what -march=native looks at
        cpu += next((line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    texts = ((FOLDER / name).read_text() for name in (source.name, *source.headers))
    return hashlib.sha256("\n".join((*texts, *flags, version, cpu)).encode()).hexdigest()[:16]


def _compile(source: Source, compiler: str, flags: tuple[str, ...], file: Path) -> str | None:
    """Write the library, whole or not at all. Returns why that failed, or None."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            made = Path(folder) / file.name
            command = [compiler, *flags, str(FOLDER / source.name), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
            if done.returncode:
                return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}"
            with made.open("rb") as whole:
                os.fsync(whole.fileno())
            made.replace(file)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None


def _typed(loaded: ctypes.CDLL, source: Source) -> ctypes.CDLL:
    for name, (result, arguments) in source.functions.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
