"""The compute paths that are fastest on this machine: measured once in a few seconds, then kept in the user's cache.

    matmul      float32 matrix products: "highest" is torch's own, "medium" lets oneDNN take the widest instructions. On
                some CPUs "medium" rounds to bfloat16; it is chosen only where its result is as exact as float32's
    training    whether forward and backward passes of a small decoder run faster in float32 or with matrix products in
                bfloat16 (weights stay float32)
    attention   longest row, in tokens, for which attention by batched matrix products beats torch's fused kernel, see
                attention.py
    end_to_end  documents without padding between them, attention within each by itself, see documents.py: where that is
                faster even in rows of one length, short and long
    native      what lies between the matrix products by compiled code, see native/training.py: where a compiler is at hand and
                a step of a small decoder is faster for it

Nothing but this choice depends on a clock: a run notes the paths it began with, and goes on with the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from msgspec import Meta

from amenable.batch import Batch, Inputs
from amenable.config.folder import cache_folder
from amenable.errors import ResourceError
from amenable.models.attention import attend, bias_of
from amenable.models.config import DecoderConfig
from amenable.models.decoder import Decoder
from amenable.models.documents import attend_within, groups, lay_out
from amenable.models.forward import Actor, outputs_of
from amenable.models.native.library import library
from amenable.models.native.training import TRAINING
from amenable.types import Record

ROUNDING_LIMIT = 1e-5
"""Largest error of a 512-long product, as a share of the largest entry, that still counts as float32's."""
INSTRUCTION_SETS = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "bf16", "i8mm", "sve", "sve2"),
)
ATTENTION_LENGTHS = (64, 128, 256, 512, 1024)
DOCUMENT_LENGTHS = (512, 2048)
REPEATS = 4
HOPELESS = 4.0
"""A way this many times slower than another in its first turn is not timed again."""
VERSION = 6
"""Of the measurement: figures of another version are measured again."""


class Paths(Record, frozen=True):
    """What a run computes with. `amenable doctor` shows the choice and the figures behind it."""

    matmul: Annotated[Literal["highest", "medium"], Meta(description="torch.set_float32_matmul_precision")] = "highest"
    training: Annotated[Literal["float32", "bfloat16"], Meta(description="of matrix products")] = "float32"
    attention: Annotated[
        int, Meta(ge=0, description="rows up to this many tokens by matrix products, longer fused")
    ] = 0
    end_to_end: Annotated[
        bool,
        Meta(description="documents end to end without padding, attention within each by itself"),
    ] = False
    native: Annotated[
        bool, Meta(description="norms, activations, attention and the head's softmax by code compiled on this machine")
    ] = False
    compiled: Annotated[bool, Meta(description="layers by torch.compile; by the run's length, see train.compile")] = (
        False
    )
    checkpointing: Annotated[bool, Meta(description="activations recomputed; by memory, see train.checkpointing")] = (
        False
    )

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.training == "bfloat16" else torch.float32

    def apply(self) -> None:
        """Put the choice of float32 products in force, in the whole process."""
        torch.set_float32_matmul_precision(self.matmul)

    def use_in(self, model: Any) -> None:
        """Let a Decoder compute attention in this way; others are told when they are loaded."""
        if isinstance(model, Decoder):
            model.attention, model.end_to_end, model.native = self.attention, self.end_to_end, self.native


PLAIN = Paths(attention=1 << 30)
"""The reference that every other path is held to: torch's float32, packed rows, attention written out."""


class Measured(Record, frozen=True):
    """A choice and what it rests on: seconds, GFLOP/s, tokens/s, rounding errors, by name."""

    machine: str
    paths: Paths
    figures: dict[str, float]
    seconds: float


def choose(device: str = "cpu") -> Measured:
    """The fastest paths of this machine with this torch, from the cache where they are known."""
    machine = machine_key(device)
    file = cache_folder() / f"paths-{hashlib.blake2b(machine.encode(), digest_size=6).hexdigest()}.json"
    with contextlib.suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
        known = msgspec.json.decode(file.read_bytes(), type=Measured)
        if known.machine == machine:
            native = known.paths.native and _has_library()  # the compiler may be gone since
            return known.replace(paths=known.paths.replace(native=native))
    found = measure(device, machine)
    with contextlib.suppress(OSError):  # a home that cannot be written to: measured again next time
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
        part.replace(file)
    return found


def measure(device: str, machine: str = "") -> Measured:
    """Time the candidates against each other, turn by turn, the best of each; leaves torch as it was.

    On a CPU one thread is timed, by the processor's clock: with several, whatever else runs makes them wait for one another,
    and a measurement taken while the machine was busy would be kept.
    CUDA: bfloat16 where the card has it, TF32 never, and always torch's fused attention. MPS: plain float32.
    """
    if device != "cpu":
        half = device.startswith("cuda") and torch.cuda.is_bf16_supported()
        return Measured(
            machine=machine, paths=Paths(training="bfloat16" if half else "float32"), figures={}, seconds=0.0
        )
    started = time.perf_counter()
    before, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    random = torch.random.get_rng_state()
    figures: dict[str, float] = {}
    try:
        torch.manual_seed(0)
        torch.set_num_threads(1)
        matmul = _matmul(figures)
        torch.set_float32_matmul_precision(matmul)
        training = _training(figures)
        paths = Paths(matmul=matmul, training=training)  # type: ignore[arg-type]
        paths = paths.replace(attention=_attention(paths.dtype, figures))
        paths = paths.replace(end_to_end=_end_to_end(paths, figures))
        paths = paths.replace(native=_native(paths, figures))
    finally:
        torch.set_float32_matmul_precision(before)
        torch.set_num_threads(threads)
        torch.random.set_rng_state(random)
    return Measured(machine=machine, paths=paths, figures=figures, seconds=time.perf_counter() - started)


def machine_key(device: str = "cpu") -> str:
    """What a measurement holds for: processor, instruction set in force, torch, device."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else processor()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{name}; {capability}; torch {torch.__version__}; {device}; measurement {VERSION}"


def processor() -> str:
    """The processor's name and model numbers, as far as the system tells.

    Virtual machines often leave the name vague; family and model tell the generations apart.
    """
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts.get('model', '?')})"
    return name


def instruction_sets() -> list[str]:
    """The processor's extensions that matter to matrix products; empty where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                have = set(line.split(":", 1)[1].split())
                return [name for name in INSTRUCTION_SETS if name in have]
    return []


def _matmul(figures: dict[str, float]) -> str:
    a, b = torch.randn(512, 512), torch.randn(512, 1408)
    exact = a.double() @ b.double()
    candidates = ("highest", "medium")

    def under(precision: str) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            torch.set_float32_matmul_precision(precision)
            return a @ b

        return run

    seconds = _best([under(precision) for precision in candidates], 3 * REPEATS)
    for precision, took in zip(candidates, seconds, strict=True):
        figures[f"matmul.{precision}.gflops"] = 2 * 512 * 512 * 1408 / took / 1e9
        error = (under(precision)().double() - exact).abs().max() / exact.abs().max()
        figures[f"matmul.{precision}.error"] = float(error)
    faster = figures["matmul.medium.gflops"] > 1.05 * figures["matmul.highest.gflops"]
    return "medium" if faster and figures["matmul.medium.error"] <= ROUNDING_LIMIT else "highest"


def _training(figures: dict[str, float]) -> str:
    """Forward and backward of a small decoder on 1,024 tokens, under the float32 products in force."""
    model, tokens = _small_decoder(), torch.randint(0, 2048, (16, 64))
    inputs = Inputs(tokens, torch.arange(64).expand(16, -1), torch.zeros_like(tokens))

    def under(dtype: torch.dtype) -> Callable[[], None]:
        def run() -> None:
            model.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                logits = model.logits(model.hidden(inputs)).float()
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()

        return run

    seconds = _best([under(torch.float32), under(torch.bfloat16)], REPEATS)
    for name, took in zip(("float32", "bfloat16"), seconds, strict=True):
        figures[f"training.{name}.tokens_per_second"] = tokens.numel() / took
    return "bfloat16" if seconds[1] < 0.95 * seconds[0] else "float32"


def _has_library() -> bool:
    try:
        library(TRAINING)
    except ResourceError:
        return False
    return True


def _native(paths: Paths, figures: dict[str, float]) -> bool:
    """Whether log-probs of 16 rows, 1,024 tokens, and their gradients come faster by compiled operations."""
    if not _has_library():
        return False
    length_B = torch.arange(34, 98, 4)
    valid_BT = torch.arange(94) < length_B[:, None]
    tokens_BT = torch.randint(0, 2048, valid_BT.shape) * valid_BT
    trained_BT = valid_BT & (torch.arange(94) > 0)
    batch = Batch(tokens_BT, valid_BT, trained_BT, torch.arange(len(length_B)))

    def under(native: bool) -> Callable[[], None]:
        model = _small_decoder()
        paths.replace(native=native).use_in(model)

        def run() -> None:
            model.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=paths.training == "bfloat16"):
                logprobs_BT = outputs_of(Actor(model, "lm"), batch, ("logprobs",)).logprobs_BT
            assert logprobs_BT is not None
            logprobs_BT.sum().backward()

        return run

    seconds = _best([under(False), under(True)], REPEATS)
    for name, took in zip(("plain", "native"), seconds, strict=True):
        figures[f"operations.{name}.tokens_per_second"] = int(length_B.sum()) / took
    return seconds[1] < 0.95 * seconds[0]


def _small_decoder() -> Decoder:
    shape = DecoderConfig.tiny().replace(
        vocab_size=2048, hidden_size=256, num_layers=2, num_heads=4, num_kv_heads=4, head_dim=64, mlp_size=704
    )
    return Decoder(shape, attention="math").init_weights(torch.Generator().manual_seed(0))


def _attention(dtype: torch.dtype, figures: dict[str, float]) -> int:
    """The longest of ATTENTION_LENGTHS up to which matrix products win at every length; 0 if at none."""
    longest = 0
    for length in ATTENTION_LENGTHS:
        math, fused = _best([_attending(length, "math", dtype), _attending(length, "sdpa", dtype)], REPEATS - 1)
        figures[f"attention.{length}.math_ms"], figures[f"attention.{length}.fused_ms"] = 1e3 * math, 1e3 * fused
        if math > fused:
            break
        longest = length
    return longest


def _end_to_end(paths: Paths, figures: dict[str, float]) -> bool:
    """Whether attention within documents beats attention under a mask at each of DOCUMENT_LENGTHS."""
    for length in DOCUMENT_LENGTHS:
        path: Literal["math", "sdpa"] = "math" if length <= paths.attention else "sdpa"
        ways = [_attending(length, path, paths.dtype), _attending(length, "documents", paths.dtype)]
        masked, within = _best(ways, REPEATS - 1)
        figures[f"documents.{length}.masked_ms"], figures[f"documents.{length}.within_ms"] = 1e3 * masked, 1e3 * within
        if within > masked:
            return False
    return True


def _attending(length: int, path: Literal["math", "sdpa", "documents"], dtype: torch.dtype) -> Callable[[], None]:
    """Attention forward and backward over 4,096 tokens in rows of `length`."""
    rows = max(1, 4096 // length)
    query, key, value = (torch.randn(rows * length, 4, 32, dtype=dtype, requires_grad=True) for _ in range(3))
    if path == "documents":
        places = groups([length] * rows, range(0, rows * length, length), rows * length)
        documents = lay_out(places, torch.arange(rows).repeat_interleave(length), 4, 4, None, dtype)
        return lambda: attend_within(query, key, value, documents).sum().backward()
    bias = bias_of(torch.ones(rows, length, length, dtype=torch.bool).tril(), dtype)

    def run() -> None:
        query_PLAD, key_PLAD, value_PLAD = (x.view(rows, length, 4, 32) for x in (query, key, value))
        attend(query_PLAD, key_PLAD.transpose(1, 2), value_PLAD.transpose(1, 2), bias, path).sum().backward()

    return run


def _best(ways: Sequence[Callable[[], object]], repeats: int, device: str = "cpu") -> list[float]:
    """Seconds of each way, the best of `repeats` turns taken one after the other; a first turn warms up.

    One thread on a CPU is timed by the processor's clock, which other work on the machine disturbs little.
    """
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    best = [float("inf")] * len(ways)
    for turn in range(repeats + 1):
        for place, way in enumerate(ways):
            if turn > 1 and best[place] > HOPELESS * min(best):
                continue
            started = clock()
            way()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            if turn:
                best[place] = min(best[place], clock() - started)
    return best
