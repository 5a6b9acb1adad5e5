"""Generation beside transformers' generate, on equal weights: tokens per second, turn by turn in one process.

    python -m benchmarks.generation --shape S M --batch 1 16 64 --turns 5

Prompt 64, response 64 tokens, temperature 1, no stop token; "8-256": 256 prompts whose responses have lengths drawn
evenly from 8 to 256, 64 at a time. The peer is the fastest of its ways in each turn (float32, bfloat16, each with the
default and with a static cache); its batches run to their longest response, as they would to the last stop token, and
only the wanted tokens count. A row's ratio is the median over turns, with the lowest and highest turn. The machine drifts,
so only figures of one run compare; with OMP_NUM_THREADS=1 processor time is counted, so that other work disturbs little.

The limit is what weights and cache cost to read once a step at the speed at which this machine reads a buffer as large
as the weights, plus the products at the speed of a large bfloat16 product, measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch

from amenable.models.config import DecoderConfig, to_hf
from amenable.models.decoder import Decoder
from amenable.rollout.engine import Request
from amenable.rollout.local import Decode, LocalEngine
from amenable.types import Prompt, Sampling, text

SHAPES: dict[str, dict[str, int]] = {
    "S": dict(vocab_size=4096, hidden_size=128, num_layers=4, num_heads=4, num_kv_heads=4, head_dim=32, mlp_size=384),
    "M": dict(vocab_size=8192, hidden_size=512, num_layers=8, num_heads=8, num_kv_heads=8, head_dim=64, mlp_size=1408),
}
TARGETS = {("S", 1): 2.0, ("S", 16): 3.0, ("S", 64): 5.0, ("M", 1): 3.0, ("M", 16): 3.0, ("M", 64): 4.0}
VARIED_TARGETS = {"S": 6.0, "M": 5.0}
PROMPT, RESPONSE = 64, 64
PEER = "transformers generate, its best of float32, bfloat16, static cache"
HALF = torch.bfloat16
OURS: dict[str, dict[str, Any]] = {
    "compiled bfloat16": dict(dtype=HALF),
    "compiled float32": dict(dtype=None),
    "compiled int8": dict(dtype=None, decode="int8"),
    "plain bfloat16": dict(dtype=HALF, decode="plain"),
    "plain float32": dict(dtype=None, decode="plain"),
}
Run = Callable[[], object]


class NoText:
    """A tokenizer that decodes to nothing and never stops, so that only generation is timed."""

    stop_ids: tuple[int, ...] = ()

    def decode(self, ids: object) -> str:
        return ""

    def stream(self) -> NoText:
        return self

    def push(self, token: int) -> str:
        return ""

    def finish(self) -> str:
        return ""


def rows(quick: bool, shapes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """For `python -m benchmarks`: work, size, peer, ratio, low, high, limit_share, target and more of each row.

    Each row comes as soon as it is measured; those that take longest come last.
    """
    for shape, batch in [("S", 1), ("S", 64)] if quick else TARGETS:
        if shape in shapes:
            yield from fixed(shape, batch, 3 if quick else 5)
    for shape in () if quick else VARIED_TARGETS:
        if shape in shapes:
            yield from varied(shape, 2)


def fixed(shape: str, batch: int, turns: int) -> Iterator[dict[str, Any]]:
    """Equal prompts and responses."""
    yield from compared(shape, f"{shape}, batch {batch}", [RESPONSE] * batch, batch, turns, TARGETS[shape, batch])


def varied(shape: str, turns: int) -> Iterator[dict[str, Any]]:
    """Responses of lengths drawn from 8 to 256."""
    lengths = torch.randint(8, 257, (256,), generator=torch.Generator().manual_seed(2)).tolist()
    yield from compared(shape, f"{shape}, 256 of 8-256", lengths, 64, turns, VARIED_TARGETS[shape])


def compared(
    shape: str, size: str, lengths: Sequence[int], batch: int, turns: int, target: float
) -> Iterator[dict[str, Any]]:
    """One row against transformers and one against each of our other ways, in turns A B C A B C ..."""
    model = Decoder(DecoderConfig(**SHAPES[shape], context=512)).init_weights(torch.Generator().manual_seed(0))
    usual = "compiled bfloat16"
    peers = {f"transformers {name}": theirs(model, lengths, batch, **options) for name, options in THEIRS.items()}
    ways = {name: ours(model, lengths, batch, **options) for name, options in OURS.items()} | peers
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):  # the first warms up
        for name, run in ways.items():
            begin = clock()
            run()
            if turn:
                seconds[name].append(clock() - begin)
    best = [min(times) for times in zip(*(seconds[name] for name in peers), strict=True)]
    tokens = sum(lengths)
    limit = limit_seconds(model, lengths, batch)
    for peer, times, goal in (
        (PEER, best, target),
        *((f"ours, {name}", seconds[name], None) for name in OURS if name != usual),
    ):
        ratios = [b / a for a, b in zip(seconds[usual], times, strict=True)]
        yield dict(
            work="generation",
            size=size,
            peer=peer,
            ratio=statistics.median(ratios),
            low=min(ratios),
            high=max(ratios),
            limit_share=limit / statistics.median(seconds[usual]),
            limit="reading weights and cache, and bfloat16 products",
            target=goal,
            ours=tokens / statistics.median(seconds[usual]),
            theirs=tokens / statistics.median(times),
            unit="tokens/s",
            turns=turns,
            note=usual,
        )


def ours(
    model: Decoder, lengths: Sequence[int], batch: int, *, dtype: torch.dtype | None, decode: Decode = "auto"
) -> Run:
    engine = LocalEngine(model, NoText(), num_slots=batch, dtype=dtype, decode=decode)
    if decode != "plain" and (reason := engine.why_plain()) is not None:
        raise SystemExit(f"the compiled way does not run here: {reason}")
    prompt = Prompt(id="p", messages=(text("x"),))
    requests = [
        Request(prompt=prompt, prompt_ids=tuple(row), sampling=Sampling(max_tokens=length), seed=i)
        for i, (row, length) in enumerate(zip(prompts(len(lengths)).tolist(), lengths, strict=True))
    ]
    return lambda: engine.generate(requests)


THEIRS: dict[str, dict[str, Any]] = {
    "float32": dict(dtype=torch.float32),
    "bfloat16": dict(dtype=HALF),
    "float32 static": dict(dtype=torch.float32, static=True),
    "bfloat16 static": dict(dtype=HALF, static=True),
}


def theirs(model: Decoder, lengths: Sequence[int], batch: int, *, dtype: torch.dtype, static: bool = False) -> Run:
    from transformers import LlamaConfig, LlamaForCausalLM

    peer = LlamaForCausalLM(LlamaConfig(**to_hf(model.config)))
    peer.load_state_dict(model.state_dict(), strict=False)
    peer = peer.to(dtype).eval()
    ids = prompts(len(lengths))
    options = dict(cache_implementation="static") if static else {}

    def run() -> None:
        with torch.inference_mode():
            for at in range(0, len(lengths), batch):
                part = ids[at : at + batch]
                longest = max(lengths[at : at + batch])
                peer.generate(
                    part,
                    attention_mask=torch.ones_like(part),
                    do_sample=True,
                    top_k=0,
                    min_new_tokens=longest,
                    max_new_tokens=longest,
                    pad_token_id=0,
                    eos_token_id=4000,
                    disable_compile=True,
                    **options,
                )

    return run


def prompts(count: int) -> torch.Tensor:
    return torch.randint(3, 4000, (count, PROMPT), generator=torch.Generator().manual_seed(1))


def limit_seconds(model: Decoder, lengths: Sequence[int], batch: int) -> float:
    """What these responses cost at least on this machine, with bfloat16 weights and cache."""
    weight_bytes = 2 * model.num_parameters()
    c = model.config
    kept = 2 * 2 * c.num_layers * c.num_kv_heads * c.head_dim  # bytes of one token in the cache
    tokens, steps = sum(lengths), sum(lengths) / batch
    cache_bytes = sum(kept * (PROMPT * n + n * n / 2) for n in lengths)
    buffer = torch.ones(max(weight_bytes // 4, 1 << 18))
    matrix = torch.ones(1024, 1024, dtype=HALF)
    read = best_of(lambda: buffer.sum()) / (4 * buffer.numel())
    multiply = best_of(lambda: matrix @ matrix) / (2 * 1024**3)
    operations = 2 * model.num_parameters() * (tokens + PROMPT * len(lengths))
    return max(read * (weight_bytes * steps + cache_bytes), multiply * operations)


def best_of(run: Run, repeat: int = 5) -> float:
    """Seconds, shortest of several."""
    found = []
    for _ in range(repeat + 1):
        begin = clock()
        run()
        found.append(clock() - begin)
    return min(found[1:])


def clock() -> float:
    """Seconds; with one thread those of the processor, which a busy machine disturbs less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", nargs="+", default=["S", "M"], choices=sorted(SHAPES))
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--varied", action="store_true", help="lengths drawn from 8 to 256 too")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    for shape in args.shape:
        parts = [fixed(shape, batch, args.turns) for batch in args.batch]
        parts += [varied(shape, args.turns)] * args.varied
        for row in chain.from_iterable(parts):
            target = "" if row["target"] is None else f"  target {row['target']:g}x"
            print(
                f"{row['size']:16} {row['ratio']:5.2f}x ({row['low']:.2f}-{row['high']:.2f}){target:14}"
                f" {row['ours']:9,.0f} against {row['theirs']:7,.0f} tokens/s, {row['limit_share']:.0%} of the limit:"
                f" {row['peer']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
