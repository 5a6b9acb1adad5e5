"""Tokens per second of LocalEngine and of transformers' generate on equal weights.

    python benchmarks/generation.py --shape S --batch 1 16 64 --against transformers

Prompt 64, response 64 tokens, temperature 1, no stop token. Runs of the ways interleave, best of --repeat each: the
machine drifts, so only figures of one run compare. With OMP_NUM_THREADS=1 processor time is
counted, so that other work on the machine disturbs little; else the clock on the wall.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from amenable.models.config import DecoderConfig, to_hf
from amenable.models.decoder import Decoder
from amenable.rollout.engine import Request
from amenable.rollout.local import LocalEngine
from amenable.types import Prompt, Sampling, text


def clock() -> float:
    """Seconds; with one thread those of the processor, which a busy machine disturbs less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


SHAPES = {
    "S": dict(vocab_size=4096, hidden_size=128, num_layers=4, num_heads=4, num_kv_heads=4, head_dim=32, mlp_size=384),
    "M": dict(vocab_size=8192, hidden_size=512, num_layers=8, num_heads=8, num_kv_heads=8, head_dim=64, mlp_size=1408),
}


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


def ours(shape: str, batch: int, tokens: int, *, dtype: torch.dtype | None, copy: bool = False) -> Callable[[], object]:
    model = Decoder(DecoderConfig(**SHAPES[shape], context=512)).init_weights(torch.Generator().manual_seed(0))
    if copy:
        model, dtype = model.to(dtype), None
    engine = LocalEngine(model, NoText(), num_slots=batch, dtype=dtype)
    draw = torch.Generator().manual_seed(1)
    prompt = Prompt(id="p", messages=(text("x"),))
    ids = torch.randint(3, 4000, (batch, 64), generator=draw).tolist()
    sampling = Sampling(max_tokens=tokens)
    requests = [Request(prompt=prompt, prompt_ids=tuple(row), sampling=sampling, seed=i) for i, row in enumerate(ids)]
    return lambda: engine.generate(requests)


def theirs(shape: str, batch: int, tokens: int, *, dtype: torch.dtype, static: bool = False) -> Callable[[], object]:
    from transformers import LlamaConfig, LlamaForCausalLM

    own = Decoder(DecoderConfig(**SHAPES[shape], context=512)).init_weights(torch.Generator().manual_seed(0))
    model = LlamaForCausalLM(LlamaConfig(**to_hf(own.config)))
    model.load_state_dict(own.state_dict(), strict=False)
    model = model.to(dtype).eval()
    ids = torch.randint(3, 4000, (batch, 64), generator=torch.Generator().manual_seed(1))
    options = dict(cache_implementation="static") if static else {}

    def run() -> None:
        with torch.inference_mode():
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_k=0,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=0,
                eos_token_id=4000,
                disable_compile=True,
                **options,
            )

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="S", choices=sorted(SHAPES))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--against", default="", choices=["", "transformers"])
    args = parser.parse_args()
    for batch in args.batch:
        bf16 = torch.bfloat16
        ways = {
            "float32": (ours(args.shape, batch, args.tokens, dtype=None), "highest"),
            "float32 medium": (ours(args.shape, batch, args.tokens, dtype=None), "medium"),
            "autocast bf16": (ours(args.shape, batch, args.tokens, dtype=bf16), "highest"),
            "weights bf16": (ours(args.shape, batch, args.tokens, dtype=bf16, copy=True), "highest"),
        }
        if args.against:
            ways["transformers float32"] = (theirs(args.shape, batch, args.tokens, dtype=torch.float32), "highest")
            ways["transformers bf16"] = (theirs(args.shape, batch, args.tokens, dtype=bf16), "highest")
        best = dict.fromkeys(ways, 0.0)
        for _ in range(args.repeat + 1):  # the first warms up and may only lose
            for name, (run, precision) in ways.items():
                torch.set_float32_matmul_precision(precision)
                begin = clock()
                run()
                best[name] = max(best[name], batch * args.tokens / (clock() - begin))
        print(f"{args.shape} batch {batch:3d}: " + "  ".join(f"{n} {v:,.0f}" for n, v in best.items()), flush=True)


if __name__ == "__main__":
    main()
