"""How cost grows: against documents, context, batch, responses per prompt and model size; memory over many PPO steps.

    python -m benchmarks growth [--quick] [--threads 1] [--only memory]

Writes growth.json, from which pages.py draws; curves that --only leaves out stay as they were. Every point is the best of
a few turns on size S, learning or writing through the same Learner, stages and engine that a run uses.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from amenable.batch import Batch
from amenable.models.folder import new_model
from amenable.rollout.engine import Request
from amenable.rollout.local import LocalEngine
from amenable.stages.build import Compute, make_actor, set_up
from amenable.stages.events import Event
from amenable.train.contract import build
from amenable.train.learner import Learner
from amenable.train.loop import Progress, learn
from amenable.train.settings import TrainConfig
from amenable.types import Prompt, Sampling, text
from amenable.workspace import Workspace
from benchmarks import materials
from benchmarks.gate import Stop, resident_bytes
from benchmarks.generation import NoText
from benchmarks.materials import decoder_config
from benchmarks.ours import settings
from benchmarks.work import SIZES, Size

TIMES = 3


@dataclass
class Curve:
    """y against x; log: x grows by factors."""

    name: str
    x_name: str
    y_name: str
    x: list[int] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    log: bool = True

    def add(self, x: int, y: float) -> None:
        self.x.append(x)
        self.y.append(y)
        print(f"{self.name}: {self.x_name} {x:,}: {y:,.4g} {self.y_name}", flush=True)


def main(folder: Path, *, quick: bool, only: Sequence[str] = ()) -> None:
    compute = set_up(TrainConfig())
    file = folder / "growth.json"
    folder.mkdir(parents=True, exist_ok=True)
    known = [Curve(**curve) for curve in json.loads(file.read_text())["curves"]] if only and file.exists() else []
    for make in [make for make in CURVES if not only or make.__name__ in only]:
        curve = make(compute, quick)
        curves = known = [*(old for old in known if old.name != curve.name), curve]
        timed = "processor time of one thread" if torch.get_num_threads() == 1 else "the clock on the wall"
        found = {"curves": [asdict(curve) for curve in curves], "time": timed, "said": said(curves)}
        file.write_text(json.dumps(found, indent=1) + "\n")


def said(curves: Sequence[Curve]) -> str:
    """What the curves show, against what we want, in sentences."""
    lines = []
    for curve in curves:
        if curve.name == "documents":
            change = min(curve.y) / max(curve.y)
            lines.append(
                f"Learning is at its slowest {1 - change:.0%} slower than at its fastest from {min(curve.x):,} to "
                f"{max(curve.x):,} documents (wanted: at most 15 %)."
            )
        if curve.name == "memory of PPO":
            late = curve.y[len(curve.y) // 10 :]
            slope = statistics.linear_regression(range(len(late)), late).slope * len(late)
            lines.append(
                f"Over {max(curve.x):,} PPO steps of a tiny model, resident memory changes by {slope:+.1f} MB after the "
                f"first tenth, at {statistics.median(late):,.0f} MB."
            )
    return " ".join(lines)


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def best(act: Callable[[], float]) -> float:
    """The highest rate of a few turns; `act` returns the amount that it did. A turn before them warms up."""
    rates = []
    for _ in range(TIMES + 1):
        started = clock()
        amount = act()
        rates.append(amount / (clock() - started))
    return max(rates[1:])


def decoder(size: Size) -> Any:
    return new_model(decoder_config(size), seed=0)


def learning(compute: Compute, size: Size, rows: int, length: int) -> float:
    """Tokens per second of an SFT step on full rows."""
    model = decoder(size)
    compute.paths.use_in(model)
    learner = Learner(
        {"policy": make_actor(model, "lm")}, TrainConfig(), precision=compute.precision, device=compute.device
    )
    tokens = torch.randint(6, size.vocab_size, (rows, length), generator=torch.Generator().manual_seed(0))
    trained = torch.ones_like(tokens, dtype=torch.bool)
    trained[:, 0] = False
    batch = Batch(tokens, torch.ones_like(trained), trained, torch.arange(rows), stream="demonstrations")
    algorithm, progress = build("sft"), Progress()

    def step() -> float:
        learn(algorithm, learner, {"demonstrations": batch}, progress, rate=1e-3)
        return tokens.numel()

    return best(step)


def context(compute: Compute, quick: bool) -> Curve:
    curve = Curve("context", "tokens per row", "tokens/s")
    for length in (256, 1024) if quick else (256, 512, 1024, 2048, 4096):
        size = replace(SIZES["S"], context=length)
        curve.add(length, learning(compute, size, max(1, 4096 // length), length))
    return curve


def batch(compute: Compute, quick: bool) -> Curve:
    curve = Curve("batch", "rows of 64 tokens per step", "tokens/s")
    for rows in (8, 64) if quick else (8, 32, 128, 512):
        curve.add(rows, learning(compute, SIZES["S"], rows, 64))
    return curve


def model_size(compute: Compute, quick: bool) -> Curve:
    curve = Curve("model size", "parameters", "tokens/s")
    for name in ("T", "S") if quick else ("T", "S", "M"):
        size = SIZES[name]
        curve.add(size.trunk_parameters + size.head_parameters, learning(compute, size, 16, 64))
    return curve


def responses(compute: Compute, quick: bool) -> Curve:
    """Writing 32 tokens to one prompt of 256, so many times."""
    curve = Curve("responses per prompt", "responses", "tokens/s")
    size = SIZES["S"]
    model = decoder(size)
    ids = tuple(torch.randint(6, size.vocab_size, (256,), generator=torch.Generator().manual_seed(0)).tolist())
    prompt = Prompt(id="p", messages=(text("x"),))
    for count in (1, 8) if quick else (1, 4, 16, 64):
        engine = LocalEngine(model, NoText(), num_slots=count, dtype=compute.half)  # type: ignore[arg-type]
        requests = [
            Request(prompt=prompt, prompt_ids=ids, sampling=Sampling(max_tokens=32), seed=i) for i in range(count)
        ]
        curve.add(count, best(lambda e=engine, r=requests: sum(len(x.response_ids) for x in e.generate(r))))  # type: ignore[misc]
    return curve


def documents(compute: Compute, quick: bool) -> Curve:
    """SFT as a stage on so many demonstrations; the steps alone, reading and tokenising left out."""
    curve = Curve("documents", "demonstrations", "tokens/s")
    for count in (1_000, 10_000) if quick else (1_000, 10_000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            home = materials.make(Path(folder), "S")
            lines = (home / "sft-variable.jsonl").read_text().splitlines()
            data = home / "many.jsonl"
            with data.open("w") as file:  # numbered, so that no two are the same
                for i in range(count):
                    row = json.loads(lines[i % len(lines)])
                    row["messages"][0]["content"] += f" {i}"
                    file.write(json.dumps(row) + "\n")
            recipe = settings(home, "S", "sft")
            recipe["data"] = {"train": [str(data)], "held_out_share": 0.0}
            curve.add(count, run_steps(recipe, "sft", 8 if quick else 24))
    return curve


def memory(compute: Compute, quick: bool) -> Curve:
    """Resident memory over the steps of a PPO run of a tiny model."""
    curve = Curve("memory of PPO", "steps", "MB resident", log=False)
    number = 300 if quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        home = materials.make(Path(folder), "T")
        recipe = settings(home, "T", "ppo")
        recipe["train"] |= {"inner_epochs": 1, "minibatches": 1}

        def note(step: int) -> None:
            if step % (number // 50) == 0:
                curve.add(step, resident_bytes() / 1e6)

        run_steps(recipe, "ppo", number, note)
    return curve


CURVES = (memory, context, batch, model_size, responses, documents)


def run_steps(
    recipe: dict[str, Any], stage: str, number: int, on_step: Callable[[int], None] = lambda step: None
) -> float:
    """Run a stage for so many steps; the median of real tokens per second over them, the first left out."""
    ends: list[float] = []

    def listen(event: Event) -> None:
        if event.stage == stage and event.kind == "progress":
            ends.append(clock())
            on_step(len(ends))
            if len(ends) == number:
                raise Stop

    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        with contextlib.suppress(Stop):
            workspace.run(stage, None, recipe, on_event=listen)
        rows = (workspace.folder.runs / f"{stage}-1" / "metrics.jsonl").read_text().splitlines()
    tokens = [json.loads(row)["num_tokens"] for row in rows]
    return statistics.median(n / (end - begin) for n, (begin, end) in zip(tokens[1:], pairwise(ends), strict=False))
